"""Recording changes nothing: the same bits come out, and the input is as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from tests.support.archives import ORIGIN
from tests.support.flights import flights

import backstory
from backstory.archive import Archive

NUMBERS = ["hour", "distance", "dep_delay"]


def _table() -> pd.DataFrame:
    table = flights(400)
    return table[table["arr_delay"].notna()].reset_index(drop=True)


def _late(table: pd.DataFrame) -> pd.Series:
    return (table["arr_delay"] > 0).astype("int64")


def _logistic(table: pd.DataFrame) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1_000).fit(table[NUMBERS], _late(table))


def _boosted(table: pd.DataFrame) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(max_iter=10, random_state=0).fit(table[NUMBERS], _late(table))


def _forest(table: pd.DataFrame) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(n_estimators=10, n_jobs=1, random_state=0).fit(table[NUMBERS], _late(table))


def _pipeline(table: pd.DataFrame) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = ColumnTransformer(
        [("number", StandardScaler(), NUMBERS), ("text", OneHotEncoder(handle_unknown="ignore"), ["origin", "carrier"])]
    )
    pipeline = Pipeline([("columns", columns), ("model", LogisticRegression(max_iter=1_000))])
    return pipeline.fit(table[[*NUMBERS, "origin", "carrier"]], _late(table))


def _xgboost(table: pd.DataFrame) -> Any:
    from xgboost import XGBClassifier

    return XGBClassifier(n_estimators=10, n_jobs=1).fit(table[NUMBERS], _late(table))


def _lightgbm(table: pd.DataFrame) -> Any:
    from lightgbm import LGBMClassifier

    model = LGBMClassifier(n_estimators=10, n_jobs=1, verbose=-1)
    return model.fit(table[NUMBERS].to_numpy(), _late(table).to_numpy())


def _as_pandas(table: pd.DataFrame) -> Any:
    return table


def _as_numpy(table: pd.DataFrame) -> Any:
    return table.to_numpy()


def _as_polars(table: pd.DataFrame) -> Any:
    return pl.from_pandas(table)


# A pipeline that selects columns by name takes no array; XGBoost and LightGBM fitted on arrays take any container.
CASES = [
    pytest.param(_logistic, _as_pandas, id="logistic-pandas"),
    pytest.param(_logistic, _as_polars, id="logistic-polars"),
    pytest.param(_boosted, _as_pandas, id="boosted-pandas"),
    pytest.param(_boosted, _as_polars, id="boosted-polars"),
    pytest.param(_forest, _as_pandas, id="forest-pandas"),
    pytest.param(_forest, _as_polars, id="forest-polars"),
    pytest.param(_pipeline, _as_pandas, id="pipeline-pandas"),
    pytest.param(_pipeline, _as_polars, id="pipeline-polars"),
    pytest.param(_xgboost, _as_pandas, id="xgboost-pandas"),
    pytest.param(_xgboost, _as_numpy, id="xgboost-numpy"),
    pytest.param(_xgboost, _as_polars, id="xgboost-polars"),
    pytest.param(_lightgbm, _as_numpy, id="lightgbm-numpy"),
]
ARRAY_CASES = [
    pytest.param(_logistic, id="logistic"),
    pytest.param(_boosted, id="boosted"),
    pytest.param(_forest, id="forest"),
]


def _features(fit: Callable[[pd.DataFrame], Any], table: pd.DataFrame) -> pd.DataFrame:
    return table[[*NUMBERS, "origin", "carrier"]] if fit is _pipeline else table[NUMBERS]


def _bits(values: Any) -> tuple[str, tuple[int, ...], bytes]:
    array = np.asarray(values)
    return str(array.dtype), array.shape, array.tobytes()


def _same_frame(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return _bits(one) == _bits(other)
    return bool(one.equals(other))


@pytest.mark.parametrize(("fit", "container"), CASES)
def test_outputs_are_bit_identical(fit: Callable[..., Any], container: Callable[..., Any], tmp_path: Path):
    """The bare model, `archive.predict`, the recording model, and one loaded in a new session give the same bits."""
    table = _table()
    model, features = fit(table), container(_features(fit, table))
    untouched = container(_features(fit, table).copy())
    bare, bare_shares = _bits(model.predict(features)), _bits(model.predict_proba(features))
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as archive:
        version = archive.register(model, name="late")
        outputs = [archive.predict(version, features).output, version.predict(features)]
        shares = [archive.predict(version, features, method="predict_proba").output, version.predict_proba(features)]
    with backstory.open(tmp_path / "audit") as archive:
        loaded = archive.model("late")
        outputs += [archive.predict(loaded, features).output, loaded.predict(features)]
        shares += [archive.predict(loaded, features, method="predict_proba").output, loaded.predict_proba(features)]
    assert [_bits(output) for output in outputs] == [bare] * 4
    assert [_bits(share) for share in shares] == [bare_shares] * 4
    assert _same_frame(features, untouched)


@pytest.mark.parametrize("fit", ARRAY_CASES)
def test_outputs_of_models_fitted_on_arrays_are_bit_identical(fit: Callable[..., Any], tmp_path: Path):
    """Models fitted on arrays are given the arrays they were called with."""
    table = _table()
    model = fit(table)
    features = table[NUMBERS].to_numpy()
    model.fit(features, _late(table).to_numpy())
    untouched, bare = features.copy(), _bits(model.predict_proba(features))
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as archive:
        shares = [archive.predict(archive.register(model, name="late"), features, method="predict_proba").output]
    with backstory.open(tmp_path / "audit") as archive:
        shares += [archive.model("late").predict_proba(features)]
    assert [_bits(share) for share in shares] == [bare] * 2
    assert _bits(features) == _bits(untouched)


def test_a_lightgbm_model_fitted_on_a_frame_gives_the_same_bits(archive: Archive):
    """LightGBM's own pandas path is left alone."""
    from lightgbm import LGBMRegressor

    table = _table()
    model = LGBMRegressor(n_estimators=10, n_jobs=1, verbose=-1).fit(table[NUMBERS], table["arr_delay"])
    version = archive.register(model, name="delay")
    assert _bits(archive.predict(version, table[NUMBERS]).output) == _bits(model.predict(table[NUMBERS]))


