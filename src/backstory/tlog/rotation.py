"""Following a log from a key that was pinned to the keys that came after it.

A key is retired by an entry that names its successor. That entry is the last of a tree whose checkpoint both keys
signed: the retired one says who follows, the new one that it does. So whoever pinned the first key of a chain needs
nothing but these checkpoints and entries to know the last.

A chain is worth what the retired keys are worth: who stole one can make another chain from it, to a key of their own.
Then only what was pinned or cosigned later tells the two apart. So a key that was pinned with an end is not followed:
whoever knows that it was retired knows what came after it, or has to find out elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backstory.errors import VerificationError
from backstory.tlog.checkpoint import open_checkpoint
from backstory.tlog.hashing import hash_leaf
from backstory.tlog.key import KeyKind, ValidKey, VerifierKey
from backstory.tlog.limits import TREE_SIZE_MAX
from backstory.tlog.proof import verify_inclusion

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """One change of a log's key, as its files show it.

    Attributes:
        note: The signed checkpoint whose last entry makes the change.
        entry: That entry.
        proof: Proof that it is the last entry under the checkpoint.
        retired: The key it retires, as whoever read the entry found it there.
        vkey: The key that follows, likewise.
    """

    note: bytes
    entry: bytes
    proof: tuple[bytes, ...]
    retired: str
    vkey: str


def follow_rotations(pinned: ValidKey, rotations: Sequence[Rotation]) -> tuple[ValidKey, ...]:
    """Return the keys that a pinned key leads to, each with the sizes it speaks for.

    Args:
        pinned: A key of the log, from somewhere else than the log; its name is the log's origin.
        rotations: The log's changes of key, oldest first. What comes before the one that retires the pinned key is not
            looked at.

    Returns:
        The pinned key, valid until the checkpoint that retires it, then its successors, the last one without end; the
        pinned key alone, as it was given, where nothing retires it or it was given with an end.

    Raises:
        VerificationError: A change of key that follows from the pinned key does not verify.
        FormatError: A checkpoint or key in it is malformed.
    """
    keys = [pinned]
    if pinned.last != TREE_SIZE_MAX:
        return (pinned,)
    for rotation in rotations:
        current = keys[-1]
        if rotation.retired != current.key.vkey:
            continue
        successor = VerifierKey.parse(rotation.vkey)
        size = _check_rotation(rotation, current, successor)
        keys[-1] = ValidKey(key=current.key, first=current.first, last=size)
        keys.append(ValidKey(key=successor, first=size))
    return tuple(keys)


def _check_rotation(rotation: Rotation, current: ValidKey, successor: VerifierKey) -> int:
    """Check one change of key and return the size of its checkpoint."""
    origin = current.key.name
    if successor.name != origin or successor.kind is not KeyKind.ED25519 or successor == current.key:
        raise VerificationError(f"key of {origin} does not pass on: {successor.label} is no other key of this log")
    checkpoint = open_checkpoint(rotation.note, origin, [current])
    open_checkpoint(rotation.note, origin, [successor])
    last = checkpoint.size - 1
    verify_inclusion(hash_leaf(rotation.entry), last, checkpoint.size, rotation.proof, checkpoint.root)
    return checkpoint.size
