"""`tilth export`: a model as a folder that plain transformers and vLLM load, or its adapters alone, or also as GGUF.

    DIR/    config.json, *.safetensors, the tokenizer's files, chat_template.jinja, generation_config.json, made_of.json
            checked.json, the receipt: the results of plain transformers on eval rows, or that nothing was checked
            README.md, the model's card, if `report` has written one
            statement.intoto.json, bom.cdx.json, if `tilth provenance` has written them; model.sig with --key
    --adapter    adapter_config.json, adapter_model.safetensors: one adapter on the base model
    --gguf TYPE  MODEL-TYPE.gguf beside all that, by llama.cpp's convert_hf_to_gguf.py

The chain of adapters is merged in float32 and cast at the end. DIR appears in one rename; it does not appear where the check fails.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

Model = Annotated[str, typer.Argument(metavar="MODEL", help="A step of params.yaml, base, or the folder of a model.")]
Folder = Annotated[str, typer.Argument(metavar="DIR", help="The new folder; it must be missing or empty.")]
Adapter = Annotated[bool, typer.Option("--adapter", help="Export the adapters of the chain alone, as one adapter.")]
Dtype = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"], typer.Option(help="Type of the weights; auto: the base model's.")
]
Gguf = Annotated[
    str | None, typer.Option(metavar="TYPE", help="Also write a GGUF file of this type, by llama.cpp's converter.")
]
Key = Annotated[str | None, typer.Option("--key", metavar="FILE", help="Sign the folder, as tilth sign DIR does.")]
Check = Annotated[
    bool | None,
    typer.Option(
        "--check/--no-check",
        show_default=False,
        help="Compare it with the model, by transformers alone; default: up to 2B weights.",
    ),
]
Rows = Annotated[int, typer.Option("--rows", min=1, help="Number of eval rows for the check.")]
CARDS = Path("report/cards")


def main(
    context: typer.Context,
    model: Model,
    folder: Folder,
    adapter: Adapter = False,
    dtype: Dtype = "auto",
    gguf: Gguf = None,
    key: Key = None,
    check: Check = None,
    rows: Rows = 8,
) -> None:
    """Export a model for use outside: merged weights, tokenizer, chat template and card; checked by transformers alone."""
    from commands.builds.model_folders import model_folder
    from commands.exports.adapter import export_adapter
    from commands.exports.gguf import convert, find_converter
    from commands.exports.merged_model import export_merged
    from validators.problems import Problem, Problems

    if adapter and (gguf or dtype != "auto"):
        found = "--gguf and --dtype need merged weights"
        raise Problems([Problem("tilth export --adapter", found, "--adapter by itself", "leave --adapter out")])
    if gguf is not None and not gguf.isidentifier():
        raise Problems(
            [Problem("tilth export --gguf", f"{gguf!r} is not a type", "a type of llama.cpp's", "--gguf q8_0")]
        )
    source, target = model_folder(model, context.obj), require_empty(context.obj / folder)
    converter = find_converter() if gguf else []
    with atomic_folder(target) as partial:
        lines = export_adapter(source, partial) if adapter else export_merged(source, partial, dtype)
        file = convert(converter, partial, source.name, gguf) if gguf else None
        lines += [f"{file} by {Path(converter[-1]).name}"] if file else []
        lines += write_receipt(source, partial, folder, check, rows, file)
        lines += add_card(source, partial, adapter) + add_statement(source, partial)
        if key:
            lines += sign(partial, context.obj / Path(key).expanduser())
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{model}: {folder}, {size / 1e6:,.1f} MB")
    for line in lines:
        print(f"  {line}")


def write_receipt(
    source: Path, partial: Path, folder: str, check: bool | None, rows: int, gguf: str | None
) -> list[str]:
    """Check an exported folder, or record that it was not checked; returns lines for the user. Raises Problems where it differs from the model."""
    from commands.exports.export_check import check_export, should_check, write_unchecked

    check, why = should_check(check, source)
    return check_export(source, partial, folder, rows, gguf) if check else write_unchecked(partial, why)


# -- the folder ---------------------------------------------------------------------------------------------------


def require_empty(folder: Path) -> Path:
    """The folder's path. Raises Problems where something is in it."""
    from validators.problems import Problem, Problems

    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise Problems(
            [
                Problem(
                    str(folder),
                    "exists and is not an empty folder",
                    "a new or empty folder",
                    "another DIR, or remove it",
                )
            ]
        )
    return folder


@contextlib.contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that becomes `folder` in one rename at the end, or is deleted where something fails."""
    from validators.problems import Problem, Problems

    partial = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        for path in partial.iterdir():
            path.chmod(0o644)  # safetensors are written readable by their owner alone
        os.replace(partial, folder)
    except OSError as error:
        raise Problems(
            [Problem(str(folder), f"cannot be written: {error.strerror or error}", "", "another DIR")]
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


# -- the card -----------------------------------------------------------------------------------------------------


def add_card(source: Path, folder: Path, adapter: bool) -> list[str]:
    """Copy the model's card, if there is one; returns lines for the user. A merged model needs no PEFT."""
    card = CARDS / f"{source.name}.md"
    if source.parent == Path("models") and card.exists():
        text = card.read_text(encoding="utf-8")
        if not adapter:
            text = re.sub(r"\A(---\n(?:.*\n)*?)library_name: peft\n", r"\1library_name: transformers\n", text)
        (folder / "README.md").write_text(text, encoding="utf-8", newline="\n")
        return [f"README.md from {card}"]
    return [f"no card: {card} is not there; dvc repro report writes the cards of steps"]


# -- the statement ------------------------------------------------------------------------------------------------


def add_statement(source: Path, folder: Path) -> list[str]:
    """Copy the model's statement and bill of materials; returns lines for the user. Only models of steps have them."""
    from commands.statements.exported_folder import BOM_FILE, STATEMENT_FILE
    from commands.statements.folder import bom_path, read, statement_path
    from commands.statements.formats import subjects
    from stages.core.hashes import sha256
    from validators.problems import Problem, Problems

    made_of, statement = source / "made_of.json", statement_path(source.name)
    if source.parent != Path("models") or source.name == "base":
        return []
    if not statement.is_file():
        return [f"no statement: {statement} is not there; tilth provenance writes it"]
    if not made_of.is_file() or subjects(read(statement, "a statement", "tilth provenance")).get(
        made_of.name
    ) != sha256(made_of):
        raise Problems(
            [
                Problem(
                    str(statement),
                    f"is not of what lies in {source}",
                    "the statement of this build",
                    "tilth provenance",
                )
            ]
        )
    shutil.copyfile(statement, folder / STATEMENT_FILE)
    shutil.copyfile(bom_path(source.name), folder / BOM_FILE)
    return [f"{STATEMENT_FILE} and {BOM_FILE} from {statement.parent}"]


def sign(folder: Path, path: Path) -> list[str]:
    """Sign the folder; returns lines for the user."""
    from commands.sign import sign_folder
    from commands.statements.keys import key_id, read_private_key

    signer = read_private_key(path)
    sign_folder(folder, path, signer)
    return [f"signed by key {key_id(signer.public_key())}"]
