"""The spool keeps what was appended, whole and in order, or says from where on it cannot."""

from __future__ import annotations

import contextlib
import itertools
import os
import struct

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backstory.errors import BackstoryError, FormatError, StorageError, VerificationError
from backstory.storage import spool as spool_module
from backstory.storage.disk import Disk
from backstory.storage.keys import KeyStore
from backstory.storage.spool import MAGIC, Spool, StreamInfo

STREAM = "ab" * 16
PLAIN = StreamInfo(stream=STREAM, schema="cd" * 32, encrypted=False)
SECRET = StreamInfo(stream=STREAM, schema="cd" * 32, encrypted=True)
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


def fill(spool, info, sizes):
    """Append batches of these sizes and give up the stream."""
    writer = spool.create(info)
    first = 0
    for rows in sizes:
        writer.append(records(first, rows), first)
        first += rows
    writer.sync()
    writer.abandon()
    return first


def read(spool, info, first=0):
    """Return the sequence numbers that can be read."""
    return [n for frame in spool.frames(info, first) for n in spool.table(info, frame)["seq"].to_pylist()]


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
        assert found in ([], [0, 1])
        sizes[len(found)] = min(sizes.get(len(found), size), size)
        assert spool.torn_size(info) == size - sizes[len(found)] or size - spool.torn_size(info) >= len(MAGIC)


@pytest.mark.parametrize("info", [PLAIN, SECRET])
def test_every_flipped_bit_is_seen_or_cuts(spool, tmp_path, info):
    """A flipped bit is an error, or cuts off the last frame; it never changes a record or hides a later one."""
    fill(spool, info, [2, 2])
    path = frames_file(tmp_path)
    data = path.read_bytes()
    (length,) = struct.unpack_from("<I", data, len(MAGIC))
    second = len(MAGIC) + 8 + 13 + length
    for at in {*range(0, len(data), 11), *range(len(MAGIC) + 21), *range(second, second + 21), len(data) - 1}:
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        try:
            found = read(spool, info)
        except BackstoryError:
            continue
        assert found == [0, 1], "only the last frame may be cut"
        assert second <= at < second + 4, "only by its length"
        assert spool.torn_size(info) == len(data) - second


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
    fill(spool, PLAIN, [2, 2, 2, 2])
    frames_file(tmp_path, 2).unlink()
    with pytest.raises(FormatError):
        read(spool, PLAIN)


@pytest.mark.parametrize("info", [PLAIN, SECRET])
def test_rotation_and_batch_files_change_nothing(spool, tmp_path, monkeypatch, info):
    """Records come back through rotated files and batch files as through one."""
    monkeypatch.setattr(spool_writer_module, "ROTATE_SIZE", 1)
    monkeypatch.setattr(spool_writer_module, "INLINE_SIZE_MAX", 1)
    end = fill(spool, info, [2, 3, 4])
    assert read(spool, info) == list(range(end))
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
    writer.append(records(0, 2, stream="ef" * 16), 0)
    with pytest.raises(FormatError):
        read(spool, PLAIN)
    writer.abandon()


def test_sealing_a_part_keeps_the_rest(spool, tmp_path, monkeypatch):
    """Truncation removes what is sealed, of an open stream too, and never a record above."""
    monkeypatch.setattr(spool_writer_module, "ROTATE_SIZE", 1)
    monkeypatch.setattr(spool_writer_module, "INLINE_SIZE_MAX", 1)
    writer = spool.create(PLAIN)
    for first in range(0, 8, 2):
        writer.append(records(first, 2), first)
    for sealed in range(9):
        spool.truncate(PLAIN, sealed)
        assert read(spool, PLAIN, sealed) == list(range(sealed // 2 * 2, 8))
    assert len(list((tmp_path / "spool" / STREAM).glob("frames-*"))) == 1, "sealed files of an open stream are gone"
    assert not list((tmp_path / "spool" / STREAM).glob("*.arrow"))
    writer.append(records(8, 2), 8)
    assert read(spool, PLAIN, 8) == [8, 9]
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


def test_a_full_disk_leaves_the_writer_usable(tmp_path, monkeypatch):
    """After a write, or a rotation, failed for want of space, nothing is torn and the same batch can be appended."""

    class Full(Disk):
        full = False

        def write_with(self, path, fill, *, mode=0o644, replace=True):
            if self.full:
                raise StorageError("no space left on device")
            super().write_with(path, fill, mode=mode, replace=replace)

    disk = Full()
    spool = Spool(tmp_path / "spool", KeyStore(tmp_path / "keys", disk), disk)
    writer = spool.create(PLAIN)
    writer.append(records(0, 2), 0)
    monkeypatch.setattr(spool_writer_module, "ROTATE_SIZE", 1)
    disk.full = True
    with pytest.raises(StorageError):
        writer.append(records(2, 2), 2)
    disk.full = False
    writer.append(records(2, 2), 2)
    real = os.write

    def half(descriptor, data):
        monkeypatch.setattr(os, "write", full)
        return real(descriptor, data[: len(data) // 2])

    def full(_descriptor, _data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(StorageError):
        writer.append(records(4, 2), 4)
    monkeypatch.setattr(os, "write", real)
    assert spool.torn_size(PLAIN) == 0
    writer.append(records(4, 2), 4)
    assert read(spool, PLAIN) == [0, 1, 2, 3, 4, 5]
    writer.abandon()


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


def test_nothing_is_appended_after_a_failed_sync(spool, monkeypatch):
    """Where the sync before a rotation fails, all that follows is refused: the kernel forgets what it did not write."""
    monkeypatch.setattr(spool_writer_module, "ROTATE_SIZE", 10)
    writer = spool.create(PLAIN)
    writer.append(records(0, 1), 0)

    def fail(_descriptor):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(spool_module.os, "fdatasync", fail)
        with pytest.raises(StorageError):
            writer.append(records(1, 1), 1)
    for act in (lambda: writer.append(records(1, 1), 1), writer.sync):
        with pytest.raises(StorageError):
            act()
    assert writer.failed
    writer.abandon()
