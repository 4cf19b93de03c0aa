"""Checking the indexes of persons against their shards: one that leaves rows out would hide them, from an erasure too.

They prove nothing and can be made anew. Bytes: docs/format.md section 37.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.people import PeopleIndex, group_of_subject, index_file_key, indexed_columns, parse_people
from backstory.columns.seal import pick_columns
from backstory.errors import BackstoryError, FormatError
from backstory.records.manifest import MANIFEST_TYPE, parse_manifest
from backstory.records.schema import parse_schema
from backstory.records.sensitivity import class_of_group, domain_of
from backstory.storage.blobs import BlobStore
from backstory.storage.disk import Disk
from backstory.storage.keys import key_name
from backstory.storage.vault import Vault
from backstory.verify.audit import Audit
from backstory.verify.entries import Entries

PEOPLE_KEY = "people"
_MEANS_GONE = (
    "records about a person, or made with a thing of theirs, are looked for in the shard, which takes longer; "
    "`backstory reindex` makes it anew"
)
_MEANS_LEFT = "an erasure or a disposal was cut short; opening the archive, or `backstory retention finish`, goes on"
_MEANS_OTHER = (
    "records about a person, or what was decided with a prediction, may not be found by it; remove it, and "
    "`backstory reindex` makes it anew"
)


def check_people(audit: Audit, entries: Entries) -> None:
    """Check every index that can be read, of shards that an earlier audit has not read."""
    vault, blobs = Vault(audit.layout.vault, audit.keys, Disk()), BlobStore(audit.layout.blobs, Disk())
    for index, entry in entries.documents(MANIFEST_TYPE):
        if audit.keeper.skips(index):
            continue
        try:
            manifest = parse_manifest(entry)
            schema = parse_schema(blobs.get(manifest.schema))
        except BackstoryError:
            continue  # said where records are checked
        columns, group = indexed_columns(schema), group_of_subject(schema)
        if manifest.shard is None or group is None or not vault.path(manifest.shard.name).is_file():
            continue
        _check(audit, vault, manifest.shard.name, domain_of(class_of_group(group)), columns, index)


def _check(audit: Audit, vault: Vault, shard: str, domain: str, columns: Sequence[str], entry: int) -> None:
    name = f"{shard.removesuffix('.shard')}.people"
    place = f"vault/{name}"
    if not (audit.keys.has(PEOPLE_KEY) and audit.keys.has(key_name(shard, domain))):
        return
    try:
        key = audit.keys.key(PEOPLE_KEY, "key")
        section = vault.open_sections(shard, [domain])[domain]
        table = pick_columns(section.run(0, section.rows), columns)
    except (BackstoryError, KeyError):
        return  # said where records and keys are checked
    try:
        keys = [index_file_key(key, part) for part in audit.keys.get(name).values()]
        blocks = [*vault.read_index(name, keys).values()]
    except BackstoryError as error:
        audit.add("note", place, error, index=entry, meaning=_MEANS_GONE)
        return
    whole = PeopleIndex.of(key, name, table).blocks()
    if blocks == whole:
        return
    if _left_of(blocks, table) == whole:  # a crash between the shard and its index leaves it so
        what = "still says of whom rows were that were erased: whoever completes the erasure or disposal takes them out"
        audit.add("note", place, what, index=entry, meaning=_MEANS_LEFT)
    else:
        what = "does not say which records are about whom, and lead to what, as the shard does: it was changed"
        audit.add("failed", place, what, index=entry, meaning=_MEANS_OTHER)


def _left_of(blocks: Sequence[bytes], table: pa.Table) -> list[bytes] | None:
    """Return an index without the rows that were erased since; None if it is none."""
    try:
        index = parse_people(blocks, "the index")
    except FormatError:
        return None
    gone = reduce(pc.and_, (pc.is_null(table[name]) for name in table.column_names))
    return index.without(pc.indices_nonzero(gone).to_pylist()).blocks()
