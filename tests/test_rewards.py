import pytest

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
