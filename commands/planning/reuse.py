"""Which future trainings will reuse the weights of an earlier one, as far as their inputs are known now.

reused_trainings(decisions) -> {"align2": "align"}

`train` asks `stages/training/twins.py` when all its inputs exist. Here preflight may not have run yet, so only what params.yaml
decides about a step is compared. An uncertain reuse is not reported.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from commands.planning.state import MAY_RUN, RUNS, UNCHANGED, Decision
from stages.core.dvc_cache import StageRun, files_in_folder, object_path, stage_runs
from stages.training.models import BASE
from stages.training.twins import is_own, read_resolved_step, same_bytes, same_model, without_names

if TYPE_CHECKING:
    from stages.training.types import ResolvedStep


def reused_trainings(decisions: list[Decision]) -> dict[str, str]:
    """{step: the step whose training it reuses}."""
    verdicts = {decision.stage: decision.verdict for decision in decisions}
    stages = [name for name in verdicts if name.startswith("train@") and verdicts[name] in (RUNS, MAY_RUN)]
    if not stages or any(verdicts.get(stage) != UNCHANGED for stage in ("code", "base")):
        return {}
    from commands.planning.forecast import as_json_data, resolved_params
    from stages.code import list_code, reward_code
    from stages.dryrun.resolved_steps import resolve_step

    params, codes, recorded, reused = resolved_params(), reward_code(list_code()), list(stage_runs("train")), {}
    for stage in stages:
        name = stage.partition("@")[2]
        step = as_json_data(resolve_step(name, params["steps"][name], params, codes))
        data = (verdicts.get(f"{room}@{step['dataset']}", UNCHANGED) for room in ("curate", "keep"))
        if any(verdict != UNCHANGED for verdict in data):
            continue
        parent_stays = step["from"] == BASE.name or verdicts.get(f"train@{step['from']}") == UNCHANGED
        same_launch = (
            record for record in recorded if record.cmd == f"{params['launch']} -m stages train {record.name}"
        )
        if other := next(
            (record for record in same_launch if training_matches(record, step, parent_stays, reused)), None
        ):
            reused[name] = other.name
    return reused


def training_matches(record: StageRun, step: "ResolvedStep", parent_stays: bool, reused: dict[str, str]) -> bool:
    """True where a recorded training is the training of a step. reused: {step: the step whose training it reuses}, of earlier steps."""
    other = read_resolved_step(record)
    if (
        other is None
        or is_own(record, step)
        or any(other.get(key) != value for key, value in without_names(step).items())
    ):
        return False
    if not same_bytes(record, step) or not same_model(BASE, record.deps.get(BASE.as_posix())) or not has_files(record):
        return False
    if parent_stays:
        return same_model(Path("models", step["from"]), record.deps.get(f"models/{other['from']}"))
    return reused.get(step["from"]) == other["from"]


def has_files(record: StageRun) -> bool:
    """True where all files of a model are in the cache or in its folder. Their bytes are hashed only when they are used."""
    model = f"models/{record.name}"
    files = files_in_folder(record.outs.get(model, "")) or {}
    return bool(files) and all(object_path(md5).is_file() or Path(model, path).is_file() for path, md5 in files.items())
