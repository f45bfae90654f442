"""What models were asked with, as their scores keep it: budgets, the switches of the chat template, the seed.

settings_of("align") -> {"max_new_tokens": 256, "max_thinking_tokens": 2048, ..., "chat_template_kwargs": {"enable_thinking": true}}
"""

import json
from pathlib import Path

import pyarrow.parquet as pq

METADATA_KEY = b"tilth"  # of the metadata of scores/<model>.parquet


def recorded_settings(model: str) -> dict:
    """What a model was asked with; {} where its scores say nothing of it, or are not there."""
    path = Path("scores", f"{model}.parquet")
    metadata = (pq.read_schema(path).metadata or {}) if path.is_file() else {}
    return json.loads(metadata.get(METADATA_KEY, b"{}")).get("settings", {})


def describe_settings(settings: dict) -> str:
    """What a model was asked with, in a line; "" of nothing."""
    given = {key: value for key, value in settings.items() if value not in (None, {})}
    return ", ".join(
        f"{key} {json.dumps(value, sort_keys=True) if isinstance(value, dict) else value}"
        for key, value in given.items()
    )


def settings_sentences(models: list[str]) -> list[str]:
    """A sentence for each way in which models were asked."""
    ways = {}
    for model in models:
        if said := describe_settings(recorded_settings(model)):
            ways.setdefault(said, []).append(model)
    return [
        f"{'Asked' if len(ways) == 1 else ', '.join(names) + ' asked'} with {said}." for said, names in ways.items()
    ]
