"""What a sample becomes, as lines of text: rows, rejects, unused keys, lengths, ground truths and warnings."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands.inspection.conversion import FIRST_PROBLEMS, Conversion
from commands.inspection.sample import KINDS, Sample

if TYPE_CHECKING:
    import pyarrow as pa

    from stages.rows.key_account import KeyAccount

MAX_TOKENIZED_ROWS = 1_000
FIRST_TRUTHS, LONG_TRUTH = 3, 200  # ground truths; characters
TURN_CHARACTERS, SHOWN_TURNS = 160, 6  # of a row that is shown
MOSTLY = 0.9  # of the rows


def report_lines(sample: Sample, kind: str, conversion: Conversion) -> Iterator[str]:
    """What the sample becomes, line by line."""
    from stages.rows.plain_conversations import describe_prompts_only
    from stages.rows.tables import safe_text

    records, rejects = len(sample["records"]), conversion["rejects"]
    kinds = ", ".join(f"{k} {sample['kinds'][k]:,}" for k in KINDS if sample["kinds"][k])
    yield f"\n{records:,} records looked at{'' if sample['whole'] else ', the first of each file'}; can become: {kinds}"
    yield f"as kind {kind}: {conversion['valid']:,} rows, {len(rejects):,} rejected ({len(rejects) / records:.1%})"
    if len(rejects) > 0.05 * records:
        yield "  a build stops at more than 5%: fix the data, or set max_reject_share"
    if conversion["prompts"]:
        yield f"  {describe_prompts_only(conversion['prompts'])}"
    yield from key_lines(conversion["account"], kind)
    yield from row_lines(conversion["table"])
    yield f"characters a row: {percentiles(conversion['characters'])}"
    yield token_line(conversion["table"])
    if kind == "grpo":
        yield from truth_lines(conversion["table"], conversion["pattern"])
    if conversion["pattern"]:
        yield f"the ground truths are whole solutions; {conversion['pattern']!r} finds the answers in them"
    for check, text in conversion["warnings"].items():
        yield f"warning: {check}: {text}"
    for reject in rejects[:FIRST_PROBLEMS]:
        yield f"{safe_text(reject['source'], 200)}:{reject['line']}: {reject['check']}: {safe_text(reject['detail'], 200)}"
    if len(rejects) > FIRST_PROBLEMS:
        yield f"{len(rejects) - FIRST_PROBLEMS:,} more are rejected"


def key_lines(account: "KeyAccount", kind: str) -> Iterator[str]:
    """The keys that no row of a kind uses, and what to do about those whose meaning is known."""
    from stages.rows.key_hints import key_hint, quote_yaml
    from stages.rows.rejects import describe_canary, describe_key_counts, describe_records
    from stages.rows.tables import safe_text

    if account.unused:
        yield f"keys not used: {describe_key_counts(account.unused)}"
        if canary := describe_canary(account.unused):
            yield f"warning: {canary}"
    else:
        yield f"every key is used by the rows of kind {kind}"
    for key, lost in sorted(account.lost.items()):
        what = f"a build stops: {describe_records(lost.records)} {safe_text(repr(key))} ({safe_text(repr(lost.sample), 200)}), which no row holds"
        yield f"{what}; {safe_text(key_hint(key, lost.meaning), 400)}, or ignore: [{safe_text(quote_yaml(key))}]"


def row_lines(table: "pa.Table") -> Iterator[str]:
    """The first row, turn by turn, and the one with the most turns, if they are more: they show which keys became which turn."""
    import pyarrow.compute as pc

    from stages.rows.tables import MESSAGES, safe_text

    columns = [field.name for field in table.schema if field.type == MESSAGES]
    if not table.num_rows:
        return
    yield from turn_lines("first row", table.slice(0, 1).to_pylist()[0], columns)
    lengths = pc.list_value_length(table[columns[0]]).to_pylist()
    longest = max(range(len(lengths)), key=lambda i: lengths[i] or 0)
    if (lengths[longest] or 0) > (lengths[0] or 0):
        row = table.slice(longest, 1).to_pylist()[0]
        yield from turn_lines(f"{safe_text(row['source'], 200)}:{row['line']}, the most turns", row, columns)


def turn_lines(what: str, row: dict[str, Any], columns: list[str]) -> Iterator[str]:
    from stages.rows.tables import safe_text

    for column in columns:
        turns = row[column] or []
        for turn in turns[:SHOWN_TURNS]:
            text = safe_text(repr(turn["content"] or ""), TURN_CHARACTERS)
            yield f"{what}, {column}: {turn['role']}: {text}{' and calls' if turn.get('tool_calls') else ''}"
        if len(turns) > SHOWN_TURNS:
            yield f"{what}, {column}: {len(turns) - SHOWN_TURNS:,} more turns"


def truth_lines(table: "pa.Table", pattern: str | None) -> Iterator[str]:
    """The first ground truths of different forms as a reward function sees them, then warnings about all. pattern: of `answer_pattern`."""
    from stages.rows.tables import safe_text
    from validators._numbers import last_number
    from validators._truths import alternatives, final_answer

    columns = ("source", "line", "ground_truth")
    rows = [row for row in table.select(columns).to_pylist() if (row["ground_truth"] or "").strip()]
    forms: dict[str, Any] = {}
    for row in rows:
        forms.setdefault(re.sub(r"\d+", "9", row["ground_truth"]), row)
    for row in (list(forms.values()) if len(forms) > 1 else rows)[:FIRST_TRUTHS]:
        truth = row["ground_truth"]
        text, final, any_of = safe_text(repr(truth), 120), final_answer(truth), alternatives(truth)
        number = last_number(final or truth)
        if any_of:
            text += f"; any of {len(any_of):,} is right"
        elif final:
            text += f"; final answer {safe_text(repr(final))}"
        text += "" if any_of or number is None else f"; as a number {number.value * number.scale:g}"
        yield f"ground truth of {safe_text(row['source'], 200)}:{row['line']}: {text}"
    truths = [row["ground_truth"] for row in rows]
    if not pattern and (whole := sum(len(truth) > LONG_TRUTH or "\n" in truth.strip() for truth in truths)):
        yield (
            f"warning: {whole:,} of {len(truths):,} ground truths look like whole solutions (several lines, or over {LONG_TRUTH} "
            "characters): no answer can equal them; ground_truth_pattern extracts the answer"
        )
    if copied := copied_truths(table):
        yield (
            f"warning: the ground truth stands in the prompt of {copied:,} of {table.num_rows:,} rows, so that repeating it would be "
            "right: a reward of your own checks the answer by other keys (docs/rewards.md)"
        )
    if others := other_keys(table):
        names = safe_text(", ".join(others), 400)
        yield f"other keys, which rewards and metrics can ask for by name, and slice_by splits scores by: {names}"
    if objects := sum(truth.lstrip().startswith("{") and is_json_object(truth) for truth in truths):
        yield (
            f"warning: {objects:,} of {len(truths):,} ground truths are JSON objects: exact_match requires exactly that text; "
            "a reward of your own reads them (validators/rewards.py)"
        )


def copied_truths(table: "pa.Table") -> int:
    """How many ground truths are numbers that the prompt has too, if nearly all are: they are targets, and no answers; else 0."""
    from validators._numbers import last_number

    count = 0
    for row in table.select(["prompt", "ground_truth"]).to_pylist():
        truth = (row["ground_truth"] or "").strip()
        if last_number(truth) is not None and truth[-1:].isdigit():
            text = " ".join(turn["content"] or "" for turn in row["prompt"] or ())
            count += bool(re.search(rf"(?<![\w.]){re.escape(truth)}(?![\w.]*\d)", text))
    return count if count > MOSTLY * table.num_rows else 0


def other_keys(table: "pa.Table") -> list[str]:
    """The keys of `extra`, those of the most rows first."""
    import json

    keys = Counter(key for extra in table["extra"].to_pylist() if extra for key in json.loads(extra))
    return [key for key, _ in keys.most_common()]


def is_json_object(text: str) -> bool:
    import json

    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def percentiles(numbers: Sequence[int]) -> str:
    import numpy as np

    if not len(numbers):
        return "no rows"
    half, most = np.percentile(numbers, [50, 95], method="nearest")
    return f"p50 {half:,}, p95 {most:,}, max {max(numbers):,}"


def token_line(table: "pa.Table") -> str:
    """How many tokens a row has by the tokenizer of the base model, if that is built."""
    if not Path("models/base/tokenizer_config.json").exists():
        return "tokens a row: the first build counts them, with the tokenizer of its base"
    from stages.rows.tables import MESSAGES
    from stages.training.models import load_tokenizer

    columns = [field.name for field in table.schema if field.type == MESSAGES]
    rows = table.slice(0, MAX_TOKENIZED_ROWS).select(columns).to_pylist()
    if not rows:
        return "tokens a row: no rows"
    texts = ["\n".join(turn["content"] or "" for turns in row.values() for turn in turns) for row in rows]
    counts = [len(ids) for ids in load_tokenizer()(texts, add_special_tokens=False, verbose=False)["input_ids"]]
    return f"tokens a row by {tokenizer_in_words()}, without the template, in the first {len(rows):,} rows: {percentiles(counts)}"


def tokenizer_in_words() -> str:
    """Which tokenizer models/base has: that of the last base model built, which params.yaml may no longer name."""
    from commands.builds.build import read_build
    from commands.builds.params import params_of_run, params_then_and_now
    from validators.problems import Problems

    try:
        build = read_build()
        before, now = params_of_run(build, "base"), params_then_and_now(build, "base")[1]
    except Problems:  # no params.yaml or no dvc.lock: a folder that no stage built
        return "the tokenizer of models/base"
    model = ((before or {}).get("base") or {}).get("model") or "an earlier base model"
    if not now:
        return f"the tokenizer of the base model {model}"
    wanted = (now.get("base") or {}).get("model")
    difference = "with other settings in params.yaml now" if wanted == model else f"params.yaml has {wanted} now"
    return f"the tokenizer of {model}, which models/base still is ({difference}: dvc repro base)"
