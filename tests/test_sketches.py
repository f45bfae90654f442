"""Sketches of what was said: they find it again in any kind of row, and do not hold it."""

import random

import numpy as np
import polars as pl
import pytest

from stages.dedup.forgotten import Forgotten
from stages.dedup.near_duplicates import similarity
from stages.dedup.sketches import (
    BINS,
    TEXT_COLUMNS,
    ForgottenIndex,
    estimate_similarity,
    find_forgotten,
    prompt_answer_texts,
    row_hashes,
    sketch_rows,
    sketch_texts,
    word_hashes,
)
from stages.rows.tables import row_schema, to_table


def words(count, rng):
    return [f"w{rng.randrange(4000)}" for _ in range(count)]


def turns(*contents):
    return [{"role": role, "content": text} for role, text in zip(("user", "assistant"), contents, strict=False)]


def table(kind, *rows):
    return to_table(
        [{"id": f"{i:064}", "source": "raw", "line": i} | row for i, row in enumerate(rows)], row_schema(kind)
    )


def sft(*contents):
    return {"messages": turns(*contents), "tools": None}


def known(kind, row):
    ((texts, found),) = row_hashes(table(kind, row), kind)
    return ForgottenIndex([Forgotten("f" * 64, kind, tuple(texts), tuple(found), "request 17")])


def test_the_likeness_of_sketches_is_that_of_the_texts():
    rng, errors = random.Random(2), []
    for count in [25, 60, 150, 600] * 40:
        one = words(count, rng)
        other = [word if rng.random() > 0.04 else "changed" for word in one]
        bins, _ = sketch_texts(pl.Series([" ".join(one), " ".join(other)]))
        errors.append(estimate_similarity(bins[:1], bins[1])[0] - similarity(" ".join(one), " ".join(other)))
    assert abs(np.mean(errors)) < 0.02
    assert np.std(errors) < 0.05


def test_texts_that_have_nothing_in_common_are_not_alike():
    rng = random.Random(3)
    bins, _ = sketch_texts(pl.Series([" ".join(words(100, rng)) for _ in range(300)]))
    assert max(estimate_similarity(bins[1:], bins[0])) < 0.25


def test_a_sketch_does_not_depend_on_the_texts_beside_it_nor_on_case_and_white_space():
    text = " ".join(words(50, random.Random(4)))
    alone, _ = sketch_texts(pl.Series([text]))
    beside, _ = sketch_texts(pl.Series(["", "x y z", text.upper().replace(" ", "\n\t "), "é" * 50]))
    assert (alone[0] == beside[2]).all()


def test_sketches_are_the_same_for_ever():
    # a list that was written once is good for every later version: never change these digits, add another kind of sketch
    bins, _ = sketch_texts(pl.Series(["the quick brown fox jumps over the lazy dog again and again"]))
    assert "".join(f"{value:x}" for value in bins[0]) == (
        "000000000000c0007000000000000000000000000900d0000000070000000000"
        "000000000000000500000000e0c0000000000000000000000900000000000000"
    )


@pytest.mark.parametrize("kind", ["sft", "preference", "kto", "grpo"])
def test_sketches_of_a_table_are_those_of_its_texts_however_it_is_cut(kind, monkeypatch):
    rng = random.Random(9)
    system = {"role": "system", "content": "Be brief and kind to everyone"}

    def made():
        one, two, three = (" ".join(words(rng.randrange(30), rng)) for _ in range(3))
        prompt = [system, *turns(one)] if rng.random() < 0.3 else turns(one)
        answers = {"chosen": turns("", two)[1:], "rejected": turns("", three)[1:], "completion": turns("", two)[1:]}
        return {"prompt": prompt, "messages": prompt + turns("", two)[1:], "ground_truth": two} | answers

    nothing = {"tools": None, "label": True, "extra": "{}"}
    rows = table(kind, *(made() | nothing for _ in range(50)))
    for names, said in zip(TEXT_COLUMNS[kind], prompt_answer_texts(rows, kind), strict=True):
        expected, counts = sketch_texts(said)
        for piece in (1, 3_000, 10**6):
            monkeypatch.setattr("stages.dedup.sketches.PIECE_BYTES", piece)
            for part, first in ((rows, 0), (rows.slice(20), 20)):
                bins, triples = sketch_rows(part, names)
                assert (bins == expected[first:]).all() and (triples == counts[first:]).all()


