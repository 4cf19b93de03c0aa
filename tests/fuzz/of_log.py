"""Parsers of the log's own forms: C2SP notes, checkpoints, keys, proofs, policies, witness messages, tiles."""

from __future__ import annotations

import hashlib
from functools import cache

from tests.fuzz.parser import Parser, text_of
from tests.support import hostile
from tests.support.receipts import BEGAN, ORIGIN, POLICY, SIGNER, WITNESSES, Log

from backstory.errors import FormatError, VerificationError
from backstory.tlog.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint, read_checkpoint
from backstory.tlog.cosignature import cosign
from backstory.tlog.hashing import hash_leaf
from backstory.tlog.key import ValidKey, VerifierKey, parse_valid_keys
from backstory.tlog.note import add_signatures, parse_note
from backstory.tlog.policy import parse_policy
from backstory.tlog.proof import inclusion_proof
from backstory.tlog.proof_file import ProofFile, encode_proof_file, parse_proof_file
from backstory.tlog.signer import Ed25519Signer, MlDsaSigner
from backstory.tlog.text import encode_base64, parse_base64, parse_decimal
from backstory.tlog.tile import TILE_WIDTH, TilePath, decode_bundle, decode_tile, encode_bundle, parse_tile_path
from backstory.tlog.witness import (
    AddCheckpoint,
    Answer,
    Submission,
    admit,
    answer_cosigned,
    parse_add_checkpoint,
    parse_cosignatures,
    parse_size,
)

KEY = VerifierKey.parse(SIGNER.vkey)
WITNESS_KEYS = [VerifierKey.parse(witness.vkey) for witness in WITNESSES]
BOTH = FormatError, VerificationError
LEAVES = [hash_leaf(bytes([n])) for n in range(9)]


@cache
def notes():
    """Return signed checkpoints: bare, cosigned, and of a log that misbehaves."""
    checkpoint = Checkpoint(origin=ORIGIN, size=7, root=bytes(range(32)))
    lines = [cosign(checkpoint, witness, BEGAN) for witness in WITNESSES]
    log = Log([])
    return [log.note, add_signatures(log.note, lines[:1]), Log([], cosigned=3).note, hostile.GOOD]


@cache
def texts():
    """Return what the notes say."""
    return {parse_note(note).text for note in notes()}


def _check_note(data):
    note = parse_note(data)
    yield
    assert f"{note.text}\n{''.join(line.encode() for line in note.signatures)}".encode() == data


def _check_checkpoint(data):
    text = text_of(data)
    checkpoint = parse_checkpoint(text)
    yield
    assert read_checkpoint(text) == checkpoint
    assert checkpoint.encode() == text


def _check_signed(data):
    """What a key signed is one of a few texts, whatever was done to them."""
    keys = [KEY, VerifierKey.parse(hostile.SIGNER.vkey)]
    found = [_outcome(lambda origin=key.name: open_checkpoint(data, origin, keys)) for key in keys]
    if not any(isinstance(each, Checkpoint) for each in found):
        raise found[0]
    yield
    assert {each.encode() for each in found if isinstance(each, Checkpoint)} <= texts()


def _outcome(call):
    try:
        return call()
    except BOTH as error:
        return error


def _check_key(data):
    key = VerifierKey.parse(text_of(data))
    yield
    assert key.vkey == text_of(data)


def _check_valid_keys(data):
    keys = parse_valid_keys(text_of(data))
    yield
    for valid in keys:
        assert ValidKey.parse(valid.text) == valid


def _check_proof_file(data):
    file = parse_proof_file(data)
    yield
    assert encode_proof_file(file) == data


def _check_policy(data):
    """Of the forms of one policy none is the canonical one: what is written from it must be read as the same."""
    policy = parse_policy(data)
    yield
    lines = [f"log {log.key.vkey} {log.url or ''}" for log in policy.logs]
    lines += [f"witness {witness.name} {witness.key.vkey} {witness.url or ''}" for witness in policy.witnesses]
    lines += [f"group {group.name} {group.threshold} {' '.join(group.members)}" for group in policy.groups]
    assert parse_policy("\n".join([*lines, f"quorum {policy.quorum or 'none'}", ""])) == policy
    assert parse_policy(text_of(data)) == policy


def _check_policy_text(data):
    """A policy that is given as text may hold code points that no file can."""
    parse_policy(data.decode("utf-8", "surrogatepass"))
    yield


def _policies():
    ml_dsa = MlDsaSigner.from_seed("witness.example/pq", bytes(32))
    more = f"# who\nwitness\tpq {ml_dsa.vkey} https://w.example/\ngroup g any pq\nquorum g\n"
    return [POLICY.encode(), more.encode(), b"quorum none\n"]


def _large_policies():
    """Return a policy with many keys."""
    keys = [Ed25519Signer.from_seed("a", hashlib.sha256(b"%d" % i).digest()).vkey for i in range(8_000)]
    return ["".join([*(f"log {vkey}\n" for vkey in keys), "quorum none\n"]).encode()]


def _check_add_checkpoint(data):
    answer = admit(data, {ORIGIN: [KEY]})
    assert isinstance(answer, Answer | Submission)
    if isinstance(answer, Submission):
        assert parse_note(answer.note).text in texts()
    request = parse_add_checkpoint(data)
    yield
    assert request.encode() == data


