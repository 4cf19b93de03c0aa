"""From source rows forward: parts, versions, groups of one name, rows about nobody under predictions about somebody."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from backstory.archive import Archive
from backstory.errors import NotFoundError, QueryError
from backstory.lineage.store import source_versions


def _twice(table: pd.DataFrame) -> np.ndarray:
    return table.iloc[:, 0].to_numpy() * 2.0


def _predict(archive: Archive, frame: pd.DataFrame, **options: str) -> list[str]:
    """Predict from every row of a source and return the ids."""
    version = archive.register(_twice, name="twice")
    features, rows = archive.split(frame, ["a"])
    return list(archive.predict(version, features, rows=rows, method="__call__", **options).ids)


def _reached(archive: Archive, **rows: object) -> list[str]:
    archive.flush()
    return archive.impact("t", **rows).predictions["id"].to_pylist()


def _table(factor: float = 1.0) -> pd.DataFrame:
    return pd.DataFrame({"a": np.arange(5.0) * factor})


def test_a_position_needs_a_version_where_there_are_several(archive: Archive):
    """A position is of another row in each: it is refused with the versions named, the newest first."""
    first, second = (_predict(archive, archive.source(_table(factor), "t")) for factor in (1, 2))
    archive.flush()
    old, new = archive.impact("t", where="a = 0").versions
    with pytest.raises(QueryError, match=f"2 versions.*{new[:12]}, {old[:12]}"):
        archive.impact("t", rows=[3])
    hits = archive.impact("t", rows=[3], version=old)
    assert (hits.predictions["id"].to_pylist(), hits.versions) == ([first[3]], {old: 1})
    assert archive.impact("t", rows=[3], version=new).predictions["id"].to_pylist() == [second[3]]
    assert new[:12] in str(archive.impact("t", where="a = 8"))


def test_a_version_recorded_again_is_the_same_version(archive: Archive):
    """Rows fixed a second time, as another session does, are found by position in one version."""
    ids = [_predict(archive, archive.source(_table(), "t"))[3] for _ in range(2)]
    assert _reached(archive, rows=3) == ids


def test_parts_with_equal_rows_are_told_apart(archive: Archive):
    """Two parts that hold the same rows reach their own predictions only."""
    may = _predict(archive, archive.source(_table(), "t", part="may"))
    june = _predict(archive, archive.source(_table(), "t", part="june"))
    assert (_reached(archive, rows=[2]), _reached(archive, rows=[7])) == ([may[2]], [june[2]])


def test_a_predicate_chooses_rows_of_every_part(archive: Archive):
    """What fits in parts with equal rows is reached in all of them."""
    ids = [_predict(archive, archive.source(_table(), "t", part=part))[2] for part in ("may", "june")]
    assert sorted(_reached(archive, where="a = 2")) == sorted(ids)


def test_parts_recorded_in_another_order_are_one_version(archive: Archive):
    """The second part used first does not lose its place when the first is used."""
    parts = [archive.source(_table(), "t", part=part) for part in ("may", "june")]
    june, may = _predict(archive, parts[1]), _predict(archive, parts[0])
    assert (_reached(archive, rows=[2]), _reached(archive, rows=[7])) == ([may[2]], [june[2]])


@pytest.mark.parametrize(("firsts", "sizes"), [([0, 5], [2]), ([5, 0], [2]), ([0, 5, 0], [2, 1]), ([0, 0, 5], [1, 2])])
def test_a_part_that_is_there_already_begins_a_version(firsts, sizes):
    """Entries of parts group into versions whose positions are disjoint."""
    entries = [{"first": str(first), "part": "p", "rows": "5"} for first in firsts]
    assert [len(version) for version in source_versions(entries)] == sizes


def test_groups_of_one_name_are_told_apart(archive: Archive):
    """A row reaches by each of two groupings of one name what that grouping mixed it into."""
    numbers = np.arange(20)
    frame = archive.source(pd.DataFrame({"g": numbers % 2, "h": numbers % 10, "v": numbers * 1.0}), "t")
    for key in ("g", "h"):
        grouped = archive.group(frame, key, name="route", a=("v", "mean"))
        _predict(archive, frame.merge(grouped, on=key))
    assert len(set(_reached(archive, rows=[0]))) == 10 + 2


@pytest.mark.parametrize("sealed", [True, False])
def test_open_rows_of_a_prediction_about_a_person_are_reached(archive: Archive, sealed):
    """A reference to a source about nobody is open, whoever the prediction is about."""
    ids = _predict(archive, archive.source(_table(), "t"), subject="somebody")
    if sealed:
        archive.flush()
    hits = archive.impact("t", rows=[2])
    assert (hits.predictions["id"].to_pylist(), hits.sealed) == ([ids[2]], 0)


# --- choosing rows ----------------------------------------------------------------------------------------------------


@pytest.fixture
def ids(archive: Archive) -> list[str]:
    """Predictions from the five rows of a source with a key, texts, a struct, and odd names."""
    table = _table().assign(
        **{
            "k": [10, 11, 12, 13, 14],
            "a.b": [5, 6, 7, 8, 9],
            "text": ["1", "x", "2", "3", "4"],
            "__row": [9, 8, 7, 6, 5],
        },
        day=pd.to_datetime([f"2026-01-0{day}" for day in range(1, 6)]),
        point=[{"x": n} for n in range(5)],
    )
    return _predict(archive, archive.source(table, "t", key="k"))


@pytest.mark.parametrize("kind", [list, np.array, pd.Series])
def test_rows_are_chosen_by_a_mask(archive: Archive, ids, kind):
    """True and False say which rows are meant, not rows 1 and 0."""
    assert _reached(archive, rows=kind([False, False, True, False, True])) == [ids[2], ids[4]]


@pytest.mark.parametrize("rows", [[True, False], [True] * 6, [True, 1, 2, 3, 4], np.array(True)])
def test_a_mask_is_of_all_rows(archive: Archive, ids, rows):
    """A mask of another length, or one with numbers in it, is refused."""
    with pytest.raises(QueryError, match="True or False"):
        archive.impact("t", rows=rows)


@pytest.mark.parametrize("keys", [np.array([11, 13]), pd.Series([11, 13]), pa.array([11, 13]), (n for n in (11, 13))])
def test_keys_come_in_any_list(archive: Archive, ids, keys):
    """An array or a series of keys is as good as a list."""
    assert _reached(archive, keys=keys) == [ids[1], ids[3]]


@pytest.mark.parametrize("day", [np.datetime64("2026-01-03"), np.datetime64("2026-01-03", "ns"), "2026-01-03"])
def test_a_key_may_be_a_day(archive: Archive, day):
    """Of NumPy's types too."""
    days = pd.to_datetime([f"2026-01-0{day}" for day in range(1, 6)])
    ids = _predict(archive, archive.source(_table().assign(day=days), "t", key="day"))
    assert _reached(archive, keys=day) == [ids[2]]


