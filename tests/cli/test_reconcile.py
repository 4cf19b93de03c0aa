"""`backstory reconcile`: what is recorded beside what somebody else counted."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime

import pytest
from tests.cli.conftest import ORIGIN

import backstory
from backstory.cli.exit_codes import FAILED, INPUT, NOT_FOUND, OK
from backstory.errors import QueryError

RECORDED = 10


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """An archive with ten predictions of two models, eight of them with request ids, half of them not sealed."""
    folder = tmp_path_factory.mktemp("reconcile")
    with backstory.init(folder / "written", origin=ORIGIN) as archive:
        small, large = (archive.register(function, name=name) for function, name in ((abs, "small"), (round, "large")))
        for number in range(RECORDED):
            request_id = f"r-{number}" if number < 8 else None
            with archive.prediction(small if number < 6 else large, request_id=request_id) as prediction:
                prediction.features({"x": float(number)})
                prediction.output(1.0)
            if number == 4:
                archive.flush()
        archive._recorder.sync()
        times = sorted(archive.search("true")["time"])
        shutil.copytree(archive.path, folder / "audit")
    return folder / "audit", times


@pytest.fixture
def reconcile(counted, ask):
    """Run the command on that archive."""
    return lambda *arguments: ask("reconcile", *arguments, archive=counted[0])


def write_ids(path, ids, column="request_id"):
    """Write a gateway's log."""
    path.write_text("\n".join([f"at,{column}", *(f"10:00,{name}" for name in ids)]) + "\n")
    return path


def test_the_same_count_agrees(reconcile):
    """Sealed or not, every prediction counts once."""
    answer = reconcile("--count", RECORDED)
    assert (answer.code, answer.out) == (OK, "10 outside, 10 recorded: they agree\n")


@pytest.mark.parametrize(("count", "difference"), [(12, "+2"), (9, "-1")])
def test_another_count_is_a_failure(reconcile, count, difference):
    """A difference has its sign, and an exit code of its own meaning."""
    answer = reconcile("--count", count)
    assert answer.code == FAILED
    assert f"difference {difference}" in answer.out


def test_json_has_all_of_it(reconcile):
    """A program gets every figure."""
    assert reconcile("--count", 12, "--json").json() == {
        "difference": 2,
        "extra": [],
        "extra_count": 0,
        "missing": [],
        "missing_count": 0,
        "outside": 12,
        "recorded": 10,
        "refused": 0,
        "unknown_streams": [],
        "unnamed": 0,
    }


@pytest.mark.parametrize(("model", "count"), [("small", 6), ("large", 4), ("large:1", 4)])
def test_one_model_is_counted_alone(reconcile, model, count):
    """A model is named as everywhere, sealed records or not."""
    assert reconcile("--count", count, "--model", model).code == OK


def test_an_unknown_model_is_no_zero(reconcile):
    """A misspelt name must not reconcile with nothing."""
    assert reconcile("--count", 0, "--model", "smal").code == NOT_FOUND


def test_a_time_span_has_its_first_moment_and_not_its_last(reconcile, counted):
    """`since` is in, `until` is out, and the two halves are the whole."""
    middle = counted[1][3].isoformat()
    # The clock of a moment has microseconds, a record's time nanoseconds.
    before = reconcile("--until", middle, "--count", 3, "--json").json()["recorded"]
    after = reconcile("--since", middle, "--count", 7, "--json").json()["recorded"]
    assert before + after == RECORDED
    assert before in {3, 4}


@pytest.mark.parametrize("moment", ["yesterday", "2026-03-01T12:00:00"])
def test_a_moment_needs_a_date_and_a_zone(reconcile, moment):
    """A time that could be any zone's is refused."""
    assert reconcile("--count", 1, "--since", moment).code == INPUT


def test_request_ids_are_compared(reconcile, tmp_path):
    """Ids that are on one side only are named; the same id twice counts once; some predictions have none."""
    path = write_ids(tmp_path / "gateway.csv", ["r-0", "r-0", *(f"r-{n}" for n in range(2, 8)), "x-1", ""])
    answer = reconcile("--csv", path)
    assert answer.code == FAILED
    assert answer.out.splitlines() == [
        "8 outside, 8 recorded: 2 on one side only",
        "missing here: 'x-1'",
        "not counted outside: 'r-1'",
        "2 predictions recorded without a request id",
    ]


def test_the_same_request_ids_agree(reconcile, tmp_path):
    """Another column may hold them."""
    path = write_ids(tmp_path / "gateway.csv", [f"r-{n}" for n in range(8)], column="rid")
    assert reconcile("--csv", path, "--column", "rid").code == OK
    assert reconcile("--csv", path).code == INPUT


def test_a_long_list_is_cut_and_counted(reconcile, tmp_path):
    """Text lists ten ids, JSON a thousand, both say how many there are."""
    path = write_ids(tmp_path / "gateway.csv", [f"x-{n}" for n in range(2_000)])
    assert "… 2,000 in all" in reconcile("--csv", path).out
    document = reconcile("--csv", path, "--json").json()
    assert (len(document["missing"]), document["missing_count"]) == (1_000, 2_000)


@pytest.mark.parametrize("arguments", [(), ("--count", "-1"), ("--count", "1", "--csv", "gateway.csv")])
def test_one_count_is_needed(reconcile, arguments, tmp_path, monkeypatch):
    """Neither, both, or less than nothing is no outside count."""
    monkeypatch.chdir(tmp_path)
    write_ids(tmp_path / "gateway.csv", ["r-1"])
    assert reconcile(*arguments).code == INPUT


@pytest.mark.parametrize(("content", "code"), [(None, NOT_FOUND), (b"", INPUT), (b"request_id\n\xff\n", INPUT)])
def test_a_file_that_is_none(reconcile, tmp_path, content, code):
    """A file that is missing, empty or no text is said to be so."""
    path = tmp_path / "gateway.csv"
    if content is not None:
        path.write_bytes(content)
    assert reconcile("--csv", path).code == code


def test_an_unknown_end_is_told(tmp_path):
    """Where a writer ended without saying so, the stream is named beside the difference; refused ones are counted."""
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as archive:
        archive.traced(abs)(-1.0)
        ((info, _),) = archive._recorder.streams()
        next(iter(archive._recorder._streams.values())).refuse(3)
        archive.flush()
        archive._recorder.leave_parent()  # as a crash does: no end is written
    with backstory.open(tmp_path / "audit") as archive:
        found = archive.reconcile(count=5, since=datetime(2020, 1, 1, tzinfo=UTC))
        assert (found.recorded, found.refused, found.difference) == (1, 3, 4)
        assert found.unknown_streams == (info.stream,)
        assert json.dumps(found.to_dict())
        assert f"stream {info.stream}: its writer ended without saying so" in str(found)
        assert archive.reconcile(count=0, until="2020-01-01T00:00:00Z").unknown_streams == ()


def test_one_text_is_no_list_of_ids(counted):
    """A text is a list of characters to Python, and no list of request ids."""
    with backstory.open(counted[0], mode="r") as archive, pytest.raises(QueryError):
        archive.reconcile(requests="r-1")
