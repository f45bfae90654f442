"""Train one step of the chain with TRL.

preflight/<step>.json, models/<from>/, models/base/, data/train/<d>.parquet -> models/<step>/, scores/<step>.csv

models/<step>/ holds full weights, or the adapters of the whole chain (see `stages/_models.py`), and `made_of.json`: what
the model was trained from. scores/<step>.csv is the training curve. The work is done in `.work/<step>/`, and the model
appears in one rename, so that a killed run leaves nothing that looks finished.
"""

import csv
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
from pathlib import Path

from stages._completions import last_answers
from stages._models import BASE, adapters, full_weights, load_model, load_tokenizer
from stages._ties import stop_if_rewards_tie
from stages._trl import COLUMNS, make_config, training_tokenizer, trl_class
from validators import rewards
from validators._problems import Problem, Problems

LIBRARIES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")


def main(name):
    step = json.loads(Path("preflight", f"{name}.json").read_text(encoding="utf-8"))
    step["backend"] = choose_backend(step["backend"])
    work = Path(".work", name)
    with only_trainer(work):
        trainer = make_trainer(name, step, work)
        announced = step.get("packed_rows", step["trained_rows"])
        if len(trainer.train_dataset) != announced:
            raise AssertionError(f"TRL kept {len(trainer.train_dataset)} rows, preflight announced {announced}")
        if step["method"] == "grpo":
            stop_if_rewards_tie(trainer, step)
        result = trainer.train()
        if not result.global_step:
            raise AssertionError("TRL took no optimizer step")
        if trainer.is_world_process_zero():
            write_curve(Path("scores", f"{name}.csv"), trainer.state.log_history)
            write_model(trainer, step, work / "model")
            os.replace(work / "model", emptied(Path("models", name)))
            print(
                f"train {name}: {step['method']} on {step['trained_rows']:,} rows, {result.global_step:,} optimizer steps, "
                f"loss {result.training_loss:.4f}"
            )


def choose_backend(wanted):
    """`unsloth` where it is wanted, or where `auto` finds it beside a CUDA device; else `transformers`.

    Unsloth patches transformers and TRL, so it is imported before either.
    """
    if wanted == "auto":
        import torch

        found = torch.cuda.is_available() and importlib.util.find_spec("unsloth")
        wanted = "unsloth" if found else "transformers"
    if wanted == "unsloth":
        try:
            import unsloth  # noqa: F401
        except (ImportError, NotImplementedError) as error:
            hint = "pip install -e '.[gpu]' on a machine with an NVIDIA GPU, or base.backend: auto"
            raise Problems([Problem("base.backend", f"unsloth does not load: {error}", "unsloth", hint)]) from None
    return wanted


def only_trainer(work):
    """A lock on the step: a killed `dvc` can leave its trainer running, and a second one would write over it."""
    from filelock import FileLock, Timeout

    work.mkdir(parents=True, exist_ok=True)
    # the processes of one `accelerate launch` are one trainer, and the first of them holds the lock
    lock = FileLock(work / f"lock.{os.environ.get('RANK', '0')}")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise Problems(
            [
                Problem(
                    f"steps.{work.name}",
                    "another process trains this step",
                    "one trainer a step",
                    f"wait for it, or end it: fuser {work}/lock.0",
                )
            ]
        ) from None
    return lock


def make_trainer(name, step, work):
    """TRL's trainer of a step, ready to train."""
    import pyarrow.parquet as pq
    from datasets import Dataset
    from transformers import set_seed

    method, parent = step["method"], Path("models", step["from"])
    config = make_config(f"steps.{name}", step, str(work / "trl"))
    set_seed(step["seed"])  # before the trainer: TRL initialises adapters before it seeds
    table = pq.read_table(f"data/train/{step['dataset']}.parquet", columns=COLUMNS[method])
    if "tools" in table.column_names and table["tools"].null_count == len(table):
        table = table.drop_columns("tools")
    if step.get("learns") == "completion":
        table = last_answers(table)
    rows = Dataset(table)  # in memory: from_parquet would leave Arrow files in a cache that DVC knows nothing of
    if method == "kto":
        rows = rows.shuffle(seed=step["seed"])  # KTO takes rows in file order; a batch of one class has no contrast
    folder = start(parent, step, work)
    if step["backend"] == "unsloth":
        model, extra = unsloth_model(folder, step, config), {}
    else:
        model, extra = load_model(folder), {"peft_config": lora_config(step["lora"])} if step["lora"] else {}
    if method == "grpo":
        extra["reward_funcs"] = [getattr(rewards, function) for function in step["rewards"]]
    tokenizer = load_tokenizer(parent)
    if method == "sft" and step.get("learns", "assistant") == "assistant":
        training_tokenizer(tokenizer)
    trainer = trl_class(f"{method.upper()}Trainer")(
        model=model, args=config, train_dataset=rows, processing_class=tokenizer, **extra
    )
    return in_ten_lines(trainer) if config.disable_tqdm else trainer


