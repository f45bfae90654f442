"""A remote that fails in the middle of a push and of a pull: a TCP proxy between DVC and a real server drops every connection."""

import contextlib
import hashlib
import re
import socket
import threading

import pytest
import test_remotes
from test_remotes import introduced, s3, webdav
from test_share import Folder
from undisturbed import outputs_of

pytestmark = pytest.mark.slow
PIECE = 16_384
serve = test_remotes.serve


class Proxy:
    """Forwards 127.0.0.1:port to a server. After `drop(bytes)` it carries so many more bytes, then nothing until `mend()`."""

    def __init__(self, server):
        self.server, self.left, self.open, self.lock = server, None, set(), threading.Lock()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def drop(self, after_bytes):
        self.left = after_bytes

    def mend(self):
        self.left = None

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.socket.accept()
                if self.left == 0:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self.server))
                self.open |= {client, server}
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self.forward, args=pair, daemon=True).start()

    def forward(self, source, goal):
        with contextlib.suppress(OSError):
            while data := source.recv(PIECE):
                goal.sendall(data[: self.taken(len(data))])
                if self.left == 0:
                    for each in list(self.open):
                        close(each)
        close(source)
        close(goal)

    def taken(self, wanted):
        """How many of the bytes may still pass."""
        with self.lock:
            passing = wanted if self.left is None else min(wanted, self.left)
            if self.left is not None:
                self.left -= passing
            return passing


def close(connection):
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
        connection.close()


def behind_proxy(built, tmp_path, kind, serve):
    """(a built project whose remote is reached through a proxy, the proxy, what git does not keep)."""
    mine = Folder(built.copy(tmp_path / "mine").folder, real=True)
    address, settings, local = kind(tmp_path, serve)
    proxy = Proxy(int(re.search(r"127\.0\.0\.1:(\d+)", f"{address} {settings}")[1]))
    mine.run("dvc", "remote", "add", "--default", "team", through(address, proxy))
    for key, value in settings.items():
        mine.run("dvc", "remote", "modify", "team", key, through(value, proxy))
    mine.commit()
    return introduced(mine, local), proxy, local


def through(address, proxy):
    return re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{proxy.port}", address)


def damaged(folder):
    """Objects below a folder whose bytes are not those of their names."""
    found = [path for path in (folder / "files/md5").rglob("*") if path.is_file()]
    assert found
    return [path for path in found if md5(path) != (path.parent.name + path.name).removesuffix(".dir")]


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def sizes(project):
    return sum(path.stat().st_size for path in project.objects())


@pytest.mark.long
@pytest.mark.parametrize("kind", [s3, webdav])
def test_a_share_and_a_fetch_that_are_cut_are_told_and_completed_by_the_next(built, tmp_path, kind, serve):
    mine, proxy, local = behind_proxy(built, tmp_path, kind, serve)
    expected, half = outputs_of(built.folder), sizes(mine) // 2
    proxy.drop(after_bytes=half)
    said = mine.tilth("share", fails=True, AWS_MAX_ATTEMPTS="2")
    assert "remote team: " in said and "run it again" in said
    proxy.mend()
    mine.tilth("share")
    yours = introduced(mine.clone(tmp_path / "yours"), local)
    proxy.drop(after_bytes=half)
    said = yours.tilth("fetch", fails=True, AWS_MAX_ATTEMPTS="2")
    assert "remote team: " in said and "run it again" in said
    assert yours.objects() and not damaged(yours.path / ".dvc/cache")
    proxy.mend()
    yours.tilth("fetch")
    assert yours.repro() == []
    assert not damaged(yours.path / ".dvc/cache")
    assert outputs_of(yours.path) == expected
    yours.tilth("verify")


@pytest.mark.long
def test_what_dvc_left_cut_on_a_remote_and_in_a_cache_is_mended_by_share_and_fetch(built, tmp_path, serve):
    """DVC takes an object for whole that is there, and never looks again."""
    mine, proxy, local = behind_proxy(built, tmp_path, webdav, serve)
    half, remote = sizes(mine) // 2, tmp_path / "dav/team"
    proxy.drop(after_bytes=half)
    assert "ERROR" in mine.run("dvc", "push", fails=True)
    proxy.mend()
    mine.run("dvc", "push")
    assert damaged(remote)
    mine.tilth("share")
    assert not damaged(remote)
    yours = introduced(mine.clone(tmp_path / "yours"), local)
    proxy.drop(after_bytes=half)
    assert "ERROR" in yours.run("dvc", "pull", fails=True)
    proxy.mend()
    yours.tilth("fetch")
    assert not damaged(yours.path / ".dvc/cache")
    assert yours.repro() == []
    yours.tilth("verify")
