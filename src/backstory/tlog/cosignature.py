"""Cosignatures (C2SP tlog-cosignature): what a witness says about the checkpoint of a log.

    Ed25519 (04)       the lines `cosignature/v1` and `time <seconds>`, then the text of the checkpoint
    ML-DSA-44 (06)     `subtree/v1`, newline, zero byte; u8 length and name of the cosigner; u64 time;
                       u8 length and origin; u64 first leaf, always 0 here; u64 tree size; root

On a signature line the time comes first, as a big-endian u64, then the signature. It says: of all checkpoints of this
log that I have seen, this one was the newest at that time, and it is consistent with the others. With time 0 it says
the second half only. A log's own ML-DSA-44 line has the second form too, under the log's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from backstory.errors import FormatError, InputError, VerificationError
from backstory.tlog.key import LOG_KINDS, WITNESS_KINDS, KeyKind, VerifierKey
from backstory.tlog.limits import TIME_MAX
from backstory.tlog.note import NoteSignature, find_signatures, sign_checked, sign_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from backstory.tlog.checkpoint import Checkpoint
    from backstory.tlog.note import Note
    from backstory.tlog.signer import Signer

_TIME_SIZE: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosignature:
    """A cosignature that holds.

    Attributes:
        key: Whose it is.
        time: When the witness made it, in POSIX seconds; 0 says nothing about time.
        line: The signature line.
    """

    key: VerifierKey
    time: int
    line: NoteSignature


def cosigned_message(checkpoint: Checkpoint, key: VerifierKey, time: int) -> bytes:
    """Write the bytes that a cosignature signs.

    Args:
        checkpoint: The checkpoint.
        key: The cosigner's key, of type 04 or 06.
        time: POSIX seconds, 0 to `TIME_MAX`.

    Returns:
        The message.

    Raises:
        FormatError: Checkpoint or time has no form in it.
        InputError: The key is of another kind.
    """
    if not 0 <= time <= TIME_MAX:
        raise FormatError(f"time of a cosignature is out of range: expected 0 to 2^63 - 1, got {time}")
    if key.kind not in WITNESS_KINDS:
        raise InputError(f"key {key.label} is of type {key.kind:02x}: expected 04 or 06, the types that cosign")
    if key.kind is KeyKind.COSIGNATURE:
        return f"cosignature/v1\ntime {time}\n{checkpoint.encode()}".encode()
    name, origin = key.name.encode(), checkpoint.origin.encode()
    return b"".join(
        (
            b"subtree/v1\n\0",
            bytes([len(name)]) + name,
            time.to_bytes(8, "big"),
            bytes([len(origin)]) + origin,
            bytes(8),
            checkpoint.size.to_bytes(8, "big"),
            checkpoint.root,
        )
    )


def cosign(checkpoint: Checkpoint, signer: Signer, time: int) -> NoteSignature:
    """Cosign a checkpoint.

    Nothing is looked up: that the checkpoint is the log's and extends every earlier one is what the signer vouches for.

    Args:
        checkpoint: The checkpoint.
        signer: A key of type 04 or 06.
        time: POSIX seconds, 0 to `TIME_MAX`.

    Returns:
        The signature line.

    Raises:
        FormatError: Checkpoint, time or key has no form in it.
        InputError: The key is of another kind.
        VerificationError: The signer's signature does not fit its own verifier key.
    """
    # What a checker would refuse must not be signed; the message of type 06 has no text that would show it.
    checkpoint.encode()
    key = VerifierKey.parse(signer.vkey)
    signature = sign_checked(cosigned_message(checkpoint, key, time), signer, key)
    return NoteSignature(name=key.name, key_id=key.key_id, signature=time.to_bytes(_TIME_SIZE, "big") + signature)


def verify_cosignature(checkpoint: Checkpoint, key: VerifierKey, line: NoteSignature) -> int:
    """Check one cosignature.

    Args:
        checkpoint: What it must be of.
        key: Whose it must be, of type 04 or 06.
        line: The signature line; its name and key id are not looked at.

    Returns:
        When it was made, in POSIX seconds.

    Raises:
        InputError: The key is of another kind.
        VerificationError: It does not hold.
    """
    time = int.from_bytes(line.signature[:_TIME_SIZE], "big")
    if len(line.signature) <= _TIME_SIZE or time > TIME_MAX:
        raise VerificationError(
            f"cosignature of {key.label} does not verify: expected a time below 2^63 and a signature"
        )
    key.verify(cosigned_message(checkpoint, key, time), line.signature[_TIME_SIZE:])
    return time


def find_cosignatures(note: Note, checkpoint: Checkpoint, keys: Iterable[VerifierKey]) -> tuple[Cosignature, ...]:
    """Check the cosignatures of known keys on a note.

    Args:
        note: The signed checkpoint.
        checkpoint: What its text says.
        keys: Keys of witnesses, types 04 and 06.

    Returns:
        One for each of the keys that cosigned, in the order of the note. Lines of other keys are passed over.

    Raises:
        InputError: A key is of another kind, or two cannot be told apart by name and key id.
        VerificationError: A line of one of the keys does not hold, or a key has two.
    """
    return tuple(
        Cosignature(key=key, time=verify_cosignature(checkpoint, key, line), line=line)
        for key, line in find_signatures(note, keys)
    )


def sign_as_log(checkpoint: Checkpoint, signer: Signer, time: int) -> NoteSignature:
    """Make a log's own signature line for its checkpoint.

    Args:
        checkpoint: The checkpoint.
        signer: A key of type 01 or 06 that has the origin as its name.
        time: What a line of type 06 says, in POSIX seconds; 0 says nothing about time.

    Returns:
        The signature line.

    Raises:
        FormatError: Checkpoint, time or key has no form in it.
        InputError: The key is of another kind or name.
        VerificationError: The signer's signature does not fit its own verifier key.
    """
    key = VerifierKey.parse(signer.vkey)
    if key.name != checkpoint.origin or key.kind not in LOG_KINDS:
        raise InputError(f"key {key.label} of type {key.kind:02x} does not sign for the log {checkpoint.origin}")
    if key.kind is KeyKind.ML_DSA_44:
        return cosign(checkpoint, signer, time)
    return sign_text(checkpoint.encode(), signer)


def verify_log_signature(note: Note, checkpoint: Checkpoint, key: VerifierKey, line: NoteSignature) -> None:
    """Check a log's own signature line.

    Args:
        note: The signed checkpoint.
        checkpoint: What its text says.
        key: The log's key, of type 01 or 06.
        line: The signature line; its name and key id are not looked at.

    Raises:
        VerificationError: It does not hold.
    """
    if key.kind is KeyKind.ML_DSA_44:
        verify_cosignature(checkpoint, key, line)
    else:
        key.verify(note.text.encode(), line.signature)
