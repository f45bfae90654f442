"""Tokens/s and peak memory on a GPU: this project with Unsloth, with transformers, and a bare Unsloth script.

    python benchmarks/gpu.py                                        # all five methods, both shapes, three contenders
    python benchmarks/gpu.py --methods sft --shapes 0.6b --steps 20
    python benchmarks/gpu.py --tiny --backend transformers          # the same code on a CPU, in minutes; no figure of worth

LoRA r=16 on sequences of 2,048 tokens; the models are made at random in the shape of Qwen3-0.6B and Qwen3-4B, and a token
is a byte, so nothing is downloaded. Needs the repository and, beside a plain GPU image (Python, torch with CUDA, triton,
transformers, accelerate, pyarrow): trl datasets peft unsloth unsloth_zoo bitsandbytes ruamel.yaml psutil filelock.
Each contender trains in a process of its own, the same rows in the same order. Time is that of the steps after the first
five; memory is what torch had allocated at most (on a CPU: the process's resident memory).
"""

import argparse
import importlib.metadata
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
METHODS = ("sft", "dpo", "orpo", "kto", "grpo")
SHAPES = {  # config.json of Qwen/Qwen3-0.6B and Qwen/Qwen3-4B
    "0.6b": {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16},
    "4b": {"hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36, "num_attention_heads": 32},
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
}
LORA = {"r": 16, "lora_alpha": 16, "lora_dropout": 0.0, "target_modules": "all-linear"}
WARM_UP = 5
BATCH = {"sft": 4, "dpo": 2, "orpo": 2, "kto": 4, "grpo": 8}
KIND = {"sft": "sft", "dpo": "preference", "orpo": "preference", "kto": "kto", "grpo": "grpo"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--shapes", nargs="+", default=["0.6b", "4b"])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--backend", choices=["all", "transformers"], default="all")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--out", type=Path, help="JSON lines, one a run")
    parser.add_argument("--one", nargs=3, metavar=("WHO", "BACKEND", "METHOD"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        return print(json.dumps(one(*arguments.one)))
    contenders = [("tilth", "unsloth"), ("tilth", "transformers"), ("bare", "unsloth")]
    if arguments.backend == "transformers":
        contenders = [("tilth", "transformers"), ("bare", "transformers")]
    length = 96 if arguments.tiny else 2048
    print(facts(), flush=True)
    for shape in ["tiny"] if arguments.tiny else arguments.shapes:
        with tempfile.TemporaryDirectory() as folder:
            prepare(Path(folder), shape, length, arguments.steps)
            for method in arguments.methods:
                runs = [run(Path(folder), who, backend, method) | {"shape": shape} for who, backend in contenders]
                print(table(runs), flush=True)
                if arguments.out:
                    with open(arguments.out, "a", encoding="utf-8") as file:
                        file.writelines(json.dumps(found) + "\n" for found in runs)


def facts():
    """The GPU, the versions and the commit, in one line."""
    import torch

    names = ("torch", "transformers", "trl", "peft", "unsloth", "unsloth_zoo", "bitsandbytes")
    versions = []
    for name in names:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return f"{where}; {', '.join(versions)}; commit {done.stdout.strip() or 'unknown'}"


# -- what all contenders train on -----------------------------------------------------------------------------------


def prepare(folder, shape, length, steps):
    """models/base, data/train/ and preflight/ as the project has them, made at random from a fixed seed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sys.path.insert(0, str(ROOT))
    save_model(folder / "models/base", shape)
    for room in ("data/train", "preflight"):
        (folder / room).mkdir(parents=True)
    for method in METHODS:
        rows = [row(method, length, random.Random(number)) for number in range(steps * BATCH[method] * 2)]
        table = pa.Table.from_pylist([{"id": f"{number:064x}"} | made for number, made in enumerate(rows)])
        if method == "sft":
            table = table.append_column("tools", pa.nulls(len(table), pa.string()))
        pq.write_table(table, folder / f"data/train/{method}.parquet")
        (folder / f"preflight/{method}.json").write_text(json.dumps(step(method, length, steps, len(rows))))


def save_model(folder, shape):
    """A model of a Qwen3 shape with random weights, beside the byte-level tokenizer of the tiny model."""
    import torch
    from transformers import AutoModelForCausalLM, Qwen3Config

    from stages.training.models import load_tokenizer, save_tiny

    save_tiny(folder)
    tokenizer = load_tokenizer(folder)
    small = shape == "tiny"
    config = Qwen3Config(
        **SHAPES[shape],
        num_key_value_heads=2 if small else 8,
        head_dim=16 if small else 128,
        vocab_size=len(tokenizer) if small else 151936,
        max_position_embeddings=40960,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32 if small else torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.model_max_length = config.max_position_embeddings
    tokenizer.save_pretrained(folder)


def row(method, length, letters):
    """A row whose conversation has `length` tokens: a letter is a token, the template adds four."""

    def turn(role, size):
        return {"role": role, "content": "".join(letters.choices("abcdefgh ", k=size)), "tool_calls": None}

    answer = length // 8 if method == "grpo" else length // 2
    prompt = [turn("user", length - answer - 4)]
    if method == "grpo":
        return {"prompt": prompt, "ground_truth": "a", "extra": "{}"}
    if method == "sft":
        return {"messages": [*prompt, turn("assistant", answer)]}
    if method == "kto":
        return {"prompt": prompt, "completion": [turn("assistant", answer)], "label": letters.random() < 0.5}
    return {"prompt": prompt, "chosen": [turn("assistant", answer)], "rejected": [turn("assistant", answer)]}


def step(method, length, steps, rows):
    """A step as preflight resolves it."""
    args = {"per_device_train_batch_size": BATCH[method], "max_steps": steps, "logging_steps": 1, "warmup_steps": 5}
    args |= {"learning_rate": 2e-4 if method == "sft" else 5e-6}
    args |= {"max_completion_length": length // 8, "num_generations": 8} if method == "grpo" else {"max_length": length}
    resolved = {"step": method, "method": method, "from": "base", "dataset": method, "seed": 7, "args": args}
    resolved |= {"lora": LORA, "load_in_4bit": False, "trained_rows": rows, "length": {"max": length}}
    return resolved | ({"rewards": ["one_word"]} if method == "grpo" else {})


# -- one contender --------------------------------------------------------------------------------------------------


def run(folder, who, backend, method):
    command = [sys.executable, str(Path(__file__).resolve()), "--one", who, backend, method]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    shared = {"who": who, "backend": backend, "method": method}
    if done.returncode:
        return shared | {"failed": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no message"}
    return shared | json.loads(done.stdout.splitlines()[-1])


def one(who, backend, method):
    """{tokens_s, peak_gb, loss} of one training in the current folder."""
    given = json.loads(Path("preflight", f"{method}.json").read_text(encoding="utf-8"))
    trainer = (ours if who == "tilth" else bare)(given | {"backend": backend})
    clock = stop_watch(given)
    trainer.add_callback(clock)
    trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    return {"tokens_s": clock.tokens / clock.seconds, "peak_gb": peak_gb(), "loss": losses[-1], "steps": len(losses)}


def ours(given):
    """The trainer as `python -m stages train` makes it."""
    from stages.training.backends import choose_backend
    from stages.training.resume import save_checkpoints

    given["backend"] = choose_backend(given["backend"])
    from stages.train import make_trainer

    return save_checkpoints(make_trainer(given["step"], given, Path(".work")))


def bare(given):
    """The trainer as Unsloth's notebooks make it; with transformers, as TRL's documentation does."""
    fast = given["backend"] == "unsloth"
    if fast:
        from unsloth import FastLanguageModel
    import pyarrow.parquet as pq
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

    from stages.training.trl import COLUMNS, make_config, trl_class
    from validators import rewards

    method = given["method"]
    config = make_config(method, given, ".work/bare")
    set_seed(given["seed"])
    extra = {}
    if fast:
        model, tokenizer = FastLanguageModel.from_pretrained(
            "models/base", max_seq_length=given["length"]["max"], load_in_4bit=False
        )
        names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        lora = LORA | {"target_modules": names}
        model = FastLanguageModel.get_peft_model(model, use_gradient_checkpointing="unsloth", random_state=7, **lora)
    else:
        dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
        model, tokenizer = (
            AutoModelForCausalLM.from_pretrained("models/base", dtype=dtype),
            AutoTokenizer.from_pretrained("models/base"),
        )
        extra["peft_config"] = LoraConfig(task_type="CAUSAL_LM", **LORA)
    if method == "grpo":
        extra["reward_funcs"] = [rewards.one_word]
    columns = [name for name in COLUMNS[method] if name != "tools"]
    rows = Dataset(pq.read_table(f"data/train/{method}.parquet", columns=columns))
    if method == "kto":
        rows = rows.shuffle(seed=given["seed"])
    return trl_class(f"{method.upper()}Trainer")(
        model=model, args=config, train_dataset=rows, processing_class=tokenizer, **extra
    )


def stop_watch(given):
    """A callback with the seconds and tokens of all steps but the first five."""
    from transformers import TrainerCallback

    sides = 2 if given["method"] in ("dpo", "orpo") else 1
    a_step = given["args"]["per_device_train_batch_size"] * given["length"]["max"] * sides

    class Clock(TrainerCallback):
        seconds, tokens = 0.0, 0

        def on_step_end(self, args, state, control, **_):
            now = synchronised()
            # GRPO alone counts what it has seen: its answers have lengths of their own
            seen = state.num_input_tokens_seen or state.global_step * a_step
            if state.global_step == min(WARM_UP, state.max_steps - 1):
                self.began, self.before = now, seen
            elif state.global_step > WARM_UP or state.global_step == state.max_steps:
                self.seconds, self.tokens = now - self.began, seen - self.before

    return Clock()


def synchronised():
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def peak_gb():
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def table(runs):
    """The runs of one method and shape, with each beside the first."""
    lines = ["", "| shape | method | contender | tokens/s | peak GB | last loss | tokens/s, times the first |"]
    lines.append("|---|---|---|--:|--:|--:|--:|")
    first = next((found["tokens_s"] for found in runs if "tokens_s" in found), None)
    for found in runs:
        named = f"| {found['shape']} | {found['method']} | {found['who']}, {found['backend']} |"
        if "failed" in found:
            lines.append(f"{named} failed: {found['failed']} | | | |")
        else:
            lines.append(
                f"{named} {found['tokens_s']:,.0f} | {found['peak_gb']:.2f} | {found['loss']:.4f} "
                f"| {found['tokens_s'] / first:.3f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
