"""Every check that can reject a record, one line each. docs/checks.md lists them (docs/generate.py).

The checks of `validate` stand beside their code, in `validators/<kind>.py`; those of ingest and curate are here.
"""

import importlib

KINDS = ("sft", "preference", "kto", "grpo")
INGEST = {
    "ingest.forgotten": "the record is not in `data/forgotten.jsonl`; the text of a forgotten record is not kept",
    "ingest.utf8": "the record is UTF-8",
    "ingest.json": "the record is JSON",
    "ingest.not_an_object": "the record is an object with keys, not a list or a single value",
    "ingest.truncated": "the file is complete; a compressed file that was cut off ends in such a record",
    "ingest.parquet": "the row group can be read",
    "ingest.csv": "the record is CSV: quotes are closed",
    "ingest.csv_width": "the record has as many cells as the header",
    "ingest.missing_key": "the record has the keys of a known shape",
    "ingest.unsupported_key": "a turn is learned as a whole or not at all: no parts, no weights, no marks that contradict each other; an answer has one thought at most, and is not replaced by a refusal",
    "ingest.tools_unsupported": "a record of kind grpo has no tool definitions, which TRL would not read",
    "ingest.wrong_type": "each key has the type that its shape expects: text, a list of messages, true or false",
    "ingest.multimodal": "the messages are only text: no images, sound or video",
    "ingest.two_system_turns": "a conversation has one system turn; `system:` adds none to one that has it",
    "ingest.no_prompt": "a pair has a prompt: in a key of its own, or as the turns that both conversations begin with",
    "ingest.no_pair": "two of the answers differ in score by more than `margin`, or the record says which is better",
    "ingest.label_not_boolean": "the label is true or false, or 1 or 0",
    "ingest.label_false": "the label is true if a row of kind sft is made of a rated completion",
    "ingest.wrong_kind": "the record has everything that a row of the dataset's kind needs; nothing is invented",
    "ingest.ground_truth_pattern": "the pattern finds the ground truth in the answer",
}
CURATE = {
    "curate.forgotten": "the row is neither the same as a record of `data/forgotten.jsonl` nor almost the same",
    "curate.expired": "the raw file may still be used: its day in `expires` is in the future",
    "curate.personal_data": "no text of the row holds personal data of a kind that `personal_data` rejects; the text of a rejected row is not kept",
    "curate.duplicate": "no earlier row is exactly the same; the detail names the earlier row",
    "curate.contradiction": "no other row claims the opposite; neither of the two is kept",
    "curate.near_duplicate": "no earlier row is almost the same",
    "curate.near_duplicate_of_eval": "a train row is not almost the same as an eval row",
    "curate.benchmark": "no text of a benchmark is in the row; the detail names the benchmark's file and line",
    "curate.mixed_out": "the row is in the share that `weights` and `max_rows` keep",
}
KEEP = {
    "keep.too_hard": "the model of `difficulty` answers the prompt correctly at least as often as `keep` requires; a harder prompt stays in `data/train`, but no step trains on it",
    "keep.too_easy": "the model answers the prompt correctly no more often than `keep` allows",
    "keep.not_judged": "the function that judges the answers gives them a score",
    "keep.not_asked": "the chat template renders all of the prompt",
}


def every_check() -> dict[str, str]:
    """{name: what it checks} of every check of a record, in the order of the stages."""
    kinds = [importlib.import_module(f"validators.{kind}").CHECKS for kind in KINDS]
    return {name: text for checks in (INGEST, *kinds, CURATE, KEEP) for name, text in checks.items()}


def every_warning() -> dict[str, str]:
    """{name: what it checks} of every check of a dataset as a whole."""
    kinds = [importlib.import_module(f"validators.{kind}").WARNINGS for kind in KINDS]
    return {name: text for warnings in kinds for name, text in warnings.items()}
