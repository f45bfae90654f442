"""What a build would make of a sample, by the shapes and checks of the build itself, and the kind that fits it best."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from commands.inspection.sample import KINDS, Sample

if TYPE_CHECKING:
    import pyarrow as pa

    from stages.rows.key_account import KeyAccount
    from validators.problems import Problems

# the kind that records of a shape are meant for; all other shapes are sft
KIND_OF_SHAPE = {
    "preference": "preference", "openai_preference": "preference", "scored": "preference", "compared": "preference",
    "reply_tree": "preference", "feedback": "kto", "verifiable": "grpo", "multiple_choice": "grpo", "extractive": "grpo",
}  # fmt: skip
FIRST_PROBLEMS = 5
SHORT_TRUTH = 60  # bytes: of a Chinese answer a third as many characters
NUMBER = re.compile(r"[-+$€£]{0,2}\d[\d,]*(\.\d+)?%?")
# how worked solutions usually mark the answer: GSM8K's mark, LaTeX's box, tags, a closing sentence
ANSWER_PATTERNS = (
    r"#### (.+)$",
    r"(?s)\\boxed\{((?:[^{}]|\{(?1)\})+)\}(?!.*\\boxed)",
    r"<answer>\s*(.+?)\s*</answer>",
    r"[Tt]he answer is:? (.+?)\.?$",
)


class Conversion(TypedDict):
    """What a build would make of a sample as rows of one kind.

    characters: of each row. valid: how many rows pass `validate`. stops: what would stop a build. account: the keys that no row
    uses. prompts: how many conversations have no answer. columns: those that the sample was read with.
    """

    table: "pa.Table"
    rejects: list[dict[str, Any]]
    warnings: dict[str, str]
    pattern: str | None
    characters: Any
    valid: int
    stops: list[str]
    account: "KeyAccount"
    prompts: int
    columns: dict[str, Any]


def best_kind(sample: Sample) -> tuple[str, Conversion]:
    """(kind, its conversion): the kind that the shapes of most records are meant for, if a build would accept most of them.

    Questions with answers are sft if most answers are texts: no rule can check those. Else the kind of which a build would accept
    the most. Raises Problems, with the first rejects, if it would accept none.
    """
    meant_for = Counter()
    for shape, count in sample["shapes"].items():
        if shape not in ("unknown", "unreadable"):
            meant_for[KIND_OF_SHAPE.get(shape, "sft")] += count
    order = [kind for kind, _ in meant_for.most_common()]
    tried = {}
    for kind in [*order, *(kind for kind in KINDS if kind not in order)]:
        if sample["kinds"][kind]:
            tried[kind] = convert_sample(sample, kind)
            if not tried[kind]["stops"] and tried[kind]["valid"] * 2 > len(sample["records"]):
                if kind == "grpo" and sample["kinds"]["sft"] and not are_checkable(tried[kind]):
                    return "sft", convert_sample(sample, "sft")
                return kind, tried[kind]
    usable = {kind: conversion for kind, conversion in tried.items() if conversion["valid"]}
    if not usable:
        raise no_rows_error(sample, tried)
    best = max(usable, key=lambda kind: (not usable[kind]["stops"], usable[kind]["valid"]))
    return best, usable[best]


def join_context(sample: Sample, kind: str, conversion: Conversion) -> tuple[Sample, Conversion]:
    """The sample and its conversion with the keys that no row holds, but whose names say prompt, joined to the question.

    A passage without which a question means nothing is not left out. Both as they were where that loses a row, or takes away no such key.
    """
    from dataclasses import replace

    from stages.rows.choices import QUESTION_KEYS
    from stages.rows.values import has_value

    lost = [key for key, each in conversion["account"].lost.items() if each.meaning == "prompt" and "[]" not in key]
    records = [record.value for _, record in sample["records"] if record.value]
    question = next((key for key in QUESTION_KEYS if records and isinstance(records[0].get(key), str)), None)
    options = sample["options"]
    if not lost or question is None or options.columns:
        return sample, conversion
    context = [key for key in records[0] if key in lost and has_value(records[0], key)]
    wanted = "instruction" if question == "instruction" else "prompt"  # Alpaca's keeps its shape
    joined: Sample = {**sample, "options": replace(options, columns={wanted: [*context, question]})}
    changed = convert_sample(joined, kind)
    if changed["valid"] < conversion["valid"] or len(changed["account"].lost) >= len(conversion["account"].lost):
        return sample, conversion
    return joined, changed


def short_truths(conversion: Conversion) -> list[str]:
    """The ground truths of rows of kind grpo, as short answers where the data marks them."""
    from stages.dryrun.hostile_answers import short_answer
    from stages.rows.options import extract_ground_truth
    from stages.rows.values import Unreadable

    found = []
    for truth in conversion["table"]["ground_truth"].to_pylist():
        text = truth or ""
        try:
            text = extract_ground_truth(text, conversion["pattern"]) if conversion["pattern"] else text
        except Unreadable:
            continue  # a pattern finds an answer in nearly all
        found.append(short_answer(text))
    return found


def are_checkable(conversion: Conversion) -> bool:
    """Whether most ground truths are short answers, which a reward function can compare."""
    truths = short_truths(conversion)
    return 2 * sum("\n" not in truth and len(truth.encode()) <= SHORT_TRUTH for truth in truths) > len(truths)


def are_numbers(conversion: Conversion) -> bool:
    """Whether nearly all ground truths are numbers."""
    truths = short_truths(conversion)
    return bool(truths) and sum(bool(NUMBER.fullmatch(truth)) for truth in truths) > 0.95 * len(truths)


def no_rows_error(sample: Sample, tried: Mapping[str, Conversion]) -> "Problems":
    """Problems that say why no record becomes a row, with the first rejects, and how `columns:` would name the keys."""
    from stages.rows.plain_conversations import describe_prompts_only
    from stages.rows.tables import safe_text
    from validators.problems import Problem, Problems

    source, record = sample["records"][0] if sample["records"] else (sample["files"][0]["path"], None)
    value = record.value if record and record.value else {}
    keys = ", ".join(value) or "none that can be read"
    first = next(iter(tried.values()), None) or convert_sample(sample, "sft")
    reasons = [
        f"\n  {safe_text(reject['source'], 200)}:{reject['line']}: {reject['check']}: {safe_text(reject['detail'], 200)}"
        for reject in first["rejects"][:FIRST_PROBLEMS]
    ]
    prompts = f"; {describe_prompts_only(first['prompts'])}" if first["prompts"] else ""
    what = f"the first record's keys: {safe_text(keys, 400)}; no record becomes a row{prompts}{''.join(reasons)}"
    return Problems([Problem(safe_text(source, 200), what, "a known shape", columns_hint(value))])


def columns_hint(record: Mapping[str, Any]) -> str:
    """A hint how `columns:` would name the keys of a record, if their names and values are clear; else where shapes are documented."""
    import shlex

    from stages.rows.key_hints import quote_yaml
    from stages.rows.key_meanings import meaning_of
    from stages.rows.tables import safe_text

    keys = {"prompt": [], "answer": [], "thought": []}
    for key, value in record.items():
        meaning = meaning_of(key)
        text = isinstance(value, str) and value.strip()
        if meaning in keys and (
            text
            or (meaning == "prompt" and isinstance(value, (list, dict)) and value)
            or (meaning == "answer" and isinstance(value, (int, float)))
        ):
            keys[meaning].append(safe_text(quote_yaml(key)))
    if not keys["prompt"] or not keys["answer"]:
        return "docs/formats.md has the shapes; or say what the keys are: --columns 'prompt: KEY, completion: KEY'"
    prompt = keys["prompt"][0] if len(keys["prompt"]) == 1 else f"[{', '.join(keys['prompt'])}]"
    more = "".join(f", reasoning_content: {key}" for key in keys["thought"][:1])
    numbers = [
        safe_text(quote_yaml(key))
        for key, value in record.items()
        if isinstance(value, (int, float)) or (isinstance(value, str) and NUMBER.fullmatch(value.strip()))
    ]
    answer, kind = keys["answer"][0], " (or ground_truth: for kind grpo)"
    wanted, kind = ("ground_truth", "") if answer in numbers else ("completion", kind)
    named = f"prompt: {prompt}, {wanted}: {answer}{more}"
    names = f"--columns {shlex.quote(named)}"
    others = f"; {', '.join(keys['answer'][1:])} may be the answer as well" if keys["answer"][1:] else ""
    return f"docs/formats.md has the shapes; or say what the keys are: add {names} to the command{kind}{others}"


def convert_sample(sample: Sample, kind: str) -> Conversion:
    """Convert and check a sample as a build would."""
    from stages.ingest import rows_of_record
    from stages.rows.identity import identify
    from stages.rows.key_account import KeyAccount
    from stages.rows.plain_conversations import count_without_answer
    from stages.rows.tables import MESSAGES, row_schema, to_table
    from stages.rows.values import Unreadable
    from stages.validate import examine_table, validator_of, warnings_of
    from validators._messages import conversation_lengths
    from validators.problems import Problems

    rows, rejects, account, stops = [], [], KeyAccount(), []
    for source, record in sample["records"]:
        check, detail = record.fault or (None, None)
        if not check:
            try:
                for row in rows_of_record(record, kind, sample["options"], account):
                    rows.append(row | identify(row, kind) | {"source": source, "line": record.line})
                continue
            except Unreadable as error:
                check, detail = error.check, error.detail
        rejects.append({"source": source, "line": record.line, "check": check, "detail": detail})
    table = to_table(rows, row_schema(kind, keys=True))
    invalid, measures = examine_table(table, validator_of(kind))
    try:
        warnings = warnings_of(measures, kind)
    except Problems as error:
        warnings = {problem.where: f"{problem.found}; this stops a build" for problem in error.problems}
        stops = list(warnings)
    columns = [field.name for field in table.schema if field.type == MESSAGES]
    return {
        "table": table,
        "rejects": rejects + invalid.to_pylist(),
        "warnings": warnings,
        "pattern": answer_pattern(rows) if kind == "grpo" else None,
        "characters": sum(conversation_lengths(table[column]) for column in columns),
        "valid": table.num_rows - len(invalid),
        "stops": stops,
        "account": account,
        "prompts": count_without_answer(table) if kind == "sft" else 0,
        "columns": sample["options"].columns,
    }


def answer_pattern(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The first of ANSWER_PATTERNS that finds an answer in more than 95% of the ground truths, or None."""
    from stages.rows.options import extract_ground_truth
    from stages.rows.values import Unreadable

    def finds(pattern: str, text: str) -> bool:
        try:
            return extract_ground_truth(text, pattern) != text
        except Unreadable:
            return False

    truths = [row["ground_truth"] for row in rows if row["ground_truth"]]
    return next((p for p in ANSWER_PATTERNS if truths and sum(finds(p, t) for t in truths) > 0.95 * len(truths)), None)
