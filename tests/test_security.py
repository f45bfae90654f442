"""No secret of the machine reaches what is built, and nothing that comes with data or models runs: SECURITY.md's promises."""

import ast
import contextlib
import http.server
import io
import json
import re
import threading
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from answering import answering, likes_short
from builds import write_params
from conftest import ROOT, small_project
from test_raw_data import Tagged

# made here, as the project that is built holds this file too
PLANTED = {
    name: f"planted/{name[::-1]}"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "WANDB_API_KEY", "JUDGE_KEY")
}
LOADERS = ("from_pretrained", "from_config", "load_dataset", "load_dataset_builder", "pipeline")
PASSWORD, USER_PASSWORD, SIGNATURE = (f"planted-{word[::-1]}" for word in ("passw0rd", "p@ssw0rd", "signature"))
KEPT = "data/raw/chat/table.csv"
COMMANDS = (
    "check --upstream", "plan", "verify", "lineage", "lineage --json", "ledger", "preflight", "report --no-open", f"trace {KEPT}:3",
    "diff HEAD", "inspect data/raw/chat", "recommend", "prune --dry-run", "export sft exported", "share", "fetch",
)  # fmt: skip
# one process, as each command would read pyarrow and torch again
ALL = """
import sys
from commands.__main__ import main
for command in sys.argv[1:]:
    sys.argv = ["tilth", *command.split()]
    try:
        main()
    except SystemExit as end:
        print(f"{command} ended with {end.code}")
"""


