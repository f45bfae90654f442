"""The pages of docs/ that are generated from the code: `python -m docs.generate` writes them.

docs/checks.md lists every check. docs/formats.md has the files of tests/shapes/: a sample of each shape, container and fault.
docs/params.md has the keys of params.yaml (params_page.py), docs/commands/ the commands (commands_pages.py). No stage runs this.
"""

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

from docs.commands_pages import command_pages
from docs.params_page import params_page
from stages.rows.checks import CURATE, INGEST, KEEP, KINDS, every_warning

SHAPES_FOLDER, GOLDEN_SUFFIX = Path(__file__).parents[1] / "tests/shapes", ".golden.json"
CHECKS_INTRO = """# The checks

A record that fails one is in `data/rejected/<dataset>.parquet`, with the check's name, where it came from and what
was wrong; `tilth ledger DATASET --check NAME` shows it. A record that fails several is rejected by the first.

This page is generated from the code: `python -m docs.generate`."""
FORMATS_PAGE = """# Formats

The keys of a record tell its shape. `format:` in `params.yaml` names a shape where the keys would suggest another, and
`columns:` gives keys the names that a shape knows. A null counts as a missing key. A record that fits no shape is
rejected, and the reject says which keys it lacks.

The first bytes of a file tell its container, never its name: JSON lines, JSON arrays, CSV, TSV, Parquet and Arrow, each also
packed with gzip or zstd, or alone in a ZIP archive. CSV has a first line of names, or numbered `columns:`. Tabs separate its cells
(TSV), else commas, else semicolons; lists in cells are JSON text. A line number is the editor's in JSON lines and CSV, and the
record's number elsewhere. `ingest` refuses by name: archives of several files, databases, pickles, models, text that is not UTF-8,
and git's symbolic links that became text files. NaN counts as a number, as Python writes it; a record whose row would hold it is
rejected.

In a folder, these files are not data, and `ingest` names each: `README*` and `LICENSE*`, a `*.md` with front matter,
`dataset_info.json`, `dataset_infos.json`, `dataset_dict.json`, `croissant.json`, and in a folder of `Dataset.save_to_disk` the
`state.json` and the Arrow files that it does not list. `exclude: ["test*", data/raw/chat/old.csv]` of a dataset leaves out more. A
pattern matches the path from the project's root or from the dataset's folder, `*` matches `/` too, and a pattern that matches no
file is an error. A file that `raw:` itself names is data, whatever its name. Hidden files are skipped.

A text as the prompt becomes a user's turn, a text as the answer an assistant's. `system` (or `system_prompt`) beside a
conversation becomes its system turn, `history` its earlier turns; `input` and `context` follow the question. A thought is
kept beside its answer (`reasoning_content`), whether it is under a key, in a part, or in `<think>` tags. Turns that are marked
as not learned (`train: false`, `weight: 0`, `loss_mask`) are context. Kind `grpo` has no definitions of tools. Images and other
media are rejected by name.

`ingest` counts the keys of each file that no row uses. Such a key stops the file where it belongs to the prompt, the answer, a
thought or what is learned, unless `ignore:` names it. `columns:` leads into objects (`reward_model.ground_truth`) and lists
(`instances[].output`, one row for each item), and joins several names (`prompt: [question, options]`). What it does not use of a key
that it leads into is counted as `data.rationale`. Keys inside turns are counted in the same way, as `messages[].name`: ids and dates
are only counted; a refusal beside the answer, a second answer, a thought under an unknown name or a mark of what is learned stops
the file (`ignore: ["messages[].refusal"]`). Of several scored answers, `pairs:` takes the best against the worst, or all whose scores
differ by more than `margin:`; of a tree of replies, siblings by their ranks. As sft, a tree is its best path, and replies in no row
are counted.

`python -m docs.generate` writes this page from the files of `tests/shapes/`: small raw files beside what `ingest` makes of each.

## Shapes

The first record of each file that becomes a row, and its rows. A thought is in brackets; a turn that is not learned is marked.

| file | shape, and the keys that tell it | entry | record | becomes |
|---|---|---|---|---|
{shapes}

## Containers

| file | container | rows | rejects |
|---|---|---|---|
{containers}

## Rejects

| check | record | detail |
|---|---|---|
{rejects}

## What stops a file

| file | what is said |
|---|---|
{stops}
"""
TEMPLATES_PAGE = """# Chat templates

Any chat template works if it can render the rows. A turn of the assistant is learned if five proofs hold; otherwise it is
left out, with the proof that fails ([preflight.md](preflight.md)). No template is changed, and none needs marks. This page
shows what was tried, with a byte-level tokenizer that knows the tokens of the template. `python -m docs.generate` writes it.
The shape `context turn` has a turn with `train: false`; `ids of calls` has ids that are not nine letters and digits.

- **yes**: all turns are learned, in one row for the trainer.
- **a row a turn**: the template renders a turn differently if another follows (for example, it shows only the last thought).
  Each turn is learned in a row of its own, as inference sees it.
- **a proof**: such rows are refused. `PROMPT`: the text does not begin with what inference sees. `SAID`: the template leaves
  out what the assistant says. `STOP`: no token ends the answer. `CONTEXT`, `TOOLS`: it leaves out earlier turns, or the
  definition of a tool. `TEMPLATE`: it raises an error.

Tilth tries a template once, on a test conversation, to see how it reads messages. It then passes rows in this way:

| part | how a template gets it |
|---|---|
| a thought (`reasoning_content`) | under `reasoning_content` and `thinking`, if it shows either; else in the content, as `<think>`, the thought, `</think>`, the answer |
| a thought, if the prompt ends in `<think>` and the template writes no thought after it | the thought, `</think>` and the answer are learned; without a thought, `</think>` and the answer |
| arguments of calls | as objects, or as JSON text |
| ids of calls | unchanged; if the template refuses them or needs some, numbers of nine digits, in order |
| content | as text; as a list of parts, if the template reads nothing else |

If rows are refused, change a setting. `base: {{chat_template: FILE}}` takes another template for the same model.
`base.chat_template_kwargs` sets its variables (`{{enable_thinking: true}}` or `{{thinking: true}}`, if the prompt says that there is no
thought, but the rows have some). `base.eos_token` names the token that ends a turn, `base.date` the date that the template prints.

## With tokenizers of real models

Real tokens are longer than one byte. So the shapes below were also run by hand, with the default settings and:

- **their own tokenizer and template**: Qwen2.5, Qwen3, Llama 3, 3.1 and 3.2, Gemma 3, Mistral Nemo, DeepSeek-V3, InternLM2;
- **their own tokenizer, another's template**: Gemma and Gemma 2 (TRL's of Gemma), gpt-oss (TRL's), Llama 2 (the form of Mistral),
  Yi (ChatML); those of Gemma and Yi were the base models', with the token that ends a turn added;
- **a near tokenizer, TRL's template**, its control tokens added: the other 26 that TRL ships;
- **a near tokenizer, a form written here**: QwQ, DeepSeek V3.1 with and without thinking.

All these 43 take conversations of several turns, 26 in one row. Two refuse thoughts: Qwen3.5 and DeepSeek V3.1, if their prompt says
not to think. Three refuse system turns: Gemma, Gemma 2, and Llama 2 in the form of Mistral, which has no place for them. The templates
marked in the tables below refuse calls, and so do the short templates that come with the tokenizers of Llama 3.1, DeepSeek-V3 and
InternLM2.

## As TRL ships them

{shipped}

## Forms of other families, written here

{own}
"""


