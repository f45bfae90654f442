"""Checks of kind preference: a row is one prompt and two answers that differ.

{"prompt": [{"role": "user", "content": "Reverse abc."}], "chosen": [{"role": "assistant", "content": "cba"}],
 "rejected": [{"role": "assistant", "content": "It is cba."}]}
"""

from typing import TYPE_CHECKING

import polars as pl

from validators._messages import (
    conversation_lengths,
    empty_failures,
    ends_with,
    flag_schema,
    flatten,
    measure_texts,
    message_schema,
    row_failures,
    shared_checks,
    turn_failures,
)
from validators._warnings import shared_warnings, text_warnings

if TYPE_CHECKING:
    import pyarrow

PROMPT_CHECKS = {
    "preference.shared_prompt": "the prompt is one for both answers: neither begins with a user's or system's turn of its own"
}
TURN_CHECKS = shared_checks("preference", "every turn of the prompt and of both answers", "; answers follow the user")
PAIR_CHECKS = {
    "preference.prompt_ends_with_user": "the prompt's last turn is the user's or a tool's",
    "preference.ends_with_assistant": "both answers end with the assistant's turn",
    "preference.chosen_differs": "chosen and rejected differ in more than white space, case and Unicode composition",
}
CHECKS = PROMPT_CHECKS | TURN_CHECKS | PAIR_CHECKS
WARNINGS = {
    "preference.length_bias": "neither side is the longer one in over 65% of pairs; else length is what is learned"
} | shared_warnings("preference")
MAX_LONGER_SHARE = 0.65
PROMPT = message_schema("preference", ends="preference.prompt_ends_with_user")
ANSWER = message_schema("preference", ends="preference.ends_with_assistant", answers="preference.shared_prompt")
PAIR = flag_schema("differs", "preference.chosen_differs")


def failed_checks(table: "pyarrow.Table") -> pl.DataFrame:
    """(row, check, detail) of every failure in a table of preference rows."""
    prompts = flatten(table["prompt"], "prompt")
    found = [turn_failures(PROMPT, prompts.with_columns(ends=ends_with(prompts, ["user", "tool"])))]
    found.append(empty_failures(table["prompt"], "preference.prompt_ends_with_user", "prompt"))
    answers_by_side = {}
    for side in ("chosen", "rejected"):
        turns = flatten(table[side], side, begins="user")
        answers = ((pl.col("turn") > 0) | ~pl.col("role").is_in(["user", "system"])).alias("answers")
        found.append(turn_failures(ANSWER, turns.with_columns(answers, ends=ends_with(turns, ["assistant"]))))
        found.append(empty_failures(table[side], "preference.ends_with_assistant", side))
        answers_by_side[side] = folded_answers(turns, table.num_rows)
    pairs = pl.DataFrame({"differs": answers_by_side["chosen"] != answers_by_side["rejected"]})
    return pl.concat([*found, row_failures(PAIR, pairs)])


def folded_answers(turns: pl.DataFrame, rows: int) -> pl.Series:
    """Text and calls of each answer with Unicode composition, case and white space folded, (rows,) strings."""
    text = pl.col("spoken").str.normalize("NFC").str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()
    folded = turns.group_by("row", maintain_order=True).agg(
        folded=pl.format("{}:{}{}", "role", text, pl.col("calls").fill_null("")).str.join("\n")
    )
    return (
        pl.DataFrame({"row": range(rows)}, schema={"row": folded.schema["row"]})
        .join(folded, on="row", how="left")["folded"]
        .fill_null("")
    )


def measure_rows(table: "pyarrow.Table") -> pl.DataFrame:
    """What `warnings_of` reads of each row of a table."""
    return measure_texts(table, ["prompt", "chosen", "rejected"]).with_columns(
        chosen=pl.Series(conversation_lengths(table["chosen"])),
        rejected=pl.Series(conversation_lengths(table["rejected"])),
    )


def warnings_of(rows: pl.DataFrame, prompts: int) -> list[tuple[str, str]]:
    """(name, what is unusual) for a whole dataset: see `validators/sft.py`."""
    return [*length_bias_warning(rows), *text_warnings("preference", rows, prompts)]


def length_bias_warning(rows: pl.DataFrame) -> list[tuple[str, str]]:
    """The warning that one side is longer in most pairs, with how much longer it is; else []."""
    longer, shorter = (rows["chosen"] > rows["rejected"]).sum(), (rows["chosen"] < rows["rejected"]).sum()
    if max(longer, shorter) <= MAX_LONGER_SHARE * len(rows):
        return []
    ratio = (rows["chosen"] / rows["rejected"]).median()
    text = (
        f"chosen is longer in {longer / len(rows):.1%} of {len(rows):,} pairs and shorter in {shorter / len(rows):.1%}"
    )
    return [("preference.length_bias", f"{text}; median of chosen / rejected length {ratio:.2f}")]
