"""The types columns are recorded in: mixtures of 1, 1.5 and null under one name are of one type."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from tests.support.archives import ORIGIN

import backstory
from backstory.capture.recorded_types import RecordedTypes
from backstory.frames.container import rebuild
from backstory.ledger.read import find_record

WHERE = ("model", "method")


def types_of(*columns):
    """Return the types values are recorded in, one after the other under one name."""
    types = RecordedTypes()
    return [str(types.cast(WHERE, {"x": pa.array(values)})["x"].type) for values in columns]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (([1.5], [1], [None]), ["double", "double", "double"]),
        (([None], [1], [1.5], [1], [None]), ["null", "int64", "double", "double", "double"]),
        (([1.5], [2**53], [2**53 + 1], [1]), ["double", "double", "int64", "double"]),
        (([1.5], [1, 2**53 + 1]), ["double", "int64"]),
        ((["a"], [1.5], [1], ["a"], [None]), ["large_string", "double", "double", "large_string", "large_string"]),
        (([[1.5]], [[1]], [[]]), ["large_list<item: double>"] * 3),
        (([True], [1], [1.5]), ["bool", "int64", "double"]),
    ],
    ids=str,
)
def test_a_name_has_the_widest_type_seen(columns, expected):
    """Null takes any type, int64 takes float64 where that holds the values; other types stay apart."""
    assert types_of(*columns) == expected


def test_fields_of_structs_are_names_of_their_own():
    """What was seen in one field says nothing about another."""
    types = RecordedTypes()
    types.cast(WHERE, {"s": pa.array([{"a": 1.5, "b": 1}])})
    cast = types.cast(WHERE, {"s": pa.array([{"a": 1, "b": 1}])})
    assert [str(field.type) for field in cast["s"].type] == ["double", "int64"]


@pytest.mark.parametrize(
    ("dtype", "recorded"),
    [(None, "double"), ("Int64", "double"), ("int64[pyarrow]", "double"), (object, "int64")],
    ids=str,
)
def test_a_model_gets_the_types_it_had(tmp_path, dtype, recorded):
    """Whole numbers recorded among floats come to a replay as whole numbers; objects, which nothing describes, stay."""
    path = tmp_path / "archive"
    backstory.init(path, origin=ORIGIN).close()
    given = pd.DataFrame({"x": [1], "y": [2.5]}).astype({} if dtype is None else {"x": dtype})
    with backstory.open(path, sealer="none") as archive:
        version = archive.register(lambda table: np.zeros(len(table)), name="zero")
        archive.predict(version, pd.DataFrame({"x": [1.5], "y": [2.5]}), method="__call__")
        (name,) = archive.predict(version, given, method="__call__").ids
        archive.flush()
        found = find_record(archive._ledger, name, "prediction")
        context = archive._ledger.document(found.table["context"][0].as_py().hex())
    features = pa.Table.from_struct_array(found.table["feature"])
    assert str(features["x"].type) == recorded
    pd.testing.assert_frame_equal(rebuild(context["container"], features), given)


def test_one_row_frames_of_mixed_numbers_are_one_schema(tmp_path):
    """Requests that a service makes frames of, as `pd.DataFrame([request])`, share a stream."""
    path = tmp_path / "archive"
    backstory.init(path, origin=ORIGIN).close()
    with backstory.open(path, sealer="none") as archive:
        version = archive.register(lambda table: np.zeros(len(table)), name="zero")
        for values in [(1.5, 1.5), *itertools.product((1, 1.5, None), repeat=2)]:
            archive.predict(version, dict(zip("ab", values, strict=True)), method="__call__")
        assert len(archive._recorder.streams()) == 1
