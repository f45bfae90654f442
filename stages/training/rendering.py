"""Rows as tokens, and which tokens are learned: rendered by the base's own chat template, proved turn by turn.

    render = Renderer(tokenizer, stops)
    render.conversation([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}])
    -> [TokenSequence(ids=[...], spans=[LearnedSpan(message=1, start=9, end=11)])]

A turn is learned only if five proofs hold:

    PROMPT  the text begins with what inference sees before the turn: the turns before it, and the generation prompt
    LAST    the template writes the turn as it does when it is the last one
    SAID    the learned text has everything that the message holds
    STOP    the learned text ends with a token that ends an answer, the first such token in it
    BORDER  no token crosses a border of the learned text, and the prompt's tokens are those that inference sees

If all turns of a conversation pass, it is one sequence. Otherwise each turn is its own sequence, which ends with the turn, so
that LAST holds. A turn that still fails raises FailedProof. The template is never changed: its output is taken as it is.

If the prompt opens a thought (`<think>`) that the template does not write again, the answer is what a model would write
there: the thought, its end, and what the template writes after the same prompt without the open thought.
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
TEMPLATE_MAX_CHARACTERS = 20_000_000  # of its output: millions of tokens, more than any model takes
MAX_HEADS = (
    10_000  # ends of prompts whose tokens are cached: most templates write the same few letters before every answer
)
THOUGHT_MARK = "Qthought9"  # in place of a thought, to see where the template puts it
OPEN_THOUGHT = re.compile(r"<think>\s*\Z")
THOUGHT_END = re.compile(r"(?:<think>\s*)?(</think>\s*)?")  # an empty thought, or the end of one, before an answer

Span = tuple[int, int]  # start and end, in tokens or in characters
Encoded = tuple[list[int], list[Span]]  # tokens, and the span of each in the text


@dataclass(frozen=True)
class LearnedSpan:
    """The learned tokens start to end of a sequence. message: the position in the conversation of the message they belong to."""

    message: int
    start: int
    end: int


@dataclass
class TokenSequence:
    """ids: (n,) tokens. spans: those that are learned. starts: the first token of each answer, learned or not."""

    ids: list[int]
    spans: list[LearnedSpan] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)

    @classmethod
    def whole(cls, ids: list[int]) -> "TokenSequence":
        """A sequence whose tokens are all learned."""
        return cls(ids, [LearnedSpan(0, 0, len(ids))])

    @property
    def labels(self) -> list[int]:
        """(n,) the learned tokens, -100 elsewhere."""
        labels = [-100] * len(self.ids)
        for span in self.spans:
            labels[span.start : span.end] = self.ids[span.start : span.end]
        return labels


@dataclass(frozen=True)
class Conversation:
    """messages: normalised. template_messages: the same, as the template takes them. tools: definitions of tools, or None."""

    messages: list[ChatMessage]
    template_messages: list[ChatMessage]
    tools: Tools | None


@dataclass(frozen=True)
class Answer:
    """A message of the assistant as the last one of its conversation. place: its position. prompt: what inference sees before it.

    text: what follows the prompt. tail: the part of it that the template wrote. rendered: the conversation up to this message,
    as the template wrote it. thought: (start, end) in the text of the part that is not learned.
    """

    place: int
    prompt: str
    text: str
    tail: str
    rendered: str
    thought: Span = (0, 0)


class Renderer:
    """The chat template of a tokenizer, with its fixed arguments. stops: ids of the tokens that end an answer."""

    def __init__(self, tokenizer: Tokenizer, stops: Iterable[int], **options: Any) -> None:
        self.tokenizer, self.stops, self.options = tokenizer, frozenset(stops), options
        self.dialect = Dialect(self.text)
        self.following_stops = {}
        self.heads = {}  # {text between the last special token and a turn: its tokens}
        special = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
        self.stop_texts = [text for text in map(str, tokenizer.convert_ids_to_tokens(sorted(stops))) if text.strip()]
        self.special = frozenset(special | set(tokenizer.all_special_ids))

    @cached_property
    def special_texts(self) -> re.Pattern[str]:
        """A pattern of the texts of all control tokens."""
        texts = (str(self.tokenizer.convert_ids_to_tokens(id)) for id in sorted(self.special))
        return re.compile("|".join(re.escape(text) for text in texts if text.strip()) or "(?!)")

    def has_control_tokens(self, row: Mapping[str, Any]) -> bool:
        """Whether the text of a row contains a control token, which could then end a turn or begin another."""
        turns = (turn for value in row.values() if isinstance(value, list) for turn in value if isinstance(turn, dict))
        texts = (turn.get(key) or "" for turn in turns for key in ("content", "reasoning_content"))
        return any(map(self.special_texts.search, texts))

    # -- text ---------------------------------------------------------------------------------------------------

    def text(self, messages: Sequence[ChatMessage], tools: Tools | None = None, generation_prompt: bool = False) -> str:
        """A conversation as the template writes it. Raises FailedProof("TEMPLATE") if the template refuses it."""
        try:
            with time_limit(TEMPLATE_TIMEOUT_S), memory_limit(TEMPLATE_MAX_BYTES):
                # a list of one conversation: else transformers would skip the template for one without turns
                text = self.tokenizer.apply_chat_template(
                    [messages], tools=tools, tokenize=False, add_generation_prompt=generation_prompt, **self.options
                )[0]
            if len(text) > TEMPLATE_MAX_CHARACTERS:
                raise ValueError(f"it writes {len(text):,} characters, at most {TEMPLATE_MAX_CHARACTERS:,} are read")
            return text
        except Exception as error:  # a template may raise whatever it likes
            raise FailedProof(
                "TEMPLATE", None, f"the chat template refuses it: {' '.join(str(error).split())}"
            ) from error

    def template_messages(self, messages: Sequence[ChatMessage]) -> list[ChatMessage]:
        """The messages of a conversation as this template takes them."""
        return self.as_conversation(messages).template_messages

    def as_conversation(self, messages: Sequence[ChatMessage], tools: Tools | None = None) -> Conversation:
        held = [normalise_message(message) for message in messages]
        return Conversation(held, self.dialect.convert(held), tools)

    def check_stops(self, place: int, message: ChatMessage) -> None:
        """Raise FailedProof if a message contains a stop token, or its thought the end of a thought: it would end there."""
        for text in (message["content"], message.get("reasoning_content", "")):
            if stop := next((stop for stop in self.stop_texts if stop in text), None):
                raise FailedProof("STOP", place, f"it says {stop!r}, at which every answer ends")
        if "</think>" in message.get("reasoning_content", ""):
            raise FailedProof("STOP", place, "its thought says '</think>', at which a thought ends")

    def encode(self, texts: list[str]) -> list[Encoded]:
        """[(ids, offsets)] of texts; the template has already written the special tokens."""
        batch = self.tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
        return list(zip(batch["input_ids"], batch["offset_mapping"], strict=True))

    def encode_extension(self, known: tuple[str, list[int], list[Span]] | None, text: str) -> Encoded:
        """(ids, offsets) of a text. known: (a common beginning, ids and offsets of another text that begins with it), or None.

        What follows a special token does not change the tokens up to it, so only the text after the last shared one is encoded.
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
        """The sequences of a conversation. masks: do not learn thoughts, only the tags around them.

        only: positions of the messages to learn; if None, all of the assistant's except those with `train: false`.
        Raises FailedProof.
        """
        if only is None:
            only = learned_positions(messages)
        for place in only:
            if messages[place].get("train") is False:
                raise FailedProof("SAID", place, "it says train: false, and nothing else of the row is learned")
        return self.sequences(self.as_conversation(messages, tools), only, masks)

    def sequences(self, conversation: Conversation, only: list[int], masks: bool = False) -> list[TokenSequence]:
        """The sequences of a conversation in which the messages at the positions `only` are learned. Raises FailedProof."""
        for place in only:
            self.check_stops(place, conversation.messages[place])
        answers = []
        for place in only:
            answers.append(self.answer_at(conversation, place, answers[-1] if answers else None))
        if masks:
            answers = [self.mask_thought(conversation, answer) for answer in answers]
        if len(answers) > 1:
            is_last = answers[-1].place == len(conversation.template_messages) - 1
            whole = answers[-1].rendered if is_last else self.text(conversation.template_messages, conversation.tools)
            if all(whole.startswith(answer.prompt + answer.text) for answer in answers):
                # each turn alone may pass even if all of them together do not
                with contextlib.suppress(FailedProof):
                    return [self.sequence(whole, conversation, answers)]
        sequences, known = [], None
        for answer in answers:
            whole = answer.prompt + answer.text
            encoded = self.encode_extension(known, whole)
            sequences.append(self.sequence(whole, conversation, [answer], encoded))
            known = answer.prompt, *encoded
        return sequences

    def answer(
        self,
        prompt: Sequence[ChatMessage],
        reply: Sequence[ChatMessage],
        tools: Tools | None = None,
        masks: bool = False,
    ) -> tuple[list[int], list[int], list[int]]:
        """(tokens of a prompt, tokens of the answer to it, labels of the answer: learned tokens, -100 elsewhere).

        reply: the messages of the answer. masks: see `conversation`. Raises FailedProof.
        """
        conversation, first = self.as_conversation([*prompt, *reply], tools), len(prompt)
        if len(reply) == 1:
            [sequence] = self.sequences(conversation, [first], masks)
            return split_tokens(sequence, sequence.starts[0])
        # an answer of several messages is learned from its first token to its end, including the results of tools
        for place in range(first, len(conversation.messages)):
            self.check_stops(place, conversation.messages[place])
        before, last = self.prompt_of(conversation, first), self.answer_at(conversation, len(conversation.messages) - 1)
        if not last.prompt.startswith(before):
            raise FailedProof("PROMPT", first, describe_difference(before, last.prompt))
        whole = last.prompt + last.text
        sequence = self.sequence(whole, conversation, [last])
        [(ids, offsets)] = self.encode([whole])
        start = self.border(len(before), whole, ids, [start for start, _ in offsets], first)
        for place, message in enumerate(conversation.messages[first:], first):
            if missing := missing_text(message, whole[len(before) :]):
                raise FailedProof("SAID", place, f"{missing!r} is not in what is learned")
        sequence.spans = [LearnedSpan(len(conversation.messages) - 1, start, sequence.spans[0].end)]
        if masks:
            sequence.spans = self.spans_outside(self.thoughts(conversation, first, whole), sequence.spans[0], offsets)
        return split_tokens(sequence, start)

    def thoughts(self, conversation: Conversation, first: int, whole: str) -> list[Span]:
        """[(start, end)] in a text of the thoughts of the assistant's messages from position `first` on."""
        spans = []
        for place in range(first, len(conversation.messages)):
            if not conversation.messages[place].get("reasoning_content"):
                continue
            answer = self.mask_thought(conversation, self.answer_at(conversation, place))
            if not whole.startswith(answer.prompt + answer.text[: answer.thought[1]]):
                raise FailedProof("SAID", place, "its thought cannot be located in the text")
            before, (start, end) = len(answer.prompt), answer.thought
            spans.append((before + start, before + end))
        return spans

    def spans_outside(self, thoughts: list[Span], turn: LearnedSpan, offsets: list[Span]) -> list[LearnedSpan]:
        """The parts of a LearnedSpan outside thoughts; tokens that overlap a thought are context. offsets: of all tokens."""
        starts, spans, first = [start for start, _ in offsets], [], turn.start
        for start, end in thoughts:
            thinks = next((i for i in range(first, turn.end) if offsets[i][1] > start), turn.end)
            spans, first = [*spans, (first, thinks)], max(first, bisect_left(starts, end))
        return [LearnedSpan(turn.message, *span) for span in [*spans, (first, turn.end)] if span[0] < span[1]]

    def prompt(self, messages: Sequence[ChatMessage], tools: Tools | None = None) -> str:
        """The text of a prompt with the generation prompt. Raises FailedProof if the template leaves out any part of it."""
        return self.prompt_of(self.as_conversation(messages, tools), len(messages))

    def prompt_of(self, conversation: Conversation, place: int, known: Answer | None = None) -> str:
        """What inference sees before a message. known: an earlier Answer, whose prompt was already checked."""
        text = self.text(conversation.template_messages[:place], conversation.tools, generation_prompt=True)
        if known and text.startswith(known.prompt):
            check_context(conversation.messages[known.place : place], None, text[len(known.prompt) :], known.place)
        else:
            check_context(conversation.messages[:place], conversation.tools, text)
        return text

    def answer_at(self, conversation: Conversation, place: int, known: Answer | None = None) -> Answer:
        """The Answer at a position. Raises FailedProof if the text does not begin with what inference sees."""
        prompt = self.prompt_of(conversation, place, known)
        text = self.text(conversation.template_messages[: place + 1], conversation.tools)
        thought = conversation.messages[place].get("reasoning_content", "").strip("\n")
        if found := text_after_prompt(prompt, text, thought):
            return Answer(place, prompt, *found, text)
        # this message changes how the template writes the turns before it (it puts the system turn into the last question,
        # or hides earlier thoughts): so take the message's own text from a conversation of the last question alone
        question = [message for message in conversation.template_messages[:place] if message["role"] == "user"][-1:]
        short = self.text(question, conversation.tools, generation_prompt=True)
        found = text_after_prompt(
            short, self.text([*question, conversation.template_messages[place]], conversation.tools), thought
        )
        if (
            not found
            or not text.endswith(found[1])
            or bool(OPEN_THOUGHT.search(prompt)) != bool(OPEN_THOUGHT.search(short))
        ):
            raise FailedProof("PROMPT", place, describe_difference(prompt, text))
        return Answer(place, prompt, *found, text)

    def mask_thought(self, conversation: Conversation, answer: Answer) -> Answer:
        """The Answer with its thought marked as not learned. Another thought in its place shows where it stands in the text."""
        message = conversation.messages[answer.place]
        if not (thought := message.get("reasoning_content", "").strip()):
            return answer
        marked = [*conversation.messages]
        marked[answer.place] = message | {"reasoning_content": THOUGHT_MARK}
        before, found, after = self.answer_at(
            Conversation(marked, self.dialect.convert(marked), conversation.tools), answer.place
        ).text.partition(THOUGHT_MARK)
        start, end = len(before), len(answer.text) - len(after)
        if not (
            found
            and answer.text == before + answer.text[start:end] + after
            and answer.text[start:end].strip() == thought
        ):
            raise FailedProof("SAID", answer.place, "its thought cannot be located in the text")
        start = answer.text.index(thought, start)
        return replace(answer, thought=(start, start + len(thought)))

    def sequence(
        self, whole: str, conversation: Conversation, answers: list[Answer], encoded: Encoded | None = None
    ) -> TokenSequence:
        """The TokenSequence of a text in which the answers are learned. encoded: its (ids, offsets), if already known."""
        ids, offsets = encoded or self.encode([whole])[0]
        starts = [start for start, _ in offsets]
        sequence = TokenSequence(ids)
        for answer in answers:
            place, at = answer.place, len(answer.prompt)
            first = self.border(at, whole, ids, starts, place)
            after = bisect_left(starts, at + len(answer.text))
            last = next((i + 1 for i in range(first, after) if ids[i] in self.stops), None)
            learned = whole[at : offsets[last - 1][1]] if last else answer.text
            if missing := missing_text(conversation.messages[place], learned):
                raise FailedProof("SAID", place, f"{missing!r} is not in what is learned, {shorten(learned)!r}")
            if last is None:
                # the token that ends an answer may be the first one of the next message
                last = after + 1
                if after == len(ids):
                    ids.append(self.following_stop(conversation.messages[place]))  # ty: ignore[invalid-argument-type]  # None is no stop
                if ids[after] not in self.stops:
                    raise FailedProof("STOP", place, f"{shorten(learned[-60:])!r} ends in no token that ends an answer")
            start, end = answer.thought
            thoughts = [(at + start, at + end)] if start < end else []
            sequence.starts.append(first)
            sequence.spans += self.spans_outside(thoughts, LearnedSpan(place, first, last), offsets)
        return sequence

    def following_stop(self, message: ChatMessage) -> int | None:
        """The first token that the template writes after a message like this one; None if there is none."""
        calls = bool(message.get("tool_calls"))
        if calls not in self.following_stops:
            call = {"type": "function", "function": {"name": "x", "arguments": {}}}
            messages: list[ChatMessage] = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "x"}]
            messages[1] |= {"tool_calls": [call]} if calls else {}
            messages = self.template_messages([*messages, {"role": "tool" if calls else "user", "content": "x"}])
            try:
                text, longer = self.text(messages[:-1]), self.text(messages)
            except FailedProof:
                text, longer = "x", ""
            [(ids, offsets)] = self.encode([longer])
            following = (token for token, (start, _) in zip(ids, offsets, strict=True) if start >= len(text))
            self.following_stops[calls] = next(following, None) if longer.startswith(text) else None
        return self.following_stops[calls]

    def border(self, at: int, whole: str, ids: list[int], starts: list[int], place: int) -> int:
        """The index of the first token after the prompt. Raises FailedProof if the prompt alone has other tokens."""
        first = bisect_left(starts, at)
        # what follows a special token does not change the tokens up to it
        since = next((i for i in range(first - 1, -1, -1) if ids[i] in self.special), 0)
        head = whole[starts[since] if since else 0 : at]
        if head not in self.heads:
            if len(self.heads) > MAX_HEADS:
                self.heads.clear()
            self.heads[head] = self.tokenizer(head, add_special_tokens=False)["input_ids"]
        if self.heads[head] != ids[since:first]:
            around = whole[max(0, at - 20) : at + 20]
            raise FailedProof("BORDER", place, f"the prompt alone ends in other tokens, near {around!r}")
        return first


