"""The output of `tilth share` and `tilth fetch`: what moved, and the Problems of what could not."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from commands.sharing.transfer import DAMAGED_HERE, DAMAGED_THERE, Plan, TransferResult
from commands.sharing.variants import Bundle
from validators.problems import Problem

if TYPE_CHECKING:
    from commands.builds.dvc import Output

MAX_SHOWN = 20
REMOVE_HINT = "remove the damaged object from DVC's cache"
ASK_BUILDER = "ask whoever built it for `tilth share`"
# for an output of a stage, and of a .dvc file
REBUILD_HINTS = ("dvc repro builds it again", "dvc add or dvc update brings it again")
RERUN_HINT = "run it again: what has arrived is not moved twice"


def describe_transfer(plan: Plan, moved: TransferResult | None, name: str, dry_run: bool) -> Iterator[str]:
    """Yields the summary, then what is incomplete and what DVC must move."""
    done = "sent" if plan.sending else "fetched"
    if dry_run:
        done = f"would be {done}"
    records = len(plan.new_records()) if moved is None else moved.records
    objects, size = (
        (len(plan.objects_to_move()), f"at most {size_to_move(plan):,}")
        if moved is None
        else (len(moved.objects), f"{moved.size:,}")
    )
    yield f"remote {name}: {count_noun(objects, 'object')} ({size} bytes) and {count_noun(records, 'run record')} {done}"
    before = len({one.record for one in plan.records} & plan.known)
    yield f"already there: {count_noun(len(plan.there), 'object')}, {count_noun(before, 'run record')}"
    for path, why in plan.left:
        yield f"left alone: {path} {why}"
    yield from first_lines([f"run record {key[:8]}.../{value[:8]}...: {why}" for (key, value), why in plan.damaged])
    partial = [one for one in plan.records if not plan.is_whole(one)]
    if partial:
        yield f"{count_noun(len(partial), 'run record')} incomplete: DVC would run their stages again"
    yield from first_lines([f"  {one.name}: {describe_lost_objects(plan, one)}" for one in partial])
    broken = [one for one in plan.inputs if not plan.is_whole(one)]
    yield from first_lines([f"raw data of an earlier run: {describe_lost_objects(plan, one)}" for one in broken])


def describe_checkout(outs: "list[Output]", dry_run: bool) -> Iterator[str]:
    """Yields the missing data of .dvc files that were checked out."""
    done = "would be checked out" if dry_run else "checked out"
    if outs:
        yield f"{done}: {count_noun(len(outs), 'missing output')} of .dvc files"
    yield from first_lines([f"  {out}" for out in outs])


def first_lines(lines: list[str]) -> Iterator[str]:
    yield from lines[:MAX_SHOWN]
    if len(lines) > MAX_SHOWN:
        yield f"  ... and {len(lines) - MAX_SHOWN:,} more"


def count_noun(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def size_to_move(plan: Plan) -> int:
    """At most so many bytes would move: the recorded sizes of all outputs with an object to move."""
    moving = plan.objects_to_move()
    tops = {top: size for one, objects in plan.objects.items() if objects & moving for _, top, size in one.outs}
    return sum(tops.values())


def describe_lost_objects(plan: Plan, one: Bundle) -> str:
    """`models/align: 2 objects are neither here nor on the remote (0cc1...)`, with the name of the first."""
    lost = sorted(plan.objects[one] & plan.lost.keys(), key=str)
    reasons = " and ".join(sorted({plan.lost[each] for each in lost}))
    paths = ", ".join(path for path, _, _ in one.outs)
    return f"{paths}: {count_noun(len(lost), 'object')} {'is' if len(lost) == 1 else 'are'} {reasons} ({lost[0].value})"


def transfer_problems(
    plan: Plan, moved: TransferResult | None, name: str, config: Mapping[str, Any]
) -> Iterator[Problem]:
    """Yields why the workspace is incomplete at its goal, and what failed on the way."""
    from commands.sharing.remotes import mask_secrets

    for one in plan.workspace:
        if not plan.is_whole(one):
            hint = REBUILD_HINTS[one.name.endswith(".dvc")] if plan.sending else ASK_BUILDER
            damaged = DAMAGED_HERE in {plan.lost.get(each) for each in plan.objects[one]}
            yield Problem(
                one.name, describe_lost_objects(plan, one), "", f"{REMOVE_HINT}, then {hint}" if damaged else hint
            )
    for record, why in plan.damaged:
        if plan.sending:
            yield Problem(f".dvc/cache/runs: {'/'.join(record)}", why, "", "remove it: its stage's next run writes it")
    for one, why in plan.refused:
        hint = "tilth share --sign-known by whoever built it; without the record, dvc repro builds it"
        key, value = one.record or ("", "")
        found = f"run record {key[:8]}.../{value[:8]}... was not fetched: {why}"
        yield Problem(one.name, found, "a signature by a key of .dvc/tilth-keys/", hint)
    if moved and moved.failed:
        reasons = sorted({mask_secrets(why, config) for why in moved.failed.values()})
        found = f"{count_noun(len(moved.failed), 'file')} could not be moved: {'; '.join(reasons[:3])}"
        hint = RERUN_HINT
        if any(DAMAGED_THERE in reason for reason in reasons):
            hint = f"remove what is damaged from the remote, then {ASK_BUILDER}; or dvc repro builds it"
        yield Problem(f"remote {name}", found, "", hint)
