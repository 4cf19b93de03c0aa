"""From source rows forward: parts, versions, groups of one name, rows about nobody under predictions about somebody."""

from __future__ import annotations

import cProfile
import pstats
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from tests.support.archives import ORIGIN

import backstory
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


@pytest.mark.parametrize("rows", [[-1], [5], [2**70], [0, -(2**70)]])
def test_a_position_is_of_a_row(archive: Archive, ids, rows):
    """None counts from the end, and none is too large to be told so."""
    with pytest.raises(NotFoundError, match="no row"):
        archive.impact("t", rows=rows)


@pytest.mark.parametrize("where", ["true) UNION ALL SELECT 5000 WHERE (true", "true) UNION ALL SELECT -3 WHERE (true"])
def test_a_predicate_is_one_expression(archive: Archive, ids, where):
    """What ends the query early, and would name rows of its own, is refused."""
    with pytest.raises(QueryError, match="one expression"):
        archive.impact("t", where=where)


def test_columns_that_differ_in_case_are_not_mistaken(archive: Archive):
    """SQL takes `A` and `a` for one column, and a column `_ROW_` for the number of a row: refused, not answered."""
    table = _table().assign(A=_table()["a"].to_numpy()[::-1], _ROW_=[9, 8, 7, 6, 5])
    ids = _predict(archive, archive.source(table, "t"))
    for where in ("a > 3", '"A" > 3', "_row_ < 2"):
        with pytest.raises(QueryError, match="differ in case"):
            archive.impact("t", where=where)
    assert _reached(archive, rows=[1]) == [ids[1]]


# --- several versions and columns -------------------------------------------------------------------------------------


def _versions(archive: Archive) -> list[str]:
    """Predict from a version with a key and a column x, one without a key, and one without x; return all ids."""
    tables = [
        _table().assign(k=range(5), x=range(5)),
        _table().assign(k=range(10, 15), x=9),
        _table().assign(k=range(5)),
    ]
    keys = ["k", None, "k"]
    return [_predict(archive, archive.source(table, "t", key=key)) for table, key in zip(tables, keys, strict=True)]


def test_a_version_without_the_column_is_left_out_and_named(archive: Archive):
    """The others are asked; the answer says in which versions the rows could not be looked for, and why."""
    old, bare, new = _versions(archive)
    assert sorted(_reached(archive, keys=[3])) == sorted([old[3], new[3]])
    assert sorted(_reached(archive, where="x = 9")) == sorted(bare)
    answer = archive.impact("t", where="x = 9")
    ((digest, why),) = answer.left_out.items()
    assert '"x"' in why
    assert f"PARTIAL: rows of version {digest[:12]}" in str(answer)
    assert answer.to_dict()["left_out"] == {digest: why}
    with pytest.raises(NotFoundError, match=f"not looked at: 1 version of it, such as {digest[:12]}"):
        archive.impact("t", where="x = 100")


def test_an_erased_version_is_left_out_and_named(tmp_path: Path):
    """Rows about people that are gone do not keep an answer from what there still is."""
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as archive:
        for factor in (1, 2):
            gone = set((tmp_path / "audit" / "vault").glob(f"{64 * '?'}.shard"))
            ids = _predict(archive, archive.source(_table(factor).assign(who="a"), "t", subject="who"))
    for shard in gone:
        shard.unlink()
    with backstory.open(tmp_path / "audit", actor="auditor", purpose="test") as archive:
        answer = archive.impact("t", where="a = 8")
        assert (answer.predictions["id"].to_pylist(), len(answer.left_out)) == ([ids[4]], 1)
        assert "erased" in str(answer)
        with pytest.raises(QueryError):
            archive.impact("t", where="nope = 1")


def test_a_column_no_version_has_is_refused(archive: Archive):
    """Then there is no answer to give."""
    _versions(archive)
    with pytest.raises(QueryError, match="nope"):
        archive.impact("t", where="nope = 1")
    with pytest.raises(QueryError, match="expected a value for each of k"):
        archive.impact("t", keys=[(1, 2)])


def test_keys_of_several_columns_agree_in_all_of_them(archive: Archive):
    """A value of one key beside a value of another is no key; zero is zero whatever its sign."""
    table = _table().assign(g=["u", "u", "v", "v", "w"], h=[0.0, 1.0, 0.0, 1.0, 2.0])
    ids = _predict(archive, archive.source(table, "t", key=["g", "h"]))
    assert _reached(archive, keys=[("u", 1), ("v", -0.0)]) == [ids[1], ids[2]]
    with pytest.raises(NotFoundError, match=r"2 of 4 keys \(counted from 0: 1, 3\)"):
        archive.impact("t", keys=[("u", 1), ("w", 1), ("v", 0), (None, 2)])


@pytest.mark.parametrize(
    "values",
    [
        pd.Categorical(list("edcba")),
        pa.array(list("edcba"), pa.string_view()),
        [b"e", b"d", b"c", b"b", b"a"],
        pd.date_range("2026-01-01", periods=5, tz="Europe/Berlin"),
        pd.array([5, 4, 3, 2, 1], "Int64"),
        np.array([5, 4, 3, 2, 1], np.float32),
        [True, False, None, None, None],
        [Decimal(f"{n}.10") for n in range(5)],
    ],
    ids=["category", "view", "bytes", "time", "Int64", "float32", "bool", "decimal"],
)
def test_keys_are_of_any_type(archive: Archive, values):
    """What can be a key can be asked for."""
    table = pa.table({"a": np.arange(5.0), "k": pa.array(values, from_pandas=True)}).slice(0, 2)
    ids = _predict_table(archive, archive.source(table, "t", key="k"))
    assert _reached(archive, keys=[table["k"][1].as_py()]) == [ids[1]]


def _predict_table(archive: Archive, table: pa.Table) -> list[str]:
    version = archive.register(lambda features: np.ones(len(features)), name="ones")
    features, rows = archive.split(table, ["a"])
    return list(archive.predict(version, features, rows=rows, method="__call__").ids)


@pytest.mark.parametrize("question", [{"where": "a = 0"}, {"keys": 0.0}])
def test_the_log_is_not_asked_again_for_every_version(archive: Archive, question):
    """An answer over many versions of a source reads its entries no more often than one over few."""

    def asked_with(versions: range) -> int:
        for number in versions:
            _predict(archive, archive.source(_table(1 + number), "t", key="a"))
        archive.flush()
        profile = cProfile.Profile()
        profile.runcall(archive.impact, "t", **question)
        stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
        return sum(stat[0] for (_, _, name), stat in stats.items() if name == "find_entries")

    assert asked_with(range(2)) == asked_with(range(2, 6))
