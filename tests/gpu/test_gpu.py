"""What only a GPU shows: `make gpu`, in less than eight minutes, with nothing downloaded.

All five methods in 16 and in 4 bits with both backends, beside a bare Unsloth script; the same losses, speed and memory; a
training that was killed, vLLM, two GPUs, and a device that is full. What is measured stands in .work/gpu.jsonl, of which
`python benchmarks/gpu.py --write` makes the table of benchmarks/RESULTS.md. The model is made at random in the shape of eight
layers of Qwen3-0.6B. Skipped where there is no CUDA; TILTH_FAKE_CUDA says how the code is tried without (see fake/).
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import mean

import pytest

from benchmarks import gpu

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
FAKE = os.environ.get("TILTH_FAKE_CUDA")  # a folder with a sitecustomize.py
MEASURED = ROOT / ".work/gpu.jsonl"
CONTENDERS = [("tilth", "transformers"), ("tilth", "unsloth"), ("bare", "unsloth")]
PARITY = 0.02  # of the losses of a training, on average
SLOWER, LARGER = 0.9, 1.1  # than the bare Unsloth script: trainings of seconds tell no less apart
RESUMED = 1e-3  # kernels of a GPU add in any order: beyond this share two losses are not the same
SHAPE, LENGTH = ("tiny", 24) if FAKE else ("test", 1024)
STEPS = dict.fromkeys(gpu.METHODS, 3) if FAKE else dict.fromkeys(gpu.METHODS, 14) | {"grpo": 6}
# Triton's interpreter takes a second for four tokens
BATCH = dict.fromkeys(gpu.METHODS, 1) | {"kto": 2, "grpo": 2} if FAKE else gpu.BATCH
LEARNED = [method for method in gpu.METHODS if method != "grpo"]  # GRPO's loss is nought but for rounding

pytestmark = [pytest.mark.gpu, pytest.mark.long]


def has(*names):
    return all(importlib.util.find_spec(name) for name in names)


def environment(**more):
    paths = [*([str(Path(FAKE).resolve())] if FAKE else []), str(ROOT), os.environ.get("PYTHONPATH", "")]
    fake = {"TRITON_INTERPRET": "1"} if FAKE else {}
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"} | fake | more


@pytest.fixture(scope="session")
def devices():
    """How many GPUs there are; without one all is skipped."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        pytest.skip("trainings beside each other tell no speed: make gpu runs them one after the other")
    code = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
    count = int(done.stdout.split()[-1]) if done.returncode == 0 else 0
    if not count:
        pytest.skip("no CUDA device")
    return count


