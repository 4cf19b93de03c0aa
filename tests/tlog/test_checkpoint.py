"""Checkpoints: the C2SP examples byte for byte, and everything that is not one."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tlog.grown_log import C2SP, RFC6962, GrownLog, digest, numbered_entries

from backstory.errors import FormatError, InputError, VerificationError
from backstory.tlog.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint, sign_checkpoint
from backstory.tlog.cosignature import cosign
from backstory.tlog.hashing import EMPTY_ROOT
from backstory.tlog.key import KeyKind, ValidKey, VerifierKey
from backstory.tlog.note import add_signatures, sign_note
from backstory.tlog.signer import Ed25519Signer, MlDsaSigner

ORIGIN = "predlog.example/tenant-a"
SIGNER = Ed25519Signer.from_seed(ORIGIN, bytes.fromhex(C2SP["log_seed_hex"]))
KEY = VerifierKey.parse(C2SP["log_vkey"])
ROOT = base64.b64encode(bytes(range(32))).decode()


@pytest.mark.parametrize("size", [0, 6, 8])
def test_published_checkpoints(size):
    """The published checkpoints are made byte for byte from the seed, and open."""
    published = C2SP[f"checkpoint_size_{size}"].encode()
    checkpoint = Checkpoint(origin=ORIGIN, size=size, root=bytes.fromhex(RFC6962["roots"][str(size)]))
    # A witness added its line after the log's own.
    assert published.startswith(sign_note(checkpoint.encode(), SIGNER))
    assert open_checkpoint(published, ORIGIN, [KEY]) == checkpoint


def test_published_checkpoint_of_300_entries():
    """A log grown to 300 entries has the published checkpoint."""
    published = C2SP["log_300_entries_checkpoint"].encode()
    log = GrownLog(numbered_entries(0, 300))
    checkpoint = Checkpoint(origin=ORIGIN, size=log.size, root=log.root)
    assert published.startswith(sign_note(checkpoint.encode(), SIGNER))
    assert [len(published), digest(published)] == C2SP["log_300_files"]["checkpoint"]


def test_checkpoint_of_another_log():
    """A checkpoint that the right key signed for another origin is refused."""
    note = sign_note(Checkpoint(origin="example.org/other", size=0, root=EMPTY_ROOT).encode(), SIGNER)
    with pytest.raises(VerificationError, match="origin"):
        open_checkpoint(note, ORIGIN, [KEY])


def test_only_the_logs_own_key_counts():
    """A signature by an accepted key of another name does not make a checkpoint the log's."""
    witness = Ed25519Signer.from_seed("witness.example/w1", bytes(32))
    note = sign_note(Checkpoint(origin=ORIGIN, size=0, root=EMPTY_ROOT).encode(), witness)
    with pytest.raises(VerificationError):
        open_checkpoint(note, ORIGIN, [KEY, VerifierKey.parse(witness.vkey)])


def test_forged_checkpoint():
    """A changed size breaks the signature."""
    note = C2SP["checkpoint_size_8"].replace("\n8\n", "\n9\n").encode()
    with pytest.raises(VerificationError):
        open_checkpoint(note, ORIGIN, [KEY])


NEXT = Ed25519Signer.from_seed(ORIGIN, bytes(range(32)))
NEXT_KEY = VerifierKey.parse(NEXT.vkey)
ML_DSA = MlDsaSigner.from_seed(ORIGIN, bytes(range(32)))
ML_DSA_KEY = VerifierKey.parse(ML_DSA.vkey)
AT_8 = Checkpoint(origin=ORIGIN, size=8, root=bytes(range(32)))


def test_a_log_signs_with_several_keys():
    """Ed25519 lines, an old and a new key's, and an ML-DSA-44 line stand on one checkpoint; each key alone opens it."""
    note = sign_checkpoint(AT_8, SIGNER, NEXT, ML_DSA, time=1_767_225_600)
    assert note.startswith(sign_note(AT_8.encode(), SIGNER, NEXT))
    for keys in ([KEY], [NEXT_KEY], [ML_DSA_KEY], [KEY, NEXT_KEY, ML_DSA_KEY]):
        assert open_checkpoint(note, ORIGIN, keys) == AT_8


def test_a_failing_ml_dsa_line_spoils_the_checkpoint():
    """Whoever knows the log's ML-DSA-44 key refuses a checkpoint where its line does not hold; others pass over it."""
    line = sign_checkpoint(Checkpoint(origin=ORIGIN, size=9, root=AT_8.root), ML_DSA).split(b"\n\n")[1]
    note = sign_checkpoint(AT_8, SIGNER) + line
    assert open_checkpoint(note, ORIGIN, [KEY]) == AT_8
    for keys in ([KEY, ML_DSA_KEY], [ML_DSA_KEY]):
        with pytest.raises(VerificationError):
            open_checkpoint(note, ORIGIN, keys)


