"""The numbers of a dataset, against a build whose every row is known (tests/fake_build.py)."""

import fake_build
import pytest

from stages.reporting import summaries
from stages.rows.tables import row_schema, to_table, with_message_keys


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = fake_build.fake_build(tmp_path_factory.mktemp("fake") / "build")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return {name: summaries.dataset_summary(name, item) for name, item in fake_build.PARAMS["datasets"].items()}


@pytest.mark.parametrize("name", ["chat", "pairs", "feedback", "problems"])
def test_rows_rejects_and_sources_add_up(found, name):
    item = found[name]
    assert (item["train"], item["eval"], item["rejected"]) == (8, 8, 40)
    assert sum(reason["count"] for reason in item["reasons"]) == 40
    for side in ("train", "eval", "rejected"):
        assert sum(row[side] for row in item["sources"]) == item[side]
    assert item["records"] == 8 + 40  # a train and an eval row of the same line are one record


def test_each_reason_has_its_first_records_cut_and_in_the_order_of_the_file(found):
    reason = found["chat"]["reasons"][0]
    assert reason["check"] == "ingest.check_0" and reason["count"] == 5
    assert [sample["line"] for sample in reason["samples"]] == [0, 9, 18]
    long = next(sample for item in found["chat"]["reasons"] for sample in item["samples"] if sample["raw"]["more"])
    assert long["raw"] == {"text": "x" * summaries.WIDTH, "more": 100_000 - summaries.WIDTH}


@pytest.mark.parametrize("keys, characters", [((), 3), (("tool_calls",), 5)])
def test_calls_count_where_a_dataset_has_any(tmp_path, monkeypatch, keys, characters):
    folder = fake_build.fake_build(tmp_path / "build")
    calls = {"role": "assistant", "content": "bc", "tool_calls": "[]" if keys else None}
    row = {"messages": [*fake_build.user("a"), calls], "tools": None, "id": "0", "source": "s", "line": 1}
    for side in ("train", "eval"):
        fake_build.write(
            folder / f"data/{side}/chat.parquet", with_message_keys(to_table([row], row_schema("sft")), keys)
        )
    monkeypatch.chdir(folder)
    assert summaries.dataset_summary("chat", fake_build.PARAMS["datasets"]["chat"])["lengths"]["max"] == characters


def test_lengths_count_the_characters_of_a_row(found):
    longest = {name: found[name]["lengths"]["max"] for name in found}
    assert longest == {"chat": 200_000, "pairs": 200_004, "feedback": 100_003, "problems": 100_000}
    assert sum(entry["count"] for entry in found["chat"]["lengths"]["bins"]) == 8
    assert len(found["chat"]["lengths"]["bins"]) <= summaries.BINS


def test_classes_and_length_bias_are_counted(found):
    assert found["feedback"]["classes"] == {"train": {"true": 4, "false": 4}, "eval": {"true": 4, "false": 4}}
    assert found["pairs"]["bias"] == {"longer": 0, "shorter": 8, "equal": 0}
    assert [name for name, _ in found["pairs"]["answers"]] == ["chosen", "rejected"]
    assert found["problems"]["answers"] == []


def test_two_sorts_of_answers_are_counted_in_bins_of_one_width(found):
    chosen, rejected = (lengths for _, lengths in found["pairs"]["answers"])
    assert chosen["max"] == 3 and rejected["max"] > 100_000
    assert chosen["width"] == rejected["width"] > 1


@pytest.mark.parametrize("top, width", [(0, 1), (29, 1), (30, 2), (78, 5), (599, 20), (3000, 200), (10**9, 50_000_000)])
def test_bins_have_round_widths_that_reach_the_longest(top, width):
    assert summaries.bin_width(top) == width
    assert width * summaries.BINS > top
