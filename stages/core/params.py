"""params.yaml as the stages read it: YAML 1.2, as DVC reads it (`1e-4` is a number). `validators/params.py` checks it."""

from pathlib import Path


def read_params(path="params.yaml"):
    """The whole of params.yaml as plain dicts and lists."""
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(Path(path))
