import copy
import hashlib
import json
from datetime import date
from decimal import Decimal

import pytest

from stages.rows.identity import identify, normalise_text
from stages.rows.shapes import CONVERTERS, READERS, describe_shape, rows_of, shape_of
from stages.rows.values import Unreadable


def system(text):
    return {"role": "system", "content": text, "tool_calls": None}


def user(text):
    return {"role": "user", "content": text, "tool_calls": None}


def assistant(text):
    return {"role": "assistant", "content": text, "tool_calls": None}


def fault(record, kind):
    with pytest.raises(Unreadable) as raised:
        rows_of(record, kind)
    return raised.value.check


Q, A = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
B = {"role": "assistant", "content": "b"}
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
CHAT = {"messages": [user("q"), assistant("a")], "tools": None}
PAIR = {"prompt": [user("q")], "chosen": [assistant("a")], "rejected": [assistant("b")]}
KTO = {"prompt": [user("q")], "completion": [assistant("a")], "label": True}
GRPO = {"prompt": [user("q")], "ground_truth": "a", "extra": "{}"}

SHAPES = [
    ("alpaca", "sft", {"instruction": "q", "output": "a"}, CHAT),
    ("alpaca", "sft", {"instruction": "q", "input": "", "response": "a"}, CHAT),
    ("alpaca", "sft", {"instruction": "q", "input": None, "output": "a"}, CHAT),
    (
        "alpaca",
        "sft",
        {"instruction": "q", "input": "x", "output": "a", "system": "s"},
        {"messages": [system("s"), user("q\nx"), assistant("a")], "tools": None},
    ),
    ("sharegpt", "sft", {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, CHAT),
    ("sharegpt", "sft", {"conversation": [{"from": "user", "value": "q"}, {"from": "model", "value": "a"}]}, CHAT),
    ("sharegpt", "sft", {"conversations": [Q, A]}, CHAT),
    ("chatml", "sft", {"messages": [Q, A]}, CHAT),
    (
        "chatml",
        "sft",
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, {**A, "name": None}]},
        CHAT,
    ),
    ("seed", "sft", {"instruction": "q", "instances": [{"input": "", "output": "a"}]}, CHAT),
    ("input_output", "sft", {"input": "q", "output": "a"}, CHAT),
    ("input_output", "sft", {"input": "q", "target": "a"}, CHAT),
    (
        "reply_tree",
        "sft",
        {"prompt": {"role": "prompter", "text": "q", "replies": [{"role": "assistant", "text": "a"}]}},
        CHAT,
    ),
    (
        "extractive",
        "grpo",
        {"question": "q", "answers": {"text": ["a"]}},
        GRPO | {"extra": '{"answers":{"text":["a"]}}'},
    ),
    ("compared", "preference", {"history": "q", "human_ref_A": "b", "human_ref_B": "a", "labels": 0}, PAIR),
    ("feedback", "kto", {"prompt": "q", "completion": "a", "label": 1}, KTO),
    ("scored", "preference", {"prompt": "q", "responses": ["b", "a"], "scores": [1, "2.5"]}, PAIR),
    (
        "scored",
        "preference",
        {
            "instruction": "q",
            "completions": [
                {"response": "a", "overall_score": 9},
                {"response": "c", "overall_score": 5},
                {"response": "b", "overall_score": 1},
            ],
        },
        PAIR,
    ),
    ("compared", "preference", {"prompt": "q", "response_0": "b", "response_1": "a", "better_response_id": 1}, PAIR),
    ("compared", "preference", {"prompt": "q", "response_1": "a", "response_2": "b", "preference": 1}, PAIR),
    ("compared", "preference", {"prompt": "q", "response1": "b", "response2": "a", "overall_preference": 2}, PAIR),
    (
        "compared",
        "preference",
        {"instruction": "q", "output_1": "a", "output_2": "b", "preference": 1.0000211125},
        PAIR,
    ),
    ("compared", "preference", {"instruction": "q", "output_1": "b", "output_2": "a", "preference": 1.51}, PAIR),
    ("compared", "preference", {"prompt": "q", "response_a": "a", "response_b": "b", "winner": "response_a"}, PAIR),
    ("compared", "preference", {"conversation_a": [Q, A], "conversation_b": [Q, B], "winner": "model_a"}, PAIR),
    (
        "preference",
        "preference",
        {"prompt": "q", "chosen": "a", "rejected": "b", "completions": ["a", "b"], "scores": [1, 2]},
        PAIR,
    ),
    (
        "multiple_choice",
        "grpo",
        {"question": "q", "options": ["x", "y"], "answer": "B"},
        {"prompt": [user("q\nA. x\nB. y")], "ground_truth": "B", "extra": "{}"},
    ),
    (
        "multiple_choice",
        "grpo",
        {"question": "q", "choices": ["x", "y"], "answer": 1},
        {"prompt": [user("q\nA. x\nB. y")], "ground_truth": "B", "extra": "{}"},
    ),
    (
        "multiple_choice",
        "grpo",
        {"question": "q", "options": {"A": "x", "B": "y"}, "answer_idx": "b"},
        {"prompt": [user("q\nA. x\nB. y")], "ground_truth": "B", "extra": "{}"},
    ),
    (
        "multiple_choice",
        "grpo",
        {"question": "q", "options": ["A)x", "B)y"], "correct": "B", "rationale": "r"},
        {"prompt": [user("q\nA)x\nB)y")], "ground_truth": "B", "extra": '{"rationale":"r"}'},
    ),
    (
        "multiple_choice",
        "grpo",
        {"question": "q", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"},
        {"prompt": [user("q\n1. x\n2. y")], "ground_truth": "2", "extra": "{}"},
    ),
    (
        "multiple_choice",
        "grpo",
        {"question": "q", "options": ["x", "y"], "answer": "y"},
        {"prompt": [user("q\nA. x\nB. y")], "ground_truth": "B", "extra": "{}"},
    ),
    (  # AGIEval's
        "multiple_choice",
        "grpo",
        {"question": "q", "options": ["(A)x", "(B)y"], "label": "B", "answer": None},
        {"prompt": [user("q\n(A)x\n(B)y")], "ground_truth": "B", "extra": '{"answer":null}'},
    ),
    (  # a rating of an answer, not the letter of an option
        "feedback",
        "kto",
        {"prompt": "q", "completion": "a", "label": True, "options": ["x", "y"]},
        {"prompt": [user("q")], "completion": [assistant("a")], "label": True},
    ),
    (  # the place of the answer is no turn
        "verifiable",
        "grpo",
        {"messages": [Q, {"role": "assistant", "content": ""}], "answer": "a"},
        {"prompt": [user("q")], "ground_truth": "a", "extra": "{}"},
    ),
    ("prompt_completion", "sft", {"prompt": [Q, {"role": "assistant", "content": ""}], "completion": "a"}, CHAT),
    (
        "multiple_choice",
        "sft",
        {"question": "q", "options": ["x", "y"], "answer": "B"},
        {"messages": [user("q\nA. x\nB. y"), assistant("B")], "tools": None},
    ),
    ("prompt_completion", "sft", {"prompt": "q", "completion": "a"}, CHAT),
    ("prompt_completion", "sft", {"prompt": [Q], "completion": [A]}, CHAT),
    ("prompt_completion", "sft", {"prompt": [Q], "completion": A}, CHAT),
    ("query_response", "sft", {"query": "q", "response": "a", "history": []}, CHAT),
    (
        "query_response",
        "sft",
        {"question": "q", "response": "a", "history": [["h", "i"]], "system": "s"},
        {"messages": [system("s"), user("h"), assistant("i"), user("q"), assistant("a")], "tools": None},
    ),
    ("preference", "preference", {"prompt": "q", "chosen": "a", "rejected": "b"}, PAIR),
    ("preference", "preference", {"prompt": [Q], "chosen": [A], "rejected": [B]}, PAIR),
    ("preference", "preference", {"prompt": "q", "chosen": [Q, A], "rejected": [Q, B]}, PAIR),
    ("preference", "preference", {"chosen": [Q, A], "rejected": [Q, B]}, PAIR),
    (
        "preference",
        "preference",
        {"conversations": [{"from": "human", "value": "q"}], "chosen": A, "rejected": B},
        PAIR,
    ),
    (
        "preference",
        "preference",
        {"chosen": [Q, A], "rejected": [Q, A]},
        {"prompt": [user("q")], "chosen": [assistant("a")], "rejected": [assistant("a")]},
    ),
    (
        "preference",
        "preference",
        {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"},
        PAIR,
    ),
    ("preference", "preference", {"prompt": "\n\nHuman: q\n\nAssistant:", "chosen": "a", "rejected": "b"}, PAIR),
    ("preference", "preference", {"messages": [Q], "chosen": A, "rejected": B}, PAIR),
    ("preference", "preference", {"instruction": "q", "input": "", "chosen": "a", "rejected": "b"}, PAIR),
    (
        "preference",
        "preference",
        {"prompt": "q", "chosen": [{"role": "system", "content": "s"}, Q, A], "rejected": [system("s"), Q, B]},
        PAIR | {"prompt": [system("s"), user("q")]},
    ),
    (
        "openai_preference",
        "preference",
        {"input": {"messages": [Q]}, "preferred_output": [A], "non_preferred_output": [B]},
        PAIR,
    ),
    ("feedback", "kto", {"prompt": "q", "completion": "a", "label": True}, KTO),
    ("feedback", "kto", {"prompt": "q", "completion": "a", "label": "True"}, KTO),
    ("feedback", "kto", {"question": "q", "completion": "a", "label": "false"}, KTO | {"label": False}),
    ("feedback", "kto", {"prompt": "q", "completion": "a", "label": None}, KTO | {"label": None}),
    ("feedback", "kto", {"messages": [Q, A], "label": True}, KTO),
    ("feedback", "kto", {"instruction": "q", "response": "a", "label": True}, KTO),
    ("verifiable", "grpo", {"messages": [Q], "target": "a"}, GRPO),
    ("verifiable", "grpo", {"question": "q", "context": "c", "answer": "a"}, GRPO | {"prompt": [user("q\nc")]}),
    (
        "verifiable",
        "grpo",
        {"question": "q", "context": ["A", "B"], "answer": "a"},
        GRPO | {"prompt": [user("q\nA\nB")]},
    ),
    ("verifiable", "grpo", {"query": "q", "answer": "a"}, GRPO),
    ("chatml", "sft", {"conversations": None, "messages": [Q, A]}, CHAT),
    ("chatml", "sft", {"messages": [Q, A], "answer": "a"}, CHAT),
    (
        "query_calls",
        "sft",
        {"query": "q", "answers": '[{"name": "f", "arguments": {}}]', "tools": '[{"name": "f"}]'},
        {
            "messages": [
                Q | {"tool_calls": None},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": '[{"type":"function","function":{"name":"f","arguments":{}}}]',
                },
            ],
            "tools": '[{"type":"function","function":{"name":"f"}}]',
        },
    ),
    ("chatml", "sft", {"messages": '[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]'}, CHAT),
    ("alpaca", "sft", {"instruction": "q", "output": None, "response": "a", "prompt": None}, CHAT),
    ("verifiable", "grpo", {"prompt": "q", "ground_truth": "a"}, GRPO),
    ("verifiable", "grpo", {"question": "q", "answer": "a"}, GRPO),
    ("verifiable", "grpo", {"problem": [Q], "solution": "a"}, GRPO),
    ("verifiable", "grpo", {"prompt": "q", "answer": 42}, GRPO | {"ground_truth": "42"}),
    ("verifiable", "grpo", {"prompt": "q", "answer": None}, GRPO | {"ground_truth": None}),
    (
        "verifiable",
        "grpo",
        {"prompt": "q", "answer": "a", "level": 3, "solution": "s"},
        GRPO | {"extra": '{"level":3,"solution":"s"}'},
    ),
]


