"""What a model is given is compared with what it was trained on, the same way in tables and in single records."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstory.errors import InputError
from backstory.frames.contract_odcs import read_contract
from backstory.frames.profile import profile_of
from backstory.frames.watch import Watch, refuse_flagged

TRAINED = pa.table(
    {
        "amount": [1.0, 5.5, 900.0],
        "years": [1, 2, 7],
        "purpose": ["car", "house", None],
        "urgent": [True, True, True],
        "rate": [1.0, float("nan"), 3.0],
        "price": pa.array([Decimal("1.50"), Decimal("2.75"), Decimal("9.99")], pa.decimal128(9, 2)),
        "day": [dt.date(2026, 1, 1)] * 3,
    }
)
GOOD = {
    "amount": 5.5, "years": 2, "purpose": "car", "urgent": True, "rate": 2.0, "price": Decimal("2.00"),
    "day": dt.date(2027, 1, 1),
}  # fmt: skip
CONTRACT = {
    "apiVersion": "v3.0.2", "kind": "DataContract", "id": "loans", "version": "1.0.0", "status": "active",
    "schema": [{"name": "loans", "properties": [
        {"name": "years", "logicalType": "integer", "logicalTypeOptions": {"maximum": 5}},
    ]}],
}  # fmt: skip
"""Its rule refuses, as rules do whose severity nobody says."""


@pytest.fixture(scope="module")
def watch():
    """What predictions of a model trained on the table are compared with."""
    return Watch(profile_of([TRAINED]), None)


def flags(text):
    """Return the flags in a text."""
    return json.loads(text) if text else []


def of_table(watch, record):
    """Return the flags of a record as a table of one row has them."""
    types = {name: TRAINED.schema.field(name).type if value is GOOD[name] else None for name, value in record.items()}
    table = pa.table({name: pa.array([value], types[name]) for name, value in record.items()})
    return flags(watch.table(table).flags[0].as_py())


def test_what_is_as_in_training_has_no_flag(watch):
    """Nothing is null, so that `flags is not null` finds the others."""
    assert watch.record(GOOD) is None
    assert watch.table(TRAINED).flags.null_count == 3


@pytest.mark.parametrize(
    ("name", "value", "flag"),
    [
        ("amount", 900.01, "range"),
        ("amount", -1, "range"),
        ("amount", float("nan"), "null"),
        ("amount", None, "null"),
        ("amount", float("inf"), "range"),
        ("amount", "5.5", "type"),
        ("amount", True, "type"),
        ("years", 8, "range"),
        ("years", 2**63 - 1, "range"),
        ("purpose", "boat", "unseen"),
        ("purpose", "", "unseen"),
        ("purpose", 5, "type"),
        ("urgent", False, "unseen"),
        ("urgent", 1, "type"),
        ("price", Decimal("10.00"), "range"),
        ("day", None, "null"),
    ],
)
def test_what_differs_is_flagged(watch, name, value, flag):
    """By the name of the column, never by the value; tables and records agree."""
    record = GOOD | {name: value}
    assert flags(watch.record(record)) == [f"{flag}:{name}"]
    assert of_table(watch, record) == [f"{flag}:{name}"]


@pytest.mark.parametrize(("name", "value"), [("purpose", None), ("rate", None), ("rate", float("nan"))])
def test_what_was_missing_in_training_may_be(watch, name, value):
    """NaN and null are alike here: models take either for a missing value."""
    assert watch.record(GOOD | {name: value}) is None
    assert of_table(watch, GOOD | {name: value}) == []


def test_a_column_that_is_not_there_is_missing(watch):
    """In a record and in a table."""
    record = {name: value for name, value in GOOD.items() if name != "years"}
    assert flags(watch.record(record)) == ["missing:years"] == of_table(watch, record)


def test_a_numpy_scalar_is_what_it_holds(watch):
    """As models are given them."""
    assert watch.record(GOOD | {"amount": np.float32(5.5), "years": np.int64(2), "purpose": np.str_("car")}) is None
    assert flags(watch.record(GOOD | {"years": np.int64(9)})) == ["range:years"]


@pytest.mark.parametrize("name", ["amount", "purpose", "day"])
def test_what_pandas_has_for_nothing_is_missing(watch, name):
    """`NA` and `NaT` are no values of another type."""
    expected = [] if name == "purpose" else [f"null:{name}"]
    assert flags(watch.record(GOOD | {name: pd.NA})) == expected == flags(watch.record(GOOD | {name: pd.NaT}))


@pytest.mark.parametrize("type_", [pa.float16(), pa.float32()])
def test_a_number_that_training_rounded_is_inside(type_):
    """A caller gives 0.1, of which training had the nearest number of its narrower type."""
    watch = Watch(profile_of([pa.table({"x": pa.array(np.array([0.1, 0.7], type_.to_pandas_dtype()))})]), None)
    assert watch.record({"x": 0.1}) is None is watch.record({"x": 0.7})
    expected = [None, None, '["range:x"]', '["range:x"]']
    assert watch.table(pa.table({"x": [0.1, 0.7, 0.098, 0.702]})).flags.to_pylist() == expected
    assert flags(watch.record({"x": 0.098})) == ["range:x"]


def test_names_with_dots_and_values_in_values_are_found():
    """A profile has flattened, escaped names; records and tables have their own."""
    table = pa.table({"a.b": [1, 2], "s": [{"u": 1, "v.w": "x"}, {"u": 5, "v.w": "y"}]})
    watch = Watch(profile_of([table]), None)
    rows = [*table.to_pylist(), {"a.b": 3, "s": {"u": 6, "v.w": "z"}}, {"a.b": 1, "s": None}]
    found = [flags(watch.record(row)) for row in rows]
    assert found == [[], [], ["range:a\\.b", "range:s.u", "unseen:s.v\\.w"], ["null:s.u", "null:s.v\\.w"]]
    given = pa.Table.from_pylist(rows, schema=table.schema)
    assert [flags(text) for text in watch.table(given).flags.to_pylist()] == found
    assert flags(watch.record({"a.b": 1})) == ["missing:s.u", "missing:s.v\\.w"]


def test_an_array_has_the_columns_of_training_by_position():
    """It has no names of its own."""
    watch = Watch(profile_of([pa.table({"a": [1.0, 2.0], "b": [10.0, 20.0]})]), None)
    found = watch.table(pa.table({"0": [1.5, 9.0], "1": [15.0, 0.0]})).flags
    assert found.to_pylist() == [None, '["range:a","range:b"]']


def test_rows_of_a_table_have_each_their_own(watch):
    """A bad row says nothing of its neighbours."""
    rows = [GOOD, GOOD | {"amount": 1e9, "purpose": "boat"}, GOOD | {"years": 0}]
    found = watch.table(pa.Table.from_pylist(rows, schema=TRAINED.schema)).flags
    assert [flags(text) for text in found.to_pylist()] == [[], ["range:amount", "unseen:purpose"], ["range:years"]]


def test_a_contract_flags_and_refuses():
    """Rules by their ids; those that refuse are counted."""
    watch = Watch(None, read_contract(CONTRACT, "loans"))
    found = watch.table(pa.table({"years": [1, 6, 9]}))
    (rule,) = found.refusals
    assert found.refusals == {rule: 2}
    assert found.flags.to_pylist() == [None, f'["contract:{rule}"]', f'["contract:{rule}"]']
    assert flags(watch.record({"years": 6})) == [f"contract:{rule}"]
    with pytest.raises(InputError, match=r"refused.*\(2\)"):
        refuse_flagged(found.refusals)
    with pytest.raises(InputError, match="refused"):
        watch.require({"years": 6})
    watch.require({"years": 5})


VALUES = {
    "amount": st.one_of(st.none(), st.floats(width=64), st.floats(0, 1000)),
    "years": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(0, 9)),
    "purpose": st.one_of(st.none(), st.sampled_from(["car", "house", "boat"]), st.text(max_size=3)),
    "urgent": st.one_of(st.none(), st.booleans()),
}


@given(st.lists(st.fixed_dictionaries(VALUES), min_size=1, max_size=8))
def test_tables_and_records_agree(watch, rows):
    """Whatever the values."""
    schema = pa.schema([field for field in TRAINED.schema if field.name in VALUES])
    seen = Watch(profile_of([TRAINED.select(list(VALUES))]), None)
    table = pa.Table.from_pylist(rows, schema=schema)
    assert seen.table(table).flags.to_pylist() == [seen.record(row) for row in rows]


def test_truth_values_of_an_array_are_numbers():
    """An array has one type; what is neither 0 nor 1 is of another."""
    watch = Watch(profile_of([pa.table({"x": [0.5, 1.5], "urgent": [True, False]})]), None)
    good = watch.table(pa.table({"0": [1.0, 1.0], "1": [0.0, 1.0]}))
    assert good.flags.null_count == 2
    assert flags(watch.table(pa.table({"0": [1.0], "1": [2.0]})).flags[0].as_py()) == ["type:urgent"]
    assert flags(watch.table(pa.table({"0": [1.0], "1": [float("nan")]})).flags[0].as_py()) == ["null:urgent"]
