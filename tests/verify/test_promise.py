"""A promise that was not kept is proven by whoever holds it; one that is not the operator's is refused."""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.ledgers import BEGAN_NS, OPEN, ORIGIN, make_row, new_ledger, new_recorder, reopen

from backstory.archive.promising import create_promise_key, promise_of
from backstory.capture.recorder import RowTarget
from backstory.errors import BackstoryError, FormatError, InputError, VerificationError
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import find_record
from backstory.ledger.receipt import make_receipt
from backstory.ledger.seal import seal_all
from backstory.records import canonical
from backstory.records.identity import id_text_of
from backstory.records.promise import (
    LEAVES_MAX,
    KeptPromise,
    PromiseDocument,
    PromisedRun,
    PromiseText,
    frame_digest,
    key_name,
    parse_kept,
    parse_promise,
    parse_promise_text,
    parse_run,
    runs_of,
)
from backstory.storage.layout import Layout
from backstory.storage.spool_frames import MAGIC, ROWS, encode_frame, read_frames
from backstory.tlog.checkpoint import parse_checkpoint
from backstory.tlog.cosignature import cosign
from backstory.tlog.key import KeyKind
from backstory.tlog.note import add_signatures, parse_note, sign_note
from backstory.tlog.signer import Ed25519Signer
from backstory.verify.archive import verify_archive
from backstory.verify.promise import verify_promise
from backstory.verify.promised import check_promises

DELAY = 60
BEGAN = BEGAN_NS // 10**9
LATER = BEGAN + 2 * DELAY
"""Well after every deadline; the records are made in the first second."""
RECORDS = 5


class Promised(NamedTuple):
    """An archive with five promised records in its spool, their writer gone, and the promise about each."""

    root: Path
    vkey: str
    promise_vkey: str
    files: list[bytes]

    def check(self, number=RECORDS - 1, **options):
        """Check the promise about a record against the archive's log as it is now."""
        given = {"vkey": self.vkey, "log": self.root, "now": LATER} | options
        return verify_promise(self.files[number], **given)

    def ledger(self) -> Ledger:
        """Open the archive."""
        return reopen(self.root)

    def seal(self) -> Ledger:
        """Seal what is in the spool."""
        ledger = self.ledger()
        seal_all(ledger)
        return ledger

    @property
    def frames(self) -> Path:
        """The file with the frames of the records."""
        (path,) = self.root.glob("spool/*/frames-0")
        return path

    def rewrite(self, change) -> None:
        """Let a function change the frames of the spool; it is given a list of them."""
        frames = change(list(read_frames(self.frames)))
        data = b"".join(encode_frame(frame.kind, frame.first_seq, frame.count, frame.payload) for frame in frames)
        self.frames.write_bytes(MAGIC + data)

    def findings(self, now=BEGAN):
        """Check what the archive keeps of its promises."""
        ledger = self.ledger()
        sealed = ledger.lock.heads()
        keys = [entry["vkey"] for entry in ledger.find_entries("promise.key")]
        return [(f.severity, f.what) for f in check_promises(ledger.layout, keys, sealed, now * 10**9)]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """An archive whose records were each flushed and promised alone."""
    ledger = new_ledger(tmp_path_factory.mktemp("promised") / "archive")
    recorder, target, files = new_recorder(ledger), RowTarget(OPEN), []
    promise_vkey = create_promise_key(ledger, recorder, DELAY)
    for number in range(RECORDS):
        identity = id_text_of(recorder.record_row(target, make_row(ledger, number)))
        files.append(promise_of(ledger, recorder, find_record(ledger, identity, "prediction")).data)
    recorder.abandon()
    return Promised(ledger.layout.root, ledger.layout.config.vkey, promise_vkey, files)


@pytest.fixture
def promised(original, tmp_path):
    """A copy of it to change."""
    shutil.copytree(original.root, tmp_path / "archive")
    return original._replace(root=tmp_path / "archive")


def without_last(frames):
    """Drop the last frame with a record, and the marks behind it."""
    at = max(number for number, frame in enumerate(frames) if frame.kind == ROWS)
    return frames[:at]


def other_id(frames):
    """Give the last record another id, a little later than its own."""
    at = max(number for number, frame in enumerate(frames) if frame.kind == ROWS)
    (row,) = msgspec.msgpack.decode(frames[at].payload)
    row[0] = (int.from_bytes(row[0], "big") + 1).to_bytes(16, "big")
    return [*frames[:at], replace(frames[at], payload=msgspec.msgpack.encode([row])), *frames[at + 1 :]]


