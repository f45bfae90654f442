"""The lineage of a small build: real data stages, a lock and a cache as DVC leaves them, models made by hand."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from builds import git, put_object, run_data_stages, write_params, write_seen, write_yaml
from ruamel.yaml import YAML

from commands import lineage
from commands.builds import build as _build
from commands.builds import lineage_tree
from commands.builds.sources import hash_source
from stages import collect
from validators.params import Lora
from validators.problems import Problems

ROOT = Path(__file__).parents[1]
PARAMS = {
    "seed": 7,
    "launch": "python",
    "eval_fraction": 0.3,
    "base": {"model": "tiny", "revision": None, "backend": "auto"},
    "datasets": {
        "chat": {"kind": "sft", "raw": "data/raw/chat", "max_reject_share": 1},
        "votes": {"kind": "kto", "raw": "data/raw/pairs.jsonl", "max_reject_share": 1},
    },
    "steps": {
        "sft": {"method": "sft", "from": "base", "dataset": "chat", "lora": {"r": 4}, "waive": {"lora_rank": "it is small"}},
        "align": {"method": "kto", "from": "sft", "dataset": "votes", "lora": {"r": 8}},
    },
}  # fmt: skip
SHORT = {"curate": {}, "preflight": {}, "evaluate": {"max_new_tokens": 4, "max_rows": 10, "batch_size": 10}}
CHAT = [json.dumps({"instruction": f"question {i}", "output": "a"}) for i in range(20)]
PAIRS = [json.dumps({"prompt": f"q {i}", "chosen": "a", "rejected": "b"}) for i in range(10)]
SCORES = {"chat": {"loss": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 6}, "auc": {"value": None, "n": 6}}}


def put(path, text):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")


def model(name, adapters):
    step = PARAMS["steps"][name]
    made = step | {
        "step": name,
        "seed": 7,
        "args": {},
        "rows": 4,
        "trained_rows": 9,
        "tokens": 99,
        "optimizer_steps": 3,
    }
    made |= {"lora": Lora(**step["lora"]).model_dump()}  # as preflight resolves it
    made |= {"rows_sha256": "5f0e" * 16, "versions": {"torch": "2.13.0"}, "backend": "transformers"}
    put(f"models/{name}/made_of.json", json.dumps(made))
    for adapter in adapters:
        put(f"models/{name}/adapters/{adapter}/adapter_config.json", "{}")
    put(f"scores/{name}.json", json.dumps(SCORES))
    write_seen(name, [1, 1, 0, 2], tokens=1234)


def entry(deps, outs):
    """A stage of the lock, its outputs copied into the cache."""
    return {
        "cmd": "python -m stages",
        "deps": [{"path": path, "md5": hash_source(path), "size": 1} for path in deps],
        "outs": [{"path": path, "md5": cached(path), "size": 4, "nfiles": 1} for path in outs],
    }


def reads(stage):
    return f".build/params/{stage}.json"


def cached(path):
    """Copy an output into the cache as DVC does; its hash."""
    md5, files = hash_source(path), [Path(path)] if Path(path).is_file() else sorted(Path(path).rglob("*"))
    files = [file for file in files if file.is_file()]
    for file in files:
        put_object(Path(), file.read_bytes())
    if md5.endswith(".dir"):
        listing = [{"md5": hash_source(f.as_posix()), "relpath": f.relative_to(path).as_posix()} for f in files]
        put_object(Path(), json.dumps(listing).encode(), md5)
    return md5


def build():
    """Run the data stages, make models by hand, and write what `dvc repro` would have written."""
    stages = {}
    run_data_stages(*PARAMS["datasets"])
    for name, dataset in PARAMS["datasets"].items():
        done, bad = f"data/ingested/{name}", f"data/validated/{name}.parquet"
        sides = [f"data/{side}/{name}.parquet" for side in ("train", "eval", "rejected")]
        stages[f"ingest@{name}"] = entry([dataset["raw"], "stages/ingest.py", reads(f"ingest/{name}")], [done])
        checks = [f"validators/{dataset['kind']}.py", reads(f"validate/{name}")]
        stages[f"validate@{name}"] = entry([done, *checks], [bad])
        stages[f"curate@{name}"] = entry([done, bad, reads(f"curate/{name}")], sides)
    collect.main()
    stages["check"] = entry(["params.yaml"], [".build/params"])
    listed = ["data/train.json", "data/eval.json"]
    stages["collect"] = entry(["data/train", "data/eval", reads("collect")], listed)
    stages["preflight"] = entry(["data/train.json", "models/base", reads("preflight")], ["preflight"])
    stages["base"] = entry(["stages/base.py", reads("base")], ["models/base"])
    stages["evaluate_base"] = entry(["models/base"], ["scores/base.json"])
    for name, step in PARAMS["steps"].items():
        made_from = [f"models/{step['from']}", f"data/train/{step['dataset']}.parquet", f"preflight/{name}.json"]
        stages[f"train@{name}"] = entry(made_from, [f"models/{name}", f"scores/{name}.seen.parquet"])
        stages[f"evaluate@{name}"] = entry([f"models/{name}", "data/eval.json"], [f"scores/{name}.json"])
    put(".build/scores.json", "{}")
    stages["collect_scores"] = entry(["scores/base.json"], [".build/scores.json"])
    stages["report"] = entry(["data/train.json"], ["report"])
    write_yaml("dvc.lock", {"schema": "2.0", "stages": stages})


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project that is built and committed as v1."""
    monkeypatch.chdir(tmp_path)
    _build.cache_folder.cache_clear()
    write_params(PARAMS)
    put("data/raw/chat/a.jsonl", "\n".join([*CHAT, CHAT[3], "{"]))
    put("data/raw/chat/b.jsonl", "\n".join(CHAT[:2]))
    put("data/raw/chat/.hidden", "no data")
    put("data/raw/pairs.jsonl", "\n".join(PAIRS))
    for code in ("stages/ingest.py", "stages/base.py", "validators/sft.py", "validators/kto.py"):
        put(code, f"# {code}")
    put("models/base/config.json", "{}")
    put("scores/base.json", json.dumps(SCORES))
    model("sft", ["00_sft"])
    model("align", ["00_sft", "01_align"])
    for name in PARAMS["steps"]:
        put(f"preflight/{name}.json", "{}")
    put("report/report.md", "# What was built")
    build()
    put(".gitignore", "/.dvc/\n/data/[a-qs-z]*\n/data/rejected\n/models\n/scores\n/preflight\n/report\n")
    git(".", "init", "-q")
    git(".", "add", "-A")
    git(".", "commit", "-qm", "built")
    git(".", "tag", "v1")
    yield tmp_path
    _build.cache_folder.cache_clear()


