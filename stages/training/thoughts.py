r"""Where the thought of an answer ends, by the generated tokens and the marks that the model's chat template writes.

    thoughts = thought_parser(render)                      # ThoughtParser("<think>", "</think>", opened=False, shown=True)
    thoughts.text_of(ids of "<think>4 + 38")                  -> "<think>4 + 38"
    thoughts.thinks_still(ids of "<think>4 + 38")          -> True

The marks are those that the template itself puts around a thought, found by rendering one; a template that writes none gets
the usual ones. `answer_of` (`validators/_answers.py`) reads the answer out of any text of `text_of`: metrics, rewards in
training and rewards in `evaluate` all receive that text.
"""

import functools
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from stages.training.dialect import ANSWER, CALL, CALL_ID, QUESTION, thought_as_key
from stages.training.messages import FailedProof
from stages.training.rendering import OPEN_THOUGHT, Renderer
from stages.training.types import ChatMessage, RewardFunction
from validators._answers import answer_of

PROBE_THOUGHT = "Qthought"
USUAL_MARKS = "<think>", "</think>"
HARMONY_FINAL = "<|channel|>final<|message|>"  # a preamble may come between the analysis and this
HARMONY_END = re.compile(
    re.escape(HARMONY_FINAL) + r"|<\|start\|>assistant(?=(?:<\|channel\|>commentary)? to=)"
)  # or a call
LAST_MARK = re.compile(r"(?:<[^<>\s]+>|\[[A-Z_]+\])\s*\Z")  # the last mark of a text
FIRST_MARK = re.compile(r"\s*(<[^<>\s]+>|\[/?[A-Z_]+\])")


@dataclass(frozen=True)
class ThoughtParser:
    """Splits generated tokens into thought and answer. opening, closing: what the template writes around a thought.

    opened: whether the prompt already opens a thought. shown: whether the template writes or opens thoughts at all; a model
    may think even if it does not.
    """

    opening: str
    closing: str
    opened: bool
    shown: bool
    render: Renderer = field(repr=False, compare=False)

    def parts(self, ids: list[int]) -> tuple[str | None, str | None]:
        """(thought, answer) of generated tokens. thought: None if there is none. answer: None if the thought does not end."""
        raw = self.decoded(self.until_stop(ids), marks=True)
        bare = raw.lstrip()
        if bare and any(mark.startswith(bare) for mark in self.openings):  # the mark or a part of it, and nothing else
            return "", None
        begun = next((mark for mark in self.openings if bare.startswith(mark)), "")
        if not (self.opened or begun):
            return None, raw
        end = self.end.search(raw)
        thought, answer = (raw[: end.start()], raw[end.end() :]) if end else (raw, None)
        return thought.lstrip().removeprefix(begun) if begun else thought, answer

    def thinks_still(self, ids: list[int]) -> bool:
        """Whether generated tokens end inside a thought."""
        thought, answer = self.parts(ids)
        return thought is not None and answer is None

    def text_of(self, ids: list[int]) -> str:
        """Generated tokens as a text from which `answer_of` reads the right answer: the decoder's text whenever that works."""
        thought, answer = self.parts(ids)
        plain = self.decoded(self.until_stop(ids), marks=False)
        if thought is None or answer_of(plain) == self.bare(answer or "").strip():
            return plain
        return f"<think>{self.bare(thought)}" + ("" if answer is None else f"</think>{self.bare(answer)}")

    def lengths(self, ids: list[int]) -> tuple[int, int]:
        """(tokens of the thought with its marks, tokens after it) of an answer. ids: with the token that ends it."""
        if self.parts(ids)[0] is None:
            return 0, len(ids)
        ends = (place for place in range(1, len(ids) + 1) if self.ends_in(ids[max(0, place - self.longest) : place]))
        thought = next(ends, len(ids))
        return thought, len(ids) - thought

    @property
    def openings(self) -> tuple[str, ...]:
        """The marks that may begin a thought: a model may learn the usual one from rows, whatever its template writes."""
        return self.opening, USUAL_MARKS[0]

    @cached_property
    def end(self) -> re.Pattern[str]:
        """The pattern of what ends a thought."""
        if self.closing == HARMONY_FINAL:
            return HARMONY_END
        return re.compile("|".join(map(re.escape, dict.fromkeys((self.closing, USUAL_MARKS[1])))))

    def ends_in(self, tail: list[int]) -> bool:
        """Whether a thought ends within `tail`: the last `longest` generated tokens, or all if there are fewer."""
        return bool(self.end.search(self.decoded(tail, marks=True)))

    @property
    def longest(self) -> int:
        """The maximum number of tokens of a mark: no more than its bytes."""
        return (
            48
            if self.closing == HARMONY_FINAL
            else max(len(mark.encode()) for mark in (self.opening, self.closing, *USUAL_MARKS))
        )

    def completion(self, messages: list[ChatMessage], ids: list[int]) -> list[ChatMessage]:
        """A completion as TRL gives it to reward functions, with the text that `evaluate` would use; unchanged if it calls tools."""
        if len(messages) != 1 or messages[0].keys() != {"role", "content"}:
            return messages
        return [messages[0] | {"content": self.text_of(ids)}]

    def until_stop(self, ids: list[int]) -> list[int]:
        """The tokens before the one at which generation ended, without padding."""
        return ids[: next((place for place, token in enumerate(ids) if token in self.render.stops), len(ids))]

    def decoded(self, ids: list[int], marks: bool) -> str:
        return self.render.tokenizer.decode(ids, skip_special_tokens=not marks)

    def bare(self, text: str) -> str:
        """A text without control tokens."""
        return self.render.special_texts.sub("", text)