@pytest.mark.parametrize("shape, kind, record, row", SHAPES)
def test_a_record_of_each_shape_becomes_a_row(shape, kind, record, row):
    assert shape_of(record) == shape
    assert rows_of(record, kind) == [row]


def test_every_shape_has_a_sample_here():
    assert {shape for shape, *_ in SHAPES} == set(READERS)


@pytest.mark.parametrize(
    ("preference", "words"),
    [(1, "output_1 is better, by preference"), (1.51, "output_2 is better, by preference"),
     (1.5, "neither is better, by preference"), ("odd", "keys output_1, output_2, preference")],
)  # fmt: skip
def test_of_two_answers_the_one_that_is_taken_as_better_is_named(preference, words):
    record = {"instruction": "q", "output_1": "b", "output_2": "a", "preference": preference}
    assert describe_shape(record) == f"compared ({words})"


def test_an_unknown_shape_is_none_and_names_the_keys():
    assert shape_of({"dialogue": []}) is None
    with pytest.raises(Unreadable, match="dialogue"):
        rows_of({"dialogue": []}, "sft")


CONVERSIONS = [
    (
        "preference",
        "kto",
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        [KTO, KTO | {"completion": [assistant("b")], "label": False}],
    ),
    ("preference", "sft", {"prompt": "q", "chosen": "a", "rejected": "b"}, [CHAT]),
    ("kto", "sft", {"prompt": "q", "completion": "a", "label": True}, [CHAT]),
    ("grpo", "sft", {"prompt": "q", "ground_truth": "a"}, [CHAT]),
    ("sft", "grpo", {"instruction": "q", "output": "a"}, [GRPO]),
]


