import hashlib
import json
import sys

import pytest
from builds import SAMPLE

from commands.builds import differences as _differences
from commands.builds.build import Build
from commands.builds.differences import (
    ABSENT,
    DepState,
    Difference,
    as_change,
    dep_states,
    differences,
    known_dep_states,
    model_differences,
    stale_inputs,
)
from commands.builds.lock import parse_stage
from stages.core.hashes import folder_md5
from validators.params import Lora

PARAMS = {
    "seed": 7,
    "launch": "python",
    "datasets": {"chat": {"raw": "raw", "kind": "sft"}},
    "steps": {"sft": {"method": "sft", "from": "base", "dataset": "chat"}},
}


def entries(files):
    return [{"path": path, "md5": md5} for path, md5 in (files or {}).items()]


def build(params=PARAMS, **stages):
    """A build of stages, each (deps, outs, params) or a part of it; `train_sft` stands for train@sft."""
    made = {}
    for name, (deps, outs, keys) in stages.items():
        kind, _, subject = name.partition("_")
        name = f"{kind}@{subject}" if subject else kind
        cmd = f"python -m stages {kind} {subject}".strip()
        entry = {"cmd": cmd, "deps": entries(deps), "outs": entries(outs), "params": keys or {}}
        made[name] = parse_stage(name, entry)
    return Build(None, params, made)


@pytest.fixture
def of_params(tmp_path, monkeypatch):
    """Differences of a stage of a lock from before `check` wrote files, with the values in the lock itself."""
    monkeypatch.chdir(tmp_path)

    def of_params(locked, now):
        (tmp_path / "params.yaml").write_text(json.dumps(now), encoding="utf-8")
        found = differences(build(now, curate=(None, None, {"params.yaml": locked})), {})
        return [(each.path, each.key, each.old, each.new) for each in found["curate"]]

    return of_params


# -- parameters ---------------------------------------------------------------------------------------------------


def test_a_parameter_is_told_by_its_dotted_key_as_deep_as_it_goes(of_params):
    locked = {"seed": 7, "datasets.chat": {"raw": "raw", "kind": "sft"}}
    now = {"seed": 8, "datasets": {"chat": {"raw": "raw", "kind": "kto"}}}
    assert of_params(locked, now) == [
        ("params.yaml", "seed", 7, 8),
        ("params.yaml", "datasets.chat.kind", "sft", "kto"),
    ]


def test_null_is_a_value_and_a_key_that_is_new_has_none(of_params):
    assert of_params({"a": None}, {"a": 1}) == [("params.yaml", "a", None, 1)]
    assert of_params({"a": {"b": 1}}, {"a": {"b": 1, "c": None}}) == [("params.yaml", "a.c", ABSENT, None)]


def test_values_that_dvc_takes_for_the_same_differ_in_nothing(of_params):
    assert of_params({"a": 1, "b": True, "c": [1]}, {"a": 1.0, "b": 1, "c": [1.0]}) == []
    assert of_params({"a": 1}, {"a": "1"}) == [("params.yaml", "a", 1, "1")]


def test_keys_that_a_stage_does_not_ask_for_say_nothing(of_params):
    assert of_params({"seed": 7}, {"seed": 7, "new": 1}) == []


def test_what_a_stage_read_is_told_by_its_values_or_as_changed_where_no_copy_is_left(tmp_path, monkeypatch):
    from commands.builds import params as read_of
    from stages.core.stage_params import texts_by_path
    from validators.params import fill_defaults, read_params_yaml

    params = fill_defaults(read_params_yaml(SAMPLE))
    monkeypatch.chdir(tmp_path)
    path = f"{read_of.PARAMS_FOLDER}/collect.json"
    before = texts_by_path(params)[path]
    (tmp_path / read_of.PARAMS_FOLDER).mkdir(parents=True)
    (tmp_path / path).write_text(before, encoding="utf-8")
    params["datasets"]["chat"]["kind"] = "kto"
    locked = build(params, collect=({path: read_of.md5_of_text(before)}, None, None))
    assert differences(locked, {})["collect"] == [
        Difference("param", "params.yaml", "datasets.chat.kind", "sft", "kto")
    ]
    lost = build(params, collect=({path: "0" * 32}, None, None))
    assert differences(lost, {})["collect"] == [Difference("param", "params.yaml")]


