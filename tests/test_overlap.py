"""Overlap with benchmarks, in word n-grams."""

import json

import pytest

from stages.dedup.overlap import Benchmarks, collect_texts, ngrams
from validators._words import words


@pytest.fixture
def benchmarks(tmp_path):
    records = [
        {"q": "one two three four five six"},
        {"q": {"deep": ["a b c d", 7]}},
        {"q": "too short"},
        ["no object here at all"],
    ]
    (tmp_path / "exam.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return Benchmarks(str(tmp_path), 5)


def test_words_are_folded_and_without_signs():
    assert words("It's 4, ÄPFEL!") == ["it", "s", "4", "äpfel"]


@pytest.mark.parametrize(("text", "found"), [
    ("小明有3个 apples，吃了1个。", ["小", "明", "有", "3", "个", "apples", "吃", "了", "1", "个"]),
    ("カレーを食べる", list("カレーを食べる")), ("한국어 문장", ["한국어", "문장"]), ("ไปตลาด", list("ไปตลาด")),
])  # fmt: skip
def test_a_character_of_a_script_without_spaces_is_a_word(text, found):
    assert words(text) == found


def test_a_question_in_chinese_is_found_in_a_row(tmp_path):
    question = "小明有三个苹果，吃了一个，还剩几个？"
    (tmp_path / "exam.jsonl").write_text(json.dumps({"q": question}, ensure_ascii=False))
    found = Benchmarks(str(tmp_path), 13)
    assert found.find_overlap(f"请回答：{question}谢谢", 0.8)[1] == 1.0
    assert found.find_overlap("小红有三本书，送了一本，还剩几本？", 0.8) is None


def test_a_text_shorter_than_an_ngram_is_one_ngram():
    assert ngrams(["a", "b"], 3) == {("a", "b")}
    assert ngrams(["a", "b", "c", "d"], 3) == {("a", "b", "c"), ("b", "c", "d")}
    assert ngrams([], 3) == set()


def test_every_text_of_a_record_counts_however_deep():
    assert collect_texts({"a": ["x", {"b": "y"}], "c": 4}) == ["x", "y"]


def test_the_share_is_of_the_benchmarks_record(benchmarks):
    place, share = benchmarks.find_overlap("say ONE two three four five, then stop", 0.5)
    assert place.endswith("exam.jsonl:1")
    assert share == 0.5
    assert benchmarks.find_overlap("say one two three four five, then stop", 0.6) is None


def test_short_texts_are_found_whole_and_very_short_ones_not_at_all(benchmarks):
    assert benchmarks.find_overlap("x a b c d y", 1.0)[1] == 1.0
    assert benchmarks.find_overlap("this is too short", 0.1) is None
