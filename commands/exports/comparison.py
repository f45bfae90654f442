"""Where an exported folder does something else than the model that it was made of, each difference by name.

    differences(expected, said, logits, "out") -> ([Problem("out: chat row 5f2c...", "its prompt has other tokens ...")], [seen of each row])

said, logits: what `commands/exports/plain_transformers.py` wrote. Weights are the same numbers or not; logits may differ by what their type
cannot say, and an answer may part from ours only where two tokens are as likely as that.
"""

import numpy as np

from commands.exports.expected_outputs import ExpectedOutputs, Row
from validators.problems import Problem

# How far logits may be from those in float32, as a share of how far the logits of a place spread: rms(theirs - ours) / rms(ours - mean).
# docs/using-models.md says what was measured.
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.02}
SHOWN_NAMES = 3
EXPORT_AGAIN = "export it again; --no-check leaves it as it is, to look at"


def compare_outputs(
    expected: ExpectedOutputs, said: dict, logits: list[np.ndarray], where: str
) -> tuple[list[Problem], list[dict]]:
    """(all that differs, what was seen of each row, for the receipt)."""
    problems = folder_differences(expected, said, where)
    tolerance, seen = tolerance_of(said["dtype"]), []
    for row, prompt, answer, theirs in zip(expected.rows, said["prompts"], said["answers"], logits, strict=True):
        far = logits_distance(row.logits, theirs)
        found = row_differences(row, prompt, answer, theirs, far, tolerance, expected.stops)
        problems += [
            Problem(f"{where}: {row.name}", text, expected_text, EXPORT_AGAIN) for text, expected_text in found
        ]
        seen.append(row_receipt(row, answer, far, expected.stops))
    return problems, seen


def tolerance_of(dtype: str) -> float:
    """How far logits of a type of weights may be from ours; of a type that is not named here, as far as of any."""
    return TOLERANCE.get(dtype, max(TOLERANCE.values()))


# -- the folder ---------------------------------------------------------------------------------------------------


def folder_differences(expected: ExpectedOutputs, said: dict, where: str) -> list[Problem]:
    """What differs whatever is asked: weights, tokenizer, stops and the rest of the generation config."""
    found = [("weights", *each) for each in weight_differences(expected, said)]
    found += [("tokenizer", *each) for each in tokenizer_differences(expected.tokenizer, said["tokenizer"])]
    found += [("generation_config.json", *each) for each in generation_differences(expected, said["generation"])]
    return [Problem(f"{where}: {what}", text, wanted, EXPORT_AGAIN) for what, text, wanted in found]


def weight_differences(expected: ExpectedOutputs, said: dict) -> list[tuple[str, str]]:
    """(found, expected) of weights, by name; the hashes are of numbers and shapes, not of types."""
    found, ours, theirs = [], expected.weights, said.get("weights")
    if made_up := said["missing"]:
        text = f"{len(made_up):,} not in its files, and made up when it is loaded: {list_names(made_up)}"
        found.append((text, "every weight of the model"))
    if broken := said.get("broken"):
        names = [f"{count:,} numbers of {name}" for name, count in broken.items()]
        found.append((f"{list_names(names)} are not finite: beyond what {said['dtype']} can say", "--dtype bfloat16"))
    if ours is None:
        return found
    groups = {
        "are lost": sorted(ours.keys() - theirs.keys()),
        "have other numbers": sorted(name for name in ours.keys() & theirs.keys() if ours[name] != theirs[name]),
    }
    texts = [f"{len(names):,} of {len(ours):,} {what}: {list_names(names)}" for what, names in groups.items() if names]
    if more := sorted(theirs.keys() - ours.keys()):
        texts.append(f"{len(more):,} are no weights of the model: {list_names(more)}")
    return found + [(text, "the merged model's") for text in texts]


def tokenizer_differences(ours: dict, theirs: dict) -> list[tuple[str, str]]:
    """(found, expected) of a tokenizer in short (`plain.tokenizer_of`)."""
    found, lost = [], sorted(set(ours["special"]) - set(theirs["special"]))
    if ours["words"] != theirs["words"]:
        found.append((f"it has {theirs['words']:,} tokens", f"{ours['words']:,}"))
    if lost:
        found.append(
            (f"no special tokens any more: {list_names([repr(token) for token in lost])}", "those of the model")
        )
    if ours["eos"] != theirs["eos"]:
        found.append((f"it ends a turn with {theirs['eos']!r}", f"{ours['eos']!r}"))
    if ours["rules"] != theirs["rules"]:
        found.append(("its words, merges or rules are others", "those that the model was trained with"))
    if ours["template"] != theirs["template"]:
        found.append(("its chat template is another", "the one that the model was trained with"))
    return found