@pytest.fixture
def told(project, capsys):
    """What `tilth lineage` prints, without the lines of the tree."""
    capsys.readouterr()

    def lines(target=None, **options):
        lineage.main(SimpleNamespace(obj=project), target, **options)
        return [re.sub(r"^[│├└─\s]+", "", line).rstrip() for line in capsys.readouterr().out.splitlines()]

    return lines


@pytest.fixture
def facts(project, capsys):
    """The lineage as plain data."""
    capsys.readouterr()

    def data(target=None, **options):
        lineage.main(SimpleNamespace(obj=project), target, as_json=True, **options)
        return json.loads(capsys.readouterr().out)

    return data


def every_stage(found):
    datasets = [stage for dataset in found["datasets"].values() for stage in dataset["stages"]]
    models = [stage for model in found["models"].values() for stage in model["stages"]]
    return {stage["stage"]: stage for stage in [*datasets, *models, *found["base"]["stages"], *found["shared"]]}


def stale(found):
    return {name: stage["stale"] for name, stage in every_stage(found).items() if stage["stale"]}


# -- what is told -------------------------------------------------------------------------------------------------


def test_every_raw_file_is_told_with_its_hash_size_and_rows(told, project):
    size, md5 = (project / "data/raw/chat/a.jsonl").stat().st_size, hash_source("data/raw/chat/a.jsonl")
    line = f"data/raw/chat/a.jsonl: {size:,} bytes, md5 {md5[:10]}, 22 records = 21 rows + 1 rejected"
    assert line in told("chat")
    assert not any(".hidden" in line for line in told("chat"))


def test_the_rights_in_each_raw_file_are_told(told, facts):
    chat = {"license": {"data/raw/chat/a*": "CC-BY-NC-4.0"}, "source": "the web", "waive": {"CC-BY-NC-4.0": "asked"}}
    datasets = PARAMS["datasets"] | {"chat": PARAMS["datasets"]["chat"] | chat}
    expires = {"chat": {"data/raw/chat/a*": "2027-01-31"}}
    write_yaml("params.yaml", PARAMS | SHORT | {"datasets": datasets, "expires": expires})
    lines = told("chat")
    assert any(line.endswith(", license CC-BY-NC-4.0, source the web, expires 2027-01-31") for line in lines)
    assert "waived CC-BY-NC-4.0: asked" in told("chat")
    file = next(file for file in facts("chat")["datasets"]["chat"]["raw"]["files"] if file["path"].endswith("/a.jsonl"))
    assert (file["license"], file["source"], file["consent"]) == ("CC-BY-NC-4.0", "the web", None)


