"""A prediction recorded alone is, apart from its place, the record the way of batches makes of the same values."""

from __future__ import annotations

import itertools
import json
import uuid

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.ledgers import new_ledger, new_recorder

from backstory.capture import prediction
from backstory.capture.prediction import Call, Capture
from backstory.capture.single import SingleCapture
from backstory.columns.tree import leaf_hashes
from backstory.errors import ColumnError, InputError
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

    def __init__(self, ledger):
        self.ledger = ledger
        self.recorder = new_recorder(ledger, "group")
        capture = Capture(self.recorder, ledger.blobs, lambda: None, lambda _: None)
        call = Call(model={"name": "m"}, method="predict", features=None)
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


def both(ledger, given, **more):
    """Record calls alone and the way of batches; return what is sealed of either."""
    fast, slow = Site(ledger), Site(ledger)
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


def open_row(ledger, found):
    """Return a record, with its sealed values if it has some."""
    if not found.schema.groups:
        return found.table.to_pylist()[0]
    seq = found.table["seq"][0].as_py() - found.place.manifest.first_seq
    return open_rows(ledger, found.place.manifest, seq, found.table).to_pylist()[0]


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


@pytest.mark.parametrize("name", ["request_id", "subject"])
@pytest.mark.parametrize("given", [5, np.int64(5), uuid.UUID(int=5), "5"], ids=lambda value: type(value).__name__)
def test_ids_are_recorded_as_text(ledger, name, given):
    """A request id or subject may be text, a whole number or a UUID, in rows and in batches."""
    sites = Site(ledger), Site(ledger)
    found = [
        *sites[0].sealed([sites[0].single.record({"x": 1.0}, 1.0, **{name: given})]),
        *sites[1].sealed([sites[1].single.record({"x": [1.0]}, 1.0, **{name: given})]),
    ]
    rows = [open_row(ledger, one) for one in found]
    assert [row[name] for row in rows] == [str(given)] * 2


@pytest.mark.parametrize("name", ["request_id", "subject"])
@pytest.mark.parametrize("given", [True, 5.0, b"5", "\ud800"], ids=repr)
def test_what_is_no_id_is_refused(ledger, name, given):
    """A request id or subject of another type is refused before anything is written."""
    site = Site(ledger)
    with pytest.raises(InputError, match="expected"):
        site.single.record({"x": 1.0}, 1.0, **{name: given})
    assert site.kinds() == set()
    site.sealed([])


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("mixed", ["float", "null"])
def test_kinds_of_numbers_make_no_further_schema(ledger, mixed, first):
    """Once each field was given a float, whole numbers, floats and nulls in any mixture are one schema."""
    site = Site(ledger)
    other = 1.5 if mixed == "float" else None
    names = ["a", "b", "c", "d"]
    if not first:  # whole numbers come before anybody knows better
        site.single.record(dict.fromkeys(names, 1), 0.5)
    site.single.record(dict.fromkeys(names, 1.5), 0.5)
    before = len(site.recorder.streams())
    mixtures = [dict(zip(names, values, strict=True)) for values in itertools.product((1, other), repeat=4)] * 2
    ids = [site.single.record(features, 0.5) for features in mixtures]
    assert len(site.recorder.streams()) == before
    assert site.kinds() == {ROWS}
    values = [values_of(found)[0] for found in site.sealed(ids)]
    assert values == mixtures
    assert {type(value) for features in values for value in features.values()} == {float, type(other)}


def test_whole_numbers_that_float64_does_not_hold_stay_whole(ledger):
    """Among floats a whole number above 2**53 is recorded as it is."""
    site = Site(ledger)
    given = [1.5, 2**53, 2**53 + 1, -(2**53) - 1, np.int64(2**53 + 1), 3]
    found = site.sealed([site.single.record({"x": value}, 0.5) for value in given])
    assert [values_of(one)[0]["x"] for one in found] == given
    assert [one.schema.columns[-2].type for one in found] == [
        "float64",
        "float64",
        "int64",
        "int64",
        "int64",
        "float64",
    ]


def test_a_large_first_text_spoils_no_rows(ledger):
    """What a shape is recorded as does not depend on the size of the first values of that shape."""
    site = Site(ledger)
    ids = [site.single.record({"x": text}, 0.5) for text in ("a" * 100_000, "b")]
    assert values_of(site.sealed(ids)[1])[0] == {"x": "b"}


