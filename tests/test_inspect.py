import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import preloaded
import pytest
from ruamel.yaml import YAML

from commands import inspect
from commands.inspection import sample, sample_report
from stages.rows.options import Options, extract_ground_truth
from stages.rows.shapes import rows_of
from validators.params import NAME_PATTERN, Dataset
from validators.problems import Problems

ROOT = Path(__file__).parents[1]
CHAT = [json.dumps({"instruction": f"question {i}", "output": "a"}) for i in range(40)]
PAIR = json.dumps({"prompt": "q", "chosen": "aaa", "rejected": "bbb"})
RATED = [json.dumps({"prompt": "q", "completion": "a", "label": label}) for label in (True, False)]
BOX = r"(?s)\\boxed\{((?:[^{}]|\{(?1)\})+)\}(?!.*\\boxed)"
TRUTH = json.dumps({"question": "1 + 1?", "answer": "2"})


@pytest.fixture
def inspected(tmp_path, monkeypatch, capsys):
    """What `tilth inspect` prints of a file with a name and lines."""
    monkeypatch.chdir(tmp_path)

    def inspected(name, *lines, path=None, **options):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("\n".join(lines), encoding="utf-8")
        inspect.main(SimpleNamespace(obj=tmp_path), path or name, **options)
        return capsys.readouterr().out

    return inspected


def pasted(out):
    """The entry that is to be pasted, read as YAML and by the schema of params.yaml."""
    ((name, dataset),) = YAML(typ="safe", pure=True).load(out.split("in params.yaml:")[1]).items()
    assert NAME_PATTERN.fullmatch(name)
    Dataset.model_validate(dataset)
    return name, dataset


@pytest.mark.parametrize(
    "lines, kind", [(CHAT, "sft"), ([PAIR], "preference"), (RATED, "kto"), ([TRUTH], "grpo"), ([*CHAT, PAIR], "sft")]
)
def test_the_entry_has_the_kind_that_most_records_are(inspected, lines, kind):
    assert pasted(inspected("raw/data.jsonl", *lines)) == ("data", {"kind": kind, "raw": "raw/data.jsonl"})


def test_container_encoding_size_and_shapes_are_told(inspected):
    out = inspected("raw/data.jsonl", "\ufeff" + CHAT[0] + "\r", TRUTH, '{"what": 1}', "{")
    assert out.splitlines()[0].startswith("raw/data.jsonl: jsonl, UTF-8 with BOM, CRLF line ends, ")
    assert "1 alpaca, 1 verifiable, 1 unknown, 1 unreadable" in out
    assert "4 records looked at; can become: sft 2, grpo 2" in out


def test_of_two_answers_it_is_told_which_is_taken_as_better(inspected):
    lines = [
        json.dumps({"prompt": str(i), "answer_a": "x", "answer_b": "y", "winner": "ab"[i % 4 == 0]}) for i in range(8)
    ]
    out = inspected("raw/data.jsonl", *lines)
    assert "6 compared (answer_a is better, by winner), 2 compared (answer_b is better, by winner)" in out


def test_lengths_are_in_characters_and_in_tokens_where_there_is_a_model(inspected):
    out = inspected("raw/data.jsonl", '{"instruction": "four", "output": "x"}')
    assert "characters a row: p50 5, p95 5, max 5" in out
    assert "tokens a row: the first build counts them, with the tokenizer of its base" in out


@pytest.mark.slow
def test_tokens_are_counted_with_the_base_model(inspected, tmp_path):
    from stages.training.models import save_tiny_model

    save_tiny_model(tmp_path / "models/base")
    # a byte a token, and the line end between the turns
    assert "in the first 1 rows: p50 6, p95 6, max 6" in inspected(
        "raw/data.jsonl", '{"instruction": "four", "output": "x"}'
    )