def test_every_stage_is_told_with_what_came_in_was_rejected_and_went_out(told):
    lines = told("chat")
    assert "ingest: 24 in = 23 rows + 1 rejected" in lines and "rejected: ingest.json 1" in lines
    assert "validate: 23 in = 23 rows + 0 rejected" in lines
    account = next(line for line in lines if line.startswith("curate: "))
    train, held_out = re.fullmatch(r"curate: 23 in = (\d+) train \+ (\d+) eval \+ 3 rejected", account).groups()
    assert int(train) + int(held_out) == 20
    assert any(line.startswith(f"data/train/chat.parquet: {train} rows, md5 ") for line in lines)


def test_hashes_of_code_validators_and_params_are_those_of_the_lock(told, facts):
    stage = every_stage(facts("chat"))["validate@chat"]
    assert stage["validators"] == {"validators/sft.py": hash_source("validators/sft.py")}
    assert stage["params"] == {"datasets.chat": {"kind": "sft", "max_reject_share": 1.0}}
    assert f"validators {hash_source('validators/sft.py')[:10]} validators/sft.py" in told("chat")


def test_two_rows_of_one_record_are_one_record(facts):
    (file,) = facts("votes")["datasets"]["votes"]["raw"]["files"]
    assert (file["records"], file["rows"], file["rejected"]) == (10, 20, 0)


def test_a_model_tells_its_chain_adapters_waivers_versions_and_scores(told):
    lines = told("align")
    for line in (
        "model align: base -> sft -> align",
        "adapters, in order: 00_sft, 01_align",
        "waived lora_rank: it is small",
        "versions: torch 2.13.0",
        "kto on 3 (4 with repetitions) of 4 rows of votes, sha256 5f0e5f0e5f",
        "1,234 tokens, 3 optimizer steps, seed 7, backend transformers",
        "scores on 6 eval rows of chat: loss 0.500 [0.400, 0.600]",
    ):
        assert line in lines, line


# -- which part is told -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target, datasets, models",
    [
        (None, {"chat", "votes"}, {"sft", "align"}),
        ("base", set(), set()),
        ("sft", {"chat"}, {"sft"}),
        ("align", {"chat", "votes"}, {"sft", "align"}),
        ("chat", {"chat"}, {"sft", "align"}),
        ("data/raw/pairs.jsonl", {"votes"}, {"align"}),
        ("data/raw/chat", {"chat"}, {"sft", "align"}),
        ("data/train/votes.parquet", {"votes"}, {"align"}),
        ("models/sft/adapters/00_sft/adapter_config.json", {"chat"}, {"sft"}),
        ("scores/sft.json", {"chat"}, {"sft"}),
        ("preflight/sft.json", {"chat"}, {"sft"}),
        ("data/eval.json", {"chat", "votes"}, {"sft", "align"}),
        ("./data/raw/chat/", {"chat"}, {"sft", "align"}),
    ],
)
def test_a_target_tells_what_it_is_made_of_and_what_was_made_from_it(facts, target, datasets, models):
    found = facts(target)
    assert (set(found["datasets"]), set(found["models"])) == (datasets, models)


def test_a_raw_file_leaves_the_others_out(facts):
    found = facts("data/raw/chat/b.jsonl")
    assert [file["path"] for file in found["datasets"]["chat"]["raw"]["files"]] == ["data/raw/chat/b.jsonl"]


def test_a_path_is_relative_to_where_the_user_is(project, capsys):
    lineage.main(SimpleNamespace(obj=project / "data/raw"), "chat/b.jsonl", as_json=True)
    assert set(json.loads(capsys.readouterr().out)["datasets"]) == {"chat"}


@pytest.mark.parametrize(
    "target, near", [("sfx", "sft"), ("data/raw/chat/c.jsonl", "data/raw/chat/"), ("modles/align", "models/align")]
)
def test_an_unknown_target_gets_the_nearest_name(told, target, near):
    with pytest.raises(Problems, match=f"nothing is called(.|\n)*did you mean '{near}"):
        told(target)


