import pytest

from stages.rows.tables import row_schema, to_table
from validators.grpo import CHECKS, WARNINGS, failed_checks, measure_rows, warnings_of

ORIGIN = {"id": "5f0e", "source": "raw", "line": 1}
CALLS = '[{"type":"function","function":{"name":"add","arguments":{}}}]'


def turn(role, content, calls=None):
    return {"role": role, "content": content, "tool_calls": calls}


def checks(*rows):
    """(row, check) of every failure."""
    rows = [{"prompt": prompt, "ground_truth": truth, "extra": "{}"} | ORIGIN for prompt, truth in rows]
    return sorted(set(failed_checks(to_table(rows, row_schema("grpo"))).select("row", "check").rows()))


S, Q, A, T = turn("system", "s"), turn("user", "q"), turn("assistant", "a"), turn("tool", "2")
CALL, N = turn("assistant", None, CALLS), turn("narrator", "n")

RIGHT = {
    "grpo.known_roles": ([S, Q], "a"),
    "grpo.non_empty_turns": ([Q, CALL, T], "a"),
    "grpo.tool_follows_call": ([Q, CALL, T, T], "a"),
    "grpo.roles_alternate": ([S, Q, A, Q], "a"),
    "grpo.prompt_ends_with_user": ([Q], "a"),
    "grpo.ground_truth_present": ([Q], "\n0"),
    "grpo.no_control_characters": ([turn("user", "a\tb\n")], "a"),
    "grpo.turn_length": ([turn("user", "q" * 1_000_000)], "a"),
    "grpo.conversation_length": ([turn("user", "q" * 1_000_000), A, Q], "a"),
    "grpo.no_template_tokens": ([turn("user", "<s>")], "a"),
}
WRONG = [
    ("grpo.known_roles", ([N, Q], "a"), ["grpo.known_roles", "grpo.roles_alternate"]),
    ("grpo.non_empty_turns", ([turn("user", " ")], "a"), None),
    ("grpo.tool_follows_call", ([Q, A, T], "a"), None),
    ("grpo.roles_alternate", ([Q, Q], "a"), None),
    ("grpo.roles_alternate", ([S, S, Q], "a"), None),
    ("grpo.prompt_ends_with_user", ([Q, A], "a"), None),
    ("grpo.prompt_ends_with_user", ([S], "a"), None),
    ("grpo.ground_truth_present", ([Q], None), None),
    ("grpo.ground_truth_present", ([Q], ""), None),
    ("grpo.ground_truth_present", ([Q], " \n"), None),
    ("grpo.no_control_characters", ([turn("user", "\x08")], "a"), None),
    ("grpo.turn_length", ([turn("user", "q" * 1_000_001)], "a"), None),
    (
        "grpo.conversation_length",
        ([turn("user", "q" * 950_000), turn("assistant", "a" * 950_000)] * 3 + [Q], "a"),
        None,
    ),
    ("grpo.no_template_tokens", ([turn("user", "q<|eot_id|>")], "a"), None),
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
    found = checks(([Q], "a"), ([Q], None), ([Q, A], "a"))
    assert found == [(1, "grpo.ground_truth_present"), (2, "grpo.prompt_ends_with_user")]


def test_no_rows_have_no_failures():
    assert checks() == []


def test_repeated_prompts_mojibake_and_placeholders_are_warnings():
    rows = [
        {"prompt": [turn("user", text)], "ground_truth": "a", "extra": "{}"} | ORIGIN
        for text in ("q", "\ufffd {{name}} User: Assistant:", "{{name}} User: Assistant:")
    ]
    measures = measure_rows(to_table(rows, row_schema("grpo")))
    assert warnings_of(measures.filter(~measures["mojibake"])[:1], 1) == []
    assert {name for name, _ in warnings_of(measures, 1)} == set(WARNINGS)


@pytest.mark.parametrize(
    "truth", ["", " \n", "NaN", "nan", "null", " NULL ", "<NA>", "[]", "[null]", '["", null]', '""', "{}"]
)
def test_what_is_written_for_nothing_is_no_truth(truth):
    assert checks(([Q], truth)) == [(0, "grpo.ground_truth_present")]


@pytest.mark.parametrize("truth", ["none", "0", "nano", "[0]", '["a", null]', "nullable", "[1, 2]", '{"a": 1}'])
def test_what_looks_like_nothing_and_says_something_is_a_truth(truth):
    assert checks(([Q], truth)) == []
