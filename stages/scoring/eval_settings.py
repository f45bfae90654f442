"""The settings of an evaluation, as the scores record them: token budgets, switches of the chat template, the seed.

recorded_settings("align") -> {"max_new_tokens": 256, "max_thinking_tokens": 2048, ..., "chat_template_kwargs": {"enable_thinking": true}}
"""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

METADATA_KEY = b"tilth"  # of the metadata of scores/<model>.parquet


def recorded_settings(model: str) -> dict[str, Any]:
    """The settings that a model was evaluated with; {} where there are no scores, or they record none."""
    path = Path("scores", f"{model}.parquet")
    metadata = (pq.read_schema(path).metadata or {}) if path.is_file() else {}
    return json.loads(metadata.get(METADATA_KEY, b"{}")).get("settings", {})


def describe_settings(settings: dict[str, Any]) -> str:
    """Settings in one line; "" of none."""
    given = {key: value for key, value in settings.items() if value not in (None, {})}
    return ", ".join(
        f"{key} {json.dumps(value, sort_keys=True) if isinstance(value, dict) else value}"
        for key, value in given.items()
    )


def settings_sentences(models: list[str]) -> list[str]:
    """A sentence for each set of settings that models were evaluated with."""
    models_by_settings: dict[str, list[str]] = {}
    for model in models:
        if text := describe_settings(recorded_settings(model)):
            models_by_settings.setdefault(text, []).append(model)
    return [
        f"{'Asked' if len(models_by_settings) == 1 else ', '.join(names) + ' asked'} with {text}."
        for text, names in models_by_settings.items()
    ]
