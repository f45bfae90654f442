"""Everything of DVC that commands call. DVC documents little of it, so each part has a test in tests/test_dvc.py.

No other module of commands/ imports DVC. Of stages/, only `reading/ignored.py` does, which must know DVC's patterns without a
command. Import it in a function: it takes a fifth of a second.
"""

import contextlib
import io
import os
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from dvc.config import Config
from dvc.dependency import Dependency, ParamsDependency
from dvc.dvcfile import load_file
from dvc.exceptions import CheckoutError, DvcException
from dvc.fs import HTTPFileSystem, LocalFileSystem
from dvc.fs.callbacks import TqdmCallback
from dvc.ignore import DvcIgnoreFilter
from dvc.lock import LockError
from dvc.parsing import DataResolver
from dvc.repo import Repo
from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro
from dvc.rwlock import rwlock
from dvc.schema import COMPILED_LOCK_FILE_STAGE_SCHEMA
from dvc.stage import Stage as DvcStage
from dvc.stage.cache import _get_cache_hash
from dvc.utils.fs import remove
from dvc.utils.serialize import YAMLFileCorruptedError, modify_yaml, parse_yaml
from dvc_data.hashfile.db import HashFileDB
from dvc_data.hashfile.hash import file_md5
from dvc_data.hashfile.hash_info import HashInfo
from dvc_objects.fs.generic import copy
from dvc_objects.fs.utils import tmp_fname
from voluptuous import Invalid

from commands.builds.lock import LEGACY

if TYPE_CHECKING:  # other modules import these for annotations
    from dvc.data_cloud import Remote as Remote
    from dvc.output import Output as Output
    from dvc_data.hashfile.tree import Tree

# re-exported unchanged
__all__ = ["CheckoutError", "DvcException", "HashInfo", "LockError", "Repo", "TqdmCallback", "copy", "remove"]

# -- ignored files ------------------------------------------------------------------------------------------------


class IgnoreFiles(LocalFileSystem):
    """A working tree in which only the files exist that make DVC ignore something. Paths are absolute.

    texts: {path of a .dvcignore: its text}. projects: folders that are DVC projects of their own.
    """

    def __init__(self, texts: dict[str, str], projects: set[str]) -> None:
        super().__init__()
        self.texts, self.projects = texts, projects

    def exists(  # ty: ignore[incompatible-method-override]  # only for one path, as DVC calls it here
        self, path: str, callback: object = None, batch_size: int | None = None
    ) -> bool:
        return path in self.texts or path in {f"{project}/.dvc" for project in self.projects}

    def open(self, path: str, mode: str = "r", **_: object) -> io.StringIO:  # ty: ignore[incompatible-method-override]  # only texts
        return io.StringIO(self.texts[path])

    def walk(self, path: str, **_: object) -> Iterator[tuple[str, list[str], list[str]]]:
        yield path, [os.path.basename(project) for project in self.projects if os.path.dirname(project) == path], []


def without_ignored(paths: list[str], texts: dict[str, str]) -> list[str]:
    """The paths of files that DVC does not ignore. Paths are relative to the root. texts: {path of a .dvcignore: its text}."""
    root = os.getcwd()
    projects = {os.path.join(root, path.partition("/.dvc/")[0]) for path in paths if "/.dvc/" in path}
    rules = DvcIgnoreFilter(
        IgnoreFiles({os.path.join(root, path): text for path, text in texts.items()}, projects), root
    )
    return [path for path in paths if not rules.is_ignored_file(os.path.join(root, path))]


# -- the graph ----------------------------------------------------------------------------------------------------


