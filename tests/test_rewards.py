import pytest

from validators._numbers import last_number
from validators.rewards import exact_match, numeric_match, one_word


def said(text):
    return [{"role": "assistant", "content": text}]


@pytest.mark.parametrize(
    "answer, truth, reward",
    [
        ("cba", "cba", 1.0),
        (" cba\n", "cba", 1.0),
        ("cba", " cba ", 1.0),
        ("CBA", "cba", 0.0),
        ("It is cba.", "cba", 0.0),
        ("", "cba", 0.0),
    ],
)
def test_exact_match_asks_for_the_truth_and_nothing_else(answer, truth, reward):
    assert exact_match([said(answer)], ground_truth=[truth]) == [reward]


@pytest.mark.parametrize(
    "answer, truth, reward",
    [
        ("The answer is 42.", "42", 1.0),
        ("4 + 38 = 42", "first 1, then 42", 1.0),
        ("42, I think", "42", 1.0),
        ("1,234.50", "1234.5", 1.0),
        ("-5", "-5", 1.0),
        ("-5", "5", 0.0),
        ("1e3", "1000", 1.0),
        ("41", "42", 0.0),
        ("42 or 43", "42", 0.0),
        ("none", "42", 0.0),
        ("42", "none", 0.0),
        ("none", "none", 0.0),
        ("", "42", 0.0),
    ],
)
def test_numeric_match_compares_the_last_numbers(answer, truth, reward):
    assert numeric_match([said(answer)], ground_truth=[truth]) == [reward]


@pytest.mark.parametrize(
    "answer, truth",
    [
        (r"First \boxed{17}, no: \boxed{18}.", "18"), (r"So \boxed{\frac{1}{2}}", r"\frac{1}{2}"), (r"$\boxed{18}$", "18"),
        ("9 + 9 = 18\n#### 18", "18"), ("It adds up.\nA: 18", "18"), ("So the answer is 18.", "18"), ("**Final Answer:** 18", "18"),
        ("The answer is $x+1$.", "x+1"), ("<answer>\n18\n</answer>", "18"), ("答案是18。", "18"), ("18", "9 + 9\n#### 18"),
        ("The answer is Dr. No.", "Dr. No"),
    ],
)  # fmt: skip
def test_what_an_answer_names_in_the_end_is_what_counts(answer, truth):
    assert exact_match([said(answer)], ground_truth=[truth]) == [1.0]
    if last_number(truth) is not None:
        assert numeric_match([said(answer)], ground_truth=[truth]) == [1.0]


@pytest.mark.parametrize(
    "answer, truth",
    [
        (r"\boxed{18}, or rather \boxed{19}", "18"), (r"\boxed{18} and \boxed{1", "18"), ("A: 18\nOr 19?", "18"),
        ("#### 18 19", "18"), (r"\boxed{}", "."), (r"\boxed{", r"\boxed{}"), ("18 of 20\n#### 20", "18"),
    ],
)  # fmt: skip
def test_only_the_last_answer_counts_and_it_must_be_whole(answer, truth):
    assert exact_match([said(answer)], ground_truth=[truth]) == [0.0]


def test_a_box_is_read_before_the_numbers_around_it():
    answers = [said(r"It is \boxed{42}, as in 2024."), said(r"It is \boxed{x}, as in 42.")]
    assert numeric_match(answers, ground_truth=["42", "42"]) == [1.0, 0.0]


@pytest.mark.parametrize("truth", ['["18", "eighteen"]', '[18, "eighteen"]'])
def test_of_a_list_of_right_answers_any_is_right(truth):
    answers = [said(text) for text in ("18", "eighteen", "A: eighteen", "19", '["18", "eighteen"]', "")]
    assert exact_match(answers, ground_truth=[truth] * 6)[:4] == [1.0, 1.0, 1.0, 0.0]
    assert exact_match(answers, ground_truth=['["18", "eighteen"]'] * 6)[4:] == [1.0, 0.0]
    assert numeric_match(answers[:4], ground_truth=[truth] * 4) == [1.0, 0.0, 0.0, 0.0]


def test_a_null_in_a_list_of_right_answers_is_none_of_them():
    assert exact_match(["a", "null", ""], ground_truth=['["a", null]'] * 3) == [1.0, 0.0, 0.0]


def test_a_number_is_any_of_a_list_of_numbers():
    assert numeric_match(["7", "x = 8.0", "9"], ground_truth=["[7, 8]"] * 3) == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("truth", ["[[1], [2]]", "[true]", "[1", '{"a": 1}'])
def test_what_is_no_flat_list_is_one_truth(truth):
    assert exact_match([truth, "1"], ground_truth=[truth] * 2) == [1.0, 0.0]


@pytest.mark.parametrize(
    "answer, truth, reward",
    [
        ("3/4", "0.75", 1.0), (r"\boxed{\frac{3}{4}}", "3/4", 1.0), (r"\boxed{\frac{1}{4}}", r"\frac{3}{4}", 0.0), ("7/4", "3/4", 0.0),
        ("1{,}234", "1234", 1.0), ("on 5/3/2024", "2024", 1.0), ("1/0", "1", 0.0),
    ],
)  # fmt: skip
def test_a_fraction_is_one_number(answer, truth, reward):
    assert numeric_match([answer], ground_truth=[truth]) == [reward]


@pytest.mark.parametrize("answer", ["9" * 400, "1e999"])
def test_a_number_too_large_for_a_float_earns_nothing(answer):
    assert numeric_match([said(answer)], ground_truth=["42"]) == [0.0]


@pytest.mark.parametrize("answer, truth, reward", [(".5", "0.5", 1.0), (".5", "5", 0.0)])
def test_a_number_may_begin_with_its_point(answer, truth, reward):
    assert numeric_match([said(answer)], ground_truth=[truth]) == [reward]


@pytest.mark.parametrize("answer, reward", [("cba", 1.0), (" cba ", 1.0), ("c b", 0.0), ("", 0.0), ("  ", 0.0)])
def test_one_word_asks_for_one_word(answer, reward):
    assert one_word([said(answer)]) == [reward]


@pytest.mark.parametrize("reward", [exact_match, numeric_match, one_word])
def test_a_reward_takes_texts_and_conversations_alike(reward):
    texts = ["7", "8", "9 9"]
    assert reward(texts, ground_truth=["7"] * 3) == reward([said(text) for text in texts], ground_truth=["7"] * 3)


@pytest.mark.parametrize("reward", [exact_match, numeric_match, one_word])
def test_a_reward_ignores_the_other_columns_that_trl_passes(reward):
    assert reward(["7"], ground_truth=["7"], prompts=["x"], extra=["{}"], trainer_state=None) == [1.0]


@pytest.mark.parametrize("reward", [exact_match, numeric_match, one_word])
def test_an_answer_without_content_earns_nothing(reward):
    assert reward([[{"role": "assistant", "content": None}]], ground_truth=["7"]) == [0.0]


@pytest.mark.parametrize("reward", [exact_match, numeric_match])
def test_every_answer_needs_its_truth(reward):
    with pytest.raises(ValueError, match="zip"):
        reward(["7", "8"], ground_truth=["7"])


def test_rewards_come_in_the_order_of_the_answers():
    assert exact_match(["a", "b", "c"], ground_truth=["a", "x", "c"]) == [1.0, 0.0, 1.0]
