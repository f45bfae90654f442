"""Files that a statement names, with DVC's md5 and with sha256. Reading them also checks them against dvc.lock.

verified_files(at(), ["models/sft", "data/raw/chat"])      # {"models/sft": [File("models/sft/config.json", 713, "5f0e...")], ...}
"""

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from commands.builds.build import Build
from commands.builds.hashes import files_in, size
from commands.builds.sources import files_of_source
from stages.core.hashes import folder_md5
from validators.problems import Problem, Problems

CHUNK = 1 << 20


@dataclass(frozen=True)
class File:
    path: str
    size: int
    sha256: str


def verified_files(build: Build, paths: Iterable[str]) -> dict[str, list[File]]:
    """{path: its files} of outputs and dependencies of the lock. Raises Problems with each path whose hash differs from the lock."""
    locked = {path: dep.md5 for stage in build.stages.values() for path, dep in stage.deps.items()}
    locked |= {path: out.md5 for path, out in build.outs.items()}
    listing = {path: files_in(path) if build.makes(path) else files_of_source(path) for path in dict.fromkeys(paths)}
    sums, verified, problems = hash_files({file for files in listing.values() for file in files}), {}, []
    for path, files in listing.items():
        md5 = dvc_md5(path, {file: sums[file][0] for file in files})
        if md5 != locked.get(path):
            hint = "dvc repro, or dvc checkout --force to bring back what was built; tilth verify names each file"
            problems.append(Problem(path, f"hashes to {md5}", f"{locked.get(path)}, as dvc.lock has it", hint))
        verified[path] = [File(file, size(file), sums[file][1]) for file in files]
    if problems:
        raise Problems(problems)
    return verified


def dvc_md5(path: str, md5s: dict[str, str]) -> str | None:
    """DVC's hash of a file, or of a folder with these files; None where there are none."""
    if list(md5s) == [path]:
        return md5s[path]
    return folder_md5({file[len(path) + 1 :]: md5 for file, md5 in md5s.items()}) if md5s else None


def hash_files(files: set[str]) -> dict[str, tuple[str, str]]:
    """{file: (md5, sha256)}. Each file is read once, the largest first."""
    names = sorted(files, key=lambda file: (-size(file), file))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(names, pool.map(md5_and_sha256, names), strict=True))


def md5_and_sha256(file: str) -> tuple[str, str]:
    hashers = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with open(file, "rb") as data:
        while chunk := data.read(CHUNK):
            for hasher in hashers:
                hasher.update(chunk)
    return hashers[0].hexdigest(), hashers[1].hexdigest()
