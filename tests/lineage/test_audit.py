"""Audits of steps: what other rows reach is found, and nothing is found where there is nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

import backstory
from backstory.columns.draw import Draw
from backstory.errors import InputError
from backstory.frames.perturb import perturb


def parcels(rows=60):
    """Return parcels with a gap in every ninth weight."""
    numbers = np.arange(rows)
    rng = np.random.default_rng(7)
    return pd.DataFrame(
        {
            "depot": np.where(numbers % 3 == 0, "north", "south"),
            "km": rng.integers(3, 40, rows),
            "weight": np.where(numbers % 9 == 0, np.nan, rng.normal(5, 1, rows)),
            "minutes": rng.normal(60, 9, rows),
        }
    )


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Return an archive that nothing is recorded into."""
    with backstory.init(tmp_path_factory.mktemp("audit") / "audit", origin="example.org/audit") as made:
        yield made


@pytest.fixture
def audit(archive):
    """Return a function that audits a step over parcels."""

    def run(step, inputs=None, **options):
        frame = archive.source(parcels(), "parcels") if inputs is None else inputs
        return archive.audit(step, frame, samples=6, **{"target": "minutes", **options})

    return run


def undeclared(found):
    """Return the columns that other rows reach, each with the input columns it changes with there."""
    return {column.name: set(column.others) for column in found.undeclared}


def own_rows_alone(frame):
    """Filter by value, compute, sort: each row from itself."""
    return frame[frame.km > 9].assign(metres=lambda one: one.km * 1000).sort_values("km")


def duplicated(frame):
    """Stand twice for each row."""
    return pd.concat([frame, frame])


def filled(frame):
    """Fill gaps with the mean of all rows."""
    return frame.assign(weight=frame.weight.fillna(frame.weight.mean()))


def filled_with_maximum(frame):
    """Fill gaps with the greatest weight."""
    return frame.assign(weight=frame.weight.fillna(frame.weight.max()))


def rolled(frame):
    """Look at the two rows before."""
    return frame.assign(recent=frame.km.rolling(3).mean())


def ranked(frame):
    """Rank all rows."""
    return frame.assign(place=frame.km.rank())


def one_hot(frame):
    """Make a column of each value."""
    return pd.get_dummies(frame, columns=["depot"])


@pytest.mark.parametrize("step", [own_rows_alone, duplicated, one_hot])
def test_a_step_over_single_rows_is_probed(audit, step):
    """A step that filters by value, reorders or duplicates rows reaches no other row."""
    found = audit(step)
    assert (found.grade, undeclared(found), found.leaks, found.ids_lost) == ("probed", {}, (), ())


def test_own_columns_are_named(audit):
    """A column is said to change with the input columns it was computed from, in its own rows."""
    columns = {column.name: column.own for column in audit(own_rows_alone).columns}
    assert columns["metres"] == ("frame.km",)
    assert columns["(rows)"] == ("frame.km",)


def filled_in_place(frame):
    """Fill gaps with the mean of all rows in the very frame that was given."""
    frame["weight"] = frame["weight"].fillna(frame["weight"].mean())
    return frame


@pytest.mark.parametrize(
    ("step", "wanted"),
    [
        (filled, {"weight": {"frame.weight"}}),
        (filled_in_place, {"weight": {"frame.weight"}}),
        (filled_with_maximum, {"weight": {"frame.weight"}}),
        (rolled, {"recent": {"frame.km"}}),
        (ranked, {"place": {"frame.km"}}),
    ],
)
def test_influence_of_other_rows_is_found(audit, step, wanted):
    """Fills from all rows, windows and ranks reach rows nobody named: the column and its cause are found."""
    found = audit(step)
    assert (found.grade, undeclared(found)) == ("coarse", wanted)
    assert "influence" in str(found)


def test_rows_that_come_for_others_are_found(audit):
    """Where one of several equal rows is kept, another comes when it changes: an influence on which rows there are."""
    found = audit(lambda frame: frame.drop_duplicates(["depot"]))
    assert (found.grade, [column.name for column in found.undeclared]) == ("coarse", ["(rows)"])


def test_polars_steps_are_audited(audit, archive):
    """The same is found in polars, lazy too."""
    frame = archive.source(pl.from_pandas(parcels()).lazy(), "lazy_parcels")
    found = audit(lambda given: given.with_columns(pl.col("weight").fill_null(pl.col("weight").mean())), frame)
    assert undeclared(found) == {"weight": {"given.weight"}}
    clean = audit(lambda given: given.filter(pl.col("km") > 9).with_columns(far=pl.col("km") > 20), frame)
    assert (clean.grade, undeclared(clean)) == ("probed", {})


