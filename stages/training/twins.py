"""Find a training that was done before under other names, and reuse its outputs instead of training again.

    find_twin("align2", step) -> Twin("align", {"model.safetensors": path, ...}, curve, (seen, rollouts))

Two steps with the same args on the same rows, from models with the same weights, give the same model. DVC identifies a step by
its name, so a new name would train it again. This module compares DVC's records with what this step reads: the step as preflight
resolved it, without names; the rows; the code; the bytes of the models that it starts from. All bytes are hashed before use.
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

NAME_KEYS = ("step", "from")  # keys of a resolved step: its own name, and its parent's


@dataclass(frozen=True)
class Twin:
    """The outputs of another step's training. files: {path in the model, renamed for this step: where its bytes are}."""

    name: str
    files: dict[str, Path]
    curve: Path
    tables: tuple[Path, Path]  # exposure and rollouts


def find_twin(name: str, step: ResolvedStep, itself: bool = False) -> Twin | None:
    """The Twin of a step; None if there is none whose bytes are all on this machine.

    itself: also accept an earlier training of the step itself, which DVC could not find.
    """
    for record in stage_runs("train"):
        if not itself and is_own(record, step):
            continue  # DVC has found that one of its inputs changed
        launch = read_params("preflight")[
            "launch"
        ]  # does not change bytes, but trainings with another launch are not the same
        same = record.cmd == f"{launch} -m stages train {record.name}" and same_inputs(record, step)
        if same and (twin := twin_of_record(record, name, step)):
            return twin
    return None


def is_own(record: StageRun, step: ResolvedStep) -> bool:
    """Whether a record is of the step itself, with its current parent."""
    return f"models/{step['step']}" in record.outs and f"models/{step['from']}" in record.deps


def same_inputs(record: StageRun, step: ResolvedStep) -> bool:
    """Whether another training had the inputs of this one. Compares the cheapest first."""
    other = read_resolved_step(record)
    if other is None or without_names(other) != without_names(step) or not same_bytes(record, step):
        return False
    models = {f"models/{step['from']}": f"models/{other['from']}", BASE.as_posix(): BASE.as_posix()}
    return all(same_model(Path(ours), record.deps.get(theirs)) for ours, theirs in models.items())


def same_bytes(record: StageRun, step: ResolvedStep) -> bool:
    """Whether another training had the same rows, kept prompts and code as this one."""
    kept = Path("data/kept", step["dataset"])
    here = {path: hashes.md5(path) for path in (f"data/train/{step['dataset']}.parquet", ".build/code/train")}
    here[kept.as_posix()] = hashes.folder_md5(
        {path.relative_to(kept).as_posix(): hashes.md5(path) for path in kept.rglob("*") if path.is_file()}
    )
    return all(record.deps.get(path) == md5 for path, md5 in here.items())


def without_names(step: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in step.items() if key not in NAME_KEYS}


def read_resolved_step(record: StageRun) -> dict[str, Any] | None:
    """The step of another training, as preflight had resolved it; None if it is not on this machine."""
    path = f"preflight/{record.name}.json"
    md5 = record.deps.get(path)
    source = find_bytes(md5, Path(path)) if md5 else None
    try:
        step = json.loads(source.read_bytes()) if source else None
    except (OSError, ValueError):
        return None
    return step if isinstance(step, dict) and set(NAME_KEYS) <= set(step) else None


def same_model(folder: Path, md5: str | None) -> bool:
    """Whether a model has the same bytes as one in DVC's cache, whatever its steps are called."""
    listed = files_in_folder(md5) if md5 else None
    if listed is None:
        return False
    theirs = {part: found for path, found in listed.items() if (part := part_of_model(path))}
    paths = {path: path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()}
    ours = {part: path for path, name in paths.items() if (part := part_of_model(name))}
    return theirs.keys() == ours.keys() and all(theirs[part] == hashes.md5(path) for part, path in ours.items())


def twin_of_record(record: StageRun, name: str, step: ResolvedStep) -> Twin | None:
    """The Twin of a record; None if any of its files is missing."""
    model = f"models/{record.name}"
    tables = [f"scores/{record.name}{end}" for end in (".csv", ".seen.parquet", ".rollouts.parquet")]
    listed = files_in_folder(record.outs.get(model, ""))
    if not record.name or not listed or "made_of.json" not in listed or not set(tables) <= set(record.outs):
        return None
    files = {inside: path for inside, md5 in listed.items() if (path := find_bytes(md5, Path(model, inside)))}
    curve, seen, rollouts = (find_bytes(record.outs[path], Path(path)) for path in tables)
    if len(files) < len(listed) or not (curve and seen and rollouts):
        return None
    return Twin(record.name, dict(rename_adapters(files, name, step)), curve, (seen, rollouts))


def rename_adapters(files: dict[str, Path], name: str, step: ResolvedStep) -> Iterator[tuple[str, Path]]:
    """The files of a model, with its adapters renamed to this project's steps."""
    chain = [adapter.name for adapter in adapters(Path("models", step["from"]))]
    for inside, path in files.items():
        first, *rest = inside.split("/")
        if first == "adapters" and rest[0][:2].isdigit():
            number = int(rest[0].partition("_")[0])
            rest[0] = chain[number] if number < len(chain) else f"{number:02}_{name}"
        yield "/".join([first, *rest]), path


def find_bytes(md5: str, beside: Path) -> Path | None:
    """Where the bytes of a hash are: in DVC's cache, or at `beside`, where they were made; None if in neither place."""
    return next((path for path in (object_path(md5), beside) if path.is_file() and hashes.md5(path) == md5), None)


# -- writing under this step's names --------------------------------------------------------------------------------------


def write_twin(twin: Twin, step: ResolvedStep, folder: Path, outputs: list[Path]) -> None:
    """Write a twin's outputs as this step's own: the bytes that its training would write.

    folder: of the model. outputs: the paths of its curve, exposure and rollouts.
    """
    import shutil

    from stages.training.checkpoints import clear_path
    from stages.training.exposure import read_table, write_table

    clear_path(folder)
    for inside, path in twin.files.items():
        target = folder / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)  # a copy: DVC makes the files of its cache read-only
    made_of = json.loads((folder / "made_of.json").read_text(encoding="utf-8")) | {key: step[key] for key in NAME_KEYS}
    (folder / "made_of.json").write_text(json.dumps(made_of, indent=2) + "\n", encoding="utf-8")
    curve, *tables = outputs
    shutil.copyfile(twin.curve, clear_path(curve))
    for theirs, ours in zip(twin.tables, tables, strict=True):
        table, facts = read_table(theirs)
        write_table(ours, table, facts | {"step": step["step"]})