def test_a_row_too_large_for_the_spool_goes_the_slow_way(ledger):
    """Many texts, none of which goes to a blob, are recorded as a batch of one; rows before and after are rows."""
    site = Site(ledger)
    given = [({f"x{n}": "é" * size for n in range(9)}, 1.0) for size in (1, 30_000, 2)]
    ids = [site.single.record(*one) for one in given]
    assert site.kinds() == {ROWS, BATCH}
    assert [values_of(found) for found in site.sealed(ids)] == given


@pytest.mark.parametrize("error", [ValueError("x"), ValueError, 3])
def test_the_error_is_the_name_of_a_class(ledger, error):
    """Anything else is refused before anything is written."""
    site = Site(ledger)
    with pytest.raises(InputError, match="name of the error's class"):
        site.single.record({"x": 1.0}, error=error)
    assert site.recorder.status().recorded == 0


def test_contexts_that_are_remembered_have_a_greatest_number(ledger, monkeypatch):
    """A process that meets ever new contexts forgets old ones, and stores them again under the same digest."""
    monkeypatch.setattr(prediction, "_CONTEXTS_MAX", 2)
    site = Site(ledger)
    outputs = [1.5, 1, "a", True, b"a", [1], [2], 1.5]  # the context names the type of a single output
    found = site.sealed([site.single.record({"x": 1.0}, output) for output in outputs])
    assert len(site.single._capture._contexts) <= 2
    contexts = [one.table["context"][0].as_py() for one in found]
    assert len(set(contexts)) == 6
    assert all(ledger.blobs.get(context.hex()) for context in contexts)


def test_a_series_has_names(ledger):
    """A row of a pandas frame is recorded as a dict of it would be."""
    site = Site(ledger)
    row = pd.DataFrame({"x": [1.5], "y": [2.5]}).iloc[0]
    (found,) = site.sealed([site.single.record(row, 0.5)])
    assert values_of(found)[0] == {"x": 1.5, "y": 2.5}


def test_a_name_twice_in_a_series_is_refused(ledger):
    """One of its values would be lost."""
    site = Site(ledger)
    with pytest.raises(ColumnError, match="once"):
        site.single.record(pd.Series([1.0, 2.0], index=["a", "a"]), 0.5)
    assert site.recorder.status().recorded == 0


@pytest.mark.parametrize("output", [{"anna@example.org": 0.7}, {"c 17": 1, "score": 2}, {1: 0.5}], ids=repr)
def test_names_of_an_output_about_a_person_are_values(ledger, output):
    """Where they are no identifiers, as names of columns stand in clear; one about nobody has them as columns."""
    site = Site(ledger)
    ids = [site.single.record({"x": 1.0}, output, subject=subject) for subject in ("anna", "anna", None)]
    *sealed, clear = site.sealed(ids)
    text = json.dumps({str(name): value for name, value in output.items()})
    assert [open_row(ledger, found)["output"] for found in sealed] == [text] * 2
    assert [column.name for column in sealed[0].schema.columns if column.name.startswith("output")] == ["output"]
    assert isinstance(values_of(clear)[1], dict)


def test_ordinary_outputs_about_a_person_are_rows(ledger):
    """Identifiers are the program's own names: a column each, on the fast way."""
    site = Site(ledger)
    ids = [site.single.record({"x": 1.0}, {"score": 0.7, "label": "good"}, subject="anna") for _ in range(2)]
    assert site.kinds() == {ROWS}
    assert [open_row(ledger, found)["output"] for found in site.sealed(ids)] == [{"score": 0.7, "label": "good"}] * 2


@pytest.mark.parametrize(
    "given", [[1, 2], pd.DataFrame({"x": [1]}), np.zeros(2), 1.0, None], ids=lambda v: type(v).__name__
)
def test_features_have_names(ledger, given):
    """What gives no names to its values is refused."""
    site = Site(ledger)
    with pytest.raises(InputError, match="expected features by name"):
        site.single.record(given, 0.5)


def test_half_a_surrogate_pair_is_written_down_escaped(ledger):
    """Text that is no Unicode is recorded with an escape, and does not spoil the stream's other rows."""
    site = Site(ledger)
    ids = [site.single.record({"x": text}, 1.0) for text in ("good", "\ud800", "good")]
    assert [values_of(found)[0]["x"] for found in site.sealed(ids)] == ["good", "\\ud800", "good"]


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
        row = open_row(ledger, found)
        assert (row["feature"], row["output"], row["subject"]) == (features, output, subject)
