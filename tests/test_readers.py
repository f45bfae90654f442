import codecs

import pytest

from stages.reading.containers import detect_container
from stages.reading.files import raw_files
from stages.reading.readers import records
from validators.problems import Problems


@pytest.fixture
def read(tmp_path):
    """The records of a file with the given bytes."""

    def read(data):
        path = tmp_path / "raw"
        path.write_bytes(data)
        return list(records(path))

    return read


def lines(found):
    return [record.line for record in found]


def values(found):
    return [record.value for record in found]


def checks(found):
    return [record.fault and record.fault[0] for record in found]


# -- containers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data, name",
    [
        (b'{"a": 1}\n{"a": 2}\n', "jsonl"),
        (b'\n\n  {"a": 1}\n', "jsonl"),
        (b'{"a": {}}', "jsonl"),
        (b'[{"a": 1}]', "json"),
        (b' \n[\n{"a": 1}\n]', "json"),
        (b'{\n "a": 1\n}\n', "json"),
        (b'{"a": [\n1]}', "json"),
        (b"a,b\n1,2\n", "csv"),
        (b"a\tb\n1\t2\n", "csv"),
    ],
)
@pytest.mark.parametrize("bom", [b"", codecs.BOM_UTF8])
def test_a_container_is_told_by_its_first_bytes(tmp_path, data, name, bom):
    path = tmp_path / "named.exe"
    path.write_bytes(bom + data)
    assert detect_container(path) == name


def test_json_lines_are_numbered_as_in_an_editor_and_blank_lines_count(read):
    found = read(b'\n{"a": 1}\n  \n{"a": 2}\n\n{"a": 3}')
    assert lines(found) == [2, 4, 6]
    assert values(found) == [{"a": 1}, {"a": 2}, {"a": 3}]
    assert found[0].raw == '{"a": 1}'


def test_a_json_array_numbers_its_records_from_one(read):
    found = read(b'[\n\n{"a": 1},\n\n{"a": 2}]')
    assert lines(found) == [1, 2]
    assert values(found) == [{"a": 1}, {"a": 2}]
    assert found[1].raw == '{"a": 2}'


def test_one_object_printed_over_many_lines_is_one_record(read):
    found = read(b'{\n  "a": [\n    1\n  ]\n}\n')
    assert lines(found) == [1]
    assert values(found) == [{"a": [1]}]


@pytest.mark.parametrize("data", [b"a,b\n1,2\n3,4\n", b"a\tb\n1\t2\n3\t4\n"])
def test_csv_and_tsv_values_are_text_and_lines_count_the_header(read, data):
    found = read(data)
    assert lines(found) == [2, 3]
    assert values(found) == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]


def test_a_newline_in_quotes_belongs_to_the_cell_and_moves_the_next_line_number(read):
    found = read(b'a,b\n"x\n\ny",1\nz,2\n')
    assert lines(found) == [2, 5]
    assert values(found) == [{"a": "x\n\ny", "b": "1"}, {"a": "z", "b": "2"}]


def test_a_blank_line_in_csv_is_counted_and_is_no_record(read):
    assert lines(read(b"a,b\n1,2\n\n3,4\n")) == [2, 4]


def test_a_csv_record_with_a_wrong_cell_count_is_a_fault_of_that_record_alone(read):
    found = read(b"a,b\n1,2,3\n1\n3,4\n")
    assert lines(found) == [2, 3, 4]
    assert checks(found) == ["ingest.csv_width", "ingest.csv_width", None]
    assert found[0].fault[1] == "expected 2 cells, found 3"
    assert found[0].raw == "1,2,3"


def test_a_csv_record_of_empty_cells_is_a_record(read):
    assert lines(read(b"a,b\n1,2\n,\n3,4\n")) == [2, 3, 4]


def test_a_quote_that_is_never_closed_is_a_fault(read):
    assert any(checks(read(b'prompt,completion\na,"b\nc,d\ne,f\n')))


