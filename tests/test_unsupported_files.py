"""Files that are no table of records, each refused by its name; and a table in a ZIP archive, which is read."""

import io
import json
import pickle
import sqlite3
import tarfile
import zipfile

import pytest

from stages.reading.containers import describe_container, detect_container
from stages.reading.readers import records
from validators.problems import Problems

LINES = b'{"a": 1}\n{"a": 2}\n'


@pytest.fixture
def put(tmp_path):
    def put(data, name="raw"):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return put


def tar(mode):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name in ("a.jsonl", "b.jsonl"):
            info = tarfile.TarInfo(name)
            info.size = len(LINES)
            archive.addfile(info, io.BytesIO(LINES))
    return out.getvalue()


def packed(members, kind=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", kind) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def safetensors():
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return len(header).to_bytes(8, "little") + header + b"\0" * 4


def refusal(path):
    with pytest.raises(Problems) as raised:
        detect_container(path)
    (problem,) = raised.value.problems
    assert problem.hint
    return problem.found


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_tar_archive_is_refused_packed_or_not(put, mode):
    assert refusal(put(tar(mode))) == "a tar archive"


def test_a_database_a_pickle_a_model_and_a_document_are_refused(put, tmp_path):
    database = sqlite3.connect(tmp_path / "x.db")
    database.execute("CREATE TABLE a (b)")
    database.commit()
    assert refusal(tmp_path / "x.db") == "an SQLite database"
    assert refusal(put(pickle.dumps([{"a": 1}]))) == "a pickle, which can run code when it is read"
    assert refusal(put(safetensors())) == "a safetensors file: weights, not records"
    assert refusal(put(b"%PDF-1.7\n")) == "a PDF document"
    assert refusal(put(b"/annex/objects/SHA256E-s1--00.jsonl\n")) == "a pointer of git-annex, not the data"


@pytest.mark.parametrize("encoding", ["UTF-16LE", "UTF-16BE"])
def test_utf_16_without_a_mark_is_named(put, encoding):
    path = put('{"instruction": "Wie heißt du?", "output": "Tilth"}\n'.encode(encoding))
    assert refusal(path) == f"the text is not UTF-8 but {encoding}"


def test_text_of_bytes_0_is_refused_and_a_broken_record_is_not_the_file(put):
    assert refusal(put(b"\0" * 5000)) == "bytes 0, which no text has"
    assert refusal(put(b'{"a": "\0\0\0\0"}\n' * 3)) == "bytes 0, which no text has"
    found = list(records(put(LINES + b"\0\0\0\n" + LINES)))
    assert [record.fault and record.fault[0] for record in found] == [None, None, "ingest.json", None, None]


@pytest.mark.parametrize(
    "text", ["../shared/train.jsonl", "train.jsonl", "/data/my files/train", "data/raw/chat", "a.csv"]
)
def test_a_link_of_git_that_is_a_text_is_no_empty_table(put, text):
    assert refusal(put(text.encode())) == f"a link of git, checked out as text: it leads to {text!r}"


@pytest.mark.parametrize(
    "text", ["prompt,completion", "prompt,completion\na/b,c.csv", "a/b\n", "prompt", '{"a": "b/c"}']
)
def test_other_short_texts_are_no_links(put, text):
    assert detect_container(put(text.encode())) in ("csv", "jsonl")


# -- ZIP archives -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("data, name", [(LINES, "jsonl"), (b'[{"a": 1}, {"a": 2}]', "json"), (b"a\n1\n2\n", "csv")])
def test_one_table_in_a_zip_archive_is_read(put, data, name, kind):
    path = put(packed({"folder/": b"", "folder/table": data}, kind))
    assert detect_container(path) == f"{name}.zip"
    assert describe_container(detect_container(path)).endswith(" in ZIP")
    assert [str(record.value["a"]) for record in records(path)] == ["1", "2"]


@pytest.mark.parametrize(
    "members, what",
    [
        ({"a.jsonl": LINES, "b.jsonl": LINES}, "a ZIP archive of 2 files (a.jsonl, b.jsonl)"),
        ({"[Content_Types].xml": b"<x/>", "xl/a.xml": b"<x/>"}, "a spreadsheet or another office document"),
        ({"m/data.pkl": b"x", "m/version": b"3"}, "a pickle of PyTorch, which can run code when it is read"),
        ({"a.npy": b"x"}, "NumPy arrays"),
        ({"a.zip": packed({"b": LINES})}, "packed twice"),
        ({"a.tar": tar("w")}, "a tar archive"),
        ({}, "an empty ZIP archive"),
    ],
)
def test_any_other_zip_archive_is_refused_with_what_is_in_it(put, members, what):
    assert refusal(put(packed(members))) == what


def test_a_damaged_zip_archive_keeps_what_comes_before(put):
    data = bytearray(packed({"a": LINES * 5000}, zipfile.ZIP_STORED))
    data[len(data) // 2] ^= 1
    found = list(records(put(bytes(data))))
    assert found[-1].fault[0] == "ingest.truncated" and "damaged" in found[-1].fault[1]
    assert len(found) > 9_000
    assert refusal(put(bytes(data[:-30]))).startswith("a ZIP archive that cannot be read")
