"""The verifiable random function: the vectors of RFC 9381, and what must not pass for a proof."""

from __future__ import annotations

import json
from hashlib import sha512
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl import bindings as sodium

from backstory.columns import vrf
from backstory.columns.vrf import VrfKey
from backstory.errors import VerificationError
from backstory.tlog.vrf import FIELD_PRIME, GROUP_ORDER, PROOF_SIZE, challenge_of, verify_vrf

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "vrf.json").read_text("utf-8"))
KEY = VrfKey(bytes(32))
MESSAGE = b"c-17"
SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
]
"""The eight points of small order; under each, as a key, a message has several outputs."""


def refused(key, message, proof):
    """Say whether a proof does not verify."""
    try:
        verify_vrf(key, message, proof)
    except VerificationError:
        return True
    return False


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["message"] or "empty" for vector in VECTORS])
def test_vectors_of_the_rfc(vector):
    """Both sides give the public key, proof and output of RFC 9381 appendix B.3."""
    key, message = VrfKey(bytes.fromhex(vector["private_key"])), bytes.fromhex(vector["message"])
    output = bytes.fromhex(vector["output"])
    assert key.public.hex() == vector["public_key"]
    assert key.prove(message).hex() == vector["proof"]
    assert key.outputs([message]) == [output]
    assert verify_vrf(key.public, message, bytes.fromhex(vector["proof"])) == output


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=80))
@settings(max_examples=15)
def test_what_is_made_verifies(seed, message):
    """The proof of any message under any key verifies, with the output that is made without a proof."""
    key = VrfKey(seed)
    assert [verify_vrf(key.public, message, key.prove(message))] == key.outputs([message])


def test_threads_keep_the_order(monkeypatch):
    """What several threads make is in the order of the messages."""
    messages = [b"%d" % number for number in range(20)]
    alone = KEY.outputs(messages)
    monkeypatch.setattr(vrf, "_SHARED_MIN", 10)
    monkeypatch.setattr(vrf, "_CHUNK", 3)
    assert KEY.outputs(iter(messages)) == alone


def test_each_changed_byte_of_a_proof_is_refused():
    """No byte of a proof can be changed."""
    proof = KEY.prove(MESSAGE)
    changed = (proof[:at] + bytes([proof[at] ^ 1 << at % 8]) + proof[at + 1 :] for at in range(PROOF_SIZE))
    assert all(refused(KEY.public, MESSAGE, one) for one in changed)


@pytest.mark.parametrize("cut", [0, 31, 79, 81])
def test_a_proof_has_one_length(cut):
    """A proof that is longer or shorter is refused."""
    assert refused(KEY.public, MESSAGE, (KEY.prove(MESSAGE) + b"\0")[:cut])


def test_the_number_has_one_form():
    """The number of a proof plus the order of the group is the same number, and refused."""
    proof = KEY.prove(MESSAGE)
    larger = int.from_bytes(proof[48:], "little") + GROUP_ORDER
    assert refused(KEY.public, MESSAGE, proof[:48] + larger.to_bytes(32, "little"))


def test_a_proof_is_of_one_message_and_key():
    """A proof of another message, or under another key, is refused."""
    assert refused(KEY.public, b"c-18", KEY.prove(MESSAGE))
    assert refused(VrfKey(bytes([1]) * 32).public, MESSAGE, KEY.prove(MESSAGE))


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_keys_of_small_order_are_refused(point):
    """Under such a key anybody can prove many outputs: the proof that would verify is refused for the key."""
    public = bytes.fromhex(point)
    hashed = KEY._hash_to_curve(MESSAGE)
    one = (1).to_bytes(32, "little")
    u = bytes(sodium.crypto_scalarmult_ed25519_base_noclamp(one))
    challenge = challenge_of(public, hashed, public, u, hashed)
    assert refused(public, MESSAGE, public + challenge + one)


@pytest.mark.parametrize("number", [FIELD_PRIME, FIELD_PRIME + 3, 2**255 - 1])
def test_points_have_one_form(number):
    """A coordinate at or above the field's prime is another form of a smaller one, and refused."""
    assert refused(number.to_bytes(32, "little"), MESSAGE, KEY.prove(MESSAGE))


def test_a_point_of_small_order_in_the_proof_does_not_change_the_output():
    """Whoever has the key can make a second proof with such a point in it; the output is the same."""
    hashed = KEY._hash_to_curve(MESSAGE)
    gamma = sodium.crypto_scalarmult_ed25519_noclamp(KEY._scalar, hashed)
    gamma = sodium.crypto_core_ed25519_add(gamma, bytes.fromhex(SMALL_ORDER[4]))
    for attempt in range(1000):
        nonce = sodium.crypto_core_ed25519_scalar_reduce(sha512(bytes([attempt % 256, attempt // 256])).digest())
        u = sodium.crypto_scalarmult_ed25519_base_noclamp(nonce)
        v = sodium.crypto_scalarmult_ed25519_noclamp(nonce, hashed)
        challenge = challenge_of(KEY.public, hashed, gamma, u, v)
        if challenge[0] % 8 == 0:
            break
    product = sodium.crypto_core_ed25519_scalar_mul(challenge + bytes(16), KEY._scalar)
    proof = gamma + challenge + sodium.crypto_core_ed25519_scalar_add(nonce, product)
    assert proof != KEY.prove(MESSAGE)
    assert [verify_vrf(KEY.public, MESSAGE, proof)] == KEY.outputs([MESSAGE])
