"""From raw records of others' forms to the tokens that trainers learn: thoughts, marks and tools come through all data stages."""

import json
from pathlib import Path

import pytest
from builds import run_data_stages, write_params
from test_token_counts import step_of

from stages.dryrun.xray import runs_by_kind, xray_row
from stages.rows.batches import batches
from stages.training.models import renderer, save_tiny_model
from stages.training.trl import make_config

pytestmark = pytest.mark.slow
TOOL = {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "number"}}}}


def user(text):
    return {"role": "user", "content": text}


def said(text, **more):
    return {"role": "assistant", "content": text} | more


def call(a):
    return {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": {"name": "add", "arguments": json.dumps({"a": a})}}]}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three datasets, through the data stages, all in train; a tiny base."""
    folder = tmp_path_factory.mktemp("tokens")
    found = {
        "chat": [
            {"messages": [user("one"), said("<think>\nhm\n</think>\n\ntwo")]},
            {"messages": [user("one"), said("no", weight=0), user("again"), said("three", reasoning_content="so")]},
            {"messages": [user("one"), call(1), {"role": "tool", "content": "", "tool_call_id": "x"}, said("four")], "tools": [TOOL]},
        ],
        "pairs": [
            {"prompt": "one", "chosen": "<think>x</think>a", "rejected": "<think>y</think>b"},
            {"prompt": "two", "chosen": [call(1)], "rejected": [call(2)], "tools": [TOOL]},
        ],
        "rated": [
            {"prompt": "one", "completion": [call(1)], "label": True, "tools": [TOOL]},
            {"prompt": "two", "completion": "a", "thinking": "z", "label": False},
        ],
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, records in found.items():
            Path(f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        kinds = {"chat": "sft", "pairs": "preference", "rated": "kto"}
        entries = ", ".join(f"{name}: {{kind: {kind}, raw: {name}.jsonl}}" for name, kind in kinds.items())
        write_params(f"seed: 7\neval_fraction: 1.0e-9\ndatasets: {{{entries}}}\ncurate: {{}}\n")
        run_data_stages(*found)
        save_tiny_model("models/base")
    return folder


@pytest.fixture
def learned(folder, monkeypatch):
    """What is learned of each row of a dataset, one text a sequence, by a method."""
    monkeypatch.chdir(folder)

    def learned(dataset, method, **options):
        render, found = renderer(), []
        config = make_config("steps.s", step_of(method), "out")
        for row in (row for rows in batches(f"data/train/{dataset}.parquet", None) for row in rows):
            for part in xray_row(method, row, render, config, **options):
                spans = [
                    "".join(token.text for token in tokens)
                    for kind, tokens in runs_by_kind(part.tokens)
                    if kind == "learned"
                ]
                found.append((row["line"], spans, "".join(token.text for token in part.tokens)))
        return found

    return learned


def test_thoughts_marks_and_calls_of_conversations_are_learned_as_asked(learned):
    first, second, third = learned("chat", "sft")
    assert first[1] == ["<think>\nhm\n</think>\n\ntwo<|end|>"]
    assert second[1] == ["<think>\nso\n</think>\n\nthree<|end|>"] and "no<|end|>" in second[2]
    assert third[1][0].startswith('<|call|>{"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}')
    assert third[1][1:] == ["four<|end|>"] and '"parameters"' in third[2]


def test_masked_thoughts_are_context_and_the_answers_learned(learned):
    first, second, _ = learned("chat", "sft", reasoning="mask")
    assert first[1] == ["<think>\n", "\n</think>\n\ntwo<|end|>"] and "hm" in first[2]
    assert second[1] == ["<think>\n", "\n</think>\n\nthree<|end|>"] and "so" in second[2]


def test_masked_thoughts_of_answers_are_context(learned):
    pairs, rated = learned("pairs", "dpo", reasoning="mask"), learned("rated", "kto", reasoning="mask")
    assert [spans for _, spans, _ in pairs[:2]] == [
        ["<think>\n", "\n</think>\n\na<|end|>"],
        ["<think>\n", "\n</think>\n\nb<|end|>"],
    ]
    assert rated[1][1] == ["<think>\n", "\n</think>\n\na<|end|>"]


@pytest.mark.parametrize("method", ["dpo", "orpo"])
def test_both_answers_of_a_pair_have_their_thoughts_and_calls(learned, method):
    found = learned("pairs", method)
    if method == "orpo":  # imitates the chosen side with its prompt
        assert all(spans == [whole] for _, spans, whole in found[::2])
        found = [
            (at, [span[span.index("<|assistant|>") + 13 :] for span in spans], whole)
            if place % 2 == 0
            else (at, spans, whole)
            for place, (at, spans, whole) in enumerate(found)
        ]
    assert [spans for _, spans, _ in found[:2]] == [
        ["<think>\nx\n</think>\n\na<|end|>"],
        ["<think>\ny\n</think>\n\nb<|end|>"],
    ]
    assert all('"parameters"' in whole for _, _, whole in found[2:])
    assert ['"a": 1' in found[2][1][0], '"a": 2' in found[3][1][0]] == [True, True]


def test_rated_answers_have_theirs(learned):
    (_, calls, whole), (_, thoughts, _) = learned("rated", "kto")
    assert '"a": 1' in calls[0] and '"parameters"' in whole
    assert thoughts == ["<think>\nz\n</think>\n\na<|end|>"]
