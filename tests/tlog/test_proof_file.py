"""Proof files: the C2SP example byte for byte, and everything that is not one."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tlog.grown_log import C2SP, RFC6962, unhex

from backstory.errors import FormatError
from backstory.tlog.checkpoint import open_checkpoint
from backstory.tlog.key import VerifierKey
from backstory.tlog.proof import verify_inclusion
from backstory.tlog.proof_file import ProofFile, encode_proof_file, parse_proof_file

EXAMPLE = C2SP["tlog_proof_index_5_size_8"].encode()
NOTE = C2SP["checkpoint_size_8"].encode()
HASHES = tuple(unhex(next(c for c in RFC6962["inclusion_proofs"] if (c["index"], c["size"]) == (5, 8))["proof"]))


def test_published_proof_file():
    """The published file is read, written byte for byte, and proves its leaf."""
    file = parse_proof_file(EXAMPLE)
    assert file == ProofFile(extra=None, index=5, proof=HASHES, note=NOTE)
    assert encode_proof_file(file) == EXAMPLE
    checkpoint = open_checkpoint(file.note, "predlog.example/tenant-a", [VerifierKey.parse(C2SP["log_vkey"])])
    leaf_hash = bytes.fromhex(RFC6962["leaf_hashes"][5])
    verify_inclusion(leaf_hash, file.index, checkpoint.size, file.proof, checkpoint.root)


@given(
    st.one_of(st.none(), st.binary(min_size=1, max_size=200)),
    st.integers(0, 2**63 - 1),
    st.lists(st.binary(min_size=32, max_size=32), max_size=63),
)
def test_proof_files_round_trip(extra, index, proof):
    """Whatever is written is read back, and written the same."""
    file = ProofFile(extra=extra, index=index, proof=tuple(proof), note=NOTE)
    assert parse_proof_file(encode_proof_file(file)) == file


def test_extra_of_16_mebibytes():
    """Extra data may have 16 MiB and not one byte more."""
    file = ProofFile(extra=bytes(16 * 2**20), index=0, proof=(), note=NOTE)
    assert parse_proof_file(encode_proof_file(file)) == file
    with pytest.raises(FormatError):
        encode_proof_file(ProofFile(extra=bytes(16 * 2**20 + 1), index=0, proof=(), note=NOTE))


HEAD, _, _ = EXAMPLE.partition(b"\n\n")
LINES = HEAD.split(b"\n")


def _file(*lines):
    return b"\n".join(lines) + b"\n\n" + NOTE


MALFORMED = {
    "empty": b"",
    "another version": EXAMPLE.replace(b"@v1", b"@v2"),
    "space before the magic": b" " + EXAMPLE,
    "byte order mark": b"\xef\xbb\xbf" + EXAMPLE,
    "carriage returns": EXAMPLE.replace(b"\n", b"\r\n"),
    "no index": _file(LINES[0], *LINES[2:]),
    "two indexes": _file(*LINES[:2], *LINES[1:]),
    "index with a leading zero": EXAMPLE.replace(b"index 5", b"index 05"),
    "index with a sign": EXAMPLE.replace(b"index 5", b"index +5"),
    "index with an underscore": EXAMPLE.replace(b"index 5", b"index 1_0"),
    "index with two spaces": EXAMPLE.replace(b"index 5", b"index  5"),
    "index with a space behind": EXAMPLE.replace(b"index 5", b"index 5 "),
    "index of another script": EXAMPLE.replace(b"index 5", "index \u0665".encode()),
    "index 2^63": EXAMPLE.replace(b"index 5", b"index %d" % 2**63),
    "capital index": EXAMPLE.replace(b"index 5", b"Index 5"),
    "empty extra": _file(LINES[0], b"extra ", *LINES[1:]),
    "extra without a space": _file(LINES[0], b"extra", *LINES[1:]),
    "extra with stray bits": _file(LINES[0], b"extra AB==", *LINES[1:]),
    "extra after the index": _file(*LINES[:2], b"extra AA==", *LINES[2:]),
    "two extras": _file(LINES[0], b"extra AA==", b"extra AA==", *LINES[1:]),
    "unknown line": _file(LINES[0], b"note AA==", *LINES[1:]),
    "hash of 31 bytes": _file(*LINES[:2], base64.b64encode(bytes(31))),
    "hash with a space behind": _file(*LINES[:2], LINES[2] + b" "),
    "hash without padding": _file(*LINES[:2], LINES[2][:-1]),
    "64 hashes": _file(*LINES[:2], *[LINES[2]] * 64),
    "two empty lines": HEAD + b"\n\n\n" + NOTE,
    "no empty line": HEAD + b"\n" + NOTE.replace(b"\n\n", b"\n"),
    "no checkpoint": HEAD + b"\n\n",
    "checkpoint without signature": HEAD + b"\n\n" + NOTE.partition(b"\n\n")[0] + b"\n",
    "no final newline": EXAMPLE[:-1],
    "junk at the end": EXAMPLE + b"junk\n",
    "too large": EXAMPLE + b"x" * (24 * 2**20),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_proof_files_are_refused(name):
    """A file of any other form is refused."""
    assert MALFORMED[name] != EXAMPLE
    with pytest.raises(FormatError):
        parse_proof_file(MALFORMED[name])


@pytest.mark.parametrize(
    "file",
    [
        ProofFile(extra=b"", index=0, proof=(), note=NOTE),
        ProofFile(extra=None, index=-1, proof=(), note=NOTE),
        ProofFile(extra=None, index=0, proof=(bytes(31),), note=NOTE),
        ProofFile(extra=None, index=0, proof=(bytes(32),) * 64, note=NOTE),
        ProofFile(extra=None, index=0, proof=(), note=b"unsigned\n"),
    ],
)
def test_values_without_a_form_are_not_encoded(file):
    """A file that no reader would accept cannot be written."""
    with pytest.raises(FormatError):
        encode_proof_file(file)


@given(st.binary(max_size=200))
def test_parser_raises_nothing_else(data):
    """Arbitrary bytes after the magic give a file or a format error."""
    try:
        parse_proof_file(LINES[0] + b"\n" + data)
    except FormatError:
        return
