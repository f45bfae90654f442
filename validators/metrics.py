"""Metrics of generated answers, for `metrics:` of a dataset. It can name every public function of this module. Add your own here.

Each has the signature of a reward function (`validators/rewards.py`): `completions` (n conversations), `prompt` (n lists of turns),
`ground_truth` (n texts: the row's answer, or the chosen one of a pair) and `extra` (n JSON texts or None: the rest of that answer,
such as `tool_calls`; for kind grpo the fields of the raw record). It returns n numbers, or None where it does not judge a row.

    contains([[{"role": "assistant", "content": "It is Paris."}]], ground_truth=["paris"]) -> [1.0]
"""

import json
import re
from typing import Any

from validators._answers import answer_of
from validators._words import WORD, words

Conversation = list[dict[str, Any]]  # its last message is the model's
Call = tuple[str, object]  # name, arguments
FENCE = re.compile(r"\A```\w*\n(.*?)\n?```\Z", re.DOTALL)


def exact_match(completions: list[Conversation], ground_truth: list[str], **_: object) -> list[float]:
    """1 where the answer is the row's, without thoughts and white space around them; else 0."""
    return [float(_text(answer) == answer_of(truth)) for answer, truth in zip(completions, ground_truth, strict=True)]


def contains(completions: list[Conversation], ground_truth: list[str], **_: object) -> list[float | None]:
    """1 where the answer contains the row's, ignoring case and white space; else 0. None where the row's is empty."""
    pairs = zip(completions, ground_truth, strict=True)
    return [
        float(_normalised(truth) in _normalised(_text(answer))) if _normalised(truth) else None
        for answer, truth in pairs
    ]


def rouge_l(completions: list[Conversation], ground_truth: list[str], **_: object) -> list[float | None]:
    """F1 of the longest common subsequence of words (Lin 2004), or of characters where a script has no spaces. None where the row's answer has no word."""
    from rouge_score.rouge_scorer import RougeScorer

    class Words:
        def tokenize(self, text: str) -> list[str]:  # the library's own tokenizer keeps a to z only
            return words(text)

    scorer = RougeScorer(["rougeL"], tokenizer=Words())
    pairs = zip(completions, ground_truth, strict=True)
    return [
        scorer.score(answer_of(truth), _text(answer))["rougeL"].fmeasure if WORD.search(answer_of(truth)) else None
        for answer, truth in pairs
    ]


def json_valid(completions: list[Conversation], **_: object) -> list[float]:
    """1 where the whole answer is JSON, with or without a code fence around it; else 0."""
    return [float(_is_json(_text(answer))) for answer in completions]


def tool_call_match(completions: list[Conversation], extra: list[str | None], **_: object) -> list[float | None]:
    """1 where the answer makes the same calls as the row's, in order; else 0. None where the row's makes none.

    A call is a JSON object with a name and arguments, as most chat templates write it.
    """
    wanted = [_expected_calls((json.loads(text) if text else {}).get("tool_calls")) for text in extra]
    return [
        float(_find_calls(_text(answer)) == calls) if calls else None
        for answer, calls in zip(completions, wanted, strict=True)
    ]


def _text(conversation: Conversation) -> str:
    return answer_of(conversation[-1]["content"] or "")


def _normalised(text: str) -> str:
    return " ".join(answer_of(text).casefold().split())


def _is_json(text: str) -> bool:
    fenced = FENCE.match(text)
    try:
        json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        return False
    return True


def _expected_calls(calls: list[dict[str, Any]] | None) -> list[Call | None]:
    """[(name, arguments)] of the calls of a row."""
    return [_parse_call(call) for call in calls or ()]


def _parse_call(value: Any) -> Call | None:
    """(name, arguments) of a JSON value, None where it is not a call."""
    call = value.get("function") if isinstance(value, dict) and isinstance(value.get("function"), dict) else value
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return None
    arguments = call.get("arguments", call.get("parameters"))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return call["name"], arguments
    return None if arguments is None else (call["name"], arguments)


def _find_calls(text: str) -> list[Call]:
    """The calls in an answer: every JSON object that is a call, in order."""
    calls, place, reader = [], text.find("{"), json.JSONDecoder()
    while place >= 0:
        try:
            value, end = reader.raw_decode(text, place)
        except (ValueError, RecursionError):
            end = place + 1
        else:
            call = _parse_call(value)
            calls += [call] if call else []
        place = text.find("{", end)
    return calls
