"""What changed between two tables: columns by digest, rows by key or by content, against the plain rule."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.accesses import accesses
from tests.support.archives import ORIGIN

import backstory
from backstory.archive import Archive
from backstory.errors import AmbiguousError, ColumnError, ForbiddenError, InputError, KeyNotUniqueError, NotFoundError
from backstory.frames.fingerprint import fingerprint
from backstory.frames.table_diff import Side, compare_columns, compare_rows

NAN = float("nan")


def people(rows: int = 50) -> pd.DataFrame:
    """Return made-up people."""
    return pd.DataFrame({"person": [f"p{n:02d}" for n in range(rows)], "score": np.arange(rows) / 4})


def model(rows: int) -> float:
    """Stand for a model."""
    return rows / 2


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """An archive with three versions of a shop's items, parts of a source, and people; nobody said a purpose."""
    path = tmp_path_factory.mktemp("diff") / "archive"
    items = pd.DataFrame({"item": np.arange(60), "price": np.arange(60) * 1.5, "shelf": ["a", "b", "c"] * 20})
    later = items.drop(index=[5]).assign(price=lambda t: t["price"].where(t["item"] != 7, 99.0))
    later = pd.concat([later, pd.DataFrame({"item": [100], "price": [1.0], "shelf": ["d"]})], ignore_index=True)
    with backstory.init(path, origin=ORIGIN) as made:

        def keep(frame: pd.DataFrame, name: str, **said: object) -> None:
            traced = made.source(frame, name, **said)
            _, rows = made.split(traced)
            made.register(model, name=name, rows=rows)

        keep(items, "items", key="item", owner="shop team", purpose="pricing", licence="CC0", provable="rows")
        keep(later, "items", key="item")
        keep(items, "items", key="item", owner="stock team", provable="rows")  # as it was at first
        keep(items[:30], "log", part="june")
        keep(items[30:], "log", part="july")
        keep(people(), "people", key="person", subject="person")
        keep(people().assign(score=0.0), "people", key="person", subject="person")
    with backstory.open(path) as opened:
        yield opened


def side(table: pa.Table, key: tuple[str, ...] = (), chunk: int = 7) -> Side:
    """Return a table as one of two."""
    found = fingerprint(table)
    types = {column["name"]: column["type"] for column in found.schema["columns"]}

    def read(names: list[str]) -> Iterator[pa.Table]:
        return (table.select(names).slice(at, chunk) for at in range(0, max(table.num_rows, 1), chunk))

    return Side(
        label="", rows=table.num_rows, types=types, digests=found.columns, key=key, personal=False, read=read
    )  # fmt: skip


def compared(before: pa.Table, after: pa.Table, key: tuple[str, ...] = (), limit: int = 1000):
    """Return what became of the rows, with hashes sorted in a file."""
    one, two = side(before, key), side(after, key, chunk=5)
    return compare_rows(one, two, compare_columns(one, two), limit, memory_bytes=64 * 40 * 2)


ROWS = st.dictionaries(st.integers(0, 300), st.sampled_from([None, NAN, 0.0, -0.0, 1.5]), max_size=120)


def table_of(rows: dict[int, float | None], order: int) -> pa.Table:
    """Return keyed rows in an order."""
    keys = np.random.default_rng(order).permutation(list(rows)).astype(int).tolist() if rows else []
    return pa.table({"k": pa.array(keys, pa.int64()), "v": pa.array([rows[k] for k in keys], pa.float64())})


@given(ROWS, ROWS, st.integers(0, 2))
def test_rows_by_key_are_those_of_the_plain_rule(before, after, order):
    """Added, removed and changed rows are those that a dictionary finds, in any order and number."""
    found = compared(table_of(before, 0), table_of(after, order), ("k",))
    changed = {k for k in before.keys() & after.keys() if repr(before[k]) != repr(after[k])}
    assert set(found.added_rows["k"].to_pylist()) == after.keys() - before.keys()
    assert set(found.removed_rows["k"].to_pylist()) == before.keys() - after.keys()
    assert {change.key["k"] for change in found.changes} == changed
    assert (found.added, found.removed) == (len(after.keys() - before.keys()), len(before.keys() - after.keys()))
    assert found.changed == len(changed)
    for change in found.changes:
        cells = tuple(map(repr, change.cells["v"]))
        assert cells == (repr(before[change.key["k"]]), repr(after[change.key["k"]]))


