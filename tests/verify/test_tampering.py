"""Whatever is changed in an archive, verification names it, or nothing that can be read has changed."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.ledgers import OPEN, SEALED, make_batch, new_ledger, new_recorder, reopen

from backstory.errors import BackstoryError
from backstory.ledger.read import manifests, spool_tables
from backstory.ledger.seal import seal_all
from backstory.storage.lock import LockStore
from backstory.storage.pipe import receive, send
from backstory.storage.segment import SCHEMA_KEY, SUBTREES_KEY, ParquetReader, write_parquet
from backstory.verify import pool as pool_module
from backstory.verify.archive import verify_archive
from backstory.verify.pool import WorkerPool
from backstory.verify.worker import Task

POSITIONS = 10
"""Places in a file that are flipped, the first and the last byte among them."""

LOG = "log/1/"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """An archive with one open and two sealed segments and records still in the spool, of streams that have ended."""
    root = tmp_path_factory.mktemp("original") / "archive"
    ledger = new_ledger(root)
    for schema, first in ((OPEN, 0), (SEALED, 10), (SEALED, 20)):
        recorder = new_recorder(ledger)
        recorder.record(make_batch(ledger, schema, first, 5, model=f"model {first}"))
        recorder.close()
        seal_all(ledger)
    recorder = new_recorder(ledger)
    for schema in (OPEN, SEALED):
        for first in (30, 35):
            recorder.record(make_batch(ledger, schema, first, 5))
    recorder.close()
    return root


@pytest.fixture
def copy(original, tmp_path):
    """A copy of the archive to tamper with."""
    root = tmp_path / "archive"
    shutil.copytree(original, root)
    for path in root.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o600 if path.parent.name == "master" else 0o644)
    return root


def files(root: Path, kind: str) -> list[Path]:
    """Return the files of one kind."""
    return sorted(path for path in root.glob(KINDS[kind]) if path.is_file())


KINDS = {
    "checkpoint": LOG + "checkpoint",
    "tile": LOG + "tile/0/000.p/10",
    "entry bundle": LOG + "tile/entries/000.p/10",
    "earlier tile": LOG + "tile/0/000.p/7",
    "earlier bundle": LOG + "tile/entries/000.p/7",
    "segment": "segments/*",
    "blob": "blobs/sha256/*/*",
    "shard": "vault/*.shard",
    "shard's key": "keys/*.shard.json",
    "signing key": "keys/log-1.json",
    "settings": "backstory.toml",
    "lock store": "lock.sqlite",
}
SMALL = {"earlier tile", "earlier bundle", "shard's key", "signing key"}


def name_of(path: Path, root: Path) -> str:
    """Return how a report may name a file: by its path, for a key by what it opens, for an entry by its number."""
    return path.relative_to(root).as_posix().removeprefix("keys/").removesuffix(".json")


def insist_named(root: Path, path: Path, name: str) -> None:
    """Insist that verification fails and names a file."""
    try:
        report = verify_archive(root, workers=1)
        failed = [str(finding) for finding in report.findings if finding.severity == "failed"]
    except BackstoryError as error:  # there is no archive without its settings
        name, failed = path.name, [str(error)]
    assert any(name in finding for finding in failed), (name, failed)


def what_the_lock_says(root: Path):
    """Return what the lock store holds, or None if it cannot be read."""
    with contextlib.suppress(BackstoryError):
        lock = LockStore(root / "lock.sqlite", writable=False)
        return lock.checkpoint(), lock.heads()
    return None


def positions(size: int, count: int = POSITIONS) -> list[int]:
    """Return places spread over a file, both ends included."""
    return sorted({round(i * (size - 1) / (count - 1)) for i in range(count)})


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_named(copy, kind):
    """Any one bit flipped in a file of the archive makes verification fail and name the file."""
    chosen, before = files(copy, kind), what_the_lock_says(copy)
    for number, path in enumerate(chosen):
        data = path.read_bytes()
        count = POSITIONS // 2 if kind in SMALL else POSITIONS
        for at in positions(len(data), count)[number :: len(chosen)]:
            path.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
            try:
                insist_named(copy, path, name_of(path, copy))
            except AssertionError:  # most of a database file is empty
                assert kind == "lock store"
                assert what_the_lock_says(copy) == before
        path.write_bytes(data)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_file_is_named(copy, kind):
    """A file cut short anywhere is named."""
    before = what_the_lock_says(copy)
    for path in files(copy, kind)[:3]:
        data = path.read_bytes()
        for size in (0, 1, len(data) // 2, len(data) - 1):
            path.write_bytes(data[:size])
            if kind != "lock store" or what_the_lock_says(copy) != before:  # the last byte of a database is empty
                insist_named(copy, path, name_of(path, copy))
        path.write_bytes(data)


def recorded(root: Path) -> list[int]:
    """Return the numbers of all records that can be read, sealed ones first."""
    ledger = reopen(root)
    found = []
    for _, manifest in manifests(ledger, "prediction"):
        found += (
            ParquetReader(ledger.layout.segments / manifest.file.name).read_rows(0, manifest.count)["seq"].to_pylist()
        )
    for _, table in spool_tables(ledger, "prediction"):
        found += table["row"].to_pylist()
    return found


@pytest.mark.parametrize("change", ["flip", "delete", "cut"])
def test_a_changed_spool_is_named_or_ends_earlier(copy, original, change):
    """Records that no proof covers yet are never changed unseen: they are named as damaged, or end earlier."""
    whole = recorded(original)
    chosen = sorted(p for p in (copy / "spool").rglob("*") if p.is_file() and p.name != "writer")
    for number, path in enumerate(chosen):
        data = path.read_bytes()
        for at in [0] if change == "delete" else positions(len(data))[number :: len(chosen)]:
            if change == "flip":
                path.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
            elif change == "cut":
                path.write_bytes(data[:at])
            else:
                path.unlink()
            report = verify_archive(copy, workers=1)
            if not report.failed:
                found = recorded(copy)
                assert [record for record in whole if record in found] == found
                told = any("unknown after seq" in finding.what for finding in report.findings)
                assert change != "flip" or told or found == whole, "what the writer says of itself has no checksum"
        path.write_bytes(data)


def test_a_changed_value_with_a_matching_digest_is_found(copy):
    """A segment rewritten with other values is found by its rows, and the place is named to 256 records."""
    path = files(copy, "segment")[0]
    table, metadata = pq.read_table(path), pq.ParquetFile(path).metadata.metadata
    at = table.column_names.index("status")
    changed = table.set_column(at, "status", pa.array(["error"] * table.num_rows))
    write_parquet(changed, path, lambda: {key: metadata[key] for key in (SCHEMA_KEY, SUBTREES_KEY)})
    report = verify_archive(copy, workers=1)
    assert any("do not lead to the manifest's root" in str(f) and path.name in f.place for f in report.findings)
    assert any("seq 0 to 4" in f.what for f in report.findings)


def test_an_old_copy_of_the_log_is_found(copy, original):
    """A log put back from before the last commit does not agree with the lock store."""
    ledger = reopen(copy)
    seal_all(ledger)
    shutil.rmtree(copy / "log")
    shutil.copytree(original / "log", copy / "log")
    assert any(f.place == "lock.sqlite" for f in verify_archive(copy, workers=1).findings if f.severity == "failed")


def test_a_log_put_back_with_its_lock_store_leaves_segments_that_show_it(copy, original):
    """Records that no entry speaks of, and that are in no spool, were in a log once: that is not passed over."""
    before = set((copy / "segments").iterdir())
    seal_all(reopen(copy))
    for name in ("log/1", "lock.sqlite", "catalog.sqlite"):
        _put_back(original / name, copy / name)
    report = verify_archive(copy, workers=1)
    named = {finding.place for finding in report.findings if finding.severity == "unknown"}
    assert named >= {f"segments/{path.name}" for path in set((copy / "segments").iterdir()) - before}
    assert report.incomplete


@pytest.mark.parametrize("records", ["in the spool", "in the spool no more"])
def test_a_sealer_that_stopped_before_its_commit_left_its_records_in_the_spool(copy, original, records):
    """A segment of records that wait in the spool is worth a note; without them it is not known what became of them."""
    seal_all(reopen(copy))
    for name in ("log/1", "lock.sqlite", "catalog.sqlite", "spool", "keys"):
        _put_back(original / name, copy / name)
    if records == "in the spool no more":
        shutil.rmtree(copy / "spool")
    findings = [f for f in verify_archive(copy, workers=1).findings if f.place.startswith("segments/")]
    assert {f.severity for f in findings} == {"note" if records == "in the spool" else "unknown"}
    assert len(findings) == 2


def _put_back(kept, path):
    """Replace a file or folder by an older copy of it."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(kept, path) if kept.is_dir() else shutil.copy(kept, path)


