import importlib
import json
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import preloaded
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from commands import export
from commands.exports import merged_model
from stages.training import models
from validators.problems import Problems

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
IDS = torch.arange(7, 40)[None]
STAND_IN = """#!{python}
import sys, pathlib
folder, _, out, _, kind = sys.argv[1:]
if kind == "q4_k_m": sys.exit("argument --outtype: invalid choice: 'q4_k_m'")
pathlib.Path(out).write_text(kind + " of " + ",".join(sorted(p.name for p in pathlib.Path(folder).iterdir())))
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The base model, a chain of two adapters of different modules, ranks and scales, and a model of full weights."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("base: {model: tiny}\nsteps: {first: {}, second: {}, full: {}, later: {}}\n")
    models.save_tiny_model(models.BASE)
    adapter("base", "models/first", "00_first", 1, r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])
    shutil.copytree("models/first", "models/second")
    adapter("first", "models/second", "01_second", 2, r=2, lora_alpha=2, target_modules=["v_proj", "down_proj"])
    models.load_model(models.BASE).save_pretrained("models/full")
    models.load_tokenizer().save_pretrained("models/full")
    (tmp_path / "models/second/made_of.json").write_text("{}\n")
    return tmp_path


def adapter(parent, folder, name, seed, **config):
    """A trained-looking adapter on top of a model."""
    torch.manual_seed(seed)
    model = get_peft_model(models.load_model(Path("models", parent)), LoraConfig(task_type="CAUSAL_LM", **config))
    for key, weight in model.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(weight, std=0.1)
    model.save_pretrained(f"{folder}/adapters/{name}")
    config_path = Path(folder, "adapters", name, "adapter_config.json")
    saved = json.loads(config_path.read_text())
    config_path.write_text(json.dumps(saved | {"target_modules": sorted(saved["target_modules"])}))


def exported(model, folder="out", check=False, **options):
    """The folder of an export; tests/test_export_check.py has what its check finds."""
    export.main(SimpleNamespace(obj=Path.cwd()), model, folder, check=check, **options)
    return Path.cwd() / folder


def logits(model):
    with torch.inference_mode():
        return model.eval()(input_ids=IDS).logits


def test_plain_transformers_load_the_merged_chain(project, capsys):
    folder = exported("second")
    model = AutoModelForCausalLM.from_pretrained(folder)
    expected = logits(models.load_model(Path("models/second")))
    assert torch.allclose(logits(model), expected, atol=1e-5)
    assert not torch.allclose(expected, logits(models.load_model(models.BASE)), atol=1e-2)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True
    )
    assert text == "<|user|>hi<|end|><|assistant|>"
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert "2 adapters merged in float32, saved in float32" in capsys.readouterr().out


def test_the_folder_has_what_a_server_needs_and_no_pickle_and_no_path(project):
    folder = exported("second")
    assert sorted(path.name for path in folder.iterdir()) == [
        "chat_template.jinja", "checked.json", "config.json", "generation_config.json", "made_of.json",
        "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["Qwen3ForCausalLM"] and config["model_type"] == "qwen3"
    assert config["dtype"] == "float32" and config["vocab_size"] and config["max_position_embeddings"]
    for name in ("chat_template.jinja", "generation_config.json", "tokenizer.json"):
        assert (folder / name).read_bytes() == (models.BASE / name).read_bytes()
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in folder.iterdir())
    assert not any(str(project) in path.read_text(errors="ignore") for path in folder.glob("*.json"))


def test_two_exports_are_the_same_bytes(project):
    first, second = exported("second", "a"), exported("second", "b")
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name


def test_a_dtype_is_cast_to_after_merging_in_float32(project):
    model = AutoModelForCausalLM.from_pretrained(exported("second", dtype="bfloat16"))
    assert model.dtype == torch.bfloat16
    whole = models.load_model(Path("models/second")).to(torch.bfloat16).state_dict()
    assert all(torch.equal(weight, whole[name]) for name, weight in model.state_dict().items())


def test_auto_is_the_base_models_dtype_even_for_full_weights_in_float32(project, capsys):
    config = json.loads((models.BASE / "config.json").read_text())
    (models.BASE / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    assert AutoModelForCausalLM.from_pretrained(exported("full")).dtype == torch.bfloat16
    assert "\n  saved in bfloat16\n" in capsys.readouterr().out


@pytest.mark.parametrize("step, rank", [("first", 4), ("second", 6)])
def test_an_exported_adapter_does_what_the_whole_chain_does(project, step, rank):
    folder = exported(step, adapter=True)
    made_of = [path.name for path in Path("models", step).glob("made_of.json")]  # it says whose adapter this is
    assert sorted(path.name for path in folder.iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", "chat_template.jinja", "checked.json", *made_of, "tokenizer.json",
        "tokenizer_config.json",
    ]  # fmt: skip
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["r"] == rank and config["base_model_name_or_path"] == "models/base"
    model = PeftModel.from_pretrained(models.load_model(models.BASE), folder)
    assert torch.allclose(logits(model), logits(models.load_model(Path("models", step))), atol=1e-5)


def test_an_adapter_names_the_base_model_of_the_hub(project):
    Path("params.yaml").write_text(f"base: {{model: Qwen/Qwen3-0.6B, revision: {'a' * 40}}}\nsteps: {{first: {{}}}}\n")
    config = json.loads((exported("first", adapter=True) / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("Qwen/Qwen3-0.6B", "a" * 40)


def test_an_adapter_names_the_folder_that_its_base_model_was_copied_from(project):
    Path("params.yaml").write_text("base: {model: downloads/mine}\nsteps: {first: {}}\n")  # on another machine
    config = json.loads((exported("first", adapter=True) / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("downloads/mine", None)


def test_the_card_of_a_merged_model_does_not_ask_for_peft(project):
    Path("report/cards").mkdir(parents=True)
    card = "---\nlanguage: en\nlibrary_name: {}\ntags:\n- lora\n---\n\nlibrary_name: peft\n"
    Path("report/cards/first.md").write_text(card.format("peft"))
    assert (exported("first", "merged") / "README.md").read_text() == card.format("transformers")
    assert (exported("first", "alone", adapter=True) / "README.md").read_text() == card.format("peft")


def test_an_adapter_on_a_gguf_file_does_not_name_it_as_a_model_of_the_hub(project):
    Path("params.yaml").write_text("base: {model: folder/a.gguf}\nsteps: {first: {}}\n")  # which is gone by now
    config = json.loads((exported("first", adapter=True) / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "models/base"


def test_adapters_on_full_weights_name_the_step_that_they_stand_on(project, capsys):
    shutil.copytree("models/full", "models/later")
    adapter("full", "models/later", "00_later", 3, r=4, target_modules=["q_proj"])
    config = json.loads((exported("later", adapter=True) / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "models/later"
    expected = logits(models.load_model(Path("models/later")))
    assert torch.allclose(logits(AutoModelForCausalLM.from_pretrained(exported("later", "whole"))), expected, atol=1e-5)


def test_full_weights_have_no_adapter_to_export(project):
    with pytest.raises(Problems, match="full weights and no adapter"):
        exported("full", adapter=True)
    assert not Path("out").exists() and not Path(".out.partial").exists()


def test_adapters_that_are_no_low_rank_products_are_not_joined(project):
    path = Path("models/second/adapters/01_second/adapter_config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"use_dora": True}))
    with pytest.raises(Problems, match="use_dora True: it cannot be joined"):
        exported("second", adapter=True)


def test_a_folder_with_something_in_it_is_left_alone(project):
    Path("out").mkdir()
    assert exported("first").exists()
    with pytest.raises(Problems, match="is not an empty folder"):
        exported("first")
    Path("file").write_text("x")
    with pytest.raises(Problems, match="is not an empty folder"):
        exported("first", "file")


def test_a_failed_export_leaves_nothing(project):
    (models.BASE / "model.safetensors").write_bytes(b"not a tensor file")
    with pytest.raises(Problems, match="does not load"):
        exported("first")
    assert not Path("out").exists() and not Path(".out.partial").exists()


def test_a_model_with_pickles_alone_is_refused(project):
    torch.save({}, models.BASE / "pytorch_model.bin")
    (models.BASE / "model.safetensors").unlink()
    with pytest.raises(Problems, match="safetensors"):
        exported("base")


def test_the_card_goes_along_where_there_is_one(project, capsys):
    exported("first")
    assert "no card: report/cards/first.md is not there; dvc repro report writes" in capsys.readouterr().out
    Path("report/cards").mkdir(parents=True)
    Path("report/cards/first.md").write_text("# first\n")
    assert (exported("first", "with") / "README.md").read_text() == "# first\n"


@pytest.mark.parametrize("way", ["folder", "file", "path"])
def test_gguf_is_made_by_the_converter_that_is_there(project, monkeypatch, way):
    script = project / "llama.cpp/convert_hf_to_gguf.py"
    script.parent.mkdir()
    script.write_text(STAND_IN.format(python=sys.executable))
    script.chmod(0o755)
    if way == "path":
        monkeypatch.delenv("LLAMA_CPP", raising=False)
        monkeypatch.setenv("PATH", str(script.parent), prepend=os.pathsep)
    else:
        monkeypatch.setenv("LLAMA_CPP", str(script.parent if way == "folder" else script))
    made = (exported("second", gguf="q8_0") / "second-q8_0.gguf").read_text()
    assert made.startswith("q8_0 of chat_template.jinja,config.json,") and "model.safetensors" in made


def test_what_the_converter_refuses_is_a_problem_with_a_hint(project, monkeypatch):
    (project / "convert_hf_to_gguf.py").write_text(STAND_IN.format(python=sys.executable))
    monkeypatch.setenv("LLAMA_CPP", str(project))
    with pytest.raises(Problems, match=r"invalid choice: 'q4_k_m'[\s\S]*llama-quantize"):
        exported("first", gguf="q4_k_m")
    assert not Path("out").exists()


def test_a_library_that_the_converter_lacks_is_named_with_what_to_install(project, monkeypatch):
    (project / "convert_hf_to_gguf.py").write_text("import sentencepiece_of_another_python\n")
    monkeypatch.setenv("LLAMA_CPP", str(project))
    with pytest.raises(Problems, match=r"imports sentencepiece_of_another_python: pip install -r requirements\.txt"):
        exported("first", gguf="q8_0")


def test_without_a_converter_nothing_is_merged_first(project, monkeypatch):
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    monkeypatch.setenv("PATH", str(project))
    monkeypatch.setattr(merged_model, "export_merged", None)
    with pytest.raises(Problems, match="is not installed"):
        exported("first", gguf="f16")
    monkeypatch.setenv("LLAMA_CPP", str(project / "nowhere"))
    with pytest.raises(Problems, match=r"no convert_hf_to_gguf\.py at"):
        exported("first", gguf="f16")


@pytest.mark.parametrize(
    "options, text", [({"adapter": True, "gguf": "f16"}, "merged weights"), ({"gguf": "../x"}, "is not a type")]
)
def test_options_that_do_not_fit_are_a_problem(project, options, text):
    with pytest.raises(Problems, match=text):
        exported("first", **options)


def test_a_multimodal_models_other_files_go_along_and_its_weights_keep_their_names(project):
    """Gemma 3 also sees: what it sees with is not trained, but it must come out as it went in."""
    config = importlib.import_module("transformers").Gemma3Config(
        text_config={
            "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 8,
            "num_attention_heads": 4, "num_key_value_heads": 2,
        },
        vision_config={
            "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 16,
            "patch_size": 8,
        },
        mm_tokens_per_image=1,
    )  # fmt: skip
    shutil.rmtree(models.BASE)
    AutoModelForCausalLM.from_config(config).save_pretrained(models.BASE)
    (models.BASE / "preprocessor_config.json").write_text("{}")
    pattern = ".*language_model.*_proj"
    model = get_peft_model(
        models.load_model(models.BASE), LoraConfig(r=2, target_modules=pattern, task_type="CAUSAL_LM")
    )
    for key, weight in model.named_parameters():
        if "lora_B" in key:
            assert "vision" not in key
            torch.nn.init.normal_(weight, std=0.1)
    model.save_pretrained("models/third/adapters/00_third")
    folder = exported("models/third")
    from safetensors import safe_open

    def names(path):
        return set(safe_open(path / "model.safetensors", "pt").keys())

    assert names(folder) == names(models.BASE)
    assert (folder / "preprocessor_config.json").exists()
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["Gemma3ForConditionalGeneration"]
    assert torch.allclose(
        logits(AutoModelForCausalLM.from_pretrained(folder)), logits(models.load_model(Path("models/third"))), atol=1e-5
    )


def test_the_command_line_says_what_is_wrong(project):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "commands", "export"]
    for model, text in [
        ("secnd", "did you mean 'second'?"),
        ("later", "models/later: not built yet"),
        (".", "no model: neither config.json nor adapters/"),
        ("models/first/adapters/00_first", "an adapter alone"),
    ]:
        done = preloaded.run([*command, model, "out"], cwd=project, env=environment, capture_output=True, text=True)
        assert done.returncode == 1 and text in done.stderr and "Traceback" not in done.stderr, done.stderr
