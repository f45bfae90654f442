"""Metrics of generated answers, for `metrics:` of a dataset. Every public function here can be named there; add your own.

Each has the signature of a reward function (`validators/rewards.py`): `completions` (n conversations), `prompt` (n lists of turns),
`ground_truth` (n texts: the answer of the row, of a pair the chosen one) and `extra` (n JSON texts or None: what else the answer
holds, such as `tool_calls`; of kind grpo the fields of the raw record). It returns n numbers, or None where a row is not its own.

    contains([[{"role": "assistant", "content": "It is Paris."}]], ground_truth=["paris"]) -> [1.0]
"""

import json
import re

from validators._answers import answer_of

WORD = re.compile(r"\w+")
FENCE = re.compile(r"\A```\w*\n(.*?)\n?```\Z", re.DOTALL)


def exact_match(completions, ground_truth, **_):
    """1 where the answer is that of the row, a thought before either and white space around it aside; else 0."""
    return [float(_text(said) == answer_of(truth)) for said, truth in zip(completions, ground_truth, strict=True)]


def contains(completions, ground_truth, **_):
    """1 where the answer holds that of the row, whatever its case and white space; else 0. None where the row's is empty."""
    pairs = zip(completions, ground_truth, strict=True)
    return [
        float(_normalised(truth) in _normalised(_text(said))) if _normalised(truth) else None for said, truth in pairs
    ]


def rouge_l(completions, ground_truth, **_):
    """The longest common subsequence of words, as an F1 (Lin 2004); words of any script. None where the row's answer has none."""
    from rouge_score.rouge_scorer import RougeScorer

    class Words:
        def tokenize(self, text):  # its own knows no letter beyond a to z
            return WORD.findall(text.casefold())

    scorer = RougeScorer(["rougeL"], tokenizer=Words())
    pairs = zip(completions, ground_truth, strict=True)
    return [
        scorer.score(answer_of(truth), _text(said))["rougeL"].fmeasure if WORD.search(answer_of(truth)) else None
        for said, truth in pairs
    ]


def json_valid(completions, **_):
    """1 where the answer is JSON and nothing else, with or without a fence around it; else 0."""
    return [float(_is_json(_text(said))) for said in completions]


def tool_call_match(completions, extra, **_):
    """1 where the answer makes the calls of the row's, in order, with the same arguments; else 0. None where the row's makes none.

    Calls are read where they are JSON objects with a name and arguments, as most chat templates write them.
    """
    wanted = [_expected_calls((json.loads(text) if text else {}).get("tool_calls")) for text in extra]
    return [
        float(_find_calls(_text(said)) == calls) if calls else None
        for said, calls in zip(completions, wanted, strict=True)
    ]


def _text(said):
    return answer_of(said[-1]["content"] or "")


def _normalised(text):
    return " ".join(answer_of(text).casefold().split())


def _is_json(text):
    fenced = FENCE.match(text)
    try:
        json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        return False
    return True


def _expected_calls(calls):
    """[(name, arguments)] of calls as a row has them."""
    return [_parse_call(call) for call in calls or ()]


def _parse_call(found):
    """(name, arguments) of a JSON object, None where it is no call."""
    call = found.get("function") if isinstance(found, dict) and isinstance(found.get("function"), dict) else found
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return None
    arguments = call.get("arguments", call.get("parameters"))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return call["name"], arguments
    return None if arguments is None else (call["name"], arguments)


def _find_calls(text):
    """The calls that an answer makes: every JSON object in it that is one, in order."""
    found, place, reader = [], text.find("{"), json.JSONDecoder()
    while place >= 0:
        try:
            value, end = reader.raw_decode(text, place)
        except (ValueError, RecursionError):
            end = place + 1
        else:
            call = _parse_call(value)
            found += [call] if call else []
        place = text.find("{", end)
    return found
