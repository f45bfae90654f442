"""Signed statements: only the key that signed opens them, others' tools do too, and no private key comes near the repository."""

import base64
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from commands.statements import keys
from commands.statements.envelope import IN_TOTO, open_envelope, pae, seal
from commands.statements.exported_folder import sign_files
from validators.problems import Problems

PAYLOAD = b'{"_type": "https://in-toto.io/Statement/v1"}'
CURVES = {"secp256r1": ec.SECP256R1, "secp384r1": ec.SECP384R1, "secp521r1": ec.SECP521R1}


def write_key(path, key=None, mode=0o600, password=None):
    """A private key at a path, its public one beside it as .pub; the key."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    hidden = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    private = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)
    path.write_bytes(key.private_bytes(*private))
    path.chmod(mode)
    public = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    path.with_suffix(".pub").write_bytes(key.public_key().public_bytes(*public))
    return key


@pytest.fixture
def repository(tmp_path, monkeypatch):
    (tmp_path / "repository/.git").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "repository")
    return tmp_path / "repository"


def known(*signers):
    return {keys.key_id(key.public_key()): key.public_key() for key in signers}


@pytest.mark.parametrize("curve", CURVES.values(), ids=list(CURVES))
def test_what_one_signed_the_others_key_does_not_open(curve):
    mine, other = ec.generate_private_key(curve()), ec.generate_private_key(curve())
    envelope = seal(PAYLOAD, mine)
    assert open_envelope(envelope, known(other, mine), "x") == PAYLOAD
    with pytest.raises(Problems, match="x: is signed by a stranger, key "):
        open_envelope(envelope, known(other), "x")


def test_what_is_signed_is_what_dsse_says():
    assert (
        pae(b"hello world", "http://example.com/HelloWorld")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_securesystemslib_takes_the_envelope():
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import SSlibKey

    mine, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    envelope = Envelope.from_dict(seal(PAYLOAD, mine))
    key, stranger = (SSlibKey.from_crypto(each.public_key(), keys.key_id(each.public_key())) for each in (mine, other))
    assert envelope.verify([key], 1) and envelope.payload == PAYLOAD and envelope.payload_type == IN_TOTO
    with pytest.raises(VerificationError):
        envelope.verify([stranger], 1)


def test_every_changed_bit_of_payload_and_signature_is_found():
    mine = ec.generate_private_key(ec.SECP256R1())
    envelope = seal(PAYLOAD, mine)
    for at in range(len(PAYLOAD)):
        other = PAYLOAD[:at] + bytes([PAYLOAD[at] ^ 1]) + PAYLOAD[at + 1 :]
        with pytest.raises(Problems, match="was changed after it was signed"):
            open_envelope(envelope | {"payload": base64.b64encode(other).decode()}, known(mine), "x")
    signed = base64.b64decode(envelope["signatures"][0]["sig"])
    for at in range(0, len(signed), 5):
        other = signed[:at] + bytes([signed[at] ^ 1]) + signed[at + 1 :]
        changed = [envelope["signatures"][0] | {"sig": base64.b64encode(other).decode()}]
        with pytest.raises(Problems, match="changed"):
            open_envelope(envelope | {"signatures": changed}, known(mine), "x")


@pytest.mark.parametrize(
    "change",
    [
        {"payload": "!"},
        {"payload": 5},
        {"signatures": []},
        {"signatures": [5]},
        {"signatures": None},
        {"payloadType": "text/plain"},
    ],
)
def test_what_is_no_signed_statement_is_named(change):
    mine = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(Problems, match="x: "):
        open_envelope(seal(PAYLOAD, mine) | change, known(mine), "x")


# -- keys ---------------------------------------------------------------------------------------------------------


def test_a_key_outside_of_the_repository_is_read(repository, tmp_path):
    key = write_key(tmp_path / "key.pem")
    assert keys.key_id(keys.read_private_key(tmp_path / "key.pem").public_key()) == keys.key_id(key.public_key())
    assert keys.key_id(keys.read_public_key(tmp_path / "key.pub")) == keys.key_id(key.public_key())


@pytest.fixture
def locked(repository, tmp_path, monkeypatch):
    """The path of a key whose password is `open sesame`."""
    monkeypatch.delenv(keys.PASSWORD_VARIABLE, raising=False)
    keys.read_password.cache_clear()
    write_key(tmp_path / "key.pem", password="open sesame")
    yield tmp_path / "key.pem"
    keys.read_password.cache_clear()


def test_a_key_with_a_password_is_opened_by_the_variable_or_by_what_is_typed(locked, monkeypatch):
    mine = keys.key_id(keys.read_public_key(locked.with_suffix(".pub")))
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    typed = []
    monkeypatch.setattr("getpass.getpass", lambda prompt: typed.append(prompt) or "open sesame")
    for _ in range(2):
        assert keys.key_id(keys.read_private_key(locked).public_key()) == mine
    assert typed == [f"password of {locked}: "], "asked once"
    keys.read_password.cache_clear()
    monkeypatch.setenv(keys.PASSWORD_VARIABLE, "open sesame")
    assert keys.key_id(keys.read_private_key(locked).public_key()) == mine and len(typed) == 1


def test_a_key_whose_password_is_missing_or_wrong_says_where_it_comes_from(locked, monkeypatch):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: False))
    with pytest.raises(
        Problems, match="needs a password; expected its password in the environment variable TILTH_KEY_PASSWORD"
    ):
        keys.read_private_key(locked)
    monkeypatch.setenv(keys.PASSWORD_VARIABLE, "open barley")
    with pytest.raises(Problems, match="the password does not open this key") as error:
        keys.read_private_key(locked)
    assert "barley" not in str(error.value)


def test_model_signing_opens_a_key_with_a_password(locked, tmp_path, monkeypatch):
    model_signing = pytest.importorskip("model_signing")
    monkeypatch.setenv(keys.PASSWORD_VARIABLE, "open sesame")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_bytes(b"x")
    sign_files(folder, folder / "model.sig", locked)
    config = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=locked.with_suffix(".pub"))
    config.set_hashing_config(model_signing.hashing.Config().set_ignored_paths(paths=[folder / "model.sig"])).verify(
        folder, folder / "model.sig"
    )


@pytest.mark.parametrize("place", ["key.pem", ".dvc/key.pem", "../repository/data/key.pem"])
def test_a_private_key_in_the_repository_is_refused_unread(repository, place):
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    Path(place).write_text("not even a key")
    with pytest.raises(Problems, match=r"lies in the repository(.|\n)*hint: mv .* ~/\.config/tilth/key\.pem"):
        keys.read_private_key(Path(place))


def test_a_link_does_not_hide_that_a_key_lies_in_the_repository(repository, tmp_path):
    write_key(tmp_path / "key.pem")
    write_key(repository / "inside.pem")
    (tmp_path / "out.pem").symlink_to(repository / "inside.pem")
    (repository / "in.pem").symlink_to(tmp_path / "key.pem")
    for place in (tmp_path / "out.pem", repository / "in.pem"):
        with pytest.raises(Problems, match="lies in the repository"):
            keys.read_private_key(place)


def test_a_project_inside_of_a_repository_is_that_repository(repository, monkeypatch):
    write_key(repository / "key.pem")
    (repository / "project").mkdir()
    monkeypatch.chdir(repository / "project")
    with pytest.raises(Problems, match="lies in the repository"):
        keys.read_private_key(Path("../key.pem"))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_key_that_others_can_read_is_refused(repository, tmp_path, mode):
    write_key(tmp_path / "key.pem", mode=mode)
    with pytest.raises(Problems, match="others may use it"):
        keys.read_private_key(tmp_path / "key.pem")


@pytest.mark.parametrize(
    "key",
    [
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP256K1()),
    ],
)
def test_keys_that_model_signing_does_not_take_are_named(repository, tmp_path, key):
    write_key(tmp_path / "key.pem", key)
    for read, name in ((keys.read_private_key, "key.pem"), (keys.read_public_key, "key.pub")):
        with pytest.raises(Problems, match="is a key of"):
            read(tmp_path / name)


def test_what_is_no_key_is_named(repository, tmp_path):
    write_key(tmp_path / "key.pem")
    (tmp_path / "text.pem").write_text("hello")
    (tmp_path / "text.pem").chmod(0o600)
    with pytest.raises(Problems, match="is not a private key"):
        keys.read_private_key(tmp_path / "text.pem")
    with pytest.raises(Problems, match="is not a public key"):
        keys.read_public_key(tmp_path / "text.pem")
    with pytest.raises(Problems, match="is a private key; expected its public key"):
        keys.read_public_key(tmp_path / "key.pem")
    with pytest.raises(Problems, match=r"(?s)cannot be read: No such file.*openssl ecparam"):
        keys.read_private_key(tmp_path / "none.pem")


def test_a_private_key_among_the_teams_keys_is_named(repository):
    keys.TEAM_KEYS.mkdir(parents=True)
    key = write_key(keys.TEAM_KEYS / "a.pem")
    with pytest.raises(Problems, match=r"a\.pem: is a private key"):
        keys.trusted_keys()
    (keys.TEAM_KEYS / "a.pem").unlink()
    assert list(keys.trusted_keys()) == [keys.key_id(key.public_key())]


def test_the_commands_of_the_hint_make_a_key_that_is_taken(repository, tmp_path):
    commands = keys.MAKE_KEY.replace(keys.EXAMPLE_PATH, str(tmp_path / "k.pem")).replace(
        f"{keys.TEAM_KEYS}/NAME.pub", str(tmp_path / "k.pub")
    )
    for command in commands.replace(", ", "; ").split("; "):
        subprocess.run(command, shell=True, check=True, capture_output=True)
    assert keys.key_id(keys.read_public_key(tmp_path / "k.pub")) == keys.key_id(
        keys.read_private_key(tmp_path / "k.pem").public_key()
    )
    assert json.dumps(seal(PAYLOAD, keys.read_private_key(tmp_path / "k.pem")))
