"""Run records that the team signs: what nobody of it has signed is refused by name, before DVC could restore a model from it."""

import json
import shutil
from types import SimpleNamespace

import pytest
from test_envelope import write_key
from test_share import CHECKED, Folder, project

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """A project with a key of the team's, its records shared and signed; `stranger` has a key of no team."""
    place = tmp_path_factory.mktemp("signatures")
    made = project(place / "project")
    for name in ("team", "stranger"):
        write_key(place / f"{name}.pem")
    (made.path / ".dvc/tilth-keys").mkdir()
    shutil.copy(place / "team.pub", made.path / ".dvc/tilth-keys/team.pub")
    made.commit()
    made.said = made.tilth("share", "--key", str(place / "team.pem"))
    return made


@pytest.fixture
def mine(once, tmp_path):
    for name in ("project", "remote"):
        shutil.copytree(once.path.parent / name, tmp_path / name, symlinks=True)
    for name in ("team.pem", "stranger.pem"):
        shutil.copy(once.path.parent / name, tmp_path / name)
    return Folder(tmp_path / "project")


@pytest.fixture
def yours(mine, tmp_path):
    return mine.clone(tmp_path / "yours")


def signatures(folder):
    return sorted((folder.path.parent / "remote/tilth-signatures").rglob("*.json"))


def records(folder, where=".dvc/cache"):
    return {path.name for path in (folder.path / where / "runs").rglob("*") if path.is_file()}


def test_what_the_team_signed_is_fetched_and_restores_every_variant(once, mine, yours):
    assert "signed: 4 run records" in once.said and "not signed" not in once.said
    assert {path.stem for path in signatures(mine)} == records(mine)
    yours.tilth("fetch")
    assert records(yours) == records(mine)
    yours.switch(2)
    assert yours.repro() == CHECKED


def test_what_nobody_signed_is_refused_by_name_and_the_workspace_is_fetched(mine, yours):
    for path in signatures(mine):
        path.unlink()
    said = yours.tilth("fetch", fails=True)
    assert said.count("was not fetched: nobody signed it") == 4 and "python train.py: run record" in said
    assert records(yours) == set()
    assert yours.repro() == []  # the objects of dvc.lock are there: it is in git
    yours.switch(2)
    assert "train" in yours.repro()


def test_a_record_that_a_stranger_made_up_and_signed_is_refused(mine, yours):
    """Who may write to the remote names another model: its objects are whole, its record fits, and a stranger's key signed it."""
    from commands.sharing import signatures as signing
    from commands.statements import keys

    stranger = keys.read_private_key(mine.path.parent / "stranger.pem")
    for path in signatures(mine):
        record = next((mine.path.parent / "remote/runs").rglob(path.stem))
        path.write_text(json.dumps(signing.seal(record.read_bytes(), stranger, signing.PAYLOAD_TYPE)), encoding="utf-8")
    assert yours.tilth("fetch", fails=True).count("was not fetched: is signed by a stranger") == 4
    assert records(yours) == set()


def test_a_signature_of_another_record_or_none_at_all_is_refused(mine, yours):
    first, second, third, _ = signatures(mine)
    shutil.copy(first, second)
    third.write_text("[]")
    said = yours.tilth("fetch", fails=True)
    assert said.count("its signature is of another record") == 2 and said.count("was not fetched") == 2
    assert len(records(yours)) == 2


def test_who_has_no_key_is_told_that_nobody_will_fetch_it(mine, yours):
    mine.switch(3)
    mine.repro()
    said = mine.tilth("share")
    assert "not signed: 2 run records, which no colleague fetches: --key FILE" in said
    assert yours.tilth("fetch", fails=True).count("nobody signed it") == 2
    said = mine.tilth("share", TILTH_KEY=str(mine.path.parent / "team.pem"))
    assert "signed: 0 run records" in said and "--sign-known signs them" in said  # they are there: who built them?
    assert "signed: 2 run records" in mine.tilth("share", "--sign-known", "--key", str(mine.path.parent / "team.pem"))
    yours.tilth("fetch")
    yours.switch(3)
    assert yours.repro() == CHECKED


def test_records_of_who_left_are_signed_again(mine, yours):
    for folder in (mine, yours):
        (folder.path / ".dvc/tilth-keys/team.pub").unlink()
        write_key(mine.path.parent / "new.pem") if folder is mine else None
        shutil.copy(mine.path.parent / "new.pub", folder.path / ".dvc/tilth-keys/new.pub")
    assert yours.tilth("fetch", fails=True).count("is signed by a stranger") == 4
    assert "signed: 4 run records" in mine.tilth("share", "--sign-known", "--key", str(mine.path.parent / "new.pem"))
    yours.tilth("fetch")
    assert records(yours) == records(mine)


def test_a_key_that_is_none_of_the_teams_signs_nothing(mine):
    said = mine.tilth("share", "--key", str(mine.path.parent / "stranger.pem"), fails=True)
    assert "which is not a key of the team" in said


def test_a_team_without_keys_shares_as_before(tmp_path):
    made = project(tmp_path / "project")
    assert "signed" not in made.tilth("share")
    yours = made.clone(tmp_path / "yours")
    yours.tilth("fetch")
    yours.switch(2)
    assert yours.repro() == CHECKED


def test_signatures_are_read_of_a_remote_that_has_none():
    from commands.sharing.signatures import UNSIGNED, refused_records

    fs = SimpleNamespace(join=lambda *parts: "/".join(parts), exists=lambda path: False, jobs=1)
    remote = SimpleNamespace(fs=fs, path="r")
    assert refused_records(remote, {("a", "b"): b"x"}, {"k": object()}) == {("a", "b"): UNSIGNED}
