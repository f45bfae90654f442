"""The facts of a lineage as plain data: `lineage.py` collects them, flowcharts and statements show them.

    {"revision": None, "datasets": {"chat": {...}}, "base": {...}, "models": {"sft": {...}}, "shared": [...]}

None: unknown, as it was not built or its bytes are neither here nor in the cache.
"""

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

# in: rows or records. rejected: {check: rows}. out: {what: rows}. Only stages of a dataset have these three.
# params: what it read. code, validators, inputs, outputs: {path: md5}. stale: lines that say what has changed since.
StageFacts = TypedDict(
    "StageFacts",
    {
        "stage": str,
        "params": dict[str, Any],
        "code": dict[str, str | None],
        "validators": dict[str, str | None],
        "inputs": dict[str, str | None],
        "outputs": dict[str, str | None],
        "stale": list[str],
        "in": NotRequired[int | None],
        "rejected": NotRequired[dict[str, int] | None],
        "out": NotRequired[dict[str, int | None]],
    },
)


class RawFile(TypedDict):
    """A raw file: its size, hashes and rights, and what ingest made of it. read: whether md5 is of its present bytes."""

    path: str
    bytes: int | None
    md5: str | None
    git: str | None
    read: bool
    dvc: str | None
    imported: str | None
    license: str | None
    source: str | None
    consent: str | None
    expires: str | None
    records: int | None
    rows: int | None
    rejected: int | None


class RawFacts(TypedDict):
    """waived: {finding: reason}."""

    path: str
    md5: str | None
    files: list[RawFile]
    waived: dict[str, str]


class SideFacts(TypedDict):
    path: str
    rows: int | None
    md5: str | None


class DatasetFacts(TypedDict):
    """stages: ingest, validate, curate, and keep where it runs. trains: the steps whose model was trained on it. directly: those that train on it themselves."""

    kind: str | None
    raw: RawFacts
    stages: list[StageFacts]
    train: SideFacts
    eval: SideFacts
    trains: list[str]
    directly: list[str]


class BaseFacts(TypedDict):
    """files: {path: md5}. scores: the content of scores/base.json."""

    model: str | None
    revision: str | None
    backend: str | None
    md5: str | None
    bytes: int | None
    files: Mapping[str, str | None] | None
    stages: list[StageFacts]
    scores: dict[str, Any] | None


class ModelFacts(TypedDict):
    """chain: `base` first. weights: full or adapters. made_of: its made_of.json. seen: counts of what its training saw."""

    chain: list[str]
    dataset: str | None
    md5: str | None
    bytes: int | None
    weights: str
    adapters: list[str]
    files: Mapping[str, str | None]
    made_of: dict[str, Any]
    seen: dict[str, int] | None
    waived: dict[str, str]
    stages: list[StageFacts]
    scores: dict[str, Any] | None


class Lineage(TypedDict):
    """revision: a commit, None for the working tree. shared: the stages without a dataset or step."""

    revision: str | None
    datasets: dict[str, DatasetFacts]
    base: BaseFacts
    models: dict[str, ModelFacts]
    shared: list[StageFacts]
