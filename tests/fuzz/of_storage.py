"""Parsers of the archive's and the spool's files, and of what an auditor, a monitor and an authority keep."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import io
import shutil
import tempfile
from functools import cache
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from asn1crypto import tsp
from cryptography.hazmat.primitives.serialization import Encoding
from tests.fuzz.of_log import notes
from tests.fuzz.parser import Parser, text_of
from tests.support.authority import Authority
from tests.support.ledgers import OPEN, make_body
from tests.support.receipts import SIGNER

from backstory.columns.record_table import ROW_ENVELOPE, table_of_rows
from backstory.errors import FormatError, InputError, UnsupportedVersionError, VerificationError
from backstory.records import canonical
from backstory.storage.disk import Disk
from backstory.storage.keys import KeyStore
from backstory.storage.layout import ArchiveConfig, read_layout
from backstory.storage.segment import (
    COUNTS_KEY,
    SUBTREES_KEY,
    ParquetReader,
    merged_metadata,
    segment_metadata,
    segment_range,
    write_parquet,
)
from backstory.storage.spool import Spool, StreamInfo
from backstory.storage.spool_frames import (
    END,
    HEARTBEAT,
    MAGIC,
    RECORD_KINDS,
    ROWS,
    SYNCED,
    Frame,
    encode_frame,
    read_frames,
    read_on,
    resumed_seq,
    torn_size,
)
from backstory.storage.worker_spool import WorkerSpoolInfo, read_worker_spool, write_worker_spool
from backstory.tlog.limits import TREE_SIZE_MAX
from backstory.verify.against import read_kept
from backstory.verify.state import parse_state
from backstory.verify.time_stamp import read_roots, read_stamp

VECTORS = Path(__file__).parents[1] / "vectors"
STREAM = "0123456789abcdef" * 2
MESSAGE = b"stamped"


class _FastDisk(Disk):
    """A disk that flushes nothing."""

    def sync(self, path):
        """Do nothing."""

    def sync_directory(self, path):
        """Do nothing."""


DISK = _FastDisk()


@cache
def folder():
    """Return a directory of this process."""
    path = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def written(name, data):
    """Write a file and return its path."""
    path = folder() / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


# --- Spool ------------------------------------------------------------------------------------------------------------


def _check_frames(data):
    path = written("frames-0", data)
    reached, end_seq = read_on(path, 0)
    resumed_seq(path)
    assert 0 <= torn_size(path) <= len(data)
    frames = list(read_frames(path))
    yield
    whole = MAGIC + b"".join(encode_frame(f.kind, f.first_seq, f.count, f.payload) for f in frames)
    assert data.startswith(whole)
    assert (reached, len(data) - torn_size(path)) == (len(whole), len(whole))
    records = [frame for frame in frames if frame.kind in RECORD_KINDS]
    assert end_seq == (records[-1].first_seq + records[-1].count if records else None)


def _frames():
    vectors = msgspec.json.decode((VECTORS / "spool.json").read_bytes())
    marks = [(ROWS, 7, 3, b"rows"), (HEARTBEAT, 10, 0, b"{}"), (SYNCED, 10, 0, b""), (END, 10, 0, b"{}")]
    return [*map(bytes.fromhex, vectors["files"]), MAGIC + b"".join(encode_frame(*mark) for mark in marks), MAGIC]


def _large_frames():
    """Return a file whose tail, at each of its bytes, could be what says that all before it is durable."""
    return [MAGIC + b"\0" * (1 << 20), MAGIC + (b"\0\0\0\0abcd\x53" + bytes(12)) * 40_000, MAGIC + b"\xff" * 64]


def _info():
    return StreamInfo(
        stream=STREAM, schema=OPEN.digest, encrypted=False, opened="2026-01-01T00:00:00.000000000Z",
        policy={"durability": "sync"}, spill="/spill", job={"name": "n", "part": "p", "run": "r"},
    )  # fmt: skip


def _spool():
    return Spool(folder() / "spool", KeyStore(folder() / "keys", DISK), DISK)


def _check_stream(data):
    path = folder() / "spool" / STREAM
    path.mkdir(parents=True, exist_ok=True)
    (path / "stream.json").write_bytes(data)
    info = _spool().info(STREAM)
    yield
    (path / "stream.json").write_bytes(canonical.encode(info.document()))
    assert _spool().info(STREAM) == info


def _check_rows(data):
    """Rows are read as the records that the frame speaks of, three of them."""
    table = table_of_rows(OPEN, STREAM, 7, 3, data)
    yield
    assert table.num_rows == 3


def _row_lists():
    envelope = {"id": bytes(16), "time": 1, "status": "ok", "error": None, "context": bytes(32), "request_id": None}
    row = [*(envelope.get(name) for name in ROW_ENVELOPE), 3, 0.5, "name", 1.0]
    return [msgspec.msgpack.encode([row] * 3), msgspec.msgpack.encode([[*row[:-2], None, None]] * 3)]


def _check_batch(data):
    frame = Frame(kind=0x42, first_seq=7, count=3, payload=data)
    table = _spool().table(_info(), OPEN, frame)
    yield
    assert table.num_rows == 3


def _batches():
    table = make_body(OPEN, 0, 3)
    for name, values in (("context", [bytes(32)] * 3), ("seq", [7, 8, 9]), ("stream", [bytes.fromhex(STREAM)] * 3)):
        table = table.append_column(name, pa.array(values))
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return [sink.getvalue()]


def _check_worker_spool(data):
    path = written("spool.json", data)
    info = read_worker_spool(path.parent)
    yield
    write_worker_spool(path.parent, info, DISK)
    assert read_worker_spool(path.parent) == info


def _worker_spools():
    models = {"delay:1": {"digest": "0" * 64, "name": "delay", "version": 1}}
    info = WorkerSpoolInfo(origin="example.org/log", vkey=SIGNER.vkey, wrap_key=bytes(range(32)), models=models)
    write_worker_spool(folder(), info, DISK)
    return [(folder() / "spool.json").read_bytes()]


# --- Archive ----------------------------------------------------------------------------------------------------------


def _check_config(data):
    """What is accepted can be written, and is then read as the same; hands may write it in other ways."""
    path = written("backstory.toml", data)
    layout = read_layout(path.parent)
    yield
    path.write_bytes(layout.config.encode())
    assert read_layout(path.parent) == layout
    with contextlib.suppress(OSError):  # too long a name is the system's business
        for place in (layout.lock, layout.log, layout.vault, layout.keys):
            place.exists()


def _configs():
    config = ArchiveConfig(origin="example.org/log", vkey=SIGNER.vkey)
    more = ArchiveConfig(origin='a"\\b', vkey="k", incarnation="2", vault="/v", keys="../k", lock="l", ml_dsa="m")
    escaped = config.encode().replace(b'= "vault', rb'= "\u0000v').replace(b'= "example', rb'= "a\u000ab')
    return [config.encode(), more.encode(), escaped]


def _large_configs():
    encoded = _configs()[0]
    return [encoded + b"ml_dsa = " + part * 10_000 for part in (b"[", b"{a=", b"9", b'"')]


def _check_keys(data):
    store = KeyStore(folder() / "keys", DISK)
    written("keys/one.json", data)
    keys = store.get("one")
    yield
    store.put("one", keys)
    assert (folder() / "keys" / "one.json").read_bytes() == data


def _check_segment(data):
    path = written("a.parquet", data)
    reader = ParquetReader(path)
    for group in range(min(reader.group_count, 3)):
        reader.read_group(group)
        reader.bounds(group, "seq")
    if COUNTS_KEY in (pq.read_metadata(path).metadata or {}):
        reader.part(reader.counts()[0] if len(reader.counts()) > 1 else 0)
    assert reader.metadata(SUBTREES_KEY) is not None
    reader.subtrees()
    yield


def _segments():
    table = make_body(OPEN, 0, 300).append_column("seq", pa.array(range(300), pa.uint64()))
    small = table.select(["seq", "output"]).slice(0, 9)
    makes = [(table, segment_metadata(OPEN.encoded, bytes(64))), (small, merged_metadata(b"{}", bytes(96), [4, 5]))]
    sinks = []
    for each, metadata in makes:
        sink = io.BytesIO()
        write_parquet(each, sink, lambda metadata=metadata: metadata)
        sinks.append(sink.getvalue())
    return sinks


def _check_segment_name(data):
    found = segment_range(text_of(data))
    if found is None:
        raise FormatError("no name of a segment")
    yield
    assert f"{found[0]}-{found[1]}-{found[2] - found[1]}.parquet" == text_of(data)


# --- Auditors ---------------------------------------------------------------------------------------------------------


def _check_state(data):
    state = parse_state(data)
    yield
    assert state.encode() == data


def _states():
    vector = (VECTORS / "audit_state.json").read_bytes()
    return [vector, canonical.encode({**canonical.parse(vector), "full": None, "open": [], "whole": None})]


def _check_kept(data):
    """A kept checkpoint may be on paper: no one form, but one meaning."""
    found = read_kept([written("kept", data)])
    yield
    for kept in found:
        assert 0 <= kept.size <= TREE_SIZE_MAX
        (again,) = read_kept([f"{kept.size} {kept.root.hex()}"])
        assert (again.size, again.root) == (kept.size, kept.root)


def _papers():
    return [notes()[0], f"412 {'0f' * 32}\n".encode(), b"412, " + b"A" * 43 + b"=", b"0:" + b"F" * 64]


@cache
def _authority():
    return Authority()


def _check_stamp(data):
    """Whatever was changed of a response that holds: it is of the time that was signed."""
    stamp = read_stamp(data, MESSAGE, [_authority().root])
    yield
    assert stamp.time == "2026-01-01T12:00:00Z"
    assert read_stamp(data, MESSAGE, []).time == stamp.time


def _check_bare_stamp(data):
    stamp = read_stamp(data, MESSAGE, [])
    yield
    assert not stamp.authenticated


def _stamps():
    imprint = {"hash_algorithm": {"algorithm": "sha256"}, "hashed_message": hashlib.sha256(MESSAGE).digest()}
    request = tsp.TimeStampReq({"version": "v1", "message_imprint": imprint, "nonce": 7, "cert_req": True})
    return [_authority().answer(request.dump())]


def _check_roots(data):
    roots = read_roots([written("root", data)])
    yield
    assert roots


def _roots():
    return [_authority().pem, _authority().root.public_bytes(Encoding.DER)]


NEWER = FormatError, UnsupportedVersionError
PARSERS = {
    "frames": Parser(_check_frames, _frames, ("read_frames", "read_on"), make_large=_large_frames),
    "stream.json": Parser(_check_stream, lambda: [canonical.encode(_info().document())], ("Spool.info",)),
    "rows of a frame": Parser(_check_rows, _row_lists, ("table_of_rows",)),
    "batch of a frame": Parser(_check_batch, _batches, ("Spool.table",)),
    "spool.json": Parser(_check_worker_spool, _worker_spools, ("read_worker_spool",)),
    "backstory.toml": Parser(_check_config, _configs, ("read_layout",), NEWER, make_large=_large_configs),
    "key file": Parser(_check_keys, lambda: [canonical.encode({"seed": "0f" * 32, "v": 1})], ("KeyStore.get",)),
    "segment": Parser(_check_segment, _segments, ("ParquetReader",)),
    "name of a segment": Parser(_check_segment_name, lambda: [f"{STREAM}-0-412.parquet".encode()], ("segment_range",)),
    "audit state": Parser(_check_state, _states, ("parse_state",), NEWER),
    "kept checkpoint": Parser(_check_kept, _papers, ("read_kept",), (InputError,)),
    "time stamp": Parser(_check_stamp, _stamps, ("read_stamp",), (FormatError, VerificationError)),
    "time stamp, not trusted": Parser(_check_bare_stamp, _stamps, ("read_stamp",), (FormatError, VerificationError)),
    "certificates": Parser(_check_roots, _roots, ("read_roots",), (InputError,)),
}