@pytest.mark.parametrize("native, kind, record, rows", CONVERSIONS)
def test_a_conversion_invents_nothing(native, kind, record, rows):
    assert rows_of(record, kind) == rows


def test_every_conversion_has_a_sample_here():
    assert {(native, kind) for native, kind, *_ in CONVERSIONS} == set(CONVERTERS)


PICTURE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "cat.png"}}]}
FAULTS = [
    ("ingest.multimodal", "sft", {"messages": [PICTURE, A]}),
    ("ingest.multimodal", "preference", {"prompt": [PICTURE], "chosen": [A], "rejected": [B]}),
    ("ingest.wrong_type", "sft", {"messages": [Q, {"role": "assistant", "content": 42}]}),
    ("ingest.wrong_type", "sft", {"messages": [Q, {"role": "assistant", "content": None}]}),
    ("ingest.wrong_type", "sft", {"messages": [Q, {"role": None, "content": "a"}]}),
    ("ingest.wrong_type", "sft", {"messages": [Q, {"role": "assistant", "content": ["a"]}]}),
    ("ingest.wrong_type", "sft", {"messages": ["q", "a"]}),
    ("ingest.wrong_type", "sft", {"messages": []}),
    ("ingest.wrong_type", "sft", {"messages": "q"}),
    ("ingest.wrong_type", "sft", {"messages": [Q, A], "tools": "not JSON"}),
    ("ingest.wrong_type", "sft", {"conversations": [{"from": "function_call", "value": "not JSON"}]}),
    ("ingest.wrong_type", "sft", {"prompt": {"text": "q"}, "completion": "a"}),
    ("ingest.wrong_type", "preference", {"input": {"messages": None}, "preferred_output": [A], "non_preferred_output": [B]}),
    ("ingest.missing_key", "sft", {"dialogue": [Q, A]}),
    ("ingest.missing_key", "sft", {}),
    ("ingest.missing_key", "sft", {"messages": [Q, {"role": "assistant"}]}),
    ("ingest.missing_key", "sft", {"messages": [{"content": "q"}, A]}),
    ("ingest.missing_key", "sft", {"prompt": "q", "ground_truth": None}),
    ("ingest.missing_key", "kto", {"completion": "a", "label": True}),
    ("ingest.missing_key", "preference", {"preferred_output": [A], "non_preferred_output": [B]}),
    ("ingest.label_not_boolean", "kto", {"prompt": "q", "completion": "a", "label": "good"}),
    ("ingest.label_not_boolean", "kto", {"prompt": "q", "completion": "a", "label": 2}),
    ("ingest.wrong_kind", "preference", {"messages": [Q, A]}),
    ("ingest.wrong_kind", "kto", {"prompt": "q", "ground_truth": "a"}),
    ("ingest.wrong_kind", "grpo", {"messages": [Q, A, Q, A]}),
    ("ingest.wrong_kind", "grpo", {"messages": [Q]}),
    ("ingest.label_false", "sft", {"prompt": "q", "completion": "a", "label": False}),
    ("ingest.label_false", "sft", {"prompt": "q", "completion": "a", "label": None}),
    ("ingest.no_prompt", "preference", {"chosen": "a", "rejected": "b"}),
    ("ingest.no_pair", "preference", {"prompt": "q", "responses": ["a", "b"], "scores": [1, 1]}),
    ("ingest.no_pair", "preference", {"prompt": "q", "response_a": "a", "response_b": "b", "winner": "tie"}),
    ("ingest.no_pair", "preference", {"prompt": "q", "response1": "a", "response2": "b", "overall_preference": 0}),
    ("ingest.wrong_type", "preference", {"prompt": "q", "response_a": "a", "response_b": "b", "winner": "c"}),
    ("ingest.wrong_type", "preference", {"prompt": "q", "responses": ["a", "b"], "scores": [1]}),
    ("ingest.wrong_type", "preference", {"prompt": "q", "responses": ["a", "b"], "scores": [1, "good"]}),
    ("ingest.wrong_type", "grpo", {"question": "q", "options": ["x", "y"], "answer": "C"}),
    ("ingest.wrong_type", "grpo", {"question": "q", "options": ["x", "y"], "answer": 2}),
    ("ingest.wrong_type", "sft", {"instruction": "q", "instances": []}),
    ("ingest.tools_unsupported", "grpo", {"messages": [Q, A], "tools": [{"name": "f"}]}),
    ("ingest.tools_unsupported", "grpo", {"prompt": "q", "answer": "a", "tools": '[{"name": "f"}]'}),
    ("ingest.multimodal", "sft", {"messages": [Q, A], "images": ["cat.png"]}),
    ("ingest.multimodal", "grpo", {"prompt": "q", "answer": "a", "image": {"bytes": "..."}}),
    ("ingest.unsupported_key", "sft", {"messages": [Q, {**A, "content": "<think>a</think>b", "reasoning_content": "hm"}]}),
    ("ingest.unsupported_key", "sft", {"messages": [Q, {**A, "weight": 0.5}]}),
    ("ingest.unsupported_key", "sft", {"messages": [Q, {**A, "weight": 0, "train": True}]}),
    ("ingest.unsupported_key", "sft", {"messages": [Q, {**A, "train_detail": [{"begin_offset": 0}]}]}),
    ("ingest.unsupported_key", "sft", {"messages": [{**Q, "train": True}, A]}),
    ("ingest.unsupported_key", "sft", {"messages": [Q, A], "loss_mask": [0, 1, 1]}),
    ("ingest.unsupported_key", "kto", {"messages": [Q, {**A, "train": False}], "label": True}),
    ("ingest.unsupported_key", "preference", {"prompt": "q", "chosen": "a", "rejected": "b", "thinking": "hm"}),
    ("ingest.missing_key", "sft", {"messages": [Q, {"role": "assistant", "tool_calls": [{"arguments": {}}]}]}),
    ("ingest.two_system_turns", "sft", {"system": "s", "messages": [system("t"), Q, A]}),
    ("ingest.wrong_type", "sft", {"query": "q", "response": "a", "history": 5}),
    ("ingest.wrong_type", "sft", {"query": "q", "response": "a", "system": ["s"]}),
    ("ingest.no_prompt", "preference", {"chosen": [Q, A], "rejected": [{"role": "user", "content": "r"}, B]}),
]  # fmt: skip


