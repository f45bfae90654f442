"""What a model finds when a reward function lets it: answers that are paid without being right."""

import pytest

from stages.dryrun.hostile_answers import HOSTILE_KINDS, LONG_CHARACTERS, SPRAYED_TRUTHS, hostile_answers
from validators import rewards

TRUTHS = ["42", "cba", "Paris", '["18", "eighteen"]', "9 + 9 = 18.\n#### 18", r"So \boxed{7}."]
PROMPTS = [f"Question {letter}?" for letter in "abcdef"]


def contains(completions, ground_truth, **_):
    return [float(truth in answer) for answer, truth in zip(completions, ground_truth, strict=True)]


def paid(function, truths=TRUTHS, prompts=PROMPTS):
    """The kinds of hostile answers that a function pays for in any row."""
    found = []
    for kind, answers in hostile_answers(truths, prompts).items():
        asked = [(answer, truth) for answer, truth in zip(answers, truths, strict=True) if answer is not None]
        given = function([answer for answer, _ in asked], ground_truth=[truth for _, truth in asked])
        found += [kind] if any(given) else []
    return found


def test_exact_match_pays_for_none_of_them():
    assert paid(rewards.exact_match) == []


def test_numeric_match_pays_for_what_holds_the_number_and_for_nothing_that_does_not_know_it():
    assert paid(rewards.numeric_match, ["42", "7", "18"], PROMPTS[:3]) == ["repeated", "wrapped"]


def test_a_function_that_asks_whether_the_truth_is_in_it_pays_for_most():
    assert paid(contains, ["42", "cba"], ["Is 42 right?", "x"]) == ["repeated", "wrapped", "sprayed", "echoed"]


def test_of_each_truth_the_short_answer_is_tried():
    assert hostile_answers(TRUTHS, PROMPTS)["repeated"][2:] == ["Paris Paris Paris", "18 18 18", "18 18 18", "7 7 7"]


def test_the_truth_stands_in_the_midst_of_a_spray():
    answers = hostile_answers([str(i) for i in range(50)], ["x"] * 50)["sprayed"]
    for i, answer in enumerate(answers):
        said = answer.split(", ")
        assert len(said) == SPRAYED_TRUTHS + 1 and said[SPRAYED_TRUTHS // 2] == str(i) and said.count(str(i)) == 1


def test_a_long_answer_is_long_and_holds_nothing_of_the_truth():
    first, second = hostile_answers(["42", "cba"], ["x", "x"])["long"]
    assert "42" not in first and "cba" not in second and min(len(first), len(second)) >= LONG_CHARACTERS - 4


@pytest.mark.parametrize("text", ["Paris", "0123456789", "x = -3.5"])
def test_what_looks_alike_is_another_text_by_any_normalisation(text):
    import unicodedata

    (alike,) = hostile_answers([text], ["x"])["look_alike"]
    assert len(alike) == len(text) and unicodedata.normalize("NFKC", alike).casefold() != text.casefold()
    assert not any(letter.isdigit() for letter in alike)


@pytest.mark.parametrize("kind", HOSTILE_KINDS)
def test_a_truth_that_says_nothing_has_no_hostile_answer_that_is_right(kind):
    assert hostile_answers([""], [""])[kind] == [None]


@pytest.mark.parametrize(
    "kind, truths, prompts",
    [("sprayed", ["42"], ["x"]), ("long", ["4", "42"], ["x", "x"]), ("echoed", ["42"], ["42"]), ("look_alike", ["..."], ["x"]), ("claimed", ["correct"], ["x"])],
)  # fmt: skip
def test_an_answer_that_would_be_right_or_is_not_there_is_not_tried(kind, truths, prompts):
    assert hostile_answers(truths, prompts)[kind] == [None] * len(truths)