def test_a_lone_carriage_return_in_a_csv_cell_is_no_line_end(read):
    found = read(b'a,b\n"x\ry",2\n3,4\n')
    assert values(found) == [{"a": "x\ry", "b": "2"}, {"a": "3", "b": "4"}]
    assert lines(found) == [2, 3]


# -- damaged lines ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b'{"a": 1}\n{"a": 2}\n', b'[{"a": 1}, {"a": 2}]', b"a\n1\n2\n", b'{\n"a": 1\n}'])
def test_a_byte_order_mark_changes_nothing(read, data):
    assert read(codecs.BOM_UTF8 + data) == read(data)


@pytest.mark.parametrize("data", [b'{"a": 1}\n\n{"a": 2}\n', b'[{"a": 1},\n {"a": 2}]', b"a,b\n1,2\n3,4\n"])
def test_carriage_return_line_feed_changes_nothing(read, data):
    assert read(data.replace(b"\n", b"\r\n")) == read(data)


def test_a_lone_carriage_return_does_not_end_a_json_line(read):
    found = read(b'{"a": 1,\r"b": "x\\ry"}\n{"a": 2}\n')
    assert lines(found) == [1, 2]
    assert values(found) == [{"a": 1, "b": "x\ry"}, {"a": 2}]


@pytest.mark.parametrize(
    "line, check",
    [
        (b'{"a": ', "ingest.json"),
        (b'{"a": "x', "ingest.json"),
        (b"not JSON", "ingest.json"),
        (b'{"a": 1e999}', "ingest.json"),
        (b'{"a": "x\0y"}', "ingest.json"),
        (b'{"a": "x\ry"}', "ingest.json"),
        (b'{"a": "\\ud800"}', "ingest.json"),
        (b'{"a": 1} {"a": 2}', "ingest.json"),
        (b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}", "ingest.json"),
        (b'{"a": "\xff"}', "ingest.utf8"),
        (b'{"\xe4": 1}', "ingest.utf8"),
        (b"[1]", "ingest.not_an_object"),
        (b'"text"', "ingest.not_an_object"),
        (b"null", "ingest.not_an_object"),
    ],
)
def test_a_damaged_line_is_a_named_fault_and_its_neighbours_are_read(read, line, check):
    found = read(b'{"a": 1}\n' * 30 + line + b"\n" + b'{"a": 2}\n')
    assert lines(found) == list(range(1, 33))
    assert [(record.line, record.fault[0]) for record in found if record.fault] == [(31, check)]
    assert found[30].value is None
    assert found[31].value == {"a": 2}


def test_the_raw_text_of_a_line_that_is_not_utf8_shows_its_bytes(read):
    found = read(b'{"a": 1}\n' * 30 + b'{"a": "\xff"}\n')
    assert found[30].raw == '{"a": "\\xff"}'
    assert found[30].fault[1] == "byte 7 is not UTF-8"


def test_a_csv_record_that_is_not_utf8_is_a_fault_of_that_record_alone(read):
    found = read(b"a,b\n" + b"1,2\n" * 30 + b"\xff,2\n3,4\n")
    assert [(record.line, record.fault[0]) for record in found if record.fault] == [(32, "ingest.utf8")]
    assert len(found) == 32


def test_an_item_of_an_array_that_is_no_object_or_not_utf8_leaves_the_others(read):
    found = read(b'[{"a": 1},\n' + b"\n" * 30 + b'5, {"a": "\xff"}, {"a": 2}]')
    assert lines(found) == [1, 2, 3, 4]
    assert checks(found) == [None, "ingest.not_an_object", "ingest.utf8", None]


def test_a_line_of_20_mb_is_read_whole(read):
    found = read(b'{"a": "' + b"x" * 20_000_000 + b'"}\n{"a": "y"}\n')
    assert [len(record.value["a"]) for record in found] == [20_000_000, 1]


def test_a_cell_of_20_mb_is_read_whole(read):
    found = read(b"a,b\n" + b"x" * 20_000_000 + b",1\n")
    assert len(found[0].value["a"]) == 20_000_000


