"""Erasing single values: a shard is written anew without them, and what their salts followed from is destroyed.

Order: a new key is durable, then the new shard under it, then tombstones of the old keys, then these are gone. A crash
leaves the old shard readable or the new one; the same call again does what is left. A reader in another process sees
the old one or the new one, as a shard names the key that opens it. Bytes: docs/format.md section 37.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from backstory.columns.commit import row_commitments
from backstory.columns.gaps import blank_values
from backstory.columns.people import group_of_subject
from backstory.columns.salt import ShardSalts
from backstory.errors import ForbiddenError, FormatError
from backstory.ledger.ledger import Ledger
from backstory.ledger.people_index import remove_people
from backstory.records.commitment import SALT_SIZE
from backstory.records.manifest import Manifest
from backstory.records.schema import Schema
from backstory.records.sensitivity import PERSONAL_DOMAIN, groups_by_domain
from backstory.storage.keys import KEY_SIZE, key_name
from backstory.storage.shard_file import SALT_KEY, SHARD_KEY, NewSection, OpenSection, Section

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NAME_SIZE = 8


def rewrite_shard(ledger: Ledger, manifest: Manifest, erased: Mapping[str, Collection[int]]) -> int:
    """Erase sealed values of a segment: they, their salts and the keys these followed from are gone for good.

    It may be repeated; what was erased before stays so. Where the values of the group that names persons go, the rows
    leave the index of persons too.

    Args:
        ledger: The archive, open for writing.
        manifest: Manifest of the segment.
        erased: By sealed group, in which rows of the segment; a group without rows is not touched.

    Returns:
        How many values (a group of a row each) were erased that were still there.

    Raises:
        BusyError: Another process is rewriting the vault.
        ForbiddenError: The archive cannot be written.
        FormatError: A group is none of the records', a row none of the segment's, or the shard is malformed.
        NotFoundError: The shard or its keys are not here.
        StorageError: Something could not be written; calling again goes on.
        VerificationError: The shard was changed.
    """
    schema = ledger.schema(manifest.schema)
    unknown = set(erased) - set(schema.groups)
    if manifest.shard is None or unknown:
        raise FormatError(f"erasing in {manifest.file.name}: expected sealed groups of its records")
    name, count = manifest.shard.name, 0
    with _writing(ledger):
        for domain, groups in groups_by_domain(schema.groups).items():
            if any(len(erased.get(group, ())) for group in groups):
                count += _rewrite_section(ledger, name, schema, domain, _mask(manifest, groups, erased))
        of_person = group_of_subject(schema)
        if of_person is not None and len(erased.get(of_person, ())):
            remove_people(ledger, name, erased[of_person])
    return count


def rewrite_table(ledger: Ledger, name: str, rows: Collection[int]) -> int:
    """Erase rows of a table about persons; the commitments to them stay, so that its root can be recomputed.

    It may be repeated; what was erased before stays so.

    Args:
        ledger: The archive, open for writing.
        name: The table's shard.
        rows: Its rows, as they are numbered since it was kept.

    Returns:
        How many rows were erased that were still there.

    Raises:
        BusyError: Another process is rewriting the vault.
        ForbiddenError: The archive cannot be written.
        FormatError: A row is none of the table's, or the shard is malformed.
        NotFoundError: The shard or its keys are not here.
        StorageError: Something could not be written; calling again goes on.
        VerificationError: The shard was changed.
    """
    with _writing(ledger):
        opened = _open(ledger, name, PERSONAL_DOMAIN)
        salts = opened.salts(1)
        gone = np.zeros((salts.rows, 1), np.bool_)
        gone[_numbers(rows, salts.rows, name), 0] = True
        before = salts.has(0, salts.rows)
        if (gone & before).any():
            hashes = row_commitments(opened.run(0, salts.rows), salts)
            left = salts.without(gone, np.frombuffer(hashes, np.uint8).reshape(-1, SALT_SIZE))
            table = opened.table.filter(pa.array(left.has(0, left.rows)[before.any(axis=1)].any(axis=1)))
            _put(ledger, name, opened.section, table, left)
        _destroy_others(ledger, name, PERSONAL_DOMAIN)
    return int(np.count_nonzero(gone & before))


def rekey_shard(ledger: Ledger, name: str, domain: str, groups: int | None) -> None:
    """Encrypt the values of one key domain of a shard under another key, and destroy the one before for good.

    Salts stay what they are: whoever had the old key and a copy of the shard can still open what is in that copy.

    Args:
        ledger: The archive, open for writing.
        name: The shard.
        domain: The domain.
        groups: How many sealed groups it has there; None of a table that is not committed to.

    Raises:
        BusyError: Another process is rewriting the vault.
        ForbiddenError: The archive cannot be written.
        NotFoundError: The shard or its keys are not here.
        StorageError: Something could not be written; calling again goes on.
        VerificationError: The shard was changed.
    """
    with _writing(ledger):
        opened = _open(ledger, name, domain)
        _put(ledger, name, opened.section, opened.table, None if groups is None else opened.salts(groups))
        _destroy_others(ledger, name, domain)


@contextmanager
def _writing(ledger: Ledger) -> Iterator[None]:
    """Hold the vault against other processes that rewrite it."""
    if not ledger.writable:
        raise ForbiddenError("archive is open for reading only: expected mode 'rw' to erase")
    with ledger.vault.hold():
        yield


def _rewrite_section(ledger: Ledger, name: str, schema: Schema, domain: str, gone: NDArray[np.bool_]) -> int:
    groups = groups_by_domain(schema.groups)[domain]
    opened = _open(ledger, name, domain)
    salts = opened.salts(len(groups))
    if salts.rows != len(gone):
        raise FormatError(f"erasing in {name}: expected {len(gone)} rows, got {salts.rows}")
    before = salts.has(0, salts.rows)
    gone &= before
    if gone.any():
        left = salts.without(gone)
        kept = left.has(0, left.rows)[before.any(axis=1)]
        table, kept = opened.table.filter(pa.array(kept.any(axis=1))), kept[kept.any(axis=1)]
        for position, group in enumerate(groups):
            if not kept[:, position].all():
                names = [column.name for column in schema.group_columns(group)]
                table = blank_values(table, names, ~kept[:, position])
        _put(ledger, name, opened.section, table, left)
    _destroy_others(ledger, name, domain)
    return int(np.count_nonzero(gone))


def _open(ledger: Ledger, name: str, domain: str) -> OpenSection:
    return ledger.vault.open_sections(name, [domain])[domain]


def _put(ledger: Ledger, name: str, old: Section, table: pa.Table, salts: ShardSalts | None) -> None:
    """Put values in the place of a section under a new key, which is durable first."""
    part = f"{SHARD_KEY}-{ledger.world.random_bytes(_NAME_SIZE).hex()}"
    key = ledger.world.random_bytes(KEY_SIZE)
    file = key_name(name, old.domain)
    ledger.keys.put(file, {**ledger.keys.get(file), part: key})
    # A crash before the next line leaves a key that opens nothing; after it, the old keys beside the new shard. The
    # next call destroys either.
    ledger.vault.replace_section(name, NewSection(domain=old.domain, key_name=part, key=key, table=table, kept=salts))


def _destroy_others(ledger: Ledger, name: str, domain: str) -> None:
    """Destroy the keys that a section is no longer under, and its salt key once salts stand in its place."""
    section = next(one for one in ledger.vault.sections(name) if one.domain == domain)
    if not section.is_rewritten:
        return
    file = key_name(name, domain)
    shard_keys = {part for part in ledger.keys.get(file) if part.startswith(SHARD_KEY)}
    ledger.keys.destroy(file, (shard_keys | ({SALT_KEY} if section.salts else set())) - {section.key})


def _mask(manifest: Manifest, groups: tuple[str, ...], erased: Mapping[str, Collection[int]]) -> NDArray[np.bool_]:
    gone = np.zeros((manifest.count, len(groups)), np.bool_)
    for position, group in enumerate(groups):
        gone[_numbers(erased.get(group, ()), manifest.count, manifest.file.name), position] = True
    return gone


def _numbers(rows: Collection[int], count: int, name: str) -> NDArray[np.int64]:
    numbers = np.fromiter(rows, np.int64, len(rows))
    if len(numbers) and (numbers.min() < 0 or numbers.max() >= count):
        raise FormatError(f"erasing in {name}: expected rows below {count}")
    return numbers
