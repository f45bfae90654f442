"""Files that `eval:` names are for evaluation alone, and so are their prompts, in every file and in every dataset."""

import json
import shutil
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from builds import run_data_stages, write_params

from commands.checks import pinned
from stages import pin
from stages.dedup.split import PINNED_FILE, pinned_text
from validators.problems import Problems

QUESTIONS = [f"question {number}" for number in range(30)]


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Runs the data stages on files; gives {dataset: {side: [(file, line)]}}."""
    monkeypatch.chdir(tmp_path)

    def build(files, eval_fraction=0.0001, **datasets):
        for name, records in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("".join(json.dumps(record) + "\n" for record in records))
        entries = {
            name: {"kind": "sft", "raw": f"raw/{name}", "max_reject_share": 1.0} | entry
            for name, entry in datasets.items()
        }
        write_params({"eval_fraction": eval_fraction, "datasets": entries})
        run_data_stages(*datasets)
        return {name: {side: places(side, name) for side in ("train", "eval", "rejected")} for name in datasets}

    return build


def places(side, name):
    rows = pq.read_table(f"data/{side}/{name}.parquet", columns=["source", "line"]).to_pylist()
    return [(row["source"].removeprefix(f"raw/{name}/"), row["line"]) for row in rows]


def chat(question, answer="a", **more):
    return {"prompt": question, "completion": answer, **more}


def pair(question):
    return {"prompt": question, "chosen": "a", "rejected": "b"}


TRAIN, TEST = [chat(question) for question in QUESTIONS[:20]], [chat(question) for question in QUESTIONS[20:]]


def test_a_pinned_file_is_evaluated_on_and_not_trained_on(build, capsys):
    files = {"raw/d/train.jsonl": TRAIN, "raw/d/test.jsonl": TEST}
    found = build(files, d={"eval": ["test*"]})["d"]
    assert found["eval"] == [("test.jsonl", line) for line in range(1, 11)]
    assert found["train"] == [("train.jsonl", line) for line in range(1, 21)]
    printed = capsys.readouterr().out
    assert "pin d: 1 of 2 files are for evaluation alone" in printed
    assert "held out by `eval:`: 10 rows of its own files, 0 of other files with the same prompts" in printed


def test_a_prompt_of_a_pinned_file_is_held_out_in_other_files_too_and_no_row_is_lost(build, capsys):
    files = {"raw/d/train.jsonl": [*TRAIN, chat("Question  25", "another answer")], "raw/d/test.jsonl": TEST}
    found = build(files, d={"eval": ["test.jsonl"]})["d"]
    assert ("train.jsonl", 21) in found["eval"] and found["rejected"] == []
    assert len(found["train"]) == 20
    assert "1 of other files with the same prompts" in capsys.readouterr().out


def test_a_prompt_of_a_pinned_file_is_held_out_in_every_dataset(build):
    files = {
        "raw/d/train.jsonl": TRAIN,
        "raw/d/test.jsonl": TEST,
        "raw/pairs/p.jsonl": [pair(question) for question in QUESTIONS],
    }
    found = build(files, d={"eval": ["test.jsonl"]}, pairs={"kind": "preference"})
    assert found["pairs"]["eval"] == [("p.jsonl", line) for line in range(21, 31)]
    assert len(found["pairs"]["train"]) == 20


def test_nothing_is_pinned_without_eval(build):
    build({"raw/d/train.jsonl": TRAIN, "raw/d/test.jsonl": TEST}, d={})
    assert PINNED_FILE.read_text() == pinned_text(())


def test_the_list_has_no_text_and_is_the_same_every_time(build):
    files = {"raw/d/train.jsonl": TRAIN, "raw/d/test.jsonl": TEST}
    build(files, d={"eval": ["test.jsonl"]})
    before = PINNED_FILE.read_bytes()
    title, *lines = before.decode().splitlines()
    assert title.startswith("# ")
    assert lines == sorted(lines) and all(len(line) == 64 for line in lines) and len(lines) == 10
    pin.main()
    assert PINNED_FILE.read_bytes() == before


def test_a_pattern_that_fits_no_file_any_more_stops_the_build(build, tmp_path):
    """A file that was renamed after `tilth check` would be trained on without a word."""
    files = {"raw/d/train.jsonl": TRAIN, "raw/d/test_2.jsonl": TEST}
    with pytest.raises(Problems, match=r"datasets\.d\.eval: no file fits 'test\.jsonl'.*\n.*'test_2\.jsonl'"):
        build(files, d={"eval": ["test.jsonl"]})


def test_rows_of_a_removed_dataset_are_deleted_as_no_clone_has_them(build, tmp_path):
    for name in ("gone", "e.partial"):
        (tmp_path / "data/ingested" / name).mkdir(parents=True)
    build({"raw/d/train.jsonl": TRAIN}, d={})
    assert sorted(path.name for path in (tmp_path / "data/ingested").iterdir()) == ["d", "e.partial"]


def test_a_dataset_of_pinned_files_alone_has_nothing_to_train_on(build):
    with pytest.raises(Problems, match="no row is left to train on"):
        build({"raw/d/test.jsonl": TEST}, d={"eval": ["*"]})


def test_a_row_is_pinned_under_its_system_turn_where_a_dataset_splits_on_it(build):
    files = {
        "raw/d/train.jsonl": [chat("Begin.", system=f"You are {number}.") for number in range(20)],
        "raw/d/test.jsonl": [chat("Begin.", system=f"You are {number}.") for number in range(18, 24)],
    }
    found = build(files, d={"eval": ["test.jsonl"], "split_on": ["system", "user"]})["d"]
    assert len(found["train"]) == 18
    assert {name for name, _ in found["train"]} == {"train.jsonl"}


def test_the_same_prompt_in_a_dataset_that_splits_otherwise_is_held_out_too(build):
    files = {
        "raw/d/train.jsonl": TRAIN,
        "raw/d/test.jsonl": [chat("Begin.", system="You are one.")],
        "raw/e/e.jsonl": [*TRAIN, chat("Begin.", "b"), chat("Begin.", "c", system="You are another.")],
    }
    found = build(files, d={"eval": ["test.jsonl"], "split_on": ["system", "user"]}, e={})
    assert found["e"]["eval"] == [("e.jsonl", 21), ("e.jsonl", 22)]


# -- sides that are empty -----------------------------------------------------------------------------------------


def begin(count, **more):
    return [chat("Begin.", f"answer {number}", system=f"You are {number}.", **more) for number in range(count)]


def test_one_prompt_that_most_rows_ask_is_named_with_the_remedy(build, capsys):
    build({"raw/d/a.jsonl": begin(60)}, eval_fraction=0.2, d={})
    printed = capsys.readouterr().out
    assert (
        "warning: datasets.d: 60 of 60 rows ask 'Begin.', which puts them all in train: 60 rows in train, 0 in eval"
        in printed
    )
    assert "hint: split_on: [system, user] in its entry, as these rows have 60 system turns" in printed


def test_the_remedy_gives_both_sides_rows(build, capsys):
    found = build({"raw/d/a.jsonl": begin(60)}, eval_fraction=0.2, d={"split_on": ["system", "user"]})["d"]
    assert 3 < len(found["eval"]) < 25 and len(found["train"]) + len(found["eval"]) == 60
    assert "warning: datasets" not in capsys.readouterr().out


def test_a_prompt_that_falls_on_eval_stops_the_build_with_the_remedy_and_names_no_file(build):
    with pytest.raises(Problems) as raised:
        build({"raw/d/a.jsonl": begin(60)}, eval_fraction=0.9999, d={})
    (problem,) = raised.value.problems
    assert "60 of 60 rows ask 'Begin.', which puts them all in eval" in problem.found
    assert problem.hint.startswith("split_on: [system, user]")
    assert "data/rejected" not in str(problem)


def test_without_system_turns_the_remedy_is_another(build, capsys):
    build({"raw/d/a.jsonl": [chat("Begin.", str(number)) for number in range(20)]}, eval_fraction=0.2, d={})
    assert "hint: add other prompts" in capsys.readouterr().out


def test_no_eval_row_at_all_is_said(build, capsys):
    build({"raw/d/a.jsonl": TRAIN}, d={})
    assert "warning: datasets.d: no row is in eval: 20 rows in train, 0 in eval" in capsys.readouterr().out


def test_prompts_that_differ_are_no_warning(build, capsys):
    build({"raw/d/a.jsonl": TRAIN}, eval_fraction=0.3, d={})
    assert "warning: datasets" not in capsys.readouterr().out


def test_rows_that_were_turned_away_are_the_reason_where_none_is_left(build):
    files = {"raw/d/a.jsonl": [pair("q"), {"prompt": "q", "chosen": "b", "rejected": "a"}]}
    with pytest.raises(Problems, match=r"no row is left to train on; 2 rejected by curate\.contradiction"):
        build(files, d={"kind": "preference"})


# -- tilth verify -------------------------------------------------------------------------------------------------


@pytest.fixture
def verified(build, monkeypatch):
    """What `tilth verify` finds of data/pinned.txt after an edit of its lines."""
    build({"raw/d/train.jsonl": TRAIN, "raw/d/test.jsonl": TEST}, d={"eval": ["test*"]})
    params = {"datasets": {"d": {"kind": "sft", "raw": "raw/d", "eval": ["test*"]}}}
    monkeypatch.setattr(pinned, "params_of_run", lambda build, stage: params if stage == "pin" else None)

    def verified(edited=lambda lines: lines):
        lines = PINNED_FILE.read_text().splitlines(keepends=True)
        PINNED_FILE.write_text("".join(edited(lines)))
        return pinned.pinned(SimpleNamespace(build=None))

    return verified


def test_pinned_keys_are_made_anew_from_the_rows(verified):
    assert verified() == ({"keys": 10, "files": 1}, [])


@pytest.mark.parametrize(
    "edited, found",
    [
        (lambda lines: lines[:-1], "1 keys of pinned rows are missing"),
        (lambda lines: [*lines, "f" * 64 + "\n"], "1 keys are of no pinned row (the first is ffffffffffff)"),
        (lambda lines: [lines[0], *reversed(lines[1:])], "its lines are in another order"),
    ],
)
def test_a_pinned_key_too_few_too_many_or_elsewhere_is_a_break(verified, edited, found):
    (problem,) = verified(edited)[1]
    assert problem.where == "data/pinned.txt" and problem.found.startswith(found)


def test_without_the_rows_of_a_pinned_dataset_nothing_is_said_twice(verified):
    shutil.rmtree("data/ingested/d")
    assert verified() == ({"keys": 0, "files": 0}, [])
