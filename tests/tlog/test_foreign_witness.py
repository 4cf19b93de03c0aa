"""Our judgement of requests beside that of a witness that others wrote, from one state to the next."""

import random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.hostile import HOSTILE
from tests.support.hostile import ORIGIN as HOSTILE_ORIGIN
from tests.support.hostile import SIGNER as HOSTILE_SIGNER
from tests.tlog.grown_log import GrownLog, numbered_entries

from backstory.tlog.checkpoint import Checkpoint, sign_checkpoint
from backstory.tlog.hashing import EMPTY_ROOT
from backstory.tlog.key import VerifierKey
from backstory.tlog.proof import tile_consistency_proof
from backstory.tlog.signer import Ed25519Signer
from backstory.tlog.witness import AddCheckpoint, Answer, admit, judge, parse_cosignatures

config = pytest.importorskip("aics_witness.config", reason="requirements/foreign.txt is not installed")
service = pytest.importorskip("aics_witness.service")
store = pytest.importorskip("aics_witness.store")

ORIGIN = "example.org/delays"
SIGNER = Ed25519Signer.from_seed(ORIGIN, bytes(range(32)))
STRANGER = Ed25519Signer.from_seed(ORIGIN, bytes(range(1, 33)))
UNKNOWN = Ed25519Signer.from_seed("example.org/unknown", bytes(range(32)))
SIZE_MAX = 12


def _histories():
    """Return two logs of all sizes that are the same up to 5 entries, with their roots."""
    logs = []
    for entries in (numbered_entries(0, SIZE_MAX), [*numbered_entries(0, 5), b"fork", *numbered_entries(6, SIZE_MAX)]):
        log = GrownLog()
        log.roots = [EMPTY_ROOT]
        for entry in entries:
            log.append([entry])
            log.roots.append(log.root)
        logs.append(log)
    return logs


HISTORIES = _histories()


def _request(draw, latest_size):
    """Draw a request that is good, or wrong in one or several ways."""
    log = draw.choice(HISTORIES) if draw.random() < 0.3 else HISTORIES[0]
    old_size = latest_size if draw.random() < 0.7 else draw.randint(0, SIZE_MAX)
    size = min(SIZE_MAX, old_size + draw.randint(0, 2)) if draw.random() < 0.8 else draw.randint(0, SIZE_MAX)
    proof = tile_consistency_proof(log.read_tile, old_size, size) if old_size <= size else []
    match draw.choice(["good", "good", "good", "short", "long", "other"]):
        case "short":
            proof = proof[:-1]
        case "long":
            proof.append(bytes(32))
        case "other" if proof:
            proof[0] = bytes(32)
    signer = draw.choice([SIGNER] * 6 + [STRANGER, UNKNOWN])
    checkpoint = Checkpoint(origin=signer.name, size=size, root=log.roots[size])
    note = sign_checkpoint(checkpoint, signer)
    if draw.random() < 0.05:
        note = note.replace(b"\n%d\n" % size, b"\n%d\n" % (size + 1))
    return AddCheckpoint(old_size=old_size, proof=tuple(proof), note=note).encode()


def _theirs(witness, body):
    try:
        return 200, witness.add_checkpoint(body)
    except service.WitnessError as error:
        return error.status, b""


def _ours(body, logs, latest):
    submission = admit(body, logs)
    if isinstance(submission, Answer):
        return submission.status, None
    refusal = judge(submission, latest)
    return (200, submission.checkpoint) if refusal is None else (refusal.status, None)


@pytest.fixture
def witness(tmp_path):
    """A witness of aics-witness that knows the log of these tests and the hostile one."""
    logs = [
        config.LogConfig(origin=signer.name, vkeys=(config.parse_log_vkey(signer.vkey),))
        for signer in (SIGNER, HOSTILE_SIGNER)
    ]
    state = store.WitnessStore(tmp_path / "witness.sqlite", create=True)
    yield service.Witness("witness.example/w1", Ed25519PrivateKey.generate(), state, logs)
    state.close()


@pytest.mark.parametrize("seed", range(5))
def test_both_answer_the_same(witness, seed):
    """On a run of good and wrong requests both witnesses answer with the same status and go the same way."""
    draw = random.Random(seed)
    logs = {ORIGIN: [VerifierKey.parse(SIGNER.vkey)]}
    key = VerifierKey.parse(witness.vkey_text)
    latest, statuses = None, []
    for _ in range(60):
        body = _request(draw, 0 if latest is None else latest.size)
        status, cosigned = _ours(body, logs, latest)
        their_status, their_body = _theirs(witness, body)
        assert status == their_status, body
        statuses.append(status)
        if cosigned is not None:
            latest = cosigned
            assert len(parse_cosignatures(their_body, cosigned, [key])) == 1
    assert {200, 403, 404, 409, 422} <= set(statuses)


# It takes the mark as a part of the name, and has no limit on signatures that it does not know.
THEIR_OWN_WAY = {"byte order mark": 404, "101 unknown signatures": 200}


@pytest.mark.parametrize("name", HOSTILE)
def test_both_refuse_hostile_checkpoints(witness, name):
    """Hostile checkpoints get the same status from both witnesses, but for two where ours is the stricter one."""
    body = b"old 0\n\n" + HOSTILE[name]
    status, _ = _ours(body, {HOSTILE_ORIGIN: [VerifierKey.parse(HOSTILE_SIGNER.vkey)]}, None)
    assert _theirs(witness, body)[0] == THEIR_OWN_WAY.get(name, status)
    assert status != 200
