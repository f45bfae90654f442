"""`tilth export`: a model as a folder that plain transformers and vLLM load, or its adapters alone, or also as GGUF.

    DIR/    config.json, *.safetensors, the tokenizer's files, chat_template.jinja, generation_config.json, made_of.json
            README.md, the model's card, where `report` has written one
            statement.intoto.json, bom.cdx.json, where `tilth provenance` has written them; model.sig with --key
    --adapter    adapter_config.json, adapter_model.safetensors: one adapter on the base model
    --gguf TYPE  MODEL-TYPE.gguf beside all that, by llama.cpp's convert_hf_to_gguf.py

The chain of adapters is merged in float32 and cast at the end. DIR appears in one rename, or not at all.
"""

import contextlib
import os
import re
import shutil
from pathlib import Path
from typing import Annotated, Literal

import typer

Model = Annotated[str, typer.Argument(metavar="MODEL", help="A step of params.yaml, base, or the folder of a model.")]
Folder = Annotated[str, typer.Argument(metavar="DIR", help="Where to; it must not exist, or be empty.")]
Adapter = Annotated[bool, typer.Option("--adapter", help="The adapters of the chain alone, as one adapter.")]
Dtype = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"],
    typer.Option(help="Of the weights; auto is the base model's own."),
]
Gguf = Annotated[str | None, typer.Option(metavar="TYPE", help="Also a GGUF file, of a type that the converter knows.")]
Key = Annotated[str | None, typer.Option("--key", metavar="FILE", help="Sign the folder, as tilth sign DIR does.")]
CARDS = Path("report/cards")
CONVERTER = "convert_hf_to_gguf.py"
# what a model folder holds beside weights: taken over byte by byte
BESIDE = ("*.json", "*.jinja", "*.model", "*.txt")
WEIGHTS = ("config.json", "model.safetensors.index.json", "made_of.json")


def main(
    context: typer.Context,
    model: Model,
    folder: Folder,
    adapter: Adapter = False,
    dtype: Dtype = "auto",
    gguf: Gguf = None,
    key: Key = None,
):
    """Export a model for use outside: merged weights, tokenizer, chat template and card."""
    from commands.builds.model_folders import folder_of
    from validators.problems import Problem, Problems

    if adapter and (gguf or dtype != "auto"):
        found = "--gguf and --dtype are about merged weights"
        raise Problems([Problem("tilth export --adapter", found, "--adapter by itself", "leave --adapter out")])
    if gguf is not None and not gguf.isidentifier():
        raise Problems([Problem("tilth export --gguf", f"{gguf!r} is no type", "a type of llama.cpp's", "--gguf q8_0")])
    source, target = folder_of(model, context.obj), empty(context.obj / folder)
    converter = find_converter() if gguf else None
    with appearing(target) as partial:
        lines = export_adapter(source, partial) if adapter else export_merged(source, partial, dtype)
        if gguf:
            lines.append(convert(converter, partial, source.name, gguf))
        lines += add_card(source, partial, adapter) + add_statement(source, partial)
        if key:
            lines += sign(partial, context.obj / Path(key).expanduser())
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{model}: {folder}, {size / 1e6:,.1f} MB")
    for line in lines:
        print(f"  {line}")


# -- the folder ---------------------------------------------------------------------------------------------------


def empty(folder):
    """The folder's path, if nothing is there. Raises Problems where something is."""
    from validators.problems import Problem, Problems

    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise Problems(
            [Problem(str(folder), "something is there", "a new or empty folder", "another DIR, or remove it")]
        )
    return folder