def test_the_first_problems_have_their_lines_and_real_checks(inspected):
    out = inspected("raw/data.jsonl", CHAT[0], "{", '{"instruction": "q", "output": " "}')
    assert "raw/data.jsonl:2: ingest.json: " in out
    assert (
        "raw/data.jsonl:3: sft.non_empty_turns: messages[1] by 'assistant': expected that every turn says something"
        in out
    )
    assert "2 rejected (66.7%)" in out and "a build stops at more than 5%" in out


def test_only_a_sample_is_read_and_said_to_be_one(inspected, monkeypatch):
    monkeypatch.setattr(sample, "MAX_RECORDS", 100)
    out = inspected("raw/data.jsonl", *CHAT, *CHAT, *CHAT)
    assert "100 alpaca (the first 100 records)" in out and "100 records looked at, the first of each file" in out


def test_a_folder_is_one_dataset(inspected, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/a.csv").write_text("instruction,output\nq,a\n")
    out = inspected("raw/b.jsonl", *CHAT, path="raw")
    assert "raw/a.csv: csv" in out and "raw/b.jsonl: jsonl" in out
    assert pasted(out) == ("raw", {"kind": "sft", "raw": "raw"})


def test_a_file_that_cannot_be_read_does_not_hide_the_others(inspected, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/a.jsonl").write_text("version https://git-lfs.github.com/spec/v1\n")
    out = inspected("raw/b.jsonl", *CHAT, path="raw")
    assert "a Git LFS pointer" in out and "40 records looked at" in out


def test_warnings_of_the_dataset_are_told_too(inspected):
    assert "kto.both_classes: all 1 rows have label false; this stops a build" in inspected("d.jsonl", RATED[1])


def test_ratings_that_are_all_good_are_sft_and_not_kto(inspected):
    assert pasted(inspected("d.jsonl", RATED[0]))[1]["kind"] == "sft"


def test_a_kind_that_a_build_would_reject_is_not_suggested(inspected):
    turns = [{"role": "user", "content": "q"}, {"role": "user", "content": "r"}, {"role": "assistant", "content": "a"}]
    with pytest.raises(Problems, match=r"(?s)no record becomes a row.*sft.roles_alternate"):
        inspected("d.jsonl", json.dumps({"messages": turns}))


def test_rows_are_counted_after_validation(inspected):
    out = inspected("d.jsonl", *CHAT, '{"instruction": "q", "output": " "}')
    assert "as kind sft: 40 rows, 1 rejected" in out


def test_keys_that_no_row_is_made_of_are_told_and_those_that_stop_a_build(inspected):
    out = inspected("d.jsonl", '{"instruction": "i", "output": "o", "url": "u", "passage": "p"}')
    assert "keys not used: passage (1), url (1)" in out
    assert (
        "a build stops: 1 record has 'passage' ('p'), which no row holds; columns: {prompt: [<the question>, passage]}"
        in out
    )


def test_a_passage_that_no_row_holds_is_joined_to_the_question_by_the_entry(inspected):
    record = {"article": "Ann stayed.", "question": "Who stayed?", "options": ["Ben", "Ann"], "answer": "B"}
    out = inspected("raw/data.jsonl", json.dumps(record))
    assert "1 record has 'article' ('Ann stayed.'), which no row holds" in out
    columns = pasted(out)[1]["columns"]
    assert columns == {"prompt": ["article", "question"]}
    (row,) = rows_of(record, "grpo", Options(columns=columns))
    assert row["prompt"][0]["content"] == "Ann stayed.\nWho stayed?\nA. Ben\nB. Ann" and row["ground_truth"] == "B"


def test_a_passage_beside_an_instruction_is_joined_to_it(inspected):
    out = inspected(
        "raw/data.jsonl", json.dumps({"instruction": "Who stayed?", "output": "Ann", "passage": "Ann stayed."})
    )
    assert pasted(out)[1]["columns"] == {"instruction": ["passage", "instruction"]}


def test_text_that_is_not_utf8_is_said_to_be_none(inspected, tmp_path):
    (tmp_path / "raw").mkdir()
    lines = "".join(f"{line}\n" for line in CHAT) + '{"instruction": "caf\xe9", "output": "o"}'
    (tmp_path / "raw/a.jsonl").write_bytes(lines.encode("cp1252"))
    assert f"raw/a.jsonl: jsonl, not UTF-8 (byte {lines.index(chr(0xE9)):,})" in inspected(
        "raw/b.jsonl", *CHAT, path="raw"
    )


@pytest.mark.parametrize(
    "name", ["2024 final (v2).jsonl", "ÄÖ: {x}.jsonl", "a'b\"c.jsonl", "null", "[x].jsonl", "a\x9b2J\x7f.jsonl"]
)
def test_any_file_name_gives_valid_yaml(inspected, name):
    assert pasted(inspected(name, *CHAT))[1]["raw"] == name


def test_data_outside_the_project_is_to_be_copied_into_it(inspected, tmp_path, monkeypatch):
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    out = inspected("my data.jsonl", *CHAT)
    assert f"first: cp -r '{tmp_path}/my data.jsonl' data/raw/" in out
    assert pasted(out) == ("my_data", {"kind": "sft", "raw": "data/raw/my data.jsonl"})


def test_a_name_that_params_has_is_not_given_again(inspected, tmp_path):
    (tmp_path / "params.yaml").write_text("datasets: {chat: {kind: sft, raw: raw/chat.jsonl}}")
    assert "params.yaml has it: datasets.chat" in inspected("raw/chat.jsonl", *CHAT)
    assert pasted(inspected("new/chat.jsonl", *CHAT))[0] == "chat_new"


@pytest.mark.parametrize(
    "entry, said",
    [
        ("{kind: sft, raw: raw}", "datasets.mine, which reads all of raw\n"),
        ("{kind: sft, raw: raw/}", "datasets.mine, which reads all of raw\n"),
        (
            "{kind: grpo, raw: raw/chat.jsonl}",
            "datasets.mine; what differs: `kind: grpo` there, most of these records are sft\n",
        ),
        (
            "{kind: sft, raw: raw, exclude: ['chat*']}",
            "datasets.mine, which reads all of raw, but `exclude` leaves this out\n",
        ),
    ],
)
def test_a_file_that_params_has_gets_no_second_entry_under_whatever_name(inspected, tmp_path, entry, said):
    (tmp_path / "params.yaml").write_text(
        f"datasets: {{mine: {entry}, other: {{kind: sft, raw: raw/chat.jsonl.more}}}}"
    )
    out = inspected("raw/chat.jsonl", *CHAT)
    assert out.endswith(f"\nparams.yaml has it: {said}") and "to paste" not in out


def test_a_pattern_that_an_entry_lacks_is_named(inspected, tmp_path):
    (tmp_path / "params.yaml").write_text("datasets: {maths: {kind: grpo, raw: raw}}")
    out = inspected(
        "raw/maths.jsonl", *(json.dumps({"question": f"{i}?", "answer": f"so\n#### {i}"}) for i in range(9))
    )
    assert (
        "datasets.maths, which reads all of raw; what differs: no ground_truth_pattern there: '#### (.+)$' finds" in out
    )


@pytest.mark.parametrize(
    "before, now, said",
    [
        ("tiny", None, "the tokenizer of the base model tiny"),
        ("tiny", "b", "the tokenizer of tiny, which models/base still is (params.yaml has b now: dvc repro base)"),
        (
            "b",
            "b",
            "the tokenizer of b, which models/base still is (with other settings in params.yaml now: dvc repro base)",
        ),
        (
            None,
            "b",
            "the tokenizer of an earlier base model, which models/base still is (params.yaml has b now: dvc repro base)",
        ),
    ],
)
def test_whose_tokenizer_counts_is_said(monkeypatch, before, now, said):
    read = {name: name and {"base": {"model": name}} for name in (before, now)}
    monkeypatch.setattr("commands.builds.build.read_build", lambda: None)
    monkeypatch.setattr("commands.builds.params.params_of_run", lambda build, stage: read[before])
    monkeypatch.setattr("commands.builds.params.params_then_and_now", lambda build, stage: (None, read[now] or {}))
    assert sample_report.tokenizer_in_words() == said


def test_a_base_model_of_no_build_is_called_by_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sample_report.tokenizer_in_words() == "the tokenizer of models/base"


def test_a_missing_path_is_a_problem(inspected):
    with pytest.raises(Problems, match="nope: does not exist"):
        inspected("raw/data.jsonl", *CHAT, path="nope")


def test_an_empty_folder_is_a_problem(inspected, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(Problems, match="holds no file"):
        inspected("raw/data.jsonl", *CHAT, path="empty")


def test_an_empty_file_is_a_problem(inspected):
    with pytest.raises(Problems, match="the file is empty"):
        inspected("raw/data.jsonl", "")


def test_records_of_no_known_shape_are_a_problem_that_names_their_keys(inspected):
    with pytest.raises(Problems, match="the first record's keys: mystery"):
        inspected("raw/data.jsonl", '{"mystery": 1}')


def test_names_that_say_what_they_are_get_a_columns_entry_that_works(inspected):
    record = '{"uid": "t7", "Body": "Tim has 2.", "Query": "How many?", "Reply": "x", "Final Answer": 2}'
    with pytest.raises(
        Problems, match=r"add --columns 'prompt: .Body, Query., ground_truth: \"Final Answer\"' to the command"
    ):
        inspected("raw/data.jsonl", record)
    out = inspected("raw/data.jsonl", record, columns='prompt: [Body, Query], ground_truth: "Final Answer"')
    _, dataset = pasted(out)
    assert dataset["columns"] == {"prompt": ["Body", "Query"], "ground_truth": "Final Answer"}
    assert "tilth recommend raw/data.jsonl --columns 'prompt: [Body, Query], " in out
    options = Options(columns={"prompt": ["Body", "Query"], "ground_truth": "Final Answer"})
    assert rows_of(json.loads(record), "grpo", options)[0]["prompt"][0]["content"] == "Tim has 2.\nHow many?"


def test_the_row_with_the_most_turns_is_shown_too_as_its_history_may_be_in_another_order(inspected):
    """As in a foreign file whose `history` held what came after `query`: the first row had none."""
    rows = [{"query": "Hello?", "response": "Yes.", "history": history} for history in ([], [["And then?", "No."]])]
    out = inspected("raw/data.jsonl", *map(json.dumps, rows))
    shown = [line for line in out.splitlines() if "messages: " in line]
    assert shown == [
        "first row, messages: user: 'Hello?'", "first row, messages: assistant: 'Yes.'",
        *(f"raw/data.jsonl:2, the most turns, messages: {turn}" for turn in ("user: 'And then?'", "assistant: 'No.'", "user: 'Hello?'", "assistant: 'Yes.'")),
    ]  # fmt: skip


def test_a_csv_without_names_is_read_by_numbers(inspected):
    lines = "What is a quay?,It is a place for ships.", "Why is it so?,Because of the tides."
    with pytest.raises(Problems, match="number them"):
        inspected("raw/faq.csv", *lines)
    out = inspected("raw/faq.csv", *lines, columns="{prompt: 1, completion: 2}")
    assert "first row, messages: assistant: 'It is a place for ships.'" in out
    assert pasted(out)[1]["columns"] == {"prompt": 1, "completion": 2}


def test_the_columns_of_params_are_those_that_a_path_is_read_with(inspected, tmp_path):
    entry = "datasets: {mine: {kind: sft, raw: raw, columns: {prompt: aa, completion: bb}}}"
    (tmp_path / "params.yaml").write_text(entry)
    out = inspected("raw/data.jsonl", '{"aa": "q", "bb": "a"}')
    assert "1 prompt_completion" in out and "params.yaml has it: datasets.mine" in out


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ("prompt", "--columns: 'prompt'; expected names as in params.yaml"),
        ("prompt: {a: b}", "--columns: 'prompt: {a: b}'"),
        ("promt: a", "--columns.promt: no shape has a column 'promt'"),
        ("prompt: [", "--columns: 'prompt: ['"),
        ("prompt: 1, completion: b", "--columns: names and numbers; expected one or the other"),
    ],
)
def test_a_mistake_in_columns_is_named(inspected, columns, found):
    with pytest.raises(Problems) as raised:
        inspected("raw/data.jsonl", CHAT[0], columns=columns)
    assert str(raised.value).startswith(found)


def test_names_that_say_nothing_get_no_columns(inspected):
    with pytest.raises(Problems) as raised:
        inspected("raw/data.jsonl", '{"uid": "t7", "model": "m", "code": "1 + 2"}')
    (problem,) = raised.value.problems
    assert (
        problem.hint
        == "docs/formats.md has the shapes; or say what the keys are: --columns 'prompt: KEY, completion: KEY'"
    )
    assert "ingest.missing_key" in problem.found


@pytest.mark.parametrize(
    ("solution", "pattern", "answer"),
    [
        ("3 and 4 make 7.\n#### 7", r"#### (.+)$", "7"),
        (r"So \boxed{x+1} it is", BOX, "x+1"),
        (r"First \boxed{1}, then \boxed{\frac{1}{2}}", BOX, r"\frac{1}{2}"),
        ("<think>hm</think><answer> 7 </answer>", r"<answer>\s*(.+?)\s*</answer>", "7"),
        ("Half of 8 is 4. The answer is 4.", r"[Tt]he answer is:? (.+?)\.?$", "4"),
    ],
)
def test_a_whole_solution_as_ground_truth_gets_the_pattern_of_its_answer(inspected, solution, pattern, answer):
    out = inspected("p.jsonl", *[json.dumps({"question": f"q{i}", "answer": solution}) for i in range(3)])
    assert pasted(out)[1]["ground_truth_pattern"] == pattern
    assert extract_ground_truth(solution, pattern) == answer


def test_a_bare_ground_truth_gets_no_pattern(inspected):
    out = inspected("p.jsonl", *[json.dumps({"question": f"q{i}", "answer": str(i)}) for i in range(3)])
    assert "ground_truth_pattern" not in out


def test_records_that_cannot_be_read_at_all_are_a_problem(inspected):
    with pytest.raises(Problems, match="none that can be read"):
        inspected("raw/data.json", "[1, 2]")


def tilth(folder, *arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "commands", *arguments]
    return preloaded.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_the_path_is_relative_to_where_the_user_is(tmp_path):
    (tmp_path / "params.yaml").write_text("datasets: {}")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/data.jsonl").write_text(CHAT[0])
    done = tilth(tmp_path / "raw", "inspect", "data.jsonl")
    assert done.returncode == 0, done.stderr
    assert "data: {kind: sft, raw: raw/data.jsonl}" in done.stdout


def test_it_works_without_a_project_and_no_escape_code_passes(tmp_path):
    (tmp_path / "\x1b[31mred.jsonl").write_text(
        '{"instruction": "\\u001b[31mq", "output": "a"}\n{"\\u001b[2J": 1}\n{\x1b[0m\n' + CHAT[0], encoding="utf-8"
    )
    done = tilth(tmp_path, "inspect", ".")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr and "sft.no_control_characters" in done.stdout
    missing = tilth(tmp_path, "inspect", "\x1b[31mnope")
    assert missing.returncode == 1 and "does not exist" in missing.stderr and "\x1b" not in missing.stderr
    assert "Traceback" not in missing.stderr


# -- ground truths ------------------------------------------------------------------------------------------------


def asked(truth):
    return json.dumps({"question": f"What of {truth}?", "answer": truth})


def test_three_ground_truths_are_shown_as_a_reward_sees_them(inspected):
    out = inspected("raw/data.jsonl", *map(asked, ["1,234", '["18", "eighteen"]', "9 + 9\n#### 18", "5"]))
    found = [line.partition(": ")[2] for line in out.splitlines() if line.startswith("ground truth of ")]
    assert found == [
        "'1,234'; as a number 1234",
        """'["18", "eighteen"]'; any of 2 is right""",
        "'9 + 9\\n#### 18'; final answer '18'; as a number 18",
    ]


@pytest.mark.parametrize(
    "truth, said",
    [
        ("9 + 9\nis 18", "2 of 5 ground truths look like whole solutions"),
        ("x" * 201, "2 of 5 ground truths look like whole solutions"),
        ('{"a": 1}', "2 of 5 ground truths are JSON objects"),
    ],
)
def test_truths_that_no_answer_will_be_are_warned_of(inspected, truth, said):
    assert said in inspected("raw/data.jsonl", asked(truth), asked(truth), asked("5"), asked("6"), asked("7"))


def test_questions_with_texts_as_answers_are_supervised_and_with_short_ones_verifiable(inspected):
    texts = [
        json.dumps(
            {
                "question": f"q{i}",
                "context": "CREATE TABLE t (a INT)",
                "answer": f"SELECT {i} FROM a_table_with_a_name WHERE another_column > 3 ORDER BY a_third_column",
            }
        )
        for i in range(4)
    ]
    out = inspected("raw/data.jsonl", *texts)
    assert "as kind sft: 4 rows" in out and "kind: sft" in out
    assert r"first row, messages: user: 'q0\nCREATE TABLE t (a INT)'" in out
    assert "as kind grpo" in inspected("raw/data.jsonl", *map(asked, ["5", "Paris", "x" * 70]))


def test_a_truth_that_stands_in_the_prompt_is_warned_of_and_other_keys_are_named(inspected):
    puzzles = [json.dumps({"prompt": f"Reach {i} with [7, 9].", "target": str(i), "nums": [7, 9]}) for i in (16, 63)]
    out = inspected("raw/data.jsonl", *puzzles)
    assert "warning: the ground truth stands in the prompt of 2 of 2 rows" in out
    assert "other keys, which rewards and metrics can ask for by name, and slice_by splits scores by: nums" in out
    sums = [json.dumps({"prompt": f"{i} + 1?", "target": str(i + 1)}) for i in (16, 63)]
    out = inspected("raw/data.jsonl", *sums)
    assert "stands in the prompt" not in out and "other keys" not in out


def test_usual_truths_are_not_warned_of(inspected):
    out = inspected("raw/data.jsonl", asked("5"), asked("{1, 2}"), asked("[1, 2]"))
    assert "whole solutions" not in out and "JSON objects" not in out


def test_conversations_without_an_answer_are_told_in_one_sentence(inspected):
    asked = json.dumps({"messages": [{"role": "user", "content": "q"}]})
    out = inspected("a.jsonl", asked, asked, *CHAT)
    assert "2 conversations without an answer: prompts only; as kind grpo they need a ground truth" in out
    with pytest.raises(Problems, match="1 conversation without an answer: prompts only"):
        inspected("b.jsonl", asked)
    assert "without an answer" not in inspected("c.jsonl", *CHAT)


def test_what_a_file_is_is_told_as_json_too(inspected):
    found = json.loads(inspected("data.jsonl", *CHAT, '{"instruction": 1}', as_json=True))
    assert (found["kind"], found["records"], found["rows"], found["rejected"]) == ("sft", 41, 40, 1)
    assert found["files"][0]["shapes"].startswith("40 alpaca")
    assert found["rejects"][0]["line"] == 41
    assert "to paste under `datasets:`" in found["entry"]
