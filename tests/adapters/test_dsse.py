"""Envelopes: signed, verified, and refused."""

import base64
import json
from importlib.util import find_spec

import pytest

from openbell.adapters import dsse
from openbell.ports import AdapterError

if find_spec("securesystemslib") is None:
    pytest.skip("needs openbell[images]", allow_module_level=True)
STATEMENT = b'{"a": 1}'
PRIVATE, PUBLIC = dsse.make_key()


def changed(envelope: bytes, **fields: object) -> bytes:
    return json.dumps({**json.loads(envelope), **fields}).encode()


def test_what_is_signed_is_verified() -> None:
    assert dsse.verify(dsse.sign(STATEMENT, PRIVATE), PUBLIC) == STATEMENT


def test_names_of_keys_do_not_matter() -> None:
    envelope = json.loads(dsse.sign(STATEMENT, PRIVATE))
    envelope["signatures"][0]["keyid"] = "mine"
    assert dsse.verify(json.dumps(envelope).encode(), PUBLIC) == STATEMENT


def test_another_key_is_refused() -> None:
    with pytest.raises(dsse.UnsignedError, match="another key"):
        dsse.verify(dsse.sign(STATEMENT, PRIVATE), dsse.make_key()[1])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"payload": base64.b64encode(b'{"a": 2}').decode()}, "changed after it was signed"),
        ({"payloadType": "text/plain"}, "holds text/plain"),
        ({"signatures": []}, "nobody has signed"),
        ({"signatures": [{"sig": "AAAA"}]}, "another key"),
        ({"signatures": [{"sig": "A"}]}, "another key"),
        ({"payload": "!"}, "no envelope"),
        ({"signatures": 3}, "no envelope"),
    ],
)
def test_a_changed_envelope_is_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(dsse.UnsignedError, match=said):
        dsse.verify(changed(dsse.sign(STATEMENT, PRIVATE), **fields), PUBLIC)


def test_an_unsigned_envelope_can_be_read_and_is_not_verified() -> None:
    assert dsse.read(dsse.wrap(STATEMENT))[1] == STATEMENT
    with pytest.raises(dsse.UnsignedError, match="nobody has signed"):
        dsse.verify(dsse.wrap(STATEMENT), PUBLIC)


def test_one_good_signature_among_several_is_enough() -> None:
    envelope = json.loads(dsse.sign(STATEMENT, PRIVATE))
    envelope["signatures"].insert(0, json.loads(dsse.sign(STATEMENT, dsse.make_key()[0]))["signatures"][0])
    assert dsse.verify(json.dumps(envelope).encode(), PUBLIC) == STATEMENT


@pytest.mark.parametrize("key", ["", "nonsense", PUBLIC])
def test_a_key_that_signs_nothing_is_told(key: str) -> None:
    with pytest.raises(AdapterError, match="signing key cannot be used") as caught:
        dsse.sign(STATEMENT, key)
    assert key.strip() == "" or key not in caught.value.message


def test_a_key_that_verifies_nothing_is_told() -> None:
    with pytest.raises(AdapterError, match="public key cannot be used"):
        dsse.verify(dsse.sign(STATEMENT, PRIVATE), PRIVATE)


def test_a_key_with_a_password() -> None:
    from cryptography.hazmat.primitives import serialization as pem
    from cryptography.hazmat.primitives.asymmetric import ed25519

    key = ed25519.Ed25519PrivateKey.generate()
    locked = key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.BestAvailableEncryption(b"open"))
    public = key.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo).decode()
    assert dsse.verify(dsse.sign(STATEMENT, locked.decode(), password="open"), public) == STATEMENT
    with pytest.raises(AdapterError, match="signing key cannot be used"):
        dsse.sign(STATEMENT, locked.decode(), password="wrong")
