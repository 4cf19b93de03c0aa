"""The hashing part of a verification, for one file or one run of row groups; runs in processes of its own.

Started by `backstory.verify.pool`: gives an empty answer once it works, then reads length-prefixed MessagePack tasks
from standard input and answers each on standard output. A file that makes a library crash takes only this process with
it.
"""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import flat_fields, flatten
from backstory.columns.commit import commitments, personal_leaves, salts
from backstory.columns.leaf_sort import Sorter
from backstory.columns.seal import pick_columns
from backstory.columns.tree import TreeBuilder, leaf_hashes, root_of_subtrees, split_hashes, subtree_roots
from backstory.errors import BackstoryError
from backstory.records import canonical
from backstory.records.limits import ROW_GROUP_ROWS, SUBTREE_ROWS
from backstory.records.schema import dataset_schema, parse_schema
from backstory.storage.checked_files import file_digest
from backstory.storage.disk import Disk
from backstory.storage.keys import KeyStore
from backstory.storage.pipe import receive, send
from backstory.storage.segment import ParquetReader
from backstory.storage.vault import Vault

_FILES_KEPT = 2
_PAYLOAD = re.compile(rb'\{"blob": "([0-9a-f]{64})", "size": [0-9]+, "type": "[A-Za-z]+"\}')
"""How the text of a value says that a blob holds it."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Opener:
    """Opens files and keeps the latest open: a merged file is asked for by each segment, a shard by each run."""

    def __init__(self) -> None:
        """Begin with none open."""
        self.parquet = lru_cache(_FILES_KEPT)(lambda path: ParquetReader(Path(path)))
        self._shard: tuple[tuple[str, str, str], pa.Table] | None = None

    def shard(self, vault: str, keys: str, name: str) -> pa.Table:
        """Return the sealed values of a segment.

        Raises:
            BackstoryError: They cannot be read.
        """
        asked = (vault, keys, name)
        if self._shard is None or self._shard[0] != asked:
            self._shard = None  # before the next takes its room
            self._shard = asked, Vault(Path(vault), KeyStore(Path(keys), Disk()), Disk()).read_table(name)
        return self._shard[1]


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """Hash a file, or the rows of some row groups of a Parquet file.

    Attributes:
        path: The file.
        digest: Whether its bytes are to be hashed, and nothing else.
        weight: About how many rows, or thousands of bytes, there are to hash.
        first_group: First row group; of a merged file, counted from where the segment begins.
        end_group: Last row group, exclusive.
        in_order: Whether the leaves are wanted only in their order, and not sorted too.
        offset: Row groups of the file before the segment's first.
        stream: For a segment its stream in hex, else None.
        first_seq: For a segment the sequence number of its first record.
        schema: For a segment its schema, canonical JSON.
        shard: For a segment with sealed groups the shard's name, where it can be opened.
        vault: Directory of the vault.
        keys: Directory of the keys.
    """

    path: str
    digest: bool = False
    weight: int = 0
    first_group: int = 0
    end_group: int = 0
    in_order: bool = True
    offset: int = 0
    stream: str | None = None
    first_seq: int = 0
    schema: bytes = b""
    shard: str | None = None
    vault: str = ""
    keys: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a task found.

    Attributes:
        sha256: Digest of the file's bytes, in hex; empty where they were not asked for or are not there.
        rows: Rows hashed.
        subtrees: Their subtree roots.
        content: Of a table about people the root of its rows without salts, and its columns; of one whose leaves are
            wanted sorted the root over these.
        contexts: Contexts the records name, in hex.
        payloads: Blobs that values of records stand for, in hex.
        first_id: First id, in hex.
        last_id: Last id, in hex.
        failed: What does not verify.
        unknown: What could not be checked.
    """

    sha256: str = ""
    rows: int = 0
    subtrees: bytes = b""
    content: bytes = b""
    contexts: list[str] = []
    payloads: list[str] = []
    first_id: str = ""
    last_id: str = ""
    failed: list[str] = []
    unknown: list[str] = []


def work(task: Task, opener: Opener) -> Answer:
    """Hash what a task says and check what can be checked from that alone."""
    try:
        if task.digest:
            return _digest(task)
        if task.stream is None and task.shard is not None:
            return _check_personal(task)
        reader = opener.parquet(task.path)
        if not task.in_order:
            return _check_sorted(task, reader)
        table = reader.read_groups(range(task.offset + task.first_group, task.offset + task.end_group))
        subtrees = subtree_roots(leaf_hashes(table))
        if task.stream is None:
            return Answer(rows=table.num_rows, subtrees=subtrees)
        return _check_records(task, table, subtrees, opener)
    except BackstoryError as error:
        return Answer(failed=[str(error)])
    except Exception as error:  # noqa: BLE001  a damaged file may make a library raise anything
        return Answer(failed=[f"does not decode: {type(error).__name__}"])


def _digest(task: Task) -> Answer:
    """Hash the bytes of a file; one that is not there has no digest."""
    try:
        return Answer(sha256=file_digest(Path(task.path)))
    except FileNotFoundError:
        return Answer()
    except OSError as error:
        return Answer(unknown=[f"could not be read: {error.strerror}"])


def _check_personal(task: Task) -> Answer:
    """Hash the salted rows of a table about people, and its rows without salts, which its keyed content is made of."""
    keys = KeyStore(Path(task.keys), Disk())
    shard = task.shard or ""
    if not keys.has(shard):
        return Answer(unknown=[f"{shard} was not checked: its keys are not here"])
    vault = Vault(Path(task.vault), keys, Disk())
    if not vault.path(shard).is_file():
        return Answer(unknown=[f"{shard} was not checked: it is not here"])
    table = vault.read_table(shard)
    subtrees = subtree_roots(personal_leaves(table, keys.key(shard, "salt_key")))
    plain = root_of_subtrees(subtree_roots(leaf_hashes(table)))
    names = canonical.encode(dataset_schema(flat_fields(table.schema)))
    return Answer(rows=table.num_rows, subtrees=subtrees, content=plain + names)


