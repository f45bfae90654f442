import importlib.util
import json
import os
from pathlib import Path

import pytest
import typer

from stages import check
from stages.check import raw_problems
from stages.core import stage_params
from stages.reading import links as _links
from validators import params
from validators._cautions import Caution
from validators.params import read_params_yaml
from validators.problems import Problem, Problems

GOOD = '{"instruction": "q", "output": "a"}\n'
PARAMS = """
seed: 7
launch: python
eval_fraction: 0.1
base: {model: tiny}
datasets: {chat: {kind: sft, raw: raw}}
steps: {sft: {method: sft, from: base, dataset: chat, args: {learning_rate: RATE}}}
curate: {near_duplicates: null}
preflight: {}
evaluate: {max_new_tokens: 24, max_rows: 2000, batch_size: 128}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    root = tmp_path / "project"
    (root / "raw").mkdir(parents=True)
    (root / "raw/good.jsonl").write_text(GOOD)
    (root / "params.yaml").write_text(PARAMS.replace("RATE", "1.0e-4"))
    (tmp_path / "outside.jsonl").write_text(GOOD)
    monkeypatch.chdir(root)
    _links.cache_folder.cache_clear()
    return root


def test_a_reward_whose_package_is_missing_is_said_before_anything_is_built(project, monkeypatch):
    found = importlib.util.find_spec
    grpo = "{method: grpo, from: base, dataset: problems, rewards: [math_verify]}"
    Path("params.yaml").write_text(
        PARAMS.replace("RATE", "1.0e-4")
        .replace("raw: raw}", "raw: raw}, problems: {kind: grpo, raw: raw}")
        .replace("steps: {", f"steps: {{align: {grpo}, ")
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "math_verify" else found(name))
    with pytest.raises(Problems) as error:
        check.check(read_params_yaml())
    (problem,) = error.value.problems
    assert problem.where == "params.yaml: steps.align.rewards" and "pip install 'tilth[math]'" in problem.expected
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: found("json") if name == "math_verify" else found(name)
    )
    check.check(read_params_yaml())


def locked(base, md5="0" * 32, code="code"):
    """dvc.lock as the stage `base` leaves it, of an entry of params.yaml."""
    filled = params.Base.model_validate(base).model_dump()
    Path(".build/code").mkdir(parents=True, exist_ok=True)
    Path(".build/code/base").write_text("code")
    deps = {
        ".build/params/base.json": stage_params.params_text(stage_params.base_params({"base": filled})),
        ".build/code/base": code,
    }
    entry = {"cmd": "python -m stages base", "outs": [{"path": "models/base", "md5": f"{md5}.dir"}]}
    entry["deps"] = [{"path": path, "md5": check.md5_of(text.encode())} for path, text in deps.items()]
    Path("dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": {"base": entry}}))


def of_base(model):
    """The problems of params.yaml with a base model that is not on this machine."""
    Path("params.yaml").write_text(PARAMS.replace("RATE", "1.0e-4").replace("tiny", model))
    try:
        check.check(read_params_yaml())
    except Problems as error:
        return error.problems
    return []


@pytest.mark.parametrize("model", ["./downloads/mine", "downloads/mine", "mine.gguf"])
def test_a_base_model_that_was_built_needs_no_source(project, model):
    assert of_base(model)
    locked({"model": model})
    (problem,) = of_base(model)
    assert model == "downloads/mine" or problem.hint == "dvc pull models/base brings what was built from it"
    Path("models/base").mkdir(parents=True)
    Path("models/base/config.json").write_text("{}")
    assert of_base(model) == []
    for other, why in (
        ({"model": model, "eos_token": "x"}, "another `base` entry"),
        ({"model": "other.gguf"}, "another `base` entry"),
    ):
        locked(other)
        assert model == "downloads/mine" or why in of_base(model)[0].hint
        assert of_base(model)
    locked({"model": model}, code="other")
    assert model == "downloads/mine" or "other code" in of_base(model)[0].hint


def test_a_base_model_that_the_cache_has_whole_needs_no_source(project):
    def keep(data):
        md5 = check.md5_of(data)
        path = Path(".dvc/cache/files/md5", md5[:2], md5[2:])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return md5, path

    md5, weights = keep(b"weights")
    listing = json.dumps([{"md5": md5, "relpath": "model.safetensors"}]).encode()
    found, path = keep(listing)
    path.rename(f"{path}.dir")
    locked({"model": "mine.gguf"}, found)
    assert of_base("mine.gguf") == []
    weights.unlink()
    assert "dvc pull" in of_base("mine.gguf")[0].hint


def test_a_base_model_that_was_never_built_asks_for_its_source(project):
    (problem,) = of_base("mine.gguf")
    assert problem.found == "no file 'mine.gguf'" and problem.hint.startswith("put it there")


def test_a_judge_that_was_built_needs_no_source_either(project):
    def of_judge(judge):
        problem = Problem("params.yaml: evaluate.judge.model", "no such folder")
        return check.drop_source_problems([problem], {"evaluate": {"judge": judge}})

    mine = {"model": "./judges/mine", "kind": "reward"}
    assert of_judge(mine)[0].hint.startswith("put it there; or")
    Path(".build/code").mkdir(parents=True)
    Path(".build/code/judge").write_text("code")
    read = stage_params.judge_params({"evaluate": {"judge": params.Judge.model_validate(mine).model_dump()}})
    deps = {".build/params/judge.json": stage_params.params_text(read), ".build/code/judge": "code"}
    entry = {
        "outs": [{"path": "judge", "md5": "0.dir"}],
        "deps": [{"path": path, "md5": check.md5_of(text.encode())} for path, text in deps.items()],
    }
    Path("dvc.lock").write_text(json.dumps({"stages": {"judge": entry}}))
    assert of_judge(mine)[0].hint == "dvc pull judge brings what was built from it"
    Path("judge").mkdir()
    Path("judge/config.json").write_text("{}")
    assert of_judge(mine) == of_judge(mine | {"max_rows": 5}) == []
    assert "another `evaluate.judge` entry" in of_judge(mine | {"kind": "chat"})[0].hint


def found(raw):
    return [(problem.where, problem.found) for problem in raw_problems("datasets.chat.raw", raw)]


@pytest.mark.parametrize("raw", ["raw", "raw/", "./raw", "raw/good.jsonl", "raw/../raw"])
def test_raw_data_inside_the_project_is_right(project, raw):
    assert found(raw) == []


def test_a_missing_path_is_a_problem_at_its_key(project):
    assert found("row") == [("datasets.chat.raw", "'row' does not exist")]


def test_an_empty_folder_is_a_problem_at_its_key(project):
    (project / "empty").mkdir()
    (project / "empty/.gitkeep").touch()
    assert found("empty") == [("datasets.chat.raw", "'empty' holds no file")]


@pytest.mark.parametrize("raw", ["..", "../outside.jsonl", "raw/../../outside.jsonl", "/"])
def test_a_path_that_leaves_the_project_is_a_problem(project, raw):
    assert found(raw) == [("datasets.chat.raw", f"{raw!r} is outside the project")]


def test_an_absolute_path_is_a_problem_even_inside_the_project(project):
    raw = str(project / "raw")
    assert found(raw) == [("datasets.chat.raw", f"{raw!r} is outside the project")]


def test_a_link_that_leaves_the_project_is_a_problem(project):
    (project / "raw/.round").symlink_to(".round")
    for name in ("link.jsonl", ".hidden", ".folder"):
        link = project / "raw" / name
        link.symlink_to(project.parent / "outside.jsonl")
        assert found("raw") == [
            (f"raw/{name}", f"a link that leaves the project, to {project.parent / 'outside.jsonl'}")
        ]
        link.unlink()


def test_a_raw_path_that_is_itself_a_link_out_is_a_problem(project):
    (project / "link").symlink_to(project.parent)
    assert found("link") == [("link", f"a link that leaves the project, to {project.parent}")]


@pytest.mark.slow
@pytest.mark.parametrize("raw", ["raw", "raw/link.jsonl"])
def test_a_link_into_dvcs_cache_is_right_wherever_that_lies(project, raw):
    """With `cache.type symlink`, DVC puts such links where the data were."""
    (project / ".dvc").mkdir()
    (project / ".dvc/config").write_text(f"[cache]\n    dir = {project.parent / 'shared'}\n    type = symlink\n")
    held = project.parent / "shared/files/md5/ab/cdef"
    held.parent.mkdir(parents=True)
    held.write_bytes((project / "raw/good.jsonl").read_bytes())
    (project / "raw/link.jsonl").symlink_to(held)
    assert found(raw) == []


def test_a_link_inside_the_project_is_right(project):
    (project / "raw/link.jsonl").symlink_to(project / "raw/good.jsonl")
    assert found("raw") == []


def test_a_link_to_a_folder_outside_is_a_problem(project):
    (project / "raw/link").symlink_to(project.parent)
    assert found("raw") == [("raw/link", f"a link that leaves the project, to {project.parent}")]


@pytest.mark.parametrize(
    "data, text",
    [
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "a Git LFS pointer, not the data"),
        (GOOD.encode("utf-16"), "the text is not UTF-8 but UTF-16"),
    ],
)
def test_a_file_that_is_no_data_is_a_problem_at_its_path(project, data, text):
    (project / "raw/bad.jsonl").write_bytes(data)
    assert found("raw") == [("raw/bad.jsonl", text)]


def test_every_bad_file_of_a_folder_is_named(project):
    (project / "raw/a.jsonl").touch()
    (project / "raw/b.jsonl").touch()
    assert [where for where, _ in found("raw")] == ["raw/a.jsonl", "raw/b.jsonl"]


# -- the stage ----------------------------------------------------------------------------------------------------


def written(project):
    return {path.name: path.read_bytes() for path in (project / ".build/params").rglob("*.json")}


def test_the_stage_writes_what_stages_read_with_every_default(project):
    check.main()
    found = json.loads((project / ".build/params/curate/chat.json").read_text())
    assert found["curate"] == {"near_duplicates": None, "ngram_words": 13, "overlap_share": 0.8, "personal_data": None}
    assert found["datasets"]["chat"] == {
        "kind": "sft", "raw": "raw", "eval": [], "split_on": ["user"], "weights": {}, "max_rows": None,
    }  # fmt: skip


def test_a_default_that_is_written_out_and_a_comment_change_nothing(project):
    check.main()
    before = written(project)
    text = PARAMS.replace("RATE", "1.0e-4").replace("raw: raw}", "raw: raw, max_rows: null}") + "# a comment\n"
    (project / "params.yaml").write_text(text)
    check.main()
    assert written(project) == before and before


def test_a_mistake_leaves_the_files_of_before_as_they_are(project):
    check.main()
    before = written(project)
    (project / "params.yaml").write_text(PARAMS.replace("RATE", "2.0e-4").replace("seed", "sed"))
    with pytest.raises(Problems):
        check.main()
    assert written(project) == before


def test_what_stages_read_of_a_removed_dataset_goes_with_it(project):
    (project / ".build/params/curate").mkdir(parents=True)
    (project / ".build/params/curate/gone.json").write_text("{}")
    (project / ".build/params/base.partial").write_text("{")
    check.main()
    assert not {"gone.json", "base.partial"} & {path.name for path in (project / ".build/params").rglob("*")}
    assert (project / ".build/params/curate/chat.json").exists()


def test_mistakes_in_params_and_in_raw_files_come_all_at_once(project):
    (project / "raw/bad.jsonl").touch()
    (project / "params.yaml").write_text(PARAMS.replace("RATE", "'1e-4'").replace("seed", "sed"))
    with pytest.raises(Problems) as raised:
        check.main()
    assert [problem.where for problem in raised.value.problems] == [
        "params.yaml: seed",
        "params.yaml: sed",
        "params.yaml: steps.sft.args.learning_rate",
        "raw/bad.jsonl",
    ]
    assert not (project / ".build").exists()


@pytest.mark.parametrize("datasets", ["datasets: 5", "datasets: {chat: 5}", "datasets: {chat: {kind: sft, raw: 5}}"])
def test_a_section_of_a_wrong_type_is_a_problem_and_no_traceback(project, datasets):
    text = PARAMS.replace("datasets: {chat: {kind: sft, raw: raw}}", datasets).replace("RATE", "1.0e-4")
    (project / "params.yaml").write_text(text)
    with pytest.raises(Problems, match=r"params\.yaml: datasets"):
        check.main()


def test_a_missing_file_names_the_key_in_params(project):
    (project / "raw/good.jsonl").unlink()
    with pytest.raises(Problems, match=r"params\.yaml: datasets\.chat\.raw: 'raw' holds no file"):
        check.main()


def test_a_warning_is_printed_with_its_waiver_and_stops_nothing(project, capsys):
    (project / "params.yaml").write_text(PARAMS.replace("RATE", "0.5"))
    check.main()
    printed = capsys.readouterr().out
    assert printed.startswith("warning: params.yaml: steps.sft: learning_rate 0.5 is outside the usual")
    assert "hint: waive: {learning_rate: your reason}" in printed


def test_a_waived_warning_is_printed_with_its_reason(capsys):
    check.print_warnings([Caution("sft", "beta", "beta 9 is outside", "an experiment")])
    assert capsys.readouterr().out == "waived: params.yaml: steps.sft: beta 9 is outside (an experiment)\n"


@pytest.mark.parametrize(
    "text, numbered, what",
    [
        ("prompt,completion\nq,a\n", False, []),
        ("What is it?,It is a thing.\n", True, []),
        ("What is it?,It is a thing.\n", False, ["the first line looks like data, not like names: 'What is it?'"]),
        (GOOD, True, ["columns by number, but the file names its columns"]),
    ],
)
def test_a_csv_has_names_or_numbered_columns(project, text, numbered, what):
    (project / "raw/good.jsonl").write_text(text)
    assert [problem.found for problem in raw_problems("datasets.chat.raw", "raw", numbered)] == what


def test_a_task_that_nobody_has_is_a_problem_before_anything_is_built(project, monkeypatch):
    text = PARAMS.replace("RATE", "1.0e-4").replace("batch_size: 128}", "batch_size: 128, lm_eval: {tasks: [a, b]}}")
    (project / "params.yaml").write_text(text)
    monkeypatch.setattr(
        check, "task_problems", lambda names: [Problem("evaluate.lm_eval.tasks", f"no task {names[1]!r}")]
    )
    with pytest.raises(Problems, match="no task 'b'"):
        check.main()


@pytest.mark.parametrize("name, folder", [(b"caf\xe9.jsonl", "raw"), (b"caf\xe9/.hidden", "raw")])
def test_a_name_that_is_not_utf8_is_a_problem_of_its_folder(project, name, folder):
    path = os.path.join(b"raw", name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(GOOD)
    (problem,) = raw_problems("datasets.chat.raw", "raw")
    first = name.partition(b"/")[0].decode(errors="backslashreplace")
    assert (problem.where, problem.found) == (folder, f"a name that is not UTF-8: {first}")
    assert problem.hint == f"cd raw && mv -- {first.replace(chr(92) + 'xe9', '*')} NEW_NAME"
    str(problem).encode()


# -- files of a folder --------------------------------------------------------------------------------------------


def checked(project, entry):
    text = PARAMS.replace("RATE", "1.0e-4").replace("raw: raw}", f"raw: raw, {entry}}}")
    (project / "params.yaml").write_text(text)
    return [str(warning) for warning in check.check(read_params_yaml())]


@pytest.mark.parametrize("key, given", [("exclude", "['tset*']"), ("eval", "['tset*']"), ("weights", "{'tset*': 0.5}")])
def test_a_pattern_that_fits_no_file_is_a_problem_at_its_key(project, key, given):
    (project / "raw/test.jsonl").write_text(GOOD)
    with pytest.raises(Problems) as raised:
        checked(project, f"{key}: {given}")
    (problem,) = raised.value.problems
    assert (problem.where, problem.found) == (f"params.yaml: datasets.chat.{key}", "no file fits 'tset*'")
    assert problem.hint == "did you mean 'test.jsonl'?"
    assert not [line for line in checked(project, f"{key}: {given.replace('tset', 'test')}") if "no file" in line]


def test_a_file_named_as_that_of_a_test_is_a_warning_until_the_entry_says_what_it_is(project):
    (project / "raw/test.jsonl").write_text(GOOD)
    (warning,) = checked(project, "max_rows: 5")
    assert warning.startswith("params.yaml: datasets.chat: rows of raw/test.jsonl would be trained on")
    assert checked(project, "exclude: [test.jsonl]") == []
    assert checked(project, "eval: [test.jsonl]") == []
    assert checked(project, "eval: []") == []
    assert len(checked(project, "exclude: [good.jsonl]")) == 0
    (project / "raw/good.jsonl").unlink()
    assert checked(project, "max_rows: 5") == []  # a dataset of one file was chosen by its name


def test_an_excluded_file_may_be_anything(project):
    (project / "raw/bad.jsonl").touch()
    assert checked(project, "exclude: [bad.jsonl]") == []


@pytest.mark.parametrize(
    "entry", ["exclude: 5", "exclude: [5]", "weights: [a]", "eval: {}", "split_on: [system]", "split_on: user"]
)
def test_patterns_of_a_wrong_type_are_problems_and_no_traceback(project, entry):
    with pytest.raises(Problems, match=r"params\.yaml: datasets\.chat\."):
        checked(project, entry)


def told_as_json(capsys):
    from commands import check as command

    try:
        command.main(as_json=True)
    except typer.Exit as error:
        return error.exit_code, json.loads(capsys.readouterr().out)
    return 0, json.loads(capsys.readouterr().out)


def test_what_is_valid_is_told_as_json(project, capsys):
    Path("params.yaml").write_text(PARAMS.replace("RATE", "0.1"))
    code, found = told_as_json(capsys)
    assert code == 0 and found["valid"] and found["problems"] == []
    assert found["datasets"] == ["chat"] and found["steps"] == ["sft"]
    assert "learning_rate 0.1 is outside" in found["warnings"][0]["text"] and found["warnings"][0]["waived"] is None


def test_each_mistake_is_told_as_json_with_exit_1(project, capsys):
    Path("params.yaml").write_text(PARAMS.replace("RATE", "fast").replace("kind: sft", "kind: stf"))
    code, found = told_as_json(capsys)
    assert code == 1 and not found["valid"]
    assert {problem["where"] for problem in found["problems"]} == {
        "params.yaml: datasets.chat.kind",
        "params.yaml: steps.sft.args.learning_rate",
    }
    assert all(problem["found"] for problem in found["problems"])
