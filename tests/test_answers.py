import pytest

from validators._answers import answer_of
from validators.rewards import exact_match, numeric_match, one_word


@pytest.mark.parametrize(
    "said, answer",
    [
        (" cba\n", "cba"),
        ("<think>\n\n</think>\n\ncba", "cba"),
        ("<think>a\nb</think>cba", "cba"),
        ("first this, then that\n</think>\n\ncba", "cba"),  # the prompt ended in <think>
        ("<think>it goes on and on", ""),
        ("cba <think>x</think>", "cba <think>x</think>"),
        ("a < b", "a < b"),
        ("analysisUser asks. 6*7assistantfinal42", "42"),
        ("<|channel|>analysis<|message|>6*7<|end|><|start|>assistant<|channel|>final<|message|>42", "42"),
        ("<|channel|>final<|message|>42", "42"),
        ("analysis of the final result: 42", "analysis of the final result: 42"),
        ("", ""),
    ],
)
def test_an_answer_is_what_follows_the_reasoning(said, answer):
    assert answer_of(said) == answer


@pytest.mark.parametrize(
    "said", ["42", "<think>6 * 7 is 42 or 43</think>\n\n42", "6 * 7\n</think>\n42", "analysis6*7assistantfinal42"]
)
def test_rewards_see_the_answer_alone(said):
    given = {"completions": [[{"role": "assistant", "content": said}]], "ground_truth": ["42"]}
    assert exact_match(**given) == numeric_match(**given) == one_word(**given) == [1.0]


def test_a_number_in_reasoning_that_does_not_end_earns_nothing():
    assert numeric_match([[{"role": "assistant", "content": "<think>perhaps 42"}]], ground_truth=["42"]) == [0.0]
