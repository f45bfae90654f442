"""Keys as PEM for signing statements and run records. Private keys are outside of the repository, public keys inside.

    key = read_private_key("~/.config/tilth/key.pem")    # raises Problems for one in the repository, or that others can read
    trusted_keys()                                       # {key id: PublicKey} of .dvc/tilth-keys/

A key uses a curve of OpenSSF's model-signing. Its id is the SHA-256 of its public PEM, as in model-signing.
"""

import hashlib
import os
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from validators.problems import Problem, Problems

TEAM_KEYS = Path(".dvc/tilth-keys")
PASSWORD_VARIABLE = "TILTH_KEY_PASSWORD"
EXAMPLE_PATH = "~/.config/tilth/key.pem"
PublicKeys = dict[str, ec.EllipticCurvePublicKey]  # {key id: key} of trusted signers
CURVES = {"secp256r1": hashes.SHA256, "secp384r1": hashes.SHA384, "secp521r1": hashes.SHA512}
MAKE_KEY = (
    f"openssl ecparam -name prime256v1 -genkey -noout -out {EXAMPLE_PATH}, chmod 600 {EXAMPLE_PATH}; "
    f"openssl ec -in {EXAMPLE_PATH} -pubout -out {TEAM_KEYS}/NAME.pub"
)


def read_private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """A private key. Raises Problems where it is inside the repository, readable by others, or not a private key."""
    path, where = Path(path).expanduser(), str(path)
    real, here = Path(os.path.realpath(path)), Path.cwd().resolve()
    tops = [
        next((folder for folder in (here, *here.parents) if (folder / name).exists()), None)
        for name in (".git", ".dvc", "dvc.yaml")
    ]
    for place in (Path(os.path.abspath(path)), real):
        if any(top and place.is_relative_to(top) for top in tops):
            found = "lies in the repository, from where it would be committed, shared and backed up"
            raise Problems(
                [Problem(where, found, f"a private key outside of it, as {EXAMPLE_PATH}", f"mv {where} {EXAMPLE_PATH}")]
            )
    text = read_key_bytes(path, where)
    if os.name == "posix" and (mode := real.stat().st_mode & 0o077):
        raise Problems(
            [
                Problem(
                    where,
                    f"others may use it (mode {mode:03o})",
                    "a key that its owner alone can read",
                    f"chmod 600 {where}",
                )
            ]
        )
    password = password_of(path)
    try:
        key = serialization.load_pem_private_key(text, password)
    except Exception as error:  # each version of cryptography raises other errors
        if password is not None and "password" in str(error).lower():
            found = "the password does not open this key"
            raise Problems([Problem(where, found, f"its password, typed or in {PASSWORD_VARIABLE}")]) from None
        raise Problems([unreadable_key(where, "private", error)]) from None
    return require_known_curve(key, where)


def password_of(path: Path) -> bytes | None:
    """The password of a private key, from the environment or typed; None where the key has none.

    Raises Problems where the key has one and there is neither the variable nor a terminal.
    """
    path = Path(path).expanduser()
    return read_password(str(path)) if b"ENCRYPTED" in read_key_bytes(path, str(path)) else None


@cache
def read_password(where: str) -> bytes:
    """A password from the environment or the terminal. Prompts once."""
    import getpass
    import sys

    if password := os.environ.get(PASSWORD_VARIABLE):
        return password.encode()
    if sys.stdin.isatty():
        return getpass.getpass(f"password of {where}: ").encode()
    expected = f"its password in the environment variable {PASSWORD_VARIABLE}, or a terminal to type it at"
    raise Problems([Problem(where, "needs a password", expected)])


def read_public_key(path: Path) -> ec.EllipticCurvePublicKey:
    """A public key. Raises Problems for anything else, and names a private key as such: it must not be handed out."""
    text = read_key_bytes(Path(path).expanduser(), str(path))
    if b"PRIVATE KEY" in text:
        hint = f"openssl ec -in {path} -pubout -out key.pub"
        raise Problems([Problem(str(path), "is a private key", "its public key", hint)])
    try:
        key = serialization.load_pem_public_key(text)
    except Exception as error:  # as above
        raise Problems([unreadable_key(str(path), "public", error)]) from None
    return require_known_curve(key, str(path))


def read_key_bytes(path: Path, where: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Problems([Problem(where, f"cannot be read: {error.strerror}", "a key as PEM", MAKE_KEY)]) from None


def unreadable_key(where: str, kind: str, error: Exception) -> Problem:
    return Problem(
        where, f"is not a {kind} key: {' '.join(str(error).split())[:120]}", f"a {kind} key as PEM", MAKE_KEY
    )


def require_known_curve(key: object, where: str) -> Any:
    """The key itself. Raises Problems where its curve is not one of CURVES."""
    curve = getattr(getattr(key, "curve", None), "name", type(key).__name__)
    if curve not in CURVES:
        raise Problems([Problem(where, f"is a key of {curve}", f"one of {', '.join(CURVES)}", MAKE_KEY)])
    return key


def trusted_keys() -> PublicKeys:
    """{key id: key} of the team's keys. Raises Problems with every file among them that is not a public key."""
    keys, problems = {}, []
    for path in sorted(TEAM_KEYS.glob("*")) if TEAM_KEYS.is_dir() else ():
        try:
            key = read_public_key(path)
            keys[key_id(key)] = key
        except Problems as error:
            problems += error.problems
    if problems:
        raise Problems(problems)
    return keys


def key_id(key: ec.EllipticCurvePublicKey) -> str:
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def sign_bytes(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    return key.sign(data, ec.ECDSA(CURVES[key.curve.name]()))


def signature_matches(key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, data, ec.ECDSA(CURVES[key.curve.name]()))
    except InvalidSignature:
        return False
    return True
