"""A GGUF file through llama.cpp: what it does otherwise than the model is named; long, by llama.cpp itself."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from commands.exports import gguf
from commands.exports.expected_outputs import ExpectedOutputs, Row
from validators.problems import Problems

TEMPLATE = "{{ messages }}"


def expected():
    rows = [
        Row("chat", "5f2c91a07711", [], None, "hi", [5, 6, 11, 12, 2], 3),
        Row("chat", "6a", [], None, "ho", [5, 7, 13, 14], 2),
    ]
    return ExpectedOutputs(rows, frozenset({2}), {}, {}, None)


def said(**changes):
    same = {
        "by": "0.3.16",
        "template": TEMPLATE,
        "stops": [2],
        "prompts": [[5, 6], [5, 7]],
        "answers": [[11, 12, 2], [13, 14]],
    }
    return same | {"likeliest": [[11, 12, 2], [13, 14]]} | changes


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE)
    monkeypatch.setenv("LLAMA_CPP_PYTHON", "a python")
    return tmp_path


def check(folder, monkeypatch, **changes):
    asked = []

    def ask(script, request, python):
        asked.append((Path(script).name, python, [row["text"] for row in request["rows"]]))
        return said(**changes), []

    monkeypatch.setattr(gguf, "run_isolated", ask)
    found = gguf.check_gguf(folder, "m-f16.gguf", expected(), "out")
    assert asked == [("llama.py", "a python", ["hi", "ho"])]
    return found


def test_a_file_that_says_the_same_passes_and_says_how_near_it_is(folder, monkeypatch):
    receipt, line = check(folder, monkeypatch, answers=[[11, 12, 2], [13, 15]])
    assert receipt == {"file": "m-f16.gguf", "checked": True, "by": "0.3.16", "agreement": 1.0, "least": 0.9, "same": 1}
    assert (
        "its likeliest token is the model's for 100.0% of the answers' tokens, at least 90% are required; 1 of 2 answers are the same to the end"
        in line
    )


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"template": None}, "out/m-f16.gguf: has no chat template"),
        ({"template": "x"}, "has another chat template; expected that of chat_template.jinja"),
        ({"stops": []}, r"does not end an answer at \[2\]"),
        (
            {"prompts": [[5, 6], [1, 5, 7]]},
            "chat row 6a: its prompt has other tokens, 3 of them; expected the 2 of the model",
        ),
        (
            {"likeliest": [[11, 12, 2], [13, 99]]},
            "its likeliest token is the model's for 80.0% of the answers' tokens; expected at least 90%",
        ),
        ({"error": "ValueError: cut"}, "llama.cpp cannot use it: ValueError: cut"),
    ],
)
def test_each_thing_that_differs_is_named(folder, monkeypatch, changes, text):
    with pytest.raises(Problems, match=text) as raised:
        check(folder, monkeypatch, **changes)
    assert len(raised.value.problems) == 1


def test_without_llama_cpp_the_receipt_says_that_nothing_was_checked(folder, monkeypatch):
    monkeypatch.delenv("LLAMA_CPP_PYTHON")
    monkeypatch.setattr(gguf, "find_spec", lambda name: None)
    receipt, line = gguf.check_gguf(folder, "m-f16.gguf", expected(), "out")
    assert receipt["checked"] is False and "llama-cpp-python is neither here nor in $LLAMA_CPP_PYTHON" in line


# -- llama.cpp itself ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def llama_cpp(tmp_path_factory):
    """(llama.cpp's folder, a Python with its package, what its converter needs): those of LLAMA_CPP and LLAMA_CPP_PYTHON, else built of the package from PyPI."""
    given = os.environ.get("LLAMA_CPP"), os.environ.get("LLAMA_CPP_PYTHON")
    if all(given):
        return *given, os.environ.get("PYTHONPATH", "")
    folder = tmp_path_factory.mktemp("llama_cpp")
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    python = folder / "env/bin/python"
    pip = [python, "-m", "pip", "--quiet"]
    subprocess.run(
        [*pip, "download", "--no-deps", "--no-binary", ":all:", "--dest", folder, "llama-cpp-python"], check=True
    )
    [source] = folder.glob("llama_cpp_python-*.tar.gz")
    with tarfile.open(source) as archive:
        archive.extractall(folder / "source", filter="data")
    # what looks at pictures is not asked for, and takes a third of the time
    variables = os.environ | {"CMAKE_ARGS": "-DLLAVA_BUILD=OFF"}
    subprocess.run([*pip, "install", source], check=True, env=variables)
    # the converter runs in this Python, and imports it for every Llama
    needs = ["--no-deps", "--target", folder / "needs", "sentencepiece"]
    subprocess.run([*pip, "install", *needs], check=True)
    [converter] = (folder / "source").glob("*/vendor/llama.cpp")  # its source brings the converter too
    return str(converter), str(python), str(folder / "needs")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(3600)  # llama.cpp is compiled for it
def test_llama_cpp_itself_says_what_the_model_says(llama_cpp, tmp_path, monkeypatch, capsys):
    from builds import smollm2

    from commands import export
    from stages.training import gguf as base_gguf
    from stages.training import models

    monkeypatch.chdir(tmp_path)
    for variable, value in zip(("LLAMA_CPP", "LLAMA_CPP_PYTHON", "PYTHONPATH"), llama_cpp, strict=True):
        monkeypatch.setenv(variable, value)
    Path("params.yaml").write_text("base: {model: a.gguf}\n")
    base_gguf.unpack(smollm2(), models.BASE)
    export.main(SimpleNamespace(obj=tmp_path), "base", "out", gguf="f16")
    assert "base-f16.gguf checked by llama-cpp-python" in capsys.readouterr().out
    assert json.loads(Path("out/checked.json").read_text())["gguf"]["agreement"] >= 0.9
