"""Making a run of records durable: its vault shard, its segment, and the manifest that commits to them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.seal import sealed_columns, with_commitments
from backstory.columns.tree import root_of_subtrees
from backstory.ledger.ledger import Ledger
from backstory.ledger.people_index import write_people
from backstory.records.identity import time_text
from backstory.records.manifest import FileRef, Manifest
from backstory.records.schema import Schema
from backstory.records.sensitivity import groups_by_domain
from backstory.storage.checked_files import file_digest
from backstory.storage.disk import storage_errors
from backstory.storage.keys import key_name
from backstory.storage.segment import segment_metadata, segment_name, write_parquet
from backstory.storage.shard_file import SALT_KEY, SHARD_KEY


def write_segment(ledger: Ledger, stream: str, schema: Schema, table: pa.Table, first_seq: int) -> Manifest:
    """Make shard and segment of a run durable and return the manifest that commits to them.

    Args:
        ledger: The archive.
        stream: The run's stream, in hex.
        schema: Its schema.
        table: The records with all columns, in order of seq.
        first_seq: Sequence number of the first.

    Raises:
        ConflictError: Another sealer wrote the same run first.
        StorageError: Something could not be written.
    """
    name = segment_name(stream, first_seq, table.num_rows)
    shard_name = f"{name}.shard"
    keys = {
        domain: ledger.keys.create(key_name(shard_name, domain), SALT_KEY, SHARD_KEY)
        for domain in groups_by_domain(schema.groups)
    }
    path = ledger.layout.segments / f"{name}.parquet"
    subtrees: Future[bytes] = Future()

    def write(leaf: pa.Table) -> None:
        # A sealer that was too slow must not put its bytes in the place of another's.
        ledger.world.disk.write_with(
            path,
            lambda new: write_parquet(leaf, new, lambda: segment_metadata(schema.encoded, subtrees.result())),
            replace=False,
        )

    with ThreadPoolExecutor(2) as pool:  # Arrow compresses without the interpreter's lock while this thread hashes
        shard = pool.submit(_write_shard, ledger, shard_name, schema, table, keys)
        written = None if schema.groups else pool.submit(write, table)
        try:
            hashed = ledger.hasher.hash(schema, table, {domain: own[SALT_KEY] for domain, own in keys.items()})
            subtrees.set_result(hashed.subtrees)
        except BaseException as error:
            subtrees.set_exception(error)
            raise
        if written is None:
            shard.result()  # durable before anything commits to what is in it
            write(with_commitments(schema, table, hashed.commitments))
        else:
            written.result()
    with storage_errors("reading", path):  # it is gone where another sealer took over and took it for a leftover
        file = FileRef(name=path.name, sha256=file_digest(path), size=path.stat().st_size)
    root = root_of_subtrees(hashed.subtrees).hex()
    return describe(table, stream, schema, first_seq, root=root, file=file, shard=shard.result())


def describe(
    table: pa.Table, stream: str, schema: Schema, first_seq: int, *, root: str, file: FileRef, shard: FileRef | None
) -> Manifest:
    """Return the manifest of a run of records.

    Args:
        table: The records, of which the envelope is looked at, in order of seq.
        stream: Their stream, in hex.
        schema: Their schema.
        first_seq: Sequence number of the first.
        root: Root of their leaves, in hex.
        file: Their segment.
        shard: Their vault shard.
    """
    ends = table.slice(0, 1), table.slice(table.num_rows - 1, 1)
    ids = [part["id"][0].as_py().hex() for part in ends]
    times = [time_text(part["time"][0].value) for part in ends]
    return Manifest(
        kind=schema.kind,
        stream=stream,
        first_seq=first_seq,
        count=table.num_rows,
        first_id=ids[0],
        last_id=ids[1],
        first_time=times[0],
        last_time=times[1],
        contexts=tuple(sorted(context.hex() for context in pc.unique(table["context"]).to_pylist())),
        schema=schema.digest,
        root=root,
        file=file,
        shard=shard,
    )


def _write_shard(
    ledger: Ledger, name: str, schema: Schema, table: pa.Table, keys: Mapping[str, Mapping[str, bytes]]
) -> FileRef | None:
    if not schema.groups:
        return None
    write_people(ledger, name, schema, table)  # first: who seals the run again finds it, and makes it anew
    tables = {domain: (own, keys[domain][SHARD_KEY]) for domain, own in sealed_columns(schema, table).items()}
    data = ledger.vault.write_tables(name, tables, replace=False)
    return FileRef(name=name, sha256=hashlib.sha256(data).hexdigest(), size=len(data))