def test_nul_in_a_csv_cell_is_data(read):
    assert values(read(b"a,b\nx\0y,1\n")) == [{"a": "x\0y", "b": "1"}]


def test_a_first_line_that_is_cut_off_is_lost_alone(read):
    found = read(b'{"a": 1,\n{"a": 2}\n{"a": 3}\n')
    assert checks(found) == ["ingest.json", None, None]


def test_one_bad_line_among_long_ones_is_no_wrong_encoding(read):
    good = '{"a": "' + "ü" * 5000 + '"}\n'
    found = read(good.encode() * 3 + b'{"a": "\xff"}\n' + good.encode() * 30)
    assert [record.line for record in found if record.fault] == [4]


# -- files that are no data ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data, found, hint",
    [
        (b"", "the file is empty", "remove the file"),
        (b" \n\r\n\t", "the file is empty", "remove the file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a Git LFS pointer, not the data", "git lfs"),
        ('{"a": 1}\n'.encode("utf-16"), "the text is not UTF-8 but UTF-16", "iconv"),
        (codecs.BOM_UTF16_BE + '{"a": 1}\n'.encode("utf-16-be"), "the text is not UTF-8 but UTF-16", "iconv"),
        ('{"a": "Käse"}\n{"a": "Öl"}\n'.encode("latin-1"), "the text is not UTF-8", "iconv"),
        ("a,b\nKäse,Öl\n".encode("latin-1"), "the text is not UTF-8", "iconv"),
    ],
)
def test_a_file_that_is_no_data_is_named_with_what_to_do(tmp_path, data, found, hint):
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(Problems) as raised:
        list(records(path))
    (problem,) = raised.value.problems
    assert (problem.where, problem.found) == (str(path), found)
    assert hint in problem.hint


def test_the_head_of_a_file_may_cut_a_character(read):
    data = b'{"a":"' + "€".encode() * 30_000 + b'"}'
    assert [len(record.value["a"]) for record in read(data)] == [30_000]


def test_an_array_that_does_not_parse_loses_its_broken_elements_alone(read):
    found = read(b'[{"a": 1}, {"a": }, {"a": 3},]')
    assert lines(found) == [1, 2, 3]
    assert checks(found) == [None, "ingest.json", None]
    assert found[1].raw == '{"a": }'


def test_an_element_nested_too_deeply_is_lost_alone(read):
    assert checks(read(b'[{"a": ' + b"[" * 5000 + b"]" * 5000 + b'}, {"a": 2}]')) == ["ingest.json", None]


# -- folders ------------------------------------------------------------------------------------------------------


def test_the_files_of_a_folder_come_sorted_without_hidden_ones_and_dvc_files(tmp_path):
    for name in ("b.csv", "a/z.jsonl", ".hidden", ".git/x.jsonl", "b.csv.dvc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert raw_files(str(tmp_path)) == [tmp_path / "a/z.jsonl", tmp_path / "b.csv"]


def test_a_single_file_is_a_dataset(tmp_path):
    (tmp_path / "a.jsonl").write_text("x")
    assert raw_files(str(tmp_path / "a.jsonl")) == [tmp_path / "a.jsonl"]


@pytest.mark.parametrize("name, found", [("missing", "does not exist"), ("empty", "holds no file")])
def test_a_folder_without_files_is_a_problem_at_the_key_that_names_it(tmp_path, name, found):
    (tmp_path / "empty").mkdir()
    with pytest.raises(Problems) as raised:
        raw_files(str(tmp_path / name), "datasets.chat.raw")
    (problem,) = raised.value.problems
    assert problem.where == "datasets.chat.raw"
    assert found in problem.found


@pytest.mark.parametrize("target", ["missing", "elsewhere"])
def test_a_link_that_cannot_be_read_is_not_skipped(tmp_path, target):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/x.jsonl").write_text('{"a": 2}\n')
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/a.jsonl").write_text('{"a": 1}\n')
    (tmp_path / "raw/link").symlink_to(tmp_path / target)
    try:
        assert len(raw_files(str(tmp_path / "raw"))) == 2
    except Problems as error:
        assert "link" in str(error)
