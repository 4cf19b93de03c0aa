"""Cosignatures: the published example byte for byte, both kinds, and what does not count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tlog.grown_log import C2SP
from tests.tlog.grown_log import ML_DSA as PINNED

from backstory.errors import FormatError, InputError, VerificationError
from backstory.tlog.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint
from backstory.tlog.cosignature import cosign, cosigned_message, find_cosignatures, verify_cosignature
from backstory.tlog.key import KeyKind, VerifierKey
from backstory.tlog.note import NoteSignature, add_signatures, parse_note
from backstory.tlog.signer import Ed25519Signer, MlDsaSigner

TIME = 1_767_225_600
LARGEST = 2**63 - 1
NOTE = parse_note(C2SP["checkpoint_size_8"].encode())
CHECKPOINT = parse_checkpoint(NOTE.text)
WITNESS = Ed25519Signer.from_seed("witness.example/w1", bytes.fromhex(C2SP["witness_seed_hex"]), KeyKind.COSIGNATURE)
KEY = VerifierKey.parse(C2SP["witness_vkey"])
ML_DSA = MlDsaSigner.from_seed("witness.example/w1", bytes(range(32)))
ML_DSA_KEY = VerifierKey.parse(ML_DSA.vkey)
BOTH = pytest.mark.parametrize(("signer", "key"), [(WITNESS, KEY), (ML_DSA, ML_DSA_KEY)], ids=["04", "06"])


def test_published_message():
    """The bytes that an Ed25519 cosignature signs are the published ones."""
    assert cosigned_message(CHECKPOINT, KEY, TIME) == C2SP["cosigned_message_size_8"].encode()


def test_published_ml_dsa_message():
    """The bytes that an ML-DSA-44 cosignature signs are the published ones."""
    expected = bytes.fromhex(C2SP["mldsa_cosigned_message_hex_size_8_ts_1767225600"])
    assert cosigned_message(CHECKPOINT, ML_DSA_KEY, TIME) == expected


@pytest.mark.parametrize("name", ["checkpoint_size_8", "log_300_entries_checkpoint"])
def test_published_cosignature(name):
    """The published cosignatures are made byte for byte from the seed, hold, and were made at the published time."""
    note = parse_note(C2SP[name].encode())
    checkpoint = parse_checkpoint(note.text)
    (cosignature,) = find_cosignatures(note, checkpoint, [KEY])
    assert (cosignature.key, cosignature.time) == (KEY, TIME)
    assert cosignature.line == note.signatures[1] == cosign(checkpoint, WITNESS, TIME)
    assert cosignature.line.encode() == C2SP[name].splitlines(keepends=True)[-1]


def test_ml_dsa_lines_that_others_made():
    """The pinned ML-DSA-44 lines, made by another implementation, hold: the log's own and its witness's."""
    note = PINNED["note"].encode()
    log_key, witness_key = VerifierKey.parse(PINNED["log_vkey"]), VerifierKey.parse(PINNED["witness_vkey"])
    assert open_checkpoint(note, CHECKPOINT.origin, [log_key]) == CHECKPOINT
    (cosignature,) = find_cosignatures(parse_note(note), CHECKPOINT, [witness_key])
    assert cosignature.time == PINNED["time"]
    for name, key in (("log", log_key), ("witness", witness_key)):
        assert MlDsaSigner.from_seed(key.name, bytes.fromhex(PINNED[f"{name}_seed_hex"])).vkey == key.vkey
    with pytest.raises(VerificationError):
        open_checkpoint(note.replace(b"\n8\n", b"\n9\n"), CHECKPOINT.origin, [log_key])


@BOTH
@pytest.mark.parametrize("time", [0, 1, TIME, LARGEST])
def test_cosignatures_hold(signer, key, time):
    """A cosignature made at any time holds and says when it was made."""
    line = cosign(CHECKPOINT, signer, time)
    assert (line.name, line.key_id) == (key.name, key.key_id)
    assert verify_cosignature(CHECKPOINT, key, line) == time


@BOTH
@pytest.mark.parametrize("time", [-1, LARGEST + 1, 2**64])
def test_times_without_a_form(signer, key, time):
    """No cosignature is made at a time below 0 or of 2^63 and more."""
    with pytest.raises(FormatError, match="time"):
        cosign(CHECKPOINT, signer, time)


@BOTH
@pytest.mark.parametrize(
    "other",
    [
        Checkpoint(origin=CHECKPOINT.origin, size=9, root=CHECKPOINT.root),
        Checkpoint(origin=CHECKPOINT.origin, size=8, root=bytes(32)),
        Checkpoint(origin="predlog.example/tenant-b", size=8, root=CHECKPOINT.root),
    ],
)
def test_cosignature_of_another_checkpoint(signer, key, other):
    """A cosignature holds for one origin, size and root only."""
    with pytest.raises(VerificationError):
        verify_cosignature(other, key, cosign(CHECKPOINT, signer, TIME))


def _changed(line, signature):
    return NoteSignature(name=line.name, key_id=line.key_id, signature=signature)


@BOTH
def test_changed_cosignatures_do_not_hold(signer, key):
    """One bit of time or signature, a byte more or less, and a time of 2^63 and more do not hold."""
    line = cosign(CHECKPOINT, signer, TIME)
    data = line.signature
    for changed in (
        data[:7] + bytes([data[7] ^ 1]) + data[8:],
        data[:-1] + bytes([data[-1] ^ 1]),
        data[:-1],
        data + b"\0",
        data[:8],
        data[:5],
        b"\x80" + data[1:],
        data[8:],
    ):
        with pytest.raises(VerificationError):
            verify_cosignature(CHECKPOINT, key, _changed(line, changed))


def test_time_of_2_to_63_is_refused_with_a_good_signature():
    """A cosignature that is really signed at 2^63 does not hold."""
    message = f"cosignature/v1\ntime {2**63}\n{CHECKPOINT.encode()}".encode()
    line = NoteSignature(name=KEY.name, key_id=KEY.key_id, signature=(2**63).to_bytes(8, "big") + WITNESS.sign(message))
    with pytest.raises(VerificationError, match="2\\^63"):
        verify_cosignature(CHECKPOINT, KEY, line)


def test_ml_dsa_signs_the_cosigners_name():
    """An ML-DSA-44 cosignature does not hold under the same public key with another name."""
    renamed = VerifierKey(name="witness.example/w2", public_key=ML_DSA_KEY.public_key, kind=KeyKind.ML_DSA_44)
    with pytest.raises(VerificationError):
        verify_cosignature(CHECKPOINT, renamed, cosign(CHECKPOINT, ML_DSA, TIME))


def test_a_logs_key_does_not_cosign():
    """A key of type 01 neither makes nor checks a cosignature."""
    log = Ed25519Signer.from_seed("witness.example/w1", bytes(32))
    with pytest.raises(InputError, match="04 or 06"):
        cosign(CHECKPOINT, log, TIME)
    with pytest.raises(InputError, match="04 or 06"):
        verify_cosignature(CHECKPOINT, VerifierKey.parse(log.vkey), NOTE.signatures[1])


@BOTH
def test_malformed_checkpoints_are_not_cosigned(signer, key):
    """What no reader would take as a checkpoint is not cosigned."""
    for checkpoint in (
        Checkpoint(origin="two words", size=8, root=bytes(32)),
        Checkpoint(origin=CHECKPOINT.origin, size=0, root=bytes(32)),
        Checkpoint(origin=CHECKPOINT.origin, size=2**63, root=bytes(32)),
        Checkpoint(origin=CHECKPOINT.origin, size=8, root=bytes(31)),
    ):
        with pytest.raises(FormatError):
            cosign(checkpoint, signer, TIME)


@BOTH
def test_signer_that_signs_with_another_key_is_caught(signer, key):
    """A cosignature that its own verifier key refuses is not handed out."""

    class Confused:
        name = signer.name
        vkey = signer.vkey

        @staticmethod
        def sign(message):
            return signer.sign(message + b"more")

    with pytest.raises(VerificationError):
        cosign(CHECKPOINT, Confused(), TIME)


def test_only_known_cosigners_are_found():
    """Lines of other keys are passed over; of a known key each must hold and none may be there twice."""
    note = parse_note(add_signatures(C2SP["checkpoint_size_8"].encode(), [cosign(CHECKPOINT, ML_DSA, 7)]))
    assert [found.time for found in find_cosignatures(note, CHECKPOINT, [ML_DSA_KEY])] == [7]
    assert [found.time for found in find_cosignatures(note, CHECKPOINT, [ML_DSA_KEY, KEY])] == [TIME, 7]
    assert find_cosignatures(note, CHECKPOINT, []) == ()
    line = note.signatures[1]
    failing = _changed(line, line.signature[:-1] + bytes([line.signature[-1] ^ 1]))
    for signatures in ((failing,), (line, line), (failing, line), (line, cosign(CHECKPOINT, WITNESS, TIME + 1))):
        changed = type(note)(text=note.text, signatures=signatures)
        with pytest.raises(VerificationError):
            find_cosignatures(changed, CHECKPOINT, [KEY])


def test_a_newer_line_takes_the_place_of_an_older_one():
    """Adding a cosignature to a note replaces the line of the same key and leaves the others."""
    newer = cosign(CHECKPOINT, WITNESS, TIME + 9)
    note = parse_note(add_signatures(C2SP["checkpoint_size_8"].encode(), [newer]))
    assert note.signatures == (NOTE.signatures[0], newer)
    with pytest.raises(FormatError):
        add_signatures(C2SP["checkpoint_size_8"].encode(), [newer, newer])


@given(st.binary(max_size=100))
def test_any_signature_is_refused_the_same_way(signature):
    """Arbitrary bytes under a known key do not verify and raise nothing else."""
    with pytest.raises(VerificationError):
        verify_cosignature(CHECKPOINT, KEY, NoteSignature(name=KEY.name, key_id=KEY.key_id, signature=signature))