def test_another_archives_key_does_not_verify(copy, tmp_path):
    """A pinned key that is not the archive's fails; the archive's own authenticates."""
    other = new_ledger(tmp_path / "other", seed=9).layout.config.vkey
    assert verify_archive(copy, workers=1, vkey=other).failed
    report = verify_archive(copy, workers=1, vkey=reopen(copy).layout.config.vkey)
    assert (report.failed, report.incomplete, report.authenticated) == (False, False, True)


def test_worker_processes_find_the_same(copy, monkeypatch):
    """Two worker processes answer what one process answers, damage included, however much is asked at once."""
    path = files(copy, "segment")[-1]
    data = path.read_bytes()
    path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    reports = [verify_archive(copy, workers=1)]
    monkeypatch.setattr(pool_module, "INLINE_WEIGHT", -1)
    for workers, ahead in ((1, 4), (2, 4), (2, 1)):
        monkeypatch.setattr(pool_module, "TASKS_AHEAD", ahead)
        reports.append(verify_archive(copy, workers=workers))
    assert all(report.findings == reports[0].findings for report in reports)
    assert all(report.counts == reports[0].counts for report in reports)
    assert reports[0].failed


def test_only_what_was_checked_is_counted(copy):
    """Segments that are not there are not among those checked: the report says how many of how many were."""
    whole = verify_archive(copy, workers=1)
    assert whole.counts | whole.totals == whole.counts
    files(copy, "segment")[0].unlink()
    report = verify_archive(copy, workers=1)
    assert (report.counts["segments"], report.totals["segments"]) == (2, 3)
    assert "2 of 3 segments, 10 of 15 records" in str(report)


