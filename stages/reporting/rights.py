"""The rights in the raw data of a dataset, from params.yaml, as rows of a table.

rights_rows("chat", params) -> [("data/raw/chat/a*", "CC-BY-4.0", "https://...", "", "2027-01-01"), ("*", "MIT", "", "", "")]
"""

from stages.core.params import Params
from validators._by_file import RIGHTS_KEYS


def rights_rows(name: str, params: Params) -> list[tuple[str | None, ...]]:
    """(pattern of files, license, source, consent, expires) for each pattern; None stands for all files; [] where params.yaml has none."""
    rules = {key: params["datasets"][name][key] for key in RIGHTS_KEYS} | {"expires": params["expires"].get(name)}
    patterns = dict.fromkeys(pattern for value in rules.values() if isinstance(value, dict) for pattern in value)
    if any(isinstance(value, str) for value in rules.values()):
        patterns = {None: None} | patterns
    return [
        (
            pattern,
            *(
                (value if pattern is None else "") if isinstance(value, str) else (value or {}).get(pattern, "")
                for value in rules.values()
            ),
        )
        for pattern in patterns
    ]
