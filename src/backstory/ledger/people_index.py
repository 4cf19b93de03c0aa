"""Which records are about a person: an index beside every shard, encrypted, of keyed tokens.

A token is an HMAC of the person's id under a key that is used for nothing else, so the index names nobody and cannot be
asked without the key. It is a convenience: what is missing is looked for in the shard itself. Bytes: docs/format.md
section 37.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from backstory.columns.id_text import subject_column
from backstory.columns.people import PeopleIndex, parse_people, person_tokens
from backstory.errors import BackstoryError, FormatError, NotFoundError, VerificationError
from backstory.ledger.sealed import read_shard
from backstory.records.manifest import MANIFEST_TYPE, FileRef, Manifest, parse_manifest
from backstory.records.schema import Schema
from backstory.records.sensitivity import class_of_group, domain_of
from backstory.storage.keys import key_name

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from backstory.ledger.ledger import Ledger

PEOPLE_KEY = "people"
"""The key file with the key of the tokens."""
SUBJECT = "subject"
_PART = "index_key"


def find_people_rows(ledger: Ledger, subject: str) -> list[tuple[Manifest, NDArray[np.int64]]]:
    """Return the sealed records that are about a person, of every kind, in the order of the log.

    Args:
        ledger: The archive.
        subject: The person's id, as text.

    Returns:
        The manifests of their segments, each with the rows, ascending; what was erased is not among them, nor what is
        in shards whose keys are not here: see `unread_shards`.

    Raises:
        VerificationError: A shard was changed.
    """
    found = []
    token = person_tokens(_key(ledger), [subject])[0] if ledger.keys.has(PEOPLE_KEY) else None
    for manifest, shard, group in _segments(ledger):
        index = None if token is None else _index(ledger, shard.name)
        if index is None or token is None:
            try:
                values = subject_column(read_shard(ledger, shard, [group])[SUBJECT])
            except NotFoundError:  # a shard put back that is older than its keys
                continue
            rows = np.flatnonzero(pc.equal(values, subject).fill_null(fill_value=False))
        else:
            rows = index.rows_of(token)
        if len(rows):
            found.append((manifest, rows))
    return found


def unread_shards(ledger: Ledger) -> int:
    """Return how many shards with records about persons cannot be read, as they or their keys are not here."""
    ledger.catch_up()
    readable = 0
    for _, shard, group in _segments(ledger):
        domain = domain_of(class_of_group(group))
        with suppress(BackstoryError):
            (section,) = (one for one in ledger.vault.sections(shard.name) if one.domain == domain)
            readable += section.key in ledger.keys.get(key_name(shard.name, domain))
    manifests = [parse_manifest(ledger.log.entry(at)) for at in ledger.catalog.entries(MANIFEST_TYPE)]
    return (
        sum(one.shard is not None and group_of_subject(ledger.schema(one.schema)) is not None for one in manifests)
        - readable
    )


def write_people(ledger: Ledger, shard: str, schema: Schema, table: pa.Table) -> None:
    """Make the index of a run of records durable, where they are about persons.

    Raises:
        ConflictError: Another sealer wrote the same run first.
    """
    if group_of_subject(schema) is None:
        return
    index = PeopleIndex.of(_key(ledger), table[SUBJECT])
    name = index_name(shard)
    key = ledger.keys.create(name, _PART)[_PART]
    ledger.vault.write_index(name, index.encode(), key, replace=False)


def rebuild_people(ledger: Ledger) -> int:
    """Make every index that is missing or cannot be read; return how many were made.

    Raises:
        NotFoundError: The keys of a shard are not here.
        StorageError: One could not be written.
    """
    made = 0
    for _, shard, group in _segments(ledger):
        if _index(ledger, shard.name) is None:
            subjects = read_shard(ledger, shard, [group])[SUBJECT]
            _replace(ledger, index_name(shard.name), PeopleIndex.of(_key(ledger), subjects))
            made += 1
    return made


def remove_people(ledger: Ledger, shard: str, rows: Collection[int]) -> None:
    """Take rows out of the index of a shard, which is then under another key; the one before is destroyed for good.

    It may be repeated. An index that cannot be read is removed.
    """
    name = index_name(shard)
    index = _index(ledger, shard)
    if index is None:
        ledger.keys.destroy(name)
        ledger.vault.remove(name)
        return
    _replace(ledger, name, index.without(rows))


def rekey_people(ledger: Ledger, shard: str) -> None:
    """Encrypt the index of a shard, where there is one, under another key; the one before is destroyed for good."""
    index = _index(ledger, shard)
    if index is not None:
        _replace(ledger, index_name(shard), index)


def group_of_subject(schema: Schema) -> str | None:
    """Return the sealed group that says whom records are about; None where they say so of nobody."""
    return next((column.group for column in schema.columns if column.name == SUBJECT), None)


def index_name(shard: str) -> str:
    """Return the name of the index of a shard.

    >>> index_name("0f-0-3.shard")
    '0f-0-3.people'
    """
    return f"{shard.removesuffix('.shard')}.people"


def _segments(ledger: Ledger) -> Iterator[tuple[Manifest, FileRef, str]]:
    """Yield manifests of records about persons whose sealed values are here, their shards, and the persons' group."""
    ledger.catch_up()
    for position in ledger.catalog.entries(MANIFEST_TYPE):
        manifest = parse_manifest(ledger.log.entry(position))
        group = group_of_subject(ledger.schema(manifest.schema))
        if manifest.shard is None or group is None:
            continue
        has_keys = ledger.keys.has(key_name(manifest.shard.name, domain_of(class_of_group(group))))
        if has_keys and ledger.vault.path(manifest.shard.name).is_file():
            yield manifest, manifest.shard, group


def _key(ledger: Ledger) -> bytes:
    return ledger.keys.get_or_create(PEOPLE_KEY, "key")["key"]


def _index(ledger: Ledger, shard: str) -> PeopleIndex | None:
    """Return the index of a shard; None where it is missing or cannot be read."""
    name = index_name(shard)
    try:
        data = ledger.vault.read_index(name, ledger.keys.get(name).values())
        return parse_people(data, f"vault: {name}")
    except (NotFoundError, VerificationError, FormatError):
        return None


def _replace(ledger: Ledger, name: str, index: PeopleIndex) -> None:
    """Put an index in the place of another, under a key of its own; the keys before are destroyed for good."""
    before: dict[str, bytes] = {}
    with suppress(BackstoryError):
        before = ledger.keys.get(name)
    part = f"{_PART}-{ledger.world.random_bytes(8).hex()}"
    key = ledger.world.random_bytes(32)
    ledger.keys.put(name, {**before, part: key})
    ledger.vault.write_index(name, index.encode(), key, replace=True)
    ledger.keys.destroy(name, before.keys())
