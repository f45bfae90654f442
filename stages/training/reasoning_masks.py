"""Thoughts that the model sees but does not learn, in pairs and labelled answers: `reasoning: mask` with TRL's DPO and KTO.

Both score the tokens in their collator's `completion_mask`, which is the whole answer. Rows of
`stages/training/trainer_rows.py` name the learned ones in `<side>_labels`, and this module narrows the mask to them, for the
model, its reference and KTO's KL estimate. ORPO's loss takes all tokens, those of the prompt too.
"""

from collections.abc import Callable
from typing import Any

from stages.training.types import Config

LABEL_COLUMNS = {"dpo": ["chosen_labels", "rejected_labels"], "kto": ["completion_labels", "KL_completion_labels"]}


def mask_thoughts(collate: Callable[..., dict[str, Any]], method: str, config: Config) -> Callable[..., dict[str, Any]]:
    """TRL's collator of dpo or kto, wrapped so that `completion_mask` marks the learned tokens only.

    Rows without labels are collated unchanged.
    """

    def collate_masked(rows: list[dict[str, Any]]) -> dict[str, Any]:
        labels = {column: [row[column] for row in rows] for column in LABEL_COLUMNS[method] if column in rows[0]}
        rows = [{key: value for key, value in row.items() if key not in labels} for row in rows]
        batch = collate(rows)
        if method == "dpo" and labels:
            narrow_mask(
                batch, "", rows * 2, [each for column in LABEL_COLUMNS["dpo"] for each in labels[column]], config
            )
        for column, prefix in (("completion_labels", ""), ("KL_completion_labels", "KL_")):
            if column in labels:
                narrow_mask(batch, prefix, rows, labels[column], config)
        return batch

    return collate_masked


def narrow_mask(
    batch: dict[str, Any], prefix: str, rows: list[dict[str, Any]], labels: list[list[int]], config: Config
) -> None:
    """Remove the tokens that are not learned from a batch's completion mask, (sequences, tokens), padded on the right."""
    import torch

    mask = batch[f"{prefix}completion_mask"]
    keeps_end = getattr(config, "truncation_mode", "keep_start") == "keep_end"
    for place, (row, answer) in enumerate(zip(rows, labels, strict=True)):
        learned = [False] * len(row["prompt_ids"]) + [label != -100 for label in answer]
        if config.max_length is not None:
            learned = learned[-config.max_length :] if keeps_end else learned[: config.max_length]
        if len(learned) != int(batch[f"{prefix}attention_mask"][place].sum()):
            raise AssertionError("TRL did not cut a row at max_length")
        mask[place, : len(learned)] *= torch.tensor(learned, dtype=mask.dtype)
