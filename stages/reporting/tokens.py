"""Sample rows of a step as tokens, as the page shows them: what is learned, context, cut, and control tokens.

preflight/_xray.json -> plain data for the page; `stages/dryrun/xray.py` made it of TRL's own batches, so no torch is needed here
"""

KINDS = ("learned", "context", "cut")


def samples_for_page(samples):
    """[{row, which, more_parts, parts: [{name, note, label, pieces}]}] of what preflight wrote of a step.

    pieces: [{kind, special, id, text}] with one {left_out} among them where the middle is not shown.
    """
    return [sample | {"parts": [part_for_page(part) for part in sample["parts"]]} for sample in samples]


def part_for_page(part):
    counts = [(kind, part["counts"][kind]) for kind in KINDS if part["counts"].get(kind)]
    total = sum(count for _, count in counts)
    pieces = [token | {"text": readable_token(token["text"])} for token in part["tokens"]]
    if part["left_out"]:
        pieces.insert(len(pieces) // 2, {"left_out": part["left_out"]})
    note = f"{total:,} tokens: " + ", ".join(f"{count:,} {kind}" for kind, count in counts)
    return {"name": part["name"], "note": note, "pieces": pieces}


def readable_token(text):
    """A token's text with its line ends shown; a token without text as a dot."""
    return text.replace("\n", "↵\n") or "·"
