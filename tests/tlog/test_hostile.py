"""Hostile checkpoints, each really signed by the log: whoever reads one refuses it."""

import pytest
from tests.support.hostile import GOOD, HOSTILE, ORIGIN, SIGNER

from backstory.errors import FormatError, VerificationError
from backstory.tlog.checkpoint import open_checkpoint
from backstory.tlog.key import VerifierKey
from backstory.tlog.policy import parse_policy
from backstory.tlog.proof_file import parse_proof_file
from backstory.tlog.witness import Answer, Submission, admit, judge

KEY = VerifierKey.parse(SIGNER.vkey)
POLICY = parse_policy(f"log {SIGNER.vkey}\nquorum none\n")


def _request(note):
    return b"old 0\n\n" + note


def test_the_corpus_has_29_checkpoints_and_a_good_one():
    """What the hostile checkpoints are made from is a checkpoint that everybody accepts."""
    assert len(HOSTILE) == 29
    assert open_checkpoint(GOOD, ORIGIN, [KEY]) == POLICY.check(GOOD).checkpoint
    assert isinstance(admit(_request(GOOD), {ORIGIN: [KEY]}), Submission)
    assert parse_proof_file(b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + GOOD).note == GOOD


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_checkpoints_are_refused(name):
    """A verifier with the log's key refuses it."""
    with pytest.raises((FormatError, VerificationError)):
        open_checkpoint(HOSTILE[name], ORIGIN, [KEY])


@pytest.mark.parametrize("name", HOSTILE)
def test_policies_refuse_hostile_checkpoints(name):
    """A policy that lists the log refuses it."""
    with pytest.raises((FormatError, VerificationError)):
        POLICY.check(HOSTILE[name])


@pytest.mark.parametrize("name", HOSTILE)
def test_witnesses_do_not_cosign_hostile_checkpoints(name):
    """A witness that knows the log refuses it."""
    answer = admit(_request(HOSTILE[name]), {ORIGIN: [KEY]})
    if isinstance(answer, Submission):
        answer = judge(answer, None)
    assert isinstance(answer, Answer)
    assert 400 <= answer.status < 500
