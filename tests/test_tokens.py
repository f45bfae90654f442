"""What preflight says of every row is what TRL's trainers make of it: the same rows kept, the same tokens, learned and not."""

import json
import re

import pyarrow.parquet as pq
import pytest

from stages.dryrun import tokens
from stages.rows.batches import BATCH
from stages.rows.tables import row_schema, to_table
from stages.training.models import load_tokenizer, save_tiny
from stages.training.trl import make_config, training_tokenizer
from validators.problems import Problems

pytestmark = pytest.mark.slow

LIMIT = 24
CALL = json.dumps([{"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}])
TOOLS = json.dumps([{"type": "function", "function": {"name": "add", "parameters": {}}}])


@pytest.fixture
def base(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_tiny("models/base")
    return load_tokenizer()


def user(text):
    return [{"role": "user", "content": text}]


def said(text):
    return [{"role": "assistant", "content": text}]


# short rows, an answer that max_length cuts, a prompt that nearly and one that wholly fills it
PROMPTS = ["ab", "abc", "a" * (LIMIT - 4), "a" * (LIMIT - 3), "a" * LIMIT, "a" * 40, "ab"]
ANSWERS = ["xyz", "y" * 40, "x", "x", "xy", "x" * 30, "z"]
ROWS = {
    "sft": [{"messages": user(p) + said(a)} for p, a in zip(PROMPTS, ANSWERS, strict=True)]
    + [
        {"messages": user("ab") + said("c") + user("d" * 40) + said("e")},
        {"messages": [*user("ab"), {"role": "assistant", "content": "", "tool_calls": CALL}], "tools": TOOLS},
    ],
    "dpo": [
        {"prompt": user(p), "chosen": said(a), "rejected": said(r)}
        for p, a, r in zip(PROMPTS, ANSWERS, ["q", "y" * 39 + "z", "y", "yy", "q", "q", "zz"], strict=True)
    ],
    "kto": [
        {"prompt": user(p), "completion": said(a), "label": i % 2 == 0}
        for i, (p, a) in enumerate(zip(PROMPTS, ANSWERS, strict=True))
    ],
    "grpo": [{"prompt": user(p), "ground_truth": "x", "extra": "{}"} for p in PROMPTS],
}
ROWS["orpo"] = [
    row for row in ROWS["dpo"] if len(row["prompt"][0]["content"]) < 20 and len(row["chosen"][0]["content"]) < 20
]
KIND = {"sft": "sft", "dpo": "preference", "orpo": "preference", "kto": "kto", "grpo": "grpo"}


def write(method, rows, path="data/train/d.parquet"):
    empty = dict.fromkeys(row_schema(KIND[method]).names)
    rows = [empty | row | {"id": str(i), "source": "raw.jsonl", "line": i + 1} for i, row in enumerate(rows)]
    pq.write_table(to_table(rows, row_schema(KIND[method])), path)
    return path


def step_of(method, **args):
    return {
        "step": "s", "method": method, "from": "base", "dataset": "d", "seed": 7, "backend": "transformers", "lora": None,
        "args": {"max_steps": 1, "per_device_train_batch_size": 2, **args}, "rewards": ["one_word"],
        "learns": "assistant" if args.get("assistant_only_loss", True) else "completion",
    }  # fmt: skip


def method_of(method, tokenizer, **args):
    config = make_config("steps.s", step_of(method, **args), "out")
    if method == "sft" and config.assistant_only_loss:
        training_tokenizer(tokenizer)
    return tokens.Method(method, config, tokenizer, tokens.stop_tokens(tokenizer))


def measured(method, tokenizer, rows=None, **args):
    return tokens.measured(write(method, rows or ROWS[method]), method_of(method, tokenizer, **args), "steps.s")


def trained(method, **args):
    """(tokens, learned) of each row that a real trainer is going to train on."""
    from stages import train

    trainer = train.make_trainer("s", step_of(method, **args), train.Path(".work/s"))
    out = []
    for row in trainer.train_dataset:
        if method == "sft":
            out.append((len(row["input_ids"]), sum(label != -100 for label in row["labels"])))
        elif method == "orpo":
            out.append(
                tuple(
                    sum(len([x for x in row[f"{side}_{key}"] if x != -100]) for side in ("chosen", "rejected"))
                    for key in ("input_ids", "labels")
                )
            )
        elif method == "grpo":
            out.append(
                (
                    len(
                        trainer.processing_class.apply_chat_template(row["prompt"], add_generation_prompt=True)[
                            "input_ids"
                        ]
                    ),
                    0,
                )
            )
        else:
            batch = trainer.data_collator([row])
            out.append((int(batch["attention_mask"].sum()), int(batch["completion_mask"].sum())))
    return out


@pytest.mark.parametrize(
    "method, args",
    [
        ("sft", {}),
        ("sft", {"max_length": LIMIT}),
        ("sft", {"max_length": LIMIT, "truncation_mode": "keep_end"}),
        ("sft", {"max_length": LIMIT, "assistant_only_loss": False, "completion_only_loss": True}),
        ("sft", {"max_length": None}),
        ("dpo", {}),
        ("dpo", {"max_length": LIMIT}),
        ("dpo", {"max_length": LIMIT, "truncation_mode": "keep_end"}),
        ("orpo", {}),
        ("orpo", {"max_length": LIMIT}),
        ("orpo", {"max_length": None}),
        ("kto", {}),
        ("kto", {"max_length": LIMIT}),
        ("grpo", {"num_generations": 2}),
    ],
)
@pytest.mark.filterwarnings("ignore:.*keep_end.*")
def test_every_row_has_the_tokens_that_a_real_trainer_takes(base, tmp_path, method, args):
    (tmp_path / "data/train").mkdir(parents=True)
    found = measured(method, base, **args)
    kept = found[~found["dropped"]]
    expected = trained(method, **args)
    assert sorted(zip(kept["tokens"].tolist(), kept["learned"].tolist(), strict=True)) == sorted(expected)
    if args.get("max_length") == LIMIT and method != "orpo" and "truncation_mode" not in args:
        assert 0 < found["dropped"].sum() < len(found)


# -- what is wrong with a row ---------------------------------------------------------------------------------------


@pytest.fixture
def row(base, tmp_path):
    """The record of one row of a method, with the chat template changed by (old, new) if given."""
    (tmp_path / "data/train").mkdir(parents=True)

    def row(method, columns, *changes, **args):
        for old, new in changes:
            assert old in base.chat_template
            base.chat_template = base.chat_template.replace(old, new)
        return measured(method, base, [columns], **args)[0]

    return row


PAIR = {"prompt": user("ab"), "chosen": said("xy"), "rejected": said("x")}
RATED = {"prompt": user("ab"), "completion": said("xy"), "label": True}
TALK = {"messages": user("ab") + said("xyz")}
UNENDED = ("{{ '<|end|>' }}{% endgeneration %}", "{% endgeneration %}{{ '<|end|>' }}")
WITHOUT_END = ("{{ '<|end|>' }}{% endgeneration %}", "{% endgeneration %}")
OTHER_PROMPT = ("add_generation_prompt %}{{ '<|assistant|>' }}", "add_generation_prompt %}{{ '<|assistant|>think' }}")
NOTHING_SAID = ("{{ message.content or '' }}\n{%- for call", "{%- for call")


def test_learned_tokens_of_sft_are_the_answers_and_their_ends(row):
    found = row("sft", TALK)
    assert (found["prompt"], found["length"], found["learned"]) == (5, 9, 4)


def test_an_answer_that_max_length_cuts_counts_as_far_as_it_goes(row):
    found = row("sft", TALK, max_length=7)
    assert (found["length"], found["tokens"], found["learned"], found["cut"], found["dropped"]) == (
        9,
        7,
        2,
        True,
        False,
    )


def test_tools_and_tool_calls_are_what_they_say_and_not_their_letters(row):
    call = {"role": "assistant", "content": None, "tool_calls": CALL}
    found = row("sft", {"messages": [*user("ab"), call], "tools": TOOLS})
    written = "<|call|>" + json.dumps(json.loads(CALL)[0]) + "<|end|>"
    assert found["learned"] == len(written) - len("<|call|>") - len("<|end|>") + 2


def test_pairs_count_both_answers_and_are_as_long_as_the_longer(row):
    found = row("dpo", PAIR)
    assert (found["prompt"], found["length"], found["tokens"], found["learned"], found["longer"]) == (5, 8, 15, 5, 1)


def test_a_conversation_without_an_answer_has_nothing_to_learn(row):
    assert row("sft", {"messages": user("ab")})["unlearned"]


@pytest.mark.parametrize("method, columns", [("dpo", PAIR), ("kto", RATED)])
def test_an_answer_that_the_template_leaves_out_has_nothing_to_learn(row, method, columns):
    assert row(method, columns, NOTHING_SAID, WITHOUT_END)["unlearned"]


def test_an_orpo_answer_that_is_cut_to_nothing_has_nothing_to_learn(row):
    pair = {"prompt": user("a"), "chosen": said("x" * 23), "rejected": said("y")}
    assert row("orpo", pair, max_length=24)["unlearned"]
    assert not row("orpo", pair, max_length=64)["unlearned"]


def test_an_orpo_answer_that_is_cut_to_nothing_makes_a_loss_that_is_no_number(base, tmp_path):
    from stages import train

    (tmp_path / "data/train").mkdir(parents=True)
    write("orpo", [{"prompt": user("a"), "chosen": said("x" * 23), "rejected": said("y")}] * 4)
    shown = {"logging_nan_inf_filter": False, "logging_steps": 1}  # else transformers shows 0 for it
    trainer = train.make_trainer("s", step_of("orpo", max_length=24, **shown), train.Path(".work/s"))
    with pytest.raises(Problems, match="the loss of optimizer step 1 is nan"):
        trainer.train()


def test_the_end_of_the_answer_inside_the_marks_is_learned(row):
    assert not row("sft", TALK)["endless"]


def test_the_end_of_the_answer_outside_the_marks_is_not_learned(row):
    assert row("sft", TALK, UNENDED)["endless"]


@pytest.mark.parametrize("method, columns", [("dpo", PAIR), ("kto", RATED)])
def test_an_answer_without_an_end_is_not_ended(row, method, columns):
    assert not row(method, columns)["endless"]
    assert row(method, columns, WITHOUT_END)["endless"]


def test_white_space_after_the_end_is_no_other_end(row):
    assert not row("dpo", PAIR, ("{% endgeneration %}", "{{ '\n' }}{% endgeneration %}"))["endless"]


def test_a_token_that_the_models_config_stops_at_is_an_end(base, tmp_path):
    assert tokens.stop_tokens(base) == {base.eos_token_id}
    (tmp_path / "models/base/generation_config.json").write_text('{"eos_token_id": [1, 106]}', encoding="utf-8")
    assert tokens.stop_tokens(base) == {base.eos_token_id, 1, 106}


@pytest.mark.parametrize("method, columns", [("sft", TALK), ("dpo", PAIR), ("kto", RATED), ("orpo", PAIR)])
def test_a_prompt_that_does_not_begin_its_row_is_found(row, method, columns):
    assert not row(method, columns)["broken"]
    assert row(method, columns, OTHER_PROMPT)["broken"]


@pytest.mark.parametrize("method", KIND)
def test_two_tokens_of_beginning_are_found(row, base, method):
    columns = {"sft": TALK, "kto": RATED, "grpo": ROWS["grpo"][0]}.get(method, PAIR)
    base.bos_token = "<|call|>"
    args = {"num_generations": 2} if method == "grpo" else {}
    once = ("{%- if tools", "{{ bos_token }}{%- if tools")
    assert not row(method, columns, once, **args)["doubled"]
    assert row(method, columns, once, **args)["doubled"]


def test_pairs_that_differ_after_the_cut_alone_are_equal(row):
    pair = {"prompt": user("ab"), "chosen": said("x" * 30 + "y"), "rejected": said("x" * 30 + "z")}
    assert not row("dpo", pair)["equal"]
    assert row("dpo", pair, max_length=20)["equal"]
    assert not row("dpo", pair, max_length=20, truncation_mode="keep_end")["equal"]
    assert row("orpo", pair, max_length=36)["equal"]


def test_a_row_that_the_template_refuses_is_named(base, tmp_path):
    (tmp_path / "data/train").mkdir(parents=True)
    base.chat_template = "{% if messages|length > 2 %}{{ raise_exception('too long') }}{% endif %}" + base.chat_template
    rows = [TALK] * 3 + [{"messages": TALK["messages"] * 2}]
    with pytest.raises(Problems) as error:
        measured("sft", base, rows)
    (problem,) = error.value.problems
    assert problem.where == "steps.s: preflight.chat_template"
    assert problem.found == "raw.jsonl:4: the chat template refuses the row: too long"


def test_rows_of_later_batches_are_counted_and_named_too(base, tmp_path):
    (tmp_path / "data/train").mkdir(parents=True)
    found = measured("sft", base, [TALK] * (BATCH + 1))
    assert len(found) == BATCH + 1 and (found["learned"] == 4).all()
    base.chat_template = "{% if messages|length > 2 %}{{ raise_exception('too long') }}{% endif %}" + base.chat_template
    with pytest.raises(Problems, match=f"raw.jsonl:{BATCH + 1}: "):
        measured("sft", base, [TALK] * BATCH + [{"messages": TALK["messages"] * 2}])


def test_packing_cuts_what_is_too_long_unless_it_is_split(row):
    assert row("sft", TALK, max_length=7, packing=True)["tokens"] == 7
    assert row("sft", TALK, max_length=7, packing=True, packing_strategy="bfd_split")["tokens"] == 9
    assert not row("sft", {"messages": user("a" * 30) + said("b")}, max_length=7, packing=True)["dropped"]


FAMILIES = {  # the template of an instruct model, and how its turns end
    "qwen2_5": ("<|im_end|>", None),
    "qwen3": ("<|im_end|>", None),
    "qwen3_instruct_2507": ("<|im_end|>", None),
    "llama3": ("<|eot_id|>", "<|begin_of_text|>"),
    "gemma": ("<end_of_turn>", "<bos>"),
    "gemma3": ("<end_of_turn>", "<bos>"),
    "phi3": ("<|end|>", None),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method, columns", [("sft", TALK), ("dpo", PAIR), ("kto", RATED), ("orpo", PAIR)])
def test_the_templates_of_usual_families_pass(base, tmp_path, family, method, columns):
    from transformers import AddedToken
    from trl import chat_template_utils

    end, beginning = FAMILIES[family]
    base.chat_template = getattr(chat_template_utils, f"{family}_chat_template")
    marks = set(re.findall(r"<\|?[a-z_]+\|?>", base.chat_template)) | {end, beginning} - {None}
    base.add_tokens([AddedToken(mark, special=True, normalized=False) for mark in sorted(marks)])
    base.eos_token, base.bos_token = end, beginning
    (tmp_path / "data/train").mkdir(parents=True)
    found = measured(method, base, [columns])[0]
    faults = ("unlearned", "endless", "doubled", "broken", "equal")
    assert [fault for fault in faults if found[fault]] == []
    assert found["learned"] < found["tokens"]
