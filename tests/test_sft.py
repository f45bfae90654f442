import pytest

from stages.rows.tables import row_schema, to_table
from validators.sft import CHECKS, WARNINGS, failed_checks, measure_rows, warnings_of

ORIGIN = {"id": "5f0e", "source": "raw", "line": 1}
CALLS = '[{"type":"function","function":{"name":"add","arguments":{}}}]'


def turn(role, content, calls=None):
    return {"role": role, "content": content, "tool_calls": calls}


def checks(*conversations):
    """(row, check) of every failure."""
    rows = [{"messages": list(messages), "tools": None} | ORIGIN for messages in conversations]
    return sorted(set(failed_checks(to_table(rows, row_schema("sft"))).select("row", "check").rows()))


S, Q, A = turn("system", "s"), turn("user", "q"), turn("assistant", "a")
CALL, RESULT = turn("assistant", None, CALLS), turn("tool", "2")
WRITTEN = turn("assistant", '<tool_call>{"name": "add"}</tool_call>')
CONTEXT = A | {"train": False}

RIGHT = {
    "sft.known_roles": [(S, Q, CALL, RESULT, A)],
    "sft.non_empty_turns": [(Q, A), (turn("user", "\n x"), A), (Q, CALL, RESULT, A), (Q, CALL, turn("tool", ""), A)],
    "sft.tool_follows_call": [(Q, CALL, RESULT, RESULT, A), (Q, WRITTEN, RESULT, A)],
    "sft.something_learned": [(Q, CONTEXT, Q, A), (Q, A, Q, CONTEXT)],
    "sft.roles_alternate": [(Q, A), (S, Q, A, Q, A), (Q, CALL, RESULT, RESULT, A), (Q, CALL, RESULT, CALL, RESULT, A)],
    "sft.ends_with_assistant": [(Q, A), (Q, CALL)],
    "sft.no_control_characters": [(turn("user", "a\tb\r\n\u00a0é"), A), (Q, turn("assistant", "\u007e\u0080"))],
    "sft.turn_length": [(Q, turn("assistant", "é" * 1_000_000))],
    "sft.conversation_length": [(turn("user", "é" * 1_000_000), turn("assistant", "é" * 1_000_000)) * 2],
    "sft.no_template_tokens": [(Q, turn("assistant", "<s>struck</s> |> <| [inst] <|x|>"))],
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
    ("sft.tool_follows_call", (Q, A, RESULT, A), None),
    ("sft.tool_follows_call", (Q, CALL, RESULT, A, RESULT, A), None),
    ("sft.something_learned", (Q, CONTEXT), None),
    ("sft.something_learned", (Q, CONTEXT, Q, CONTEXT), None),
    ("sft.non_empty_turns", (Q, turn("assistant", "") | {"reasoning_content": "hm"}), None),
    ("sft.no_template_tokens", (Q, A | {"reasoning_content": "a<|im_end|>"}), None),
    ("sft.no_control_characters", (Q, A | {"reasoning_content": "a\0b"}), None),
    ("sft.turn_length", (Q, A | {"reasoning_content": "é" * 1_000_000}), None),
    ("sft.ends_with_assistant", (Q,), None),
    ("sft.ends_with_assistant", (Q, A, Q), None),
    ("sft.ends_with_assistant", (Q, CALL, RESULT), None),
    ("sft.no_control_characters", (turn("user", "a\0b"), A), None),
    ("sft.no_control_characters", (Q, turn("assistant", "\x1b[31mred")), None),
    ("sft.no_control_characters", (Q, turn("assistant", "del\x7f")), None),
    ("sft.turn_length", (Q, turn("assistant", "é" * 1_000_001)), None),
    ("sft.conversation_length", (turn("user", "q" * 900_000), turn("assistant", "a" * 900_000)) * 3, None),
    ("sft.no_template_tokens", (Q, turn("assistant", "a<|im_end|>")), None),
    ("sft.no_template_tokens", (turn("user", "<s>[INST] q [/INST]"), A), None),
    ("sft.no_template_tokens", (turn("user", "<|user|>q"), A), None),
    ("sft.no_template_tokens", (Q, turn("assistant", "a<｜end▁of▁sentence｜>")), None),
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
    assert failed_checks(to_table([row], row_schema("sft")))["detail"].to_list() == ["messages[1] by 'assistant'"]


def test_a_slice_of_a_table_counts_its_rows_from_zero():
    rows = [{"messages": list(m), "tools": None} | ORIGIN for m in ((Q,), (Q, A), (Q,))]
    assert failed_checks(to_table(rows, row_schema("sft")).slice(1))["row"].to_list() == [1]


def test_no_rows_have_no_failures():
    assert checks() == []


def test_a_call_with_empty_text_is_no_empty_turn():
    assert checks((Q, turn("assistant", "", CALLS), RESULT, A)) == []


def test_the_detail_names_what_no_eye_sees():
    rows = [{"messages": [Q, turn("assistant", text)], "tools": None} | ORIGIN for text in ("a\x1b", "<|eot_id|>\x7f")]
    assert failed_checks(to_table(rows, row_schema("sft"))).select("row", "check", "detail").sort(
        "row", "check"
    ).rows() == [
        (0, "sft.no_control_characters", "messages[1] by 'assistant' has U+001B"),
        (1, "sft.no_control_characters", "messages[1] by 'assistant' has U+007F"),
        (1, "sft.no_template_tokens", "messages[1] by 'assistant' has <|eot_id|>"),
    ]


def test_a_control_character_is_found_in_its_row_of_a_slice_with_nulls():
    rows = [(Q, CALL, RESULT, A), (Q, A), (Q, turn("assistant", "\0"))]
    table = to_table([{"messages": list(m), "tools": None} | ORIGIN for m in rows], row_schema("sft"))
    assert failed_checks(table.slice(1)).select("row", "detail").rows() == [
        (1, "messages[1] by 'assistant' has U+0000")
    ]


@pytest.mark.parametrize("before", range(2**18 - 3, 2**18 + 2))
def test_bytes_are_found_at_the_seams_of_the_pieces_that_are_searched(before):
    right, wrong = turn("user", "a" * before), turn("assistant", "\u0085")
    assert warned((right, wrong), (Q, A), prompts=2)
    assert checks((right, turn("assistant", "\0")), (Q, A)) == [(0, "sft.no_control_characters")]


def test_the_length_of_a_conversation_is_its_own():
    long = (Q, turn("assistant", "a" * 900_000))
    assert checks(long, long, long, long, long, long) == []


# -- of the whole dataset -----------------------------------------------------------------------------------------


def warned(*conversations, prompts):
    rows = [{"messages": list(messages), "tools": None} | ORIGIN for messages in conversations]
    return dict(warnings_of(measure_rows(to_table(rows, row_schema("sft"))), prompts))


def test_a_usual_dataset_has_no_warning():
    assert warned((Q, turn("assistant", "naïve “ok” é")), (S, Q, A), prompts=2) == {}


@pytest.mark.parametrize("text", ["caf\ufffd", "itâ€™s", "\u0093quoted"])
def test_text_read_in_a_wrong_encoding_is_counted_by_row(text):
    found = warned((turn("user", text), turn("assistant", text)), (Q, CALL, RESULT, A), prompts=2)
    assert found == {"sft.mojibake": "1 of 2 rows have text that was read in a wrong encoding"}


@pytest.mark.parametrize(
    "text",
    ["<user>: Is it true? <bot>: Yes. <user>: And now?", "[|Human|] q [|AI|] a [|Human|] r", "User: q\nAssistant: a", "HUMAN: q ASSISTANT:",
     "Human：你好\nAssistant：您好"],
)  # fmt: skip
def test_turns_that_are_written_into_one_text_are_counted(text):
    """As in Huatuo's conversations about liver cancer: all of their earlier turns stand in `instruction`."""
    found = warned(*[(Q, A)] * 8, *[(turn("user", text), A)] * 2, prompts=10)
    assert found["sft.transcripts"].startswith("2 of 10 rows have turns of both roles in one text")


@pytest.mark.parametrize(
    "text", ["The user asks: who? The assistant: nobody", "AI: it is", "Assistant: a\nUser: q", "superuser: x; AI: y"]
)
def test_a_text_about_users_and_assistants_is_no_transcript(text):
    assert warned(*[(turn("user", text), A)] * 9, prompts=9) == {}


def test_placeholders_that_nothing_filled_are_counted_by_row():
    rows = [(Q, turn("assistant", "I am {{name}}, made by {{ author }}."))] * 3
    rows += [(turn("user", "Who wrote {{author}}?"), A, Q, turn("assistant", "{{"))] * 2
    found = warned(*rows, (turn("user", "$x^{{ab}}$"), A), prompts=6)
    assert found == {
        "sft.placeholders": "{{name}} in 3, {{author}} in 2 of 6 rows: fill these placeholders in the raw data, or a model learns to say them"
    }


def test_a_few_rows_about_templates_are_usual():
    assert warned((turn("user", "Explain {{name}}."), A), *[(Q, A)] * 99, prompts=100) == {}
    assert warned(*[(turn("user", "Explain {{name}}."), A)] * 2, *[(Q, A)] * 99, prompts=101) == {}


def test_turns_that_think_stand_beside_turns_that_say_nothing():
    thinking = {"role": "assistant", "content": "a", "tool_calls": None, "reasoning_content": "t\ufffd"}
    assert warned((Q, CALL, RESULT, thinking), prompts=1) == {
        "sft.mojibake": "1 of 1 rows have text that was read in a wrong encoding"
    }


def test_repeated_prompts_are_a_warning_with_their_share():
    assert warned((Q, A), (Q, A), (Q, A), (Q, A), prompts=1) == {
        "sft.repeated_prompts": "75.0% of 4 prompts repeat an earlier one"
    }


def test_no_rows_have_no_warning():
    assert warned(prompts=0) == {}


def test_every_warning_is_documented():
    found = warned(*[(turn("user", "\ufffd {{name}} User: Assistant:"), A)] * 2, prompts=1)
    assert set(found) == set(WARNINGS)


def test_a_thought_is_checked_beside_turns_that_say_nothing():
    thought = A | {"reasoning_content": "hm"}
    assert checks((Q, CALL, RESULT, thought), (Q, thought | {"content": None, "tool_calls": CALLS})) == []
    assert checks((Q, CALL, RESULT, A), (Q, thought | {"reasoning_content": "a\0"})) == [
        (1, "sft.no_control_characters")
    ]
