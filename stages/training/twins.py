"""A training that was done before under other names: found by what decided it, and taken over instead of done again.

    twin("align2", step) -> Twin("align", {"model.safetensors": path, ...}, curve, (seen, rollouts))

Two steps with the same args on the same rows, from models with the same weights, give the same model. DVC knows a step by its
name, so that a new name would train it again. Here the records of DVC are held against what this step reads: the step as preflight
resolved it, without names; the rows; the code; the bytes of the models that it starts from. All bytes are hashed before any is used.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core import hashes
from stages.core.dvc_cache import StageRun, files_in_folder, object_path, stage_runs
from stages.core.params import read_params
from stages.training.models import BASE, adapters, part_of_model
from stages.training.types import ResolvedStep

NAME_KEYS = ("step", "from")  # of a resolved step: what it is called, and what its parent is called


@dataclass(frozen=True)
class Twin:
    """What another step's training made. files: {path inside the model, under the names of this step: its bytes}."""

    name: str
    files: dict[str, Path]
    curve: Path
    tables: tuple[Path, Path]  # what it saw, what it generated


def find_twin(name: str, step: ResolvedStep, itself: bool = False) -> Twin | None:
    """The Twin of a step, None where it has none whose bytes are all here. step: as preflight resolved it.

    itself: also one that the step itself has trained, where DVC could not find it.
    """
    for record in stage_runs("train"):
        if not itself and is_own(record, step):
            continue  # DVC has found that something of it changed
        launch = read_params("preflight")["launch"]  # decides no bytes here, but which trainings are the same
        same = record.cmd == f"{launch} -m stages train {record.name}" and same_inputs(record, step)
        if same and (found := twin_of_record(record, name, step)):
            return found
    return None


def is_own(record: StageRun, step: ResolvedStep) -> bool:
    """Whether a record is of the step itself, from the parent that it has now."""
    return f"models/{step['step']}" in record.outs and f"models/{step['from']}" in record.deps


def same_inputs(record: StageRun, step: ResolvedStep) -> bool:
    """Whether another training read what this one reads: the cheapest to compare first."""
    other = read_resolved_step(record)
    if other is None or without_names(other) != without_names(step) or not same_bytes(record, step):
        return False
    models = {f"models/{step['from']}": f"models/{other['from']}", BASE.as_posix(): BASE.as_posix()}
    return all(same_model(Path(ours), record.deps.get(theirs)) for ours, theirs in models.items())


def same_bytes(record: StageRun, step: ResolvedStep) -> bool:
    """Whether another training read the rows, kept the same of them, and ran the code of this one."""
    kept = Path("data/kept", step["dataset"])
    here = {path: hashes.md5(path) for path in (f"data/train/{step['dataset']}.parquet", ".build/code/train")}
    here[kept.as_posix()] = hashes.folder_md5(
        {path.relative_to(kept).as_posix(): hashes.md5(path) for path in kept.rglob("*") if path.is_file()}
    )
    return all(record.deps.get(path) == md5 for path, md5 in here.items())


def without_names(step: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in step.items() if key not in NAME_KEYS}


def read_resolved_step(record: StageRun) -> dict[str, Any] | None:
    """The step that another training was of, as preflight had resolved it."""
    path = f"preflight/{record.name}.json"
    md5 = record.deps.get(path)
    source = find_bytes(md5, Path(path)) if md5 else None
    try:
        found = json.loads(source.read_bytes()) if source else None
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and set(NAME_KEYS) <= set(found) else None


def same_model(folder: Path, md5: str | None) -> bool:
    """Whether a model computes with the same bytes as one that DVC's cache knows, whatever its steps are called."""
    listed = files_in_folder(md5) if md5 else None
    if listed is None:
        return False
    theirs = {part: found for path, found in listed.items() if (part := part_of_model(path))}
    paths = {path: path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()}
    ours = {part: path for path, name in paths.items() if (part := part_of_model(name))}
    return theirs.keys() == ours.keys() and all(theirs[part] == hashes.md5(path) for part, path in ours.items())


def twin_of_record(record: StageRun, name: str, step: ResolvedStep) -> Twin | None:
    """The Twin that a record tells of, None where any byte of it is missing."""
    model = f"models/{record.name}"
    beside = [f"scores/{record.name}{end}" for end in (".csv", ".seen.parquet", ".rollouts.parquet")]
    listed = files_in_folder(record.outs.get(model, ""))
    if not record.name or not listed or "made_of.json" not in listed or not set(beside) <= set(record.outs):
        return None
    files = {inside: path for inside, md5 in listed.items() if (path := find_bytes(md5, Path(model, inside)))}
    curve, seen, rollouts = (find_bytes(record.outs[path], Path(path)) for path in beside)
    if len(files) < len(listed) or not (curve and seen and rollouts):
        return None
    return Twin(record.name, dict(rename_adapters(files, name, step)), curve, (seen, rollouts))


def rename_adapters(files: dict[str, Path], name: str, step: ResolvedStep) -> Iterator[tuple[str, Path]]:
    """The files of a model, its adapters under the names of the steps that they are of here."""
    chain = [adapter.name for adapter in adapters(Path("models", step["from"]))]
    for inside, path in files.items():
        first, *rest = inside.split("/")
        if first == "adapters" and rest[0][:2].isdigit():
            number = int(rest[0].partition("_")[0])
            rest[0] = chain[number] if number < len(chain) else f"{number:02}_{name}"
        yield "/".join([first, *rest]), path


def find_bytes(md5: str, beside: Path) -> Path | None:
    """Where the bytes of a hash are: in DVC's cache, or in the folder where they were made. None where they are in neither."""
    return next((path for path in (object_path(md5), beside) if path.is_file() and hashes.md5(path) == md5), None)


# -- under the names of this step ---------------------------------------------------------------------------------------


def write_twin(found: Twin, step: ResolvedStep, folder: Path, beside: list[Path]) -> None:
    """Write what a twin made as this step's own: the bytes that its training would write.

    folder: of the model. beside: its curve, what it saw, what it generated.
    """
    import shutil

    from stages.training.checkpoints import clear_path
    from stages.training.exposure import read_table, write_table

    clear_path(folder)
    for inside, path in found.files.items():
        target = folder / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)  # a copy: DVC makes the files of its cache read-only
    made_of = json.loads((folder / "made_of.json").read_text(encoding="utf-8")) | {key: step[key] for key in NAME_KEYS}
    (folder / "made_of.json").write_text(json.dumps(made_of, indent=2) + "\n", encoding="utf-8")
    curve, *tables = beside
    shutil.copyfile(found.curve, clear_path(curve))
    for theirs, ours in zip(found.tables, tables, strict=True):
        table, facts = read_table(theirs)
        write_table(ours, table, facts | {"step": step["step"]})