class Golden(TypedDict, total=False):
    """A golden file of tests/shapes/: what `ingest` makes of the raw file beside it."""

    what: str
    dataset: dict[str, Any]  # its entry in params.yaml
    container: str
    shapes: dict[str, int]
    rows: list[dict[str, Any]]
    rejects: list[dict[str, Any]]
    stops: list[str]
    refused: list[str]


def checks_page() -> str:
    """The text of docs/checks.md."""
    parts = [CHECKS_INTRO, checks_section("`ingest`: a raw record becomes a row", INGEST)]
    for kind in KINDS:
        parts.append(checks_section(f"`validate`, kind {kind}", importlib.import_module(f"validators.{kind}").CHECKS))
    parts.append(checks_section("`curate`: train, eval or neither", CURATE))
    parts.append(
        checks_section("`keep`: in train, and trained on", KEEP)
        + "\n\nFor the datasets that `difficulty` of `params.yaml` names: [methods.md](methods.md#prompts-that-are-neither-too-hard-nor-too-easy)."
    )
    whole = "## A dataset as a whole\n\nNothing is rejected by these: `validate` prints a warning with the numbers.\n`kto.both_classes` alone stops the build."
    return "\n\n".join([*parts, whole + "\n\n" + checks_table("is usual", every_warning())]) + "\n"


def checks_section(title: str, checks: dict[str, str]) -> str:
    return f"## {title}\n\n" + checks_table("passes", checks)


def checks_table(what: str, checks: dict[str, str]) -> str:
    rows = [f"| `{name}` | {text.replace('|', chr(92) + '|')} |" for name, text in checks.items()]
    return "\n".join([f"| check | what {what} |", "|---|---|", *rows])


def formats_page() -> str:
    """The text of docs/formats.md."""
    files = [(path.name.removesuffix(GOLDEN_SUFFIX), read_golden(path)) for path in golden_files()]
    in_lines = [(name, golden) for name, golden in files if golden.get("container") == "JSON lines"]
    others = [(name, golden) for name, golden in files if golden.get("container", "JSON lines") != "JSON lines"]
    parts = {
        "shapes": [shape_line(name, golden) for name, golden in in_lines if golden["rows"]],
        "containers": [container_line(name, golden) for name, golden in others],
        "rejects": [reject_line(name, each) for name, golden in files for each in golden.get("rejects", [])],
        "stops": [stop_line(name, golden) for name, golden in files if golden.get("stops") or golden.get("refused")],
    }
    page = FORMATS_PAGE
    for part, lines in parts.items():
        page = page.replace(f"{{{part}}}", "\n".join(sorted(lines) if part == "rejects" else lines))
    return page


