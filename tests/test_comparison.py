"""What of an exported folder differs from its model, by name: one fault at a time, of what a process wrote down."""

import numpy as np
import pytest

from commands.exports import comparison
from commands.exports.expected_outputs import ExpectedOutputs, Row

TOKENIZER = {"rules": "r", "words": 40, "special": ["<|end|>", "<|pad|>"], "eos": "<|end|>", "template": "t"}
GENERATION = {"eos_token_id": 2, "pad_token_id": 0, "repetition_penalty": 1.05}
PROMPT, ANSWER = [5, 6, 7], [11, 12, 2]


def logits(seed=0, places=4, words=40):
    return np.random.default_rng(seed).normal(size=(places, words)).astype(np.float32)


def expected():
    row = Row("chat", "5f2c91a07711", [], None, "text", PROMPT + ANSWER, len(ANSWER), logits())
    return ExpectedOutputs([row], frozenset({2}), GENERATION, TOKENIZER, None, {"a": "1", "b": "2"})


def said(**changes):
    same = {"prompts": [PROMPT], "answers": [ANSWER], "generation": GENERATION, "tokenizer": TOKENIZER, "missing": []}
    return same | {"weights": {"a": "1", "b": "2"}, "broken": {}, "dtype": "float32"} | changes


def found(theirs=None, **changes):
    """The problems as one text."""
    problems, _ = comparison.compare_outputs(
        expected(), said(**changes), [logits() if theirs is None else theirs], "out"
    )
    return "\n".join(map(str, problems))


def test_a_folder_that_does_the_same_has_no_problem_and_says_how_near_it_is():
    problems, seen = comparison.compare_outputs(expected(), said(), [logits() * 1.0001], "out")
    assert problems == []
    assert seen == [
        {
            "dataset": "chat", "id": "5f2c91a07711", "prompt_tokens": 3, "answer_tokens": 3, "stopped": True, "answer": "same",
            "logits": 0.0001,
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    "changes, text",
    [
        (
            {"missing": ["lm_head.weight"]},
            "out: weights: 1 missing from its files, so loading gives them random values: lm_head.weight",
        ),
        ({"broken": {"a": 3}, "dtype": "float16"}, "3 numbers of a are not finite: outside of the range of float16"),
        ({"weights": {"a": "1", "b": "3"}}, "out: weights: 1 of 2 have other numbers: b"),
        ({"weights": {"a": "1"}}, "1 of 2 are lost: b"),
        ({"weights": {"a": "1", "b": "2", "c": "3"}}, "1 are not weights of the model: c"),
        ({"tokenizer": TOKENIZER | {"rules": "q"}}, "out: tokenizer: its vocabulary, merges or rules differ"),
        ({"tokenizer": TOKENIZER | {"words": 39}}, "it has 39 tokens; expected 40"),
        ({"tokenizer": TOKENIZER | {"special": ["<|pad|>"]}}, "not special tokens any more: '<|end|>'"),
        ({"tokenizer": TOKENIZER | {"eos": "<|pad|>"}}, "it ends a turn with '<|pad|>'; expected '<|end|>'"),
        ({"tokenizer": TOKENIZER | {"template": "u"}}, "it has another chat template"),
        (
            {"generation": {"repetition_penalty": 1.05}},
            "generation ends at no token; expected [2], as in this repository",
        ),
        ({"generation": GENERATION | {"eos_token_id": [2, 3]}}, "generation ends at [2, 3]; expected [2]"),
        (
            {"generation": {"eos_token_id": [2]}},
            "out: generation_config.json: repetition_penalty is None; expected 1.05",
        ),
        ({"generation": GENERATION | {"no_repeat_ngram_size": 3}}, "no_repeat_ngram_size is 3; expected None"),
        (
            {"prompts": [[1, 5, 6, 7]]},
            "out: chat row 5f2c91a07711: its prompt has other tokens from number 1 on, [1, 5, 6, 7]",
        ),
        ({"prompts": [[5, 6, 7, 9]]}, "its prompt has other tokens from number 4 on, [9]; expected []"),
        (
            {"answers": [[11, 12, 2, 4, 4]]},
            "its answer does not stop after 3 tokens but continues with [4, 4]; expected its end",
        ),
        ({"answers": [[11]]}, "its answer stops after 1 tokens; expected [12, 2] next"),
    ],
)
def test_each_thing_that_differs_is_named(changes, text):
    assert text in found(**changes)
    assert found(**changes).count("\n  hint: ") == 1, "one fault is one problem"


def test_a_stop_that_is_a_list_of_one_is_the_same_stop():
    assert found(generation=GENERATION | {"eos_token_id": [2]}) == ""


@pytest.mark.parametrize("dtype, share", [("float32", 0.0015), ("float16", 0.03), ("bfloat16", 0.15)])
def test_logits_may_differ_by_what_their_type_cannot_say_and_no_more(dtype, share):
    noise = logits(1) * comparison.TOLERANCE[dtype] * 0.5
    assert found(logits() + noise, dtype=dtype) == ""
    assert "of their spread; expected at most" in found(logits() + logits(1) * share, dtype=dtype)


def test_logits_that_all_move_by_the_same_say_the_same():
    assert comparison.logits_distance(logits(), logits() + 5) < 1e-5


def test_one_bad_place_among_many_is_seen():
    theirs = logits(places=4)
    theirs[2] = logits(3)[2]
    assert "its logits differ by" in found(theirs)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_named(value):
    theirs = logits()
    theirs[1, 3] = value
    assert "its logits are not finite; expected finite numbers; --dtype bfloat16" in found(theirs)


def test_another_number_of_words_is_named():
    assert "it has logits of 41 tokens; expected 40" in found(logits(words=41))


def test_an_answer_may_part_where_two_tokens_are_as_likely_and_nowhere_else():
    theirs = logits()
    theirs[1, 12], theirs[1, 30] = 4.0, 3.9999  # at the second token of the answer
    tied = expected()
    tied.rows[0].logits = theirs
    problems, seen = comparison.compare_outputs(tied, said(answers=[[11, 30, 2]]), [theirs], "out")
    assert problems == [] and seen[0]["answer"] == "parts at token 2, a near tie"
    theirs[1, 30] = 3.0
    problems, _ = comparison.compare_outputs(tied, said(answers=[[11, 30, 2]]), [theirs], "out")
    assert "its answer has other tokens from number 2 on, [30, 2]; expected [12, 2]" in str(problems[0])


def test_many_names_are_counted():
    assert comparison.list_names(["a"]) == "a"
    assert comparison.list_names(["a", "b"]) == "a and b"
    assert comparison.list_names(list("abcdefg")) == "a, b, c and 4 more"
