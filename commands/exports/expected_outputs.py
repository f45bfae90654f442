"""The outputs of a model here, as in `train` and `evaluate`: an exported folder is compared with them.

    compute_expected(Path("models/align"), 8, "bfloat16") -> ExpectedOutputs(rows=[Row("chat", "5f2c...", ids=[...], answer=9, ...)], stops={2}, ...)

The last adapter of a chain is not merged, as in training, so the comparison finds a wrong merge. No stored result is read:
prompts are rendered, answers generated and logits computed again, in float32.
"""

import gc
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands.exports.merged_model import template_defaults
from commands.exports.plain_transformers import (
    compute_logits,
    generate_greedy,
    generation_settings,
    template_hash,
    tokenizer_summary,
    weight_hashes,
)
from validators.problems import Problem, Problems

if TYPE_CHECKING:
    from stages.training.rendering import Renderer
    from stages.training.types import ChatMessage

LONGEST = 32  # tokens of an answer: a broken model shows within the first ones
LONGEST_PROMPT = 1024  # tokens; longer rows are skipped, because a CPU takes minutes for one
# used where a repository has no eval rows: words, spaces, code, numbers, scripts, a system turn and a conversation
FALLBACK_TEXTS = (
    [{"role": "user", "content": "Say it in two words, please."}],
    [{"role": "user", "content": "  What does this do?\n\tdef f(x):\n\t    return x + 1  # don't\r\n"}],
    [{"role": "user", "content": "日本語の文 🙂 e\u0301 עברית 3.14 1234567"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello!"}],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "and c?"}],
)


@dataclass
class Row:
    """A prompt and the model's answer. text: the prompt as the template renders it. ids: tokens of both; the last `answer` ones are the answer.

    messages, tools: the input of the chat template. logits: (answer + 1, words) float32, from the last token of the prompt on.
    """

    dataset: str
    id: str
    messages: "list[ChatMessage]"
    tools: list[Any] | None
    text: str
    ids: list[int]
    answer: int = 0
    logits: Any = None  # set once the model ran

    @property
    def name(self) -> str:
        return f"{self.dataset} row {self.id[:12]}"

    @property
    def prompt_ids(self) -> list[int]:
        return self.ids[: len(self.ids) - self.answer]

    @property
    def answer_ids(self) -> list[int]:
        return self.ids[len(self.ids) - self.answer :]


@dataclass
class ExpectedOutputs:
    """The outputs and settings of a model. weights: {name: hash} of the merged model in its saved dtype; None for an adapter."""

    rows: list[Row]
    stops: frozenset[int]
    generation: dict[str, Any]
    tokenizer: dict[str, Any]
    date: str | None
    weights: dict[str, str] | None = None


def compute_expected(source: Path, count: int, dtype: str | None) -> ExpectedOutputs:
    """The outputs of a model on `count` eval rows. dtype: that of the merged weights, None for an adapter.

    Raises Problems where its adapter has non-zero weights but changes nothing.
    """
    import torch

    from stages.training.models import full_weights, renderer
    from stages.training.template_settings import read_settings

    render = renderer(source)
    model, adapter = model_as_trained(source)
    model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    room = getattr(model.config.get_text_config(), "max_position_embeddings", None) or LONGEST_PROMPT + LONGEST
    rows = choose_rows(render, count, min(LONGEST_PROMPT, room - LONGEST))
    for row in rows:
        answer = generate_greedy(model, row.ids, LONGEST, eos_token_id=sorted(render.stops))
        row.logits = compute_logits(model, row.ids + answer, len(row.ids))
        row.ids, row.answer = row.ids + answer, len(answer)
    if adapter:
        check_adapter(model, adapter, rows[0])
    settings, template = read_settings(full_weights(source)), render.tokenizer.chat_template
    if isinstance(template, str):
        template = template_defaults(settings["chat_template_kwargs"]) + template
    tokenizer = tokenizer_summary(render.tokenizer) | {"template": template_hash(template)}
    expected = ExpectedOutputs(rows, render.stops, generation_settings(model), tokenizer, settings["date"])
    if dtype:
        merged = model.to("cpu")  # the export was merged there, and another device rounds differently
        merged = (merged.merge_and_unload() if adapter else merged).to(getattr(torch, dtype))
        expected.weights = weight_hashes(merged)["weights"]
        del merged
    del model
    gc.collect()  # the process that checks needs the memory
    torch.cuda.empty_cache()
    return expected


def model_as_trained(source: Path) -> tuple[Any, Path | None]:
    """(the model in float32 with its last adapter not merged, the folder of that adapter or None)."""
    import torch
    from transformers import AutoModelForCausalLM

    from stages.training.models import adapters, attach_adapter, disable_progress_bars, full_weights

    disable_progress_bars()
    base: Any = AutoModelForCausalLM.from_pretrained(
        full_weights(source), dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )
    chain = adapters(source)
    for adapter in chain[:-1]:
        base = attach_adapter(base, adapter).merge_and_unload()
    return (attach_adapter(base, chain[-1]), chain[-1]) if chain else (base, None)


def check_adapter(model: Any, adapter: Path, row: Row) -> None:
    """Raise Problems where an adapter has non-zero weights but the logits are the same without it."""
    import numpy as np
    from safetensors import safe_open

    with model.disable_adapter():
        without = compute_logits(model, row.ids, len(row.prompt_ids))
    if not np.array_equal(without, row.logits):
        return
    with safe_open(adapter / "adapter_model.safetensors", "pt") as file:
        names = set(file.keys())
        pairs = [(name, name.replace("_B", "_A")) for name in names if "lora_B" in name or "lora_embedding_B" in name]
        # before training one factor of each product is zero
        if any(pair[1] in names and all(file.get_tensor(name).any() for name in pair) for pair in pairs):
            found = "changes nothing in the model: the model has no weights with the adapter's names"
            raise Problems([Problem(str(adapter), found, "an adapter of this model", "dvc repro --force of its step")])


# -- the rows -----------------------------------------------------------------------------------------------------


def choose_rows(render: "Renderer", count: int, longest: int) -> list[Row]:
    """Eval rows of all datasets in turns, the smallest ids first; FALLBACK_TEXTS where there are none."""
    from stages.training.messages import FailedProof

    rows = []
    for dataset, id, messages, tools in [*eval_rows(count)] or [
        ("texts", str(i), text, None) for i, text in enumerate(FALLBACK_TEXTS)
    ]:
        try:
            talk = render.as_conversation(messages, tools)
            text = render.prompt_of(talk, len(talk.messages))
        except FailedProof:  # preflight reports such rows and leaves them out
            continue
        ids = render.encode([text])[0][0]
        if ids and len(ids) <= longest and len(rows) < count:
            rows.append(Row(dataset, id, talk.template_messages, talk.tools, text, ids))
    if not rows:
        hint = "--no-check exports it as it is"
        raise Problems(
            [Problem("tilth export --check", f"no eval row has a prompt of at most {longest:,} tokens", "", hint)]
        )
    return rows


def eval_rows(count: int) -> Iterator[tuple[str, str, "list[ChatMessage]", list[Any] | None]]:
    """(dataset, id, messages of the prompt, tools) of eval rows, up to four times `count` per dataset."""
    import pyarrow.parquet as pq

    from stages.rows.batches import decode_row
    from stages.scoring.answers import PROMPTS

    listing = Path("data/eval.json")
    listed = json.loads(listing.read_text(encoding="utf-8")) if listing.exists() else {}
    tables = {}
    for dataset, entry in sorted(listed.items()):
        path = Path(f"data/eval/{dataset}.parquet")
        table = pq.read_table(path).sort_by("id").slice(0, 4 * count) if path.exists() else None
        tables[dataset] = [(entry["kind"], decode_row(row)) for row in table.to_pylist()] if table else []
    for place in range(4 * count):
        for dataset, rows in tables.items():
            if place < len(rows):
                kind, row = rows[place]
                yield dataset, row["id"], PROMPTS.get(kind, lambda row: row["prompt"])(row), row.get("tools")
