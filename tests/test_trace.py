"""`tilth trace`: a record is found by id, line, text and likeness, and its account is what the build did with it."""

import hashlib
import json
import random
import sys
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builds import run_data_stages, write_params, write_trained

from commands import trace
from commands.records import search
from stages import collect
from stages.core.dvc_cache import cache_folder
from validators.problems import Problems

LONG = " ".join(f"w{random.Random(3).randrange(10**6) * i % 991}" for i in range(60))
CHAT = [
    *({"prompt": f"question {i}", "completion": f"answer {i}"} for i in range(30)),
    {"prompt": "question 3", "completion": "answer 3"},
    {"prompt": "Where?", "completion": 'Here.\nOr \x1b[31mthere "é".'},
    {"prompt": "empty", "completion": " "},
    {"prompt": "long", "completion": LONG},
    {"prompt": "long too", "completion": LONG + " more"},
]
PAIRS = [{"prompt": f"pair {i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(30)]
PARAMS = {
    "seed": 7,
    "eval_fraction": 0.3,
    "datasets": {
        "chat": {"kind": "sft", "raw": "data/raw/chat.jsonl", "max_reject_share": 1},
        "pairs": {"kind": "preference", "raw": "data/raw/pairs.jsonl"},
        "votes": {"kind": "kto", "raw": "data/raw/pairs.jsonl"},
    },
    "steps": {
        "sft": {"method": "sft", "from": "base", "dataset": "chat"},
        "align": {"method": "dpo", "from": "sft", "dataset": "pairs"},
        "alone": {"method": "orpo", "from": "base", "dataset": "pairs"},
    },
    "curate": {"near_duplicates": 0.8},
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder in which the data stages have run, with models that say what they are made of."""
    monkeypatch.chdir(tmp_path)
    search.connect.cache_clear()
    cache_folder.cache_clear()
    for folder in ("data/raw", ".dvc", "scores"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / ".dvc/config").touch()
    for name, records in (("chat", CHAT), ("pairs", PAIRS)):
        lines = [json.dumps(record, ensure_ascii=False) for record in records]
        Path(f"data/raw/{name}.jsonl").write_text("\n".join([*lines, "", "{broken é"]) + "\n", encoding="utf-8")
    write_params(PARAMS)
    Path("dvc.lock").write_text("schema: '2.0'\nstages: {}\n", encoding="utf-8")
    run_data_stages(*PARAMS["datasets"])
    collect.main()
    listed = json.loads(Path("data/train.json").read_text(encoding="utf-8"))
    for step, given in PARAMS["steps"].items():
        made(step, listed[given["dataset"]]["sha256"])
    yield tmp_path
    cache_folder.cache_clear()


def made(step, rows_sha256, times=None):
    write_trained(step, PARAMS["steps"][step]["dataset"], rows_sha256, times)


def hash_of(dataset):
    return json.loads(Path("data/train.json").read_text(encoding="utf-8"))[dataset]["sha256"]


@pytest.fixture
def traced(project, capsys):
    """What `tilth trace` says, as plain data."""

    def traced(what, near=False, as_text=False, limit=20):
        capsys.readouterr()
        trace.main(SimpleNamespace(obj=None), what, near, as_text, None, limit, True)
        return json.loads(capsys.readouterr().out)

    return traced


def line_of(room, dataset="chat", number=0):
    """The place of a row that is in train or in eval."""
    row = pq.read_table(f"data/{room}/{dataset}.parquet").to_pylist()[number]
    return f"{row['source']}:{row['line']}"


def printed(capsys, what, near=False):
    capsys.readouterr()
    trace.main(SimpleNamespace(obj=None), what, near, False, None, 20, False)
    return capsys.readouterr().out


# -- found --------------------------------------------------------------------------------------------------------


def test_a_row_is_found_by_its_line_its_id_and_the_first_digits_of_it(traced):
    (by_line,) = traced(line_of("train"))["records"]
    for digits in (64, 12):
        told = traced(by_line["id"][:digits])
        assert (told["by"], told["records"]) == ("id", [by_line])


def test_digits_that_more_ids_begin_with_are_an_error_with_more_of_each(traced, monkeypatch):
    monkeypatch.setattr(search, "MIN_DIGITS", 1)
    with pytest.raises(Problems, match=r"ids begin with [0-9a-f](.|\n)*more digits of"):
        for digit in "0123456789abcdef":
            traced(digit)


def test_a_text_finds_the_turns_that_are_just_that_and_only_then_those_that_hold_it(traced):
    whole = traced("answer 3")
    assert {record["line"] for record in whole["records"]} == {4, 31}
    part = traced("nswer 1")
    assert part["total"] == 11 and {record["line"] for record in part["records"]} == {2, *range(11, 21)}


def test_a_text_with_quotes_line_ends_and_escape_codes_is_found_in_rows_and_in_rejects(traced):
    assert [record["line"] for record in traced('Here.\nOr \x1b[31mthere "é".')["records"]] == [32]
    assert traced("{broken é")["total"] == 3


def test_a_text_is_found_in_every_kind(traced):
    told = traced("bad 7")
    assert [(record["dataset"], record["kind"]) for record in told["records"]] == [
        ("pairs", "preference"),
        ("votes", "kto"),
    ]


def test_what_looks_like_an_id_or_a_place_is_a_text_where_it_is_said_to_be(traced):
    with pytest.raises(Problems, match="no record holds this text"):
        traced("data/raw/chat.jsonl:1", as_text=True)


def test_near_finds_what_is_almost_the_same_by_the_measure_of_curate(traced):
    (near,) = traced("data/raw/chat.jsonl:34", near=True)["records"]
    assert near["line"] == 35 and 0.9 < near["likeness"] < 1
    assert {record["line"] for record in traced(LONG + " other", near=True)["records"]} == {34, 35}
    with pytest.raises(Problems, match="at least 80% like it"):
        traced("data/raw/chat.jsonl:1", near=True)


def test_near_finds_an_answer_that_fills_one_turn_of_a_row(traced):
    assert max(record["likeness"] for record in traced(LONG, near=True)["records"]) == 1.0


def test_no_more_than_the_limit_is_shown_and_the_total_is_told(traced, project, capsys):
    told = traced("question", limit=3)
    assert (len(told["records"]), told["total"]) == (3, 31)
    trace.main(SimpleNamespace(obj=None), "question", False, False, None, 3, False)
    assert "28 more: --limit 0 shows all 31" in capsys.readouterr().out


def test_of_a_text_that_every_row_holds_no_more_than_the_limit_is_kept(project):
    from commands.builds.build import read_build

    found = search.find_by_text(
        search.connect(), read_build(), {("train", "chat"): "data/train/chat.parquet"}, [], "o", 2
    )
    assert len(found[0]) == 2 and found[1] > 10


# -- not found ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "what, said",
    [
        ("data/raw/chat.jsonl:999", "is beyond the end: the last record is at 37"),
        ("data/raw/chat.jsonl:36", "has no record: the line is blank"),
        ("data/raw/chat.jsonl:0", "has no record"),
        ("chat.jsonl:3", "did you mean 'data/raw/chat.jsonl'"),
        ("data/raw/chta.jsonl:3", "did you mean 'data/raw/chat.jsonl'"),
        ("params.yaml:1", "the file is in no dataset"),
        ("f" * 64, "no record has this id"),
        ("abcd", "an id needs at least 6 digits"),
        ("nobody says this", "no record holds this text"),
        (" ", "WHAT is empty"),
    ],
)
def test_what_is_not_there_is_an_error_that_says_why(traced, what, said):
    with pytest.raises(Problems, match=said):
        traced(what)


def test_a_table_that_is_missing_or_broken_is_named_and_the_rest_is_answered(traced, project):
    (project / "data/eval/votes.parquet").unlink()
    (project / "data/train/pairs.parquet").write_bytes(b"PAR1 and no more")
    told = traced("data/raw/chat.jsonl:31")
    assert told["total"] == 1
    assert [part in str(told["problems"]) for part in ("data/eval/votes.parquet", "data/train/pairs.parquet")] == [
        True
    ] * 2


# -- what became of it --------------------------------------------------------------------------------------------


def test_a_duplicate_leads_to_the_row_that_stayed_and_to_the_models_that_saw_that(traced):
    (found,) = traced("data/raw/chat.jsonl:31")["records"]
    assert found["stages"] == {"ingest": "a row", "validate": "passed", "curate": "rejected by curate.duplicate"}
    assert (found["stayed"]["line"], found["side"]) == (4, None)
    seen = [seen["step"] for seen in found["models"] if seen["trained"]]
    assert seen == (["sft", "align"] if found["stayed"]["side"] == "train" else [])


def test_a_near_duplicate_leads_to_the_row_that_it_is_like(traced):
    rejected = [record for record in traced(LONG)["records"] + traced(LONG + " more")["records"] if record["check"]]
    (found,) = rejected
    assert found["check"].startswith("curate.near_duplicate") and {found["line"], found["stayed"]["line"]} == {34, 35}


def test_a_row_that_is_wrong_says_at_which_stage_and_why(traced):
    (found,) = traced("data/raw/chat.jsonl:33")["records"]
    assert found["stages"] == {"ingest": "a row", "validate": "rejected by sft.non_empty_turns"}
    assert "every turn says something" in found["detail"] and found["models"] == []


def test_a_record_that_could_not_be_read_is_found_by_its_line(traced):
    (found,) = traced("data/raw/chat.jsonl:37")["records"]
    assert (found["id"], found["stages"]) == (None, {"ingest": "rejected by ingest.json"})
    assert found["content"] == "{broken é"


def test_one_record_of_two_datasets_that_became_three_rows_is_all_of_them(traced):
    told = traced("data/raw/pairs.jsonl:5")
    assert [record["dataset"] for record in told["records"]] == ["pairs", "votes", "votes"]
    assert len({record["side"] for record in told["records"]}) == 1


# -- models and scores --------------------------------------------------------------------------------------------


def seen_by(told):
    return {seen["step"]: (seen["trained"], seen["through"]) for seen in told["records"][0]["models"]}


def test_a_train_row_was_seen_by_every_model_of_its_chain_and_by_no_other(traced):
    assert seen_by(traced(line_of("train"))) == {"sft": (True, "sft"), "align": (True, "sft")}
    assert seen_by(traced(line_of("train", "pairs"))) == {"align": (True, "align"), "alone": (True, "alone")}
    assert seen_by(traced(line_of("eval"))) == {}


def leave_out(dataset, step, number=0):
    """preflight/_dropped.csv with one row of train; that row."""
    rows = pq.read_table(f"data/train/{dataset}.parquet").to_pylist()
    row, times = rows[number], [1] * len(rows)
    times[number] = 0
    made(step, hash_of(dataset), times)
    Path("preflight").mkdir(exist_ok=True)
    line = f'{step},{row["source"]}:{row["line"]},{row["id"]},SAID,"SAID: a line, \x1b[31mis missing"'
    Path("preflight/_dropped.csv").write_text(f"step,row,id,proof,reason\n{line}\n", encoding="utf-8")
    return row


def test_a_row_that_preflight_left_out_is_in_train_and_no_model_is_said_to_have_seen_it(traced, capsys):
    row = leave_out("chat", "sft")
    (found,) = traced(row["id"])["records"]
    assert (found["side"], [seen["trained"] for seen in found["models"]]) == ("train", [False, False])
    assert found["models"][0]["left_out"] == "SAID"
    out = printed(capsys, row["id"])
    assert "models    sft: in train, but left out of sft by preflight: SAID: a line," in out and "\x1b" not in out
    assert "trained on it" not in out and "dvc repro" not in out
    assert seen_by(traced(line_of("train", number=1))) == {"sft": (True, "sft"), "align": (True, "sft")}


def test_a_row_that_one_step_left_out_was_seen_by_the_other(traced):
    row = leave_out("pairs", "align")
    assert seen_by(traced(row["id"])) == {"align": (False, "align"), "alone": (True, "alone")}


def test_of_two_rows_of_one_record_only_the_one_that_was_left_out_was(project):
    from commands.records.exposure import why_left_out

    dropped = {("vote", "raw.jsonl:1"): [{"id": "a", "proof": "SAID"}]}
    row = SimpleNamespace(place="raw.jsonl:1", id="a")
    assert why_left_out("vote", row, dropped)["proof"] == "SAID"
    assert why_left_out("vote", SimpleNamespace(place="raw.jsonl:1", id="b"), dropped) is None
    assert why_left_out("other", row, dropped) is None


def test_a_row_that_the_training_never_came_to_was_not_seen(traced, capsys):
    rows = pq.read_metadata("data/train/chat.parquet").num_rows
    made("sft", hash_of("chat"), [0, 3] + [0] * (rows - 2))
    assert seen_by(traced(line_of("train"))) == {"sft": (False, "sft"), "align": (False, "sft")}
    said = " ".join(printed(capsys, line_of("train")).split())
    assert (
        f"models sft: in train, but the training of sft ended before it reached this row, with 1 of {rows} rows seen"
        in said
    )
    assert "trained on it" not in said and "dvc repro" not in said
    (seen, *_) = traced(line_of("train", number=1))["records"][0]["models"]
    assert (seen["trained"], seen["times"]) == (True, 3)
    assert "trained on it: sft (3 times), align (through sft, 3 times)" in printed(capsys, line_of("train", number=1))


def test_where_nothing_says_what_a_model_saw_nothing_is_claimed(traced, project, capsys):
    (project / "scores/sft.seen.parquet").unlink()
    assert seen_by(traced(line_of("train")))["sft"] == (None, "sft")
    assert "scores/sft.seen.parquet, which says what sft saw, is not there" in " ".join(
        printed(capsys, line_of("train")).split()
    )
    made("sft", "0" * 64)
    (project / "models/sft/made_of.json").write_text(json.dumps({"dataset": "chat", "rows_sha256": hash_of("chat")}))
    assert seen_by(traced(line_of("train")))["sft"] == (None, "sft")  # what it saw is told of another model's rows


def test_a_model_that_was_trained_on_other_rows_is_not_said_to_have_seen_a_row(traced):
    made("sft", "0" * 64)
    assert seen_by(traced(line_of("train"))) == {"sft": (None, "sft"), "align": (None, "sft")}


def test_of_a_model_with_older_rows_the_cache_tells_whether_it_saw_a_row(traced, project):
    rows = Path("data/train/chat.parquet")
    old = pq.read_table(rows).slice(1)
    path = project / ".dvc/cache/files/md5/ab/cd"
    path.parent.mkdir(parents=True)
    pq.write_table(old, path)
    lock = {"schema": "2.0", "stages": {"train@sft": {"deps": [{"path": rows.as_posix(), "md5": "abcd"}]}}}
    Path("dvc.lock").write_text(json.dumps(lock), encoding="utf-8")
    made("sft", hashlib.sha256(path.read_bytes()).hexdigest(), [2] + [0] * (len(old) - 1))
    assert seen_by(traced(line_of("train", number=0)))["sft"] == (False, "sft")
    assert seen_by(traced(line_of("train", number=1)))["sft"] == (True, "sft")
    assert seen_by(traced(line_of("train", number=2)))["sft"] == (False, "sft")  # in the old rows, but never in a batch


def test_a_model_that_is_not_trained_yet_has_seen_nothing(traced, project, capsys):
    (project / "models/sft/made_of.json").unlink()
    assert seen_by(traced(line_of("train")))["sft"] == (False, "sft")
    assert "sft is not trained yet" in printed(capsys, line_of("train"))


def test_an_eval_row_has_the_scores_of_every_model_that_scored_it(traced, capsys):
    place = line_of("eval")
    name = traced(place)["records"][0]["id"]
    row = {"dataset": ["chat"], "id": [name], "nll": [3.0], "tokens": [6], "right": [3], "exact_match": [0.0]}
    pq.write_table(pa.table(row | {"generation": ["no \x1b[2J"]}), "scores/sft.parquet")
    told = traced(place)
    assert told["records"][0]["scores"] == {
        "sft": {"nll": 3.0, "tokens": 6, "right": 3, "exact_match": 0.0, "generation": "no \x1b[2J"}
    }
    assert "scores/base.parquet" in str(told["problems"])
    out = printed(capsys, place)
    assert "sft: loss 0.500, token_accuracy 0.500, exact_match 0.000" in out and "\x1b" not in out


# -- printed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", ["80", "120"])
def test_no_line_is_wider_than_the_terminal_and_no_escape_code_passes(traced, capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    for what in ("data/raw/chat.jsonl:32", "data/raw/chat.jsonl:34", "data/raw/pairs.jsonl:5"):
        out = printed(capsys, what)
        assert max(map(len, out.splitlines())) <= int(columns) and "\x1b" not in out
    assert r"\x1b[31mthere" in printed(capsys, "data/raw/chat.jsonl:32")


@pytest.mark.slow
def test_a_past_commit_answers_from_git_and_the_cache(built, tmp_path):
    project = built.copy(tmp_path / "p")

    def told(*arguments):
        return json.loads(project.run(sys.executable, "-m", "commands", "trace", *arguments, "--json"))

    now = told("data/raw/pairs/pairs.jsonl:3")
    assert now["records"][0]["models"] or now["records"][0]["scores"]
    project.run("rm", "-r", "data/train", "data/eval", "data/rejected", "models", "scores")
    past = told("data/raw/pairs/pairs.jsonl:3", "--rev", "HEAD")
    assert past["records"] == now["records"] and past["problems"] == []
