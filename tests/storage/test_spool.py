"""The spool keeps what was appended, whole and in order, or says from where on it cannot."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.disks import WiredDisk
from tests.support.ledgers import OPEN

from backstory.errors import BackstoryError, FormatError, StorageError, VerificationError
from backstory.storage import spool_writer as spool_writer_module
from backstory.storage.disk import Disk
from backstory.storage.keys import KeyStore
from backstory.storage.spool import ReadTo, Spool, StreamInfo
from backstory.storage.spool_frames import END, FILE, HEARTBEAT, MAGIC, ROWS

STREAM = "ab" * 16
PLAIN = StreamInfo(
    stream=STREAM,
    schema=OPEN.digest,
    encrypted=False,
    opened="2026-01-01T00:00:00.000000000Z",
    policy={"durability": "group", "on_failure": "closed", "on_full": "block"},
)
SECRET = dataclasses.replace(PLAIN, encrypted=True)
NAME = "Ada Lovelace"


@pytest.fixture
def spool(tmp_path):
    """An empty spool."""
    return Spool(tmp_path / "spool", KeyStore(tmp_path / "keys", Disk()), Disk())


def records(first, rows, stream=STREAM):
    """Return records numbered from `first`."""
    columns = {
        "stream": pa.array([bytes.fromhex(stream)] * rows, pa.binary(16)),
        "seq": pa.array(range(first, first + rows), pa.uint64()),
        "context": pa.array([bytes(32)] * rows, pa.binary(32)),
        "name": pa.array([NAME] * rows),
    }
    return pa.table(columns)


def rows_of(first, rows):
    """Return rows of `OPEN` numbered from `first`, as a stream encodes them."""
    envelope = [[n.to_bytes(16, "big"), n, "ok", None, bytes(32), None] for n in range(first, first + rows)]
    return [msgspec.msgpack.encode([*head, n, n / 2, NAME, -0.0]) for n, head in enumerate(envelope, first)]


def fill(spool, info, sizes):
    """Append batches of these sizes and give up the stream."""
    writer = spool.create(info)
    first = 0
    for rows in sizes:
        writer.append_table(records(first, rows), first)
        first += rows
    writer.sync()
    writer.abandon()
    return first


def read(spool, info, first=0):
    """Return the sequence numbers that can be read."""
    return [n for frame in spool.frames(info, first) for n in spool.table(info, OPEN, frame)["seq"].to_pylist()]


def frames_file(tmp_path, number=0):
    """Return the path of a frames file."""
    return tmp_path / "spool" / STREAM / f"frames-{number}"


@pytest.mark.parametrize("info", [PLAIN, SECRET])
def test_what_was_appended_is_read(spool, info):
    """Every record comes back in order, and a stream knows what it is."""
    end = fill(spool, info, [3, 1, 5])
    assert read(spool, info) == list(range(end))
    assert spool.streams() == [info]
    assert spool.torn_size(info) == 0


def test_reading_starts_at_the_frame_that_reaches_a_number(spool):
    """Frames wholly below the first number asked for are left out."""
    fill(spool, PLAIN, [3, 3, 3])
    assert read(spool, PLAIN, 4) == [3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("info", [PLAIN, SECRET])
def test_every_cut_leaves_a_beginning(spool, tmp_path, info):
    """Cut anywhere, a frames file gives whole batches up to the cut, and the rest is counted as torn."""
    fill(spool, info, [2, 2])
    path = frames_file(tmp_path)
    data = path.read_bytes()
    sizes = {0: len(MAGIC)}
    for size in range(len(MAGIC), len(data), 7):
        path.write_bytes(data[:size])
        found = read(spool, info)
        assert found in ([], [0, 1], [0, 1, 2, 3])
        sizes[len(found)] = min(sizes.get(len(found), size), size)
        assert spool.torn_size(info) == size - sizes[len(found)] or size - spool.torn_size(info) >= len(MAGIC)


@pytest.mark.parametrize("info", [PLAIN, SECRET])
def test_every_flipped_bit_is_seen_or_cuts(spool, tmp_path, info):
    """A flipped bit in what was made durable is an error; it never changes a record, or hides one."""
    fill(spool, info, [2, 2])
    path = frames_file(tmp_path)
    data = path.read_bytes()
    synced = len(data) - 21  # the frame that says so, which nothing follows
    for at in {*range(0, len(data), 11), *range(len(MAGIC) + 21), *range(synced - 3, len(data))}:
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        try:
            found = read(spool, info)
        except BackstoryError:
            continue
        assert found == [0, 1, 2, 3]
        assert at >= synced
        assert spool.torn_size(info) == len(data) - synced


def test_a_flipped_bit_before_a_sync_was_said_cuts(spool, tmp_path):
    """Where nothing says that a frame was durable, it ends there: a crash may have left it so."""
    fill(spool, PLAIN, [2, 2])
    path = frames_file(tmp_path)
    data = path.read_bytes()[:-21]
    path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    assert read(spool, PLAIN) == [0, 1]
    assert spool.torn_size(PLAIN) > 0


def test_zeros_at_the_end_are_a_torn_tail(spool, tmp_path):
    """A file grown before its bytes arrived ends where the zeros begin."""
    end = fill(spool, PLAIN, [2])
    with frames_file(tmp_path).open("ab") as file:
        file.write(bytes(500))
    assert read(spool, PLAIN) == list(range(end))
    assert spool.torn_size(PLAIN) == 500


def test_a_missing_file_is_a_gap(spool, tmp_path, monkeypatch):
    """Files in the middle that are gone are an error, not fewer records."""
    monkeypatch.setattr(spool_writer_module, "ROTATE_SIZE", 1)
    writer = spool.create(PLAIN)
    for first in range(0, 8, 2):
        writer.append_table(records(first, 2), first)
        writer.sync()
    writer.abandon()
    frames_file(tmp_path, 2).unlink()
    with pytest.raises(FormatError):
        read(spool, PLAIN)


@pytest.mark.parametrize("info", [PLAIN, SECRET])
def test_rotation_and_batch_files_change_nothing(spool, tmp_path, monkeypatch, info):
    """Records come back through rotated files and batch files as through one."""
    monkeypatch.setattr(spool_writer_module, "ROTATE_SIZE", 1)
    monkeypatch.setattr(spool_writer_module, "INLINE_SIZE_MAX", 1)
    writer = spool.create(info)
    for first, rows in ((0, 2), (2, 3), (5, 4)):
        writer.append_table(records(first, rows), first)
        writer.sync()
    writer.abandon()
    assert read(spool, info) == list(range(9))
    assert len(list((tmp_path / "spool" / STREAM).glob("frames-*"))) == 4
    assert len(list((tmp_path / "spool" / STREAM).glob("*.arrow"))) == 3


def test_a_changed_batch_file_is_refused(spool, tmp_path, monkeypatch):
    """A batch file that is not the one its frame names is an error."""
    monkeypatch.setattr(spool_writer_module, "INLINE_SIZE_MAX", 1)
    fill(spool, PLAIN, [2])
    path = tmp_path / "spool" / STREAM / "0.arrow"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(VerificationError):
        read(spool, PLAIN)


def test_personal_values_are_encrypted(spool, tmp_path):
    """No name is on disk in clear, and without the key nothing is read."""
    fill(spool, SECRET, [2])
    files = [path for path in (tmp_path / "spool").rglob("*") if path.is_file()]
    assert not any(NAME.encode() in path.read_bytes() for path in files)
    KeyStore(tmp_path / "keys", Disk()).destroy(f"spool-{STREAM}")
    with pytest.raises(BackstoryError):
        read(spool, SECRET)


def test_a_batch_of_another_stream_is_refused(spool):
    """A batch that was moved into another stream's spool is an error."""
    writer = spool.create(PLAIN)
    writer.append_table(records(0, 2, stream="ef" * 16), 0)
    with pytest.raises(FormatError):
        read(spool, PLAIN)
    writer.abandon()