@pytest.mark.parametrize("check, kind, record", FAULTS)
def test_a_record_that_fits_no_row_is_named(check, kind, record):
    assert fault(record, kind) == check


@pytest.mark.parametrize("shape, kind, record, row", SHAPES)
def test_reading_leaves_the_record_as_it_was(shape, kind, record, row):
    before = copy.deepcopy(record)
    rows_of(record, kind)
    assert record == before


@pytest.mark.parametrize(
    "record, lacks",
    [
        ({"question": "q", "correct": "a"}, "a prompt (question), but no answer"),
        ({"question": "q", "answers": "a"}, "no ground truth (ground_truth, solution, answer, target)"),
        ({"instruction": "q", "cases": []}, "instruction, but no output or response"),
        ({"chosen": "a", "worse": "b"}, "chosen, but no rejected"),
        ({"text": "a"}, "no known shape has the keys text"),
    ],
)
def test_a_record_that_is_nearly_of_a_shape_says_what_it_lacks(record, lacks):
    for kind in ("sft", "grpo"):
        with pytest.raises(Unreadable) as raised:
            rows_of(record, kind)
        assert lacks in raised.value.detail


def test_a_conversation_that_ends_with_the_user_and_has_no_ground_truth_says_so():
    with pytest.raises(Unreadable, match="a prompt, but no ground truth"):
        rows_of({"messages": [Q]}, "grpo")


