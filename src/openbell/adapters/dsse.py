"""Signatures over statements: DSSE envelopes, by a key in a PEM file. The library signs, verifies and frames.

ECDSA on P-256 is what is made here, as cosign's keys are; Ed25519 and RSA keys are read as well. Who signed is known by
the key alone: names of keys in an envelope are hints that anybody can write, so they are not looked at.

Source: https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
"""

import base64
import binascii
from importlib.util import find_spec

import msgspec

from openbell.ports import AdapterError

SYSTEM = "signature"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
REMEDY = "pip install 'openbell[images]'"


class Signature(msgspec.Struct, frozen=True, omit_defaults=True):
    """One signature of an envelope, in Base64."""

    sig: str
    keyid: str = ""


class Envelope(msgspec.Struct, frozen=True, rename="camel"):
    """A statement in Base64, what it is, and who stands for it; without signatures nobody does."""

    payload: str
    payload_type: str
    signatures: tuple[Signature, ...] = ()


class UnsignedError(Exception):
    """The envelope is not signed by that key; the message says why that is known."""


def wrap(payload: bytes) -> bytes:
    """Put a statement into an envelope that nobody has signed."""
    return msgspec.json.encode(Envelope(base64.b64encode(payload).decode(), PAYLOAD_TYPE))


def sign(payload: bytes, private_key: str, *, password: str = "") -> bytes:
    """Put a statement into an envelope signed by a PEM key; raises `AdapterError` for a key that cannot be used."""
    _require()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.dsse import Envelope as Signing
    from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]

    try:
        key = load_pem_private_key(private_key.encode(), password.encode() or None)
        signer = CryptoSigner(key)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        message = f"the signing key cannot be used: {error}. It is a private key in PEM: openbell release key"
        raise AdapterError(SYSTEM, "sign", message, effect="not_applied") from error
    envelope = Signing(payload, PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return msgspec.json.encode(envelope.to_dict())


def verify(content: bytes, public_key: str) -> bytes:
    """Return the statement of an envelope that a PEM key has signed.

    Raises `UnsignedError` when it has not, `AdapterError` for a key that cannot be used.
    """
    _require()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.dsse import Envelope as Signed
    from securesystemslib.exceptions import UnverifiedSignatureError
    from securesystemslib.signer import Signature as One  # type: ignore[attr-defined]
    from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]

    try:
        key = load_pem_public_key(public_key.encode())
        known = SSlibKey.from_crypto(key)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        message = f"the public key cannot be used: {error}. It is a public key in PEM: openbell release key"
        raise AdapterError(SYSTEM, "verify", message, effect="not_applied") from error
    envelope, payload = read(content)
    if envelope.payload_type != PAYLOAD_TYPE:
        raise UnsignedError(f"it holds {envelope.payload_type}, and no statement")
    if not envelope.signatures:
        raise UnsignedError("nobody has signed it")
    framed = Signed(payload, envelope.payload_type, {}).pae()
    for signature in envelope.signatures:
        try:
            known.verify_signature(One(known.keyid, base64.b64decode(signature.sig).hex()), framed)
        except (UnverifiedSignatureError, binascii.Error):
            continue
        return payload
    raise UnsignedError("it is signed by another key, or was changed after it was signed")


def read(content: bytes) -> tuple[Envelope, bytes]:
    """Read an envelope and its statement without asking who signed it; raises `UnsignedError` when it is none."""
    try:
        envelope = msgspec.json.decode(content, type=Envelope)
        return envelope, base64.b64decode(envelope.payload, validate=True)
    except (msgspec.DecodeError, binascii.Error) as error:
        raise UnsignedError(f"it is no envelope: {error}") from error


def make_key() -> tuple[str, str]:
    """Make a key pair, private and public, in PEM; cosign reads both."""
    _require()
    from cryptography.hazmat.primitives import serialization as pem
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption())
    public = key.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


def _require() -> None:
    """Raise `AdapterError` with the remedy where the libraries are not installed."""
    if find_spec("securesystemslib") is None or find_spec("cryptography") is None:
        message = f"nothing can be signed or verified here: securesystemslib is not installed. {REMEDY}"
        raise AdapterError(SYSTEM, "library", message, effect="not_applied")
