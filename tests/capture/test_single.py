"""A prediction recorded alone is, apart from its place, the record the way of batches makes of the same values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.ledgers import new_ledger, new_recorder

from backstory.capture.decision import Threshold
from backstory.capture.prediction import Call, Capture
from backstory.capture.single import SingleCapture
from backstory.columns.tree import leaf_hashes
from backstory.errors import InputError
from backstory.ledger.read import find_record
from backstory.ledger.seal import seal_all
from backstory.ledger.sealed import open_rows
from backstory.records.identity import id_text
from backstory.storage.spool_frames import BATCH, ROWS

PLACE = ["id", "stream", "seq", "time"]
KINDS = {
    "none": st.none(),
    "bool": st.booleans(),
    "int": st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-(2**63), 2**63 - 1, 0]),
    "float": st.floats() | st.sampled_from([float("nan"), float("inf"), -float("inf"), -0.0, 5e-324]),
    "text": st.text(max_size=20),
    "bytes": st.binary(max_size=20),
}


@st.composite
def calls(draw):
    """Return three calls of one shape: features by name and an output, which is one value or a dict of them."""
    names = draw(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=5, unique=True))
    kinds = [draw(st.sampled_from(list(KINDS))) for _ in names]
    outputs = draw(st.lists(st.text(min_size=1, max_size=8), max_size=3, unique=True))
    output_kinds = [draw(st.sampled_from(list(KINDS))) for _ in outputs or [""]]
    listed = []
    for _ in range(3):
        features = {name: draw(KINDS[kind]) for name, kind in zip(names, kinds, strict=True)}
        values = [draw(KINDS[kind]) for kind in output_kinds]
        listed.append((features, dict(zip(outputs, values, strict=True)) if outputs else values[0]))
    return listed


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    """An archive all tests record into."""
    return new_ledger(tmp_path_factory.mktemp("single") / "archive")


class Site:
    """Records single predictions into a stream of its own."""

    def __init__(self, ledger, decision=None):
        self.ledger = ledger
        self.recorder = new_recorder(ledger, "group")
        capture = Capture(self.recorder, ledger.blobs, lambda: None)
        call = Call(model={"name": "m"}, method="predict", features=None, decision=decision)
        self.single = SingleCapture(capture, self.recorder, lambda: call)

    def kinds(self):
        """Return which kinds of frames stand in its streams."""
        self.recorder.sync()
        infos = [info for info, _ in self.recorder.streams()]
        return {frame.kind for info in infos for frame in self.ledger.spool.frames(info, 0)}

    def sealed(self, ids):
        """Close, seal and return what is found under ids."""
        self.recorder.close()
        seal_all(self.ledger)
        return [find_record(self.ledger, id_text(number.to_bytes(16, "big")), "prediction") for number in ids]


def both(ledger, given, decision=None, **more):
    """Record calls alone and the way of batches; return what is sealed of either."""
    fast, slow = Site(ledger, decision), Site(ledger, decision)
    quickly = [fast.single.record(features, output, **more) for features, output in given]
    full = {"error": None, "request_id": None, "subject": None, "steps": None, **more}
    slowly = [slow.single._record_slowly(features, output, *full.values()) for features, output in given]
    assert (fast.kinds(), slow.kinds()) == ({ROWS}, {BATCH})
    return fast.sealed(quickly), slow.sealed(slowly)


def insist_same(fast, slow):
    """Insist that records are the same but for their place: schema, context, leaf hash."""
    for one, other in zip(fast, slow, strict=True):
        assert one.schema.digest == other.schema.digest
        assert one.table["context"] == other.table["context"]
        assert leaf_hashes(one.table.drop_columns(PLACE)) == leaf_hashes(other.table.drop_columns(PLACE))


def values_of(found):
    """Return features and output of a record."""
    row = found.table.to_pylist()[0]
    return row["feature"], row["output"]


@given(calls())
@settings(max_examples=12)
def test_rows_are_what_batches_would_be(ledger, listed):
    """Every plain value comes back as it was, from a record with the schema, context and leaf of the slow way."""
    fast, slow = both(ledger, listed)
    insist_same(fast, slow)
    assert [repr(values_of(found)) for found in fast] == [repr(call) for call in listed]


@pytest.mark.parametrize(
    "value",
    [np.float64(0.1), np.float32(0.1), np.float16(1.5), np.int64(-5), np.uint8(7), np.bool_(1), np.str_("a"),
     np.bytes_(b"a"), np.uint64(2**63 - 1), np.float32("nan")],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_numpy_scalars_are_what_they_hold(ledger, value):
    """A NumPy scalar is recorded as the plain value it holds, in features and output."""
    fast, slow = both(ledger, [({"x": value}, value), ({"x": value}, value)])
    insist_same(fast, slow)
    assert repr(values_of(fast[0])) == repr(({"x": value.item()}, value.item()))


@pytest.mark.parametrize("value", [np.datetime64("2026-01-01"), np.timedelta64(1, "s"), np.longdouble(1), [1, 2]])
def test_other_values_go_the_slow_way(ledger, value):
    """What MessagePack has no form for, or none that keeps its type, is recorded as in a batch."""
    site = Site(ledger)
    site.single.record({"x": value}, 1.0)
    site.single.record({"x": value}, 1.0)
    assert site.kinds() == {BATCH}
    site.sealed([])


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 2**200, np.uint64(2**63)], ids=str)
@pytest.mark.parametrize("place", ["feature", "output"])
@pytest.mark.parametrize("first", [True, False])
def test_whole_numbers_above_64_bits_are_no_rows(ledger, value, place, first):
    """A number that does not fit goes the slow way, as text; the rows of its shape before and after are sound."""
    site = Site(ledger)
    good = type(value)(5)
    given = [value, good] if first else [good, value, good]
    ids = [site.single.record(*(({"x": v}, 1.0) if place == "feature" else ({"x": 1.0}, v))) for v in given]
    assert site.kinds() == {BATCH, ROWS}
    values = [values_of(found) for found in site.sealed(ids)]
    recorded = [feature["x"] if place == "feature" else output for feature, output in values]
    assert recorded == [5 if v == 5 else str(v) for v in given]


@pytest.mark.parametrize("name", ["request_id", "subject", "steps"])
def test_what_must_be_text_is_refused_otherwise(ledger, name):
    """A request id, subject or steps of another type is refused before anything is written."""
    site = Site(ledger)
    with pytest.raises(InputError, match="to be text"):
        site.single.record({"x": 1.0}, 1.0, **{name: 5})
    assert site.kinds() == set()
    site.sealed([])


def test_half_a_surrogate_pair_is_written_down_escaped(ledger):
    """Text that is no Unicode is recorded as JSON, and does not spoil the stream's other rows."""
    site = Site(ledger)
    ids = [site.single.record({"x": text}, 1.0) for text in ("good", "\ud800", "good")]
    assert [values_of(found)[0]["x"] for found in site.sealed(ids)] == ["good", '"\\ud800"', "good"]


