"""Convert a GGUF file into a folder of safetensors, which is what every stage reads.

    unpack(Path("model.gguf"), Path("models/base"))

    models/base/config.json, model.safetensors, tokenizer.json, tokenizer_config.json, chat_template.jinja

transformers reads the config and the weights. This module makes the tokenizer from the file's own metadata: for a llama file
transformers 5.17 confuses BOS and EOS (it takes `bos_token_id` as `eos_token`), and splits text by GPT-2's pattern whatever
the file says. Weights become float32, which holds the file's numbers exactly, on every machine.
"""

import contextlib
import io
import struct
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from stages.training.models import disable_progress_bars
from validators.problems import Problem, Problems

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


MAGIC = b"GGUF"
SPECIAL_TYPES = (2, 3)  # llama.cpp's token types: unknown, control
USER_DEFINED = 4  # matched before text is split, as special tokens are, but it is text
SPECIAL_TOKENS = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
EXPECTED = "a whole GGUF file that transformers reads"
SAFETENSORS_HINT = "use the model's safetensors instead, which are complete"
DOWNLOAD_HINT = "use the model's safetensors, or download the file again"
# how text is split before it becomes tokens, by llama.cpp's names (llama-vocab.cpp): these patterns, or GPT-2's
WORD_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|NUMBER| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PATTERNS = {
    "llama-bpe": WORD_PATTERN.replace("NUMBER", r"\p{N}{1,3}"),
    "qwen2": WORD_PATTERN.replace("NUMBER", r"\p{N}"),
}
PRE_TOKENIZERS = ("gpt-2", "smollm", *PATTERNS)


def unpack(path: Path, folder: Path) -> None:
    """Write the model of a GGUF file into `folder`. Raises Problems if any part of it cannot be read."""
    import_gguf(path)
    if path.open("rb").read(4) != MAGIC:
        raise Problems([file_problem(path, "not a GGUF file: it does not begin with GGUF")])
    meta, weights = read_contents(path)
    if "rope_freqs.weight" in weights:  # Llama 3.1 and later: transformers 5.17 ignores it silently
        expected = "unscaled positions, which is what transformers reads"
        raise Problems(
            [
                Problem(
                    f"base.model: {path}", "its positions are scaled by rope_freqs.weight", expected, SAFETENSORS_HINT
                )
            ]
        )
    if problems := tokenizer_problems(path, meta):
        raise Problems(problems)
    disable_progress_bars()
    model = read_model(path, meta)
    ids = {
        f"{name}_id": meta.get(f"tokenizer.ggml.{key}_token_id")
        for name, key in SPECIAL_TOKENS.items()
        if name != "unk_token"
    }
    for config in (model.config, model.generation_config):
        config.update(ids)
    model.config._name_or_path = ""  # transformers takes the name for a path
    model.save_pretrained(folder)
    make_tokenizer(path, meta).save_pretrained(folder)
    write_card(meta, folder)


def import_gguf(path: Path) -> ModuleType:
    """The package gguf, which reads the file. Raises Problems if it is not installed."""
    try:
        import gguf
    except ImportError:
        found, hint = f"{str(path)!r} needs the package gguf, which is not installed", "pip install -e '.[gguf]'"
        raise Problems([Problem("base.model", found, "", hint)]) from None
    return gguf


def read_contents(path: Path) -> tuple[dict[str, Any], set[str]]:
    """The metadata of a GGUF file, such as {"tokenizer.ggml.eos_token_id": 2}, and its weights' names.

    Raises Problems if the file is cut or damaged.
    """
    gguf = import_gguf(path)
    try:
        reader = gguf.GGUFReader(path)
        meta = {name: field.contents() for name, field in reader.fields.items()}
        return meta, {tensor.name for tensor in reader.tensors}
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError, struct.error) as error:
        raise Problems([file_problem(path, f"cut or damaged: {error_text(error)}")]) from None


def tokenizer_problems(path: Path, meta: dict[str, Any]) -> list[Problem]:
    """Problems that prevent making the tokenizer of a file as llama.cpp makes it."""
    kind, cut, tokens = (meta.get(f"tokenizer.ggml.{key}") for key in ("model", "pre", "tokens"))
    if meta.get("split.count", 1) > 1:
        found = f"one of {meta['split.count']} parts"
        return [
            Problem(
                f"base.model: {path}",
                found,
                "one file",
                "join the parts: llama-gguf-split --merge FIRST_PART WHOLE_FILE",
            )
        ]
    if kind != "gpt2" or not tokens or "tokenizer.ggml.merges" not in meta:
        return [
            Problem(
                f"base.model: {path}",
                f"its tokenizer is {kind!r}",
                "'gpt2', byte-level BPE with merges",
                SAFETENSORS_HINT,
            )
        ]
    problems = []
    if cut not in PRE_TOKENIZERS:
        found, expected = f"its tokenizer splits text as {cut!r}", f"one of {', '.join(PRE_TOKENIZERS)}"
        problems.append(Problem(f"base.model: {path}: tokenizer.ggml.pre", found, expected, SAFETENSORS_HINT))
    for key in SPECIAL_TOKENS.values():
        where, number = f"tokenizer.ggml.{key}_token_id", meta.get(f"tokenizer.ggml.{key}_token_id", 0)
        if not 0 <= number < len(tokens):
            expected = f"one of the {len(tokens):,} tokens of the file"
            problems.append(Problem(f"base.model: {path}: {where}", f"token {number}", expected, DOWNLOAD_HINT))
    return problems