@given(st.lists(st.integers(0, 6), max_size=150), st.lists(st.integers(0, 6), max_size=150))
def test_rows_by_content_are_those_of_the_plain_rule(before, after):
    """Without a key rows are a multiset: each that is there more often on one side counts by how much."""
    one, two = (pa.table({"x": pa.array(rows, pa.int64())}) for rows in (before, after))
    found = compared(one, two)
    assert Counter(found.added_rows["x"].to_pylist()) == Counter(after) - Counter(before)
    assert Counter(found.removed_rows["x"].to_pylist()) == Counter(before) - Counter(after)
    assert [after[at] for at in found.added_positions] == found.added_rows["x"].to_pylist()
    assert found.changed == 0


def test_columns_of_equal_digest_are_not_read():
    """Where the key is the same in each row, only columns that changed are read."""
    before = pa.table({"k": [1, 2, 3], "same": ["a", "b", "c"], "v": [1, 2, 3]})
    after = before.set_column(2, "v", pa.array([1, 9, 3]))
    asked: list[list[str]] = []
    one, two = side(before, ("k",)), side(after, ("k",))

    def watched(names: list[str]) -> Iterator[pa.Table]:
        asked.append(names)
        return one.read(names)

    seen = Side(**{name: getattr(one, name) for name in Side.__slots__ if name != "read"}, read=watched)
    found = compare_rows(seen, two, compare_columns(seen, two), limit=0)
    assert (found.way, found.changed) == ("position", 1)
    assert ["v"] in asked
    assert not any("same" in names for names in asked if names != ["k", "same", "v"])  # that of no row at all


def test_nested_columns_are_compared():
    """A struct is one cell of a changed row; lists and structs are compared whole."""
    before = pa.table({"k": [1, 2], "s": [{"a": 1, "b": [1]}, {"a": 2, "b": []}]})
    after = pa.table({"k": [1, 2], "s": [{"a": 1, "b": [1]}, {"a": 2, "b": [3]}]})
    found = compared(before, after, ("k",))
    assert found.changes[0].cells == {"s": ({"a": 2, "b": []}, {"a": 2, "b": [3]})}


def test_a_key_that_is_twice_is_refused():
    """Two rows with one key are named by position, whichever table they are in."""
    one, two = pa.table({"k": [1, 2, 3], "v": [1, 2, 3]}), pa.table({"k": [1, 3, 3], "v": [1, 2, 3]})
    for pair in ((one, two), (two, one)):
        with pytest.raises(KeyNotUniqueError) as raised:
            compared(*pair, ("k",))
        assert raised.value.details["rows"] == [1, 2]


def test_versions_are_numbered_by_content(archive):
    """A source that comes back to earlier rows comes back to their version; parts belong to one."""
    table = archive.data.versions("items")
    assert table["version"].to_pylist() == [1, 2]
    assert archive.data.versions("log")["part"].to_pylist() == ["june", "july"]
    assert archive.data.show("items").version.number == 1


def test_a_version_is_shown_with_all_that_is_known(archive):
    """What was said last, roots, column digests and profile of a version are there."""
    details = archive.data.show("items:1")
    assert details.about == {"owner": "stock team"}
    said = details.to_dict()
    table = archive.data.fingerprint(archive.data.diff("items:1", "items:1").rows.added_rows)
    assert [one["name"] for one in said["columns"]] == ["item", "price", "shelf"] == list(table.columns)
    assert len(said["sorted_root"]) == len(said["root"]) == 64
    assert said["columns"][2]["profile"]["values"] == ["a", "b", "c"]
    assert said["columns"][1]["profile"]["maximum"] == 88.5
    assert "shelf" in str(details)


def test_kept_versions_are_compared_by_their_key(archive):
    """Rows added, removed and changed between two versions are found by the source's key."""
    found = archive.data.diff("items:1", "items:2")
    assert (found.rows.added, found.rows.removed, found.rows.changed) == (1, 1, 1)
    assert found.rows.changes[0].key == {"item": 7}
    assert found.rows.changes[0].cells == {"price": (10.5, 99.0)}
    assert found.rows.removed_positions == (5,)
    assert "1 row added, 1 row removed, 1 row changed" in str(found)
    assert "10.5 → 99.0" in found._repr_html_()


