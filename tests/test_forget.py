"""`tilth forget`: what is meant is written down without its text, and no build holds it again."""

import json
import random
import subprocess
import sys
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from builds import run_data_stages, write_params, write_trained

from commands import forget, trace
from commands.builds.build import read_build
from commands.records import search
from commands.records.forgotten import find_breaks
from stages import collect, ingest
from stages.core.dvc_cache import cache_folder
from stages.dedup import forgotten as _forgotten
from validators.params import read_params_yaml
from validators.problems import Problems

SECRET = "My name is Ada Example and I live at number 12"
LONG = " ".join(f"w{random.Random(1).randrange(10**6) * i % 997}" for i in range(60))


def chat(question, answer):
    return {"prompt": question, "completion": answer}


CHAT = [chat(f"question {i}", f"answer {i}") for i in range(20)] + [chat("Who am I?", SECRET), chat("tell", LONG)]
PAIRS = [{"prompt": f"question {i}", "chosen": "a", "rejected": "b"} for i in range(20)] + [
    {"prompt": "who am  I?", "chosen": "I cannot know.", "rejected": SECRET}
]
DATASETS = {
    "chat": {"kind": "sft", "raw": "data/raw/chat.jsonl", "max_reject_share": 1},
    "pairs": {"kind": "preference", "raw": "data/raw/pairs.jsonl"},
    "votes": {"kind": "kto", "raw": "data/raw/pairs.jsonl"},
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder in which the data stages have run; without a repository, without models."""
    monkeypatch.chdir(tmp_path)
    search.connect.cache_clear()
    cache_folder.cache_clear()
    (tmp_path / "data/raw").mkdir(parents=True)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").touch()
    write("chat", [*map(json.dumps, CHAT), '{"broken": "Ada'])
    write("pairs", map(json.dumps, PAIRS))
    steps = {
        "sft": {"method": "sft", "from": "base", "dataset": "chat"},
        "align": {"method": "dpo", "from": "sft", "dataset": "pairs"},
    }
    params = {"seed": 7, "eval_fraction": 0.2, "datasets": DATASETS, "steps": steps, "curate": {}}
    write_params(params)
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n", encoding="utf-8")
    build()
    yield tmp_path
    cache_folder.cache_clear()


def write(name, lines):
    with open(f"data/raw/{name}.jsonl", "w", encoding="utf-8") as file:
        file.write("".join(line + "\n" for line in lines))


def build():
    run_data_stages(*DATASETS)
    collect.main()
    write_trained("sft", "chat")
    write_trained("align", "pairs")


def forgotten(*arguments, **options):
    options = {"reason": "request 17", "near": False, "as_text": False, "yes": True, "dry_run": False} | options
    forget.main(SimpleNamespace(obj=None), *arguments, **options)


def rejected(name):
    return pq.read_table(f"data/rejected/{name}.parquet").to_pylist()


def everything():
    """The bytes of everything that was built, unpacked."""
    tables = [path for room in ("ingested", "validated", "train", "eval", "rejected") for path in sorted_files(room)]
    return " ".join(str(pq.read_table(path).to_pylist()) for path in tables)


def sorted_files(room):
    from pathlib import Path

    return sorted(Path("data", room).rglob("*.parquet"))


def test_what_is_forgotten_is_in_no_table_of_the_next_build_and_raw_data_is_as_it_was(project):
    raw = (project / "data/raw/chat.jsonl").read_bytes()
    assert SECRET in everything()
    forgotten("data/raw/chat.jsonl:21")
    build()
    assert SECRET not in everything()
    assert find_breaks(read_build()) == []
    assert (project / "data/raw/chat.jsonl").read_bytes() == raw


def test_the_list_has_every_row_that_says_it_and_not_its_text(project, capsys):
    forgotten("data/raw/chat.jsonl:21")
    text = (project / "data/forgotten.jsonl").read_text(encoding="utf-8")
    assert [entry.kind for entry in _forgotten.read_forgotten()] == ["sft", "preference", "kto"]
    assert {entry.reason for entry in _forgotten.read_forgotten()} == {"request 17"}
    assert not any(word in text for word in ("Ada", "Example", "number", "12 "))
    out = capsys.readouterr().out
    assert "datasets that hold them: chat, pairs, votes\nmodels trained on them: sft, align" in out
    assert "sed -i '21s/.*//' data/raw/chat.jsonl" in out


def test_only_models_that_saw_a_record_are_said_to_be_trained_on_it(project, capsys):
    rows = pq.read_table("data/train/chat.parquet")["line"].to_pylist()
    write_trained("sft", "chat", times=[int(line != 1) for line in rows])
    assert rows[0] == 1
    for line, said in ((rows[1], "sft, align"), (1, "none")):
        forgotten(f"data/raw/chat.jsonl:{line}", dry_run=True)
        assert f"models trained on them: {said}\n" in capsys.readouterr().out
    (project / "scores/sft.seen.parquet").unlink()
    forgotten("data/raw/chat.jsonl:1", dry_run=True)
    out = capsys.readouterr().out
    assert "models trained on them: none\nmodels of which that is not known: sft, align" in out


def test_each_forgotten_row_leaves_a_reject_without_text(project):
    forgotten("data/raw/chat.jsonl:21")
    build()
    gone = [row for row in rejected("chat") if row["check"] == "ingest.forgotten"]
    assert [(row["line"], row["raw"]) for row in gone] == [(21, None)]
    assert gone[0]["id"] == _forgotten.read_forgotten()[0].id


def test_what_comes_later_and_says_the_same_is_turned_away_by_curate(project):
    forgotten("data/raw/chat.jsonl:22")
    again = [chat("tell", LONG.upper()), chat("tell", LONG + " more"), chat("new", "row")]
    write("chat", [json.dumps(record) for record in CHAT[:21] + again])
    build()
    gone = [row for row in rejected("chat") if row["check"] == "curate.forgotten"]
    assert [(row["line"], row["raw"]) for row in gone] == [(22, None), (23, None)]
    assert all(row["detail"].startswith("forgotten as ") and LONG[:20] not in row["detail"] for row in gone)


def test_what_ingest_keeps_of_a_later_copy_is_named_as_a_break_with_what_to_do(project):
    forgotten("data/raw/chat.jsonl:22")
    write("chat", [json.dumps(record) for record in [*CHAT[:21], chat("tell", LONG.upper())]])
    build()
    (problem,) = find_breaks(read_build())
    assert problem.where == "data/ingested/chat" and "from data/raw/chat.jsonl:22" in problem.found
    assert problem.found.startswith("holds a forgotten row")
    forgotten(problem.hint.split()[2])
    build()
    assert find_breaks(read_build()) == []


def test_a_record_that_could_not_be_read_is_forgotten_too(project):
    forgotten("data/raw/chat.jsonl:23")
    build()
    assert "Ada" not in everything().replace(SECRET, "")
    assert find_breaks(read_build()) == []


def test_both_rows_of_a_pair_are_forgotten(project):
    forgotten("data/raw/pairs.jsonl:3")
    kinds = [entry.kind for entry in _forgotten.read_forgotten()]
    assert sorted(kinds) == ["kto", "kto", "preference"]


def test_before_the_build_every_place_is_a_break(project):
    forgotten("data/raw/chat.jsonl:21")
    places = {problem.where for problem in find_breaks(read_build())}
    sides = {f"data/{side}/{name}.parquet" for side in ("train", "eval") for name in DATASETS}
    assert {f"data/ingested/{name}" for name in DATASETS} < places
    assert len(places & sides) == 3


def test_a_dry_run_writes_nothing(project, capsys):
    forgotten("data/raw/chat.jsonl:21", dry_run=True, reason=None)
    assert not (project / "data/forgotten.jsonl").exists()
    assert "not written" in capsys.readouterr().out


def test_what_is_forgotten_already_is_not_written_twice(project, capsys):
    forgotten("data/raw/chat.jsonl:21")
    before = (project / "data/forgotten.jsonl").read_bytes()
    forgotten("data/raw/chat.jsonl:21")
    build()
    forgotten("data/raw/chat.jsonl:21")
    assert (project / "data/forgotten.jsonl").read_bytes() == before
    assert capsys.readouterr().out.count("already") >= 2


@pytest.mark.parametrize(
    "options, said",
    [
        ({"reason": None}, "no reason is given"),
        ({"reason": " "}, "no reason is given"),
        ({"reason": f"she wrote: {SECRET}"}, "the reason contains the text to forget"),
        ({"yes": False}, "needs confirmation, but stdin is not a terminal"),
    ],
)
def test_what_may_not_be_written_is_an_error_and_not_written(project, options, said, monkeypatch):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: False))
    with pytest.raises(Problems, match=said):
        forgotten(SECRET, **options)
    assert not (project / "data/forgotten.jsonl").exists()


def test_a_text_that_very_many_records_hold_is_not_forgotten_at_once(project, monkeypatch):
    monkeypatch.setattr(forget, "MAX_RECORDS", 10)
    with pytest.raises(Problems, match="at most 10 at a time"):
        forgotten("question")


def test_many_forgotten_records_do_not_stop_a_build(project):
    params = read_params_yaml()
    for dataset in params["datasets"].values():
        dataset["max_reject_share"] = 0.1
    write_params(params)
    forgotten("nswer 1")
    build()
    assert sum(row["check"] == "ingest.forgotten" for row in rejected("chat")) == 11


def test_a_broken_list_stops_the_build_and_names_the_line(project):
    (project / "data/forgotten.jsonl").write_text("{}\n", encoding="utf-8")
    with pytest.raises(Problems, match=r"data/forgotten\.jsonl:1"):
        ingest.main("chat")


def test_without_anything_forgotten_it_says_so(project, capsys):
    forgotten(None)
    assert "nothing is forgotten" in capsys.readouterr().out


def test_a_trace_tells_what_was_forgotten_without_its_text(project, capsys):
    forgotten("data/raw/chat.jsonl:21")
    build()
    capsys.readouterr()
    trace.main(SimpleNamespace(obj=None), "data/raw/chat.jsonl:21", False, False, None, 20, False)
    out = capsys.readouterr().out
    assert "rejected by ingest.forgotten" in out and "its text is not kept" in out and "Ada" not in out


@pytest.mark.slow
def test_after_a_build_no_artifact_holds_it_and_the_cache_does_until_it_is_cleaned(built, tmp_path):
    project = built.copy(tmp_path / "p")

    def tilth(*arguments):
        return project.run(sys.executable, "-m", "commands", *arguments)

    times = pq.read_table(project.folder / "scores/align.seen.parquet")["times"].to_pylist()
    place = next(place for place, count in enumerate(times) if count)  # two steps have not come to all rows
    row = pq.read_table(project.folder / "data/train/pairs.parquet").slice(place, 1).to_pylist()[0]
    (found,) = json.loads(tilth("trace", f"{row['source']}:{row['line']}", "--json"))["records"]
    assert [seen["step"] for seen in found["models"] if seen["trained"]] == ["align"]
    tilth("forget", row["id"], "--reason", "request 17", "--yes")
    assert "may hold them" in tilth("forget")
    ran = project.repro()
    assert {"ingest@pairs", "curate@pairs", "train@align"} <= ran
    project.commit()
    told = tilth("forget")
    assert "what is built: nothing holds them" in told
    assert "data/train/pairs.parquet: " in told and "models/align: " in told
    project.run("dvc", "gc", "--workspace", "--force")
    assert "none hold them" in tilth("forget")
    subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "data/raw"], cwd=project.folder, check=True)


def test_what_would_be_forgotten_is_told_as_json(project, capsys):
    forget.main(SimpleNamespace(obj=project), SECRET, dry_run=True, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["lines"] == len({record["id"] for record in found["records"]}) > 0 and not found["written"]
    assert {record["dataset"] for record in found["records"]} == {"chat", "pairs", "votes"}
    assert found["models_trained"] == ["sft", "align"] or found["models_unknown"]
    assert not _forgotten.read_forgotten()


def test_json_asks_nothing(project):
    with pytest.raises(Problems, match="cannot ask for confirmation; expected --yes or --dry-run"):
        forget.main(SimpleNamespace(obj=project), SECRET, reason="request 1", as_json=True)


def test_what_is_forgotten_is_told_as_json(project, capsys):
    forget.main(SimpleNamespace(obj=project), SECRET, reason="request 1", yes=True, as_json=True)
    written = json.loads(capsys.readouterr().out)
    assert written["written"]
    forget.main(SimpleNamespace(obj=project), as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert len(found["forgotten"]) == written["lines"] and {entry["reason"] for entry in found["forgotten"]} == {
        "request 1"
    }
    assert found["breaks"] and found["cache"]["objects"] == {}
