"""Near-duplicates: signatures find what is alike, and the similarity is that of its definition."""

import random

import polars as pl
import pyarrow as pa
import pytest

from stages.dedup.near_duplicates import row_texts, shingle_hashes, signatures, similarity
from stages.rows.tables import row_schema, to_table


def test_similarity_is_that_of_the_sets_of_word_triples():
    assert similarity("a b c d", "a b c e") == 1 / 3
    assert similarity("A  b\nc", "a b c") == 1.0
    assert similarity("a b", "b a") == 1.0
    assert similarity("", "") == 0.0


def candidates(a, b):
    bands = signatures(pl.Series([a, b]))
    return bool((bands[0] == bands[1]).any())


def test_texts_alike_at_nine_tenths_share_a_band_and_others_do_not():
    rng = random.Random(3)
    found = missed = 0
    for _ in range(200):
        words = [f"w{rng.randrange(5000)}" for _ in range(120)]
        changed = list(words)
        changed[rng.randrange(120)] = "changed"
        assert similarity(" ".join(words), " ".join(changed)) > 0.9
        found += candidates(" ".join(words), " ".join(changed))
        missed += candidates(" ".join(words), " ".join(f"w{rng.randrange(5000)}" for _ in range(120)))
    assert found >= 198
    assert missed == 0


def test_a_signature_does_not_depend_on_the_rows_beside_it():
    alone = signatures(pl.Series(["a b c d e"]))
    among = signatures(pl.Series(["", "x", "a b c d e", "a b"]))
    assert (alone[0] == among[2]).all()


def test_texts_of_a_script_without_spaces_are_compared_by_characters():
    a = "小明去市场买了三个苹果和两个梨，回家以后吃了一个苹果，又把一个梨送给了妹妹，请问他现在还剩下几个苹果和几个梨？"
    b, other = a.replace("妹妹", "弟弟"), "请把下面的句子翻译成英文，并且说明为什么这样翻译，再给出两个别的例子。"
    assert similarity(a, b) > 0.8 > similarity(a, other) and similarity(a, other) < 0.1
    first, second, third, alone = signatures(pl.Series([a, b, other, "a b c d e"]))
    assert (first == second).any() and not (first == third).any()
    assert (signatures(pl.Series(["a b c d e"]))[0] == alone).all()


def test_triples_do_not_reach_into_the_next_row():
    import numpy as np

    hashes = np.array([1, 2, 3, 4, 5, 6], np.uint64)
    flat, offsets = shingle_hashes(hashes, np.array([4, 0, 2]))
    assert offsets.tolist() == [0, 2, 2, 4]
    assert flat[2:].tolist() == shingle_hashes(hashes[4:], np.array([2]))[0].tolist()


@pytest.mark.parametrize(
    "kind, row, said",
    [
        ("sft", {"messages": ["q", "a"], "tools": None}, "q a"),
        ("preference", {"prompt": ["q"], "chosen": ["a"], "rejected": ["b"]}, "q a b"),
        ("kto", {"prompt": ["q"], "completion": ["a"], "label": True}, "q a"),
        ("grpo", {"prompt": ["q"], "ground_truth": "4", "extra": "{}"}, "q 4"),
    ],
)
def test_the_text_of_a_row_is_all_that_its_messages_say(kind, row, said):
    turn = lambda text: {"role": "user", "content": text, "tool_calls": None}  # noqa: E731
    row = {key: [turn(text) for text in value] if isinstance(value, list) else value for key, value in row.items()}
    table = to_table([row | {"id": "i", "source": "s", "line": 1}], row_schema(kind))
    assert row_texts(pa.concat_tables([table, table]), kind).to_list() == [said, said]
