"""Tables and single records are checked alike: what each rule means, and that both ways agree on any row."""

from __future__ import annotations

import math
import time
from datetime import UTC, date, datetime, timedelta, timezone
from datetime import time as clock
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backstory.columns.python_value import python_rows
from backstory.errors import InputError
from backstory.frames.contract_check import check_rows, check_table
from backstory.frames.contract_infer import infer_contract
from backstory.frames.contract_odcs import read_contract
from backstory.frames.contract_record import compile_record_check
from backstory.frames.table import to_arrow

NOW_NS = 1_800_000_000 * 10**9
WALL = datetime(2020, 1, 1)  # noqa: DTZ001  a moment without a zone


def contract(*properties, sla=(), **members):
    """Return a contract about columns."""
    return read_contract(
        {
            "kind": "DataContract",
            "apiVersion": "v3.1.0",
            "id": "t",
            "version": "1",
            "schema": [{"name": "t", "properties": list(properties), **members}],
            "slaProperties": list(sla),
        }
    )


def column(type_=None, quality=(), **options):
    """Return a property `a`."""
    found = {"name": "a", "quality": list(quality)}
    return found | ({"logicalType": type_} if type_ else {}) | ({"logicalTypeOptions": options} if options else {})


def broken(promised, values, **more):
    """Return which rules a column breaks, with the positions of the rows."""
    table = pa.table({"a": values, **more})
    return {one.rule.id: one.positions for one in check_table(promised, table, now_ns=NOW_NS).broken}


@pytest.mark.parametrize(
    ("type_", "good", "bad"),
    [
        ("integer", [pa.array([1], pa.int32()), pa.array([1], pa.uint64())], [[1.0], ["1"], [True], [Decimal(1)]]),
        ("number", [[1], [1.5], [Decimal("1.5")], pa.array([1.5], pa.float32())], [["1"], [True]]),
        ("string", [["x"], pa.array(["x"]).dictionary_encode(), pa.array(["x"], pa.string_view())], [[1], [b"x"]]),
        ("boolean", [[True]], [[1], ["true"]]),
        ("date", [[date(2020, 1, 1)]], [[WALL], ["2020-01-01"]]),
        ("timestamp", [[WALL], [datetime(2020, 1, 1, tzinfo=UTC)]], [[date(2020, 1, 1)], [1]]),
        ("time", [[clock(9)]], [[1]]),
        ("array", [[[1, 2]]], [[1]]),
        ("vector", [[[1.0, 2.0]]], [[["x"]]]),
        ("object", [[{"x": 1}]], [["x"]]),
    ],
)
def test_types_are_strict(type_, good, bad):
    """Nothing is converted: whole floats and digits are no integers, booleans no numbers; records are judged alike."""
    promised, check = contract(column(type_)), compile_record_check(contract(column(type_)))
    for values, expected in [*((one, {}) for one in good), *((one, {"a.type": (0,)}) for one in bad)]:
        assert broken(promised, values) == expected
        assert check(python_rows(pa.table({"a": values}))[0]) == tuple(expected)


def test_nulls_have_every_type_and_are_required_by_themselves():
    """A column of nulls breaks `required` and no other rule; pandas' missing whole numbers are floats."""
    promised = contract({**column("integer", minimum=1), "required": True})
    assert broken(promised, pa.nulls(2)) == {"a.required": (0, 1)}
    frame = to_arrow(pd.DataFrame({"a": [1, None]}))
    assert broken(promised, frame["a"]) == {"a.type": (0,), "a.required": (1,)}


def test_column_that_is_not_there():
    """Its rule of type is broken in every row, also of a table without rows, and by a record; its others are not."""
    promised = contract({**column("integer", minimum=1), "required": True})
    found = check_table(promised, pa.table({"b": [1, 2]}), now_ns=NOW_NS).broken
    assert [(one.rule.id, one.rows) for one in found] == [("a.type", 2)]
    assert check_table(promised, pa.table({"b": pa.nulls(0)}), now_ns=NOW_NS).state == "refused"
    assert compile_record_check(promised)({"b": 1}) == ("a.type",)


