"""Whether streams are complete: what verification says of how writers began, counted and ended."""

from __future__ import annotations

import shutil

import pytest
from tests.support.ledgers import OPEN, make_batch, new_ledger, new_recorder

import backstory
from backstory.errors import NotFoundError
from backstory.ledger.seal import seal_all
from backstory.records.manifest import MANIFEST_TYPE
from backstory.verify import archive as archive_module
from backstory.verify.archive import verify_archive


@pytest.fixture
def ledger(tmp_path):
    """A new archive, open for writing."""
    return new_ledger(tmp_path / "archive")


def mark(**given):
    """Return what a writer counted."""
    return {
        "clock": "unsynchronised",
        "jump_ns": "0",
        "recorded": "3",
        "refused": "0",
        "time": "2026-01-01T00:00:00.000000000Z",
        "v": 1,
    } | given


def record(ledger, rows=3):
    """Record and seal some predictions; return the recorder and the stream."""
    recorder = new_recorder(ledger)
    recorded = recorder.record(make_batch(ledger, OPEN, 0, rows))
    seal_all(ledger)
    return recorder, recorded.stream


def said_of(ledger, stream, **options):
    """Return severity and text of what is found about a stream."""
    report = verify_archive(ledger.layout.root, workers=1, **options)
    return [(f.severity, f.what) for f in report.findings if f.place == f"stream {stream}"]


def close_with(ledger, stream, rows=3, **given):
    """Let the log say that a stream ended, after its spool is gone."""
    shutil.rmtree(ledger.layout.spool / stream)
    closed = {"clean": True, "mark": mark(), "next_seq": str(rows), "stream": stream, "unknown_bytes": "0"}
    ledger.append([{"type": "stream.closed", **closed, **given}])


def test_a_stream_from_beginning_to_end_is_no_finding(ledger):
    """Opened, sealed, ended in order: nothing to say."""
    recorder, stream = record(ledger)
    assert said_of(ledger, stream) == []
    recorder.close()
    seal_all(ledger)
    assert said_of(ledger, stream) == []


def test_records_without_a_beginning_fail(ledger):
    """Records in the log before any word that their stream began are not what a sealer writes."""
    recorder, stream = record(ledger)
    recorder.close()
    entry = next(entry for entry in ledger.find_entries(MANIFEST_TYPE) if entry["stream"] == stream)
    other = "ab" * 16
    ledger.append([{**entry, "stream": other}], {other: (0, 3)})
    assert ("failed", "has records in the log before any word that it began") in said_of(ledger, other)


def test_a_stream_that_vanished_is_unknown(ledger):
    """Where the spool is gone and the log does not say that the stream ended, what followed is not known."""
    recorder, stream = record(ledger)
    recorder.close()
    shutil.rmtree(ledger.layout.spool / stream)
    ((severity, what),) = said_of(ledger, stream)
    assert severity == "unknown"
    assert what.startswith("unknown after seq 2: the log does not say that it ended")


def test_a_stream_of_a_worker_that_is_named_is_not_lost(tmp_path):
    """A stream in a worker's spool is where it should be, once verification is told of that spool."""
    with backstory.init(tmp_path / "archive", origin="example.org/test") as archive:
        archive.spool(tmp_path / "worker")
        with backstory.recorder(tmp_path / "worker") as recorder:
            recorder.record({"x": 1.0}, 2.0)
            recorder.sync()
            assert archive.collect(tmp_path / "worker") == 1
            assert [f.severity for f in archive.verify(workers=1).findings] == ["unknown"]
            assert archive.verify(workers=1, spools=[tmp_path / "worker"]).findings == ()
        with pytest.raises(NotFoundError):
            archive.verify(workers=1, spools=[tmp_path / "elsewhere"])


def test_a_stream_that_ends_meanwhile_is_known(monkeypatch, ledger):
    """A stream that another process seals to its end while this one verifies is not lost."""
    recorder, stream = record(ledger)
    check = archive_module.check_streams

    def later(*arguments):
        recorder.close()
        seal_all(ledger)
        return check(*arguments)

    monkeypatch.setattr(archive_module, "check_streams", later)
    assert said_of(ledger, stream) == []
    assert ledger.spool.stream_names() == []


def test_a_killed_writer_is_told(ledger):
    """A writer that ended without saying so leaves a note with the place, and no failure."""
    recorder, stream = record(ledger)
    recorder.leave_parent()  # as a crash does: no end is written
    seal_all(ledger)
    assert said_of(ledger, stream) == [("note", "unknown after seq 2: its writer ended without saying so")]


def test_bytes_that_were_cut_short_are_told(ledger):
    """What a crash tore is said with the place."""
    recorder, stream = record(ledger)
    recorder.close()
    close_with(ledger, stream, clean=False, unknown_bytes="17", mark={})
    what = "unknown after seq 2: its writer ended without saying so, 17 bytes of a write were cut short"
    assert said_of(ledger, stream) == [("note", what)]


def test_refused_predictions_are_told(ledger):
    """How many predictions have no record is worth knowing."""
    recorder, stream = record(ledger)
    recorder.close()
    close_with(ledger, stream, mark=mark(refused="4"))
    assert said_of(ledger, stream) == [("note", "4 predictions were refused: they have no record")]


def test_more_counted_than_sealed_fails(ledger):
    """A writer that counted more than is in the log is evidence that records are missing."""
    recorder, stream = record(ledger)
    recorder.close()
    close_with(ledger, stream, mark=mark(recorded="5"))
    assert said_of(ledger, stream) == [("failed", "its writer counted 5 records and 3 are sealed: 2 are missing")]


def test_an_end_at_another_place_fails(ledger):
    """The log must end a stream where its records end."""
    recorder, stream = record(ledger)
    recorder.close()
    close_with(ledger, stream, next_seq="2", mark={})
    assert said_of(ledger, stream) == [("failed", "ended before seq 2 by the log, and 3 records are sealed")]


@pytest.mark.parametrize(("jump_ns", "told"), [("3000000000", "+3.000 s"), ("-2500000000", "-2.500 s")])
def test_a_clock_that_was_set_is_told(ledger, jump_ns, told):
    """A jump of the clock stands with its size, forwards or back."""
    recorder, stream = record(ledger)
    recorder.close()
    close_with(ledger, stream, mark=mark(jump_ns=jump_ns))
    ((severity, what),) = said_of(ledger, stream)
    assert severity == "note"
    assert told in what


def test_a_clock_without_its_time_service_is_told(ledger):
    """Where some clocks were kept by a time service, one that was not is worth knowing."""
    streams = []
    for state in ("synchronised", "unsynchronised"):
        recorder, stream = record(ledger)
        recorder.close()
        close_with(ledger, stream, mark=mark(clock=state))
        streams.append(stream)
    assert [len(said_of(ledger, stream)) for stream in streams] == [0, 1]


@pytest.mark.parametrize(
    "given", [{"mark": "none"}, {"next_seq": 3}, {"mark": mark(jump_ns="+3")}, {"unknown_bytes": "-1"}]
)
def test_an_entry_that_cannot_be_read_fails(ledger, given):
    """An entry about a stream that is not of the format's form is named."""
    recorder, stream = record(ledger)
    recorder.close()
    close_with(ledger, stream, **given)
    report = verify_archive(ledger.layout.root, workers=1)
    assert f"entry {report.tree_size - 1}" in {f.place for f in report.findings if f.severity == "failed"}
