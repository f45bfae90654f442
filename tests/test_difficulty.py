"""How hard a prompt is: what may be asked, how answers are judged, and that none is drawn twice."""

import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builds import write_params
from test_params import method, put, shipped

from stages import difficulty
from stages.core import stage_params
from stages.rows.tables import row_schema, to_table
from stages.scoring import sample_cache, samples
from stages.scoring.grading import grade_answers
from validators import params, rewards
from validators._trl_fields import trl_default
from validators.problems import Problems

RULE = {"from": "sft", "samples": 4, "keep": [0.1, 0.9]}


def asked(rule, **steps):
    """params.yaml with a grpo step on problems, and this rule for them."""
    return put(shipped(sft=method("sft"), align=method("grpo"), **steps), "difficulty", {"problems": RULE | rule})


def named(data):
    return [(problem.where.removeprefix("params.yaml: "), str(problem)) for problem in params.examine(data)[0]]


# -- what may be asked ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule", [{}, {"from": "base"}, {"keep": [0, 1]}, {"keep": [0.5, 0.5]}, {"by": "numeric_match"}, {"samples": 2}]
)
def test_a_right_rule_passes(rule):
    assert named(asked(rule)) == []


@pytest.mark.parametrize(
    "rule, where, said",
    [
        ({"from": "sfft"}, "difficulty.problems.from", "did you mean 'sft'?"),
        ({"from": "align"}, "difficulty.problems.from", "problems -> align"),
        ({"keep": [0.9, 0.1]}, "difficulty.problems.keep", "keep: [0.1, 0.9]"),
        ({"keep": [-0.1, 0.9]}, "difficulty.problems.keep.0", "greater than or equal to 0"),
        ({"keep": [0.1, 1.1]}, "difficulty.problems.keep.1", "less than or equal to 1"),
        ({"keep": [0.1]}, "difficulty.problems.keep", "at least 2 items"),
        ({"samples": 1}, "difficulty.problems.samples", "greater than or equal to 2"),
        ({"sampels": 8}, "difficulty.problems.sampels", "did you mean 'samples'?"),
        ({"by": "exact"}, "difficulty.problems.by", "did you mean 'exact_match'?"),
        ({"by": "one_word"}, "difficulty.problems.by", "looks at the answer alone"),
    ],
)
def test_a_mistake_in_a_rule_is_named(rule, where, said):
    ((place, text),) = named(asked(rule))
    assert place == where and said in text


def test_mistakes_are_told_all_at_once():
    assert [place for place, _ in named(asked({"from": "nobody", "keep": [1, 0], "by": "one_word"}))] == [
        f"difficulty.problems.{key}" for key in ("keep", "by", "from")
    ]


@pytest.mark.parametrize("name, said", [("problms", "did you mean 'problems'?"), ("pairs", "is a preference dataset")])
def test_only_a_grpo_dataset_is_asked(name, said):
    ((place, text),) = named(put(shipped(sft=method("sft"), align=method("grpo")), "difficulty", {name: RULE}))
    assert place == f"difficulty.{name}" and said in text


def test_a_rule_under_its_dataset_is_led_to_its_place():
    data = put(shipped(sft=method("sft"), align=method("grpo")), "datasets.problems.difficulty", RULE)
    ((place, text),) = named(data)
    assert (
        place == "datasets.problems.difficulty"
        and "difficulty: {problems: {from: ..., keep: [0.1, 0.9]}} beside `datasets`" in text
    )


def test_a_model_that_comes_from_a_step_on_the_kept_prompts_is_a_circle():
    data = asked({"from": "last"}, middle=method("dpo", **{"from": "align"}), last=method("sft", **{"from": "middle"}))
    ((_, text),) = named(data)
    assert "problems -> last -> middle -> align" in text


def test_two_datasets_that_wait_for_each_other_are_a_circle():
    data = asked({"from": "other"}, other=method("grpo", dataset="more"))
    data["datasets"]["more"] = data["datasets"]["problems"]
    data["difficulty"]["more"] = RULE | {"from": "align"}
    assert [place for place, _ in named(data)] == ["difficulty.problems.from", "difficulty.more.from"]


@pytest.mark.parametrize(
    "given, by, said",
    [
        (["exact_match"], "exact_match", None),
        (["one_word", "numeric_match"], "numeric_match", None),
        (["one_word"], None, "none is known to say what is right"),
        (["exact_match", "numeric_match"], None, "of which 2 can say what is right"),
    ],
)
def test_what_is_right_is_what_the_steps_are_rewarded_by_where_that_is_clear(given, by, said):
    data = put(asked({}), "steps.align.rewards", given)
    if said:
        ((place, text),) = named(data)
        assert place == "difficulty.problems.by" and said in text
        assert named(put(data, "difficulty.problems.by", "exact_match")) == []
    else:
        assert named(data) == [] and params.fill_defaults(data)["difficulty"]["problems"]["by"] == by


