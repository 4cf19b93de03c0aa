"""What `source` takes: frames as they are, and files, queries, streams and tables of other systems, which are read.

Reading gives an Arrow table, whose rows are the snapshot, and the frame of the caller's library that carries the ids.
So equal content is one dataset version, whatever it was read from and whatever frame was asked for.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from backstory.errors import InputError
from backstory.frames.file_format import typed
from backstory.frames.files import FileRead, read_path
from backstory.frames.lake import is_delta, is_iceberg, read_delta, read_iceberg, snapshot_of
from backstory.frames.place import local_path
from backstory.frames.query import Query
from backstory.frames.read_options import ReadOptions, read_options, require_known
from backstory.frames.stream import Stream
from backstory.frames.table import Frame, to_arrow
from backstory.records.canonical import JsonObject, JsonValue

if TYPE_CHECKING:
    import pyarrow as pa

AsFrame: TypeAlias = Literal["arrow", "pandas", "polars"]
Read: TypeAlias = "tuple[pa.Table, tuple[FileRead, ...]]"
"""Rows, and the files they came from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Where rows were read from.

    Attributes:
        system: `file`, `directory`, `duckdb`, `sql`, `stream`, `delta` or `iceberg`.
        path: Path or URL of what was read, where it has one.
        place: What else tells the place, as it is recorded.
        files: The files whose bytes were read.
        query: Text of the query.
        parameters: Its parameters, of which only a digest is recorded.
        options: How it was read.
        external: Ids the system itself gives to the snapshot.
        extracted: When it was read, RFC 3339.
        again: Reads the same once more; None where that cannot be.
    """

    system: str
    path: str | None = None
    place: JsonObject = field(default_factory=dict)
    files: tuple[FileRead, ...] = ()
    query: str | None = None
    parameters: JsonValue = None
    options: ReadOptions = field(default_factory=ReadOptions)
    external: Mapping[str, str] = field(default_factory=dict)
    extracted: str = ""
    again: Callable[[], Read] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What `source` was given, ready to be fixed.

    Attributes:
        frame: The frame that gets the ids.
        rows: The rows of the snapshot, where they are not the frame's own.
        reading: Where they were read from; None for a frame.
    """

    frame: Frame
    rows: pa.Table | None = None
    reading: Reading | None = None


def take(
    data: Any, read: Mapping[str, Any] | None = None, as_frame: AsFrame | None = None, *, extracted: str = ""
) -> Taken:
    """Return a frame as it is, and whatever else as it is read.

    Args:
        data: A frame, a path, a `Query`, a `Stream`, a Delta table or an Iceberg table.
        read: Options of reading; see `ReadOptions`.
        as_frame: Which frame to return of what is read; pandas where it is installed, else Arrow, if not given.
        extracted: The time, RFC 3339.

    Raises:
        InputError: It cannot be read, or an option is not for it.
        NotFoundError: There is no such file, version or snapshot.
        StorageError: It cannot be read, or changed meanwhile.
    """
    found = reading_of(data, read)
    reading = None if found is None else replace(found, extracted=extracted)
    if reading is None or reading.again is None:
        if as_frame is not None or read:
            raise InputError("source: a frame is taken as it is; read= and as_frame= are for files, queries and tables")
        return Taken(frame=data.frame if isinstance(data, Stream) else data, reading=reading)
    rows, files = again(reading)
    return Taken(frame=_framed(rows, as_frame), rows=rows, reading=replace(reading, files=files))


def again(reading: Reading) -> Read:
    """Read the rows of a reading, perhaps once more.

    Raises:
        InputError: They cannot be read again, as those of a frame.
    """
    if reading.again is None:
        raise InputError("source: expected a path, a query or a table, which can be read again")
    return reading.again()


def reading_of(data: Any, read: Mapping[str, Any] | None = None) -> Reading | None:
    """Return how to read something; None for a frame.

    Raises:
        InputError: An option is not for it.
        NotFoundError: An Iceberg table has no such snapshot.
    """
    options = read_options(read)
    if isinstance(data, str | Path):
        return path_reading(_path_of(data), options)
    if isinstance(data, Query):
        require_known(options, ("columns", "types"), "a query")
        return Reading(
            system=data.system,
            place=data.place(),
            query=data.text,
            parameters=data.parameters_document(),
            options=options,
            again=lambda: (typed(data.run(), options, "the query"), ()),
        )
    if isinstance(data, Stream):
        return Reading(system="stream", place=data.origin())
    if is_delta(data):
        return delta_reading(data, options)
    if is_iceberg(data):
        return iceberg_reading(data, options)
    if type(data).__name__ == "DuckDBPyRelation":
        return Reading(system="duckdb", query=str(data.sql_query()))
    return None


def _path_of(place: str | Path) -> Path:
    """Return the path of a file on this machine, which a URL or a text with a zero byte is none of."""
    local = local_path(str(place)) if isinstance(place, str) else place
    if local is None or "\0" in str(local):
        raise InputError("source: expected a path; for what is elsewhere give a Query over read_parquet or read_csv")
    return local


def path_reading(path: Path, options: ReadOptions) -> Reading:
    """Return how to read a file or a directory."""

    def read() -> Read:
        table, files = read_path(path, options)
        return table, tuple(files)

    return Reading(
        system="directory" if path.is_dir() else "file", path=str(path.absolute()), options=options, again=read
    )


def delta_reading(table: Any, options: ReadOptions) -> Reading:
    """Return how to read a Delta table at its version."""
    version = str(table.version())
    return Reading(
        system="delta",
        path=str(table.table_uri),
        place={"id": str(table.metadata().id), "version": version},
        options=options,
        external={"delta": version},
        again=lambda: (read_delta(table, options), ()),
    )


def iceberg_reading(table: Any, options: ReadOptions) -> Reading:
    """Return how to read an Iceberg table in a snapshot."""
    snapshot = snapshot_of(table, options)
    return Reading(
        system="iceberg",
        path=str(table.metadata_location),
        place={"name": ".".join(table.name()), "snapshot": str(snapshot), "id": str(table.metadata.table_uuid)},
        options=options,
        external={"iceberg": str(snapshot)},
        again=lambda: (read_iceberg(table, snapshot, options), ()),
    )


def _framed(rows: pa.Table, as_frame: AsFrame | None) -> Frame:
    """Return rows as a frame of the library that is asked for."""
    chosen = as_frame or ("pandas" if importlib.util.find_spec("pandas") else "arrow")
    if chosen == "pandas":
        return to_arrow(rows).to_pandas()
    if chosen == "polars":
        import polars as pl

        return pl.from_arrow(rows)
    if chosen != "arrow":
        raise InputError(f"source: expected as_frame to be 'pandas', 'polars' or 'arrow', got {chosen!r}")
    return rows
