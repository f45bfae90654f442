"""The one reader of .dvc files, which `dvc add`, `dvc import-url` and `dvc import` write.

    parse_dvc_file("data/raw/chat.dvc", text)    # [Tracked(File("data/raw/chat", "5f0e....dir"), "data/raw/chat.dvc")]
    read_dvc_files([Path("data/raw/chat.dvc")])  # {"data/raw/chat": Tracked}, read from a folder

Does not compare data with their .dvc file: DVC does that (`commands/builds/dvc.py`), and `tilth verify` hashes them.
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
    """An output of a .dvc file. file: its path is from the root. imported: the address it came from, without credentials."""

    file: File
    dvc: str
    imported: str | None = None
    pushed: bool = True  # `dvc push` sends it to the one remote


def parse_dvc_file(name: str, text: str | bytes) -> list[Tracked]:
    """The outputs of a .dvc file that have a hash. Raises Problems where the text is not that of a .dvc file."""
    text = text.decode(errors="replace") if isinstance(text, bytes) else text
    if conflicts := conflicts_in(name, text):
        raise Problems(conflicts)
    try:
        content = parse_yaml(text)
        folder, source = PurePosixPath(name).parent / (content.get("wdir") or "."), import_address(content)
        foreign = any("repo" in dep for dep in content.get("deps") or ())
        return [
            Tracked(
                parse_file(out | {"path": (folder / out["path"]).as_posix()}),
                name,
                source,
                not foreign and not out.get("remote") and out.get("push", True),
            )
            for out in content.get("outs") or ()
            if {"md5", "path"} <= out.keys()
        ]
    except (ValueError, AttributeError, TypeError) as error:
        hint = f"git checkout {name}"
        raise Problems([Problem(name, f"does not parse: {error}", "what dvc add wrote", hint)]) from None


def import_address(content: dict[str, Any]) -> str | None:
    """The address that the data of a .dvc file were imported from, without credentials; None where they were not imported."""
    dep = (content.get("deps") or [None])[0]
    if not isinstance(dep, dict):
        return None
    repository = dep.get("repo")
    found = f"{repository.get('url')}: {dep.get('path')}" if isinstance(repository, dict) else str(dep.get("path"))
    return without_credentials(found)


def read_dvc_files(files: Iterable[Path], root: Path = Path()) -> dict[str, Tracked]:
    """{path: Tracked} of some .dvc files. Paths are relative to `root`."""
    texts = ((file.relative_to(root).as_posix(), text_of(None, file)) for file in sorted(files) if file.is_file())
    return {one.file.path: one for name, text in texts for one in parse_dvc_file(name, text)}
