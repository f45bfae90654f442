"""Train one step of the chain with TRL.

preflight/<step>.json, models/<from>/, models/base/, data/train/<d>.parquet, data/kept/<d>/
    -> models/<step>/, scores/<step>.csv, scores/<step>.seen.parquet, scores/<step>.rollouts.parquet

models/<step>/ holds full weights, or the adapters of the whole chain (see `stages/training/models.py`), and `made_of.json`: the
resolved step, the hash of its rows, the libraries and the device. scores/<step>.csv is the training curve,
scores/<step>.seen.parquet how often each row was in a batch (see `stages/training/exposure.py`), scores/<step>.rollouts.parquet
what GRPO generated (see `stages/training/rollouts.py`). The work is done in `.work/<step>/` (see `stages/training/checkpoints.py`).
The model appears in one rename: a killed run leaves nothing that looks finished, and the next run resumes it. A model that another
step trained from the same inputs is reused (see `stages/training/twins.py`).
"""

import csv
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow.parquet as pq

from stages.core.process import lock_step
from stages.core.progress import format_duration, progress_bar
from stages.rows.batches import batches
from stages.training.adapters import start_folder, write_model
from stages.training.backends import choose_backend, device_name, load_for_training, missing_requirements
from stages.training.checkpoints import (
    clear_path,
    identity_folder,
    is_first_process,
    last_checkpoint,
    move_into_place,
    restore_finished,
    resume_training,
    save_checkpoints,
    store_finished,
    training_identity,
)
from stages.training.curve_warnings import curve_warnings
from stages.training.exposure import count_rows, exposure_path, exposure_summary, write_exposure
from stages.training.failures import explain_out_of_memory, stop_on_bad_loss
from stages.training.kept_prompts import delete_kept, kept_facts, kept_ids
from stages.training.messages import FailedProof
from stages.training.models import renderer
from stages.training.reasoning_masks import LABEL_COLUMNS as MASKED
from stages.training.reasoning_masks import mask_thoughts
from stages.training.rendering import Renderer
from stages.training.reward_calls import reward_function
from stages.training.reward_ties import stop_if_rewards_tie
from stages.training.rollouts import keep_rollouts, rollouts_path, write_rollouts
from stages.training.thoughts import match_evaluated_text, thought_parser
from stages.training.trackers import configure_trackers, tracker_problems
from stages.training.trainer_rows import limits_from_config, orpo_columns, rows_for_trainer
from stages.training.trl import METHOD_COLUMNS, make_config, trainer_class
from stages.training.twins import find_twin, write_twin
from stages.training.types import Config, ResolvedStep, Trainer
from stages.training.unsloth_backend import stop_if_args_changed
from validators.problems import Problem, Problems

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import TrainerControl, TrainerState, TrainingArguments
    from transformers.trainer_utils import TrainOutput


def main(name: str) -> bool:
    """Train a step; False where nothing was trained, as the model exists already."""
    resolved: ResolvedStep = json.loads(Path("preflight", f"{name}.json").read_text(encoding="utf-8"))
    if problems := missing_requirements(name, resolved) + tracker_problems():
        raise Problems(problems)
    step = resolved | {"backend": choose_backend(resolved["backend"])}
    model, curve, work = Path("models", name), Path("scores", f"{name}.csv"), Path(".work", name)
    exposure, rollouts = exposure_path(name), rollouts_path(name)
    with lock_step(work):
        # DVC's run cache has the folder without the files of a `difficulty` that params.yaml no longer has
        as_before = is_first_process() and not step.get("difficulty") and delete_kept(step["dataset"])
        step = cast(ResolvedStep, step | kept_facts(step))
        identity = training_identity(step)
        folder = identity_folder(work, identity)
        if restore_finished(folder, [curve, exposure, rollouts, model]):
            print(f"train {name}: finished before, with the same rows, params and code: put back from {folder}")
            return False
        # the first process alone knows whether it deleted files: of several, one would take over and the others would wait for it
        if twin := find_twin(name, resolved, itself=as_before and identity["processes"] == 1):
            if is_first_process():
                write_twin(twin, step, folder / "model", [curve, exposure, rollouts])
                move_into_place(folder / "model", model)
            print(f"train {name}: same inputs as {twin.name}: its weights are taken over")
            return False
        try:
            trainer, result = train(name, step, folder)
        except KeyboardInterrupt:
            if is_first_process():
                print(f"\ntrain {name}: stopped: {describe_resume(folder)}", flush=True)
            raise
        write_model(trainer, step, folder / "model", training_facts(step, identity, result.global_step))
        write_exposure(exposure, trainer, step, identity["rows_sha256"])
        write_rollouts(rollouts, trainer, step, identity["rows_sha256"])
        if trainer.is_world_process_zero():
            write_curve(curve, trainer.state.log_history)
            move_into_place(folder / "model", model)
            store_finished(folder, [curve, exposure, rollouts, model])
            counts = exposure_summary(exposure) or {}
            rows = (
                f"{step['kept']['rows']:,} rows kept of {step['kept']['of']:,}"
                if "kept" in step
                else f"{step['trained_rows']:,} rows"
            )
            print(
                f"train {name}: {step['method']} on {counts['seen']:,} of {rows}, "
                f"{result.global_step:,} optimizer steps, loss {result.training_loss:.4f}{describe_rewards(trainer.state.log_history)}"
            )
            print(f"train {name}: took {format_duration(result.metrics['train_runtime'])}")
            for text in curve_warnings(step["method"], step["args"], trainer.state.log_history):
                print(f"train {name}: warning: {text}")
    return True


