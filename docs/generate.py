"""The pages of docs/ that are made of the code: `python -m docs.generate` writes them.

docs/checks.md lists every check, docs/formats.md has one sample of each shape and style that is read. No stage runs this.
"""

import importlib
import json
from pathlib import Path

from stages.rows.checks import CURATE, INGEST, KINDS, every_warning
from stages.rows.shapes import explained, rows_of

Q, A = {"role": "user", "content": "What is 1 + 1?"}, {"role": "assistant", "content": "2"}
WRONG = {"role": "assistant", "content": "3"}
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 1}}}
SAID = [{"from": "human", "value": "What is 1 + 1?"}, {"from": "gpt", "value": "2"}]
HH = "\n\nHuman: What is 1 + 1?\n\nAssistant: "
TOOLS = [{"type": "function", "function": {"name": "add"}}]
# (what it is called elsewhere, kind, sample)
SAMPLES = [
    ("Alpaca", "sft", {"instruction": "Add.", "input": "1 + 1", "output": "2"}),
    ("Alpaca with history", "sft", {"instruction": "And 1 + 1?", "output": "2", "history": [["1 + 0?", "1"]]}),
    ("ShareGPT", "sft", {"system": "Be brief.", "conversations": SAID}),
    ("ShareGPT with a call", "sft", {"conversations": [SAID[0], {"from": "function_call", "value": '{"name": "add"}'}]}),
    ("ChatML", "sft", {"messages": [Q, A]}),
    ("ChatML in parts", "sft", {"messages": [Q | {"content": [{"type": "text", "text": "1 + 1?"}]}, A]}),
    ("ChatML with tools", "sft", {"messages": [Q, {"role": "assistant", "tool_calls": [CALL]}], "tools": TOOLS}),
    ("prompt and completion", "sft", {"prompt": "What is 1 + 1?", "completion": "2"}),
    ("query and response (ms-swift)", "sft", {"query": "And 1 + 1?", "response": "2", "history": [["1 + 0?", "1"]]}),
    ("question with context", "sft", {"question": "What is a?", "context": "a = 2", "answer": "2"}),
    ("preference", "preference", {"prompt": "What is 1 + 1?", "chosen": "2", "rejected": "3"}),
    ("preference, prompt implicit", "preference", {"chosen": [Q, A], "rejected": [Q, WRONG]}),
    ("preference, HH text", "preference", {"chosen": HH + "2", "rejected": HH + "3"}),
    ("preference after turns", "preference", {"conversations": SAID[:1], "chosen": A, "rejected": WRONG}),
    ("preference (OpenAI)", "preference", {"input": {"messages": [Q]}, "preferred_output": [A], "non_preferred_output": [WRONG]}),
    ("feedback", "kto", {"prompt": "What is 1 + 1?", "completion": "2", "label": True}),
    ("feedback on a conversation", "kto", {"messages": [Q, WRONG], "label": False}),
    ("verifiable", "grpo", {"prompt": "What is 1 + 1?", "ground_truth": "2", "level": 1}),
    ("verifiable (GSM8K)", "grpo", {"question": "What is 1 + 1?", "answer": "1 and 1 are 2. #### 2"}),
    ("verifiable conversation", "grpo", {"messages": [Q], "target": 2}),
    ("ChatML with a thought", "sft", {"messages": [Q, A | {"reasoning_content": "One more than one."}]}),
    ("ChatML with a turn that is not learned", "sft", {"messages": [Q, WRONG | {"weight": 0}, Q, A]}),
    ("parts (Anthropic)", "sft", {"messages": [Q, {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1}}]}, {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "2"}]}, A]}),
    ("parts (Bedrock)", "sft", {"system": [{"text": "Be brief."}], "messages": [Q | {"content": [{"text": "1 + 1?"}]}, A | {"content": [{"text": "2"}]}]}),
    ("XTuner", "sft", {"conversation": [{"system": "Be brief.", "input": "1 + 1?", "output": "2"}]}),
    ("seed tasks", "sft", {"instruction": "Add.", "instances": [{"input": "1 + 1", "output": "2"}, {"input": "1 + 2", "output": "3"}]}),
    ("input and output", "sft", {"input": "What is 1 + 1?", "output": "2"}),
    ("multiple choice", "grpo", {"question": "1 + 1?", "options": ["2", "3"], "answer": "A"}),
    ("multiple choice (ARC)", "grpo", {"question": "1 + 1?", "choices": {"text": ["2", "3"], "label": ["A", "B"]}, "answerKey": "A"}),
    ("scored answers", "preference", {"prompt": "What is 1 + 1?", "responses": ["3", "2"], "scores": [1, 5]}),
    ("scored answers (UltraFeedback)", "preference", {"instruction": "1 + 1?", "completions": [{"response": "2", "overall_score": 9}, {"response": "3", "overall_score": 1}]}),
    ("two answers, one better", "preference", {"prompt": "1 + 1?", "response_0": "3", "response_1": "2", "better_response_id": 1}),
    ("preference as kto", "kto", {"prompt": "What is 1 + 1?", "chosen": "2", "rejected": "3"}),
    ("preference as sft", "sft", {"prompt": "What is 1 + 1?", "chosen": "2", "rejected": "3"}),
    ("feedback as sft", "sft", {"prompt": "What is 1 + 1?", "completion": "2", "label": True}),
    ("one question as grpo", "grpo", {"messages": [Q, A]}),
]  # fmt: skip
CHECKS = """# The checks

A record that fails one is in `data/rejected/<dataset>.parquet`, with the check's name, where it came from and what
was wrong; `tilth ledger DATASET --check NAME` shows it. A record that fails several is rejected by the first.

This page is made of the code: `python -m docs.generate`."""
FORMATS = """# Formats

What a record is, is told from its keys; `format:` in `params.yaml` names a shape where the keys would tell another, and
`columns:` gives keys the names that a shape knows. A null counts as an absent key. A record that fits no shape is
rejected and says what it lacks.

Containers are told from the first bytes of a file, never from its name: JSON lines, JSON arrays, CSV, TSV, Parquet and Arrow,
each also packed with gzip or zstd, or alone in a ZIP archive. CSV and TSV have a first line of names, or numbered `columns:`;
lists in their cells are JSON text. A line number is that of an editor in JSON lines and CSV, the record's number elsewhere.
Archives of several files, databases, pickles, models, text that is not UTF-8 and links of git that became texts are refused by
name. NaN counts as a number, as Python writes it; a record whose row would say it is rejected.

In a folder, these are no data, and `ingest` names each: `README*` and `LICENSE*`, a `*.md` with front matter, `dataset_info.json`,
`dataset_infos.json`, `dataset_dict.json`, `croissant.json`, and beside what `Dataset.save_to_disk` wrote `state.json` and Arrow
files that it does not list. `exclude: ["test*", data/raw/chat/old.csv]` of a dataset leaves out more: each pattern is of the path
from the project's root or from the dataset's folder, `*` fits `/` too, and one that fits no file is an error. A file that
`raw:` itself names is data, whatever its name. Hidden files are not looked at.

A text as a prompt is a user's turn, a text as an answer an assistant's. `system` (or `system_prompt`) beside a
conversation becomes its system turn, `history` its earlier turns, `input` and `context` follow the question. A thought is
kept beside its answer (`reasoning_content`), whether it stands under a key, in a part, or as `<think>` text; turns that are marked
as not to be learned (`train: false`, `weight: 0`, `loss_mask`) are context. Kind `grpo` has no definitions of tools; images and other
media are rejected by name.

`ingest` counts the keys of each file that no row is made of. One that belongs to the prompt, the answer, a thought or to what is
learned stops the file, unless `ignore:` names it. `columns:` leads deeper (`reward_model.ground_truth`), into lists
(`instances[].output`, a row of each item), and joins several names (`prompt: [question, options]`). Of several scored answers,
`pairs:` takes the best against the worst, or all whose scores differ by more than `margin:`.

This page is made of tested samples: `python -m docs.generate`.

| what | shape, and the keys that tell it | kind | sample | becomes |
|---|---|---|---|---|
"""
TEMPLATES = """# Chat templates

Any chat template will do, if it can say the rows. Each turn of the assistant is learned where five proofs hold, and is else
left out with the proof that fails ([preflight.md](preflight.md)); no template is changed, and none needs marks. This page
shows what was tried, with a byte-level tokenizer that knows the tokens of the template. It is made by
`python -m docs.generate`. Of the shapes, `context turn` has a turn that says `train: false`, `ids of calls` ids that are not
nine letters and digits.

- **yes**: all turns are learned, in one row for the trainer.
- **a row a turn**: the template writes a turn otherwise once another follows (it shows a thought only in the last one, say).
  Each turn is learned in a row of its own, as inference sees it.
- **a proof**: such rows are refused. `PROMPT`: the text does not begin with what inference sees. `SAID`: the template leaves
  out what the assistant says. `STOP`: no token ends the answer. `CONTEXT`, `TOOLS`: it leaves out what was said before, or the
  definition of a tool. `TEMPLATE`: it raises an error.

A template is tried once, on a conversation of its own, to see how it reads messages; rows are given so:

| what | how a template gets it |
|---|---|
| a thought (`reasoning_content`) | under `reasoning_content` and `thinking`, where it shows either; else in the content, as `<think>`, the thought, `</think>`, the answer |
| a thought where the prompt ends in `<think>` and the template writes no thought behind it | what is learned is the thought, `</think>` and the answer; without a thought `</think>` alone comes first |
| arguments of calls | as objects, or as JSON text |
| ids of calls | as they are; where the template refuses them or asks for some, numbers of nine digits by their place |
| content | as text; as a list of parts, where the template reads nothing else |

What helps: `base: {{chat_template: FILE}}` takes another template for the same model, `base.chat_template_kwargs` gives it what it
asks for (`{{enable_thinking: true}}` or `{{thinking: true}}`, where the prompt says that there is no thought and the rows hold
some), `base.eos_token` names the token that ends a turn, `base.date` the day that it prints.

## With tokenizers of real models

Tokens merge otherwise there than letter by letter. The shapes below were also run by hand with the default settings and:

- **their own tokenizer and template**: Qwen2.5, Qwen3, Llama 3, 3.1 and 3.2, Gemma 3, Mistral Nemo, DeepSeek-V3, InternLM2;
- **their own tokenizer, another's template**: Gemma and Gemma 2 (TRL's of Gemma), gpt-oss (TRL's), Llama 2 (the form of Mistral),
  Yi (ChatML); those of Gemma and Yi were the base models', with the token that ends a turn added;
- **a near tokenizer, TRL's template**, its control tokens added: the other 26 that TRL ships;
- **a near tokenizer, a form written here**: QwQ, DeepSeek V3.1 with and without thinking.

Of these 43, all take conversations of several turns, 26 in one row. Thoughts are refused by two: Qwen3.5 and
DeepSeek V3.1 where their prompt says not to think. System turns are refused by three: Gemma, Gemma 2, and Llama 2 in the form of
Mistral, which has no place for them. Calls are refused where the tables below say so, and by the short templates that come
with the tokenizers of Llama 3.1, DeepSeek-V3 and InternLM2.

## As TRL ships them

{shipped}

## Forms of other families, written here

{own}
"""