def test_dvc_yaml_says_which_command_where_it_is_known():
    graph = {"curate": {"cmd": "other", "params": {}}}
    (cmd,) = differences(build(curate=(None, None, None)), {}, graph)["curate"]
    assert (cmd.what, cmd.old, cmd.new) == ("cmd", "python -m stages curate", "other")


def test_a_change_has_only_the_sides_that_there_are():
    assert as_change(Difference("param", "params.yaml", "a", ABSENT, None)) == {"key": "a", "new": None}
    assert as_change(Difference("param", "params.yaml", "a", 1, ABSENT)) == {"key": "a", "old": 1}


# -- commands -----------------------------------------------------------------------------------------------------


def test_trainers_are_launched_as_params_say():
    now = build(PARAMS | {"launch": "accelerate launch"}, train_sft=(None, None, None), curate_chat=(None, None, None))
    found = differences(now, {})
    assert found["curate@chat"] == []
    (cmd,) = found["train@sft"]
    assert (cmd.what, cmd.old, cmd.new) == (
        "cmd",
        "python -m stages train sft",
        "accelerate launch -m stages train sft",
    )


# -- dependencies -------------------------------------------------------------------------------------------------


def test_what_another_stage_made_is_by_the_lock():
    now = build(
        curate_chat=(None, {"data/train/chat.parquet": "new"}, None),
        train_sft=({"data/train/chat.parquet": "old"}, None, None),
    )
    (found,) = differences(now, known_dep_states(now, {}, dict))["train@sft"]
    assert (found.what, found.path, found.old.md5) == ("dep", "data/train/chat.parquet", "old")
    assert (found.new.md5, found.new.made, found.new.origin) == ("new", True, "what curate@chat made")


def test_a_folder_that_stages_fill_is_without_the_files_of_datasets_that_are_gone():
    outs = {name: f"data/train/{name}.parquet" for name in ("chat", "gone")}
    wanted = folder_md5({"chat.parquet": "aa"})
    now = build(
        curate_chat=(None, {outs["chat"]: "aa"}, None),
        curate_gone=(None, {outs["gone"]: "bb"}, None),
        collect=({"data/train": wanted}, None, None),
    )
    assert differences(now, known_dep_states(now, {}, dict))["collect"] == []


def test_a_file_in_an_output_is_by_what_is_in_it_and_unknown_where_that_is_lost():
    from commands.builds.git import Missing

    def lost(out):
        raise Missing([])

    now = build(preflight=(None, {"preflight": "cc.dir"}, None), train_sft=({"preflight/sft.json": "aa"}, None, None))
    there = {"preflight/sft.json": "bb"}
    (found,) = differences(now, known_dep_states(now, {}, lambda out: there))["train@sft"]
    assert found.new.md5 == "bb"
    (found,) = differences(now, known_dep_states(now, {}, lambda out: {}))["train@sft"]
    assert found.new.md5 is None
    assert differences(now, known_dep_states(now, {}, lost))["train@sft"] == []


def test_what_was_not_read_differs_by_its_size_alone():
    entry = {"deps": [{"path": "raw", "md5": "aa.dir", "size": 5}]}
    now = Build(None, PARAMS, {"ingest@chat": parse_stage("ingest@chat", entry)})
    assert differences(now, {"raw": DepState("", 5)})["ingest@chat"] == []
    assert [each.new.size for each in differences(now, {"raw": DepState("", 6)})["ingest@chat"]] == [6]
    assert [each.new.md5 for each in differences(now, {"raw": DepState(None)})["ingest@chat"]] == [None]
    assert differences(now, {})["ingest@chat"] == []


def test_sources_are_hashed_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/a.jsonl").write_bytes(b"a")
    md5 = folder_md5({"a.jsonl": hashlib.md5(b"a").hexdigest()})
    assert differences(build(ingest_chat=({"raw": md5}, None, None)))["ingest@chat"] == []
    (tmp_path / "raw/a.jsonl").write_bytes(b"b")
    (found,) = differences(build(ingest_chat=({"raw": md5}, None, None)))["ingest@chat"]
    assert (found.what, found.path, found.new.made) == ("dep", "raw", False)
    assert dep_states(build(ingest_chat=({"none": md5}, None, None))) == {"none": DepState(None, 0)}


