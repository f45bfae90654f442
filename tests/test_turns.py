"""Messages from every style: thoughts, marks of what is learned, calls and results, as files of others write them."""

import json

import pytest

from stages.rows.content import split_thought
from stages.rows.identity import identify
from stages.rows.options import Options
from stages.rows.plain_conversations import plain_turns
from stages.rows.shapes import rows_of

Q, A = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
RESULT = {"role": "tool", "content": "2"}
ADD = {"name": "add", "arguments": {"a": 1}}
CALL = {"type": "function", "function": ADD}


def messages(record, kind="sft", place="messages", options=None):
    """The messages of the one row of a record, without the keys that hold nothing, calls as objects."""
    (row,) = rows_of(record, kind, options) if options else rows_of(record, kind)
    found = [{key: value for key, value in turn.items() if value is not None} for turn in row[place]]
    return [turn | ({"tool_calls": json.loads(turn["tool_calls"])} if "tool_calls" in turn else {}) for turn in found]


def id_of(record, kind="sft"):
    (row,) = rows_of(record, kind)
    return identify(row, kind)["id"]


# -- thoughts -----------------------------------------------------------------------------------------------------

THOUGHT = [Q, A | {"reasoning_content": "hm\nso"}]


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [Q, A | {"reasoning_content": "hm\nso"}]},
        {"messages": [Q, A | {"reasoning": "hm\nso\n"}]},
        {"messages": [Q, A | {"thinking": " hm\nso"}]},
        {"messages": [Q, A | {"content": "<think>\nhm\nso\n</think>\n\na"}]},
        {"messages": [Q, A | {"content": "hm\nso\n</think>\n\na"}]},
        {"messages": [Q, A | {"content": "<think>hm\nso</think>a", "reasoning_content": "hm\nso"}]},
        {"messages": [Q, A | {"content": [{"type": "thinking", "thinking": "hm\nso"}, {"type": "text", "text": "a"}]}]},
        {"messages": [Q, A | {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm\nso"}]}, {"text": "a"}]}]},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "<think>hm\nso</think>\na"}]},
        {"instruction": "q", "output": "<think>\nhm\nso\n</think>\n\na"},
        {"prompt": "q", "completion": "<think>hm\nso</think>a"},
        {"prompt": "q", "completion": "a", "reasoning_content": "hm\nso"},
        {"question": "q", "answer": "a", "reasoning": "hm\nso"},
        {"prompt": "q", "completion": "<think>hm\nso</think>a", "label": True},
        {"prompt": "q", "chosen": "<think>hm\nso</think>a", "rejected": "b"},
    ],
)  # fmt: skip
def test_a_thought_is_kept_beside_the_answer_however_it_is_written(record):
    assert messages(record) == THOUGHT


def test_the_thoughts_of_a_pair_stay_with_their_sides():
    record = {"prompt": "q", "chosen": "<think>hm</think>a", "rejected": [A | {"reasoning": "no"}]}
    assert messages(record, "preference", "chosen") == [A | {"reasoning_content": "hm"}]
    assert messages(record, "preference", "rejected") == [A | {"reasoning_content": "no"}]
    assert messages({"prompt": "q", "completion": "a", "thinking": "hm", "label": False}, "kto", "completion") == [
        A | {"reasoning_content": "hm"}
    ]


@pytest.mark.parametrize(
    "text",
    [
        "the tag </think> ends a thought",
        "a <think> is opened",
        "<think>never closed",
        "First this. <think>then</think> that.",
        "say `</think>`",
    ],
)
def test_a_text_about_thoughts_has_none(text):
    assert split_thought(text) == (None, text)


@pytest.mark.parametrize("text", ["<think></think>a", "<think>\n\n</think>\n\na", "</think>\n\na"])
def test_an_empty_thought_is_none(text):
    assert split_thought(text) == (None, "a")


def test_another_thought_is_another_row_and_no_thought_is_another():
    said = [{"messages": [Q, A | more]} for more in ({}, {"reasoning_content": "hm"}, {"reasoning_content": "so"})]
    assert len(set(map(id_of, said))) == 3
    assert id_of({"messages": THOUGHT}) == id_of({"prompt": "q", "completion": "<think>hm\nso</think>a"})


MANY = {"messages": [Q, A | {"thinking": "x"}, Q, A | {"thinking": "y"}]}


@pytest.mark.parametrize(("reasoning", "thoughts"), [("drop", [None, None]), ("last_turn", [None, "y"])])
def test_a_dataset_leaves_out_the_thoughts_that_it_says(reasoning, thoughts):
    turns = messages(MANY, options=Options(reasoning=reasoning))
    assert [turn.get("reasoning_content") for turn in turns if turn["role"] == "assistant"] == thoughts
    pair = {"prompt": [Q, A | {"thinking": "x"}, Q], "chosen": "<think>y</think>a", "rejected": "b"}
    for place, thought in (("prompt", None), ("chosen", thoughts[1])):
        turns = messages(pair, "preference", place, Options(reasoning=reasoning))
        assert [turn.get("reasoning_content") for turn in turns if turn["role"] == "assistant"] == [thought]


# -- what is learned ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mark",
    [{"train": False}, {"trainable": False}, {"loss": False}, {"loss_mask": 0}, {"weight": 0}, {"weight": 0.0},
     {"masked": True}, {"train": "false"}],
)  # fmt: skip
def test_a_turn_that_is_marked_is_context(mark):
    assert messages({"messages": [Q, A | mark, Q, A]}) == [Q, A | {"train": False}, Q, A]
    assert plain_turns(json.dumps({"messages": [Q, A | mark]}).encode()) is None


