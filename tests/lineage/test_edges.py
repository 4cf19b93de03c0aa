"""Edges as they are read back: from a group or window to its rows, and from rows to the groups and windows."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.archives import ORIGIN

import backstory
from backstory.errors import FormatError
from backstory.lineage.source import Sources
from backstory.lineage.store import positions_table
from backstory.lineage.trace import Edges, Tracer
from backstory.lineage.window import window
from backstory.records import canonical
from backstory.storage.segment import parquet_bytes, write_parquet

ROWS = 8


def _edges(order: np.ndarray | None, begins: list[int], ends: list[int]) -> Edges:
    return Edges(
        document={},
        refs={},
        positions={"t": np.arange(ROWS)},
        order=order,
        begins=np.array(begins, int),
        ends=np.array(ends, int),
    )


@given(
    ranges=st.lists(st.tuples(st.integers(0, ROWS), st.integers(0, ROWS)).map(sorted), max_size=6),
    rows=st.lists(st.booleans(), min_size=ROWS, max_size=ROWS),
    order=st.none() | st.permutations(range(ROWS)),
)
def test_rows_reach_the_groups_they_are_members_of(ranges: list[list[int]], rows: list[bool], order: list[int] | None):
    """A group is reached exactly if one of its members is, whatever its range and the order of the ranges."""
    begins, ends = [begin for begin, _ in ranges], [end for _, end in ranges]
    edges = _edges(None if order is None else np.array(order), begins, ends)
    members = [edges.members(number, "t").tolist() for number in range(len(ranges))]
    wanted = [number for number, found in enumerate(members) if any(rows[row] for row in found)]
    assert edges.reached(np.array(rows)).tolist() == wanted


def test_windows_are_kept_in_less_than_a_byte_a_row():
    """Of rows sorted by entity and time: the order once, and a range a row."""
    count = 40_000
    rng = np.random.default_rng(0)
    entity, time = np.sort(rng.integers(0, 300, count)), rng.integers(0, 10_000, count)
    order = np.lexsort((time, entity))
    sources = Sources()
    table = pa.table({"e": entity[order], "ts": time[order], "v": rng.random(count)})
    frame, _ = sources.fix(table, "t", salt=3)
    _, node = window(sources, frame, by="e", time="ts", name="w", salt=5, window=900, s=("v", "sum"))
    edges = pa.table({**node.memberships(), "row": positions_table(node.refs)["row"]})
    buffer = BytesIO()
    write_parquet(edges, buffer, counters=["begin", "end", "row.t"])
    assert buffer.tell() < count


def test_the_document_of_windows_says_what_they_are(tmp_path: Path):
    """As docs/format.md section 27 has it, with the edge table by entity and moment."""
    table = pa.table({"e": ["b", "a", "b"], "day": [2, 1, 1], "v": [1.0, 2.0, 4.0]})
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as archive:
        frame = archive.source(table, "t")
        for name, options in (("far", {"window": 7, "closed": "both"}), ("few", {"rows": 2})):
            frame = archive.window(frame, by="e", time="day", name=name, **{f"{name}_v": ("v", "sum")}, **options)
        archive.register(lambda rows: np.ones(len(rows)), name="m", rows=archive.split(frame)[1])
        entries = archive._ledger.find_entries("group.recorded")
        far, few = (archive._ledger.document(canonical.text_of(entry, "group")) for entry in entries)
        assert {name: far[name] for name in far.keys() - {"edges", "refs"}} == {
            "aggs": {"far_v": ["v", "sum"]}, "by": ["e"], "closed": "both", "groups": "3", "kind": "window",
            "name": "far", "time": "day", "v": 1, "window": "7",
        }  # fmt: skip
        assert (few["last"], few["closed"], "window" in few) == ("2", "left", False)
        kept = Tracer(archive._ledger).positions(far)
        assert kept.to_pydict() == {"begin": [0, 0, 2], "end": [1, 2, 3], "row": [{"t": 2}, {"t": 0}, {"t": 1}]}


def test_windows_outside_their_table_are_refused(tmp_path: Path):
    """A table whose ranges lead out of it is malformed, whatever its digest."""
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as archive:
        ledger = archive._ledger
        for begin, end in ((0, 3), (2, 1)):
            row = pa.StructArray.from_arrays([pa.array([0, 1])], names=["t"])
            table = pa.table(
                {"begin": pa.array([begin, 0], pa.uint32()), "end": pa.array([end, 1], pa.uint32()), "row": row}
            )
            document = {"edges": ledger.blobs.put(parquet_bytes(table)), "groups": "2", "kind": "window", "refs": {}}
            with pytest.raises(FormatError, match="windows within"):
                Tracer(ledger).edges(ledger.put_document(document))