def other_value(frames):
    """Give the last record another output."""
    at = max(number for number, frame in enumerate(frames) if frame.kind == ROWS)
    (row,) = msgspec.msgpack.decode(frames[at].payload)
    row[-1] = 1e9
    return [*frames[:at], replace(frames[at], payload=msgspec.msgpack.encode([row])), *frames[at + 1 :]]


def test_a_promise_is_kept_by_the_log(promised):
    """Once sealed, the log covers the promised place, before the deadline by its entry's time."""
    promised.seal()
    found = promised.check()
    assert (found.verdict, found.late, found.vouched) == ("kept", False, True)
    assert found.seq == RECORDS - 1


def test_a_promise_is_kept_by_a_receipt(promised):
    """A receipt of the record shows that it is in the log, and which record it is."""
    ledger = promised.seal()
    found = find_record(ledger, parse_promise(promised.files[2]).id, "prediction")
    receipt = make_receipt(ledger, found, ()).data
    keys = {"vkey": promised.vkey, "promise_vkey": promised.promise_vkey}
    checked = verify_promise(promised.files[2], receipt=receipt, **keys)
    assert (checked.verdict, checked.id) == ("kept", found.id)
    with pytest.raises(InputError, match="of the promised place"):
        verify_promise(promised.files[1], receipt=receipt, **keys)


def test_a_later_manifest_does_not_mend_a_broken_promise(promised):
    """Where the log has another record in the promised place, an entry that claims the place once more is no help."""
    promised.rewrite(other_id)
    ledger = promised.seal()
    (manifest,) = ledger.find_entries("segment.sealed")
    document = parse_promise(promised.files[-1])
    identity = document.run.id_at(document.seq).to_bytes(16, "big").hex()
    claim = {"first_seq": str(document.seq), "count": "1", "first_id": identity, "last_id": identity}
    ledger.append([{**manifest, **claim}])
    assert promised.check().verdict == "broken"


@pytest.mark.parametrize("members", [{}, {"vkey": "x"}, {"vkey": 1}])
def test_an_entry_that_names_no_promise_key_is_a_finding(promised, members):
    """One malformed entry does not keep an audit from coming to its end."""
    ledger = promised.seal()
    ledger.append([{"type": "promise.key", **members}])
    report = verify_archive(promised.root, workers=1)
    index = ledger.log.checkpoint().size - 1
    assert [(one.severity, one.place) for one in report.findings if one.severity != "note"] == [
        ("failed", f"entry {index}")
    ]


def test_a_receipt_must_meet_the_policy_too(promised):
    """Whoever demands witnesses is not told `kept` by a receipt that none cosigned."""
    ledger = promised.seal()
    found = find_record(ledger, parse_promise(promised.files[2]).id, "prediction")
    receipt = make_receipt(ledger, found, ()).data
    witness = Ed25519Signer.from_seed("witness.example/w", bytes(32), kind=KeyKind.COSIGNATURE)
    policy = f"witness w {witness.vkey}\nquorum w\n"
    with pytest.raises(VerificationError, match="not witnessed"):
        promised.check(2, log=None, receipt=receipt, promise_vkey=promised.promise_vkey, policy=policy)


def test_before_the_deadline_a_promise_is_pending(original):
    """A record that is not sealed is no reproach while the delay is not over."""
    found = original.check(now=BEGAN + 1)
    assert (found.verdict, found.entry) == ("pending", None)
    assert "the delay is not over" in found.why


def test_after_the_deadline_an_old_log_proves_nothing(original):
    """That the record is not in a log of before the deadline is no evidence."""
    found = original.check()
    assert found.verdict == "pending"
    assert "is not shown" in found.why


def test_a_dropped_record_is_proven_by_its_holder(promised):
    """Dropped from the spool and the rest sealed: after the delay the promise is broken, the others are kept."""
    promised.rewrite(without_last)
    promised.seal()
    found = promised.check(as_of=LATER)
    assert found.verdict == "broken"
    assert f"no entry that covers seq {RECORDS - 1}" in found.why
    assert [promised.check(number, as_of=LATER).verdict for number in range(RECORDS - 1)] == ["kept"] * (RECORDS - 1)
    assert promised.check(now=BEGAN + 1).verdict == "pending"


def test_a_later_entry_shows_how_new_the_log_is(promised):
    """Without the holder's word: an entry of a time after the deadline, and the record is not there."""
    ledger = promised.ledger()
    object.__setattr__(ledger.world, "now_ns", lambda: LATER * 10**9)
    ledger.append([{"type": "role.removed"}])
    assert promised.check(now=LATER + 1).verdict == "broken"


