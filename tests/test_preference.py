import pytest

from stages.rows.tables import row_schema, to_table
from validators.preference import CHECKS, WARNINGS, failed_checks, measure_rows, warnings_of

ORIGIN = {"id": "5f0e", "source": "raw", "line": 1}


def turn(role, content, calls=None):
    return {"role": role, "content": content, "tool_calls": calls}


def checks(*rows):
    """(row, check) of every failure."""
    columns = ("prompt", "chosen", "rejected")
    table = to_table([dict(zip(columns, row, strict=True)) | ORIGIN for row in rows], row_schema("preference"))
    return sorted(set(failed_checks(table).select("row", "check").rows()))


def call(name):
    return turn("assistant", None, f'[{{"type":"function","function":{{"name":"{name}","arguments":{{}}}}}}]')


S, Q, A, B = turn("system", "s"), turn("user", "q"), turn("assistant", "a"), turn("assistant", "b")
T, N = turn("tool", "2"), turn("narrator", "n")
EMPTY = turn("assistant", " ")
ROLES, ORDER = "preference.known_roles", "preference.roles_alternate"

SHARED = "preference.shared_prompt"
RIGHT = {
    "preference.shared_prompt": [([Q], [A], [B]), ([Q], [A, Q, A], [call("add"), T, B])],
    "preference.known_roles": [([S, Q], [A], [B])],
    "preference.non_empty_turns": [([Q], [A], [B]), ([Q], [call("add")], [B])],
    "preference.tool_follows_call": [([Q], [call("add"), T, T, A], [B])],
    "preference.roles_alternate": [([Q, A, Q], [A, Q, A], [B, Q, B]), ([Q], [call("add"), T, A], [B])],
    "preference.prompt_ends_with_user": [([S, Q], [A], [B]), ([Q, call("add"), T], [A], [B])],
    "preference.ends_with_assistant": [([Q], [A], [B, Q, A])],
    "preference.chosen_differs": [([Q], [A], [B]), ([Q], [A], [A, Q, A]), ([Q], [turn("assistant", "a b")], [turn("assistant", "ab")])],
    "preference.no_control_characters": [([Q], [turn("assistant", "a\tb\n")], [B])],
    "preference.turn_length": [([Q], [turn("assistant", "a" * 1_000_000)], [B])],
    "preference.conversation_length": [([Q], [turn("assistant", "a" * 1_000_000)], [turn("assistant", "b" * 1_000_000)])],
    "preference.no_template_tokens": [([turn("user", "<s>")], [A], [B])],
}  # fmt: skip
WRONG = [
    (ROLES, ([S, Q], [A], [N, Q, B]), [ROLES, ORDER]),
    (ROLES, ([N, Q], [A], [B]), [ROLES, ORDER]),
    ("preference.non_empty_turns", ([Q], [EMPTY], [B]), None),
    ("preference.non_empty_turns", ([Q], [A], [EMPTY]), None),
    ("preference.non_empty_turns", ([turn("user", "")], [A], [B]), None),
    ("preference.tool_follows_call", ([Q], [A, T, A], [B]), None),
    ("preference.tool_follows_call", ([Q], [B], [A, T, A]), None),
    (ORDER, ([Q, Q], [A], [B]), None),
    (ORDER, ([Q], [A, B], [B]), None),
    (SHARED, ([Q], [A], [turn("user", "another question"), B]), [ORDER, SHARED]),
    (SHARED, ([Q], [S, Q, A], [B]), [ORDER, SHARED]),
    (ORDER, ([Q], [A], [T, A]), None),
    ("preference.prompt_ends_with_user", ([Q, A], [A], [B]), None),
    ("preference.prompt_ends_with_user", ([S], [A], [B]), None),
    ("preference.ends_with_assistant", ([Q], [A, Q], [B]), None),
    ("preference.ends_with_assistant", ([Q], [A], [B, Q]), None),
    ("preference.chosen_differs", ([Q], [A], [A]), None),
    ("preference.chosen_differs", ([Q], [A], [turn("assistant", " A\n")]), None),
    ("preference.chosen_differs", ([Q], [turn("assistant", "a \n b")], [turn("assistant", "A B")]), None),
    ("preference.chosen_differs", ([Q], [turn("assistant", "Caf\u00e9")], [turn("assistant", "cafe\u0301 ")]), None),
    ("preference.no_control_characters", ([Q], [A], [turn("assistant", "\x00")]), None),
    ("preference.turn_length", ([Q], [turn("assistant", "a" * 1_000_001)], [B]), None),
    (
        "preference.conversation_length",
        ([Q], [turn("assistant", "a" * 950_000), turn("user", "q" * 950_000)] * 3 + [A], [B]),
        None,
    ),
    ("preference.no_template_tokens", ([Q], [A], [turn("assistant", "b<|endoftext|>")]), None),
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
    found = checks(([Q], [A], [B]), ([Q], [A], [A]), ([Q, A], [A], [B]))
    assert found == [(1, "preference.chosen_differs"), (2, "preference.prompt_ends_with_user")]


def test_the_detail_names_the_side_and_the_turn():
    rows = [{"prompt": [Q], "chosen": [A], "rejected": [EMPTY]} | ORIGIN]
    assert failed_checks(to_table(rows, row_schema("preference")))["detail"].to_list() == ["rejected[0] by 'assistant'"]


def test_no_rows_have_no_failures():
    assert checks() == []


def test_answers_that_call_other_tools_differ():
    assert checks(([Q], [call("add")], [call("subtract")])) == []


@pytest.mark.parametrize("row", [([], [A], [B]), ([Q], [], [B]), ([Q], [A], [])])
def test_a_row_without_a_prompt_or_an_answer_fails(row):
    assert checks(row) != []


# -- of the whole dataset -----------------------------------------------------------------------------------------


def warned(*pairs, prompts=None, asked=Q):
    rows = [
        {"prompt": [asked], "chosen": [turn("assistant", good)], "rejected": [turn("assistant", bad)]} | ORIGIN
        for good, bad in pairs
    ]
    return dict(warnings_of(measure_rows(to_table(rows, row_schema("preference"))), prompts or len(pairs)))


def test_answers_of_like_length_have_no_warning():
    assert warned(("aaa", "b"), ("a", "bbb"), ("aa", "bb")) == {}


def test_longer_chosen_answers_are_a_warning_with_share_and_ratio():
    assert warned(("aaaa", "b"), ("aaa", "b"), ("aa", "b"), ("a", "bb")) == {
        "preference.length_bias": "chosen is longer in 75.0% of 4 pairs and shorter in 25.0%; "
        "median of chosen / rejected length 2.50"
    }


def test_shorter_chosen_answers_are_a_bias_too():
    assert "shorter in 100.0%" in warned(("a", "bbbb"))["preference.length_bias"]


def test_no_rows_have_no_warning():
    assert warned() == {}


def test_every_warning_is_documented():
    pairs = [("aaaa", "b")] * 10
    assert set(warned(*pairs, prompts=1, asked=turn("user", "\ufffd {{name}} User: Assistant:"))) == set(WARNINGS)
