import hashlib
import json
import random
from functools import partial

import pyarrow.parquet as pq
import pytest

from stages import curate, ingest, validate
from stages._identity import digest, normalised
from stages._parts import parts_of
from validators._problems import Problems


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Runs the three data stages on records; gives train, eval and rejected as lists of rows."""
    monkeypatch.chdir(tmp_path)

    def build(kind, *records, seed=7, eval_fraction=0.3):
        (tmp_path / "raw.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        (tmp_path / "params.yaml").write_text(
            f"seed: {seed}\neval_fraction: {eval_fraction}\n"
            f"datasets: {{d: {{kind: {kind}, raw: raw.jsonl, max_reject_share: 1}}}}\n"
        )
        for stage in (ingest, validate, curate):
            stage.main("d")
        return [pq.read_table(f"data/{part}/d.parquet").to_pylist() for part in ("train", "eval", "rejected")]

    return build


def chat(question, answer="a"):
    return {"prompt": question, "completion": answer}


def fresh(count):
    return [chat(f"question {i}") for i in range(count)]


def checks(rejected):
    return [(reject["line"], reject["check"]) for reject in rejected]


def lines(rows):
    return sorted(row["line"] for row in rows)


def question(row):
    return (row.get("messages") or row["prompt"])[0]["content"]


# -- duplicates ---------------------------------------------------------------------------------------------------


def test_of_exact_duplicates_the_first_is_kept_and_named(build):
    train, held_out, rejected = build("sft", chat("q"), chat("r"), chat("q"), chat("q"), *fresh(5))
    (kept,) = (row for row in train + held_out if question(row) == "q")
    assert kept["line"] == 1
    assert checks(rejected) == [(3, "curate.duplicate"), (4, "curate.duplicate")]
    assert {reject["detail"] for reject in rejected} == {f"duplicate of {kept['id']} (raw.jsonl:1)"}


def test_a_duplicate_in_another_shape_is_one(build):
    _, _, rejected = build("sft", chat("q"), {"instruction": "q", "input": "", "output": "a"}, *fresh(5))
    assert checks(rejected) == [(2, "curate.duplicate")]


def test_another_answer_to_a_question_is_no_duplicate(build):
    _, _, rejected = build("sft", chat("q", "a"), chat("q", "b"), *fresh(5))
    assert rejected == []


def test_a_quarantined_row_keeps_its_content_and_its_id(build):
    train, held_out, (reject,) = build("sft", chat("q"), chat("q"), *fresh(5))
    (kept,) = (row for row in train + held_out if question(row) == "q")
    assert (reject["id"], reject["stage"], reject["source"]) == (kept["id"], "curate", "raw.jsonl")
    assert json.loads(reject["raw"]) == {"messages": kept["messages"], "tools": None}


# -- contradictions -----------------------------------------------------------------------------------------------


def pair(prompt, chosen, rejected):
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def rated(prompt, completion, label):
    return {"prompt": prompt, "completion": completion, "label": label}


def problem(prompt, truth, **extra):
    return {"prompt": prompt, "ground_truth": truth, **extra}


OTHERS = {
    "preference": [pair(f"question {i}", "a", "b") for i in range(5)],
    "kto": [rated(f"question {i}", "a", True) for i in range(5)],
    "grpo": [problem(f"question {i}", "a") for i in range(5)],
}


@pytest.mark.parametrize(
    "kind, one, other",
    [
        ("preference", pair("q", "a", "b"), pair("q", "b", "a")),
        ("kto", rated("q", "a", True), rated("q", "a", False)),
        ("grpo", problem("q", "a"), problem("q", "b")),
    ],
)
def test_of_rows_that_contradict_each_other_none_is_kept(build, kind, one, other):
    train, held_out, rejected = build(kind, one, *OTHERS[kind], other, one)
    assert lines(train + held_out) == [2, 3, 4, 5, 6]
    assert checks(rejected) == [(1, "curate.contradiction"), (7, "curate.contradiction"), (8, "curate.duplicate")]
    by_line = {reject["line"]: reject for reject in rejected}
    assert by_line[1]["detail"] == f"contradicts {by_line[7]['id']} (raw.jsonl:7)"
    assert by_line[7]["detail"] == f"contradicts {by_line[1]['id']} (raw.jsonl:1)"


@pytest.mark.parametrize(
    "kind, one, other",
    [
        ("preference", pair("q", "a", "b"), pair("q", "a", "c")),
        ("preference", pair("q", "a", "b"), pair("q", "c", "a")),
        ("kto", rated("q", "a", True), rated("q", "b", False)),
        ("grpo", problem("q", "a"), problem("r", "b")),
    ],
)
def test_rows_that_can_both_be_right_are_kept(build, kind, one, other):
    _, _, rejected = build(kind, one, *OTHERS[kind], other)
    assert rejected == []


def test_what_validate_turned_away_contradicts_nothing(build):
    train, held_out, rejected = build("grpo", problem("q", "a"), *OTHERS["grpo"], problem("q", " "))
    assert lines(train + held_out) == [1, 2, 3, 4, 5, 6]
    assert checks(rejected) == [(7, "grpo.ground_truth_present")]


def test_one_truth_with_other_notes_beside_it_is_no_contradiction(build):
    _, _, rejected = build("grpo", problem("q", "a", page=1), *OTHERS["grpo"], problem("q", "a", page=2))
    assert not {"curate.contradiction"} & {reject["check"] for reject in rejected}


# -- the split ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed, eval_fraction", [(7, 0.3), (8, 0.3), (7, 0.05)])
def test_the_split_is_the_formula_of_the_design(build, seed, eval_fraction):
    train, held_out, _ = build("sft", *fresh(300), seed=seed, eval_fraction=eval_fraction)
    for row in train + held_out:
        key = digest(normalised(question(row)).encode())
        share = int(hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()[:8], 16) / 2**32
        assert (row in held_out) == (share < eval_fraction)
    assert abs(len(held_out) / 300 - eval_fraction) < 0.1


def test_a_prompt_stays_on_its_side_when_rows_are_added_or_reordered(build):
    records = fresh(100)
    _, held_out, _ = build("sft", *records)
    more = records + [chat(f"more {i}") for i in range(100)] + [chat(f"question {i}", "b") for i in range(100)]
    random.Random(1).shuffle(more)
    _, later, _ = build("sft", *more)
    before, after = ({question(row) for row in rows} for rows in (held_out, later))
    assert before == {text for text in after if text.startswith("question")}


def test_a_prompt_is_on_one_side_in_every_kind_however_it_is_written(build):
    prompts = [f"question {i}" for i in range(60)]
    sides = [
        {" ".join(question(row).lower().split()) for row in build(kind, *map(make, prompts))[1]}
        for kind, make in (
            ("sft", chat),
            ("preference", lambda text: pair(text.upper(), "a", "b")),
            ("kto", lambda text: rated(f"  {text} ", "a", True)),
            ("grpo", lambda text: problem([{"role": "user", "content": text}], "a")),
        )
    ]
    assert 5 < len(sides[0]) < 40
    assert sides.count(sides[0]) == 4


def test_no_question_is_in_train_and_eval(build):
    records = [chat(f"Question {i % 50}" if i % 2 else f"question  {i % 50}", str(i)) for i in range(200)]
    train, held_out, _ = build("sft", *records)
    assert not {normalised(question(row)) for row in train} & {normalised(question(row)) for row in held_out}


# -- the account --------------------------------------------------------------------------------------------------


def test_every_record_is_in_train_in_eval_or_rejected_with_a_reason(build, tmp_path, capsys):
    records = [*fresh(20), chat("q"), chat("q"), chat("r", " "), {"dialogue": []}]
    train, held_out, rejected = build("sft", *records)
    assert lines(train + held_out + rejected) == list(range(1, 25))
    assert checks(rejected) == [(22, "curate.duplicate"), (23, "sft.non_empty_turns"), (24, "ingest.missing_key")]
    expected = f"curate d: 22 in = {len(train)} train + {len(held_out)} eval + 1 rejected"
    assert expected in capsys.readouterr().out


def test_rows_keep_the_order_of_the_raw_files_in_parts_of_any_size(build, monkeypatch):
    records = [*fresh(20), *fresh(3)]
    whole = build("sft", *records)
    monkeypatch.setattr(ingest, "parts_of", partial(parts_of, part_bytes=200))
    assert build("sft", *records) == whole
    assert [row["line"] for row in whole[0]] == sorted(row["line"] for row in whole[0])


def test_the_keys_of_the_build_are_not_in_what_is_trained_on(build):
    train, _, _ = build("sft", *fresh(5))
    assert list(train[0]) == ["messages", "tools", "id", "source", "line"]


def test_a_dataset_with_nothing_left_to_train_on_stops_and_leaves_no_file(build, tmp_path):
    with pytest.raises(Problems, match=r"datasets\.d: no row is left to train on"):
        build("grpo", problem("q", "a"), problem("q", "b"))
    assert not (tmp_path / "data/train/d.parquet").exists()
    assert not (tmp_path / "data/rejected/d.parquet").exists()