def test_a_version_is_compared_with_a_file_and_a_frame(archive, tmp_path: Path):
    """Files and frames are compared as versions are; retyped and new columns are named, other columns compared."""
    frame = pd.DataFrame({"item": np.arange(60, dtype="int32"), "price": np.arange(60) * 1.5, "new": 1})
    pq.write_table(pa.Table.from_pandas(frame), tmp_path / "items.parquet")
    for other in (frame, tmp_path / "items.parquet", str(tmp_path / "items.parquet")):
        found = archive.data.diff("items:1", other)
        assert (found.columns.added, found.columns.removed) == (("new",), ("shelf",))
        assert found.columns.retyped == {"item": ("int64", "int32")}
        assert found.columns.same == ("price",)
        assert not found.identical


def test_parts_are_compared_as_one_table(archive):
    """All parts of a version are one table beside another version; one part is itself."""
    assert archive.data.diff("log", "items:1").identical
    assert archive.data.diff("log@june", "items:1", key="item").rows.added == 30


def test_order_alone_is_named_as_such(archive):
    """The same rows in another order are told from changed rows."""
    frame = pd.DataFrame({"item": np.arange(60), "price": np.arange(60) * 1.5, "shelf": ["a", "b", "c"] * 20})
    found = archive.data.diff("items:1", frame.iloc[::-1])
    assert found.reordered
    assert not found.identical
    assert not archive.data.diff("items:1", frame).reordered


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ("log", AmbiguousError),
        ("nothing", NotFoundError),
        ("items:9", NotFoundError),
        ("log@may", NotFoundError),
        ("Items", InputError),
        ("0123456789", NotFoundError),
    ],
)
def test_what_names_no_version_is_refused(archive, asked, error):
    """A text that names no version, or several, is refused with what there is."""
    with pytest.raises(error):
        archive.data.show(asked)


def test_a_digest_names_a_version(archive):
    """The beginning of a digest names the version."""
    digest = archive.data.show("items:2").version.digest
    assert archive.data.show(digest[:8]).version.spec == "items:2"


def test_what_cannot_be_compared_is_refused(archive):
    """Tables without a shared column, a missing key and streams are refused."""
    with pytest.raises(ColumnError):
        archive.data.diff("items:1", pd.DataFrame({"other": [1]}))
    with pytest.raises(ColumnError):
        archive.data.diff("items:1", "items:2", key="colour")
    with pytest.raises(InputError):
        archive.data.diff("items:1", iter([pa.table({"item": [1]})]))


def test_people_stay_sealed_without_a_purpose(archive):
    """Without a purpose neither rows about people are compared nor their profile is shown; nothing of it is open."""
    with pytest.raises(ForbiddenError):
        archive.data.diff("people:1", "people:2")
    details = archive.data.show("people:1")
    assert details.profile is None
    assert "sealed" in str(details)
    assert b"p07" not in b"".join(path.read_bytes() for path in (archive.path / "blobs").rglob("*") if path.is_file())


def test_people_are_compared_for_a_purpose(archive, tmp_path: Path):
    """With an actor and a purpose rows and profile are opened, and the log says so; the archive verifies."""
    path = shutil.copytree(archive.path, tmp_path / "copy")
    with backstory.open(path, actor="auditor", purpose="complaint 7") as opened:
        found = opened.data.diff("people:1", "people:2")
        assert found.rows.changed == 49
        profile = opened.data.show("people:1").profile
        assert "p07" in profile.column("person").values  # noqa: PD011  no frame
        asked = [entry["question"] for entry in accesses(opened._ledger)]
        assert asked == ["data diff", "data diff", "data"]
        assert not opened.verify().failed
    for keys in (path / "keys").glob("*.shard.json"):
        keys.unlink()
    with backstory.open(path, actor="auditor", purpose="complaint 7") as opened:
        assert opened.data.show("people:1").profile is None  # its keys are gone
