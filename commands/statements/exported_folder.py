"""The documents in an exported folder: the model's statement, bill of materials and signatures; and the checks of a folder from somebody else.

DIR/statement.intoto.json    the model's provenance (commands/statements/model.py)
DIR/statement.dsse.json      the same, signed
DIR/bom.cdx.json             its bill of materials
DIR/model.sig                OpenSSF's model-signing over every file of DIR
DIR/checked.json             the receipt of `tilth export`: whether plain transformers give the model's own results with DIR
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

from cryptography.hazmat.primitives.asymmetric import ec

from commands.statements.envelope import open_envelope, seal
from commands.statements.folder import read
from commands.statements.formats import subjects
from commands.statements.keys import PublicKeys, password_of
from commands.statements.proofs import stated_rows
from stages.core.hashes import sha256
from validators.problems import Problem, Problems

STATEMENT_FILE, ENVELOPE_FILE, BOM_FILE, SIGNATURE_FILE = (
    "statement.intoto.json",
    "statement.dsse.json",
    "bom.cdx.json",
    "model.sig",
)
RECEIPT_FILE = "checked.json"
MODEL_SIGNING = "https://model_signing/signature/v1.0"
ASK_EXPORTER = "ask whoever exported it for the whole folder"


class FolderReport(TypedDict):
    """What an exported folder has: the number of signed files, its statement, and the words of its receipt; None where one is missing."""

    files: int
    statement: dict[str, Any] | None
    checked: str | None


# -- signed -------------------------------------------------------------------------------------------------------


def sign_files(folder: Path, to: Path, key_path: Path) -> None:
    """Sign every file of a folder with OpenSSF's model-signing. Raises Problems where it is not installed."""
    try:
        import model_signing
    except ImportError as error:
        hint = 'pip install --constraint constraints.txt --editable ".[sign]"'
        raise Problems([Problem("tilth sign", f"{error.name} is not installed", "the extra sign", hint)]) from None
    hashing = model_signing.hashing.Config().set_ignored_paths(paths=[to], ignore_git_paths=False)
    password: Any = password_of(
        key_path
    )  # bytes: cryptography takes no str, though model-signing's annotation says str
    signing = model_signing.signing.Config().use_elliptic_key_signer(private_key=key_path, password=password)
    to.unlink(missing_ok=True)
    signing.set_hashing_config(hashing).sign(folder, to)


def sign_statement(statement: Path, to: Path, key: ec.EllipticCurvePrivateKey) -> None:
    to.write_text(json.dumps(seal(statement.read_bytes(), key)) + "\n", encoding="utf-8")


# -- verified -----------------------------------------------------------------------------------------------------


def check_folder(folder: Path, keys: PublicKeys) -> tuple[list[Problem], FolderReport]:
    """(the problems of an exported folder, {files, statement, checked}). keys: {key id: public key} of trusted signers."""
    problems: list[Problem] = []
    report = FolderReport(files=0, statement=None, checked=None)
    problems += problems_from(lambda: report.update(files=count_signed_files(folder, folder / SIGNATURE_FILE, keys)))
    problems += problems_from(lambda: report.update(statement=read_statement(folder, keys)))
    problems += problems_from(lambda: report.update(checked=describe_receipt(folder)))
    if report["statement"]:
        problems += other_model_problems(folder, report["statement"])
    return problems, report


def problems_from(check: Callable[[], object]) -> list[Problem]:
    try:
        check()
    except Problems as error:
        return error.problems
    return []


def count_signed_files(folder: Path, signature: Path, keys: PublicKeys) -> int:
    """How many files of a folder a signature of model-signing covers. Raises Problems with each file that changed since."""
    bundle = read(signature, "the signature of the folder", "tilth sign DIR --key KEY")
    payload = json.loads(open_envelope(envelope_of_bundle(bundle), keys, str(signature)))
    try:
        if payload["predicateType"] != MODEL_SIGNING:
            raise KeyError(payload["predicateType"])
        resources = payload["predicate"]["resources"]
        signed = {entry["name"]: entry["digest"] for entry in resources if entry["algorithm"] == "sha256"}
        if len(signed) != len(resources):
            raise KeyError("algorithm")
    except (KeyError, TypeError) as error:
        raise Problems(
            [Problem(str(signature), f"is another kind of signature: {error}", MODEL_SIGNING, "tilth sign")]
        ) from None
    paths = {path.relative_to(folder).as_posix(): path for path in all_files(folder) if path != signature}
    problems = [
        Problem(f"{folder}/{name}", "is missing", "every file that was signed", ASK_EXPORTER)
        for name in sorted(signed.keys() - paths.keys())
    ]
    problems += [
        Problem(f"{folder}/{name}", "nobody signed it", "no such file", f"{ASK_EXPORTER}, or delete it")
        for name in sorted(paths.keys() - signed.keys())
    ]
    for name in sorted(signed.keys() & paths.keys()):
        if (digest := sha256(paths[name])) != signed[name]:
            problems.append(
                Problem(
                    f"{folder}/{name}", f"its bytes hash to {digest}", f"{signed[name]}, as it was signed", ASK_EXPORTER
                )
            )
    if problems:
        raise Problems(problems)
    return len(signed)