def learned_positions(messages: Sequence[ChatMessage]) -> list[int]:
    """Positions of the assistant's messages, except those with `train: false`. Raises FailedProof if there are none."""
    places = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
    if not places:
        raise FailedProof("SAID", None, "it has no message of the assistant")
    if learned := [place for place in places if messages[place].get("train") is not False]:
        return learned
    raise FailedProof("SAID", None, "all turns of the assistant say train: false")


def split_tokens(sequence: TokenSequence, start: int) -> tuple[list[int], list[int], list[int]]:
    """(tokens before `start`, tokens from there to the last learned one, the labels of these)."""
    end = sequence.spans[-1].end
    return sequence.ids[:start], sequence.ids[start:end], sequence.labels[start:end]


def text_after_prompt(prompt: str, text: str, thought: str) -> tuple[str, str] | None:
    """(what follows the prompt in a text, the part of it that the template wrote); None if the text has another beginning.

    If the prompt opens a thought and the text does not, the thought is put before the text's answer. It is closed as in the
    text, else to match how the prompt opens it. An empty thought is closed at once: line ends before its end would merge into
    one token with those of the prompt.
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
    """How prompt and conversation continue after their common beginning."""
    at = next((i for i, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), min(len(prompt), len(whole)))
    return f"the prompt continues with {shorten(prompt[at:])!r}, the conversation with {shorten(whole[at:])!r}"
