"""Checks of `evaluate.judge` in params.yaml: a reward model, a language model or a server that compares answers.

    judge: {model: Skywork/Skywork-Reward-V2-Qwen3-0.6B, revision: <commit>, kind: reward}
    judge: {server: http://127.0.0.1:8000/v1, model: qwen3-32b, key: JUDGE_KEY, against: reference, max_rows: 200}

`key` names the environment variable that holds the server's key, never the key itself: params.yaml is committed.
"""

import os
import re
from dataclasses import dataclass

from validators._cautions import PARAMS_FILE, Entry
from validators.problems import Problem, did_you_mean

JUDGE_PATH = f"{PARAMS_FILE}: evaluate.judge"
WIN_RATES = ("win_rate", "length_controlled_win_rate")
ADDRESS = re.compile(r"https?://[^\s/?#@]+(/[^\s?#@]*)?")
VARIABLE_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
TILTH_SENDS = ("model", "messages", "stream", "n")


def reason_not_judged(judge: Entry, name: str, kind: str, answered: bool, private: bool) -> str:
    """Why the answers to a dataset are not judged; "" where they are. answered: models answer its eval rows."""
    if judge.get("on") is not None and name not in judge["on"]:
        return "evaluate.judge.on does not name it"
    if not answered:
        return (
            "no answers are generated: kind kto has none"
            if kind == "kto"
            else "no answers are generated: give it metrics, such as [rouge_l]"
        )
    if kind == "grpo" and judge.get("against") == "reference":
        return "a ground truth is no answer to compare with: against: parent"
    if private and judge.get("server"):
        return f"it is private, and is never sent to a server ({judge['server']})"
    return ""


def has_generated_answers(dataset: Entry) -> bool:
    """True where models answer the dataset's eval rows. dataset: its entry in params.yaml."""
    return dataset.get("kind") in ("sft", "grpo") or bool(
        dataset.get("kind") == "preference" and dataset.get("metrics")
    )


def reasons_not_judged(judge: Entry, datasets: dict[str, Entry]) -> dict[str, str]:
    """{dataset: why its answers are not judged, "" where they are}. datasets: entries without schema faults."""
    return {
        name: reason_not_judged(
            judge, name, dataset["kind"], has_generated_answers(dataset), bool(dataset.get("private"))
        )
        for name, dataset in datasets.items()
    }


def judge_problems(judge: Entry | None, datasets: dict[str, Entry]) -> list[Problem]:
    """Mistakes in `evaluate.judge`. The model of a local judge is checked in validators/params.py."""
    if judge is None:
        return []
    return (server_problems(judge) if judge.get("server") is not None else local_problems(judge)) + dataset_problems(
        judge, datasets
    )


@dataclass(frozen=True)
class MissingKey:
    """The warning that the environment variable with the server's key is not set. Cached verdicts need no key."""

    variable: str
    server: str
    waived: None = None

    def __str__(self) -> str:
        return (
            f"{JUDGE_PATH}.key: the environment variable {self.variable} is not set, and {self.server} needs it\n"
            f"  hint: export {self.variable}=... before dvc repro; verdicts that exist already are used without it"
        )


def missing_key(judge: Entry | None) -> list[MissingKey]:
    """The warning that the judge's key is not set; [] where there is none. judge: without mistakes."""
    if judge and judge.get("key") and not os.environ.get(judge["key"]):
        return [MissingKey(judge["key"], judge["server"])]
    return []


def local_problems(judge: Entry) -> list[Problem]:
    """Keys that only a judge on a server has."""
    hint = "server: http://HOST:PORT/v1, or remove it"
    return [
        Problem(f"{JUDGE_PATH}.{key}", "a judge without a server has none", "no such key", hint)
        for key in ("key", "args")
        if judge.get(key)
    ]


def server_problems(judge: Entry) -> list[Problem]:
    """Mistakes in the address, the key and the arguments. Never prints what may be a secret."""
    problems, address, key = [], judge["server"], judge.get("key")
    expected = "http://HOST:PORT/v1, or https"
    if "@" in address or "?" in address:
        hint = "key: the environment variable that has the key; it is sent as `Authorization: Bearer`"
        problems.append(
            Problem(f"{JUDGE_PATH}.server", "an address with a name, a password or a query in it", expected, hint)
        )
    elif not ADDRESS.fullmatch(address):
        problems.append(
            Problem(
                f"{JUDGE_PATH}.server",
                f"{address!r} is not an address",
                expected,
                "for example: http://127.0.0.1:8000/v1",
            )
        )
    elif address.rstrip("/").endswith("/completions"):
        hint = f"server: {re.sub(r'/(chat/)?completions/*$', '', address)}"
        problems.append(Problem(f"{JUDGE_PATH}.server", "the path of one endpoint", "the address before it", hint))
    if key is not None and not VARIABLE_NAME.fullmatch(key):
        hint = "export JUDGE_KEY=..., and key: JUDGE_KEY. If a key itself was committed here, everybody can read it: revoke it"
        expected = "capital letters, digits and _"
        problems.append(Problem(f"{JUDGE_PATH}.key", "not the name of an environment variable", expected, hint))
    if judge.get("kind") == "reward":
        problems.append(
            Problem(
                f"{JUDGE_PATH}.kind",
                "a server gives no rewards",
                "kind: chat",
                "a reward model is read from a folder or the Hub",
            )
        )
    if judge.get("chat_template_kwargs"):
        hint = "args: {chat_template_kwargs: {...}}, which vLLM and others take"
        problems.append(
            Problem(f"{JUDGE_PATH}.chat_template_kwargs", "a server has its own chat template", "no such key", hint)
        )
    for name in judge.get("args") or ():
        if name in TILTH_SENDS:
            problems.append(
                Problem(f"{JUDGE_PATH}.args.{name}", "Tilth sends this itself", "another key of the API", "remove it")
            )
    return problems


def dataset_problems(judge: Entry, datasets: dict[str, Entry]) -> list[Problem]:
    """Mistakes in `on`: unknown datasets, datasets whose answers cannot be judged, no dataset that can be."""
    where, names = f"{JUDGE_PATH}.on", judge.get("on")
    reasons = reasons_not_judged(judge, datasets)
    if names is None:
        if "" in reasons.values() or not reasons:
            return []
        hint = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        return [Problem(JUDGE_PATH, "it has nothing to judge", "answers of a dataset", hint)]
    problems = [
        Problem(where, f"no dataset {name!r}", "a name under datasets", did_you_mean(name, datasets))
        for name in names
        if name not in datasets
    ]
    problems += [Problem(where, f"{name!r} cannot be judged", "", reasons[name]) for name in names if reasons.get(name)]
    return problems + ([] if names else [Problem(where, "no dataset is named", "names, or null for all", "")])
