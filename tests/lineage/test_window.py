"""Windows: values and members against a plain list of rows, on every library."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.engines import ENGINES, relation, rows_of_frame

from backstory.errors import ColumnError, InputError, TokenError
from backstory.frames.aggregate import AGGREGATIONS
from backstory.frames.table import kind_of
from backstory.lineage.group import group
from backstory.lineage.passthrough import mixed_references
from backstory.lineage.source import Sources
from backstory.lineage.split import split
from backstory.lineage.window import WindowNode, window

START = datetime(2026, 1, 1)  # noqa: DTZ001
AGGS = {name: ("v", name) for name in sorted(AGGREGATIONS)}
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", None]),
        st.one_of(st.none(), st.integers(0, 6)),
        st.one_of(st.none(), st.integers(-8, 8).map(lambda n: n / 4)),
    ),
    min_size=1,
    max_size=9,
)


def _table(rows: list[tuple[Any, ...]]) -> pa.Table:
    """Return rows of an entity, a day and a value."""
    entities, days, values = zip(*rows, strict=True)
    times = [None if day is None else START + timedelta(days=day) for day in days]
    return pa.table(
        {
            "e": pa.array(entities, pa.string()),
            "ts": pa.array(times, pa.timestamp("us")),
            "v": pa.array(values, pa.float64()),
        }
    )


def _looked_back_on(
    rows: list[tuple[Any, ...]], at: int, days: int | None, count: int | None, closed: str
) -> list[int]:
    """Return the rows a row looks back on: by time, those of one moment in the order they are in."""
    entity, now, _ = rows[at]
    if entity is None or now is None:
        return []
    found = []
    for position, (other, then, _) in enumerate(rows):
        if other != entity or then is None or then > now or (then == now and closed in ("left", "none")):
            continue
        if count is not None and then == now and position > at:
            continue
        if days is not None and (now - then > days or (now - then == days and closed in ("right", "none"))):
            continue
        found.append(position)
    found.sort(key=lambda position: (rows[position][1], position))
    return found if count is None else found[-count:]


def _model(function: str, values: list[float | None]) -> Any:
    known = [value for value in values if value is not None]
    match function:
        case "first" | "last":
            return values[0 if function == "first" else -1] if values else None
        case "nunique":
            return len(set(known))
        case "count":
            return len(known)
        case "std":
            return pytest.approx(float(np.std(known, ddof=1))) if len(known) > 1 else None
        case "mean":
            return sum(known) / len(known) if known else None
    return {"min": min, "max": max, "sum": sum}[function](known) if known else None


def _members(node: WindowNode) -> list[list[int]]:
    """Return the positions each row of the frame looks back on, in the order of the windows."""
    return [node.refs["t"][node.begins[place] : node.ends[place]].tolist() for place in node.order]


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=12, deadline=None)
@given(
    rows=ROWS,
    span=st.one_of(st.tuples(st.integers(1, 4), st.none()), st.tuples(st.none(), st.integers(1, 3))),
    closed=st.sampled_from(["left", "right", "both", "none"]),
)
def test_values_and_members_are_those_of_a_plain_list(
    engine: str, rows: list[tuple[Any, ...]], span: tuple[int | None, int | None], closed: str
):
    """Every aggregation is that of the rows looked back on, which are the members, and the frame is as it was."""
    days, count = span
    sources = Sources()
    frame, _ = sources.fix(ENGINES[engine](_table(rows)), "t", salt=3)
    result, node = window(
        sources, frame, by="e", time="ts", name="w", salt=5, window=None if days is None else f"{days}d", rows=count,
        closed=closed, **AGGS,
    )  # fmt: skip
    wanted = [_looked_back_on(rows, at, days, count, closed) for at in range(len(rows))]
    assert _members(node) == wanted
    assert kind_of(result) == engine
    for row, members, own in zip(rows_of_frame(result), wanted, rows, strict=True):
        assert (row["e"], row["v"]) == (own[0], own[2])
        assert {name: row[name] for name in AGGS} == {
            name: _model(name, [rows[member][2] for member in members]) for name in AGGS
        }


@pytest.mark.parametrize(
    ("times", "length"),
    [
        ([date(2026, 1, day) for day in (1, 2, 4)], "2d"),
        (np.array(["2026-01-01", "2026-01-02", "2026-01-04"], "datetime64[s]"), "48h"),
        (np.array(["2026-01-01", "2026-01-02", "2026-01-04"], "datetime64[ns]"), timedelta(days=2)),
        (pa.array([START + timedelta(days=day) for day in (0, 1, 3)], pa.timestamp("ms", "Europe/Berlin")), "2880m"),
        ([1, 2, 4], 2),
        (pa.array([1, 2, 4], pa.uint16()), 2),
    ],
    ids=["dates", "seconds", "nanoseconds", "zone", "numbers", "small numbers"],
)
def test_moments_of_every_type_are_compared(times: Any, length: Any):
    """A window is as long whatever the unit of the time is; of plain numbers it is a number."""
    sources = Sources()
    frame, _ = sources.fix(pa.table({"e": ["a"] * 3, "ts": times, "v": [1, 2, 4]}), "t", salt=3)
    result, node = window(sources, frame, by="e", time="ts", name="w", salt=5, window=length, s=("v", "sum"))
    assert result.column("s").to_pylist() == [None, 1, 2]
    assert _members(node) == [[], [0], [1]]


def test_a_length_between_two_moments_counts_no_further():
    """Half a second is less than the second between moments that are counted in seconds."""
    times = np.array(["2026-01-01T00:00:00", "2026-01-01T00:00:01", "2026-01-01T00:00:02"], "datetime64[s]")
    for length, members in (("500ms", [[], [], []]), ("1500ms", [[], [0], [1]])):
        for closed in ("left", "none"):
            sources = Sources()
            frame, _ = sources.fix(pa.table({"e": ["a"] * 3, "ts": times, "v": [1, 2, 4]}), "t", salt=3)
            _, node = window(
                sources, frame, by="e", time="ts", name="w", salt=5, window=length, closed=closed, s=("v", "sum")
            )
            assert _members(node) == members


def test_moments_at_the_ends_of_time_are_compared():
    """A window that begins before all numbers begins with the first row."""
    sources = Sources()
    ends = np.iinfo(np.int64)
    frame, _ = sources.fix(pa.table({"e": ["a"] * 3, "ts": [ends.max, ends.min, 0], "v": [1, 2, 4]}), "t", salt=3)
    _, node = window(sources, frame, by="e", time="ts", name="w", salt=5, window=ends.max, s=("v", "sum"))
    assert _members(node) == [[2], [], []]


def test_what_a_window_gives_can_be_grouped():
    """A group over windowed values names windows, and what those look back on."""
    sources = Sources()
    frame, _ = sources.fix(_table([("a", 1, 0.5), ("a", 2, 1.0), ("b", 2, 2.0)]), "t", salt=3)
    result, first = window(sources, frame, by="e", time="ts", name="w", salt=5, window="9d", s=("v", "sum"))
    _, node = group(sources, result, "e", name="g", salt=6, m=("s", "max"))
    assert mixed_references(node) == ["t", "w"]
    assert node.origins["w"] is first
    _, rows = split(sources, result, ["s"])
    assert (rows.grades["w"], rows.grades["t"]) == ("declared", "exact")


def test_windows_over_windows_name_windows():
    """Of two steps the second has the first among its members where it aggregates what that gave."""
    sources = Sources()
    frame, _ = sources.fix(_table([("a", 1, 0.5), ("a", 2, 1.0), ("a", 3, 2.0)]), "t", salt=3)
    result, _ = window(sources, frame, by="e", time="ts", name="w", salt=5, rows=1, s=("v", "sum"))
    _, node = window(sources, result, by="e", time="ts", name="v2", salt=6, rows=2, closed="right", s2=("s", "sum"))
    assert set(mixed_references(node)) == {"t", "w"}


def test_the_index_of_a_pandas_frame_is_kept():
    """Values stand beside their rows whatever the index is, also where it repeats."""
    sources = Sources()
    table = _table([("a", 2, 0.5), ("a", 1, 1.0), ("b", 1, 2.0)]).to_pandas().set_axis([7, 7, 1])
    frame, _ = sources.fix(table, "t", salt=3)
    result, _ = window(
        sources, frame, by="e", time="ts", name="w", salt=5, window="9d", n=("v", "count"), m=("e", "max")
    )
    assert result.index.tolist() == [7, 7, 1]
    assert result["n"].tolist() == [1, 0, 0]
    assert result["m"].fillna("").tolist() == ["a", "", ""]


def test_large_integers_stay_exact_in_pandas():
    """An empty window is null, and large integers beside it are not rounded to floats; small ones are floats."""
    sources = Sources()
    frame, _ = sources.fix(pd.DataFrame({"e": 1, "t": [1, 2, 3], "v": [2**53 + 1, -(2**60) - 1, 5]}), "s", salt=1)
    large, _ = window(sources, frame, by="e", time="t", name="w", salt=2, rows=1, last=("v", "last"))
    assert (large["last"].dtype, large["last"].tolist()[1:]) == ("Int64", [2**53 + 1, -(2**60) - 1])
    small, _ = window(sources, frame, by="e", time="t", name="u", salt=3, rows=1, last=("t", "last"))
    assert small["last"].dtype == "float64"


def test_rows_of_one_moment_in_a_relation_are_in_the_order_of_ids():
    """So that the last three of them are the same whatever order the query gives."""
    sources = Sources()
    frame, _ = sources.fix(relation(_table([("a", 1, n / 2) for n in range(4)] + [("a", 2, 9.0)])), "t", salt=3)
    for direction in ("ASC", "DESC"):
        ordered = frame.order(f"v {direction}")
        _, node = window(
            sources, ordered, by="e", time="ts", name=f"w{direction.lower()}", salt=5, rows=2, n=("v", "count")
        )
        assert _members(node)[4] == [2, 3]


def test_a_relation_keeps_its_types():
    """Columns of types Arrow does not have are what they were, beside the new ones."""
    con = duckdb.connect()
    sources = Sources()
    frame, _ = sources.fix(con.sql("SELECT uuid() AS u, 1 AS e, 2 AS ts, 3 AS v"), "t", salt=3)
    result, _ = window(sources, frame, by="e", time="ts", name="w", salt=5, rows=2, s=("v", "sum"), u2=("u", "max"))
    assert dict(zip(result.columns, map(str, result.types), strict=True)) == {
        "u": "UUID", "e": "INTEGER", "ts": "INTEGER", "v": "INTEGER", "_row_t": "UBIGINT", "s": "BIGINT", "u2": "UUID",
        "_row_w": "UBIGINT",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, InputError),
        ({"window": "3d", "rows": 2}, InputError),
        ({"window": "3M"}, InputError),
        ({"window": "0d"}, InputError),
        ({"window": "-1d"}, InputError),
        ({"window": 3}, ColumnError),
        ({"window": True}, InputError),
        ({"window": 2.5}, InputError),
        ({"window": timedelta(0)}, InputError),
        ({"rows": 0}, InputError),
        ({"rows": True}, InputError),
        ({"rows": 2, "closed": "now"}, InputError),
        ({"rows": 2, "time": "v"}, ColumnError),
        ({"rows": 2, "time": "nope"}, ColumnError),
        ({"rows": 2, "time": "_row_t"}, ColumnError),
        ({"rows": 2, "by": "nope"}, ColumnError),
        ({"rows": 2, "by": "_row_t"}, ColumnError),
        ({"rows": 2, "name": "t"}, InputError),
        ({"rows": 2, "v": ("v", "sum")}, ColumnError),
        ({"rows": 2, "s": ("v", "median")}, InputError),
    ],
)
def test_windows_that_cannot_be_traced_are_refused(options: dict[str, Any], error: type[Exception]):
    """Lengths that are none, taken names, columns that are missing, ids or of a type without moments."""
    sources = Sources()
    frame, _ = sources.fix(_table([("a", 1, 0.5)]), "t", salt=3)
    plan = {"by": "e", "time": "ts", "name": "w", "s": ("v", "sum"), **options}
    with pytest.raises(error):
        window(sources, frame, salt=5, **plan)
    assert not sources.find("w")


def test_sums_that_do_not_fit_are_refused_without_the_sum():
    """Text has no sum, and of a sum beyond 64 bits the error does not tell the value."""
    sources = Sources()
    table = pa.table({"e": ["a", "a"], "ts": [1, 2], "n": [2**62 + 5, 2**62 + 5]})
    frame, _ = sources.fix(table, "t", salt=3)
    with pytest.raises(ColumnError, match="sum of string"):
        window(sources, frame, by="e", time="ts", name="w", salt=5, rows=2, s=("e", "sum"))
    for made in (frame, sources.fix(relation(table), "r", salt=4)[0]):
        with pytest.raises(InputError, match="64 bits") as caught:
            window(sources, made, by="e", time="ts", name="w", salt=5, rows=2, closed="both", s=("n", "sum"))
        assert not any(character.isdigit() for character in str(caught.value).replace("64", ""))
    with pytest.raises(InputError, match="64 bits"):
        group(sources, made, "e", name="g", salt=5, s=("n", "sum"))


def test_windows_need_whole_ids():
    """A frame whose ids were computed with is refused."""
    sources = Sources()
    frame, _ = sources.fix(_table([("a", 1, 0.5), ("a", 2, 0.5)]).to_pandas(), "t", salt=3)
    with pytest.raises(TokenError):
        window(
            sources,
            frame.assign(_row_t=frame["_row_t"] + 1),
            by="e",
            time="ts",
            name="w",
            salt=5,
            rows=1,
            s=("v", "sum"),
        )


def test_an_array_has_no_windows():
    """It has no named columns."""
    with pytest.raises((InputError, TokenError)):
        window(Sources(), np.zeros((2, 2)), by="0", time="1", name="w", salt=5, rows=1, s=("0", "sum"))


def test_what_the_caller_does_to_frames_later_changes_no_window():
    """The frame that was given and the one that is returned can both be written to, and members stay what they were."""
    sources = Sources()
    frame, _ = sources.fix(_table([("a", 1, 0.5), ("a", 2, 1.0)]).to_pandas(), "t", salt=3)
    result, node = window(sources, frame, by="e", time="ts", name="w", salt=5, rows=1, n=("v", "count"), s=("v", "sum"))
    for written in (frame, result):
        for column in written.columns.difference(["e", "ts"]):
            written.loc[0, column] = 99
    assert node.load_inputs().column("v").to_pylist() == [0.5, 1.0]
    assert node.load_outputs().to_pydict() == {"n": [0, 1], "s": [None, 0.5]}
    assert result["n"].tolist() == [99, 1]


def test_the_callers_frame_gets_no_columns():
    """The new columns are those of the frame that is returned."""
    sources = Sources()
    frame, _ = sources.fix(_table([("a", 1, 0.5)]).to_pandas(), "t", salt=3)
    before = list(frame.columns)
    result, _ = window(sources, frame, by="e", time="ts", name="w", salt=5, rows=1, s=("v", "sum"))
    assert list(frame.columns) == before
    assert isinstance(result, pd.DataFrame)
