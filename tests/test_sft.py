import pytest

from stages._tables import row_schema, to_table
from validators.sft import CHECKS, failing

ORIGIN = {"id": "5f0e", "source": "raw", "line": 1}
CALLS = '[{"type":"function","function":{"name":"add","arguments":{}}}]'


def turn(role, content, calls=None):
    return {"role": role, "content": content, "tool_calls": calls}


def checks(*conversations):
    """(row, check) of every failure."""
    rows = [{"messages": list(messages), "tools": None} | ORIGIN for messages in conversations]
    return sorted(set(failing(to_table(rows, row_schema("sft"))).select("row", "check").rows()))


S, Q, A = turn("system", "s"), turn("user", "q"), turn("assistant", "a")
CALL, RESULT = turn("assistant", None, CALLS), turn("tool", "2")

RIGHT = {
    "sft.known_roles": [(S, Q, CALL, RESULT, A)],
    "sft.non_empty_turns": [(Q, A), (turn("user", "\n x"), A), (Q, CALL, RESULT, A)],
    "sft.roles_alternate": [(Q, A), (S, Q, A, Q, A), (Q, CALL, RESULT, RESULT, A), (Q, CALL, RESULT, CALL, RESULT, A)],
    "sft.ends_with_assistant": [(Q, A), (Q, CALL)],
}
WRONG = [
    ("sft.known_roles", (turn("narrator", "q"), A), ["sft.known_roles", "sft.roles_alternate"]),
    ("sft.known_roles", (turn("User", "q"), A), ["sft.known_roles", "sft.roles_alternate"]),
    ("sft.non_empty_turns", (Q, turn("assistant", "")), None),
    ("sft.non_empty_turns", (Q, turn("assistant", " \n\t")), None),
    ("sft.non_empty_turns", (Q, turn("assistant", "\u00a0")), None),
    ("sft.non_empty_turns", (turn("user", None), A), None),
    ("sft.non_empty_turns", (turn("system", ""), Q, A), None),
    ("sft.roles_alternate", (Q, Q, A), None),
    ("sft.roles_alternate", (Q, A, A), None),
    ("sft.roles_alternate", (A,), None),
    ("sft.roles_alternate", (S, A), None),
    ("sft.roles_alternate", (Q, S, A), None),
    ("sft.roles_alternate", (RESULT, A), None),
    ("sft.ends_with_assistant", (Q,), None),
    ("sft.ends_with_assistant", (Q, A, Q), None),
    ("sft.ends_with_assistant", (Q, CALL, RESULT), None),
]


@pytest.mark.parametrize("check, row", [(check, row) for check, rows in RIGHT.items() for row in rows])
def test_a_right_row_passes(check, row):
    assert checks(row) == []


@pytest.mark.parametrize("check, row, all_checks", WRONG)
def test_a_wrong_row_fails_by_its_check_and_no_other(check, row, all_checks):
    # an unknown role has no place in any order, so it fails by both
    assert checks(row) == [(0, name) for name in all_checks or [check]]


def test_every_check_has_a_right_and_a_wrong_row():
    assert set(RIGHT) == {check for check, *_ in WRONG} == set(CHECKS)


def test_failures_lead_back_to_their_rows():
    assert checks((Q, A), (Q,), (Q, A), (Q, Q, A)) == [(1, "sft.ends_with_assistant"), (3, "sft.roles_alternate")]


def test_a_conversation_does_not_go_on_in_the_next_row():
    assert checks((Q, A), (Q, A), (A,)) == [(2, "sft.roles_alternate")]


def test_one_row_may_fail_in_several_ways():
    assert checks((Q, turn("assistant", ""), Q)) == [(0, "sft.ends_with_assistant"), (0, "sft.non_empty_turns")]


def test_the_detail_names_the_turn():
    row = {"messages": [Q, turn("assistant", "")], "tools": None} | ORIGIN
    assert failing(to_table([row], row_schema("sft")))["detail"].to_list() == ["messages[1] by 'assistant'"]


def test_a_slice_of_a_table_counts_its_rows_from_zero():
    rows = [{"messages": list(m), "tools": None} | ORIGIN for m in ((Q,), (Q, A), (Q,))]
    assert failing(to_table(rows, row_schema("sft")).slice(1))["row"].to_list() == [1]


def test_no_rows_have_no_failures():
    assert checks() == []


def test_a_call_with_empty_text_is_no_empty_turn():
    assert checks((Q, turn("assistant", "", CALLS), RESULT, A)) == []
