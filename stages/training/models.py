"""Models on disk: the tiny base, and the chain of adapters on top of a base.

A model folder is one of
    full weights    config.json, *.safetensors, tokenizer files
    adapters        adapters/00_<step>/, adapters/01_<step>/, ... in the order of training, on `models/base`
    both            full weights, and adapters on top of them
so that every model loads from its own folder and `models/base` alone. Only safetensors are read, never pickles, and no code
that comes with a model is run: `trust_remote_code=False` is always passed, else transformers would prompt on a terminal.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.training.types import Tokenizer
from validators.problems import Problem, Problems

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

    from stages.training.rendering import Renderer


BASE = Path("models/base")
HEADER_BYTES = 100_000_000  # safetensors' own limit
# A training template as TRL requires: generation marks surround what the model says, with its end of turn.
TINY_TEMPLATE = """\
{%- if tools %}{{ '<|system|>' }}{% if messages[0].role == 'system' %}{{ messages[0].content + '\n' }}{% endif %}
{%- for tool in tools %}{{ (tool | tojson) + '\n' }}{% endfor %}{{ '<|end|>' }}{% endif %}
{%- for message in messages %}
{%- if message.role == 'assistant' %}{{ '<|assistant|>' }}{% generation %}{{ message.content or '' }}
{%- for call in message.tool_calls or [] %}{{ '<|call|>' + (call | tojson) }}{% endfor %}{{ '<|end|>' }}{% endgeneration %}
{%- elif not (tools and loop.first and message.role == 'system') %}
{{- '<|' + message.role + '|>' + (message.content or '') + '<|end|>' }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"""


def disable_progress_bars() -> None:
    """Turn off progress bars if stderr is not a terminal: in a log they are a thousand useless lines."""
    if not sys.stderr.isatty():
        import datasets
        from transformers.utils import logging

        datasets.disable_progress_bars()
        logging.disable_progress_bar()


def save_tiny_model(folder: Path) -> None:
    """Write the built-in base model: a byte-level Qwen3 of about 0.6M parameters, the same weights on every machine."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    disable_progress_bars()
    special = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|call|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(special + alphabet)}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token="<|end|>",
        pad_token="<|pad|>",
        additional_special_tokens=special,
        model_max_length=8192,
        clean_up_tokenization_spaces=False,
        chat_template=TINY_TEMPLATE,
    )
    config = Qwen3Config(
        vocab_size=len(vocabulary),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Qwen3ForCausalLM(config)
    model.generation_config.update(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def full_weights(folder: Path) -> Path:
    """The folder that holds the full weights under `folder`'s adapters: itself, or `models/base`."""
    return folder if (folder / "config.json").exists() else BASE


def adapters(folder: Path) -> list[Path]:
    """The adapter folders of a model, in the order of training."""
    return sorted(path for path in (folder / "adapters").glob("*") if path.is_dir())


def part_of_model(path: str) -> str | None:
    """A file's path in a model without the names of steps; None for files that do not affect results, such as README.md.

    path: relative to the model's folder, with `/`. Two models whose parts have the same bytes are the same model.
    """
    if path == "made_of.json" or path.endswith(".md") or path.startswith("LICENSE"):
        return None
    first, *rest = path.split("/")
    return "/".join([first, rest[0].partition("_")[0], *rest[1:]]) if first == "adapters" and rest else path


def is_safetensors(path: Path) -> bool:
    """True if a file begins with a safetensors header and has the length that the header gives."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(HEADER_BYTES, path.stat().st_size - 8):
            return False
        try:
            header = json.loads(file.read(length))
            ends = [int(tensor["data_offsets"][1]) for name, tensor in header.items() if name != "__metadata__"]
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            return False
    return path.stat().st_size == 8 + length + max(ends, default=0)


def adapter_weights(adapter: Path) -> Path:
    """The safetensors of an adapter folder. Raises Problems if there are none: PEFT would load a pickle, or ask the Hub."""
    path = adapter / "adapter_model.safetensors"
    if path.exists() and is_safetensors(path):
        return path
    pickles = sorted(pickle.name for pickle in adapter.glob("*.bin"))
    found = "cut, or no safetensors" if path.exists() else ", only ".join(["not there", *pickles])
    expected = "weights as safetensors; pickles can run code and are never loaded"
    hint = "dvc checkout restores what a stage built; PEFT's save_pretrained writes safetensors"
    raise Problems([Problem(str(path), found, expected, hint)])


def load_pretrained(kind: Any, folder: str | Path, **options: Any) -> Any:
    """Load a folder with a class of transformers, such as AutoConfig. Raises Problems if it fails, or needs the model's code."""
    try:
        return kind.from_pretrained(folder, trust_remote_code=False, **options)
    except Exception as error:  # the settings may hold anything
        raise Problems([load_problem(folder, error)]) from None


def load_problem(folder: str | Path, error: Exception) -> Problem:
    """The Problem of a model that transformers cannot load: it needs its own code, or fails with an error of transformers."""
    text, expected = " ".join(str(error).split()), "a model that transformers knows"
    if "trust_remote_code" in text:  # transformers would advise to trust it
        named = sorted({name for path in Path(folder).glob("*config.json") for name in custom_code_classes(path)})
        found = f"needs code of its own ({', '.join(named)}), which Tilth does not run"
        return Problem(
            str(folder), found, expected, "take another model, or a version of it that transformers supports"
        )
    return Problem(str(folder), f"does not load: {text[:300]}", expected, "take another model, or download it again")


def custom_code_classes(path: Path) -> list[str]:
    """The classes that the `auto_map` of a config names; [] if it cannot be read."""
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        classes = settings.get("auto_map", {}).values()
    except (ValueError, AttributeError):
        return []
    return [repr(name) for each in classes for name in (each if isinstance(each, list) else [each]) if name]


def load_tokenizer(folder: Path = BASE) -> Tokenizer:
    """The tokenizer of a model, padding on the left as generation needs. Raises Problems if it has no chat template."""
    from transformers import AutoTokenizer

    tokenizer = load_pretrained(AutoTokenizer, full_weights(folder), padding_side="left")
    if tokenizer.chat_template is None:
        raise Problems(
            [
                Problem(
                    str(full_weights(folder)),
                    "the tokenizer has no chat template",
                    "a chat_template.jinja beside it",
                    "base: {chat_template: FILE}, or take the instruct variant of the model",
                )
            ]
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    # turns off its warning of "indexing errors", which comes once: preflight and evaluate count the rows that are too long
    tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
    return tokenizer


def load_model(folder: Path, dtype: str = "float32", device: str | None = None) -> "PreTrainedModel":
    """The model of a folder with its whole chain of adapters merged.

    Merges in float32: merging in bfloat16 moves the logits by 1e-2, in float32 by 3e-6.
    """
    import torch
    from transformers import AutoModelForCausalLM

    disable_progress_bars()
    chain = adapters(folder)
    for adapter in chain:
        adapter_weights(adapter)
    model = AutoModelForCausalLM.from_pretrained(
        full_weights(folder),
        dtype=torch.float32 if chain else getattr(torch, dtype),
        use_safetensors=True,
        trust_remote_code=False,
    )
    for adapter in chain:
        model = attach_adapter(model, adapter).merge_and_unload()
    return model.to(device=device, dtype=getattr(torch, dtype))


def attach_adapter(model: "PreTrainedModel", adapter: Path) -> "PeftModel":
    """A model with an adapter that can be merged into its weights.

    If head and embedding share one weight and the adapter changes one of them, this unties them: merging would change both,
    and the model would not be the one that was trained.
    """
    import torch
    from peft import PeftModel
    from safetensors import safe_open

    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is not None and head.weight is embedding.weight:
        with safe_open(adapter_weights(adapter), "pt") as file:
            names = list(file.keys())
        tied = [name for name, module in model.named_modules() if module is head or module is embedding]
        if any(f".{module}." in name for module in tied for name in names):
            head.weight = torch.nn.Parameter(head.weight.detach().clone())
            for config in (model.config, model.config.get_text_config()):
                config.tie_word_embeddings = False
    return PeftModel.from_pretrained(model, adapter)


def stop_tokens(tokenizer: Tokenizer, folder: Path = BASE) -> frozenset[int]:
    """Ids of the tokens at which generation ends: the tokenizer's, and those in the model's own configs."""
    stops = {tokenizer.eos_token_id}
    for name in ("config.json", "generation_config.json"):
        if (path := Path(folder, name)).exists():
            ids = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id")
            stops |= set(ids) if isinstance(ids, list) else {ids}
    return frozenset(stops - {None})


def renderer(folder: Path = BASE, chat_template_kwargs: dict[str, Any] | None = None) -> "Renderer":
    """The Renderer of a model: its tokenizer, its chat template, and the tokens at which it stops.

    chat_template_kwargs: arguments of the template, in addition to the base's settings or in place of them.
    """
    from stages.training.rendering import Renderer
    from stages.training.template_settings import freeze_date, read_settings

    tokenizer, settings = load_tokenizer(folder), read_settings(full_weights(folder))
    if settings["date"]:
        freeze_date(tokenizer.chat_template, settings["date"])
    return Renderer(
        tokenizer,
        stop_tokens(tokenizer, full_weights(folder)),
        **settings["chat_template_kwargs"] | (chat_template_kwargs or {}),
    )
