"""A row as tokens is what TRL's collator makes of it, and nothing of it is out of sight."""

import copy

import pytest
from test_token_counts import LIMIT, ROWS, method_of, step_of, write

from stages import train
from stages.dryrun.token_counts import measure_rows
from stages.dryrun.xray import MAX_TOKENS, Part, Token, choose_rows, runs_by_kind, shorten_part, xray_row, xray_samples
from stages.rows.batches import decode_row
from stages.training.messages import FailedProof
from stages.training.models import renderer, save_tiny_model
from stages.training.trl import make_config

pytestmark = pytest.mark.slow


@pytest.fixture
def base(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/train").mkdir(parents=True)
    save_tiny_model("models/base")
    return renderer()


def text(tokens):
    return "".join(token.text for token in tokens)


def test_a_conversation_is_shown_with_what_is_learned_and_what_is_cut(base):
    row = {"messages": [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "xyz"}]}
    config = make_config("steps.s", step_of("sft", max_length=7), "out")
    (part,) = xray_row("sft", row, base, config)
    assert [(kind, text(tokens)) for kind, tokens in runs_by_kind(part.tokens)] == [
        ("context", "<|user|>ab<|end|><|assistant|>"), ("learned", "xy"), ("cut", "z<|end|>")
    ]  # fmt: skip
    assert [token.text for token in part.tokens if token.special] == ["<|user|>", "<|end|>", "<|assistant|>", "<|end|>"]


def test_a_thought_is_shown_as_context_where_the_step_masks_it(base):
    thinks = {"role": "assistant", "content": "z", "reasoning_content": "xy"}
    row, config = (
        {"messages": [{"role": "user", "content": "ab"}, thinks]},
        make_config("steps.s", step_of("sft"), "out"),
    )
    (part,) = xray_row("sft", row, base, config)
    assert [kind for kind, _ in runs_by_kind(part.tokens)] == ["context", "learned"]
    (part,) = xray_row("sft", row, base, config, reasoning="mask")
    assert [(kind, text(tokens)) for kind, tokens in runs_by_kind(part.tokens)] == [
        ("context", "<|user|>ab<|end|><|assistant|>"), ("learned", "<think>\n"), ("context", "xy"),
        ("learned", "\n</think>\n\nz<|end|>"),
    ]  # fmt: skip


def test_both_answers_of_a_pair_are_shown(base):
    row = {"prompt": [{"role": "user", "content": "ab"}]} | {
        side: [{"role": "assistant", "content": said}] for side, said in (("chosen", "xy"), ("rejected", "z"))
    }
    for method in ("dpo", "orpo"):
        parts = xray_row(method, row, base, make_config("steps.s", step_of(method), "out"))
        assert [(part.name, [kind for kind, _ in runs_by_kind(part.tokens)]) for part in parts] == [
            ("chosen", ["learned"] if method == "orpo" else ["context", "learned"]), ("rejected", ["context", "learned"])
        ]  # fmt: skip
        assert text(parts[1].tokens) == "<|user|>ab<|end|><|assistant|>z<|end|>"


def test_a_row_that_is_not_trained_says_why(base):
    row = {"messages": [{"role": "user", "content": "a" * 40}, {"role": "assistant", "content": "x"}]}
    with pytest.raises(FailedProof, match="LENGTH"):
        xray_row("sft", row, base, make_config("steps.s", step_of("sft", max_length=LIMIT), "out"))


@pytest.mark.parametrize("method", ["sft", "dpo", "orpo", "kto"])
@pytest.mark.parametrize("args", [{}, {"max_length": LIMIT}])
def test_what_is_shown_is_in_the_batches_of_a_real_trainer(base, tmp_path, method, args):
    rows, step = ROWS[method], step_of(method, **args)
    write(method, rows)
    config = method_of(method, base, **args).config
    shown = []
    for row in rows:
        try:
            parts = xray_row(method, decode_row(copy.deepcopy(row)), base, config)
        except FailedProof:
            continue
        shown += [tuple(t.id for t in part.tokens if t.kind == "learned") for part in parts]
    trainer = train.make_trainer("s", step, tmp_path / "work")
    batches = []
    for row in trainer.train_dataset:
        batch = trainer.data_collator([row])
        if method == "sft":
            batches.append(tuple(label for label in batch["labels"][0].tolist() if label != -100))
        elif method == "orpo":
            batches.append(tuple(batch["chosen_input_ids"][0].tolist()))
            batches.append(tuple(label for label in batch["rejected_labels"][0].tolist() if label != -100))
        else:
            for ids, mask in zip(batch["input_ids"], batch["completion_mask"], strict=True):
                batches.append(tuple(ids[mask.bool()].tolist()))
    assert sorted(shown) == sorted(batches)


