"""Overlap with benchmarks: finds rows with a text on which a model will later be tested.

    Benchmarks("data/benchmarks", ngram_words=13).find_overlap(text, share=0.8) -> ("data/benchmarks/gsm8k.jsonl:12", 0.93)

A row overlaps with a benchmark record where at least `share` of the record's word n-grams are in the row. A record of
fewer words than an n-gram counts as one n-gram of its own length. Source: Brown et al., Language Models are Few-Shot
Learners (2020), appendix C.
"""

from stages.reading.files import raw_files
from stages.reading.readers import records
from validators._words import words


def ngrams(words: list[str], n: int) -> set[tuple[str, ...]]:
    """The set of all runs of n words; for a shorter text the whole text."""
    if len(words) <= n:
        return {tuple(words)} if words else set()
    return set(zip(*(words[i:] for i in range(n)), strict=False))


def collect_texts(value: object) -> list[str]:
    """Every text in a record, in order."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [text for item in value for text in collect_texts(item)] if isinstance(value, list) else []


class Benchmarks:
    """An index of the n-grams of all records in the benchmark files."""

    def __init__(self, folder: str, ngram_words: int) -> None:
        self.n = ngram_words
        # for each record: its number of n-grams, its file and line
        self.sizes: list[int] = []
        self.places: list[str] = []
        self.holders: dict[tuple[str, ...], list[int]] = {}
        self.lengths: set[int] = set()
        for path in raw_files(folder, "data/benchmarks"):
            for record in records(path):
                for text in collect_texts(record.value):
                    self._add(f"{path.as_posix()}:{record.line}", words(text))

    def _add(self, place: str, words: list[str]) -> None:
        # a text of two or three words is in many rows by chance
        if len(words) < min(4, self.n):
            return
        grams = ngrams(words, self.n)
        number = len(self.sizes)
        self.sizes.append(len(grams))
        self.places.append(place)
        self.lengths.add(min(len(words), self.n))
        for gram in grams:
            self.holders.setdefault(gram, []).append(number)

    def find_overlap(self, text: str, share: float) -> tuple[str, float] | None:
        """(place, share) of the record of which the text holds most n-grams; None where that is less than `share`."""
        found = words(text)
        counts: dict[int, int] = {}
        for length in self.lengths:
            for gram in set(zip(*(found[i:] for i in range(length)), strict=False)):
                for number in self.holders.get(gram, ()):
                    counts[number] = counts.get(number, 0) + 1
        best = max(counts, key=lambda number: (counts[number] / self.sizes[number], -number), default=None)
        if best is None or counts[best] / self.sizes[best] < share:
            return None
        return self.places[best], counts[best] / self.sizes[best]