@pytest.mark.parametrize(
    "record",
    [
        {"system": "s", "conversations": [Q, A]},
        {"system_prompt": "s", "messages": [Q, A]},
        {"system": "s", "instruction": "q", "output": "a"},
        {"system": "s", "query": "q", "response": "a"},
        {"system": "s", "messages": [system("s"), Q, A]},
        {"system": "s", "question": "q", "answer": "a"},
        {"system": "s", "question": "q", "chosen": "a", "rejected": "b"},
    ],
)
def test_a_system_text_beside_a_conversation_is_its_system_turn_once(record):
    (row,) = rows_of(record, "sft")
    assert row == {"messages": [system("s"), user("q"), assistant("a")], "tools": None}


@pytest.mark.parametrize(
    "history", [[["h", "i"]], '[["h", "i"]]', [{"query": "h", "response": "i"}], [user("h"), assistant("i")]]
)
@pytest.mark.parametrize("record", [{"query": "q", "response": "a"}, {"instruction": "q", "output": "a"}])
def test_history_is_earlier_turns(record, history):
    (row,) = rows_of(record | {"history": history}, "sft")
    assert row["messages"] == [user("h"), assistant("i"), user("q"), assistant("a")]


@pytest.mark.parametrize(
    "key, value", [("images", []), ("weight", 1), ("loss", True), ("image", None), ("reasoning", "")]
)
def test_a_key_that_says_what_holds_anyway_rejects_nothing(key, value):
    assert rows_of({"messages": [Q, {**A, key: value}], key: value}, "sft") == [CHAT]


