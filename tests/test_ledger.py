import json

import pyarrow.parquet as pq
import pytest
from builds import run_data_stages, write_params

from commands import ledger
from stages import collect, ingest, validate
from stages.rows.tables import REJECTS, to_table, write_table
from validators.problems import Problems

PARAMS = """
seed: 7
eval_fraction: 0.3
steps:
  sft: {method: sft, from: base, dataset: chat}
datasets:
  chat: {kind: sft, raw: chat.jsonl, max_reject_share: 1}
  feedback: {kind: kto, raw: pairs.jsonl, max_reject_share: 1}
"""
GOOD = [json.dumps({"instruction": f"question {i}", "output": "a"}) for i in range(20)]
EVIL = '{"instruction": "\\u001b[31mred", "output": "\\u001b[2J[bold]a"}'
CHAT = [*GOOD, GOOD[3], '{"instruction": "q", "output": " "}', EVIL, "{", '{"what": "\x1b[31mis this"}']
PAIRS = [json.dumps({"prompt": f"q {i}", "chosen": "a", "rejected": "b"}) for i in range(20)]


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_params(PARAMS)
    (tmp_path / "chat.jsonl").write_text("\n".join(CHAT))
    (tmp_path / "pairs.jsonl").write_text("\n".join(PAIRS))
    return tmp_path


@pytest.fixture
def built(project, capsys):
    run_data_stages("chat", "feedback")
    collect.main()
    capsys.readouterr()
    return project


def test_the_account_goes_from_raw_records_to_train_and_eval_by_reason(built, capsys):
    ledger.main("chat")
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "chat"
    for line in (
        "ingest raw records 25",
        "rejected by ingest.json -2",
        "rows of the other records 23",
        "rejected by sft.no_control_characters -1",
        "rejected by sft.non_empty_turns -1",
        "rejected by curate.duplicate -1",
    ):
        assert line in lines
    assert lines[-1].startswith("23 rows = 2 rejected by validate + 1 by curate + ") and lines[-1].endswith(
        "all accounted for"
    )


