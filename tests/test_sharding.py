"""Weights in pieces over two processes, as recipes/accelerate/ has them on GPUs: here these are CPUs, and gloo.

ZeRO-3 by a Python that has DeepSpeed: this one, or TILTH_DEEPSPEED_PYTHON.
"""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from test_train import curve_of, prepared

from stages.training.sharding import sharding, sharding_problems

HERE = Path(__file__).parent
RECIPES = HERE.parent / "recipes/accelerate"
LORA = {"r": 4, "lora_alpha": 8}
CLOSE = 1e-4  # of each loss, as a share: sums of two processes are added in another order
FSDP2 = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT"}
ZERO3 = {
    "ACCELERATE_USE_DEEPSPEED": "true",
    "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3",
    "ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL": "true",
}


# -- without a training ---------------------------------------------------------------------------------------------


def step(backend="transformers"):
    return {"backend": backend}


@pytest.fixture
def launched(monkeypatch):
    """A function: the environment that `accelerate launch` makes."""

    def make(**variables):
        for name in (*FSDP2, *ZERO3):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return make


@pytest.mark.parametrize(("variables", "how"), [({}, None), (FSDP2, "fsdp2"), (ZERO3, "zero3")])
def test_what_leaves_a_whole_model_is_as_it_should_be(launched, variables, how):
    launched(**variables)
    assert sharding() == how
    assert sharding_problems("sft", step()) == []


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        (FSDP2 | {"FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT"}, "fsdp_state_dict_type is SHARDED_STATE_DICT"),
        (
            {key: value for key, value in FSDP2.items() if key != "FSDP_STATE_DICT_TYPE"},
            "fsdp_state_dict_type is SHARDED_STATE_DICT",  # accelerate's default
        ),
        (ZERO3 | {"ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL": "false"}, "zero3_save_16bit_model is not on"),
    ],
)
def test_what_leaves_the_finished_model_in_pieces_is_named_before_it_is_trained(launched, variables, found):
    launched(**variables)
    (problem,) = sharding_problems("sft", step())
    assert problem.where == "steps.sft: launch" and problem.found.startswith(found)
    assert (RECIPES / problem.hint.split()[0].rpartition("/")[2]).exists()


@pytest.mark.parametrize("variables", [FSDP2, ZERO3])
def test_unsloth_trains_whole_models_alone(launched, variables):
    launched()
    assert sharding_problems("sft", step("unsloth")) == []
    launched(**variables)
    (problem,) = sharding_problems("sft", step("unsloth"))
    assert problem.where == "steps.sft.backend" and "transformers" in problem.hint


# -- trained --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def deepspeed_python():
    """A Python that has DeepSpeed."""
    for candidate in (os.environ.get("TILTH_DEEPSPEED_PYTHON"), sys.executable):
        if candidate and subprocess.run([candidate, "-c", "import deepspeed"], capture_output=True).returncode == 0:
            return candidate
    pytest.skip("DeepSpeed is neither here nor in $TILTH_DEEPSPEED_PYTHON: docs/scaling.md says how it is installed")


