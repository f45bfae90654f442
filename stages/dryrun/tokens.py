"""What TRL's trainers make of each row: how long it is, how much of it is learned, whether it is kept.

    measured("data/train/pairs.parquet", Method("dpo", config, tokenizer, stops)) -> (n,) records of ROW

The same calls of the chat template and the tokenizer as in TRL 1.14, a batch at a time; of each row only numbers are
kept, so that a file of millions of rows needs no memory for its tokens.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stages.rows.batches import BATCH, batches, named
from stages.training.models import BASE
from stages.training.trl import COLUMNS
from validators.problems import Problem, Problems

ROW = np.dtype(
    [
        ("prompt", "i4"),  # tokens before the first one that is learned, as the trainer counts them
        ("length", "i4"),  # tokens of the row, of the longer answer where there are two, before truncation
        ("tokens", "i8"),  # tokens that go through the model, of both answers, after truncation
        ("learned", "i8"),  # of these the ones that the loss is taken over
        ("cut", "?"),  # longer than max_length
        ("dropped", "?"),  # not trained, without a word of TRL's
        ("unlearned", "?"),  # nothing to learn from in an answer, and not dropped for it
        ("endless", "?"),  # the token that ends the answer is not learned
        ("broken", "?"),  # the prompt, ready for an answer, is not how the row begins
        ("doubled", "?"),  # two tokens of beginning
        ("equal", "?"),  # both answers are the same tokens after truncation
        ("longer", "i1"),  # 1 where chosen is longer than rejected, -1 where it is shorter
        ("label", "?"),
    ]
)


@dataclass(frozen=True)
class Method:
    """A method with all that decides its tokens. stops: ids of the tokens that end an answer."""

    name: str
    config: object
    tokenizer: object
    stops: frozenset
    blanks: dict = field(default_factory=dict, compare=False)

    @property
    def limit(self):
        if self.name == "orpo" and self.config.max_length is None:
            return 512  # what TRL takes then, with a warning
        return getattr(self.config, "max_length", None)

    @property
    def keeps_end(self):
        return getattr(self.config, "truncation_mode", "keep_start") == "keep_end"

    @property
    def splits(self):
        """Sequences longer than max_length go on in the next one, so that nothing is cut."""
        return getattr(self.config, "packing", False) and self.config.packing_strategy != "bfd"

    @property
    def learns(self):
        return what_is_learned(self.config)

    def cut(self, ids):
        if self.limit is None or self.splits:
            return ids
        return ids[-self.limit :] if self.keeps_end else ids[: self.limit]


def what_is_learned(config):
    """`assistant` (all that it says), `completion` (its last answer) or `all`, as the args of an SFT step say."""
    if config.assistant_only_loss:
        return "assistant"
    return "completion" if config.completion_only_loss else "all"


def stop_tokens(tokenizer, folder=BASE):
    """Ids that end an answer: the tokenizer's, and those that the model's own configs add (a turn's end, say)."""
    found = {tokenizer.eos_token_id}
    for name in ("config.json", "generation_config.json"):
        if (path := Path(folder, name)).exists():
            ids = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id")
            found |= set(ids) if isinstance(ids, list) else {ids}
    return frozenset(found - {None})


def measured(path, method, where):
    """Every row of a file, (rows,) records of ROW. Raises Problems that name the row that the template does not take."""
    parts = [np.zeros(0, ROW)]
    for number, rows in enumerate(batches(path, COLUMNS[method.name])):
        try:
            parts.append(MEASURES[method.name](rows, method))
        except Exception as error:
            raise refused(path, number * BATCH, rows, method, where) or error from None
    return np.concatenate(parts)


def refused(path, first, rows, method, where):
    """Problems that name the first row of a batch which cannot be rendered by itself; None where each can."""
    from jinja2.exceptions import SecurityError

    for i, row in enumerate(rows):
        try:
            MEASURES[method.name]([row], method)
        except Exception as error:
            found = f"{named(path, [first + i])}: the chat template refuses the row: {error}"
            hint = (
                "the template reaches for Python, which the sandbox forbids: look at it before you trust this base"
                if isinstance(error, SecurityError)
                else "reject such rows with a check of validators/, or take a base whose template knows them"
            )
            return Problems([Problem(f"{where}: preflight.chat_template", found, "a row that it renders", hint)])
    return None


# -- what each method's trainer does with a row ----------------------------------------------------------------------


def conversations(rows, method):
    """SFT on `messages`."""
    if method.learns == "completion":
        return completions(
            [{"prompt": row["messages"][:-1], "completion": row["messages"][-1:], **row} for row in rows], method
        )
    tools = [row.get("tools") for row in rows]
    marked = method.learns == "assistant"
    found, masks = rendered(method.tokenizer, [row["messages"] for row in rows], tools, marks=marked)
    prompts, _ = rendered(method.tokenizer, [row["messages"][:-1] for row in rows], tools, add_generation_prompt=True)
    out = np.zeros(len(rows), ROW)
    for i, (ids, mask, prompt) in enumerate(zip(found, masks, prompts, strict=True)):
        mask = np.array(mask, bool) if marked else np.ones(len(ids), bool)
        learned, kept = np.flatnonzero(mask), method.cut(mask)
        out[i]["prompt"] = learned[0] if len(learned) else len(ids)
        fill(out[i], method, [ids], [int(kept.sum())])
        out[i]["unlearned"] = not len(learned)
        out[i]["dropped"] = bool(len(learned)) and not kept.any() and not method.config.packing
        out[i]["endless"] = bool(len(learned)) and not ends([ids[j] for j in learned[-8:]], method)
        out[i]["broken"] = ids[: len(prompt)] != prompt
    return out


def completions(rows, method):
    """KTO on `prompt` and `completion`, and SFT on the last answer alone."""
    return answered(rows, ["completion"], method)


def pairs(rows, method):
    """DPO on `prompt`, `chosen` and `rejected`."""
    return answered(rows, ["chosen", "rejected"], method)


def answered(rows, sides, method):
    """A prompt, and what each side makes of it: an answer begins where the tokens part, which TRL takes for all sides."""
    tools = [row.get("tools") for row in rows]
    prompts, _ = rendered(method.tokenizer, [row["prompt"] for row in rows], tools, add_generation_prompt=True)
    wholes = [rendered(method.tokenizer, [row["prompt"] + row[side] for row in rows], tools)[0] for side in sides]
    out = np.zeros(len(rows), ROW)
    for i, (prompt, *whole) in enumerate(zip(prompts, *wholes, strict=True)):
        start = min(shared(prompt, ids) for ids in whole)
        out[i]["prompt"] = start
        fill(out[i], method, whole, [learned_of(len(ids), start, method) for ids in whole])
        out[i]["dropped"] = method.limit is not None and not method.keeps_end and start >= method.limit
        if method.name == "sft" and method.config.packing:
            out[i]["dropped"] = False
        out[i]["unlearned"] = any(len(ids) == start for ids in whole)
        out[i]["endless"] = not out[i]["unlearned"] and not all(ends(ids[start:][-8:], method) for ids in whole)
        out[i]["broken"] = start < len(prompt)
        out[i]["label"] = bool(rows[i].get("label"))
    return out


def learned_of(length, start, method):
    """Tokens of an answer that are left of a sequence once it is cut."""
    if method.limit is None or method.splits:
        return length - start
    kept = min(length, method.limit)
    return min(length - start, kept) if method.keeps_end else max(kept - start, 0)


def odds(rows, method):
    """ORPO: texts, not conversations, are tokenised; an answer is cut by what the longer one leaves, a prompt never."""
    tokenizer = method.tokenizer
    texts = [rendered(tokenizer, [row["prompt"] for row in rows], tokenize=False, add_generation_prompt=True)[0]]
    texts += [
        rendered(tokenizer, [row["prompt"] + row[side] for row in rows], tokenize=False)[0]
        for side in ("chosen", "rejected")
    ]
    begun = [text[: min(shared(text, whole) for whole in both)] for text, *both in zip(*texts, strict=True)]
    prompts, chosen, rejected = (
        tokenizer(column, add_special_tokens=False)["input_ids"] for column in (begun, *texts[1:])
    )
    out = np.zeros(len(rows), ROW)
    for i, (prompt, *whole) in enumerate(zip(prompts, chosen, rejected, strict=True)):
        starts = [len(prompt) - (ids[: len(prompt)] != prompt) for ids in whole]
        before = [with_beginning(ids[:start], tokenizer.bos_token_id) for ids, start in zip(whole, starts, strict=True)]
        answers = [with_end(ids[start:], tokenizer.eos_token_id) for ids, start in zip(whole, starts, strict=True)]
        longest = max(map(len, answers))
        kept = [
            answer[: method.limit - longest] if len(ids) + longest > method.limit else answer
            for ids, answer in zip(before, answers, strict=True)
        ]
        out[i]["prompt"] = min(map(len, before))
        out[i]["length"] = max(map(len, before)) + longest
        out[i]["tokens"] = sum(map(len, before)) + sum(map(len, kept))
        out[i]["learned"] = sum(map(len, kept))
        out[i]["cut"] = out[i]["length"] > method.limit
        out[i]["unlearned"] = not all(kept)
        out[i]["broken"] = len(begun[i]) < len(texts[0][i]) or min(starts) < len(prompt)
        out[i]["doubled"] = doubled(before[0], tokenizer)
        out[i]["equal"] = kept[0] == kept[1]
        out[i]["longer"] = np.sign(len(answers[0]) - len(answers[1]))
    return out


def with_beginning(ids, bos):
    return [bos, *ids] if bos is not None and ids[:1] != [bos] else ids


def with_end(ids, eos):
    return ids if ids[-1:] == [eos] else [*ids, eos]


def prompts_alone(rows, method):
    """GRPO: the model writes the answers itself, so that nothing is known of them."""
    options = method.config.chat_template_kwargs or {}
    found, _ = rendered(method.tokenizer, [row["prompt"] for row in rows], add_generation_prompt=True, **options)
    out = np.zeros(len(rows), ROW)
    for i, ids in enumerate(found):
        out[i]["prompt"] = out[i]["length"] = out[i]["tokens"] = len(ids)
        out[i]["doubled"] = doubled(ids, method.tokenizer)
    return out


MEASURES = {"sft": conversations, "dpo": pairs, "orpo": odds, "kto": completions, "grpo": prompts_alone}


# -- of tokens --------------------------------------------------------------------------------------------------------


def rendered(tokenizer, talks, tools=None, marks=False, **options):
    """(ids or texts, masks) of conversations; those with the same tools go through the template together."""
    tools = tools or [None] * len(talks)
    groups = {}
    for i, given in enumerate(tools):
        if talks[i]:  # an answer without a question has a prompt of no turns, which no template takes
            groups.setdefault(json.dumps(given), []).append(i)
    ids, masks = [[] for _ in talks], [[] for _ in talks]
    options = {"tokenize": True, "return_dict": True, "return_assistant_tokens_mask": marks} | options
    for members in groups.values():
        out = tokenizer.apply_chat_template([talks[i] for i in members], tools=tools[members[0]], **options)
        for place, i in enumerate(members):
            ids[i] = out["input_ids"][place] if options["tokenize"] else out[place]
            masks[i] = out["assistant_masks"][place] if marks else []
    return ids, masks


def fill(record, method, sequences, learned):
    """The numbers that SFT, DPO and KTO share."""
    kept = [method.cut(ids) for ids in sequences]
    record["length"] = max(map(len, sequences))
    record["tokens"], record["learned"] = sum(map(len, kept)), sum(learned)
    record["cut"] = any(len(part) < len(ids) for part, ids in zip(kept, sequences, strict=True))
    record["doubled"] = doubled(sequences[0], method.tokenizer)
    if len(sequences) == 2:
        record["equal"] = kept[0] == kept[1]
        record["longer"] = np.sign(len(sequences[0]) - len(sequences[1]))


def shared(one, other):
    """How many tokens (or letters) two sequences begin with in common."""
    if other[: len(one)] == one:
        return len(one)
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def doubled(ids, tokenizer):
    return tokenizer.bos_token_id is not None and ids[:2] == [tokenizer.bos_token_id] * 2


def ends(ids, method):
    """Whether the last of these tokens that is more than white space ends an answer."""
    for token in reversed(ids):
        if token in method.stops:
            return True
        if token not in method.blanks:
            method.blanks[token] = not method.tokenizer.decode([token]).strip()
        if not method.blanks[token]:
            return False
    return False
