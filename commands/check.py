"""`tilth check`: every mistake in params.yaml, all at once, before anything runs."""


def main():
    """Check params.yaml as a whole, and that the raw files it names can be read. Mends what a killed dvc has left."""
    from commands._mend import mend
    from stages.check import announce, check
    from validators.params import read

    for mended in mend():
        print(mended)
    warnings = check()
    announce(warnings)
    data = read()
    waived = sum(warning.waived is not None for warning in warnings)
    print(
        f"params.yaml is valid: {len(data['datasets'])} datasets, {len(data['steps'])} steps, "
        f"{len(warnings) - waived} warnings, {waived} waived"
    )
