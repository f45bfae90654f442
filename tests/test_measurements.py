"""What was measured before is taken over, whatever the step is called; what was not is measured, alone."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from stages import evaluate
from stages.core import code_lists, dvc_cache
from stages.scoring import measurements
from stages.scoring.answers import EvalRows
from stages.scoring.measurement_cache import Measurement, hash_of_model
from stages.training.exposure import write_table
from stages.training.models import save_tiny_model
from stages.training.rendering import TokenSequence
from validators import rewards

OPTIONS = {
    "max_new_tokens": 3,
    "max_thinking_tokens": None,
    "chat_template_kwargs": {},
    "max_rows": 100,
    "batch_size": 4,
    "pass_at_k": None,
    "samples": 2,
    "temperature": 1.0,
    "lm_eval": None,
    "judge": None,
}


def user(text):
    return [{"role": "user", "content": text}]


def said(text):
    return [{"role": "assistant", "content": text}]


def rows(kind, words):
    made = {
        "sft": lambda word: {"messages": user(word) + said(word[::-1]), "tools": None},
        "preference": lambda word: {"prompt": user(word), "chosen": said(word), "rejected": said("no"), "tools": None},
        "kto": lambda word: {"prompt": user(word), "completion": said(word), "label": word < "c", "tools": None},
        "grpo": lambda word: {"prompt": user(word), "ground_truth": word, "extra": None},
    }[kind]
    return [{"id": f"{kind}{word}", "source": "data/raw/x.jsonl", "line": 1} | made(word) for word in words]


class Small:
    """A folder with a tiny model and eval rows, in which models are scored."""

    def __init__(self, monkeypatch):
        self.loads, self.params = (
            [],
            {"seed": 7, "evaluate": OPTIONS, "datasets": {"chat": {"metrics": ["exact_match"]}}},
        )
        load = measurements.load_for_generation
        monkeypatch.setattr(
            measurements,
            "load_for_generation",
            lambda folder, *options: self.loads.append(folder.name) or load(folder, *options),
        )

    def write(self, **datasets):
        """Eval rows of each dataset: name=(kind, words)."""
        for name, (kind, words) in datasets.items():
            pq.write_table(pa.Table.from_pylist(rows(kind, words)), f"data/eval/{name}.parquet")
        listed = {name: {"kind": kind} for name, (kind, _) in datasets.items()}
        with open("data/eval.json", "w") as file:
            json.dump(listed, file)
        scored = {name: {"exact_match": {"weight": 1.0}} for name, (kind, _) in datasets.items() if kind == "grpo"}
        with open("preflight/_rewards.json", "w") as file:
            json.dump(scored, file)

    def score(self, name="base", **options):
        """(the models that were loaded, the bytes of both files)."""
        self.loads.clear()
        evaluate.score(name, self.params | {"evaluate": OPTIONS | options}, None)
        with open(f"scores/{name}.parquet", "rb") as table, open(f"scores/{name}.json", "rb") as report:
            return list(self.loads), (table.read(), report.read())


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "base"
    save_tiny_model(folder)
    return folder


@pytest.fixture
def small(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dvc_cache.cache_folder.cache_clear()
    for folder in ("data/eval", "preflight", "models"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copytree(tiny, "models/base")
    yield Small(monkeypatch)
    dvc_cache.cache_folder.cache_clear()


ALL = {
    "chat": ("sft", "abcd"),
    "pairs": ("preference", "abc"),
    "feedback": ("kto", "abcd"),
    "problems": ("grpo", "abc"),
}


@pytest.mark.slow
def test_a_second_time_no_model_is_loaded_and_the_bytes_are_the_same(small, capsys):
    small.write(**ALL)
    Path("scores").mkdir()
    for end in ("seen", "rollouts"):  # what a training leaves beside the scores is no file of scores
        write_table(Path(f"scores/align.{end}.parquet"), pa.table({"id": ["a"]}), {"step": "align"})
    loads, first = small.score()
    assert loads == ["base"]
    out = capsys.readouterr().out
    assert "evaluate base: measured now: chat, feedback, pairs, problems\n" in out and "by evaluate.max_rows" not in out
    assert small.score() == ([], first)
    assert "is not used" not in capsys.readouterr().out


@pytest.mark.slow
def test_rows_that_max_rows_leaves_out_are_told(small, capsys):
    small.write(**ALL)
    small.score(max_rows=3)
    out = capsys.readouterr().out
    assert out.count("3 of 4 eval rows, by evaluate.max_rows") == 2  # of chat and feedback; the others have three


@pytest.mark.slow
def test_another_dataset_is_measured_alone_and_all_is_as_if_it_had_been_there_before(small, monkeypatch, capsys):
    small.write(chat=ALL["chat"], problems=ALL["problems"])
    small.score()
    small.write(**ALL)
    asked, measure = [], measurements.measure_part
    monkeypatch.setattr(
        measurements,
        "measure_part",
        lambda part, model, kind, *rest: asked.append((part, kind)) or measure(part, model, kind, *rest),
    )
    loads, after = small.score()
    assert loads == ["base"] and sorted(asked) == [("likelihood", "kto"), ("likelihood", "preference")]
    assert "taken over: chat, problems; measured now: feedback, pairs" in capsys.readouterr().out
    shutil.rmtree("scores")
    assert small.score() == (["base"], after)


@pytest.mark.slow
def test_a_second_dataset_of_the_same_rows_is_not_measured(small):
    small.write(chat=ALL["chat"])
    small.score()
    small.write(chat=ALL["chat"], again=ALL["chat"])
    assert small.score()[0] == []
    report = json.loads(Path("scores/base.json").read_text())
    assert report["chat"]["loss"] == report["again"]["loss"]


@pytest.mark.slow
def test_a_new_metric_loads_no_model_and_of_pairs_it_asks_for_answers_once(small):
    small.write(**ALL)
    small.score()
    small.params["datasets"]["chat"] = {"metrics": ["exact_match", "rouge_l", "json_valid", "tool_call_match"]}
    assert small.score()[0] == []
    found = json.loads(Path("scores/base.json").read_text())["chat"]
    assert {"rouge_l", "json_valid", "tool_call_match", "loss"} <= set(found)
    assert found["tool_call_match"]["value"] is None and found["tool_call_match"]["n"] == 0  # no row has a call
    small.params["datasets"]["pairs"] = {"metrics": ["contains"]}
    assert small.score()[0] == ["base"]
    small.params["datasets"]["pairs"] = {"metrics": ["contains", "rouge_l"]}
    assert small.score()[0] == []
    assert {"pair_accuracy", "margin", "contains", "rouge_l"} == set(
        json.loads(Path("scores/base.json").read_text())["pairs"]
    )


@pytest.mark.slow
def test_a_reward_that_is_edited_loads_no_model_and_counts_anew(small, monkeypatch):
    small.write(**ALL)
    small.score()
    before = json.loads(Path("scores/base.json").read_text())
    monkeypatch.setattr(rewards, "exact_match", lambda completions, **_: [1.0 for _ in completions])
    loads, _ = small.score()
    after = json.loads(Path("scores/base.json").read_text())
    assert loads == [] and after["problems"]["reward"]["value"] == 1.0 != before["problems"]["reward"]["value"]
    assert after["chat"] == before["chat"]


@pytest.mark.slow
def test_the_same_model_under_another_name_is_not_loaded_and_another_one_is(small):
    small.write(**ALL)
    _, (table, _) = small.score()
    shutil.copytree("models/base", "models/again")
    with open("models/again/made_of.json", "w") as file:
        file.write('{"step": "again"}')
    loads, (same, _) = small.score("again")
    assert loads == [] and same == table
    with open("models/again/generation_config.json", "a") as file:
        file.write("\n")
    assert small.score("again")[0] == ["again"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options, parts",
    [
        ({"max_new_tokens": 2}, {("answers", "sft"), ("answers", "grpo")}),
        ({"max_thinking_tokens": 2}, {("answers", "sft"), ("answers", "grpo")}),
        (
            {"chat_template_kwargs": {"enable_thinking": False}},
            {("likelihood", "sft"), ("answers", "sft"), ("answers", "grpo")},
        ),
        ({"pass_at_k": [1]}, {("samples", "grpo")}),
        ({"batch_size": 3}, {("likelihood", "sft"), ("answers", "sft"), ("answers", "grpo")}),
        ({"temperature": 0.5}, set()),  # nothing is sampled
    ],
)
def test_a_setting_measures_the_parts_that_depend_on_it(small, monkeypatch, options, parts):
    small.write(chat=ALL["chat"], problems=ALL["problems"])
    small.score()
    asked, measure = set(), measurements.measure_part
    monkeypatch.setattr(
        measurements,
        "measure_part",
        lambda part, model, kind, *rest: asked.add((part, kind)) or measure(part, model, kind, *rest),
    )
    small.score(**options)
    assert asked == parts


@pytest.mark.slow
def test_code_that_asks_a_model_measures_all_of_it_again(small, monkeypatch):
    small.write(chat=ALL["chat"])
    small.score()
    monkeypatch.setattr("stages.scoring.measurement_cache.code_hash", lambda name: "another")
    assert small.score()[0] == ["base"]


@pytest.mark.slow
def test_a_row_that_changed_measures_its_dataset(small, capsys):
    small.write(**ALL)
    small.score()
    small.write(**ALL | {"chat": ("sft", "abce")})
    assert small.score()[0] == ["base"]
    assert "measured now: chat\n" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "not parquet", "changed", "of before"])
def test_scores_that_are_damaged_or_foreign_are_measured_anew(small, capsys, damage):
    small.write(chat=ALL["chat"])
    _, good = small.score()
    path = Path("scores/base.parquet")
    if damage == "cut":
        path.write_bytes(good[0][:-100])
    elif damage == "not parquet":
        path.write_bytes(b"<html>")
    else:
        table = pq.read_table(path)
        facts = table.schema.metadata if damage == "changed" else None
        table = table.set_column(table.column_names.index("generation"), "generation", pa.array(["x"] * len(table)))
        pq.write_table(table.replace_schema_metadata(facts), path)
    capsys.readouterr()
    assert small.score() == (["base"], good)
    told = [line for line in capsys.readouterr().out.splitlines() if "is not used" in line]
    assert len(told) == (damage != "of before")
    if damage == "changed":
        assert told == ["evaluate base: scores/base.parquet is not used: what it holds of chat was changed"]


@pytest.mark.slow
def test_what_the_cache_of_dvc_has_of_an_earlier_build_is_found_by_dvc_lock_and_by_the_run_cache(small, tmp_path):
    small.write(chat=ALL["chat"])
    _, (table, _) = small.score()
    shutil.rmtree("scores")
    record = {
        "cmd": "python -m stages evaluate gone",
        "deps": [],
        "outs": [{"path": "scores/gone.parquet", "hash": "md5", "md5": "ab" + "0" * 30, "size": 1}],
    }
    kept = tmp_path / ".dvc/cache/files/md5/ab" / ("0" * 30)
    kept.parent.mkdir(parents=True)
    kept.write_bytes(table)
    with open("dvc.lock", "w") as file:
        YAML().dump({"schema": "2.0", "stages": {"evaluate@gone": record}}, file)
    assert small.score()[0] == []
    shutil.rmtree("scores")
    (tmp_path / "dvc.lock").unlink()
    assert small.score()[0] == ["base"]
    shutil.rmtree("scores")
    run = tmp_path / ".dvc/cache/runs/ab/abc/def"
    run.parent.mkdir(parents=True)
    with open(run, "w") as file:
        YAML().dump(record, file)
    assert small.score()[0] == []
    kept.unlink()
    shutil.rmtree("scores")
    assert small.score()[0] == ["base"]


def test_parts_of_other_rows_than_one_another_or_than_are_asked_for_are_not_taken():
    asked = {
        "a": EvalRows("sft", [{"id": "1"}, {"id": "2"}, {"id": "3"}]),
        "b": EvalRows("sft", [{"id": "1"}]),
        "c": EvalRows("kto", [{"id": "1"}]),
    }
    parts = {
        ("a", "likelihood"): Measurement(["1", "3"], {}, {}), ("a", "answers"): Measurement(["1", "3"], {}, {}),
        ("b", "likelihood"): Measurement(["1"], {}, {}), ("b", "answers"): Measurement([], {}, {}), ("c", "likelihood"): Measurement(["9"], {}, {}),
        ("lm_eval/x", "x"): Measurement(["0:ab"], {}, {}),
    }  # fmt: skip
    assert {of for of, _ in measurements.consistent_parts(parts, asked)} == {"a", "lm_eval/x"}


def test_a_model_is_what_it_computes_with_and_not_what_its_steps_are_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, step in (("one", "00_sft"), ("two", "00_first"), ("three", "01_sft")):
        folder = tmp_path / "models" / name
        (folder / "adapters" / step).mkdir(parents=True)
        (folder / "adapters" / step / "adapter_model.safetensors").write_text("weights")
        (folder / "made_of.json").write_text(name)
        (folder / "README.md").write_text(name)
    (tmp_path / "models/base").mkdir()
    (tmp_path / "models/base/config.json").write_text("{}")
    one, two, three = (
        hash_of_model(tmp_path.joinpath("models", name).relative_to(tmp_path)) for name in ("one", "two", "three")
    )
    assert one == two != three
    (tmp_path / "models/base/config.json").write_text("{ }")
    assert hash_of_model(tmp_path.joinpath("models/one").relative_to(tmp_path)) != one


def test_the_list_of_code_that_asks_a_model_holds_nothing_that_only_scores():
    listed = (code_lists.CODE_FOLDER / "measures/answers").read_text()
    assert "stages/scoring/generation.py" in listed and "stages/training/trainer_rows.py" in listed
    assert "statistics.py" not in listed and "stages/evaluate.py" not in listed and "rewards.py" not in listed
    assert "statistics.py" not in (code_lists.CODE_FOLDER / "measures/harness").read_text()


def test_rows_longer_than_the_positions_of_the_model_are_counted_once_each():
    pairs, talks = (
        [[([1] * 3, [2] * 3), ([1] * 3, [2] * 9)], [([1], [2]), ([1], [2])]],
        [[TokenSequence([0] * 9), TokenSequence([0] * 8)], [TokenSequence([0] * 7)]],
    )
    assert measurements.count_too_long(pairs, "preference", 7) == measurements.count_too_long(talks, "sft", 7) == 1
    assert (
        measurements.count_too_long(pairs, "preference", 12)
        == measurements.count_too_long(talks, "sft", None)
        == measurements.count_too_long(["q"], "grpo", 0)
        == 0
    )


@pytest.mark.slow
def test_a_judge_that_fails_loses_nothing_of_what_was_measured(small, capsys):
    from answering import answering

    from validators.problems import Problems

    small.write(**ALL)
    first = small.score()[1]
    shutil.rmtree("scores")  # as DVC does before a stage runs
    with answering(lambda *_: "[[A]]") as server:
        judge = server.judge(against="reference")
    with pytest.raises(Problems, match="cannot be reached"):
        small.score(judge=judge)
    assert small.loads == ["base"] and not Path("scores/base.parquet").exists()
    assert small.score(judge=None) == ([], first) and not Path(".work/scores/base.parquet").exists()
    assert "taken over: chat, feedback, pairs, problems; no model is loaded" in capsys.readouterr().out


def test_other_tables_of_a_step_are_no_scores(tmp_path, monkeypatch, capsys):
    from stages.scoring import measurement_cache

    monkeypatch.chdir(tmp_path)
    dvc_cache.cache_folder.cache_clear()
    (tmp_path / "scores").mkdir()
    for name in ("sft.seen", "sft.rollouts"):  # they too have metadata of ours
        pq.write_table(
            pa.table({"id": ["a"]}).replace_schema_metadata({measurement_cache.METADATA_KEY: b"{}"}),
            f"scores/{name}.parquet",
        )
    assert measurement_cache.find_parts("sft", {("chat", "answers"): "5f0e"}) == {} and capsys.readouterr().out == ""
    dvc_cache.cache_folder.cache_clear()
