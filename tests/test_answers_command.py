"""`tilth answers`: what a model said to eval rows, from the worst to the best; nothing of a row is lost on the way."""

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
    for name, chosen, rejected in (("p", -1.0, -3.0), ("q", -2.5, -1.5)):
        lines.append({"dataset": "pairs", "id": name, "chosen_logp": chosen, "rejected_logp": rejected})
    for name, logp in (("k", -1.0), ("l", -3.0), ("m", -0.5)):
        lines.append({"dataset": "rated", "id": name, "logp": logp})
    columns = [
        "dataset",
        "id",
        "nll",
        "generation",
        "cut",
        "cut_thinking",
        "exact_match",
        "chosen_logp",
        "rejected_logp",
        "logp",
    ]
    lines = [{column: line.get(column) for column in columns} for line in lines]
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
    asked = [{"role": "user", "content": "Which?"}]
    said = {name: [{"role": "assistant", "content": name}] for name in ("better", "worse", "rated")}
    place = {"source": "data/raw/b.jsonl", "prompt": asked}
    pairs = [
        place | {"id": name, "line": i, "chosen": said["better"], "rejected": said["worse"]}
        for i, name in enumerate("pq", 1)
    ]
    pq.write_table(pa.Table.from_pylist(pairs), "data/eval/pairs.parquet")
    rated = [
        place | {"id": name, "line": i, "completion": said["rated"], "label": name != "m"}
        for i, name in enumerate("klm", 1)
    ]
    pq.write_table(pa.Table.from_pylist(rated), "data/eval/rated.parquet")


def said(*arguments):
    done = CliRunner().invoke(app, ["answers", *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_the_worst_answers_come_first_and_those_without_a_value_last():
    places = [line.split()[0] for line in said("sft", "chat").splitlines() if line.startswith("data/raw")]
    assert [place[-1] for place in places] == ["2", "4", "1", "3"]
    assert said("sft").startswith("sft on chat: 4 of 4 rows, worst exact_match first\n")
    best = [line.split()[0] for line in said("sft", "chat", "--best").splitlines() if line.startswith("data/raw")]
    assert [place[-1] for place in best] == ["1", "2", "4", "3"]


def places(*arguments):
    return [line.split()[0][-1] for line in said("sft", "chat", *arguments).splitlines() if line.startswith("data/raw")]


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [(["--limit", "2"], "21"), (["--limit", "3"], "241"), (["--limit", "1"], "2"), (["--limit", "2", "--worst"], "24"),
     (["--limit", "2", "--best"], "12"), (["--limit", "0"], "2413"), (["--limit", "9", "--worst"], "2413")],
)  # fmt: skip
def test_some_rows_reach_from_the_worst_to_the_best(arguments, wanted):
    assert "".join(places(*arguments)) == wanted


def test_the_heading_says_which_rows_these_are():
    assert said("sft", "chat", "--limit", "2").startswith(
        "sft on chat: 2 of 4 rows, from the worst to the best exact_match\n"
    )
    assert said("sft", "chat", "--limit", "2", "--worst").startswith(
        "sft on chat: 2 of 4 rows, worst exact_match first\n"
    )


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


def test_where_all_are_equal_by_one_metric_the_next_one_is_the_order_and_answers_that_are_one_text_are_told(capsys):
    table = pq.read_table("scores/sft.parquet").to_pylist()
    for row, rouge in zip(table[:4], (0.5, 0.1, 0.9, 0.3), strict=True):
        row |= {"exact_match": 0.0, "rouge_l": rouge, "generation": "10" if rouge < 0.9 else "11"}
    pq.write_table(pa.Table.from_pylist(table), "scores/sft.parquet")
    out = CliRunner().invoke(app, ["answers", "sft", "chat"]).stdout
    assert out.startswith("sft on chat: 4 of 4 rows, worst rouge_l first; 3 of 4 answers are the same\n")
    assert [line.split("rouge_l ")[1] for line in out.splitlines() if "exact_match 0  " in line] == [
        "0.1  cut at max_new_tokens",
        "0.3",
        "0.5",
        "0.9",
    ]


def test_control_characters_of_an_answer_do_not_reach_the_terminal():
    assert "\x1b" not in said("sft") and "\\x1b[31m7" in said("sft")


def test_of_a_long_text_the_middle_is_left_out(capsys):
    from commands import answers

    answers.print_text("user", "a" * 900 + "b" * 900)
    out = capsys.readouterr().out
    assert "a" * 500 in out and "b" * 500 in out and "(800 characters left out)" in out and "a" * 501 not in out


def test_blanks_at_the_end_of_an_answer_are_counted(capsys):
    from commands import answers

    answers.print_text("answer", "7" + " \n" * 50)
    assert capsys.readouterr().out == "  answer    7\n            (100 blanks follow)\n"
    answers.print_text("answer", "7" + " " * 20)
    assert capsys.readouterr().out == "  answer    7\n"


def test_json_has_whole_texts():
    found = json.loads(said("sft", "--limit", "0", "--json"))["chat"]
    assert [row["texts"]["answer"] for row in found] == [SAID[name][0] for name in ("b", "d", "a", "c")]
    assert found[0]["scores"] == {"exact_match": 0.0} and found[0]["cut"] and found[3]["scores"] == {}


def test_a_pair_shows_both_answers_and_the_one_that_is_least_preferred_comes_first():
    assert said("sft", "pairs").splitlines() == [
        "sft on pairs: 2 of 2 rows, worst margin first",
        "data/raw/b.jsonl:2  margin -1",
        "  user      Which?",
        "  chosen    better",
        "  rejected  worse",
        "data/raw/b.jsonl:1  margin 2",
        "  user      Which?",
        "  chosen    better",
        "  rejected  worse",
        "",
    ]


def test_a_likely_bad_answer_and_an_unlikely_good_one_are_the_worst_ratings():
    lines = said("sft", "rated").splitlines()
    assert [line for line in lines if line.startswith("data/raw")] == [
        "data/raw/b.jsonl:2  logp -3",
        "data/raw/b.jsonl:1  logp -1",
        "data/raw/b.jsonl:3  logp -0.5",
    ]
    assert lines[3] == "  good      rated" and lines[-2] == "  bad       rated"


@pytest.mark.parametrize(
    "arguments, found",
    [(["nobody"], "no scores"), (["sft", "other"], "no scores of sft on 'other'; expected one of chat, pairs, rated")],
)
def test_a_model_or_a_dataset_without_scores_is_named(arguments, found):
    with pytest.raises(Problems, match=found):
        said(*arguments)


def test_without_a_name_the_last_step_speaks(tmp_path):
    (tmp_path / "params.yaml").write_text("steps:\n  first: {method: sft}\n  sft: {method: sft}\n")
    assert said() == said("sft")
    (tmp_path / "params.yaml").write_text("steps: {}\n")
    with pytest.raises(Problems, match="tilth answers base: no scores"):
        said()
