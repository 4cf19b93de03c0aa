"""Certificates of erasures: what our verifier and the stand-alone one make of them, whole and taken apart."""

from __future__ import annotations

import functools
from functools import cache

from tests.fuzz.parser import Parser
from tests.support.erasures import certificate_of
from tests.support.receipts import SIGNER

from backstory.errors import FormatError, UnsupportedVersionError, VerificationError
from backstory.verify.erasure_certificate import verify_erasure
from backstory.verify.standalone import check_erasure as alone

alone.receipt.is_ed25519 = functools.cache(alone.receipt.is_ed25519)  # most changed files have one seen before


@cache
def _files():
    records = [f"record 0198c0de-0000-7000-8000-{number:012x}" for number in range(3)]
    return [certificate_of([]), certificate_of([*records, f"row {'ab' * 32} 17"], partial=True)]


@cache
def _true_facts():
    return [verify_erasure(data, vkey=SIGNER.vkey).to_dict() for data in _files()]


def _check_file(data):
    """Both refuse or accept a file, with the same facts, and these are of a file that was made, or of fewer leaves."""
    code, theirs = _alone(data)
    try:
        ours = verify_erasure(data, vkey=SIGNER.vkey).to_dict()
    except VerificationError:
        assert code == alone.FAILED
        raise
    except (FormatError, UnsupportedVersionError):
        assert code == alone.CANNOT_CHECK
        raise
    yield
    assert theirs == ours
    whole = [facts for facts in _true_facts() if {**facts, "erased": ours["erased"]} == ours]
    assert any(set(ours["erased"]) <= set(facts["erased"]) for facts in whole)


def _alone(data):
    try:
        return alone.VERIFIED, alone.check_file(data, [alone.receipt.Key(SIGNER.vkey, 1)])
    except alone.receipt.FailedError:
        return alone.FAILED, None
    except alone.receipt.CannotCheckError:
        return alone.CANNOT_CHECK, None


PARSERS = {
    "certificate of an erasure": Parser(
        _check_file,
        _files,
        ("verify_erasure", "check_said"),
        (VerificationError, FormatError, UnsupportedVersionError),
    ),
}