def generation_differences(expected: ExpectedOutputs, theirs: dict) -> list[tuple[str, str]]:
    """(found, expected) of a generation config: where an answer ends, and all else that decides of it."""
    found, stops, ours = [], stops_of(theirs), expected.generation
    if stops != expected.stops:
        found.append(
            (f"generation ends at {sorted(stops) or 'no token'}", f"{sorted(expected.stops)}, where it ends here")
        )
    for key in sorted((ours.keys() | theirs.keys()) - {"eos_token_id", "pad_token_id"}):
        if ours.get(key) != theirs.get(key):
            found.append((f"{key} is {theirs.get(key)!r}", f"{ours.get(key)!r}"))
    return found


def stops_of(generation: dict) -> frozenset[int]:
    """The tokens at which a generation config ends an answer."""
    ids = generation.get("eos_token_id")
    return frozenset(ids if isinstance(ids, list) else [] if ids is None else [ids])


def list_names(names: list[str]) -> str:
    """`a`, `a and b`, `a, b, c and 4 more`."""
    more = len(names) - SHOWN_NAMES
    return f"{', '.join(names[:SHOWN_NAMES])} and {more:,} more" if more > 0 else " and ".join(names)


# -- a row --------------------------------------------------------------------------------------------------------


def row_differences(
    row: Row, prompt: list, answer: list, theirs: np.ndarray, far: float, tolerance: float, stops: frozenset
) -> list[tuple]:
    """(what was found, what was expected) of each thing that differs of a row."""
    found = []
    if not np.isfinite(theirs).all():
        return [("its logits are no finite numbers", "numbers; --dtype bfloat16 where float16 overflows")]
    if theirs.shape != row.logits.shape:
        return [(f"it has logits of {theirs.shape[1]:,} tokens", f"{row.logits.shape[1]:,}")]
    if far > tolerance:
        found.append((f"its logits differ by {far:.2g} of their spread", f"at most {tolerance:g}"))
    if prompt != row.prompt:
        place = first_difference(prompt, row.prompt)
        found.append(
            (
                f"its prompt has other tokens from number {place + 1:,} on, {prompt[place : place + 4]}",
                f"{row.prompt[place : place + 4]}",
            )
        )
    elif answer != row.said and far <= tolerance and not is_near_tie(row, answer, theirs, tolerance):
        found.append(answer_difference(answer, row.said, stops))
    return found


def answer_difference(answer: list, ours: list, stops: frozenset) -> tuple[str, str]:
    """(what was found, what was expected) of an answer that is another one, or ends elsewhere."""
    place = first_difference(answer, ours)
    if place == len(ours) and ends_with_stop(ours, stops):
        return (
            f"its answer does not stop behind {place:,} tokens but goes on, {answer[place : place + 4]}",
            "the end of it",
        )
    if place == len(answer):
        return f"its answer stops behind {place:,} tokens", f"{ours[place : place + 4]} next"
    return (
        f"its answer has other tokens from number {place + 1:,} on, {answer[place : place + 4]}",
        f"{ours[place : place + 4]}",
    )


def logits_distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """How far logits, (positions, words), are from ours: the largest share over the positions; infinite where they are no such numbers."""
    if ours.shape != theirs.shape or not np.isfinite(theirs).all():
        return float("inf")
    # probabilities stay what they are where all logits of a place move by the same
    ours, theirs = (each - each.mean(1, keepdims=True) for each in (ours, theirs))
    spread = np.sqrt((ours**2).mean(1))
    return float((np.sqrt(((theirs - ours) ** 2).mean(1)) / np.maximum(spread, 1e-12)).max())


def is_near_tie(row: Row, answer: list, theirs: np.ndarray, tolerance: float) -> bool:
    """Whether an answer parts from ours where its token and ours are as likely as each other, within the tolerance."""
    place = first_difference(answer, row.said)
    if place >= min(len(answer), len(row.said)):
        return False  # one of them ends where the other goes on
    logits = theirs[place]
    return bool(logits[row.said[place]] - logits[answer[place]] <= tolerance * logits.std())


def first_difference(one: list, other: list) -> int:
    """The first place at which two lists of tokens differ."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def ends_with_stop(answer: list, stops: frozenset) -> bool:
    return bool(answer) and answer[-1] in stops


def row_receipt(row: Row, answer: list, far: float, stops: frozenset) -> dict:
    """What the receipt says of a row."""
    same = answer == row.said
    return {
        "dataset": row.dataset, "id": row.id, "prompt_tokens": len(row.prompt), "answer_tokens": row.answer,
        "stopped": ends_with_stop(row.said, stops), "answer": "same" if same else f"parts at token {first_difference(answer, row.said) + 1}, a near tie",
        "logits": float(f"{far:.2g}"),
    }  # fmt: skip
