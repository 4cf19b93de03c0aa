"""Jobs: a part is in the log wholly and once, or not at all, whatever happened on the way."""

from __future__ import annotations

import logging
import shutil
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.support.disks import WiredDisk
from tests.support.ledgers import OPEN, ORIGIN, SEALED, QuickDisk, make_batch, new_ledger, reopen

import backstory
from backstory.archive import Archive
from backstory.capture.recorder import Recorder
from backstory.errors import (
    ConflictError,
    ForbiddenError,
    FormatError,
    InputError,
    InputMutatedError,
    StorageError,
    TokenError,
)
from backstory.ledger import seal
from backstory.ledger.job import find_part, parts_of
from backstory.ledger.ledger import Ledger
from backstory.ledger.seal import seal_all, seal_part
from backstory.records.canonical import JsonObject
from backstory.records.job import PART_TYPE, PartName
from backstory.records.manifest import MANIFEST_TYPE
from backstory.records.schema import Schema
from backstory.storage.world import World
from backstory.verify.archive import verify_archive

ROWS = 50
WHICH = PartName(name="nightly", run="2026-11-22", part="3")


@pytest.fixture
def archive(tmp_path):
    """An empty archive, open for writing."""
    with backstory.init(tmp_path / "audit", origin=ORIGIN, world=World(disk=QuickDisk())) as opened:
        yield opened


class Model:
    """A model that counts how often it runs, and does what it is told."""

    def __init__(self) -> None:
        self.calls = 0
        self.error: Exception | None = None
        self.mutates = False

    def __call__(self, frame: pd.DataFrame) -> np.ndarray:
        """Return twice `x`, or do what it was told."""
        self.calls += 1
        if self.error is not None:
            raise self.error
        if self.mutates:
            frame.loc[0, "x"] = -1.0
        return frame["x"].to_numpy() * 2.0


@pytest.fixture
def model():
    """A model that does what it is told."""
    return Model()


@pytest.fixture
def version(archive, model):
    """The model, registered."""
    return archive.register(model, name="double")


def batch(part: int) -> pd.DataFrame:
    """Return the rows of a part: consecutive numbers."""
    return pd.DataFrame({"x": np.arange(ROWS, dtype="float64") + part * ROWS})


def predict(job, version, part: int):
    """Predict a part."""
    return job.predict(version, batch(part), part=part, method="__call__")


def entries(archive: Archive, type_: str) -> list[JsonObject]:
    """Return the entries of a type in the log."""
    log = archive._ledger.log
    return [entry for _, entry in log.entries(0, log.checkpoint().size) if entry["type"] == type_]


def record_part(ledger: Ledger, schema: Schema = OPEN, *, which: PartName = WHICH, rows: int = ROWS) -> Recorder:
    """Record a part below the front door; the recorder is open and has not said that it ends."""
    recorder = Recorder(ledger.spool, ledger.blobs, ledger.world, job=which.document())
    recorder.record(make_batch(ledger, schema, 0, rows))
    recorder.sync()
    return recorder


def leftovers(ledger: Ledger) -> list[str]:
    """Return the names of what lies in spool, segments and vault, and of keys besides the log's."""
    layout = ledger.layout
    folders = (layout.spool, layout.segments, layout.vault, layout.keys)
    return sorted(path.name for folder in folders for path in folder.iterdir() if not path.name.startswith("log-"))


# --- from the front door ----------------------------------------------------------------------------------------------


def test_a_part_is_in_the_log_when_it_returns(archive, version):
    """The output is the model's, and every record is sealed."""
    with archive.job("nightly", run="1") as job:
        made = predict(job, version, 2)
    assert made.output.tolist() == (batch(2)["x"] * 2).tolist()
    assert (made.part, made.repeated, len(made)) == ("2", False, ROWS)
    story = archive.why(made.ids[7])
    assert (story.output, story.proof["state"]) == (batch(2)["x"][7] * 2, "sealed")
    report = archive.verify(workers=1)
    assert (report.counts["records"], report.findings) == (ROWS, ())


