"""Predictions in tiles: recorded as such, refused where they help nothing, one row alone exact; layouts replayed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from tests.support.archives import ORIGIN

import backstory
from backstory.columns.python_value import python_rows
from backstory.debug.case import model_of, read_case, run_model
from backstory.debug.verdict import encoded_rows
from backstory.errors import InputError, ModelError
from backstory.models import determinism

pytestmark = pytest.mark.filterwarnings("ignore:X has feature names")
COLUMNS = [f"c{at}" for at in range(20)]
METHOD = "decision_function"


@pytest.fixture(scope="module")
def table():
    """Rows a linear model sums differently alone and in a batch."""
    return pd.DataFrame(np.random.default_rng(0).normal(size=(300, 20)), columns=COLUMNS)


@pytest.fixture(scope="module")
def archive(tmp_path_factory, table):
    """An archive with a linear model, and a forest that varies."""
    with (
        pytest.MonkeyPatch.context() as patched,
        backstory.init(tmp_path_factory.mktemp("tiles") / "archive", origin=ORIGIN) as made,
    ):
        patched.setattr(determinism, "PROBE_SECONDS_MAX", 60.0)  # a busy machine must not change what is seen
        target = table.c0 + table.c1 > 0
        made.register(LogisticRegression().fit(table.to_numpy(), target), name="linear")
        made.register(RandomForestClassifier(3, n_jobs=2).fit(table.to_numpy(), target), name="forest")
        made.register(len, name="function")
        yield made


def case_of(archive, prediction):
    """Return the recorded call of a prediction."""
    return read_case(archive._workshop, archive._found(prediction), "test")


def again(archive, prediction, rows=slice(None)):
    """Run some rows of a recorded call again; return whether each output has the recorded bytes."""
    case = case_of(archive, prediction)
    chosen = np.arange(case.features.num_rows)[rows]
    output = run_model(model_of(archive._workshop, case), case, case.features.take(chosen))
    recorded = encoded_rows(case.output.take(chosen))
    return [one == other for one, other in zip(recorded, encoded_rows(output), strict=True)]


@pytest.mark.parametrize("tile", [64, 256])
def test_a_row_alone_in_its_tile_is_exact(archive, table, tile):
    """Each of many rows, replayed by itself, gives the recorded bytes; without tiles some do not."""
    rows = table.to_numpy()
    tiled = archive.predict("linear", rows, method=METHOD, tile=tile).ids[0]
    plain = archive.predict("linear", rows, method=METHOD).ids[0]
    assert all(again(archive, tiled, slice(at, at + 1)) == [True] for at in range(0, 300, 6))
    assert not all(again(archive, plain, slice(at, at + 1)) == [True] for at in range(0, 300, 6))


@pytest.mark.parametrize("make", [pd.DataFrame.copy, pd.DataFrame.to_numpy, lambda one: one.to_dict("records")])
def test_rows_in_another_order_and_number_give_the_same_bits(archive, table, make):
    """In tiles a row's output does not depend on the other rows of its call, frame, array or dicts."""
    order = np.random.default_rng(1).permutation(len(table))
    whole = archive.predict("linear", make(table), method=METHOD, tile=64).output
    some = archive.predict("linear", make(table.iloc[order[:77]]), method=METHOD, tile=64).output
    assert some.tobytes() == whole[order[:77]].tobytes()


def test_the_context_says_the_tile(archive, table):
    """The record says in which tiles the model ran, and nothing where it ran in none."""
    ids = [archive.predict("linear", table.to_numpy(), tile=tile).ids[0] for tile in (64, None)]
    contexts = [case_of(archive, one).context for one in ids]
    assert contexts[0]["tile"] == "64"
    assert "tile" not in contexts[1]
    assert all(again(archive, ids[0]))


def test_tiles_that_help_nothing_are_refused(archive, table):
    """A size that was not found to hold, and any of a model that varies, are errors."""
    with pytest.raises(ModelError, match="expected a tile of 64 or 256, got 50 "):
        archive.predict("linear", table.to_numpy(), tile=50)
    with pytest.raises(ModelError, match="model forest is run-varying"):
        archive.predict("forest", table.to_numpy(), tile=64)
    for tile in (0, True, "64", 1 << 20):
        with pytest.raises(InputError, match="expected a tile of 1 to"):
            archive.predict("linear", table.to_numpy(), tile=tile)


def test_a_model_nobody_probed_may_be_tiled(archive, table):
    """Of a function nothing is known, so the caller's word counts: it is called with whole tiles."""
    seen = []

    def model(rows):
        seen.append(len(rows))
        return rows[:, 0]

    version = archive.register(model, name="own")
    made = archive.predict(version, table.to_numpy(), method="__call__", tile=128)
    assert seen == [128, 128, 128]
    assert made.output.tolist() == table.c0.tolist()


def test_an_output_that_is_no_array_is_a_failed_call(archive, table):
    """What cannot be put together from tiles is recorded as failed, as other outputs that cannot be."""
    version = archive.register(lambda rows: [rows, rows], name="pair")
    with pytest.raises(ModelError, match="got list"):
        archive.predict(version, table.to_numpy(), method="__call__", tile=128)


LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "every other column of C": lambda rows: np.repeat(rows, 2, axis=1)[:, ::2],
    "every other row of Fortran": lambda rows: np.asfortranarray(np.repeat(rows, 2, axis=0))[::2],
    "backwards": lambda rows: rows[::-1, ::-1].copy()[::-1, ::-1],
    "slice of Fortran": lambda rows: np.asfortranarray(np.vstack([rows, rows]))[: len(rows)],
    "frame by row": lambda rows: pd.DataFrame(rows, columns=COLUMNS, copy=False),
    "frame, every other row": lambda rows: pd.DataFrame(np.repeat(rows, 2, axis=0), columns=COLUMNS).iloc[::2],
    "frame, columns turned": lambda rows: pd.DataFrame(rows[:, ::-1], columns=COLUMNS[::-1])[COLUMNS],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_input_is_replayed_as_it_lay_in_memory(archive, table, layout):
    """A linear model gives other last bits for another memory layout, so the recorded one is made again."""
    rows = LAYOUTS[layout](table.to_numpy().copy(order="C"))
    assert all(again(archive, archive.predict("linear", rows, method=METHOD).ids[0]))


def test_layouts_do_give_other_bits(archive, table):
    """Or the test before would show nothing."""
    outputs = {
        archive.predict("linear", LAYOUTS[layout](table.to_numpy().copy(order="C")), method=METHOD).output.tobytes()
        for layout in ("C", "Fortran", "every other column of C")
    }
    assert len(outputs) == 3


def test_a_plain_layout_is_not_mentioned(archive, table):
    """Contexts of arrays and frames as they are made have no word of steps."""
    for rows in (table.to_numpy().copy(order="C"), np.asfortranarray(table.to_numpy()), table.copy()):
        container = case_of(archive, archive.predict("linear", rows).ids[0]).context["container"]
        assert "steps" not in container


def test_records_name_the_libraries_their_model_uses(archive, table):
    """A prediction's environment names the thread pools that were loaded when it was made."""
    record = archive._found(archive.predict("linear", table.to_numpy()).ids[0]).table
    context = archive._ledger.document(python_rows(record.select(["context"]))[0]["context"].hex())
    pools = archive._ledger.document(context["environment"])["numerics"]["pools"]
    assert "openmp" in {pool["user_api"] for pool in pools}