@pytest.mark.parametrize("mark", [{"train": True}, {"weight": 1}, {"loss": None}, {"masked": False}, {"train": ""}])
def test_a_mark_that_says_what_holds_anyway_says_nothing(mark):
    assert messages({"messages": [Q, A | mark]}) == [Q, A]


@pytest.mark.parametrize(
    ("mark", "learned"),
    [
        ({"loss_mask": [0, 0, 0, 1]}, [False, None]),
        ({"weight": 0}, [False, False]),
        ({"train": False}, [False, False]),
        ({"weight": 1}, [None, None]),
    ],
)
def test_a_record_says_it_of_all_its_turns_or_of_each(mark, learned):
    record = {"messages": [Q, A, Q, A]} | mark
    turns = messages(record)
    assert [turn.get("train") for turn in turns if turn["role"] == "assistant"] == learned
    assert not any("train" in turn for turn in turns if turn["role"] == "user")
    assert plain_turns(json.dumps(record).encode()) is None


def test_marks_of_a_prompt_say_nothing_as_it_is_never_learned():
    pair = {"prompt": [Q, A | {"train": False}, Q], "chosen": "a", "rejected": "b"}
    assert messages(pair, "preference", "prompt") == [Q, A, Q]


def test_a_turn_that_is_not_learned_makes_another_row():
    assert id_of({"messages": [Q, A, Q, A]}) != id_of({"messages": [Q, A | {"weight": 0}, Q, A]})


# -- calls and what tools found -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "add", "arguments": '{"a": 1}'}, "type": "function"}]},
        {"role": "assistant", "tool_calls": [ADD]},
        {"role": "assistant", "tool_calls": json.dumps([ADD])},
        {"role": "assistant", "function_call": {"name": "add", "arguments": '{"a":1}'}},
        {"from": "function_call", "value": json.dumps(ADD)},
        {"from": "function_call", "value": json.dumps([ADD])},
        {"role": "assistant", "content": [{"type": "tool_use", "name": "add", "input": {"a": 1}}]},
        {"role": "assistant", "content": [{"toolUse": {"name": "add", "input": {"a": 1}}}]},
    ],
)  # fmt: skip
def test_a_call_is_the_same_however_it_is_written(turn):
    record = {
        "messages" if "role" in turn else "conversations": [
            Q if "role" in turn else {"from": "human", "value": "q"},
            turn,
        ]
    }
    (found,) = [message for message in messages(record) if message["role"] == "assistant"]
    assert found.get("content") is None
    assert found["tool_calls"] == [CALL]
    assert id_of(record) == id_of({"messages": [Q, {"role": "assistant", "content": None, "tool_calls": [CALL]}]})


