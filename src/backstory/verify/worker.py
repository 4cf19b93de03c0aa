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
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import flat_fields, flatten
from backstory.columns.commit import kept_leaves
from backstory.columns.leaf_sort import Sorter
from backstory.columns.seal import wrong_openings
from backstory.columns.tree import HASH_SIZE, TreeBuilder, leaf_hashes, root_of_subtrees, split_hashes, subtree_roots
from backstory.columns.trimmed import gone_rows, roots_with_gone, with_stubs
from backstory.errors import BackstoryError, NotFoundError
from backstory.records import canonical
from backstory.records.limits import ROW_GROUP_ROWS, SUBTREE_ROWS
from backstory.records.schema import dataset_schema, parse_schema
from backstory.records.sensitivity import PERSONAL_DOMAIN, groups_by_domain
from backstory.storage.checked_files import file_digest
from backstory.storage.pipe import receive, send
from backstory.storage.segment import ParquetReader, subtree_count_of
from backstory.storage.shard_file import OpenSection, open_sections

_FILES_KEPT = 2
_PAYLOAD = re.compile(rb'\{"blob": "([0-9a-f]{64})", "size": [0-9]+, "type": "[A-Za-z]+"\}')
"""How the text of a value says that a blob holds it."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Opener:
    """Opens files and keeps the latest open: a merged file is asked for by each segment, a shard by each run."""

    def __init__(self) -> None:
        """Begin with none open."""
        self.parquet = lru_cache(_FILES_KEPT)(lambda path: ParquetReader(Path(path)))
        self._shard: tuple[str, dict[str, OpenSection]] = ("", {})

    def section(self, task: Task, domain: str) -> OpenSection:
        """Return the sealed values of one key domain of the shard of a task.

        Raises:
            BackstoryError: They cannot be read.
        """
        path = Path(task.vault) / (task.shard or "")
        if self._shard[0] != str(path):
            self._shard = (str(path), {})  # before the next takes its room
        found = self._shard[1].get(domain)
        if found is None:
            found = open_sections(path, lambda name: task.keys[name], [domain])[domain]
            self._shard[1][domain] = found
        return found


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
        first_subtree: Subtree roots of the file before the segment's first.
        stream: For a segment its stream in hex, else None.
        first_seq: For a segment the sequence number of its first record.
        schema: For a segment its schema, canonical JSON.
        shard: For a segment with sealed groups the shard's name, where it can be opened.
        vault: Directory of the vault.
        keys: The shard's keys, by key domain and part, as far as they are here.
    """

    path: str
    digest: bool = False
    weight: int = 0
    first_group: int = 0
    end_group: int = 0
    in_order: bool = True
    offset: int = 0
    first_subtree: int = 0
    stream: str | None = None
    first_seq: int = 0
    schema: bytes = b""
    shard: str | None = None
    vault: str = ""
    keys: dict[str, dict[str, bytes]] = {}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a task found.

    Attributes:
        sha256: Digest of the file's bytes, in hex; empty where they were not asked for or are not there.
        rows: Rows hashed, or taken from what was kept of them.
        gone: How many of these are gone.
        subtrees: Their subtree roots.
        content: Of a table about people the root of its rows without salts, and its columns; of one whose leaves are
            wanted sorted the root over these.
        contexts: Contexts the records name, in hex.
        payloads: Blobs that values of records stand for, in hex.
        first_id: First id, in hex.
        last_id: Last id, in hex.
        erased: How many sealed values (a group of a row each), or rows of a table, were erased.
        failed: What does not verify.
        unknown: What could not be checked.
    """

    sha256: str = ""
    rows: int = 0
    gone: int = 0
    subtrees: bytes = b""
    content: bytes = b""
    contexts: list[str] = []
    payloads: list[str] = []
    first_id: str = ""
    last_id: str = ""
    erased: int = 0
    failed: list[str] = []
    unknown: list[str] = []


def work(task: Task, opener: Opener) -> Answer:
    """Hash what a task says and check what can be checked from that alone."""
    try:
        if task.digest:
            return _digest(task)
        if task.stream is None and task.shard is not None:
            return _check_personal(task, opener)
        reader = opener.parquet(task.path)
        if not task.in_order:
            return _check_sorted(task, reader)
        table = reader.read_groups(range(task.offset + task.first_group, task.offset + task.end_group))
        if task.stream is not None and reader.is_trimmed:
            return _check_trimmed(task, reader, table, opener)
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


def _check_personal(task: Task, opener: Opener) -> Answer:
    """Hash the salted rows of a table about people, and its rows without salts, which its keyed content is made of.

    Of one from which rows were erased there is no keyed content.
    """
    if PERSONAL_DOMAIN not in task.keys:
        return Answer(unknown=[f"{task.shard} was not checked: its keys are not here"])
    try:
        section = opener.section(task, PERSONAL_DOMAIN)
    except NotFoundError as error:
        return Answer(unknown=[f"{task.shard} was not checked: {error}"])
    table, salts = section.run(0, section.rows), section.salts(1)
    subtrees = subtree_roots(kept_leaves(table, salts))
    if salts.erased:
        return Answer(rows=table.num_rows, subtrees=subtrees, erased=salts.erased)
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


def _check_records(
    task: Task, rows: pa.Table, subtrees: bytes, opener: Opener, *, there: npt.NDArray[np.int64] | None = None
) -> Answer:
    """Check records beside their hashes; where some are gone, those that are `there`."""
    table = rows if there is None else rows.take(pa.array(there))
    failed: list[str] = []
    unknown: list[str] = []
    schema = parse_schema(task.schema)
    names = sorted((name for name, _ in flat_fields(table.schema)), key=str.encode)
    if tuple(names) != schema.leaf_names:
        failed.append("columns are not those of the schema")
        return Answer(rows=table.num_rows, subtrees=subtrees, failed=failed)
    first = task.first_seq + task.first_group * ROW_GROUP_ROWS
    seqs = table["seq"].to_numpy()
    expected = np.arange(len(seqs)) if there is None else there
    if not np.array_equal(seqs, (expected + first).astype(np.uint64)):
        failed.append(f"seq does not run from {first} without gaps")
    if pc.unique(table["stream"]).to_pylist() != [bytes.fromhex(task.stream or "")]:
        failed.append("a record is of another stream")
    ids = np.frombuffer(_joined(table["id"]), ">u8").reshape(-1, 2)
    rises = (ids[1:, 0] > ids[:-1, 0]) | ((ids[1:, 0] == ids[:-1, 0]) & (ids[1:, 1] > ids[:-1, 1]))
    if not rises.all():
        failed.append("ids do not rise")
    erased = 0 if task.shard is None else _check_commitments(task, rows, failed, unknown, opener)
    return Answer(
        rows=rows.num_rows,
        subtrees=subtrees,
        contexts=[value.hex() for value in pc.unique(table["context"]).to_pylist()],
        payloads=sorted(_payloads(table)),
        first_id=table["id"][0].as_py().hex(),
        last_id=table["id"][-1].as_py().hex(),
        erased=erased,
        failed=failed,
        unknown=unknown,
    )


def _check_trimmed(task: Task, reader: ParquetReader, table: pa.Table, opener: Opener) -> Answer:
    """Check what is there of records some of which are gone; of these it is what was kept that is hashed."""
    leaves, begin = leaf_hashes(table), task.first_subtree + task.first_group * ROW_GROUP_ROWS // SUBTREE_ROWS
    end = begin + subtree_count_of(table.num_rows)
    stubs = reader.stubs((task.offset + task.first_group) * ROW_GROUP_ROWS, table.num_rows)
    roots = roots_with_gone(
        with_stubs(leaves, table["id"], stubs), table["id"], reader.subtrees()[begin * HASH_SIZE : end * HASH_SIZE]
    )
    gone = gone_rows(table["id"])
    if gone.all():
        failed: list[str] = []
        unknown: list[str] = []
        erased = 0 if task.shard is None else _check_commitments(task, table, failed, unknown, opener)
        return Answer(rows=len(gone), gone=len(gone), subtrees=roots, erased=erased, failed=failed, unknown=unknown)
    found = _check_records(task, table, roots, opener, there=np.nonzero(~gone)[0])
    return msgspec.structs.replace(found, gone=int(gone.sum()))


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


def _check_commitments(task: Task, table: pa.Table, failed: list[str], unknown: list[str], opener: Opener) -> int:
    """Check that the sealed values open the commitments of the leaves; return how many of them were erased."""
    schema, start, erased = parse_schema(task.schema), task.first_group * ROW_GROUP_ROWS, 0
    for domain, groups in groups_by_domain(schema.groups).items():
        if domain not in task.keys:
            unknown.append(f"sealed values of {task.shard} were not checked: its keys are not here (domain {domain})")
            continue
        try:
            section = opener.section(task, domain)
            salts, sealed = section.salts(len(groups)), section.run(start, table.num_rows)
            if sealed.num_rows != table.num_rows:
                failed.append(f"{task.shard} has {section.rows} rows (domain {domain}), not those of its segment")
                continue
            erased += int(np.count_nonzero(~salts.has(start, table.num_rows)))
            for group in groups:
                wrong = wrong_openings(schema, group, sealed, salts, start, table["commitment"])
                if len(wrong):
                    what = f"group {group!r}, the first at seq {task.first_seq + start + int(wrong[0])}"
                    failed.append(f"{len(wrong)} commitments do not open under {task.shard} ({what})")
        except NotFoundError as error:
            unknown.append(f"sealed values of {task.shard} were not checked: {error}")
        except BackstoryError as error:
            failed.append(str(error))
    return erased


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
