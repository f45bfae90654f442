"""Signed statements as DSSE envelopes, https://github.com/secure-systems-lab/dsse. securesystemslib and in-toto's tools read them.

envelope = seal(b'{"_type": ...}', key)                # {"payload": "...", "payloadType": ..., "signatures": [...]}
open_envelope(envelope, {key_id(public): public}, "x.json")   # the payload; Problems where none of the keys has signed it
"""

import base64
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from commands.statements.keys import PublicKeys, key_id, sign_bytes, signature_matches
from validators.problems import Problem, Problems

IN_TOTO = "application/vnd.in-toto+json"


def pae(payload: bytes, kind: str) -> bytes:
    """The bytes to sign (pre-authentication encoding): the payload and its type, with their lengths."""
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)


def seal(payload: bytes, key: ec.EllipticCurvePrivateKey, kind: str = IN_TOTO) -> dict[str, Any]:
    entry = {"keyid": key_id(key.public_key()), "sig": base64.b64encode(sign_bytes(key, pae(payload, kind))).decode()}
    return {"payload": base64.b64encode(payload).decode(), "payloadType": kind, "signatures": [entry]}


def open_envelope(envelope: dict[str, Any], keys: PublicKeys, where: str, kind: str = IN_TOTO) -> bytes:
    """The payload of an envelope that one of the keys has signed. Raises Problems for any other envelope."""
    try:
        payload = base64.b64decode(envelope["payload"], validate=True)
        signatures = [
            (each.get("keyid") or "", base64.b64decode(each["sig"], validate=True)) for each in envelope["signatures"]
        ]
        payload_type = envelope["payloadType"]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Problems(
            [Problem(where, "is not a DSSE envelope", "payload, payloadType and signatures", "tilth sign")]
        ) from None
    if payload_type != kind:
        raise Problems([Problem(where, f"holds {payload_type!a}", kind, "tilth sign")])
    if any(signature_matches(key, sig, pae(payload, kind)) for _, sig in signatures for key in keys.values()):
        return payload
    expected = ", ".join(f"{name[:16]}…" for name in keys)
    by = ", ".join(f"{str(name)[:16]}…" for name, _ in signatures if name)
    fault = (
        "was changed after it was signed"
        if {str(name) for name, _ in signatures} & keys.keys()
        else "is signed by a stranger"
    )
    raise Problems(
        [
            Problem(
                where,
                f"{fault}, key {by or 'without an id'}",
                f"a signature by key {expected}",
                "ask whoever signed it for their public key",
            )
        ]
    )
