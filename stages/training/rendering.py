"""Rows as tokens, and which of them are learned: rendered by the base's own chat template, proved turn by turn.

    render = Renderer(tokenizer, stops)
    render.conversation([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}])
    -> [Sequence(ids=[...], turns=[Turn(message=1, start=9, end=11)])]

A turn is learned only where five proofs hold:

    PROMPT  the text begins with what inference sees before the turn: the turns before it, and the generation prompt
    LAST    the turn is written as it is when it is the last one
    SAID    all that the message holds is in the text that is learned
    STOP    this text ends with a token that ends an answer, the first one in it
    BORDER  no token lies across a border of this text, and the prompt's tokens are those that inference sees

A conversation of which all turns hold is one sequence. Else each turn is a sequence of its own, cut off behind it, so that
LAST holds by itself. A turn that does not hold even so is Unproved. No template is changed: whatever it prints is taken.

Where the prompt opens a thought (`<think>`) that the template does not write again, the answer is what a model would write
there: the thought, its end, and what the template writes behind the same prompt without the open thought.
"""

import contextlib
import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from stages.training.dialect import Dialect
from stages.training.messages import FailedProof, check_context, missing_text, normalise_message, shorten
from stages.training.resource_limits import memory_limit, time_limit
from stages.training.types import ChatMessage, Tokenizer, Tools

TEMPLATE_TIMEOUT_S = 20  # for one conversation; the slowest real template takes milliseconds
TEMPLATE_MAX_BYTES = 2**30
TEMPLATE_MAX_CHARACTERS = 20_000_000  # what it may write: millions of tokens, which no model takes
MAX_HEADS = 10_000  # prompts whose tokens are remembered: most templates write the same few letters before every answer
THOUGHT_MARK = "Qthought9"  # stands for a thought, to see where the template puts it
OPEN_THOUGHT = re.compile(r"<think>\s*\Z")
THOUGHT_END = re.compile(r"(?:<think>\s*)?(</think>\s*)?")  # an empty thought, or the end of one, before an answer

Span = tuple[int, int]  # start and end, in tokens or in letters
Encoded = tuple[list[int], list[Span]]  # tokens, and where each stands in the text


@dataclass(frozen=True)
class LearnedSpan:
    """Tokens start to end of a sequence, which are learned. message: the place in the conversation of what they say."""

    message: int
    start: int
    end: int


@dataclass
class TokenSequence:
    """ids: (n,) tokens. turns: the spans of them that are learned. starts: the first token of each answer, learned or not."""

    ids: list[int]
    turns: list[LearnedSpan] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)

    @classmethod
    def whole(cls, ids: list[int]) -> "TokenSequence":
        """A sequence of which every token is learned."""
        return cls(ids, [LearnedSpan(0, 0, len(ids))])

    @property
    def labels(self) -> list[int]:
        """(n,) the tokens that are learned, -100 elsewhere."""
        labels = [-100] * len(self.ids)
        for turn in self.turns:
            labels[turn.start : turn.end] = self.ids[turn.start : turn.end]
        return labels


@dataclass(frozen=True)
class Conversation:
    """A conversation: what its messages hold, and the same as the template takes them. tools: their definitions, or None."""

    held: list[ChatMessage]
    written: list[ChatMessage]
    tools: Tools | None


@dataclass(frozen=True)
class Answer:
    """A message of the assistant where it is the last one. place: the message's. prompt: what inference sees before it.

    text: what follows the prompt. tail: as much of that as the template wrote. written: the conversation up to it, as the
    template wrote it. thought: (start, end) in the text of what is not learned.
    """

    place: int
    prompt: str
    text: str
    tail: str
    written: str
    thought: Span = (0, 0)


