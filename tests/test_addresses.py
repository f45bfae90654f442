"""Addresses are told without what opens them, and what git keeps of it is named."""

import subprocess

import pytest

from commands.builds.addresses import credential_problems, without_credentials


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("for https://ada:pw@h/x twice https://h/y", "for https://***@h/x twice https://h/y"),
        ("https://ada:p@ss@h/x@y", "https://***@h/x@y"),
        ("https://ada:p/ss@h/x", "https://***@h/x"),
        ("https://h:8080/x@y", "https://h:8080/x@y"),
        ("https://5f0e@h", "https://***@h"),
        ("s3://b/k?X-Amz-Credential=a%2Fb&X-Amz-Signature=5f0e tried", "s3://b/k?X-Amz-Credential=***&X-Amz-Signature=*** tried"),
        ("https://h/c?sv=2024&sig=a/b+c%3D=", "https://h/c?sv=***&sig=***"),
        ("https://h/x#access_token=5f0e", "https://h/x#access_token=***"),
        ("https://h/x?5f0e5f0e", "https://h/x?***"),
        ("exceeded with url: /x?sig=5f0e (refused)", "exceeded with url: /x?sig=*** (refused)"),
        ("is it there? Then a=b; git@example.org:a.git", "is it there? Then a=b; git@example.org:a.git"),
    ],
)  # fmt: skip
def test_an_address_is_told_without_what_opens_it(text, told):
    assert without_credentials(text) == told


CONFIG = """[core]
    remote = team
['remote "team"']
    url = webdavs://ada@cloud.example.org/team
    {}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Files of git in which no address carries a credential."""
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/.gitignore").write_text("/config.local\n")
    (tmp_path / ".dvc/config").write_text(CONFIG.format("keyfile = id\n    ask_password = true"))
    (tmp_path / ".dvc/config.local").write_text(CONFIG.format("password = pw"))
    (tmp_path / "dvc.yaml").write_text("stages: {a: {cmd: a, deps: ['https://ada@example.org/x?versionId=2']}}\n")
    (tmp_path / "web.dvc").write_text("deps:\n- path: https://example.org/web\nouts:\n- path: web\n")
    return tmp_path


def test_addresses_and_options_without_credentials_are_right(project):
    assert credential_problems() == []


@pytest.mark.parametrize(
    ("file", "text", "shown"),
    [
        ("web.dvc", "deps:\n- path: https://ada:pw@example.org/web\n", "https://***@example.org/web"),
        ("web.dvc", "deps:\n- path: https://example.org/web?sv=1&sig=5f0e\n", "https://example.org/web?sv=***&sig=***"),
        ("a/b.dvc", f"deps:\n- path: x\n  repo:\n    url: https://{'5f0e' * 9}@example.org/a.git\n", "https://***@example.org/a.git"),
        ("dvc.yaml", "stages: {a: {cmd: a, deps: ['s3://id:5f0e@b/x']}}\n", "s3://***@b/x"),
        (".dvc/config", CONFIG.format("url = https://ada:pw@example.org"), "https://***@example.org"),
        (".dvc/config", CONFIG.format("password = pw"), "password"),
        (".dvc/config", CONFIG.format("secret_access_key = 5f0e"), "secret_access_key"),
    ],
)  # fmt: skip
def test_a_credential_that_is_in_git_is_named_without_itself(project, file, text, shown):
    (project / file).parent.mkdir(exist_ok=True)
    (project / file).write_text(text)
    found = credential_problems()
    assert [problem.where for problem in found] == [file]
    assert found[0].found == f"holds a credential, and git keeps this file: {shown}"
    assert ".dvc/config.local" in found[0].hint
    assert "5f0e" not in str(found) and "pw" not in str(found)
