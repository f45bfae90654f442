"""Which prompts are trained on: every one accounted for, and told wherever one looks for it."""

import json
from pathlib import Path

import fake_build
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builds import write_params
from test_difficulty import RULE, row, write_train
from test_params import method

from commands import ledger
from commands.checks.conservation import unsorted_prompts
from commands.planning.estimate import count_kept_prompts
from stages import keep, report
from stages.reporting import difficulty
from stages.scoring import sample_cache, samples
from stages.scoring.sample_cache import SampledPart
from stages.training import kept_prompts
from validators.problems import Problems

RIGHT = {0: [0, 0, 0, 0], 1: [1, 0, 0, 0], 2: [1, 1, 1, 1], 3: [None, None, None, None], 4: [None, 1, 0, None], 5: None}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Six prompts whose answers are judged."""
    monkeypatch.chdir(tmp_path)
    write(RULE)
    write_train(tmp_path, RIGHT)
    rows = [
        {
            "id": row(number)["id"],
            "answers": right and ["x"] * 4,
            "cut": right and [False] * 4,
            "left_out": None if right else "PROMPT: it says nothing",
        }
        for number, right in RIGHT.items()
    ]
    right = pa.array(
        [None if each is None else [None if v is None else float(v) for v in each] for each in RIGHT.values()],
        pa.list_(pa.float32()),
    )
    table = pa.Table.from_pylist(rows, samples.SCHEMA).append_column("right", right)
    sample_cache.write_parts(sample_cache.OUT / "problems.parquet", {"5f": SampledPart(table)}, "exact_match")
    return tmp_path


def write(rule, **steps):
    given = {"sft": method("sft"), "align": method("grpo")} | steps
    write_params(
        {
            "datasets": {"problems": {"kind": "grpo", "raw": "raw.jsonl"}},
            "steps": given,
            "difficulty": {"problems": rule},
        }
    )


def checks():
    return [each["check"] for each in kept_prompts.read_rows(kept_prompts.kept_path("problems"))]


def test_every_prompt_is_kept_or_has_its_reason_with_its_rate(project, capsys):
    keep.main("problems")
    assert checks() == ["keep.too_hard", None, "keep.too_easy", "keep.not_judged", None, "keep.not_asked"]
    details = [each["detail"] for each in kept_prompts.read_rows(kept_prompts.kept_path("problems"))]
    assert details == [
        "0 of 4 answers are right",
        None,
        "4 of 4 answers are right",
        "the function says of no answer whether it is right",
        None,
        "PROMPT: it says nothing",
    ]
    out = capsys.readouterr().out
    assert "keep problems: 6 in = 2 kept + 4 rejected" in out
    assert "prompts by right answers of 4: 0: 1, 1: 1, 4: 1" in out


@pytest.mark.parametrize("bounds, count", [([0, 1], 4), ([0.25, 0.25], 1), ([0.5, 1], 2), ([0, 0], 1)])
def test_the_bounds_themselves_are_kept(project, bounds, count):
    write(RULE | {"keep": bounds})
    keep.main("problems")
    assert checks().count(None) == count


def test_that_nothing_is_kept_stops_the_build_with_the_counts(project):
    write(RULE | {"keep": [0.6, 0.7]})
    with pytest.raises(Problems) as error:
        keep.main("problems")
    (problem,) = error.value.problems
    assert (
        problem.where == "difficulty.problems.keep"
        and "3 by keep.too_hard" in problem.found
        and not kept_prompts.kept_path("problems").exists()
    )


def test_where_no_step_trains_on_it_nothing_is_sorted(project):
    write(RULE, align=method("dpo"))
    keep.main("problems")
    assert kept_prompts.read_rows(kept_prompts.kept_path("problems")) == []


# -- what a training takes --------------------------------------------------------------------------------------------


def test_a_training_knows_what_is_kept_by_its_ids_and_not_by_the_bounds(project):
    step, found = {"dataset": "problems", "difficulty": True}, []
    for bounds in ([0.1, 0.9], [0.2, 0.8], [0, 0.9]):
        write(RULE | {"keep": bounds})
        keep.main("problems")
        found.append(kept_prompts.kept_facts(step)["kept"])
    assert found[0] == found[1] != found[2] and (found[0]["rows"], found[0]["of"]) == (2, 6)
    assert kept_prompts.kept_ids("problems") == {row(number)["id"] for number in (0, 1, 4)}
    assert kept_prompts.kept_facts({"dataset": "problems"}) == {}


def test_what_is_sorted_of_other_rows_is_refused(project):
    step = {"dataset": "problems", "difficulty": True}
    with pytest.raises(Problems, match="not there"):
        kept_prompts.kept_facts(step)
    keep.main("problems")
    write_train(project, range(7))
    with pytest.raises(Problems, match="6 prompts of 7 are sorted"):
        kept_prompts.kept_facts(step)


def test_what_is_no_longer_asked_for_is_cleared_away(project):
    keep.main("problems")
    (kept_prompts.FOLDER / "problems/train.json").write_text("{}")
    (kept_prompts.FOLDER / "gone").mkdir()
    difficulty.delete_outdated({"datasets": {"problems": {}}, "difficulty": {"problems": {}}})
    assert kept_prompts.kept_path("problems").exists() and not (kept_prompts.FOLDER / "gone").exists()
    difficulty.delete_outdated({"datasets": {"problems": {}}, "difficulty": {}})
    assert [path.name for path in (kept_prompts.FOLDER / "problems").iterdir()] == ["train.json"]
    assert kept_prompts.delete_kept("problems") is False


# -- told -------------------------------------------------------------------------------------------------------------


def test_the_page_shows_how_often_the_model_is_right_and_what_is_left_out(project):
    params = {"difficulty": {"problems": RULE | {"by": "exact_match"}}}
    assert difficulty.difficulty_section("problems", {"difficulty": {}}) is None
    assert difficulty.difficulty_section("problems", params) == {"said": None}
    keep.main("problems")
    found = difficulty.difficulty_section("problems", params)
    assert (
        found["said"]
        == "2 of 6 train prompts are kept: those that sft answers rightly in 10% to 90% of 4 samples, by exact_match"
    )
    assert 'aria-label="Prompts by right answers of 4: 0: 1, 1: 1, 2: 1, 4: 1"' in found["chart"]["svg"]
    assert {reason["check"]: reason["count"] for reason in found["reasons"]} == dict.fromkeys(
        ["keep.not_asked", "keep.not_judged", "keep.too_easy", "keep.too_hard"], 1
    )


def test_page_report_and_cards_tell_what_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(fake_build.fake_build(tmp_path / "build"))
    write_params(fake_build.PARAMS | {"difficulty": {"problems": RULE}})
    rows = pq.read_table("data/train/problems.parquet", columns=["id", "source", "line"]).to_pylist()
    kept_prompts.write_rows(
        "problems",
        [
            each | keep.sort_prompt({"right": [number % 3 / 2] * 4, "left_out": None}, 0.1, 0.9)
            for number, each in enumerate(rows)
        ],
    )
    report.main()
    said = "of 8 train prompts are kept: those that sft answers rightly in 10% to 90% of 4 samples, by exact_match"
    for page in ("index.html", "report.md", "cards/datasets/problems.md", "cards/align.md"):
        text = Path("report", page).read_text(encoding="utf-8")
        assert said in text and "keep.too_hard" in text, page
    assert said not in Path("report/cards/datasets/chat.md").read_text(encoding="utf-8")


def test_the_ledger_says_what_is_kept_and_shows_what_is_not(project, capsys, monkeypatch):
    item = {"kept": {"rule": RULE, "kept": 2, "not_kept": {"keep.too_hard": 3}}}
    assert ledger.kept_lines(item["kept"]) == [
        ("keep", "sft right in 10% to 90% of 4 samples", "2"),
        ("", "not trained on by keep.too_hard", "-3"),
    ]
    assert ledger.kept_lines({"rule": RULE, "kept": None, "not_kept": {}})[0][1].endswith("not built yet")
    keep.main("problems")
    found = {each["check"]: each for each in ledger.left_out_rows("problems", {})}
    assert found["keep.too_hard"] == {
        "source": "raw.jsonl", "line": 1, "check": "keep.too_hard", "detail": "0 of 4 answers are right", "stage": "keep", "raw": None
    }  # fmt: skip


def test_the_plan_says_how_many_would_be_kept_by_other_bounds(project, monkeypatch):
    (project / "data/train.json").write_text(json.dumps({"problems": {"rows": 6}}))
    for bounds, count in (([0.1, 0.9], 2), ([0, 1], 4)):
        monkeypatch.setattr(
            "commands.planning.estimate.read_params",
            lambda bounds=bounds: {"difficulty": {"problems": RULE | {"keep": bounds}}},
        )
        assert count_kept_prompts("problems") == {"kept": count, "of": 6}
    (project / "data/train.json").write_text(json.dumps({"problems": {"rows": 7}}))
    assert count_kept_prompts("problems") == {}


def test_verify_names_a_prompt_that_is_not_sorted(project):
    keep.main("problems")
    build = type(
        "Build",
        (),
        {
            "params": {"difficulty": {"problems": RULE}},
            "stages": {"keep@problems": None},
            "steps": {"align": {"dataset": "problems"}},
        },
    )
    evidence, paths = type("Evidence", (), {"build": build}), {"train": ["data/train/problems.parquet"]}
    assert unsorted_prompts(evidence, "problems", paths) == []
    rows = kept_prompts.read_rows(kept_prompts.kept_path("problems"))
    pq.write_table(pa.Table.from_pylist([*rows[1:], rows[1]], kept_prompts.SCHEMA), kept_prompts.kept_path("problems"))
    found = unsorted_prompts(evidence, "problems", paths)
    assert [problem.found.partition(": ")[2] for problem in found] == [
        "1 times in train, 0 times in data/kept/problems/rows.parquet",
        "1 times in train, 2 times in data/kept/problems/rows.parquet",
    ] or len(found) == 2