@pytest.fixture(scope="session")
def note(devices):
    """A function that writes a line of what is measured; the first says on what."""
    MEASURED.parent.mkdir(exist_ok=True)
    code = "from benchmarks.gpu import facts; print(facts())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )

    def write(line):
        with open(MEASURED, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    write({"facts": done.stdout.splitlines()[-1]})
    return write


@pytest.fixture(scope="session")
def folder(devices, tmp_path_factory):
    """Models, rows and resolved steps of all methods, made at random on the device."""
    made = tmp_path_factory.mktemp("gpu")
    code = f"from pathlib import Path; from benchmarks.gpu import prepare; prepare(Path({str(made)!r}), {SHAPE!r}, {LENGTH}, {STEPS!r}, {BATCH!r})"
    subprocess.run([sys.executable, "-c", code], cwd=made, env=environment(), check=True, capture_output=True)
    return made


@pytest.fixture(scope="session")
def runs(folder, note):
    """A function: {step: what benchmarks/gpu.py measured} of a contender and a precision, trained in one process, once."""
    found = {}

    def of(who, backend, bits):
        if backend == "unsloth" and not has("unsloth"):
            pytest.skip("unsloth is not installed")
        if bits == 4 and not has("bitsandbytes"):
            pytest.skip("bitsandbytes is not installed")
        key = (who, backend, bits)
        if key not in found:
            names = [gpu.name_of(method, bits) for method in gpu.METHODS]
            told = gpu.run(folder, who, backend, names, environment())
            for each in told:
                note({"shape": SHAPE} | {key: value for key, value in each.items() if key != "losses"})
            found[key] = {each["step"]: each for each in told}
        return found[key]

    return of


def train(folder, name, launch=(), **wanted):
    """(exit code, what a training of gpu_trainings.py tells)."""
    command = [sys.executable, *launch, str(HERE / "gpu_trainings.py"), name, json.dumps(wanted)]
    done = subprocess.run(command, cwd=folder, env=environment(TILTH_CHECKPOINT_S="0"), capture_output=True, text=True)
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return done.returncode, told[-1] if told else {"stderr": done.stderr[-3000:]}


def apart(one, other):
    """How far two curves of losses are apart, as a share, on average."""
    return mean(abs(a - b) / max(abs(b), 1e-9) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("method", gpu.METHODS)
@pytest.mark.parametrize("bits", [16, 4])
@pytest.mark.parametrize(("who", "backend"), CONTENDERS)
def test_a_method_trains_in_16_and_in_4_bits(runs, who, backend, bits, method):
    run = runs(who, backend, bits)[gpu.name_of(method, bits)]
    assert "failed" not in run, run
    assert len(run["losses"]) == STEPS[method] and all(loss == loss for loss in run["losses"])
    if method == "sft" and not FAKE:  # which takes three steps
        assert run["losses"][-1] < run["losses"][0]


@pytest.mark.parametrize("method", LEARNED)
@pytest.mark.parametrize("bits", [16, 4])
@pytest.mark.parametrize(("one", "other"), [(0, 1), (1, 2)], ids=["backends", "beside-bare"])
def test_the_losses_are_those_of_the_other_backend_and_of_a_bare_script(runs, note, one, other, bits, method):
    name = gpu.name_of(method, bits)
    found = [runs(*CONTENDERS[place], bits)[name] for place in (one, other)]
    assert not [run for run in found if "failed" in run]
    share = apart(*(run["losses"] for run in found))
    note(
        {
            "note": f"{name}: losses of {' and '.join(', '.join(CONTENDERS[place]) for place in (one, other))} are {share:.2%} apart"
        }
    )
    assert share <= PARITY


@pytest.mark.parametrize("method", gpu.METHODS)
@pytest.mark.parametrize("bits", [16, 4])
def test_it_is_as_fast_as_a_bare_unsloth_script_in_as_much_memory(runs, bits, method):
    ours, bare = (runs(*CONTENDERS[place], bits)[gpu.name_of(method, bits)] for place in (1, 2))
    assert "failed" not in ours and "failed" not in bare
    if FAKE:
        pytest.skip("a CPU tells nothing of a GPU's speed")
    assert ours["tokens_s"] >= SLOWER * bare["tokens_s"]
    assert ours["peak_gb"] <= LARGER * bare["peak_gb"]


@pytest.mark.parametrize("backend", ["transformers", "unsloth"])
def test_a_training_that_was_killed_goes_on_to_the_same_losses(folder, note, backend):
    if backend == "unsloth" and not has("unsloth"):
        pytest.skip("unsloth is not installed")
    out = f".work/{backend}"
    code, whole = train(folder, "sft", backend=backend, out=f"{out}-whole")
    assert code == 0, whole
    code, _ = train(folder, "sft", backend=backend, out=f"{out}-killed", kill_at=1 if FAKE else 5)
    assert code == -9
    code, resumed = train(folder, "sft", backend=backend, out=f"{out}-killed")
    assert code == 0 and resumed["resumed"], resumed
    models = [(folder / f"{out}-{how}/model/adapter_model.safetensors").read_bytes() for how in ("whole", "killed")]
    same = "the same bytes" if models[0] == models[1] else "not the same bytes"
    share = apart(resumed["losses"], whole["losses"])
    note({"note": f"killed and resumed, {backend}: {same}, losses {share:.2e} apart"})
    assert len(resumed["losses"]) == STEPS["sft"] and share <= RESUMED


@pytest.mark.skipif(not has("vllm"), reason="vllm is not installed")
def test_grpo_generates_with_vllm(folder, note):
    args = {"use_vllm": True, "vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.3, "max_steps": 3}
    code, told = train(folder, "grpo", backend="transformers", out=".work/vllm", args=args)
    assert code == 0, told
    assert len(told["losses"]) == 3
    note({"note": "grpo generated with vLLM in the trainer's process"})


def test_two_gpus_with_fsdp2_follow_the_curve_of_one(devices, folder, note):
    if devices < 2:
        pytest.skip("one GPU")
    config = [
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        str(ROOT / "recipes/accelerate/fsdp2.yaml"),
        "--num_processes",
        "2",
    ]
    args = {"max_steps": 8, "per_device_train_batch_size": 4}
    code, one = train(folder, "sft", backend="transformers", out=".work/one", lora=None, args=args)
    assert code == 0, one
    args["per_device_train_batch_size"] = 2
    code, two = train(folder, "sft", config, backend="transformers", out=".work/two", lora=None, args=args)
    assert code == 0, two
    share = apart(two["losses"], one["losses"])
    note({"note": f"FSDP2 on two GPUs, full weights: losses {share:.2%} apart from those of one"})
    assert share <= PARITY and (folder / ".work/two/model/model.safetensors").exists()


def test_a_device_that_is_full_is_named_with_what_to_lower(folder):
    if FAKE:
        pytest.skip("a CPU's memory has no such limit")
    code, told = train(folder, "sft", backend="transformers", out=".work/full", lora=None, memory_gb=0.6)
    assert code == 1 and "out of memory on" in told.get("problems", ""), told
    assert "lora" in told["problems"]
