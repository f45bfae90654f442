import json

import pyarrow.parquet as pq
import pytest
from builds import write_params

from stages import ingest
from stages.ingest import convert_records
from stages.reading.readers import Record
from validators.problems import Problems

CHAT = {"instruction": "q", "output": "a"}
PAIR = {"prompt": "q", "chosen": "a", "rejected": "b"}
BROKEN = Record(2, None, "{", ("ingest.json", "broken"))


def record(line, value):
    return Record(line, value, json.dumps(value))


# -- convert ------------------------------------------------------------------------------------------------------


def test_every_record_is_in_one_of_rows_and_rejects():
    batch = [record(1, CHAT), BROKEN, record(3, {"dialogue": []}), record(4, CHAT), record(5, PAIR)]
    rows, rejects = convert_records(batch, "sft", "raw.jsonl")
    assert [row["line"] for row in rows] == [1, 4, 5]
    assert [reject["line"] for reject in rejects] == [2, 3]


def test_a_fault_of_the_reader_and_one_of_the_shape_keep_their_names_and_the_raw_text():
    rows, rejects = convert_records([BROKEN, record(3, {"dialogue": []})], "sft", "raw.jsonl")
    assert rows == []
    assert [(reject["check"], reject["raw"]) for reject in rejects] == [
        ("ingest.json", "{"),
        ("ingest.missing_key", '{"dialogue": []}'),
    ]
    assert rejects[0] == {
        "id": None,
        "source": "raw.jsonl",
        "line": 2,
        "stage": "ingest",
        "check": "ingest.json",
        "detail": "broken",
        "raw": "{",
    }


def test_a_pair_becomes_two_kto_rows_of_one_line():
    rows, rejects = convert_records([record(1, PAIR)], "kto", "raw.jsonl")
    assert [(row["line"], row["label"]) for row in rows] == [(1, True), (1, False)]
    assert rejects == []


def test_a_row_knows_where_it_comes_from_and_has_its_keys():
    ((row,), _) = convert_records([record(7, CHAT)], "sft", "data/raw/a.jsonl")
    assert (row["source"], row["line"]) == ("data/raw/a.jsonl", 7)
    assert len(row["id"]) == len(row["prompt_key"]) == 64
    assert row["claim_key"] is None


