"""Hashes of forgotten records. They find the text of a record again, but do not reveal it.

    find_forgotten(table, "preference", ForgottenIndex(entries)) -> {row: (entry, "about 93% alike")}

The text of a row is its prompt with its answer; a pair has two texts, the prompt with each answer. System turns are left
out, as `system:` adds them. A text of 20 or more word triples has a sketch: each triple's hash puts it into one of 128 bins,
and each bin keeps 4 bits of its lowest hash (0: the bin is empty). The share of used bins that agree estimates the Jaccard
similarity of the triples. A guessed triple agrees with a bin by chance one time in fifteen, so nobody can confirm a single
phrase, only the whole text. A shorter text has its sha256: only the same text matches, with case and white space folded.

Sources: Li and König, b-bit minwise hashing (2010); Li, Owen and Zhang, One permutation hashing (2012). This module computes
the hashes itself, so that a list stays valid for ever: those of libraries differ between versions.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from stages.dedup.forgotten import Forgotten
from stages.dedup.near_duplicates import SHINGLE_WORDS, shingle_hashes
from stages.rows.identity import digest, normalise_text
from validators._messages import as_series, spoken_text

BINS, MIN_TRIPLES, MIN_SIMILARITY = 128, 20, 0.8
TEXT_COLUMNS = {
    "sft": [("messages",)],
    "preference": [("prompt", "chosen"), ("prompt", "rejected")],
    "kto": [("prompt", "completion")],
    "grpo": [("prompt", "ground_truth")],
}
FACTOR = 0x9E3779B97F4A7C15
INVERSE = pow(FACTOR, -1, 2**64)
PIECE_BYTES = 2**20
SPACE = np.isin(np.arange(256), list(b" \t\n\v\f\r\x1c\x1d\x1e\x1f"))


# -- the texts of a row -------------------------------------------------------------------------------------------


def prompt_answer_texts(table: pa.Table, kind: str) -> list[pl.Series]:
    """The texts of the rows of a table: one series of (rows,) strings, or two for pairs."""
    parts = {name: column_texts(table, name) for names in TEXT_COLUMNS[kind] for name in names}
    return [
        pl.DataFrame([parts[name].alias(name) for name in names])
        .select(pl.concat_str(pl.all(), separator=" ").alias("text"))
        .to_series()
        for names in TEXT_COLUMNS[kind]
    ]


def column_texts(table: pa.Table, name: str) -> pl.Series:
    """The text of a column, without system turns in messages, (rows,) strings."""
    column = table[name].combine_chunks()
    if pa.types.is_string(column.type):
        return as_series(column).fill_null("")
    turns = pc.list_flatten(column)
    spoken = pl.DataFrame(
        {
            "row": pc.list_parent_indices(column).to_numpy(),
            "role": pl.from_arrow(pc.struct_field(turns, "role")),
            "text": pl.from_arrow(spoken_text(turns)),
        }
    ).filter(pl.col("role") != "system")
    joined = spoken.group_by("row").agg(pl.col("text").str.join(" "))
    rows = pl.DataFrame({"row": np.arange(len(column))}, schema={"row": joined.schema["row"]})
    return rows.join(joined, on="row", how="left", maintain_order="left")["text"].fill_null("")


# -- hashes of texts ----------------------------------------------------------------------------------------------


def sketch_texts(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """The sketches of texts, (rows, BINS) integers of 0 to 15, and the numbers of their word triples, (rows,)."""
    return sketch_words(*word_hashes(texts))


def sketch_rows(table: pa.Table, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The same for the text in some columns of a table. Faster, as the columns' texts are not joined."""
    sketches, counts = np.zeros((len(table), BINS), np.uint8), np.zeros(len(table), np.int64)
    # about a megabyte at a time, which fits a processor's cache
    rows = max(1, int(len(table) * PIECE_BYTES / max(1, sum(table[name].nbytes for name in names))))
    for first in range(0, len(table), rows):
        words, lengths = join_words([column_words(table.slice(first, rows), name) for name in names])
        sketches[first : first + rows], counts[first : first + rows] = sketch_words(words, lengths)
    return sketches, counts


