"""Training with TRL, a few steps of each method on a small copy of the project."""

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from stages.core.process import has_ended, lock_step
from validators.problems import Problems

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(built, tmp_path_factory):
    """A built project to train in; each test trains the step `align` anew."""
    return built.copy(tmp_path_factory.mktemp("train") / "copy")


@pytest.fixture
def train(project, monkeypatch):
    """Train a method with changes to its step; gives the model's folder."""
    from stages import preflight
    from stages import train as stage

    monkeypatch.chdir(project.folder)

    def run(method, name="align", **changes):
        shutil.rmtree(project.folder / ".work", ignore_errors=True)  # else a finished model is put back
        params = project.read_params()
        params["steps"][name] = params["methods"][method] | changes
        project.write_checked(params)
        preflight.main()
        stage.main(name)
        return project.folder / "models" / name

    return run


def hashes(folder):
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()
    }


def curve_of(project):
    return list(csv.DictReader((project.folder / "scores/align.csv").read_text(encoding="utf-8").splitlines()))


@pytest.mark.parametrize("method", ["sft", "dpo", "orpo", "kto", "grpo"])
def test_a_method_trains_the_same_model_twice_and_leaves_no_pickle(train, project, method):
    # an untrained model earns no exact match, and without a difference in reward there is nothing to learn
    changes = {"rewards": ["one_word"]} if method == "grpo" else {}
    first = hashes(train(method, **changes))
    assert "model.safetensors" in first and "made_of.json" in first
    assert not [name for name in first if name.endswith((".bin", ".pt", ".pth", ".pkl"))]
    assert hashes(train(method, **changes)) == first
    parent = "base" if method in ("sft", "orpo") else "sft"
    assert hashes(project.folder / "models" / parent)["model.safetensors"] != first["model.safetensors"]


def test_the_last_line_of_a_grpo_training_has_its_rewards():
    from stages.train import describe_rewards

    history = [
        {"loss": 0.1, "reward": 0.125},
        {"loss": 0.0, "reward": 0.2},
        {"loss": 0.0, "reward": 0.25},
        {"train_runtime": 3.0},
    ]
    assert describe_rewards(history) == ", reward 0.125 at first, 0.250 at last"
    assert describe_rewards([{"loss": 0.1}]) == ""


def test_the_curve_has_the_loss_and_no_times(train, project):
    params = project.read_params()["methods"]["sft"]
    train("sft", args=params["args"] | {"max_steps": 4, "logging_steps": 2})
    curve = curve_of(project)
    assert [row["step"] for row in curve] == ["2", "4"]
    assert all(float(row["loss"]) > 0 for row in curve)
    assert not [column for column in curve[0] if "time" in column or "second" in column]


