"""Parting records into what stands in clear and what is sealed under commitments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import unchunked
from backstory.columns.commit import commitments
from backstory.columns.salt import ShardSalts, salts
from backstory.columns.tree import HASH_SIZE
from backstory.records.schema import Schema, split_name
from backstory.records.sensitivity import groups_by_domain

if TYPE_CHECKING:
    from numpy.typing import NDArray


def commit_groups(schema: Schema, table: pa.Table, salt_keys: Mapping[str, bytes], first_row: int = 0) -> list[bytes]:
    """Compute the commitments of records to their sealed groups.

    Args:
        schema: Their schema.
        table: The records with all columns.
        salt_keys: Those of the shard's sections, 32 bytes each, by key domain; none without sealed groups.
        first_row: Which row of its segment the first record is.

    Returns:
        For each group, in the schema's order, 32 bytes a record, concatenated.
    """
    found: dict[str, bytes] = {}
    for domain, groups in groups_by_domain(schema.groups).items():
        drawn = salts(salt_keys[domain], first_row, table.num_rows, len(groups))
        for position, group in enumerate(groups):
            columns = pick_columns(table, [column.name for column in schema.group_columns(group)])
            found[group] = commitments(columns, group, drawn[:, position], by_field=group in schema.fields)
    return [found[group] for group in schema.groups]


def with_commitments(schema: Schema, table: pa.Table, hashes: Sequence[bytes]) -> pa.Table:
    """Return what of records is in the segment and in the leaves: the open columns and the commitments."""
    if not schema.groups:
        return table
    arrays = [
        pa.Array.from_buffers(pa.binary(HASH_SIZE), table.num_rows, [None, pa.py_buffer(data)]) for data in hashes
    ]
    leaf = pick_columns(table, [column.name for column in schema.open_columns])
    return leaf.append_column("commitment", pa.StructArray.from_arrays(arrays, names=list(schema.groups)))


def sealed_columns(schema: Schema, table: pa.Table) -> dict[str, pa.Table]:
    """Return what of records is in the vault shard: the sealed columns, by the key domain of their groups."""
    return {
        domain: pick_columns(table, [column.name for column in schema.columns if column.group in groups])
        for domain, groups in groups_by_domain(schema.groups).items()
    }


def wrong_openings(
    schema: Schema, group: str, table: pa.Table, salts: ShardSalts, first_row: int, stored: pa.ChunkedArray
) -> NDArray[np.int64]:
    """Return which of a run of records have a value left that does not open its commitment.

    Args:
        schema: Schema of the records.
        group: A sealed group.
        table: The sealed values of the run, those of the group's key domain.
        salts: What is left of the salts of that domain.
        first_row: Row of the segment at which the run begins.
        stored: The records' commitments, a struct with a field a group.

    Raises:
        KeyError: There are not the group's columns.
    """
    groups = groups_by_domain(schema.groups)
    position = next(names.index(group) for names in groups.values() if group in names)
    columns = pick_columns(table, [column.name for column in schema.group_columns(group)])
    drawn = salts.cut(first_row, table.num_rows)[:, position]
    computed = commitments(columns, group, drawn, by_field=group in schema.fields)
    ours, theirs = np.frombuffer(computed, np.uint8).reshape(-1, HASH_SIZE), _hashes_of(stored, group)
    return np.flatnonzero((ours != theirs).any(axis=1) & salts.has(first_row, table.num_rows)[:, position])


def _hashes_of(stored: pa.ChunkedArray, group: str) -> NDArray[np.uint8]:
    """Return the commitments to a group, uint8, (rows, 32); zeros for those of records that are gone."""
    values = pc.struct_field(unchunked(stored), group).cast(pa.binary(HASH_SIZE))
    values = values.fill_null(bytes(HASH_SIZE)) if values.null_count else values
    data = np.frombuffer(values.buffers()[1], np.uint8)
    return data[values.offset * HASH_SIZE : (values.offset + len(values)) * HASH_SIZE].reshape(-1, HASH_SIZE)


def pick_columns(table: pa.Table, names: Iterable[str]) -> pa.Table:
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


def merge_columns(table: pa.Table, sealed: pa.Table) -> pa.Table:
    """Put sealed columns beside open ones, field by field where both have a struct of a name."""
    for name in sealed.column_names:
        column = sealed[name].combine_chunks()
        if name in table.column_names:
            opened = table[name].combine_chunks()
            names = [field.name for part in (opened, column) for field in part.type]
            column = pa.StructArray.from_arrays([*opened.flatten(), *column.flatten()], names=names)
            table = table.drop_columns([name])
        table = table.append_column(name, column)
    return table
