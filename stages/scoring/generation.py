"""What a model answers to prompts, and how likely it finds given tokens: in batches, on the GPU where there is one.

    model = load_for_generation(Path("models/sft"), batch_size=8, max_new_tokens=64)
    generate(model, [[{"role": "user", "content": "Reverse abc."}]]) -> Generated(texts=["cba"], cut=[False], cut_thinking=[False])

Rows of similar length share a batch, the longest first: a batch that does not fit into memory fails at once, not at the end.
A thought may have a budget of its own. The budget of the answer then begins where the thought ends, in each row by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.core.progress import with_progress
from stages.training.models import load_model, renderer
from stages.training.thoughts import ThoughtParser, thought_parser

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase, StoppingCriteriaList

    from stages.training.rendering import Renderer
    from stages.training.types import Tools

LONG_ROW = 512  # tokens; a batch of longer rows has fewer of them
LETTERS_PER_TOKEN = 4  # at most, of most texts
UNKNOWN, THINKING, ANSWERING = range(3)  # the state of a row after each token


@dataclass
class LoadedModel:
    """A model on a device with its Renderer (tokenizer and chat template), its batch size and its token budgets.

    model: transformers' model. task: the title of the progress bar.
    max_thinking_tokens: of thoughts, before the max_new_tokens of the answer; None where both share max_new_tokens.
    """

    model: Any
    render: "Renderer"
    device: str
    batch_size: int
    max_new_tokens: int
    task: str = ""
    max_thinking_tokens: int | None = None

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        return self.render.tokenizer

    @cached_property
    def thoughts(self) -> ThoughtParser:
        return thought_parser(self.render)


@dataclass
class Generated:
    """A model's answers to prompts, each (prompts,). cut: in the answer, by max_new_tokens. cut_thinking: before any answer.

    Of samples each item is a list.
    """

    texts: list[Any] = field(default_factory=list)
    cut: list[Any] = field(default_factory=list)
    cut_thinking: list[Any] = field(default_factory=list)


def load_for_generation(
    folder: Path,
    batch_size: int = 1,
    max_new_tokens: int = 512,
    max_thinking_tokens: int | None = None,
    chat_template_kwargs: dict[str, Any] | None = None,
) -> LoadedModel:
    """The model of a folder, in bfloat16 on a GPU that supports it, else in float32.

    chat_template_kwargs: added to the kwargs that the chat template always gets; they win where both name one.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = "bfloat16" if device == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    model = load_model(folder, dtype, device).eval()
    render = renderer(folder, chat_template_kwargs)
    return LoadedModel(model, render, device, batch_size, max_new_tokens, max_thinking_tokens=max_thinking_tokens)


def context_length(model: LoadedModel) -> int | None:
    """How many tokens the model takes at most; None where its config does not say."""
    return getattr(model.model.config.get_text_config(), "max_position_embeddings", None)