def test_words_end_with_their_text():
    hashes, lengths = word_hashes(pl.Series(["ab", "c", "", " abc ", "ab\nc"]))
    assert lengths.tolist() == [1, 1, 0, 1, 2]
    assert hashes[0] == hashes[3] and hashes[1] == hashes[4]
    assert len(set(hashes.tolist())) == 3


def test_a_sketch_keeps_four_bits_of_a_bin_and_no_word():
    row = sft("Where does Ada live?", " ".join(f"She lives in the street of number {i}." for i in range(9)))
    (((), (sketch,)),) = [tuple(map(tuple, found)) for found in row_hashes(table("sft", row), "sft")]
    assert len(sketch) == BINS and set(sketch) <= set("0123456789abcdef")


LONG = " ".join(words(80, random.Random(5)))
NEARLY = LONG.replace("w1", "x1", 2)
SAME = {
    "sft": sft("q", LONG),
    "preference": {"prompt": turns("q"), "chosen": turns("", LONG)[1:], "rejected": turns("", "no")[1:]},
    "kto": {"prompt": turns("q"), "completion": turns("", LONG)[1:], "label": False},
    "grpo": {"prompt": turns("q"), "ground_truth": LONG, "extra": "{}"},
}


@pytest.mark.parametrize("one", SAME)
@pytest.mark.parametrize("other", SAME)
def test_what_was_said_is_recognised_in_every_kind(one, other):
    found = find_forgotten(table(other, SAME[other]), other, known(one, SAME[one]))
    assert found[0][1] == "about 100% alike"


@pytest.mark.parametrize("one", SAME)
def test_a_rejected_answer_is_recognised_as_well(one):
    pair = {"prompt": turns("q"), "chosen": turns("", "no")[1:], "rejected": turns("", LONG)[1:]}
    assert 0 in find_forgotten(table("preference", pair), "preference", known(one, SAME[one]))


def test_what_is_nearly_the_same_is_recognised_and_what_is_not_is_not():
    other = " ".join(words(80, random.Random(6)))
    rows = table("sft", sft("q", NEARLY), sft("q", other), sft("q", LONG[: len(LONG) // 2]))
    assert list(find_forgotten(rows, "sft", known("sft", SAME["sft"]))) == [0]


def test_short_texts_match_word_for_word_with_case_and_white_space_folded():
    rows = table(
        "sft", sft("add 1 and 2.", " IT is\n3"), sft("Add 1 and 2.", "It is 4"), sft("Add 1 and 2.", "It is 3 ")
    )
    found = find_forgotten(rows, "sft", known("sft", sft("Add 1 and 2.", "It is 3")))
    assert {row: why for row, (_, why) in found.items()} == {0: "word for word", 2: "word for word"}


def test_a_system_turn_does_not_hide_what_was_said():
    spoken = {"messages": [{"role": "system", "content": "Be kind."}, *turns("q", "a short answer")], "tools": None}
    assert 0 in find_forgotten(table("sft", spoken), "sft", known("sft", sft("q", "a short answer")))


def test_a_row_is_recognised_by_its_id_alone():
    entry = Forgotten(f"{1:064}", "sft", (), (), "request 17")
    assert find_forgotten(table("sft", sft("a", "b"), sft("c", "d")), "sft", ForgottenIndex([entry])) == {
        1: (entry, "by id")
    }


def test_rows_without_any_text_match_nothing():
    rows = table("sft", sft("", ""), {"messages": [], "tools": None})
    assert find_forgotten(rows, "sft", known("sft", sft("", ""))) == {}
