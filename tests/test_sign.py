"""A folder that was handed on: whole and signed, or each thing that is wrong with it by name; by our commands and by those of others."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from builds import restore, stamps
from test_envelope import write_key

from commands import export, prove, provenance, sign, verify
from commands.builds import build as _build
from commands.statements import exported_folder
from commands.statements.folder import envelope_path, signature_path, statement_path
from commands.statements.keys import TEAM_KEYS
from validators.problems import Problems

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def handed(built, tmp_path_factory):
    """A folder with keys of two people, a signed build `p`, and exports of its models, made once."""
    place = tmp_path_factory.mktemp("sign")
    project = built.copy(place / "p")
    for name in ("mine", "other"):
        write_key(place / f"{name}.pem")
    before = Path.cwd()
    os.chdir(project.folder)
    try:
        _build.cache_folder.cache_clear()
        provenance.main()
        context = SimpleNamespace(obj=place)
        sign.main(context, key="mine.pem")
        for step in ("sft", "align"):
            export.main(context, step, f"{step}-out", key="mine.pem", check=step == "align", rows=2)
    finally:
        os.chdir(before)
    return place


@pytest.fixture
def place(handed, monkeypatch, tmp_path):
    """A folder away from the repository with a copy of what was handed on, and the public keys."""
    for name in ("sft-out", "align-out"):
        shutil.copytree(handed / name, tmp_path / name)
    for name in ("mine.pub", "other.pub", "mine.pem", "other.pem"):
        shutil.copy(handed / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def project(handed, monkeypatch):
    monkeypatch.chdir(handed / "p")
    _build.cache_folder.cache_clear()
    before = stamps(handed / "p")
    shutil.copytree(handed / "p", handed / "kept", symlinks=True)
    yield handed / "p"
    restore(handed / "kept", handed / "p", before)
    shutil.rmtree(handed / "kept")


def broken(folder="align-out", key="mine.pub"):
    """What `tilth verify DIR --key KEY` finds wrong, as text; empty where nothing is."""
    try:
        verify.main(folder, key)
    except Problems as error:
        return str(error)
    return ""


def test_a_whole_folder_is_verified_away_from_the_repository(place, capsys):
    assert not broken() and not broken("sft-out")
    told = capsys.readouterr().out
    assert "are those that were signed, and no other is there" in told and "statement of align" in told
    assert "not verified: the chain to the raw rows" in told


def test_a_second_person_verifies_it_by_public_tools_alone(place):
    """model_signing's command line over the files, securesystemslib over the statement, sha256sum between the two."""
    import hashlib

    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import SSlibKey

    def by_model_signing(key):
        command = ["verify", "key", "align-out", "--signature", "align-out/model.sig", "--public_key", key]
        return subprocess.run([sys.executable, "-m", "model_signing", *command], capture_output=True, text=True)

    done = by_model_signing("mine.pub")
    assert done.returncode == 0, done.stdout + done.stderr
    assert by_model_signing("other.pub").returncode != 0
    public = Path("mine.pub").read_bytes()
    key = SSlibKey.from_crypto(load_pem_public_key(public), hashlib.sha256(public).hexdigest())
    envelope = Envelope.from_dict(json.loads(Path("align-out/statement.dsse.json").read_text(encoding="utf-8")))
    envelope.verify([key], 1)
    statement = json.loads(envelope.payload)
    stated = {entry["name"]: entry["digest"]["sha256"] for entry in statement["subject"]}
    assert stated["made_of.json"] == hashlib.sha256(Path("align-out/made_of.json").read_bytes()).hexdigest()
    with open("align-out/model.safetensors", "r+b") as file:
        file.write(b"x")
    assert by_model_signing("mine.pub").returncode != 0