@contextlib.contextmanager
def appearing(folder):
    """A folder to write in, which becomes `folder` in one rename when all is written, and goes when something fails."""
    from validators.problems import Problem, Problems

    partial = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        for path in partial.iterdir():
            path.chmod(0o644)  # safetensors are written for their owner alone
        os.replace(partial, folder)
    except OSError as error:
        raise Problems(
            [Problem(str(folder), f"cannot be written: {error.strerror or error}", "", "another DIR")]
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


# -- merged -------------------------------------------------------------------------------------------------------


def export_merged(source, folder, dtype):
    """Write the model with its whole chain merged; the lines that say so."""
    import json

    from commands.builds.model_folders import loading
    from stages.training.models import BASE, adapters, full_weights, load_model

    chain, below = adapters(source), full_weights(source)
    if dtype == "auto":
        # full weights are trained, and so saved, in float32: what counts is how the model came
        origin = BASE if source.parent == BASE.parent else below
        config = json.loads((origin / "config.json").read_text(encoding="utf-8"))
        dtype = config.get("dtype") or config.get("torch_dtype") or "float32"
    model = loading(source, lambda: load_model(source, dtype))
    model.save_pretrained(folder)
    for path in sorted(path for pattern in BESIDE for path in below.glob(pattern)):
        if path.name not in WEIGHTS:
            shutil.copyfile(path, folder / path.name)
    if (source / "made_of.json").exists():
        shutil.copyfile(source / "made_of.json", folder / "made_of.json")
    merged = {0: "", 1: "1 adapter merged in float32, "}.get(len(chain), f"{len(chain)} adapters merged in float32, ")
    return [f"{merged}saved in {dtype}"]


# -- the adapter alone --------------------------------------------------------------------------------------------


def export_adapter(source, folder):
    """Write the adapters of the chain as one; the lines that say so. Raises Problems where there is none."""
    import json

    from safetensors.torch import load_file, save_file

    from stages.training.models import adapter_weights, adapters, full_weights
    from validators.problems import Problem, Problems

    chain = adapters(source)
    if not chain:
        hint = "leave out --adapter, or give the step a `lora:`"
        raise Problems([Problem(str(source), "full weights and no adapter", "a step with lora", hint)])
    configs = [json.loads((path / "adapter_config.json").read_text(encoding="utf-8")) for path in chain]
    tensors = [load_file(adapter_weights(path)) for path in chain]
    config, joined = joined_adapter(chain, configs, tensors) if len(chain) > 1 else (configs[0], tensors[0])
    config["base_model_name_or_path"], config["revision"] = base_of(full_weights(source))
    if (source / "made_of.json").exists():
        shutil.copyfile(source / "made_of.json", folder / "made_of.json")
    save_file(joined, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    made = " and ".join(path.name.split("_", 1)[1] for path in chain)
    return [
        f"one adapter of rank {config['r']}" + (f", which is {made} together" if len(chain) > 1 else ""),
        f"stands on {config['base_model_name_or_path']}" + (f" at {config['revision']}" if config["revision"] else ""),
    ]


def joined_adapter(chain, configs, tensors):
    """(config, tensors) of one adapter that does what the chain does.

    Each adapter adds scaling * B @ A to a weight, and a sum of products is one product of blocks: [B1 B2] @ [A1; A2]. So
    nothing is approximated; the rank is the sum of the ranks. Source: PEFT's `add_weighted_adapter`, way "cat".
    """
    import torch

    refuse_other_kinds(chain, configs)
    joined = {}
    for key in sorted(set().union(*tensors)):
        whole = next(item[key] for item in tensors if key in item)
        blocks, lead = [], ".lora_A." in key
        for config, item in zip(configs, tensors, strict=True):
            shape = (config["r"], whole.shape[1]) if lead else (whole.shape[0], config["r"])
            # an adapter that leaves this weight alone adds nothing to it
            block = item.get(key, torch.zeros(shape, dtype=whole.dtype))
            blocks.append(block if lead else block * scaling(config))
        joined[key] = torch.cat(blocks, dim=0 if lead else 1).contiguous()
    rank = sum(config["r"] for config in configs)
    return configs[-1] | {
        "r": rank,
        "lora_alpha": rank,
        "use_rslora": False,
        "target_modules": targets(configs),
    }, joined


def targets(configs):
    """The modules that any of the adapters changes: names, or the pattern that all of them share."""
    modules = [config["target_modules"] for config in configs]
    return modules[0] if all(item == modules[0] for item in modules) else sorted(set().union(*modules))


def scaling(config):
    return config["lora_alpha"] / (config["r"] ** 0.5 if config.get("use_rslora") else config["r"])


def refuse_other_kinds(chain, configs):
    """Raise Problems where an adapter of a chain is more than low-rank products, so that they do not add up to one."""
    from validators.problems import Problem, Problems

    odd = ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save")
    problems = [
        Problem(str(path), f"{key} {config[key]!r}: it cannot be joined with the others", "", "leave out --adapter")
        for path, config in zip(chain, configs, strict=True)
        for key in odd
        if config.get(key)
    ]
    patterns = {config["target_modules"] for config in configs if isinstance(config["target_modules"], str)}
    if len(patterns) > 1 or (patterns and not all(isinstance(config["target_modules"], str) for config in configs)):
        problems.append(
            Problem(str(chain[-1]), "target_modules are another pattern", "one pattern", "leave out --adapter")
        )
    if problems:
        raise Problems(problems)


def base_of(folder):
    """(name, revision) of what an adapter stands on: that of the Hub, or the folder that models/base was copied from.

    A .gguf file is no folder that PEFT could load, and models/base is what was made of it.
    """
    from stages.training.models import BASE
    from validators.params import read

    base = read()["base"] if Path("params.yaml").exists() else {}
    model, revision = str(base.get("model", "tiny")), base.get("revision")
    if folder != BASE or model == "tiny" or model.endswith(".gguf"):
        return folder.as_posix(), None
    # a folder has no revision, here or on the machine that has it
    return model, None if Path(model).exists() else revision


# -- GGUF ---------------------------------------------------------------------------------------------------------


def find_converter():
    """The command that runs llama.cpp's converter. Raises Problems where it is not installed."""
    import sys

    from validators.problems import Problem, Problems

    given = os.environ.get("LLAMA_CPP")
    if given:
        path = Path(given) / CONVERTER if Path(given).is_dir() else Path(given)
        if path.is_file():
            return [sys.executable, str(path.resolve())]
        raise Problems([Problem("LLAMA_CPP", f"no {CONVERTER} at {given}", "the folder of llama.cpp", "")])
    if found := shutil.which(CONVERTER):
        return [found]
    hint = "git clone https://github.com/ggml-org/llama.cpp, pip install its requirements.txt, LLAMA_CPP=~/llama.cpp"
    raise Problems(
        [Problem("tilth export --gguf", f"{CONVERTER} is not installed", "it on PATH or in $LLAMA_CPP", hint)]
    )


def convert(converter, folder, name, kind):
    """Write the GGUF file of a merged model; the line that says so. What the converter refuses becomes Problems."""
    import subprocess

    from validators.problems import Problem, Problems

    file = f"{name}-{kind}.gguf"
    command = [*converter, str(folder.resolve()), "--outfile", str(folder.resolve() / file), "--outtype", kind]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode or not (folder / file).exists():
        last = " ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-3:])[-500:]
        hint = "types such as q4_k_m are made of a bf16 file by llama-quantize: --gguf bf16 first"
        raise Problems([Problem(f"tilth export --gguf {kind}", f"{CONVERTER} failed: {last}", "", hint)])
    return f"{file} by {CONVERTER}"


# -- the card -----------------------------------------------------------------------------------------------------


def add_card(source, folder, adapter):
    """Copy the model's card, if there is one; the line that says where not. What is merged needs no PEFT."""
    card = CARDS / f"{source.name}.md"
    if source.parent == Path("models") and card.exists():
        text = card.read_text(encoding="utf-8")
        if not adapter:
            text = re.sub(r"\A(---\n(?:.*\n)*?)library_name: peft\n", r"\1library_name: transformers\n", text)
        (folder / "README.md").write_text(text, encoding="utf-8", newline="\n")
        return [f"README.md from {card}"]
    return [f"no card: {card} is not there; dvc repro report writes the cards of steps"]


# -- the statement ------------------------------------------------------------------------------------------------


def add_statement(source, folder):
    """Copy the model's statement and bill of materials; the line that says so, or where they are not. Nothing of what is no step."""
    from commands.statements.exported import BOM, STATEMENT, sha256
    from commands.statements.folder import bom_path, read, statement_path
    from commands.statements.formats import subjects
    from validators.problems import Problem, Problems

    made, statement = source / "made_of.json", statement_path(source.name)
    if source.parent != Path("models") or source.name == "base":
        return []
    if not statement.is_file():
        return [f"no statement: {statement} is not there; tilth provenance writes it"]
    if not made.is_file() or subjects(read(statement, "a statement", "tilth provenance")).get(made.name) != sha256(made):
        raise Problems([Problem(str(statement), f"is not of what lies in {source}", "the statement of this build", "tilth provenance")])
    shutil.copyfile(statement, folder / STATEMENT)
    shutil.copyfile(bom_path(source.name), folder / BOM)
    return [f"{STATEMENT} and {BOM} from {statement.parent}"]


def sign(folder, path):
    """Sign the folder; the line that says so."""
    from commands.sign import sign_folder
    from commands.statements.keys import key_id, private

    signer = private(path)
    sign_folder(folder, path, signer)
    return [f"signed by key {key_id(signer.public_key())}"]


def other_files(step, folder):
    """Problems of the files of an exported folder which are not those that an export of the model gives."""
    import json
    import tempfile

    from commands.statements.exported import BOM, ENVELOPE, SIGNATURE, STATEMENT, sha256
    from validators.problems import Problem

    source, problems = Path("models", step), []
    with tempfile.TemporaryDirectory() as place:
        again = Path(place)
        if (folder / "adapter_config.json").is_file():
            export_adapter(source, again)
        else:
            config = json.loads((folder / "config.json").read_bytes())
            export_merged(source, again, config.get("dtype") or config.get("torch_dtype") or "auto")
        beside = {STATEMENT, ENVELOPE, BOM, SIGNATURE, "README.md"}
        there = {path.name for path in folder.iterdir()} - beside - {path.name for path in folder.glob("*.gguf")}
        for name in sorted(there | {path.name for path in again.iterdir()}):
            first, second = (sha256(place / name) if (place / name).is_file() else None for place in (folder, again))
            if first != second:
                problems.append(
                    Problem(
                        str(folder / name),
                        f"its bytes hash to {first}",
                        f"{second}, as an export of {source} gives",
                        "tilth export",
                    )
                )
    return problems