def test_a_narrow_terminal_loses_no_number(built, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    ledger.main("chat")
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "rejected by sft.no_control_characters -1" in lines and "ingest raw records 25" in lines


def test_the_account_as_json_has_the_same_numbers(built, capsys):
    ledger.main("chat", as_json=True)
    (account,) = json.loads(capsys.readouterr().out)
    assert (account["records"], account["rows"], account["faults"]) == (25, 23, [])
    assert account["rejected"] == {
        "ingest": {"ingest.json": 2},
        "validate": {"sft.no_control_characters": 1, "sft.non_empty_turns": 1},
        "curate": {"curate.duplicate": 1},
    }
    assert account["train"] + account["eval"] == 20


def test_rows_beyond_max_rows_are_not_sampled_and_no_rejects(project, capsys):
    write_params(PARAMS.replace("raw: chat.jsonl", "raw: chat.jsonl, max_rows: 12"))
    run_data_stages("chat")
    capsys.readouterr()
    ledger.main("chat", as_json=True)
    (account,) = json.loads(capsys.readouterr().out)
    assert (account["not_sampled"], account["train"] + account["eval"]) == (8, 12)
    assert account["rejected"]["curate"] == {"curate.duplicate": 1} and account["faults"] == []
    ledger.main("chat")
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "not sampled by curate.mixed_out -8" in lines and " by curate + 8 not sampled + " in lines[-1]
    assert "rejected by curate.mixed_out -8" not in lines
    ledger.main("chat", check="curate.mixed_out")
    assert len([line for line in capsys.readouterr().out.splitlines() if line.startswith("chat.jsonl:")]) == 8


def test_two_rows_of_one_record_are_one_record(built, capsys):
    ledger.main("feedback", as_json=True)
    (account,) = json.loads(capsys.readouterr().out)
    assert (account["records"], account["rows"]) == (20, 40)


def test_without_a_name_every_dataset_is_accounted_for(built, capsys):
    ledger.main()
    out = capsys.readouterr().out
    assert out.count("all accounted for") == 2


def test_a_lost_row_is_said_and_is_an_error(built, capsys):
    train = pq.read_table("data/train/chat.parquet")
    write_table("data/train/chat.parquet", train.slice(1))
    with pytest.raises(Problems, match=r"does not add up: 23 rows in, but 22 in train, eval and rejected"):
        ledger.main("chat")
    assert "does not add up" in capsys.readouterr().out


def test_rejects_of_another_build_are_said(built):
    write_table("data/ingested/chat/rejects.parquet", to_table([], REJECTS))
    with pytest.raises(Problems, match="ingest rejected 0, but data/rejected has 2"):
        ledger.main("chat")


def test_what_is_half_built_is_shown_as_far_as_it_is(project, capsys):
    ingest.main("chat")
    ledger.main("chat")
    out = capsys.readouterr().out
    assert "rows of the other records" in out and "not built yet" in out and "dvc repro curate@chat" in out


def test_nothing_built_is_a_problem_with_a_hint(project):
    with pytest.raises(Problems, match=r"nothing is built yet(.|\n)*hint: dvc repro curate@chat"):
        ledger.main("chat")


def test_an_unknown_dataset_gets_the_nearest_name(project):
    with pytest.raises(Problems, match=r"no dataset 'caht'(.|\n)*did you mean 'chat'"):
        ledger.main("caht")


def test_a_broken_file_is_a_problem(built):
    (built / "data/train/chat.parquet").write_bytes(b"no Parquet")
    with pytest.raises(Problems, match="cannot be read"):
        ledger.main("chat")


# -- what preflight leaves out --------------------------------------------------------------------------------------


@pytest.fixture
def examined(built):
    """A build whose preflight left out two rows of train and one of eval."""
    rows = pq.read_metadata("data/train/chat.parquet").num_rows
    (built / "preflight").mkdir()
    (built / "preflight/sft.json").write_text(json.dumps({"dataset": "chat", "rows": rows}))
    dropped = (
        'step,row,id,proof,reason\nsft,chat.jsonl:4,a,SAID,"SAID: a\x1b[31m line"\nsft,chat.jsonl:5,b,LENGTH,too long\n'
    )
    (built / "preflight/_dropped.csv").write_text(dropped)
    (built / "preflight/_unscored.csv").write_text("dataset,row,id,proof,reason\nchat,chat.jsonl:6,c,STOP,no end\n")
    return built


def test_rows_that_preflight_left_out_are_counted_by_proof_below_train_and_eval(examined, capsys):
    ledger.main("chat")
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    at = next(i for i, line in enumerate(lines) if line.startswith("train "))
    assert lines[at + 1 : at + 3] == ["left out of step sft by LENGTH -1", "left out of step sft by SAID -1"]
    assert lines[at + 3].startswith("eval ") and lines[at + 4] == "not scored by STOP -1"
    ledger.main("chat", as_json=True)
    (account,) = json.loads(capsys.readouterr().out)
    assert account["not_trained"] == {"sft": {"LENGTH": 1, "SAID": 1}} and account["not_scored"] == {"STOP": 1}
    assert account["faults"] == []


def test_a_proof_shows_the_rows_that_it_left_out(examined, capsys):
    ledger.main("chat", check="SAID")
    out = capsys.readouterr().out
    assert out.startswith("chat.jsonl:4: SAID: a") and "preflight: left out of sft" in out and "\x1b" not in out
    ledger.main("chat", check="STOP", as_json=True)
    assert [row["line"] for row in json.loads(capsys.readouterr().out)] == [6]
    ledger.main("chat", check="TOOLS")
    assert capsys.readouterr().out == "TOOLS rejected no record of chat\n"


def test_what_preflight_has_not_examined_is_no_zero(built, capsys):
    ledger.main("chat", as_json=True)
    (account,) = json.loads(capsys.readouterr().out)
    assert (account["not_trained"], account["not_scored"]) == ({"sft": None}, None)
    ledger.main("chat")
    assert "left out of step sft by preflight: not built yet" in capsys.readouterr().out


# -- --check ------------------------------------------------------------------------------------------------------


def test_a_check_shows_its_records_with_their_lines(built, capsys):
    ledger.main("chat", check="curate.duplicate")
    out = capsys.readouterr().out
    assert out.startswith("chat.jsonl:21: duplicate of ") and "question 3" in out


def test_nothing_of_the_data_reaches_the_terminal_as_a_command(built, capsys):
    for check in ("sft.no_control_characters", "ingest.json"):
        ledger.main("chat", check=check)
        ledger.main("chat", check=check, as_json=True)
    out = capsys.readouterr().out
    assert "\x1b" not in out and "red" in out and "[bold]" in out


def test_a_limit_says_how_many_more_there_are(built, capsys):
    ledger.main("chat", check="ingest.json", limit=1)
    assert capsys.readouterr().out.endswith("1 more: --limit 0 shows all 2\n")


def test_a_check_that_turned_nothing_away_says_so(built, capsys):
    ledger.main("chat", check="curate.benchmark")
    assert capsys.readouterr().out == "curate.benchmark rejected no record of chat\n"


def test_an_unknown_check_gets_the_nearest_name(built):
    with pytest.raises(Problems, match=r"no check 'sft.known_role'(.|\n)*did you mean 'sft.known_roles'"):
        ledger.main("chat", check="sft.known_role")


def test_checks_are_shown_before_curate_has_run(project, capsys):
    ingest.main("chat")
    validate.main("chat")
    capsys.readouterr()
    ledger.main("chat", check="sft.non_empty_turns")
    assert capsys.readouterr().out.startswith("chat.jsonl:22: ")
