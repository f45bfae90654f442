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
"""

import contextlib
import re
import signal
import threading
import time
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import cached_property

from stages.training.messages import (
    Unproved,
    as_templates_read,
    check_context,
    missing_of,
    missing_of_calls,
    shortened,
    with_text_arguments,
)

TEMPLATE_S = 20  # for one conversation; the slowest real template takes milliseconds
HEADS = 10_000  # prompts whose tokens are remembered: most templates write the same few letters before every answer


@dataclass(frozen=True)
class Turn:
    """What is learned of one message: tokens start to end of its sequence. message: its place in the conversation."""

    message: int
    start: int
    end: int


@dataclass
class Sequence:
    """ids: (n,) tokens. turns: the spans of them that are learned."""

    ids: list
    turns: list = field(default_factory=list)

    @classmethod
    def whole(cls, ids):
        """A sequence of which every token is learned."""
        return cls(ids, [Turn(0, 0, len(ids))])

    @property
    def labels(self):
        """(n,) the tokens that are learned, -100 elsewhere."""
        labels = [-100] * len(self.ids)
        for turn in self.turns:
            labels[turn.start : turn.end] = self.ids[turn.start : turn.end]
        return labels


class Renderer:
    """The chat template of a tokenizer, with what it is always given. stops: ids of the tokens that end an answer."""

    def __init__(self, tokenizer, stops, **options):
        self.tokenizer, self.stops, self.options = tokenizer, frozenset(stops), options
        self.arguments_as_text = (
            None  # whether the template reads the arguments of calls as JSON text, once it is known
        )
        self.late_stops = {}
        self.heads = {}  # {text before a turn since the last special token: its tokens}
        special = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
        self.stop_texts = [text for text in map(str, tokenizer.convert_ids_to_tokens(sorted(stops))) if text.strip()]
        self.special = frozenset(special | set(tokenizer.all_special_ids))

    @cached_property
    def special_texts(self):
        """A pattern of the texts of all control tokens."""
        texts = (str(self.tokenizer.convert_ids_to_tokens(id)) for id in sorted(self.special))
        return re.compile("|".join(re.escape(text) for text in texts if text.strip()) or "(?!)")

    def says_special(self, row):
        """Whether a turn of a row says a control token: it would be one, and end a turn or begin another."""
        turns = (turn for value in row.values() if isinstance(value, list) for turn in value if isinstance(turn, dict))
        return any(self.special_texts.search(turn.get("content") or "") for turn in turns)

    # -- text ---------------------------------------------------------------------------------------------------

    def text(self, messages, tools=None, generation_prompt=False):
        """A conversation as the template writes it. Raises Unproved(TEMPLATE) where it refuses the conversation."""
        try:
            with time_limit(TEMPLATE_S):
                # in a list of one, as the template would else not be asked about a conversation without turns
                return self.tokenizer.apply_chat_template(
                    [messages], tools=tools, tokenize=False, add_generation_prompt=generation_prompt, **self.options
                )[0]
        except Exception as error:  # a template may raise whatever it likes
            raise Unproved("TEMPLATE", None, f"the chat template refuses it: {' '.join(str(error).split())}") from error

    def readable(self, messages, tools=None):
        """Messages as this template reads them: without keys that hold nothing, arguments of calls as objects or as text."""
        messages = [as_templates_read(message) for message in messages]
        if not any(message.get("tool_calls") for message in messages):
            return messages
        if self.arguments_as_text is None:
            self.arguments_as_text = not self.shows_calls(messages, tools) and self.shows_calls(
                [with_text_arguments(message) for message in messages], tools
            )
        return [with_text_arguments(message) for message in messages] if self.arguments_as_text else messages

    def check_stops(self, place, message):
        """Raise Unproved where a message writes a stop token itself: an answer would end there."""
        for text in (message["content"], message.get("reasoning_content", "")):
            if found := next((stop for stop in self.stop_texts if stop in text), None):
                raise Unproved("STOP", place, f"it says {found!r}, at which every answer ends")

    def shows_calls(self, messages, tools):
        try:
            text = self.text(messages, tools)
        except Unproved:
            return False
        return not any(missing_of_calls(message, text) for message in messages)

    def encode(self, texts):
        """[(ids, offsets)] of texts; the template has written the special tokens already."""
        found = self.tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
        return list(zip(found["input_ids"], found["offset_mapping"], strict=True))

    # -- rows ---------------------------------------------------------------------------------------------------

    def conversation(self, messages, tools=None, only=None):
        """The sequences of a conversation. only: the places of the messages that are learned, the assistant's if None.

        Raises Unproved.
        """
        messages = self.readable(messages, tools)
        if only is None:
            only = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
        if not only:
            raise Unproved("SAID", None, "the assistant says nothing in it")
        for place in only:
            self.check_stops(place, messages[place])
        turns = [self.turn(messages, tools, place) for place in only]
        if len(turns) > 1:
            whole = self.text(messages, tools)
            if all(whole.startswith(prompt + answer) for _, prompt, answer in turns):
                # a turn alone may hold where all of them do not
                with contextlib.suppress(Unproved):
                    return [self.sequence(whole, messages, turns)]
        return [self.sequence(prompt + answer, messages, [(place, prompt, answer)]) for place, prompt, answer in turns]

    def answer(self, prompt, said, tools=None):
        """(tokens of a prompt, tokens of the answer to it). said: the messages of the answer. Raises Unproved."""
        messages = self.readable([*prompt, *said], tools)
        for place in range(len(prompt), len(messages)):
            self.check_stops(place, messages[place])
        if len(said) == 1:
            [sequence] = self.conversation(messages, tools, [len(prompt)])
            [turn] = sequence.turns
            return sequence.ids[: turn.start], sequence.ids[turn.start : turn.end]
        # an answer of several messages is learned from its first token to its end, with what tools found in between
        before = self.prompt(messages[: len(prompt)], tools)
        place, asked, last = self.turn(messages, tools, len(messages) - 1)
        if not asked.startswith(before):
            raise Unproved("PROMPT", len(prompt), where_they_part(before, asked))
        sequence = self.sequence(asked + last, messages, [(place, asked, last)])
        [(ids, offsets)] = self.encode([asked + last])
        first = self.border(len(before), asked + last, ids, [start for start, _ in offsets], len(prompt))
        for place, message in enumerate(messages[len(prompt) :], len(prompt)):
            if missing := missing_of(message, (asked + last)[len(before) :]):
                raise Unproved("SAID", place, f"{missing!r} is not in what is learned")
        return ids[:first], sequence.ids[first : sequence.turns[0].end]

    def prompt(self, messages, tools=None):
        """The text of a prompt, ready for an answer. Raises Unproved where something of it is left out."""
        messages = self.readable(messages, tools)
        text = self.text(messages, tools, generation_prompt=True)
        check_context(messages, tools, text)
        return text

    def turn(self, messages, tools, place):
        """(place, what inference sees before a message, what the template writes of it where it is the last one)."""
        prompt = self.text(messages[:place], tools, generation_prompt=True)
        check_context(messages[:place], tools, prompt)
        text = self.text(messages[: place + 1], tools)
        if text.startswith(prompt):
            return place, prompt, text[len(prompt) :]
        # the turns before it are written otherwise once it is there (a system turn that stands in the last question, a
        # thought that is no longer shown): what it says itself is seen in a conversation of the last question alone
        asked = [message for message in messages[:place] if message["role"] == "user"][-1:]
        short = self.text(asked, tools, generation_prompt=True)
        alone = self.text([*asked, messages[place]], tools)
        answer = alone.removeprefix(short)
        if not (alone.startswith(short) and text.endswith(answer)):
            raise Unproved("PROMPT", place, where_they_part(prompt, text))
        return place, prompt, answer

    def sequence(self, whole, messages, turns):
        """The Sequence of a text. turns: (place, text of its prompt, what is written of it) of each that is learned."""
        [(ids, offsets)] = self.encode([whole])
        starts = [start for start, _ in offsets]
        found = Sequence(ids)
        for place, prompt, answer in turns:
            first = self.border(len(prompt), whole, ids, starts, place)
            behind = bisect_left(starts, len(prompt) + len(answer))
            last = next((i + 1 for i in range(first, behind) if ids[i] in self.stops), None)
            said = whole[len(prompt) : offsets[last - 1][1]] if last else answer
            if missing := missing_of(messages[place], said):
                raise Unproved("SAID", place, f"{missing!r} is not in what is learned, {shortened(said)!r}")
            if last is None:
                # what ends an answer may be how the next message begins
                last = behind + 1
                if behind == len(ids):
                    ids.append(self.late_stop(messages[place]))
                if ids[behind] not in self.stops:
                    raise Unproved("STOP", place, f"{shortened(said[-60:])!r} ends in no token that ends an answer")
            found.turns.append(Turn(place, first, last))
        return found

    def late_stop(self, message):
        """The token with which the template begins what follows a message like this one; None where none is known."""
        calls = bool(message.get("tool_calls"))
        if calls not in self.late_stops:
            call = {"type": "function", "function": {"name": "x", "arguments": {}}}
            talk = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "x"}]
            talk[1] |= {"tool_calls": [call]} if calls else {}
            talk = self.readable(talk)
            try:
                text = self.text(talk)
                longer = self.text([*talk, {"role": "tool" if calls else "user", "content": "x"}])
            except Unproved:
                text, longer = "x", ""
            [(ids, offsets)] = self.encode([longer])
            behind = (token for token, (start, _) in zip(ids, offsets, strict=True) if start >= len(text))
            self.late_stops[calls] = next(behind, None) if longer.startswith(text) else None
        return self.late_stops[calls]

    def border(self, at, whole, ids, starts, place):
        """The first token of what follows the prompt, where the tokens before it are those of the prompt alone."""
        first = bisect_left(starts, at)
        # tokens up to the last special one are not changed by what follows it
        since = next((i for i in range(first - 1, -1, -1) if ids[i] in self.special), 0)
        head = whole[starts[since] if since else 0 : at]
        if head not in self.heads:
            if len(self.heads) > HEADS:
                self.heads.clear()
            self.heads[head] = self.tokenizer(head, add_special_tokens=False)["input_ids"]
        if self.heads[head] != ids[since:first]:
            around = whole[max(0, at - 20) : at + 20]
            raise Unproved("BORDER", place, f"the prompt alone has other tokens at its end, in {around!r}")
        return first


@contextlib.contextmanager
def time_limit(seconds):
    """TimeoutError where what is within takes longer: a template may loop as long as it likes. Of the main thread alone."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_):
        raise TimeoutError(f"it takes more than {seconds:g} s for one conversation")

    handler = signal.signal(signal.SIGALRM, stop)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    begun = time.monotonic()
    try:
        yield
    finally:
        # another's timer goes on where it was
        signal.setitimer(signal.ITIMER_REAL, left and max(left - (time.monotonic() - begun), 1e-3), interval)
        signal.signal(signal.SIGALRM, handler)


def where_they_part(prompt, whole):
    """What the prompt goes on with where the conversation goes on otherwise."""
    at = next((i for i, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), min(len(prompt), len(whole)))
    return f"the prompt goes on with {shortened(prompt[at:])!r}, the conversation with {shortened(whole[at:])!r}"
