"""Gates before training: what cannot be trained is named, and nothing that depends on the machine is written."""

import csv
import hashlib
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from builds import SAMPLE
from test_token_counts import said, step_of, user, write

from stages import preflight
from stages.dryrun import findings
from stages.training.models import load_tokenizer, renderer, save_tiny_model
from validators import _preflight as asked
from validators.params import Preflight, StrictModel, examine, fill_defaults, read_params_yaml
from validators.problems import Problems

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
LIMITS = asked.LIMITS | asked.SAMPLE_SIZES


# -- what is asked, and where it is documented ------------------------------------------------------------------------


def test_the_page_has_every_check():
    page = (ROOT / "docs/preflight.md").read_text(encoding="utf-8")
    assert page.split("<!-- checks -->\n")[1].split("\n<!-- /checks -->")[0] == asked.checks_table()


def test_the_names_of_checks_in_the_code_are_those_that_are_documented():
    names = set()
    for path in (ROOT / "stages").rglob("*.py"):
        names |= set(re.findall(r"preflight\.[a-z_]+", path.read_text(encoding="utf-8")))
    assert names - {"preflight.tie_prompts", "preflight.md", "preflight.json"} == {
        *asked.CHECKS,
        *asked.GATES,
        *asked.WARNINGS,
    }


def test_every_limit_is_a_key_of_params_with_the_same_default():
    assert set(Preflight.model_fields) == {*asked.LIMITS, *asked.SAMPLE_SIZES}
    assert Preflight.model_validate({}).model_dump() == asked.LIMITS | asked.SAMPLE_SIZES
    assert {f"preflight.{name}" for name in asked.LIMITS} == {*asked.GATES, *asked.WARNINGS}
    assert issubclass(Preflight, StrictModel)


def test_what_params_say_takes_the_place_of_a_default():
    found = fill_defaults(params(preflight={"truncated_share": 0.5}))["preflight"]
    assert found == LIMITS | {"truncated_share": 0.5}


def params(**changes):
    return read_params_yaml(SAMPLE) | changes


@pytest.mark.parametrize("section", [{}, {"memory_gb": 24, "reward_rows": 10, "tie_prompts": 0}, {"memory_gb": None}])
def test_a_section_of_limits_is_right(section):
    assert examine(params(preflight=section))[0] == []


@pytest.mark.parametrize(
    "section, where, hint",
    [
        ({"truncated_shar": 0.1}, "params.yaml: preflight.truncated_shar", "did you mean 'truncated_share'?"),
        ({"truncated_share": 2}, "params.yaml: preflight.truncated_share", ""),
        ({"reward_rows": 0}, "params.yaml: preflight.reward_rows", ""),
    ],
)
def test_a_mistake_in_a_limit_is_named(section, where, hint):
    ((problem,), _) = examine(params(preflight=section))
    assert (problem.where, problem.hint) == (where, hint)


def test_a_file_without_the_section_is_told_what_to_write():
    data = params()
    del data["preflight"]
    ((problem,), _) = examine(data)
    assert (problem.where, problem.hint) == ("params.yaml: preflight", "preflight: {} takes the defaults")


@pytest.mark.parametrize("name", asked.WAIVABLE)
def test_every_number_can_be_waived(name):
    data = params()
    data["gates"] = []
    data["steps"] = {"sft": data["methods"]["sft"] | {"waive": {name: "a reason", "learning_rate": "tiny"}}}
    assert examine(data)[0] == []


def test_rewards_are_scored_with_the_weights_of_the_step_that_trains_on_them():
    datasets = {"problems": {"kind": "grpo"}, "others": {"kind": "grpo"}, "chat": {"kind": "sft"}}
    step = {
        "method": "grpo",
        "dataset": "problems",
        "rewards": ["exact_match", "one_word"],
        "args": {"reward_weights": [1.0, 0.2]},
    }
    codes = {"exact_match": "a1", "one_word": "b2", "numeric_match": "c3"}
    exact = {"weight": 1.0, "code": "a1"}
    assert preflight.scored_rewards({"a": step}, datasets, codes) == {
        "problems": {"exact_match": exact, "one_word": {"weight": 0.2, "code": "b2"}},
        "others": {"exact_match": exact},
    }


# -- whether it can be trained ----------------------------------------------------------------------------------------


