import hashlib
import json

import pyarrow.parquet as pq
import pytest
from builds import write_params

from stages import collect
from stages.rows.tables import row_schema, to_table, write_table

ROW = {
    "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
    "tools": None,
    "id": "5f0e",
    "source": "raw",
    "line": 1,
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_params("datasets: {words: {kind: sft, raw: w}, chat: {kind: sft, raw: c}}")
    for name, rows in (("chat", 3), ("words", 2)):
        write_table(f"data/train/{name}.parquet", to_table([ROW] * rows, row_schema("sft")))
        write_table(f"data/eval/{name}.parquet", to_table([ROW], row_schema("sft")))
        write_table(f"data/rejected/{name}.parquet", to_table([ROW], row_schema("sft")))
    return tmp_path


def test_the_lists_name_kind_rows_and_hash_of_every_dataset_in_order_of_names(project):
    collect.main()
    listed = json.loads((project / "data/train.json").read_text())
    assert list(listed) == ["chat", "words"]
    assert listed["chat"] == {
        "kind": "sft",
        "rows": 3,
        "sha256": hashlib.sha256((project / "data/train/chat.parquet").read_bytes()).hexdigest(),
    }
    assert json.loads((project / "data/eval.json").read_text())["words"]["rows"] == 1


def test_what_is_left_of_a_removed_dataset_is_deleted_and_nothing_else(project):
    write_params("datasets: {chat: {kind: sft, raw: c}}")
    (project / "data/train/.gitignore").write_text("/chat.parquet\n")
    collect.main()
    for folder in ("train", "eval", "rejected"):
        assert [path.name for path in (project / "data" / folder).glob("*.parquet")] == ["chat.parquet"]
    assert (project / "data/train/.gitignore").exists()
    assert list(json.loads((project / "data/train.json").read_text())) == ["chat"]


def test_the_lists_come_out_the_same_when_nothing_changed(project):
    collect.main()
    first = (project / "data/train.json").read_bytes()
    write_params("datasets: {chat: {kind: sft, raw: c}, words: {kind: sft, raw: w}}")
    collect.main()
    assert (project / "data/train.json").read_bytes() == first


def test_a_changed_row_changes_the_list(project):
    collect.main()
    first = (project / "data/train.json").read_bytes()
    changed = pq.read_table("data/train/chat.parquet").to_pylist()
    changed[0]["line"] = 2
    write_table("data/train/chat.parquet", to_table(changed, row_schema("sft")))
    collect.main()
    assert (project / "data/train.json").read_bytes() != first


def test_a_dataset_that_was_not_built_is_no_empty_entry(project):
    (project / "data/train/chat.parquet").unlink()
    with pytest.raises(FileNotFoundError):
        collect.main()


def test_eval_rows_that_are_too_few_for_an_interval_are_warned_of(project, capsys):
    collect.main()
    assert "collect: warning: chat, words have fewer than 20 eval rows" in capsys.readouterr().out
    write_table("data/eval/chat.parquet", to_table([ROW] * 20, row_schema("sft")))
    collect.main()
    assert "collect: warning: words has fewer than 20 eval rows" in capsys.readouterr().out
