"""Files that people wrote (raw data, code), in the working tree or at a commit: their sizes and hashes.

    found = sources_of(build, ["data/raw/chat", "stages/curate.py"])    # {path: [Source(path, size, md5, git)]}
    md5_of_source("data/raw/chat", found["data/raw/chat"])              # as in dvc.lock; `....dir` for a folder

Checks nothing out. Does not read a path with more than READ_BYTES: git's index or a `.dvc` file may have its hash.
"""

import hashlib
import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from commands.builds.build import Build, hashes_of_output, object_of
from commands.builds.dvc_files import parse_dvc_file
from commands.builds.git import git, text_of
from stages.core.hashes import folder_md5
from validators.problems import Problems

READ_BYTES = 96 * 2**20  # hashed in a fifth of a second
IGNORED = re.compile(r"(^|/)(\.(git|hg)/|\.git$)|^\.dvc/")  # DVC ignores these without a .dvcignore

BLOB_HASHES: dict[str, str] = {}  # {blob: md5} of the blobs that were read; a blob never changes


@dataclass(frozen=True)
class Source:
    """md5: of the bytes; where they were not read, from a `.dvc` file, or None. git: the blob in git.

    dvc: the `.dvc` file that tracks it. imported: the address that DVC imported it from.
    """

    path: str
    size: int | None
    md5: str | None = None
    git: str | None = None
    read: bool = False
    dvc: str | None = None
    imported: str | None = None


def data_files(found: Iterable[Source], root: str) -> list[Source]:
    """The files that ingest reads: neither hidden files nor `.dvc` files."""
    return [s for s in found if not is_hidden(s.path[len(root) :]) and not s.path.endswith(".dvc")]


def is_hidden(relative: str) -> bool:
    return any(part.startswith(".") for part in relative.split("/"))


def md5_of_source(path: str, found: list[Source]) -> str | None:
    """DVC's hash of a file or folder; None where it is missing, "" where it was not read."""
    if not found:
        return None
    if not all(source.read for source in found):
        return ""
    if [source.path for source in found] == [path]:
        return found[0].md5
    return folder_md5({source.path[len(path) + 1 :]: source.md5 for source in found})