@pytest.mark.parametrize(
    ("promised", "values", "rows"),
    [
        (column("integer", exclusiveMinimum=1.5, maximum=3), [1, 2, 3, 4], (0, 3)),
        (column("integer", maximum=2**63), pa.array([2**63, 2**63 + 1], pa.uint64()), (1,)),
        (column("integer", minimum=2**53 + 1), [2**53, 2**53 + 1], (0,)),
        (column("integer", minimum=10**30), [1, None], (0,)),
        (column("number", minimum=0, maximum=1), [0.0, 1.0, math.nan, math.inf, -0.0, 1.0000001], (2, 3, 5)),
        (column("number", minimum=0.1), [Decimal("0.10"), Decimal("0.09"), None], (1,)),
        (column("number", maximum=0.1), pa.array([0.1], pa.float32()), (0,)),
        (
            column("date", minimum="2020-01-01", exclusiveMaximum="2020-01-03"),
            [date(2020, 1, d) for d in (1, 2, 3)],
            (2,),
        ),
        (column("time", minimum="06:00:00"), [clock(5, 59, 59), clock(6)], (0,)),
    ],
)
def test_bounds_are_exact(promised, values, rows):
    """Bounds hold exactly in every type, at its limits and beyond; NaN lies in no range."""
    assert broken(contract(promised), values) == {"a.range": rows}


def test_moments_are_compared_in_one_zone():
    """A bound without a zone is in the default one, and so is a column without."""
    promised = contract(column("timestamp", minimum="2020-01-01T00:00:00", defaultTimezone="Europe/Berlin"))
    check = compile_record_check(promised)
    moments = [datetime(2019, 12, 31, 22, 59, 59, tzinfo=UTC), datetime(2019, 12, 31, 23, tzinfo=UTC)]
    assert broken(promised, pa.array(moments, pa.timestamp("us", "UTC"))) == {"a.range": (0,)}
    walls = [WALL - timedelta(seconds=1), WALL]
    assert broken(promised, pa.array(walls, pa.timestamp("s"))) == {"a.range": (0,)}
    assert [check({"a": moment}) for moment in (*moments, *walls)] == [("a.range",), (), ("a.range",), ()]


def test_zone_may_be_promised():
    """`timezone: true` asks for moments with a zone."""
    promised = contract(column("timestamp", timezone=True))
    assert broken(promised, [WALL]) == {"a.type": (0,)}
    assert compile_record_check(promised)({"a": WALL}) == ("a.type",)


def test_enumeration_tells_sorts_of_values_apart():
    """1 and 1.0 are one value; "1" and true are others."""
    quality = [{"metric": "invalidValues", "arguments": {"validValues": [1, "x"]}, "mustBe": 0}]
    promised, check = contract(column(None, quality)), compile_record_check(contract(column(None, quality)))
    for values, expected in (
        ([1, 2], (1,)),
        ([1.0, 0.5], (1,)),
        (["1", "x"], (0,)),
        ([True], (0,)),
        ([date(1, 1, 1)], (0,)),
    ):
        assert broken(promised, values).get("a.invalidValues", ()) == expected
        assert tuple(row for row, value in enumerate(values) if check({"a": value})) == expected


def test_counts_that_are_allowed():
    """A rule some rows may break holds up to that many, in rows or percent, and still says how many there are."""
    quality = [{"metric": "nullValues", "mustBeLessThan": 30, "unit": "percent"}]
    promised = contract(column(None, quality))
    verdict = check_table(promised, pa.table({"a": [1, None, 2, 3]}), now_ns=NOW_NS)
    assert (verdict.state, [one.rows for one in verdict.rules]) == ("passed", [0, 1])
    assert broken(promised, [1, None, 2]) == {"a.nullValues": (1,)}


def test_repeated_rows_are_counted():
    """Unique counts the rows that repeat an earlier one; a null in a key is not compared."""
    promised = contract({**column("integer"), "unique": True}, quality=[
        {"metric": "duplicateValues", "arguments": {"properties": ["a"]}, "mustBeLessThan": 3}
    ])  # fmt: skip
    assert broken(promised, [1, 2, 1, None, None, 1]) == {"a.unique": (2, 5)}


