"""Files and directories as sources: each file's bytes are read once, hashed, and parsed.

What is hashed is what the rows came from. A file that somebody writes to meanwhile is refused: nobody could say which
state of it the rows are.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pyarrow as pa

from backstory.errors import ColumnError, InputError, NotFoundError, StorageError
from backstory.frames.file_format import format_of, parse_table
from backstory.frames.read_options import ReadOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRead:
    """A file that was read.

    Attributes:
        name: Its name; in a directory its path from there, with `/`.
        sha256: SHA-256 of its bytes.
        size: How many bytes.
    """

    name: str
    sha256: bytes
    size: int


def read_path(path: Path, options: ReadOptions) -> tuple[pa.Table, list[FileRead]]:
    """Return the rows of a file, or those of all files of a directory, and what was read.

    Args:
        path: A CSV, Parquet or JSON-lines file, compressed or not, or a directory of files of one of these formats. Of
            a directory the files are read in the order of their names; those below it too. Names that begin with `.`
            or `_` are passed over; a link to a directory is refused.
        options: How to read them.

    Raises:
        NotFoundError: There is nothing of that name, or no file in the directory.
        InputError: A file is of another format or not as it is to be read, or the directory holds partitions or a link
            to a directory.
        ColumnError: Files have other columns than the first, or other types.
        StorageError: A file cannot be read, or changed while it was read.
    """
    if not path.is_dir():
        table, file = _read_file(path, path.name, options)
        return table, [file]
    names = _listed(path, options)
    read = [_read_file(path / name, name, options) for name in names]
    if _listed(path, options) != names:
        raise StorageError(f"reading {path.name}: files came or went while it was read")
    return _joined([table for table, _ in read], names), [file for _, file in read]


def _read_file(path: Path, name: str, options: ReadOptions) -> tuple[pa.Table, FileRead]:
    if path.exists() and not path.is_file():
        raise InputError(f"reading {name}: expected a file, got a pipe or a device (in {path.parent})")
    try:
        with path.open("rb") as stream:
            before = os.fstat(stream.fileno())
            data = stream.read()
            after, there = os.fstat(stream.fileno()), path.stat()
    except FileNotFoundError:
        raise NotFoundError(f"reading {name}: no such file (in {path.parent})") from None
    except OSError as error:
        raise StorageError(f"reading {name}: cannot be read: {error.strerror} (in {path.parent})") from error
    if not len({_state(before), _state(after), _state(there)}) == 1 or len(data) != before.st_size:
        raise StorageError(f"reading {name}: the file changed while it was read; read it again when it is complete")
    file = FileRead(name=name, sha256=hashlib.sha256(data).digest(), size=len(data))
    return parse_table(data, name, options), file


def _state(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _listed(folder: Path, options: ReadOptions) -> list[str]:
    """Return the files of a directory that are meant, in order."""
    found: list[str] = []

    def refuse(error: OSError) -> None:  # or its files would be missing without a word
        raise StorageError(f"reading {folder.name}: a directory cannot be read: {error.strerror}") from None

    for root, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        link = next((name for name in folders if Path(root, name).is_symlink()), None)
        if link is not None:
            raise InputError(f"reading {folder.name}: expected files, got a link to a directory, {link!r}")
        partitions = [name for name in folders if "=" in name]
        if partitions:
            raise InputError(
                f"reading {folder.name}: {partitions[0].partition('=')[0]!r} is in the names of directories, not in "
                "the files: read it with a Query over read_parquet('…/**', hive_partitioning = true)"
            )
        below = [Path(root, name).relative_to(folder).as_posix() for name in names if not name.startswith((".", "_"))]
        found += [name for name in below if options.pattern is None or fnmatchcase(name, options.pattern)]
    found.sort(key=os.fsencode)
    formats = [known and known[0] for known in map(format_of, found)]
    if not found:
        raise NotFoundError(f"reading {folder.name}: expected files in the directory, got none (in {folder.parent})")
    other = next((name for name, format_ in zip(found, formats, strict=True) if format_ != formats[0]), None)
    if other is not None or formats[0] is None:
        raise InputError(
            f"reading {folder.name}: expected files of one format, got {other or found[0]!r} too; "
            "choose with read={'pattern': '*.csv'}"
        )
    return found


def _joined(tables: list[pa.Table], names: list[str]) -> pa.Table:
    """Return the rows of tables one after the other, after insisting that their columns are the same."""
    first = tables[0].schema
    for table, name in zip(tables, names, strict=True):
        if sorted(table.column_names) != sorted(first.names):
            differ = sorted(set(table.column_names) ^ set(first.names))
            raise ColumnError(f"files with other columns: expected those of {names[0]} in {name}, differ in {differ}")
    wanted = {field.name: field.type for table in tables for field in table.schema if not pa.types.is_null(field.type)}
    aligned = []
    for table, name in zip(tables, names, strict=True):
        for column in first.names:
            found, type_ = table.schema.field(column).type, wanted.get(column, pa.null())
            if found != type_ and not pa.types.is_null(found):
                raise ColumnError(
                    f"files with other types: expected {type_} in column {column!r} of {name}, got {found}; "
                    "give types with read={'types': {…}}"
                )
        target = pa.schema([(column, wanted.get(column, pa.null())) for column in first.names])
        aligned.append(table.select(first.names).cast(target))
    return pa.concat_tables(aligned)