def test_a_part_that_is_done_is_not_predicted_again(archive, version, model):
    """The model does not run; the ids are those of the records that are there."""
    job = archive.job("nightly", run="1")
    first = predict(job, version, 0)
    again = predict(archive.job("nightly", run="1"), version, 0)
    assert (again.repeated, again.output, again.ids, model.calls) == (True, None, first.ids, 1)
    assert len(archive.search("true")) == ROWS


def test_runs_and_jobs_are_apart(archive, version):
    """The same part of another run, or of another job, is another part; names that contain each other too."""
    names = [("a", "1"), ("a", "2"), ("b", "1"), ('a","1', "1"), ("a", '1","0')]
    jobs = [archive.job(name, run=run) for name, run in names]
    assert [predict(job, version, 0).repeated for job in jobs] == [False] * len(jobs)
    assert [job.parts for job in jobs] == [("0",)] * len(jobs)


def test_done_parts_are_told(archive, version):
    """`done` and `parts` say what is in the log, in the order it got there; a number and its text are one part."""
    job = archive.job("nightly", run="1")
    for part in (10, 2):
        predict(job, version, part)
    assert job.parts == ("10", "2")
    assert (job.done(2), job.done("2"), job.done(np.int64(2)), job.done(3)) == (True, True, True, False)


@pytest.mark.parametrize("part", [True, 1.0, None, "", "x" * 257, "\ud800"])
def test_a_part_has_a_name(archive, part):
    """What cannot name a part is refused."""
    with pytest.raises(InputError, match="part"):
        archive.job("nightly", run="1").done(part)


@pytest.mark.parametrize("given", [{"name": ""}, {"run": 7}, {"expect": -1}, {"expect": "5"}])
def test_a_job_is_named_and_expects_a_number(archive, given):
    """What cannot name a job or a run, or be a number of records, is refused."""
    with pytest.raises(InputError, match="job"):
        archive.job(**{"name": "nightly", "run": "1", **given})


def test_a_read_only_archive_has_no_jobs(archive):
    """Opening for reading only does not do for a job."""
    with backstory.open(archive.path, mode="r") as reading, pytest.raises(ForbiddenError):
        reading.job("nightly", run="1")


def test_a_model_that_fails_leaves_its_part_undone(archive, version, model):
    """The exception goes on untouched, the failed predictions are recorded as any, and a retry does the part."""
    job = archive.job("nightly", run="1")
    model.error = ZeroDivisionError("by zero")
    with pytest.raises(ZeroDivisionError) as raised:
        predict(job, version, 0)
    assert raised.value is model.error
    assert not job.done(0)
    model.error = None
    assert not predict(job, version, 0).repeated
    archive.flush()
    found = archive.search("true")
    assert found["status"].value_counts().to_dict() == {"error": ROWS, "ok": ROWS}
    assert [entry["records"] for entry in entries(archive, PART_TYPE)] == [str(ROWS)]


def test_a_model_that_changes_its_input_has_done_its_part(archive, version, model):
    """As with any prediction the error says so, and the records are there, with the input as it was."""
    job = archive.job("nightly", run="1")
    model.mutates = True
    with pytest.raises(InputMutatedError):
        predict(job, version, 1)
    assert predict(job, version, 1).repeated
    assert archive.search("true")["feature.x"].tolist() == batch(1)["x"].tolist()


def test_the_end_of_a_run_is_in_the_log(archive, version):
    """Leaving the block says what there is of the run, once, however often it is left."""
    for _ in range(2):
        with archive.job("nightly", run="1", expect=2 * ROWS) as job:
            for part in range(2):
                predict(job, version, part)
    (end,) = entries(archive, "job.finished")
    said = {key: end[key] for key in ("name", "run", "parts", "records", "expected")}
    assert said == {"name": "nightly", "run": "1", "parts": "2", "records": "100", "expected": "100"}


def test_another_number_than_expected_is_an_error(archive, version):
    """The block raises, the entry has both numbers, and verifying notes it."""
    job = archive.job("nightly", run="1", expect=ROWS + 1)
    with pytest.raises(ConflictError, match=f"expected {ROWS + 1} records, got {ROWS} in 1 parts"), job:
        predict(job, version, 0)
    (end,) = entries(archive, "job.finished")
    assert (end["records"], end["expected"]) == (str(ROWS), str(ROWS + 1))
    (finding,) = archive.verify(workers=1).findings
    assert (finding.severity, "expected" in finding.what) == ("note", True)


