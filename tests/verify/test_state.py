"""What an auditor remembers: read again is what is new; a log that does not go on from it is a finding."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.ledgers import OPEN, SEALED, make_batch, new_ledger, new_recorder, reopen

from backstory.errors import FormatError, InputError, UnsupportedVersionError
from backstory.ledger.merge import FILES_MIN, merge_all
from backstory.ledger.seal import seal_all
from backstory.verify import state as state_module
from backstory.verify.archive import verify_archive
from backstory.verify.segments import check_segments
from backstory.verify.state import AuditState, parse_state, read_state

VECTOR = Path(__file__).parents[1] / "vectors" / "audit_state.json"
TIMES = st.integers(0, 10**9).map(lambda n: f"2026-01-01T00:00:00.{n % 10**9:09d}Z")
DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)


def seal(ledger, first, schema=OPEN):
    """Record five numbered records and seal them."""
    recorder = new_recorder(ledger)
    recorder.record(make_batch(ledger, schema, first, 5, model=f"model {first}"))
    recorder.close()
    seal_all(ledger)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """An archive with an open and a sealed segment."""
    root = tmp_path_factory.mktemp("original") / "archive"
    ledger = new_ledger(root)
    seal(ledger, 0)
    seal(ledger, 10, SEALED)
    return root


@pytest.fixture
def audited(original, tmp_path):
    """A copy of it that was audited once, and the auditor's state."""
    root, state = tmp_path / "archive", tmp_path / "state.json"
    shutil.copytree(original, root)
    assert not audit(root, state).failed
    return root, state


def audit(root, state, **options):
    """Audit an archive with a state."""
    return verify_archive(root, workers=1, state=state, **options)


def failed(report):
    """Return the places where evidence does not verify."""
    return {finding.place for finding in report.findings if finding.severity == "failed"}


def test_a_state_does_not_follow_a_log_that_a_kept_checkpoint_speaks_against(audited):
    """What contradicts what was kept is not what the next audit goes on from: the state is left as it was."""
    root, state = audited
    before = state.read_bytes()
    seal(reopen(root), 20)
    assert "against the given checkpoint" in failed(audit(root, state, against=[f"1 {'0' * 64}"]))
    assert state.read_bytes() == before
    audit(root, state)
    assert state.read_bytes() != before


@st.composite
def states(draw):
    """Draw a state that may be."""
    size = draw(st.integers(0, 2**62))
    upto = st.integers(0, size)
    return AuditState(
        origin=draw(st.text()), vkey=draw(st.text()), note=draw(st.text()).encode(), size=size,
        root=draw(st.binary(min_size=32, max_size=32)), time=draw(TIMES), segments=draw(upto),
        open=tuple(sorted(draw(st.sets(st.integers(0, size - 1), max_size=5)))) if size else (), others=draw(upto),
        named=draw(DIGESTS), unnamed=draw(DIGESTS), payloads=draw(st.integers(0, 2**62)),
        full=draw(st.none() | st.tuples(TIMES, upto)), whole=draw(st.none() | TIMES),
    )  # fmt: skip


@given(states())
def test_a_state_is_read_as_it_was_written(state):
    """What is encoded is parsed to the same."""
    assert parse_state(state.encode()) == state


def test_the_vector_is_read():
    """The pinned file is read, and written again to the same bytes."""
    state = parse_state(VECTOR.read_bytes())
    assert state.encode() == VECTOR.read_bytes()
    assert (state.size, state.segments, state.open, state.others) == (412, 300, (17, 255), 200)


