"""Which files of a folder are records, which are something else, and which of them a pattern fits."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from stages.reading.files import eval_split_pattern, fits_pattern, listing, pattern_problems, raw_files
from stages.reading.readers import records
from validators.problems import Problems

CARD = "---\nlicense: mit\n---\n# A dataset\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put("raw/train.jsonl")
    return tmp_path


def put(path, text='{"a": 1}\n'):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def arrow(path, rows):
    table = pa.Table.from_pylist(rows)
    with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize(
    "name, role",
    [
        ("README", "a README"),
        ("readme.md", "a README"),
        ("README_zh.md", "a README"),
        ("LICENSE", "a license"),
        ("Licence.txt", "a license"),
        ("orca_dpo.LICENSE", "a license"),
        ("dataset_info.json", "what a dataset is, not its rows"),
        ("sub/dataset_infos.json", "what a dataset is, not its rows"),
        ("dataset_dict.json", "the list of splits of a saved dataset"),
        ("croissant.json", "a description in Croissant"),
        ("card.md", "a dataset card"),
    ],
)
def test_a_file_that_is_no_data_is_named_and_not_read(folder, name, role):
    put(f"raw/{name}", CARD)
    found = listing("raw")
    assert found.data == [Path("raw/train.jsonl")]
    assert found.others == {Path("raw", name): role}


@pytest.mark.parametrize(
    "name", ["readme.jsonl", "licenses.jsonl", "license.csv", "info.json", "state.json", "notes.md", "readmes.parquet"]
)
def test_a_name_that_is_like_one_of_them_is_data(folder, name):
    put(f"raw/{name}")
    assert Path("raw", name) in raw_files("raw")


def test_a_file_that_params_name_themselves_is_data_whatever_its_name(folder):
    put("raw/README.md")
    assert raw_files("raw/README.md") == [Path("raw/README.md")]


def test_a_folder_of_nothing_but_other_files_says_what_is_there(folder):
    put("cards/README.md")
    with pytest.raises(Problems, match=r"'cards' holds no file of records: README\.md"):
        raw_files("cards")


def test_a_dataset_of_save_to_disk_is_read_shard_by_shard_and_its_caches_are_not(folder):
    for number in (0, 1):
        arrow(f"raw/data-0000{number}-of-00002.arrow", [{"a": number, "b": None}])
    arrow("raw/cache-0123.arrow", [{"a": 9}])
    shards = [{"filename": f"data-0000{number}-of-00002.arrow"} for number in (0, 1)]
    put("raw/state.json", json.dumps({"_data_files": shards, "_split": None}))
    put("raw/dataset_info.json", "{}")
    Path("raw/train.jsonl").unlink()
    found = listing("raw")
    assert [(record.line, record.value) for path in found.data for record in records(path)] == [
        (1, {"a": 0, "b": None}),
        (1, {"a": 1, "b": None}),
    ]
    assert found.others == {
        Path("raw/cache-0123.arrow"): "a cache: state.json beside it does not list it",
        Path("raw/dataset_info.json"): "what a dataset is, not its rows",
        Path("raw/state.json"): "the state of a saved dataset",
    }


@pytest.mark.parametrize("pattern", ["test.jsonl", "raw/sub/test.jsonl", "sub/*", "*test*", "sub/test.jsonl"])
def test_a_pattern_is_of_the_path_from_the_root_or_from_the_folder(folder, pattern):
    put("raw/sub/test.jsonl")
    assert fits_pattern("raw/sub/test.jsonl", pattern, "raw/") == (pattern != "test.jsonl")
    assert not fits_pattern("raw/train.jsonl", pattern, "raw")


def test_a_pattern_of_a_dataset_of_one_file_fits_its_name(folder):
    assert fits_pattern("raw/train.jsonl", "train.jsonl", "raw/train.jsonl")


def test_an_excluded_file_is_named_and_not_read(folder):
    put("raw/test.jsonl")
    found = listing("raw", exclude=["test*"])
    assert (found.data, found.others) == (
        [Path("raw/train.jsonl")],
        {Path("raw/test.jsonl"): "excluded in params.yaml"},
    )


def test_a_pattern_that_fits_nothing_is_named_with_the_file_that_was_meant(folder):
    files = [Path("raw/train.jsonl"), Path("raw/test.jsonl")]
    (problem,) = pattern_problems("datasets.chat.exclude", ["test*", "tset.jsonl"], files, "raw")
    assert (problem.where, problem.found) == ("datasets.chat.exclude", "no file fits 'tset.jsonl'")
    assert problem.hint == "did you mean 'test.jsonl'?"
    files.append(Path("raw/sub/dev.jsonl"))
    for pattern in ("dev.jsonl", "raw/sub/dve.jsonl", "sub/dev"):
        (problem,) = pattern_problems("datasets.chat.exclude", [pattern], files, "raw")
        assert problem.hint == "did you mean 'sub/dev.jsonl'?"
    (problem,) = pattern_problems("datasets.chat.exclude", ["x"], files[:2], "raw")
    assert problem.hint == "files there: test.jsonl, train.jsonl"


@pytest.mark.parametrize(
    "name, named",
    [
        ("test.jsonl", True),
        ("data-test-00000.parquet", True),
        ("aqua_dev.json", True),
        ("Validation/1.csv", True),
        ("val.json", True),
        ("eval_2.json", True),
        ("latest.jsonl", False),
        ("values.json", False),
        ("developers.json", False),
        ("evaluations.json", False),
    ],
)
def test_the_word_of_a_split_in_a_name_is_seen(name, named):
    assert bool(eval_split_pattern(Path("raw/test", name), "raw/test")) == named


def test_the_pattern_of_such_a_name_fits_it():
    assert eval_split_pattern(Path("raw/a/test.jsonl"), "raw") == "a/test.jsonl"
    assert eval_split_pattern(Path("raw/a/test/x.arrow"), "raw") == "a/test/*"
    assert fits_pattern("raw/a/test/x.arrow", "a/test/*", "raw")
    assert eval_split_pattern(Path("raw/test.jsonl"), "raw/test.jsonl") == ""  # that very file was chosen
