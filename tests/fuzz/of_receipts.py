"""Receipts: what our verifier and the stand-alone one make of them, whole and without the signature in the way."""

from __future__ import annotations

import functools
import random
from functools import cache

from tests.fuzz.parser import Parser, text_of
from tests.support.receipts import (
    GROUPS,
    SIGNER,
    WITNESSES,
    Log,
    extra_of,
    make_segment,
    many_document,
    many_file,
    one_file,
    text64,
)

from backstory.errors import FormatError, InputError, UnsupportedVersionError, VerificationError
from backstory.records import canonical
from backstory.tlog.key import KeyKind, ValidKey
from backstory.tlog.proof_file import ProofFile
from backstory.verify.receipt import verify_receipts
from backstory.verify.receipt_file import MANY_MAGIC, FieldOpenings, ManyReceipts, read_claim
from backstory.verify.standalone import verify_receipt as alone

alone.is_ed25519 = functools.cache(alone.is_ed25519)  # most changed files have a note that was seen before


@cache
def log():
    """Return a log of two segments."""
    chance = random.Random(1)
    return Log([make_segment(chance, 3), make_segment(chance, 300)], cosigned=1)


@cache
def claims():
    """Return what receipts say of some of its records."""
    return [log().claim(0, 1, tuple(GROUPS)), log().claim(1, 7), log().claim(1, 299, ("output",))]


@cache
def bare():
    """Return the last of them without its context."""
    return claims()[2] | {"context": None}


@cache
def _ones():
    return [one_file(log(), claim) for claim in (*claims(), bare())]


@cache
def _manies():
    return [many_file(log(), claims()), many_file(log(), claims()[1:]), many_file(log(), [claims()[0], bare()])]


@cache
def _true_facts():
    """Return what is true of each record, by its id."""
    ones = [one_file(log(), claim) for claim in claims()]
    facts = [receipt.to_dict() for data in ones for receipt in verify_receipts(data, vkey=SIGNER.vkey)]
    return {fact["id"]: fact for fact in facts}


def _check_file(data):
    """Both refuse or accept a file, with the same facts, and of these none is other than it was committed to."""
    code, theirs = _alone(data)
    try:
        receipts = [receipt.to_dict() for receipt in verify_receipts(data, vkey=SIGNER.vkey)]
    except VerificationError:
        assert code == alone.FAILED
        raise
    except (FormatError, UnsupportedVersionError):
        assert code == alone.CANNOT_CHECK
        raise
    yield
    assert theirs == receipts
    for receipt in receipts:
        true = _true_facts()[receipt["id"]]
        shown = dict.fromkeys(("erased", "opened", "sealed", "undisclosed"), 0)
        assert receipt | shown == true | shown | {"context": receipt["context"] and true["context"]}
        known = {group: values for claim in _ones_opened() for group, values in claim.items()}
        assert set(receipt["opened"]) | set(receipt["sealed"]) == set(GROUPS)
        assert set(receipt["opened"]) <= set(known)


@cache
def _ones_opened():
    return [fact["opened"] for fact in _true_facts().values()]


def _alone(data):
    try:
        return alone.VERIFIED, alone.check_file(data, [alone.Key(SIGNER.vkey, 1)], [], 0)
    except alone.FailedError:
        return alone.FAILED, None
    except alone.CannotCheckError:
        return alone.CANNOT_CHECK, None


def _written(openings):
    """Return openings as a file has them."""

    def opening(one):
        return {"row": text64(one.row), "salt": one.salt.hex()}

    def by_field(group):
        fields = {name: opening(field) for name, field in group.fields.items()}
        return {"fields": fields, "leaves": [leaf.hex() for leaf in group.leaves]}

    return {
        name: by_field(group) if isinstance(group, FieldOpenings) else opening(group)
        for name, group in openings.items()
    }


def _check_claim(data):
    """The part of a receipt that no signature covers has one form: written from what was read it is the same."""
    claim = read_claim(ProofFile(extra=data, index=1, proof=(), note=b""))
    yield
    said = {"erased": list(claim.erased)} if claim.erased else {}
    assert canonical.encode({**extra_of({**_fields(claim), "openings": _written(claim.openings)}), **said}) == data


def _fields(claim):
    return {name: getattr(claim, name) for name in ("context", "entry", "index", "path", "row", "schema")}


class _WrittenLog:
    """Stands in for a log whose note is already written."""

    def __init__(self, note):
        self.note = note


def _check_many(data):
    """So has a file of many."""
    if not data.startswith(MANY_MAGIC):
        raise FormatError("no such file")
    file = ManyReceipts(data)
    read = list(file.claims())
    yield
    given = [
        {**_fields(claim), "leaf_index": claim.leaf_index, "proof": claim.proof, "openings": _written(claim.openings)}
        for claim in read
    ]
    assert canonical.encode(many_document(_WrittenLog(file.note), given)) == data


def _check_key(data):
    """The stand-alone verifier takes no log key that we would not."""
    text = text_of(data)
    key = alone.Key(text, 1)
    yield
    valid = ValidKey.parse(text.strip())
    assert (key.name, key.public, key.first, key.last) == (
        valid.key.name, valid.key.public_key, valid.first, valid.last
    )  # fmt: skip
    assert valid.key.kind is KeyKind.ED25519


def _keys():
    vkey = SIGNER.vkey
    return [text.encode() for text in (vkey, f"{vkey} from 7", f"{vkey} from 7 until 300", WITNESSES[0].vkey)]


REFUSALS = FormatError, VerificationError, UnsupportedVersionError, InputError
NEWER = FormatError, UnsupportedVersionError
PARSERS = {
    "receipt": Parser(
        _check_file,
        _ones,
        ("verify_receipts", "alone.check_file", "alone.decode_utf8", "alone.read_opening"),
        REFUSALS,
    ),
    "receipts file": Parser(_check_file, _manies, ("verify_receipts", "alone.check_file"), REFUSALS),
    "claim of a receipt": Parser(
        _check_claim, lambda: [canonical.encode(extra_of(claim)) for claim in claims()], ("read_claim",), NEWER
    ),
    "claims of a receipts file": Parser(_check_many, _manies, ("ManyReceipts",), NEWER),
    "key of the stand-alone verifier": Parser(_check_key, _keys, ("alone.Key",), (alone.FailedError,)),
}