def test_answers_are_drawn_as_the_steps_will_draw_theirs():
    rule = params.fill_defaults(put(asked({}), "steps.align.args", {"temperature": 0.7, "max_completion_length": 9}))[
        "difficulty"
    ]["problems"]
    assert (rule["temperature"], rule["max_new_tokens"]) == (0.7, 9)
    rule = params.fill_defaults(put(asked({"temperature": 0.5}), "steps.align.args", {}))["difficulty"]["problems"]
    assert (rule["temperature"], rule["max_new_tokens"]) == (0.5, trl_default("grpo", "max_completion_length"))


def test_an_edit_of_keep_is_an_edit_of_keep_alone():
    before, after = (
        stage_params.params_by_stage(params.fill_defaults(asked({"keep": keep}))) for keep in ([0.1, 0.9], [0.2, 0.8])
    )
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"keep/problems", "report"}
    assert (
        stage_params.params_by_stage(params.fill_defaults(shipped())).keys() & {"difficulty/problems", "keep/problems"}
        == set()
    )


# -- judged -----------------------------------------------------------------------------------------------------------


def row(number):
    text = f"say {number}"
    return {
        "id": hashlib.sha256(text.encode()).hexdigest(), "prompt": [{"role": "user", "content": text}], "ground_truth": str(number),
        "extra": "{}", "source": "raw.jsonl", "line": number + 1,
    }  # fmt: skip


def test_answers_are_right_wrong_or_neither(monkeypatch):
    monkeypatch.setattr(
        rewards,
        "of_even",
        lambda completions, ground_truth, **_: [None if int(t) % 2 else 1.0 for t in ground_truth],
        raising=False,
    )
    assert grade_answers("exact_match", [row(1), row(2)], [["1", "2"], []], "here") == [[1.0, 0.0], []]
    assert grade_answers("of_even", [row(1), row(2)], [["1"], ["2"]], "here") == [[None], [1.0]]


def test_a_shaped_reward_is_refused_with_the_answer_that_shows_it(monkeypatch):
    monkeypatch.setattr(
        rewards,
        "by_length",
        lambda completions, ground_truth, **_: [len(c[0]["content"]) / 10 for c in completions],
        raising=False,
    )
    with pytest.raises(Problems) as error:
        grade_answers("by_length", [row(1)], [["1234"]], "difficulty.problems.by")
    (problem,) = error.value.problems
    assert (
        problem.where == "difficulty.problems.by"
        and problem.found == "by_length gives 0.4 to the answer '1234' of raw.jsonl:2"
    )


# -- none is drawn twice ----------------------------------------------------------------------------------------------


def test_parts_hold_every_row_once_and_a_new_row_changes_one_of_them():
    rows = [row(number) for number in range(1000)]
    parts = samples.split_into_parts(rows)
    assert sorted(each["id"] for part in parts for each in part) == sorted(each["id"] for each in rows)
    assert all(0 < len(part) <= samples.MAX_PART_ROWS for part in parts) and len(parts) < 20
    ids = [[each["id"] for each in part] for part in parts]
    after = [[each["id"] for each in part] for part in samples.split_into_parts([*rows[::-1], row(1000)])]
    assert sum(part not in ids for part in after) in (1, 2)  # a full part becomes two


@pytest.fixture
def calls():
    """How many prompts each call was given that drew answers."""
    return []


@pytest.fixture
def project(tmp_path, monkeypatch, calls):
    """A grpo dataset of 300 prompts, a model, and a way to draw that notes what it was asked."""
    monkeypatch.chdir(tmp_path)
    steps = {"sft": method("sft"), "align": method("grpo")}
    write_params(
        {
            "datasets": {"problems": {"kind": "grpo", "raw": "raw.jsonl"}},
            "steps": steps,
            "difficulty": {"problems": RULE},
        }
    )
    (tmp_path / "models/sft").mkdir(parents=True)
    (tmp_path / "models/sft/config.json").write_text("{}")
    write_train(tmp_path, range(300))

    def draw(model, part, rule, seed):
        calls.append(len(part))
        rows = [
            {"id": each["id"], "answers": [each["ground_truth"], "no"] * 2, "cut": [False] * 4, "left_out": None}
            for each in part
        ]
        return pa.Table.from_pylist(rows, samples.SCHEMA)

    monkeypatch.setattr(difficulty, "sample_part", draw)
    monkeypatch.setattr("stages.scoring.generation.load_for_generation", lambda *_: None)
    return tmp_path


def write_train(folder, numbers):
    path = folder / "data/train/problems.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(to_table([row(number) for number in numbers], row_schema("grpo", optional=())), path)


