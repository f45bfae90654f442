"""What lies between a text and its tokens, looked at while rows are prepared, so that nothing is rendered twice.

with heard(render) as texts:                  # every text that is encoded meanwhile, with its tokens
    rows_of("sft", row, render, limits)
gives_back(render.tokenizer, *texts[0])       # the tokens say the text again
"""

import contextlib
from dataclasses import dataclass, field
from functools import lru_cache

PROBE = "a"


@dataclass
class EncodingFaults:
    """Rows of a file of which a text and its tokens differ. lossy: tokens that do not give back their text.

    headless: texts that do not begin with the tokens that the tokenizer puts before a text by itself.
    """

    lossy: list = field(default_factory=list)
    headless: list = field(default_factory=list)

    def look(self, number, tokenizer, texts):
        """Note a row by the texts that were encoded for it."""
        head = leading_tokens(tokenizer)
        if not all(decodes_to_text(tokenizer, text, ids) for text, ids in texts):
            self.lossy.append(number)
        if any(ids[: len(head)] != head for _, ids in texts):
            self.headless.append(number)


@contextlib.contextmanager
def record_encodings(render):
    """A list of all (text, tokens) that a Renderer encodes meanwhile; who looks at them empties it."""
    texts, encode = [], render.encode

    def encode_and_keep(given):
        found = encode(given)
        texts.extend((text, list(ids)) for text, (ids, _) in zip(given, found, strict=True))  # a stop may yet be added
        return found

    render.encode = encode_and_keep
    try:
        yield texts
    finally:
        del render.encode


def decodes_to_text(tokenizer, text, ids):
    """Whether tokens say their text again, up to what the tokenizer's own normaliser says that it changes."""
    said = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    if said == text:
        return True
    normalizer = tokenizer.backend_tokenizer.normalizer
    return bool(normalizer) and normalizer.normalize_str(said) == normalizer.normalize_str(text)


@lru_cache(maxsize=1)
def leading_tokens(tokenizer):
    """The tokens that a tokenizer puts before a text unless told not to, as inference without a chat template does."""
    bare = tokenizer(PROBE, add_special_tokens=False)["input_ids"]
    whole = tokenizer(PROBE)["input_ids"]
    places = (at for at in range(len(whole)) if whole[at : at + len(bare)] == bare)
    return whole[: next(places, 0)]