class Renderer:
    """The chat template of a tokenizer, with what it is always given. stops: ids of the tokens that end an answer."""

    def __init__(self, tokenizer: Tokenizer, stops: Iterable[int], **options: Any) -> None:
        self.tokenizer, self.stops, self.options = tokenizer, frozenset(stops), options
        self.dialect = Dialect(self.text)
        self.late_stops = {}
        self.heads = {}  # {text before a turn since the last special token: its tokens}
        special = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
        self.stop_texts = [text for text in map(str, tokenizer.convert_ids_to_tokens(sorted(stops))) if text.strip()]
        self.special = frozenset(special | set(tokenizer.all_special_ids))

    @cached_property
    def special_texts(self) -> re.Pattern[str]:
        """A pattern of the texts of all control tokens."""
        texts = (str(self.tokenizer.convert_ids_to_tokens(id)) for id in sorted(self.special))
        return re.compile("|".join(re.escape(text) for text in texts if text.strip()) or "(?!)")

    def says_special(self, row: Mapping[str, Any]) -> bool:
        """Whether a turn of a row says a control token: it would be one, and end a turn or begin another."""
        turns = (turn for value in row.values() if isinstance(value, list) for turn in value if isinstance(turn, dict))
        texts = (turn.get(key) or "" for turn in turns for key in ("content", "reasoning_content"))
        return any(map(self.special_texts.search, texts))

    # -- text ---------------------------------------------------------------------------------------------------

    def text(self, messages: Sequence[ChatMessage], tools: Tools | None = None, generation_prompt: bool = False) -> str:
        """A conversation as the template writes it. Raises Unproved(TEMPLATE) where it refuses the conversation."""
        try:
            with time_limit(TEMPLATE_TIMEOUT_S), memory_limit(TEMPLATE_MAX_BYTES):
                # in a list of one, as the template would else not be asked about a conversation without turns
                text = self.tokenizer.apply_chat_template(
                    [messages], tools=tools, tokenize=False, add_generation_prompt=generation_prompt, **self.options
                )[0]
            if len(text) > TEMPLATE_MAX_CHARACTERS:
                raise ValueError(f"it writes {len(text):,} letters, at most {TEMPLATE_MAX_CHARACTERS:,} are read")
            return text
        except Exception as error:  # a template may raise whatever it likes
            raise FailedProof(
                "TEMPLATE", None, f"the chat template refuses it: {' '.join(str(error).split())}"
            ) from error

    def readable(self, messages: Sequence[ChatMessage]) -> list[ChatMessage]:
        """The messages of a conversation as this template takes them."""
        return self.talk(messages).written

    def talk(self, messages: Sequence[ChatMessage], tools: Tools | None = None) -> Conversation:
        held = [normalise_message(message) for message in messages]
        return Conversation(held, self.dialect.convert(held), tools)

    def check_stops(self, place: int, message: ChatMessage) -> None:
        """Raise Unproved where a message writes a stop token itself, or its thought the end of a thought: it would end there."""
        for text in (message["content"], message.get("reasoning_content", "")):
            if found := next((stop for stop in self.stop_texts if stop in text), None):
                raise FailedProof("STOP", place, f"it says {found!r}, at which every answer ends")
        if "</think>" in message.get("reasoning_content", ""):
            raise FailedProof("STOP", place, "its thought says '</think>', at which a thought ends")

    def encode(self, texts: list[str]) -> list[Encoded]:
        """[(ids, offsets)] of texts; the template has written the special tokens already."""
        found = self.tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
        return list(zip(found["input_ids"], found["offset_mapping"], strict=True))

    def encode_behind(self, known: tuple[str, list[int], list[Span]] | None, text: str) -> Encoded:
        """(ids, offsets) of a text. known: (a beginning of it, ids and offsets of a text that begins so too), or None.

        Tokens up to the last special one are not changed by what follows it: only what stands behind is encoded anew.
        """
        if known and text.startswith(known[0]):
            beginning, ids, offsets = known
            since = bisect_left(offsets, len(beginning), key=lambda offset: offset[1]) - 1
            while since > 0 and ids[since] not in self.special:
                since -= 1
            if since > 0:
                at = offsets[since][0]
                [(rest, places)] = self.encode([text[at:]])
                return ids[:since] + rest, offsets[:since] + [(start + at, end + at) for start, end in places]
        return self.encode([text])[0]

    # -- rows ---------------------------------------------------------------------------------------------------

    def conversation(
        self,
        messages: Sequence[ChatMessage],
        tools: Tools | None = None,
        only: list[int] | None = None,
        masks: bool = False,
    ) -> list[TokenSequence]:
        """The sequences of a conversation. masks: thoughts are not learned, only the tags around them.

        only: the places of the messages that are learned; if None, the assistant's but those that say `train: false`.
        Raises Unproved.
        """
        if only is None:
            only = learned_positions(messages)
        for place in only:
            if messages[place].get("train") is False:
                raise FailedProof("SAID", place, "it says train: false, and nothing else of the row is learned")
        return self.sequences(self.talk(messages, tools), only, masks)

    def sequences(self, talk: Conversation, only: list[int], masks: bool = False) -> list[TokenSequence]:
        """The sequences of a conversation in which the messages at the places `only` are learned. Raises Unproved."""
        for place in only:
            self.check_stops(place, talk.held[place])
        answers = []
        for place in only:
            answers.append(self.answer_at(talk, place, answers[-1] if answers else None))
        if masks:
            answers = [self.without_thought(talk, answer) for answer in answers]
        if len(answers) > 1:
            ends_with_it = answers[-1].place == len(talk.written) - 1
            whole = answers[-1].written if ends_with_it else self.text(talk.written, talk.tools)
            if all(whole.startswith(answer.prompt + answer.text) for answer in answers):
                # a turn alone may hold where all of them do not
                with contextlib.suppress(FailedProof):
                    return [self.sequence(whole, talk, answers)]
        found, known = [], None
        for answer in answers:
            whole = answer.prompt + answer.text
            encoded = self.encode_behind(known, whole)
            found.append(self.sequence(whole, talk, [answer], encoded))
            known = answer.prompt, *encoded
        return found

    def answer(
        self,
        prompt: Sequence[ChatMessage],
        said: Sequence[ChatMessage],
        tools: Tools | None = None,
        masks: bool = False,
    ) -> tuple[list[int], list[int], list[int]]:
        """(tokens of a prompt, tokens of the answer to it, its labels: those that are learned, -100 elsewhere).

        said: the messages of the answer. masks: as of `conversation`. Raises Unproved.
        """
        talk, first = self.talk([*prompt, *said], tools), len(prompt)
        if len(said) == 1:
            [sequence] = self.sequences(talk, [first], masks)
            return split_tokens(sequence, sequence.starts[0])
        # an answer of several messages is learned from its first token to its end, with what tools found in between
        for place in range(first, len(talk.held)):
            self.check_stops(place, talk.held[place])
        before, last = self.prompt_of(talk, first), self.answer_at(talk, len(talk.held) - 1)
        if not last.prompt.startswith(before):
            raise FailedProof("PROMPT", first, describe_difference(before, last.prompt))
        whole = last.prompt + last.text
        sequence = self.sequence(whole, talk, [last])
        [(ids, offsets)] = self.encode([whole])
        start = self.border(len(before), whole, ids, [start for start, _ in offsets], first)
        for place, message in enumerate(talk.held[first:], first):
            if missing := missing_text(message, whole[len(before) :]):
                raise FailedProof("SAID", place, f"{missing!r} is not in what is learned")
        sequence.turns = [LearnedSpan(len(talk.held) - 1, start, sequence.turns[0].end)]
        if masks:
            sequence.turns = self.spans_without(self.thoughts(talk, first, whole), sequence.turns[0], offsets)
        return split_tokens(sequence, start)

    def thoughts(self, talk: Conversation, first: int, whole: str) -> list[Span]:
        """[(start, end)] in a text of the thoughts of the assistant's messages from the place `first` on."""
        found = []
        for place in range(first, len(talk.held)):
            if not talk.held[place].get("reasoning_content"):
                continue
            answer = self.without_thought(talk, self.answer_at(talk, place))
            if not whole.startswith(answer.prompt + answer.text[: answer.thought[1]]):
                raise FailedProof("SAID", place, "where its thought stands cannot be told")
            before, (start, end) = len(answer.prompt), answer.thought
            found.append((before + start, before + end))
        return found

    def spans_without(self, thoughts: list[Span], turn: LearnedSpan, offsets: list[Span]) -> list[LearnedSpan]:
        """The spans of a Turn outside thoughts: tokens that overlap one are context. offsets: of all tokens of the text."""
        starts, spans, first = [start for start, _ in offsets], [], turn.start
        for start, end in thoughts:
            thinks = next((i for i in range(first, turn.end) if offsets[i][1] > start), turn.end)
            spans, first = [*spans, (first, thinks)], max(first, bisect_left(starts, end))
        return [LearnedSpan(turn.message, *span) for span in [*spans, (first, turn.end)] if span[0] < span[1]]

    def prompt(self, messages: Sequence[ChatMessage], tools: Tools | None = None) -> str:
        """The text of a prompt, ready for an answer. Raises Unproved where something of it is left out."""
        return self.prompt_of(self.talk(messages, tools), len(messages))

    def prompt_of(self, talk: Conversation, place: int, known: Answer | None = None) -> str:
        """What inference sees before a message. known: an Answer before it, whose prompt was checked."""
        text = self.text(talk.written[:place], talk.tools, generation_prompt=True)
        if known and text.startswith(known.prompt):
            check_context(talk.held[known.place : place], None, text[len(known.prompt) :], known.place)
        else:
            check_context(talk.held[:place], talk.tools, text)
        return text

    def answer_at(self, talk: Conversation, place: int, known: Answer | None = None) -> Answer:
        """The Answer at a place. Raises Unproved where the text does not begin with what inference sees."""
        prompt = self.prompt_of(talk, place, known)
        text = self.text(talk.written[: place + 1], talk.tools)
        thought = talk.held[place].get("reasoning_content", "").strip("\n")
        if found := text_after_prompt(prompt, text, thought):
            return Answer(place, prompt, *found, text)
        # the turns before it are written otherwise once it is there (a system turn that stands in the last question, a
        # thought that is no longer shown): what it says itself is seen in a conversation of the last question alone
        asked = [message for message in talk.written[:place] if message["role"] == "user"][-1:]
        short = self.text(asked, talk.tools, generation_prompt=True)
        found = text_after_prompt(short, self.text([*asked, talk.written[place]], talk.tools), thought)
        if (
            not found
            or not text.endswith(found[1])
            or bool(OPEN_THOUGHT.search(prompt)) != bool(OPEN_THOUGHT.search(short))
        ):
            raise FailedProof("PROMPT", place, describe_difference(prompt, text))
        return Answer(place, prompt, *found, text)

    def without_thought(self, talk: Conversation, answer: Answer) -> Answer:
        """An Answer of which the thought is not learned: where another thought would stand, from its first line to its last."""
        message = talk.held[answer.place]
        if not (thought := message.get("reasoning_content", "").strip()):
            return answer
        marked = [*talk.held]
        marked[answer.place] = message | {"reasoning_content": THOUGHT_MARK}
        before, found, after = self.answer_at(
            Conversation(marked, self.dialect.convert(marked), talk.tools), answer.place
        ).text.partition(THOUGHT_MARK)
        start, end = len(before), len(answer.text) - len(after)
        if not (
            found
            and answer.text == before + answer.text[start:end] + after
            and answer.text[start:end].strip() == thought
        ):
            raise FailedProof("SAID", answer.place, "where its thought stands cannot be told")
        start = answer.text.index(thought, start)
        return replace(answer, thought=(start, start + len(thought)))

    def sequence(
        self, whole: str, talk: Conversation, answers: list[Answer], encoded: Encoded | None = None
    ) -> TokenSequence:
        """The Sequence of a text, in which Answers are learned. encoded: its (ids, offsets), where they are known."""
        ids, offsets = encoded or self.encode([whole])[0]
        starts = [start for start, _ in offsets]
        found = TokenSequence(ids)
        for answer in answers:
            place, at = answer.place, len(answer.prompt)
            first = self.border(at, whole, ids, starts, place)
            behind = bisect_left(starts, at + len(answer.text))
            last = next((i + 1 for i in range(first, behind) if ids[i] in self.stops), None)
            said = whole[at : offsets[last - 1][1]] if last else answer.text
            if missing := missing_text(talk.held[place], said):
                raise FailedProof("SAID", place, f"{missing!r} is not in what is learned, {shorten(said)!r}")
            if last is None:
                # what ends an answer may be how the next message begins
                last = behind + 1
                if behind == len(ids):
                    ids.append(self.late_stop(talk.held[place]))  # ty: ignore[invalid-argument-type]  # None is no stop
                if ids[behind] not in self.stops:
                    raise FailedProof("STOP", place, f"{shorten(said[-60:])!r} ends in no token that ends an answer")
            start, end = answer.thought
            thoughts = [(at + start, at + end)] if start < end else []
            found.starts.append(first)
            found.turns += self.spans_without(thoughts, LearnedSpan(place, first, last), offsets)
        return found

    def late_stop(self, message: ChatMessage) -> int | None:
        """The token with which the template begins what follows a message like this one; None where none is known."""
        calls = bool(message.get("tool_calls"))
        if calls not in self.late_stops:
            call = {"type": "function", "function": {"name": "x", "arguments": {}}}
            talk: list[ChatMessage] = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "x"}]
            talk[1] |= {"tool_calls": [call]} if calls else {}
            talk = self.readable([*talk, {"role": "tool" if calls else "user", "content": "x"}])
            try:
                text, longer = self.text(talk[:-1]), self.text(talk)
            except FailedProof:
                text, longer = "x", ""
            [(ids, offsets)] = self.encode([longer])
            behind = (token for token, (start, _) in zip(ids, offsets, strict=True) if start >= len(text))
            self.late_stops[calls] = next(behind, None) if longer.startswith(text) else None
        return self.late_stops[calls]

    def border(self, at: int, whole: str, ids: list[int], starts: list[int], place: int) -> int:
        """The first token of what follows the prompt, where the tokens before it are those of the prompt alone."""
        first = bisect_left(starts, at)
        # tokens up to the last special one are not changed by what follows it
        since = next((i for i in range(first - 1, -1, -1) if ids[i] in self.special), 0)
        head = whole[starts[since] if since else 0 : at]
        if head not in self.heads:
            if len(self.heads) > MAX_HEADS:
                self.heads.clear()
            self.heads[head] = self.tokenizer(head, add_special_tokens=False)["input_ids"]
        if self.heads[head] != ids[since:first]:
            around = whole[max(0, at - 20) : at + 20]
            raise FailedProof("BORDER", place, f"the prompt alone has other tokens at its end, in {around!r}")
        return first