def checks_page():
    """docs/checks.md."""
    parts = [CHECKS, section("`ingest`: a raw record becomes a row", INGEST)]
    for kind in KINDS:
        parts.append(section(f"`validate`, kind {kind}", importlib.import_module(f"validators.{kind}").CHECKS))
    parts.append(section("`curate`: train, eval or neither", CURATE))
    whole = "## A dataset as a whole\n\nNothing is rejected by these: `validate` prints a warning with the numbers.\n`kto.both_classes` alone stops the build."
    return "\n\n".join([*parts, whole + "\n\n" + table("is usual", every_warning())]) + "\n"


def section(title, checks):
    return f"## {title}\n\n" + table("passes", checks)


def table(what, checks):
    rows = [f"| `{name}` | {text.replace('|', chr(92) + '|')} |" for name, text in checks.items()]
    return "\n".join([f"| check | what {what} |", "|---|---|", *rows])


def formats_page():
    """The text of docs/formats.md."""
    return FORMATS + "".join(_line(*sample) for sample in SAMPLES)


def _line(name, kind, record):
    shape = explained(record).replace("(key ", "(").replace("(keys ", "(")
    rows = "<br>".join(f"`{_short(row)}`" for row in rows_of(record, kind))
    return f"| {name} | {shape} | {kind} | `{_text(record)}` | {rows} |\n"