def thought_parser(render: Renderer) -> ThoughtParser:
    """The ThoughtParser of a Renderer, for its template and arguments."""
    prompt = render_or_empty(render, [QUESTION], generation_prompt=True)
    thinking = thought_as_key(ANSWER | {"reasoning_content": PROBE_THOUGHT})
    if (
        render.dialect.reads_thoughts_in_content
    ):  # the marks in the content would be ours; some templates write a thought only before a call
        thinking |= {"content": "", "tool_calls": [CALL | {"id": CALL_ID.format(1)}]}
    around = find_thought_marks(render_or_empty(render, [QUESTION, thinking]), prompt)
    opening, closing, opened = around or (*USUAL_MARKS, bool(OPEN_THOUGHT.search(prompt)))
    return ThoughtParser(opening, closing, opened, bool(around or opened), render)


def render_or_empty(render: Renderer, messages: list[ChatMessage], generation_prompt: bool = False) -> str:
    """What the template writes; "" if it refuses."""
    try:
        return render.text(render.dialect.convert_content(messages), generation_prompt=generation_prompt)
    except FailedProof:
        return ""


def find_thought_marks(text: str, prompt: str) -> tuple[str, str, bool] | None:
    """(opening, closing, whether the prompt opens it) of the thought in a text; None if the text has no thought."""
    before, _, rest = text.partition(PROBE_THOUGHT)
    between, answer, _ = rest.partition(ANSWER["content"])
    first = FIRST_MARK.match(rest)
    closing = between.strip() if answer else first[1] if first else ""
    if HARMONY_FINAL in closing:
        closing = HARMONY_FINAL
    if not closing:
        return None
    last = LAST_MARK.search(before)
    shared = prompt.rstrip()
    if before.rstrip() == shared or OPEN_THOUGHT.search(prompt):
        return (last[0].strip() if last else USUAL_MARKS[0]), closing, True
    opening = before[len(prompt) :].strip() if before.startswith(prompt) else ""
    return opening or (last[0].strip() if last else USUAL_MARKS[0]), closing, False


def match_evaluated_text(function: RewardFunction, thoughts: ThoughtParser) -> RewardFunction:
    """The reward function, given in training the text that `evaluate` would give it for the same tokens."""

    @functools.wraps(function)
    def with_evaluated_text(completions: list[Any], completion_ids: list[Any], **given: Any) -> list[float | None]:
        texts = [thoughts.completion(each, list(ids)) for each, ids in zip(completions, completion_ids, strict=True)]
        return function(completions=texts, completion_ids=completion_ids, **given)

    return with_evaluated_text