CHANGES = {
    "a member more": {"more": 1},
    "a member less": {"open": None},
    "beyond the checkpoint": {"segments": "413"},
    "open out of order": {"open": ["255", "17"]},
    "open beyond": {"open": ["412"]},
    "a number as a number": {"others": 5},
    "no time": {"time": "yesterday"},
    "another version's text": {"v": "1"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_form_is_refused(change):
    """A state with other members or impossible figures is none."""
    document = json.loads(VECTOR.read_bytes()) | CHANGES[change]
    with pytest.raises(FormatError):
        parse_state(json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())


def test_a_newer_state_is_refused_as_newer():
    """A version to come is no damage."""
    with pytest.raises(UnsupportedVersionError):
        parse_state(VECTOR.read_bytes().replace(b'"v":1', b'"v":2'))


def test_a_directory_is_no_state(tmp_path):
    """The caller is told, and nothing is verified."""
    with pytest.raises(InputError):
        read_state(tmp_path)


def test_a_state_in_the_archive_is_refused(original):
    """Whoever writes the archive could decide what is not read."""
    with pytest.raises(InputError, match="outside"):
        audit(original, original / "state.json")


def test_only_what_is_new_is_read(audited):
    """The second audit reads new segments, and says how much it did not read."""
    root, state = audited
    seal(reopen(root), 20)
    report = audit(root, state)
    assert (report.counts["records"], report.totals["records"]) == (5, 15)
    assert report.since == 7
    (note,) = [finding for finding in report.findings if finding.place == "state state.json"]
    assert "10 records of entries before 7" in note.what
    assert "earlier audit" in report.verdict


def test_full_reads_everything_again(audited):
    """With `full` nothing is taken from an earlier audit."""
    root, state = audited
    report = audit(root, state, full=True)
    assert (report.counts["records"], report.since) == (10, None)


def test_a_change_that_keeps_the_size_is_found_by_the_next_full_audit(audited):
    """What was read before is believed: that is what the report says, and `full` is for."""
    root, state = audited
    path = next((root / "segments").iterdir())
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert not audit(root, state).failed
    assert failed(audit(root, state, full=True)) == {f"segments/{path.name}"}


@pytest.mark.parametrize("change", ["gone", "cut"])
@pytest.mark.parametrize("kind", ["segments/*", "vault/*.shard", "blobs/sha256/*/*"])
def test_old_files_are_looked_at(audited, kind, change):
    """A file an earlier audit read is named when it is gone or of another size."""
    root, state = audited
    for path in sorted(root.glob(kind)):
        data = path.read_bytes()
        path.chmod(0o644)
        path.unlink() if change == "gone" else path.write_bytes(data[:-1])
        found = {finding.place for finding in audit(root, state).findings if finding.severity != "note"}
        assert path.relative_to(root).as_posix() in found
        path.write_bytes(data)
        assert not audit(root, state, full=True).failed


def test_what_failed_is_read_again_until_it_is_good(audited):
    """A damaged segment is found by every audit, however old, and passed over again once it was put back."""
    root, state = audited
    before = set((root / "segments").iterdir())
    seal(reopen(root), 20)
    (path,) = set((root / "segments").iterdir()) - before
    data = path.read_bytes()
    path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    for _ in range(2):
        assert failed(audit(root, state)) == {f"segments/{path.name}"}
    path.write_bytes(data)
    assert audit(root, state).counts["records"] == 5
    assert audit(root, state).counts["records"] == 0


def test_an_interrupted_audit_goes_on(monkeypatch, original, tmp_path):
    """What an audit read before it was stopped is not read again."""
    root, state = tmp_path / "archive", tmp_path / "state.json"
    shutil.copytree(original, root)
    seal(reopen(root), 20)
    monkeypatch.setattr(state_module, "RENEW_SECONDS", 0.0)

    def stop_after_two(audit, *rest):
        passed = audit.keeper.passed

        def stop(index, *, good):
            passed(index, good=good)
            if index > 3:
                raise KeyboardInterrupt

        audit.keeper.passed = stop
        check_segments(audit, *rest)

    with monkeypatch.context() as patch:
        patch.setattr("backstory.verify.archive.check_segments", stop_after_two)
        with pytest.raises(KeyboardInterrupt):
            audit(root, state)
    assert 0 < read_state(state).segments < read_state(state).size
    report = audit(root, state)
    assert report.counts["records"] == 5
    assert read_state(state).segments == read_state(state).others == report.tree_size


def test_an_interrupted_full_audit_goes_on(audited):
    """A full audit that was stopped goes on where it came to, and what was known before stays known."""
    root, state = audited
    seal(reopen(root), 20)
    audit(root, state)
    given = read_state(state)
    state.write_bytes(dataclasses.replace(given, full=(given.time, 5)).encode())
    assert audit(root, state).counts["records"] == 0
    report = audit(root, state, full=True)
    assert (report.counts["records"], report.totals["records"]) == (10, 15)
    assert read_state(state).full is None


def test_merged_files_are_read(tmp_path):
    """Records that were checked are read again where they were merged into a new file."""
    root, state = tmp_path / "archive", tmp_path / "state.json"
    ledger = new_ledger(root)
    recorder = new_recorder(ledger)
    for turn in range(FILES_MIN):
        recorder.record(make_batch(ledger, OPEN, turn * 3, 3))
        seal_all(ledger)
    recorder.close()
    seal_all(ledger)
    audit(root, state)
    merge_all(ledger)
    report = audit(root, state)
    assert (report.failed, report.counts["records"]) == (False, 3 * FILES_MIN)


def put_back(root, copy):
    """Put an older copy in place of an archive."""
    shutil.rmtree(root)
    shutil.copytree(copy, root)


def test_a_log_that_was_put_back_is_found(audited, original):
    """A log shorter than what was audited is a finding, and the state stays as it is."""
    root, state = audited
    seal(reopen(root), 20)
    audit(root, state)
    kept = state.read_bytes()
    put_back(root, original)
    report = audit(root, state)
    assert failed(report) == {"state state.json"}
    assert any("put back" in finding.what for finding in report.findings)
    assert state.read_bytes() == kept


def test_a_rewritten_history_is_found(audited, original):
    """Another history signed with the real key does not go on from what was audited, however long it is."""
    root, state = audited
    seal(reopen(root), 20)
    audit(root, state)
    put_back(root, original)
    ledger = reopen(root, seed=3)
    for first in (30, 40):
        seal(ledger, first)
    assert not verify_archive(root, workers=1, vkey=ledger.layout.config.vkey).failed
    report = audit(root, state, vkey=ledger.layout.config.vkey)
    assert failed(report) == {"state state.json"}
    assert report.counts["records"] == 20, "nothing of the state is believed"


def test_the_state_of_another_log_is_a_finding(audited, tmp_path):
    """A state is of one log; with another nothing of it is believed."""
    _, state = audited
    other = new_ledger(tmp_path / "other", seed=9)
    report = audit(tmp_path / "other", state)
    assert failed(report) == {"state state.json"}
    assert other.layout.config.origin == read_state(state).origin, "of one name and two keys"
