"""The graph rebuilds what changed and nothing else: real `dvc repro` on a small copy of the project."""

import csv
import hashlib
import json
import re
import shutil
import sys

import pytest
from ruamel.yaml import YAML

pytestmark = pytest.mark.slow

ALIGN = {"check", "preflight", "train@align", "evaluate@align", "collect_scores", "gate", "report"}
# where it is asked what is trained, and not what is scored, a build goes up to the models
UP_TO = [pytest.param(("train@sft", "train@align"), id="models"), pytest.param((), id="all", marks=pytest.mark.long)]


@pytest.fixture
def project(built, tmp_path):
    return built.copy(tmp_path / "copy")


def trained(stages):
    return {stage for stage in stages if stage.startswith("train@")}


def of_dataset(stages):
    """The datasets whose own stages ran."""
    return {stage.split("@")[1] for stage in stages if stage.split("@")[0] in ("ingest", "validate", "curate")}


def test_nothing_changed_runs_nothing(project):
    assert project.repro() == set()


def test_a_learning_rate_reruns_its_step_alone(project):
    params = project.read_params()
    params["steps"]["align"]["args"]["learning_rate"] = 4e-5
    project.write_params(params)
    assert project.repro() == ALIGN


def test_a_comment_and_a_default_that_is_written_out_rerun_check_alone(project):
    params = project.read_params()
    params["curate"] = {"near_duplicates": None, "ngram_words": 13, "overlap_share": 0.8}
    params["datasets"]["chat"] |= {"max_rows": None, "weights": {}, "columns": {}}
    params["evaluate"] |= {"samples": 8, "temperature": 0.8}
    params["base"]["license"] = None
    project.write_params(params)
    with open(project.folder / "params.yaml", "a", encoding="utf-8") as file:
        file.write("# a comment\n")
    before = lock_of(project)
    assert project.repro() == {"check"}
    changed = {name for name, entry in lock_of(project).items() if entry != before[name]}
    assert changed == {"check"}


def lock_of(project):
    return YAML(typ="safe", pure=True).load(project.folder / "dvc.lock")["stages"]


def test_an_option_of_a_dataset_reruns_the_stages_that_read_it(project):
    params = project.read_params()
    params["datasets"]["chat"]["max_rows"] = 30
    project.write_params(params)
    ran = project.repro("collect")
    assert ran == {"check", "curate@chat", "collect"}
    params["datasets"]["chat"]["max_reject_share"] = 0.3
    project.write_params(params)
    assert project.repro("collect") == {"check", "ingest@chat", "validate@chat"}


def test_a_mistake_runs_nothing_behind_check_and_leaves_what_stages_read_as_it_was(project):
    def written():
        return {path: path.read_bytes() for path in (project.folder / ".build/params").rglob("*.json")}

    before, lock = written(), lock_of(project)
    params = project.read_params()
    params["seed"], params["evaluate"]["sampels"] = 8, 3
    project.write_params(params)
    output = project.run("dvc", "repro", fails=True)
    assert "did you mean 'samples'?" in output
    assert re.findall(r"Running stage '([^']+)'", output) == ["check"]
    assert written() == before and lock_of(project) == lock


def test_an_experiment_of_a_param_is_one_column_under_its_own_name(project):
    experiment(project, "--name", "few", "-S", "+datasets.chat.max_rows=30", "collect")
    shown = csv.DictReader(project.run("dvc", "exp", "show", "--csv").splitlines())
    columns = [name for name in shown.fieldnames if name.endswith("max_rows")]
    assert sorted(columns) == ["datasets.chat.max_rows", "evaluate.max_rows"]
    assert {row["Experiment"]: row["datasets.chat.max_rows"] for row in shown}["few"] == "30"
    diff = json.loads(project.run("dvc", "params", "diff", "--json"))
    assert {file: list(keys) for file, keys in diff.items()} == {"params.yaml": ["datasets.chat.max_rows"]}


@pytest.mark.parametrize("up_to", UP_TO)
def test_a_waiver_trains_nothing(project, up_to):
    params = project.read_params()
    params["steps"]["align"]["waive"] = {"beta": "none of its business"}
    project.write_params(params)
    assert trained(project.repro(*up_to)) == set()


def test_a_switch_of_method_trains_once_and_the_way_back_nothing(project):
    params = project.read_params()
    dpo, params["steps"]["align"] = params["steps"]["align"], params["methods"]["kto"]
    project.write_params(params)
    assert project.repro() == ALIGN
    params["steps"]["align"] = dpo
    project.write_params(params)
    assert not {stage for stage in project.repro() if stage.startswith(("train", "evaluate"))}


