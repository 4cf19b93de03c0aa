"""Faults and frauds that need no key: whoever can write to the disk can do them, and so can the disk itself."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from backstory.drill.checks import AGAINST, ANYTHING, AUDIT, MONITOR, OPENING, PROMISE, WITNESS, Stage
from backstory.drill.copies import SCRATCH, link_copy, put, put_back
from backstory.drill.forge import checkpoint_of, read_entries
from backstory.drill.plant import NotPlantableError, Plant
from backstory.ledger.ledger import Ledger
from backstory.ledger.seal import seal_all
from backstory.records import canonical
from backstory.storage.keys import KeyStore
from backstory.storage.layout import read_layout
from backstory.storage.lock import LockStore
from backstory.storage.segment import COUNTS_KEY, SCHEMA_KEY, SUBTREES_KEY, write_parquet
from backstory.storage.spool import Spool
from backstory.tlog.tile import TILE_WIDTH, encode_bundle, tile_at

_METADATA = (SCHEMA_KEY, SUBTREES_KEY, COUNTS_KEY)
_ROWS_MIN = 2
_HISTORY = (AGAINST, WITNESS, MONITOR)


def edit_record(stage: Stage) -> str:
    """Give one record another value, in a file that is good Parquet."""

    def change(table: pa.Table) -> pa.Table:
        row = table.num_rows // 2
        at = table.column_names.index("status")
        values = table["status"].to_pylist()
        values[row] = "error" if values[row] == "ok" else "ok"
        return table.set_column(at, "status", pa.array(values, table.schema.field(at).type))

    path = _rewrite_segment(stage, change)
    return f"record in the middle of segments/{path.name} says another status; the file was written anew"


def reorder_records(stage: Stage) -> str:
    """Let two records of a segment change places."""

    def change(table: pa.Table) -> pa.Table:
        order = list(range(table.num_rows))
        order[0], order[1] = order[1], order[0]
        return table.take(pa.array(order))

    path = _rewrite_segment(stage, change)
    return f"the first two records of segments/{path.name} change places; the file was written anew"


def swap_segments(stage: Stage) -> str:
    """Let two segment files change names."""
    paths = _files(read_layout(stage.root).segments, "*.parquet", "segment files", least=2)
    one, other = paths[0], paths[-1]
    kept = one.read_bytes()
    put(one, other.read_bytes())
    put(other, kept)
    stage.names = (one.name, other.name)
    return f"segments/{one.name} and segments/{other.name} have each other's content"


def truncate_segment(stage: Stage) -> str:
    """Cut a segment file in half."""
    path = _largest_segment(stage)
    put(path, path.read_bytes()[: path.stat().st_size // 2])
    stage.names = (path.name,)
    return f"segments/{path.name} is cut in half"


def edit_entry(stage: Stage) -> str:
    """Change one digit of one entry of the log, nothing else."""

    def change(entries: list[bytes]) -> list[bytes]:
        time = str(canonical.parse_object(entries[-1], "entry")["time"])
        other = ("1" if time[0] != "1" else "2") + time[1:]
        return [*entries[:-1], entries[-1].replace(time.encode(), other.encode())]

    return f"the last entry of {_rewrite_bundle(stage, change)} says another year"


def reorder_entries(stage: Stage) -> str:
    """Let two entries of the log change places."""

    def change(entries: list[bytes]) -> list[bytes]:
        if len(entries) < _ROWS_MIN:
            raise NotPlantableError("the newest bundle of the log has one entry")
        return [*entries[:-2], entries[-1], entries[-2]]

    return f"the last two entries of {_rewrite_bundle(stage, change)} change places"


def edit_catalog(stage: Stage) -> str:
    """Let the catalog say that a segment begins at another record."""
    path = read_layout(stage.root).catalog
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            changed = connection.execute("UPDATE segment SET first_id = '0' || substr(first_id, 2, 31) || '0'")
            connection.commit()
    except sqlite3.Error as error:
        raise NotPlantableError(f"the catalog cannot be changed: {error.sqlite_errorname}") from error
    if changed.rowcount < 1:
        raise NotPlantableError("the catalog names no segment")
    stage.names = ("catalog.sqlite",)
    return "catalog.sqlite says other ids for every segment"


def delete_segment(stage: Stage) -> str:
    """Delete a segment file."""
    return _delete(stage, _largest_segment(stage))


def delete_blob(stage: Stage) -> str:
    """Delete the schema of the newest segment."""
    layout = read_layout(stage.root)
    for entry in reversed(read_entries(layout, checkpoint_of(stage.root)[1].size)):
        document = canonical.parse_object(entry, "entry")
        if document.get("type") == "segment.sealed":
            digest = str(document["schema"])
            path = layout.blobs / digest[:2] / digest[2:]
            said = _delete(stage, path)
            stage.names = (digest, path.name)
            return f"{said}, the schema of a segment"
    raise NotPlantableError("nothing is sealed")


def delete_shard(stage: Stage) -> str:
    """Delete sealed values."""
    return _delete(stage, _files(read_layout(stage.root).vault, "*-*.shard", "shards")[-1])


def erase_key(stage: Stage) -> str:
    """Destroy the keys of sealed values without any erasure being recorded."""
    path = _files(read_layout(stage.root).keys, "*-*.shard.json", "keys of shards")[-1]
    path.unlink()
    stage.names = (path.name.removesuffix(".json"),)
    return f"keys/{path.name} is destroyed, and no entry says that anything was erased"


def delete_spool_file(stage: Stage) -> str:
    """Delete a file of records that wait to be sealed."""
    stream, folder = _waiting(stage)
    path = _files(folder, "frames-*", "files of frames")[0]
    path.unlink()
    stage.names = (stream,)
    return f"spool/{stream}/{path.name} is deleted while its records wait to be sealed"


def drop_spool_file(stage: Stage) -> str:
    """Drop what waits in the spool, then seal as if nothing had been."""
    stream = _drop_and_seal(stage)
    stage.names = (stream,)
    return f"spool/{stream} is dropped before sealing, and the archive was opened and sealed after it"


def break_promise(stage: Stage) -> str:
    """Drop promised records, and the operator's own copies of the promises with them."""
    stream = _drop_and_seal(stage)
    folder = stage.root / "promises"
    for path in folder.glob(f"{stream}*"):
        path.unlink()
    stage.names = (stream,)
    return f"spool/{stream} is dropped before sealing, and promises/{stream} with it"