def _short(row):
    """A row as text, messages as `role: content`."""
    return ", ".join(f"{key}: {_cell(key, value)}" for key, value in row.items() if key != "tools" or value)


def _cell(key, value):
    if not isinstance(value, list):
        return value if key in ("tools", "extra") else _text(value)
    turns = (f"{turn['role']}: {_text(turn['content'] or json.loads(turn['tool_calls']))}" for turn in value)
    return f"[{', '.join(turns)}]"


def _text(value):
    return json.dumps(value, ensure_ascii=False).replace("|", "\\|")


def templates_page():
    """docs/templates.md: each family's template with each shape of conversation, tried."""
    from tests.templates import FAMILIES, OURS, SHAPES

    header = ["| template | " + " | ".join(SHAPES) + " |", "|---|" + "---|" * len(SHAPES)]
    lines = {name: f"| {name} | " + " | ".join(outcomes(name)) + " |" for name in FAMILIES}
    shipped = [line for name, line in lines.items() if name not in OURS]
    own = [line for name, line in lines.items() if name in OURS]
    return TEMPLATES.format(shipped="\n".join(header + shipped), own="\n".join(header + own))


def outcomes(family):
    """What becomes of each shape with a family's template."""
    from stages.training.messages import Unproved
    from tests.templates import FAMILIES, SHAPES, renderer_of

    render = renderer_of(*FAMILIES[family])
    for messages, tools in SHAPES.values():
        try:
            found = render.conversation(messages, tools)
            yield "yes" if len(found) == 1 else "a row a turn"
        except Unproved as error:
            yield f"`{error.proof}`"


PAGES = {"docs/checks.md": checks_page, "docs/formats.md": formats_page, "docs/templates.md": templates_page}

if __name__ == "__main__":
    for path, page in PAGES.items():
        (Path(__file__).parents[1] / path).write_text(page(), encoding="utf-8")
