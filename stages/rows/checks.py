"""Every check that can turn a record away, in one line each. docs/checks.md lists them (docs/generate.py).

The checks of `validate` stand beside their code, in `validators/<kind>.py`; those of ingest and curate are here.
"""

import importlib

KINDS = ("sft", "preference", "kto", "grpo")
INGEST = {
    "ingest.forgotten": "the record is not in `data/forgotten.jsonl`; of one that is, no text is kept",
    "ingest.utf8": "the record is UTF-8",
    "ingest.json": "the record is JSON",
    "ingest.not_an_object": "the record is an object with keys, not a list or a single value",
    "ingest.truncated": "the file goes on to its end; a compressed file that was cut off ends in such a record",
    "ingest.parquet": "the row group can be read",
    "ingest.csv": "the record is CSV: quotes are closed",
    "ingest.csv_width": "the record has as many cells as the header",
    "ingest.missing_key": "the record has the keys of a known shape",
    "ingest.unsupported_key": "no turn is learned in part, by a weight, or by marks that say different things; a record has one thought an answer, and no refusal in its place",
    "ingest.tools_unsupported": "a record of kind grpo has no definitions of tools, which TRL would not read",
    "ingest.wrong_type": "each key holds what its shape has there: text, a list of messages, true or false",
    "ingest.multimodal": "the messages are text alone: no images, sound or video",
    "ingest.two_system_turns": "a conversation has one system turn; `system:` adds none to one that has it",
    "ingest.no_prompt": "a pair has a prompt, by itself or as what both conversations begin with",
    "ingest.no_pair": "of several answers, two differ in their scores by more than `margin`, or one is said to be better",
    "ingest.label_not_boolean": "the label is true or false, or 1 or 0",
    "ingest.label_false": "the label is true, where a row of kind sft is made of a rated completion",
    "ingest.wrong_kind": "the record has all that a row of the wanted kind needs; nothing is invented",
    "ingest.ground_truth_pattern": "the pattern finds the ground truth in the answer",
}
CURATE = {
    "curate.forgotten": "the row does not say what a record of `data/forgotten.jsonl` said, nor nearly so",
    "curate.expired": "the day in `expires` on which its raw file may no longer be used is still to come",
    "curate.personal_data": "no text of the row holds personal data of a kind that `personal_data` rejects; of one that does, no text is kept",
    "curate.duplicate": "no earlier row says exactly the same; the detail names it",
    "curate.contradiction": "no other row claims the opposite; of the two none is kept",
    "curate.near_duplicate": "no earlier row says almost the same",
    "curate.near_duplicate_of_eval": "a train row is not almost the same as an eval row",
    "curate.benchmark": "no text of a benchmark is in the row; the detail names the benchmark's file and line",
    "curate.mixed_out": "the row is in the share that `weights` and `max_rows` keep",
}
KEEP = {
    "keep.too_hard": "a prompt that `difficulty` asks is answered rightly at least as often as `keep` wants; it stays in `data/train`, and no step trains on it",
    "keep.too_easy": "it is answered rightly no more often than `keep` wants",
    "keep.not_judged": "the function that says what is right says something of its answers",
    "keep.not_asked": "the chat template says all of the prompt",
}


def every_check() -> dict[str, str]:
    """{name: what it asks} of every check of a record, in the order of the stages."""
    kinds = [importlib.import_module(f"validators.{kind}").CHECKS for kind in KINDS]
    return {name: text for checks in (INGEST, *kinds, CURATE, KEEP) for name, text in checks.items()}


def every_warning() -> dict[str, str]:
    """{name: what it asks} of every check of a dataset as a whole."""
    kinds = [importlib.import_module(f"validators.{kind}").WARNINGS for kind in KINDS]
    return {name: text for warnings in kinds for name, text in warnings.items()}