def test_ctrl_c_leaves_a_worker_process_quiet(tmp_path):
    """A worker process has nothing to say of the Ctrl-C that its whole group gets, and ends when its input does."""
    command = [sys.executable, "-m", "backstory.verify.worker_process"]
    task = Task(path=str(tmp_path / "missing"), first_group=0, end_group=1)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert receive(process.stdout) is not None  # it works
        for _ in range(2):
            send(process.stdin, task)
            assert receive(process.stdout) is not None
            process.send_signal(signal.SIGINT)
        assert process.communicate() == (b"", b"")
        assert process.returncode == 0


@pytest.mark.parametrize("program", ["no such program", "false"])
def test_where_no_worker_process_starts_the_records_are_checked_all_the_same(copy, monkeypatch, program):
    """The process that verifies hashes them itself: nothing is said of records that nobody looked at."""
    path = files(copy, "segment")[-1]
    data = path.read_bytes()
    path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    expected = verify_archive(copy, workers=1).findings
    monkeypatch.setattr(pool_module, "INLINE_WEIGHT", -1)
    monkeypatch.setattr(sys, "executable", shutil.which(program) or program)
    assert verify_archive(copy, workers=2).findings == expected


def test_worker_processes_look_for_modules_where_this_one_does(monkeypatch, tmp_path):
    """A package that only `sys.path` leads to is found by them too."""
    (tmp_path / "msgspec.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    with WorkerPool(2) as pool:
        assert pool._take() is None  # it ran what is there, and could say nothing