def test_joins_are_audited_over_both_sides(audit, archive):
    """A joined row changes with both of the rows it names, and with no other."""
    depots = archive.source(pd.DataFrame({"depot": ["north", "south"], "rain": [1.0, 2.0]}), "depots")
    frame = archive.source(parcels(), "parcels")
    found = audit(lambda left, right: left.merge(right, on="depot", how="left"), {"left": frame, "right": depots})
    assert (found.grade, undeclared(found)) == ("probed", {})
    rain = next(column for column in found.columns if column.name == "rain")
    assert set(rain.own) == {"left.depot", "right.depot", "right.rain"}


def test_a_group_is_declared(audit, archive):
    """What reaches a row through `group` is declared, and a target in it is a leak all the same."""

    def step(frame):
        depots = archive.group(frame, "depot", name="depot", km_mean=("km", "mean"), slow=("minutes", "mean"))
        return frame.merge(depots, on="depot")

    found = audit(step)
    assert (found.grade, undeclared(found)) == ("probed", {})
    columns = {column.name: column for column in found.columns}
    assert columns["km_mean"].declared == ("frame.depot", "frame.km")
    assert [(column.name, column.target) for column in found.leaks] == [("slow", "declared")]


def test_target_leaks_are_found(audit):
    """A feature of the row's own target, and one of other rows' targets, are told apart; the target itself is none."""

    def step(frame):
        late = frame.minutes > 60
        return frame.assign(late=late, usual=frame.groupby("depot").minutes.transform("mean"))

    found = audit(step)
    assert {column.name: column.target for column in found.leaks} == {"late": "own", "usual": "others"}
    assert "target leak: late" in str(found)
    assert not audit(step, target=None).leaks


def test_lost_ids_are_broken(audit):
    """A step that loses the ids says nothing of its rows."""
    found = audit(lambda frame: frame[["km"]])
    assert (found.grade, len(found.ids_lost), found.columns[0].own) == ("broken", 1, ())


def test_random_steps_are_recognised(audit):
    """A column that differs between two runs over the same rows is said to, and earns nothing."""
    rng = np.random.default_rng()
    found = audit(lambda frame: frame.assign(noise=rng.random(len(frame))))
    assert [column.name for column in found.columns if not column.is_steady] == ["noise"]
    assert (found.grade, undeclared(found)) == (None, {})


def test_a_seed_finds_the_same_again(audit):
    """Two audits with one seed are equal."""
    assert audit(filled, seed=3).to_dict() == audit(filled, seed=3).to_dict()


def test_a_step_that_refuses_values_is_counted(audit):
    """Runs in which the step raises over a changed value are counted, not taken for findings."""

    def step(frame):
        if not set(frame.depot) <= {"north", "south"} or (frame.km > 39).any():
            raise ValueError
        return frame

    found = audit(step)
    assert found.refused
    assert undeclared(found) == {}


def test_a_trial_leaves_nothing_behind(archive, audit):
    """Rows fixed and grouped for the audit are forgotten, and the caller's own sources are not."""
    known = {name: len(versions) for name, versions in archive._sources._versions.items()}

    def step(frame):
        return archive.group(frame, "depot", name="for_trial", km=("km", "mean"))

    frame = archive.source(parcels(), "parcels")
    found = audit(archive.step(step), frame)
    assert found.step == "step"
    now = {name: len(versions) for name, versions in archive._sources._versions.items()}
    assert now == known | {"parcels": known["parcels"] + 1}
    assert archive._store.steps._runs == []


@pytest.mark.parametrize(
    ("inputs", "options"),
    [([], {}), (parcels(0), {}), (parcels(), {"target": "nothing"}), (parcels(), {"samples": 0}), (3, {})],
)
def test_what_cannot_be_audited_is_refused(archive, inputs, options):
    """Inputs without a frame or rows, an unknown target and no samples are refused."""
    with pytest.raises(InputError):
        archive.audit(lambda frame=None: frame, inputs, **options)


@pytest.mark.parametrize("style", ["other", "above", "below"])
@pytest.mark.parametrize("of", [lambda table: table, pl.from_pandas], ids=["pandas", "polars"])
def test_cells_get_other_values_of_their_type(of, style):
    """The chosen cells get other values, all others stay, and every column keeps its type."""
    table = parcels().assign(
        on=pd.date_range("2026-01-01", periods=60), one="a", yes=True, depot=lambda one: one.depot.astype("category")
    )
    frame = of(table)
    for column in table.columns:
        other = perturb(frame, column, np.array([3, 8]), style, Draw(0))
        before, after = pd.Series(frame[column].to_list()), pd.Series(other[column].to_list())
        changed = ~((before == after) | (before.isna() & after.isna()))
        assert other[column].dtype == frame[column].dtype
        assert np.flatnonzero(changed).tolist() == [3, 8]