def test_only_the_logs_keys_sign_its_checkpoints():
    """A key of another name, and a key that only cosigns, do not sign as the log."""
    for signer in (
        Ed25519Signer.from_seed("example.org/other", bytes(32)),
        MlDsaSigner.from_seed("example.org/other", bytes(32)),
        Ed25519Signer.from_seed(ORIGIN, bytes(32), KeyKind.COSIGNATURE),
    ):
        with pytest.raises(InputError, match="does not sign"):
            sign_checkpoint(AT_8, SIGNER, signer)


def test_a_cosignature_under_the_logs_name_is_passed_over():
    """A key that only cosigns, named after the log, neither signs for it nor spoils what the log signed."""
    own = Ed25519Signer.from_seed(ORIGIN, bytes(32), KeyKind.COSIGNATURE)
    own_key = VerifierKey.parse(own.vkey)
    note = add_signatures(sign_checkpoint(AT_8, SIGNER), [cosign(AT_8, own, 7)])
    assert open_checkpoint(note, ORIGIN, [KEY, own_key]) == AT_8
    with pytest.raises(VerificationError):
        open_checkpoint(note, ORIGIN, [own_key])


def test_nobody_and_twice_the_same_cannot_sign():
    """A checkpoint has at least one signer, and none twice."""
    for signers in ((), (SIGNER, SIGNER), (ML_DSA, ML_DSA)):
        with pytest.raises(FormatError):
            sign_checkpoint(AT_8, *signers)


@pytest.mark.parametrize(
    ("text", "is_valid"), [("", True), (" from 8", True), (" until 8", True), (" from 9", False), (" until 7", False)]
)
def test_a_key_speaks_for_its_sizes(text, is_valid):
    """A checkpoint is accepted from a key from its first to its last size, and not beyond."""
    keys = [ValidKey.parse(C2SP["log_vkey"] + text)]
    note = sign_checkpoint(AT_8, SIGNER)
    if is_valid:
        assert open_checkpoint(note, ORIGIN, keys) == AT_8
    else:
        with pytest.raises(VerificationError, match="size 8"):
            open_checkpoint(note, ORIGIN, keys)


def test_keys_that_follow_each_other():
    """With an old and a new key, each size needs the key of its time; where they meet, either will do."""
    keys = [ValidKey(key=KEY, last=8), ValidKey(key=NEXT_KEY, first=8)]
    for size in (7, 8, 9):
        checkpoint = Checkpoint(origin=ORIGIN, size=size, root=AT_8.root)
        for signer, is_valid in ((SIGNER, size <= 8), (NEXT, size >= 8)):
            note = sign_checkpoint(checkpoint, signer)
            if is_valid:
                assert open_checkpoint(note, ORIGIN, keys) == checkpoint
            else:
                with pytest.raises(VerificationError):
                    open_checkpoint(note, ORIGIN, keys)
        assert open_checkpoint(sign_checkpoint(checkpoint, SIGNER, NEXT), ORIGIN, keys) == checkpoint


def test_a_key_may_have_several_spans():
    """A key that was given for two spans speaks for both and not for what is between them."""
    keys = [ValidKey(key=KEY, last=3), ValidKey(key=KEY, first=9)]
    for size, is_valid in ((3, True), (8, False), (9, True)):
        note = sign_checkpoint(Checkpoint(origin=ORIGIN, size=size, root=AT_8.root), SIGNER)
        if is_valid:
            open_checkpoint(note, ORIGIN, keys)
        else:
            with pytest.raises(VerificationError, match="0 to 3, 9 to"):
                open_checkpoint(note, ORIGIN, keys)


def test_a_failing_line_of_a_retired_key_spoils_the_checkpoint():
    """A known key's line must hold even where the key does not speak for the size any more."""
    failing = sign_checkpoint(Checkpoint(origin=ORIGIN, size=9, root=AT_8.root), NEXT).split(b"\n\n")[1]
    with pytest.raises(VerificationError):
        open_checkpoint(sign_checkpoint(AT_8, SIGNER) + failing, ORIGIN, [KEY, ValidKey(key=NEXT_KEY, last=2)])