def test_ids_of_calls_are_kept_and_are_no_content():
    def talk(name):
        call = {"role": "assistant", "content": None, "tool_calls": [{"id": name, **CALL}]}
        return {"messages": [Q, call, RESULT | {"tool_call_id": name, "name": "add"}, A]}

    found = messages(talk("c1"))
    assert found[1]["tool_calls"] == [{"id": "c1", **CALL}]
    assert found[2] == RESULT | {"name": "add", "tool_call_id": "c1"}
    assert id_of(talk("c1")) == id_of(talk("c2"))


def test_blocks_of_anthropics_become_turns():
    record = {"messages": [
        {"role": "user", "content": [{"type": "text", "text": "q"}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "x"}, {"type": "text", "text": "Let me see."},
            {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "2"}]}]},
        {"role": "assistant", "content": "a"},
    ]}  # fmt: skip
    assert messages(record) == [
        Q,
        {"role": "assistant", "content": "Let me see.", "tool_calls": [{"id": "t1", **CALL}], "reasoning_content": "hm"},
        RESULT | {"tool_call_id": "t1"},
        A,
    ]  # fmt: skip


def test_parts_of_bedrocks_become_turns():
    record = {"system": [{"text": "s"}], "messages": [
        {"role": "user", "content": [{"text": "q"}]},
        {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t1", "name": "add", "input": {"a": 1}}}]},
        {"role": "user", "content": [{"toolResult": {"toolUseId": "t1", "content": [{"json": {"b": 2}}]}}]},
        {"role": "assistant", "content": [{"text": "a"}]},
    ]}  # fmt: skip
    assert messages(record) == [
        {"role": "system", "content": "s"},
        Q,
        {"role": "assistant", "tool_calls": [{"id": "t1", **CALL}]},
        {"role": "tool", "content": '{"b":2}', "tool_call_id": "t1"},
        A,
    ]


def test_what_is_said_and_called_at_once_is_one_turn():
    def call(a):
        return {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {"a": a}}}]}  # fmt: skip

    both = [*call(1)["tool_calls"], *call(2)["tool_calls"]]
    assert messages({"messages": [Q, A, call(1), call(2), RESULT, RESULT, A]}) == [
        Q, A | {"tool_calls": both}, RESULT, RESULT, A
    ]  # fmt: skip
    assert len(messages({"messages": [Q, A, A]})) == 3  # two answers are no call; validate names them
    assert len(messages({"messages": [Q, A | {"weight": 0}, call(1), RESULT, A]})) == 5


@pytest.mark.parametrize("found", [{"a": 1}, [{"a": 1}], [1, 2]])
def test_what_a_tool_found_may_be_json(found):
    (_, _, result, _) = messages(
        {"messages": [Q, {"role": "assistant", "tool_calls": [CALL]}, RESULT | {"content": found}, A]}
    )
    assert json.loads(result["content"]) == found


def test_a_developer_is_the_system():
    record = {"messages": [{"role": "developer", "content": "s"}, Q, A]}
    assert messages(record) == [{"role": "system", "content": "s"}, Q, A]
    assert plain_turns(json.dumps(record).encode())[0][0].role == "system"


@pytest.mark.parametrize("kind", ["preference", "kto"])
def test_pairs_and_rated_answers_keep_tools(kind):
    record = {"prompt": "q", "tools": [{"name": "add", "parameters": {}}]}
    record |= {"chosen": "a", "rejected": "b"} if kind == "preference" else {"completion": "a", "label": True}
    (row,) = rows_of(record, kind)
    assert json.loads(row["tools"]) == [{"type": "function", "function": {"name": "add", "parameters": {}}}]
    without = {key: value for key, value in record.items() if key != "tools"}
    assert id_of(record, kind) != id_of(without, kind)
    assert identify(row, kind)["claim_key"] != identify(rows_of(without, kind)[0], kind)["claim_key"]
