"""Sealed values on disk: shards of segments, snapshots of personal sources, openings of entries.

Everything here is encrypted under keys of the key store and can be destroyed without touching the log. A shard has a
section for each key domain, under keys of its own. Bytes: docs/format.md sections 8 and 37.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from backstory.columns.seal import merge_columns
from backstory.errors import FormatError, NotFoundError, VerificationError
from backstory.records import canonical
from backstory.records.sensitivity import PERSONAL_DOMAIN
from backstory.storage.disk import Disk, hold_directory, read_file, storage_errors
from backstory.storage.encryption import encrypt
from backstory.storage.index_file import open_index, seal_index
from backstory.storage.keys import KeyStore, key_name
from backstory.storage.master import DIRECTORY_MODE
from backstory.storage.sealed_files import SealedFiles, decrypt_under, following, newest
from backstory.storage.shard_file import (
    SHARD_KEY,
    NewSection,
    OpenSection,
    Section,
    join_sections,
    open_sections,
    open_shard_file,
    read_head,
    seal_section,
)

if TYPE_CHECKING:
    import pyarrow as pa

OPENING_MAGIC = b"BSVO\x01"
_PLAN_MAGIC = b"BSVP\x01"
_CERTIFICATE_MAGIC = b"BSVC\x01"
OPENINGS_PREFIX = "openings-"
"""What names of the key files of openings begin with; the first two digits of the commitments follow."""
PLANS_PREFIX = "erasure-"
"""What names of the key files of plans and certificates of erasures begin with."""
_PLANS = "erasures"
_CERTIFICATES = "certificates"
MARK = "erasures.mark"
"""File in the directories of vault and keys that says which erasures they have seen."""
_OPENINGS = "openings"
_FILE_MODE = 0o600
_ATTEMPTS = 3
"""So often something is read that others rewrite meanwhile, each time with the keys of then."""


class Vault:
    """Encrypted tables and small documents.

    Attributes:
        plans: Plans of erasures.
        certificates: Certificates of erasures that wait to be handed over, by the root of the erasure.
    """

    def __init__(self, root: Path, keys: KeyStore, disk: Disk) -> None:
        """Keep sealed values below `root`, their keys in `keys`."""
        self._root = root
        self._keys = keys
        self._disk = disk
        self.plans = SealedFiles(root / _PLANS, keys, disk, prefix=PLANS_PREFIX, magic=_PLAN_MAGIC)
        self.certificates = SealedFiles(
            root / _CERTIFICATES, keys, disk, prefix=f"{PLANS_PREFIX}certificate-", magic=_CERTIFICATE_MAGIC
        )

    def path(self, name: str) -> Path:
        """Return where a shard is."""
        return self._root / name

    def write_table(self, name: str, table: pa.Table, shard_key: bytes, *, replace: bool = True) -> bytes:
        """Encrypt a table under a key, make it durable, and return the file's bytes.

        Raises:
            ConflictError: There is a shard of that name and it must stay.
        """
        return self.write_tables(name, {PERSONAL_DOMAIN: (table, shard_key)}, replace=replace)

    def write_tables(self, name: str, tables: Mapping[str, tuple[pa.Table, bytes]], *, replace: bool = True) -> bytes:
        """Encrypt a table for each key domain, each under a key, make them durable, and return the file's bytes.

        Raises:
            ConflictError: There is a shard of that name and it must stay.
        """
        self._disk.make_directory(self._root, mode=DIRECTORY_MODE)
        parts = [
            seal_section(name, NewSection(domain=domain, key_name=SHARD_KEY, key=key, table=table, kept=None))
            for domain, (table, key) in sorted(tables.items())
        ]
        data = join_sections(parts)
        self._disk.write(self.path(name), data, mode=_FILE_MODE, replace=replace)
        return data

    def sections(self, name: str) -> tuple[Section, ...]:
        """Return what a shard says in clear of each of its sections; this needs no key, and proves nothing.

        Raises:
            NotFoundError: The shard was erased.
            FormatError: Not a shard.
        """
        with open_shard_file(self.path(name)) as file:
            return read_head(file, name)[0]

    def open_sections(self, name: str, domains: Sequence[str] | None = None) -> dict[str, OpenSection]:
        """Decrypt the values of some key domains.

        Args:
            name: The shard.
            domains: Which of its domains; None for all.

        Raises:
            NotFoundError: The shard or its keys were erased, or a master key is not here.
            FormatError: Not a shard, or it has no such section.
            VerificationError: Changed bytes.
        """

        def keys_of(domain: str) -> Mapping[str, bytes]:
            return self._keys.get(key_name(name, domain))

        for attempt in range(_ATTEMPTS):
            try:
                return open_sections(self.path(name), keys_of, domains)
            except NotFoundError:  # others may have rewritten it between its bytes and its keys
                if attempt + 1 == _ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def read_table(self, name: str) -> pa.Table:
        """Decrypt all values of a shard; those that were erased are null.

        Raises:
            NotFoundError: The shard or its keys were erased.
            FormatError: Not a shard.
            VerificationError: Changed bytes.
        """
        tables = [section.run(0, section.rows) for section in self.open_sections(name).values()]
        whole = tables[0]
        for table in tables[1:]:
            whole = merge_columns(whole, table)
        return whole

    def replace_section(self, name: str, new: NewSection) -> None:
        """Put another section in the place of that of its domain, durably; the file's time stays.

        Times must not tell which shards were rewritten together.

        Raises:
            NotFoundError: The shard was erased.
            FormatError: Not a shard, or it has no such section.
            StorageError: It could not be written; the old one is there, or the new one.
        """
        with open_shard_file(self.path(name)) as file:
            sections, start = read_head(file, name)
            file.seek(start)
            parts = [(section, file.read(section.values + section.salts)) for section in sections]
        if new.domain not in {section.domain for section, _ in parts}:
            raise FormatError(f"vault: {name} has no values of domain {new.domain}")
        data = join_sections([seal_section(name, new) if part[0].domain == new.domain else part for part in parts])
        self._disk.rewrite(self.path(name), data, mode=_FILE_MODE)

    def write_index(self, name: str, blocks: Sequence[bytes], key: bytes, *, replace: bool) -> None:
        """Encrypt an index under a key and make it durable; where it replaces one, the file's time stays.

        Args:
            name: Its name.
            blocks: Its blocks, each of which can be read alone.
            key: The key.
            replace: Whether it may take the place of another.

        Raises:
            ConflictError: There is one of that name and it must stay.
        """
        self._disk.make_directory(self._root, mode=DIRECTORY_MODE)
        data = seal_index(name, blocks, key)
        if replace:
            self._disk.rewrite(self.path(name), data, mode=_FILE_MODE)
        else:
            self._disk.write(self.path(name), data, mode=_FILE_MODE, replace=False)

    def read_index(
        self, name: str, keys: Iterable[bytes], pick: Callable[[int], Iterable[int]] = range
    ) -> dict[int, bytes]:
        """Return blocks of what `write_index` was given, by number, under one of some keys: it may be under a new one.

        Args:
            name: Its name.
            keys: The keys of its file.
            pick: Says which blocks, given how many there are; all if not given.

        Raises:
            NotFoundError: There is no such file.
            FormatError: Not an index.
            VerificationError: Changed bytes, or other keys.
        """
        path = self.path(name)
        if not path.is_file():
            raise NotFoundError(f"vault: no index {name}")
        with storage_errors("reading", path), path.open("rb") as file:
            return open_index(file, name, keys, pick)

    def remove(self, name: str) -> None:
        """Remove a file, durably; without its keys it says nothing, and with them it must not come back."""
        path = self.path(name)
        if path.is_file():
            self._disk.remove(path)
            with storage_errors("removing", path):
                self._disk.sync_directory(path.parent)

    def write_opening(self, commitment: str, document: canonical.JsonObject) -> None:
        """Keep the opening of a commitment."""
        with self._hold_openings(shared=True):  # or its key is destroyed meanwhile, and it with it
            keys = self._keys.get_or_create(openings_key(commitment), "1")
            self._put_opening(commitment, canonical.encode(document), newest(keys))

    def read_opening(self, commitment: str) -> canonical.JsonObject:
        """Return the opening of a commitment.

        Raises:
            NotFoundError: It, or its key, was erased or lives elsewhere.
            FormatError: Not an opening.
            VerificationError: Changed bytes.
        """
        path = self._root / _OPENINGS / commitment
        for _ in range(_ATTEMPTS):
            if not path.is_file():
                break
            keys = self._keys.get(openings_key(commitment))
            try:
                return open_opening(keys, read_file(path), commitment)
            except VerificationError:  # others may have put it under another key between its key and its bytes
                if self._keys.get(openings_key(commitment)) == keys:
                    raise
        raise NotFoundError(f"vault: no opening of {commitment}; it was erased or lives elsewhere")

    def rekey_openings(self, digits: str, key: bytes, gone: Collection[str] = ()) -> None:
        """Encrypt openings under another key, and destroy the ones before for good; it may be repeated.

        Args:
            digits: First two digits of their commitments, which share keys.
            key: The new key.
            gone: Commitments whose openings are removed instead.

        Raises:
            NotFoundError: Their keys are not here.
            StorageError: Something could not be written; calling again begins anew.
            VerificationError: An opening was changed.
        """
        with self._hold_openings(shared=False):
            for commitment in gone:
                self.remove_opening(commitment)
            name = openings_key(digits)
            keys = self._keys.get(name)
            self._keys.put(name, {**keys, following(keys): key})
            # A crash from here on leaves several keys, and each opening under one of them.
            for commitment in self.opening_names(digits):
                data = read_file(self._root / _OPENINGS / commitment)
                self._put_opening(commitment, canonical.encode(open_opening(keys, data, commitment)), key)
            self._keys.destroy(name, keys.keys())

    def opening_names(self, digits: str) -> list[str]:
        """Return the commitments, in hex, that begin with some digits and whose openings are kept."""
        return sorted(path.name for path in (self._root / _OPENINGS).glob(f"{digits}*"))

    def remove_opening(self, commitment: str) -> None:
        """Remove an opening, durably; a copy of it opens as long as its key does."""
        self.remove(f"{_OPENINGS}/{commitment}")

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep others from rewriting shards and from judging them by their keys meanwhile.

        Raises:
            BusyError: Another process does either.
        """
        with hold_directory(self._root, "vault: another process is rewriting it"):
            yield

    @contextmanager
    def hold_plans(self, *, wait: bool) -> Iterator[None]:
        """Keep others from erasing meanwhile.

        Args:
            wait: Whether to wait for another process that erases.

        Raises:
            BusyError: Another process erases, and this one is not to wait.
        """
        folder = self._root / _PLANS
        self._disk.make_directory(folder, mode=DIRECTORY_MODE)
        with hold_directory(folder, "erase: another process is erasing; try again when it is done", wait=wait):
            yield

    @contextmanager
    def _hold_openings(self, *, shared: bool) -> Iterator[None]:
        """Hold the openings for a moment: shared while one is written, alone while they change their key."""
        folder = self._root / _OPENINGS
        self._disk.make_directory(folder, mode=DIRECTORY_MODE)
        with hold_directory(folder, "vault: another process is changing openings", wait=True, shared=shared):
            yield

    def _put_opening(self, commitment: str, data: bytes, key: bytes) -> None:
        path = self._root / _OPENINGS / commitment
        self._disk.rewrite(path, OPENING_MAGIC + encrypt(key, data, commitment), mode=_FILE_MODE)


def openings_key(commitment: str) -> str:
    """Return the name of the key file of an opening: one for each first byte, so that few share one.

    >>> openings_key("a4" + "0" * 62)
    'openings-a4'
    """
    return f"{OPENINGS_PREFIX}{commitment[:2]}"


def open_opening(keys: Mapping[str, bytes], data: bytes, commitment: str) -> canonical.JsonObject:
    """Return what an opening holds.

    Args:
        keys: The keys of its file: one, or more while others are replaced.
        data: Its bytes.
        commitment: The commitment, in hex.

    Raises:
        FormatError: Not an opening.
        VerificationError: Changed bytes.
    """
    if not data.startswith(OPENING_MAGIC):
        raise FormatError(f"vault: openings/{commitment} is not an opening of version 1")
    return canonical.parse_object(decrypt_under(keys, data[len(OPENING_MAGIC) :], commitment), "opening")
