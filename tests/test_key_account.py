"""Keys of records are accounted for like rows: what belongs to what is trained is used, said anyway, or stops the file."""

import json
from collections import Counter

import pytest
from builds import run_data_stages, write_params

from stages.ingest import plain_table
from stages.rows.key_account import KeyAccount
from stages.rows.key_meanings import meaning_of
from stages.rows.options import Options
from stages.rows.rejects import describe_unused_keys, unused_key_counts
from stages.rows.shapes import rows_of
from validators.problems import Problems

LONG = "a question that is long enough not to stand in another text by chance"


def account(record, kind="sft", **options):
    found = KeyAccount()
    rows_of(record, kind, Options(**options), found)
    return found


def lost(record, kind="sft", **options):
    return {name: each.meaning for name, each in account(record, kind, **options).lost.items()}


@pytest.mark.parametrize(
    ("kind", "record", "keys"),
    [
        ("sft", {"instruction": "i", "output": "o", "passage": "p"}, {"passage": "prompt"}),
        ("sft", {"prompt": "q", "completion": "a", "Document": "p"}, {"Document": "prompt"}),
            ("sft", {"question": "q", "answer": "B", "options": "x or y"}, {"options": "prompt"}),
        ("sft", {"question": "q", "answer": "B", "options": ["x", "y"], "rationale": "r"}, {"rationale": "thought"}),
        ("sft", {"prompt": "q", "response": "bad", "target": "good"}, {"target": "answer"}),
        ("sft", {"prompt": "q", "completion": "a", "answer_2": "b"}, {"answer_2": "answer"}),
        ("sft", {"prompt": "q", "completion": "a", "Complex-CoT": "hm"}, {"Complex-CoT": "thought"}),
        ("sft", {"instruction": "i", "output": "o", "label": 0}, {"label": "answer"}),
        ("sft", {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "context": "c"}, {"context": "prompt"}),
        ("sft", {"problem": "p", "solution": "s", "answer": "7"}, {"answer": "answer"}),
        ("preference", {"prompt": "q", "chosen": "a", "rejected": "b", "response_3": "c"}, {"response_3": "answer"}),
        ("grpo", {"question": "q", "answer": "yes", "passage": "p"}, {"passage": "prompt"}),
        ("kto", {"prompt": "q", "completion": "a", "label": True, "reference": "r"}, {"reference": "answer"}),
    ],
)  # fmt: skip
def test_a_key_that_means_something_and_is_in_no_row_is_lost(kind, record, keys):
    assert lost(record, kind) == keys
    assert lost(record, kind, ignore=tuple(keys)) == {}


