"""Checkpoints of a training in `.work/<step>/<identity>/`. A killed run resumes from them and ends with the same bytes.

    .work/sft/5f1c0a9be2d47731/identity.json          what the folder's name is the hash of
                               checkpoint-120/        TRL's checkpoint, `seen.npy`, and `complete.json`, which is written last
                               finished/              the model, until DVC has it: hard links
                               start/                 the merged chain of adapters, where a step needs one

The identity is the hash of everything that decides the result: the step as preflight resolved it, its rows, the models it
starts from, the code, the libraries, the number of processes and how they share the weights. Another identity has another
folder, and the old one is deleted. So a run resumes only from a state that an uninterrupted run would also have reached.

Checkpoints hold pickles (optimizer.pt, rng_state.pth), as transformers writes them. This machine wrote them, torch reads them
with `weights_only`, and they never leave `.work/`, which git and DVC ignore.
"""

import errno
import hashlib
import importlib.metadata
import json
import math
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.code_lists import code_hash
from stages.core.hashes import sha256
from stages.training import rollouts
from stages.training.exposure import restore_exposure, save_exposure
from stages.training.sharding import sharding
from stages.training.types import Config, ResolvedStep, Trainer

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments
    from transformers.trainer_utils import TrainOutput


# a kill loses at most this much work, plus the time until the next step that a run can resume from exactly
CHECKPOINT_INTERVAL_S = 300
SAVE_PAUSE_FACTOR = 20  # after a save, wait 20 times as long as it took: saving takes at most 5% of the time
LIBRARIES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")
OPTIONAL_LIBRARIES = {
    "unsloth": ("unsloth", "unsloth_zoo"),
    "load_in_4bit": ("bitsandbytes",),
    "use_vllm": ("vllm",),
    "deepspeed": ("deepspeed",),
}
STEP_LOGGING = ("steps", "IntervalStrategy.STEPS")
# how a part of a training's identity is called where it has changed
PART_NAMES = {
    "step": "params",
    "rows_sha256": "rows",
    "models": "models before it",
    "versions": "versions of libraries",
}


def training_identity(step: ResolvedStep) -> dict[str, Any]:
    """Everything that decides the result of a training, as plain data. step: with its backend resolved."""
    models = {path: file_hashes(Path(path)) for path in sorted({"models/base", f"models/{step['from']}"})}
    return {
        "step": step,
        "rows_sha256": sha256(Path(f"data/train/{step['dataset']}.parquet")),
        "models": models,
        "code": code_hash("train"),
        "versions": library_versions(step),
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        "sharding": sharding(),
    }


def library_versions(step: ResolvedStep) -> dict[str, str]:
    """{library: version} of the libraries that train a step."""
    used = {step["backend"], *(key for key in OPTIONAL_LIBRARIES if step.get(key) or step["args"].get(key))}
    used |= {"deepspeed"} if (sharding() or "").startswith("zero") else set()
    optional = [library for key, libraries in OPTIONAL_LIBRARIES.items() if key in used for library in libraries]
    return {library: importlib.metadata.version(library) for library in (*LIBRARIES, *optional)}


