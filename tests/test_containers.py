"""Containers: packed files of every kind, cut and damaged ones, bombs, and what is no data."""

import gzip
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from stages.reading import containers as _containers
from stages.reading.containers import describe_container, detect_container, open_raw
from stages.reading.readers import records
from validators.problems import Problems

PACK = {"gz": gzip.compress, "zst": zstandard.ZstdCompressor().compress}
TEXTS = {"jsonl": b'{"a": 1}\n{"a": 2}\n', "json": b'[{"a": 1}, {"a": 2}]', "csv": b"a,b\n1,2\n3,4\n"}


def parquet(rows, **options):
    out = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), out, **options)
    return out.getvalue().to_pybytes()


FILES = TEXTS | {"parquet": parquet([{"a": 1}, {"a": 2}])}


@pytest.fixture
def put(tmp_path):
    def put(data):
        (tmp_path / "raw").write_bytes(data)
        return tmp_path / "raw"

    return put


@pytest.mark.parametrize("packed", PACK)
@pytest.mark.parametrize("kind", FILES)
def test_a_packed_file_has_the_records_of_the_file_in_it(put, kind, packed):
    plain = list(records(put(FILES[kind])))
    path = put(PACK[packed](FILES[kind]))
    assert detect_container(path) == f"{kind}.{packed}"
    assert list(records(path)) == plain
    assert len(plain) == 2


@pytest.mark.parametrize("packed", PACK)
def test_a_packed_file_may_have_several_members_and_padding(put, packed):
    path = put(PACK[packed](b'{"a": 1}\n') + PACK[packed](b'{"a": 2}\n') + (b"\0" * 9 if packed == "gz" else b""))
    assert [record.value for record in records(path)] == [{"a": 1}, {"a": 2}]


def test_parquet_is_told_by_its_magic_and_numbers_its_records(put):
    path = put(parquet([{"a": [{"b": "c"}]}, {"a": None}], row_group_size=1))
    assert detect_container(path) == "parquet"
    assert [(record.line, record.value, record.raw) for record in records(path)] == [
        (1, {"a": [{"b": "c"}]}, '{"a":[{"b":"c"}]}'),
        (2, {"a": None}, '{"a":null}'),
    ]


def test_a_text_of_parquet_that_is_not_utf8_is_a_fault_of_its_record_alone(put):
    bad = pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xff"))
    out = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": bad}), out)
    found = list(records(put(out.getvalue().to_pybytes())))
    assert [record.fault and record.fault[0] for record in found] == [None, "ingest.utf8"]


def test_a_row_group_that_cannot_be_read_rejects_each_of_its_records(put):
    rows = [{"a": random.Random(i).randbytes(500).hex()} for i in range(20)]
    data = bytearray(parquet(rows, row_group_size=10, use_dictionary=False, write_page_checksum=True))
    data[len(data) // 4] ^= 1
    checks = [record.fault and record.fault[0] for record in records(put(bytes(data)))]
    assert checks == ["ingest.parquet"] * 10 + [None] * 10


@pytest.mark.parametrize("data", [b"PAR1" + b"x" * 50, FILES["parquet"][:-9]])
def test_parquet_without_its_end_is_a_problem(put, data):
    with pytest.raises(Problems, match="Parquet that cannot be read"):
        list(records(put(data)))


@pytest.mark.parametrize("packed", PACK)
def test_a_cut_within_a_line_keeps_the_lines_before_and_names_the_cut(put, packed):
    lines = b"".join(b'{"a": "%b"}\n' % random.Random(i).randbytes(200).hex().encode() for i in range(3000))
    data = PACK[packed](lines)
    found = list(records(put(data[: len(data) // 2])))
    assert [record.line for record in found] == list(range(1, len(found) + 1))
    assert [record.fault for record in found[:-1]] == [None] * (len(found) - 1)
    assert len(found) > 1000
    assert found[-1].fault[0] == "ingest.truncated"
    assert lines.split(b"\n")[len(found) - 1].startswith(found[-1].raw.encode())


@pytest.mark.parametrize("text", ['[{"a": 1}, {"a": 2}, {"a"', '[{"a": 1}, {"a": 2}'])
def test_an_array_that_is_cut_keeps_the_elements_before_and_names_the_cut(put, text):
    for data in (text.encode(), gzip.compress(text.encode())):
        found = list(records(put(data)))
        assert [record.value for record in found] == [{"a": 1}, {"a": 2}, None]
        assert found[-1].fault[0] == "ingest.truncated"


def test_a_stream_that_is_damaged_keeps_what_comes_before(put):
    data = bytearray(gzip.compress(b'{"a": 1}\n' * 50))
    data[-6] ^= 1  # in the check sum
    found = list(records(put(bytes(data))))
    assert [record.fault for record in found][-1][0] == "ingest.truncated"
    assert "damaged" in found[-1].fault[1]


@pytest.mark.parametrize("packed", PACK)
def test_a_bomb_is_refused_and_a_file_that_packs_well_is_not(put, monkeypatch, packed):
    monkeypatch.setattr(_containers, "BOMB_BYTES", 2**20)
    path = put(PACK[packed](b"\n".join([b'{"a": "%b"}' % (b"x" * 100)] * 2 * 10**5)))
    with pytest.raises(Problems, match="a zip bomb"), open_raw(path) as (file, _):
        while file.read(2**20):
            pass
    monkeypatch.setattr(_containers, "BOMB_BYTES", 2**30)
    assert len(list(records(path))) == 2 * 10**5


@pytest.mark.parametrize(
    "data, found",
    [
        (b"PK\x03\x04xx", "a ZIP archive that cannot be read"),
        (b"BZh91AY", "packed with bzip2"),
        (b"\xfd7zXZ\0", "packed with xz"),
        (gzip.compress(gzip.compress(b"{}")), "packed twice"),
        (gzip.compress(b""), "the file is empty"),
        (b"\x1f\x8b", "ends here"),
        (b"\x1f\x8b\x00broken", "is damaged"),
        (b"\x28\xb5\x2f\xfd\xff\xff\xff", "is damaged|ends here"),
    ],
    # gzip writes the time, which would give the cases other names in every process
    ids=["zip", "bzip2", "xz", "twice", "empty", "gzip cut", "gzip damaged", "zstd damaged"],
)
def test_what_is_no_data_is_named(put, data, found):
    with pytest.raises(Problems, match=found) as raised:
        detect_container(put(data))
    assert raised.value.problems[0].hint


@pytest.mark.parametrize(
    "data, kind",
    [
        (b'x{"a": 1}\n{"a": 2}\n', "jsonl"),
        (b'[]\n{"a": 2}\n', "jsonl"),
        (b'[broken\n{"a": 2}\n{"a": 3}\n', "jsonl"),
        (b'[\n{"a": 1},\n{"a": 2}\n]', "json"),
        (b'[\n{"a": 1}, 5', "json"),
        (b'a,b\n"{""a"": 1}",2\n', "csv"),
    ],
)
def test_a_broken_first_line_does_not_make_another_container_of_a_file(put, data, kind):
    assert detect_container(put(data)) == kind


def test_a_container_is_described_in_words():
    assert [describe_container(kind) for kind in ("jsonl", "json.gz", "csv.zst")] == [
        "JSON lines",
        "a JSON array in gzip",
        "CSV in zstd",
    ]