def test_orpo_imitates_the_chosen_side_with_its_prompt(base, tmp_path):
    """Its likelihood takes all tokens of the chosen side, as the X-ray says; TRL's own sum is the witness."""
    import torch

    write("orpo", ROWS["orpo"][:1])
    trainer = train.make_trainer("s", step_of("orpo"), tmp_path / "work")
    batch = trainer.data_collator([trainer.train_dataset[0]])
    batch.pop("tilth_place")
    with torch.no_grad():
        likelihood = trainer.concatenated_forward(trainer.model, batch)[4]
        ids = batch["chosen_input_ids"]
        whole = trainer.model(ids).logits[0, :-1].log_softmax(-1)
        losses = -whole.gather(1, ids[0, 1:, None])[:, 0]
    assert likelihood.item() == pytest.approx(losses.mean().item(), rel=1e-4)
    answer = batch["chosen_labels"][0, 1:] != -100
    assert likelihood.item() != pytest.approx(losses[answer].mean().item(), rel=1e-4)


def thinks(content, thought):
    return [{"role": "assistant", "content": content, "reasoning_content": thought}]


ASKED = [{"role": "user", "content": "ab"}]
THINKING = {
    "dpo": [
        {"prompt": ASKED, "chosen": thinks("z", "xy"), "rejected": thinks("q", "a long thought of it")},
        {"prompt": ASKED, "chosen": thinks("zz", "y"), "rejected": [{"role": "assistant", "content": "none"}]},
    ],
    "kto": [
        {"prompt": ASKED, "completion": thinks("z", "xy"), "label": True},
        {"prompt": ASKED, "completion": thinks("q", "a long thought of it"), "label": False},
    ],
}


@pytest.mark.parametrize("args", [{}, {"max_length": 30}])
@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_masked_thoughts_of_answers_are_context_in_the_batches_of_a_real_trainer(base, tmp_path, method, args):
    if method == "dpo" and args:
        args = args | {"truncation_mode": "keep_end"}
    step = step_of(method, **args) | {"reasoning": "mask"}
    write(method, THINKING[method])
    config, shown = method_of(method, base, **args).config, []
    for row in THINKING[method]:
        for part in xray_row(method, decode_row(copy.deepcopy(row)), base, config, reasoning="mask"):
            learned = text([token for token in part.tokens if token.kind == "learned"])
            assert not {"xy", "long", "thought"} & {*learned.replace("\n", " ").replace("<think>", " ").split()}
            shown.append(learned)
    trainer, found, differs = train.make_trainer("s", step, tmp_path / "work"), [], []
    batch = trainer.data_collator(list(trainer.train_dataset))
    for ids, mask in zip(batch["input_ids"], batch["completion_mask"], strict=True):
        found.append(base.tokenizer.decode(ids[mask.bool()]))
    if method == "kto":  # the answers of the others, behind these prompts
        for ids, mask in zip(batch["KL_input_ids"], batch["KL_completion_mask"], strict=True):
            differs.append(base.tokenizer.decode(ids[mask.bool()]))
        assert sorted(differs) == sorted(found)
    assert sorted(found) == sorted(shown) and (args or "<think>\n\n</think>\n\nz<|end|>" in found)
    trainer.train()


# -- samples ------------------------------------------------------------------------------------------------------


def test_the_first_row_one_of_median_length_and_the_longest_are_shown_each_once():
    assert choose_rows([3, 4, 6, 7], [9, 2, 5, 30]) == {3: ["first", "median length"], 7: ["longest"]}
    assert choose_rows([0], [5]) == {0: ["first", "median length", "longest"]}


def test_the_middle_of_a_long_sequence_is_left_out_of_the_picture_and_counted():
    part = Part("chosen", [Token(at, "x", "learned" if at else "context", False) for at in range(1000)])
    found = shorten_part(part)
    assert (len(found["tokens"]), found["left_out"]) == (MAX_TOKENS, 1000 - MAX_TOKENS)
    assert [token["id"] for token in found["tokens"]][99:101] == [99, 900]
    assert found["counts"] == {"context": 1, "learned": 999}
    assert shorten_part(Part("chosen", part.tokens[:MAX_TOKENS]))["left_out"] == 0


@pytest.mark.parametrize("method", ["sft", "dpo", "orpo", "kto", "grpo"])
def test_samples_hold_what_the_xray_of_their_rows_shows(base, method):
    args = {"num_generations": 2} if method == "grpo" else {}
    path, of = write(method, ROWS[method]), method_of(method, base, **args)
    found = measure_rows(path, of)
    shown = xray_samples(path, found, of)
    numbers = [int(each["row"].rpartition(":")[2]) - 1 for each in shown]
    assert numbers[0] == found.rows["row"][0] and 1 <= len(shown) <= 3
    for number, each in zip(numbers, shown, strict=True):
        parts = xray_row(method, decode_row(copy.deepcopy(ROWS[method][number])), base, of.config)
        assert [(part["name"], part["tokens"]) for part in each["parts"]] == [
            (part.name, [vars(token) for token in part.tokens]) for part in parts[: len(each["parts"])]
        ]
        assert each["more_parts"] == len(parts) - len(each["parts"])
