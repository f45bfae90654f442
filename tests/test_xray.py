"""A row as tokens is what TRL's collator makes of it, and nothing of it is out of sight."""

import copy

import pytest
from test_tokens import LIMIT, ROWS, method_of, step_of, write

from stages import train
from stages.dryrun.xray import runs, xray
from stages.rows.batches import decoded
from stages.training.messages import Unproved
from stages.training.models import renderer, save_tiny
from stages.training.trl import make_config

pytestmark = pytest.mark.slow


@pytest.fixture
def base(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/train").mkdir(parents=True)
    save_tiny("models/base")
    return renderer()


def text(tokens):
    return "".join(token.text for token in tokens)


def test_a_conversation_is_shown_with_what_is_learned_and_what_is_cut(base):
    row = {"messages": [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "xyz"}]}
    config = make_config("steps.s", step_of("sft", max_length=7), "out")
    (part,) = xray("sft", row, base, config)
    assert [(kind, text(tokens)) for kind, tokens in runs(part.tokens)] == [
        ("context", "<|user|>ab<|end|><|assistant|>"), ("learned", "xy"), ("cut", "z<|end|>")
    ]  # fmt: skip
    assert [token.text for token in part.tokens if token.special] == ["<|user|>", "<|end|>", "<|assistant|>", "<|end|>"]


def test_both_answers_of_a_pair_are_shown(base):
    row = {"prompt": [{"role": "user", "content": "ab"}]} | {
        side: [{"role": "assistant", "content": said}] for side, said in (("chosen", "xy"), ("rejected", "z"))
    }
    for method in ("dpo", "orpo"):
        parts = xray(method, row, base, make_config("steps.s", step_of(method), "out"))
        assert [(part.name, [kind for kind, _ in runs(part.tokens)]) for part in parts] == [
            ("chosen", ["context", "learned"]), ("rejected", ["context", "learned"])
        ]  # fmt: skip
        assert text(parts[1].tokens) == "<|user|>ab<|end|><|assistant|>z<|end|>"


def test_a_row_that_is_not_trained_says_why(base):
    row = {"messages": [{"role": "user", "content": "a" * 40}, {"role": "assistant", "content": "x"}]}
    with pytest.raises(Unproved, match="LENGTH"):
        xray("sft", row, base, make_config("steps.s", step_of("sft", max_length=LIMIT), "out"))


@pytest.mark.parametrize("method", ["sft", "dpo", "orpo", "kto"])
@pytest.mark.parametrize("args", [{}, {"max_length": LIMIT}])
def test_what_is_shown_is_in_the_batches_of_a_real_trainer(base, tmp_path, method, args):
    rows, step = ROWS[method], step_of(method, **args)
    write(method, rows)
    config = method_of(method, base, **args).config
    shown = []
    for row in rows:
        try:
            parts = xray(method, decoded(copy.deepcopy(row)), base, config)
        except Unproved:
            continue
        shown += [tuple(t.id for t in part.tokens if t.kind == "learned") for part in parts]
    trainer = train.make_trainer("s", step, tmp_path / "work")
    batches = []
    for row in trainer.train_dataset:
        batch = trainer.data_collator([row])
        if method == "sft":
            batches.append(tuple(label for label in batch["labels"][0].tolist() if label != -100))
        elif method == "orpo":
            for side in ("chosen", "rejected"):
                batches.append(tuple(label for label in batch[f"{side}_labels"][0].tolist() if label != -100))
        else:
            for ids, mask in zip(batch["input_ids"], batch["completion_mask"], strict=True):
                batches.append(tuple(ids[mask.bool()].tolist()))
    assert sorted(shown) == sorted(batches)
