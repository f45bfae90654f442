"""Rows as the tokens that TRL's trainers are given. This module alone decides what is learned.

    rows_for_trainer("sft", {"messages": [...], "tools": None}, render, Limits(length=1024)) -> [{"input_ids": [...], "labels": [...]}]
    rows_for_trainer("dpo", {...}, render, limits) -> [{"prompt_ids": [...], "chosen_ids": [...], "rejected_ids": [...]}]
    rows_for_trainer("kto", {...}, render, limits) -> [{"prompt_ids": [...], "completion_ids": [...], "label": True}]
    rows_for_trainer("grpo", {...}, render, limits) -> [{"prompt_ids": [...]}]

preflight counts these, train hands them to TRL, evaluate scores them. A row that cannot be learned raises FailedProof, with the
proof LENGTH if `max_length` leaves nothing of it to learn.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stages.rows.types import Row
from stages.training.messages import FailedProof
from stages.training.rendering import Renderer, TokenSequence
from stages.training.types import ChatMessage, Config, Tools, TrainerRow

METHOD_BY_KIND = {"preference": "dpo", "kto": "kto"}  # the method whose rows an eval row of a kind is made into
SIDES = {"dpo": ("chosen", "rejected"), "orpo": ("chosen", "rejected"), "kto": ("completion",)}


@dataclass(frozen=True)
class Limits:
    """Which part of a row is trained. length: `max_length`, None for no limit.

    learns, of sft: `assistant` (all its messages), `completion` (its last answer) or `all`. keeps_end: a row that is too long
    loses its beginning. splits: packing continues it in the next sequence, so nothing is cut. overlong: what happens to a longer
    row: `cut`, `drop` or `stop`. reasoning: `mask` learns only the answers and the tags around thoughts.
    """

    length: int | None = None
    learns: str = "assistant"
    keeps_end: bool = False
    splits: bool = False
    overlong: str = "cut"
    reasoning: str = "keep"

    def cut(self, ids: list[int]) -> list[int]:
        if self.length is None or self.splits:
            return ids
        return ids[-self.length :] if self.keeps_end else ids[: self.length]


def limits_from_config(method: str, config: Config, overlong: str = "cut", reasoning: str = "keep") -> Limits:
    """The Limits in TRL's config of a step."""
    length = getattr(config, "max_length", None)
    return Limits(
        512 if method == "orpo" and length is None else length,  # TRL's value then, with a warning
        learned_scope(config) if method == "sft" else "completion",
        getattr(config, "truncation_mode", "keep_start") == "keep_end",
        bool(getattr(config, "packing", False)) and config.packing_strategy != "bfd",
        overlong,
        reasoning,
    )


def learned_scope(config: Config) -> str:
    """`assistant` (all its messages), `completion` (its last answer) or `all`, by the args of an SFT step."""
    if config.assistant_only_loss:
        return "assistant"
    return "completion" if config.completion_only_loss else "all"


def rows_for_trainer(method: str, row: Row, render: Renderer, limits: Limits) -> list[TrainerRow]:
    """What TRL is given for a row, one dict or several. Raises FailedProof."""
    if method == "sft":
        rows = [
            conversation_row(sequence, limits)
            for sequence in conversation_sequences(row, render, limits.learns, limits.reasoning)
        ]
    elif method == "grpo":
        rows = [{"prompt_ids": prompt_tokens(row["prompt"], row.get("tools"), render)}]
    else:
        rows = [answer_row(method, row, render, limits)]
    if limits.overlong != "cut" and limits.length is not None:
        for each in rows:
            if (length := token_count(each)) > limits.length:
                raise FailedProof("LENGTH", None, f"it has {length:,} tokens, max_length is {limits.length:,}")
    return rows


def conversation_sequences(
    row: Row, render: Renderer, learns: str = "assistant", reasoning: str = "keep"
) -> list[TokenSequence]:
    """The TokenSequences of a conversation. learns, reasoning: see Limits. Raises FailedProof."""
    messages, tools, masks = row["messages"], row.get("tools"), reasoning == "mask"
    if learns != "all":
        return render.conversation(messages, tools, [len(messages) - 1] if learns == "completion" else None, masks)
    for place, message in enumerate(messages):
        if message.get("train") is False or (masks and message.get("reasoning_content")):
            what = "train: false" if message.get("train") is False else "a thought, and reasoning: mask"
            raise FailedProof(
                "SAID", place, f"it has {what}, but the step learns everything: assistant_only_loss is false"
            )
    [(ids, _)] = render.encode([render.text(render.template_messages(messages), tools)])
    return [TokenSequence.whole(ids)]