def golden_files() -> list[Path]:
    return sorted(SHAPES_FOLDER.glob(f"*{GOLDEN_SUFFIX}"))


def read_golden(path: Path) -> Golden:
    return json.loads(path.read_text(encoding="utf-8"))


def sample_records() -> Iterator[tuple[str, str, Any]]:
    """(what it is, kind, record) of the first record of each file of JSON lines that becomes rows without options."""
    for path in golden_files():
        golden = read_golden(path)
        if golden.get("container") == "JSON lines" and golden["rows"] and list(golden["dataset"]) == ["kind"]:
            text = record_at(path.name.removesuffix(GOLDEN_SUFFIX), golden["rows"][0]["line"])
            yield golden["what"], golden["dataset"]["kind"], json.loads(text)


def record_at(name: str, line: int) -> str:
    """The text of a record in a file of JSON lines."""
    raw = (SHAPES_FOLDER / name).read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")[line - 1]
    return raw.decode(errors="backslashreplace").strip()


def shape_line(name: str, golden: Golden) -> str:
    line = golden["rows"][0]["line"]
    shape = next(iter(golden["shapes"])).replace("(key ", "(").replace("(keys ", "(")
    rows = "<br>".join(_code(_row_text(row)) for row in golden["rows"] if row["line"] == line)
    entry = ", ".join(
        f"{key}: {value if isinstance(value, str) else _text(value)}" for key, value in golden["dataset"].items()
    )
    return (
        f"| {shape_link(name)}: {golden['what']} | {shape} | {_code(entry)} | {_code(record_at(name, line))} | {rows} |"
    )


def container_line(name: str, golden: Golden) -> str:
    return f"| {shape_link(name)}: {golden['what']} | {golden['container']} | {len(golden['rows'])} | {len(golden['rejects'])} |"


def reject_line(name: str, reject: dict[str, Any]) -> str:
    raw = SHAPES_FOLDER / name
    text = _code(record_at(name, reject["line"])) if raw.suffix == ".jsonl" else f"record {reject['line']}"
    return f"| `{reject['check']}` | {shape_link(name)}: {text} | {_table_cell(reject['detail'])} |"


def stop_line(name: str, golden: Golden) -> str:
    problems = golden.get("stops") or ["\n".join(golden["refused"])]
    return f"| {shape_link(name)}: {golden['what']} | {'<br>'.join(_code(line.strip()) for each in problems for line in each.splitlines())} |"


def shape_link(name: str) -> str:
    return f"[{name}](../tests/shapes/{name})"


def _row_text(row: dict[str, Any]) -> str:
    """A row as text, messages as `role: content`."""
    return ", ".join(f"{key}: {_value_text(key, value)}" for key, value in row.items() if key != "line")


def _value_text(key: str, value: Any) -> str:
    if not isinstance(value, list) or key == "tools":
        return value if key == "extra" else _text(value)
    return f"[{', '.join(map(_turn_text, value))}]"


def _turn_text(turn: dict[str, Any]) -> str:
    thought = f"({_text(turn['reasoning_content'])}) " if "reasoning_content" in turn else ""
    said = " ".join(_text(turn[key]) for key in ("content", "tool_calls") if turn.get(key) is not None)
    return f"{turn['role']}{' (not learned)' * (turn.get('train') is False)}: {thought}{said}"


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _code(text: str) -> str:
    """Text as code in a cell of a table."""
    return f"`` {_table_cell(text)} ``" if "`" in text else f"`{_table_cell(text)}`"


def _table_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\r", "\\r").replace("\n", " ")


def templates_page() -> str:
    """The text of docs/templates.md: the outcome of each family's template with each shape of conversation."""
    from tests.templates import FAMILIES, OURS, SHAPES

    header = ["| template | " + " | ".join(SHAPES) + " |", "|---|" + "---|" * len(SHAPES)]
    lines = {name: f"| {name} | " + " | ".join(template_outcomes(name)) + " |" for name in FAMILIES}
    shipped = [line for name, line in lines.items() if name not in OURS]
    own = [line for name, line in lines.items() if name in OURS]
    return TEMPLATES_PAGE.format(shipped="\n".join(header + shipped), own="\n".join(header + own))


def template_outcomes(family: str) -> Iterator[str]:
    """The outcome of each shape with a family's template: yes, a row a turn, or the proof that fails."""
    from stages.training.messages import FailedProof
    from tests.templates import FAMILIES, SHAPES, renderer_of

    render = renderer_of(*FAMILIES[family])
    for messages, tools in SHAPES.values():
        try:
            rows = render.conversation(messages, tools)
            yield "yes" if len(rows) == 1 else "a row a turn"
        except FailedProof as error:
            yield f"`{error.proof}`"


PAGES = {
    "docs/checks.md": checks_page,
    "docs/formats.md": formats_page,
    "docs/templates.md": templates_page,
    "docs/params.md": params_page,
}

if __name__ == "__main__":
    for path, text in ({path: page() for path, page in PAGES.items()} | command_pages()).items():
        whole = Path(__file__).parents[1] / path
        whole.parent.mkdir(exist_ok=True)
        whole.write_text(text, encoding="utf-8")
