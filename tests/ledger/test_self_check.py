"""Nothing is signed that is not what is on disk: what is flipped between hashing and signing is refused."""

from __future__ import annotations

import fcntl

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.ledgers import OPEN, SEALED, QuickDisk, make_batch, new_ledger, new_recorder, reopen

from backstory.capture.recorder import Recorder
from backstory.errors import BackstoryError, FormatError, VerificationError
from backstory.ledger import self_check, sequencer
from backstory.ledger.seal import seal_all
from backstory.ledger.self_check import check_growth
from backstory.records.job import PartName
from backstory.storage.checked_files import file_digest
from backstory.storage.segment import ParquetReader
from backstory.tlog.checkpoint import Checkpoint
from backstory.tlog.hashing import EMPTY_ROOT
from backstory.tlog.tile import decode_bundle
from backstory.tlog.tree import grow
from backstory.verify.archive import verify_archive

TILE = 256


class FlippingDisk(QuickDisk):
    """A disk on which files change on their way, as the memory of the process they come from would change them.

    Attributes:
        flip: Is given a staged file's content, and changes it.
    """

    flip = None

    def write_with(self, path, fill, *, mode=0o644, replace=True):
        """Write what was given, changed."""
        super().write_with(path, fill, mode=mode, replace=replace)
        if self.flip is not None and path.parent.name == "staged":
            content = msgspec.msgpack.decode(path.read_bytes())
            self.flip(content)
            path.write_bytes(msgspec.msgpack.encode(content))


def flipped(data: bytes, at: int) -> bytes:
    """Return bytes with one bit changed."""
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


def flip_in(prefix: str, at: int):
    """Return what flips a bit in the last staged file whose path begins so."""

    def flip(content):
        name = max(name for name in content["files"] if name.startswith(prefix))
        content["files"][name] = flipped(content["files"][name], at)

    return flip


def flip_text(content):
    """Change the root that is to be signed."""
    origin, size, root, end = content["text"].split("\n")
    content["text"] = "\n".join([origin, size, ("B" if root[0] == "A" else "A") + root[1:], end])


def drop_a_file(content):
    """Lose a tile."""
    content["files"].popitem()


FLIPS = {
    "an entry": flip_in("tile/entries", -3),
    "an old entry": flip_in("tile/entries", 9),
    "a leaf hash": flip_in("tile/0", -1),
    "an old leaf hash": flip_in("tile/0", 0),
    "a tile above": flip_in("tile/1", 7),
    "the root": flip_text,
    "a file": drop_a_file,
}


@pytest.fixture
def ledger(tmp_path):
    """An archive on such a disk, two entries short of a full tile."""
    opened = new_ledger(tmp_path / "archive", disk=FlippingDisk())
    opened.append([{"type": "test", "name": f"{n}"} for n in range(TILE - 3)])
    return opened


@pytest.mark.parametrize("what", FLIPS)
def test_a_flip_before_signing_is_refused_and_leaves_nothing(ledger, what):
    """Whatever flips in memory before it is signed, it is not; log and lock store stay, and the next commit works."""
    disk, root = ledger.world.disk, ledger.layout.root
    before = (ledger.layout.log / "checkpoint").read_bytes()
    disk.flip = FLIPS[what]
    with pytest.raises(BackstoryError) as raised:
        ledger.append([{"type": "test", "name": "a"}, {"type": "test", "name": "b"}])
    assert isinstance(raised.value, VerificationError | FormatError)
    assert ledger.lock.checkpoint() == (TILE - 2, before)
    assert list(ledger.layout.staged.iterdir()) == []
    disk.flip = None
    reopen(root).append([{"type": "test", "name": "c"}])
    assert not verify_archive(root, workers=1).failed


def test_an_entry_that_changed_before_it_was_hashed_is_refused(ledger):
    """Entry, leaf hash, tile and root that fit each other and not what was to be appended are not signed."""

    def replace(content):
        log = ledger.layout.log
        forged = grow(TILE - 2, [b'{"forged":1}'], lambda tile: (log / tile.path).read_bytes())
        checkpoint = Checkpoint(origin=ledger.layout.config.origin, size=forged.size, root=forged.root)
        content["files"], content["text"] = forged.files, checkpoint.encode()

    ledger.world.disk.flip = replace
    with pytest.raises(VerificationError, match="not what was given"):
        ledger.append([{"type": "test", "name": "a"}])


def test_an_old_entry_that_changed_with_all_above_it_is_refused(ledger):
    """A tree that fits in itself, and does not go on from the published one, is not signed."""
    log, old = ledger.layout.log, [f"{n}".encode() for n in range(TILE - 2)]

    def replace(content):
        entry = decode_bundle(content["files"]["tile/entries/000.p/255"], TILE - 1)[-1]
        forged = grow(0, [*old, entry], lambda tile: (log / tile.path).read_bytes())
        content["files"] = forged.files
        content["text"] = Checkpoint(
            origin=ledger.layout.config.origin, size=forged.size, root=forged.root
        ).encode()  # fmt: skip

    ledger.world.disk.flip = replace
    with pytest.raises(VerificationError, match="other entries than those published"):
        ledger.append([{"type": "test", "name": "a"}])


