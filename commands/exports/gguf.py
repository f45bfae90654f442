"""Converts a merged folder to a GGUF file with llama.cpp's converter, and checks that llama.cpp gives the model's results with it.

convert(["convert_hf_to_gguf.py"], Path("out"), "align", "q8_0") -> "align-q8_0.gguf"
check_gguf(Path("out"), "align-q8_0.gguf", expected, "out") -> ({"checked": true, "agreement": 0.99, ...}, "checked by llama.cpp ...")
"""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from commands.exports import llama
from commands.exports.expected_outputs import LONGEST, ExpectedOutputs
from commands.exports.isolated_process import run_isolated
from validators.problems import Problem, Problems

CONVERTER = "convert_hf_to_gguf.py"
PYTHON_VARIABLE = "LLAMA_CPP_PYTHON"  # a Python with llama-cpp-python, where this one has none
# The least share of answer positions where llama.cpp's likeliest token is ours. Fewer bits and other kernels change some tokens.
LEAST_AGREEMENT = 0.9


def find_converter() -> list[str]:
    """The command that runs llama.cpp's converter. Raises Problems where it is not installed."""
    configured = os.environ.get("LLAMA_CPP")
    if configured:
        path = Path(configured) / CONVERTER if Path(configured).is_dir() else Path(configured)
        if path.is_file():
            return [sys.executable, str(path.resolve())]
        raise Problems([Problem("LLAMA_CPP", f"no {CONVERTER} at {configured}", "the folder of llama.cpp", "")])
    if installed := shutil.which(CONVERTER):
        return [installed]
    hint = "git clone https://github.com/ggml-org/llama.cpp, pip install its requirements.txt, LLAMA_CPP=~/llama.cpp"
    raise Problems(
        [Problem("tilth export --gguf", f"{CONVERTER} is not installed", "it on PATH or in $LLAMA_CPP", hint)]
    )


def convert(converter: list[str], folder: Path, name: str, kind: str) -> str:
    """Write the GGUF file of a merged model; returns its name. Raises Problems where the converter fails."""
    file = f"{name}-{kind}.gguf"
    command = [*converter, str(folder.resolve()), "--outfile", str(folder.resolve() / file), "--outtype", kind]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode or not (folder / file).exists():
        last = " ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-3:])[-500:]
        missing = re.search(r"No module named '([\w.]+)'", done.stderr)
        hint = "llama-quantize makes types such as q4_k_m from a bf16 file: --gguf bf16 first"
        if missing:
            hint = f"the converter imports {missing[1]}: pip install -r requirements.txt of llama.cpp, in the Python that runs it"
        raise Problems([Problem(f"tilth export --gguf {kind}", f"{CONVERTER} failed: {last}", "", hint)])
    return file


# -- checked ------------------------------------------------------------------------------------------------------


def check_gguf(folder: Path, file: str, expected: ExpectedOutputs, shown: str) -> tuple[dict[str, Any], str]:
    """(the receipt of a GGUF file, a line for the user). Raises Problems where llama.cpp and the model differ."""
    python = os.environ.get(PYTHON_VARIABLE) or (sys.executable if find_spec("llama_cpp") else None)
    if python is None:
        why = f"llama-cpp-python is neither here nor in ${PYTHON_VARIABLE}"
        return {"file": file, "checked": False, "why": why}, f"not checked: {file}: {why}"
    rows = [{"text": row.text, "ids": row.ids, "answer": row.answer} for row in expected.rows]
    request = {
        "file": str((folder / file).resolve()),
        "stops": sorted(expected.stops),
        "longest": LONGEST,
        "rows": rows,
    }
    results, _ = run_isolated(llama.__file__, request, python)
    if "error" in results:
        raise Problems(
            [
                Problem(
                    f"{shown}/{file}", f"llama.cpp cannot use it: {results['error']}", "a file that loads", "--no-check"
                )
            ]
        )
    template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    if problems := gguf_problems(results, template, expected, f"{shown}/{file}"):
        raise Problems(problems)
    share = agreement(results, expected)
    same = sum(row.answer_ids == theirs for row, theirs in zip(expected.rows, results["answers"], strict=True))
    line = (
        f"{file} checked by llama-cpp-python {results['by']}: the same prompts, template and stops; its likeliest token is the model's for {share:.1%} of "
        f"the answers' tokens, at least {LEAST_AGREEMENT:.0%} are required; {same} of {len(expected.rows)} answers are the same to the end"
    )
    receipt = {
        "file": file,
        "checked": True,
        "by": results["by"],
        "agreement": round(share, 4),
        "least": LEAST_AGREEMENT,
    }
    return receipt | {"same": same}, line


def gguf_problems(results: dict[str, Any], template: str, expected: ExpectedOutputs, where: str) -> list[Problem]:
    """The differences between llama.cpp and the model. template: the chat template of the exported folder."""
    hint, problems = "try another llama.cpp or another TYPE; --no-check exports it without a check", []
    if results["template"] != template:
        found = "has no chat template" if results["template"] is None else "has another chat template"
        problems.append(Problem(where, found, "that of chat_template.jinja", hint))
    if lost := sorted(expected.stops - set(results["stops"])):
        problems.append(
            Problem(where, f"llama.cpp does not end an answer at {lost}", f"{sorted(expected.stops)}", hint)
        )
    for row, prompt in zip(expected.rows, results["prompts"], strict=True):
        if prompt != row.prompt_ids:
            found = f"{row.name}: its prompt has other tokens, {len(prompt):,} of them"
            problems.append(Problem(where, found, f"the {len(row.prompt_ids):,} of the model", hint))
    if (share := agreement(results, expected)) < LEAST_AGREEMENT:
        found = f"its likeliest token is the model's for {share:.1%} of the answers' tokens"
        problems.append(Problem(where, found, f"at least {LEAST_AGREEMENT:.0%}", hint))
    return problems


def agreement(results: dict[str, Any], expected: ExpectedOutputs) -> float:
    """The share of our answers' tokens that are also llama.cpp's likeliest, given our tokens before them."""
    pairs = [
        pair
        for row, theirs in zip(expected.rows, results["likeliest"], strict=True)
        for pair in zip(row.answer_ids, theirs, strict=True)
    ]
    return sum(ours == theirs for ours, theirs in pairs) / len(pairs)
