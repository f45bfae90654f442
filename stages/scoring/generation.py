"""What a model says to prompts, and how likely it finds given words: in batches, on the best device that is there.

    model = loaded(Path("models/sft"), batch_size=8, max_new_tokens=64)
    generate(model, [[{"role": "user", "content": "Reverse abc."}]]) -> (["cba"], [False])

Rows of similar length share a batch, the longest first: what does not fit into memory fails at once, not at the end.
"""

from dataclasses import dataclass

import numpy as np

from stages.core.progress import watched
from stages.training.models import load_model, renderer


@dataclass
class Loaded:
    """A model on a device with its Renderer (tokenizer and chat template), and how much it is given at a time."""

    model: object
    render: object
    device: str
    batch_size: int
    max_new_tokens: int
    task: str = ""  # what it is asked for, where the progress of that is shown

    @property
    def tokenizer(self):
        return self.render.tokenizer


def loaded(folder, batch_size=1, max_new_tokens=512):
    """The model of a folder, in bfloat16 on a GPU that has it, else in float32."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = "bfloat16" if device == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    model = load_model(folder, dtype, device).eval()
    render = renderer(folder)
    # a warning of "indexing errors" that a tokenizer gives once each time it is loaded; `too_long` counts the rows
    render.tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
    return Loaded(model, render, device, batch_size, max_new_tokens)


def context_length(model):
    """How many tokens the model takes at most, or None where its config does not say."""
    return getattr(model.model.config.get_text_config(), "max_position_embeddings", None)


def batches(lengths, size):
    """Indices of rows in batches of similar length, the longest first."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    return [order[first : first + size] for first in range(0, len(order), size)]


def token_scores(model, ids, masks):
    """(nll, tokens, right) of the masked tokens, each (rows,): batches padded on the right."""
    import torch

    found = np.zeros((3, len(ids)))
    for batch in watched(batches([len(row) for row in ids], model.batch_size), model.task, "batch"):
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


def generate(model, prompts, tools=None):
    """(what the model answers to each prompt, decoded greedily; whether max_new_tokens cut it)."""
    said, cut = answers(model, prompts, tools, 1, do_sample=False)
    return [texts[0] for texts in said], [flags[0] for flags in cut]


def sample(model, prompts, count, temperature, seed):
    """`count` answers to each prompt, drawn from the whole distribution at a temperature; the same for the same seed."""
    import torch

    torch.manual_seed(seed)
    # the model's own top-k and top-p are set aside: pass@k is about what it can say, not about a cut of it
    return answers(model, prompts, None, count, do_sample=True, temperature=temperature, top_k=0, top_p=1.0)[0]


def answers(model, prompts, tools, count, **how):
    """(`count` answers to each prompt, whether each was cut: it ends in no token that stops): batches, padded on the left."""
    import torch

    texts = [model.render.prompt(prompt, tools[i] if tools else None) for i, prompt in enumerate(prompts)]
    said, cut, stops = [[""] * count for _ in texts], [[False] * count for _ in texts], model.render.stops
    for batch in watched(batches([len(text) for text in texts], max(1, model.batch_size // count)), model.task, "batch"):
        # the template has written the special tokens already: adding them again would double the first
        inputs = model.tokenizer(
            [texts[i] for i in batch], return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False
        ).to(model.device)
        with torch.inference_mode():
            tokens = model.model.generate(
                **inputs, max_new_tokens=model.max_new_tokens, num_return_sequences=count,
                eos_token_id=sorted(stops), **how,
            )  # fmt: skip
        new = tokens[:, inputs["input_ids"].shape[1] :].reshape(len(batch), count, -1)
        for i, rows in zip(batch, new, strict=True):
            said[i] = model.tokenizer.batch_decode(rows, skip_special_tokens=True)
            cut[i] = [stops.isdisjoint(row) for row in rows.tolist()]
    return said, cut
