"""The outer form of a receipt: C2SP tlog-proof, file extension `.tlog-proof`.

    c2sp.org/tlog-proof@v1
    extra <base64>                     where there is any; not covered by any signature
    index <leaf index>
    <base64 of a hash>                 the inclusion proof, leaf side first
                                       empty line
    <signed checkpoint>

Reading such a file proves nothing. A holder recomputes the leaf hash, opens the checkpoint with a key that came from
elsewhere, and checks the inclusion; nothing in `extra` may be believed before that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from backstory.errors import FormatError
from backstory.tlog.checkpoint import parse_checkpoint
from backstory.tlog.limits import HASH_SIZE, NOTE_SIZE_MAX, PROOF_EXTRA_SIZE_MAX, PROOF_HASHES_MAX
from backstory.tlog.note import parse_note
from backstory.tlog.text import encode_base64, parse_base64, parse_decimal

_MAGIC: Final = "c2sp.org/tlog-proof@v1"
# Four characters for three bytes of extra data, and room for the other lines of the head.
_HEAD_SIZE_MAX: Final = (PROOF_EXTRA_SIZE_MAX + 2) // 3 * 4 + 100 * (PROOF_HASHES_MAX + 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofFile:
    """What a proof file holds, nothing verified.

    Attributes:
        extra: Data of the application, 1 to `PROOF_EXTRA_SIZE_MAX` bytes, or None.
        index: Leaf index in the log.
        proof: Inclusion proof, leaf side first, at most `PROOF_HASHES_MAX` hashes of 32 bytes.
        note: The signed checkpoint, as it was published.
    """

    extra: bytes | None
    index: int
    proof: tuple[bytes, ...]
    note: bytes


def encode_proof_file(file: ProofFile) -> bytes:
    """Write a proof file.

    Args:
        file: What to write.

    Returns:
        The file's bytes.

    Raises:
        FormatError: One of the values is over its limit or has no form in a proof file.
    """
    lines = [_MAGIC]
    if file.extra is not None:
        lines.append(f"extra {encode_base64(file.extra)}")
    lines.append(f"index {file.index}")
    lines += [encode_base64(digest) for digest in file.proof]
    data = "\n".join((*lines, "", "")).encode() + file.note
    # What a reader would refuse must not be handed out.
    parse_proof_file(data)
    return data


def begins_proof_file(data: bytes) -> bool:
    """Say whether some bytes begin as a proof file does: with its first line."""
    return data.startswith(f"{_MAGIC}\n".encode())


def parse_proof_file(data: bytes) -> ProofFile:
    """Parse a proof file without verifying it.

    Args:
        data: The file's bytes.

    Returns:
        Its parts.

    Raises:
        FormatError: It is too large, or a line is not where or as it must be.
    """
    if len(data) > _HEAD_SIZE_MAX + NOTE_SIZE_MAX:
        raise FormatError(
            f"proof file is malformed: expected at most {_HEAD_SIZE_MAX + NOTE_SIZE_MAX} bytes, got {len(data)}"
        )
    head, separator, note = data.partition(b"\n\n")
    if not separator or not head.isascii():
        raise FormatError("proof file is malformed: expected ASCII lines, an empty line, and a checkpoint")
    lines = head.decode("ascii").split("\n")
    if lines.pop(0) != _MAGIC:
        raise FormatError(f"proof file is malformed: expected {_MAGIC} as its first line")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = _parse_extra(lines.pop(0).removeprefix("extra "))
    if not lines or not lines[0].startswith("index "):
        raise FormatError("proof file is malformed: expected an index line")
    index = parse_decimal(lines.pop(0).removeprefix("index "), "index of the proof file")
    if len(lines) > PROOF_HASHES_MAX:
        raise FormatError(f"proof file is malformed: expected at most {PROOF_HASHES_MAX} hashes, got {len(lines)}")
    proof = tuple(parse_base64(line, "hash of the proof file", HASH_SIZE) for line in lines)
    parse_checkpoint(parse_note(note).text)
    return ProofFile(extra=extra, index=index, proof=proof, note=note)


def _parse_extra(text: str) -> bytes:
    extra = parse_base64(text, "extra data of the proof file")
    if len(extra) > PROOF_EXTRA_SIZE_MAX:
        raise FormatError(f"extra data is malformed: expected at most {PROOF_EXTRA_SIZE_MAX} bytes, got {len(extra)}")
    return extra