@pytest.mark.parametrize(("folder", "schema"), [("segments", OPEN), ("segments", SEALED), ("vault", SEALED)])
def test_a_file_that_changed_since_its_entry_was_made_is_refused(tmp_path, monkeypatch, folder, schema):
    """A segment or shard whose bytes are not those its entry names is not signed for; the records stay in the spool."""
    ledger = new_ledger(tmp_path / "archive")
    recorder = new_recorder(ledger)
    recorder.record(make_batch(ledger, schema, 0, 3))
    recorder.close()
    append = ledger.append

    def flip_and_append(*arguments, **options):
        path = next(path for path in (ledger.layout.root / folder).iterdir() if path.is_file())
        path.write_bytes(flipped(path.read_bytes(), 40))
        return append(*arguments, **options)

    monkeypatch.setattr(ledger, "append", flip_and_append)
    with pytest.raises(VerificationError, match="not the file that its entry names"):
        seal_all(ledger)
    again = reopen(ledger.layout.root)
    assert seal_all(again) == 3
    assert not verify_archive(again.layout.root, workers=1).failed


@pytest.mark.parametrize("as_job", [False, True])
def test_segments_are_read_before_the_log_is_held(tmp_path, monkeypatch, as_job):
    """While the files that entries name are read others can append; where none changes none is read again."""
    ledger = new_ledger(tmp_path / "archive")
    read = []

    def note(path):
        with (ledger.layout.log / "writer").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises where somebody holds the log
        read.append(path.parent.name)
        return file_digest(path)

    monkeypatch.setattr(self_check, "file_digest", note)
    job = PartName(name="nightly", run="1", part="1").document() if as_job else None
    recorder = Recorder(ledger.spool, ledger.blobs, ledger.world, job=job)
    recorder.record(make_batch(ledger, SEALED, 0, 3))
    recorder.close()
    assert seal_all(ledger) == 3
    assert read == ["segments", "vault"]


def test_a_file_that_changes_before_the_log_is_held_is_read_again(tmp_path, monkeypatch):
    """A segment that is replaced between its reading and the lock is not signed for."""
    ledger = new_ledger(tmp_path / "archive")
    recorder = new_recorder(ledger)
    recorder.record(make_batch(ledger, OPEN, 0, 3))
    recorder.close()
    check = sequencer.check_named_files

    def check_and_flip(layout, entries, checked):
        entries = list(entries)
        check(layout, entries, checked)
        for path in layout.segments.iterdir() if any("root" in entry for entry in entries) else ():
            path.write_bytes(flipped(path.read_bytes(), 40))

    monkeypatch.setattr(sequencer, "check_named_files", check_and_flip)
    with pytest.raises(VerificationError, match="not the file that its entry names"):
        seal_all(ledger)


@pytest.mark.parametrize("flipped_part", ["subtrees", "rows"])
def test_a_root_that_the_rows_do_not_lead_to_is_refused(tmp_path, monkeypatch, flipped_part):
    """A segment whose hashes flipped before they were written down is not signed for."""
    ledger = new_ledger(tmp_path / "archive")
    recorder = new_recorder(ledger)
    recorder.record(make_batch(ledger, OPEN, 0, 3))
    recorder.close()
    if flipped_part == "subtrees":
        read = ParquetReader.subtrees
        monkeypatch.setattr(ParquetReader, "subtrees", lambda self: flipped(read(self), 5))
    else:
        hash_ = ledger.hasher.hash

        def flip(*arguments):
            hashed = hash_(*arguments)
            return msgspec.structs.replace(hashed, subtrees=flipped(hashed.subtrees, 5))

        monkeypatch.setattr(ledger.hasher, "hash", flip)
    with pytest.raises(VerificationError, match="lead to its manifest's root"):
        seal_all(ledger)


@given(old=st.integers(0, 700), more=st.integers(1, 700), data=st.data())
def test_what_grows_a_log_passes_and_any_flip_of_it_does_not(old, more, data):
    """Whatever a log's size, what `grow` makes is accepted and its entries given, and refused with one bit flipped."""
    published: dict[str, bytes] = {}
    first = grow(0, [b"entry %d" % n for n in range(old)], lambda tile: published[tile.path])
    published.update(first.files)
    entries = [b"entry %d" % n for n in range(old, old + more)]
    grown = grow(old, entries, lambda tile: published[tile.path])
    before = Checkpoint(origin="example.org/log", size=old, root=first.root if old else EMPTY_ROOT)
    after = Checkpoint(origin="example.org/log", size=grown.size, root=grown.root)
    assert check_growth(before, after, grown.files, lambda tile: published[tile.path]) == entries
    name = data.draw(st.sampled_from(sorted(grown.files)))
    at = data.draw(st.integers(0, len(grown.files[name]) - 1))
    bad = {**grown.files, name: flipped(grown.files[name], at)}
    with pytest.raises((VerificationError, FormatError)):
        check_growth(before, after, bad, lambda tile: published[tile.path])
