"""What .dvc files say of the data that `dvc add`, `dvc import-url` and `dvc import` keep: one reader for all who ask.

    tracked("data/raw/chat.dvc", text)      # [Tracked(File("data/raw/chat", "5f0e....dir"), "data/raw/chat.dvc")]
    tracked_by([Path("data/raw/chat.dvc")]) # {"data/raw/chat": Tracked}, read from a folder

Whether data are those of their .dvc file is not told here: DVC says it (`commands/builds/dvc.py`), `tilth verify` hashes them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from commands.builds.addresses import without_credentials
from commands.builds.git import text_of
from commands.builds.lock import File, parse_file, parse_yaml
from validators.conflicts import conflicts_in
from validators.problems import Problem, Problems


@dataclass(frozen=True)
class Tracked:
    """An output of a .dvc file. file: with its path from the root. imported: where DVC had it from, without a credential."""

    file: File
    dvc: str
    imported: str | None = None
    pushed: bool = True  # `dvc push` sends it to the one remote


def parse_dvc_file(name: str, text: str | bytes) -> list[Tracked]:
    """The Tracked of a .dvc file by its name and text (or bytes); nothing of an output without a hash. Raises Problems if it is none."""
    text = text.decode(errors="replace") if isinstance(text, bytes) else text
    if conflicts := conflicts_in(name, text):
        raise Problems(conflicts)
    try:
        kept = parse_yaml(text)
        folder, source = PurePosixPath(name).parent / (kept.get("wdir") or "."), import_address(kept)
        foreign = any("repo" in dep for dep in kept.get("deps") or ())
        return [
            Tracked(
                parse_file(out | {"path": (folder / out["path"]).as_posix()}),
                name,
                source,
                not foreign and not out.get("remote") and out.get("push", True),
            )
            for out in kept.get("outs") or ()
            if {"md5", "path"} <= out.keys()
        ]
    except (ValueError, AttributeError, TypeError) as error:
        hint = f"git checkout {name}"
        raise Problems([Problem(name, f"does not parse: {error}", "what dvc add wrote", hint)]) from None


def import_address(kept: dict[str, Any]) -> str | None:
    """The address that `dvc import-url` or `dvc import` had the data of a .dvc file from, without a credential; or None."""
    dep = (kept.get("deps") or [None])[0]
    if not isinstance(dep, dict):
        return None
    repository = dep.get("repo")
    found = f"{repository.get('url')}: {dep.get('path')}" if isinstance(repository, dict) else str(dep.get("path"))
    return without_credentials(found)


def read_dvc_files(files: Iterable[Path], root: Path = Path()) -> dict[str, Tracked]:
    """{path: Tracked} of .dvc files in a folder, with paths from there."""
    texts = ((file.relative_to(root).as_posix(), text_of(None, file)) for file in sorted(files) if file.is_file())
    return {one.file.path: one for name, text in texts for one in parse_dvc_file(name, text)}
