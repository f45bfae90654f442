"""Remotes of every kind that can be started on the loopback address: what one pushes, another builds nothing of.

Each server is a real one, with credentials, started by its test and ended with it.
"""

import contextlib
import getpass
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_share import CHECKED, ROOT, Folder, project

from commands.sharing.remotes import mask_secrets

SECRET = "tr0ub4dor-and-3"
SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    made = project(tmp_path_factory.mktemp("remotes") / "project")
    made.run("dvc", "remote", "remove", "team")
    return made


@contextlib.contextmanager
def servers():
    """A function that starts a server and waits until its port answers; all are ended by their id."""
    running = []

    def start(command, port, log, **environment):
        with open(log, "wb") as file:
            running.append(subprocess.Popen(command, stdout=file, stderr=file, env=os.environ | environment))
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            assert running[-1].poll() is None, log.read_text()
            time.sleep(0.1)
        raise AssertionError(log.read_text())

    try:
        yield start
    finally:
        for server in running:
            server.terminate()
            server.wait(30)


@pytest.fixture
def serve():
    with servers() as start:
        yield start


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def folder(tmp_path, serve):
    return str(tmp_path / "remote"), {}, {}


def s3(tmp_path, serve):
    import boto3

    port = free_port()
    serve([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port, tmp_path / "s3.log")
    address = f"http://127.0.0.1:{port}"
    keys = {"aws_access_key_id": "ada", "aws_secret_access_key": SECRET}
    boto3.client("s3", endpoint_url=address, region_name="us-east-1", **keys).create_bucket(Bucket="tilth")
    local = {"access_key_id": "ada", "secret_access_key": SECRET}
    return "s3://tilth/team", {"endpointurl": address, "region": "us-east-1"}, local


def webdav(tmp_path, serve):
    port, root = free_port(), tmp_path / "dav"
    (root / "team").mkdir(parents=True)
    config = tmp_path / "wsgidav.yaml"
    config.write_text(
        f"""
host: 127.0.0.1
port: {port}
provider_mapping: {{"/": "{root}"}}
http_authenticator: {{domain_controller: null, accept_basic: true, accept_digest: false}}
simple_dc: {{user_mapping: {{"*": {{ada: {{password: "{SECRET}"}}}}}}}}
"""
    )
    serve([sys.executable, "-m", "wsgidav.server.server_cli", "-c", str(config)], port, tmp_path / "dav.log")
    return f"webdav://127.0.0.1:{port}/team", {}, {"user": "ada", "password": SECRET}


def ssh(tmp_path, serve):
    if not SSHD or not shutil.which("ssh-keygen"):
        pytest.skip("openssh-server is not installed: apt-get install openssh-server")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd of root wants it, and takes no other
    port, home = free_port(), tmp_path / "ssh"
    home.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / name)], check=True)
    shutil.copyfile(home / "user.pub", home / "authorized")
    (home / "config").write_text(
        f"""
ListenAddress 127.0.0.1
Port {port}
HostKey {home}/host
AuthorizedKeysFile {home}/authorized
PidFile none
LogLevel DEBUG1
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
"""
    )
    serve([SSHD, "-D", "-e", "-f", str(home / "config")], port, tmp_path / "ssh.log")
    address = f"ssh://127.0.0.1:{port}{tmp_path}/remote"
    return address, {}, {"user": getpass.getuser(), "keyfile": str(home / "user")}


def joined(built_in, tmp_path, kind, serve):
    """(a project with a remote of a kind as its default one, the settings that git does not keep)."""
    shutil.copytree(built_in, tmp_path / "mine", symlinks=True)
    mine = Folder(tmp_path / "mine")
    address, settings, local = kind(tmp_path, serve)
    mine.run("dvc", "remote", "add", "--default", "team", address)
    for key, value in settings.items():
        mine.run("dvc", "remote", "modify", "team", key, value)
    mine.commit()
    introduced(mine, local)
    return mine, local


def introduced(project, local):
    for key, value in local.items():
        project.run("dvc", "remote", "modify", "--local", "team", key, value)
    return project


KINDS = [folder, s3, webdav, ssh]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_pushed_is_pulled_and_nothing_runs(once, tmp_path, kind, serve):
    mine, local = joined(once.path, tmp_path, kind, serve)
    mine.run("dvc", "push")
    yours = introduced(mine.clone(tmp_path / "yours"), local)
    yours.run("dvc", "pull")
    assert yours.repro() == []
    yours.switch(3)
    assert yours.repro() == [*CHECKED, "train", "evaluate"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_shared_is_fetched_with_every_variant_and_no_secret_is_told(once, tmp_path, kind, serve):
    mine, local = joined(once.path, tmp_path, kind, serve)
    said = mine.tilth("share")
    yours = introduced(mine.clone(tmp_path / "yours"), local)
    said += yours.tilth("fetch")
    assert yours.repro() == []
    yours.switch(2)
    assert yours.repro() == CHECKED
    assert SECRET not in said
    kept = yours.run("git", "log", "--all", "-p") + (yours.path / "dvc.lock").read_text()
    assert SECRET not in kept


@pytest.mark.slow
def test_an_agent_is_forwarded_to_an_ssh_server_until_ssh_config_has_none(once, tmp_path, serve):
    """As docs/sharing.md says; and the server's host key, which nobody here has seen before, is taken."""
    mine, local = joined(once.path, tmp_path, ssh, serve)
    (tmp_path / "home/.ssh").mkdir(parents=True)
    (tmp_path / "home/.ssh/config").write_text("Host *\n  ForwardAgent no\n  StrictHostKeyChecking yes\n")
    home = {"HOME": str(tmp_path / "home"), "SSH_AUTH_SOCK": str(tmp_path / "agent")}
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", home["SSH_AUTH_SOCK"]], stdout=subprocess.DEVNULL)
    try:
        mine.run("dvc", "push", **home)
        assert b"auth-agent-req" in (tmp_path / "ssh.log").read_bytes()
        os.truncate(tmp_path / "ssh.log", 0)
        (tmp_path / "home/.ssh/config").write_text("Host 127.0.0.1\n  IdentityAgent none\n")
        introduced(mine.clone(tmp_path / "yours"), local).run("dvc", "pull", **home)
        assert b"auth-agent-req" not in (tmp_path / "ssh.log").read_bytes()
    finally:
        agent.terminate()
        agent.wait(30)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [s3, webdav])
