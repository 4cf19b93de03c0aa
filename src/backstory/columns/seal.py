"""Parting records into what stands in clear and what is sealed under commitments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import unchunked
from backstory.columns.commit import commitments, salts
from backstory.columns.tree import HASH_SIZE
from backstory.records.schema import Schema, split_name


def commit_groups(schema: Schema, table: pa.Table, salt_key: bytes, first_row: int = 0) -> list[bytes]:
    """Compute the commitments of records to their sealed groups.

    Args:
        schema: Their schema.
        table: The records with all columns.
        salt_key: 32 bytes; not used without sealed groups.
        first_row: Which row of its segment the first record is.

    Returns:
        For each group, in the schema's order, 32 bytes a record, concatenated.
    """
    if not schema.groups:
        return []
    drawn = salts(salt_key, first_row, table.num_rows, len(schema.groups))
    groups = [pick_columns(table, [column.name for column in schema.group_columns(group)]) for group in schema.groups]
    return [commitments(groups[i], group, drawn[:, i]) for i, group in enumerate(schema.groups)]


def with_commitments(schema: Schema, table: pa.Table, hashes: Sequence[bytes]) -> pa.Table:
    """Return what of records is in the segment and in the leaves: the open columns and the commitments."""
    if not schema.groups:
        return table
    arrays = [
        pa.Array.from_buffers(pa.binary(HASH_SIZE), table.num_rows, [None, pa.py_buffer(data)]) for data in hashes
    ]
    leaf = pick_columns(table, [column.name for column in schema.open_columns])
    return leaf.append_column("commitment", pa.StructArray.from_arrays(arrays, names=list(schema.groups)))


def sealed_columns(schema: Schema, table: pa.Table) -> pa.Table:
    """Return what of records is in the vault shard: the sealed columns and the row's number."""
    sealed = pick_columns(table, [column.name for column in schema.columns if column.group is not None])
    return sealed.add_column(0, "index", pa.array(np.arange(table.num_rows, dtype=np.uint64)))


def pick_columns(table: pa.Table, names: list[str]) -> pa.Table:
    """Return the columns with these flattened names, as structs where they were fields of one."""
    fields: dict[str, list[str]] = {}
    for name in names:
        top, *rest = split_name(name)
        fields.setdefault(top, []).extend(rest[:1])
    columns = {}
    for top, chosen in fields.items():
        column = table[top]
        if chosen and len(set(chosen)) < column.type.num_fields:
            parts = list(dict.fromkeys(chosen))
            whole = unchunked(column)
            column = pa.StructArray.from_arrays([pc.struct_field(whole, [part]) for part in parts], names=parts)
        columns[top] = column
    return pa.table(columns)