def test_a_verifiable_record_may_name_the_image_of_a_container():
    (row,) = rows_of({"prompt": "q", "answer": "a", "image": "python:3.11"}, "grpo")
    assert row["extra"] == '{"image":"python:3.11"}'


def test_tools_of_a_pair_survive_in_its_sft_row():
    (row,) = rows_of({"prompt": "q", "chosen": "a", "rejected": "b", "tools": [{"name": "f"}]}, "sft")
    assert row["tools"] == '[{"type":"function","function":{"name":"f"}}]'


# -- tools --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "assistant", "tool_calls": [CALL]},
        {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 1}}'},
        {"role": "assistant", "content": None, "function_call": {"name": "add", "arguments": {"a": 1}}},
    ],
)
def test_a_tool_call_in_either_style_is_one_message(turn):
    (row,) = rows_of({"conversations": [Q, turn]}, "sft")
    assert row["messages"][1] | {"tool_calls": None} == {"role": "assistant", "content": None, "tool_calls": None}
    assert json.loads(row["messages"][1]["tool_calls"]) == [CALL]


def test_what_a_tool_observes_is_a_turn_of_the_tool():
    (row,) = rows_of({"conversations": [Q, {"from": "observation", "value": "2"}]}, "sft")
    assert row["messages"][1] == {"role": "tool", "content": "2", "tool_calls": None}


def test_an_empty_list_of_tool_calls_is_none():
    (row,) = rows_of({"messages": [Q, {**A, "tool_calls": []}]}, "sft")
    assert row == CHAT


@pytest.mark.parametrize("tools", [[{"name": "add"}], '[{"name": "add"}]'])
def test_tools_come_as_a_list_or_as_its_json_text(tools):
    (row,) = rows_of({"messages": [Q, A], "tools": tools}, "sft")
    assert row["tools"] == '[{"type":"function","function":{"name":"add"}}]'


def test_functions_of_older_files_are_tools():
    (row,) = rows_of({"messages": [Q, A], "functions": [{"name": "add"}]}, "sft")
    assert json.loads(row["tools"]) == [{"type": "function", "function": {"name": "add"}}]


@pytest.mark.parametrize("tools", [None, [], "", "[]"])
def test_no_tools_are_none(tools):
    assert rows_of({"messages": [Q, A], "tools": tools}, "sft") == [CHAT]


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [Q, A], "tools": 5},
        {"messages": [Q, {"role": "assistant", "tool_calls": 5}]},
        {"conversations": [Q, {"from": "function_call", "value": "5"}]},
    ],
)
def test_tools_of_a_wrong_type_are_named(record):
    assert fault(record, "sft") == "ingest.wrong_type"


def test_an_answer_that_only_repeats_the_prompt_leaves_no_empty_answer():
    (row,) = rows_of({"prompt": [Q], "chosen": [Q, A], "rejected": [Q]}, "preference")
    assert row["rejected"]


@pytest.mark.parametrize(
    ("value", "truth"),
    [
        (2, "2"), (2.0, "2"), (0.5, "0.5"), (Decimal("0.50"), "0.50"), (date(2026, 1, 31), "2026-01-31"), (True, "true"),
        (["a", "b"], '["a","b"]'), ("2.0", "2.0"), (None, None), (1e300, "1e300"),
    ],
)  # fmt: skip
def test_a_ground_truth_is_written_as_an_answer_would_be(value, truth):
    (row,) = rows_of({"prompt": "q", "ground_truth": value}, "grpo")
    assert row["ground_truth"] == truth


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_no_ground_truth(value):
    assert fault({"prompt": "q", "ground_truth": value}, "grpo") == "ingest.wrong_type"


# -- identity -----------------------------------------------------------------------------------------------------


def key(record, kind, name):
    (row,) = rows_of(record, kind)
    return identify(row, kind)[name]


@pytest.mark.parametrize(
    "kind, one, other",
    [
        ("sft", {"messages": [Q, A]}, {"messages": [{"content": "q", "role": "user"}, A]}),
        ("sft", {"messages": [Q, A]}, {"messages": [Q, {**A, "tool_calls": None, "name": None}], "tools": None}),
        ("sft", {"messages": [Q, A]}, {"instruction": "q", "output": "a", "input": None}),
        ("preference", {"prompt": "q", "chosen": "a", "rejected": "b"}, {"rejected": [B], "chosen": [A], "prompt": [Q]}),
        ("kto", {"prompt": "q", "completion": "a", "label": True}, {"label": "true", "messages": [Q, A]}),
        ("grpo", {"prompt": "q", "answer": "a"}, {"ground_truth": "a", "question": "q"}),
    ],
)  # fmt: skip
def test_the_id_depends_on_content_alone(kind, one, other):
    assert key(one, kind, "id") == key(other, kind, "id")