def test_freshness_by_the_clock_that_is_given():
    """The newest moment may be so old, and not a nanosecond older; a date counts with its end."""
    sla = [{"property": "latency", "value": 1, "unit": "h", "element": "t.a"}]
    promised = contract(column("timestamp"), sla=sla)
    newest = pa.array([NOW_NS - 3600 * 10**9, 0], pa.timestamp("ns", "UTC"))
    assert check_table(promised, pa.table({"a": newest}), now_ns=NOW_NS).state == "passed"
    assert check_table(promised, pa.table({"a": newest}), now_ns=NOW_NS + 1).state == "refused"
    today = datetime.fromtimestamp(NOW_NS // 10**9, UTC).date()
    dated = contract(column("date"), sla=sla)
    assert check_table(dated, pa.table({"a": [today]}), now_ns=NOW_NS).state == "passed"
    assert check_table(dated, pa.table({"a": [today - timedelta(days=2)]}), now_ns=NOW_NS).state == "refused"


def query(sql, **operator):
    """Return a contract with a query."""
    return contract(column(), quality=[{"id": "q", "type": "sql", "query": sql, **(operator or {"mustBe": 0})}])


def test_query_sees_the_table():
    """`{object}` is the table and `${property}` a column; what the query gives is compared."""
    one = contract(column(None, [{"type": "sql", "query": "SELECT max(${property}) FROM {object}", "mustBe": 3}]))
    assert broken(one, [1, 3]) == {}
    assert broken(one, [1, 4]) == {"a.sql": ()}
    assert broken(query("SELECT avg(a) > 1 FROM t", mustBe=True), [1, 3]) == {}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM '/etc/passwd'",
        "SELECT count(*) FROM read_csv('/etc/passwd')",
        "SELECT count(*) FROM secret",
        "COPY t TO 'stolen.csv'",
        "ATTACH 'x.db'",
        "DROP VIEW t",
        "SELECT 0; SELECT 0",
        "SELECT a FROM t",
        "SELECT",
        "SET threads = 1",
    ],
)
def test_query_reaches_nothing_else(sql, tmp_path, monkeypatch):
    """No file, no variable of the program, no setting, no second statement: a clear error, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    secret = pa.table({"a": [1]})
    with pytest.raises(InputError, match="query of rule 'q'"):
        broken(query(sql), [1, 2])
    assert (len(secret), list(tmp_path.iterdir())) == (1, [])


def test_errors_of_queries_hold_no_values():
    """What the engine says of a value it cannot convert is not passed on."""
    with pytest.raises(InputError) as caught:
        broken(query("SELECT sum(a::int) FROM t"), ["secret"])
    assert "secret" not in str(caught.value)


def test_query_that_fails_over_wrong_types_is_broken():
    """Data of another type than promised is refused for that; the query that trips over it does not hide it."""
    promised = contract(
        column("integer"), quality=[{"id": "q", "type": "sql", "query": "SELECT sum(a)::int FROM t", "mustBe": 3}]
    )
    assert set(broken(promised, ["x"])) == {"a.type", "q"}


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"^\d+$", "12\n", False),
        (r"^\d$", "٣", False),
        (r"\s", "\x0b", False),
        (r"[\s]", "\t", True),
        (r"^(?!x).+$", "x1", False),
        (r"^(a+)+$", "a" * 40 + "b", False),
        (r"a*a*a*a*a*a*a*b", "a" * 1000, False),
        (r"\d+\d+\d+\d+x", "1" * 1000, False),
        (r"(a{1,30}){1,30}b", "a" * 40, False),
        ("a?" * 30 + "b", "a" * 40, False),
        (r"^a{,2}$", "aa", True),
        (r"a{2000}", "a" * 2000, True),
        (r"(.)\1", "xx", True),
        (r"[[:alpha:]]", "x", False),
        (r"ö.é", "xö é", True),
        (r"\B", "", True),
        (r"^\\Z$", r"\Z", True),
    ],
)  # fmt: skip
def test_patterns_mean_one_thing(pattern, text, found):
    """Columns and single values are searched with one meaning, also where only one engine has it, and quickly."""
    try:
        promised = contract(column("string", pattern=pattern))
    except InputError:
        assert pattern == "[[:alpha:]]"  # which Python reads otherwise some day
        return
    began = time.thread_time()
    assert (broken(promised, [text, text]) == {}) is found
    assert (compile_record_check(promised)({"a": text}) == ()) is found
    assert time.thread_time() - began < 1


# --- any row ----------------------------------------------------------------------------------------------------------

_ZONES = [UTC, timezone(timedelta(hours=5))]
NUMBERS = st.one_of(
    st.sampled_from([0, 1, -1, 10, 0.5, 1.5, 2**53 + 1]),
    st.integers(-20, 20),
    st.floats(-20, 20).map(lambda x: round(x, 1)),
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "minimum": NUMBERS,
        "exclusiveMaximum": NUMBERS,
        "multipleOf": st.sampled_from([1, 2, 0.5, 0.1, 3]),
        "minLength": st.integers(0, 3),
        "maxLength": st.integers(1, 4),
        "pattern": st.sampled_from([r"^[a-c]+$", r"\d$", r"^\s*$", r"(?i)A", r"^(ab|c)*$", r"\bx\b", r"[^\w]"]),
    },
)
LISTED = st.one_of(
    st.lists(st.one_of(NUMBERS, st.text("abx1 ", max_size=3), st.dates()), min_size=1, max_size=4),
    st.lists(st.one_of(NUMBERS, st.booleans()), min_size=1, max_size=4),
)
DATES = st.dates(date(2019, 12, 30), date(2020, 1, 3))
MOMENTS = st.datetimes(WALL - timedelta(days=1), WALL + timedelta(days=1))
COLUMNS = st.one_of(
    st.lists(st.none() | st.integers(-20, 20), min_size=1, max_size=6).map(lambda v: pa.array(v, pa.int8())),
    st.lists(st.none() | st.sampled_from([0, 2**53, 2**63, 3]), min_size=1).map(lambda v: pa.array(v, pa.uint64())),
    st.lists(st.none() | st.floats() | NUMBERS.map(float), min_size=1, max_size=6).map(
        lambda v: pa.array(v, pa.float64())
    ),
    st.lists(st.none() | st.floats(width=32), min_size=1, max_size=6).map(lambda v: pa.array(v, pa.float32())),
    st.lists(st.none() | st.decimals(-20, 20, places=2), min_size=1).map(lambda v: pa.array(v, pa.decimal128(9, 2))),
    st.lists(st.none() | st.text("abcx1 \n\tÄ", max_size=4), min_size=1, max_size=6).map(
        lambda v: pa.array(v, pa.string())
    ),
    st.lists(st.none() | st.booleans(), min_size=1, max_size=4).map(lambda v: pa.array(v, pa.bool_())),
    st.lists(st.none() | DATES, min_size=1, max_size=4).map(lambda v: pa.array(v, pa.date32())),
    st.lists(st.none() | MOMENTS, min_size=1, max_size=4).map(lambda v: pa.array(v, pa.timestamp("us"))),
    st.lists(st.none() | MOMENTS.map(lambda m: m.replace(tzinfo=UTC)), min_size=1).map(
        lambda v: pa.array(v, pa.timestamp("us", "Asia/Tokyo"))
    ),
    st.lists(st.none() | st.lists(st.integers(0, 3), max_size=4), min_size=1).map(
        lambda v: pa.array(v, pa.list_(pa.int64()))
    ),
)
TYPES = st.sampled_from(["integer", "number", "string", "boolean", "date", "timestamp", "time", "array", "object"])
QUALITY = st.lists(
    st.one_of(
        LISTED.map(lambda v: {"metric": "invalidValues", "arguments": {"validValues": v}, "mustBe": 0}),
        LISTED.map(
            lambda v: {"metric": "missingValues", "arguments": {"missingValues": [*v, None]}, "mustBeLessThan": 1}
        ),
        st.just({"metric": "nullValues", "mustBe": 0}),
        st.just({"metric": "duplicateValues", "mustBe": 0}),
    ),
    max_size=3,
)
TEMPORAL = st.fixed_dictionaries({}, optional={"minimum": MOMENTS | DATES, "exclusiveMaximum": MOMENTS})


def properties(name):
    """Return strategies of a property with options that any type may be given."""
    free = st.builds(lambda o, q: {"name": name, "logicalTypeOptions": o, "quality": q}, OPTIONS, QUALITY)
    dated = st.builds(lambda o: {"name": name, "logicalType": "timestamp", "logicalTypeOptions": o}, TEMPORAL)
    return st.one_of(free, dated, st.builds(lambda t: {"name": name, "logicalType": t}, TYPES))


@given(COLUMNS, COLUMNS, properties("a"), properties("b"))
@settings(max_examples=100, deadline=None)
def test_table_and_record_agree(first, second, a, b):
    """Any row breaks the same rules in a table as alone, and as one of a batch; a table counts what rows break."""
    rows = min(len(first), len(second))
    table = pa.table({"a": first[:rows], "b": second[:rows]})
    promised = contract(a, b)
    check = compile_record_check(promised)
    alone = [check(row) for row in python_rows(table)]
    assert alone == check_rows(promised, table)
    counts = {
        one.rule.id: one.rows for one in check_table(promised, table, now_ns=NOW_NS).rules if not one.rule.needs_table
    }
    assert counts == {id_: sum(id_ in ids for ids in alone) for id_ in counts}


@given(st.lists(st.tuples(COLUMNS, st.booleans()), min_size=1, max_size=3))
@settings(max_examples=40, deadline=None)
def test_what_was_drafted_from_data_holds_in_it(columns):
    """A draft passes the data it was drafted from, chunked or dictionary-encoded, with people or without."""
    rows = 12
    table = pa.table({f"c{n}": pa.concat_arrays([values] * rows)[:rows] for n, (values, _) in enumerate(columns)})
    subject = "c0" if columns[0][1] else None
    drafted = read_contract(infer_contract(table, "t", subject=subject))
    assert check_table(drafted, table, now_ns=NOW_NS).broken == ()
    assert subject not in drafted.valued


def test_draft_of_common_columns():
    """Keys, formats, lists of values, ranges and types are found; a column of the person it is about says none."""
    table = pa.table(
        {
            "loan": [f"L-{n:04}" for n in range(50)],
            "state": ["late", "paid"] * 25,
            "amount": [0.5 * n for n in range(50)],
            "day": [date(2020, 1, 1)] * 50,
        }
    )
    ids = {rule.id for rule in read_contract(infer_contract(table, "loans")).rules}
    assert {"loan.unique", "loan.pattern", "state.enumeration", "amount.range", "day.type", "rows"} <= ids
    about_people = infer_contract(table, "loans", subject="loan")
    assert "pattern" not in about_people.split("name: loan\n")[1].split("- name")[0]
    rare = infer_contract(table.set_column(1, "state", [["rare"] + ["paid"] * 49]), "loans", subject="loan")
    assert "rare" not in rare


def test_rules_that_need_a_table_are_skipped_and_named():
    """A record check names what it does not look at: whole-table rules, and columns that a record does not have."""
    promised = contract({**column("integer"), "unique": True}, {"name": "b", "required": True}, quality=[
        {"metric": "rowCount", "mustBe": 1}
    ])  # fmt: skip
    assert compile_record_check(promised, ["a"]).skipped == ("a.unique", "b.type", "b.required", "rowCount")
    assert compile_record_check(promised, ["a"])({"a": 1}) == ()


def test_values_of_numpy_are_those_they_stand_for():
    """A NumPy integer is an integer, a NumPy float a number."""
    check = compile_record_check(contract(column("integer", minimum=2)))
    assert [check({"a": value}) for value in (np.int64(3), np.int32(1), np.float64(3), np.bool_(1))] == [
        (), ("a.range",), ("a.type",), ("a.type", "a.range"),
    ]  # fmt: skip


def test_frames_of_every_library_are_judged_alike():
    """pandas, polars and Arrow frames of the same values break the same rules."""
    promised = contract(column("string", pattern="^x"))
    values = {"a": ["x", "y", None]}
    frames = (pd.DataFrame(values), pd.DataFrame(values).astype("category"), pl.DataFrame(values), pa.table(values))
    found = [check_table(promised, to_arrow(frame), now_ns=NOW_NS).broken for frame in frames]
    assert all([(one.rule.id, one.positions) for one in each] == [("a.pattern", (1,))] for each in found)


def test_positions_are_limited_and_verdicts_hold_no_values():
    """Positions of a hundred rows at most; the document says ids, severities and counts."""
    verdict = check_table(contract(column("integer", maximum=0)), pa.table({"a": range(1, 1001)}), now_ns=NOW_NS)
    assert len(verdict.broken[0].positions) == 100
    assert verdict.document()["rules"] == [{"id": "a.range", "rows": "1000", "severity": "refuse"}]
