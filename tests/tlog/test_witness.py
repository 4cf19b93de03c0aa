"""The witness protocol: requests, judgement in the order C2SP gives, and answers."""

import base64
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tlog.grown_log import C2SP, RFC6962, GrownLog, numbered_entries, unhex

from backstory.errors import FormatError, VerificationError
from backstory.tlog.checkpoint import Checkpoint, sign_checkpoint
from backstory.tlog.cosignature import cosign
from backstory.tlog.hashing import EMPTY_ROOT
from backstory.tlog.key import KeyKind, ValidKey, VerifierKey
from backstory.tlog.note import parse_note, sign_note
from backstory.tlog.proof import tile_consistency_proof
from backstory.tlog.signer import Ed25519Signer, MlDsaSigner
from backstory.tlog.witness import (
    ADD_CHECKPOINT_SIZE_MAX,
    AddCheckpoint,
    Answer,
    Submission,
    admit,
    answer_cosigned,
    judge,
    monitoring_path,
    parse_add_checkpoint,
    parse_cosignatures,
    parse_size,
)

EXAMPLE = C2SP["add_checkpoint_body_6_to_8"].encode()
ORIGIN = "predlog.example/tenant-a"
SIGNER = Ed25519Signer.from_seed(ORIGIN, bytes.fromhex(C2SP["log_seed_hex"]))
KEY = VerifierKey.parse(C2SP["log_vkey"])
LOGS = {ORIGIN: [KEY]}
LOG = GrownLog()
ROOTS = {}
for _size in range(1, 11):
    LOG.append(numbered_entries(_size - 1, _size))
    ROOTS[_size] = LOG.root
ROOTS[0] = EMPTY_ROOT


def _at(size, root=None):
    return Checkpoint(origin=ORIGIN, size=size, root=ROOTS[size] if root is None else root)


def _proof(old_size, size):
    return tuple(tile_consistency_proof(LOG.read_tile, old_size, size))


def _body(old_size, size, proof=None, note=None):
    note = sign_checkpoint(_at(size), SIGNER) if note is None else note
    proof = _proof(old_size, size) if proof is None else proof
    return AddCheckpoint(old_size=old_size, proof=proof, note=note).encode()


def _answer(body, latest, logs=None):
    """Return what a witness in a state answers, None where it cosigns."""
    submission = admit(body, LOGS if logs is None else logs)
    return judge(submission, latest) if isinstance(submission, Submission) else submission


def _status(body, latest):
    answer = _answer(body, latest)
    return 200 if answer is None else answer.status


def test_published_request():
    """The published request is read, written byte for byte, and good for a witness at size 6."""
    request = parse_add_checkpoint(EXAMPLE)
    assert (request.old_size, len(request.proof)) == (6, 3)
    assert request.encode() == EXAMPLE
    latest = Checkpoint(origin=ORIGIN, size=6, root=bytes.fromhex(RFC6962["roots"]["6"]))
    assert _answer(EXAMPLE, latest) is None
    proof = next(c["proof"] for c in RFC6962["consistency_proofs"] if (c["old_size"], c["new_size"]) == (6, 8))
    assert list(request.proof) == unhex(proof)


@pytest.mark.parametrize("old_size", range(10))
def test_a_log_that_grew_is_cosigned(old_size):
    """From every size, the first one included, a witness follows a log that only grew or stayed."""
    latest = _at(old_size) if old_size else None
    for size in range(old_size, 11):
        assert _status(_body(old_size, size), latest) == 200


def test_the_empty_log_is_cosigned_again_and_again():
    """A log without entries is cosigned, and grows from there."""
    for latest in (None, _at(0)):
        assert _status(_body(0, 0), latest) == 200
        assert _status(_body(0, 8), latest) == 200


def test_what_is_kept_has_the_logs_own_signatures_only():
    """Lines of other keys do not get into what the witness keeps and shows."""
    stranger = Ed25519Signer.from_seed("stranger.example", bytes(32))
    note = sign_note(_at(8).encode(), stranger, SIGNER)
    submission = admit(_body(0, 8, note=note), LOGS)
    assert submission == Submission(old_size=0, proof=(), checkpoint=_at(8), note=sign_checkpoint(_at(8), SIGNER))


HEAD, _, TAIL = EXAMPLE.partition(b"\n\n")
LINES = HEAD.split(b"\n")