def test_witnesses_show_how_new_the_log_is(promised):
    """A cosignature of after the deadline, by a witness of the holder's policy, makes it evidence."""
    witness = Ed25519Signer.from_seed("witness.example", bytes(32), KeyKind.COSIGNATURE)
    policy = f"log {promised.vkey}\nwitness w {witness.vkey}\nquorum w\n"
    path = promised.root / "log" / "1" / "checkpoint"
    note = path.read_bytes()
    line = cosign(parse_checkpoint(parse_note(note).text), witness, LATER)
    with pytest.raises(VerificationError, match="not witnessed"):
        promised.check(policy=policy)
    path.write_bytes(add_signatures(note, [line]))
    assert promised.check(policy=policy, log=path.parent).verdict == "broken"
    assert promised.check(log=path.parent).verdict == "pending"


def test_another_record_in_its_place_is_proven_at_once(promised):
    """A record with another id at the promised place breaks the promise before the delay is over."""
    promised.rewrite(other_id)
    ledger = promised.seal()
    found = promised.check(now=BEGAN + 1)
    assert found.verdict == "broken"
    assert "is another" in found.why
    stored = next(iter(ledger.find_entries("segment.sealed")))["last_id"]
    receipt = make_receipt(ledger, find_record(ledger, stored, "prediction"), ()).data
    assert promised.check(log=None, receipt=receipt, promise_vkey=promised.promise_vkey).verdict == "broken"


def test_a_late_record_is_kept_and_said_to_be_late(promised):
    """A record that came after the deadline is in the log, and its entry's time says that it was late."""
    ledger = promised.ledger()
    object.__setattr__(ledger.world, "now_ns", lambda: LATER * 10**9)
    seal_all(ledger)
    found = promised.check(now=LATER + 1)
    assert (found.verdict, found.late) == ("kept", True)


def test_the_frame_is_the_promised_content(promised):
    """With the frame's bytes the promise shows which content; with others it is refused."""
    (frame,) = [frame for frame in read_frames(promised.frames) if frame.first_seq == 1 and frame.kind == ROWS]
    data = encode_frame(frame.kind, frame.first_seq, frame.count, frame.payload)
    assert promised.check(1, frame=data).verdict == "pending"
    with pytest.raises(VerificationError, match="not the one that was promised"):
        promised.check(1, frame=data + b"x")


def test_a_promise_alone_says_what_it_says(original):
    """Without a log it verifies under the given key, and nothing is said of whether it was kept."""
    found = verify_promise(original.files[0], promise_vkey=original.promise_vkey)
    assert (found.verdict, found.vouched, found.origin) == ("pending", False, ORIGIN)
    assert f"record {found.id} was durable, seq 0 of stream {found.stream}" in str(found)


def forged(original, signer, **changes):
    """Return the first promise with another text, signed by another key."""
    document = parse_promise(original.files[0])
    text = replace(parse_promise_text(parse_note(document.note).text), **changes)
    return replace(document, note=sign_note(text.encode(), signer)).encode()


def test_a_promise_of_another_key_is_refused(original):
    """One that somebody else signed in the operator's name is not the operator's."""
    data = forged(original, Ed25519Signer.from_seed(key_name(ORIGIN), bytes(32)))
    for keys in ({"promise_vkey": original.promise_vkey}, {"vkey": original.vkey, "log": original.root}):
        with pytest.raises(VerificationError):
            verify_promise(data, **keys)


def test_a_promise_of_another_log_is_refused(original, tmp_path):
    """A log says nothing of promises that are not its operator's, whoever signed them."""
    other = Ed25519Signer.from_seed(key_name("example.org/other"), bytes(32))
    data = forged(original, other, origin="example.org/other")
    with pytest.raises(VerificationError, match=r"it is of example\.org/other"):
        verify_promise(data, vkey=original.vkey, log=original.root, promise_vkey=other.vkey)
    with pytest.raises(VerificationError, match="names no key"):
        verify_promise(data, vkey=original.vkey, log=original.root)
    with pytest.raises(VerificationError, match="is called"):
        verify_promise(original.files[0], promise_vkey=other.vkey)


def test_a_promise_of_another_stream_is_refused(original):
    """The signed leaf has the stream: with another it does not lead to the root."""
    document = parse_promise(original.files[0])
    data = replace(document, run=replace(document.run, stream="00" * 16)).encode()
    with pytest.raises(VerificationError):
        verify_promise(data, promise_vkey=original.promise_vkey)


