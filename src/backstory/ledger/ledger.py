"""One open archive: its stores, its log, and the one way to append to it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache, lru_cache
from pathlib import Path

from backstory.catalog.catalog import Catalog
from backstory.errors import (
    BackstoryError,
    ForbiddenError,
    StorageError,
    VerificationError,
)
from backstory.ledger.hashing import RowHasher
from backstory.ledger.log import LogReader
from backstory.ledger.sequencer import Entries, Heads, Leases, Renewal, Sequencer
from backstory.ledger.signing import KeyFiles
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.commitment import commit, verify_opening
from backstory.records.identity import time_text
from backstory.records.manifest import FileRef, Manifest
from backstory.records.merge import Merge, parse_merge
from backstory.records.row import encode_row
from backstory.records.schema import Schema, parse_schema
from backstory.storage.blobs import BlobStore
from backstory.storage.checked_files import WAY_OUT, CheckedFiles
from backstory.storage.keys import open_keys
from backstory.storage.layout import Layout, read_layout
from backstory.storage.lock import LockStore
from backstory.storage.master import Wrappers
from backstory.storage.segment import ParquetReader
from backstory.storage.spool import Spool
from backstory.storage.vault import Vault
from backstory.storage.world import World
from backstory.tlog.signer import Signer

_log = logging.getLogger("backstory")
_DOCUMENTS_KEPT = 512
_READERS_KEPT = 16
_GROUPS_KEPT = 4
"""Row groups a segment's reader keeps decoded: a few megabytes each."""


