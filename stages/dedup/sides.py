"""Warnings about the two sides of a split as a whole: an empty side, or one prompt that most rows ask.

warning: datasets.d: 60 of 60 rows ask 'Begin.': all of them are in train, and 0 rows in eval
  hint: split_on: [system, user] in its entry, as these rows have 60 system turns
"""

from collections import Counter
from typing import TypedDict

import pyarrow.parquet as pq

from stages.dedup.decision import EVAL, TRAIN, Decision
from stages.dedup.split import split_key_sql
from stages.rows.tables import safe_text
from validators.problems import Problem, Problems

FEW_ROWS = 10  # in fewer rows, one prompt has the majority by chance


class SplitEntry(TypedDict):
    """The part of a dataset's entry that the split reads."""

    kind: str
    split_on: list[str]


def check_sides(decision: Decision, name: str, dataset: SplitEntry, eval_fraction: float) -> None:
    """Print warnings about the sides of a dataset. Raises Problems where no row is left to train on."""
    counts = {side: int((decision.side == side).sum()) for side in (TRAIN, EVAL)}
    where, dominant = f"datasets.{name}", dominant_prompt(decision, dataset)
    if not counts[TRAIN]:
        found, hint = dominant or ("", f"a lower eval_fraction than {eval_fraction}, or other data")
        found = "; ".join(["no row is left to train on", *([found] if found else []), *reject_counts(decision)])
        raise Problems([Problem(where, found, "at least one row in train", hint)])
    sides = f"{counts[TRAIN]:,} rows in train, {counts[EVAL]:,} in eval"
    if dominant:
        print(f"warning: {Problem(where, f'{dominant[0]}: {sides}', '', dominant[1])}")
    elif not counts[EVAL]:
        hint = f"more rows, a higher eval_fraction than {eval_fraction}, or a file of their own: eval: [FILE]"
        print(f"warning: {Problem(where, f'no row is in eval: {sides}', '', hint)}")


def reject_counts(decision: Decision) -> list[str]:
    """How many rows curate rejected, by check, as texts."""
    counts = Counter(check for check, _ in decision.reasons.values())
    return [f"{count:,} rejected by {check}" for check, count in counts.most_common()]


def dominant_prompt(decision: Decision, dataset: SplitEntry) -> tuple[str, str] | None:
    """(message, hint) where most rows of a dataset have one prompt, and so are on one side; else None."""
    result = decision.run_query("most_asked")
    if not result or result[0][3] < FEW_ROWS or 2 * result[0][1] <= result[0][3]:
        return None
    _, rows, first, whole = result[0]
    prompt, systems = prompt_and_systems(decision, dataset["kind"], first)
    side = "train" if decision.side[first] == TRAIN else "eval"
    what = f"{rows:,} of {whole:,} rows ask {safe_text(prompt, 60)!r}, which puts them all in {side}"
    if "system" in dataset["split_on"] or systems < 2:
        return (
            what,
            "add other prompts; all rows of one prompt stay on one side, as its answer could be learned by heart",
        )
    return what, f"split_on: [system, user] in its entry, as these rows have {systems:,} system turns"


def prompt_and_systems(decision: Decision, kind: str, row: int) -> tuple[str, int]:
    """(the first user turn of a row, the number of different system turns with which rows ask it)."""
    part = int((decision.first_rows <= row).sum()) - 1
    column = "messages" if kind == "sft" else "prompt"
    one = pq.read_table(decision.parts[part], columns=[column, "prompt_key"]).slice(
        row - int(decision.first_rows[part]), 1
    )
    (turns,), (key,) = one[column].to_pylist(), one["prompt_key"].to_pylist()
    question = f"SELECT count(DISTINCT {split_key_sql(kind, ['system', 'user'])}) FROM read_parquet($files) WHERE prompt_key = $key"
    files = [str(path) for path in decision.parts]
    ((systems,),) = decision.database.execute(question, {"files": files, "key": key}).fetchall()
    return next((turn["content"] for turn in turns if turn["role"] == "user" and turn["content"]), ""), systems