def texts(folder):
    """(path, all that it says) of every file but those in which the secrets were planted; tables as they read."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name == "config.local" or path.match(f"{KEPT}.dvc"):
            continue
        data = path.read_bytes()
        if data[:4] == b"PAR1":
            with contextlib.suppress(UnicodeDecodeError):  # tests/shapes/ has a table with text that is none
                data += json.dumps(pq.read_table(path).to_pylist(), default=str).encode()
        yield path.relative_to(folder), data


@pytest.mark.slow
def test_no_planted_secret_is_in_any_output_lock_card_report_or_log(tmp_path, monkeypatch):
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    project = small_project(made(tmp_path / "project"))
    project.run("dvc", "remote", "add", "--default", "team", str(tmp_path / "remote"))
    project.run("dvc", "remote", "add", "dav", "webdav://127.0.0.1:9/team")
    project.run("dvc", "remote", "modify", "--local", "dav", "password", PASSWORD)
    params = project.read_params()
    address = keep(project)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with answering(likes_short) as server:
        judge = {"server": server.address, "model": "small", "key": "JUDGE_KEY"}
        params["datasets"]["problems"]["private"] = True
        project.write_params(
            params | {"steps": {"sft": params["steps"]["sft"]}, "evaluate": params["evaluate"] | {"judge": judge}}
        )
        said = project.run("dvc", "repro", "-v")
    assert {each["key"] for each in server.seen} == {f"Bearer {PLANTED['JUDGE_KEY']}"}  # it was there to be found
    scores = json.loads((project.folder / "scores/sft.json").read_text())
    assert scores["chat"]["win_rate"]["n"] == 10 and "win_rate" not in scores["problems"]
    page = (project.folder / "report/index.html").read_text()
    assert (
        "length_controlled_win_rate" in page
        and "against base, by small on a server" in page
        and server.address not in page
    )
    project.commit()
    told = project.run("python", "-c", ALL, *COMMANDS, "share --remote dav")
    ends = dict(re.findall(r"^(.*) ended with (\d+)$", told, re.MULTILINE))
    assert ends == dict.fromkeys(COMMANDS, "0") | {"share --remote dav": "1"}
    said += told
    assert f"{KEPT}.dvc: holds a credential, and git keeps this file: {address}" in told
    assert f"its source {address} is gone, or its server does not answer" in told
    secrets = [secret.encode() for secret in (*PLANTED.values(), PASSWORD, USER_PASSWORD, SIGNATURE)]
    assert not [secret for secret in secrets if secret in said.encode()]
    found = [(path, secret) for path, data in texts(tmp_path) for secret in secrets if secret in data]
    assert not found
    assert PASSWORD in (project.folder / ".dvc/config.local").read_text()  # it was there to be found


def keep(project):
    """One raw file imported from a server, by an address that somebody put a password and a signature into."""
    www = made(project.folder.parent / "www")
    (project.folder / KEPT).rename(www / "table.csv")
    project.run("git", "rm", "-q", "--cached", KEPT)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: Tagged(*a, directory=str(www)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place = f"127.0.0.1:{server.server_port}/table.csv"
    project.run("dvc", "import-url", f"http://ada:{USER_PASSWORD}@{place}?sig={SIGNATURE}", KEPT)
    server.shutdown()
    server.server_close()
    project.commit()
    return f"http://***@{place}?sig=***"


def made(folder):
    folder.mkdir()
    return folder


def test_no_code_of_the_project_trusts_remote_code_or_loads_pickles():
    """All calls of the rooms: models with `trust_remote_code=False` and said so, no loader of pickles but between its own processes."""
    for path in (path for room in ("stages", "validators", "commands", "data") for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            trusted = [one.value for one in node.keywords if one.arg == "trust_remote_code"]
            assert all(isinstance(value, ast.Constant) and value.value is False for value in trusted), path
            name = ast.unparse(node.func)
            # left unsaid, transformers asks on a terminal; PEFT's puts weights on a model that is there
            loads = name.rpartition(".")[2] in LOADERS and name != "PeftModel.from_pretrained"
            assert trusted or not loads, f"{path}:{node.lineno}: trust_remote_code=False is missing"
            own = (
                path == ROOT / "stages/reading/parts.py"
            )  # what `engine: ray` hands from one process of a build to another
            assert own or name not in ("pickle.load", "pickle.loads", "torch.load", "joblib.load", "dill.load"), path
            assert name not in ("eval", "exec", "yaml.unsafe_load", "os.system"), path


@pytest.mark.slow
def test_code_that_comes_with_a_model_is_not_copied_and_does_not_run(tmp_path, monkeypatch):
    from stages import base
    from stages.training.models import load_tokenizer

    monkeypatch.chdir(tmp_path)
    write_params("base: {model: tiny}")
    base.main()
    mine = tmp_path / "mine"
    (tmp_path / "models/base").rename(mine)
    ran = tmp_path / "ran"
    (mine / "evil.py").write_text(f"open({str(ran)!r}, 'w').close()\nclass Evil: pass\n")
    for name, key in (("config.json", "AutoModelForCausalLM"), ("tokenizer_config.json", "AutoTokenizer")):
        settings = json.loads((mine / name).read_text())
        (mine / name).write_text(json.dumps(settings | {"auto_map": {key: "evil.Evil"}}))
    write_params(f"base: {{model: {mine}}}")
    base.main()
    assert not list((tmp_path / "models/base").glob("*.py"))
    load_tokenizer(Path("models/base"))
    assert not ran.exists()


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """The tiny model in `mine`, whose configs name the class of a folder beside it, and somebody who answers y."""
    from stages.training.models import save_tiny_model

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 20))
    made(tmp_path / "evil").joinpath("code.py").write_text("open('ran', 'w').close()\nclass Evil: pass\n")
    write_params("base: {model: mine}")
    save_tiny_model(tmp_path / "mine")
    return tmp_path / "mine"


def change(path, **settings):
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


CONFIG = ("config.json", {"model_type": "unheard_of", "auto_map": {"AutoConfig": "evil--code.Evil"}})
# a model_type that transformers knows, without a class that generates
MODEL = ("config.json", {"model_type": "clip", "auto_map": {"AutoModelForCausalLM": "evil--code.Evil"}})
TOKENIZER = (
    "tokenizer_config.json",
    {"tokenizer_class": "Unheard", "auto_map": {"AutoTokenizer": [None, "evil--code.Evil"]}},
)


NEEDS_CODE = (
    r"needs code of its own \('evil--code\.Evil'\), which Tilth does not run; expected a model that transformers knows"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, settings, found", [(*CONFIG, NEEDS_CODE), (*MODEL, "'clip' models write no text; expected")]
)
def test_a_base_that_brings_its_architecture_is_a_problem_though_somebody_answers_y(hostile, name, settings, found):
    from stages import base
    from validators.problems import Problems

    change(hostile / name, **settings)
    with pytest.raises(Problems, match=rf"^base\.model: mine: {found}"):
        base.main()
    assert not Path("ran").exists() and not Path("models/base").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name, settings", [CONFIG, MODEL, TOKENIZER])
def test_no_loader_of_the_project_runs_code_that_comes_with_a_model(hostile, name, settings):
    from stages.dryrun import memory as _memory
    from stages.scoring import generation as _generation
    from stages.training import backends as _backends
    from stages.training import models as _models

    change(hostile / name, **settings)
    config = SimpleNamespace(bf16=False, fp16=False)
    for load in (
        lambda: _memory.read_shape(hostile),
        lambda: _models.load_tokenizer(hostile),
        lambda: _models.load_model(hostile),
        lambda: _generation.load_for_generation(hostile),
        lambda: _backends.load_in_4bit(hostile, config),
    ):
        with contextlib.suppress(Exception):
            load()
    assert not Path("ran").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "payload",
    [
        "{{ cycler.__init__.__globals__.os.system('touch ran') }}",
        "{{ namespace.__init__['__glo' ~ 'bals__']['__builtins__']['open']('ran', 'w') }}",
        "{{ (joiner|attr('__init__')).__globals__.os.system('touch ran') }}",
    ],
)
def test_a_hostile_chat_template_runs_nothing_and_is_told_by_preflight(hostile, payload):
    from jinja2 import Environment

    from stages.dryrun.token_counts import Method, measure_rows
    from stages.training.messages import FailedProof
    from stages.training.models import renderer

    with contextlib.suppress(Exception):
        Environment().from_string(payload).render()
    Path("ran").unlink()  # it runs where nobody forbids it
    template = hostile / "chat_template.jinja"
    template.write_text("{% for message in messages %}" + payload + "{% endfor %}")
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    render = renderer(hostile)
    with pytest.raises(FailedProof, match=r"TEMPLATE: .* is unsafe"):
        render.text(talk)
    row = {"messages": [turn | {"tool_calls": None} for turn in talk], "tools": None, "source": "raw", "line": 1}
    pq.write_table(pa.Table.from_pylist([row]), "rows.parquet")
    config = SimpleNamespace(assistant_only_loss=False, completion_only_loss=False)
    ((number, proof, why),) = measure_rows("rows.parquet", Method("sft", config, render)).left_out
    assert (number, proof) == (0, "TEMPLATE") and "is unsafe" in why
    assert not Path("ran").exists()


@pytest.mark.parametrize("aside", ["outside.jsonl", "outside"])
def test_a_link_in_raw_that_leaves_the_repository_stops_the_stage(tmp_path, monkeypatch, aside):
    from stages import ingest
    from validators.problems import Problems

    project = made(tmp_path / "project")
    monkeypatch.chdir(project)
    row = json.dumps({"instruction": "q", "output": "a secret of this machine"}) + "\n"
    (tmp_path / "outside.jsonl").write_text(row)
    made(tmp_path / "outside").joinpath("x.jsonl").write_text(row)
    write_params("datasets: {chat: {kind: sft, raw: raw/chat, max_reject_share: 0.2}}")
    (project / "raw").mkdir()
    if aside == "outside":
        (project / "raw/chat").symlink_to(tmp_path / aside)
    else:
        made(project / "raw/chat").joinpath("a.jsonl").symlink_to(tmp_path / aside)
    with pytest.raises(Problems, match="a link that leaves the project"):
        ingest.main("chat")
    assert not (project / "data").exists()
