"""`tilth sign`: sign models and their statements, or an exported folder, with a key from outside of the repository.

models/<step>, provenance/models/<step>.intoto.json -> provenance/models/<step>.sig, <step>.intoto.dsse.json
DIR -> DIR/statement.dsse.json, DIR/model.sig

Files are signed as OpenSSF's model-signing does, statements in DSSE envelopes: others can check both without Tilth.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

Target = Annotated[
    str | None, typer.Argument(metavar="TARGET", help="A step, or a folder of tilth export; every step if left out.")
]
Key = Annotated[
    str, typer.Option("--key", "-k", metavar="FILE", help="A private key as PEM, outside of the repository.")
]
Json = Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")]


def main(context: typer.Context, key: Key, target: Target = None, as_json: Json = False) -> None:
    """Sign models and their statements, or an exported folder."""
    from commands.statements.keys import key_id, read_private_key

    start = Path(context.obj or ".")
    path = start / Path(key).expanduser()
    signer = read_private_key(path)
    lines = (
        sign_folder(start / target, path, signer)
        if target and is_export_folder(start / target, target)
        else sign_models(target, path, signer)
    )
    if as_json:
        import json

        print(json.dumps({"files": lines, "key": key_id(signer.public_key())}, indent=2))
        return
    for line in lines:
        print(line)
    print(f"by key {key_id(signer.public_key())}")


def is_export_folder(folder: Path, target: str) -> bool:
    from commands.statements.exported_folder import STATEMENT_FILE

    return (folder / STATEMENT_FILE).is_file() or (folder.is_dir() and not Path("models", target).is_dir())


def sign_folder(folder: Path, path: Path, signer: "ec.EllipticCurvePrivateKey") -> list[str]:
    """Sign a folder of `tilth export`: the statement first, as the signature over the files includes its envelope."""
    from commands.statements.exported_folder import (
        ENVELOPE_FILE,
        SIGNATURE_FILE,
        STATEMENT_FILE,
        sign_files,
        sign_statement,
    )
    from validators.problems import Problem, Problems

    if not (folder / STATEMENT_FILE).is_file():
        hint = "tilth provenance, then tilth export, which copies the statement"
        raise Problems([Problem(str(folder), f"has no {STATEMENT_FILE}", "a folder of tilth export", hint)])
    sign_statement(folder / STATEMENT_FILE, folder / ENVELOPE_FILE, signer)
    sign_files(folder, folder / SIGNATURE_FILE, path)
    return [f"{folder / ENVELOPE_FILE}", f"{folder / SIGNATURE_FILE}"]


def sign_models(step: str | None, path: Path, signer: "ec.EllipticCurvePrivateKey") -> list[str]:
    """Sign all models of this build, or that of one step. Signs none if a model differs from its statement: raises Problems."""
    from commands.builds.build import read_build
    from commands.statements.exported_folder import sign_files, sign_statement
    from commands.statements.folder import envelope_path, read, signature_path, statement_path
    from commands.statements.formats import subjects
    from stages.core.hashes import sha256
    from validators.problems import Problem, Problems, did_you_mean

    steps = list(read_build().steps)
    if step is not None and step not in steps:
        raise Problems(
            [
                Problem(
                    f"tilth sign {step}", "neither a step nor a folder of tilth export", "", did_you_mean(step, steps)
                )
            ]
        )
    problems, steps = [], [step] if step else steps
    for name in steps:
        stated = subjects(read(statement_path(name), "the statement of the model", "tilth provenance"))
        folder = Path("models", name)
        there = {file.relative_to(folder).as_posix(): sha256(file) for file in folder.rglob("*") if file.is_file()}
        if there != stated:
            problems.append(
                Problem(
                    str(statement_path(name)),
                    f"does not match the files in {folder}",
                    "the statement of this build",
                    "tilth provenance",
                )
            )
    if problems:
        raise Problems(problems)
    for name in steps:
        sign_statement(statement_path(name), envelope_path(name), signer)
        sign_files(Path("models", name), signature_path(name), path)
    return [str(path) for name in steps for path in (envelope_path(name), signature_path(name))]
