"""Tables of which rows or single values are gone: putting what is left back in its place, and taking more away."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from backstory.columns.arrow_type import unchunked
from backstory.records.schema import split_name

if TYPE_CHECKING:
    from numpy.typing import NDArray


def spread_rows(table: pa.Table, numbers: NDArray[np.int64]) -> pa.Table:
    """Return rows by their number; nulls in every field where it is −1, in structs that are not null themselves."""
    if not (numbers < 0).any():
        return table.take(pa.array(numbers))
    indices = pa.array(numbers, mask=numbers < 0)
    columns = [_spread(unchunked(table[name]), indices) for name in table.column_names]
    return pa.table(columns, names=table.column_names)


def _spread(values: pa.Array, indices: pa.Array) -> pa.Array:
    if not pa.types.is_struct(values.type) or not values.type.num_fields:
        return values.take(indices)
    fields = [_spread(values.field(at), indices) for at in range(values.type.num_fields)]
    if not values.null_count:
        return pa.StructArray.from_arrays(fields, names=[field.name for field in values.type])
    is_null = values.is_null().take(indices).fill_null(fill_value=False)
    return pa.StructArray.from_arrays(fields, names=[field.name for field in values.type], mask=is_null)


def blank_values(table: pa.Table, names: Iterable[str], gone: NDArray[np.bool_]) -> pa.Table:
    """Put nulls in the place of some values.

    Args:
        table: A table.
        names: Flattened names of the columns, as in a schema.
        gone: bool, (rows): in which rows.
    """
    numbers = np.where(gone, -1, np.arange(table.num_rows))
    indices = pa.array(numbers, mask=gone)
    fields: dict[str, set[str]] = {}
    for name in names:
        top, *rest = split_name(name)
        fields.setdefault(top, set()).update(rest[:1])
    for top, chosen in fields.items():
        at, values = table.column_names.index(top), unchunked(table[top])
        if not chosen:
            blank = _spread(values, indices)
        else:
            parts = [
                _spread(values.field(i), indices) if field.name in chosen else values.field(i)
                for i, field in enumerate(values.type)
            ]
            mask = values.is_null() if values.null_count else None
            blank = pa.StructArray.from_arrays(parts, names=[field.name for field in values.type], mask=mask)
        table = table.set_column(at, top, blank)
    return table
