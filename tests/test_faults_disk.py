"""A disk that is full in the middle of a stage, a cache that cannot be written, an object of the cache whose bytes have changed."""

import os
import random
import re
import shlex
from collections import Counter

import pytest
from disks import disk_of, read_only
from undisturbed import holds, never_built, outputs_of, outs_of, start_anew, tilth

from commands.builds.repairs import repair

pytestmark = pytest.mark.slow
# what is free when the stage begins, which needs more
STAGES = {"ingest@chat": 8_192, "curate@chat": 4_096, "train@sft": 1_000_000}
FULL = re.compile("the disk is full|No space left on device|database or disk is full")


@pytest.fixture
def disk(tmp_path):
    with disk_of(tmp_path / "disk", "128m") as folder:
        yield folder


def fill(disk, leave_bytes):
    """Leave so many bytes of a disk free."""
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with open(disk / "ballast", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, free - leave_bytes)


def make_room(disk):
    (disk / "ballast").unlink()


def test_a_disk_that_is_full_in_a_stage_is_told_and_nothing_half_written_stays(built, disk):
    project = built.copy(disk / "project", real=True)
    # elsewhere, or dvc itself finds that it has no room before any stage runs
    (project.folder / ".dvc/config.local").write_text(f"[core]\n    site_cache_dir = {disk.parent / 'state'}\n")
    expected = outputs_of(project.folder)
    for stage, free_bytes in STAGES.items():
        never_built(project.folder, stage)
        fill(disk, free_bytes)
        said = project.run("dvc", "repro", stage, fails=True)
        assert f"{stage.replace('@', ' ')}: the disk is full: " in said and "  hint: `df -h . .work" in said, said
        assert "Traceback" not in said
        assert not [out for out in outs_of(project.folder, stage) if (project.folder / out).exists()]
        assert not list(project.folder.rglob("*.partial"))
        make_room(disk)
        assert stage in project.repro(stage)
    holds(project, expected)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_disk_that_is_full_again_and_again_through_a_whole_build_leaves_no_trace(built, disk):
    """The stages, DVC's cache, its lock and its other files: each of them meets the end of the disk somewhere."""
    project = built.copy(disk / "project", real=True)
    expected, part, told = outputs_of(project.folder), random.Random(7), Counter()
    start_anew(project)
    for build in range(60):
        mended = repair(project.folder)
        told.update(line.split()[0] for line in mended)
        fill(disk, int(8_192 * 1.25**build * part.uniform(0.5, 1)))
        said = project.run("dvc", "repro", fails=None)
        make_room(disk)
        if "ERROR: " not in said:
            break
        assert FULL.search(said), said
        told[FULL.search(said)[0]] += 1
    holds(project, expected)
    print(dict(told))


def test_a_read_only_cache_is_told_where_something_would_be_restored_or_kept(built, tmp_path):
    """DVC tries in the cache itself whether it can make links, so that it restores nothing from a read-only one."""
    project = built.copy(tmp_path / "project", real=True)
    expected, raw = outputs_of(project.folder), project.folder / "data/raw/feedback/feedback.jsonl"
    before = raw.read_bytes()
    with read_only(project.folder / ".dvc/cache"):
        assert project.repro() == set()
        (project.folder / "data/train/chat.parquet").unlink()
        assert "Read-only file system" in project.run("dvc", "repro", fails=True)
        raw.write_bytes(before + b'{"prompt": "Add 4 and 7.", "completion": "It is 11.", "label": true}\n')
        assert "Read-only file system" in project.run("dvc", "repro", "ingest@feedback", fails=True)
    assert "ingest@feedback" in project.repro("ingest@feedback")
    raw.write_bytes(before)
    assert holds(project, expected) == set()


def damage(path):
    """Change a byte in the middle of a file as a failing disk does: its mode and its time stay."""
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(stat.st_mode)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_damaged_object_of_the_cache_is_named_with_what_mends_it(built, tmp_path):
    """DVC restores it as it is; `tilth verify` reads the bytes."""
    project = built.copy(tmp_path / "project", real=True)
    expected = outputs_of(project.folder)
    objects = {}
    for path in ("data/train/chat.parquet", "models/sft/model.safetensors"):
        objects[path] = f".dvc/cache/files/md5/{expected[path][:2]}/{expected[path][2:]}"
        damage(project.folder / objects[path])
        (project.folder / path).unlink()
    said = tilth(project, "verify", "--cache", fails=True)
    assert all(f"cache of {path}: {objects[path]} hashes to " in said for path in objects)
    project.run("dvc", "checkout")
    said = tilth(project, "verify", fails=True)
    for path in objects:
        assert f"\n{path}: its bytes hash to " in said
        command = f"rm {objects[path]} {path}"
        assert f"hint: {command}, as that object is damaged" in said
        project.run(*shlex.split(command))
    assert holds(project, expected) == {"curate@chat", "train@sft"}
