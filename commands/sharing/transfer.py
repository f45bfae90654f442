"""Objects and run records between DVC's cache and a remote: what is named moves whole, or is listed.

plan = planned(repo, remote, sending=True)      # what moves, what is there, what is lost; nothing has moved yet
moved = move(plan, repo, remote)                # objects, then the lists of folders, then the records that name them

DVC itself sends records before objects and skips the objects of variants outside the workspace, trusts the bytes that it
copies, and takes what it remembers of a remote for what is there.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from commands.builds.hashes import md5
from commands.builds.lock import LEGACY
from commands.sharing.remotes import record_path, records
from commands.sharing.signatures import refused, sign
from commands.sharing.variants import Wanted, inputs, members, read_record, wanted
from commands.statements.keys import trusted

NOWHERE = "neither here nor on the remote"
DAMAGED_HERE = "damaged in the cache here"
DAMAGED_THERE = "damaged on the remote"


@dataclass
class Plan:
    """What was found before anything moves. Objects are HashInfos; `lost` says why one cannot be had."""

    sending: bool
    workspace: list
    left: list  # (path, why it goes another way)
    records: list = field(default_factory=list)
    inputs: list = field(default_factory=list)  # raw data of variants, as far as they lie where things come from
    damaged: list = field(default_factory=list)  # ((key, value), why) of records
    refused: list = field(default_factory=list)  # (Wanted, why) of records that none of the team's keys has signed
    texts: dict = field(default_factory=dict)  # (key, value): bytes of a record
    known: set = field(default_factory=set)  # records that the other side has
    objects: dict = field(default_factory=dict)  # Wanted: all its objects
    there: set = field(default_factory=set)
    lost: dict = field(default_factory=dict)

    def whole(self, one):
        return not self.objects[one] & self.lost.keys()

    def all(self):
        return [*self.workspace, *self.records, *self.inputs]

    def moving(self):
        """All that the workspace needs and can be had; of the others, what whole ones name: the rest restores nothing."""
        useful = [*self.workspace, *(one for one in (*self.records, *self.inputs) if self.whole(one))]
        return set().union(*(self.objects[one] for one in useful)) - self.there - self.lost.keys()

    def new_records(self):
        return [one.record for one in self.records if one.record not in self.known and self.whole(one)]


@dataclass
class Moved:
    objects: list = field(default_factory=list)
    size: int = 0
    records: int = 0
    signed: int = 0
    failed: dict = field(default_factory=dict)  # HashInfo or (key, value): why


# -- what is where ------------------------------------------------------------------------------------------------


def planned(repo, remote, sending):
    """The Plan of a push (sending), or of its reverse."""
    plan = Plan(sending, *wanted(repo))
    read_records(plan, repo.cache.legacy, remote)
    find_inputs(plan, repo, remote)
    lists = read_lists(plan, repo, remote)
    for one in plan.all():
        tops = {hash_info for _, hash_info, _ in one.outs}
        plan.objects[one] = tops.union(*(lists.get(top) or () for top in tops))
    for hash_name, named in by_hash_name(set().union(*plan.objects.values())).items():
        compare(plan, named, *caches(repo, remote, hash_name))
    return plan


def read_records(plan, here, remote):
    """The run records of this side, and when fetching those of the remote: all of them, as their objects may be missing."""
    mine, theirs = records(here), records(remote)
    plan.known = theirs.keys() - of_other_size(mine, theirs, remote.fs) if plan.sending else set(mine)
    plan.texts = {record: Path(path).read_bytes() for record, path in mine.items()}
    if not plan.sending:
        new = {record: path for record, path in theirs.items() if record not in mine}
        with ThreadPoolExecutor(remote.fs.jobs) as pool:
            texts = watched("reading records", pool.map(remote.fs.cat_file, new.values()), len(new))
            plan.texts |= zip(new, texts, strict=True)
    keys = {} if plan.sending else trusted()
    wrong = refused(remote, {record: plan.texts[record] for record in plan.texts if record not in mine}, keys) if keys else {}
    for record, text in sorted(plan.texts.items()):
        found = read_record(*record, text)
        if isinstance(found, Wanted) and record in wrong:
            plan.refused.append((found, wrong[record]))
        elif isinstance(found, Wanted):
            plan.records.append(found)
        else:
            plan.damaged.append((record, found))


def find_inputs(plan, repo, remote):
    """The raw data that runs have read, of the workspace or earlier: what is not at the source is code, or git keeps it."""
    read = inputs(repo, plan.records, {top for one in plan.all() for _, top, _ in one.outs})
    for hash_name, named in by_hash_name(read).items():
        here, far = caches(repo, remote, hash_name)
        plan.inputs += [read[one] for one in existing(here if plan.sending else far, named)]


def read_lists(plan, repo, remote):
    """{HashInfo of a folder: its members}; a folder without a list that can be trusted is lost."""
    folders = {top for one in plan.all() for _, top, _ in one.outs if top.isdir}

    def read(folder):
        here, far = caches(repo, remote, folder.name)
        path, side = here.oid_to_path(folder.value), DAMAGED_HERE
        try:
            if os.path.exists(path):
                data = Path(path).read_bytes()
            else:
                data, side = far.fs.cat_file(far.oid_to_path(folder.value)), DAMAGED_THERE
        except FileNotFoundError:
            return NOWHERE
        found = members(folder, data)
        return side if found is None else found

    with ThreadPoolExecutor(remote.fs.jobs) as pool:
        found = dict(zip(folders, watched("reading lists", pool.map(read, folders), len(folders)), strict=True))
    plan.lost |= {folder: why for folder, why in found.items() if isinstance(why, str)}
    return {folder: members for folder, members in found.items() if folder not in plan.lost}


def compare(plan, named, here, far):
    """What of the named objects is at its goal, and what can be had nowhere."""
    goal = far if plan.sending else here
    there = existing(goal, named) - plan.lost.keys()
    paths = {one: here.oid_to_path(one.value) for one in there}
    differing = of_other_size(paths, {one: far.oid_to_path(one.value) for one in there}, far.fs)
    # a transfer that was cut: WebDAV keeps what came of it under the object's name; the others, under no name or another
    plan.there |= there - {one for one in differing if bool(fault(one, paths[one])) != plan.sending}
    todo = named - plan.there - plan.lost.keys()
    if plan.sending:
        paths = {one: here.oid_to_path(one.value) for one in todo}
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            checked = watched("hashing", pool.map(lambda one: fault(one, paths[one]), todo), len(todo))
            faults = dict(zip(todo, checked, strict=True))
        plan.lost |= {one: why for one, why in faults.items() if why}
    elif todo:
        plan.lost |= dict.fromkeys(todo - existing(far, todo), NOWHERE)


def existing(side, objects):
    """Those objects that a cache or a remote has, with a bar while it is asked."""
    from commands.builds.dvc import TqdmCallback

    with TqdmCallback(desc="listing", unit="file") as progress:

        def advance(_, total, current):
            progress.set_size(total)
            progress.absolute_update(current)

        found = set(side.oids_exist({one.value for one in objects}, progress=advance))
    return {one for one in objects if one.value in found}


def watched(doing, results, size):
    """The results, one by one, with a bar."""
    from commands.builds.dvc import TqdmCallback

    with TqdmCallback(desc=doing, unit="file", size=size) as progress:
        yield from progress.wrap(results)


def of_other_size(here, there, fs):
    """The keys of two dicts of paths whose files, here and on the remote, are both there and not of one length."""
    both = [key for key in here.keys() & there.keys() if os.path.exists(here[key])]
    infos = fs.info([there[key] for key in both], batch_size=fs.jobs, return_exceptions=True) if both else []
    found = {key: info for key, info in zip(both, infos, strict=True) if not isinstance(info, FileNotFoundError)}
    if failed := [info for info in found.values() if isinstance(info, Exception)]:
        raise failed[0]
    return {key for key, info in found.items() if info["size"] != os.path.getsize(here[key])}


def fault(one, path):
    """Why an object of the cache cannot be sent: DVC would send what lies there, whatever it is."""
    if not os.path.exists(path):
        return NOWHERE
    if one.name == LEGACY:
        from commands.builds.dvc import legacy_md5

        actual = legacy_md5(path)
    else:
        actual = md5(path)
    return "" if actual == one.as_raw().value else DAMAGED_HERE


def caches(repo, remote, hash_name):
    """(the local cache, the remote's) of a kind of hash."""
    legacy = hash_name == LEGACY
    return (repo.cache.legacy, remote.legacy_odb) if legacy else (repo.cache.local, remote.odb)


def by_hash_name(objects):
    names = {one.name for one in objects}
    return {name: {one for one in objects if one.name == name} for name in names}


# -- signing ------------------------------------------------------------------------------------------------------


def sign_records(moved, plan, repo, remote, key, known):
    """How many records stay without a signature of the team's. Signed are those that were sent; with `known` those of before, too."""
    whole, team = {one.record: plan.texts[one.record] for one in plan.records if plan.whole(one)}, trusted()
    lacking = refused(remote, whole, team) if team else {}
    todo = {record: plan.texts[record] for record in lacking if known or record not in plan.known} if key else {}
    todo = {record: text for record, text in todo.items() if record not in moved.failed}
    failed = sign(remote, repo.cache.legacy, todo, key)
    moved.signed, moved.failed = len(todo) - len(failed), moved.failed | failed
    return len(lacking) - moved.signed


# -- moving -------------------------------------------------------------------------------------------------------


def move(plan, repo, remote):
    """What was moved. A folder's list follows its members and a record its objects: what is there is always whole."""
    moved = Moved()
    for hash_name, objects in by_hash_name(plan.moving()).items():
        here, far = caches(repo, remote, hash_name)
        move_objects(moved, plan, {one for one in objects if not one.isdir}, here, far)
        lacking = plan.lost.keys() | moved.failed.keys()
        # the list of a folder on a remote says that all its members are there, to DVC too
        partial = {top for one in plan.objects for top in lists_lacking(plan, one, lacking)}
        move_objects(moved, plan, {one for one in objects if one.isdir} - partial, here, far)
    useful = {one.record for one in plan.records if not plan.objects[one] & moved.failed.keys()}
    move_records(moved, plan, [record for record in plan.new_records() if record in useful], repo.cache.legacy, remote)
    return moved


def lists_lacking(plan, one, lacking):
    return [top for _, top, _ in one.outs if top.isdir and plan.objects[one] & lacking]


def move_objects(moved, plan, objects, here, far):
    """Copy objects; each that fails is noted with its reason, and one that arrives damaged is removed."""
    from commands.builds.dvc import TqdmCallback

    if not objects:
        return
    source, goal = (here, far) if plan.sending else (far, here)
    by_oid = {one.value: one for one in objects}

    def failed(oid, error):
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
        if aborted and not plan.sending and fault(one, path) == DAMAGED_HERE:
            os.unlink(path)
        if one not in moved.failed and os.path.exists(path):
            moved.objects.append(one)
            moved.size += os.path.getsize(path)
        elif one not in moved.failed:
            moved.failed[one] = "not tried any more" if aborted else f"{DAMAGED_THERE}: {source.oid_to_path(oid)}"


def move_records(moved, plan, new, here, remote):
    """Copy run records, each in one rename where the goal has them."""
    from commands.builds.dvc import copy, write_in_one_rename

    if plan.sending:
        sources = [record_path(here, record) for record in new]
        goals = {record_path(remote, record): record for record in new}

        def failed(_, goal, error):
            moved.failed[goals[goal]] = f"{type(error).__name__}: {error}"

        if new:
            for folder in {remote.fs.parent(goal) for goal in goals}:
                remote.fs.makedirs(folder)
            copy(here.fs, sources, remote.fs, list(goals), batch_size=remote.fs.jobs, on_error=failed)
    else:
        for record in new:
            write_in_one_rename(plan.texts[record], record_path(here, record), here)
    moved.records = len(new) - len(moved.failed.keys() & set(new))
