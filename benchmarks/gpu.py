"""Tokens/s and peak memory on a GPU: this project with Unsloth, with transformers, and a bare Unsloth script.

    python benchmarks/gpu.py                                        # all five methods, both shapes, three contenders
    python benchmarks/gpu.py --methods sft --shapes 0.6b --steps 20 --bits 16 4
    python benchmarks/gpu.py --tiny --backend transformers          # the same code on a CPU, in minutes; no figure of worth
    python benchmarks/gpu.py --write .work/gpu.jsonl                # what `make gpu` has measured, as tables in RESULTS.md

LoRA r=16 on sequences of 2,048 tokens; the models are made at random in the shape of Qwen3-0.6B and Qwen3-4B, and a token
is a byte, so nothing is downloaded. Needs the repository and, beside a plain GPU image (Python, torch with CUDA, triton,
transformers, accelerate, pyarrow): trl datasets peft unsloth unsloth_zoo bitsandbytes ruamel.yaml psutil filelock.
Each contender trains in a process of its own, the same rows in the same order. Time is that of the steps after the first
five; memory is what torch had allocated at most, over what it had before (on a CPU: the process's resident memory).
tests/gpu has the same contenders train a smaller shape, all methods of one contender in one process.
"""

import argparse
import gc
import importlib.metadata
import json
import os
import random
import re
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
    "test": {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 8, "num_attention_heads": 16},
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
}
LORA = {"r": 16, "lora_alpha": 16, "lora_dropout": 0.0, "target_modules": "all-linear"}
WARM_UP = 5
MARKS = r"(?s)<!-- gpu -->.*<!-- /gpu -->"  # in RESULTS.md
BATCH = {"sft": 4, "dpo": 2, "orpo": 2, "kto": 4, "grpo": 8}
KIND = {"sft": "sft", "dpo": "preference", "orpo": "preference", "kto": "kto", "grpo": "grpo"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--shapes", nargs="+", default=["0.6b", "4b"])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--bits", nargs="+", type=int, choices=[16, 4], default=[16])
    parser.add_argument("--backend", choices=["all", "transformers"], default="all")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--out", type=Path, help="JSON lines, one a run")
    parser.add_argument("--write", type=Path, metavar="FILE", help="JSON lines of before, as tables in RESULTS.md")
    parser.add_argument("--one", nargs="+", metavar="WHO BACKEND STEP", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        return write_tables(arguments.write)
    if arguments.one:
        who, backend, *names = arguments.one
        for name in names:
            print(json.dumps(one(who, backend, name)), flush=True)
        return None
    contenders = [("tilth", "unsloth"), ("tilth", "transformers"), ("bare", "unsloth")]
    if arguments.backend == "transformers":
        contenders = [("tilth", "transformers"), ("bare", "transformers")]
    length = 96 if arguments.tiny else 2048
    print(facts(), flush=True)
    for shape in ["tiny"] if arguments.tiny else arguments.shapes:
        with tempfile.TemporaryDirectory() as folder:
            prepare(Path(folder), shape, length, arguments.steps)
            for name in [name_of(method, bits) for bits in arguments.bits for method in arguments.methods]:
                runs = [run(Path(folder), who, backend, [name])[0] | {"shape": shape} for who, backend in contenders]
                print(table(runs), flush=True)
                if arguments.out:
                    with open(arguments.out, "a", encoding="utf-8") as file:
                        file.writelines(json.dumps(found) + "\n" for found in runs)


def facts():
    """The GPU, its driver, the versions and the commit, in one line."""
    import torch

    names = ("torch", "transformers", "trl", "peft", "accelerate", "unsloth", "unsloth_zoo", "bitsandbytes", "vllm")
    versions = []
    for name in names:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    where = "CPU"
    if torch.cuda.is_available():
        where = f"{torch.cuda.get_device_name()}, driver {driver()}, CUDA {torch.version.cuda}"
    return f"{where}; {', '.join(versions)}; commit {done.stdout.strip() or 'unknown'}"


def driver():
    try:
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "unknown"


# -- what all contenders train on -----------------------------------------------------------------------------------


def name_of(method, bits):
    """The name of a step: `sft`, or `sft-4bit`."""
    return method if bits == 16 else f"{method}-{bits}bit"


def prepare(folder, shape, length, steps, batch=BATCH):
    """models/base, data/train/ and preflight/ as the project has them, made at random from a fixed seed.

    steps: optimizer steps, of all methods or by method. batch: rows a step, by method.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    sys.path.insert(0, str(ROOT))
    save_model(folder / "models/base", shape)
    for room in ("data/train", "preflight"):
        (folder / room).mkdir(parents=True)
    for method in METHODS:
        count = steps[method] if isinstance(steps, dict) else steps
        rows = [row(method, length, random.Random(number)) for number in range(count * batch[method] * 2)]
        table = pa.Table.from_pylist([{"id": f"{number:064x}"} | made for number, made in enumerate(rows)])
        if method == "sft":
            table = table.append_column("tools", pa.nulls(len(table), pa.string()))
        pq.write_table(table, folder / f"data/train/{method}.parquet")
        for bits in (16, 4):
            made = step(method, length, count, len(rows), batch[method], bits)
            (folder / f"preflight/{made['step']}.json").write_text(json.dumps(made))


def save_model(folder, shape):
    """A model of a Qwen3 shape with random weights, beside the byte-level tokenizer of the tiny model."""
    import torch
    from transformers import AutoModelForCausalLM, Qwen3Config

    from stages.training.models import load_tokenizer, save_tiny_model

    save_tiny_model(folder)
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


def step(method, length, steps, rows, batch, bits):
    """A step as preflight resolves it."""
    args = {"per_device_train_batch_size": batch, "max_steps": steps, "logging_steps": 1, "warmup_steps": 5}
    # said to all contenders: Unsloth's defaults differ from TRL's, so that neither tokens nor losses could be compared
    args |= {"gradient_accumulation_steps": 1, "optim": "adamw_torch_fused", "weight_decay": 0.0}
    args |= {"learning_rate": 2e-4 if method == "sft" else 5e-5}
    args |= (
        {"max_completion_length": length // 8, "num_generations": batch} if method == "grpo" else {"max_length": length}
    )
    resolved = {"step": name_of(method, bits), "method": method, "from": "base", "dataset": method, "seed": 7}
    resolved |= {"args": args, "lora": LORA, "load_in_4bit": bits == 4, "overlong": "cut", "reasoning": "keep"}
    resolved |= {"trained_rows": rows, "sequences": rows, "length": {"max": length}, "processes": 1}
    if method == "grpo":
        resolved |= {"rewards": ["one_word"], "tie_prompts": 0, "rollouts": None, "optimizer_steps": steps}
    return resolved


# -- one contender --------------------------------------------------------------------------------------------------


def run(folder, who, backend, names, variables=os.environ):
    """What `one` gives of each step, trained one after the other in one process; `failed` where it came to none."""
    command = [sys.executable, str(Path(__file__).resolve()), "--one", who, backend, *names]
    environment = variables | {"PYTHONPATH": os.pathsep.join([str(ROOT), variables.get("PYTHONPATH", "")])}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"step"')]
    last = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no message"
    told += [{"step": name, "failed": last} for name in names[len(told) :]]
    return [{"who": who, "backend": backend} | each for each in told]


def one(who, backend, name):
    """{step, tokens_s, peak_gb, loss, losses} of one training in the current folder."""
    given = json.loads(Path("preflight", f"{name}.json").read_text(encoding="utf-8")) | {"backend": backend}
    before = reset_peak()
    trainer = (ours if who == "tilth" else bare)(given)
    clock = stop_watch(given)
    trainer.add_callback(clock)
    trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    speed = clock.tokens / clock.seconds
    return {"step": name, "tokens_s": speed, "peak_gb": peak_gb() - before, "loss": losses[-1], "losses": losses}


def ours(given):
    """The trainer as `python -m stages train` makes it."""
    from stages.training.backends import choose_backend
    from stages.training.checkpoints import save_checkpoints

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

    from stages.training.trl import METHOD_COLUMNS, make_config, trl_class
    from validators import rewards

    method = given["method"]
    config = make_config(method, given, ".work/bare")
    set_seed(given["seed"])
    extra = {}
    if fast:
        model, tokenizer = FastLanguageModel.from_pretrained(
            "models/base", max_seq_length=given["length"]["max"], load_in_4bit=given["load_in_4bit"]
        )
        names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        lora = LORA | {"target_modules": names}
        model = FastLanguageModel.get_peft_model(model, use_gradient_checkpointing="unsloth", random_state=7, **lora)
    else:
        dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
        four_bit = {"quantization_config": nf4(dtype)} if given["load_in_4bit"] else {}
        model, tokenizer = (
            AutoModelForCausalLM.from_pretrained("models/base", dtype=dtype, **four_bit),
            AutoTokenizer.from_pretrained("models/base"),
        )
        extra["peft_config"] = LoraConfig(task_type="CAUSAL_LM", **LORA)
    if method == "grpo":
        extra["reward_funcs"] = [rewards.one_word]
    columns = [name for name in METHOD_COLUMNS[method] if name != "tools"]
    rows = Dataset(pq.read_table(f"data/train/{method}.parquet", columns=columns))
    if method == "kto":
        rows = rows.shuffle(seed=given["seed"])
    return trl_class(f"{method.upper()}Trainer")(
        model=model, args=config, train_dataset=rows, processing_class=tokenizer, **extra
    )


def nf4(dtype):
    """4-bit weights as the QLoRA guide of PEFT has them."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
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


def reset_peak():
    """GB that are allocated now; the peak is counted from here on."""
    import torch

    gc.collect()
    if not torch.cuda.is_available():
        return 0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated() / 1e9


def peak_gb():
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


HEAD = """
| shape | step | contender | tokens/s | peak GB | last loss | tokens/s, times the first |
|---|---|---|--:|--:|--:|--:|"""


def table(runs, head=HEAD):
    """The runs of one step and shape, with each beside the first."""
    lines = [head] if head else []
    first = next((found["tokens_s"] for found in runs if "tokens_s" in found), None)
    for found in runs:
        named = f"| {found['shape']} | {found['step']} | {found['who']}, {found['backend']} |"
        if "failed" in found:
            lines.append(f"{named} failed: {found['failed']} | | | |")
        else:
            lines.append(
                f"{named} {found['tokens_s']:,.0f} | {found['peak_gb']:.2f} | {found['loss']:.4f} "
                f"| {found['tokens_s'] / first:.3f} |"
            )
    return "\n".join(lines)


def write_tables(path):
    """The last measurement of a file of JSON lines, between its marks in RESULTS.md."""
    if not path.exists():
        raise SystemExit(f"{path}: not there: `make gpu` writes it, on a machine with a GPU")
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    begun = max(place for place, line in enumerate(lines) if "facts" in line)
    facts, runs = lines[begun]["facts"], [line for line in lines[begun:] if "who" in line]
    rows = [
        table([each for each in runs if each["step"] == name], head="")
        for name in dict.fromkeys(each["step"] for each in runs)
    ]
    notes = [f"- {line['note']}" for line in lines[begun:] if "note" in line]
    told = "\n".join([f"`make gpu` on {facts}", *([""] if notes else []), *notes, HEAD, *rows])
    results = ROOT / "benchmarks/RESULTS.md"
    text = results.read_text(encoding="utf-8")
    if not re.search(MARKS, text):
        raise SystemExit("benchmarks/RESULTS.md: no <!-- gpu --> and <!-- /gpu --> found")
    results.write_text(re.sub(MARKS, lambda _: f"<!-- gpu -->\n{told}\n<!-- /gpu -->", text), encoding="utf-8")


if __name__ == "__main__":
    main()
