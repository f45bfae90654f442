"""Near-duplicates: MinHash signatures find candidates, the Jaccard similarity of word triples decides.

    signatures(texts) -> (rows, BANDS) integers; rows that share one in any band are candidates
    similarity("a b c d", "a b c e") -> 0.333

Source: Broder, On the resemblance and containment of documents (1997); bands as in Leskovec, Rajaraman and Ullman, Mining
of Massive Datasets, chapter 3. At a similarity of 0.8, 16 bands of 8 miss one pair in twenty; at 0.88 one in a thousand.
Signatures are never written to disk: they may differ between versions of rensa.
"""

import re
from collections.abc import Set
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow.compute as pc
from rensa import RMinHash

from stages.rows.tables import COLUMNS, MESSAGES
from validators._messages import as_series, spoken_text
from validators._words import ANY_UNSPACED, BETWEEN_SPACES

if TYPE_CHECKING:
    import pyarrow as pa

BANDS, BAND_ROWS, SHINGLE_WORDS = 16, 8, 3
WORD = re.compile(BETWEEN_SPACES)
ODD_FACTORS = [np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)]


def row_texts(table: "pa.Table", kind: str) -> pl.Series:
    """The text of each row, all its messages joined, (rows,) strings."""
    parts = []
    for name, column in COLUMNS[kind].items():
        if column == MESSAGES:
            messages = table[name].combine_chunks()
            turns = pl.DataFrame(
                {
                    "row": pc.list_parent_indices(messages).to_numpy(),
                    "text": pl.from_arrow(spoken_text(pc.list_flatten(messages))),
                }
            )
            texts = turns.group_by("row").agg(pl.col("text").str.join(" ")) if len(turns) else turns
            rows = pl.DataFrame({"row": np.arange(len(table))}, schema={"row": turns.schema["row"]})
            parts.append(rows.join(texts, on="row", how="left", maintain_order="left")["text"].fill_null(""))
    if kind == "grpo":
        parts.append(as_series(table["ground_truth"]).fill_null(""))
    return (
        pl.DataFrame({str(i): part for i, part in enumerate(parts)})
        .select(pl.concat_str(pl.all(), separator=" "))
        .to_series()
    )


def signatures(texts: pl.Series) -> np.ndarray:
    """Band hashes of texts, (rows, BANDS) unsigned 64-bit integers."""
    # one pattern for all would be slower where no text needs it
    pattern = BETWEEN_SPACES if texts.str.contains(ANY_UNSPACED).any() else r"\S+"
    words = texts.str.to_lowercase().str.extract_all(pattern)
    lengths = words.list.len().to_numpy().astype(np.int64)
    hashes = words.explode(empty_as_null=False).hash(seed=1).to_numpy()
    shingles, offsets = shingle_hashes(hashes, lengths)
    offsets = offsets.astype(np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(shingles, offsets, BANDS * BAND_ROWS, 1)
    digests = np.array(matrix.to_rows(), dtype=np.uint64).reshape(len(lengths), BANDS, BAND_ROWS)
    bands = np.zeros(digests.shape[:2], np.uint64)
    for column in range(BAND_ROWS):
        bands = (bands ^ digests[:, :, column]) * ODD_FACTORS[0]
        bands ^= bands >> np.uint64(29)
    return bands + np.arange(BANDS, dtype=np.uint64) * ODD_FACTORS[1]


def shingle_hashes(hashes: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(hashes of the word triples of all rows, flat; where each row's begin). A row of fewer words than three has its words."""
    count = np.where(lengths >= SHINGLE_WORDS, lengths - SHINGLE_WORDS + 1, lengths)
    offsets = np.r_[0, np.cumsum(count)]
    starts = np.r_[0, np.cumsum(lengths)[:-1]]
    position = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], count)
    triple = np.repeat(lengths >= SHINGLE_WORDS, count)
    shingles = hashes[position] * ODD_FACTORS[0]
    for step in (1, 2):
        following = hashes[np.minimum(position + step, len(hashes) - 1)] * ODD_FACTORS[step]
        combined = shingles ^ (following + (shingles << np.uint64(6)) + (shingles >> np.uint64(2)))
        shingles = np.where(triple, combined, shingles)
    return shingles, offsets


def similarity(a: str, b: str, boilerplate: Set[object] = frozenset()) -> float:
    """Jaccard similarity of the word triples of two texts, 0 to 1. boilerplate: triples that do not count."""
    first, second = word_triples(a) - boilerplate, word_triples(b) - boilerplate
    return len(first & second) / max(1, len(first | second))


def word_triples(text: str) -> set[object]:
    """The set of all runs of three words; for a shorter text its words."""
    words = WORD.findall(text.lower())
    if len(words) < SHINGLE_WORDS:
        return set(words)
    return set(zip(words, words[1:], words[2:], strict=False))
