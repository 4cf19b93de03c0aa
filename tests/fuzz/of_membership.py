"""Proofs of membership: what our verifier and the stand-alone one make of them, whole and taken apart."""

from __future__ import annotations

import functools
from functools import cache

from tests.fuzz.parser import Parser
from tests.support.memberships import honest_claim, model_document, open_document, personal_document, row_of
from tests.support.receipts import SIGNER

from backstory.errors import FormatError, UnsupportedVersionError, VerificationError
from backstory.records import canonical
from backstory.records.membership import tree_of
from backstory.verify import membership
from backstory.verify.membership_file import MAGIC, encode_membership, parse_membership
from backstory.verify.standalone import verify_membership as alone

_PEOPLE = ["a", "é", "7"]
membership.verify_vrf = functools.cache(membership.verify_vrf)  # most changed files have a proof that was seen before
alone.check_vrf = functools.cache(alone.check_vrf)
alone.receipt.is_ed25519 = functools.cache(alone.receipt.is_ed25519)


@cache
def _files():
    people, model, rows = personal_document(_PEOPLE), model_document(_PEOPLE), [row_of(1), row_of(2)]
    claims = [honest_claim(people, "a", _PEOPLE), honest_claim(model, "b", _PEOPLE)]
    claims += [honest_claim(open_document(rows), row_of(number), rows) for number in (1, 9)]
    return [encode_membership(claim) for claim in claims]


@cache
def _true_facts():
    return [membership.verify_membership(data, vkey=SIGNER.vkey).to_dict() for data in _files()]


def _check_file(data):
    """Both refuse or accept a file, with the same facts, and these are of a file that was made."""
    code, theirs = _alone(data)
    try:
        ours = membership.verify_membership(data, vkey=SIGNER.vkey).to_dict()
    except VerificationError:
        assert code == alone.FAILED
        raise
    except (FormatError, UnsupportedVersionError):
        assert code == alone.CANNOT_CHECK
        raise
    yield
    assert theirs == ours
    assert ours in _true_facts()


def _alone(data):
    try:
        return alone.VERIFIED, alone.check_file(data, [alone.receipt.Key(SIGNER.vkey, 1)])
    except alone.receipt.FailedError:
        return alone.FAILED, None
    except alone.receipt.CannotCheckError:
        return alone.CANNOT_CHECK, None


def _check_claim(data):
    """A file has one form: written from what was read it is the same."""
    if not data.startswith(MAGIC):
        raise FormatError("no such file")
    claim = parse_membership(data)
    yield
    assert encode_membership(claim) == data


def _check_tree(data):
    """What a document says of its tree has one form."""
    document = canonical.parse_object(data, "document")
    tree = tree_of(document)
    yield
    assert tree is None or tree.document() == document["subjects"]


def _trees():
    return [canonical.encode(personal_document(_PEOPLE)), b"{}"]


NEWER = FormatError, UnsupportedVersionError
PARSERS = {
    "membership": Parser(
        _check_file, _files, ("verify_membership", "read_leaves", "read_row", "read_tree"), (VerificationError, *NEWER)
    ),
    "claim of a membership": Parser(_check_claim, _files, ("parse_membership",), NEWER),
    "tree of persons": Parser(_check_tree, _trees, ("tree_of",), NEWER),
}