def file_hashes(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def identity_folder(work: Path, identity: dict[str, Any]) -> Path:
    """Create the folder of an identity under `.work/<step>/`, and delete those of other identities."""
    text = json.dumps(identity, indent=2, sort_keys=True)
    folder = work / hashlib.sha256(text.encode()).hexdigest()[:16]
    if is_first_process():
        for other in work.iterdir():
            if other.is_dir() and other != folder:
                if checkpoint := last_checkpoint(other):
                    print(f"  {checkpoint} is given up: it has other {identity_changes(other, identity)}")
                shutil.rmtree(other)
        folder.mkdir(exist_ok=True)
        (folder / "identity.json").write_text(text + "\n", encoding="utf-8")
    return folder


def identity_changes(folder: Path, identity: dict[str, Any]) -> str:
    """The parts in which the identity of a folder differs from this training's, in words: `processes (2, now 1)`."""
    before = json.loads((folder / "identity.json").read_text(encoding="utf-8"))
    changes = []
    for key, now in identity.items():
        if (was := before.get(key)) != now:
            values = f" ({was or 'none'}, now {now or 'none'})" if key in ("processes", "sharding") else ""
            changes.append(PART_NAMES.get(key, key) + values)
    return ", ".join(changes)


def is_first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


# -- checkpoints ----------------------------------------------------------------------------------------------------


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint, or None. Ignores checkpoints that a kill left half written."""
    complete = [path for path in folder.glob("checkpoint-*") if is_complete(path)]
    return max(complete, key=lambda path: int(path.name.split("-")[1]), default=None)


def is_complete(checkpoint: Path) -> bool:
    """True if the checkpoint has the same files with the same sizes as when it was completed."""
    try:
        sizes = json.loads((checkpoint / "complete.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    return sizes == file_sizes(checkpoint)


def file_sizes(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "complete.json"
    }


def mark_complete(checkpoint: Path) -> None:
    """Mark a checkpoint as complete, and delete all others."""
    partial = checkpoint / "complete.partial"
    partial.write_text(json.dumps(file_sizes(checkpoint)), encoding="utf-8")
    os.replace(partial, checkpoint / "complete.json")
    for other in checkpoint.parent.glob("checkpoint-*"):
        if other != checkpoint:
            shutil.rmtree(other, ignore_errors=True)


def optimizer_steps_per_generation(config: Config) -> int:
    """Optimizer steps after which GRPO has used up what it generated; in between, a checkpoint would lack these answers."""
    if not hasattr(config, "steps_per_generation"):
        return 1
    generate_every = config.steps_per_generation * config.num_iterations
    return generate_every // math.gcd(generate_every, config.gradient_accumulation_steps)


def save_checkpoints(trainer: Trainer, every_s: float | None = None) -> Trainer:
    """The trainer, saving a checkpoint every `every_s` seconds, at steps from which it resumes exactly.

    These are the steps with a line in the log: a checkpoint does not hold the sums between two lines.
    """
    from transformers import TrainerCallback

    every_s = float(os.environ.get("TILTH_CHECKPOINT_S", CHECKPOINT_INTERVAL_S)) if every_s is None else every_s
    steps = optimizer_steps_per_generation(trainer.args)

    class Checkpoints(TrainerCallback):
        due = time.monotonic() + every_s
        began = 0.0

        def on_step_end(
            self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **_: Any
        ) -> None:
            if (
                str(args.logging_strategy) in STEP_LOGGING
                and state.global_step % math.lcm(steps, state.logging_steps) == 0
            ):
                self.request_save(state, control)

        def on_epoch_end(
            self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **_: Any
        ) -> None:
            if str(args.logging_strategy) not in STEP_LOGGING and state.global_step % steps == 0:
                self.request_save(state, control)

        def request_save(self, state: "TrainerState", control: "TrainerControl") -> None:
            if state.global_step < state.max_steps and broadcast_decision(time.monotonic() >= self.due):
                control.should_save, self.began = True, time.monotonic()

        def on_save(
            self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **_: Any
        ) -> None:
            checkpoint = Path(str(args.output_dir), f"checkpoint-{state.global_step}")
            trainer.accelerator.wait_for_everyone()
            save_exposure(trainer, checkpoint)
            rollouts.save_rollouts(trainer, checkpoint)
            if state.is_world_process_zero:
                mark_complete(checkpoint)
            now = time.monotonic()
            self.due = now + max(every_s, SAVE_PAUSE_FACTOR * (now - self.began) if every_s else 0)

    trainer.add_callback(Checkpoints)
    return trainer


def broadcast_decision(wanted: bool) -> bool:
    """The decision of the first process, for all of them: clocks differ, and either all processes save or none."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return wanted
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([wanted])[0]


def resume_training(trainer: Trainer, folder: Path) -> "TrainOutput":
    """Train from the last checkpoint in the folder, or from the start."""
    checkpoint = last_checkpoint(folder)
    for path in folder.glob("checkpoint-*"):
        if path != checkpoint and is_first_process():
            shutil.rmtree(path, ignore_errors=True)
    if checkpoint is None:
        return trainer.train()
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    history = state["log_history"]
    if is_first_process():
        print(f"  resumes from {checkpoint}")
    # TRL keeps its count of tokens only in the log
    trainer._total_train_tokens = next((line["num_tokens"] for line in reversed(history) if "num_tokens" in line), 0)
    restore_exposure(trainer, checkpoint)
    rollouts.restore_rollouts(trainer, checkpoint)
    advance_prompt_order(trainer, round(state["epoch"], 6) // 1)
    result = trainer.train(resume_from_checkpoint=str(checkpoint))
    # transformers divides the loss since the checkpoint by all steps
    return result._replace(training_loss=result.training_loss + total_loss(history) / result.global_step)


def advance_prompt_order(trainer: Trainer, epochs: float) -> Trainer:
    """Make GRPO's sampler continue with the prompt order of a later epoch; it would repeat the first epoch's order."""
    import torch
    from trl.trainer.utils import RepeatSampler

    make = trainer._get_train_sampler

    def make_later(*arguments: Any) -> Any:
        sampler = make(*arguments)
        if isinstance(sampler, RepeatSampler) and sampler.shuffle:
            for _ in range(int(epochs)):
                torch.randperm(sampler.num_samples, generator=sampler.generator)
        return sampler

    trainer._get_train_sampler = make_later
    return trainer


def total_loss(history: list[dict[str, Any]]) -> float:
    """The sum of the losses of all steps in a log, where each line is the mean since the line before."""
    lines = [line for line in history if "loss" in line]
    starts = [0, *(line["step"] for line in lines)]
    return sum(line["loss"] * (line["step"] - start) for line, start in zip(lines, starts, strict=False))


# -- the finished model ---------------------------------------------------------------------------------------------


def store_finished(folder: Path, outs: list[Path]) -> None:
    """Keep the outputs as hard links, so nothing trains again if `dvc` is killed before it has cached them."""
    partial = clear_path(folder / "finished.partial")
    for out in outs:
        for path in [out] if out.is_file() else sorted(out.rglob("*")):
            if path.is_file():
                (partial / path).parent.mkdir(parents=True, exist_ok=True)
                link_or_copy(path, partial / path)
    (partial / "finished.json").write_text(json.dumps(file_stamps(partial)), encoding="utf-8")
    os.replace(partial, clear_path(folder / "finished"))
    for path in [*folder.glob("checkpoint-*"), folder / "start"]:
        shutil.rmtree(path, ignore_errors=True)


def restore_finished(folder: Path, outs: list[Path]) -> bool:
    """Copy the outputs of a finished training back into place; False if the folder does not hold them intact."""
    finished = folder / "finished"
    if not finished.exists() or json.loads((finished / "finished.json").read_text(encoding="utf-8")) != file_stamps(
        finished
    ):
        return False
    for out in outs if is_first_process() else ():
        partial = clear_path(folder / "back")
        # copies: DVC makes the files of its cache read-only, and two outputs must not share one file
        shutil.copytree(finished / out, partial) if (finished / out).is_dir() else shutil.copyfile(
            finished / out, partial
        )
        move_into_place(partial, out)
    return True


def file_stamps(folder: Path) -> dict[str, list[int]]:
    """{file: [size, mtime in ns]}. They show whether a file was changed through its other hard link."""
    return {
        str(path.relative_to(folder)): [path.stat().st_size, path.stat().st_mtime_ns]
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "finished.json"
    }


def link_or_copy(path: Path, target: Path) -> None:
    try:
        os.link(path, target)
    except OSError:  # `.work` may be on another disk, and not every disk supports hard links
        shutil.copy2(path, target)


def move_into_place(path: Path, target: Path) -> None:
    """Put a finished file or folder in place by one rename; from another disk it is first moved beside the target."""
    try:
        os.replace(path, clear_path(target))
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        beside = clear_path(target.with_name(f"{target.name}.partial"))
        shutil.move(path, beside)
        os.replace(beside, target)


def clear_path(path: Path) -> Path:
    """Delete what is at the path and create its parent folder. Returns the path."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