def scoring_input(kind: str, row: Row, render: Renderer, reasoning: str = "keep") -> Any:
    """What a model is scored on for an eval row, not cut. Raises FailedProof.

    sft: the TokenSequences of the conversation. grpo: the text of the prompt. preference and kto: (tokens of the prompt,
    tokens of the answer, labels of the answer) for each side.
    """
    if kind == "sft":
        render.prompt(row["messages"][:-1], row.get("tools"))
        return conversation_sequences(row, render, reasoning=reasoning)
    if kind == "grpo":
        return render.prompt(row["prompt"], row.get("tools"))
    masks = reasoning == "mask"
    return [render.answer(row["prompt"], row[side], row.get("tools"), masks) for side in SIDES[METHOD_BY_KIND[kind]]]


def reasoning_by_dataset(datasets: Mapping[str, Mapping[str, Any]]) -> defaultdict[str, str]:
    """{dataset: "mask" or "keep"}: if thoughts are not learned, they are not scored either, for any model."""
    masked = {name for name, entry in datasets.items() if entry.get("reasoning") == "mask"}
    return defaultdict(lambda: "keep", dict.fromkeys(masked, "mask"))


def conversation_row(sequence: TokenSequence, limits: Limits) -> TrainerRow:
    labels = sequence.labels
    if not any(label != -100 for label in limits.cut(labels)):
        raise FailedProof(
            "LENGTH", None, f"nothing of {len(labels):,} tokens is left to learn, max_length is {limits.length:,}"
        )
    return {"input_ids": sequence.ids, "labels": labels}


def answer_row(method: str, row: Row, render: Renderer, limits: Limits) -> TrainerRow:
    """Prompt and answers, with the same prompt tokens before each; with `mask` also the labels of each answer."""
    sides, masks = SIDES[method], limits.reasoning == "mask"
    pairs = [render.answer(row["prompt"], row[side], row.get("tools"), masks) for side in sides]
    prompt, columns = pairs[0][0], {}
    if limits.length is not None and not limits.keeps_end and len(prompt) >= limits.length:
        raise FailedProof("LENGTH", None, f"its prompt has {len(prompt):,} tokens, max_length is {limits.length:,}")
    for side, (_, answer, labels) in zip(sides, pairs, strict=True):
        columns[f"{side}_ids"] = answer
        if masks:
            columns[f"{side}_labels"] = labels
            if not any(label != -100 for label in limits.cut([-100] * len(prompt) + labels)):
                raise FailedProof(
                    "LENGTH", None, f"nothing of {side} but its thought is left of max_length {limits.length:,}"
                )
    return {"prompt_ids": prompt} | columns | ({"label": row["label"]} if method == "kto" else {})


def prompt_tokens(messages: list[ChatMessage], tools: Tools | None, render: Renderer) -> list[int]:
    """Tokens of a prompt with the generation prompt. Raises FailedProof if the template leaves out any part of it."""
    text = render.prompt(messages, tools)
    return render.encode([text])[0][0]


def token_count(trainer_row: TrainerRow) -> int:
    """The number of tokens of a row before truncation, with the longer answer if there are two."""
    if "input_ids" in trainer_row:
        return len(trainer_row["input_ids"])
    sides = [len(ids) for key, ids in trainer_row.items() if key in ("chosen_ids", "rejected_ids", "completion_ids")]
    return len(trainer_row["prompt_ids"]) + max(sides, default=0)


def orpo_columns(trainer_row: TrainerRow, limit: int) -> TrainerRow:
    """The columns of TRL's ORPO trainer: each answer is cut to what the prompt leaves of `max_length`.

    TRL 1.14 would cut answers to `max_length` minus the longer answer: 24 of 1,000 tokens after a prompt of 100.
    """
    prompt = trainer_row["prompt_ids"]
    columns: TrainerRow = {"prompt": "", "chosen": "", "rejected": ""}  # texts that TRL would tokenise
    columns |= {"prompt_input_ids": prompt, "prompt_attention_mask": [1] * len(prompt)}
    for side in SIDES["orpo"]:
        answer = trainer_row[f"{side}_ids"][: limit - len(prompt)]
        columns[f"{side}_input_ids"] = prompt + answer
        columns[f"{side}_attention_mask"] = [1] * (len(prompt) + len(answer))
        columns[f"{side}_labels"] = [-100] * len(prompt) + answer
    return columns