def test_a_chain_of_lora_steps_keeps_all_adapters_in_order(train, project):
    lora = {"r": 4, "lora_alpha": 8}
    first = train("sft", lora=lora)
    shutil.rmtree(project.folder / "models/first", ignore_errors=True)
    shutil.copytree(first, project.folder / "models/first")
    params = project.read_params()
    params["steps"]["first"] = params["methods"]["sft"] | {"lora": lora}
    project.write_checked(params)
    second = train("dpo", lora=lora, **{"from": "first"})
    assert sorted(path.name for path in (second / "adapters").iterdir()) == ["00_align", "01_align"]
    assert not (second / "config.json").exists()
    config = json.loads((second / "adapters/01_align/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "models/base"
    assert config["target_modules"] == sorted(config["target_modules"])


def test_full_weights_after_adapters_start_and_refer_to_the_merged_chain(train, project, monkeypatch):
    import torch

    from stages import train as stage
    from stages.training.models import load_model

    lora = {"r": 4, "lora_alpha": 8}
    shutil.rmtree(project.folder / "models/first", ignore_errors=True)
    shutil.copytree(
        train("sft", lora=lora, args=project.read_params()["methods"]["sft"]["args"] | {"learning_rate": 0.1}),
        project.folder / "models/first",
    )
    params = project.read_params()
    params["steps"]["first"] = params["methods"]["sft"] | {"lora": lora}
    project.write_checked(params)
    seen = {}
    make = stage.make_trainer

    def watched(*arguments):
        seen["trainer"] = make(*arguments)
        return seen["trainer"]

    monkeypatch.setattr(stage, "make_trainer", watched)
    train("dpo", **{"from": "first"})
    reference = seen["trainer"].ref_model
    ids = torch.arange(7, 40)[None]
    with torch.inference_mode():
        expected = load_model(project.folder / "models/first")(input_ids=ids).logits
        base = load_model(project.folder / "models/base")(input_ids=ids).logits
        found = reference(input_ids=ids).logits
    assert not torch.allclose(base, expected, atol=1e-2)
    assert torch.allclose(found, expected, atol=1e-4)


def test_what_a_model_is_made_of_is_written_beside_it(train, project):
    made_of = json.loads((train("kto") / "made_of.json").read_text())
    rows = project.folder / "data/train/feedback.parquet"
    assert made_of["rows_sha256"] == hashlib.sha256(rows.read_bytes()).hexdigest()
    assert (made_of["method"], made_of["from"], made_of["dataset"]) == ("kto", "sft", "feedback")
    assert str(project.folder) not in json.dumps(made_of)


def test_a_second_trainer_of_the_same_step_is_refused(train, project, monkeypatch):
    from stages import train as stage

    monkeypatch.setattr(stage, "lock_step", lambda work: lock_step(work, timeout_s=0))
    train("dpo")
    with lock_step(project.folder / ".work/align"), pytest.raises(Problems, match="another process trains this step"):
        stage.main("align")


# -- two processes --------------------------------------------------------------------------------------------------

# accelerate starts MULTI_CPU by mpirun alone; this way it is torchrun, as on GPUs, and gloo
TWO = """\
compute_environment: LOCAL_MACHINE
distributed_type: MULTI_GPU
num_machines: 1
num_processes: 2
machine_rank: 0
mixed_precision: "no"
use_cpu: true
rdzv_backend: static
same_network: true
main_training_function: main
main_process_port: 0
"""


def prepared(built, folder, method, batch, lora=None, steps=10):
    """A copy of the project whose step `align` has a batch, and is ready to be trained."""
    project = built.copy(folder, real=True)
    (project.folder / "two.yaml").write_text(TWO)
    shutil.rmtree(project.folder / ".work")
    params = project.read_params()
    args = {"max_steps": steps, "logging_steps": 1, "per_device_train_batch_size": batch, "learning_rate": 1e-3}
    params["steps"]["align"] = params["methods"][method] | {"args": args, "lora": lora}
    project.write_checked(params)
    project.run(sys.executable, "-m", "stages", "preflight")
    return project


def launched(project, processes):
    how = [] if processes == 1 else ["-m", "accelerate.commands.launch", "--config_file", "two.yaml"]
    return [sys.executable, *how, "-m", "stages", "train", "align"]


@pytest.mark.parametrize(
    ("method", "lora"),
    [
        pytest.param("sft", None, id="sft", marks=pytest.mark.long),
        pytest.param("dpo", {"r": 4, "lora_alpha": 8}, id="dpo"),
    ],
)
def test_two_processes_follow_the_curve_of_one_at_the_same_global_batch(built, tmp_path, method, lora):
    one, two = (prepared(built, tmp_path / str(n), method, 8 // n, lora) for n in (1, 2))
    one.run(*launched(one, 1))
    told = two.run(*launched(two, 2))
    curves = [[float(row["loss"]) for row in curve_of(project)] for project in (one, two)]
    # less than an epoch: the last batch of one is filled up with rows of its beginning, to be even for two
    assert len(curves[0]) == 10 and curves[0][0] != curves[0][-1]
    assert curves[0] == pytest.approx(curves[1], rel=1e-3)
    made_of = json.loads((two.folder / "models/align/made_of.json").read_text())
    assert made_of["processes"] == 2
    assert told.count("train align: dpo on") == 1  # by one of the two


def test_two_processes_write_one_checkpoint_and_end_with_their_launcher(built, tmp_path):
    project = prepared(built, tmp_path / "copy", "sft", 4, steps=60)
    shutil.rmtree(project.folder / "models/align")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"TILTH_CHECKPOINT_S": "0"}
    running = subprocess.Popen(launched(project, 2), cwd=project.folder, env=environment, start_new_session=True)
    trainers = []
    for _ in range(12000):
        trainers = trainers or psutil.Process(running.pid).children(recursive=True)
        if running.poll() is not None or list(project.folder.glob(".work/align/*/checkpoint-*/complete.json")):
            break
        time.sleep(0.01)
    running.kill()
    running.wait()
    _, left = psutil.wait_procs(trainers, timeout=10)
    assert trainers and all(has_ended(trainer) for trainer in left)
    assert not (project.folder / "models/align").exists()
    whole = next(project.folder.glob(".work/align/*/checkpoint-*/complete.json"))
    assert {"rng_state_0.pth", "rng_state_1.pth", "optimizer.pt"} <= set(json.loads(whole.read_text()))


@pytest.mark.parametrize(("name", "flag"), [("ddp", "multi_gpu"), ("fsdp2", "use_fsdp"), ("zero3", "use_deepspeed")])
def test_the_shipped_configs_of_accelerate_have_keys_that_it_knows(name, flag):
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    path = str(Path(__file__).parents[1] / f"recipes/accelerate/{name}.yaml")
    known = vars(launch_command_parser().parse_args(["train.py"]))
    parsed, config, _ = _validate_launch_command(
        launch_command_parser().parse_args(["--config_file", path, "train.py"])
    )
    assert getattr(parsed, flag) and parsed.num_processes == 8
    assert set(config.fsdp_config) | set(config.deepspeed_config) <= set(known)


def test_tools_and_calls_of_raw_data_reach_the_tokens_that_are_trained(project, monkeypatch):
    from stages import curate, ingest, preflight, validate
    from stages import train as stage

    monkeypatch.chdir(project.folder)
    function = {"type": "function", "function": {"name": "add", "parameters": {"a": {"type": "integer"}}}}
    rows = [
        {
            "tools": [function],
            "messages": [
                {"role": "user", "content": f"What is {i} and 1?"},
                {"role": "assistant", "tool_calls": [{"function": {"name": "add", "arguments": {"a": i}}}]},
                {"role": "tool", "content": f"{i + 1}"},
                {"role": "assistant", "content": f"It is {i + 1}."},
            ],
        }
        for i in range(40)
    ]
    raw = project.folder / "data/raw/chat/tools.jsonl"
    raw.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for name in (ingest, validate, curate):
        name.main("chat")
    preflight.main()
    step = json.loads((project.folder / "preflight/sft.json").read_text(encoding="utf-8"))
    trainer = stage.make_trainer("sft", step | {"backend": "transformers"}, project.folder / ".work/sft")
    tokenizer = trainer.processing_class
    texts, learned = [], []
    for row in trainer.train_dataset:
        texts.append(tokenizer.decode(row["input_ids"]))
        taught = [label for label in row["labels"] if label != -100]
        learned.append(tokenizer.decode(taught))
    with_calls = [(text, taught) for text, taught in zip(texts, learned, strict=True) if "<|call|>" in text]
    assert len(with_calls) > 25  # the others are held out
    for text, taught in with_calls:
        assert '"name": "add"' in text.split("<|user|>")[0], "the tools stand before the question"
        assert '<|call|>{"type": "function", "function": {"name": "add"' in taught and '"arguments": {"a": ' in taught
        assert "<|tool|>" in text and "<|tool|>" not in taught
    raw.unlink()


@pytest.mark.slow
def test_a_step_with_another_name_takes_over_what_was_trained_and_scored(built, tmp_path):
    project = built.copy(tmp_path / "copy")
    params = project.read_params()
    params["steps"] = {"first": params["steps"]["sft"], "second": params["steps"]["align"] | {"from": "first"}}
    project.write_params(params)
    shutil.rmtree(project.folder / "models/align")
    planned = project.run(sys.executable, "-m", "commands", "plan")
    for other in ("sft", "align"):
        assert f"nothing is trained: same inputs as {other}, its weights are taken over" in planned
    assert "optimizer steps" not in planned
    told = project.run("dvc", "repro", "evaluate@second")
    assert "train first: same inputs as sft: its weights are taken over" in told
    assert "train second: same inputs as align: its weights are taken over" in told
    assert told.count("no model is loaded") == 2
    made = json.loads((project.folder / "models/second/made_of.json").read_text())
    assert (made["step"], made["from"]) == ("second", "first")
    for name in ("scores/{}.csv", "scores/{}.parquet", "scores/{}.json"):
        was, now = (built.folder / name.format("align"), project.folder / name.format("second"))
        assert was.read_bytes() == now.read_bytes()
    times = [json.loads(line)["stage"] for line in (project.folder / ".work/times.jsonl").read_text().splitlines()]
    assert "train@second" not in times
