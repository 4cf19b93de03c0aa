"""Workers' spools that were elsewhere when a person was erased: they do not bring the person back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import backstory
from backstory.archive import Archive
from backstory.archive.forgetting import Forgetting
from backstory.cli.main import run
from backstory.governance.erasure import WORKERS
from backstory.ledger.collect import watch_worker
from backstory.ledger.watch import Rule
from backstory.verify.archive import verify_archive

WHO = "ann-zebra"


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    """Return an archive with a worker's spool, in which a worker that is gone left records of two persons."""
    root = tmp_path / "audit"
    with backstory.init(root, origin="example.org/workers", master=tmp_path / "master"):
        pass
    with opened(root) as archive:
        archive.spool(tmp_path / "spool")
    record(tmp_path / "spool", WHO, "bob")
    return root


@pytest.fixture
def archive(audit: Path) -> Iterator[Archive]:
    """Open it."""
    with opened(audit) as one:
        yield one


def opened(root: Path) -> Archive:
    """Open an archive for somebody who may see everything."""
    return backstory.open(root, actor="dpo", purpose="test", sealer="none")


def record(spool: Path, *people: str) -> None:
    """Record a prediction about each of some persons, as a worker that holds no key."""
    with backstory.recorder(spool) as worker:
        for one in people:
            worker.record({"age": 31.5}, 1.0, subject=one)


def failures(root: Path) -> list[str]:
    """Return what an audit finds wrong."""
    return [finding.what for finding in verify_archive(root).findings if finding.severity == "failed"]


def test_what_was_recorded_before_is_erased_when_it_comes_in(archive: Archive, tmp_path: Path) -> None:
    """A spool from before the erasure is collected after it: its records are there, the person's values are not."""
    done = archive.privacy.erase(WHO, ground="request")
    assert (done.complete, done.waits, done.records) == (False, (WORKERS,), 0)
    assert "finish(collected=True)" in str(done)
    assert archive.collect(tmp_path / "spool") == 2
    assert archive.privacy.find(WHO).kinds == {}
    assert archive.privacy.find("bob").kinds == {"prediction": 1}
    first, second = archive._ledger.find_entries("subject.erased")
    assert (second["follows"], second["complete"]) == (first["root"], False)
    (waiting,) = archive.privacy.certificates()
    assert not waiting.complete
    (last,) = archive.privacy.finish(collected=True)
    assert (last.complete, last.records) == (True, 0)
    assert "nobody was found" in str(done)
    assert "nobody was found" not in str(last)
    assert archive.privacy.finish() == []
    assert failures(archive.path) == []


def test_what_is_recorded_afterwards_stays(archive: Archive, tmp_path: Path) -> None:
    """Who comes again after the erasure is recorded anew, in the same spool; collecting twice erases once."""
    archive.privacy.erase(WHO, ground="request")
    record(tmp_path / "spool", WHO)
    assert archive.collect(tmp_path / "spool") == 3
    assert archive.privacy.find(WHO).kinds == {"prediction": 1}
    record(tmp_path / "spool", "cyd")
    assert archive.collect(tmp_path / "spool") == 1
    assert len(archive._ledger.find_entries("subject.erased")) == 2
    archive.privacy.finish(collected=True)
    assert archive.privacy.find(WHO).kinds == {"prediction": 1}


def test_who_died_between_collecting_and_erasing_leaves_it_to_the_next(
    audit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash after a spool was sealed: the next opener erases what came in."""
    from backstory.archive import forgetting

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with opened(audit) as archive:
        archive.privacy.erase(WHO, ground="request")
        monkeypatch.setattr(forgetting, "forget_whom_it_should", stop)
        with pytest.raises(KeyboardInterrupt):
            archive.collect(tmp_path / "spool")
        monkeypatch.undo()
        assert archive.privacy.find(WHO).kinds == {"prediction": 1}
    with opened(audit) as archive:
        assert archive.privacy.find(WHO).kinds == {}


def test_seal_erases_what_came_in_too(audit: Path, tmp_path: Path) -> None:
    """`backstory seal --spool` erases as `collect` does, and `erase --finish --collected` ends the waiting."""
    who = ["-a", str(audit), "--actor", "dpo", "--json"]
    with opened(audit) as archive:
        archive.privacy.erase(WHO, ground="request")
        record(tmp_path / "spool", "cyd")
    assert run(["seal", "--spool", str(tmp_path / "spool"), "-a", str(audit)]) == 0
    with opened(audit) as archive:
        assert archive.privacy.find(WHO).kinds == {}
        assert len(archive._ledger.find_entries("subject.erased")) == 2
    assert run(["erase", "--finish", "--collected", *who]) == 0
    with opened(audit) as archive:
        assert [entry["complete"] for entry in archive._ledger.find_entries("subject.erased")] == [False, False, True]


def test_a_watch_erases_after_it_sealed(archive: Archive, tmp_path: Path) -> None:
    """What a watch seals of a spool from before the erasure is erased by the same look."""
    archive.privacy.erase(WHO, ground="request")
    ledger = archive._ledger
    watch = Forgetting(ledger, watch_worker(ledger, tmp_path / "spool", Rule(rows=1, age_ns=0)))
    assert watch.look(threading.Event().wait) == 2
    assert archive.privacy.find(WHO).kinds == {}


def test_a_hold_keeps_what_comes_in_and_is_said_once(archive: Archive, tmp_path: Path) -> None:
    """Records that come in under a hold on the person stay; the refusal stands in the log, and is not repeated."""
    archive.privacy.erase(WHO, ground="request")
    archive.retention.hold("m", custodian="legal", review="2999-01-01T00:00:00Z", subjects=[WHO])
    archive.collect(tmp_path / "spool")
    record(tmp_path / "spool", "cyd")
    archive.collect(tmp_path / "spool")
    assert archive.privacy.find(WHO).kinds == {"prediction": 1}
    archive.privacy.finish(collected=True)
    (refused,) = archive._ledger.find_entries("erasure.refused")
    assert refused["grounds"] == [{"code": "hold", "law": "GDPR 17(3)(e)"}]
    assert archive._ledger.find_entries("subject.erased")[-1]["partial"] is True


def test_what_is_theirs_since_then_stays_when_something_comes_in(archive: Archive, tmp_path: Path) -> None:
    """Who comes back while an erasure waits keeps a role of their own; only what came in from before is erased."""
    archive.privacy.erase(WHO, ground="request")
    entry = archive._ledger.log.entry(archive.access.assign("Ann Zebra", "data-subject", subject=WHO))
    archive.collect(tmp_path / "spool")
    assert archive.privacy.find(WHO).kinds == {}
    assert archive._ledger.text_of(str(entry["subject"]), "subject") == WHO


def test_who_read_what_came_in_before_it_was_erased_leads_nowhere(
    audit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An access of after the erasure that names a record of from before is erased with that record."""
    from backstory.archive import forgetting

    with opened(audit) as archive:
        archive.privacy.erase(WHO, ground="request")
        with monkeypatch.context() as patched:
            patched.setattr(forgetting, "forget_whom_it_should", lambda _: None)
            archive.collect(tmp_path / "spool")
        archive.why(archive.privacy.find(WHO).ids[0])
        archive.flush()
    with opened(audit) as archive:
        assert [one.is_erased for one in archive.access.log() if one.question == "why"] == [True]