@pytest.mark.parametrize(
    "kind, record",
    [
        ("sft", {"messages": [Q, {"role": "assistant", "tool_calls": [{"name": "f", "arguments": {"a": 1, "b": 2}}]}]}),
        ("sft", {"messages": [Q, A], "tools": [{"a": 1, "b": 2}]}),
        ("grpo", {"prompt": "q", "answer": "a", "x": 1, "y": 2}),
    ],
)
def test_the_id_does_not_depend_on_the_order_of_keys_in_json(kind, record):
    turned = json.loads(json.dumps(record), object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    assert key(record, kind, "id") == key(turned, kind, "id")


@pytest.mark.parametrize(
    "kind, one, other",
    [
        ("sft", {"messages": [Q, A]}, {"messages": [Q, B]}),
        ("sft", {"messages": [Q, A]}, {"messages": [{**Q, "role": "system"}, A]}),
        ("sft", {"messages": [Q, A]}, {"messages": [Q, A], "tools": [{"name": "add"}]}),
        ("sft", {"messages": [Q, A]}, {"messages": [{**Q, "content": "Q"}, A]}),
        ("preference", {"prompt": "q", "chosen": "a", "rejected": "b"}, {"prompt": "q", "chosen": "b", "rejected": "a"}),
        ("kto", {"messages": [Q, A], "label": True}, {"messages": [Q, A], "label": False}),
        ("grpo", {"prompt": "q", "answer": "a"}, {"prompt": "q", "answer": "b"}),
    ],
)  # fmt: skip
def test_other_content_has_another_id(kind, one, other):
    assert key(one, kind, "id") != key(other, kind, "id")


def test_the_id_is_the_hash_of_canonical_json():
    text = b'{"kind":"sft","messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}],"tools":null}'
    assert key({"messages": [Q, A]}, "sft", "id") == hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize(
    "one, other",
    [
        ("Sort the list.", "sort THE list."),
        ("sort  the\n\tlist.", " sort the list. "),
        ("Caf\u00e9", "cafe\u0301"),
        ("STRASSE", "stra\u00dfe"),
        ("sort\u00a0the", "sort the"),
    ],
)
def test_one_question_has_one_prompt_key(one, other):
    keys = {key({"prompt": text, "completion": "a"}, "sft", "prompt_key") for text in (one, other)}
    assert len(keys) == 1


def test_other_questions_have_other_prompt_keys():
    assert len({normalise_text(text) for text in ("sort ab", "sort a b", "sort äb", "sort ab.")}) == 4


@pytest.mark.parametrize(
    "text",
    ["", " ", "Sort  AB", " Sort AB ", "Sort\tAB", "Sort\nAB", "a\x1cb", "a\x7fb", "ÄB  c", "a\u00a0b", "ab", "a  "],
)
def test_text_without_odd_white_space_has_the_key_that_splitting_it_gives(text):
    assert normalise_text(text) == " ".join(text.casefold().split())


def test_a_question_has_one_prompt_key_in_every_kind_and_behind_any_system_turn():
    records = {
        "sft": {"messages": [{"role": "system", "content": "s"}, Q, A, {**Q, "content": "and?"}, B]},
        "preference": {"prompt": "q", "chosen": "a", "rejected": "b"},
        "kto": {"prompt": "q", "completion": "a", "label": True},
        "grpo": {"prompt": "q", "answer": "a"},
    }
    assert len({key(record, kind, "prompt_key") for kind, record in records.items()}) == 1


def test_without_a_user_the_whole_conversation_is_the_question():
    one, other = ({"messages": [{"role": "system", "content": text}, A]} for text in "st")
    assert key(one, "sft", "prompt_key") != key(other, "sft", "prompt_key")


@pytest.mark.parametrize(
    "kind, one, other",
    [
        ("preference", {"prompt": "q", "chosen": "a", "rejected": "b"}, {"prompt": "q", "chosen": "b", "rejected": "a"}),
        ("kto", {"messages": [Q, A], "label": True}, {"messages": [Q, A], "label": False}),
        ("grpo", {"prompt": "q", "answer": "a"}, {"prompt": "q", "answer": "b"}),
    ],
)  # fmt: skip
def test_what_contradicts_each_other_has_one_claim_key(kind, one, other):
    assert key(one, kind, "claim_key") == key(other, kind, "claim_key")


@pytest.mark.parametrize(
    "kind, one, other",
    [
        ("preference", {"prompt": "q", "chosen": "a", "rejected": "b"}, {"prompt": "q", "chosen": "c", "rejected": "b"}),
        ("kto", {"messages": [Q, A], "label": True}, {"messages": [Q, B], "label": False}),
        ("grpo", {"prompt": "q", "answer": "a"}, {"prompt": "r", "answer": "b"}),
    ],
)  # fmt: skip
def test_what_can_both_be_right_has_two_claim_keys(kind, one, other):
    assert key(one, kind, "claim_key") != key(other, kind, "claim_key")


def test_supervised_rows_claim_nothing():
    assert key({"messages": [Q, A]}, "sft", "claim_key") is None


R, X = {"role": "user", "content": "r"}, {"role": "assistant", "content": "x"}


@pytest.mark.parametrize("prompt", ["q", "r", [Q, X, R]])
def test_all_that_two_conversations_share_is_their_prompt(prompt):
    shared = [Q, X, R]
    record = {"prompt": prompt, "chosen": [*shared, A], "rejected": [*shared, A | {"content": "b"}]}
    (row,) = rows_of(record, "preference")
    assert [len(row[name]) for name in ("prompt", "chosen", "rejected")] == [3, 1, 1]


def test_a_conversation_before_two_answers_is_their_prompt():  # HelpSteer3
    record = {"context": [Q], "response1": "a", "response2": "b", "overall_preference": 2}
    (row,) = rows_of(record, "preference")
    assert [row["prompt"][0]["content"], row["chosen"][0]["content"], row["rejected"][0]["content"]] == ["q", "b", "a"]


def called(order="12", arguments='{"x": 1, "y": 2}', ids=("c1", "c2"), **more):
    """A conversation with two calls, and what they found in an order."""
    first = {"id": ids[0], "type": "function", "function": {"name": "f", "arguments": arguments}}
    second = {"id": ids[1], "function": {"name": "f", "arguments": {"x": 3}}}
    results = [
        {"role": "tool", "tool_call_id": ids[int(which) - 1], "content": str(n)} for n, which in enumerate(order)
    ]
    return {"messages": [Q, {"role": "assistant", "content": None, "tool_calls": [first, second]} | more, *results, A]}


def id_of(record):
    (row,) = rows_of(record, "sft")
    return identify(row, "sft")["id"]


def without_ids(record):
    calls = [{"function": call["function"]} for call in record["messages"][1]["tool_calls"]]
    results = [{key: turn[key] for key in ("role", "content")} for turn in record["messages"][2:4]]
    return {"messages": [Q, record["messages"][1] | {"tool_calls": calls}, *results, A]}


@pytest.mark.parametrize(
    "record",
    [
        called(ids=("z", "w")),
        called(arguments={"y": 2, "x": 1}),
        without_ids(called()),
        {"messages": [dict(reversed(message.items())) for message in called()["messages"]]},
    ],
)
def test_the_order_of_keys_the_ids_of_calls_and_how_arguments_are_written_change_no_id(record):
    assert id_of(record) == id_of(called())


def test_rows_that_differ_in_what_a_model_sees_differ_in_their_ids():
    # the results of the second are of the other calls
    records = [
        called(),
        called(order="21"),
        called(reasoning_content="t"),
        called(weight=0),
        called(arguments='{"x": 2, "y": 2}'),
    ]
    assert len({id_of(record) for record in records}) == len(records)


def test_the_first_of_ranked_answers_is_the_best():  # Nectar
    record = {
        "prompt": "\n\nHuman: q\n\nAssistant: ",
        "answers": [{"answer": "b", "rank": 2.0}, {"answer": "a", "rank": 1.0}],
    }
    (row,) = rows_of(record, "preference")
    assert [row[name][0]["content"] for name in ("prompt", "chosen", "rejected")] == ["q", "a", "b"]


@pytest.mark.parametrize("answers", ["[]", "[{}]", "a", '["a"]'])
def test_answers_to_a_query_with_tools_that_are_no_calls_become_no_calls(answers):
    record = {"query": "q", "answers": answers, "tools": '[{"name": "f"}]'}
    try:
        (row,) = rows_of(record, "sft")
    except Unreadable as error:
        assert error.check in ("ingest.missing_key", "ingest.wrong_type")
    else:  # no answer at all, which a validator names
        assert (answers, row["messages"][-1]["content"], row["messages"][-1]["tool_calls"]) == ("[]", None, None)
