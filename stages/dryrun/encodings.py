"""What lies between a text and its tokens, looked at while rows are prepared, so that nothing is rendered twice.

with heard(render) as texts:                  # every text that is encoded meanwhile, with its tokens
    rows_of("sft", row, render, limits)
gives_back(render.tokenizer, *texts[0])       # the tokens say the text again
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
    """Rows of a file of which a text and its tokens differ. lossy: tokens that do not give back their text.

    headless: texts that do not begin with the tokens that the tokenizer puts before a text by itself.
    """

    lossy: list[int] = field(default_factory=list)
    headless: list[int] = field(default_factory=list)

    def look(self, number: int, tokenizer: Tokenizer, texts: Iterable[tuple[str, list[int]]]) -> None:
        """Note a row by the texts that were encoded for it."""
        head = leading_tokens(tokenizer)
        if not all(decodes_to_text(tokenizer, text, ids) for text, ids in texts):
            self.lossy.append(number)
        if any(ids[: len(head)] != head for _, ids in texts):
            self.headless.append(number)


@contextlib.contextmanager
def record_encodings(render: Renderer) -> Iterator[list[tuple[str, list[int]]]]:
    """A list of all (text, tokens) that a Renderer encodes meanwhile; who looks at them empties it."""
    texts, encode = [], render.encode

    def encode_and_keep(given: list[str]) -> list[Encoded]:
        found = encode(given)
        texts.extend((text, list(ids)) for text, (ids, _) in zip(given, found, strict=True))  # a stop may yet be added
        return found

    render.encode = encode_and_keep  # ty: ignore[invalid-assignment]  # of this one object, until it is deleted
    try:
        yield texts
    finally:
        del render.encode


def decodes_to_text(tokenizer: Tokenizer, text: str, ids: list[int]) -> bool:
    """Whether tokens say their text again, up to what the tokenizer's own normaliser says that it changes."""
    said = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    if said == text:
        return True
    normalizer = tokenizer.backend_tokenizer.normalizer
    return bool(normalizer) and normalizer.normalize_str(said) == normalizer.normalize_str(text)


@lru_cache(maxsize=1)
def leading_tokens(tokenizer: Tokenizer) -> list[int]:
    """The tokens that a tokenizer puts before a text unless told not to, as inference without a chat template does."""
    bare = tokenizer(PROBE, add_special_tokens=False)["input_ids"]
    whole = tokenizer(PROBE)["input_ids"]
    places = (at for at in range(len(whole)) if whole[at : at + len(bare)] == bare)
    return whole[: next(places, 0)]
