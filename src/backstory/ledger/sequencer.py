"""The sequencer: entries into the log, one commit at a time.

`commit` is to be read from top to bottom; comments say what a crash at each place leaves behind. Recovery calls the
same `_apply` that every commit calls. Source of the order: Sunlight; docs/format.md section 17.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import msgspec

from backstory.errors import ConflictError, FormatError, LimitError, StorageError, VerificationError
from backstory.ledger.agreement import insist_agreement
from backstory.ledger.self_check import check_growth, check_named_files
from backstory.ledger.signing import Signers
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.limits import ENTRY_SIZE_MAX
from backstory.storage.checked_files import CheckedFiles
from backstory.storage.disk import Disk, read_file, storage_errors
from backstory.storage.layout import ArchiveConfig, Layout
from backstory.storage.lock import LockStore
from backstory.storage.rotations import ROTATIONS
from backstory.tlog.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint, sign_checkpoint
from backstory.tlog.key import VerifierKey
from backstory.tlog.note import parse_note
from backstory.tlog.signer import Signer
from backstory.tlog.tile import TILE_WIDTH, TilePath, parse_tile_path
from backstory.tlog.tree import Growth, grow

Entries: TypeAlias = Sequence[JsonObject] | Callable[[], Sequence[JsonObject]]
"""Entries to append, or what says which when asked: asked while no other process can append, so it may look first."""

Heads = Mapping[str, tuple[int, int]]
"""For each stream the first sequence number a commit seals and the one after the last."""

Leases = Mapping[str, str]
"""For each lease its holder."""


class Staged(msgspec.Struct, frozen=True):
    """What a commit is about to publish; not the signature, which is made of what was read back of it.

    Attributes:
        text: The checkpoint's text.
        files: Tiles and bundles by path.
        config: The `backstory.toml` that is to be from then on; None to leave it as it is.
        rotates: Whether that names another key for the log.
    """

    text: str
    files: dict[str, bytes]
    config: bytes | None
    rotates: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """A commit after which other keys speak for the log.

    Attributes:
        before: The settings it was made for.
        after: The settings from then on.
        signer: The key that is new in them; it signs this commit too.
    """

    before: ArchiveConfig
    after: ArchiveConfig
    signer: Signer


class Sequencer:
    """Appends entries to the log of one archive. Any number of processes may; they take turns."""

    def __init__(self, read_layout: Callable[[], Layout], lock: LockStore, signers: Signers, disk: Disk) -> None:
        """Write the log of an archive.

        Args:
            read_layout: Gives the archive as its `backstory.toml` says now; asked while nobody else can append.
            lock: Its lock store.
            signers: Gives who signs for it.
            disk: Where files are written.
        """
        self._read_layout = read_layout
        self._layout = read_layout()
        self._lock = lock
        self._signers = signers
        self._disk = disk

    def commit(
        self,
        entries: Entries,
        heads: Heads | None = None,
        leases: Leases | None = None,
        *,
        naming: Sequence[JsonObject] = (),
        renewal: Renewal | None = None,
    ) -> range:
        """Append entries and advance streams, in one step that happens wholly or not at all.

        Args:
            entries: Documents, each at most 65,535 bytes in canonical form, or a function that returns them from what
                the log holds; it must not append. Nothing is written if it returns none.
            heads: Streams that the entries' manifests advance.
            leases: Leases that must still be with their holders.
            naming: Where `entries` is a function, those it may return that name segments, if it is known before: their
                files are then read before the log is held.
            renewal: Keys that change with this commit.

        Returns:
            The indexes of the entries.

        Raises:
            LimitError: An entry is too large.
            ConflictError: A stream is not where `heads` says, a lease was taken over, or the keys changed meanwhile;
                nothing was written.
            StorageError: Something could not be written. Unless the lock store had already committed, nothing
                happened; if it had, the next commit or open completes it.
            VerificationError: The log on disk is not the one the lock store's checkpoint describes, or what was staged
                is not what was to be; nothing was signed.
            ForbiddenError: The signing key is not here.
        """
        checked = CheckedFiles()
        # Reading takes a second for a few hundred files, in which nobody else could append. What is wrong is found
        # once more under the lock, after it is known whether these files are still this commit's.
        with contextlib.suppress(FormatError, StorageError, VerificationError):
            check_named_files(self._layout, naming if callable(entries) else entries, checked)
        with self.exclusive():
            old, checkpoint = self._recovered()
            config = self._layout.config
            if renewal is not None and renewal.before != config:
                raise ConflictError("commit: the settings of the archive changed since they were read")
            self._lock.check_moves(heads or {}, leases or {})  # others may have replaced the files that entries name
            signers = self._signers(config)
            documents = list(entries() if callable(entries) else entries)
            if callable(entries) and not documents:
                return range(checkpoint.size, checkpoint.size)
            growth = grow(checkpoint.size, _encoded(documents), self._read_tile)
            given = _staged(config.origin, growth, renewal)
            path = self._layout.staged / str(growth.size)
            # A crash up to here leaves nothing, from here on a staged file whose checkpoint is not in the lock store:
            # the next `_recovered` removes it.
            self._disk.write(path, msgspec.msgpack.encode(given))
            try:
                staged = _read_staged(path)
                new = self._checked(staged, checkpoint, documents, renewal, checked)
                note = sign_checkpoint(new, *signers, *([] if renewal is None else [renewal.signer]))
            except BaseException:
                with contextlib.suppress(StorageError):
                    self._disk.remove(path)
                raise
            self._lock.commit(old, new.size, note, heads or {}, leases)  # THE COMMIT POINT
            # A crash from here on leaves work that `_recovered` repeats from the staged file and the lock store's note.
            self._apply(new.size, note, staged)
        return range(checkpoint.size, new.size)

    def recover(self) -> None:
        """Complete the latest commit if a crash left it unpublished.

        Raises:
            VerificationError: The log on disk is not the one the lock store's checkpoint describes.
            ForbiddenError: The signing key is not here.
            StorageError: A file cannot be read or written.
        """
        with self.exclusive():
            self._recovered()
            self._signers(self._layout.config)  # ends a rotation that was cut short

    def _checked(
        self,
        staged: Staged,
        old: Checkpoint,
        documents: Sequence[JsonObject],
        renewal: Renewal | None,
        checked: CheckedFiles,
    ) -> Checkpoint:
        """Insist that what was staged and read back may be signed, and return the checkpoint it says."""
        new = parse_checkpoint(staged.text)
        entries = check_growth(old, new, staged.files, self._read_tile)
        config = None if renewal is None else renewal.after.encode()
        if (new.origin, staged.config) != (old.origin, config) or entries != _encoded(documents):
            raise VerificationError("self-check: what is staged is not what was given; nothing was signed")
        named = [canonical.parse_object(entry, "entry to be signed") for entry in entries]
        check_named_files(self._layout, named, checked)
        return new

    def _recovered(self) -> tuple[bytes, Checkpoint]:
        """Complete the latest commit, remove what others left unfinished, and return its note and checkpoint."""
        size, note = self._lock.checkpoint()
        checkpoint = open_checkpoint(note, self._layout.config.origin, [VerifierKey.parse(self._layout.config.vkey)])
        staged = self._staged_for(size, note)
        if staged is not None:
            self._apply(size, note, staged)
            self._renew()
        insist_agreement(self._layout, size, note, checkpoint)
        with storage_errors("listing", self._layout.log):
            leftovers = list(self._layout.staged.iterdir())
        for path in leftovers:
            self._disk.remove(path)
        return note, checkpoint

    def _staged_for(self, size: int, note: bytes) -> Staged | None:
        """Return what was staged for a committed checkpoint; None where it is not there whole, or is another's."""
        path = self._layout.staged / str(size)
        try:
            staged = _read_staged(path) if path.exists() else None
        except FormatError:
            return None
        return None if staged is None or staged.text != parse_note(note).text else staged

    def _renew(self) -> None:
        """Read the settings again, which another process may have changed.

        Raises:
            ConflictError: The archive was restored: its log is another now.
        """
        layout = self._read_layout()
        if layout.config.incarnation != self._layout.config.incarnation:
            raise ConflictError("archive: it was restored meanwhile, and has another log; open it again")
        self._layout = layout

    def _apply(self, size: int, note: bytes, staged: Staged) -> None:
        """Give the files of a commit their final names and publish its checkpoint; may be repeated."""
        log = self._layout.log
        for name, data in sorted(staged.files.items()):
            self._publish(log / name, data)
        if staged.rotates:
            self._publish(log / ROTATIONS / str(size), note)
        self._disk.write(log / "checkpoint", note)
        if staged.config is not None:
            self._disk.write(self._layout.config_file, staged.config)
        for name in staged.files:
            self._drop_partials(parse_tile_path(name))
        self._disk.remove(self._layout.staged / str(size))  # last: as long as it is there, all this is repeated

    def _publish(self, path: Path, data: bytes) -> None:
        """Write a file that never changes, and insist that it has these bytes."""
        if not path.exists():
            self._disk.make_directory(path.parent)
            self._disk.write(path, data)
        if read_file(path) != data:
            what = "has other bytes than were committed; a published file must never change"
            raise VerificationError(f"log: {path.relative_to(self._layout.log)} {what}")

    def _drop_partials(self, tile: TilePath) -> None:
        """Remove the partial tiles that a full one replaces (C2SP tlog-tiles allows it)."""
        if tile.width < TILE_WIDTH:
            return
        folder = self._layout.log / f"{tile.path}.p"
        if folder.is_dir():
            for path in folder.iterdir():
                self._disk.remove(path)
            with storage_errors("removing", folder):
                folder.rmdir()

    def _read_tile(self, tile: TilePath) -> bytes:
        return read_file(self._layout.log / tile.path)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the log against other writers, in this process too; the kernel lets go when this one dies.

        Raises:
            ConflictError: The archive was restored: its log is another now, and who holds the old one holds nobody off.
            StorageError: The settings or the log cannot be read.
        """
        self._renew()  # first: the old log may be read-only, or gone
        with hold_log(self._layout.log):
            self._renew()  # it may have been restored until now
            yield


@contextlib.contextmanager
def hold_log(log: Path) -> Iterator[None]:
    """Hold the log in a directory against whoever else would append to it."""
    path = log / "writer"
    with storage_errors("locking", path):
        file = path.open("ab")
    with file:
        with storage_errors("locking", path):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _staged(origin: str, growth: Growth, renewal: Renewal | None) -> Staged:
    text = Checkpoint(origin=origin, size=growth.size, root=growth.root).encode()
    if renewal is None:
        return Staged(text, growth.files, None, rotates=False)
    rotates = renewal.after.vkey != renewal.before.vkey
    return Staged(text, growth.files, renewal.after.encode(), rotates=rotates)


def _read_staged(path: Path) -> Staged:
    try:
        return msgspec.msgpack.decode(read_file(path), type=Staged)
    except msgspec.DecodeError as error:
        raise FormatError(f"log: staged file of size {path.name} is malformed") from error


def _encoded(entries: Sequence[JsonObject]) -> list[bytes]:
    encoded = [canonical.encode(entry) for entry in entries]
    for entry, data in zip(entries, encoded, strict=True):
        if len(data) > ENTRY_SIZE_MAX:
            raise LimitError(
                f"commit: expected entries of at most {ENTRY_SIZE_MAX} bytes, got {len(data)} ({entry.get('type')})"
            )
    return encoded
