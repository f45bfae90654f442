"""The facts of a lineage, as plain data: what `lineage.py` finds out of a build, and what flowcharts and statements are made of.

    {"revision": None, "datasets": {"chat": {...}}, "base": {...}, "models": {"sft": {...}}, "shared": [...]}

None stands for what is not known: it was not built, or its bytes are neither here nor in the cache.
"""

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

# in: rows or records that went in. rejected: {check: rows}. out: {what: rows}; of the stages of a dataset alone.
# params: what it read of the params. The others: {path: md5}. stale: lines that say what has changed since.
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
    """A raw file: its bytes, its hash by DVC or git, its rights, and what ingest made of it. read: whether md5 is of its bytes now."""

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
    """waived: {what: why}."""

    path: str
    md5: str | None
    files: list[RawFile]
    waived: dict[str, str]


class SideFacts(TypedDict):
    path: str
    rows: int | None
    md5: str | None


class DatasetFacts(TypedDict):
    """stages: ingest, validate and curate. trains: the steps whose model has seen it."""

    kind: str | None
    raw: RawFacts
    stages: list[StageFacts]
    train: SideFacts
    eval: SideFacts
    trains: list[str]


class BaseFacts(TypedDict):
    """files: {path: md5}. scores: what scores/base.json holds."""

    model: str | None
    revision: str | None
    backend: str | None
    md5: str | None
    bytes: int | None
    files: Mapping[str, str | None] | None
    stages: list[StageFacts]
    scores: dict[str, Any] | None


class ModelFacts(TypedDict):
    """chain: `base` first. weights: full or adapters. made_of: its made_of.json. seen: what its training saw, in numbers."""

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
    """revision: of a commit, None for the working tree. shared: the stages that belong to no dataset and no step."""

    revision: str | None
    datasets: dict[str, DatasetFacts]
    base: BaseFacts
    models: dict[str, ModelFacts]
    shared: list[StageFacts]
