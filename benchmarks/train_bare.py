"""The job of `train` as an engineer writes it with TRL alone: one script, no checks, no record.

    python benchmarks/train_bare.py preflight/align.json OUT        in a built project

Reads the step's method, rows, parent and args from the file, and nothing else of the project. What a CPU needs is set
as there; otherwise the arguments are TRL's defaults and the step's own.
"""

import importlib
import json
import os
import sys

import trl
from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer

DROPPED = ["id", "source", "line"]


def main(path, out):
    with open(path, encoding="utf-8") as file:
        step = json.load(file)
    method, parent = step["method"], f"models/{step['from']}"
    module = trl
    if method == "orpo":
        os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
        module = importlib.import_module("trl.experimental.orpo")
    settings = {
        "output_dir": out,
        "report_to": "none",
        "save_strategy": "no",
        "seed": step["seed"],
        "disable_tqdm": True,
    }
    settings |= {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "dataloader_pin_memory": False}
    if method == "sft":
        settings["assistant_only_loss"] = True
    rows = load_dataset("parquet", data_files=f"data/train/{step['dataset']}.parquet", split="train")
    rows = rows.remove_columns([column for column in (*DROPPED, "tools") if column in rows.column_names])
    if method == "kto":
        rows = rows.shuffle(seed=step["seed"])
    tokenizer = AutoTokenizer.from_pretrained(parent, padding_side="left")
    options = {"peft_config": LoraConfig(task_type="CAUSAL_LM", **step["lora"])} if step["lora"] else {}
    if method == "grpo":
        sys.path.insert(0, os.getcwd())
        rewards = importlib.import_module("validators.rewards")
        options["reward_funcs"] = [getattr(rewards, name) for name in step["rewards"]]
    trainer = getattr(module, f"{method.upper()}Trainer")(
        model=AutoModelForCausalLM.from_pretrained(parent, dtype="float32"),
        args=getattr(module, f"{method.upper()}Config")(**(settings | step["args"])),
        train_dataset=rows,
        processing_class=tokenizer,
        **options,
    )
    trainer.train()
    trainer.save_model(out)
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
