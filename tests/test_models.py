"""Models on disk: the tiny base, its template, and chains of adapters."""

import hashlib

import pytest
import torch
from peft import LoraConfig, get_peft_model

from commands.exports.adapter import export_adapter
from stages.training import models
from validators.problems import Problems

pytestmark = pytest.mark.slow

TALK = [
    {"role": "system", "content": "Be brief.", "tool_calls": None},
    {"role": "user", "content": "Reverse abc.", "tool_calls": None},
    {"role": "assistant", "content": "cba", "tool_calls": None},
    {"role": "user", "content": "And é?", "tool_calls": None},
    {"role": "assistant", "content": "é", "tool_calls": None},
]


@pytest.fixture
def base(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    models.save_tiny_model(models.BASE)
    return models.BASE


def test_the_tiny_model_has_the_same_bytes_every_time(base, tmp_path):
    models.save_tiny_model(tmp_path / "again")
    for path in base.iterdir():
        assert (
            hashlib.sha256(path.read_bytes()).digest()
            == hashlib.sha256((tmp_path / "again" / path.name).read_bytes()).digest()
        )


def test_the_tiny_model_is_tiny(base):
    assert 0.5e6 < sum(weight.numel() for weight in models.load_model(base).parameters()) < 0.7e6


def test_the_tiny_template_marks_the_answers_and_their_ends_and_nothing_else(base):
    tokenizer = models.load_tokenizer(base)
    tokens = tokenizer.apply_chat_template(TALK, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    learned = [token for token, mark in zip(tokens["input_ids"], tokens["assistant_masks"], strict=True) if mark]
    assert tokenizer.decode(learned) == "cba<|end|>é<|end|>"


def test_the_tiny_templates_prompt_is_a_prefix_of_the_whole(base):
    tokenizer = models.load_tokenizer(base)
    prompt = tokenizer.apply_chat_template(TALK[:2], tokenize=False, add_generation_prompt=True)
    assert tokenizer.apply_chat_template(TALK[:3], tokenize=False).startswith(prompt)


def test_tools_and_tool_calls_reach_the_training_text(base):
    tokenizer = models.load_tokenizer(base)
    call = [{"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}]
    talk = [
        TALK[1],
        {"role": "assistant", "content": None, "tool_calls": call},
        {"role": "tool", "content": "2"},
        TALK[2],
    ]
    text = tokenizer.apply_chat_template(
        talk, tools=[{"type": "function", "function": {"name": "add"}}], tokenize=False
    )
    assert '"name": "add"' in text and '"arguments": {"a": 1}' in text and "<|tool|>2<|end|>" in text


def test_a_tokenizer_without_a_chat_template_is_an_error(base):
    (base / "chat_template.jinja").unlink()
    with pytest.raises(Exception, match="no chat template"):
        models.load_tokenizer(base)


def add_adapter(parent, folder, seed):
    """A trained-looking adapter on top of a model: (merged logits, folder of the adapter)."""
    torch.manual_seed(seed)
    model = get_peft_model(
        models.load_model(parent), LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    )
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    model.save_pretrained(folder)
    return model


def test_a_chain_of_two_adapters_loads_as_the_model_that_was_trained(base, tmp_path):
    import shutil

    first, second = tmp_path / "models/first", tmp_path / "models/second"
    add_adapter(base, first / "adapters/00_first", 1)
    shutil.copytree(first, second)
    trained = add_adapter(first, second / "adapters/01_second", 2).eval()
    ids = torch.arange(7, 40)[None]
    with torch.inference_mode():
        expected = trained(input_ids=ids).logits
        assert not torch.allclose(models.load_model(first)(input_ids=ids).logits, expected, atol=1e-2)
        assert torch.allclose(models.load_model(second)(input_ids=ids).logits, expected, atol=1e-4)


class Evil:
    def __reduce__(self):
        return open, ("ran", "w")


@pytest.mark.parametrize(
    "name, found",
    [
        ("adapter_model.bin", r"adapter_model\.safetensors: not there, only adapter_model\.bin; .* are never loaded"),
        ("adapter_model.safetensors", r"adapter_model\.safetensors: cut, or no safetensors"),
        ("notes.txt", r"adapter_model\.safetensors: not there; "),  # PEFT would ask the Hub for them
    ],
)
def test_an_adapter_is_safetensors_or_refused(base, tmp_path, name, found):
    adapter = tmp_path / "models/first/adapters/00_first"
    add_adapter(base, adapter, 1)
    (adapter / "adapter_model.safetensors").unlink()
    torch.save({"a": Evil()}, adapter / name)
    with pytest.raises(Problems, match=found):
        models.load_model(tmp_path / "models/first")
    with pytest.raises(Problems, match=found):
        export_adapter(tmp_path / "models/first", tmp_path)
    assert not (tmp_path / "ran").exists()


def test_adapters_on_full_weights_load_on_those_weights(base, tmp_path):
    full = tmp_path / "models/full"
    models.save_tiny_model(full)
    assert models.full_weights(full) == full
    assert models.full_weights(tmp_path / "models/none") == models.BASE


@pytest.mark.parametrize("module", ["lm_head", "embed_tokens"])
def test_an_adapter_of_one_of_two_tied_weights_changes_that_one_alone(base, tmp_path, module):
    """The tiny model's head is its embedding: merged into what both are, the model would be another than was trained."""
    path = tmp_path / "models/first/adapters/00_first"
    model = get_peft_model(
        models.load_model(models.BASE), LoraConfig(r=4, target_modules=[module], task_type="CAUSAL_LM")
    )
    torch.manual_seed(1)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(path)
    ids = torch.arange(7, 40)[None]
    with torch.inference_mode():
        trained = model.eval()(input_ids=ids).logits
        merged = models.load_model(tmp_path / "models/first").eval()
        assert torch.allclose(merged(input_ids=ids).logits, trained, atol=1e-4)
    assert merged.config.tie_word_embeddings is False
    assert models.load_model(models.BASE).config.tie_word_embeddings is True
