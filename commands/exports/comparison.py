"""The differences between an exported folder and its model, each by name.

    compare_outputs(expected, said, logits, "out") -> ([Problem("out: chat row 5f2c...", "its prompt has other tokens ...")], [seen of each row])

said, logits: what `commands/exports/plain_transformers.py` wrote. Weights must be the same numbers. Logits may differ by
the precision of their dtype. An answer may differ only from a token on where two tokens are equally likely within that precision.
"""

from typing import Any

import numpy as np

from commands.exports.expected_outputs import ExpectedOutputs, Row
from validators.problems import Problem

# The largest distance of logits from those in float32, as a share of the spread of a position's logits: rms(theirs - ours) / rms(ours - mean).
# docs/using-models.md has the measurements.
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.02}
SHOWN_NAMES = 3
EXPORT_AGAIN = "export it again; --no-check exports it without a check"


def compare_outputs(
    expected: ExpectedOutputs, results: dict[str, Any], logits: list[np.ndarray], where: str
) -> tuple[list[Problem], list[dict[str, Any]]]:
    """(each difference, the receipt of each row)."""
    problems = folder_differences(expected, results, where)
    tolerance, receipts = tolerance_of(results["dtype"]), []
    for row, prompt, answer, theirs in zip(expected.rows, results["prompts"], results["answers"], logits, strict=True):
        distance = logits_distance(row.logits, theirs)
        differences = row_differences(row, prompt, answer, theirs, distance, tolerance, expected.stops)
        problems += [
            Problem(f"{where}: {row.name}", text, expected_text, EXPORT_AGAIN) for text, expected_text in differences
        ]
        receipts.append(row_receipt(row, answer, distance, expected.stops))
    return problems, receipts


def tolerance_of(dtype: str) -> float:
    """The largest distance of logits for a dtype of weights; for an unknown dtype, the largest of all."""
    return TOLERANCE.get(dtype, max(TOLERANCE.values()))


# -- the folder ---------------------------------------------------------------------------------------------------


def folder_differences(expected: ExpectedOutputs, results: dict[str, Any], where: str) -> list[Problem]:
    """The differences that no prompt is needed for: weights, tokenizer, stops and the rest of the generation config."""
    differences = [("weights", *each) for each in weight_differences(expected, results)]
    differences += [("tokenizer", *each) for each in tokenizer_differences(expected.tokenizer, results["tokenizer"])]
    differences += [
        ("generation_config.json", *each) for each in generation_differences(expected, results["generation"])
    ]
    return [Problem(f"{where}: {what}", text, expected_text, EXPORT_AGAIN) for what, text, expected_text in differences]


def weight_differences(expected: ExpectedOutputs, results: dict[str, Any]) -> list[tuple[str, str]]:
    """(found, expected) of weights, by name. The hashes cover numbers and shapes, not dtypes."""
    differences = []
    if absent := results["missing"]:
        text = f"{len(absent):,} missing from its files, so loading gives them random values: {list_names(absent)}"
        differences.append((text, "every weight of the model"))
    if broken := results.get("broken"):
        names = [f"{count:,} numbers of {name}" for name, count in broken.items()]
        differences.append(
            (f"{list_names(names)} are not finite: outside of the range of {results['dtype']}", "--dtype bfloat16")
        )
    if expected.weights is None:
        return differences
    ours, theirs = expected.weights, results["weights"]
    groups = {
        "are lost": sorted(ours.keys() - theirs.keys()),
        "have other numbers": sorted(name for name in ours.keys() & theirs.keys() if ours[name] != theirs[name]),
    }
    texts = [f"{len(names):,} of {len(ours):,} {what}: {list_names(names)}" for what, names in groups.items() if names]
    if more := sorted(theirs.keys() - ours.keys()):
        texts.append(f"{len(more):,} are not weights of the model: {list_names(more)}")
    return differences + [(text, "the merged model's") for text in texts]


def tokenizer_differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[tuple[str, str]]:
    """(found, expected) of two results of `plain_transformers.tokenizer_summary`."""
    differences, lost = [], sorted(set(ours["special"]) - set(theirs["special"]))
    if ours["words"] != theirs["words"]:
        differences.append((f"it has {theirs['words']:,} tokens", f"{ours['words']:,}"))
    if lost:
        differences.append(
            (f"not special tokens any more: {list_names([repr(token) for token in lost])}", "those of the model")
        )
    if ours["eos"] != theirs["eos"]:
        differences.append((f"it ends a turn with {theirs['eos']!r}", f"{ours['eos']!r}"))
    if ours["rules"] != theirs["rules"]:
        differences.append(("its vocabulary, merges or rules differ", "those of the model's training"))
    if ours["template"] != theirs["template"]:
        differences.append(("it has another chat template", "that of the model's training"))
    return differences


