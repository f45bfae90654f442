"""CSV and TSV: the first line names the columns, or is found not to."""

from pathlib import Path

import pytest

from stages.reading.csv import csv_records
from validators.problems import Problems


def read(text, numbered=False):
    return list(csv_records(Path("a.csv"), text.encode().splitlines(keepends=True), numbered))


@pytest.mark.parametrize("blank", ["", "\n", " \n\n", ",,\n"])
def test_blank_lines_before_the_names_are_no_names(blank):
    (record,) = read(f"{blank}prompt,completion\nq,a\n")
    assert record[:2] == (blank.count("\n") + 2, {"prompt": "q", "completion": "a"})


@pytest.mark.parametrize("text", ["a,b,a\n1,2,3\n", "prompt,prompt\nq,a\n"])
def test_a_name_that_stands_twice_is_a_problem(text):
    with pytest.raises(Problems, match="column names twice"):
        read(text)


@pytest.mark.parametrize(
    "text", ["What is it?,It is a thing.\n", "1559\tx.wav\n", "q,one two three four\n", f"{'x' * 65},a\n"]
)
def test_a_first_line_that_looks_like_data_is_a_problem_with_a_way_out(text):
    with pytest.raises(Problems, match="looks like data") as raised:
        read(text)
    assert "columns:" in raised.value.problems[0].hint


@pytest.mark.parametrize(
    "text", ["prompt,completion\n", "my question,my answer\n", "id,text,\n", "prompt,How good is it?\n"]
)
def test_names_are_names(text):
    assert read(text) == []


def test_numbered_columns_take_the_first_line_as_data():
    found = read("What?,That.\nWho?,She.\n", numbered=True)
    assert [(line, value) for line, value, _, _ in found] == [
        (1, {"1": "What?", "2": "That."}),
        (2, {"1": "Who?", "2": "She."}),
    ]