# -- what is stale ------------------------------------------------------------------------------------------------


def test_nothing_of_a_fresh_build_is_stale(facts):
    assert stale(facts()) == {}


def test_a_changed_raw_file_is_said_where_it_goes_in_and_behind_it(facts, project):
    with open(project / "data/raw/pairs.jsonl", "a", encoding="utf-8") as file:
        file.write("\n" + PAIRS[0])
    found = stale(facts())
    assert found["ingest@votes"][0].startswith("data/raw/pairs.jsonl: ")
    assert found["train@align"] == ["data/train/votes.parquet: stale itself"]
    assert set(found) >= {"validate@votes", "curate@votes", "evaluate@align"}
    assert not {"ingest@chat", "train@sft", "base"} & set(found)


def test_changed_code_is_said_with_both_hashes(facts, project):
    before = hash_source("stages/base.py")
    put("stages/base.py", "# changed")
    found = stale(facts("base"))
    assert found["base"] == [f"stages/base.py: {before[:10]} -> {hash_source('stages/base.py')[:10]}"]


def test_a_changed_param_is_said_from_what_to_what(facts, project, told):
    write_yaml("params.yaml", PARAMS | SHORT | {"eval_fraction": 0.5})
    assert stale(facts())["curate@chat"] == ["params.yaml: eval_fraction: 0.3 -> 0.5"]
    assert "stale: params.yaml: eval_fraction: 0.3 -> 0.5" in told("chat")


def test_a_default_that_is_written_out_makes_nothing_stale(facts, project):
    votes = PARAMS["datasets"]["votes"] | {"weights": {}, "max_rows": None}
    write_yaml("params.yaml", PARAMS | SHORT | {"datasets": PARAMS["datasets"] | {"votes": votes}})
    assert stale(facts()) == {}


def test_what_a_stage_ran_with_is_found_in_git_when_check_has_written_anew(facts, project):
    write_params(PARAMS | {"eval_fraction": 0.5})
    assert stale(facts())["curate@chat"] == ["params.yaml: eval_fraction: 0.3 -> 0.5"]


def test_params_that_no_copy_is_left_of_are_said_to_have_changed(facts, project):
    lock = (project / "dvc.lock").read_text(encoding="utf-8")
    put("dvc.lock", lock.replace(hash_source(reads("curate/chat")), "0" * 32))
    assert stale(facts())["curate@chat"] == ["params.yaml: changed since"]
    assert every_stage(facts("chat"))["curate@chat"]["params"] == {}


def test_a_build_from_before_has_its_params_in_the_lock_itself(facts, project):
    write_yaml("params.yaml", PARAMS)  # a section is missing that today's models want
    lock = YAML(typ="safe", pure=True).load(project / "dvc.lock")
    curate = lock["stages"]["curate@chat"]
    curate["deps"] = [dep for dep in curate["deps"] if not dep["path"].startswith(".build/params")]
    curate["params"] = {"params.yaml": {"seed": 7, "eval_fraction": 0.2, "datasets.chat": PARAMS["datasets"]["chat"]}}
    write_yaml("dvc.lock", lock)
    assert stale(facts())["curate@chat"] == ["params.yaml: eval_fraction: 0.2 -> 0.3"]
    read = every_stage(facts("chat"))["curate@chat"]["params"]
    assert read == {"seed": 7, "eval_fraction": 0.2, "datasets.chat": PARAMS["datasets"]["chat"]}


def test_a_step_that_params_now_trains_otherwise_is_stale(facts, project):
    steps = PARAMS["steps"] | {"align": PARAMS["steps"]["align"] | {"lora": {"r": 16}}}
    write_yaml("params.yaml", PARAMS | SHORT | {"steps": steps})
    assert stale(facts())["train@align"] == ["lora.r: 8 -> 16"]
    assert "train@sft" not in stale(facts())


def test_an_output_that_the_lock_has_otherwise_than_what_it_went_into_is_said(facts, project):
    lock = (project / "dvc.lock").read_text(encoding="utf-8")
    md5 = hash_source("models/base")
    start = lock.index("  evaluate_base:")
    (project / "dvc.lock").write_text(lock[:start] + lock[start:].replace(md5, f"0{md5[1:]}", 1), encoding="utf-8")
    (said,) = stale(facts("base"))["evaluate_base"]
    assert said.startswith("models/base: 0") and said.endswith("its hash in dvc.lock now")


