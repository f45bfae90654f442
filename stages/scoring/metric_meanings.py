"""What the metrics that are measured without an answer mean, in a few words: their names alone do not say it."""

from collections.abc import Iterable

MEANINGS = {
    "loss": "the mean negative log-probability of a wanted token",
    "token_accuracy": "the share of wanted tokens that the model would have said",
    "pair_accuracy": "the share of pairs whose chosen answer is likelier than the rejected one, by its mean log-probability a token",
    "margin": "by how much it is likelier, on average; no reference model is subtracted",
    "auc": "the chance that a good answer is likelier than a bad one, by its mean log-probability a token",
}


def describe_metrics(metrics: Iterable[str]) -> str:
    """`loss is ...; margin is ...` of those that are known, in one order; "" of none."""
    there = set(metrics)
    return "; ".join(f"{name} is {meaning}" for name, meaning in MEANINGS.items() if name in there)
