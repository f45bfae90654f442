"""`tilth check`: every mistake in params.yaml, all at once, before anything runs."""


def main():
    """Check params.yaml as a whole, that the raw files it names can be read, and data/forgotten.jsonl."""
    from stages._forgotten import read as read_forgotten
    from stages.check import announce, check
    from validators.params import read

    read_forgotten()
    warnings = check()
    announce(warnings)
    data = read()
    waived = sum(warning.waived is not None for warning in warnings)
    print(
        f"params.yaml is valid: {len(data['datasets'])} datasets, {len(data['steps'])} steps, "
        f"{len(warnings) - waived} warnings, {waived} waived"
    )
