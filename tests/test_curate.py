import hashlib
import json
import random
from functools import partial

import pyarrow.parquet as pq
import pytest
from builds import run_data_stages, write_params

from stages import curate, ingest
from stages.dedup.split import on_eval_side
from stages.reading.parts import split_file
from stages.rows.identity import digest, normalise_text
from validators.problems import Problems


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Runs the three data stages on records; gives train, eval and rejected as lists of rows."""
    monkeypatch.chdir(tmp_path)

    def build(kind, *records, seed=7, eval_fraction=0.3, rules="{}", more=""):
        (tmp_path / "raw.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        write_params(
            f"seed: {seed}\neval_fraction: {eval_fraction}\n"
            f"datasets: {{d: {{kind: {kind}, raw: raw.jsonl, max_reject_share: 1{more}}}}}\ncurate: {rules}\n"
        )
        run_data_stages("d")
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
        key = digest(normalise_text(question(row)).encode())
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
            ("kto", lambda text: rated(f"  {text} ", "a", "7" in text)),
            ("grpo", lambda text: problem([{"role": "user", "content": text}], "a")),
        )
    ]
    assert 5 < len(sides[0]) < 40
    assert sides.count(sides[0]) == 4


def test_no_question_is_in_train_and_eval(build):
    records = [chat(f"Question {i % 50}" if i % 2 else f"question  {i % 50}", str(i)) for i in range(200)]
    train, held_out, _ = build("sft", *records)
    assert not {normalise_text(question(row)) for row in train} & {normalise_text(question(row)) for row in held_out}


def conversation(*texts):
    """A record whose turns are these texts, of user and assistant in turn."""
    return {"messages": [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]}


def as_pair(record):
    *prompt, answer = record["messages"]
    return pair(prompt, [answer], [answer | {"content": "no"}])


@pytest.mark.parametrize(("kind", "shaped"), [("sft", dict), ("preference", as_pair)])
def test_eval_rows_that_end_as_train_rows_do_are_counted(build, capsys, kind, shaped):
    # the first turn decides the side, the last one is learned: rows of a conversation with its turns in another order
    records = [shaped(conversation(f"opening {i}", "Tell me.", f"worry {i % 4}", f"advice {i % 4}")) for i in range(60)]
    held_out = build(kind, *records)[1]
    said = capsys.readouterr().out
    assert (
        f"warning: datasets.d: {len(held_out)} of {len(held_out)} eval rows end with a question and an answer" in said
    )
    assert f": raw.jsonl:{min(lines(held_out))}, as raw.jsonl:" in said and "make one row of each conversation" in said


def test_an_end_that_stands_within_a_train_row_is_counted(build, capsys):
    longer = [conversation(f"opening {i}", "Tell me.", "worry", "advice", "thanks", f"bye {i}") for i in range(20)]
    held_out = build("sft", *longer, *[conversation("worry", "advice")], seed=next_seed_that_holds_out("worry"))[1]
    end = next(row for row in held_out if len(row["messages"]) == 2)
    assert f"1 of {len(held_out)} eval rows end with" in capsys.readouterr().out and question(end) == "worry"


def next_seed_that_holds_out(prompt):
    key = digest(normalise_text(prompt).encode())
    return next(seed for seed in range(100) if on_eval_side(key, seed, 0.3))


@pytest.mark.parametrize("end", [("thanks", "You are welcome."), ("worry", "advice")])
def test_few_such_ends_and_ends_of_other_turns_say_nothing(build, capsys, end):
    build("sft", *[conversation(f"opening {i}", "Tell me.", f"worry {i}", f"advice {i}") for i in range(200)])
    assert "end with a question" not in capsys.readouterr().out
    usual = [conversation(f"opening {i}", "Tell me.", f"worry {i}", f"advice {i}", *end * (i < 8)) for i in range(200)]
    build("sft", *usual)
    assert "end with a question" not in capsys.readouterr().out


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
    monkeypatch.setattr(ingest, "split_file", partial(split_file, part_bytes=200))
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


# -- near-duplicates ----------------------------------------------------------------------------------------------

WORDS = [f"word{i}" for i in range(60)]
LONG = " ".join(WORDS)
NEARLY = " ".join([*WORDS[:-1], "other"])
SAME_SIDE = {"eval_fraction": 1e-9, "rules": "{near_duplicates: 0.8}"}


def test_a_near_duplicate_loses_to_the_earlier_row_and_names_it(build):
    train, _, rejected = build("sft", chat("a", LONG), chat("b", NEARLY), *fresh(3), **SAME_SIDE)
    assert checks(rejected) == [(2, "curate.near_duplicate")]
    assert rejected[0]["detail"].endswith(f" like {train[0]['id']} (raw.jsonl:1)")


def test_texts_less_alike_than_the_threshold_both_stay(build):
    rules = SAME_SIDE | {"rules": "{near_duplicates: 0.99}"}
    assert build("sft", chat("a", LONG), chat("b", NEARLY), **rules)[2] == []


def test_near_duplicates_stay_where_the_threshold_is_null(build):
    rules = SAME_SIDE | {"rules": "{near_duplicates: null}"}
    assert build("sft", chat("a", LONG), chat("b", NEARLY), **rules)[2] == []


def test_a_train_row_like_an_eval_row_is_turned_away_whichever_comes_first(build):
    records = [chat(f"question {i}", f"{LONG} {i % 7}") for i in range(12)]
    for rows in (records, records[::-1]):
        train, held_out, rejected = build("sft", *rows, *fresh(9), eval_fraction=0.5, rules="{near_duplicates: 0.8}")
        assert any("word1" in row["messages"][1]["content"] for row in held_out)
        assert not any("word1" in row["messages"][1]["content"] for row in train)
        assert "curate.near_duplicate_of_eval" in {check for _, check in checks(rejected)}


def test_eval_rows_like_train_rows_are_told_of_where_none_is_rejected(build, capsys, monkeypatch):
    records = [chat(f"question {i}", f"{LONG} {i % 7}") for i in range(12)]
    _, held_out, rejected = build("sft", *records, *fresh(9), eval_fraction=0.5, rules="{}")
    near = [row for row in held_out if "word1 " in row["messages"][1]["content"]]
    assert near and rejected == []
    first = min(near, key=lambda row: row["line"])
    out = capsys.readouterr().out
    told = f"warning: datasets.d: {len(near)} of {len(held_out)} eval rows are nearly a train row: {first['id']} (raw.jsonl:{first['line']}), "
    assert told in out and "curate.near_duplicates: 0.8 takes such rows out of train" in out
    build("sft", *fresh(30), eval_fraction=0.5, rules="{}")
    assert " eval rows is nearly a train row" in capsys.readouterr().out
    monkeypatch.setattr(curate, "MOST_COMPARED", 20)
    build("sft", *records, *fresh(9), eval_fraction=0.5, rules="{}")
    assert (
        "whether eval rows are nearly train rows is not looked for in 21 rows: curate.near_duplicates"
        in capsys.readouterr().out
    )


def test_rows_that_are_alike_by_boilerplate_are_no_leaks(build, capsys):
    records = [
        chat(f"{LONG} the {i // 2} is {i // 2} and now {i} or {i}", "yes") for i in range(60)
    ]  # pairs share a part
    build("sft", *records, eval_fraction=0.5, rules="{}")
    assert "  none of the " in capsys.readouterr().out
    copies = [chat(f"{LONG} once there were {'so ' * (i % 7)} many of us", "yes") for i in range(10)]
    build("sft", *records, *copies, eval_fraction=0.5, rules="{}")
    assert "eval rows are nearly a train row" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["preference", "kto", "grpo"])
def test_near_duplicates_are_found_in_every_kind(build, kind):
    made = {
        "preference": lambda text, label: {"prompt": text, "chosen": "a", "rejected": "b"},
        "kto": lambda text, label: {"prompt": text, "completion": "a", "label": label},
        "grpo": lambda text, label: {"prompt": text, "ground_truth": "a"},
    }[kind]
    rejected = build(kind, made(LONG, True), made(NEARLY, False), **SAME_SIDE)[2]
    assert checks(rejected) == [(2, "curate.near_duplicate")]


# -- benchmarks ---------------------------------------------------------------------------------------------------


@pytest.fixture
def benchmark(tmp_path):
    (tmp_path / "data/benchmarks").mkdir(parents=True)
    record = {"question": " ".join(WORDS[:30]), "answer": "42"}
    (tmp_path / "data/benchmarks/exam.jsonl").write_text(json.dumps({"question": "x"}) + "\n" + json.dumps(record))


def test_a_row_that_holds_a_benchmarks_record_is_turned_away_naming_file_and_line(benchmark, build):
    held = " ".join(WORDS[:30]).upper()
    _, _, rejected = build("sft", chat(f"Please: {held}!"), *fresh(5))
    assert checks(rejected) == [(1, "curate.benchmark")]
    assert rejected[0]["detail"] == "holds data/benchmarks/exam.jsonl:2 (100% of its 13-grams)"


def test_a_link_that_brings_in_a_benchmark_from_outside_the_project_stops_the_stage(benchmark, build, tmp_path):
    aside = tmp_path.parent / f"{tmp_path.name}.jsonl"
    aside.write_text("{}")
    (tmp_path / "data/benchmarks/more.jsonl").symlink_to(aside)
    with pytest.raises(Problems, match=f"data/benchmarks/more.jsonl: a link that leaves the project, to {aside}"):
        build("sft", *fresh(5))


def test_a_row_that_holds_less_than_the_share_stays(benchmark, build):
    half = " ".join(WORDS[:20])
    assert build("sft", chat(half), *fresh(5))[2] == []
    assert checks(build("sft", chat(half), *fresh(5), rules="{overlap_share: 0.4}")[2]) == [(1, "curate.benchmark")]


def test_shorter_n_grams_find_shorter_overlaps(benchmark, build):
    scattered = " ".join(WORDS[i] for i in range(30) if i % 6)
    assert build("sft", chat(scattered), *fresh(5))[2] == []
    rules = "{ngram_words: 3, overlap_share: 0.4}"
    assert checks(build("sft", chat(scattered), *fresh(5), rules=rules)[2]) == [(1, "curate.benchmark")]


# -- mixing -------------------------------------------------------------------------------------------------------


def test_a_files_weight_keeps_about_that_share_of_it_and_the_same_rows_when_others_come(build):
    first = build("sft", *fresh(200), more=", weights: {raw.jsonl: 0.25}")
    kept = {question(row) for row in first[0] + first[1]}
    assert 30 < len(kept) < 70
    assert {check for _, check in checks(first[2])} == {"curate.mixed_out"}
    more = build("sft", chat("new"), *fresh(200), more=", weights: {raw.jsonl: 0.25}")
    assert kept == {question(row) for row in more[0] + more[1]} - {"new"}


def test_weights_take_patterns_and_leave_other_files_whole(build):
    assert build("sft", *fresh(20), more=", weights: {'other*.jsonl': 0.1}")[2] == []
    assert len(build("sft", *fresh(200), more=", weights: {'raw*': 0.1}")[2]) > 150


def test_max_rows_keeps_that_many_and_loses_few_when_rows_are_added(build):
    first = build("sft", *fresh(100), more=", max_rows: 50")
    kept = {question(row) for row in first[0] + first[1]}
    assert len(kept) == 50
    more = build("sft", *fresh(105), more=", max_rows: 50")
    assert len(kept & {question(row) for row in more[0] + more[1]}) >= 45


def test_there_is_a_folder_for_what_does_not_fit_into_memory(build, tmp_path):
    build("sft", *fresh(5))
    assert (tmp_path / ".work/duckdb").is_dir()