def test_the_output_is_the_models_own_object(archive: Archive):
    """What `predict` gives out is what the model returned, not a copy of it."""
    given = []

    def score(frame: pd.DataFrame) -> np.ndarray:
        given.append(frame["distance"].to_numpy() * 2.0)
        return given[-1]

    version = archive.register(score, name="double")
    assert archive.predict(version, _table()[NUMBERS], method="__call__").output is given[-1]


def test_the_frame_given_to_a_source_is_unchanged(archive: Archive):
    """`source` adds its column to the frame it returns, never to the one it was given."""
    table = _table()
    before = table.copy()
    archive.source(table, "flights")
    pd.testing.assert_frame_equal(table, before)


@pytest.mark.parametrize("container", [_as_pandas, _as_polars])
def test_the_model_gets_the_features_without_ids(container: Callable[..., Any], archive: Archive):
    """A token frame is cut to the model's features before the model sees it."""
    table = _table()
    model = _logistic(table)
    version = archive.register(model, name="late")
    frame = archive.source(container(table), "flights")
    assert _bits(archive.predict(version, frame).output) == _bits(model.predict(container(table[NUMBERS])))


def test_a_function_gets_the_features_it_was_registered_with(archive: Archive):
    """A token frame is cut to the registered columns, also where a name has a dot in it or a column is a struct."""

    def add(frame: pa.Table) -> Any:
        assert frame.column_names == ["point", "a.b"]
        return frame["a.b"].to_numpy()

    table = pa.table({"note": [100.0, 200.0], "a.b": [1.0, 2.0], "point": [{"x": 1, "y": 2}, {"x": 3, "y": 4}]})
    frame = archive.source(table, "points")
    _, rows = archive.split(frame, ["point", "a.b"])
    version = archive.register(add, name="add", rows=rows)
    assert archive.predict(version, frame, method="__call__").output.tolist() == [1.0, 2.0]
