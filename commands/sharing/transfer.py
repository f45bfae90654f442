"""Objects and run records between DVC's cache and a remote: what is named moves whole, or is listed.

plan = planned(repo, remote, sending=True)      # what moves, what is there, what is lost; nothing has moved yet
moved = move(plan, repo, remote)                # objects, then the lists of folders, then the records that name them

DVC itself sends records before objects and skips the objects of variants outside the workspace, trusts the bytes that it
copies, and takes what it remembers of a remote for what is there.
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
    """What was found before anything moves. Objects are HashInfos; `lost` says why one cannot be had."""

    sending: bool
    workspace: list[Bundle]
    left: list[tuple[str, str]]  # (path, why it goes another way)
    records: list[Bundle] = field(default_factory=list)
    inputs: list[Bundle] = field(
        default_factory=list
    )  # raw data of variants, as far as they lie where things come from
    damaged: list[tuple[Record, str]] = field(default_factory=list)  # (record, why)
    refused: list[tuple[Bundle, str]] = field(
        default_factory=list
    )  # (record, why), which none of the team's keys has signed
    texts: dict[Record, bytes] = field(default_factory=dict)
    known: set[Record] = field(default_factory=set)  # that the other side has
    objects: "dict[Bundle, set[HashInfo]]" = field(default_factory=dict)  # all that each needs
    there: "set[HashInfo]" = field(default_factory=set)
    lost: "dict[HashInfo, str]" = field(default_factory=dict)

    def whole(self, one: Bundle) -> bool:
        return not self.objects[one] & self.lost.keys()

    def all(self) -> list[Bundle]:
        return [*self.workspace, *self.records, *self.inputs]

    def moving(self) -> "set[HashInfo]":
        """All that the workspace needs and can be had; of the others, what whole ones name: the rest restores nothing."""
        useful = [*self.workspace, *(one for one in (*self.records, *self.inputs) if self.whole(one))]
        return set().union(*(self.objects[one] for one in useful)) - self.there - self.lost.keys()

    def new_records(self) -> list[Record]:
        return [
            record for one in self.records if (record := one.record) and record not in self.known and self.whole(one)
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
    """The Plan of a push (sending), or of its reverse."""
    plan = Plan(sending, *workspace_bundles(repo))
    read_records(plan, repo.cache.legacy, remote)
    find_inputs(plan, repo, remote)
    lists = read_lists(plan, repo, remote)
    for one in plan.all():
        tops = {hash_info for _, hash_info, _ in one.outs}
        plan.objects[one] = tops.union(*(lists.get(top) or () for top in tops))
    for hash_name, named in group_by_hash_name(set().union(*plan.objects.values())).items():
        compare_sides(plan, named, *cache_pair(repo, remote, hash_name))
    return plan


def read_records(plan: Plan, here: "HashFileDB", remote: "Remote") -> None:
    """The run records of this side, and when fetching those of the remote: all of them, as their objects may be missing."""
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
    """The raw data that runs have read, of the workspace or earlier: what is not at the source is code, or git keeps it."""
    read = input_bundles(repo, plan.records, {top for one in plan.all() for _, top, _ in one.outs})
    for hash_name, named in group_by_hash_name(read).items():
        here, far = cache_pair(repo, remote, hash_name)
        plan.inputs += [read[one] for one in existing_objects(here if plan.sending else far, named)]


def read_lists(plan: Plan, repo: "Repo", remote: "Remote") -> "dict[HashInfo, list[HashInfo]]":
    """{HashInfo of a folder: its members}; a folder without a list that can be trusted is lost."""
    folders = {top for one in plan.all() for _, top, _ in one.outs if top.isdir}

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
    """What of the named objects is at its goal, and what can be had nowhere."""
    goal = far if plan.sending else here
    there = existing_objects(goal, named) - plan.lost.keys()
    paths = {one: here.oid_to_path(one.value) for one in there}
    differing = differing_in_size(paths, {one: far.oid_to_path(one.value) for one in there}, far.fs)
    # a transfer that was cut: WebDAV keeps what came of it under the object's name; the others, under no name or another
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
    """Those objects that a cache or a remote has, with a bar while it is asked."""
    from commands.builds.dvc import TqdmCallback

    with TqdmCallback(desc="listing", unit="file") as progress:

        def advance(_: object, total: int, current: int) -> None:
            progress.set_size(total)
            progress.absolute_update(current)

        found = set(side.oids_exist({one.value for one in objects}, progress=advance))
    return {one for one in objects if one.value in found}


def with_progress(doing: str, results: Iterable[Result], size: int) -> Iterator[Result]:
    """The results, one by one, with a bar."""
    from commands.builds.dvc import TqdmCallback

    with TqdmCallback(desc=doing, unit="file", size=size) as progress:
        yield from progress.wrap(results)


def differing_in_size(here: Mapping[Key, str], there: Mapping[Key, str], fs: Any) -> set[Key]:
    """The keys of two dicts of paths whose files, here and on the remote, are both there and not of one length."""
    both = [key for key in here.keys() & there.keys() if os.path.exists(here[key])]
    infos = fs.info([there[key] for key in both], batch_size=fs.jobs, return_exceptions=True) if both else []
    found = {key: info for key, info in zip(both, infos, strict=True) if not isinstance(info, FileNotFoundError)}
    if failed := [info for info in found.values() if isinstance(info, Exception)]:
        raise failed[0]
    return {key for key, info in found.items() if info["size"] != os.path.getsize(here[key])}


def object_fault(one: "HashInfo", path: str) -> str:
    """Why an object of the cache cannot be sent: DVC would send what lies there, whatever it is."""
    if not os.path.exists(path):
        return NOWHERE
    if one.name == LEGACY:
        from commands.builds.dvc import legacy_md5

        actual = legacy_md5(path)
    else:
        actual = md5(path)
    return "" if actual == one.as_raw().value else DAMAGED_HERE


def cache_pair(repo: "Repo", remote: "Remote", hash_name: str | None) -> "tuple[HashFileDB, HashFileDB]":
    """(the local cache, the remote's) of a kind of hash."""
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
    """How many records stay without a signature of the team's. Signed are those that were sent; with `known` those of before, too."""
    records = [one.record for one in plan.records if one.record and plan.whole(one)]
    whole, team = {record: plan.texts[record] for record in records}, trusted_keys()
    lacking = refused_records(remote, whole, team) if team else {}
    todo = {record: plan.texts[record] for record in lacking if known or record not in plan.known} if key else {}
    todo = {record: text for record, text in todo.items() if record not in moved.failed}
    failed = write_signatures(remote, repo.cache.legacy, todo, key) if key else {}
    moved.signed, moved.failed = len(todo) - len(failed), moved.failed | failed
    return len(lacking) - moved.signed


# -- moving -------------------------------------------------------------------------------------------------------


def move(plan: Plan, repo: "Repo", remote: "Remote") -> TransferResult:
    """What was moved. A folder's list follows its members and a record its objects: what is there is always whole."""
    moved = TransferResult()
    for hash_name, objects in group_by_hash_name(plan.moving()).items():
        here, far = cache_pair(repo, remote, hash_name)
        move_objects(moved, plan, {one for one in objects if not one.isdir}, here, far)
        lacking = plan.lost.keys() | moved.failed.keys()
        # the list of a folder on a remote says that all its members are there, to DVC too
        partial = {top for one in plan.objects for top in partial_lists(plan, one, lacking)}
        move_objects(moved, plan, {one for one in objects if one.isdir} - partial, here, far)
    useful = {one.record for one in plan.records if not plan.objects[one] & moved.failed.keys()}
    move_records(moved, plan, [record for record in plan.new_records() if record in useful], repo.cache.legacy, remote)
    return moved


def partial_lists(plan: Plan, one: Bundle, lacking: "Set[HashInfo | Record]") -> "list[HashInfo]":
    return [top for _, top, _ in one.outs if top.isdir and plan.objects[one] & lacking]


def move_objects(
    moved: TransferResult, plan: Plan, objects: "set[HashInfo]", here: "HashFileDB", far: "HashFileDB"
) -> None:
    """Copy objects; each that fails is noted with its reason, and one that arrives damaged is removed."""
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
            # DVC puts a file in its place though it has told of its failure; one that never began stops all others
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
            moved.failed[one] = "not tried any more" if aborted else f"{DAMAGED_THERE}: {source.oid_to_path(oid)}"


def move_records(moved: TransferResult, plan: Plan, new: list[Record], here: "HashFileDB", remote: "Remote") -> None:
    """Copy run records, each in one rename where the goal has them."""
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