def test_the_receipt_of_the_check_is_told_and_is_about_the_files_that_are_there(place, capsys):
    assert not broken() and not broken("sft-out")
    told = capsys.readouterr().out
    assert "receipt   checked on 2 rows by transformers '5." in told and "receipt   not checked: '--no-check'" in told
    shutil.copy("sft-out/model.safetensors", "align-out")
    exported_folder.sign_files(Path("align-out"), Path("align-out/model.sig"), place / "mine.pem")
    assert "checked.json: names another model.safetensors" in broken()
    for text, expected in (('{"checked": true}', "is not a receipt: 'files'"), ("{", "checked.json: cannot be read")):
        Path("align-out/checked.json").write_text(text)
        assert expected in broken()
    Path("align-out/checked.json").unlink()
    exported_folder.sign_files(Path("align-out"), Path("align-out/model.sig"), place / "mine.pem")
    assert "another" not in broken() and "an older version exported it" in capsys.readouterr().out


def test_a_key_that_does_not_fit_is_named(place):
    found = broken(key="other.pub")
    assert (
        "align-out/model.sig: is signed by a stranger" in found
        and "align-out/statement.dsse.json: is signed by a stranger" in found
    )
    assert "is a private key; expected its public key" in broken(key="mine.pem")
    assert "no public key of the signer is known" in broken(key=None)