def batches_by_length(lengths: Sequence[int], size: int, most: int | None = None) -> list[list[int]]:
    """Indices of rows in batches of similar length, the longest first. most: the sum of the padded lengths, except of a row alone."""
    order, batches, first = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)), [], 0
    while first < len(order):
        rows = size if most is None else max(1, min(size, most // max(lengths[order[first]], 1)))
        batches.append(order[first : first + rows])
        first += rows
    return batches


def token_scores(model: LoadedModel, ids: list[list[int]], masks: list[list[bool]]) -> np.ndarray:
    """(nll, tokens, right) of the masked tokens, (3, rows): batches padded on the right."""
    import torch

    scores = np.zeros((3, len(ids)))
    # the logits of all tokens of a batch are in memory: one batch of long rows would need most of it
    batches = batches_by_length([len(row) for row in ids], model.batch_size, model.batch_size * LONG_ROW)
    # the longest batch is the first: by batches, it would look as if all took as long
    for batch in with_progress(batches, model.task, "token", [len(batch) * len(ids[batch[0]]) for batch in batches]):
        width = len(ids[batch[0]])
        padded = torch.tensor([ids[i] + [model.tokenizer.pad_token_id] * (width - len(ids[i])) for i in batch])
        attention = torch.tensor([[1] * len(ids[i]) + [0] * (width - len(ids[i])) for i in batch])
        padded = padded.to(model.device)
        with torch.inference_mode():
            logits = model.model(input_ids=padded, attention_mask=attention.to(model.device)).logits
            # one row at a time, and only its masked tokens: in float32, the logits of a batch need several times its memory
            for place, i in enumerate(batch):
                at = torch.tensor(np.flatnonzero(masks[i][1:]), device=model.device)
                row_logits, targets = logits[place, at].float(), padded[place, at + 1]
                nll = row_logits.logsumexp(-1) - row_logits.gather(-1, targets[:, None])[:, 0]
                scores[:, i] = nll.sum().item(), len(at), (row_logits.argmax(-1) == targets).sum().item()
    return scores


def generate(model: LoadedModel, prompts: list[list[Any]], tools: "list[Tools | None] | None" = None) -> Generated:
    """The model's answer to each prompt, decoded greedily. prompts: the messages of each."""
    answers = generate_batches(model, prompts, tools, 1, do_sample=False)
    return Generated(*([each[0] for each in column] for column in (answers.texts, answers.cut, answers.cut_thinking)))


def sample(model: LoadedModel, prompts: list[list[Any]], count: int, temperature: float, seed: int) -> Generated:
    """`count` answers to each prompt, sampled from the whole distribution at a temperature; the same for the same seed."""
    import torch

    torch.manual_seed(seed)
    # not the model's own top-k and top-p: pass@k measures the whole distribution
    return generate_batches(model, prompts, None, count, do_sample=True, temperature=temperature, top_k=0, top_p=1.0)


def generate_batches(
    model: LoadedModel, prompts: list[list[Any]], tools: "list[Tools | None] | None", count: int, **decoding: Any
) -> Generated:
    """`count` answers to each prompt: batches, padded on the left. decoding: options of transformers' `generate`."""
    import torch

    texts = [model.render.prompt(prompt, tools[i] if tools else None) for i, prompt in enumerate(prompts)]
    answers, thoughts, stops = Generated(*([None] * len(texts) for _ in range(3))), model.thoughts, model.render.stops
    size = max(1, model.batch_size // count)
    batches = batches_by_length([len(text) for text in texts], size, size * LONG_ROW * LETTERS_PER_TOKEN)
    for batch in with_progress(batches, model.task, "batch"):
        # the template has written the special tokens: adding them again would double the first
        inputs = model.tokenizer(
            [texts[i] for i in batch], return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False
        ).to(model.device)
        start = inputs["input_ids"].shape[1]
        budgets = TokenBudgets(model, start, len(batch) * count)
        with torch.inference_mode():
            tokens = model.model.generate(
                **inputs, max_new_tokens=budgets.most, num_return_sequences=count, eos_token_id=sorted(stops),
                stopping_criteria=budgets.criteria(), **decoding,
            )  # fmt: skip
        rows = budgets.trim(tokens[:, start:].tolist())
        for place, i in enumerate(batch):
            own = rows[place * count : (place + 1) * count]
            cut = [stops.isdisjoint(row) for row in own]
            thinking = [thoughts.thinks_still(row) for row in own]
            answers.texts[i] = [thoughts.text_of(row) for row in own]
            answers.cut_thinking[i] = [a and b for a, b in zip(cut, thinking, strict=True)]
            answers.cut[i] = [a and not b for a, b in zip(cut, thinking, strict=True)]
    return answers


class TokenBudgets:
    """Where each row of a batch ends if no stop token ends it: its thought has a budget, and then its answer has one.

    start: where the generated tokens begin in a row. The length of a row does not depend on the other rows of the batch.
    """

    def __init__(self, model: LoadedModel, start: int, rows: int) -> None:
        self.thoughts, self.start = model.thoughts, start
        self.thinking, self.answer = model.max_thinking_tokens, model.max_new_tokens
        self.states = [THINKING if self.thoughts.opened else UNKNOWN] * rows
        self.ends = [self.most] * rows  # how many tokens of a row count, as far as is known
        self.window = self.thoughts.longest + 4  # white space may stand before a mark

    @property
    def most(self) -> int:
        return self.answer + (self.thinking or 0)

    def criteria(self) -> "StoppingCriteriaList | None":
        """The criteria that transformers checks after each token; None where thought and answer share one budget."""
        if self.thinking is None:
            return None
        import torch
        from transformers import StoppingCriteria, StoppingCriteriaList

        budgets = self

        class Ended(StoppingCriteria):
            def __call__(self, ids: "torch.Tensor", scores: Any, **__: Any) -> "torch.Tensor":
                count = ids.shape[1] - budgets.start
                ended = budgets.have_ended(ids[:, max(budgets.start, ids.shape[1] - budgets.window) :].tolist(), count)
                return torch.tensor(ended, dtype=torch.bool, device=ids.device)

        return StoppingCriteriaList([Ended()])

    def have_ended(self, tails: list[list[int]], count: int) -> list[bool]:
        """Whether each row has ended. tails: the last tokens of each row; count: how many were generated."""
        thinking = self.thinking or 0  # transformers calls this only where it is set
        for row, tail in enumerate(tails):
            if self.states[row] == UNKNOWN:
                text, (thought, _) = self.thoughts.decoded(tail, marks=True), self.thoughts.parts(tail)
                # neither thinking nor answering yet: white space, or a part of a mark
                self.ends[row] = self.answer if thought is None else thinking
                if text.lstrip().startswith(self.thoughts.openings):
                    self.states[row] = THINKING
                elif thought is None and text.strip():
                    self.states[row] = ANSWERING
            if self.states[row] == THINKING:
                closed = self.thoughts.ends_in(tail)
                self.ends[row] = count + self.answer if closed else thinking
                self.states[row] = ANSWERING if closed else THINKING
        return [count >= end for end in self.ends]

    def trim(self, rows: list[list[int]]) -> list[list[int]]:
        """The tokens of each row that count: those behind them only fill the batch."""
        return [row[:end] for row, end in zip(rows, self.ends, strict=True)]
