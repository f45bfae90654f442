import pytest

from stages._tables import row_schema, to_table
from validators.kto import CHECKS, failing

ORIGIN = {"id": "5f0e", "source": "raw", "line": 1}
CALLS = '[{"type":"function","function":{"name":"add","arguments":{}}}]'


def turn(role, content, calls=None):
    return {"role": role, "content": content, "tool_calls": calls}


def checks(*rows):
    """(row, check) of every failure."""
    columns = ("prompt", "completion", "label")
    table = to_table([dict(zip(columns, row, strict=True)) | ORIGIN for row in rows], row_schema("kto"))
    return sorted(set(failing(table).select("row", "check").rows()))


S, Q, A, T = turn("system", "s"), turn("user", "q"), turn("assistant", "a"), turn("tool", "2")
CALL, N = turn("assistant", None, CALLS), turn("narrator", "n")

RIGHT = {
    "kto.known_roles": ([S, Q], [A], True),
    "kto.non_empty_turns": ([Q], [CALL], True),
    "kto.roles_alternate": ([Q, A, Q], [CALL, T, A], False),
    "kto.prompt_ends_with_user": ([Q, CALL, T], [A], True),
    "kto.ends_with_assistant": ([Q], [A, Q, A], True),
    "kto.label_present": ([Q], [A], False),
}
WRONG = [
    ("kto.known_roles", ([N, Q], [A], True), ["kto.known_roles", "kto.roles_alternate"]),
    ("kto.non_empty_turns", ([Q], [turn("assistant", " \n")], True), None),
    ("kto.non_empty_turns", ([turn("user", "")], [A], True), None),
    ("kto.roles_alternate", ([Q, Q], [A], True), None),
    ("kto.roles_alternate", ([Q], [A, A], True), None),
    ("kto.roles_alternate", ([Q], [Q, A], True), None),
    ("kto.roles_alternate", ([Q], [T, A], True), None),
    ("kto.prompt_ends_with_user", ([Q, A], [A], True), None),
    ("kto.ends_with_assistant", ([Q], [A, Q], True), None),
    ("kto.label_present", ([Q], [A], None), None),
]


@pytest.mark.parametrize("check, row", RIGHT.items())
def test_a_right_row_passes(check, row):
    assert checks(row) == []


@pytest.mark.parametrize("check, row, all_checks", WRONG)
def test_a_wrong_row_fails_by_its_check_and_no_other(check, row, all_checks):
    # an unknown role has no place in any order, so it fails by both
    assert checks(row) == [(0, name) for name in all_checks or [check]]


def test_every_check_has_a_right_and_a_wrong_row():
    assert set(RIGHT) == {check for check, *_ in WRONG} == set(CHECKS)


def test_failures_lead_back_to_their_rows():
    found = checks(([Q], [A], True), ([Q], [A], None), ([Q, A], [A], False))
    assert found == [(1, "kto.label_present"), (2, "kto.prompt_ends_with_user")]


def test_no_rows_have_no_failures():
    assert checks() == []


@pytest.mark.parametrize("row", [([], [A], True), ([Q], [], True)])
def test_a_row_without_a_prompt_or_a_completion_fails(row):
    assert checks(row) != []