def train(name: str, step: ResolvedStep, folder: Path) -> tuple[Trainer, "TrainOutput"]:
    """(trainer, transformers' TrainOutput) of a step that was trained to its end."""
    with explain_out_of_memory(name, step):
        trainer = make_trainer(name, step, folder)
    announced = len(trainer.exposure.items) if "kept" in step else step.get("packed_rows", step["sequences"])
    if len(trainer.train_dataset) != announced:
        raise AssertionError(f"TRL kept {len(trainer.train_dataset)} rows, preflight announced {announced}")
    if step["method"] == "grpo":
        stop_if_rewards_tie(trainer, step)
    with explain_out_of_memory(name, step, trainer):
        result = resume_training(save_checkpoints(trainer), folder)
    if not result.global_step:
        raise AssertionError("TRL took no optimizer step")
    return trainer, result


def make_trainer(name: str, step: ResolvedStep, folder: Path) -> Trainer:
    """TRL's trainer of a step, ready to train."""
    from transformers import set_seed

    method, parent = step["method"], Path("models", step["from"])
    config = make_config(f"steps.{name}", step, str(folder))
    configure_trackers(config, name)
    set_seed(step["seed"])
    render = renderer(parent)
    rows, numbers = read_rows(step, config, render)
    ids = pq.read_table(f"data/train/{step['dataset']}.parquet", columns=["id"])["id"].take(numbers).to_pylist()
    model, extra = load_for_training(start_folder(parent, step, folder / "start", config), step, config)
    # again: TRL initialises an adapter before it seeds, and loading a chain of models draws random numbers
    set_seed(step["seed"])
    if method == "grpo":
        thoughts = thought_parser(render)
        extra["reward_funcs"] = [
            match_evaluated_text(reward_function(function), thoughts) for function in step["rewards"]
        ]
        config.chat_template_kwargs = dict(render.options)
    if method == "sft":
        config.assistant_only_loss = config.completion_only_loss = False  # the labels of the rows say what is learned
    trainer = trainer_class(method)(
        model=model, args=config, train_dataset=rows, processing_class=render.tokenizer, **extra
    )
    if step["backend"] == "unsloth":
        stop_if_args_changed(name, trainer.args, step["args"])
    if method in MASKED and step["reasoning"] == "mask":
        trainer.data_collator = mask_thoughts(trainer.data_collator, method, config)
    stop_on_bad_loss(trainer, name, step, ids)
    count_rows(trainer, method, numbers, rows)
    if method == "grpo":
        trainer.thoughts = thoughts
        own_steps = steps_of_kept_prompts(step, config, len(rows))
        keep_rollouts(trainer, cast(ResolvedStep, step | own_steps), ids)
    return show_progress(trainer, name)


def steps_of_kept_prompts(step: ResolvedStep, config: Config, rows: int) -> dict[str, int]:
    """{"optimizer_steps"} of the kept prompts, as preflight has counted all prompts. Raises Problems where they make none."""
    if "kept" not in step:
        return {}
    together = config.generation_batch_size // config.num_generations
    if rows < together:
        found, hint = (
            f"{rows:,} prompts are kept, of {together:,} that are sampled together",
            "set wider bounds, or a smaller batch",
        )
        raise Problems([Problem(f"difficulty.{step['dataset']}.keep", found, "at least one batch", hint)])
    part = math.ceil(step["optimizer_steps"] * rows / step["sequences"])
    return {"optimizer_steps": config.max_steps if config.max_steps > 0 else part}


