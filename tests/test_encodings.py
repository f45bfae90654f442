"""What lies between a text and its tokens: whether they say it again, and what a tokenizer puts before it."""

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from stages.dryrun.encodings import EncodingFaults, decodes_to_text, leading_tokens, record_encodings
from stages.training.models import load_tokenizer, save_tiny_model
from stages.training.rendering import Renderer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "base"
    save_tiny_model(folder)
    return load_tokenizer(folder)


def letters(normalizer=None, begin=False):
    """A tokenizer of single letters with an unknown token, which may normalise and may begin with <s>."""
    known = {token: at for at, token in enumerate(["<unk>", "<s>", *"abcdefé"])}
    backend = Tokenizer(models.BPE(vocab=known, merges=[], unk_token="<unk>"))
    backend.decoder, backend.pre_tokenizer = decoders.Fuse(), pre_tokenizers.Split("", "isolated")
    if normalizer:
        backend.normalizer = normalizer
    if begin:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", bos_token="<s>")


def ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def test_tokens_of_bytes_give_back_any_text(tiny):
    for text in ("plain", "Zürich שלום 👩🏽‍🚀", "  two  spaces , and a stop .\n\n", "<|user|>a<|end|>"):
        assert decodes_to_text(tiny, text, ids(tiny, text)), text


def test_an_unknown_letter_is_lost():
    tokenizer = letters()
    assert decodes_to_text(tokenizer, "abé", ids(tokenizer, "abé"))
    assert not decodes_to_text(tokenizer, "abx", ids(tokenizer, "abx"))


def test_what_the_normaliser_says_that_it_changes_is_not_lost():
    text = "ABe\u0301"
    assert not decodes_to_text(letters(), text, ids(letters(), text))
    tokenizer = letters(normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()]))
    assert decodes_to_text(tokenizer, text, ids(tokenizer, text))
    assert not decodes_to_text(tokenizer, "xyz", ids(tokenizer, "xyz"))


def test_the_head_is_what_the_tokenizer_puts_before_a_text_by_itself(tiny):
    assert leading_tokens(letters(begin=True)) == [1]
    assert leading_tokens(letters()) == leading_tokens(tiny) == []


def test_rows_without_the_head_are_noted_and_those_with_it_are_not():
    tokenizer, found = letters(begin=True), EncodingFaults()
    for number, text in enumerate(("<s>ab", "ab", "<s>ax")):
        found.check(number, tokenizer, [(text, ids(tokenizer, text))])
    assert (found.headless, found.lossy) == ([1], [2])


def test_what_is_heard_is_what_was_encoded_and_the_renderer_is_as_it_was(tiny):
    render = Renderer(tiny, [])
    with record_encodings(render) as texts:
        [(first, _)] = render.encode(["ab"])
        first.append(99)  # as a stop is added to a sequence later
    assert texts == [("ab", first[:-1])]
    render.encode(["cd"])
    assert len(texts) == 1 and "encode" not in vars(render)