class Ledger:
    """The stores of one archive and its log.

    Attributes:
        world: Clock, randomness, disk.
        writable: Whether anything may be written.
        log: Verified reads of entries.
        blobs: Content-addressed bytes.
        keys: Key files.
        wrappers: Master keys that are held elsewhere than in files, by domain.
        vault: Sealed values.
        spool: Records not yet sealed.
        lock: Checkpoint and stream heads.
        catalog: Positions of entries and segments.
        checked: Files that were found to be as the log says.
        hasher: Hashes what is sealed, with a process beside this one for much.
    """

    def __init__(
        self,
        root: Path,
        world: World,
        *,
        writable: bool,
        vkey: str | Sequence[str] | None,
        actor: str | None,
        signer: Signer | None = None,
        wrappers: Wrappers | None = None,
    ) -> None:
        """Open an archive; see `backstory.open`."""
        layout = read_layout(root)
        self.world = world
        self.wrappers = wrappers or {}
        self.actor = actor
        self.log = LogReader(layout, vkey)
        self.blobs = BlobStore(layout.blobs, world.disk)
        self.keys = open_keys(layout, world.disk, world.random_bytes, self.wrappers)
        self.vault = Vault(layout.vault, self.keys, world.disk)
        self.spool = Spool(layout.spool, self.keys, world.disk)
        self.writable = writable
        self.lock = LockStore(layout.lock, writable=writable)
        self.hasher = RowHasher()
        self._signers = KeyFiles(self.keys, signer)
        self._sequencer: Sequencer | None = None
        self._documents = lru_cache(_DOCUMENTS_KEPT)(
            lambda digest: canonical.parse_object(self.blobs.get(digest), f"blob {digest}")
        )
        self._schemas = lru_cache(_DOCUMENTS_KEPT)(lambda digest: parse_schema(self.blobs.get(digest)))
        self._merges = lru_cache(_DOCUMENTS_KEPT)(lambda position: parse_merge(self.log.entry(position)))
        self._readers = lru_cache(_READERS_KEPT)(lambda path, checked: ParquetReader(path, _GROUPS_KEPT))  # noqa: ARG005  a reader each
        self.checked = CheckedFiles()
        if writable:
            self._writer().recover()
            self.log.renew()
        self.catalog = Catalog(layout.catalog) if writable else Catalog(None, start=layout.catalog)
        self.catch_up()
        self._insist_whole_catalog()

    @property
    def layout(self) -> Layout:
        """Where things are."""
        return self.log.layout

    def _writer(self) -> Sequencer:
        if not self.writable:
            raise ForbiddenError("archive is open for reading only: expected mode 'rw' to record, register or seal")
        if self._sequencer is None:
            root = self.layout.root
            self._sequencer = Sequencer(lambda: read_layout(root), self.lock, self._signers, self.world.disk)
        return self._sequencer

    def append(
        self,
        entries: Entries,
        heads: Heads | None = None,
        leases: Leases | None = None,
        *,
        naming: Sequence[JsonObject] = (),
        renewal: Renewal | None = None,
    ) -> range:
        """Append entries to the log, each given its version, time and actor; see `Sequencer.commit`.

        A function that is given for them finds the catalog at the state it appends to. The time is what the clock says:
        where it was set back, a later entry has an earlier time, and its index says that it is later.
        """
        envelope = cache(self._envelope)  # made once, and only for entries that are appended

        def asked() -> list[JsonObject]:
            self.catch_up()
            return [{**envelope(), **entry} for entry in (entries() if callable(entries) else entries)]

        given = asked if callable(entries) else [{**envelope(), **entry} for entry in entries]
        known = [{**envelope(), **entry} for entry in naming]
        indexes = self._writer().commit(given, heads, leases, naming=known, renewal=renewal)
        self.catch_up()
        return indexes

    def _envelope(self) -> JsonObject:
        envelope: JsonObject = {"time": time_text(self.world.now_ns()), "v": 1}
        if self.actor is not None:
            envelope["actor"] = self.commit_text("actor", self.actor)
        return envelope

    def recover(self) -> None:
        """Complete the latest commit if it was cut short, and bring the catalog to it; see `Sequencer.recover`."""
        self._writer().recover()
        self.catch_up()

    def exclusive(self) -> AbstractContextManager[None]:
        """Hold the log while something is done that no commit may come between."""
        return self._writer().exclusive()

    def commit_text(self, group: str, text: str) -> str:
        """Commit to a text and keep the opening in the vault, so that the log never holds it.

        Args:
            group: What the text is: `actor`, `purpose`.
            text: The text.

        Returns:
            The commitment, in hex.
        """
        salt = self.world.random_bytes(32)
        commitment = commit(group, salt, encode_row([("name", "string", text)])).hex()
        self.vault.write_opening(commitment, {"name": text, "salt": salt.hex()})
        return commitment

    def text_of(self, commitment: str, group: str) -> str:
        """Return the text that an entry commits to; that it may be read is the caller's to see to.

        Args:
            commitment: The commitment, in hex.
            group: What the text is, as in `commit_text`.

        Raises:
            NotFoundError: The opening was erased, or is not here.
            VerificationError: It does not open the commitment.
        """
        opening = self.vault.read_opening(commitment)
        text = canonical.text_of(opening, "name")
        salt = bytes.fromhex(canonical.text_of(opening, "salt"))
        verify_opening(bytes.fromhex(commitment), group, salt, encode_row([("name", "string", text)]))
        return text

    def catch_up(self) -> None:
        """Bring the catalog to the published checkpoint."""
        first, end = self.catalog.size, self.log.checkpoint().size
        if first > end:
            self.catalog.clear()  # it is of another log
            first = 0
        if first < end:
            self.catalog.catch_up(self.log.entries(first, end))

    def _insist_whole_catalog(self) -> None:
        """Rebuild a catalog in which something is missing: no question would find what it does not name."""
        try:
            committed = self.lock.committed()
        except BackstoryError:
            committed = None  # whoever needs the lock store says so
        try:
            whole = self.catalog.is_whole(committed)
        except StorageError:
            whole = False
        if not whole:
            _log.warning("catalog: it does not name all that is in the log; it is built again")
            self.catalog.clear()
            self.catch_up()

    def heads(self) -> dict[str, int]:
        """Return how far each stream is sealed: by the lock store, and of a copy that is without it by the log.

        Raises:
            StorageError: The lock store cannot be read.
        """
        if not self.writable and self.layout.is_lock_away:
            return self.catalog.ends()
        return self.lock.heads()

    def reindex(self) -> int:
        """Rebuild the catalog from the log and return how many entries it covers.

        Raises:
            ForbiddenError: The archive's directory cannot be written.
        """
        if not os.access(self.layout.root, os.W_OK):
            raise ForbiddenError(f"reindex: the directory {self.layout.root} cannot be written")
        self.catalog.close()
        self.catalog = Catalog(self.layout.catalog)
        self.catalog.clear()
        self.catch_up()
        return self.catalog.size

    def close(self) -> None:
        """Close the catalog and end the hasher's process."""
        self.catalog.close()
        self.hasher.close()

    def find_entries(self, type_: str, name: str | None = None) -> list[JsonObject]:
        """Return the entries of a type, with a name where one is given, oldest first, each proven."""
        return [entry for _, entry in self.numbered_entries(type_, name)]

    def numbered_entries(self, type_: str, name: str | None = None) -> list[tuple[int, JsonObject]]:
        """Return the same, each with its index."""
        found = ((position, self.log.entry(position)) for position in self.catalog.entries(type_, name))
        return [
            (position, entry)
            for position, entry in found
            if entry["type"] == type_ and (name is None or entry.get("name") == name)
        ]

    def document(self, digest: str) -> JsonObject:
        """Return a blob that is canonical JSON; not to be changed, as it is kept."""
        return self._documents(digest)

    def schema(self, digest: str) -> Schema:
        """Return a schema by its digest."""
        return self._schemas(digest)

    def segment(self, manifest: Manifest, *, checked: bool) -> ParquetReader:
        """Return a reader of a segment, wherever its rows are now; it may hold row groups read before.

        Args:
            manifest: The segment's manifest.
            checked: Whether the file is to be the one its entry names, byte for byte; without, its rows are to be led
                to the manifest's root by whoever reads them.

        Raises:
            StorageError: The file cannot be read.
            FormatError: It is not Parquet, or does not hold the segment.
            VerificationError: Its bytes were changed.
        """
        merge = self.merge_of(manifest)
        while True:
            try:
                return self._segment(manifest, merge, checked=checked)
            except StorageError:  # gone, perhaps as another process merged it since this one last looked
                self.catch_up()
                before, merge = merge, self.merge_of(manifest)
                if merge == before:
                    raise

    def _segment(self, manifest: Manifest, merge: Merge | None, *, checked: bool) -> ParquetReader:
        file = (merge or manifest).file
        path = self.checked_path(self.layout.segments, file) if checked else self.layout.segments / file.name
        with _way_out():
            reader = self._readers(path, checked)
        return reader if merge is None else reader.part(manifest.first_seq - merge.first_seq)

    def checked_path(self, folder: Path, file: FileRef) -> Path:
        """Return the path of a file that an entry names, after checking its bytes; once, while it does not change.

        Raises:
            StorageError: It is missing, or cannot be read.
            VerificationError: It has other bytes than its entry says.
        """
        path = folder / file.name
        with _way_out():
            is_sound = self.checked.fits(path, file.sha256)
        if not is_sound:
            what = "its digest is not the one in its entry: it was changed"
            raise VerificationError(f"reading {file.name}: {what}; {WAY_OUT}")
        return path

    def merge_of(self, manifest: Manifest) -> Merge | None:
        """Return what says where a segment's rows are now; None if they are in the file its manifest names."""
        position = self.catalog.merged(manifest.stream, manifest.end_seq)
        return None if position is None else self._merges(position)

    def gone_in(self, position: int, manifest: Manifest) -> int:
        """Return how many records of a segment were disposed of, by the log; `position` is its manifest's index."""
        merge = self.merge_of(manifest)
        return 0 if merge is None else merge.gone_of(position)

    def put_document(self, document: JsonObject) -> str:
        """Store canonical JSON as a blob and return its digest."""
        return self.blobs.put(canonical.encode(document))


@contextmanager
def _way_out() -> Iterator[None]:
    """Let a file that cannot be read say what to do about it."""
    try:
        yield
    except StorageError as error:
        raise StorageError(f"{error}; {WAY_OUT}", **error.details) from error