@pytest.fixture
def render(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/train").mkdir(parents=True)
    save_tiny_model("models/base")
    return renderer()


TALKS = [{"messages": user("a" * n) + said("xyz")} for n in (2, 4, 40)]


MANY = {"dropped_share": "the long one says nothing"}


def examined(render, method, rows, waive=None, **args):
    write(method, rows)
    step = step_of(method, **args) | {"processes": 1}
    report = preflight.examine_step("s", step, render, preflight.read_shape(), LIMITS, waive or {})
    if problems := findings.gate_problems(report.findings, "steps.s"):
        raise Problems(problems)
    return report


def test_a_step_is_counted(render):
    report = examined(render, "sft", TALKS, MANY, max_length=24, max_steps=-1, num_train_epochs=2)
    step = report.step
    assert (step["rows"], step["trained_rows"], step["tokens"], step["learned_tokens"]) == (3, 2, 20, 8)
    assert step["optimizer_steps"] == 2
    assert step["length"] == {"p50": 10, "p95": 10, "p99": 10, "max": 11}
    why = "LENGTH: nothing of 47 tokens is left to learn, max_length is 24"
    assert report.dropped == [("raw.jsonl:3", "2", "LENGTH", why)]
    by_name = {item["check"]: item for item in report.findings}
    assert by_name["preflight.dropped_share"]["value"] == 0.3333
    assert "raw.jsonl:3" in by_name["preflight.dropped_share"]["message"]


def test_every_warning_of_a_step_that_stops_is_printed_too(render, capsys):
    write("sft", TALKS)
    step = step_of("sft", max_length=10) | {"processes": 1}
    report = preflight.examine_step("s", step, render, preflight.read_shape(), LIMITS, {})
    assert [item["check"] for item in report.findings if findings.stops_build(item)] == ["preflight.dropped_share"]
    preflight.print_report("s", report)
    out = capsys.readouterr().out
    assert "warning: preflight.truncated_share: 1 of 3 rows (raw.jsonl:2)" in out
    assert "dropped_share" not in out  # it stops the build, which says it


@pytest.mark.parametrize("steps, words", [(1, "1 optimizer steps, which reach 2 rows\n"), (3, "3 optimizer steps\n")])
def test_a_training_that_ends_before_an_epoch_says_how_many_rows_it_reaches(render, capsys, steps, words):
    report = examined(render, "sft", TALKS[:2] * 3, max_steps=steps, per_device_train_batch_size=2)
    preflight.print_report("s", report)
    assert words in capsys.readouterr().out


def test_a_long_training_says_how_long_it_takes_at_least(render, monkeypatch):
    (line,) = examined(render, "sft", TALKS[:2]).printed
    assert line.endswith(" MB on this machine")
    monkeypatch.setattr(preflight, "least_seconds", lambda *_: 60 * 45)
    (line,) = examined(render, "sft", TALKS[:2]).printed
    assert line.endswith("on this machine, and at least 45 min: its matrix products alone")


@pytest.mark.parametrize(
    ("at_least", "likely", "words"),
    [(30, 250, " on this machine, and about 4 min"), (30, 19, " on this machine"), (1, 250, " on this machine")],
)
def test_the_steps_of_a_small_model_are_timed_where_that_is_worth_it(render, monkeypatch, at_least, likely, words):
    monkeypatch.setattr(preflight, "least_seconds", lambda *_: at_least)
    monkeypatch.setattr(preflight, "likely_seconds", lambda *_: likely)
    write("sft", TALKS[:2])
    step, small = step_of("sft") | {"processes": 1}, preflight.SmallModel(preflight.BASE)
    (line,) = preflight.examine_step("s", step, render, preflight.read_shape(), LIMITS, {}, small).printed
    assert line.endswith(words)


@pytest.mark.parametrize(("seconds", "words"), [(0.5, ", here about 6 min for 100 rows, 16 at a time"), (0.001, "")])
def test_how_long_a_small_model_answers_is_told_where_it_is_long(seconds, words):
    measured = SimpleNamespace(lengths=[(number, 40, 50) for number in range(500)])
    small = SimpleNamespace(decode_seconds=lambda rows, length: seconds * (rows, length).count(16) * (length == 40))
    said = preflight.describe_answering(measured, small, {"max_new_tokens": 100, "max_thinking_tokens": 20})
    assert said == words


@pytest.mark.parametrize(("prompts", "is_told"), [(0, True), (16, False)])
def test_that_ties_of_rewards_are_not_looked_for_is_told(render, capsys, prompts, is_told):
    rows = [{"prompt": user("a"), "ground_truth": "b", "extra": "{}"}] * 2
    write("grpo", rows)
    step = step_of("grpo", num_generations=2) | {"processes": 1, "tie_prompts": prompts}
    preflight.print_report("s", preflight.examine_step("s", step, render, preflight.read_shape(), LIMITS, MANY))
    assert ("is not checked: preflight.tie_prompts is 0" in capsys.readouterr().out) == is_told


def test_no_row_that_fits_stops_the_build(render):
    with pytest.raises(
        Problems,
        match=r"rows_left: no row of 'd' is trained: 3 by LENGTH: raw.jsonl:1, raw.jsonl:2, raw.jsonl:3: nothing of 9 tokens",
    ):
        examined(render, "sft", TALKS, max_length=4)


def test_a_dataset_without_rows_stops_the_build(render):
    with pytest.raises(Problems, match="'d' has no train rows"):
        examined(render, "sft", [])


@pytest.mark.parametrize(
    "args", [{"max_steps": 0}, {"max_steps": -1, "dataloader_drop_last": True, "per_device_train_batch_size": 8}]
)
def test_rows_that_make_no_step_stop_the_build(render, args):
    with pytest.raises(Problems, match="3 rows make 0 optimizer steps"):
        examined(render, "sft", TALKS, **args)


def test_packed_rows_are_announced_as_what_trl_makes_of_them(render):
    from stages import train

    args = {"packing": True, "max_length": 24, "max_steps": -1, "num_train_epochs": 1}
    step = examined(render, "sft", TALKS * 5, MANY, **args).step
    trainer = train.make_trainer("s", step, Path(".work"))
    assert len(trainer.train_dataset) == step["packed_rows"] < step["trained_rows"]


def test_more_rows_than_the_limit_that_cannot_be_trained_stop_the_build_by_proof(render):
    with pytest.raises(Problems) as error:
        examined(render, "sft", TALKS, max_length=24)
    (problem,) = error.value.problems
    assert problem.where == "steps.s: preflight.dropped_share"
    assert problem.found.startswith("1 of 3 rows are left out: 1 by LENGTH: raw.jsonl:3: nothing of 47 tokens")
    assert problem.hint.startswith("raise args.max_length")
    assert examined(render, "sft", TALKS[:1] * 40 + TALKS[2:], max_length=24).dropped[0][0] == "raw.jsonl:41"


def test_rows_that_are_too_long_stop_a_step_that_says_so(render):
    write("sft", TALKS)
    step = step_of("sft", max_length=24) | {"processes": 1, "overlong": "stop"}
    with pytest.raises(
        Problems, match=r"preflight.overlong: 1 of 3 rows \(raw.jsonl:3\) are longer than max_length 24"
    ):
        preflight.examine_step("s", step, render, preflight.read_shape(), LIMITS, MANY)


def trained_on(step):
    """Tokens that a real trainer takes its loss over."""
    from stages import train

    trainer = train.make_trainer("s", step, Path(".work"))
    assert len(trainer.train_dataset) == step["sequences"]
    return sum(label != -100 for row in trainer.train_dataset for label in row["labels"])


def test_what_is_learned_is_what_the_args_say_with_any_template(render):
    template = re.sub(r"{%-? ?(end)?generation ?-?%}", "", render.tokenizer.chat_template)
    Path("models/base/chat_template.jinja").write_text(template, encoding="utf-8")
    render = renderer()
    talks = [*TALKS, {"messages": TALKS[0]["messages"] * 2}]
    for args, learns, learned in [
        ({}, "assistant", 20),
        ({"assistant_only_loss": False, "completion_only_loss": True}, "completion", 16),
        ({"assistant_only_loss": False}, "all", 85),
    ]:
        step = examined(render, "sft", talks, **args).step
        assert (step["learns"], step["learned_tokens"]) == (learns, learned)
        assert trained_on(step) == learned


def test_a_template_without_an_end_stops_the_build_and_says_what_helps(render):
    render.tokenizer.chat_template = render.tokenizer.chat_template.replace(
        "{{ '<|end|>' }}{% endgeneration %}", "{% endgeneration %}"
    )
    with pytest.raises(Problems) as error:
        examined(render, "sft", TALKS)
    (problem,) = error.value.problems
    assert (
        "3 by STOP: raw.jsonl:1, raw.jsonl:2, raw.jsonl:3: 'xyz' ends in no token that ends an answer" in problem.found
    )
    assert "eos_token" in problem.hint


def test_eval_rows_that_no_model_can_be_scored_on_are_named(render, capsys):
    Path("data/eval").mkdir()
    write("sft", [*TALKS, {"messages": user("a") + said("b<|end|>c")}], "data/eval/d.parquet")
    Path("preflight").mkdir()
    findings = preflight.write_unscored(
        {"d": {"kind": "sft", "rows": 4}},
        render,
        LIMITS,
        {"d": "keep"},
        {"max_new_tokens": 100, "max_thinking_tokens": None},
        120,
    )
    (row,) = csv.DictReader(Path("preflight/_unscored.csv").read_text(encoding="utf-8").splitlines())
    assert (row["dataset"], row["row"], row["id"], row["proof"]) == ("d", "raw.jsonl:4", "3", "STOP")
    out = capsys.readouterr().out
    assert "preflight: d: 1 of 4 eval rows are not scored: STOP of message 2" in out
    values = {item["check"]: item["value"] for item in findings["d"]}
    assert (
        values["preflight.stops"] == 0.25 and values["preflight.said"] == values["preflight.tokenizer_round_trip"] == 0
    )
    assert "preflight, eval rows of d: warning: preflight.stops: 1 of 4 rows (raw.jsonl:4) end in no token" in out
    # an answer of 100 tokens after the prompt of 40 letters
    long = "1 of 4 rows (raw.jsonl:3) are longer than the 120 positions of the model, with an answer of 100 tokens"
    assert f"preflight, eval rows of d: warning: preflight.context_share: {long}" in out


@pytest.mark.parametrize("most, level, value", [(3, "warning", 0.5), (5, "ok", 0)])
def test_reference_answers_longer_than_what_is_generated_are_counted(render, capsys, most, level, value):
    Path("data/eval").mkdir()
    rows = [
        {"messages": user("a") + said(text)} for text in ("bc", "bcde")
    ]  # a token of every byte, and one that ends the answer
    write("sft", rows, "data/eval/d.parquet")
    Path("preflight").mkdir()
    found = preflight.write_unscored(
        {"d": {"kind": "sft", "rows": 2}},
        render,
        LIMITS,
        {"d": "keep"},
        {"max_new_tokens": most, "max_thinking_tokens": None},
        0,
    )["d"]
    item = next(item for item in found if item["check"] == "preflight.answers_cut")
    assert (item["level"], item["value"]) == (level, value)
    text = "1 of 2 rows (raw.jsonl:2) have a reference answer of more than evaluate.max_new_tokens 3, which no model can give"
    assert (text in capsys.readouterr().out) == (level == "warning")
    assert (item["message"].endswith(": set it to 5 for all of the answers")) == (level == "warning")


def test_a_ground_truth_counts_as_the_reference_answer_of_a_prompt(render):
    Path("data/eval").mkdir()
    rows = [{"prompt": user("a"), "ground_truth": text, "extra": "{}"} for text in ("bc", "bcde")]
    write("grpo", rows, "data/eval/d.parquet")
    found = preflight.measure_eval_rows("data/eval/d.parquet", "grpo", render)
    assert found.answers == [(0, (0, 3)), (1, (0, 5))]
    assert all(prompt > 0 and whole == 0 for _, prompt, whole in found.lengths)


@pytest.mark.parametrize("thinking, rows", [(None, [0, 1]), (20, [0]), (9, [0, 1])])
def test_a_thought_is_held_against_its_own_budget_where_it_has_one(render, thinking, rows):
    Path("data/eval").mkdir()
    thoughts = [
        said("bcde"),
        [said("b")[0] | {"reasoning_content": "c"}],
        said("b"),
    ]  # a thought of 18 tokens, with its marks
    write("sft", [{"messages": user("a") + each} for each in thoughts], "data/eval/d.parquet")
    found = preflight.measure_eval_rows("data/eval/d.parquet", "sft", render)
    item = findings.cut_answers_finding(
        found, "data/eval/d.parquet", {"max_new_tokens": 4, "max_thinking_tokens": thinking}, LIMITS
    )
    assert item["value"] == round(len(rows) / 3, 4)


@pytest.mark.parametrize("kind", ["sft", "preference", "kto", "grpo"])
def test_eval_rows_of_every_kind_are_measured(render, kind):
    from test_token_counts import ROWS

    Path("data/eval").mkdir()
    method = {"sft": "sft", "preference": "dpo", "kto": "kto", "grpo": "grpo"}[kind]
    found = preflight.measure_eval_rows(write(method, ROWS[method], "data/eval/d.parquet"), kind, render)
    assert found.count == len(ROWS[method]) > len(found.left_out)
    assert (found.encodings.lossy, found.encodings.headless) == ([], [])


def test_rows_of_one_label_stop_kto(render):
    rated = [{"prompt": user("a"), "completion": said("b"), "label": True}] * 4
    with pytest.raises(Problems, match="all 4 rows that are trained have label true"):
        examined(render, "kto", rated)


def test_a_tokenizer_larger_than_the_embedding_stops_the_build(render):
    tokenizer = render.tokenizer
    assert preflight.embedding_problems(preflight.read_shape(), tokenizer) == []
    tokenizer.add_tokens(["<|one|>", "<|more|>"])
    (problem,) = preflight.embedding_problems(preflight.read_shape(), tokenizer)
    assert problem.found == "the tokenizer has 265 tokens, but the model's embedding 263 rows"


def test_a_tokenizer_without_a_template_stops_the_build(render):
    Path("models/base/chat_template.jinja").unlink()
    with pytest.raises(Problems, match="the tokenizer has no chat template"):
        load_tokenizer()


GIVEN = [{"prompt": user("a"), "ground_truth": truth, "extra": "{}"} for truth in ("ab", "cd", "ef")]


def test_a_reward_that_prefers_wrong_answers_stops_the_build_unless_waived(render, monkeypatch):
    from validators import rewards

    def brief(completions, **_):
        return [-float(len(answer[-1]["content"])) for answer in completions]

    monkeypatch.setattr(rewards, "one_word", brief)
    with pytest.raises(Problems, match=r"preflight\.reward_order: empty answers earn 2 more than the ground truth"):
        examined(render, "grpo", GIVEN, num_generations=2)
    report = examined(render, "grpo", GIVEN, waive={"reward_order": "brevity is all"}, num_generations=2)
    assert {item["check"]: item["level"] for item in report.findings}["preflight.reward_order"] == "waived"
    assert any("ms an answer" in line for line in report.printed)
    assert not any("ms an answer" in item["message"] for item in report.findings)


# -- a whole build ----------------------------------------------------------------------------------------------------


def test_optimizer_steps_are_those_that_trl_takes(built, tmp_path, monkeypatch):
    project = built.copy(tmp_path / "copy")
    monkeypatch.chdir(project.folder)
    from stages import train

    params = project.read_params()
    for method in ("sft", "grpo"):
        args = dict(params["methods"][method]["args"]) | {"num_train_epochs": 1}
        del args["max_steps"]
        params["steps"]["align"] = params["methods"][method] | {"args": args}
        project.write_checked(params)
        preflight.main()
        announced = json.loads((project.folder / "preflight/align.json").read_text())
        trainer = train.make_trainer("align", announced | {"backend": "transformers"}, tmp_path / "work")
        assert trainer.train().global_step == announced["optimizer_steps"]


@pytest.fixture
def project(built, tmp_path, monkeypatch):
    project = built.copy(tmp_path / "copy")
    monkeypatch.chdir(project.folder)
    return project


def test_what_cannot_be_trained_is_named_for_all_steps_at_once(project):
    params = project.read_params()
    params["steps"]["align"] = params["methods"]["grpo"] | {"args": {"num_generations": 7}}
    params["steps"]["sft"] = params["methods"]["sft"] | {"args": {"max_length": 2}}
    params["steps"]["odd"] = params["methods"]["orpo"] | {"args": {"loss_type": "none", "warmup_ratio": 3.0}}
    project.write_checked(params)
    with pytest.raises(Problems) as error:
        preflight.main()
    assert {problem.where.split(": ")[0] for problem in error.value.problems} == {
        "steps.sft",
        "steps.align",
        "steps.odd",
    }


def hashes(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_limits_waivers_and_the_machine_leave_what_train_reads_as_it_is(project):
    params = project.read_params()
    params["steps"] |= {name: params["methods"][name] for name in ("orpo", "kto", "grpo")}
    project.write_checked(params)
    preflight.main()
    first = hashes(Path("preflight"))
    preflight.main()
    assert hashes(Path("preflight")) == first
    params["preflight"] |= {"truncated_share": 0.0, "memory_gb": 0.001}
    params["steps"]["sft"] |= {"args": params["steps"]["sft"]["args"], "waive": {"memory_gb": "a joke"}}
    project.write_checked(params)
    preflight.main()
    changed = {name for name, digest in hashes(Path("preflight")).items() if digest != first[name]}
    assert changed == {"_findings.json"}
    found = json.loads(Path("preflight/_findings.json").read_text())
    of_eval = found.pop("_eval")
    assert set(found) == set(params["steps"]) and set(of_eval) == set(params["datasets"])
    levels = {item["check"]: item["level"] for item in found["sft"]}
    assert levels["preflight.memory_gb"] == "waived"
    assert {tuple(item) for items in found.values() for item in items} == {
        ("check", "value", "limit", "level", "message")
    }


def tilth(project, *arguments):
    done = project.start("python", "-m", "commands", "preflight", *arguments, COLUMNS="200")
    return done.returncode, done.stdout, done.stderr


def test_the_command_shows_what_the_build_left(project):
    params = project.read_params()
    params["steps"]["sft"]["args"] = params["steps"]["sft"]["args"] | {"max_length": 18}
    params["steps"]["sft"]["waive"] = {"dropped_share": "half are too long"}
    params["steps"]["reward"] = params["methods"]["grpo"]
    project.write_checked(params)
    preflight.main()
    code, out, _ = tilth(project)
    assert code == 0 and "says otherwise" not in out
    assert all(
        word in out
        for word in (
            "sft",
            "align",
            "reward",
            "truncated_share",
            "warning",
            "exact_match takes",
            "free",
            "are longer than max_length 18",
        )
    )
    code, out, _ = tilth(project, "sft", "--json")
    report = json.loads(out)
    assert (
        set(report) == {"sft"} and report["sft"]["findings"] and report["sft"]["rows"] > report["sft"]["trained_rows"]
    )
    for sample in json.loads(Path("preflight/_xray.json").read_text(encoding="utf-8"))["sft"]:
        shown = json.loads(tilth(project, "sft", "--row", sample["row"], "--json")[1])
        assert [part["tokens"] for part in sample["parts"]] == [part["tokens"] for part in shown["parts"]]
    code, out, _ = tilth(project, "reward", "--answer", "no such thing")
    assert code == 0 and "exact_match pays 0" in out and "the ground truth is '" in out
    assert out.splitlines()[1] == "  it has no number and marks no final answer"
    truth = out.splitlines()[0].partition("the ground truth is ")[2].strip("'")
    said = json.loads(tilth(project, "reward", "--answer", f"<think>hm</think>A: {truth}", "--json")[1])
    assert said["ground_truth"] == truth and said["rewards"]["exact_match"] == 1.0 == said["reward"]
    code, _, err = tilth(project, "sft", "--answer", "x")
    assert code != 0 and "sft is a step of method sft; expected the name of a step with rewards" in err
    code, out, _ = tilth(project, "--dropped")
    rows = [line for line in out.splitlines() if line.startswith("sft: data/raw/chat/")]
    with open("preflight/_dropped.csv", encoding="utf-8", newline="") as file:
        assert len(rows) == len(list(csv.DictReader(file))) == report["sft"]["rows"] - report["sft"]["trained_rows"]


def test_the_command_says_what_has_changed_since(project):
    params = project.read_params()
    params["steps"]["align"] = params["methods"]["dpo"] | {"args": {"beta": 0.3}}
    project.write_params(params)
    assert "has changed since, for align: dvc repro preflight" in tilth(project)[1]


def test_the_command_says_what_is_not_built_yet_and_what_is_no_step(project):
    code, _, err = tilth(project, "algin")
    assert code == 1 and "no step 'algin'" in err and "did you mean 'align'?" in err
    (project.folder / "preflight/align.json").unlink()
    code, _, err = tilth(project)
    assert code == 1 and "nothing about align yet" in err and "dvc repro preflight" in err


def test_another_limit_or_waiver_trains_nothing_again(built, tmp_path):
    project = built.copy(tmp_path / "copy")
    params = project.read_params()
    params["preflight"] |= {"truncated_share": 0.9, "length_bias": 0.1}
    params["steps"]["align"]["waive"]["length_bias"] = "the sample is made so"
    project.write_params(params)
    assert project.repro() == {"check", "preflight", "report"}
    found = json.loads((project.folder / "preflight/_findings.json").read_text(encoding="utf-8"))["align"]
    (bias,) = [item for item in found if item["check"] == "preflight.length_bias"]
    assert bias["level"] == "waived" and bias["message"].endswith("(the sample is made so)")