@pytest.fixture
def asked_of(project, calls):
    """A run of the stage: how many prompts were asked in it."""

    def run():
        calls.clear()
        (project / "data/sampled/problems.parquet").unlink(missing_ok=True)  # as DVC does
        difficulty.main("problems")
        return sum(calls)

    return run


def sampled(project):
    return (project / "data/sampled/problems.parquet").read_bytes()


def test_every_prompt_has_its_answers_and_a_second_run_draws_none(project, asked_of, capsys):
    assert asked_of() == 300
    assert "difficulty problems: 300 prompts, 4 answers to each by sft, right by exact_match" in capsys.readouterr().out
    first = sampled(project)
    rows = pq.read_table(project / "data/sampled/problems.parquet").to_pylist()
    assert len(rows) == 300 and all(each["right"] == [1.0, 0.0, 1.0, 0.0] for each in rows)
    assert asked_of() == 0 and sampled(project) == first
    assert "300 of them before" in capsys.readouterr().out


def test_a_killed_run_draws_what_is_missing(project, asked_of, calls, monkeypatch):
    whole = difficulty.sample_part

    def killed(*arguments):
        if calls:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(difficulty, "sample_part", killed)
    with pytest.raises(KeyboardInterrupt):
        difficulty.main("problems")
    (done,) = calls
    monkeypatch.setattr(difficulty, "sample_part", whole)
    assert asked_of() == 300 - done


def test_new_rows_are_asked_and_the_others_not(project, asked_of):
    asked_of()
    write_train(project, range(301))
    assert 0 < asked_of() <= samples.MAX_PART_ROWS
    write_train(project, range(150))
    asked_of()
    assert pq.read_metadata(project / "data/sampled/problems.parquet").num_rows == 150


@pytest.mark.parametrize("what", ["model", "samples", "temperature", "seed"])
def test_another_model_or_setting_asks_all_again(project, asked_of, what):
    asked_of()
    path = project / ".build/params/difficulty/problems.json"
    read = json.loads(path.read_text())
    if what == "model":
        (project / "models/sft/config.json").write_text("{ }")
    elif what == "seed":
        path.write_text(json.dumps(read | {"seed": 8}))
    else:
        path.write_text(json.dumps(put(read, f"difficulty.problems.{what}", 5)))
    assert asked_of() == 300


def test_another_function_judges_anew_and_draws_none(project, asked_of, monkeypatch):
    asked_of()
    monkeypatch.setattr(sample_cache, "grader_fingerprint", lambda function: f"{function} edited")
    monkeypatch.setattr(rewards, "exact_match", lambda completions, **_: [0.0] * len(completions))
    assert asked_of() == 0
    assert all(
        each["right"] == [0.0] * 4 for each in pq.read_table(project / "data/sampled/problems.parquet").to_pylist()
    )


def test_what_an_earlier_build_left_is_found_in_the_cache_and_what_was_changed_there_is_not_used(
    project, asked_of, monkeypatch, capsys
):
    asked_of()
    record = type("Record", (), {"outs": {"data/sampled/problems.parquet": "5f" * 16}})
    monkeypatch.setattr(sample_cache, "stage_runs", lambda *_: [record])
    monkeypatch.setattr(sample_cache, "object_path", lambda md5: project / md5)
    (project / ("5f" * 16)).write_bytes(sampled(project))
    for path in sample_cache.work_folder("problems").glob("*"):
        path.unlink()
    assert asked_of() == 0
    table = pq.read_table(project / "data/sampled/problems.parquet")
    forged = table.set_column(
        table.schema.get_field_index("right"),
        table.schema.field("right"),
        pa.array([[1.0] * 4] * 300, pa.list_(pa.float32())),
    )
    pq.write_table(forged, project / ("5f" * 16))
    for path in sample_cache.work_folder("problems").glob("*"):
        path.unlink()
    assert asked_of() == 300
    assert "is not used: what it holds was changed" in capsys.readouterr().out


def test_where_no_step_trains_on_it_nothing_is_asked(project, asked_of, capsys):
    write_params(
        {
            "datasets": {"problems": {"kind": "grpo", "raw": "raw.jsonl"}},
            "steps": {"sft": method("sft")},
            "difficulty": {"problems": RULE},
        }
    )
    assert asked_of() == 0 and pq.read_metadata(project / "data/sampled/problems.parquet").num_rows == 0
    assert "no step trains on it" in capsys.readouterr().out


def test_a_shaped_reward_is_refused_before_anything_is_drawn(project, calls, monkeypatch):
    monkeypatch.setattr(rewards, "exact_match", lambda completions, **_: [0.5] * len(completions))
    with pytest.raises(Problems, match=r"difficulty\.problems\.by"):
        difficulty.main("problems")
    assert calls == []
