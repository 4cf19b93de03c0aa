"""The bytes of a shard: a section for each key domain, encrypted under keys of its own.

Bytes: docs/format.md sections 8 and 37.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from backstory.columns.gaps import spread_rows
from backstory.columns.salt import ShardSalts, parse_salts
from backstory.errors import FormatError, NotFoundError
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.sensitivity import DOMAINS
from backstory.storage.disk import storage_errors
from backstory.storage.encryption import OVERHEAD, decrypt, encrypt
from backstory.storage.segment import parquet_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHARD_MAGIC = b"BSVS\x01"
SHARD_KEY = "shard_key"
SALT_KEY = "salt_key"
_SIZE = struct.Struct("<I")
_HEAD_SIZE_MAX = 1 << 16
_VALUES, _SALTS = "values", "salts"

KeysOf = Callable[[str], Mapping[str, bytes]]
"""Gives the keys of a domain of a shard; raises `NotFoundError` where they are not here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What a shard says, in clear, of the values of one key domain.

    Attributes:
        domain: The domain.
        key: Which key of the domain's key file opens it.
        values: Size of the encrypted values.
        salts: Size of the encrypted salts; 0 where they follow from the salt key.
        erased: How many values (a group of a row each) were erased.
    """

    domain: str
    key: str
    values: int
    salts: int = 0
    erased: int = 0

    @property
    def is_rewritten(self) -> bool:
        """Whether it is no longer what was sealed."""
        return self.key != SHARD_KEY

    def document(self) -> JsonObject:
        """Return it as it stands in the file."""
        return {
            "domain": self.domain,
            "erased": str(self.erased),
            "key": self.key,
            "salts": str(self.salts),
            "values": str(self.values),
        }


@dataclass(frozen=True, kw_only=True)
class OpenSection:
    """The values of one key domain of a shard, decrypted; rows are read as they are asked for.

    Attributes:
        name: The shard.
        section: What the shard says of it.
        values: The rows that have values left, in order.
        salt_key: What all salts follow from; None where values were erased, or none is committed to.
        kept: What is left of the salts; None where none was erased.
    """

    name: str
    section: Section
    values: pq.ParquetFile
    salt_key: bytes | None
    kept: ShardSalts | None

    @property
    def rows(self) -> int:
        """How many rows it was sealed with."""
        return self.values.metadata.num_rows if self.kept is None else self.kept.rows

    @property
    def table(self) -> pa.Table:
        """The rows that have values left, in order.

        Raises:
            FormatError: They do not decode.
        """
        return self._between(0, self.values.metadata.num_rows)

    def salts(self, groups: int) -> ShardSalts:
        """Return what opens the commitments.

        Args:
            groups: How many sealed groups the section has.

        Raises:
            FormatError: It has salts of another number of groups, or none.
        """
        if self.kept is None and self.salt_key is not None:
            return ShardSalts.whole(self.salt_key, self.rows, groups)
        if self.kept is None or self.kept.groups != groups:
            raise FormatError(f"vault: a section was expected to have salts of {groups} groups")
        return self.kept

    def run(self, first: int, rows: int) -> pa.Table:
        """Return a run of rows as they were numbered when they were sealed; what was erased is null."""
        if self.kept is None or not self.kept.erased:
            return self._between(first, first + rows)
        return self.pick(np.arange(first, max(first, min(first + rows, self.kept.rows))))

    def pick(self, rows: NDArray[np.int64]) -> pa.Table:
        """Return single rows by the number they were sealed with; what was erased is null."""
        if self.kept is None or not self.kept.erased:
            place = rows
        else:
            present = np.append(self.kept.present, self.kept.rows)
            near = np.searchsorted(present, rows)
            place = np.where(present[near] == rows, near, -1)
        first = int(place[place >= 0].min(initial=self.rows))
        table = self._between(first, int(place.max(initial=-1)) + 1)
        return spread_rows(table, np.where(place < 0, -1, place - first))

    def _between(self, first: int, end: int) -> pa.Table:
        """Return a run of the rows that have values left; as many as there are."""
        metadata = self.values.metadata
        counts = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        begins = [*accumulate(counts, initial=0)]
        groups = [group for group, begin in enumerate(begins[:-1]) if begin < end and begins[group + 1] > first]
        try:
            table = (
                self.values.read_row_groups(groups, use_threads=len(groups) > 1)
                if groups
                else self.values.schema_arrow.empty_table()
            )
        except (pa.ArrowException, OSError, ValueError) as error:
            raise FormatError(f"vault: {self.name} does not hold a table") from error
        before = begins[groups[0]] if groups else first
        return table.slice(first - before, max(0, end - first))


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSection:
    """What takes the place of a section.

    Attributes:
        domain: The domain.
        key_name: Name of the key in the domain's key file.
        key: The key.
        table: The rows that have values left.
        kept: What opens their commitments; None of a table without any.
    """

    domain: str
    key_name: str
    key: bytes
    table: pa.Table
    kept: ShardSalts | None


def open_shard_file(path: Path) -> BinaryIO:
    """Open the file of a shard.

    Raises:
        NotFoundError: There is none.
        StorageError: It cannot be read.
    """
    if not path.is_file():
        raise NotFoundError(f"vault: no shard {path.name}; it was erased or lives elsewhere")
    with storage_errors("reading", path):
        return path.open("rb")


def open_sections(path: Path, keys_of: KeysOf, domains: Sequence[str] | None) -> dict[str, OpenSection]:
    """Decrypt the values of some key domains of a shard; see `Vault.open_sections`."""
    name = path.name
    with open_shard_file(path) as file:
        sections, at = read_head(file, name)
        missing = set(domains or ()) - {section.domain for section in sections}
        if missing:
            raise FormatError(f"vault: {name} has no values of domain {', '.join(sorted(missing))}")
        opened = {}
        for section in sections:
            if domains is None or section.domain in domains:
                with storage_errors("reading", path):
                    file.seek(at)
                    data = memoryview(file.read(section.values + section.salts))
                opened[section.domain] = _open(name, section, data, keys_of(section.domain))
            at += section.values + section.salts
    return opened


def _open(name: str, section: Section, data: memoryview, keys: Mapping[str, bytes]) -> OpenSection:
    """Decrypt a section.

    Args:
        name: The shard.
        section: What it says of the section.
        data: The section's bytes.
        keys: The keys of its domain.

    Raises:
        NotFoundError: Its key is not among them.
        FormatError: It holds something else than it says.
        VerificationError: Changed bytes.
    """
    key = keys.get(section.key)
    if key is None:
        raise NotFoundError(f"vault: the key of {name}, domain {section.domain}, was destroyed")
    values = decrypt(key, data[: section.values], *_bound(name, section, _VALUES))
    kept = None
    if section.salts:
        plain = decrypt(key, data[section.values :], *_bound(name, section, _SALTS))
        kept = parse_salts(plain, f"vault: {name}")
    try:
        table = pq.ParquetFile(pa.BufferReader(values))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FormatError(f"vault: {name} does not hold a table") from error
    if kept is not None and (kept.erased != section.erased or len(kept.present) != table.metadata.num_rows):
        raise FormatError(f"vault: {name} has other rows left than it says")
    salt_key = keys.get(SALT_KEY) if kept is None else None
    return OpenSection(name=name, section=section, values=table, salt_key=salt_key, kept=kept)


def _bound(name: str, section: Section, piece: str) -> tuple[str, ...]:
    """Return what a piece is bound to: its name, and all that the shard says of its section."""
    return name, piece, canonical.encode(section.document()).decode()


def seal_section(name: str, new: NewSection) -> tuple[Section, bytes]:
    """Encrypt a section."""
    values = parquet_bytes(new.table)
    salts = b"" if new.kept is None else new.kept.encode()
    section = Section(
        domain=new.domain,
        key=new.key_name,
        values=len(values) + OVERHEAD,
        salts=len(salts) + OVERHEAD if salts else 0,
        erased=0 if new.kept is None else new.kept.erased,
    )
    data = encrypt(new.key, values, *_bound(name, section, _VALUES))
    return section, data + (encrypt(new.key, salts, *_bound(name, section, _SALTS)) if salts else b"")


def join_sections(parts: Sequence[tuple[Section, bytes]]) -> bytes:
    """Return the bytes of a shard."""
    listed: list[canonical.JsonValue] = [section.document() for section, _ in parts]
    head = canonical.encode({"sections": listed, "v": 1})
    return b"".join((SHARD_MAGIC, _SIZE.pack(len(head)), head, *(data for _, data in parts)))


def read_head(file: BinaryIO, name: str) -> tuple[tuple[Section, ...], int]:
    """Return what a shard says of its sections, and where the first begins.

    Raises:
        FormatError: It is not a shard, or has another size than it says.
    """
    start = file.read(len(SHARD_MAGIC) + _SIZE.size)
    if not start.startswith(SHARD_MAGIC) or len(start) != len(SHARD_MAGIC) + _SIZE.size:
        raise FormatError(f"vault: {name} is not a shard of version 1")
    (size,) = _SIZE.unpack(start[len(SHARD_MAGIC) :])
    if size > _HEAD_SIZE_MAX:
        raise FormatError(f"vault: {name} is not a shard of version 1")
    what = f"vault: {name}"
    document = canonical.parse_object(file.read(size), what)
    canonical.check_version(document, 1, what)
    listed = document.get("sections")
    if set(document) != {"sections", "v"} or not isinstance(listed, list):
        raise FormatError(f"{what} is not a shard of version 1")
    sections = tuple(_parse_section(item, what) for item in listed)
    domains = [section.domain for section in sections]
    end = len(start) + size + sum(section.values + section.salts for section in sections)
    if not domains or domains != sorted(set(domains)) or file.seek(0, os.SEEK_END) != end:
        raise FormatError(f"{what} has other sections than it says")
    return sections, len(start) + size


def _parse_section(item: canonical.JsonValue, what: str) -> Section:
    if not isinstance(item, dict) or set(item) != {"domain", "erased", "key", "salts", "values"}:
        raise FormatError(f"{what}: a section needs exactly domain, erased, key, salts and values")
    section = Section(
        domain=canonical.text_of(item, "domain"),
        key=canonical.text_of(item, "key"),
        values=canonical.count_of(item, "values"),
        salts=canonical.count_of(item, "salts"),
        erased=canonical.count_of(item, "erased"),
    )
    if section.domain not in DOMAINS:
        raise FormatError(f"{what}: expected a domain of {', '.join(DOMAINS)}")
    return section
