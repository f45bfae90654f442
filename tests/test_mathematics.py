"""`math_verify`: answers that are equal as mathematics, and what a model says that must not stop a training."""

import threading

import pytest

from validators import _mathematics
from validators.rewards import math_verify

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "answer, truth, reward",
    [
        ("72", "72", 1.0), ("The answer is 72.", "72", 1.0), ("71", "72", 0.0), ("", "72", 0.0), ("72", "", 0.0),
        (r"So \boxed{\frac{1}{2}}.", "0.5", 1.0), (r"$\frac12$", r"\frac{1}{2}", 1.0), ("0.51", r"\frac{1}{2}", 0.0),
        (r"\boxed{2\sqrt{2}}", r"\sqrt{8}", 1.0), (r"\boxed{\{2,1\}}", "{1,2}", 1.0), (r"\boxed{(2,1)}", "(1,2)", 0.0),
        (r"\boxed{5\text{ cm}}", "5", 1.0), (r"\boxed{6\text{ cm}}", "5 cm", 0.0), (r"\boxed{10\%}", "10%", 1.0), (r"\boxed{10\%}", "0.1", 1.0),
        ("Paris", "Paris", 1.0), ("Lyon", "Paris", 0.0), ("B", "A", 0.0), (r"\boxed{A}", "A", 1.0),
        (r"\boxed{0.25}", '["1/4", "a quarter"]', 1.0), ("a quarter", '["1/4", "a quarter"]', 1.0), (r"\boxed{0.5}", '["1/4", "1/8"]', 0.0),
        ("9 + 9 = 18\n#### 18", "6 + 12 = 18\n#### 18.0", 1.0), (r"\boxed{1}, \boxed{72}", "1", 0.0),
        ("<think>72</think>", "72", 0.0), ("__import__('os').system('false')", "72", 0.0), ("(" * 3000, "3", 0.0),
    ],
)  # fmt: skip
def test_what_is_equal_as_mathematics_is_right(answer, truth, reward):
    assert math_verify([answer], ground_truth=[truth]) == [reward]


def test_an_answer_that_computes_for_ever_is_worth_nothing_and_the_next_one_is_judged(monkeypatch):
    assert math_verify(["$9^{9^{9^{9}}}$", r"\boxed{2/4}"], ground_truth=["3", "1/2"]) == [0.0, 1.0]


def test_it_may_be_asked_in_a_thread():
    found = []
    thread = threading.Thread(target=lambda: found.extend(math_verify([r"\boxed{0.125}"], ground_truth=["1/8"])))
    thread.start()
    thread.join()
    assert found == [1.0]


def test_where_it_is_not_installed_the_error_says_what_to_type(monkeypatch):
    monkeypatch.setattr(_mathematics, "WORKERS", {})
    monkeypatch.setattr(_mathematics.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'tilth\[math\]'"):
        _mathematics.mathematically_equal("1/16", "not asked before")
