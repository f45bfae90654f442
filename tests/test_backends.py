"""The backend that a step trains with, and what a machine lacks for it. Unsloth is a stand-in here: tests/with_unsloth has it."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from stages.training import backends
from stages.training.unsloth_backend import TESTED_VERSIONS
from validators.problems import Problems

STAND_IN = '''
"""In place of Unsloth: its functions as the project calls them, on plain transformers and PEFT; told in calls.json."""
import json

def told(**call):
    with open("calls.json", "a") as file:
        file.write(json.dumps(call, default=str) + "\\n")

import sys
told(call="import", trl_was_there="trl" in sys.modules, transformers_were_there="transformers" in sys.modules)

class FastLanguageModel:
    @staticmethod
    def from_pretrained(model_name, **options):
        from transformers import AutoModelForCausalLM, AutoTokenizer
        told(call="from_pretrained", model_name=model_name, **options)
        return AutoModelForCausalLM.from_pretrained(model_name), AutoTokenizer.from_pretrained(model_name)

    @staticmethod
    def get_peft_model(model, use_gradient_checkpointing, random_state, **lora):
        from peft import LoraConfig, get_peft_model
        told(call="get_peft_model", use_gradient_checkpointing=use_gradient_checkpointing, random_state=random_state, **lora)
        return get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **lora))
'''


@pytest.fixture
def unsloth(tmp_path, monkeypatch):
    """A folder with a package and two distributions named as Unsloth's, on the path of processes started from here."""
    site = tmp_path / "site"
    (site / "unsloth").mkdir(parents=True)
    (site / "unsloth/__init__.py").write_text(STAND_IN)
    for name in ("unsloth", "unsloth_zoo"):
        (site / f"{name}-{TESTED_VERSIONS[1]}.dist-info").mkdir()
        (site / f"{name}-{TESTED_VERSIONS[1]}.dist-info/METADATA").write_text(
            f"Name: {name}\nVersion: {TESTED_VERSIONS[1]}\n"
        )
    monkeypatch.setenv("PYTHONPATH", str(site))
    return site


def step(**changes):
    return {"method": "sft", "lora": None, "load_in_4bit": False, "args": {}} | changes


@pytest.mark.slow
def test_without_cuda_auto_is_transformers():
    assert backends.choose_backend("auto") == "transformers"


@pytest.mark.slow
def test_auto_is_unsloth_where_it_stands_beside_a_gpu(unsloth, tmp_path):
    code = (
        "import torch; torch.cuda.is_available = lambda: True\n"
        "from stages.training.backends import choose_backend; print(choose_backend('auto'))"
    )
    root = str(backends.__file__).rsplit("/stages", 1)[0]
    environment = os.environ | {"PYTHONPATH": f"{unsloth}:{root}"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout == "unsloth\n", done.stderr


def test_unsloth_that_does_not_load_is_named_with_a_hint(monkeypatch):
    monkeypatch.setitem(sys.modules, "unsloth", None)
    with pytest.raises(Problems) as error:
        backends.choose_backend("unsloth")
    assert error.value.problems[0].where == "base.backend"
    assert "[gpu]" in error.value.problems[0].hint


@pytest.mark.slow
def test_what_a_machine_lacks_is_named_before_anything_is_loaded(monkeypatch):
    there = {"bitsandbytes": None, "vllm": None}
    find = backends.importlib.util.find_spec
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: there[name] if name in there else find(name))
    assert backends.missing_requirements("sft", step()) == []
    wants = step(load_in_4bit=True, args={"use_vllm": True})
    found = backends.missing_requirements("sft", wants)
    assert [problem.where for problem in found] == ["steps.sft.load_in_4bit", "steps.sft.args.use_vllm"]
    assert found[0].found == "bitsandbytes is not installed" and "docs/training.md" in found[1].hint
    there["bitsandbytes"] = "a spec"
    monkeypatch.setattr(backends, "why_no_4bit", lambda: None)
    assert backends.missing_requirements("sft", step(load_in_4bit=True)) == []
    monkeypatch.setattr(backends, "why_no_4bit", lambda: "no kernel")
    (problem,) = backends.missing_requirements("sft", step(load_in_4bit=True))
    assert problem.where == "steps.sft.load_in_4bit" and "cpu: no kernel" in problem.found


