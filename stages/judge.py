"""Put the judge's model into `judge/`, so that a win rate depends on its bytes.

params evaluate.judge -> judge/

Without a judge, or with one on a server, the folder holds no model: {"judge": null}. The rules for base models hold for judges too:
pickles are never read, code of the model's own is never run, and its tokenizer gets the same fixes.
"""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from stages.base import architecture_problems, fetch, weight_problems
from stages.core.params import read_params
from stages.training.models import load_pretrained
from stages.training.template_settings import apply_settings, disable_space_cleanup, fix_tokenizer_class
from validators.problems import Problem, Problems

OUT = Path("judge")


def main() -> None:
    judge = read_params("judge")["evaluate"]["judge"]
    if judge and judge["server"]:
        judge = None
    partial = OUT.with_name("judge.partial")
    shutil.rmtree(partial, ignore_errors=True)
    if judge is None:
        partial.mkdir()
    else:
        fetch_judge(judge, partial)
    (partial / "judge.json").write_text(json.dumps({"judge": judge and judge["kind"]}) + "\n", encoding="utf-8")
    shutil.rmtree(OUT, ignore_errors=True)
    os.replace(partial, OUT)
    print(f"judge: {judge['model']}, kind {judge['kind']}" if judge else "judge: no model judges here")


def fetch_judge(judge: dict[str, Any], folder: Path) -> None:
    """Copy or download a judge into a folder. Raises Problems where it cannot judge."""
    try:
        fetch(judge["model"], judge["revision"], folder)
        disable_space_cleanup(folder)
        kind_problems = architecture_problems if judge["kind"] == "chat" else reward_problems
        problems = [*weight_problems(judge["model"], folder), *kind_problems(judge["model"], folder)]
        if problems := problems or template_problems(folder):
            raise Problems(problems)
        given = {
            "chat_template": None,
            "eos_token": None,
            "chat_template_kwargs": judge["chat_template_kwargs"],
            "date": None,
        }
        for line in apply_settings(folder, given) if judge["kind"] == "chat" else fix_tokenizer_class(folder):
            print(f"judge: {line}")
    except Problems as error:
        raise Problems(
            [replace(each, where=each.where.replace("base.", "evaluate.judge.", 1)) for each in error.problems]
        ) from None


def reward_problems(model: str, folder: Path) -> list[Problem]:
    """Why a model gives no rewards. Usually it is a language model, whose reward head transformers would fill with random weights."""
    from transformers import AutoConfig

    try:
        config = load_pretrained(AutoConfig, folder)
    except Problems as error:
        return [replace(each, where=f"base.model: {model}") for each in error.problems]
    architecture = (config.architectures or ["no architecture"])[0]
    if not architecture.endswith("ForSequenceClassification"):
        found, hint = f"{architecture} gives no rewards", "kind: chat asks it which answer is better"
        return [
            Problem(
                f"base.model: {model}",
                found,
                "...ForSequenceClassification with one output, as TRL's RewardTrainer saves it",
                hint,
            )
        ]
    if config.num_labels != 1:
        found = f"it has {config.num_labels} outputs"
        return [Problem(f"base.model: {model}", found, "one: a reward", "take a reward model that gives one number")]
    return []


def template_problems(folder: Path) -> list[Problem]:
    from transformers import AutoTokenizer

    if load_pretrained(AutoTokenizer, folder).chat_template is not None:
        return []
    return [
        Problem(
            "base.model", "its tokenizer has no chat template", "a chat_template.jinja beside it", "take another judge"
        )
    ]