MALFORMED = {
    "leading zero": f"{ORIGIN}\n08\n{ROOT}\n",
    "plus sign": f"{ORIGIN}\n+8\n{ROOT}\n",
    "minus sign": f"{ORIGIN}\n-8\n{ROOT}\n",
    "space in front": f"{ORIGIN}\n 8\n{ROOT}\n",
    "space behind": f"{ORIGIN}\n8 \n{ROOT}\n",
    "underscore": f"{ORIGIN}\n1_0\n{ROOT}\n",
    "arabic digit": f"{ORIGIN}\n\u0668\n{ROOT}\n",
    "superscript digit": f"{ORIGIN}\n\u00b2\n{ROOT}\n",
    "hexadecimal": f"{ORIGIN}\n0x8\n{ROOT}\n",
    "fraction": f"{ORIGIN}\n8.0\n{ROOT}\n",
    "no size": f"{ORIGIN}\n\n{ROOT}\n",
    "size 2^63": f"{ORIGIN}\n{2**63}\n{ROOT}\n",
    "size 2^64": f"{ORIGIN}\n{2**64}\n{ROOT}\n",
    "size of 5,000 digits": f"{ORIGIN}\n{'9' * 5000}\n{ROOT}\n",
    "root of 31 bytes": f"{ORIGIN}\n8\n{base64.b64encode(bytes(31)).decode()}\n",
    "root of 33 bytes": f"{ORIGIN}\n8\n{base64.b64encode(bytes(33)).decode()}\n",
    "no root": f"{ORIGIN}\n8\n\n",
    "root without padding": f"{ORIGIN}\n8\n{ROOT[:-1]}\n",
    "root with stray bits": f"{ORIGIN}\n8\n{ROOT[:-2]}9=\n",
    "root with a space": f"{ORIGIN}\n8\n{ROOT} \n",
    "root in hexadecimal": f"{ORIGIN}\n8\n{bytes(32).hex()}\n",
    "root beyond ascii": f"{ORIGIN}\n8\n\u00e9{ROOT[1:]}\n",
    "no final newline": f"{ORIGIN}\n8\n{ROOT}",
    "two lines": f"{ORIGIN}\n8\n",
    "extension line": f"{ORIGIN}\n8\n{ROOT}\nmore\n",
    "empty extension line": f"{ORIGIN}\n8\n{ROOT}\n\n",
    "tab in the origin": f"a\tb\n8\n{ROOT}\n",
    "space in the origin": f"a b\n8\n{ROOT}\n",
    "no origin": f"\n8\n{ROOT}\n",
    "carriage returns": f"{ORIGIN}\r\n8\r\n{ROOT}\r\n",
    "line separators": f"{ORIGIN}\u20288\u2028{ROOT}\u2028",
    "vertical tabs": f"{ORIGIN}\v8\v{ROOT}\v",
    "byte order mark": f"\ufeff{ORIGIN}\n8\n{ROOT}\n",
    "size 0 with a root": f"{ORIGIN}\n0\n{ROOT}\n",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_checkpoints_are_refused(name):
    """A text of any other form is refused."""
    with pytest.raises(FormatError):
        parse_checkpoint(MALFORMED[name])


@pytest.mark.parametrize("name", [name for name in MALFORMED if name != "no final newline"])
def test_a_good_signature_does_not_help_a_malformed_checkpoint(name):
    """What the log's own key signed is refused all the same when it is not a checkpoint."""
    # Signed without `sign_note`, which would refuse some of these texts.
    text = MALFORMED[name].encode()
    blob = base64.b64encode(KEY.key_id + SIGNER.sign(text))
    note = text + b"\n" + f"\N{EM DASH} {ORIGIN} ".encode() + blob + b"\n"
    with pytest.raises(FormatError):
        open_checkpoint(note, ORIGIN, [KEY])


@pytest.mark.parametrize(
    "checkpoint",
    [
        Checkpoint(origin="two words", size=8, root=bytes(32)),
        Checkpoint(origin=ORIGIN, size=-1, root=bytes(32)),
        Checkpoint(origin=ORIGIN, size=2**63, root=bytes(32)),
        Checkpoint(origin=ORIGIN, size=8, root=bytes(31)),
        Checkpoint(origin=ORIGIN, size=0, root=bytes(32)),
    ],
)
def test_values_without_a_form_are_not_encoded(checkpoint):
    """A checkpoint that no checker would accept cannot be written."""
    with pytest.raises(FormatError):
        checkpoint.encode()


@given(st.integers(1, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_checkpoints_round_trip(size, root):
    """Every checkpoint comes back from its text."""
    checkpoint = Checkpoint(origin=ORIGIN, size=size, root=root)
    assert parse_checkpoint(checkpoint.encode()) == checkpoint