def resolve(graph: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The stages of a parsed dvc.yaml, resolved with the params of the working folder. Raises DvcException."""
    repo = SimpleNamespace(fs=LocalFileSystem(), config={})  # all that the resolver uses of a repository
    return DataResolver(cast(Repo, repo), "", graph).resolve()["stages"]


def stages_in_order(repo: Repo) -> list[DvcStage]:
    """The stages of dvc.yaml, in the order of `dvc repro`."""
    return plan_repro(get_active_graph(repo.index.graph), collect_stages(repo, ["dvc.yaml"]))


@contextlib.contextmanager
def exclusive_repo(what: str) -> Iterator[Repo]:
    """DVC's repository, locked: no stage can start meanwhile. Raises DvcException where one runs."""
    with Repo() as repo, repo.lock:
        hardlink = repo.config["core"].get("hardlink_lock", False)
        with rwlock(repo.tmp_dir, repo.fs, what, [], [repo.root_dir], hardlink):  # a stage holds the paths it uses
            yield repo


def stage_of_file(repo: Repo, name: str) -> DvcStage:
    """DVC's stage of a .dvc file. Raises DvcException."""
    return load_file(repo, name).stage


def remote_names() -> list[str]:
    """The remotes of the project, the user and the machine."""
    # without a folder, DVC would not read the project's
    return list(Config(".dvc", validate=False).get("remote") or {})


# -- dependencies -------------------------------------------------------------------------------------------------


def is_params(dep: Dependency) -> bool:
    return isinstance(dep, ParamsDependency)


def hashes_of_dep(dep: Dependency) -> dict[str, str]:
    """{relative path: md5} of a dependency that is a folder in the workspace."""
    *_, found = dep._build(dep.local_cache, dep.fs_path, dep.fs, dep.hash_name, ignore=dep.dvcignore, dry_run=True)
    return {"/".join(key): md5.value for key, _, md5 in cast("Tree", found)}


# -- the run cache ------------------------------------------------------------------------------------------------


def run_record(repo: Repo, stage: DvcStage, hashes: dict[str, str]) -> dict[str, Any] | None:
    """The record that DVC would restore a stage from, or None. hashes: {path of a dependency: its hash when the stage starts}."""
    for dep in stage.deps:
        found = HashInfo(dep.hash_name, hashes[dep.def_path])
        if dep.exists and not is_params(dep):
            dep.meta = dep.get_meta()
        dep.hash_info, dep.get_hash = found, lambda found=found: found
    return repo.stage_cache._load(stage)


def has_outputs(repo: Repo, stage: DvcStage, entry: dict[str, Any]) -> bool:
    """Whether the cache has every output of a record or of an entry of dvc.lock."""
    outs = entry.get("outs", [])
    return all("md5" in out for out in outs) and repo.stage_cache._create_stage(entry, stage.wdir).outs_cached()


def read_record(key: str, value: str, text: bytes) -> dict[str, Any]:
    """The record of the run cache at `<key>/<value>`. Raises ValueError with what is wrong with it."""
    try:
        record = COMPILED_LOCK_FILE_STAGE_SCHEMA(parse_yaml(text, value))
        # DVC changes the dict that it computes a key from
        if _get_cache_hash(record) != value or _get_cache_hash(dict(record), key=True) != key:
            raise ValueError("its content does not belong to its name")
        return record
    except (YAMLFileCorruptedError, Invalid, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"cannot be read: {' '.join(str(error).split())[:120]}") from None


# -- files and remotes --------------------------------------------------------------------------------------------


def legacy_md5(path: str) -> str:
    """The hash of DVC 2 for a file: a text is hashed with Unix line ends."""
    return file_md5(path, name=LEGACY)


def is_http(fs: object) -> bool:
    return isinstance(fs, HTTPFileSystem)


def write_in_one_rename(data: bytes, path: str, cache: HashFileDB) -> None:
    """Write a file of a cache as DVC does: beside its place first, then moved there."""
    cache.makedirs(os.path.dirname(path))
    beside = os.path.join(os.path.dirname(path), tmp_fname())
    with open(beside, "wb") as file:
        file.write(data)
    cache.move(beside, path)


def drop_from_lock(names: Iterable[str]) -> None:
    """Take stages out of dvc.lock."""
    with modify_yaml("dvc.lock") as lock:
        for name in names:
            del lock["stages"][name]
