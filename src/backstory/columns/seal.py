"""Parting records into what stands in clear and what is sealed under commitments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import unchunked
from backstory.columns.commit import commitments, salts
from backstory.columns.tree import HASH_SIZE
from backstory.records.schema import Schema, split_name


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedTables:
    """A run of records, parted by where its columns go.

    Attributes:
        leaf: What is in the segment and in the leaves: open columns and commitments.
        sealed: What is in the vault shard; None without sealed groups.
    """

    leaf: pa.Table
    sealed: pa.Table | None


def part_columns(schema: Schema, table: pa.Table, salt_key: bytes) -> SealedTables:
    """Part records into what is in clear and what is sealed, and compute the commitments.

    Args:
        schema: Their schema.
        table: The records with all columns.
        salt_key: 32 bytes; not used without sealed groups.
    """
    if not schema.groups:
        return SealedTables(leaf=table, sealed=None)
    groups = {g: pick_columns(table, [c.name for c in schema.group_columns(g)]) for g in schema.groups}
    all_salts = salts(salt_key, 0, table.num_rows, len(schema.groups))
    hashes = [commitments(groups[g], g, all_salts[:, i]) for i, g in enumerate(schema.groups)]
    arrays = [
        pa.Array.from_buffers(pa.binary(HASH_SIZE), table.num_rows, [None, pa.py_buffer(data)]) for data in hashes
    ]
    leaf = pick_columns(table, [c.name for c in schema.open_columns])
    leaf = leaf.append_column("commitment", pa.StructArray.from_arrays(arrays, names=list(schema.groups)))
    sealed = pick_columns(table, [c.name for c in schema.columns if c.group is not None])
    index = pa.array(np.arange(table.num_rows, dtype=np.uint64))
    return SealedTables(leaf=leaf, sealed=sealed.add_column(0, "index", index))


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
            column = pa.StructArray.from_arrays([pc.struct_field(whole, part) for part in parts], names=parts)
        columns[top] = column
    return pa.table(columns)