def test_names_that_are_no_text_go_the_slow_way(ledger):
    """Features may be named by numbers, as arguments by position are."""
    site = Site(ledger)
    (found,) = site.sealed([site.single.record({1: 2.0}, 1.0)])
    assert values_of(found) == ({"1": 2.0}, 1.0)


def test_failed_predictions_are_rows_too(ledger):
    """A failed prediction has its features, the class of its error and no output."""
    fast, slow = both(ledger, [({"x": 1.0}, None)], error="ValueError", request_id="r-1")
    insist_same(fast, slow)
    row = fast[0].table.to_pylist()[0]
    assert (row["status"], row["error"], row["request_id"], "output" in row) == ("error", "ValueError", "r-1", False)


@pytest.mark.parametrize("output", [0.5, 1, np.float64(0.25), float("nan")], ids=repr)
def test_decisions_are_those_of_batches(ledger, output):
    """A rule decides on one output as it does on a column."""
    fast, slow = both(ledger, [({"x": 1.0}, output)] * 2, decision=Threshold(0.5))
    insist_same(fast, slow)


def test_rows_and_batches_about_people_share_a_stream(ledger):
    """Sealed values of rows and batches that follow each other in one stream come out as they went in."""
    site = Site(ledger)
    given = [({"x": float(n)}, n, f"person {n}") for n in range(4)]
    ids = []
    for n, (features, output, subject) in enumerate(given):
        if n % 2:
            ids.append(site.single._record_slowly(features, output, None, None, subject, None))
        else:
            ids.append(site.single.record(features, output, subject=subject))
    assert site.kinds() == {ROWS, BATCH}
    for found, (features, output, subject) in zip(site.sealed(ids), given, strict=True):
        seq = found.table["seq"][0].as_py() - found.place.manifest.first_seq
        row = open_rows(site.ledger, found.place.manifest, seq, found.table).to_pylist()[0]
        assert (row["feature"], row["output"], row["subject"]) == (features, output, subject)
