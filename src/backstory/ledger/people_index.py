"""Which records are about a person, or lead to a thing of theirs: an index beside every shard, of keyed tokens.

A token is an HMAC, under a key that is used for nothing else, of a person's id or of the id a sealed link leads to. The
index is encrypted, names nobody and cannot be asked without the key. It is a convenience: what is missing is looked for
in the shard itself. Bytes: docs/format.md section 37.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import reduce
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from backstory.columns.people import (
    SUBJECT,
    PeopleIndex,
    block_of,
    group_of_subject,
    index_file_key,
    index_tokens,
    indexed_columns,
    leads_to,
    parse_people,
)
from backstory.columns.seal import pick_columns
from backstory.errors import BackstoryError, FormatError, NotFoundError, VerificationError
from backstory.ledger.sealed import read_shard
from backstory.records.manifest import MANIFEST_TYPE, FileRef, Manifest, parse_manifest
from backstory.records.schema import Schema
from backstory.records.sensitivity import class_of_group, domain_of
from backstory.storage.keys import KEY_SIZE, key_name

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from backstory.ledger.ledger import Ledger

PEOPLE_KEY = "people"
"""The key file with the key of the tokens."""
_PART = "index_key"
_NONE = np.zeros(0, np.int64)


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
    key = _key_if_any(ledger)
    for manifest, shard, _ in _segments(ledger):
        with suppress(NotFoundError):  # a shard put back that is older than its keys
            rows = _rows(ledger, key, shard, ledger.schema(manifest.schema), {SUBJECT: [subject]})
            if len(rows):
                found.append((manifest, rows))
    return found


def find_linked_rows(
    ledger: Ledger, manifests: Iterable[Manifest], links: Mapping[str, Collection[str | bytes]]
) -> list[NDArray[np.int64]]:
    """Return which records of segments lead to others, or are about somebody, ascending; not those that were erased.

    Args:
        ledger: The archive.
        manifests: Manifests of the segments.
        links: The ids of the others, by the name of the sealed column; a record is found that leads to one of each.

    Returns:
        For each segment its rows.

    Raises:
        NotFoundError: There is no index, and the shard or its keys are not here.
        VerificationError: The shard was changed.
    """
    key = _key_if_any(ledger)
    found = []
    for manifest in manifests:
        schema = ledger.schema(manifest.schema)
        is_said = links.keys() <= set(indexed_columns(schema))
        found.append(_rows(ledger, key, manifest.shard, schema, links) if manifest.shard and is_said else _NONE)
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
    name = index_name(shard)
    key = _key(ledger)
    index = PeopleIndex.of(key, name, pick_columns(table, indexed_columns(schema)))
    part = ledger.keys.create(name, _PART)[_PART]
    ledger.vault.write_index(name, index.blocks(), index_file_key(key, part), replace=False)


def rebuild_people(ledger: Ledger) -> int:
    """Make every index that is missing or cannot be read; return how many were made.

    Raises:
        NotFoundError: The keys of a shard are not here.
        StorageError: One could not be written.
    """
    made = 0
    for manifest, shard, group in _segments(ledger):
        if _index(ledger, shard.name) is None:
            name, columns = index_name(shard.name), indexed_columns(ledger.schema(manifest.schema))
            table = pick_columns(read_shard(ledger, shard, [group]), columns)
            _replace(ledger, name, PeopleIndex.of(_key(ledger), name, table))
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


def _key_if_any(ledger: Ledger) -> bytes | None:
    return _key(ledger) if ledger.keys.has(PEOPLE_KEY) else None


def _rows(
    ledger: Ledger, key: bytes | None, shard: FileRef, schema: Schema, wanted: Mapping[str, Collection[str | bytes]]
) -> NDArray[np.int64]:
    """Return the rows of a shard that have one of some ids in each of some columns, ascending."""
    name = index_name(shard.name)
    if not all(wanted.values()):
        return _NONE
    if key is not None:
        tokens = [
            list(index_tokens(key, name, column, (one.encode() if isinstance(one, str) else one for one in ids)))
            for column, ids in wanted.items()
        ]
        index = _index(ledger, shard.name, list(chain(*tokens)))
        if index is not None:
            rows = [np.unique(np.concatenate([index.rows_of(token) for token in found])) for found in tokens]
            return reduce(np.intersect1d, rows)
    group = group_of_subject(schema)
    table = read_shard(ledger, shard, () if group is None else (group,))
    return np.flatnonzero(leads_to(table, wanted))


def _index(ledger: Ledger, shard: str, tokens: Collection[NDArray[np.uint8]] | None = None) -> PeopleIndex | None:
    """Return the index of a shard, or the blocks of it that some tokens are in; None where it cannot be read."""
    name = index_name(shard)

    def pick(blocks: int) -> Iterable[int]:
        return range(blocks) if tokens is None else sorted({block_of(token, blocks) for token in tokens})

    try:
        key = ledger.keys.key(PEOPLE_KEY, "key")
        keys = [index_file_key(key, part) for part in ledger.keys.get(name).values()]
        blocks = ledger.vault.read_index(name, keys, pick)
        return parse_people(list(blocks.values()), f"vault: {name}")
    except (NotFoundError, VerificationError, FormatError):
        return None


def _replace(ledger: Ledger, name: str, index: PeopleIndex) -> None:
    """Put an index in the place of another, under a key of its own; the keys before are destroyed for good."""
    before: dict[str, bytes] = {}
    with suppress(BackstoryError):
        before = ledger.keys.get(name)
    part = f"{_PART}-{ledger.world.random_bytes(8).hex()}"
    drawn = ledger.world.random_bytes(KEY_SIZE)
    ledger.keys.put(name, {**before, part: drawn})
    ledger.vault.write_index(name, index.blocks(), index_file_key(_key(ledger), drawn), replace=True)
    ledger.keys.destroy(name, before.keys())