@pytest.mark.parametrize("up_to", UP_TO)
def test_a_raw_row_reaches_only_its_dataset_and_the_steps_that_use_it(project, up_to):
    feedback = project.folder / "data/raw/feedback/feedback.jsonl"
    feedback.write_text(
        feedback.read_text() + json.dumps({"prompt": "Say a.", "completion": "a", "label": True}) + "\n"
    )
    ran = project.repro(*up_to)
    assert of_dataset(ran) == {"feedback"}
    assert trained(ran) == set()
    pairs = project.folder / "data/raw/pairs/pairs.jsonl"
    more = [json.dumps({"prompt": f"Say {word}.", "chosen": word, "rejected": "no"}) for word in "abcdefgh"]
    pairs.write_text(pairs.read_text() + "\n".join(more) + "\n")
    ran = project.repro(*up_to)
    assert of_dataset(ran) == {"pairs"}
    assert trained(ran) == {"train@align"}


def test_a_validator_reruns_only_datasets_of_its_kind(project):
    project.edit("validators/kto.py", "CHECKS = shared_checks(", "CHECKS = {} | shared_checks(")
    assert project.repro() == {"code", "validate@feedback"}


def test_a_comment_or_docstring_in_any_module_reruns_the_lists_of_code_alone(project):
    for path in ("stages/curate.py", "stages/training/trl.py", "validators/kto.py", "validators/rewards.py"):
        project.edit(path, "\n\n\ndef ", "\n\n# a comment\n\ndef ")
    assert project.repro() == {"code"}


def test_code_that_does_not_parse_is_one_line_and_nothing_is_built_or_deleted(project):
    before = {path: path.read_bytes() for path in sorted((project.folder / ".build/code").rglob("*")) if path.is_file()}
    project.edit("stages/dedup/near_duplicates.py", "import ", "impor ")
    output = project.run("dvc", "repro", fails=True)
    assert "stages/dedup/near_duplicates.py:" in output and "does not parse" in output
    assert "Traceback" not in output
    assert {path: path.read_bytes() for path in before} == before


def test_a_module_is_named_by_plan_and_reruns_what_holds_it(project):
    project.edit("stages/dedup/near_duplicates.py", "import numpy as np\n", "import numpy as np, json\n")
    output = project.run(sys.executable, "-m", "commands", "plan")
    assert "stages/dedup/near_duplicates.py changed" in output
    assert project.repro() == {"code", *(f"curate@{name}" for name in ("chat", "pairs", "feedback", "problems"))}
    assert "stages/dedup/near_duplicates.py" in project.run(sys.executable, "-m", "commands", "diff", "HEAD")


@pytest.mark.parametrize("up_to", UP_TO)
def test_a_reward_function_trains_only_grpo_steps(project, up_to):
    params = project.read_params()
    params["steps"]["align"] = params["methods"]["grpo"]
    project.write_params(params)
    assert trained(project.repro(*up_to)) == {"train@align"}
    project.edit("validators/rewards.py", "def _number(", "UNUSED = 1\n\n\ndef _number(")
    assert trained(project.repro(*up_to)) == set()
    project.edit("validators/rewards.py", '["content"] or ""', '["content"] or str()')
    assert trained(project.repro(*up_to)) == {"train@align"}


@pytest.mark.parametrize("up_to", UP_TO)
def test_a_dataset_added_and_removed_leaves_a_clone_with_nothing_to_run(project, tmp_path, up_to):
    params = project.read_params()
    params["datasets"]["extra"] = {"kind": "sft", "raw": "data/raw/chat", "max_reject_share": 0.2}
    project.write_params(params)
    ran = project.repro(*up_to)
    assert of_dataset(ran) == {"extra"}
    assert trained(ran) == set()
    del params["datasets"]["extra"]
    project.write_params(params)
    ran = project.repro()
    assert not of_dataset(ran)
    assert not trained(ran)
    project.run("dvc", "remote", "add", "--default", "team", str(tmp_path / "remote"))
    project.commit()
    project.run("dvc", "push")
    project.run("git", "clone", "-q", ".", str(tmp_path / "clone"))
    clone = type(project)(tmp_path / "clone")
    clone.run("dvc", "pull")
    assert clone.repro() == set()


def test_a_step_added_and_removed_leaves_no_scores_of_it_and_the_report_of_before(project):
    report = (project.folder / "report/index.html").read_bytes()
    params = project.read_params()
    params["steps"]["more"] = params["methods"]["kto"] | {"args": {"max_steps": 1, "learning_rate": 5e-5}}
    project.write_params(params)
    assert {"evaluate@more", "collect_scores", "report"} <= project.repro()
    del params["steps"]["more"]
    project.write_params(params)
    assert project.repro() - {"check"} == {"collect_scores"}
    assert not list((project.folder / "scores").glob("more.*"))
    assert (project.folder / "report/index.html").read_bytes() == report
    assert project.repro() == set()