def read_rows(step: ResolvedStep, config: Config, render: Renderer) -> tuple["Dataset", list[int]]:
    """(datasets.Dataset as TRL's trainer takes it, the numbers of its rows in the file), in the order in which TRL gets them.

    Leaves out the rows that preflight has left out, by the same functions, and the prompts that `keep` has not kept.
    """
    from datasets import Dataset, concatenate_datasets

    method = step["method"]
    limits = limits_from_config(method, config, step["overlong"], step["reasoning"])
    wanted, columns = (kept_ids(step["dataset"]), ["id"]) if "kept" in step else (None, [])
    parts: list[Any] = []
    numbers: list[int] = []
    number = -1
    for rows in batches(f"data/train/{step['dataset']}.parquet", [*columns, *METHOD_COLUMNS[method]]):
        part = []
        for row in rows:
            number += 1
            if wanted is not None and row["id"] not in wanted:
                continue
            try:
                prepared = rows_for_trainer(method, row, render, limits)
            except FailedProof:
                continue
            if method == "grpo":  # TRL renders the prompt itself, for its generation and for the reward functions
                prepared = [
                    {key: row[key] for key in METHOD_COLUMNS["grpo"]}
                    | {"prompt": render.template_messages(row["prompt"])}
                ]
            elif method == "orpo":
                length = cast(int, limits.length)  # orpo always has one
                prepared = [orpo_columns(each, length) for each in prepared]
            part += prepared
            numbers += [number] * len(prepared)
        if part:
            parts.append(part if method == "grpo" else Dataset.from_list(part))
    if method == "grpo":
        # in a Dataset, each message has the keys of all messages: `without_nulls` removes the empty ones as rows are taken
        dataset = Dataset.from_list([row for part in parts for row in part]).with_transform(without_nulls)
    else:
        dataset = concatenate_datasets(parts)  # in memory: no Arrow files in a cache that DVC does not know
    if method == "kto":
        # KTO takes rows in file order; a batch of one class has no contrast
        shuffled = dataset.add_column("number", numbers).shuffle(seed=step["seed"])
        dataset, numbers = shuffled.remove_columns("number"), list(shuffled["number"])
    return dataset, numbers


def without_nulls(batch: dict[str, Any]) -> dict[str, Any]:
    """A batch of GRPO's rows without the keys of messages that are null: templates check whether a key is there."""
    prompts = [
        [{key: value for key, value in turn.items() if value is not None} for turn in prompt]
        for prompt in batch["prompt"]
    ]
    return batch | {"prompt": prompts}


def show_progress(trainer: Trainer, name: str) -> Trainer:
    """The trainer, with a progress bar as other long stages have, instead of a dict every few steps."""
    from transformers import PrinterCallback, TrainerCallback

    class Progress(TrainerCallback):
        def on_train_begin(
            self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **_: Any
        ) -> None:
            self.bar = progress_bar(state.max_steps, f"train {name}", "step", done=state.global_step)

        def on_step_end(
            self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **_: Any
        ) -> None:
            self.bar.update(state.global_step - self.bar.n)

        def on_log(
            self,
            args: "TrainingArguments",
            state: "TrainerState",
            control: "TrainerControl",
            logs: dict[str, Any] | None = None,
            **_: Any,
        ) -> None:
            logged = logs or {}
            shown = [f"{key} {float(logged[key]):.4g}" for key in ("loss", "reward", "learning_rate") if key in logged]
            self.bar.set_postfix_str(", ".join(shown), refresh=False)

        def on_train_end(
            self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **_: Any
        ) -> None:
            self.bar.close()

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Progress)
    return trainer


def describe_rewards(history: Iterable[dict[str, Any]]) -> str:
    """`, reward 0.125 at first, 0.250 at last` of a grpo training; "" of others. history: of transformers' Trainer."""
    rewards = [line["reward"] for line in history if "reward" in line]
    return f", reward {rewards[0]:.3f} at first, {rewards[-1]:.3f} at last" if rewards else ""


def describe_resume(folder: Path) -> str:
    """Where a training that was stopped goes on. folder: of its identity."""
    checkpoint = last_checkpoint(folder)
    if checkpoint is None:
        return "there is no checkpoint yet, so `dvc repro` begins it anew"
    return (
        f"`dvc repro` resumes it at step {checkpoint.name.rpartition('-')[2]}; with other data or params it begins anew"
    )


def training_facts(step: ResolvedStep, identity: dict[str, Any], steps: int) -> dict[str, Any]:
    """The content of made_of.json: the step as resolved, the hash of its rows, the libraries, the device.

    steps: the optimizer steps that were taken. Where only a part of the prompts is kept, they replace those that preflight counted.
    """
    facts = {key: identity[key] for key in ("rows_sha256", "versions", "processes")}
    facts |= {"sharding": identity["sharding"]} if identity["sharding"] else {}
    facts |= {"optimizer_steps": steps} if "kept" in step else {}
    return step | facts | {"device": device_name()}


def write_curve(path: Path, history: Iterable[dict[str, Any]]) -> None:
    """The training curve as CSV: a row for each logged step, without times, which would differ in every run."""
    rows = [entry for entry in history if "loss" in entry]
    columns = sorted({key for row in rows for key in row if "time" not in key} - {"step", "epoch", "loss"})
    clear_path(path)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["step", "epoch", "loss", *columns], extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
