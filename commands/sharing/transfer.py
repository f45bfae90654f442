"""Move objects and run records between DVC's cache and a remote. A record moves with all its objects, or is listed.

plan = make_plan(repo, remote, sending=True)    # what moves, what is there, what is lost; moves nothing yet
moved = move(plan, repo, remote)                # objects, then the lists of folders, then the records that name them

DVC itself is not enough: it sends records before objects, skips objects of variants outside the workspace, does not verify the
bytes that it copies, and trusts its memory of what a remote has.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from commands.builds.lock import LEGACY
from commands.sharing.remotes import record_path, run_records
from commands.sharing.signatures import refused_records, write_signatures
from commands.sharing.variants import Bundle, input_bundles, parse_folder_list, read_record, workspace_bundles
from commands.statements.keys import trusted_keys
from stages.core.hashes import md5

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

    from commands.builds.dvc import HashFileDB, HashInfo, Remote, Repo

Record = tuple[str, str]  # (key, value) of a run record
Key = TypeVar("Key")
Result = TypeVar("Result")
NOWHERE = "neither here nor on the remote"
DAMAGED_HERE = "damaged in the cache here"
DAMAGED_THERE = "damaged on the remote"


@dataclass
class Plan:
    """What is where before anything moves. Objects are HashInfos."""

    sending: bool
    workspace: list[Bundle]
    left: list[tuple[str, str]]  # (path, why DVC must move it)
    records: list[Bundle] = field(default_factory=list)
    # raw data of variants, if the source has them
    inputs: list[Bundle] = field(default_factory=list)
    damaged: list[tuple[Record, str]] = field(default_factory=list)  # (record, why)
    # (record, why): no key of the team has signed it
    refused: list[tuple[Bundle, str]] = field(default_factory=list)
    texts: dict[Record, bytes] = field(default_factory=dict)
    known: set[Record] = field(default_factory=set)  # records that the goal has
    objects: "dict[Bundle, set[HashInfo]]" = field(default_factory=dict)  # all that each needs
    there: "set[HashInfo]" = field(default_factory=set)  # objects that the goal has
    lost: "dict[HashInfo, str]" = field(default_factory=dict)  # objects that cannot be moved, and why

    def is_whole(self, one: Bundle) -> bool:
        return not self.objects[one] & self.lost.keys()

    def all_bundles(self) -> list[Bundle]:
        return [*self.workspace, *self.records, *self.inputs]

    def objects_to_move(self) -> "set[HashInfo]":
        """All that the workspace needs, and all of the other bundles that are whole: a partial one restores nothing."""
        useful = [*self.workspace, *(one for one in (*self.records, *self.inputs) if self.is_whole(one))]
        return set().union(*(self.objects[one] for one in useful)) - self.there - self.lost.keys()

    def new_records(self) -> list[Record]:
        return [
            record for one in self.records if (record := one.record) and record not in self.known and self.is_whole(one)
        ]


@dataclass
class TransferResult:
    objects: "list[HashInfo]" = field(default_factory=list)
    size: int = 0
    records: int = 0
    signed: int = 0
    failed: "dict[HashInfo | Record, str]" = field(default_factory=dict)  # why


# -- what is where ------------------------------------------------------------------------------------------------


def make_plan(repo: "Repo", remote: "Remote", sending: bool) -> Plan:
    """The Plan of a push (sending) or a pull."""
    plan = Plan(sending, *workspace_bundles(repo))
    read_records(plan, repo.cache.legacy, remote)
    find_inputs(plan, repo, remote)
    lists = read_lists(plan, repo, remote)
    for one in plan.all_bundles():
        tops = {hash_info for _, hash_info, _ in one.outs}
        plan.objects[one] = tops.union(*(lists.get(top) or () for top in tops))
    for hash_name, named in group_by_hash_name(set().union(*plan.objects.values())).items():
        compare_sides(plan, named, *cache_pair(repo, remote, hash_name))
    return plan


def read_records(plan: Plan, here: "HashFileDB", remote: "Remote") -> None:
    """Read the run records here, and to fetch those of the remote too: all of them, as objects of known ones may be missing."""
    mine, theirs = run_records(here), run_records(remote)
    plan.known = theirs.keys() - differing_in_size(mine, theirs, remote.fs) if plan.sending else set(mine)
    plan.texts = {record: Path(path).read_bytes() for record, path in mine.items()}
    if not plan.sending:
        new = {record: path for record, path in theirs.items() if record not in mine}
        with ThreadPoolExecutor(remote.fs.jobs) as pool:
            texts = with_progress("reading records", pool.map(remote.fs.cat_file, new.values()), len(new))
            plan.texts |= zip(new, texts, strict=True)
    keys = {} if plan.sending else trusted_keys()
    wrong = (
        refused_records(remote, {record: plan.texts[record] for record in plan.texts if record not in mine}, keys)
        if keys
        else {}
    )
    for record, text in sorted(plan.texts.items()):
        found = read_record(*record, text)
        if isinstance(found, Bundle) and record in wrong:
            plan.refused.append((found, wrong[record]))
        elif isinstance(found, Bundle):
            plan.records.append(found)
        else:
            plan.damaged.append((record, found))


def find_inputs(plan: Plan, repo: "Repo", remote: "Remote") -> None:
    """Find the raw data that runs have read, now or earlier. What the source does not have is code, or is in git."""
    read = input_bundles(repo, plan.records, {top for one in plan.all_bundles() for _, top, _ in one.outs})
    for hash_name, named in group_by_hash_name(read).items():
        here, far = cache_pair(repo, remote, hash_name)
        plan.inputs += [read[one] for one in existing_objects(here if plan.sending else far, named)]


def read_lists(plan: Plan, repo: "Repo", remote: "Remote") -> "dict[HashInfo, list[HashInfo]]":
    """{folder: its members}. A folder whose list is missing or damaged is lost."""
    folders = {top for one in plan.all_bundles() for _, top, _ in one.outs if top.isdir}

    def read(folder: "HashInfo") -> "list[HashInfo] | str":
        here, far = cache_pair(repo, remote, folder.name)
        path, side = here.oid_to_path(folder.value), DAMAGED_HERE
        try:
            if os.path.exists(path):
                data = Path(path).read_bytes()
            else:
                data, side = far.fs.cat_file(far.oid_to_path(folder.value)), DAMAGED_THERE
        except FileNotFoundError:
            return NOWHERE
        found = parse_folder_list(folder, data)
        return side if found is None else found

    with ThreadPoolExecutor(remote.fs.jobs) as pool:
        found = dict(zip(folders, with_progress("reading lists", pool.map(read, folders), len(folders)), strict=True))
    plan.lost |= {folder: why for folder, why in found.items() if isinstance(why, str)}
    return {folder: members for folder, members in found.items() if not isinstance(members, str)}


def compare_sides(plan: Plan, named: "set[HashInfo]", here: "HashFileDB", far: "HashFileDB") -> None:
    """Find which of the named objects the goal has, and which are lost."""
    goal = far if plan.sending else here
    there = existing_objects(goal, named) - plan.lost.keys()
    paths = {one: here.oid_to_path(one.value) for one in there}
    differing = differing_in_size(paths, {one: far.oid_to_path(one.value) for one in there}, far.fs)
    # after an interrupted transfer, WebDAV keeps a part under the object's name; other remotes do not
    plan.there |= there - {one for one in differing if bool(object_fault(one, paths[one])) != plan.sending}
    todo = named - plan.there - plan.lost.keys()
    if plan.sending:
        paths = {one: here.oid_to_path(one.value) for one in todo}
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            checked = with_progress("hashing", pool.map(lambda one: object_fault(one, paths[one]), todo), len(todo))
            faults = dict(zip(todo, checked, strict=True))
        plan.lost |= {one: why for one, why in faults.items() if why}
    elif todo:
        plan.lost |= dict.fromkeys(todo - existing_objects(far, todo), NOWHERE)


def existing_objects(side: "HashFileDB", objects: "Iterable[HashInfo]") -> "set[HashInfo]":
    """The objects that a cache or a remote has. Shows a progress bar."""
    from commands.builds.dvc import TqdmCallback

    with TqdmCallback(desc="listing", unit="file") as progress:

        def advance(_: object, total: int, current: int) -> None:
            progress.set_size(total)
            progress.absolute_update(current)

        found = set(side.oids_exist({one.value for one in objects}, progress=advance))
    return {one for one in objects if one.value in found}


def with_progress(label: str, results: Iterable[Result], size: int) -> Iterator[Result]:
    """Yields the results with a progress bar."""
    from commands.builds.dvc import TqdmCallback

    with TqdmCallback(desc=label, unit="file", size=size) as progress:
        yield from progress.wrap(results)


def differing_in_size(here: Mapping[Key, str], there: Mapping[Key, str], fs: Any) -> set[Key]:
    """The keys whose files exist here and on the remote, with different sizes. here, there: {key: path}."""
    both = [key for key in here.keys() & there.keys() if os.path.exists(here[key])]
    infos = fs.info([there[key] for key in both], batch_size=fs.jobs, return_exceptions=True) if both else []
    found = {key: info for key, info in zip(both, infos, strict=True) if not isinstance(info, FileNotFoundError)}
    if failed := [info for info in found.values() if isinstance(info, Exception)]:
        raise failed[0]
    return {key for key, info in found.items() if info["size"] != os.path.getsize(here[key])}


def object_fault(one: "HashInfo", path: str) -> str:
    """Why an object of the cache cannot be sent, or "". DVC would send it without a check."""
    if not os.path.exists(path):
        return NOWHERE
    if one.name == LEGACY:
        from commands.builds.dvc import legacy_md5

        actual = legacy_md5(path)
    else:
        actual = md5(path)
    return "" if actual == one.as_raw().value else DAMAGED_HERE


def cache_pair(repo: "Repo", remote: "Remote", hash_name: str | None) -> "tuple[HashFileDB, HashFileDB]":
    """(the local cache, the remote's) for a kind of hash."""
    legacy = hash_name == LEGACY
    return (repo.cache.legacy, remote.legacy_odb) if legacy else (repo.cache.local, remote.odb)


def group_by_hash_name(objects: "Iterable[HashInfo]") -> "dict[str | None, set[HashInfo]]":
    names = {one.name for one in objects}
    return {name: {one for one in objects if one.name == name} for name in names}


# -- signing ------------------------------------------------------------------------------------------------------


def sign_records(
    moved: TransferResult,
    plan: Plan,
    repo: "Repo",
    remote: "Remote",
    key: "ec.EllipticCurvePrivateKey | None",
    known: bool,
) -> int:
    """Sign the records that were sent, and with `known` all others. Returns how many have no signature of the team."""
    records = [one.record for one in plan.records if one.record and plan.is_whole(one)]
    whole, team = {record: plan.texts[record] for record in records}, trusted_keys()
    unsigned = refused_records(remote, whole, team) if team else {}
    todo = {record: plan.texts[record] for record in unsigned if known or record not in plan.known} if key else {}
    todo = {record: text for record, text in todo.items() if record not in moved.failed}
    failed = write_signatures(remote, repo.cache.legacy, todo, key) if key else {}
    moved.signed, moved.failed = len(todo) - len(failed), moved.failed | failed
    return len(unsigned) - moved.signed


# -- moving -------------------------------------------------------------------------------------------------------


def move(plan: Plan, repo: "Repo", remote: "Remote") -> TransferResult:
    """Move what is planned. Members go before the list of their folder, objects before their record: the goal is always whole."""
    moved = TransferResult()
    for hash_name, objects in group_by_hash_name(plan.objects_to_move()).items():
        here, far = cache_pair(repo, remote, hash_name)
        move_objects(moved, plan, {one for one in objects if not one.isdir}, here, far)
        missing = plan.lost.keys() | moved.failed.keys()
        # to DVC too, the list of a folder on a remote means that all its members are there
        partial = {top for one in plan.objects for top in partial_lists(plan, one, missing)}
        move_objects(moved, plan, {one for one in objects if one.isdir} - partial, here, far)
    useful = {one.record for one in plan.records if not plan.objects[one] & moved.failed.keys()}
    move_records(moved, plan, [record for record in plan.new_records() if record in useful], repo.cache.legacy, remote)
    return moved


def partial_lists(plan: Plan, one: Bundle, missing: "Set[HashInfo | Record]") -> "list[HashInfo]":
    """The lists of folders in a bundle of which an object is missing."""
    return [top for _, top, _ in one.outs if top.isdir and plan.objects[one] & missing]


def move_objects(
    moved: TransferResult, plan: Plan, objects: "set[HashInfo]", here: "HashFileDB", far: "HashFileDB"
) -> None:
    """Copy objects. Notes why each failed one failed, and removes one that arrives damaged."""
    from commands.builds.dvc import TqdmCallback

    if not objects:
        return
    source, goal = (here, far) if plan.sending else (far, here)
    by_oid = {one.value: one for one in objects if one.value}

    def failed(oid: str, error: BaseException) -> None:
        moved.failed[by_oid[oid]] = f"{type(error).__name__}: {error}"

    aborted = False
    with TqdmCallback(desc="sending" if plan.sending else "fetching", unit="file") as progress:
        paths = [source.oid_to_path(oid) for oid in by_oid]
        verify, jobs = not plan.sending, far.fs.jobs
        try:
            goal.add(
                paths, source.fs, list(by_oid), verify=verify, check_exists=False, batch_size=jobs, on_error=failed,
                callback=progress,
            )  # fmt: skip
        except FileNotFoundError:
            # DVC moves a file into place even if it failed; if its copy never began, that stops all others
            if not moved.failed:
                raise
            aborted = True
    for oid, one in by_oid.items():
        path = here.oid_to_path(oid)
        if aborted and not plan.sending and object_fault(one, path) == DAMAGED_HERE:
            os.unlink(path)
        if one not in moved.failed and os.path.exists(path):
            moved.objects.append(one)
            moved.size += os.path.getsize(path)
        elif one not in moved.failed:
            moved.failed[one] = (
                "not tried, as another file failed" if aborted else f"{DAMAGED_THERE}: {source.oid_to_path(oid)}"
            )


def move_records(moved: TransferResult, plan: Plan, new: list[Record], here: "HashFileDB", remote: "Remote") -> None:
    """Copy run records. A fetched one appears in one rename."""
    from commands.builds.dvc import copy, write_in_one_rename

    if plan.sending:
        sources = [record_path(here, record) for record in new]
        goals = {record_path(remote, record): record for record in new}

        def failed(_: object, goal: str, error: BaseException) -> None:
            moved.failed[goals[goal]] = f"{type(error).__name__}: {error}"

        if new:
            for folder in {remote.fs.parent(goal) for goal in goals}:
                remote.fs.makedirs(folder)
            copy(here.fs, sources, remote.fs, list(goals), batch_size=remote.fs.jobs, on_error=failed)
    else:
        for record in new:
            write_in_one_rename(plan.texts[record], record_path(here, record), here)
    moved.records = len(new) - len(moved.failed.keys() & set(new))