@settings(max_examples=60, deadline=None)
@given(at=st.integers(min_value=0), bit=st.integers(0, 7))
def test_a_changed_promise_is_refused(original, at, bit):
    """Whatever bit of a promise is changed, it does not verify, and nothing else happens."""
    data = bytearray(original.files[0])
    data[at % len(data)] ^= 1 << bit
    document = parse_promise(original.files[0])
    try:
        verify_promise(bytes(data), promise_vkey=original.promise_vkey)
    except BackstoryError:
        return
    # The salt says nothing by itself; it is checked with the frame.
    assert replace(parse_promise(bytes(data)), salt=document.salt) == document


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2}, {"v": True}, {"kind": "receipt"}, {"seq": "1"}, {"seq": 0}, {"seq": "00"}, {"seq": str(2**64)},
        {"count": "0"}, {"count": str(2**32)}, {"first_seq": str(2**64 - 1)}, {"id": None}, {"path": ["00"]},
        {"path": ["00" * 32]}, {"path": ["00" * 32] * 21}, {"index": "1"}, {"salt": "AA" * 32}, {"more": 1},
        {"note": "x"}, {"stream": "x"}, {"first_id": "f" * 32, "count": "2"},
    ],
)  # fmt: skip
def test_a_malformed_promise_is_refused(changes, original):
    """A member that is not as it must be never verifies, and no type makes the check fail in another way."""
    data = canonical.encode(json.loads(original.files[0]) | changes)
    with pytest.raises((VerificationError, FormatError)):
        verify_promise(data, promise_vkey=original.promise_vkey)


@pytest.mark.parametrize("data", [b"", b"x", b"{}", b'{"kind":"promise"', b'{"kind":"promise"}', b"\xff" * 100])
def test_what_is_no_promise_is_refused(data, original):
    """Bytes that are no promise are an error of ours."""
    with pytest.raises((VerificationError, FormatError)):
        verify_promise(data, promise_vkey=original.promise_vkey)


def test_a_changed_log_is_refused(promised):
    """A log whose entries do not lead to its checkpoint says nothing about a promise."""
    bundle = max((promised.root / "log/1/tile/entries/000.p").iterdir(), key=lambda path: int(path.name))
    bundle.write_bytes(bundle.read_bytes().replace(b'"delay":"60"', b'"delay":"61"'))
    with pytest.raises(VerificationError, match="do not lead to the root"):
        promised.check()


@pytest.mark.parametrize(
    "options",
    [
        {"vkey": None}, {"log": None, "vkey": None}, {"vkey": "x"}, {"promise_vkey": "x"}, {"as_of": LATER + 1},
        {"policy": "log x\n"},
    ],
)  # fmt: skip
def test_what_is_missing_or_malformed_is_the_callers(options, original):
    """Keys that are missing or malformed, and a time to come, are mistakes of who asks."""
    with pytest.raises(InputError):
        original.check(**options)


def test_the_audit_finds_promises_in_order(promised):
    """Records that wait in the spool, or are sealed, are as promised; those that wait for too long are noted."""
    assert promised.findings() == []
    ((severity, what),) = promised.findings(LATER)
    assert severity == "note"
    assert f"seq 0 to {RECORDS - 1} are waiting in the spool longer than was promised" in what
    promised.seal()
    assert promised.findings(LATER) == []


def test_promises_are_audited_in_a_copy_without_the_lock_store(promised, tmp_path):
    """Where it is kept elsewhere, the log says how far streams are sealed."""
    layout = promised.ledger().layout
    away = Layout(layout.root, replace(layout.config, lock=str(tmp_path / "elsewhere" / "lock.sqlite")))
    keys = [promised.promise_vkey]
    assert list(check_promises(away, keys, {}, BEGAN_NS)) == []
    promised.rewrite(without_last)
    assert [found.severity for found in check_promises(away, keys, {}, BEGAN_NS)] == ["failed"]


def test_the_audit_names_what_was_dropped(promised):
    """A record that was promised and is in neither log nor spool is named with its stream and seq, without delay."""
    promised.rewrite(without_last)
    expected = (
        "failed",
        f"records of seq {RECORDS - 1} to {RECORDS - 1} are promised, and neither in the log nor in the spool",
    )
    assert promised.findings() == [expected]
    promised.seal()
    assert promised.findings() == [expected]
    ledger = promised.ledger()
    (found,) = check_promises(ledger.layout, [promised.promise_vkey], ledger.lock.heads(), BEGAN_NS)
    stream = parse_promise(promised.files[0]).run.stream
    assert (found.stream, found.seq, found.end_seq) == (stream, RECORDS - 1, RECORDS)


def test_the_audit_names_what_was_changed(promised):
    """A frame whose content was changed before it was sealed is not the one that was promised."""
    promised.rewrite(other_value)
    ((severity, what),) = promised.findings()
    assert severity == "failed"
    assert f"seq {RECORDS - 1} to {RECORDS - 1} are in frames of the spool that are not those" in what


