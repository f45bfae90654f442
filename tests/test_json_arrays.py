"""Elements of a JSON array: the whole ones are found whatever stands beside them."""

import pytest

from stages.reading.json_arrays import elements, scan_elements


def split(data):
    return [text for text, _ in elements(data)]


@pytest.mark.parametrize(
    "data",
    [b"[]", b"[ ]", b'[{"a": 1}]', b'[{"a": "]},{"}, {"b": "\\""}]', b'[\n {"a": [{}, {}]},\n {"a": {}}\n]', b'[1, "a", null]'],
)  # fmt: skip
def test_the_scanner_finds_what_the_parser_finds(data):
    assert [text.strip() for text, _ in scan_elements(data)] == split(data)


@pytest.mark.parametrize(
    "data, found",
    [
        (b'[{"a": 1}, {"a": }, {"a": 3}]', [b'{"a": 1}', b'{"a": }', b'{"a": 3}']),
        (b'[{"a": 1},]', [b'{"a": 1}']),
        (b'[{"a": 1} {"a": 2}]', [b'{"a": 1}', b'{"a": 2}']),
        (b'[{"a": [1}, {"a": 2}]', [b'{"a": [1}', b'{"a": 2}']),
        (b'[\n  {"a": 1,\n  {"a": 2},\n  {"a": 3}\n]', [b'{"a": 1', b'{"a": 2}', b'{"a": 3}']),
        (b'[\n{"a": "x},\n{"a": 2}\n]', [b'{"a": "x}', b'{"a": 2}']),
        (b'[{"a": "x\n", "b": 1},\n {"a": 2}]', [b'{"a": "x\n", "b": 1},\n {"a": 2}']),
        (b'[{"a": 1}, x, {"a": 2}]', [b'{"a": 1}', b"x", b'{"a": 2}']),
        (b'[{"a": 1}] behind', [b'{"a": 1}', b"behind"]),
        (b'{"a": 1}\n{"a":\n2}', [b'{"a": 1}', b'{"a":\n2}']),
        (b'[{"a": 1}}, {"a": 2}]', [b'{"a": 1}', b"}", b'{"a": 2}']),
    ],
)
def test_a_broken_element_is_split_from_the_others(data, found):
    assert split(data) == found


@pytest.mark.parametrize("data", [b'[{"a": 1}, {"a', b'[{"a": 1}, {"a": "', b'[{"a": 1}', b'[{"a": 1},\n'])
def test_an_array_that_is_not_closed_says_so_once(data):
    found = list(elements(data))
    assert found[0] == (b'{"a": 1}', None)
    assert [why is None for _, why in found] == [True, False]


def test_an_array_without_indents_is_not_split_within_its_elements():
    data = b'[\n{\n"a": [\n{\n"b": 1\n},\n{\n"b": 2\n}\n]\n},\n{\n"a":\n}\n]'
    assert len(split(data)) == 2