def learned_positions(messages: Sequence[ChatMessage]) -> list[int]:
    """The places of the assistant's messages, but those that say `train: false`. Raises Unproved where there are none."""
    said = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
    if not said:
        raise FailedProof("SAID", None, "the assistant says nothing in it")
    if learned := [place for place in said if messages[place].get("train") is not False]:
        return learned
    raise FailedProof("SAID", None, "all turns of the assistant say train: false")


def split_tokens(sequence: TokenSequence, start: int) -> tuple[list[int], list[int], list[int]]:
    """(tokens before a place, tokens from it to the last one that is learned, the labels of these)."""
    end = sequence.turns[-1].end
    return sequence.ids[:start], sequence.ids[start:end], sequence.labels[start:end]


def text_after_prompt(prompt: str, text: str, thought: str) -> tuple[str, str] | None:
    """(what follows the prompt in a text, what of that the template wrote); None where the text begins otherwise.

    A thought that the prompt opens and the text does not is put before what the text says, and closed as the text closes
    it, else as the prompt opened it. No thought at all is closed at once: line ends before that would be one token with
    those of the prompt.
    """
    opened = OPEN_THOUGHT.search(prompt)
    if text.startswith(prompt):
        tail = text[len(prompt) :]
        bare = tail.lstrip()
        return bare if opened and not thought and THOUGHT_END.match(bare)[1] else tail, tail  # ty: ignore[not-subscriptable]  # it matches any text
    if not opened or not text.startswith(prompt[: opened.start()]):
        return None
    tail = text[opened.start() :]
    closed = THOUGHT_END.match(tail)
    assert closed  # it matches any text
    line = "\n" if opened[0].endswith("\n") else ""
    end = closed[1] or (line if thought else "") + "</think>" + 2 * line
    return thought + end + tail[closed.end() :], tail


def describe_difference(prompt: str, whole: str) -> str:
    """What the prompt goes on with where the conversation goes on otherwise."""
    at = next((i for i, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), min(len(prompt), len(whole)))
    return f"the prompt goes on with {shorten(prompt[at:])!r}, the conversation with {shorten(whole[at:])!r}"