def envelope_of_bundle(bundle: dict[str, Any]) -> dict[str, Any]:
    """The envelope of a model-signing bundle, with the key id that the bundle has beside it."""
    try:
        hint, envelope = bundle["verificationMaterial"]["publicKey"]["hint"], bundle["dsseEnvelope"]
        return envelope | {"signatures": [each | {"keyid": hint} for each in envelope["signatures"]]}
    except (KeyError, TypeError):
        return {}


def all_files(folder: Path) -> list[Path]:
    """Every file below a folder, with hidden files and links."""
    return sorted(Path(parent, name) for parent, _, names in os.walk(folder) for name in names) + sorted(
        Path(parent, name) for parent, names, _ in os.walk(folder) for name in names if Path(parent, name).is_symlink()
    )


def read_statement(folder: Path, keys: PublicKeys) -> dict[str, Any]:
    """The statement of an exported folder. Raises Problems where it is missing or is not the signed one."""
    path, envelope = folder / STATEMENT_FILE, folder / ENVELOPE_FILE
    statement = read(path, "the statement of the model", ASK_EXPORTER)
    payload = open_envelope(read(envelope, "the signed statement", "tilth sign"), keys, str(envelope))
    if payload != path.read_bytes():
        raise Problems(
            [Problem(str(path), f"is not what {ENVELOPE_FILE} holds", "the statement that was signed", ASK_EXPORTER)]
        )
    stated_rows(statement, str(path))
    return statement


def describe_receipt(folder: Path) -> str:
    """The receipt of an exported folder in words. Raises Problems where the folder's files are not those that were checked."""
    path = folder / RECEIPT_FILE
    if not path.exists():
        return "no receipt: an older version exported it"
    receipt = read(path, "the receipt of the check", ASK_EXPORTER)
    if receipt.get("checked") is not True:
        return f"not checked: {receipt.get('why')!a}"
    try:
        other = [
            Problem(str(path), f"names another {name}, or it is missing", "the file that was checked", ASK_EXPORTER)
            for name, digest in sorted(receipt["files"].items())
            if not (folder / name).is_file() or sha256(folder / name) != digest
        ]
        text = f"checked on {len(receipt['rows']):,} rows by transformers {receipt['by']['transformers']!a}"
    except (KeyError, TypeError, AttributeError) as error:
        raise Problems(
            [Problem(str(path), f"is not a receipt: {error}", "what tilth export writes", ASK_EXPORTER)]
        ) from None
    if other:
        raise Problems(other)
    return text


def other_model_problems(folder: Path, statement: dict[str, Any]) -> list[Problem]:
    """Problems where the statement or the bill of materials belongs to another model."""
    problems, stated, path = [], subjects(statement), folder / STATEMENT_FILE
    made_of = folder / "made_of.json"
    if not made_of.is_file() or sha256(made_of) != stated.get("made_of.json"):
        problems.append(
            Problem(
                str(path),
                "is the statement of another model",
                f"that of the model which {made_of.name} names",
                ASK_EXPORTER,
            )
        )
    try:
        component = read(folder / BOM_FILE, "the bill of materials", ASK_EXPORTER)["metadata"]["component"]
        hashes = {part["name"]: part["hashes"][0]["content"] for part in component["components"]}
    except Problems as error:
        return problems + error.problems
    except (KeyError, TypeError, IndexError):
        return [
            *problems,
            Problem(str(folder / BOM_FILE), "has no files of a model", "what tilth provenance writes", ASK_EXPORTER),
        ]
    if any(stated.get(name) != digest for name, digest in hashes.items()) or hashes.get("made_of.json") != stated.get(
        "made_of.json"
    ):
        problems.append(
            Problem(
                str(folder / BOM_FILE),
                "is that of another model",
                f"the files that {STATEMENT_FILE} names",
                ASK_EXPORTER,
            )
        )
    return problems
