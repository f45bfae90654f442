"""`tilth check`: every mistake in params.yaml, all at once, before anything runs."""


def main():
    """Check params.yaml as a whole, raw files and data/forgotten.jsonl. Mends what a killed dvc has left."""
    from commands._mend import mend
    from stages._forgotten import read as read_forgotten
    from stages.check import announce, check
    from validators.params import read

    for mended in mend():
        print(mended)
    read_forgotten()
    warnings = check()
    announce(warnings)
    data = read()
    waived = sum(warning.waived is not None for warning in warnings)
    print(
        f"params.yaml is valid: {len(data['datasets'])} datasets, {len(data['steps'])} steps, "
        f"{len(warnings) - waived} warnings, {waived} waived"
    )
