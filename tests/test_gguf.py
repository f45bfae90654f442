"""A GGUF file is a base: its weights in float32, its tokenizer as its metadata say, or one Problem."""

import builtins
import json
from pathlib import Path

import numpy as np
import pytest
from builds import smollm2, write_params
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.quants import dequantize, quantize

from stages import base
from stages.training.gguf import make_tokenizer, read_contents
from stages.training.models import BASE, load_model, load_tokenizer, stop_tokens
from validators.params import model_problems
from validators.problems import Problems

pytestmark = pytest.mark.slow

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
WIDTH, DEPTH, HEADS = 64, 2, 4


def byte_tokens():
    from tokenizers.pre_tokenizers import ByteLevel

    return SPECIAL + sorted(ByteLevel.alphabet()) + ["ĠĠ", "ĊĊ"]


def shapes():
    """{name: shape} of every weight of a llama as GGUF names it."""
    block = {
        "attn_norm": (WIDTH,), "attn_q": (WIDTH, WIDTH), "attn_k": (WIDTH // 2, WIDTH), "attn_v": (WIDTH // 2, WIDTH),
        "attn_output": (WIDTH, WIDTH), "ffn_norm": (WIDTH,), "ffn_gate": (128, WIDTH), "ffn_up": (128, WIDTH), "ffn_down": (WIDTH, 128),
    }  # fmt: skip
    blocks = {f"blk.{i}.{name}.weight": shape for i in range(DEPTH) for name, shape in block.items()}
    return {"token_embd.weight": (len(byte_tokens()), WIDTH), **blocks, "output_norm.weight": (WIDTH,)}


def write_gguf(path, architecture="llama", pre="smollm", without=(), merges=("Ġ Ġ", "Ċ Ċ"), **settings):
    """A llama of 80,000 weights as a GGUF file, its matrices in Q8_0; settings: what it shall have otherwise."""
    writer, tokens = GGUFWriter(path, architecture), byte_tokens()
    writer.add_context_length(256)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(DEPTH)
    writer.add_feed_forward_length(128)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS // 2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_license("apache-2.0")
    writer.add_tokenizer_model(settings.get("model", "gpt2"))
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(settings.get("tokens", tokens))
    writer.add_token_types([3] * len(SPECIAL) + [1] * (len(tokens) - len(SPECIAL)))
    writer.add_token_merges(list(merges))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(settings.get("eos", 2))
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)
    random = np.random.default_rng(0)
    for name, shape in (shapes() | settings.get("more", {})).items():
        weight = random.normal(0, 0.1, shape).astype(np.float32)
        if name in without:
            continue
        if len(shape) == 1:
            writer.add_tensor(name, weight)
        else:
            kind = GGMLQuantizationType.Q8_0
            writer.add_tensor(name, quantize(weight, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Runs the stage `base` on a file."""
    monkeypatch.chdir(tmp_path)

    def run(path):
        write_params(f"base: {{model: {path}, backend: auto}}", tmp_path)
        base.main()

    return run


def test_a_gguf_file_becomes_a_folder_with_the_same_numbers(tmp_path, build):
    build(write_gguf(tmp_path / "tiny.gguf"))
    weights = load_model(BASE).state_dict()
    inside = {tensor.name: dequantize(tensor.data, tensor.tensor_type) for tensor in GGUFReader("tiny.gguf").tensors}
    same = {"token_embd.weight": "embed_tokens.weight", "blk.1.ffn_down.weight": "layers.1.mlp.down_proj.weight"}
    for name, wanted in same.items():
        assert np.array_equal(inside[name], weights[f"model.{wanted}"].numpy())
    assert json.loads((BASE / "config.json").read_text())["dtype"] == "float32"
    assert (BASE / "README.md").read_text().startswith("---\nlicense: apache-2.0\n---\n")


def test_the_same_file_becomes_the_same_bytes_wherever_it_lies(tmp_path, build):
    found = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        build(write_gguf(tmp_path / folder / "tiny.gguf"))
        found.append({path.name: path.read_bytes() for path in BASE.iterdir()})
    assert found[0] == found[1]


def test_an_answer_ends_where_the_file_says(tmp_path, build):
    build(write_gguf(tmp_path / "tiny.gguf"))
    tokenizer = load_tokenizer(BASE)
    assert (tokenizer.eos_token, tokenizer.bos_token, tokenizer.pad_token) == (
        "<|im_end|>",
        "<|im_start|>",
        "<|im_end|>",
    )
    assert tokenizer.unk_token == "<|endoftext|>" and tokenizer.chat_template == TEMPLATE
    assert stop_tokens(tokenizer, BASE) == {2}


def test_text_is_cut_as_the_file_says(tmp_path):
    """SmolLM's digits stand alone, so the spaces before them are one token; GPT-2 leaves one to the number."""
    for pre, tokens in (("smollm", ["a", "ĠĠ", "3", "ĊĊ", "4"]), ("gpt-2", ["a", "Ġ", "Ġ", "3", "Ċ", "Ċ", "4"])):
        path = write_gguf(tmp_path / f"{pre}.gguf", pre=pre)
        tokenizer = make_tokenizer(path, read_contents(path)[0])
        assert tokenizer.tokenize("a  3\n\n4") == tokens
        assert tokenizer.decode(tokenizer("é 🙂  3<|im_end|>")["input_ids"]) == "é 🙂  3<|im_end|>"


def cut_in_the_weights(path):
    path.write_bytes(path.read_bytes()[:-1000])


def cut_in_the_metadata(path):
    path.write_bytes(path.read_bytes()[:2000])


def make_something_else(path):
    path.write_bytes(b"PK" * 1000)


def make_nothing(path):
    path.write_bytes(b"")


@pytest.mark.parametrize(
    "spoil, found",
    [
        (cut_in_the_weights, "cut or damaged"),
        (cut_in_the_metadata, "cut or damaged"),
        (make_something_else, "not a GGUF file"),
        (make_nothing, "not a GGUF file"),
    ],
)
def test_a_file_that_is_cut_or_something_else_is_one_problem(tmp_path, build, spoil, found):
    path = write_gguf(tmp_path / "tiny.gguf")
    spoil(path)
    assert [found in problem.found for problem in problems_of(build, path)] == [True]


def problems_of(build, path):
    with pytest.raises(Problems) as raised:
        build(path)
    assert not BASE.exists()
    return raised.value.problems


@pytest.mark.parametrize(
    "settings, found",
    [
        ({"architecture": "mpt"}, "transformers cannot read its architecture 'mpt'"),
        ({"without": ["blk.1.ffn_down.weight"]}, "1 weights are missing: model.layers.1.mlp.down_proj.weight"),
        ({"more": {"rope_freqs.weight": (8,)}}, "its positions are scaled by rope_freqs.weight"),
        ({"pre": "tekken"}, "its tokenizer splits text as 'tekken'"),
        ({"model": "llama"}, "its tokenizer is 'llama'"),
        ({"eos": 999}, "token 999"),
        ({"merges": ["no merge"]}, "its tokenizer cannot be made"),
        ({"tokens": [*byte_tokens()[:-1], "ĠĠ"], "merges": ["Ġ Ġ"]}, "token 259 is"),
    ],
)
def test_what_would_not_be_the_model_of_the_file_is_one_problem(tmp_path, build, settings, found):
    problems = problems_of(build, write_gguf(tmp_path / "tiny.gguf", **settings))
    assert [problem.found[: len(found)] for problem in problems] == [found]
    assert "tiny.gguf" in problems[0].where


def test_without_the_package_the_hint_is_what_to_install(tmp_path, build, monkeypatch):
    write_gguf(tmp_path / "tiny.gguf")
    real = builtins.__import__

    def refuse(name, *rest, **others):
        if name == "gguf":
            raise ImportError(name)
        return real(name, *rest, **others)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert [problem.hint for problem in problems_of(build, "tiny.gguf")] == ["pip install -e '.[gguf]'"]


def test_check_says_that_a_file_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [problem.found for problem in model_problems({"model": "lost.gguf"})] == ["no file 'lost.gguf'"]
    Path("there.gguf").touch()
    assert model_problems({"model": "there.gguf"}) == []


def test_a_real_model_answers_and_stops(build):
    build(smollm2())
    model, tokenizer = load_model(BASE), load_tokenizer(BASE)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    ids = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**ids, max_new_tokens=30, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert tokenizer.decode(answer) == "The capital of France is Paris.<|im_end|>"