def test_sealing_a_part_keeps_the_rest(spool, tmp_path, monkeypatch):
    """Truncation removes what is sealed, of an open stream too, and never a record above."""
    monkeypatch.setattr(spool_writer_module, "ROTATE_SIZE", 1)
    monkeypatch.setattr(spool_writer_module, "INLINE_SIZE_MAX", 1)
    writer = spool.create(PLAIN)
    for first in range(0, 8, 2):
        writer.append_table(records(first, 2), first)
        writer.sync()
    for sealed in range(9):
        spool.truncate(PLAIN, sealed)
        assert read(spool, PLAIN, sealed) == list(range(sealed // 2 * 2, 8))
    assert len(list((tmp_path / "spool" / STREAM).glob("frames-*"))) == 1, "sealed files of an open stream are gone"
    assert not list((tmp_path / "spool" / STREAM).glob("*.arrow"))
    writer.append_table(records(8, 2), 8)
    assert read(spool, PLAIN, 8) == [8, 9]
    writer.abandon()


@pytest.mark.parametrize("rotated", [False, True])
def test_a_stream_is_read_on_from_where_it_ended(spool, tmp_path, monkeypatch, rotated):
    """Whoever counts what waits reads only what was appended, through other files and after others are gone."""
    monkeypatch.setattr(spool_writer_module, "ROTATE_SIZE", 1 if rotated else 1 << 20)
    writer = spool.create(PLAIN)
    reached = spool.read_on(PLAIN, ReadTo())
    assert reached.end_seq == 0
    for first in range(0, 8, 2):
        writer.append_table(records(first, 2), first)
        assert spool.read_on(PLAIN, reached).end_seq == first + 2, "what is not durable yet too"
        writer.sync()
        reached = spool.read_on(PLAIN, reached)
        assert (reached.end_seq, reached.offset) == (first + 2, reached.path.stat().st_size)
        if first == 4:
            spool.truncate(PLAIN, 6)
    newest = frames_file(tmp_path, 4 if rotated else 0)
    assert reached.path == newest
    with newest.open("ab") as file:
        file.write(bytes(500))
    assert spool.read_on(PLAIN, reached) == reached, "a tail that is no frame is not passed"
    newest.unlink()
    assert spool.read_on(PLAIN, reached).end_seq == 8
    writer.abandon()


def test_a_stream_is_removed_with_its_key(spool, tmp_path):
    """Once its writer is gone and all is sealed, folder and key are gone."""
    end = fill(spool, SECRET, [2])
    spool.truncate(SECRET, end - 1)
    assert spool.streams() == [SECRET]
    spool.truncate(SECRET, end)
    assert spool.streams() == []
    assert list((tmp_path / "spool").iterdir()) == list((tmp_path / "keys").iterdir()) == []


def test_a_removal_cut_short_is_repeated(tmp_path):
    """Wherever removal stops, the stream is still listed and the next truncation ends it."""

    class Stopping(Disk):
        left = 0

        def remove(self, path):
            self.left -= 1
            if self.left < 0:
                raise StorageError("stopped")
            super().remove(path)

    disk = Stopping()
    spool = Spool(tmp_path / "spool", KeyStore(tmp_path / "keys", disk), disk)
    for stop in itertools.count():
        end = fill(spool, SECRET, [2])
        disk.left = stop
        try:
            spool.truncate(SECRET, end)
            break
        except StorageError:
            disk.left = 10**6
            spool.truncate(SECRET, end)
        assert spool.streams() == []
        assert list((tmp_path / "keys").iterdir()) == []
    assert stop == 4


def test_an_open_stream_is_known_to_be_open(spool):
    """A stream is open exactly as long as its writer holds it."""
    writer = spool.create(PLAIN)
    assert spool.is_open(STREAM)
    writer.abandon()
    assert not spool.is_open(STREAM)


def test_a_full_disk_leaves_the_writer_usable(spool, monkeypatch):
    """After a write failed half way for want of space nothing is torn, and the same batch can be appended."""
    writer = spool.create(PLAIN)
    writer.append_table(records(0, 2), 0)
    real = os.write

    def half(descriptor, data):
        monkeypatch.setattr(os, "write", full)
        return real(descriptor, data[: len(data) // 2])

    def full(_descriptor, _data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(StorageError):
        writer.append_table(records(2, 2), 2)
    monkeypatch.setattr(os, "write", real)
    assert spool.torn_size(PLAIN) == 0
    writer.append_table(records(2, 2), 2)
    assert read(spool, PLAIN) == [0, 1, 2, 3]
    writer.abandon()


def test_a_rotation_that_fails_is_put_off(tmp_path, monkeypatch):
    """Where no other file can be begun, the writer goes on in the one it has."""
    disk = WiredDisk()
    spool = Spool(tmp_path / "spool", KeyStore(tmp_path / "keys", disk), disk)
    writer = spool.create(PLAIN)
    monkeypatch.setattr(spool_writer_module, "ROTATE_SIZE", 1)
    disk.is_fixed = True
    for first in (0, 2):
        writer.append_table(records(first, 2), first)
        writer.sync()
    writer.abandon()
    assert not frames_file(tmp_path, 1).exists()
    assert read(spool, PLAIN) == [0, 1, 2, 3]


@given(st.binary(max_size=200))
@settings(max_examples=30)
def test_arbitrary_bytes_are_no_records(tmp_path_factory, data):
    """Bytes of any kind after the magic give no record."""
    tmp_path = tmp_path_factory.mktemp("spool")
    spool = Spool(tmp_path / "spool", KeyStore(tmp_path / "keys", Disk()), Disk())
    fill(spool, PLAIN, [])
    frames_file(tmp_path).write_bytes(MAGIC + data)
    with contextlib.suppress(FormatError):
        assert read(spool, PLAIN) == []


@pytest.mark.parametrize(
    "data", [b"", b"{}", b'{"encrypted":1,"schema":"","stream":"","v":1}', b'{"encrypted":false,"schema":"x","v":1}']
)
def test_a_malformed_stream_json_is_refused(spool, tmp_path, data):
    """A stream whose description is damaged is an error that names it."""
    fill(spool, PLAIN, [2])
    (tmp_path / "spool" / STREAM / "stream.json").write_bytes(data)
    with pytest.raises(FormatError, match=STREAM):
        spool.info(STREAM)
    assert spool.stream_names() == [STREAM]


def test_a_malformed_stream_json_hides_no_other_stream(spool, tmp_path, caplog):
    """Questions pass over a stream whose description is damaged, and a warning names it."""
    fill(spool, PLAIN, [2])
    (tmp_path / "spool" / ("ef" * 16)).mkdir()
    (tmp_path / "spool" / ("ef" * 16) / "stream.json").write_bytes(b"")
    assert spool.streams() == [PLAIN]
    assert "ef" * 16 in caplog.text


# --- marks, rows, files that resume others -------------------------------------------------------------------------


@pytest.fixture
def disk():
    """A disk whose flushes fail when they are told to."""
    return WiredDisk()


@pytest.fixture
def wired(tmp_path, disk):
    """A spool on that disk."""
    return Spool(tmp_path / "spool", KeyStore(tmp_path / "keys", disk), disk)


@pytest.mark.parametrize("info", [PLAIN, SECRET])
def test_rows_are_read_as_a_table(spool, info):
    """Rows come back with the values they had, numbered by where they stand, each a call of its own."""
    writer = spool.create(info)
    writer.append_rows(rows_of(0, 2), 0)
    writer.append_rows(rows_of(2, 1), 2)
    writer.abandon()
    frames = list(spool.frames(info, 0))
    assert [(frame.kind, frame.first_seq, frame.count) for frame in frames] == [(ROWS, 0, 2), (ROWS, 2, 1)]
    row = spool.table(info, OPEN, frames[1]).to_pylist()[0]
    assert (row["seq"], row["id"], row["feature"]) == (2, (2).to_bytes(16, "big"), {"x": 1.0, "name": NAME})
    assert (row["batch_row"], row["batch_rows"], row["kind"], str(row["output"])) == (0, 1, "prediction", "-0.0")


@pytest.mark.parametrize("data", [[1], [[1]], [[b""] * 10], "x", [], [rows_of(0, 1)[0]] * 2], ids=repr)
def test_rows_that_are_none_are_refused(spool, data):
    """What is not rows of the schema is an error that names the stream."""
    (frame,) = _frames_of(spool, rows_of(0, 1))
    encoded = msgspec.msgpack.encode(data)
    with pytest.raises(FormatError, match=STREAM):
        spool.table(PLAIN, OPEN, dataclasses.replace(frame, payload=encoded))


def _frames_of(spool, rows):
    writer = spool.create(PLAIN)
    writer.append_rows(rows, 0)
    writer.abandon()
    return list(spool.frames(PLAIN, 0))


def test_the_last_mark_counts(spool):
    """What a writer said last is told, and whether with that it ended; a stream without marks says nothing."""
    writer = spool.create(PLAIN)
    assert spool.last_mark(PLAIN) is None
    writer.append_table(records(0, 2), 0)
    writer.append_mark(HEARTBEAT, 2, {"recorded": "2", "v": 1})
    writer.append_mark(HEARTBEAT, 2, {"recorded": "3", "v": 1})
    assert spool.last_mark(PLAIN) == ({"recorded": "3", "v": 1}, False)
    writer.append_mark(END, 2, {"recorded": "4", "v": 1})
    assert spool.last_mark(PLAIN) == ({"recorded": "4", "v": 1}, True)
    assert read(spool, PLAIN) == [0, 1], "marks are no records"
    writer.abandon()


@pytest.mark.parametrize("info", [PLAIN, SECRET])
@pytest.mark.parametrize("durable", [0, 2])
@pytest.mark.parametrize("old", ["whole", "garbage", "cut", "zeros"])
def test_a_failed_sync_goes_on_in_a_new_file(wired, disk, tmp_path, info, durable, old):
    """What was not durable stands in a new file, once, whatever the old one has in its place."""
    writer = wired.create(info)
    for first in range(durable):
        writer.append_table(records(first, 1), first)
    writer.sync()
    path = frames_file(tmp_path)
    size = path.stat().st_size if durable else len(MAGIC)
    for first in range(durable, durable + 3):
        writer.append_table(records(first, 1), first)
    disk.failing_syncs = 1
    writer.sync()
    data = path.read_bytes()
    rest = {"garbage": os.urandom(len(data) - size), "cut": data[size:-7], "zeros": bytes(99), "whole": data[size:]}
    path.write_bytes(data[:size] + rest[old])
    writer.append_table(records(durable + 3, 1), durable + 3)
    writer.sync()
    writer.abandon()
    assert frames_file(tmp_path, 1).exists()
    assert read(wired, info) == list(range(durable + 4))
    assert wired.torn_size(info) == 0
    wired.truncate(info, durable + 4)
    assert wired.stream_names() == []


def test_a_sync_that_fails_in_every_file_can_be_repeated(wired, disk):
    """While no file takes what is held it stays held; once one does, all is there once."""
    writer = wired.create(PLAIN)
    writer.append_table(records(0, 1), 0)
    disk.failing_syncs, disk.is_fixed = 1, True
    for first in (1, 2):
        with pytest.raises(StorageError):
            writer.sync()
        writer.append_table(records(first, 1), first)
    disk.is_fixed = False
    writer.sync()
    writer.abandon()
    assert read(wired, PLAIN) == [0, 1, 2]


def test_what_failed_twice_is_in_the_third_file(wired, disk):
    """Files that resume each other give every record once."""
    writer = wired.create(PLAIN)
    for first in range(6):
        writer.append_rows(rows_of(first, 1), first)
        disk.failing_syncs = first % 2
        writer.sync()
    writer.abandon()
    assert read(wired, PLAIN) == list(range(6))


@pytest.mark.parametrize("size_max", [1 << 20, 1])
def test_a_full_disk_spills(wired, disk, tmp_path, monkeypatch, size_max):
    """With a second directory records go there while the first is full, and reading finds them in both."""
    monkeypatch.setattr(spool_writer_module, "INLINE_SIZE_MAX", size_max)
    info = dataclasses.replace(PLAIN, spill=str(tmp_path / "spill"))
    writer = wired.create(info)
    for first in range(8):
        disk.full = {tmp_path / "spool"} if first in {2, 3, 6} else set()
        writer.append_table(records(first, 1), first)
        writer.sync()
    writer.abandon()
    assert list((tmp_path / "spill" / STREAM).glob("frames-*"))
    assert wired.info(STREAM) == info
    assert read(wired, info) == list(range(8))
    for sealed in range(8):
        wired.truncate(info, sealed)
        assert read(wired, info, sealed) == list(range(sealed, 8))
    wired.truncate(info, 8)
    assert list((tmp_path / "spool").iterdir()) == list((tmp_path / "spill").iterdir()) == []


def test_what_the_frames_of_a_batch_file_name_is_kept_where_it_is(wired, disk, tmp_path, monkeypatch):
    """A batch file is found in the directory that had room for it."""
    monkeypatch.setattr(spool_writer_module, "INLINE_SIZE_MAX", 1)
    info = dataclasses.replace(PLAIN, spill=str(tmp_path / "spill"))
    writer = wired.create(info)
    disk.full = {tmp_path / "spool"}
    writer.append_table(records(0, 2), 0)
    assert (tmp_path / "spill" / STREAM / "0.arrow").exists()
    disk.full = set()
    writer.sync()
    writer.abandon()
    (frame,) = wired.frames(info, 0)
    assert (frame.kind, wired.table(info, OPEN, frame)["seq"].to_pylist()) == (FILE, [0, 1])


# --- files that cannot be used any more, files that were left -------------------------------------------------------


def test_a_file_that_is_of_no_more_use_gives_way_to_another(spool, tmp_path):
    """Where nothing can be appended or taken back, as after a stranger closed it, records are kept for a new file."""
    writer = spool.create(PLAIN)
    writer.append_table(records(0, 2), 0)
    writer.sync()
    os.close(writer._file._descriptor)
    writer._file._descriptor = os.open(frames_file(tmp_path), os.O_RDONLY)
    for first in (2, 4):
        writer.append_table(records(first, 2), first)
    assert not frames_file(tmp_path, 1).exists()
    writer.sync()
    writer.append_table(records(6, 2), 6)
    writer.sync()
    writer.abandon()
    assert read(spool, PLAIN) == list(range(8))
    assert not frames_file(tmp_path, 2).exists()


@pytest.mark.parametrize("append", [1, 2, 3])
def test_a_torn_frame_that_stays_in_the_file_hides_nothing(spool, monkeypatch, append):
    """Where a short write can neither be completed nor taken back, what follows goes to a new file."""
    real, calls = os.write, itertools.count(1)

    def write(descriptor, data):
        number = next(calls)
        if number == append:
            return real(descriptor, data[: len(data) // 2])
        if number == append + 1:
            raise OSError(5, "Input/output error")
        return real(descriptor, data)

    def no_truncating(_descriptor, _size):
        raise OSError(5, "Input/output error")

    writer = spool.create(PLAIN)
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write)
        patched.setattr(os, "ftruncate", no_truncating)
        for first in range(4):  # one append each, and one that says what is durable
            writer.append_table(records(first, 1), first)
            writer.sync()
    writer.abandon()
    assert read(spool, PLAIN) == [0, 1, 2, 3]
    assert spool.torn_size(PLAIN) == 0


def test_a_stream_that_was_given_up_is_written_no_more(spool, tmp_path):
    """Without its lock a writer makes no file and appends to none: another may have sealed the stream."""
    writer = spool.create(PLAIN)
    writer.append_table(records(0, 2), 0)
    writer.abandon()
    files = {path: path.read_bytes() for path in (tmp_path / "spool" / STREAM).iterdir()}
    for act in (
        lambda: writer.append_table(records(2, 2), 2),
        lambda: writer.append_rows(rows_of(2, 1), 2),
        writer.sync,
    ):
        with pytest.raises(StorageError, match="given up"):
            act()
    assert {path: path.read_bytes() for path in (tmp_path / "spool" / STREAM).iterdir()} == files


class UnflushedDisk(WiredDisk):
    """A disk on which names cannot be made durable now and then.

    Attributes:
        unflushed: The next flush of this directory fails.
        keeps: Nothing is removed there.
        on_failure: Called where a flush fails, before whoever asked for it hears of it.
    """

    def __init__(self):
        """Make a disk on which all is well."""
        super().__init__()
        self.unflushed = None
        self.keeps = False
        self.on_failure = lambda: None

    def sync_directory(self, path):
        """Flush, or fail once."""
        if path == self.unflushed:
            self.unflushed = None
            self.on_failure()
            raise OSError(5, "Input/output error")

    def remove(self, path):
        """Remove, or not."""
        if self.keeps:
            raise StorageError("removing: Input/output error", errno=5)
        super().remove(path)


@pytest.mark.parametrize("keeps", [False, True], ids=["removed", "left"])
@pytest.mark.parametrize("info", [PLAIN, SECRET])
def test_what_could_not_be_made_durable_is_not_taken_for_what_was(tmp_path, monkeypatch, info, keeps):
    """A file that was left where its name was not durable never hides the one in the other directory."""
    disk = UnflushedDisk()
    spool = Spool(tmp_path / "spool", KeyStore(tmp_path / "keys", disk), disk)
    info, folder = dataclasses.replace(info, spill=str(tmp_path / "elsewhere")), tmp_path / "spool" / STREAM
    writer = spool.create(info)
    disk.keeps = keeps
    writer.append_table(records(0, 1), 0)
    writer.sync()
    disk.failing_syncs, disk.unflushed = 1, folder
    for first in (1, 2):  # the first sync goes on in another file, and the second in that
        writer.append_table(records(first, 1), first)
        writer.sync()
    monkeypatch.setattr(spool_writer_module, "INLINE_SIZE_MAX", 1)
    disk.unflushed = folder
    writer.append_table(records(3, 2), 3)
    writer.sync()
    writer.abandon()
    assert read(spool, info) == [0, 1, 2, 3, 4]
    names = sorted(path.name for path in tmp_path.rglob("*") if path.suffix == ".arrow" or "frames-" in path.name)
    assert names.count("3.arrow") == 1 + keeps
    assert len({name for name in names if "frames-" in name}) == len(names) - names.count("3.arrow")
    disk.keeps = False
    spool.truncate(info, 5)
    assert list((tmp_path / "spool").iterdir()) == list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("failure", ["directory", "descriptor"])
def test_a_rotation_that_fails_late_loses_nothing_to_a_sealer(tmp_path, monkeypatch, failure):
    """Who seals takes the newest file for the writer's and removes the others, so the writer uses none of those."""
    disk = UnflushedDisk()
    spool = Spool(tmp_path / "spool", KeyStore(tmp_path / "keys", disk), disk)
    writer = spool.create(PLAIN)
    writer.append_table(records(0, 2), 0)
    monkeypatch.setattr(spool_writer_module, "ROTATE_SIZE", 1)

    def fail(_path):
        spool.truncate(PLAIN, 2)
        raise StorageError("opening: Too many open files", errno=24)

    with monkeypatch.context() as patched:
        if failure == "directory":
            disk.unflushed, disk.on_failure = tmp_path / "spool" / STREAM, lambda: spool.truncate(PLAIN, 2)
        else:
            patched.setattr(disk, "append_to", fail)
        writer.sync()
    assert not frames_file(tmp_path).exists()
    writer.append_table(records(2, 2), 2)
    writer.sync()
    writer.abandon()
    assert read(spool, PLAIN, 2) == [2, 3]
