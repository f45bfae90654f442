"""Differences between a text and its tokens, checked while rows are prepared, so that nothing is rendered twice.

with record_encodings(render) as texts:          # every text that is encoded in the block, with its tokens
    rows_for_trainer("sft", row, render, limits)
decodes_to_text(render.tokenizer, *texts[0])     # True if the tokens give back the text
"""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from stages.training.rendering import Encoded, Renderer
from stages.training.types import Tokenizer

PROBE = "a"


@dataclass
class EncodingFaults:
    """Numbers of the rows of a file whose text and tokens differ. lossy: the tokens do not decode to the text.

    headless: the tokens do not begin with those that the tokenizer itself puts before a text, such as BOS.
    """

    lossy: list[int] = field(default_factory=list)
    headless: list[int] = field(default_factory=list)

    def check(self, number: int, tokenizer: Tokenizer, texts: Iterable[tuple[str, list[int]]]) -> None:
        """Check the texts that were encoded for a row, and note its number."""
        head = leading_tokens(tokenizer)
        if not all(decodes_to_text(tokenizer, text, ids) for text, ids in texts):
            self.lossy.append(number)
        if any(ids[: len(head)] != head for _, ids in texts):
            self.headless.append(number)


@contextlib.contextmanager
def record_encodings(render: Renderer) -> Iterator[list[tuple[str, list[int]]]]:
    """A list of all (text, tokens) that the Renderer encodes in the block; the caller empties it."""
    texts, encode = [], render.encode

    def encode_and_record(given: list[str]) -> list[Encoded]:
        encodings = encode(given)
        texts.extend(
            (text, list(ids)) for text, (ids, _) in zip(given, encodings, strict=True)
        )  # copied: a stop may be added later
        return encodings

    render.encode = encode_and_record  # ty: ignore[invalid-assignment]  # on this object only, deleted below
    try:
        yield texts
    finally:
        del render.encode


def decodes_to_text(tokenizer: Tokenizer, text: str, ids: list[int]) -> bool:
    """Whether tokens decode to their text, apart from changes by the tokenizer's own normaliser."""
    decoded = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    if decoded == text:
        return True
    normalizer = tokenizer.backend_tokenizer.normalizer
    return bool(normalizer) and normalizer.normalize_str(decoded) == normalizer.normalize_str(text)


@lru_cache(maxsize=1)
def leading_tokens(tokenizer: Tokenizer) -> list[int]:
    """The tokens that a tokenizer puts before a text by default, as in inference without a chat template."""
    bare = tokenizer(PROBE, add_special_tokens=False)["input_ids"]
    whole = tokenizer(PROBE)["input_ids"]
    places = (at for at in range(len(whole)) if whole[at : at + len(bare)] == bare)
    return whole[: next(places, 0)]
