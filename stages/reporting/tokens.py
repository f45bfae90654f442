"""Sample rows of a step as tokens for the page: learned, context, cut, and control tokens.

preflight/_xray.json -> plain data for the page; `stages/dryrun/xray.py` reads TRL's own batches, so this module needs no torch
"""

from typing import Any

KINDS = ("learned", "context", "cut")


def samples_for_page(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """[{row, which, more_parts, parts: [{name, note, pieces}]}] from the samples that preflight wrote of a step.

    pieces: [{kind, special, id, text}]; one {left_out} stands for a middle that is not shown.
    """
    return [sample | {"parts": [part_for_page(part) for part in sample["parts"]]} for sample in samples]


def part_for_page(part: dict[str, Any]) -> dict[str, Any]:
    counts = [(kind, part["counts"][kind]) for kind in KINDS if part["counts"].get(kind)]
    total = sum(count for _, count in counts)
    pieces = [token | {"text": readable_token(token["text"])} for token in part["tokens"]]
    if part["left_out"]:
        pieces.insert(len(pieces) // 2, {"left_out": part["left_out"]})
    note = f"{total:,} tokens: " + ", ".join(f"{count:,} {kind}" for kind, count in counts)
    return {"name": part["name"], "note": note, "pieces": pieces}


def readable_token(text: str) -> str:
    """A token's text with visible line ends; a dot for a token without text."""
    return text.replace("\n", "↵\n") or "·"