def test_two_builds_in_two_folders_have_the_same_data(built, tmp_path):
    def hashes(folder):
        return {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted((folder / "data").rglob("*"))
            if path.is_file()
        }

    other = built.copy(tmp_path / "other", real=True)  # the two that preloaded processes build share a hash seed
    (other.folder / "dvc.lock").unlink()
    shutil.rmtree(other.folder / ".build/params")
    other.run("dvc", "destroy", "-f")
    other.run("git", "checkout", "-q", ".dvc", ".dvcignore", "dvc.yaml")
    other.run("git", "clean", "-qfdX", "data")
    other.repro("collect")
    assert hashes(other.folder) == hashes(built.folder)


def test_metrics_and_curves_of_all_models_are_dvcs(project):
    metrics = json.loads(project.run("dvc", "metrics", "show", "--json"))[""]["data"]
    assert {"gates.json", *(f"scores/{model}.json" for model in ("base", "sft", "align"))} == set(metrics)
    score = metrics["scores/align.json"]["data"]["pairs"]["pair_accuracy"]
    assert set(score) == {"value", "n", "change"}  # ten rows have no interval
    plots = project.run("dvc", "plots", "show", "--json")
    assert "scores/sft.csv" in plots and "scores/align.csv" in plots


def test_a_mistake_in_the_last_step_stops_the_build_before_anything_trains(project):
    params = project.read_params()
    params["steps"]["sft"]["args"]["learning_rate"] = 1e-3
    params["steps"]["align"]["args"]["bta"] = 0.1
    project.write_params(params)
    output = project.run("dvc", "repro", fails=True)
    assert "TRL's dpo config has no 'bta'" in output
    assert "did you mean 'beta'?" in output
    assert "Traceback" not in output
    assert (project.folder / "models/sft/model.safetensors").exists()


@pytest.mark.long
def test_all_five_methods_in_turn_and_back_through_all_of_them_train_each_once(project):
    params, models = project.read_params(), {}

    def switched(method):
        params["steps"]["align"] = params["methods"][method]
        project.write_params(params)
        return project.repro(), (project.folder / "models/align/model.safetensors").read_bytes()

    for method in ("orpo", "kto", "grpo", "sft", "dpo"):
        ran, models[method] = switched(method)
        assert trained(ran) == (set() if method == "dpo" else {"train@align"})  # dpo is what was built before
    assert len(set(models.values())) == 4  # in two steps GRPO earns nothing and leaves the model that sft made
    assert models["grpo"] == models["sft"] == (project.folder / "models/sft/model.safetensors").read_bytes()
    for method in (*reversed(models), *models):
        ran, model = switched(method)
        assert ran <= {"check"} and model == models[method]


def experiment(project, *arguments):
    rates = [f"steps.align.args.learning_rate={argument}" for argument in arguments if argument[0].isdigit()]
    others = [argument for argument in arguments if not argument[0].isdigit()]
    return project.run("dvc", "exp", "run", *others, *(part for rate in rates for part in ("-S", rate)))


@pytest.mark.long
def test_a_queue_of_three_learning_rates_trains_align_alone_and_one_is_taken(project, tmp_path):
    """As docs/sharing.md has it."""
    said = experiment(project, "4e-5")
    assert set(re.findall(r"Running stage '([^']+)'", said)) == ALIGN
    project.run("git", "checkout", "-q", ".")
    assert project.repro() <= {"check"}
    names = {"slow": 1e-5, "middle": 2e-5, "fast": 1e-4}
    for name, rate in names.items():
        experiment(project, "--queue", "--name", name, str(rate))
    project.run("dvc", "exp", "run", "--run-all")
    for name in names:
        ran = set(re.findall(r"Running stage '([^']+)'", project.run("dvc", "queue", "logs", name)))
        assert ran == ALIGN
    shown = {row["Experiment"]: row for row in csv.DictReader(project.run("dvc", "exp", "show", "--csv").splitlines())}
    rates = {name: float(shown[name]["steps.align.args.learning_rate"]) for name in names}
    assert rates == names
    score = next(column for column in shown["slow"] if "align" in column and column.endswith("pair_accuracy.value"))
    assert all(shown[name][score] for name in names)
    project.run("dvc", "exp", "apply", "middle")
    assert project.read_params()["steps"]["align"]["args"]["learning_rate"] == 2e-5
    assert project.repro() <= {"check"}
    project.commit()
    assert "BROKEN" not in project.run(sys.executable, "-m", "commands", "verify")