def test_the_audit_names_a_promise_that_was_changed(promised):
    """A line that is not signed, or not of this stream, is named."""
    (path,) = (promised.root / "promises").iterdir()
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0].replace(b"/test", b"/tesT"), *lines[1:]]))
    path.with_name("00" * 16).write_bytes(lines[1] + b"\n")
    found = promised.findings()
    assert [severity for severity, _ in found] == ["failed", "failed"]
    assert "line 1 is no promise of this log" in found[0][1]
    assert "of another stream" in found[0][1]


def test_a_promise_is_small(original):
    """A promise about a record that was flushed alone fits a header of a response."""
    assert max(map(len, original.files)) < 1_000


ids = st.integers(0, 2**128 - 1)
hashes = st.binary(min_size=32, max_size=32)
streams = st.binary(min_size=16, max_size=16).map(bytes.hex)
runs = st.builds(
    PromisedRun,
    frame=hashes,
    stream=streams,
    first_seq=st.integers(0, 2**63),
    count=st.integers(1, 2**32 - 1),
    first_id=st.integers(0, 2**127),
)
texts = st.builds(
    PromiseText,
    origin=st.just(ORIGIN),
    time_ns=st.integers(0, 4 * 10**18),
    delay=st.integers(1, 31_622_400),
    leaves=st.integers(1, LEAVES_MAX),
    root=hashes,
)


@given(run=runs)
def test_a_leaf_is_read_as_it_was_written(run):
    """Every leaf has one form of 76 bytes."""
    assert parse_run(run.encode()) == run


@given(text=texts)
def test_a_text_is_read_as_it_was_written(text):
    """Every text has one form."""
    assert parse_promise_text(text.encode()) == text
    assert parse_promise_text(text.encode()).encode() == text.encode()


@given(run=runs, offset=st.integers(0, 2**32), path=st.lists(hashes, max_size=20), salt=hashes)
def test_a_promise_is_read_as_it_was_written(run, offset, path, salt):
    """Every promise file has one form."""
    seq = run.first_seq + offset % run.count
    document = PromiseDocument(run=run, seq=seq, index=7, path=tuple(path), salt=salt, note=b"note \xe2\x80\x94\n")
    assert parse_promise(document.encode()) == document


@given(pairs=st.lists(st.tuples(runs, hashes), max_size=5))
def test_a_kept_promise_is_read_as_it_was_written(pairs):
    """Every line has one form, without a newline but its last."""
    kept = KeptPromise(note=b"note\n", runs=tuple(run for run, _ in pairs), salts=tuple(salt for _, salt in pairs))
    line = kept.encode()
    assert line.count(b"\n") == 1
    assert parse_kept(line[:-1]) == kept


@given(numbers=st.lists(st.integers(0, 30), min_size=1, max_size=30, unique=True).map(sorted), first=st.integers(0, 9))
def test_the_leaves_of_a_frame_give_every_record_its_id(numbers, first):
    """However ids follow each other, leaves cover every record once, and no two leaves could be one."""
    found = runs_of("00" * 16, bytes(32), first, numbers)
    assert [run.id_at(seq) for run in found for seq in range(run.first_seq, run.end_seq)] == numbers
    assert [seq for run in found for seq in range(run.first_seq, run.end_seq)] == [*range(first, first + len(numbers))]
    assert all(a.first_id + a.count != b.first_id for a, b in itertools.pairwise(found))


@given(salt=hashes, other=hashes, frame=st.binary(max_size=50))
def test_a_digest_is_of_one_salt(salt, other, frame):
    """Frames of the same bytes have other digests under other salts, so that one says nothing about another."""
    assert (frame_digest(salt, frame) == frame_digest(other, frame)) is (salt == other)


def test_a_tree_of_many_leaves_gives_each_its_path(tmp_path):
    """A flush with records of several milliseconds: the promise about each leads to the one root."""
    ledger = new_ledger(tmp_path / "archive")
    recorder, target = new_recorder(ledger, "async"), RowTarget(OPEN)
    vkey = create_promise_key(ledger, recorder, DELAY)
    numbers = [recorder.record_row(target, make_row(ledger, number)) for number in range(9)]
    recorder.write()
    found = [find_record(ledger, id_text_of(number), "prediction") for number in numbers]
    promises = [verify_promise(promise_of(ledger, recorder, one).data, promise_vkey=vkey) for one in found]
    assert [(one.seq, one.id) for one in promises] == [(seq, id_text_of(n)) for seq, n in enumerate(numbers)]
    recorder.close()
