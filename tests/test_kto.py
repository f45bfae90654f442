import pytest

from stages.rows.tables import row_schema, to_table
from validators.kto import CHECKS, WARNINGS, failed_checks, measure_rows, warnings_of
from validators.problems import Problems

ORIGIN = {"id": "5f0e", "source": "raw", "line": 1}
CALLS = '[{"type":"function","function":{"name":"add","arguments":{}}}]'


def turn(role, content, calls=None):
    return {"role": role, "content": content, "tool_calls": calls}


def checks(*rows):
    """(row, check) of every failure."""
    columns = ("prompt", "completion", "label")
    table = to_table([dict(zip(columns, row, strict=True)) | ORIGIN for row in rows], row_schema("kto"))
    return sorted(set(failed_checks(table).select("row", "check").rows()))


S, Q, A, T = turn("system", "s"), turn("user", "q"), turn("assistant", "a"), turn("tool", "2")
CALL, N = turn("assistant", None, CALLS), turn("narrator", "n")

RIGHT = {
    "kto.known_roles": ([S, Q], [A], True),
    "kto.non_empty_turns": ([Q], [CALL], True),
    "kto.tool_follows_call": ([Q, CALL, T, A, Q], [CALL, T, A], False),
    "kto.roles_alternate": ([Q, A, Q], [CALL, T, A], False),
    "kto.prompt_ends_with_user": ([Q, CALL, T], [A], True),
    "kto.ends_with_assistant": ([Q], [A, Q, A], True),
    "kto.label_present": ([Q], [A], False),
    "kto.no_control_characters": ([Q], [turn("assistant", "a\tb\n")], True),
    "kto.turn_length": ([Q], [turn("assistant", "a" * 1_000_000)], True),
    "kto.conversation_length": ([Q], [turn("assistant", "a" * 1_000_000)], True),
    "kto.no_template_tokens": ([turn("user", "<s>")], [A], True),
}
WRONG = [
    ("kto.known_roles", ([N, Q], [A], True), ["kto.known_roles", "kto.roles_alternate"]),
    ("kto.non_empty_turns", ([Q], [turn("assistant", " \n")], True), None),
    ("kto.non_empty_turns", ([turn("user", "")], [A], True), None),
    ("kto.tool_follows_call", ([Q], [A, T, A], True), None),
    ("kto.tool_follows_call", ([Q, A, T], [A], True), None),
    ("kto.roles_alternate", ([Q, Q], [A], True), None),
    ("kto.roles_alternate", ([Q], [A, A], True), None),
    ("kto.roles_alternate", ([Q], [Q, A], True), None),
    ("kto.roles_alternate", ([Q], [T, A], True), None),
    ("kto.prompt_ends_with_user", ([Q, A], [A], True), None),
    ("kto.ends_with_assistant", ([Q], [A, Q], True), None),
    ("kto.label_present", ([Q], [A], None), None),
    ("kto.no_control_characters", ([Q], [turn("assistant", "\x1b[0m")], True), None),
    ("kto.turn_length", ([turn("user", "q" * 1_000_001)], [A], True), None),
    (
        "kto.conversation_length",
        ([turn("user", "q" * 950_000), turn("assistant", "a" * 950_000)] * 3 + [Q], [A], True),
        None,
    ),
    ("kto.no_template_tokens", ([Q], [turn("assistant", "[/INST] a")], True), None),
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


# -- of the whole dataset -----------------------------------------------------------------------------------------


def warned(*labels, prompts=None, answer=A):
    rows = [{"prompt": [Q], "completion": [answer], "label": label} | ORIGIN for label in labels]
    return dict(warnings_of(measure_rows(to_table(rows, row_schema("kto"))), prompts or len(labels)))


@pytest.mark.parametrize("true, false", [(1, 1), (4, 3)])
def test_classes_in_balance_have_no_warning(true, false):
    assert warned(*[True] * true, *[False] * false) == {}


def test_few_good_rows_get_the_weights_that_trl_recommends():
    assert warned(True, False, False, False, False) == {
        "kto.class_balance": "1 true and 4 false rows; set desirable_weight 4.00 to 5.33 or undesirable_weight "
        "0.19 to 0.25 in the step's args, not both"
    }


def test_few_bad_rows_get_the_weights_that_trl_recommends():
    assert (
        "desirable_weight 0.50 to 0.67 or undesirable_weight 1.50 to 2.00"
        in warned(True, True, False)["kto.class_balance"]
    )


@pytest.mark.parametrize("label", [True, False])
def test_one_class_alone_is_an_error(label):
    with pytest.raises(Problems, match=f"kto.both_classes: all 2 rows have label {str(label).lower()}"):
        warned(label, label)


def test_no_rows_have_no_warning():
    assert warned() == {}


def test_every_warning_is_documented():
    broken = turn("assistant", "\ufffd {{name}} User: Assistant:")
    found = warned(*[True] * 9, False, prompts=1, answer=broken)
    assert set(found) | {"kto.both_classes"} == set(WARNINGS)
