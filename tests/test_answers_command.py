"""`tilth answers`: what a model said to eval rows, the worst first; nothing of a row is lost on the way."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from commands.__main__ import app
from validators.problems import Problems

SAID = {
    "a": ("4", 1.0, False),
    "b": ("five\nor six", 0.0, True),
    "c": ("6", None, False),
    "d": ("\x1b[31m7", 0.0, False),
}


@pytest.fixture(autouse=True)
def scored(tmp_path, monkeypatch):
    """A model scored on four conversations and, without answers, on ratings."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scores").mkdir()
    (tmp_path / "data/eval").mkdir(parents=True)
    lines = [
        {
            "dataset": "chat",
            "id": name,
            "nll": 1.0,
            "generation": text,
            "cut": cut,
            "cut_thinking": False,
            "exact_match": right,
        }
        for name, (text, right, cut) in SAID.items()
    ]
    lines.append(
        {
            "dataset": "rated",
            "id": "e",
            "nll": None,
            "generation": None,
            "cut": None,
            "cut_thinking": None,
            "exact_match": None,
        }
    )
    pq.write_table(pa.Table.from_pylist(lines), "scores/sft.parquet")
    rows = [
        {
            "id": name,
            "source": "data/raw/chat/a.jsonl",
            "line": i,
            "messages": [{"role": "user", "content": f"Number {i}?"}, {"role": "assistant", "content": str(i + 3)}],
        }
        for i, name in enumerate(SAID, 1)
    ]
    pq.write_table(pa.Table.from_pylist(rows), "data/eval/chat.parquet")


def said(*arguments):
    done = CliRunner().invoke(app, ["answers", *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_the_worst_answers_come_first_and_those_without_a_value_last():
    places = [line.split()[0] for line in said("sft").splitlines() if line.startswith("data/raw")]
    assert [place[-1] for place in places] == ["2", "4", "1", "3"]
    assert said("sft").startswith("sft on chat: 4 of 4 answers, worst exact_match first\n")
    best = [line.split()[0] for line in said("sft", "--best").splitlines() if line.startswith("data/raw")]
    assert [place[-1] for place in best] == ["1", "2", "4", "3"]


def test_an_answer_stands_beside_its_prompt_and_what_was_wanted():
    out = said("sft", "chat", "--limit", "1")
    assert out.splitlines()[1:] == [
        "data/raw/chat/a.jsonl:2  exact_match 0  cut at max_new_tokens",
        "  user      Number 2?",
        "  answer    five",
        "            or six",
        "  wanted    5",
        "",
    ]


def test_control_characters_of_an_answer_do_not_reach_the_terminal():
    assert "\x1b" not in said("sft") and "\\x1b[31m7" in said("sft")


def test_json_has_whole_texts():
    found = json.loads(said("sft", "--limit", "0", "--json"))["chat"]
    assert [row["answer"] for row in found] == [SAID[name][0] for name in ("b", "d", "a", "c")]
    assert found[0]["scores"] == {"exact_match": 0.0} and found[0]["cut"] and found[3]["scores"] == {}


@pytest.mark.parametrize(
    "arguments, found",
    [(["nobody"], "no scored answers"), (["sft", "rated"], "no answers of sft to 'rated'; expected one of chat")],
)
def test_a_model_or_a_dataset_without_answers_is_named(arguments, found):
    with pytest.raises(Problems, match=found):
        said(*arguments)
