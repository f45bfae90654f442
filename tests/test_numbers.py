"""What is one number in an answer: fractions, mixed numbers, ratios, words that multiply; and what a remark in brackets is."""

import time

import pytest

from validators._numbers import last_number
from validators.rewards import numeric_match


@pytest.mark.parametrize(
    "text, value",
    [
        (r"5\frac{1}{2}", 5.5), (r"-5 \frac{1}{2}", -5.5), (r"\frac{1}{2}", 0.5), ("1 2/7", 9 / 7), ("5又1/2", 5.5), ("1,000 1/2", 1000.5),
        ("7 4/3", 4 / 3), ("10分之4", 0.4), ("7.5/10", 0.75), ("9:7", 9 / 7), ("at 18:30", 0.6), ("at 3:00", 3.0), ("Q1:18", 18.0),
        ("1:2:3", 3.0), ("on 2024-05-03", 3.0), ("from 2-5", 5.0), ("7 - 2", 2.0), ("at -2", -2.0), ("3千克", 3.0), ("１８", 18.0),
    ],
)  # fmt: skip
def test_what_is_one_number(text, value):
    assert last_number(text) == (pytest.approx(value), 1.0)


@pytest.mark.parametrize(
    "text, value",
    [
        ("18(3盒)", 18.0), ("一共18小包（3盒）。", 18.0), ("18 packs (3 boxes of 6).", 18.0), ("(18)", 18.0), ("It is (18).", 18.0),
        ("18 (3) 4", 4.0),
    ],
)  # fmt: skip
def test_a_remark_in_brackets_at_the_end_does_not_count_unless_it_holds_all(text, value):
    assert last_number(text) == (value, 1.0)


@pytest.mark.parametrize(
    "answer, truth, reward",
    [
        ("25%", "1/4", 1.0), ("25", "25%", 1.0), ("25%", "25", 1.0), (r"25\%", "0.25", 1.0), ("1.5 million", "1,500,000", 1.0),
        ("1.5 million", "1.5", 1.0), ("1.5 billion", "1.5 million", 0.0), ("1152万", "11520000", 1.0), ("1152万元", "1152", 1.0),
        ("2 亿", "2万", 0.0), ("5 millionths", "5000000", 0.0), ("1/2", r"5\frac{1}{2}", 0.0), ("2", "3:2", 0.0),
        ("答：一共18小包", "18", 1.0), ("答：一共18小包，即3盒", "18", 0.0),
    ],
)  # fmt: skip
def test_words_that_multiply_and_forms_that_others_must_not_equal(answer, truth, reward):
    assert numeric_match([answer], ground_truth=[truth]) == [reward]
    assert numeric_match([truth], ground_truth=[truth]) == [1.0]


@pytest.mark.parametrize(
    "text", ["9" * 50_000, "9," * 25_000, " " * 50_000, "(" * 50_000, "1 " * 25_000, "(1) " * 10_000 + "x"]
)
def test_a_long_answer_is_read_at_once(text):
    started = time.process_time()
    last_number(text)
    assert time.process_time() - started < 2  # a square of its length would take a minute