def truncate_log(stage: Stage) -> str:
    """Cut the log back to an earlier checkpoint, and put the lock store back with it."""
    older = _older(stage)
    layout = read_layout(stage.root)
    kept = read_layout(older)
    _, before = checkpoint_of(stage.root)
    put_back(kept.log, layout.log)
    put_back(kept.lock, layout.lock)
    put_back(kept.catalog, layout.catalog)
    stage.names = ("segments/",)
    return f"the log is cut from {before.size} entries to {checkpoint_of(stage.root)[1].size}, the lock store put back"


def roll_back(stage: Stage) -> str:
    """Put back an older copy of everything, the lock store too."""
    older = _older(stage)
    shutil.rmtree(stage.root)
    link_copy(older, stage.root)
    stage.names = ANYTHING
    return "the whole archive is put back from an older copy, lock store included"


def roll_back_without_lock(stage: Stage) -> str:
    """Put back an older copy of everything but the lock store."""
    lock = read_layout(stage.root).lock
    kept = lock.read_bytes()
    roll_back(stage)
    put(lock, kept)
    stage.names = (lock.name,)
    return "the archive is put back from an older copy, and the lock store, kept elsewhere, is not"


FAULTS = (
    Plant(
        name="edit-record",
        fault="edit",
        means="a prediction would say something it did not say when it was made",
        needed=(AUDIT,),
        act=edit_record,
    ),
    Plant(
        name="edit-entry",
        fault="edit",
        means="who did what when would be another story",
        needed=(AUDIT,),
        act=edit_entry,
    ),
    Plant(
        name="edit-catalog",
        fault="edit",
        means="questions would pass over predictions that are there",
        needed=(AUDIT,),
        act=edit_catalog,
    ),
    Plant(
        name="delete-segment",
        fault="delete",
        means="predictions would be gone",
        needed=(AUDIT,),
        act=delete_segment,
    ),
    Plant(
        name="delete-blob",
        fault="delete",
        means="what a prediction was made with could not be shown any more",
        needed=(AUDIT,),
        act=delete_blob,
    ),
    Plant(
        name="delete-shard",
        fault="delete",
        means="values about people would be gone without an erasure",
        needed=(AUDIT,),
        act=delete_shard,
    ),
    Plant(
        name="delete-spool-file",
        fault="delete",
        means="predictions that were acknowledged would never be sealed",
        needed=(AUDIT,),
        act=delete_spool_file,
    ),
    Plant(
        name="reorder-records",
        fault="reorder",
        means="what came first would be another prediction",
        needed=(AUDIT,),
        act=reorder_records,
    ),
    Plant(
        name="reorder-entries",
        fault="reorder",
        means="what was decided first would be something else",
        needed=(AUDIT,),
        act=reorder_entries,
    ),
    Plant(
        name="swap-segments",
        fault="swapped segments",
        means="predictions would stand where others belong",
        needed=(AUDIT,),
        act=swap_segments,
    ),
    Plant(
        name="truncate-segment",
        fault="truncate",
        means="the end of a segment would be gone",
        needed=(AUDIT,),
        act=truncate_segment,
    ),
    Plant(
        name="truncate-log",
        fault="truncate",
        means="the newest predictions would never have been made",
        needed=(AUDIT, *_HISTORY),
        act=truncate_log,
    ),
    Plant(
        name="rollback-whole",
        fault="rollback",
        means="the newest predictions would never have been made, and nothing in the archive says so",
        needed=_HISTORY,
        shown=(AUDIT,),
        act=roll_back,
    ),
    Plant(
        name="rollback-without-lock-store",
        fault="rollback",
        means="a second history would be written from an old copy",
        needed=(AUDIT, OPENING, *_HISTORY),
        act=roll_back_without_lock,
    ),
    Plant(
        name="drop-spool-file",
        fault="dropped spool file",
        means="predictions that were acknowledged would be missing from the log: a gap",
        needed=(AUDIT, PROMISE),
        act=drop_spool_file,
    ),
    Plant(
        name="break-promise",
        fault="broken promise",
        means="an unwelcome prediction would be dropped before it is sealed, with every trace the operator has of it",
        needed=(PROMISE,),
        shown=(AUDIT,),
        act=break_promise,
    ),
    Plant(
        name="erase-key",
        fault="erased key",
        means="values about people could not be opened any more, and nobody would have decided that",
        needed=(AUDIT,),
        act=erase_key,
    ),
)
"""In the order of the report."""