def test_a_wrong_password_is_one_line_without_it(once, tmp_path, kind, serve):
    mine, _ = joined(once.path, tmp_path, kind, serve)
    mine.run("dvc", "remote", "modify", "--local", "team", "password" if kind is webdav else "endpointurl",
             "wr0ng-and-secret" if kind is webdav else f"http://ada:wr0ng-and-secret@127.0.0.1:{free_port()}")  # fmt: skip
    said = mine.tilth("share", fails=True)
    assert "remote team: " in said and "hint: " in said
    assert "wr0ng-and-secret" not in said


@pytest.mark.slow
def test_a_webdav_folder_that_is_not_there_is_one_line_with_what_to_do(once, tmp_path, serve):
    mine, _ = joined(once.path, tmp_path, webdav, serve)
    (tmp_path / "dav/team").rmdir()
    assert "create the folder of its address first" in mine.tilth("share", fails=True)


@pytest.fixture(scope="module")
def whole(built, tmp_path_factory):
    """The small project, to which a dataset was added, built, removed, and built again."""
    grown = built.copy(tmp_path_factory.mktemp("whole") / "project")
    params = grown.read_params()
    params["datasets"]["extra"] = {"kind": "sft", "raw": "data/raw/chat", "max_reject_share": 0.2}
    grown.write_params(params)
    assert "ingest@extra" in grown.repro("collect")
    del params["datasets"]["extra"]
    grown.write_params(params)
    assert "collect" in grown.repro()
    grown.commit()
    return grown


@pytest.mark.slow
@pytest.mark.parametrize("kind", [s3, ssh, *(pytest.param(kind, marks=pytest.mark.long) for kind in (folder, webdav))])
def test_a_real_build_is_pulled_and_an_edit_reaches_its_step_alone(whole, tmp_path, kind, serve):
    mine, local = joined(whole.folder, tmp_path, kind, serve)
    mine.run("dvc", "push")
    yours = introduced(mine.clone(tmp_path / "yours"), local)
    yours.run("dvc", "pull")
    assert yours.repro() == []
    clone = type(whole)(yours.path)
    params = clone.read_params()
    params["steps"]["align"]["args"]["learning_rate"] = 4e-5
    clone.write_params(params)
    assert clone.repro("preflight") == {"check", "preflight"}
    changed = set(json.loads(clone.run("dvc", "status", "--json")))
    assert {stage for stage in changed if stage.startswith("train@")} == {"train@align"}
    # what depends on all of preflight/, or on all steps
    assert changed <= {"train@align", "collect_scores", "report"}


def test_every_recipe_has_dvc_hash_what_it_pulls():
    page = (ROOT / "docs/sharing.md").read_text(encoding="utf-8")
    recipes = re.findall(r"```console\n\$ dvc remote add --default team .*\n(.*)\n", page)
    assert recipes == ["$ dvc remote modify team verify true"] * 6


def test_errors_are_told_without_the_secrets_of_the_configuration():
    config = {"remote": {"team": {"url": "s3://b", "secret_access_key": SECRET, "user": "ada"}}}
    told = mask_secrets(f"403 for https://ada:pass@example.org/x\nwith {SECRET}", config)
    assert told == "403 for https://***@example.org/x with ***"


def test_an_error_is_cut_after_its_secrets_are_masked():
    config = {"remote": {"team": {"url": "s3://b", "secret_access_key": SECRET}}}
    assert SECRET[:5] not in mask_secrets("x" * 495 + SECRET, config)
    assert "passw0rd"[:3] not in mask_secrets("x" * 480 + " https://ada:passw0rd@example.org", config)


def test_an_error_tells_no_password_of_an_address_of_the_configuration_by_itself():
    config = {"remote": {"team": {"url": "https://ada:p%40ss-w0rd@example.org/x?sig=5f0e5f0e"}}}
    assert mask_secrets("p%40ss-w0rd is wrong, as is 5f0e5f0e", config) == "*** is wrong, as is ***"


def test_an_error_tells_no_secret_of_the_environment(monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "AccountName=a b;AccountKey=5f0e")
    assert mask_secrets("bad: AccountName=a b;AccountKey=5f0e", {}) == "bad: ***"
