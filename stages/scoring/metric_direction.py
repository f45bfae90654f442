"""Whether a lower or a higher value of a metric is better: higher, except for losses and errors."""

LOWER_IS_BETTER = {"loss", "perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "brier_score", "wer"}


def lower_is_better(metric: str) -> bool:
    return metric.split(",")[0] in LOWER_IS_BETTER