def _files(folder: Path, pattern: str, what: str, *, least: int = 1) -> list[Path]:
    found = sorted(path for path in folder.glob(pattern) if path.is_file())
    if len(found) < least:
        raise NotPlantableError(f"the archive has {len(found) or 'no'} {what}")
    return found


def _largest_segment(stage: Stage) -> Path:
    paths = _files(read_layout(stage.root).segments, "*.parquet", "segment files")
    return max(paths, key=lambda path: path.stat().st_size)


def _rewrite_segment(stage: Stage, change: Callable[[pa.Table], pa.Table]) -> Path:
    path = _largest_segment(stage)
    table, metadata = pq.read_table(path), pq.ParquetFile(path).metadata.metadata
    if table.num_rows < _ROWS_MIN:
        raise NotPlantableError("the largest segment has one record")
    path.unlink()  # other copies share it
    write_parquet(change(table), path, lambda: {key: metadata[key] for key in _METADATA if key in metadata})
    stage.names = (path.name,)
    return path


def _rewrite_bundle(stage: Stage, change: Callable[[list[bytes]], list[bytes]]) -> str:
    layout = read_layout(stage.root)
    size = checkpoint_of(stage.root)[1].size
    bundle = tile_at(size, None, (size - 1) // TILE_WIDTH)
    entries = read_entries(layout, size)[bundle.index * TILE_WIDTH :]
    put(layout.log / bundle.path, encode_bundle(change(entries)))
    stage.names = (bundle.path, "tile/entries")
    return f"log/{layout.config.incarnation}/{bundle.path}"


def _delete(stage: Stage, path: Path) -> str:
    path.unlink()
    stage.names = (path.name,)
    return f"{path.relative_to(stage.root)} is deleted"


def _waiting(stage: Stage) -> tuple[str, Path]:
    """Return the newest stream in the spool that holds records no segment has, and its directory."""
    layout = read_layout(stage.root)
    spool, heads = (
        Spool(layout.spool, KeyStore(layout.keys, SCRATCH.disk), SCRATCH.disk),
        LockStore(layout.lock).heads(),
    )
    for stream in sorted(spool.stream_names(), reverse=True):
        if any(frame.count for frame in spool.frames(spool.info(stream), heads.get(stream, 0))):
            return stream, layout.spool / stream
    raise NotPlantableError(f"no records wait in the spool, and none could be added: {stage.scene.no_key}")


def _drop_and_seal(stage: Stage) -> str:
    if stage.scene.added is None:
        raise NotPlantableError(f"nothing can be sealed: {stage.scene.no_key}")
    stream, folder = _waiting(stage)
    shutil.rmtree(folder)
    stage.promise = stage.scene.added.promise
    with contextlib.closing(Ledger(stage.root, SCRATCH, writable=True, vkey=None, actor=None)) as ledger:
        seal_all(ledger)
    return stream


def _older(stage: Stage) -> Path:
    if stage.scene.older is None:
        raise NotPlantableError(f"there is no older copy of this archive, and none could be made: {stage.scene.no_key}")
    return stage.scene.older
