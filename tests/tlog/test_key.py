"""Verifier keys of every kind, keys with the sizes they speak for, and keys that people give."""

import base64
import sys
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tlog.grown_log import C2SP

from backstory.errors import FormatError, InputError, UnsupportedVersionError, VerificationError
from backstory.tlog import key as key_module
from backstory.tlog.key import KeyKind, ValidKey, VerifierKey, parse_valid_keys, require_key, require_keys
from backstory.tlog.signer import Ed25519Signer, MlDsaSigner
from backstory.verify.standalone.verify_receipt import decode_point

NAME = "example.org/delays"
SEED = bytes(range(32))
LOG = Ed25519Signer.from_seed(NAME, SEED)
WITNESS = Ed25519Signer.from_seed("witness.example/w1", SEED, KeyKind.COSIGNATURE)
ML_DSA = MlDsaSigner.from_seed(NAME, SEED)
LARGEST = 2**63 - 1


def test_witness_vkey_of_the_vectors():
    """The published witness seed gives the published verifier key of type 04."""
    seed = bytes.fromhex(C2SP["witness_seed_hex"])
    signer = Ed25519Signer.from_seed("witness.example/w1", seed, KeyKind.COSIGNATURE)
    assert signer.vkey == C2SP["witness_vkey"]
    key = VerifierKey.parse(C2SP["witness_vkey"])
    assert (key.kind, key.public_key.hex()) == (KeyKind.COSIGNATURE, C2SP["witness_pub_hex"])


def test_seeds_of_the_vectors():
    """The published seeds are the hashes that the notes of the vectors name."""
    assert sha256(b"predlog test log key - do not use").hexdigest() == C2SP["log_seed_hex"]
    assert sha256(b"predlog test witness key - do not use").hexdigest() == C2SP["witness_seed_hex"]


@pytest.mark.parametrize("signer", [LOG, WITNESS, ML_DSA], ids=["01", "04", "06"])
def test_keys_of_every_kind_round_trip(signer):
    """A key of each kind is read from its text, written the same, and checks its signer's signatures."""
    key = VerifierKey.parse(signer.vkey)
    assert (key.vkey, key.name) == (signer.vkey, signer.name)
    key.verify(b"message", signer.sign(b"message"))
    with pytest.raises(VerificationError):
        key.verify(b"another", signer.sign(b"message"))


def test_one_public_key_has_an_id_for_each_kind():
    """The same 32 bytes as a log's and as a witness's key have different key ids."""
    as_witness = Ed25519Signer.from_seed(NAME, SEED, KeyKind.COSIGNATURE)
    assert VerifierKey.parse(LOG.vkey).key_id != VerifierKey.parse(as_witness.vkey).key_id


def test_restored_ml_dsa_keys():
    """An ML-DSA-44 key is restored from its 32 secret bytes, and a new one is another."""
    assert MlDsaSigner.from_seed(NAME, ML_DSA.seed).vkey == ML_DSA.vkey
    assert MlDsaSigner.generate(NAME).vkey != ML_DSA.vkey
    with pytest.raises(FormatError):
        MlDsaSigner.from_seed(NAME, bytes(31))


def _vkey(typed, name=NAME):
    key_id = sha256(name.encode() + b"\n" + typed).hexdigest()[:8]
    return f"{name}+{key_id}+{base64.b64encode(typed).decode()}"


@pytest.mark.parametrize("kind", [0, 2, 3, 5, 7, 255])
def test_other_types_are_refused(kind):
    """A key of a type that is not known is refused, with the right key id too."""
    with pytest.raises(FormatError, match="type"):
        VerifierKey.parse(_vkey(bytes([kind]) + VerifierKey.parse(LOG.vkey).public_key))


@pytest.mark.parametrize("kind", KeyKind)
@pytest.mark.parametrize("difference", [-1, 1])
def test_public_keys_of_another_length_are_refused(kind, difference):
    """A public key has 32 bytes, of ML-DSA-44 1,312."""
    with pytest.raises(FormatError, match="bytes"):
        VerifierKey.parse(_vkey(bytes([kind]) + b"\x07" * (kind.public_size + difference)))


PRIME = 2**255 - 19
WEAK = {
    "order 4": 0,
    "order 1": 1,
    "order 2": PRIME - 1,
    "order 8": int.from_bytes(
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
    ),
    "order 8 too": int.from_bytes(
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"
    ),
    "0 again": PRIME,
    "1 again": PRIME + 1,
    "18 again": PRIME + 18,
}


@pytest.mark.parametrize("kind", [KeyKind.ED25519, KeyKind.COSIGNATURE])
@pytest.mark.parametrize("sign", [0, 1 << 255])
@pytest.mark.parametrize("name", WEAK)
def test_keys_anyone_can_sign_with_are_refused(name, sign, kind):
    """A point of small order, and a coordinate written in a second way, are no verifier keys."""
    with pytest.raises(FormatError, match="only one party"):
        VerifierKey.parse(_vkey(bytes([kind]) + (WEAK[name] | sign).to_bytes(32, "little")))