def test_a_stage_that_was_never_built_says_how_to_build_it(facts, project):
    write_yaml(
        "params.yaml", PARAMS | {"steps": PARAMS["steps"] | {"third": PARAMS["steps"]["align"] | {"from": "align"}}}
    )
    found = facts("third")
    assert stale(found)["train@third"] == ["not built: dvc repro train@third"]
    assert found["problems"] == [] and found["models"]["third"]["scores"] is None


# -- past commits and what is missing -----------------------------------------------------------------------------


def test_a_past_commit_is_answered_for_without_a_checkout(facts, project):
    now = facts("align")
    put("data/raw/chat/a.jsonl", "changed")
    put("stages/ingest.py", "# changed")
    write_yaml("params.yaml", PARAMS | {"steps": {}})
    for folder in ("models", "scores", "data/train", "data/ingested", "data/rejected", "data/eval"):
        shutil.rmtree(folder)
    then = facts("align", rev="v1")
    assert then.pop("revision") == _build.commit_of("v1") and now.pop("revision") is None
    for file in [file for dataset in then["datasets"].values() for file in dataset["raw"]["files"]]:
        assert file.pop("git")
    for file in [file for dataset in now["datasets"].values() for file in dataset["raw"]["files"]]:
        file.pop("git")
    assert then == now
    assert not (project / "models").exists()


@pytest.mark.slow
def test_raw_data_of_a_dvc_file_is_told_at_a_commit(facts, project):
    md5 = cached("data/raw/chat")
    put("data/raw/chat.dvc", f"outs:\n- md5: {md5}\n  path: chat\n")
    git(".", "rm", "-rq", "--cached", "data/raw/chat")
    git(".", "add", "-f", "data/raw/chat.dvc")
    git(".", "commit", "-qm", "dvc add")
    found = facts("chat", rev="HEAD")
    assert [file["records"] for file in found["datasets"]["chat"]["raw"]["files"]] == [22, 2]
    assert "ingest@chat" not in stale(found)


def test_raw_data_that_neither_git_nor_dvc_has_is_still_counted(facts, told, project):
    git(".", "rm", "-rq", "--cached", "data/raw/chat")
    git(".", "commit", "-qm", "not in git")
    found = facts("chat", rev="HEAD")
    assert [(f["path"][-7:], f["bytes"], f["records"]) for f in found["datasets"]["chat"]["raw"]["files"]] == [
        ("a.jsonl", None, 22),
        ("b.jsonl", None, 2),
    ]
    assert stale(found) == {}
    assert any("no longer there, nor in git or DVC, 22 records" in line for line in told("chat", rev="HEAD"))


def test_what_the_cache_lost_is_named_and_the_rest_is_answered(project, capsys):
    _build.object_of(hash_source("data/rejected/chat.parquet")).unlink()
    _build.object_of(hash_source("scores/sft.json")).unlink(missing_ok=True)
    for folder in ("data/rejected", "scores"):
        shutil.rmtree(folder)
    capsys.readouterr()
    with pytest.raises(Problems) as caught:
        lineage.main(SimpleNamespace(obj=project), "sft")
    out = capsys.readouterr().out
    assert {problem.where for problem in caught.value.problems} >= {"data/rejected/chat.parquet", "scores/sft.json"}
    assert "ingest: 24 in = 23 rows + ? rejected" in out and "a.jsonl" in out and "versions: torch" in out


def test_ingested_rows_that_are_lost_are_counted_from_what_became_of_them(project, capsys):
    shutil.rmtree(".dvc/cache")
    shutil.rmtree("data/ingested")
    with pytest.raises(Problems, match="data/ingested/chat"):
        lineage.main(SimpleNamespace(obj=project), "chat", as_json=True)
    out = capsys.readouterr().out
    stages = every_stage(json.loads(out[out.index("{\n") :]))
    assert stages["ingest@chat"]["out"] == {"rows": 23} and stages["ingest@chat"]["in"] is None
    assert stages["validate@chat"]["in"] == 23


@pytest.mark.parametrize(
    "text, said",
    [
        ("steps: {sft: {from: base}}", "steps.sft has no 'dataset'"),
        ("datasets: [chat]", "datasets holds no names"),
        ("datasets: {chat: null}", "datasets.chat has no 'raw'"),
        ("words", "steps holds no names"),
    ],
)
def test_params_that_say_not_what_is_made_of_what_are_a_problem(told, text, said):
    put("params.yaml", text)
    with pytest.raises(Problems, match=f"{said}(.|\n)*tilth check"):
        told()


# -- forms --------------------------------------------------------------------------------------------------------