def test_each_file_too_many_too_few_or_changed_is_named(place):
    Path("align-out/more.txt").write_text("x")
    Path("align-out/.hidden").write_text("x")
    Path("align-out/link").symlink_to(place / "mine.pub")
    Path("align-out/tokenizer.json").unlink()
    data = bytearray(Path("align-out/model.safetensors").read_bytes())
    data[len(data) // 2] ^= 1
    Path("align-out/model.safetensors").write_bytes(data)
    found = broken()
    for name in ("more.txt", ".hidden", "link"):
        assert f"align-out/{name}: nobody signed it" in found
    assert "align-out/tokenizer.json: is missing" in found and "align-out/model.safetensors: its bytes hash to" in found


def test_the_statement_of_another_model_is_named_though_it_is_signed_again(place):
    for name in (exported_folder.STATEMENT_FILE, exported_folder.ENVELOPE_FILE):
        shutil.copy(f"sft-out/{name}", f"align-out/{name}")
    exported_folder.sign_files(Path("align-out"), Path("align-out/model.sig"), place / "mine.pem")
    assert f"align-out/{exported_folder.STATEMENT_FILE}: is the statement of another model" in broken()


def test_the_bill_of_another_model_is_named_though_it_is_signed_again(place):
    shutil.copy(f"sft-out/{exported_folder.BOM_FILE}", f"align-out/{exported_folder.BOM_FILE}")
    exported_folder.sign_files(Path("align-out"), Path("align-out/model.sig"), place / "mine.pem")
    assert f"align-out/{exported_folder.BOM_FILE}: is that of another model" in broken()


def test_what_a_stranger_signed_again_is_named(place):
    sign.main(SimpleNamespace(obj=place), key="other.pem", target="align-out")
    assert not broken(key="other.pub")
    assert broken().count("is signed by a stranger") == 2


def test_a_statement_that_is_not_what_was_signed_is_named(place):
    path = Path("align-out", exported_folder.STATEMENT_FILE)
    path.write_text(path.read_text(encoding="utf-8").replace('"seed": 7', '"seed": 8'), encoding="utf-8")
    exported_folder.sign_files(Path("align-out"), Path("align-out/model.sig"), place / "mine.pem")
    assert f"is not what {exported_folder.ENVELOPE_FILE} holds" in broken()


@pytest.mark.parametrize(
    "name",
    [
        exported_folder.SIGNATURE_FILE,
        exported_folder.ENVELOPE_FILE,
        exported_folder.STATEMENT_FILE,
        exported_folder.BOM_FILE,
        "made_of.json",
    ],
)
def test_a_document_that_is_missing_or_no_json_is_named(place, name):
    path = Path("align-out", name)
    path.write_text("{")
    assert name in broken()
    path.write_text("[]")
    assert name in broken()
    path.unlink()
    assert name in broken()


def test_a_proof_is_checked_by_the_signed_statement(place, handed, project):
    prove.main(SimpleNamespace(obj=place), "5f" * 32, "align", "x.json")
    os.chdir(place)
    envelope = f"align-out/{exported_folder.ENVELOPE_FILE}"
    verify.main("x.json", "mine.pub", envelope)
    for key, expected in (("other.pub", "signed by a stranger"), (None, "no public key of the signer is known")):
        with pytest.raises(Problems, match=expected):
            verify.main("x.json", key, envelope)


# -- in the repository --------------------------------------------------------------------------------------------


def test_the_chain_is_closed_inside_of_the_repository(project, handed, capsys):
    assert not broken(str(handed / "align-out"), str(handed / "mine.pub"))
    assert "are what this build gives, down to the raw files" in capsys.readouterr().out


def test_weights_that_the_build_does_not_give_are_named_though_they_are_signed(project, handed, place):
    os.chdir(project)
    shutil.copy(place / "sft-out/model.safetensors", place / "align-out/model.safetensors")
    (place / "align-out/checked.json").unlink()  # it is about the other file
    exported_folder.sign_files(place / "align-out", place / "align-out/model.sig", place / "mine.pem")
    found = broken(str(place / "align-out"), str(place / "mine.pub"))
    assert "align-out/model.safetensors: its bytes hash to" in found and "as an export of models/align gives" in found


def test_verify_names_documents_and_signatures_that_are_not_of_the_build(project, handed, capsys):
    def found():
        capsys.readouterr()
        evidence = verify.gather_evidence(_build.read_build(), [], None, 0)
        counts, problems = verify.checks(None, False, True)["documents"](evidence)
        return counts, "\n".join(map(str, problems))

    assert "no key to check them by" in found()[1]
    TEAM_KEYS.mkdir(parents=True)
    shutil.copy(handed / "mine.pub", TEAM_KEYS)
    assert found() == ({"documents": 8, "signed": 4}, "")
    text = statement_path("sft").read_text(encoding="utf-8")
    statement_path("sft").write_text(text.replace('"seed": 7', '"seed": 8'), encoding="utf-8")
    shutil.copy(statement_path("sft"), "provenance/models/gone.intoto.json")
    sign.main(SimpleNamespace(obj=handed), key="other.pem", target="align")
    _, told = found()
    assert f"{statement_path('sft')}: is not what the build gives" in told
    assert "gone.intoto.json: is of no model" in told
    assert f"{envelope_path('sft')}: holds another statement" in told
    assert f"{signature_path('align')}: is signed by a stranger" in told


def test_nothing_is_signed_that_the_statement_does_not_name(project, handed):
    Path("models/sft/notes.txt").write_text("x")
    with pytest.raises(Problems, match=r"sft\.intoto\.json: does not match the files in models/sft"):
        sign.main(SimpleNamespace(obj=handed), key="mine.pem")


def test_mistakes_of_signing_are_named(project, handed):
    with pytest.raises(Problems, match="neither a step nor a folder of tilth export\n  hint: did you mean 'align'"):
        sign.main(SimpleNamespace(obj=handed), key="mine.pem", target="aligm")
    (handed / "empty").mkdir(exist_ok=True)
    with pytest.raises(Problems, match=r"has no statement\.intoto\.json"):
        sign.main(SimpleNamespace(obj=handed), key="mine.pem", target="empty")
    shutil.copy(handed / "mine.pem", "key.pem")
    for given in ("p/key.pem", str(project / "key.pem")):
        with pytest.raises(Problems, match="lies in the repository"):
            sign.main(SimpleNamespace(obj=handed), key=given)
    with pytest.raises(Problems, match="lies in the repository"):
        export.main(SimpleNamespace(obj=handed), "sft", "sft-new", key="p/key.pem")
    assert not (handed / "sft-new").exists()


def test_a_folder_that_is_whole_is_told_as_json(place, capsys):
    verify.main("align-out", "mine.pub", as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["step"] == "align" and found["files"] > 3 and found["chain"] is False


def test_what_was_signed_is_told_as_json(project, handed, capsys):
    sign.main(SimpleNamespace(obj=handed), key="mine.pem", target="sft", as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert [Path(path) for path in found["files"]] == [envelope_path("sft"), signature_path("sft")] and found["key"]