def generation_differences(expected: ExpectedOutputs, theirs: dict[str, Any]) -> list[tuple[str, str]]:
    """(found, expected) of a generation config: the tokens that end an answer, and all other settings."""
    differences, stops, ours = [], stops_of(theirs), expected.generation
    if stops != expected.stops:
        differences.append(
            (f"generation ends at {sorted(stops) or 'no token'}", f"{sorted(expected.stops)}, as in this repository")
        )
    for key in sorted((ours.keys() | theirs.keys()) - {"eos_token_id", "pad_token_id"}):
        if ours.get(key) != theirs.get(key):
            differences.append((f"{key} is {theirs.get(key)!r}", f"{ours.get(key)!r}"))
    return differences


def stops_of(generation: dict[str, Any]) -> frozenset[int]:
    """The tokens at which a generation config ends an answer."""
    ids = generation.get("eos_token_id")
    return frozenset(ids if isinstance(ids, list) else [] if ids is None else [ids])


def list_names(names: list[str]) -> str:
    """`a`, `a and b`, `a, b, c and 4 more`."""
    more = len(names) - SHOWN_NAMES
    return f"{', '.join(names[:SHOWN_NAMES])} and {more:,} more" if more > 0 else " and ".join(names)


# -- a row --------------------------------------------------------------------------------------------------------


def row_differences(
    row: Row,
    prompt: list[int],
    answer: list[int],
    theirs: np.ndarray,
    distance: float,
    tolerance: float,
    stops: frozenset[int],
) -> list[tuple[str, str]]:
    """(found, expected) of each difference in a row."""
    differences = []
    if not np.isfinite(theirs).all():
        return [("its logits are not finite", "finite numbers; --dtype bfloat16 where float16 overflows")]
    if theirs.shape != row.logits.shape:
        return [(f"it has logits of {theirs.shape[1]:,} tokens", f"{row.logits.shape[1]:,}")]
    if distance > tolerance:
        differences.append((f"its logits differ by {distance:.2g} of their spread", f"at most {tolerance:g}"))
    if prompt != row.prompt_ids:
        place = first_difference(prompt, row.prompt_ids)
        differences.append(
            (
                f"its prompt has other tokens from number {place + 1:,} on, {prompt[place : place + 4]}",
                f"{row.prompt_ids[place : place + 4]}",
            )
        )
    elif answer != row.answer_ids and distance <= tolerance and not is_near_tie(row, answer, theirs, tolerance):
        differences.append(answer_difference(answer, row.answer_ids, stops))
    return differences


def answer_difference(answer: list[int], ours: list[int], stops: frozenset[int]) -> tuple[str, str]:
    """(found, expected) of an answer with other tokens or another end."""
    place = first_difference(answer, ours)
    if place == len(ours) and ends_with_stop(ours, stops):
        return (
            f"its answer does not stop after {place:,} tokens but continues with {answer[place : place + 4]}",
            "its end",
        )
    if place == len(answer):
        return f"its answer stops after {place:,} tokens", f"{ours[place : place + 4]} next"
    return (
        f"its answer has other tokens from number {place + 1:,} on, {answer[place : place + 4]}",
        f"{ours[place : place + 4]}",
    )


def logits_distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The distance of logits, (positions, words), from ours: the largest share over the positions; infinite for another shape or non-finite numbers."""
    if ours.shape != theirs.shape or not np.isfinite(theirs).all():
        return float("inf")
    # adding one number to all logits of a position does not change the probabilities
    ours, theirs = (each - each.mean(1, keepdims=True) for each in (ours, theirs))
    spread = np.sqrt((ours**2).mean(1))
    return float((np.sqrt(((theirs - ours) ** 2).mean(1)) / np.maximum(spread, 1e-12)).max())


def is_near_tie(row: Row, answer: list[int], theirs: np.ndarray, tolerance: float) -> bool:
    """True where, at the first different token, both tokens are equally likely within the tolerance."""
    place = first_difference(answer, row.answer_ids)
    if place >= min(len(answer), len(row.answer_ids)):
        return False  # one of them is the beginning of the other
    logits = theirs[place]
    return bool(logits[row.answer_ids[place]] - logits[answer[place]] <= tolerance * logits.std())


def first_difference(one: list[int], other: list[int]) -> int:
    """The first position at which two lists of tokens differ."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def ends_with_stop(answer: list[int], stops: frozenset[int]) -> bool:
    return bool(answer) and answer[-1] in stops


def row_receipt(row: Row, answer: list[int], distance: float, stops: frozenset[int]) -> dict[str, Any]:
    """The receipt of a row."""
    same = answer == row.answer_ids
    return {
        "dataset": row.dataset, "id": row.id, "prompt_tokens": len(row.prompt_ids), "answer_tokens": row.answer,
        "stopped": ends_with_stop(row.answer_ids, stops), "answer": "same" if same else f"parts at token {first_difference(answer, row.answer_ids) + 1}, a near tie",
        "logits": float(f"{distance:.2g}"),
    }  # fmt: skip
