"""Opening sealed values: what a shard holds is shown only where it opens the commitments of the records.

Whether they may be opened is the caller's question, and so is the proof of the records themselves.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import unchunked
from backstory.columns.commit import commitments, salts
from backstory.columns.seal import pick_columns
from backstory.columns.tree import split_hashes
from backstory.errors import FormatError, VerificationError
from backstory.ledger.ledger import Ledger
from backstory.records.manifest import FileRef, Manifest


def read_shard(ledger: Ledger, shard: FileRef) -> pa.Table:
    """Return all sealed values of a segment, for reading them as a whole: the shard is the file its manifest names.

    Raises:
        NotFoundError: The shard or its keys were erased.
        VerificationError: Its bytes were changed.
    """
    if ledger.vault.path(shard.name).is_file():  # else reading it says that it was erased
        ledger.checked_path(ledger.layout.vault, shard)
    return ledger.vault.read_table(shard.name)


def open_rows(ledger: Ledger, manifest: Manifest, first: int, rows: pa.Table) -> pa.Table:
    """Return the sealed columns of records.

    Args:
        ledger: The archive.
        manifest: Manifest of their segment, which has a shard.
        first: Row of the segment at which they begin.
        rows: The records as the segment has them, with their commitments.

    Raises:
        NotFoundError: The sealed values or their keys were erased.
        FormatError: The shard is malformed.
        VerificationError: The sealed values are not those the records committed to.
    """
    schema = ledger.schema(manifest.schema)
    if manifest.shard is None:
        raise FormatError(f"opening {manifest.file.name}: its manifest names no shard")
    name = manifest.shard.name
    shard = ledger.vault.read_table(name).slice(first, rows.num_rows)
    wanted = [column.name for column in schema.columns if column.group is not None]
    try:
        sealed = pick_columns(shard, wanted)
        groups = [pick_columns(shard, [c.name for c in schema.group_columns(group)]) for group in schema.groups]
    except (KeyError, pa.ArrowException) as error:
        raise FormatError(f"opening {name}: its columns are not those of the schema") from error
    if shard.num_rows != rows.num_rows:
        raise FormatError(f"opening {name}: expected {rows.num_rows} rows from {first} on, got {shard.num_rows}")
    all_salts = salts(ledger.keys.key(name, "salt_key"), first, rows.num_rows, len(schema.groups))
    stored = unchunked(rows["commitment"])
    for position, group in enumerate(schema.groups):
        computed = split_hashes(commitments(groups[position], group, all_salts[:, position]))
        if computed != pc.struct_field(stored, group).to_pylist():
            raise VerificationError(
                f"opening {name}: sealed values of group {group!r} do not open their commitments; they were changed"
            )
    return sealed
