"""Checkpoints (C2SP tlog-checkpoint): what a log's signed note says about its tree.

The text of a checkpoint is three lines: origin, tree size, root. C2SP discourages lines after them and Backstory writes
none; they are refused here, because a value that cannot hold them would not lead back to the bytes that were signed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backstory.errors import FormatError, VerificationError
from backstory.tlog.hashing import EMPTY_ROOT
from backstory.tlog.limits import HASH_SIZE
from backstory.tlog.note import check_name, verify_note
from backstory.tlog.text import encode_base64, parse_base64, parse_decimal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from backstory.tlog.note import VerifierKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The head of a log.

    Attributes:
        origin: Name of the log.
        size: Entries in the log.
        root: Root of its tree, 32 bytes.
    """

    origin: str
    size: int
    root: bytes

    def encode(self) -> str:
        """Write the text to sign.

        Returns:
            Three lines, each with its newline.

        Raises:
            FormatError: One of the values has no form in a checkpoint.
        """
        text = f"{self.origin}\n{self.size}\n{encode_base64(self.root)}\n"
        # What a checker would refuse must not be signed.
        parse_checkpoint(text)
        return text


def parse_checkpoint(text: str) -> Checkpoint:
    """Parse the text of a checkpoint; its signature is not looked at.

    Args:
        text: The note's text with its last newline.

    Returns:
        What it says.

    Raises:
        FormatError: It is not three lines of the right form, or the root of a log without entries is not the empty one.
    """
    match text.split("\n"):
        case [origin, size_text, root_text, ""]:
            check_name(origin, "origin of the checkpoint")
        case _:
            raise FormatError("checkpoint is malformed: expected three lines: origin, size, root")
    size = parse_decimal(size_text, "size of the checkpoint")
    root = parse_base64(root_text, "root of the checkpoint", HASH_SIZE)
    if size == 0 and root != EMPTY_ROOT:
        raise FormatError(f"checkpoint is malformed: expected the empty root at size 0, got {root.hex()}")
    return Checkpoint(origin=origin, size=size, root=root)


def open_checkpoint(note: bytes, origin: str, keys: Iterable[VerifierKey]) -> Checkpoint:
    """Check a signed checkpoint and read it.

    Args:
        note: The signed note.
        origin: The log it must be of.
        keys: Keys to accept. Only those named after the origin can speak for the log; others are passed over.

    Returns:
        The checkpoint, signed by the log.

    Raises:
        FormatError: Note or checkpoint is malformed.
        InputError: Two of the keys cannot be told apart by name and key id.
        VerificationError: A signature does not hold, none is by the log, or the checkpoint is of another log.
    """
    text = verify_note(note, [key for key in keys if key.name == origin])
    checkpoint = parse_checkpoint(text)
    if checkpoint.origin != origin:
        raise VerificationError(f"checkpoint does not verify: expected origin {origin}, got {checkpoint.origin}")
    return checkpoint