def _request(*lines):
    return b"\n".join(lines) + b"\n\n" + TAIL


MALFORMED = {
    "empty": b"",
    "no old size": _request(*LINES[1:]),
    "no proof and no old size": b"\n\n" + TAIL,
    "old size in capitals": EXAMPLE.replace(b"old 6", b"Old 6"),
    "old size without a space": EXAMPLE.replace(b"old 6", b"old6"),
    "old size with two spaces": EXAMPLE.replace(b"old 6", b"old  6"),
    "old size with a tab": EXAMPLE.replace(b"old 6", b"old\t6"),
    "old size with a space behind": EXAMPLE.replace(b"old 6", b"old 6 "),
    "old size with a leading zero": EXAMPLE.replace(b"old 6", b"old 06"),
    "old size with a sign": EXAMPLE.replace(b"old 6", b"old +6"),
    "old size below 0": EXAMPLE.replace(b"old 6", b"old -6"),
    "old size of another script": EXAMPLE.replace(b"old 6", "old \u0666".encode()),
    "old size 2^63": EXAMPLE.replace(b"old 6", b"old %d" % 2**63),
    "hash of 31 bytes": _request(LINES[0], base64.b64encode(bytes(31))),
    "hash without padding": _request(LINES[0], LINES[1][:-1]),
    "hash with stray bits": _request(LINES[0], LINES[1][:-2] + b"p="),
    "hash with a space": _request(LINES[0], LINES[1] + b" "),
    "64 hashes": _request(LINES[0], *[LINES[1]] * 64),
    "carriage returns": EXAMPLE.replace(b"\n", b"\r\n"),
    "byte order mark": b"\xef\xbb\xbf" + EXAMPLE,
    "no empty line": HEAD + b"\n" + TAIL.replace(b"\n\n", b"\n"),
    "two empty lines": HEAD + b"\n\n\n" + TAIL,
    "no checkpoint": HEAD + b"\n\n",
    "no signature": HEAD + b"\n\n" + TAIL.partition(b"\n\n")[0] + b"\n",
    "no final newline": EXAMPLE[:-1],
    "junk at the end": EXAMPLE + b"junk\n",
    "too large": EXAMPLE + bytes(ADD_CHECKPOINT_SIZE_MAX),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_requests(name):
    """A request of any other form is answered 400."""
    assert MALFORMED[name] != EXAMPLE
    with pytest.raises(FormatError):
        parse_add_checkpoint(MALFORMED[name])
    assert admit(MALFORMED[name], LOGS).status == 400


def test_unknown_log():
    """A log that the witness does not know is answered 404, however it is signed."""
    assert _answer(_body(0, 8), None, {}).status == 404
    assert _answer(_body(0, 8), None, {"example.org/other": [KEY]}).status == 404


def test_missing_and_failing_signatures():
    """Without a line of a known key, and with one that does not hold, the answer is 403."""
    stranger = Ed25519Signer.from_seed(ORIGIN, bytes(32))
    failing = sign_checkpoint(_at(8), SIGNER).replace(b"\n8\n", b"\n9\n")
    for note in (sign_checkpoint(_at(8), stranger), failing):
        assert _status(_body(0, 8, note=note), None) == 403
    spoilt = sign_checkpoint(_at(8), SIGNER, stranger)
    assert _status(_body(0, 8, note=spoilt), None) == 200
    both = {ORIGIN: [KEY, VerifierKey.parse(stranger.vkey)]}
    note = spoilt.replace(sign_checkpoint(_at(8), stranger)[-9:], sign_checkpoint(_at(9), stranger)[-9:])
    assert _answer(_body(0, 8, note=note), None, both).status == 403


def test_a_retired_key_is_not_enough():
    """A key that speaks up to a size only gets no checkpoint beyond it cosigned."""
    logs = {ORIGIN: [ValidKey(key=KEY, last=8)]}
    assert _answer(_body(0, 8), None, logs) is None
    assert _answer(_body(0, 9), None, logs).status == 403


def test_an_ml_dsa_log():
    """A log that signs with ML-DSA-44 alone is cosigned by a witness that knows that key."""
    signer = MlDsaSigner.from_seed(ORIGIN, bytes(32))
    body = _body(0, 8, note=sign_checkpoint(_at(8), signer, time=7))
    assert _answer(body, None, {ORIGIN: [VerifierKey.parse(signer.vkey)]}) is None
    assert _status(body, None) == 403


def test_a_cosignature_does_not_sign_for_the_log():
    """A line of type 04 under the log's name is no signature of the log, not even by a key given as the log's."""
    signer = Ed25519Signer.from_seed(ORIGIN, bytes(32), KeyKind.COSIGNATURE)
    note = _at(8).encode() + "\n" + cosign(_at(8), signer, 7).encode()
    assert _answer(_body(0, 8, note=note.encode()), None, {ORIGIN: [VerifierKey.parse(signer.vkey)]}).status == 403


def test_shrinking_request():
    """An old size above the checkpoint's is answered 400, whatever the witness holds."""
    for latest in (None, _at(6), _at(8), _at(9)):
        assert _status(_body(9, 8, proof=()), latest) == 400


@pytest.mark.parametrize(("old_size", "latest"), [(0, 6), (5, 6), (7, 6), (6, None), (6, 8), (8, 9)])
def test_another_old_size(old_size, latest):
    """An old size that is not the witness's is answered 409 with the witness's, proof or no proof."""
    state = None if latest is None else _at(latest)
    for proof in (None, ()):
        answer = _answer(_body(old_size, 8, proof=proof), state)
        assert answer == Answer(status=409, body=b"%d\n" % (latest or 0), content_type="text/x.tlog.size")
        assert parse_size(answer.body) == (latest or 0)


def test_replay_is_a_conflict():
    """A request that was cosigned gets 409 the second time, so that it cannot roll the witness back."""
    body = _body(6, 8)
    assert _status(body, _at(6)) == 200
    assert _status(body, _at(8)) == 409


def test_fork_of_one_size():
    """Another root at the size that was cosigned is answered 422."""
    note = sign_checkpoint(_at(8, bytes(32)), SIGNER)
    assert _status(_body(8, 8, proof=(), note=note), _at(8)) == 422


def test_inconsistent_growth():
    """A later checkpoint of another history is answered 422."""
    fork = GrownLog([b"other", *numbered_entries(1, 8)])
    note = sign_checkpoint(_at(8, fork.root), SIGNER)
    for log in (fork, GrownLog(numbered_entries(0, 8))):
        proof = tuple(tile_consistency_proof(log.read_tile, 6, 8))
        assert _status(_body(6, 8, proof=proof, note=note), _at(6)) == 422


@pytest.mark.parametrize(
    "proof",
    [(), _proof(6, 8)[:-1], (*_proof(6, 8), bytes(32)), _proof(6, 8)[::-1], (bytes(32),) * 63],
)
def test_wrong_proofs(proof):
    """A proof that is missing, short, long, in another order or made up is answered 422."""
    assert _status(_body(6, 8, proof=proof), _at(6)) == 422


def test_proofs_that_must_be_empty():
    """A proof from nothing, or to the same size, that has hashes is answered 422."""
    assert _status(_body(0, 8, proof=(bytes(32),)), None) == 422
    assert _status(_body(8, 8, proof=(bytes(32),)), _at(8)) == 422
    assert _status(_body(0, 0, proof=(bytes(32),)), None) == 422


def test_empty_log_with_a_root():
    """A signed checkpoint of size 0 with another root than the empty one is answered 422."""
    text = f"{ORIGIN}\n0\n{base64.b64encode(bytes(32)).decode()}\n"
    assert _status(b"old 0\n\n" + sign_note(text, SIGNER), None) == 422


def test_the_earlier_check_answers():
    """Where several things are wrong, the answer is that of the first check in the order C2SP gives."""
    unsigned = sign_checkpoint(_at(8), Ed25519Signer.from_seed(ORIGIN, bytes(32)))
    assert _answer(_body(9, 8, proof=(), note=unsigned), _at(6), {}).status == 404
    assert _status(_body(9, 8, proof=(), note=unsigned), _at(6)) == 403
    assert _status(_body(9, 8, proof=(bytes(32),)), _at(6)) == 400
    assert _status(_body(7, 8, proof=(bytes(32),)), _at(6)) == 409


@given(st.integers(0, 10), st.integers(0, 10), st.integers(0, 10), st.lists(st.binary(min_size=32, max_size=32)))
def test_no_request_rolls_a_witness_back(old_size, size, latest, proof):
    """Whatever is asked, a witness goes on only to a tree of at least its own size, and for its own size."""
    state = _at(latest) if latest else None
    for hashes in (tuple(proof), _proof(old_size, size) if old_size <= size else ()):
        if _status(_body(old_size, size, proof=hashes), state) == 200:
            assert old_size == latest <= size


@given(st.binary(max_size=300))
def test_admission_raises_nothing(data):
    """Arbitrary bytes after a good beginning are answered, not raised."""
    for body in (data, b"old 6\n" + data, HEAD + b"\n\n" + data):
        answer = admit(body, LOGS)
        assert isinstance(answer, Answer)
        assert answer.status == 400


@pytest.mark.parametrize(
    "request_",
    [
        AddCheckpoint(old_size=-1, proof=(), note=TAIL),
        AddCheckpoint(old_size=2**63, proof=(), note=TAIL),
        AddCheckpoint(old_size=6, proof=(bytes(31),), note=TAIL),
        AddCheckpoint(old_size=6, proof=(bytes(32),) * 64, note=TAIL),
        AddCheckpoint(old_size=6, proof=(), note=b"unsigned\n"),
    ],
)
def test_values_without_a_form_are_not_sent(request_):
    """A request that every witness would refuse cannot be written."""
    with pytest.raises(FormatError):
        request_.encode()


W1 = Ed25519Signer.from_seed("witness.example/w1", bytes.fromhex(C2SP["witness_seed_hex"]), KeyKind.COSIGNATURE)
W1_KEY = VerifierKey.parse(W1.vkey)
W1_ML_DSA = MlDsaSigner.from_seed("witness.example/w1", bytes(32))
STRANGER = Ed25519Signer.from_seed("witness.example/w9", bytes(32), KeyKind.COSIGNATURE)


def test_cosignatures_of_the_answer():
    """A client takes the lines of the keys it was given for the witness and passes over the others."""
    lines = [cosign(_at(8), signer, 7) for signer in (STRANGER, W1, W1_ML_DSA)]
    answer = answer_cosigned(lines)
    assert answer.status == 200
    keys = [VerifierKey.parse(W1_ML_DSA.vkey), W1_KEY]
    assert [(c.key.vkey, c.time, c.line) for c in parse_cosignatures(answer.body, _at(8), keys)] == [
        (W1.vkey, 7, lines[1]),
        (W1_ML_DSA.vkey, 7, lines[2]),
    ]


def test_answer_of_the_vectors():
    """The published checkpoint's cosignature is an answer to its submission."""
    note = parse_note(C2SP["checkpoint_size_8"].encode())
    checkpoint = Checkpoint(origin=ORIGIN, size=8, root=bytes.fromhex(RFC6962["roots"]["8"]))
    (cosignature,) = parse_cosignatures(note.signatures[1].encode().encode(), checkpoint, [W1_KEY])
    assert cosignature.time == 1_767_225_600


def test_answers_that_do_not_verify():
    """No line of a key of the witness, one that fails, or two of one key do not verify."""
    good = cosign(_at(8), W1, 7).encode()
    other = cosign(_at(9), W1, 7).encode()
    stranger = cosign(_at(8), STRANGER, 7).encode()
    for body in (other, stranger, good + other, good + good):
        with pytest.raises(VerificationError):
            parse_cosignatures(body.encode(), _at(8), [W1_KEY])


LINE = cosign(_at(8), W1, 7).encode().encode()


@pytest.mark.parametrize(
    "body",
    [b"", b"\n", b"ok\n", b"\xff\n", LINE[:-1], LINE + b"junk", LINE + b"\n", LINE * 101, b"<html>" * 200_000],
)
def test_malformed_answers(body):
    """An answer that is not signature lines is malformed, not an error of another kind."""
    with pytest.raises(FormatError):
        parse_cosignatures(body, _at(8), [W1_KEY])


@pytest.mark.parametrize("body", [b"", b"8", b"\n", b"8\n\n", b" 8\n", b"08\n", b"+8\n", b"8\r\n", b"\xff\n", b"8 9\n"])
def test_malformed_sizes(body):
    """The answer 409 is one plain decimal and a newline."""
    with pytest.raises(FormatError):
        parse_size(body)


def test_monitoring_path():
    """A witness shows a log's checkpoint under the hash of its origin."""
    assert monitoring_path(ORIGIN) == f"{sha256(ORIGIN.encode()).hexdigest()}/checkpoint"
