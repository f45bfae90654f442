"""Scores of slices: none is lost, few rows name nothing, and what is called the worst is no noise."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builds import run_data_stages, write_params

from stages import ingest
from stages.reading.readers import record_of
from stages.reporting.score_text import format_score
from stages.reporting.slices import slice_tables
from stages.rows.key_account import KeyAccount
from stages.rows.options import Options
from stages.rows.slices import slice_values
from stages.scoring import dataset_metrics
from stages.scoring.slices import (
    Slice,
    add_slices,
    describe_slice,
    describe_worst_slice,
    slices_by_value,
    slices_of,
    worst_slice,
)
from validators._formats import slice_problems
from validators.problems import Problems


def talk(number, **more):
    messages = [{"role": "user", "content": f"question {number}"}, {"role": "assistant", "content": "a"}]
    return {"messages": messages, **more}


# -- values of records ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value, text",
    [
        ("de", "de"),
        (" de ", "de"),
        (3, "3"),
        (0, "0"),
        (False, "false"),
        (["a", "b"], '["a","b"]'),
        (float("nan"), None),
        ("", None),
        (None, None),
        ([], None),
    ],
)
def test_a_value_is_a_text_or_none(value, text):
    assert slice_values({"k": value}, ("k",)) == {"k": text}


def test_a_key_may_be_a_path_and_may_be_absent():
    assert slice_values({"meta": {"lang": "de"}}, ("meta.lang", "topic")) == {"meta.lang": "de", "topic": None}


@pytest.mark.parametrize("record", [talk(1, lang="de"), talk(1), talk(1, lang=None, id=4), talk(1, lang=["x"])])
def test_the_fast_way_has_the_same_slices_and_rows_as_the_general_one(record):
    raw, options = json.dumps(record).encode(), Options(slice_by=("lang",))
    fast, general = KeyAccount(), KeyAccount()
    table, _, _ = ingest.plain_table([(1, raw)], "a", options, fast)
    ((row,), _) = ingest.convert_records([record_of(1, raw)], "sft", "a", options, general)
    assert table["slices"].to_pylist() == [row["slices"]] and table["id"].to_pylist() == [row["id"]]
    assert fast.sliced == general.sliced and fast.sliced[""] == 1


@pytest.fixture
def build(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def build(records, more=""):
        (tmp_path / "raw.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        write_params(
            f"seed: 7\neval_fraction: 0.3\ndatasets: {{d: {{kind: sft, raw: raw.jsonl, max_reject_share: 1{more}}}}}\n"
        )
        run_data_stages("d")
        return {side: (tmp_path / f"data/{side}/d.parquet").read_bytes() for side in ("train", "eval")}

    return build


def test_eval_has_the_slices_train_has_not_and_records_without_the_key_are_counted(build, capsys):
    records = [talk(number, **({"lang": "de"} if number % 4 else {})) for number in range(40)]
    plain = build(records)
    sliced = build(records, ", slice_by: [lang]")
    said = capsys.readouterr().out
    assert "slice_by lang: 30 of 40 records have it, 10 have none" in said
    assert (
        "keys not used: lang (30)" in said.partition("slice_by")[0]
        and "keys not used" not in said.split("curate d")[1].partition("slice_by")[0]
    )
    assert plain["train"] == sliced["train"] and plain["eval"] != sliced["eval"]
    rows = pq.read_table("data/eval/d.parquet").to_pylist()
    assert all(json.loads(row["slices"]) == {"lang": "de" if (row["line"] - 1) % 4 else None} for row in rows) and rows


def test_a_key_that_no_record_has_stops_ingest_with_the_nearest(build):
    with pytest.raises(Problems) as error:
        build([talk(number, lang="de") for number in range(4)], ", slice_by: [lagn]")
    (problem,) = error.value.problems
    assert (problem.where, problem.found, problem.hint) == (
        "datasets.d.slice_by",
        "no record has 'lagn'",
        "did you mean 'lang'?",
    )


def test_a_key_that_is_named_twice_and_the_raw_file_are_problems():
    assert [problem.found for problem in slice_problems("w", ["a", "a", "file"])] == [
        "'a' twice",
        "'file' is the raw file, of which there are slices anyway",
    ]
    assert slice_problems("w", ["a", "b"]) == slice_problems("w", None) == []


# -- slices of rows ---------------------------------------------------------------------------------------------------


def test_every_row_is_in_one_slice_of_each_key_and_rare_values_share_one():
    values = [f"v{number}" for number in range(30) for _ in range(31 - number)] + [None] * 3
    slices = slices_by_value("k", values)
    assert sorted(row for each in slices for row in each.rows) == list(range(len(values)))
    assert [each.value for each in slices[:20]] == [f"v{number}" for number in range(20)]
    assert (slices[20].others, slices[21].others, len(slices[21].rows)) == (10, 0, 3)
    assert [describe_slice(slices[place].facts) for place in (19, 21)] == ["where k is v19", "where there is no k"]


def test_files_are_slices_where_there_are_several_and_keys_where_rows_have_any():
    rows = [{"source": "a"}, {"source": "b"}, {"source": "a"}]
    assert slices_of(rows) == [Slice("file", "a", [0, 2]), Slice("file", "b", [1])]
    rows = [{"source": "a", "slices": '{"lang":"de"}'}, {"source": "a", "slices": '{"lang":null}'}]
    assert slices_of(rows) == [Slice("lang", "de", [0]), Slice("lang", None, [1])]
    assert slices_of(rows[:0]) == []


def whole(value, reach=0.01, n=500):
    return {"value": value, "low": value - reach, "high": value + reach, "n": n}


def entry(value, low, high, n=50, name="x", **more):
    return {"by": "k", "slice": name, "value": value, "low": low, "high": high, "n": n, **more}


def test_the_worst_is_worse_than_the_whole_at_its_best_and_not_by_the_interval_of_one_alone():
    good, bad, unclear = (
        entry(0.6, 0.5, 0.7),
        entry(0.1, 0.05, 0.15, name="bad"),
        entry(0.4, 0.31, 0.49, name="unclear"),
    )
    assert worst_slice([good, bad, unclear], whole(0.5), lower=False) is bad
    assert (
        worst_slice([good, unclear], whole(0.5), lower=False) is None
    )  # one of two: its own 95% lies below, that of both does not
    assert worst_slice([unclear], whole(0.5), lower=False) is unclear
    assert worst_slice([good, bad], whole(0.3), lower=True) is good
    assert worst_slice([bad], whole(0.5), lower=True) is None


def test_a_slice_in_which_all_is_wrong_is_no_worse_than_chance_where_little_is_right_anywhere():
    nothing = entry(0.0, 0.0, 0.0, n=46)
    assert worst_slice([nothing], {"value": 0.032, "low": 0.011, "high": 0.054, "n": 278}, lower=False) is None
    assert worst_slice([nothing], {"value": 0.4, "low": 0.34, "high": 0.46, "n": 278}, lower=False) is nothing


def test_a_slice_of_few_rows_and_the_rest_are_never_the_worst():
    few, rest = entry(0.0, None, None, n=5), entry(0.0, 0.0, 0.0, others=4)
    assert worst_slice([few, rest, entry(0.5, 0.4, 0.6)], whole(0.5), lower=False) is None
    assert worst_slice([], whole(0.5), lower=False) is None
    assert worst_slice([entry(0.1, 0.0, 0.2)], {"value": None, "low": None, "high": None, "n": 50}, lower=False) is None


def test_where_all_slices_are_alike_hardly_ever_one_is_named():
    rng, named = np.random.default_rng(0), 0
    for _ in range(200):
        values = rng.binomial(1, 0.5, 2000).astype(float)
        shares = values.reshape(20, 100).mean(1)
        errors = 1.96 * np.sqrt(shares * (1 - shares) / 100)
        slices = [
            entry(share, share - error, share + error, n=100) for share, error in zip(shares, errors, strict=True)
        ]
        named += (
            worst_slice(slices, whole(values.mean(), 1.96 * values.std() / np.sqrt(2000), 2000), lower=False)
            is not None
        )
    assert named <= 10


def scored(right, langs):
    columns = {
        "nll": pa.array([1.0] * len(right)),
        "tokens": pa.array([1.0] * len(right)),
        "right": pa.array(right),
        "exact_match": pa.array(right),
    }
    rows = [{"source": "a", "slices": json.dumps({"lang": lang})} for lang in langs]
    found = dataset_metrics.metrics("sft", columns, None, {}, len(right), 1, {}, ["exact_match"])

    def score(places):
        return dataset_metrics.slice_metrics("sft", columns, None, {}, places, seed=1, options={}, own=["exact_match"])

    add_slices(found, slices_of(rows), score)
    return found


def test_a_slice_is_scored_as_a_dataset_of_its_rows_and_the_worst_is_named():
    found = scored([1.0] * 60 + [0.0] * 30 + [1.0] * 5, ["en"] * 60 + ["de"] * 30 + [None] * 5)
    english, german, none = found["exact_match"]["slices"]
    assert (english["value"], german["value"], none["value"], none["slice"]) == (1.0, 0.0, 1.0, None)
    assert (german["n"], german["low"], none["n"], none["low"]) == (30, 0.0, 5, None)
    assert german.get("worst") and "worst" not in english and "worst" not in none
    assert (
        describe_worst_slice("exact_match", found["exact_match"])
        == "exact_match is worst where lang is de: 0.000 [0.000, 0.114], n 30; of all rows 0.684"
    )
    assert describe_worst_slice("loss", found["loss"]) == "" and len(found["loss"]["slices"]) == 3


def test_a_dataset_without_slices_has_none_in_its_scores():
    found = dataset_metrics.metrics(
        "sft", {name: pa.array([1.0]) for name in ("nll", "tokens", "right")}, None, {}, 1, 1, {}
    )
    add_slices(found, [], lambda places: {})
    assert "slices" not in found["loss"]


def test_the_page_has_a_row_for_each_slice_with_what_each_model_scores_there():
    found = {"sft": scored([1.0] * 60 + [0.0] * 30, ["en"] * 60 + ["de"] * 30), "base": {"loss": {"value": 1.0}}}
    shown = slice_tables(found, format_score)
    assert shown["slices"] == "lang" and shown["worst"][0].startswith(
        "sft: token_accuracy is worst where lang is de: 0.000"
    )
    table = next(table for table in shown["sliced"] if table["name"] == "exact_match")
    assert [(row["name"], row["n"], row["scores"][0]["value"], row["scores"][0]["worst"]) for row in table["rows"]] == [
        ("en", 60, "1.000", False), ("de", 30, "0.000", True)
    ]  # fmt: skip
    assert slice_tables({"base": {"loss": {"value": 1.0}}}, format_score) == {"worst": [], "sliced": [], "slices": ""}


def test_the_page_asks_a_score_for_nothing_that_it_does_not_have():
    table = slice_tables({"sft": scored([1.0] * 60, ["en"] * 60)}, format_score)["sliced"][0]
    templates = Path(__file__).parents[1] / "stages/reporting/templates"
    asked = {
        name
        for path in templates.glob("*.j2")
        for name in re.findall(r"\bscore\.(\w+)", path.read_text(encoding="utf-8"))
    }
    assert "noted" in asked and asked <= table["rows"][0]["scores"][0].keys()
