"""A served model answers over 127.0.0.1 as `tilth chat` does, says what it is before it starts, and leaves nothing behind."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_export import adapter
from test_export_check import save_base

from commands import chat, serve
from stages.training import models
from validators.problems import Problems

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
VLLM = "import sys, os\ndef main():\n    print('vllm got', sys.argv, sorted(os.listdir(sys.argv[2])), flush=True)\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A base with merges and a template that is given something, and one adapter on it."""
    folder = tmp_path_factory.mktemp("serve")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("params.yaml").write_text("base: {model: tiny}\nsteps: {sft: {}, later: {}}\n")
        save_base(models.BASE)
        template = models.BASE / "chat_template.jinja"
        template.write_text(
            "{% if brief is defined and brief %}<|system|>Be brief.<|end|>{% endif %}" + template.read_text()
        )
        (models.BASE / "rendering.json").write_text(json.dumps({"chat_template_kwargs": {"brief": True}}))
        adapter("base", "models/sft", "00_sft", 1, r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])
    return folder


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def started(project, *arguments, path=ROOT):
    """`tilth serve` as a process; SIGINT as at a terminal, which a background job of a shell would ignore."""
    return subprocess.Popen(
        [sys.executable, "-m", "commands", "serve", *arguments], cwd=project, env=os.environ | {"PYTHONPATH": str(path)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def post(port, body):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def wait_for(port, server):
    until = time.monotonic() + 120
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.3)
    raise AssertionError(server.communicate(timeout=10)[0])


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM])
def test_a_served_model_answers_as_chat_does_and_ends_cleanly(project, monkeypatch, capsys, ended_by):
    pytest.importorskip("fastapi", reason="the extra serve is not installed")
    port = free_port()
    server = started(project, "sft", "--port", str(port))
    try:
        wait_for(port, server)
        asked = {"messages": [{"role": "user", "content": "hello world"}], "temperature": 0, "max_tokens": 12}
        answer = post(port, asked)
        assert post(port, asked | {"model": "sft"})["choices"] == answer["choices"]
    finally:
        server.send_signal(ended_by)
        told, _ = server.communicate(timeout=60)
    monkeypatch.chdir(project)
    chat.main(SimpleNamespace(obj=project), "sft", "hello world", max_new_tokens=12)
    assert chat.escape_controls(answer["choices"][0]["message"]["content"]) == capsys.readouterr().out.removesuffix(
        "\n"
    )
    first, weights, template, stops = told.splitlines()[:4]
    assert first.startswith(f"sft: http://127.0.0.1:{port}/v1/chat/completions, by transformers ")
    assert "1 adapter merged in float32, saved in float32" in weights and "brief True" in template
    assert stops == "  stops: '<|end|>' (1)"
    assert "Traceback" not in told and not list((project / ".work").glob("serve-*"))
    assert server.returncode == (0 if ended_by == signal.SIGINT else 143), told


def test_vllm_serves_where_it_is_installed_and_is_told_what_and_where(project, tmp_path):
    (tmp_path / "vllm/entrypoints/cli").mkdir(parents=True)
    (tmp_path / "vllm/entrypoints/cli/main.py").write_text(VLLM)
    (tmp_path / "vllm-9.9.dist-info").mkdir()
    (tmp_path / "vllm-9.9.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 9.9\n")
    port = free_port()
    told = started(project, "sft", "--port", str(port), path=f"{ROOT}:{tmp_path}").communicate(timeout=120)[0]
    assert "by vllm 9.9; Ctrl-C ends it" in told
    assert f"['vllm', 'serve', 'sft', '--host', '127.0.0.1', '--port', '{port}', '--served-model-name', 'sft']" in told
    assert "'chat_template.jinja'" in told and "'generation_config.json'" in told and "'model.safetensors'" in told
    assert told.endswith("sft: stopped\n") and not list((project / ".work").glob("serve-*"))


def test_a_whole_model_is_served_as_it_is(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(project / "models", "models")
    (models.BASE / "rendering.json").unlink()
    with serve.folder_to_serve(models.BASE) as (folder, weights):
        assert folder.name == "base" and folder.resolve() == models.BASE.resolve() and weights == "models/base as it is"
    assert (models.BASE / "model.safetensors").exists() and not list(Path(".work").iterdir())


def test_without_a_server_it_is_said_what_to_install(project, monkeypatch):
    monkeypatch.chdir(project)
    monkeypatch.setattr(serve, "find_spec", lambda name: None)
    monkeypatch.setattr("transformers.utils.import_utils.is_serve_available", lambda: False)
    with pytest.raises(Problems, match=r'neither vLLM nor [\s\S]*--editable "\.\[serve\]"'):
        serve.main(SimpleNamespace(obj=project), "sft")


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1", "no.such.host.invalid"])
def test_an_address_where_nobody_can_listen_is_a_problem(host):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Problems, match=f"cannot listen at {host}:{port}: .*[\\s\\S]*--port {port + 1}"):
            serve.check_address(host, port)


@pytest.mark.parametrize("model, text", [("sfft", "did you mean 'sft'"), ("later", "not built yet")])
def test_a_model_that_is_not_there_is_a_problem(project, monkeypatch, model, text):
    monkeypatch.chdir(project)
    monkeypatch.setattr(serve, "find_server", lambda: "transformers")
    with pytest.raises(Problems, match=text):
        serve.main(SimpleNamespace(obj=project), model)