def test_code_is_as_its_modules_are_not_as_the_list_was_written(monkeypatch):
    monkeypatch.setattr(_differences, "current_lists", lambda: {"curate": "1  stages/curate.py\n"})
    md5 = hashlib.md5(b"1  stages/curate.py\n").hexdigest()
    path = ".build/code/curate"
    assert differences(build(curate_chat=({path: md5}, None, None)))["curate@chat"] == []
    (found,) = differences(
        build(code=(None, {".build/code": "dd.dir"}, None), curate_chat=({path: "old"}, None, None))
    )["curate@chat"]
    assert (found.what, found.path, found.new.md5) == ("code", path, md5)


def test_what_was_made_from_something_stale_is_behind_through_any_number_of_stages(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("seed: 8")
    now = build(
        PARAMS | {"seed": 8},
        curate_chat=(None, {"data/train/chat.parquet": "aa"}, {"params.yaml": {"seed": 6}}),
        train_sft=({"data/train/chat.parquet": "aa"}, {"models/sft": "bb.dir"}, None),
        evaluate_sft=({"models/sft": "bb.dir"}, {"scores/sft.json": "cc"}, None),
        collect=({"scores/sft.json": "cc"}, None, None),
    )
    found = differences(now, {})
    assert stale_inputs(now, "curate@chat", found) == []
    assert stale_inputs(now, "train@sft", found) == ["data/train/chat.parquet"]
    assert stale_inputs(now, "evaluate@sft", found) == ["models/sft"]
    assert stale_inputs(now, "collect", found) == []  # a list of scores says nothing of one


# -- models -------------------------------------------------------------------------------------------------------


def test_a_model_differs_where_its_step_would_train_it_otherwise():
    step = PARAMS["steps"]["sft"] | {"lora": Lora(r=8).model_dump()}
    made = step | {"seed": 7, "args": {}}
    now = build(PARAMS | {"steps": {"sft": step}})
    assert model_differences(now, "sft", made) == []
    found = model_differences(now, "sft", made | {"lora": Lora(r=4).model_dump(), "args": {"beta": 1}})
    assert [(each.what, each.key, each.old, each.new) for each in found] == [
        ("model", "args", {"beta": 1}, ABSENT),
        ("model", "lora.r", 4, 8),
    ]


# -- all who ask --------------------------------------------------------------------------------------------------


def said_of(project):
    """{who: whether it takes raw data of chat for changed}."""

    def run(*command):
        return project.start(*command).stdout

    def tilth(*command):
        return json.loads(run(sys.executable, "-m", "commands", *command, "--json"))

    lineage = tilth("lineage", "chat")["datasets"]["chat"]["stages"][0]
    plan = {item["stage"]: item for item in tilth("plan")["stages"]}["ingest@chat"]
    broken = [each["where"] for each in tilth("verify", "--allow-dirty")["broken"] if each["check"] == "lock"]
    return {
        "lineage": any(line.startswith("data/raw/chat: ") for line in lineage["stale"]),
        "plan": plan["verdict"] == "runs",
        "verify": broken == ["dvc.lock: data/raw/chat"],
        "dvc": "ingest@chat" in json.loads(run("dvc", "status", "--json")),
    }


@pytest.mark.slow
def test_all_say_the_same_as_dvc_of_a_file_that_dvcignore_names(built, tmp_path):
    project = built.copy(tmp_path / "p")
    # hidden, and so no data: of data, `check` would say that DVC does not see it
    (project.folder / "data/raw/chat/.notes.skip").write_text("no data\n", encoding="utf-8")
    assert said_of(project) == dict.fromkeys(("lineage", "plan", "verify", "dvc"), True)
    with open(project.folder / ".dvcignore", "a", encoding="utf-8") as file:
        file.write("*.skip\n")
    assert said_of(project) == dict.fromkeys(("lineage", "plan", "verify", "dvc"), False)
    (project.folder / "data/raw/chat/.dvcignore").write_text("!.notes.skip\n.dvcignore\n", encoding="utf-8")
    assert said_of(project) == dict.fromkeys(("lineage", "plan", "verify", "dvc"), True)