@pytest.mark.parametrize(
    ("kind", "record"),
    [
        ("sft", {"instruction": "i", "context": "c", "response": "r"}),  # Dolly
        ("sft", {"prompt": "q", "input": "i", "completion": "c"}),
        ("sft", {"messages": [{"role": "user", "content": LONG}, {"role": "assistant", "content": "a"}], "prompt": LONG, "prompt_id": "1"}),
        ("preference", {"prompt": "q", "chosen": "a", "rejected": "b", "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "score_chosen": 9.0}),
        ("sft", {"instruction": "i", "output": "o", "text": "### Instruction: i ### Response: o", "id": 3, "source": "s"}),
        ("sft", {"prompt": "q", "completion": "a", "context": "", "options": [], "answer": None}),
        ("grpo", {"question": "q", "solution": "s", "answer": "7", "level": 3}),  # all of it is in `extra`
        ("sft", {"instruction": "i", "output": "b", "chosen": "a", "rejected": "b"}),  # the answer that is left out on purpose
    ],
)  # fmt: skip
def test_a_key_that_is_used_or_said_anyway_or_says_nothing_is_not_lost(kind, record):
    assert lost(record, kind) == {}


Q, A, B = ({"role": role, "content": text} for role, text in (("user", "q"), ("assistant", "a"), ("assistant", "b")))


@pytest.mark.parametrize(
    ("kind", "record"),
    [
        ("preference", {"instruction": "q", "completions": [{"response": "a", "overall_score": 7}, {"response": "b", "overall_score": 5}], "correct_answers": ["c"], "incorrect_answers": ["d"]}),  # UltraFeedback
        ("preference", {"system": "s", "input": "q", "chosen": "a", "rejected": "b", "generations": ["a", "c"], "rationale": "a is better", "rating": [9, 1]}),  # Orca pairs
        ("preference", {"context": [Q], "response1": "a", "response2": "b", "overall_preference": -2}),  # HelpSteer3
        ("sft", {"problem": "q", "solution": "Half of 8 is \\boxed{4}.", "answer": "4", "level": 2}),  # MATH-500
        ("sft", {"problem": "q", "messages": [Q, A], "solution": "s", "answer": "4", "generations": ["a", "c"]}),  # OpenR1
        ("sft", {"prompt": "q", "messages": [Q, {"role": "assistant", "content": "<think>\nt\n</think>\na"}], "output": "<think>t</think>a"}),
        ("sft", {"messages": [Q, A], "analysis": "t", "user": "q", "developer": "d"}),  # Multilingual-Thinking
    ],
)  # fmt: skip
def test_what_a_record_was_made_or_judged_with_is_not_lost(kind, record):
    assert lost(record, kind) == {}


@pytest.mark.parametrize(
    ("kind", "record", "keys"),
    [
        ("grpo", {"messages": [Q, A], "answer": "4"}, {"answer": "answer"}),
        ("sft", {"messages": [Q, A], "completion": "c"}, {"completion": "answer"}),
        ("sft", {"question": "q", "solution": "a", "thinking_trajectories": ["t"]}, {"thinking_trajectories": "thought"}),  # s1K
        ("sft", {"problem": "q", "solution": "Half of 8 is \\boxed{4}.", "answer": "5"}, {"answer": "answer"}),
        ("sft", {"prompt": "q", "completion": "a", "output": "<think>t</think>a"}, {"output": "answer"}),
    ],
)  # fmt: skip
def test_an_answer_or_a_thought_that_differs_is_lost(kind, record, keys):
    assert lost(record, kind) == keys


def turns(*found, **answer):
    return {"messages": [*(found or [Q]), A | answer]}


@pytest.mark.parametrize(
    ("kind", "record", "keys"),
    [
        ("sft", turns(refusal="I cannot say."), {"messages[].refusal": "answer"}),
        ("sft", turns(answer_2="b"), {"messages[].answer_2": "answer"}),
        ("sft", turns(value="b"), {"messages[].value": "answer"}),
        ("sft", turns(Q | {"value": "another q"}), {"messages[].value": "prompt"}),
        ("sft", turns(Q | {"context": "c"}), {"messages[].context": "prompt"}),
        ("sft", turns(Q | {"thinking": "t"}), {"messages[].thinking": "thought"}),
        ("sft", turns(reasoning_details=[{"type": "reasoning.text", "text": "it is so"}]), {"messages[].reasoning_details": "thought"}),
        ("sft", turns(inner_monologue="it is so"), {"messages[].inner_monologue": "thought"}),
        ("sft", turns(train_on_turn=False), {"messages[].train_on_turn": "mark"}),
        ("sft", turns(loss_weight=0.5), {"messages[].loss_weight": "mark"}),
        ("sft", {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a", "text": "b"}]}, {"conversations[].text": "answer"}),
        ("sft", {"conversation": [{"input": "q", "output": "a", "hint": "h"}]}, {"conversation[].hint": "prompt"}),
        ("sft", {"query": "q", "response": "a", "history": [{"question": "h", "answer": "i", "rationale": "r"}]}, {"history[].rationale": "thought"}),
        ("sft", {"instruction": "i", "instances": [{"input": "x", "output": "y", "passage": "p"}]}, {"instances[].passage": "prompt"}),
        ("preference", {"prompt": [Q], "chosen": [A | {"refusal": "no"}], "rejected": [B]}, {"chosen[].refusal": "answer"}),
        ("preference", {"prompt": "q", "chosen": A | {"refusal": "no"}, "rejected": B}, {"chosen.refusal": "answer"}),
        ("preference", {"input": {"messages": [Q | {"context": "c"}]}, "preferred_output": [A], "non_preferred_output": [B]}, {"input.messages[].context": "prompt"}),
        ("preference", {"prompt": "q", "completions": [{"response": "a", "text": "c", "score": 1}, {"response": "b", "score": 2}]}, {"completions[].text": "answer"}),
        ("grpo", {"prompt": [Q | {"context": "c"}], "ground_truth": "4"}, {"prompt[].context": "prompt"}),
    ],
)  # fmt: skip
def test_a_key_of_a_turn_that_means_something_and_is_in_no_row_is_lost(kind, record, keys):
    assert lost(record, kind) == keys
    assert lost(record, kind, ignore=tuple(keys)) == {}
    assert keys.keys() <= account(record, kind, ignore=tuple(keys)).unused.keys()


@pytest.mark.parametrize(
    ("record", "unused"),
    [
        (turns(Q | {"name": "ann", "timestamp": 3}, id="m1", finish_reason="stop"), {"name", "timestamp", "id", "finish_reason"}),
        (turns(refusal=None, audio=None, annotations=[], weight=1), set()),
        (turns(refusal="a", reasoning_tokens=7, reasoning_effort="high"), {"refusal", "reasoning_tokens", "reasoning_effort"}),
        (turns(reasoning="t", thinking="t"), set()),
        (turns(Q, {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f"}}]}, {"role": "tool", "tool_call_id": "c", "name": "f", "content": "r", "status": "ok"}), {"status"}),
        (turns({"role": "user", "content": [{"type": "text", "text": "q", "cache_control": {"type": "x"}}]}), {"content[].cache_control"}),
        (turns(Q, {"role": "tool", "content": [{"a": 1}]}), set()),
    ],
)  # fmt: skip
def test_a_key_of_a_turn_that_means_nothing_is_counted_alone(record, unused):
    found = account(record)
    assert (found.lost, set(found.unused)) == ({}, {f"messages[].{name}" for name in unused})


def test_a_key_of_turns_is_counted_once_a_record_and_by_its_name_in_the_file():
    found = account(
        {"data": {"turns": [Q | {"name": "n"}, A, Q | {"name": "m"}, A]}}, columns={"messages": "data.turns"}
    )
    assert found.unused == Counter({"data.turns[].name": 1})


def test_context_and_input_stand_behind_the_question():
    for record in (
        {"instruction": "i", "context": "c", "response": "r"},
        {"prompt": "i", "input": "c", "completion": "r"},
    ):
        (row,) = rows_of(record, "sft")
        assert row["messages"][0]["content"] == "i\nc"


def test_a_short_text_is_not_said_by_chance():
    assert lost({"prompt": "Which of A, B and C?", "completion": "It is B.", "answer": "B"}) == {"answer": "answer"}
    assert lost({"prompt": "q", "completion": "So\nB", "answer": "B"}) == {}


def test_unused_keys_are_counted_by_their_names_in_the_file():
    found = account({"Q": "q", "A": "a", "level": 3, "url": "u"}, columns={"prompt": "Q", "completion": "A"})
    assert found.unused == Counter(level=1, url=1)


@pytest.mark.parametrize(
    ("name", "meaning"),
    [("Context", "prompt"), ("options", "prompt"), ("response_0", "answer"), ("output 2", "answer"), ("loss_mask", "mark"),
     ("id", None), ("score", None), ("source", None), ("text", None), ("prompt_id", None), ("answer_type", None)],
)  # fmt: skip
def test_a_name_tells_what_a_key_belongs_to(name, meaning):
    assert meaning_of(name) == meaning


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "id": 1, "url": "u", "nothing": None},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "id": "x", "context": "c"},
        {"instruction": "i", "output": "o", "passage": "p"},
        {"instruction": "i", "output": "o", "context": "c"},
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "output": "another"},
        {"messages": [Q | {"name": "n"}, A | {"refusal": "no"}], "id": 1},
        {"conversations": [{"from": "human", "value": "q", "id": 1}, {"from": "gpt", "value": "a", "cot": "t t"}]},
    ],
)  # fmt: skip
def test_the_fast_way_accounts_for_the_same_keys(record):
    fast, general = KeyAccount(), KeyAccount()
    plain_table([(1, json.dumps(record).encode())], "a", account=fast)
    rows_of(record, "sft", account=general)
    assert (fast.unused, fast.lost) == (general.unused, general.lost)


def test_a_conversation_beside_two_answers_is_a_pair_in_the_fast_way_too():
    record = {"messages": [Q, A], "conversation_a": [Q, A], "conversation_b": [Q, B], "winner": "model_b"}
    table, _, seen = plain_table([(1, json.dumps(record).encode())], "a")
    assert list(seen) == ["compared (conversation_b is better, by winner)"]
    assert [turn["content"] for turn in table["messages"].to_pylist()[0]] == ["q", "b"]


@pytest.fixture
def build(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def build(ignore=()):
        records = [{"instruction": f"i{i}", "output": f"o{i}", "passage": f"p{i}", "url": "u"} for i in range(4)]
        records.append({"instruction": "i", "output": "o", "url": "u"})
        (tmp_path / "raw.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        entry = f"{{kind: sft, raw: raw.jsonl, ignore: [{', '.join(ignore)}]}}"
        write_params(f"seed: 7\neval_fraction: 0.3\ndatasets: {{d: {entry}}}\ncurate: {{}}\n")
        run_data_stages("d")

    return build


def test_a_file_whose_keys_would_be_lost_stops_with_what_to_type(build):
    with pytest.raises(Problems) as raised:
        build()
    (problem,) = raised.value.problems
    assert problem.where == "datasets.d: raw.jsonl"
    assert problem.found == "4 records have 'passage' ('p0'), which no row holds"
    assert (
        problem.hint
        == "columns: {prompt: [<the question>, passage]} joins them; if it may be left out, ignore: [passage]"
    )


def test_what_may_be_left_out_is_said_and_does_not_stop(build, capsys):
    build(["passage"])
    assert "keys not used: url (5), passage (4)" in capsys.readouterr().out
    assert unused_key_counts("data/rejected/d.parquet") == {"raw.jsonl": {"url": 5, "passage": 4}}
    assert list(describe_unused_keys({"raw.jsonl": {"a": 1, "url": 5}})) == [
        "keys not used of raw.jsonl: url (5), a (1)"
    ]
