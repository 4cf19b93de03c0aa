"""Values of any kind are recorded as what they hold, their names inside are values too, and none fails a call."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import threading
import uuid
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from tests.support.archives import files_of, readable_content, stories

import backstory
from backstory.capture.plain import VALUES_MAX, json_text, one_value, plain_value
from backstory.records.limits import COLUMN_COUNT_MAX

ID = uuid.UUID(int=7)


@pytest.fixture
def archive(tmp_path):
    """A new archive."""
    with backstory.init(tmp_path / "audit", origin="example.org/values") as archive:
        yield archive


class Colour(enum.Enum):
    """A named value."""

    RED = "red"


@dataclasses.dataclass
class Session:
    """A dataclass that `dataclasses.asdict` cannot copy."""

    lock: Any
    number: int = 1


class Broken:
    """An object that answers no question."""

    @property
    def shape(self):
        """Raise."""
        raise ValueError

    @property
    def ndim(self):
        """Raise."""
        raise RuntimeError

    def __len__(self) -> int:
        """Raise."""
        raise RuntimeError


class Zone(dt.tzinfo):
    """A time zone that does not know."""

    def utcoffset(self, _when):
        """Raise."""
        raise RuntimeError


class Lazy:
    """A frame that is not computed yet, behind a proxy that is not bound."""

    shape = (float("nan"), 2)

    @property
    def __class__(self):
        """Raise."""
        raise RuntimeError


HUGE = 10**5_000
NO_TIME = dt.datetime(2020, 1, 1, tzinfo=Zone())


def cyclic() -> list[Any]:
    """Return a list that holds itself."""
    items: list[Any] = [1]
    items.append(items)
    return items


HELD = {
    "matrix": (np.array([[0.1, 0.9]]), [[0.1, 0.9]]),
    "three ranks": (np.zeros((1, 2, 1)), [[[0.0], [0.0]]]),
    "objects": (np.array([[1, "a"]], dtype=object), [[1, "a"]]),
    "times": (np.array(["2024-01-02"], "M8[ns]"), ["2024-01-02T00:00:00.000000000"]),
    "arrow array": (pa.array([1, None]), [1, None]),
    "polars series": (pl.Series([1, 2]), [1, 2]),
    "pandas frame": (pd.DataFrame({"a": [1, 2], "b": ["x", None]}), [{"a": 1, "b": "x"}, {"a": 2, "b": None}]),
    "mixed frame": (pd.DataFrame({"a": [1, "x"]}), [{"a": 1}, {"a": "x"}]),
    "doubled names": (pd.DataFrame([[1, 2]], columns=["a", "a"]), [{"a": 1, "a (str)": 2}]),
    "polars frame": (pl.DataFrame({"a": [1]}), [{"a": 1}]),
    "arrow table": (pa.table({"a": [1]}), [{"a": 1}]),
    "uuid": (ID, str(ID)),
    "path": (Path("a/b"), str(Path("a/b"))),
    "enum": (Colour.RED, "red"),
    "missing": ([pd.NA, pd.NaT], [None, None]),
    "bytes": (bytearray(b"x"), b"x"),
    "half a pair": ("\ud800", "\\ud800"),
    "keys alike": ({1: "a", "1": "b"}, {"1": "a", "1 (str)": "b"}),
    "dataclass with a lock": (Session(threading.Lock()), {"lock": "<_thread.lock>", "number": 1}),
    "class": (Session, f"<class {__name__}.Session>"),
    "mock": (MagicMock(), "<unittest.mock.MagicMock>"),
    "broken": (Broken(), f"<{__name__}.Broken>"),
    "matrix without rows": (np.zeros((0, 3)), "<numpy.ndarray of shape (0, 3)>"),
    "proxy": (Lazy(), f"<{__name__}.Lazy>"),
}


@pytest.mark.parametrize("what", HELD)
def test_a_value_is_recorded_as_what_it_holds(what):
    """The name of a type stands only for what has no values of its own."""
    value, expected = HELD[what]
    assert plain_value(value) == expected


def test_values_that_hold_themselves_have_an_end():
    """A depth ends them; a number of values ends those that hold one thing many times."""
    assert "<builtins.list>" in str(plain_value(cyclic()))


@pytest.mark.parametrize("array", [np.zeros(VALUES_MAX + 1), np.zeros((2, VALUES_MAX))])
def test_of_a_large_array_the_first_values_are_kept(array):
    """And its shape."""
    plain = plain_value(array)
    assert (len(plain["first"]), plain["shape"]) == (VALUES_MAX, list(array.shape))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.decimals() | st.uuids(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("value", "text"), [(HUGE, '"<builtins.int>"'), (NO_TIME, '"<datetime.datetime>"')], ids=["number", "time"]
)
def test_a_value_that_has_no_text_becomes_the_name_of_its_type(value, text):
    """Alone it does; what is beside it stays."""
    assert json_text([1, {"a": value}]) == f'[1, {{"a": {text}}}]'
    assert one_value(value).to_pylist() == [text]


@given(ANYTHING)
def test_every_value_is_one_array_without_names(value):
    """Whatever it is, its column has one type without fields."""
    array = one_value(value)
    assert len(array) == 1
    assert "struct" not in str(array.type)


WAYS = {
    "prediction": lambda archive, value: observe(archive, {"x": value}, value),
    "traced": lambda archive, value: archive.traced(lambda x: x)(value),
}


def observe(archive, features, output, **about):
    """Record a prediction part by part."""
    with archive.prediction(**about) as p:
        p.features(features)
        p.output(output)


@pytest.mark.parametrize("way", WAYS)
def test_a_matrix_is_features_and_output(archive, way):
    """Both ways in record its numbers."""
    WAYS[way](archive, np.array([[0.1, 0.9]]))
    (story,) = stories(archive)
    assert story.output == [[0.1, 0.9]]


ODD = {
    "dataclass with a lock": Session(threading.Lock()),
    "mock": MagicMock(),
    "cyclic list": cyclic(),
    "class": Session,
    "broken": Broken(),
    "frame without rows": pd.DataFrame({"x": []}),
    "frame of several types": pd.DataFrame({"x": [1, "a"]}),
    "frame with doubled names": pd.DataFrame([[1, 2]], columns=["a", "a"]),
    "matrix of objects": np.array([[1, "a"]], dtype=object),
    "matrix without rows": np.zeros((0, 3)),
    "huge number": 2**70,
    "long half pairs": "\ud800" * 70_000,
    "name of half a pair": {"\ud800": 1},
    "empty name": {"": 1},
    "decimal": decimal.Decimal("1e400"),
    "number without text": HUGE,
    "list with a number without text": [1, HUGE],
    "time without text": NO_TIME,
    "proxy": Lazy(),
    "many names": dict.fromkeys(map(str, range(COLUMN_COUNT_MAX + 1)), 1.0),
}


@pytest.mark.parametrize("what", ODD)
def test_no_argument_and_no_output_fails_a_traced_call(archive, what):
    """The function runs, its result comes back, and there is a record."""
    value = ODD[what]
    assert archive.traced(lambda x: x)(value) is value
    (story,) = stories(archive)
    assert story.status == "ok"
    assert story.features


class Pair:
    """Two of something, which cannot be asked for."""

    def __len__(self) -> int:
        """Return 2."""
        return 2


OF_TWO_ROWS = {
    **ODD,
    "array without ranks": np.array(5.0),
    "objects": [object(), object()],
    "empty dicts": [{}, {}],
    "dicts": [{"a": 1}, {"b": object()}],
    "frame without columns": pd.DataFrame(index=[0, 1]),
    "sparse": scipy.sparse.csr_matrix(np.eye(2)),
    "three ranks": np.zeros((2, 3, 4)),
    "complex": np.array([1j, 2j]),
    "pair": Pair(),
    "early times": [dt.datetime(1, 1, 1, tzinfo=dt.UTC)] * 2,
    "wide matrix": np.zeros((2, COLUMN_COUNT_MAX + 1)),
}


@pytest.mark.parametrize("what", OF_TWO_ROWS)
def test_no_output_of_a_call_of_a_table_fails_it(archive, what):
    """Its value comes back, and each row has a record."""
    value = OF_TWO_ROWS[what]
    assert archive.traced(lambda table: (table, value)[1])(pd.DataFrame({"x": [1.0, 2.0]})) is value
    assert [story.status for story in stories(archive)] == ["ok", "ok"]


def test_a_table_that_cannot_be_recorded_as_one_fails_no_call(archive):
    """It is one value, as other arguments are."""
    assert archive.traced(len)(np.zeros((1, COLUMN_COUNT_MAX + 1))) == 1
    assert stories(archive)[0].output == 1


@pytest.mark.parametrize("what", ODD)
def test_no_value_takes_the_place_of_an_exception(archive, what):
    """A function given it, and a prediction with such a step, fail as they do unrecorded."""

    def fail(value):
        raise KeyError(what)

    def fail_inside():
        with archive.prediction() as p:
            p.step("odd", ODD[what])
            fail(ODD[what])

    with pytest.raises(KeyError):
        archive.traced(fail)(ODD[what])
    with pytest.raises(KeyError):
        fail_inside()
    assert [story.error for story in stories(archive)] == ["KeyError", "KeyError"]


def test_names_inside_a_value_are_sealed_with_it(archive):
    """No file of the archive has them in clear: they are no columns."""
    balances = {"Jane Doe": 3.0}
    observe(archive, {"exposure": balances, "list": [balances]}, {"by_party": balances}, subject="c1")
    archive.traced(subject="who")(lambda who, balances: (who, balances))("c1", balances)
    (story, _) = stories(archive)
    assert set(story.sealed) == {"features", "output", "subject"}
    assert not any(b"Jane" in readable_content(path) for path in files_of(archive.path))


def test_dicts_inside_make_no_kinds_of_records(archive):
    """Whatever their names, there is one schema, so one stream."""
    score = archive.traced(lambda x, by_name: (x, by_name)[0])
    for number in range(5):
        score(1.0, {f"name {number}": 1.0})
    archive.flush()
    assert len(archive._recorder.streams()) == 1
    assert [story.features["by_name"] for story in stories(archive)][4] == '{"name 4": 1.0}'