@pytest.mark.slow
def test_a_bitsandbytes_whose_functions_fail_when_they_are_called_is_told_with_the_reason(monkeypatch):
    def layer(*_, **__):
        raise RuntimeError("no kernel image")

    monkeypatch.setitem(sys.modules, "bitsandbytes", SimpleNamespace(nn=SimpleNamespace(Linear4bit=layer)))
    assert backends.why_no_4bit() == "RuntimeError: no kernel image"


def test_weights_beneath_adapters_are_as_precise_as_the_gpu_computes():
    assert backends.compute_dtype(SimpleNamespace(bf16=True, fp16=False)) == "bfloat16"
    assert backends.compute_dtype(SimpleNamespace(bf16=False, fp16=True)) == "float16"
    assert backends.compute_dtype(SimpleNamespace(bf16=False, fp16=False)) == "float32"


@pytest.mark.slow
def test_4_bit_weights_are_asked_for_as_qlora_has_them(monkeypatch, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM

    asked = {}
    packed = SimpleNamespace(support_avx512bf16_for_cpu=True)
    model = SimpleNamespace(modules=lambda: [packed])
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda path, **options: asked.update(options) or model)
    (tmp_path / "config.json").write_text("{}")
    backends.load_in_4bit(tmp_path, SimpleNamespace(bf16=True, fp16=False))
    quantization = asked["quantization_config"]
    assert quantization.load_in_4bit and quantization.bnb_4bit_use_double_quant
    assert (quantization.bnb_4bit_quant_type, quantization.bnb_4bit_compute_dtype) == ("nf4", torch.bfloat16)
    assert asked["device_map"] == {"": "cpu"} and asked["use_safetensors"]
    assert not packed.support_avx512bf16_for_cpu  # else bitsandbytes packs the weights for good
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "3")
    backends.load_in_4bit(tmp_path, SimpleNamespace(bf16=True, fp16=False))
    assert asked["device_map"] == {"": 3}


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, {"r": 4, "lora_alpha": 8}], ids=["full", "lora"])
def test_all_methods_train_through_unsloths_functions(built, unsloth, tmp_path, lora):
    project = built.copy(tmp_path / "copy")
    params = project.read_params()
    params["base"]["backend"] = "unsloth"
    methods = params["methods"]
    params["steps"] = {"sft": methods["sft"] | {"lora": lora}}
    for method in ("dpo", "orpo", "kto", "grpo"):
        rewards = {"rewards": ["one_word"]} if method == "grpo" else {}
        params["steps"][method] = methods[method] | {"from": "sft", "lora": lora} | rewards
    project.write_checked(params)
    trained = "from stages import train\n" + "".join(f"train.main({name!r})\n" for name in params["steps"])
    for code in ("from stages import preflight; preflight.main()", trained):
        done = subprocess.run([sys.executable, "-c", code], cwd=project.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
    calls = [json.loads(line) for line in (project.folder / "calls.json").read_text().splitlines()]
    assert calls[0] == {"call": "import", "trl_was_there": False, "transformers_were_there": False}
    loads = [call for call in calls if call["call"] == "from_pretrained"]
    assert [load["model_name"].split("/")[0] for load in loads] == ["models", *[".work" if lora else "models"] * 4]
    assert all(load["full_finetuning"] is (lora is None) and load["use_exact_model_name"] for load in loads)
    assert all((load["dtype"], load["use_gradient_checkpointing"]) == ("torch.float32", False) for load in loads)
    given = [call for call in calls if call["call"] == "get_peft_model"]
    assert [call["r"] for call in given] == ([4] * 5 if lora else [])
    for name in params["steps"]:
        made_of = json.loads((project.folder / f"models/{name}/made_of.json").read_text())
        assert (made_of["backend"], made_of["versions"]["unsloth"]) == ("unsloth", TESTED_VERSIONS[1])
        assert made_of["device"] == "cpu"
