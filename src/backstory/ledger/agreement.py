"""Whether the lock store and the log are of one moment. If not, nothing is appended: the log would be forked or cut.

The lock store only ever goes forward, one commit at a time. Where it says something else than the published checkpoint,
one of the two was put back from a copy, or another writer had the key.
"""

from __future__ import annotations

from functools import partial

from backstory.errors import BackstoryError, StorageError, VerificationError
from backstory.storage.disk import read_file
from backstory.storage.layout import Layout
from backstory.storage.log_file import read_log_file
from backstory.storage.rotations import read_rotation, rotation_sizes
from backstory.tlog.checkpoint import Checkpoint, open_checkpoint
from backstory.tlog.hashing import EMPTY_ROOT
from backstory.tlog.key import VerifierKey
from backstory.tlog.tree import root_at

_RESTORE = "if there is none, `backstory restore` begins a new log that owns up to it"


def insist_agreement(layout: Layout, size: int, note: bytes, committed: Checkpoint) -> None:
    """Insist that the published checkpoint and the log's right edge are what the lock store says.

    Args:
        layout: The archive.
        size: Tree size in the lock store.
        note: The signed checkpoint in the lock store.
        committed: What that says.

    Raises:
        VerificationError: They are not of one moment, the log's tiles were changed, or the key is a retired one.
        StorageError: A file cannot be read.
    """
    if committed.size != size:
        raise VerificationError(f"lock store: says size {size} and holds the checkpoint of size {committed.size}")
    path = layout.log / "checkpoint"
    published_note = read_file(path) if path.exists() else None
    if published_note != note:
        raise VerificationError(f"opening archive: {_difference(layout, committed, published_note)}")
    rotations = rotation_sizes(layout.log)
    if rotations and read_rotation(layout.log, rotations[-1]).vkey != layout.config.vkey:
        raise VerificationError(
            f"opening archive: backstory.toml names a key that was retired at size {rotations[-1]}; put back the file"
            " as it was after that"
        )
    try:
        root = root_at(size, partial(read_log_file, layout.log)) if size else EMPTY_ROOT
    except StorageError as error:
        what = "tiles of the committed checkpoint are missing: put back the directory"
        raise StorageError(f"{error}; {what} log/{layout.config.incarnation} of the same moment; {_RESTORE}") from error
    if root != committed.root:
        raise VerificationError(
            f"log: its right edge at size {size} does not have the root of the lock store's checkpoint;"
            f" put back the directory log/{layout.config.incarnation} of the same moment; {_RESTORE}"
        )


def _difference(layout: Layout, committed: Checkpoint, published_note: bytes | None) -> str:
    """Say how the published checkpoint differs from the committed one, and what to do."""
    log = f"log/{layout.config.incarnation}"
    if published_note is None:
        return f"{log}/checkpoint is missing, and the lock store says {committed.size} entries; put {log} back"
    try:
        keys = [VerifierKey.parse(layout.config.vkey)]
        published = open_checkpoint(published_note, layout.config.origin, keys)
    except BackstoryError as error:
        return f"{log}/checkpoint does not verify ({error}); put {log} back, of {committed.size} entries"
    if published.size < committed.size:
        return (
            f"the log is older than the lock store: it has {published.size} entries, and {committed.size} were"
            f" committed. It was put back from a copy; put back {log} as it was later; {_RESTORE}"
        )
    if published.size > committed.size:
        return (
            f"the lock store is older than the log: it says {committed.size} entries, and {published.size} are"
            f" published. It was put back from a copy; put back the lock store of the same moment; {_RESTORE}"
        )
    if published.root != committed.root:
        return (
            f"log and lock store are of two branches: both are signed, of {committed.size} entries, with other roots."
            " Somebody signed two logs with one key, or two copies of the archive were written to. Keep both"
            " as evidence, and ask who else holds a checkpoint which branch is theirs"
        )
    return f"{log}/checkpoint has other signatures than the one in the lock store; put {log} back"