def _check_sorted(task: Task, reader: ParquetReader) -> Answer:
    """Hash rows in their order, and sorted by their hashes; one row group in memory at a time."""
    ordered, in_bytes, rows = TreeBuilder(keep_subtrees=True), Sorter(), 0
    for group in range(task.first_group, task.end_group):
        table = reader.read_groups([group])
        leaves = leaf_hashes(table)
        ordered.add(leaves)
        in_bytes.add(leaves)
        rows += table.num_rows
    return Answer(rows=rows, subtrees=ordered.subtrees(), content=in_bytes.root())


def _check_records(task: Task, table: pa.Table, subtrees: bytes, opener: Opener) -> Answer:
    failed: list[str] = []
    unknown: list[str] = []
    schema = parse_schema(task.schema)
    names = sorted((name for name, _ in flat_fields(table.schema)), key=str.encode)
    if tuple(names) != schema.leaf_names:
        failed.append("columns are not those of the schema")
        return Answer(rows=table.num_rows, subtrees=subtrees, failed=failed)
    first = task.first_seq + task.first_group * ROW_GROUP_ROWS
    seqs = table["seq"].to_numpy()
    if not np.array_equal(seqs, np.arange(first, first + len(seqs), dtype=np.uint64)):
        failed.append(f"seq does not run from {first} without gaps")
    if pc.unique(table["stream"]).to_pylist() != [bytes.fromhex(task.stream or "")]:
        failed.append("a record is of another stream")
    ids = np.frombuffer(_joined(table["id"]), ">u8").reshape(-1, 2)
    rises = (ids[1:, 0] > ids[:-1, 0]) | ((ids[1:, 0] == ids[:-1, 0]) & (ids[1:, 1] > ids[:-1, 1]))
    if not rises.all():
        failed.append("ids do not rise")
    if task.shard is not None:
        _check_commitments(task, table, failed, unknown, opener)
    return Answer(
        rows=table.num_rows,
        subtrees=subtrees,
        contexts=[value.hex() for value in pc.unique(table["context"]).to_pylist()],
        payloads=sorted(_payloads(table)),
        first_id=table["id"][0].as_py().hex(),
        last_id=table["id"][-1].as_py().hex(),
        failed=failed,
        unknown=unknown,
    )


def _joined(values: pa.ChunkedArray) -> bytes:
    """Return the bytes of values without nulls, one after another."""
    parts: list[bytes | memoryview] = []
    for chunk in values.chunks:
        if pa.types.is_fixed_size_binary(chunk.type):
            width = chunk.type.byte_width
            parts.append(memoryview(chunk.buffers()[1])[chunk.offset * width : (chunk.offset + len(chunk)) * width])
        else:
            parts += chunk.to_pylist()
    return b"".join(parts)


def _payloads(table: pa.Table) -> set[str]:
    """Return the digests of blobs that values stand for: as a column called `blob`, or as text that says so."""
    found: set[str] = set()
    for column in flatten(table):
        if column.type != "string" or column.values.null_count == len(column.values):
            continue
        if column.name.endswith(".blob"):
            found |= {text for text in pc.unique(column.values).to_pylist() if text and _DIGEST.fullmatch(text)}
            continue
        data = column.values.buffers()[2]
        found |= {match[1].decode() for match in _PAYLOAD.finditer(memoryview(data))} if data is not None else set()
    return found


def _check_commitments(task: Task, table: pa.Table, failed: list[str], unknown: list[str], opener: Opener) -> None:
    """Check that the sealed values open the commitments of the leaves."""
    schema = parse_schema(task.schema)
    keys = KeyStore(Path(task.keys), Disk())
    shard = task.shard or ""
    if not keys.has(shard):
        unknown.append(f"sealed values of {shard} were not checked: its keys are not here")
        return
    start = task.first_group * ROW_GROUP_ROWS
    try:
        sealed = opener.shard(task.vault, task.keys, shard).slice(start, table.num_rows)
        salt_key = keys.key(shard, "salt_key")
    except BackstoryError as error:
        failed.append(str(error))
        return
    all_salts = salts(salt_key, start, table.num_rows, len(schema.groups))
    for position, group in enumerate(schema.groups):
        columns = pick_columns(sealed, [column.name for column in schema.group_columns(group)])
        computed = split_hashes(commitments(columns, group, all_salts[:, position]))
        stored = pc.struct_field(table["commitment"].combine_chunks(), group).to_pylist()
        wrong = [row for row, (a, b) in enumerate(zip(computed, stored, strict=True)) if a != b]
        if wrong:
            seq = task.first_seq + start + wrong[0]
            failed.append(
                f"{len(wrong)} commitments do not open under {shard} (group {group!r}, the first at seq {seq})"
            )


def first_difference(computed: bytes, stored: bytes) -> int | None:
    """Return the first row of the first run of 256 rows whose subtree roots differ."""
    pairs = zip(split_hashes(computed), split_hashes(stored), strict=False)
    return next((i * SUBTREE_ROWS for i, (a, b) in enumerate(pairs) if a != b), None)


def main() -> None:
    """Say that this process works, then answer tasks until standard input ends."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    opener = Opener()
    send(sys.stdout.buffer, Answer())
    while (data := receive(sys.stdin.buffer)) is not None:
        send(sys.stdout.buffer, work(msgspec.msgpack.decode(data, type=Task), opener))
