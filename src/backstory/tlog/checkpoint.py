"""Checkpoints (C2SP tlog-checkpoint): what a log's signed note says about its tree.

The text of a checkpoint is three lines: origin, tree size, root. C2SP discourages lines after them and Backstory writes
none; they are refused here, because a value that cannot hold them would not lead back to the bytes that were signed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backstory.errors import FormatError, VerificationError
from backstory.tlog.cosignature import sign_as_log, verify_log_signature
from backstory.tlog.hashing import EMPTY_ROOT
from backstory.tlog.key import LOG_KINDS, ValidKey, check_name
from backstory.tlog.limits import HASH_SIZE
from backstory.tlog.note import encode_note, find_signatures, parse_note, unsigned
from backstory.tlog.text import encode_base64, parse_base64, parse_decimal, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from backstory.tlog.key import VerifierKey
    from backstory.tlog.note import Note, NoteSignature
    from backstory.tlog.signer import Signer


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
    checkpoint = read_checkpoint(text)
    if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
        raise FormatError(f"checkpoint is malformed: expected the empty root at size 0, got {checkpoint.root.hex()}")
    return checkpoint


def read_checkpoint(text: str) -> Checkpoint:
    """Parse the text of a checkpoint, even of a log without entries that has another root than the empty one.

    A witness keeps such a signed lie as evidence; everybody else calls `parse_checkpoint`.

    Args:
        text: The note's text with its last newline.

    Returns:
        What it says.

    Raises:
        FormatError: It is not three lines of the right form.
    """
    match text.split("\n"):
        case [origin, size_text, root_text, ""]:
            check_name(origin, "origin of the checkpoint")
        case _:
            raise FormatError("checkpoint is malformed: expected three lines: origin, size, root")
    size = parse_decimal(size_text, "size of the checkpoint")
    root = parse_base64(root_text, "root of the checkpoint", HASH_SIZE)
    return Checkpoint(origin=origin, size=size, root=root)


def sign_checkpoint(checkpoint: Checkpoint, *signers: Signer, time: int = 0) -> bytes:
    """Sign a checkpoint as its log.

    Args:
        checkpoint: What to sign.
        signers: Keys of the log, at least one, types 01 and 06, each with the origin as its name. The lines are in this
            order.
        time: What lines of type 06 say, in POSIX seconds; 0 says nothing about time. Those of type 01 have none.

    Returns:
        The signed note.

    Raises:
        FormatError: One of the values has no form in a checkpoint, there is no signer or the same one twice, or a
            signer's key is malformed.
        InputError: A signer's key is of another kind or name.
        VerificationError: A signer's signature does not fit its own verifier key.
    """
    return encode_note(checkpoint.encode(), [sign_as_log(checkpoint, signer, time) for signer in signers])


def open_checkpoint(note: bytes, origin: str, keys: Iterable[VerifierKey | ValidKey]) -> Checkpoint:
    """Check a signed checkpoint and read it.

    Args:
        note: The signed note.
        origin: The log it must be of.
        keys: Keys to accept, where they are given for certain tree sizes then at these. Only keys of types 01 and 06
            named after the origin can speak for the log; others are passed over.

    Returns:
        The checkpoint, signed by the log.

    Raises:
        FormatError: Note or checkpoint is malformed.
        InputError: Two of the keys cannot be told apart by name and key id.
        VerificationError: A signature does not hold, none is by a key of the log at this size, or the checkpoint is of
            another log.
    """
    parsed = parse_note(note)
    checkpoint = parse_checkpoint(parsed.text)
    check_log_signatures(parsed, checkpoint, origin, keys)
    return checkpoint


def check_log_signatures(
    note: Note, checkpoint: Checkpoint, origin: str, keys: Iterable[VerifierKey | ValidKey]
) -> tuple[NoteSignature, ...]:
    """Check that a note is signed by its log.

    Args:
        note: The note.
        checkpoint: What its text says.
        origin: The log it must be of.
        keys: Keys to accept, as `open_checkpoint` takes them.

    Returns:
        The lines of the log, at least one by a key that speaks for this size.

    Raises:
        InputError: Two of the keys cannot be told apart by name and key id.
        VerificationError: As `open_checkpoint` raises it.
    """
    valid_keys = [key if isinstance(key, ValidKey) else ValidKey(key=key) for key in keys]
    own = [valid for valid in valid_keys if valid.key.name == origin and valid.key.kind in LOG_KINDS]
    lines = find_signatures(note, [valid.key for valid in own])
    for key, line in lines:
        verify_log_signature(note, checkpoint, key, line)
    if not lines:
        raise unsigned(note, [valid.key for valid in own])
    if checkpoint.origin != origin:
        raise VerificationError(
            f"checkpoint does not verify: expected origin {origin}, got {printable(checkpoint.origin)}"
        )
    signed = {key for key, _ in lines}
    if not any(valid.key in signed and valid.covers(checkpoint.size) for valid in own):
        sizes = ", ".join(f"{valid.first} to {valid.last}" for valid in own if valid.key in signed)
        raise VerificationError(
            f"checkpoint of size {checkpoint.size} does not verify: its keys speak for sizes {sizes}"
        )
    return tuple(line for _, line in lines)
