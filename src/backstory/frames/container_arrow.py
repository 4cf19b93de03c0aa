"""pyarrow tables and record batches as containers: the schema, and the dictionaries of dictionary columns.

Part of `backstory.frames.container`, which is the module to use. Chunking is not kept: it is no property of the values.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from backstory.frames.table import Frame

_CATEGORIES_MAX: Final = 4096


def describe(frame: Frame, *, batch: bool) -> tuple[dict[str, Any], str | None]:
    """Describe a pyarrow table or batch; the second value says why it cannot be rebuilt, if so."""
    schema = frame.schema.remove_metadata()
    details: dict[str, Any] = {
        "kind": "arrow",
        "batch": batch,
        "dtypes": [str(kind) for kind in schema.types],
        "schema": base64.b64encode(schema.serialize().to_pybytes()).decode(),
        "categories": {},
    }
    for name, kind in zip(schema.names, schema.types, strict=True):
        if not pa.types.is_dictionary(kind):
            continue
        chunks = [frame.column(name)] if batch else frame.column(name).unify_dictionaries().chunks
        values = chunks[0].dictionary if chunks else pa.array([], kind.value_type)
        if not (pa.types.is_string(kind.value_type) or pa.types.is_large_string(kind.value_type)):
            return details, f"column {name!r} is {kind}"
        if len(values) > _CATEGORIES_MAX or values.null_count:
            return details, f"column {name!r} has a null category or more than {_CATEGORIES_MAX} categories"
        details["categories"][name] = values.to_pylist()
    return details, None


def rebuild(container: dict[str, Any], table: pa.Table) -> Frame:
    """Make the pyarrow table or batch of a description from its values."""
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(container["schema"])))
    columns = [_cast(table.column(field.name), field.type, container["categories"].get(field.name)) for field in schema]
    rebuilt = pa.Table.from_arrays(columns, schema=schema)
    if not container["batch"]:
        return rebuilt
    arrays = [column.combine_chunks() for column in rebuilt.columns]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _cast(column: pa.ChunkedArray, kind: pa.DataType, categories: list[str] | None) -> Any:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if categories is None:
        return column.cast(kind)
    values = pa.array(categories, kind.value_type)
    codes = pc.index_in(column.cast(kind.value_type).combine_chunks(), value_set=values).cast(kind.index_type)
    return pa.DictionaryArray.from_arrays(codes, values, ordered=kind.ordered)
