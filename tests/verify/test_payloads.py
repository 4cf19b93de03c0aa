"""Blobs that stand for large values of records: named by no entry, and missed all the same."""

from __future__ import annotations

import contextlib
import io

import pytest

import backstory


@pytest.fixture
def archive(tmp_path):
    """An archive with one prediction whose text and whose answer went to blobs."""
    with contextlib.redirect_stdout(io.StringIO()):
        opened = backstory.init(tmp_path / "archive", origin="example.org/payloads")
    with opened:
        opened.traced(lambda text: text[1:])("x" * 70_000)
        opened.flush()
        yield opened


def payloads(archive):
    """Return the files of the two blobs."""
    found = [path for path in (archive.path / "blobs").rglob("*") if path.is_file() and path.stat().st_size > 60_000]
    assert len(found) == 2
    return found


def test_a_payload_is_not_said_to_be_left_behind(archive):
    """A value of a record stands for it."""
    places = {path.relative_to(archive.path).as_posix() for path in payloads(archive)}
    assert not places & {finding.place for finding in archive.verify().findings}


def test_a_missing_payload_is_named_with_its_segment(archive):
    """It is unknown, as a text may only look as if it stood for one."""
    for path in payloads(archive):
        path.rename(path.with_name("away"))
        report = archive.verify(check=False)
        (finding,) = [one for one in report.findings if one.severity == "unknown"]
        assert finding.place == path.relative_to(archive.path).as_posix()
        assert "segments/" in finding.what
        path.with_name("away").rename(path)


def test_the_next_audit_misses_an_old_payload_by_their_number(archive, tmp_path):
    """Which it was, a full audit says."""
    state = tmp_path / "state.json"
    archive.verify(state=state)
    assert archive.verify(state=state).incomplete is False
    payloads(archive)[0].unlink()
    report = archive.verify(state=state)
    assert [one.place for one in report.findings if one.severity == "unknown"] == ["blobs"]
    assert archive.verify(state=state, full=True).incomplete