def sketch_words(words: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(sketches, numbers of triples) of texts. words: hashes of all words, flat. lengths: number of words of each text."""
    triples, offsets = shingle_hashes(words, lengths)
    triples = mix_bits(triples)
    row = np.repeat(np.arange(len(lengths)), np.diff(offsets))
    lowest = np.full(len(lengths) * BINS, 2**64 - 1, np.uint64)
    np.minimum.at(lowest, row * BINS + (triples >> np.uint64(57)).astype(np.int64), triples << np.uint64(7))
    values = (mix_bits(lowest) % np.uint64(15)).astype(np.uint8) + np.uint8(1)
    bins = np.where(lowest == 2**64 - 1, np.uint8(0), values).reshape(-1, BINS)
    return bins, np.where(lengths >= SHINGLE_WORDS, np.diff(offsets), 0)


def column_words(table: pa.Table, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(hashes of all words of a column, number of words of each row), without system turns in messages."""
    column = table[name].combine_chunks()
    if pa.types.is_string(column.type):
        return word_hashes(as_series(column).fill_null(""))
    turns = pc.list_flatten(column)
    words, lengths = word_hashes(as_series(spoken_text(turns)).fill_null(""))
    system = pc.equal(pc.struct_field(turns, "role"), "system").to_numpy(zero_copy_only=False).astype(bool)
    if system.any():
        words, lengths = words[~np.repeat(system, lengths)], np.where(system, 0, lengths)
    row = pc.list_parent_indices(column).to_numpy()
    return words, np.bincount(row, lengths, len(column)).astype(np.int64)


def join_words(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The words of several columns, joined row by row. A single column is returned unchanged."""
    (words, lengths), *more = parts
    for others, other_lengths in more:
        both = lengths + other_lengths
        starts, whole = np.cumsum(both) - both, np.zeros(len(words) + len(others), np.uint64)
        for piece, counts, begin in ((words, lengths, starts), (others, other_lengths, starts + lengths)):
            whole[np.arange(len(piece)) + np.repeat(begin - (np.cumsum(counts) - counts), counts)] = piece
        words, lengths = whole, both
    return words, lengths


def word_hashes(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """(hashes of all words in order, number of words of each text). Case is folded; ASCII white space separates words."""
    text = texts.str.to_lowercase().to_arrow().cast(pa.large_string())
    offsets = np.frombuffer(text.buffers()[1], np.int64, len(text) + 1, text.offset * 8)
    begin, end = int(offsets[0]), int(offsets[-1])
    data = np.frombuffer(text.buffers()[2] or b"", np.uint8, end - begin, begin)
    if not len(data):
        return np.zeros(0, np.uint64), np.zeros(len(text), np.int64)
    bounds = offsets - begin
    inside = ~SPACE[data]
    first, last = inside.copy(), inside.copy()
    first[1:] &= ~inside[:-1]
    last[:-1] &= ~inside[1:]
    # texts are adjacent in memory: a word must not continue from the end of one into the next
    joints = bounds[1:-1][(bounds[1:-1] > 0) & (bounds[1:-1] < len(data))]
    first[joints] = inside[joints]
    last[joints - 1] = inside[joints - 1]
    starts, ends = np.flatnonzero(first), np.flatnonzero(last) + 1
    power, inverse = modular_powers(1 << (len(data) - 1).bit_length())
    sums = np.zeros(len(data) + 1, np.uint64)
    np.cumsum(np.multiply(data, power[: len(data)], dtype=np.uint64), out=sums[1:])
    # the hash of a word is a polynomial of its bytes modulo 2**64, taken from cumulative sums over all bytes
    hashes = mix_bits((sums[ends] - sums[starts]) * inverse[starts])
    return hashes, np.diff(np.searchsorted(starts, bounds))


@lru_cache(4)
def modular_powers(count: int) -> list[np.ndarray]:
    """Powers 0 to count - 1 of FACTOR and of its inverse, modulo 2**64."""
    both = []
    for factor in (FACTOR, INVERSE):
        column = np.full(count, factor, np.uint64)
        column[0] = 1
        both.append(np.cumprod(column, dtype=np.uint64))
    return both


def mix_bits(x: np.ndarray) -> np.ndarray:
    """Integers with every bit depending on every bit of x (the finish of splitmix64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def text_hash(text: str) -> str:
    """sha256 of a text with case, white space and Unicode composition folded."""
    return digest(normalise_text(text).encode())


# -- the list -----------------------------------------------------------------------------------------------------


def row_hashes(table: pa.Table, kind: str) -> list[tuple[list[str], list[str]]]:
    """(texts, sketches) of each row of a table, in the format of data/forgotten.jsonl."""
    hashes: list[tuple[list[str], list[str]]] = [([], []) for _ in range(len(table))]
    for texts in prompt_answer_texts(table, kind):
        bins, counts = sketch_texts(texts)
        for row, (text, count) in enumerate(zip(texts, counts, strict=True)):
            if count >= MIN_TRIPLES:
                hashes[row][1].append("".join(f"{value:x}" for value in bins[row]))
            elif text.strip():
                hashes[row][0].append(text_hash(text))
    return hashes


class ForgottenIndex:
    """The list of forgotten records, indexed by ids, hashes of texts and sketches."""

    def __init__(self, entries: Sequence[Forgotten]) -> None:
        self.ids = {entry.id: entry for entry in entries}
        self.texts = {text: entry for entry in entries for text in entry.texts}
        pairs = [(sketch, entry) for entry in entries for sketch in entry.sketches]
        self.entries = [entry for _, entry in pairs]
        self.bins = np.array([[int(digit, 16) for digit in sketch] for sketch, _ in pairs], np.uint8).reshape(-1, BINS)


def find_forgotten(
    table: pa.Table, kind: str, index: ForgottenIndex, least: float = MIN_SIMILARITY
) -> dict[int, tuple[Forgotten, str]]:
    """{row: (entry, why)} of the rows of a table that match the list by id, by text, or by a similar text.

    why: `by id`, `word for word`, or `about 93% alike`. least: from this similarity on a row matches, 0 to 1.
    """
    found: dict[int, tuple[Forgotten, str]] = {}
    for number, names in enumerate(TEXT_COLUMNS[kind] if index.texts or index.entries else ()):
        bins, counts = sketch_rows(table, names)
        long = counts >= MIN_TRIPLES
        if index.texts and not long.all():
            short = np.flatnonzero(~long)
            for row, text in zip(
                short.tolist(), prompt_answer_texts(table.take(pa.array(short)), kind)[number], strict=True
            ):
                if entry := index.texts.get(text_hash(text)):
                    found.setdefault(row, (entry, "word for word"))
        rows = np.flatnonzero(long)
        for entry, sketch in zip(index.entries, index.bins, strict=True):
            alike = estimate_similarity(bins[rows], sketch)
            for at in np.flatnonzero(alike >= least).tolist():
                found.setdefault(int(rows[at]), (entry, f"about {alike[at]:.0%} alike"))
    for row, name in enumerate(table["id"].to_pylist()) if index.ids else ():
        if name in index.ids:
            found[row] = (index.ids[name], "by id")
    return found


def estimate_similarity(bins: np.ndarray, sketch: np.ndarray) -> np.ndarray:
    """The estimated Jaccard similarity of each row's triples to those of a sketch, (rows,)."""
    agree = ((bins == sketch) & (sketch > 0)).sum(1, dtype=np.int16)
    used = ((bins | sketch) > 0).sum(1, dtype=np.int16)
    return agree / np.maximum(used, 1)
