"""Signatures of run records on a remote: who vouches that this input made that output.

    refused_records(remote, {("5f0e...", "9a1c..."): b"cmd: ..."}, trusted_keys())
    # {("5f0e...", "9a1c..."): "nobody signed it"}

A record decides what DVC restores without running it. Each signature is a DSSE envelope that holds the record, at
`tilth-signatures/<2>/<key>/<value>.json` of the remote: beside `runs/`, which is DVC's.
"""

import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from commands.statements.envelope import open_envelope, seal
from commands.statements.keys import EXAMPLE_PATH, TEAM_KEYS, PublicKeys, key_id, read_private_key, trusted_keys
from validators.problems import Problem, Problems

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

    from commands.builds.dvc import HashFileDB, Remote

SIGNATURES_FOLDER, PAYLOAD_TYPE = "tilth-signatures", "application/vnd.tilth.run-record"
UNSIGNED = "nobody signed it"


def signature_path(remote: "Remote", record: tuple[str, str]) -> str:
    key, value = record
    return remote.fs.join(remote.path, SIGNATURES_FOLDER, key[:2], key, f"{value}.json")


def signed_records(remote: "Remote") -> set[tuple[str, str]]:
    """The records that have a signature on a remote, by any key."""
    folder = remote.fs.join(remote.path, SIGNATURES_FOLDER)
    if not remote.fs.exists(folder):
        return set()
    parts = (remote.fs.parts(path)[-2:] for path in remote.fs.find(folder))
    return {(key, name.removesuffix(".json")) for key, name in parts if name.endswith(".json")}


def refused_records(
    remote: "Remote", texts: dict[tuple[str, str], bytes], keys: PublicKeys
) -> dict[tuple[str, str], str]:
    """{record: why} of the records whose present content none of the keys has signed."""
    there = signed_records(remote)

    def judge(record: tuple[str, str]) -> str:
        if record not in there:
            return UNSIGNED
        try:
            envelope = json.loads(remote.fs.cat_file(signature_path(remote, record)))
            held = open_envelope(envelope, keys, "signature", PAYLOAD_TYPE) if isinstance(envelope, dict) else b""
        except (ValueError, RecursionError):
            return "its signature does not parse"
        except Problems as error:
            return f"{error.problems[0].found}"
        return "" if held == texts[record] else "its signature is of another record"

    with ThreadPoolExecutor(remote.fs.jobs) as pool:
        found = dict(zip(texts, pool.map(judge, texts), strict=True))
    return {record: why for record, why in found.items() if why}


# -- signing ------------------------------------------------------------------------------------------------------


def signing_key(given: Path | None) -> "ec.EllipticCurvePrivateKey | None":
    """The private key to sign with: the given one, else $TILTH_KEY, else the usual one if the team has keys; or None.

    Raises Problems where it is not a key of the team: nobody would accept its signatures.
    """
    team = trusted_keys()
    usual = Path(EXAMPLE_PATH).expanduser()
    path = given or (Path(os.environ["TILTH_KEY"]) if os.environ.get("TILTH_KEY") else None)
    path = path or (usual if team and usual.is_file() else None)
    if path is None:
        return None
    key = read_private_key(path)
    if key_id(key.public_key()) not in team:
        found = f"is key {key_id(key.public_key())[:16]}…, which is not a key of the team"
        hint = f"openssl ec -in {path} -pubout -out {TEAM_KEYS}/NAME.pub, and commit it"
        raise Problems([Problem(str(path), found, f"one of {TEAM_KEYS}", hint)])
    return key


def write_signatures(
    remote: "Remote", here: "HashFileDB", texts: dict[tuple[str, str], bytes], key: "ec.EllipticCurvePrivateKey"
) -> dict[tuple[str, str], str]:
    """Write a signature of each record to the remote. Returns {record: why} of those that failed. here: the local cache."""
    from commands.builds.dvc import copy

    goals = {signature_path(remote, record): record for record in texts}
    failed: dict[tuple[str, str], str] = {}
    if not texts:
        return failed
    with tempfile.TemporaryDirectory() as folder:
        sources = []
        for number, text in enumerate(texts.values()):
            sources.append(os.path.join(folder, str(number)))
            Path(sources[-1]).write_text(json.dumps(seal(text, key, PAYLOAD_TYPE)) + "\n", encoding="utf-8")
        for parent in {remote.fs.parent(goal) for goal in goals}:
            remote.fs.makedirs(parent)

        def on_error(_: object, goal: str, error: BaseException) -> None:
            failed[goals[goal]] = f"{type(error).__name__}: {error}"

        copy(here.fs, sources, remote.fs, list(goals), batch_size=remote.fs.jobs, on_error=on_error)
    return failed