def md5_of_bytes(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def sources_of(build: Build, paths: Iterable[str]) -> dict[str, list[Source]]:
    """{path: its files, sorted, without those that DVC ignores}; an empty list where nothing is there."""
    tree = files_at_commit(build.rev) if build.rev else None
    found = {path: files_here(path) if tree is None else files_below(path, tree) for path in paths}
    names = [file.path for files in found.values() for file in files]
    if tree is None:
        rules = ignore_files_for(names)
    else:
        rules = {f.path: text_of(build.rev, f.path) for f in tree if f.path.rpartition("/")[2] == ".dvcignore"}
    visible = set(without_ignored(names, rules))
    found = {path: [file for file in files if file.path in visible] for path, files in found.items()}
    found = {path: with_dvc_hashes(build.rev, path, files) for path, files in found.items()}
    small = [path for path, files in found.items() if sum(file.size or 0 for file in files) <= READ_BYTES]
    if tree is None:
        read = {path: [with_md5(file) for file in found[path]] for path in small}
        large = {path: with_blobs(path, found[path]) for path in found.keys() - read}
        return found | read | large
    texts = hash_blobs({file.git for path in small for file in found[path] if file.git})
    return found | {path: [replace(f, md5=texts.get(f.git, f.md5), read=True) for f in found[path]] for path in small}


# -- ignored files ------------------------------------------------------------------------------------------------


def without_ignored(paths: list[str], rules: dict[str, str]) -> list[str]:
    """The paths of files that DVC does not ignore. rules: {path of a .dvcignore: its text}."""
    if not rules and not any("/.dvc/" in path for path in paths):  # a DVC project inside this one
        return [path for path in paths if not IGNORED.search(path)]  # importing DVC takes a fifth of a second
    from commands.builds import dvc as _dvc

    return _dvc.without_ignored(paths, rules)


def ignore_files_for(paths: Iterable[str]) -> dict[str, str]:
    """{path of a .dvcignore: its text} of all that apply to some paths of the working tree."""
    folders = {parent for path in paths for parent in PurePosixPath(path).parents}
    files = (Path(folder, ".dvcignore") for folder in sorted(folders))
    return {file.as_posix(): file.read_text(encoding="utf-8") for file in files if file.is_file()}


def files_of_source(path: str) -> list[str]:
    """The paths of the files that DVC sees at a path of the working tree that no stage builds."""
    files = [file.path for file in files_here(path)]
    return without_ignored(files, ignore_files_for(files))


# -- the working tree ---------------------------------------------------------------------------------------------


def files_here(path: str) -> list[Source]:
    """The files of a path, sorted, with only their sizes."""
    files = [path] if os.path.isfile(path) else []
    files += sorted(Path(folder, name).as_posix() for folder, _, names in os.walk(path) for name in names)
    return [Source(file, os.path.getsize(file)) for file in files if os.path.isfile(file)]


def with_md5(source: Source) -> Source:
    return replace(source, md5=md5_of_bytes(Path(source.path).read_bytes()), read=True)


def with_blobs(path: str, files: list[Source]) -> list[Source]:
    """The files, with the blob of each that is unchanged in git."""
    changed = set((git("diff", "--name-only", "--relative", "-z", "--no-ext-diff", "--", path) or b"").split(b"\0"))
    staged = (
        entry.split(b"\t", 1) for entry in (git("ls-files", "--stage", "-z", "--", path) or b"").split(b"\0") if entry
    )
    blob = {os.fsdecode(name): about.split()[1].decode() for about, name in staged if name not in changed}
    return [replace(file, git=blob.get(file.path)) for file in files]


def hash_source(path: str) -> str:
    """DVC's hash of a file or folder of the working tree. Reads all bytes, however many."""
    files = {}
    for name in files_of_source(path):
        with open(name, "rb") as data:
            files[name] = hashlib.file_digest(data, "md5").hexdigest()
    return files[path] if list(files) == [path] else folder_md5({name[len(path) + 1 :]: files[name] for name in files})


# -- a commit -----------------------------------------------------------------------------------------------------


def files_at_commit(commit: str) -> list[Source]:
    """Every file of a commit, sorted."""
    listing = git("ls-tree", "-r", "-l", "-z", commit) or b""
    entries = (entry.split(b"\t", 1) for entry in listing.split(b"\0") if entry)
    parsed = [(os.fsdecode(name), about.split()) for about, name in entries]
    return [Source(name, int(about[3]), None, about[2].decode()) for name, about in parsed if about[1] == b"blob"]


def files_below(path: str, files: Iterable[Source]) -> list[Source]:
    return [file for file in files if file.path == path or file.path.startswith(f"{path}/")]


def hash_blobs(names: set[str]) -> dict[str, str]:
    """{blob: md5 of its bytes}, from one call of git; without blobs that a shallow or partial clone lacks."""
    requests = "".join(f"{name}\n" for name in sorted(names - BLOB_HASHES.keys())).encode()
    done = subprocess.run(["git", "cat-file", "--batch"], input=requests, capture_output=True, check=False)
    place = 0
    while place < len(done.stdout):
        end = done.stdout.index(b"\n", place)
        name, *about = done.stdout[place:end].split()
        size = int(about[1]) if len(about) == 2 else -2
        if size >= 0:
            BLOB_HASHES[name.decode()] = md5_of_bytes(done.stdout[end + 1 : end + 1 + size])
        place = end + 2 + size
    return BLOB_HASHES


# -- data of `dvc add` ------- ------------------------------------------------------------------------------------


def with_dvc_hashes(commit: str | None, path: str, files: list[Source]) -> list[Source]:
    """The files, with the hashes from `.dvc` files at the path, around it or inside it."""
    owners = [file.path.removesuffix(".dvc") for file in files if file.path.endswith(".dvc")]
    if commit is None or not files:
        owners += [path, *(parent.as_posix() for parent in Path(path).parents if parent.name)]
    known = {file.path: file for owner in owners for file in files_of_dvc_file(commit, owner)}
    found = [replace(known[file.path], size=file.size, git=file.git) if file.path in known else file for file in files]
    if commit:
        present = {file.path for file in files}
        only_in_dvc = [
            replace(file, size=size_of_object(file.md5) if file.md5 else None, read=True)
            for name, file in known.items()
            if name not in present
        ]
        found += files_below(path, only_in_dvc)
    return sorted(found, key=lambda file: file.path)


def files_of_dvc_file(commit: str | None, owner: str) -> list[Source]:
    """The files that `<owner>.dvc` tracks, with their hashes; of a folder, only if the cache has its list."""
    try:
        found = parse_dvc_file(f"{owner}.dvc", text_of(commit, f"{owner}.dvc"))
    except Problems:
        return []  # `tilth verify` says what is wrong in it
    return [
        Source(name, None, md5, dvc=one.dvc, imported=one.imported)
        for one in found
        for name, md5 in (hashes_of_output(one.file) or {}).items()
    ]


def size_of_object(md5: str) -> int | None:
    path = object_of(md5)
    return path.stat().st_size if path.is_file() else None