def in_ten_lines(trainer):
    """The trainer, telling its progress in a log in about ten lines instead of a dict every few steps."""
    from transformers import PrinterCallback, TrainerCallback

    class Lines(TrainerCallback):
        told = 0

        def on_log(self, args, state, control, logs=None, **_):
            if "loss" in logs and state.global_step >= self.told + state.max_steps / 10 and state.is_world_process_zero:
                self.told = state.global_step
                shown = [f"{key} {float(logs[key]):.4g}" for key in ("loss", "reward", "learning_rate") if key in logs]
                print(f"  step {state.global_step:,} of {state.max_steps:,}: {', '.join(shown)}", flush=True)

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Lines)
    return trainer


def start(parent, step, work):
    """The folder that the step starts from.

    Without adapters of its own the step's reference model is loaded anew by TRL, from where the model says it came. After
    a chain of adapters that would be `models/base`: so the merged chain is saved, and loaded from there. Unsloth loads
    from a folder only.
    """
    if not adapters(parent) or (step["lora"] and step["backend"] == "transformers"):
        return parent
    folder = emptied(work / "start")
    load_model(parent).save_pretrained(folder)
    load_tokenizer(parent).save_pretrained(folder)
    return folder


def unsloth_model(folder, step, config):
    """The model of a folder, loaded and given adapters by Unsloth as its guide says."""
    from unsloth import FastLanguageModel

    length = getattr(config, "max_length", None) or 2048
    model, _ = FastLanguageModel.from_pretrained(
        model_name=str(full_weights(folder)),
        max_seq_length=length,
        load_in_4bit=False,
        full_finetuning=not step["lora"],
    )
    if not step["lora"]:
        return model
    lora = dict(step["lora"])
    if lora.get("target_modules", "all-linear") == "all-linear":
        lora["target_modules"] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    return FastLanguageModel.get_peft_model(
        model, use_gradient_checkpointing="unsloth", random_state=step["seed"], **lora
    )


def lora_config(lora):
    from peft import LoraConfig

    return LoraConfig(task_type="CAUSAL_LM", **lora)


def emptied(folder):
    """The folder's path, with nothing there and its parent made."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder


def write_model(trainer, step, folder):
    """Write the trained model: safetensors alone, no pickle, no path of this machine, keys in a fixed order."""
    emptied(folder)
    parent = Path("models", step["from"])
    if step["lora"]:
        chain = adapters(parent)
        if parent != BASE and full_weights(parent) == parent:
            shutil.copytree(parent, folder, ignore=shutil.ignore_patterns("adapters", "made_of.json"))
        for adapter in chain:
            shutil.copytree(adapter, folder / "adapters" / adapter.name)
        target = folder / "adapters" / f"{len(chain):02}_{step['step']}"
        trainer.save_model(target)
        tidy_adapter(target)
    else:
        target = folder
        trainer.save_model(target)
        trainer.processing_class.save_pretrained(target)
    for pickle in target.glob("*.bin"):
        pickle.unlink()
    (folder / "made_of.json").write_text(json.dumps(made_of(step), indent=2) + "\n", encoding="utf-8")


def tidy_adapter(folder):
    """One config for one adapter: PEFT writes target modules in random order and the path that the base came from."""
    for path in folder.iterdir():
        if path.name not in ("adapter_config.json", "adapter_model.safetensors"):
            path.unlink() if path.is_file() else shutil.rmtree(path)
    config_path = folder / "adapter_config.json"
    config = json.loads(config_path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = "models/base"
    if isinstance(config.get("target_modules"), list):
        config["target_modules"].sort()
    config_path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def made_of(step):
    """What a model was trained from: the step as resolved, the hash of its rows, the versions of the libraries."""
    with open(f"data/train/{step['dataset']}.parquet", "rb") as file:
        rows = hashlib.file_digest(file, "sha256").hexdigest()
    return step | {
        "rows_sha256": rows,
        "versions": {library: importlib.metadata.version(library) for library in LIBRARIES},
    }


def write_curve(path, history):
    """The training curve as CSV: a row for each logged step, without times, which would differ in every run."""
    rows = [entry for entry in history if "loss" in entry]
    columns = sorted({key for row in rows for key in row if "time" not in key} - {"step", "epoch", "loss"})
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["step", "epoch", "loss", *columns], extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