def _requests():
    proofs = [(), tuple(LEAVES[:2]), tuple(LEAVES[:7] * 9)]
    return [AddCheckpoint(old_size=7, proof=proof, note=note).encode() for proof in proofs for note in notes()[:2]]


ANSWERED = parse_checkpoint(parse_note(notes()[0]).text)


@cache
def _answers():
    return [answer_cosigned([cosign(ANSWERED, witness, BEGAN) for witness in WITNESSES[:n]]).body for n in (1, 3)]


def _check_cosignatures(data):
    given = {(line.name, line.key_id, line.signature) for body in _answers() for line in _lines_of(body)}
    cosignatures = parse_cosignatures(data, ANSWERED, WITNESS_KEYS)
    yield
    for cosignature in cosignatures:
        line = cosignature.line
        assert (line.name, line.key_id, line.signature) in given
    assert answer_cosigned(_lines_of(data)).body == data


def _lines_of(body):
    return parse_note(ANSWERED.encode().encode() + b"\n" + body).signatures


def _check_size(data):
    size = parse_size(data)
    yield
    assert f"{size}\n".encode() == data


def _check_tile_path(data):
    tile = parse_tile_path(text_of(data))
    yield
    assert tile.path == text_of(data)


def _tile_paths():
    tiles = [(0, 0, 256), (None, 1, 44), (1, 1_234, 256), (63, 2**55 - 1, 1), (None, 123_456_789, 255)]
    return [TilePath(level=level, index=index, width=width).path.encode() for level, index, width in tiles]


def _check_tile(data):
    """The first byte says how many hashes it must hold."""
    width, tile = data[0] + 1 if data else 0, data[1:]
    hashes = decode_tile(tile, width)
    yield
    assert b"".join(hashes) == tile


def _check_bundle(data):
    """The first byte says how many entries it must hold."""
    count, bundle = data[0] + 1 if data else 0, data[1:]
    entries = decode_bundle(bundle, count)
    yield
    assert encode_bundle(entries) == bundle


def _bundles():
    lists = [[b""], [b"a", b"", b"bc" * 300], [b"x" * 65_535], [b"%d" % i for i in range(TILE_WIDTH)]]
    return [bytes([len(entries) - 1]) + encode_bundle(entries) for entries in lists]


def _check_decimal(data):
    number = parse_decimal(text_of(data), "number")
    yield
    assert str(number) == text_of(data)


def _check_base64(data):
    decoded = parse_base64(text_of(data), "base64")
    yield
    assert encode_base64(decoded) == text_of(data)


def _proof_files():
    proofs = [(b"{}", ()), (None, tuple(inclusion_proof(LEAVES, 4))), (bytes(100), tuple(LEAVES[:7] * 9))]
    return [encode_proof_file(ProofFile(extra=extra, index=4, proof=proof, note=notes()[0])) for extra, proof in proofs]


def _keys():
    signers = [SIGNER, WITNESSES[0], MlDsaSigner.from_seed("é", bytes(32))]
    return [signer.vkey.encode() for signer in signers]


def _valid_keys():
    keys = _keys()
    return [keys[0] + b" from 7 until 300", b"\n".join([keys[0] + b" until 7", b"", keys[1] + b" from 8"]), *keys]


PARSERS = {
    "note": Parser(_check_note, notes, ("parse_note", "NoteSignature.parse")),
    "checkpoint": Parser(
        _check_checkpoint, lambda: [text.encode() for text in texts()], ("parse_checkpoint", "read_checkpoint")
    ),
    "signed checkpoint": Parser(
        _check_signed, lambda: [*notes(), *hostile.HOSTILE.values()], ("open_checkpoint",), BOTH
    ),
    "verifier key": Parser(_check_key, _keys, ("VerifierKey.parse",)),
    "valid keys": Parser(_check_valid_keys, _valid_keys, ("ValidKey.parse", "parse_valid_keys")),
    "proof file": Parser(_check_proof_file, _proof_files, ("parse_proof_file",)),
    "policy": Parser(_check_policy, _policies, ("parse_policy",), make_large=_large_policies),
    "policy as text": Parser(_check_policy_text, _policies, ("parse_policy",), (FormatError, UnicodeDecodeError)),
    "witness request": Parser(_check_add_checkpoint, _requests, ("parse_add_checkpoint",)),
    "witness answer": Parser(_check_cosignatures, _answers, ("parse_cosignatures",), BOTH),
    "witness size": Parser(_check_size, lambda: [b"0\n", b"412\n", b"9223372036854775807\n"], ("parse_size",)),
    "tile path": Parser(_check_tile_path, _tile_paths, ("parse_tile_path",)),
    "tile": Parser(_check_tile, lambda: [bytes(33), b"\x02" + bytes(96), b"\xff" * 8193], ("decode_tile",)),
    "entry bundle": Parser(_check_bundle, _bundles, ("decode_bundle",)),
    "decimal": Parser(_check_decimal, lambda: [b"0", b"8", b"412", b"9223372036854775807"], ("parse_decimal",)),
    "base64": Parser(_check_base64, lambda: [b"AA==", b"AAA=", b"+/+/", b"AAEC" * 30], ("parse_base64",)),
}