def test_an_exception_in_the_block_is_no_end(archive, version):
    """What is raised in the block goes on, and the run has not ended."""
    job = archive.job("nightly", run="1", expect=0)
    with pytest.raises(TokenError), job:
        job.predict(version, batch(0).assign(_row_nothing=1), part=0, method="__call__")
    assert entries(archive, "job.finished") == []


def test_a_part_of_one_row_is_no_step(archive, version):
    """Inside a prediction that has steps, a part is a part all the same."""
    with archive.prediction() as outer:
        made = archive.job("nightly", run="1").predict(version, batch(0)[:1], part=0, method="__call__")
        outer.output(1.0)
    assert (len(made.ids), archive.why(made.ids[0]).output) == (1, 0.0)


def test_personal_parts_are_sealed_values(archive, version):
    """A part about people is sealed as any prediction about them."""
    made = archive.job("nightly", run="1").predict(version, batch(0), part=0, method="__call__", subject="somebody")
    assert archive.why(made.ids[0]).sealed == ("features", "output", "subject")


def test_threads_that_do_the_same_parts(archive, version):
    """Each row is recorded once, and each thread has the ids of the same records."""
    ids: list[dict[int, str]] = [{}, {}]

    def work(own: dict[int, str]) -> None:
        with archive.job("nightly", run="1", expect=4 * ROWS) as job:
            own.update({part: predict(job, version, part).ids[0] for part in range(4)})

    threads = [threading.Thread(target=work, args=(own,)) for own in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ids[0] == ids[1]
    assert sorted(archive.search("true")["feature.x"]) == list(range(4 * ROWS))
    assert not archive.verify(workers=1).failed


# --- below it ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", [OPEN, SEALED], ids=["open", "sealed"])
def test_a_part_cut_short_is_discarded(tmp_path, schema, caplog):
    """Without its end mark nothing of a part gets into the log, and nothing of it stays."""
    ledger = new_ledger(tmp_path / "archive")
    before, size = leftovers(ledger), ledger.log.checkpoint().size
    record_part(ledger, schema).leave_parent()
    with caplog.at_level(logging.WARNING, "backstory"):
        assert seal_all(reopen(ledger.layout.root)) == 0
    assert "writer stopped before the part was complete" in caplog.text
    assert (leftovers(ledger), ledger.log.checkpoint().size) == (before, size)


def test_a_part_without_records_is_discarded(tmp_path):
    """An end mark alone does not make a part."""
    ledger = new_ledger(tmp_path / "archive")
    recorder = Recorder(ledger.spool, ledger.blobs, ledger.world, job=WHICH.document())
    recorder.record(make_batch(ledger, OPEN, 0, 0))
    recorder.close()
    assert seal_all(ledger) == 0
    assert (parts_of(ledger, WHICH.name, WHICH.run), leftovers(ledger)) == ([], [])


@pytest.mark.parametrize("rows", [ROWS, 50_000], ids=["small", "large"])
def test_a_full_disk_leaves_the_part_undone(tmp_path, model, rows):
    """A part that cannot be written is no part; with space again a retry does it, and nothing of the first stays."""
    disk = WiredDisk()
    frame = pd.DataFrame({"x": np.arange(rows, dtype="float64")})
    with backstory.init(tmp_path / "audit", origin=ORIGIN, world=World(disk=disk)) as archive:
        version = archive.register(model, name="double")
        job = archive.job("nightly", run="1")
        before = leftovers(archive._ledger)
        disk.full.add(archive.path / "spool")
        with pytest.raises(StorageError):
            job.predict(version, frame, part=0, method="__call__")
        assert not job.done(0)
        disk.full.clear()
        assert job.predict(version, frame, part=0, method="__call__").output is not None
        assert len(archive.search("true")) == rows
    with backstory.open(archive.path) as archive:
        assert len(leftovers(archive._ledger)) == len(before) + 1  # one segment
        assert archive.verify(workers=1).findings == ()


class UnflushedDisk(WiredDisk):
    """A disk that, while flushes fail, takes no other file in the place of one that could not be flushed."""

    def write_with(self, path, fill, *, mode=0o644, replace=True):
        """Write, or fail."""
        if self.failing_syncs and path.name.startswith("frames-") and path.name != "frames-0":
            raise StorageError("writing: Input/output error", errno=5)
        super().write_with(path, fill, mode=mode, replace=replace)


def test_what_cannot_be_made_durable_is_no_part(tmp_path, model):
    """A disk that takes writes and no flushes leaves the part undone, and a retry does it."""
    disk = UnflushedDisk()
    with backstory.init(tmp_path / "audit", origin=ORIGIN, world=World(disk=disk)) as archive:
        version = archive.register(model, name="double")
        job = archive.job("nightly", run="1")
        predict(job, version, 0)
        disk.failing_syncs = 1_000
        with pytest.raises(StorageError):
            predict(job, version, 1)
        disk.failing_syncs = 0
        assert (job.parts, predict(job, version, 1).repeated) == (("0",), False)
    with backstory.open(archive.path) as archive:
        assert archive._ledger.spool.streams() == []
        assert sorted(archive.search("true")["feature.x"]) == list(range(2 * ROWS))


def test_the_part_of_a_living_writer_is_left_alone(tmp_path):
    """Nobody seals or discards a part that is being recorded; once it is complete it is sealed."""
    ledger = new_ledger(tmp_path / "archive")
    recorder = record_part(ledger)
    assert seal_all(reopen(ledger.layout.root)) == 0
    recorder.close()
    assert seal_all(reopen(ledger.layout.root)) == ROWS
    ledger.catch_up()
    assert find_part(ledger, WHICH).records == ROWS


@pytest.mark.parametrize("schema", [OPEN, SEALED], ids=["open", "sealed"])
def test_of_two_complete_streams_one_counts(tmp_path, schema):
    """The other is discarded, with nothing of it left."""
    ledger = new_ledger(tmp_path / "archive")
    for _ in range(2):
        record_part(ledger, schema).close()
    winner, loser = ledger.spool.streams()
    assert seal_part(ledger, winner).stream == winner.stream
    assert seal_part(ledger, loser).stream == winner.stream
    assert not [name for name in leftovers(ledger) if loser.stream in name]
    report = verify_archive(ledger.layout.root, workers=1)
    assert (report.counts["records"], report.findings) == (ROWS, ())


class RacingDisk(QuickDisk):
    """A disk on which somebody else seals the same part while the first segment is being written."""

    def __init__(self) -> None:
        self.rival = None

    def write_with(self, path: Path, fill, **options) -> None:
        """Let the rival go first, once."""
        super().write_with(path, fill, **options)
        if path.suffix == ".parquet" and self.rival is not None:
            rival, self.rival = self.rival, None
            rival()


@pytest.mark.parametrize("schema", [OPEN, SEALED], ids=["open", "sealed"])
def test_who_comes_late_commits_nothing(tmp_path, schema):
    """A part that somebody else did after this one looked, and before it committed, is not done twice."""
    ledger = new_ledger(tmp_path / "archive")
    for _ in range(2):
        record_part(ledger, schema).close()
    slow, quick = ledger.spool.streams()
    disk = RacingDisk()
    other = reopen(ledger.layout.root, disk=disk)
    disk.rival = lambda: seal_part(ledger, quick)
    assert seal_part(other, slow).stream == quick.stream
    assert disk.rival is None
    assert not [name for name in leftovers(ledger) if slow.stream in name]
    report = verify_archive(ledger.layout.root, workers=1)
    assert (report.counts["records"], report.findings) == (ROWS, ())


class CountingDisk(QuickDisk):
    """A disk that keeps the sizes of the commits it was made to stage."""

    def __init__(self) -> None:
        self.commits: list[str] = []

    def write_with(self, path: Path, fill, **options) -> None:
        """Take note of what is staged."""
        if path.parent.name == "staged":
            self.commits.append(path.name)
        super().write_with(path, fill, **options)


def test_a_large_part_is_one_commit(tmp_path, monkeypatch):
    """Its segments, and the entry that says it is done, get into the log together."""
    monkeypatch.setattr(seal, "SEGMENT_ROWS_MAX", 300)
    disk = CountingDisk()
    ledger = new_ledger(tmp_path / "archive", disk=disk)
    before = ledger.log.checkpoint().size
    record_part(ledger, rows=1_000).close()
    disk.commits.clear()
    assert seal_all(ledger) == 1_000
    end = ledger.log.checkpoint().size
    appended = [entry["type"] for _, entry in ledger.log.entries(before, end)]
    assert appended == ["stream.opened", *[MANIFEST_TYPE] * 4, PART_TYPE, "stream.closed"]
    assert disk.commits == [str(end)]
    assert verify_archive(ledger.layout.root, workers=1).findings == ()


def test_a_damaged_part_is_kept_and_not_sealed(tmp_path):
    """What cannot be read is not half sealed, and not thrown away either until the part is done."""
    ledger = new_ledger(tmp_path / "archive")
    record_part(ledger).close()
    (info,) = ledger.spool.streams()
    path = ledger.layout.spool / info.stream / "frames-0"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(FormatError):
        seal_all(ledger)
    assert find_part(ledger, WHICH) is None
    record_part(ledger).close()
    with pytest.raises(FormatError):
        seal_all(ledger)
    assert seal_all(ledger) == 0
    assert find_part(ledger, WHICH).records == ROWS
    assert ledger.spool.streams() == []


def test_a_crash_after_the_commit_is_finished(tmp_path):
    """A stream that is in the log and still in the spool is removed from the spool, and nothing else happens."""
    ledger = new_ledger(tmp_path / "archive")
    record_part(ledger).close()
    spool = ledger.layout.spool
    shutil.copytree(spool, tmp_path / "spool")
    assert seal_all(ledger) == ROWS
    shutil.copytree(tmp_path / "spool", spool, dirs_exist_ok=True)
    size = ledger.log.checkpoint().size
    assert seal_all(reopen(ledger.layout.root)) == 0
    assert (ledger.spool.streams(), ledger.log.checkpoint().size) == ([], size)
    assert verify_archive(ledger.layout.root, workers=1).findings == ()


def test_a_part_not_yet_done_answers_no_question(archive):
    """Its records may never count; verifying says that they are there."""
    recorder = record_part(archive._ledger)
    recorder.record(make_batch(archive._ledger, OPEN, ROWS, 1))
    assert len(archive.search("true")) == 0
    (finding,) = archive.verify(workers=1).findings
    assert (finding.severity, f"{ROWS + 1} records of a part of a job" in finding.what) == ("note", True)
    recorder.leave_parent()


# --- what verifying finds ---------------------------------------------------------------------------------------------


def said(archive: Archive, entry: JsonObject) -> list[str]:
    """Append an entry and return what verifying finds to fail, without its place."""
    archive._ledger.append([entry])
    return [finding.what for finding in archive.verify(check=False, workers=1).findings if finding.severity == "failed"]


def test_a_part_with_another_count_is_found(archive, version):
    """The manifests decide how many records a part has."""
    predict(archive.job("nightly", run="1"), version, 0)
    (done,) = entries(archive, PART_TYPE)
    (what,) = said(archive, {**done, "part": "1", "records": "7"})
    assert f"has 7 records by this, {ROWS} by the manifests" in what


def test_a_part_that_is_done_twice_is_found(archive, version):
    """The same part, or the same stream, twice."""
    predict(archive.job("nightly", run="1"), version, 0)
    predict(archive.job("nightly", run="1"), version, 1)
    first, second = entries(archive, PART_TYPE)
    assert said(archive, {**first, "part": "2"}) == ["a part of a job that was done before is done again"]
    assert len(said(archive, {**second, "part": "0"})) == 2


def test_an_end_that_is_not_so_is_found(archive, version):
    """The parts before it decide what a run has."""
    with archive.job("nightly", run="1") as job:
        predict(job, version, 0)
    (end,) = entries(archive, "job.finished")
    (what,) = said(archive, {**end, "records": "51"})
    assert f"has 51 records in 1 parts by this, {ROWS} in 1" in what


@pytest.mark.parametrize("change", [{"stream": "x"}, {"records": "0"}, {"run": None}])
def test_a_malformed_part_is_found(archive, version, change):
    """An entry that does not say what it must is a finding, not a crash."""
    predict(archive.job("nightly", run="1"), version, 0)
    (done,) = entries(archive, PART_TYPE)
    assert len(said(archive, {**done, "part": "1", **change})) == 1