# -- the stage ----------------------------------------------------------------------------------------------------


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Runs ingest on raw files given as {path: text}; gives rows and rejects."""
    monkeypatch.chdir(tmp_path)

    def build(files, kind="sft", limit=1, options=""):
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text, encoding="utf-8")
        write_params(f"datasets: {{chat: {{kind: {kind}, raw: raw, max_reject_share: {limit}{options}}}}}")
        ingest.main("chat")
        return [pq.read_table(f"data/ingested/chat/{name}").to_pylist() for name in ("rows", "rejects.parquet")]

    return build


def test_the_stage_reads_files_of_all_containers_in_the_order_of_their_paths(build):
    rows, rejects = build(
        {
            "raw/c.csv": "instruction,output\nq,a\nr,b\n",
            "raw/a.jsonl": json.dumps(CHAT) + "\n{broken\n",
            "raw/b/x.json": json.dumps([CHAT, PAIR, 5], indent=1),
        }
    )
    assert [(row["source"], row["line"]) for row in rows] == [
        ("raw/a.jsonl", 1),
        ("raw/b/x.json", 1),
        ("raw/b/x.json", 2),
        ("raw/c.csv", 2),
        ("raw/c.csv", 3),
    ]
    assert [(reject["source"], reject["line"], reject["check"]) for reject in rejects] == [
        ("raw/a.jsonl", 2, "ingest.json"),
        ("raw/b/x.json", 3, "ingest.not_an_object"),
    ]


def test_the_stage_prints_its_account_and_the_shapes_that_it_saw(build, capsys):
    build({"raw/a.jsonl": f"{json.dumps(PAIR)}\n{json.dumps(CHAT)}\n{json.dumps(CHAT)}\n{{}}\n"})
    printed = capsys.readouterr().out
    assert (
        "raw/a.jsonl: JSON lines, 2 alpaca (keys instruction, output), 1 preference (keys chosen, rejected), 1 unknown"
    ) in printed
    assert "ingest chat: 4 in = 3 rows + 1 rejected" in printed


def test_conversations_without_an_answer_are_told_in_one_sentence(build, capsys):
    turns = [{"role": "user", "content": "q"}]
    records = [
        turns,
        [{"role": "system", "content": "s"}, *turns],
        [*turns, {"role": "assistant", "content": "a"}],
        [*turns, *turns],
    ]
    build({"raw/a.jsonl": "\n".join(json.dumps({"messages": record}) for record in records)})
    said = "3 conversations without an answer: prompts only; as kind grpo they need a ground truth"
    assert said in capsys.readouterr().out


def test_two_rows_of_one_record_are_one_record_in_the_account(build, capsys):
    rows, _ = build({"raw/a.jsonl": json.dumps(PAIR) + "\n{broken\n"}, kind="kto")
    assert len(rows) == 2
    assert "ingest chat: 2 in = 1 rows + 1 rejected" in capsys.readouterr().out


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_size_of_a_batch_changes_no_row(build, monkeypatch, size):
    files = {"raw/a.jsonl": "".join(json.dumps(CHAT | {"output": str(i)}) + "\n" for i in range(4)) + "{\n"}
    whole = build(files)
    monkeypatch.setattr(ingest, "BATCH_RECORDS", size)
    assert build(files) == whole


def test_the_same_files_make_the_same_bytes(build, tmp_path):
    path = tmp_path / "data/ingested/chat/rows/00000.parquet"
    files = {"raw/a.jsonl": json.dumps(CHAT) + "\n"}
    build(files)
    first = path.read_bytes()
    build(files)
    assert path.read_bytes() == first


def test_too_many_rejects_stop_the_build_and_leave_no_file(build, tmp_path):
    files = {"raw/a.jsonl": (json.dumps(CHAT) + "\n") * 8 + "{broken\n" * 2}
    assert len(build(files, limit=0.2)[1]) == 2
    with pytest.raises(Problems, match=r"2 of 10 records rejected \(20\.0%\)"):
        build(files, limit=0.19)
    assert list((tmp_path / "data/ingested").glob("*/*")) == []


def test_a_file_that_cannot_be_read_stops_the_build_and_leaves_no_file(build, tmp_path):
    with pytest.raises(Problems, match="packed with bzip2"):
        build({"raw/a.jsonl": json.dumps(CHAT) + "\n", "raw/b.json": "BZh9"})
    assert list((tmp_path / "data/ingested").glob("*/*")) == []


def test_a_dataset_without_raw_files_names_its_key(build, tmp_path):
    (tmp_path / "raw").mkdir()
    with pytest.raises(Problems, match=r"datasets\.chat\.raw: 'raw' holds no file"):
        build({})


def test_a_csv_record_of_empty_cells_is_accounted_for(build):
    rows, rejects = build({"raw/a.csv": "instruction,output\nq,a\n,\n"})
    assert len(rows) + len(rejects) == 2


def test_the_options_of_a_dataset_reach_its_rows(build, capsys):
    options = ", columns: {prompt: q, ground_truth: a}, system: s, ground_truth_pattern: '#### (.+)$'"
    lines = [{"q": "1 + 1?", "a": "so #### 2"}, {"q": "1 + 2?", "a": "3"}]
    rows, rejects = build({"raw/a.jsonl": "\n".join(map(json.dumps, lines))}, "grpo", options=options)
    assert [(row["prompt"][0]["content"], row["ground_truth"]) for row in rows] == [("s", "2")]
    assert [reject["check"] for reject in rejects] == ["ingest.ground_truth_pattern"]
    assert "raw/a.jsonl: JSON lines, 2 verifiable (keys prompt, ground_truth)" in capsys.readouterr().out


def test_a_system_turn_of_params_reaches_plain_conversations(build):
    rows, _ = build({"raw/a.jsonl": json.dumps(CHAT)}, options=", system: s")
    assert [turn["role"] for turn in rows[0]["messages"]] == ["system", "user", "assistant"]


def test_numbered_columns_read_a_csv_without_names(build):
    rows, rejects = build({"raw/a.csv": "What?,That.\nWho?,She.\n"}, options=", columns: {prompt: 1, completion: 2}")
    assert [row["line"] for row in rows] == [1, 2]
    assert rejects == []


def test_a_format_is_named_as_the_reason(build, capsys):
    build({"raw/a.jsonl": json.dumps(CHAT)}, options=", format: alpaca")
    assert "JSON lines, 1 alpaca (by format)" in capsys.readouterr().out