def read_model(path: Path, meta: dict[str, Any]) -> "PreTrainedModel":
    """The model of a GGUF file, every weight float32. Raises Problems if weights are missing or of unknown shape."""
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    try:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar, which would go to a log too
            model, loading = AutoModelForCausalLM.from_pretrained(  # ty: ignore[not-iterable]  # a pair: output_loading_info
                path.parent, gguf_file=path.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32,
                trust_remote_code=False, local_files_only=True, output_loading_info=True,
            )  # fmt: skip
    except Exception as error:  # the file may hold anything
        what = f"transformers cannot read its architecture {meta.get('general.architecture')!r}: {error_text(error)}"
        raise Problems([file_problem(path, what)]) from None
    missing = sorted(loading["missing_keys"]) + sorted(str(key) for key in loading["mismatched_keys"])
    if missing:
        raise Problems([file_problem(path, f"{len(missing)} weights are missing: {', '.join(missing[:3])}")])
    return without_quantization(model)


def without_quantization(model: "PreTrainedModel") -> "PreTrainedModel":
    """The same weights in a new model without quantisation settings: transformers saves no quantised GGUF model."""
    import torch

    with torch.device("meta"):
        fresh = type(model)(model.config)
    fresh.load_state_dict(model.state_dict(), assign=True)
    fresh.tie_weights()
    return fresh


def make_tokenizer(path: Path, meta: dict[str, Any]) -> "PreTrainedTokenizerFast":
    """The tokenizer that a file's metadata describes. Raises Problems if an id gives another token than in the file."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    tokens, cut = meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.pre"]
    merges = [tuple(merge.split(" ")) for merge in meta["tokenizer.ggml.merges"]]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    special = {name: meta.get(f"tokenizer.ggml.{key}_token_id") for name, key in SPECIAL_TOKENS.items()}
    special = {name: tokens[i] for name, i in special.items() if i is not None}
    try:
        inner = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=cut == "llama-bpe"))
    except Exception as error:  # tokenizers has no error class of its own
        raise Problems([file_problem(path, f"its tokenizer cannot be made: {error_text(error)}")]) from None
    inner.pre_tokenizer, inner.decoder = pre_tokenizer(cut), decoders.ByteLevel()
    if cut == "qwen2":
        inner.normalizer = normalizers.NFC()  # as in Qwen's own tokenizer.json; llama.cpp leaves it out
    for token, kind in zip(tokens, meta.get("tokenizer.ggml.token_type", []), strict=False):
        if kind in SPECIAL_TYPES:
            inner.add_special_tokens([AddedToken(token, normalized=False, special=True)])
        elif kind == USER_DEFINED:
            inner.add_tokens([AddedToken(token, normalized=False, special=False)])
    if meta.get("tokenizer.ggml.add_bos_token", cut == "llama-bpe") and (bos := special.get("bos_token")):
        inner.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, vocabulary[bos])]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, clean_up_tokenization_spaces=False, chat_template=meta.get("tokenizer.chat_template"),
        model_max_length=meta.get(f"{meta['general.architecture']}.context_length"), **special,
    )  # fmt: skip
    differ = [i for i, token in enumerate(tokens) if tokenizer.convert_ids_to_tokens(i) != token]
    if differ or len(tokenizer) != len(tokens):
        i = differ[0] if differ else len(tokens)
        found = f"token {i} is {tokenizer.convert_ids_to_tokens(i)!r}"
        expected = repr(tokens[i]) if differ else f"{len(tokens):,} tokens"
        raise Problems([Problem(f"base.model: {path}: tokenizer.ggml.tokens", found, expected, DOWNLOAD_HINT)])
    return tokenizer


def pre_tokenizer(cut: str) -> Any:
    """The pre-tokenizer, which splits text into pieces before tokens are made, by llama.cpp's name for it."""
    from tokenizers import Regex, pre_tokenizers

    if cut in PATTERNS:
        split = pre_tokenizers.Split(Regex(PATTERNS[cut]), "isolated")
        return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), words]) if cut == "smollm" else words


def write_card(meta: dict[str, Any], folder: Path) -> None:
    """Write the file's license into the model's README.md, from where the cards of later models take it."""
    if license := meta.get("general.license"):
        text = f"---\nlicense: {license}\n---\n\n{meta.get('general.name', 'A model')}, from a GGUF file.\n"
        Path(folder, "README.md").write_text(text, encoding="utf-8", newline="\n")


def file_problem(path: Path, found: str) -> Problem:
    return Problem(f"base.model: {path}", found, EXPECTED, DOWNLOAD_HINT)


def error_text(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