def test_a_key_that_is_no_point_is_malformed():
    """Of many numbers those are keys that the stand-alone verifier decodes, which takes the root itself."""
    refused = 0
    for number in range(2, 60):
        public = sha256(bytes([number])).digest()[:31] + bytes([number])
        is_point = decode_point(public) is not None
        try:
            VerifierKey.parse(_vkey(b"\x01" + public))
        except FormatError:
            assert not is_point
            refused += 1
        else:
            assert is_point
    assert 10 < refused < 50


def test_a_key_that_is_no_point_verifies_nothing():
    """A public key that is not on the curve refuses every signature."""
    for first in range(2, 20):
        key = VerifierKey(name=NAME, public_key=bytes([first]) + bytes(31))
        with pytest.raises(VerificationError):
            key.verify(b"", bytes(64))


def test_without_ml_dsa(monkeypatch):
    """Where `cryptography` does not know ML-DSA, such a key is read all the same, and using it says what is missing."""
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.mldsa", None)
    key_module.import_ml_dsa.cache_clear()
    monkeypatch.delattr("cryptography.hazmat.primitives.asymmetric.mldsa")
    key = VerifierKey.parse(ML_DSA.vkey)
    for call in (
        lambda: key.verify(b"", bytes(2420)),
        lambda: MlDsaSigner.generate(NAME),
        lambda: MlDsaSigner.from_seed(NAME, SEED),
    ):
        with pytest.raises(UnsupportedVersionError, match="ML-DSA-44"):
            call()


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("", 0, LARGEST),
        (" from 300", 300, LARGEST),
        (" until 300", 0, 300),
        (" from 300 until 300", 300, 300),
        (" from 1 until 9223372036854775806", 1, LARGEST - 1),
    ],
)
def test_keys_with_sizes(text, first, last):
    """A key may say from and until which tree size it speaks; both are included."""
    valid = ValidKey.parse(LOG.vkey + text)
    assert valid == ValidKey(key=VerifierKey.parse(LOG.vkey), first=first, last=last)
    assert valid.text == LOG.vkey + text
    assert valid.covers(first)
    assert valid.covers(last)
    assert not valid.covers(first - 1)
    assert not valid.covers(last + 1)


@pytest.mark.parametrize(
    "text",
    [
        " until 300 from 1",
        " from 301 until 300",
        " from -1",
        " from +1",
        " from 01",
        " from 1_0",
        " from \u0661",
        f" from {2**63}",
        " from",
        " from ",
        "  from 1",
        " from  1",
        " from 1 ",
        "\tfrom 1",
        " From 1",
        " since 1",
        " from 1 from 2",
        " # the old one",
    ],
)
def test_malformed_sizes_of_a_key_are_refused(text):
    """What follows a verifier key is of one form only."""
    with pytest.raises(FormatError):
        ValidKey.parse(LOG.vkey + text)


@given(st.integers(0, LARGEST), st.integers(0, LARGEST))
def test_keys_with_sizes_round_trip(one, other):
    """Every key with sizes comes back from its text."""
    valid = ValidKey(key=VerifierKey.parse(LOG.vkey), first=min(one, other), last=max(one, other))
    assert ValidKey.parse(valid.text) == valid


def test_several_keys():
    """Several keys come as lines of one text, or as several texts."""
    lines = [f"{LOG.vkey} until 8", f"{ML_DSA.vkey} from 8"]
    expected = tuple(ValidKey.parse(line) for line in lines)
    assert parse_valid_keys(lines) == expected
    assert parse_valid_keys("\n".join(lines)) == expected
    assert parse_valid_keys(f"\r\n  {lines[0]}\r\n\n{lines[1]}\t\n") == expected
    assert parse_valid_keys("") == ()
    assert require_keys(lines) == require_keys("\n".join(lines)) == expected


@pytest.mark.parametrize(
    "vkeys", ["", "\n", [], [""], "key.txt", ["key.txt"], LOG.vkey[:-1], [LOG.vkey, None], None, 7]
)
def test_keys_a_person_mistook_are_their_mistake(vkeys):
    """No key, half a key, a file's name or no text at all is an input error, not a finding."""
    with pytest.raises(InputError, match="public key"):
        require_keys(vkeys)


def test_a_witness_key_is_not_a_logs():
    """A key that only cosigns is not taken as the key of a log, and the one key a log must have is of type 01."""
    with pytest.raises(InputError, match="04"):
        require_keys(WITNESS.vkey)
    with pytest.raises(InputError, match="04"):
        require_key(WITNESS.vkey)
    with pytest.raises(InputError, match="06"):
        require_key(ML_DSA.vkey)


@given(st.text(max_size=80))
def test_parsers_of_keys_raise_nothing_else(text):
    """Any text is a key or malformed."""
    for parse in (VerifierKey.parse, ValidKey.parse, parse_valid_keys):
        try:
            parse(text)
        except FormatError:
            continue
