"""What a model says to prompts, and how likely it finds given words: in batches, on the best device that is there.

    model = loaded(Path("models/sft"), batch_size=8, max_new_tokens=64)
    generate(model, [[{"role": "user", "content": "Reverse abc."}]]) -> Generated(texts=["cba"], cut=[False], cut_thinking=[False])

Rows of similar length share a batch, the longest first: what does not fit into memory fails at once, not at the end.
A thought may have a budget of its own: that of the answer then begins where the thought ends, in each row by itself.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from stages.core.progress import with_progress
from stages.training.models import load_model, renderer
from stages.training.thoughts import ThoughtParser, thought_parser

UNKNOWN, THINKING, ANSWERING = range(3)  # what a row does, token by token


@dataclass
class LoadedModel:
    """A model on a device with its Renderer (tokenizer and chat template), and how much it is given at a time.

    max_thinking_tokens: of thoughts, before the max_new_tokens of the answer; None where both share max_new_tokens.
    """

    model: object
    render: object
    device: str
    batch_size: int
    max_new_tokens: int
    task: str = ""  # what it is asked for, where the progress of that is shown
    max_thinking_tokens: int | None = None

    @property
    def tokenizer(self):
        return self.render.tokenizer

    @cached_property
    def thoughts(self) -> ThoughtParser:
        return thought_parser(self.render)


@dataclass
class Generated:
    """What a model said to prompts, each (prompts,). cut: in its answer, by max_new_tokens. cut_thinking: before any answer.

    Of samples each item is a list.
    """

    texts: list = field(default_factory=list)
    cut: list = field(default_factory=list)
    cut_thinking: list = field(default_factory=list)


def load_for_generation(folder, batch_size=1, max_new_tokens=512, max_thinking_tokens=None, chat_template_kwargs=None):
    """The model of a folder, in bfloat16 on a GPU that has it, else in float32.

    chat_template_kwargs: what its chat template is given beside, or instead of, what it is always given.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = "bfloat16" if device == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    model = load_model(folder, dtype, device).eval()
    render = renderer(folder, chat_template_kwargs)
    # a warning of "indexing errors" that a tokenizer gives once each time it is loaded; `too_long` counts the rows
    render.tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
    return LoadedModel(model, render, device, batch_size, max_new_tokens, max_thinking_tokens=max_thinking_tokens)


def context_length(model):
    """How many tokens the model takes at most, or None where its config does not say."""
    return getattr(model.model.config.get_text_config(), "max_position_embeddings", None)


