"""Tables of reports as CSV, which verifiers compare with the report, and as Parquet with types."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.identity import parse_time
from backstory.verify.report import csv_bytes

_UTC = pa.timestamp("ns", "UTC")


def table_files(document: JsonObject) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of the tables of a report: for each section with columns CSV and Parquet."""
    sections = document["sections"]
    for section in sections if isinstance(sections, list) else []:
        if isinstance(section, dict) and section["columns"]:
            name = canonical.text_of(section, "name")
            yield f"tables/{name}.csv", csv_bytes(section)
            yield f"tables/{name}.parquet", _parquet(section)


def _parquet(section: JsonObject) -> bytes:
    columns, rows = section["columns"], section["rows"]
    arrays: dict[str, pa.Array] = {}
    for column in columns if isinstance(columns, list) else []:
        if isinstance(column, dict):
            name, type_ = canonical.text_of(column, "name"), canonical.text_of(column, "type")
            values = [row[name] for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
            arrays[name] = _array(values, type_)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(arrays), sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _array(values: list[JsonValue], type_: str) -> pa.Array:
    texts = [None if value is None else str(value) for value in values]
    if type_ == "count":
        return pa.array([None if text is None else int(text) for text in texts], pa.uint64())
    if type_ == "time":
        return pa.array([None if text is None else parse_time(text) for text in texts], _UTC)
    if type_ == "number":
        return pa.array([None if text is None else float(text) for text in texts], pa.float64())
    return pa.array(texts, pa.string())
