"""The sequencer: entries into the log, one commit at a time.

`commit` is to be read from top to bottom; comments say what a crash at each place leaves behind. Recovery calls the
same `_apply` that every commit calls. Source of the order: Sunlight; docs/format.md section 17.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import msgspec

from backstory.errors import ConflictError, FormatError, LimitError, StorageError, VerificationError
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.limits import ENTRY_SIZE_MAX
from backstory.storage.disk import Disk, read_file, storage_errors
from backstory.storage.layout import Layout
from backstory.storage.lock import LockStore
from backstory.tlog.checkpoint import Checkpoint, open_checkpoint
from backstory.tlog.hashing import EMPTY_ROOT
from backstory.tlog.note import Signer, VerifierKey, sign_note
from backstory.tlog.tile import TILE_WIDTH, TilePath, parse_tile_path
from backstory.tlog.tree import grow, root_at

Entries: TypeAlias = Sequence[JsonObject] | Callable[[], Sequence[JsonObject]]
"""Entries to append, or what says which when asked: asked while no other process can append, so it may look first."""

Heads = Mapping[str, tuple[int, int]]
"""For each stream the first sequence number a commit seals and the one after the last."""

Leases = Mapping[str, str]
"""For each lease its holder."""


class Staged(msgspec.Struct, frozen=True):
    """What a commit is about to publish: the signed checkpoint and the files of the log by path."""

    note: bytes
    files: dict[str, bytes]


class Sequencer:
    """Appends entries to the log of one archive. Any number of processes may; they take turns."""

    def __init__(self, layout: Layout, lock: LockStore, signer: Signer, disk: Disk) -> None:
        """Write the log of an archive with a signing key."""
        self._layout = layout
        self._lock = lock
        self._signer = signer
        self._disk = disk
        self._key = VerifierKey.parse(signer.vkey)

    def commit(self, entries: Entries, heads: Heads | None = None, leases: Leases | None = None) -> range:
        """Append entries and advance streams, in one step that happens wholly or not at all.

        Args:
            entries: Documents, each at most 65,535 bytes in canonical form, or a function that returns them from what
                the log holds; it must not append. Nothing is written if it returns none.
            heads: Streams that the entries' manifests advance.
            leases: Leases that must still be with their holders.

        Returns:
            The indexes of the entries.

        Raises:
            LimitError: An entry is too large.
            ConflictError: A stream is not where `heads` says, or a lease was taken over; nothing was written.
            StorageError: Something could not be written. Unless the lock store had already committed, nothing
                happened; if it had, the next commit or open completes it.
            VerificationError: The log on disk is not the one the lock store's checkpoint describes.
        """
        with self.exclusive():
            old, checkpoint = self._recovered()
            encoded = _encoded(entries() if callable(entries) else entries)
            if callable(entries) and not encoded:
                return range(checkpoint.size, checkpoint.size)
            growth = grow(checkpoint.size, encoded, self._read_tile)
            new = Checkpoint(origin=self._layout.config.origin, size=growth.size, root=growth.root)
            note = sign_note(new.encode(), self._signer)
            staged = self._layout.log / "staged" / str(growth.size)
            # A crash up to here leaves nothing, from here on a staged file whose note is not in the lock store: the
            # next `_recovered` removes it. The signature in it never left this machine.
            self._disk.write(staged, msgspec.msgpack.encode(Staged(note, growth.files)))
            self._lock.commit(old, growth.size, note, heads or {}, leases)  # THE COMMIT POINT
            # A crash from here on leaves work that `_recovered` repeats from the staged file.
            self._apply(growth.size, Staged(note, growth.files))
        return range(checkpoint.size, growth.size)

    def recover(self) -> None:
        """Complete the latest commit if a crash left it unpublished.

        Raises:
            VerificationError: The log on disk is not the one the lock store's checkpoint describes.
            StorageError: Its staged file is missing although it was not published.
        """
        with self.exclusive():
            self._recovered()

    def _recovered(self) -> tuple[bytes, Checkpoint]:
        size, note = self._lock.checkpoint()
        checkpoint = open_checkpoint(note, self._layout.config.origin, [self._key])
        published = self._layout.log / "checkpoint"
        if not published.exists() or read_file(published) != note:
            self._apply(size, self._read_staged(size, note))
        with storage_errors("listing", self._layout.log):
            leftovers = list((self._layout.log / "staged").iterdir())
        for path in leftovers:
            self._disk.remove(path)
        if checkpoint.size != size or self._root(size) != checkpoint.root:
            raise VerificationError(
                f"log: its right edge at size {size} does not have the root of the lock store's checkpoint"
            )
        return note, checkpoint

    def _read_staged(self, size: int, note: bytes) -> Staged:
        try:
            staged = msgspec.msgpack.decode(read_file(self._layout.log / "staged" / str(size)), type=Staged)
        except msgspec.DecodeError as error:
            raise FormatError(f"log: staged file of size {size} is malformed") from error
        except StorageError as error:
            what = f"checkpoint of size {size} is committed, but neither published nor staged"
            raise StorageError(f"log: {what}; restore the log directory") from error
        if staged.note != note:
            raise ConflictError(f"log: staged file of size {size} is not of the committed checkpoint")
        return staged

    def _apply(self, size: int, staged: Staged) -> None:
        """Give the files of a commit their final names and publish its checkpoint; may be repeated."""
        for name, data in sorted(staged.files.items()):
            path = self._layout.log / name
            if path.exists():
                if read_file(path) != data:
                    raise VerificationError(f"log: {name} exists with other bytes; a published file must never change")
                continue
            self._disk.make_directory(path.parent)
            self._disk.write(path, data)
        self._disk.write(self._layout.log / "checkpoint", staged.note)
        self._disk.remove(self._layout.log / "staged" / str(size))
        for name in staged.files:
            self._drop_partials(parse_tile_path(name))

    def _drop_partials(self, tile: TilePath) -> None:
        """Remove the partial tiles that a full one replaces (C2SP tlog-tiles allows it)."""
        if tile.width < TILE_WIDTH:
            return
        folder = self._layout.log / f"{tile.path}.p"
        if folder.is_dir():
            for path in folder.iterdir():
                self._disk.remove(path)
            folder.rmdir()

    def _read_tile(self, tile: TilePath) -> bytes:
        return read_file(self._layout.log / tile.path)

    def _root(self, size: int) -> bytes:
        return root_at(size, self._read_tile) if size else EMPTY_ROOT

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the log against other writers, in this process too; the kernel lets go when this one dies."""
        path = self._layout.log / "writer"
        with storage_errors("locking", path):
            file = path.open("ab")
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _encoded(entries: Sequence[JsonObject]) -> list[bytes]:
    encoded = [canonical.encode(entry) for entry in entries]
    for entry, data in zip(entries, encoded, strict=True):
        if len(data) > ENTRY_SIZE_MAX:
            raise LimitError(
                f"commit: expected entries of at most {ENTRY_SIZE_MAX} bytes, got {len(data)} ({entry.get('type')})"
            )
    return encoded