def batches_by_length(lengths, size):
    """Indices of rows in batches of similar length, the longest first."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    return [order[first : first + size] for first in range(0, len(order), size)]


def token_scores(model, ids, masks):
    """(nll, tokens, right) of the masked tokens, each (rows,): batches padded on the right."""
    import torch

    found = np.zeros((3, len(ids)))
    for batch in with_progress(batches_by_length([len(row) for row in ids], model.batch_size), model.task, "batch"):
        width = len(ids[batch[0]])
        padded = torch.tensor([ids[i] + [model.tokenizer.pad_token_id] * (width - len(ids[i])) for i in batch])
        attention = torch.tensor([[1] * len(ids[i]) + [0] * (width - len(ids[i])) for i in batch])
        padded = padded.to(model.device)
        with torch.inference_mode():
            logits = model.model(input_ids=padded, attention_mask=attention.to(model.device)).logits
            # a row at a time, and of it what counts: in float32, the logits of a batch would need several times its memory
            for place, i in enumerate(batch):
                at = torch.tensor(np.flatnonzero(masks[i][1:]), device=model.device)
                scores, targets = logits[place, at].float(), padded[place, at + 1]
                nll = scores.logsumexp(-1) - scores.gather(-1, targets[:, None])[:, 0]
                found[:, i] = nll.sum().item(), len(at), (scores.argmax(-1) == targets).sum().item()
    return found


def generate(model: LoadedModel, prompts: list, tools: list | None = None) -> Generated:
    """What the model answers to each prompt, decoded greedily."""
    said = generate_batches(model, prompts, tools, 1, do_sample=False)
    return Generated(*([each[0] for each in column] for column in (said.texts, said.cut, said.cut_thinking)))


def sample(model: LoadedModel, prompts: list, count: int, temperature: float, seed: int) -> Generated:
    """`count` answers to each prompt, drawn from the whole distribution at a temperature; the same for the same seed."""
    import torch

    torch.manual_seed(seed)
    # the model's own top-k and top-p are set aside: pass@k is about what it can say, not about a cut of it
    return generate_batches(model, prompts, None, count, do_sample=True, temperature=temperature, top_k=0, top_p=1.0)


def generate_batches(model: LoadedModel, prompts: list, tools: list | None, count: int, **how) -> Generated:
    """`count` answers to each prompt: batches, padded on the left."""
    import torch

    texts = [model.render.prompt(prompt, tools[i] if tools else None) for i, prompt in enumerate(prompts)]
    said, thoughts, stops = Generated(*([None] * len(texts) for _ in range(3))), model.thoughts, model.render.stops
    for batch in with_progress(
        batches_by_length([len(text) for text in texts], max(1, model.batch_size // count)), model.task, "batch"
    ):
        # the template has written the special tokens already: adding them again would double the first
        inputs = model.tokenizer(
            [texts[i] for i in batch], return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False
        ).to(model.device)
        start = inputs["input_ids"].shape[1]
        budgets = TokenBudgets(model, start, len(batch) * count)
        with torch.inference_mode():
            tokens = model.model.generate(
                **inputs, max_new_tokens=budgets.most, num_return_sequences=count, eos_token_id=sorted(stops),
                stopping_criteria=budgets.criteria(), **how,
            )  # fmt: skip
        rows = budgets.kept(tokens[:, start:].tolist())
        for place, i in enumerate(batch):
            own = rows[place * count : (place + 1) * count]
            cut = [stops.isdisjoint(row) for row in own]
            thinking = [thoughts.thinks_still(row) for row in own]
            said.texts[i] = [thoughts.text_of(row) for row in own]
            said.cut_thinking[i] = [a and b for a, b in zip(cut, thinking, strict=True)]
            said.cut[i] = [a and not b for a, b in zip(cut, thinking, strict=True)]
    return said


class TokenBudgets:
    """Where each row of a batch ends that does not end by itself: its thought has a budget, and its answer, from its own start.

    start: where the generated tokens begin in a row. A row is as long as it would be alone, whatever stands beside it.
    """

    def __init__(self, model: LoadedModel, start: int, rows: int):
        self.thoughts, self.start = model.thoughts, start
        self.thinking, self.answer = model.max_thinking_tokens, model.max_new_tokens
        self.states = [THINKING if self.thoughts.opened else UNKNOWN] * rows
        self.ends = [self.most] * rows  # how many tokens of a row count, so far as that is known
        self.looked = self.thoughts.longest + 4  # white space may stand before a mark

    @property
    def most(self) -> int:
        return self.answer + (self.thinking or 0)

    def criteria(self):
        """What transformers asks after each token; None where one budget holds for all of a row."""
        if self.thinking is None:
            return None
        import torch
        from transformers import StoppingCriteria, StoppingCriteriaList

        class Ended(StoppingCriteria):
            def __call__(_, ids, scores, **__):
                count = ids.shape[1] - self.start
                ended = self.look(ids[:, max(self.start, ids.shape[1] - self.looked) :].tolist(), count)
                return torch.tensor(ended, dtype=torch.bool, device=ids.device)

        return StoppingCriteriaList([Ended()])

    def look(self, tails: list[list[int]], count: int) -> list[bool]:
        """Whether each row has ended. tails: its last tokens; count: how many were generated."""
        for row, tail in enumerate(tails):
            if self.states[row] == UNKNOWN:
                text, (thought, _) = self.thoughts.decoded(tail, marks=True), self.thoughts.parts(tail)
                # white space says nothing yet; a part of the mark may become it
                self.ends[row] = self.answer if thought is None else self.thinking
                if text.lstrip().startswith(self.thoughts.openings):
                    self.states[row] = THINKING
                elif thought is None and text.strip():
                    self.states[row] = ANSWERING
            if self.states[row] == THINKING:
                closed = self.thoughts.ends_in(tail)
                self.ends[row] = count + self.answer if closed else self.thinking
                self.states[row] = ANSWERING if closed else THINKING
        return [count >= end for end in self.ends]

    def kept(self, rows: list[list[int]]) -> list[list[int]]:
        """The tokens of each row that count: what stands behind them only fills the batch."""
        return [row[:end] for row, end in zip(rows, self.ends, strict=True)]