def test_the_flowchart_has_quoted_labels_and_leads_from_raw_files_to_scores(told):
    first, *lines = told("align", mermaid=True)
    assert first == "flowchart LR"
    nodes = {re.match(r"n\d+", line).group(): line for line in lines if '"' in line}
    edges = [line.split(" --> ") for line in lines if "-->" in line]
    assert len(nodes) + len(edges) == len(lines)
    for line in nodes.values():
        assert re.fullmatch(r'n\d+(\[\(|\(\[|\[/|\[)"[^"]+"(\)\]|\]\)|/\]|\])', line), line
    assert all(end in nodes for edge in edges for end in edge)
    place = {name: next(node for node, line in nodes.items() if name in line) for name in ("a.jsonl", "scores/align")}
    reached, todo = set(), [place["a.jsonl"]]
    while todo:
        reached.add(here := todo.pop())
        todo += [end for start, end in edges if start == here]
    assert place["scores/align"] in reached


def test_a_stale_stage_is_marked_in_the_flowchart(told, project):
    put("stages/base.py", "# changed")
    lines = told("base", mermaid=True)
    assert any(re.fullmatch(r"class n0 stale", line) for line in lines) and "<br/>stale" in lines[1]


def test_no_escape_code_of_a_file_name_reaches_the_terminal(project, capsys):
    put('data/raw/chat/\x1b[31m"b".jsonl', CHAT[0])
    for options in ({}, {"as_json": True}, {"mermaid": True}):
        lineage.main(SimpleNamespace(obj=project), "chat", **options)
    out = capsys.readouterr().out
    assert "\x1b" not in out and "31m" in out


def test_it_imports_nothing_heavy(project):
    code = (
        "import sys; sys.argv = ['tilth', 'lineage']; from commands.__main__ import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print({'pandas', 'torch', 'transformers', 'polars', 'duckdb', 'dvc'} & set(sys.modules))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stdout[-500:] + done.stderr[-2000:]


def test_scores_of_few_rows_are_named_without_an_interval():
    few = {"value": 0.5, "low": None, "high": None, "n": 6}
    assert list(lineage_tree.score_lines({"chat": {"auc": few}})) == [
        "scores on 6 eval rows of chat: auc 0.500 n 6: too few rows"
    ]


def test_what_is_to_be_said_of_answers_stands_beside_their_scores_once():
    score = {
        "value": 0.227,
        "low": 0.133,
        "high": 0.307,
        "n": 75,
        "cut": 0,
        "alike": 75,
        "alike_answer": "(D)",
        "constant": 0.253,
        "constant_answer": "(A)",
    }
    assert list(lineage_tree.score_lines({"quiz": {"reward": score, "reward/exact_match": score}})) == [
        "scores on 75 eval rows of quiz: reward 0.227 [0.133, 0.307] (75 answers are '(D)', always '(A)' would score 0.253), "
        "reward/exact_match 0.227 [0.133, 0.307]"
    ]


def test_rows_that_were_not_sampled_are_no_rejects_of_curate():
    stage = {"in": 10, "out": {"train": 5}, "rejected": {"curate.mixed_out": 4, "curate.duplicate": 1}}
    assert lineage_tree.account_in_words(stage) == ": 10 in = 5 train + 1 rejected + 4 not sampled"


def test_a_grpo_model_names_each_reward_function_with_its_code_and_what_was_kept():
    made = {
        "method": "grpo",
        "dataset": "problems",
        "rewards": ["exact_match", "one_word"],
        "reward_code": {"exact_match": "a" * 64, "one_word": "b" * 64},
    }
    made |= {"rows": 9, "kept": {"rows": 4, "of": 9, "sha256": "c" * 64}}
    lines = list(lineage_tree.training_lines(made, None))
    assert "rewards: exact_match, code sha256 aaaaaaaaaa, one_word, code sha256 bbbbbbbbbb" in lines
    assert "of 4 rows kept of 9 by difficulty, sha256 of their ids cccccccccc" in lines


def test_a_model_whose_size_the_lock_does_not_have_is_told_without_it():
    model = {"md5": "5f0e00112233", "bytes": None, "files": {"models/sft/config.json": "aa"}}
    assert lineage_tree.storage_line("models/sft", model) == "models/sft: ? MB, 1 files, md5 5f0e001122"
    assert lineage_tree.storage_line("models/sft", model | {"bytes": 2_500_000}).startswith("models/sft: 2.5 MB, ")