@pytest.fixture
def launch(request):
    """A function: `launch` with a shipped config, for two CPU processes in a project."""

    def make(project, recipe):
        config = YAML(typ="safe", pure=True).load(RECIPES / f"{recipe}.yaml")
        config |= {"num_processes": 2, "use_cpu": True, "mixed_precision": "no", "main_process_port": 0}
        (project.folder / "two.yaml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
        accelerate = "accelerate launch"
        if recipe == "zero3":
            accelerate = f"{request.getfixturevalue('deepspeed_python')} -m accelerate.commands.launch"
        return f"{accelerate} --config_file two.yaml"

    return make


def train(project, launch, fails=False, **variables):
    """What a training of the step `align` says, launched as DVC does it."""
    command = [*shlex.split(launch), "-m", "stages", "train", "align"]
    variables |= {"PYTHONPATH": str(HERE / "sharded"), "DS_ACCELERATOR": "cpu"}
    done = project.start(*command, **variables)
    assert (done.returncode != 0) == fails, done.stdout[-6000:] + done.stderr[-6000:]
    return done.stdout + done.stderr


def losses(project):
    return [float(row["loss"]) for row in curve_of(project)]


def model(project):
    """({file: bytes}, {name: tensor}) of the trained model."""
    from safetensors.torch import load_file

    folder = project.folder / "models/align"
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
    tensors = {}
    for name in files:
        if name.endswith(".safetensors"):
            tensors |= load_file(folder / name)
    return files, tensors


@pytest.mark.long
@pytest.mark.parametrize(
    ("recipe", "method", "lora"),
    [
        ("fsdp2", "sft", None),
        ("fsdp2", "dpo", None),
        ("fsdp2", "dpo", LORA),
        ("zero3", "sft", None),
        ("zero3", "dpo", None),
        ("zero3", "dpo", LORA),
    ],
    ids=["fsdp2-sft", "fsdp2-dpo", "fsdp2-dpo-lora", "zero3-sft", "zero3-dpo", "zero3-dpo-lora"],
)
def test_pieces_follow_the_curve_of_one_process_and_one_whole_model_is_saved(
    built, tmp_path, launch, recipe, method, lora
):
    import torch

    one, two = (prepared(built, tmp_path / str(n), method, 8 // n, lora) for n in (1, 2))
    started = launch(two, recipe)
    train(one, "python")
    told = train(two, started)
    assert len(losses(one)) == 10 and losses(one)[0] != losses(one)[-1]
    assert losses(two) == pytest.approx(losses(one), rel=CLOSE)
    (files, whole), (gathered_files, gathered) = model(one), model(two)
    made_of = json.loads(gathered_files["made_of.json"])
    assert (made_of["processes"], made_of["sharding"]) == (2, recipe)
    assert ("deepspeed" in made_of["versions"]) == (recipe == "zero3")
    assert told.count("train align:") == 1
    # no pieces, no pickles, and a head that is the embedding once
    assert gathered_files.keys() == files.keys() and "lm_head.weight" not in gathered
    assert {name: (each.shape, each.dtype) for name, each in gathered.items()} == {
        name: (each.shape, each.dtype) for name, each in whole.items()
    }
    assert all(torch.allclose(each, whole[name], atol=1e-3) for name, each in gathered.items())


@pytest.mark.long
@pytest.mark.parametrize(("recipe", "method"), [("fsdp2", "sft"), ("fsdp2", "dpo"), ("zero3", "sft"), ("ddp", "sft")])
def test_a_killed_training_goes_on_with_as_many_processes_and_with_no_others(built, tmp_path, launch, recipe, method):
    whole, killed = (prepared(built, tmp_path / name, method, 4) for name in ("whole", "killed"))
    started = launch(killed, recipe)
    launch(whole, recipe)
    train(whole, started)
    train(killed, started, fails=True, TILTH_CHECKPOINT_S="0", TILTH_KILL_AT="6")
    assert list(killed.folder.glob(".work/align/*/checkpoint-6/complete.json"))
    other = killed.copy(tmp_path / "other", real=True)
    told = train(killed, started)
    assert told.count("resumes from .work/align/") == 1 and told.count("10 optimizer steps") == 1
    assert losses(killed) == losses(whole)
    assert model(killed)[0] == model(whole)[0]  # byte by byte
    told = train(other, "python")
    changes = "processes (2, now 1)" + (f", sharding ({recipe}, now none)" if recipe != "ddp" else "")
    assert "resumes from" not in told and changes in told and "checkpoint-6 is given up: it has other" in told
    assert len(losses(other)) == 10


# -- ZeRO-3 ---------------------------------------------------------------------------------------------------------

# the config as `accelerate launch` hands it on, in DeepSpeed's own parser; `auto` is what transformers fills in
PARSE = """\
import json
from accelerate.utils import DeepSpeedPlugin
from deepspeed.runtime.config import DeepSpeedConfig
given = DeepSpeedPlugin().deepspeed_config | {"bf16": {"enabled": True}}
sizes = {"train_micro_batch_size_per_gpu": 4, "gradient_accumulation_steps": 2, "train_batch_size": 8, "gradient_clipping": 1.0}
left = [key for key, value in (given | sizes).items() if value == "auto"]
parsed = DeepSpeedConfig(given | sizes)
zero = parsed.zero_config
print("FOUND" + json.dumps({
    "auto": left, "stage": parsed.zero_optimization_stage, "whole": zero.gather_16bit_weights_on_model_save,
    "offload": [str(each.device) for each in (zero.offload_optimizer, zero.offload_param) if each], "bfloat16": parsed.bfloat16_config.enabled,
}))
"""


@pytest.mark.long
def test_deepspeed_itself_takes_the_config_of_zero3(deepspeed_python, tmp_path):
    variables = os.environ | {"DS_ACCELERATOR": "cpu"}
    (tmp_path / "parse.py").write_text(PARSE)
    launch = ["-m", "accelerate.commands.launch", "--config_file", str(RECIPES / "zero3.yaml"), "--num_processes", "1"]
    command = [deepspeed_python, *launch, "--main_process_port", "0", "parse.py"]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.split("FOUND")[1])
    assert found == {"auto": [], "stage": 3, "whole": True, "offload": ["none", "none"], "bfloat16": True}