def test_a_key_of_no_row_is_an_error(archive: Archive, ids):
    """It is never passed over; the message says which of the keys, and quotes none."""
    with pytest.raises(NotFoundError, match=r"1 of 3 keys \(counted from 0: 1\)") as caught:
        archive.impact("t", keys=[10, 777, 11])
    assert "777" not in str(caught.value)


def test_a_key_of_any_version_is_found(archive: Archive):
    """Keys of different versions of a source can be asked for together."""
    both = [_predict(archive, archive.source(_table().assign(k=_table()["a"] + add), "t", key="k")) for add in (0, 10)]
    assert sorted(_reached(archive, keys=[1.0, 12.0])) == sorted([both[0][1], both[1][2]])


@pytest.mark.parametrize("key", [2**70, True, "x", 1.5])
def test_a_key_of_another_type_is_refused(archive: Archive, ids, key):
    """Neither an exception of another library, nor True taken for 1."""
    with pytest.raises(QueryError, match="int64"):
        archive.impact("t", keys=key)


@pytest.mark.parametrize("where", ['"a.b" = 7', "point.x = 2", "__row = 7", "a = 2 -- so"])
def test_a_predicate_names_whole_columns(archive: Archive, ids, where):
    """Also columns with a dot in their name, structs, and what is named like a helper column."""
    assert _reached(archive, where=where) == [ids[2]]


@pytest.mark.parametrize("where", ["CAST(text AS INTEGER) = 1", "strptime(text, '%Y') > '2000-01-01'"])
def test_an_error_of_a_predicate_quotes_no_value(archive: Archive, ids, where):
    """Neither in its message nor in what it was caused by."""
    with pytest.raises(QueryError) as caught:
        archive.impact("t", where=where)
    assert "'x'" not in str(caught.value)
    assert "could not parse" not in str(caught.value).lower()
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("where", ["", " \n", 3])
def test_no_predicate_is_refused(archive: Archive, ids, where):
    """An empty text says nothing about rows."""
    with pytest.raises(QueryError, match="predicate"):
        archive.impact("t", where=where)


def test_a_version_is_named_by_text(archive: Archive, ids):
    """The beginning of its digest, not a number."""
    with pytest.raises(QueryError, match="digest"):
        archive.impact("t", rows=[0], version=3)  # type: ignore[arg-type]
