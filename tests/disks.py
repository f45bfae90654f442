"""Disks of a test's own, which may be full or read-only: real ones, as root is stopped by no permission."""

import contextlib
import subprocess

import pytest


def mount(*arguments):
    """Call mount; skip the test where this user may not."""
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"only root can make a disk for this test: {done.stderr.strip()}")


@contextlib.contextmanager
def disk_of(folder, size):
    """The folder as a disk of its own, of a size such as `1m`."""
    folder.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        yield folder
    finally:
        unmount(folder)


@contextlib.contextmanager
def read_only(folder):
    """Nobody can write into the folder, root neither."""
    mount("--bind", folder, folder)
    try:
        mount("-o", "remount,bind,ro", folder)
        yield
    finally:
        unmount(folder)


def unmount(folder):
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
