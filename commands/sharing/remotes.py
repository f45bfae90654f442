"""A DVC remote of any type, for `tilth share` and `tilth fetch`. Its errors take one line, without secrets.

with open_remote("team", "share") as (repo, remote):
    run_records(remote)                 # {(key, value): path} of the run records there
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from commands.builds.addresses import is_secret, secrets_in, without_credentials
from validators.problems import Problem, Problems

if TYPE_CHECKING:
    from commands.builds.dvc import HashFileDB, Remote, Repo


@contextlib.contextmanager
def open_remote(name: str | None, command: str) -> "Iterator[tuple[Repo, Remote]]":
    """Yields (DVC's repository, the remote with a name, or the default one). Raises Problems where anything fails meanwhile."""
    from commands.builds.dvc import DvcException, Repo

    config, where = {}, f"remote {name}" if name else "the default remote"
    try:
        with silence_dvc(), Repo() as repo, repo.lock:
            config = repo.config
            remote = repo.cloud.get_remote(name, command)
            where = f"remote {remote.name}"
            require_run_records(remote)
            yield repo, remote
    except (Problems, TypeError, AttributeError, NameError, AssertionError):
        raise
    except DvcException as error:
        hint = "dvc remote list; docs/sharing.md has a remote of every kind"
        raise Problems([Problem(where, mask_secrets(error, config), "", hint)]) from None
    except FileNotFoundError as error:
        hint = "check that its folder exists: WebDAV creates none, so create the folder of its address first"
        raise Problems([Problem(where, mask_secrets(error, config), "", hint)]) from None
    except Exception as error:  # each kind of remote has errors of its own
        hint = "check that it exists and that you have access, then run it again: moved files are not moved twice"
        raise Problems([Problem(where, mask_secrets(f"{type(error).__name__}: {error}", config), "", hint)]) from None


@contextlib.contextmanager
def silence_dvc() -> Iterator[None]:
    """Silence DVC's loggers, which print tracebacks and addresses. This module reports errors in one line."""
    import logging

    levels = dict.fromkeys(("dvc", "dvc_data", "dvc_objects"), logging.CRITICAL + 1)
    levels["dvc.progress"] = logging.ERROR  # it logs nothing; a higher level would hide the progress bars
    before = {name: logging.getLogger(name).level for name in levels}
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def require_run_records(remote: "Remote") -> None:
    """Raises Problems for a remote that cannot keep run records."""
    from commands.builds.dvc import is_http

    why = "keeps versions of files itself" if remote.fs.version_aware or remote.worktree else ""
    if is_http(remote.fs):
        why = "is plain HTTP, which cannot be listed"
    if why:
        hint = "another remote (--remote), or dvc push and dvc pull for the workspace alone"
        raise Problems([Problem(f"remote {remote.name}", f"{why}: it keeps no run records", "", hint)])


def mask_secrets(error: object, config: Mapping[str, Any]) -> str:
    """An error in one line, without credentials of addresses and without secrets of configuration and environment."""
    text = str(error)
    secrets = {each for secret in secrets_of(config) for each in (secret, quote(secret, safe=""))}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return without_credentials(" ".join(text.split()))[:500]  # cut last: half a secret would not be recognised


def secrets_of(config: Mapping[str, Any]) -> Iterator[str]:
    """Yields the secrets in options, in their addresses, and in environment variables."""
    for remote in dict(config.get("remote", {})).values():
        for option, value in dict(remote).items():
            if isinstance(value, str) and value:
                yield from [value] if is_secret(option) else ()
                yield from secrets_in(value)
    yield from (value for name, value in os.environ.items() if is_secret(name.lower()) and len(value) >= 8)


def run_records(side: "HashFileDB | Remote") -> dict[tuple[str, str], str]:
    """{(key, value): path} of the run records of a cache or a remote."""
    runs = side.fs.join(side.path, "runs")
    if not side.fs.exists(runs):
        return {}
    split = ((path, side.fs.parts(path)) for path in side.fs.find(runs))
    # a record that is being written has a short random name
    return {(parts[-2], parts[-1]): path for path, parts in split if len(parts[-1]) == len(parts[-2]) == 64}


def record_path(side: "HashFileDB | Remote", record: tuple[str, str]) -> str:
    key, value = record
    return side.fs.join(side.path, "runs", key[:2], key, value)
