"""Bad input is refused with an error that names the thing and quotes no value, and nothing recorded before is lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from tests.support.archives import ORIGIN, fitted, ids_of, loans

import backstory
from backstory.archive import Archive
from backstory.errors import (
    AlignmentError,
    AmbiguousError,
    BackstoryError,
    ColumnError,
    InputError,
    InputMutatedError,
    KeyNotUniqueError,
    ModelError,
    NotFoundError,
    OutputLengthError,
    QueryError,
    TokenError,
)

SECRET = "SECRET-4711"
"""A value in the data of these tests; no message may hold it."""


@pytest.fixture(scope="module")
def recorded(
    whole: tuple[Path, tuple[str, ...], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Archive, Any, list[str]]]:
    """An archive with a model and 45 predictions, which must still be there, and verify, after all that goes wrong."""
    path, ids, vkey = whole
    copied = shutil.copytree(path, tmp_path_factory.mktemp("recorded") / "audit")
    with backstory.open(copied, vkey=vkey) as archive:
        model = archive.model("credit")
        yield archive, model, [*ids, *archive.predict(model, loans()[["amount", "years"]].head()).ids]
        archive.flush()
        assert not archive.verify(workers=1).failed


def _refused(
    recorded: tuple[Archive, Any, list[str]], error: type[BackstoryError], naming: str, call: Callable[[], object]
) -> BackstoryError:
    """Insist that a call is refused with this class, naming something, quoting nothing, and losing nothing."""
    archive, _, ids = recorded
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert naming in str(caught.value)
    assert SECRET not in str(caught.value)
    assert SECRET not in str(caught.value.details)
    archive.flush()
    assert set(ids) <= set(ids_of(archive))
    return caught.value


# --- names and ids ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", ["why", "replay", "receipt"])
def test_an_unknown_id_is_not_found(question: str, recorded: tuple[Archive, Any, list[str]]):
    """Questions about an id nobody gave out say so."""
    _refused(recorded, NotFoundError, "ffffffff", lambda: getattr(recorded[0], question)("ffffffff"))


def test_an_outcome_of_an_unknown_prediction_is_refused(recorded: tuple[Archive, Any, list[str]]):
    """There is nothing to attach it to."""
    _refused(recorded, NotFoundError, "ffffffff", lambda: recorded[0].outcome("ffffffff", 1.0))


def test_an_ambiguous_prefix_names_some_it_fits(recorded: tuple[Archive, Any, list[str]]):
    """As git does: the prefix fits more than one, and here are two of them."""
    archive, _, ids = recorded
    error = _refused(recorded, AmbiguousError, ids[0], lambda: archive.why(ids[0][:20]))
    assert ids[1] in str(error)


@pytest.mark.parametrize("prefix", ["", "xyz", "0" * 33])
def test_what_is_no_id_is_refused(prefix: str, recorded: tuple[Archive, Any, list[str]]):
    """Not hex digits, none at all, or too many."""
    _refused(recorded, QueryError, "hex digits", lambda: recorded[0].why(prefix))


@pytest.mark.parametrize("spec", ["credits", "credit@nobody", "credit:9", "abcdef123456"])
def test_an_unknown_model_is_not_found(spec: str, recorded: tuple[Archive, Any, list[str]]):
    """By name, alias, version and digest."""
    _refused(
        recorded,
        NotFoundError,
        spec.split("@", maxsplit=1)[0].split(":", maxsplit=1)[0],
        lambda: recorded[0].model(spec),
    )


def test_an_unknown_source_is_not_found(recorded: tuple[Archive, Any, list[str]]):
    """Impact of rows of a source nobody used."""
    _refused(recorded, NotFoundError, "'nothing'", lambda: recorded[0].impact("nothing", rows=[0]))


@pytest.mark.parametrize("rows", [1.5, [1.5], ["1"], "12"])
def test_positions_are_whole_numbers(rows: object, recorded: tuple[Archive, Any, list[str]]):
    """Rows are positions, not fractions or texts."""
    _refused(recorded, QueryError, "rows=", lambda: recorded[0].impact("loans", rows=rows))  # type: ignore[arg-type]


def test_one_position_needs_no_list(recorded: tuple[Archive, Any, list[str]]):
    """One row is asked for by its position as by its key."""
    archive = recorded[0]
    assert archive.impact("loans", rows=3).rows == archive.impact("loans", keys="loan-0003").rows == 1


MISSPELT = [
    pytest.param(lambda archive: archive.model("credti"), NotFoundError, "'credit'", id="a model"),
    pytest.param(lambda archive: archive.model("credti@production"), NotFoundError, "'credit'", id="its model"),
    pytest.param(lambda archive: archive.model("credit@prod"), NotFoundError, "production", id="an alias"),
    pytest.param(lambda archive: archive.impact("loan", rows=0), NotFoundError, "'loans'", id="a source"),
    pytest.param(lambda archive: archive.impact("loans", where="amout > 1"), QueryError, '"amount"', id="in where"),
    pytest.param(lambda archive: archive.search("outptu > 1"), QueryError, '"output"', id="in search"),
    pytest.param(lambda archive: archive.source(loans(), "new", key="laon"), ColumnError, "'loan'", id="a key"),
]


@pytest.mark.parametrize(("ask", "error", "naming"), MISSPELT)
def test_a_name_that_there_is_not_comes_with_those_there_are(
    ask: Callable[[Archive], object],
    error: type[BackstoryError],
    naming: str,
    recorded: tuple[Archive, Any, list[str]],
):
    """Who misspells a model, alias, source or column reads the nearest name, or the known ones."""
    _refused(recorded, error, naming, lambda: ask(recorded[0]))


def test_a_source_that_was_fixed_and_not_used_is_told_from_those_that_were(recorded: tuple[Archive, Any, list[str]]):
    """Only what a model or a prediction refers to is in the log; the message says so."""
    recorded[0].source(loans(), "fresh")
    _refused(recorded, NotFoundError, "was used by a model", lambda: recorded[0].impact("fresh", rows=0))


@pytest.mark.parametrize("values", [0, "abc"])
def test_values_of_a_predicate_are_a_list(values: object, recorded: tuple[Archive, Any, list[str]]):
    """One value, or a text, is not taken for a list of values."""
    _refused(recorded, QueryError, "a list", lambda: recorded[0].search("output > ?", values))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["high", "0.5", None, float("nan")])
def test_a_threshold_is_a_number(value: object, recorded: tuple[Archive, Any, list[str]]):
    """It is refused where it is written, before any model runs."""
    _refused(recorded, InputError, "threshold", lambda: backstory.Threshold(value))  # type: ignore[arg-type]


def test_a_function_as_a_model_is_called_itself(recorded: tuple[Archive, Any, list[str]]):
    """A plain function has no method `predict`; the message says what it has."""
    version = recorded[0].register(len, name="length")
    _refused(recorded, ModelError, 'method="__call__"', lambda: recorded[0].predict(version, loans()[["amount"]]))


def test_an_unknown_level_is_refused(recorded: tuple[Archive, Any, list[str]]):
    """Waiting for something that never comes is an error at once."""
    predictions = recorded[0].predict("credit", loans()[["amount", "years"]])
    _refused(recorded, InputError, "'durable' or 'sealed'", lambda: predictions.wait("done"))  # type: ignore[arg-type]


def test_a_malformed_predicate_is_refused(recorded: tuple[Archive, Any, list[str]]):
    """Search says it is the question that is wrong."""
    _refused(recorded, QueryError, "", lambda: recorded[0].search("no_such_column > 1"))


NOT_TEXT = [
    pytest.param(lambda archive: archive.model(3), "name as text", id="a model"),
    pytest.param(lambda archive: archive.reconcile(count=45, model=3), "name as text", id="a model to reconcile"),
    pytest.param(lambda archive: archive.reconcile(requests=["a", 1]), "item 1", id="a request id"),
    pytest.param(lambda archive: archive.reconcile(requests=3), "list of request ids", id="no list of request ids"),
    pytest.param(lambda archive: archive.reconcile(count="45"), "whole number", id="a count as text"),
    pytest.param(lambda archive: archive.reconcile(count=1.5), "whole number", id="half a prediction"),
    pytest.param(lambda archive: archive.reconcile(count=True), "whole number", id="a truth as a count"),
    pytest.param(lambda archive: archive.reconcile(count=-1), "whole number", id="less than none"),
    pytest.param(lambda archive: archive.search(None), "predicate", id="a predicate"),
]


@pytest.mark.parametrize(("question", "naming"), NOT_TEXT)
def test_a_question_with_a_value_of_another_type_is_refused(
    question: Callable[[Archive], object], naming: str, recorded: tuple[Archive, Any, list[str]]
):
    """With an error of ours, which says what was expected."""
    _refused(recorded, QueryError, naming, lambda: question(recorded[0]))


@pytest.mark.parametrize(("since", "fits"), [("1600-01-01T00:00:00Z", True), ("2999-01-01T00:00:00Z", False)])
def test_a_moment_far_away_is_a_moment(since: str, fits: bool, recorded: tuple[Archive, Any, list[str]]):
    """Before all records, or after them."""
    archive = recorded[0]
    archive.flush()
    all_of_them = archive.reconcile(count=0).recorded
    assert archive.reconcile(count=0, since=since).recorded == (all_of_them if fits else 0)
    assert archive.reconcile(count=0, until=since).recorded == (0 if fits else all_of_them)


def test_no_key_is_no_key(tmp_path: Path, kept: tuple[Path, tuple[str, ...], str]):
    """A receipt that is right is not checked under a key that is none."""
    path, ids, vkey = kept
    with backstory.open(path, vkey=vkey) as archive:
        archive.receipt(ids[0]).save(tmp_path / "r.tlog-proof")
    with pytest.raises(InputError, match="public key"):
        backstory.verify_receipt(tmp_path / "r.tlog-proof", vkey=None)  # type: ignore[arg-type]


# --- sources ----------------------------------------------------------------------------------------------------------


def test_a_missing_key_column_is_named(recorded: tuple[Archive, Any, list[str]]):
    """The key names a column the frame does not have."""
    frame = pd.DataFrame({"name": [SECRET]})
    _refused(recorded, ColumnError, "'number'", lambda: recorded[0].source(frame, "people", key="number"))


def test_a_key_that_does_not_identify_is_refused(recorded: tuple[Archive, Any, list[str]]):
    """Two rows with one key: the rows are named, the key's value is not."""
    frame = pd.DataFrame({"name": ["a", SECRET, SECRET]})
    error = _refused(recorded, KeyNotUniqueError, "name", lambda: recorded[0].source(frame, "people", key="name"))
    assert "1 and 2" in str(error)


def test_a_key_with_nulls_is_refused(recorded: tuple[Archive, Any, list[str]]):
    """A key that is missing identifies nothing."""
    frame = pd.DataFrame({"name": [SECRET, None]})
    _refused(recorded, ColumnError, "name", lambda: recorded[0].source(frame, "people", key="name"))


def test_a_source_without_rows_is_refused(recorded: tuple[Archive, Any, list[str]]):
    """There is nothing to fix."""
    frame = pd.DataFrame({"name": []})
    _refused(recorded, InputError, "people", lambda: recorded[0].source(frame, "people"))


@pytest.mark.parametrize("container", ["pandas", "arrow"])
def test_a_column_name_that_stands_twice_is_named(container: str, recorded: tuple[Archive, Any, list[str]]):
    """A doubled column could not be told from its twin."""
    frame: Any = pd.DataFrame([[SECRET, 1]], columns=["twice", "twice"])
    if container == "arrow":
        frame = pa.Table.from_arrays([pa.array([SECRET]), pa.array([1])], names=["twice", "twice"])
    _refused(recorded, ColumnError, "'twice'", lambda: recorded[0].source(frame, "people"))


def test_features_with_a_doubled_column_are_refused(recorded: tuple[Archive, Any, list[str]]):
    """Before the model is called."""
    archive, model, _ = recorded
    frame = pd.DataFrame([[1.0, 2.0, 3.0]], columns=["amount", "years", "years"])
    _refused(recorded, ColumnError, "'years'", lambda: archive.predict(model, frame))


def test_a_reserved_column_name_is_named(recorded: tuple[Archive, Any, list[str]]):
    """A frame that has a column of the id column's name already."""
    frame = pd.DataFrame({"_row_people": [1], "name": [SECRET]})
    _refused(recorded, ColumnError, "'_row_people'", lambda: recorded[0].source(frame, "people"))


def test_a_callers_own_column_with_the_reserved_prefix_is_not_taken_for_ids(
    recorded: tuple[Archive, Any, list[str]],
):
    """Features with a column `_row_x` of no source of ours are refused, never quietly dropped."""
    archive, model, _ = recorded
    frame = loans()[["amount", "years"]].assign(_row_x=1)
    _refused(recorded, TokenError, "_row_x", lambda: archive.predict(model, frame))


@pytest.mark.parametrize("name", ["Flights", "1st", "a b", "", "x" * 64, "ü"])
def test_an_unusable_source_name_is_refused(name: str, recorded: tuple[Archive, Any, list[str]]):
    """Names go into columns and files."""
    _refused(recorded, InputError, repr(name), lambda: recorded[0].source(loans(), name))


def test_an_array_cannot_be_a_source(recorded: tuple[Archive, Any, list[str]]):
    """It has nowhere to carry ids."""
    _refused(recorded, InputError, "numpy", lambda: recorded[0].source(np.ones((3, 2)), "array"))


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_missing_tokens_are_refused(recorded: tuple[Archive, Any, list[str]]):
    """A frame whose ids were dropped on the way."""
    archive = recorded[0]
    frame = archive.source(loans(), "loans")[["amount", "years"]]
    _refused(recorded, TokenError, "no row ids", lambda: archive.split(frame))


CORRUPTIONS = [
    pytest.param(lambda ids: ids + 1, id="added to"),
    pytest.param(lambda ids: ids ^ np.uint64(1 << 20), id="a bit flipped"),
    pytest.param(lambda ids: ids.astype("float32"), id="cast to a narrower type"),
    pytest.param(lambda ids: ids.rolling(2, min_periods=1).mean(), id="rolling mean"),
    pytest.param(lambda ids: ids.astype("str"), id="made text"),
    pytest.param(lambda ids: ids.where(ids.index != 3, ids[0] + np.uint64(9)), id="one of them"),
    pytest.param(lambda ids: -ids.astype("int64"), id="negated"),
]


@pytest.mark.parametrize("corrupt", CORRUPTIONS)
def test_corrupted_tokens_are_refused(corrupt: Callable[..., Any], recorded: tuple[Archive, Any, list[str]]):
    """Whatever happened to them, a token that does not check is not believed."""
    archive = recorded[0]
    frame = archive.source(loans(), "loans")
    frame["_row_loans"] = corrupt(frame["_row_loans"])
    _refused(recorded, TokenError, "'_row_loans'", lambda: archive.split(frame, ["amount"]))


def test_tokens_of_another_source_are_refused(recorded: tuple[Archive, Any, list[str]]):
    """An id column renamed to another source's."""
    archive = recorded[0]
    frame = archive.source(loans(), "loans").drop(columns="_row_loans")
    other = archive.source(loans(), "others")
    _refused(
        recorded, TokenError, "'_row_loans'",
        lambda: archive.split(frame.assign(_row_loans=other["_row_others"]), ["amount"]),
    )  # fmt: skip


@pytest.mark.parametrize("known", [False, True])
def test_tokens_of_another_archive_are_refused(known: bool, recorded: tuple[Archive, Any, list[str]], tmp_path: Path):
    """Even where this archive has a source of the same name with the same rows."""
    archive = recorded[0]
    with backstory.init(tmp_path / "other", origin=ORIGIN) as other:
        frame = other.source(loans(), "loans")
    if known:
        archive.source(loans(), "loans")
    _refused(recorded, TokenError, "_row_loans", lambda: archive.split(frame, ["amount"]))


def test_row_references_of_another_length_are_refused(recorded: tuple[Archive, Any, list[str]]):
    """Both lengths are in the message."""
    archive, model, _ = recorded
    features, rows = archive.split(archive.source(loans(), "loans"), ["amount", "years"])
    _refused(
        recorded, AlignmentError, "expected 7 rows, got 40", lambda: archive.predict(model, features, rows=rows[:7])
    )


def test_a_target_of_another_length_is_refused(recorded: tuple[Archive, Any, list[str]]):
    """Training rows and target belong together."""
    archive = recorded[0]
    _, rows = archive.split(archive.source(loans(), "loans"), ["amount", "years"])
    _refused(
        recorded, AlignmentError, "39",
        lambda: archive.register(fitted(loans()), name="other", rows=rows, target=loans()["paid"].head(39)),
    )  # fmt: skip


# --- predictions ------------------------------------------------------------------------------------------------------


class _Thing:
    """A type no table can hold."""

    def __repr__(self) -> str:
        return SECRET


@pytest.mark.parametrize(
    "column",
    [
        pytest.param([_Thing()], id="objects"),
        pytest.param([1 + 2j], id="complex numbers"),
        pytest.param(pd.interval_range(0, 1, periods=1), id="intervals"),
    ],
)
def test_an_unsupported_column_type_is_named(column: Any, recorded: tuple[Archive, Any, list[str]]):
    """The column is named, its values are not; the model is not called."""
    archive, model, _ = recorded
    frame = loans()[["amount", "years"]].head(1).assign(odd=column)
    _refused(recorded, ColumnError, "odd", lambda: archive.predict(model, frame))


def test_a_column_of_several_types_is_named(recorded: tuple[Archive, Any, list[str]]):
    """Numbers and text in one column have no one encoding."""
    archive, model, _ = recorded
    frame = pd.DataFrame({"mixed": [1, SECRET]}, dtype=object)
    _refused(recorded, ColumnError, "'mixed'", lambda: archive.predict(model, frame))


def test_a_polars_object_column_is_named(recorded: tuple[Archive, Any, list[str]]):
    """Polars can hold any object; the encoding cannot."""
    archive, model, _ = recorded
    frame = pl.DataFrame({"odd": pl.Series([_Thing()], dtype=pl.Object)})
    _refused(recorded, ColumnError, "'odd'", lambda: archive.predict(model, frame))


@pytest.mark.parametrize(
    "empty", [loans()[["amount", "years"]].head(0), np.empty((0, 2)), pl.DataFrame({"amount": [], "years": []})]
)
def test_zero_rows_are_refused(empty: Any, recorded: tuple[Archive, Any, list[str]]):
    """There is nothing to predict and nothing to record."""
    archive, model, _ = recorded
    _refused(recorded, InputError, "at least one row", lambda: archive.predict(model, empty))


def _changes_frame(frame: pd.DataFrame) -> np.ndarray:
    output = frame["amount"].to_numpy(copy=True)
    frame["amount"] = -1.0
    return output


def _adds_column(frame: pd.DataFrame) -> np.ndarray:
    frame["more"] = 1.0
    return frame["amount"].to_numpy()


def _changes_array(array: np.ndarray) -> np.ndarray:
    output = array[:, 0].copy()
    array *= -1.0
    return output


MUTATIONS = [
    pytest.param(_changes_frame, lambda: loans()[["amount", "years"]], id="pandas values"),
    pytest.param(_adds_column, lambda: loans()[["amount", "years"]], id="pandas columns"),
    pytest.param(_changes_array, lambda: np.array(loans()[["amount", "years"]]), id="numpy"),
    pytest.param(_changes_array, lambda: np.array(loans()[["amount", "years"]], order="F"), id="numpy by column"),
    pytest.param(_changes_array, lambda: np.array(loans()[["amount"]]), id="numpy of one column"),
]


@pytest.mark.parametrize(("model", "features"), MUTATIONS)
def test_a_model_that_changes_its_input_is_caught(
    model: Any, features: Callable[[], Any], recorded: tuple[Archive, Any, list[str]]
):
    """The caller is told, and the record holds the input as it was before."""
    archive = recorded[0]
    version = archive.register(model, name="mutating")
    error = _refused(
        recorded, InputMutatedError, "changed its input",
        lambda: archive.predict(version, features(), method="__call__"),
    )  # fmt: skip
    first = archive.why(error.details["ids"][0])
    before = np.asarray(features())[0]
    assert list(first.features.values()) == before.tolist()
    assert first.output == before[0]


def test_an_output_of_another_length_is_refused(recorded: tuple[Archive, Any, list[str]]):
    """And recorded as a failed call."""
    archive = recorded[0]
    version = archive.register(lambda frame: frame["amount"].to_numpy()[:-1], name="short")
    _refused(
        recorded, OutputLengthError, "expected 40 rows",
        lambda: archive.predict(version, loans()[["amount"]], method="__call__"),
    )  # fmt: skip
    failed = archive.search("status = 'error' and model = 'short'")
    assert len(failed) == 40
    assert set(failed["error"]) == {"OutputLengthError"}


def test_an_output_without_encoding_is_refused(recorded: tuple[Archive, Any, list[str]]):
    """And recorded as a failed call; the output's values are not in the message."""
    archive = recorded[0]
    version = archive.register(lambda frame: [_Thing()] * len(frame), name="odd")
    _refused(
        recorded, ModelError, "no encoding", lambda: archive.predict(version, loans()[["amount"]], method="__call__")
    )
    assert set(archive.search("status = 'error' and model = 'odd'")["error"]) == {"ModelError"}


def test_a_token_frame_without_a_registered_feature_is_refused(recorded: tuple[Archive, Any, list[str]]):
    """The model is never given other columns than those it was registered with."""
    archive = recorded[0]
    frame = archive.source(loans(), "loans")
    _, rows = archive.split(frame, ["years"])
    version = archive.register(lambda features: features.iloc[:, 0].to_numpy(), name="first", rows=rows)
    _refused(
        recorded, ColumnError, "'years'",
        lambda: archive.predict(version, frame.drop(columns="years"), method="__call__"),
    )  # fmt: skip


def test_a_token_frame_without_a_feature_the_model_knows_is_refused(recorded: tuple[Archive, Any, list[str]]):
    """Nor columns other than those it was fitted with, where no training rows were registered."""
    archive = recorded[0]
    version = archive.register(fitted(loans(20)), name="fitted")
    frame = archive.source(loans(), "loans").drop(columns="years")
    _refused(recorded, ColumnError, "'years'", lambda: archive.predict(version, frame))


def test_an_unknown_method_is_refused(recorded: tuple[Archive, Any, list[str]]):
    """The model has no such method."""
    archive, model, _ = recorded
    _refused(recorded, ModelError, "'predict_future'", lambda: archive.predict(model, loans(), method="predict_future"))


def test_ids_of_predictions_are_refused_beside_a_token_frame(recorded: tuple[Archive, Any, list[str]]):
    """Two sources of row references could contradict each other."""
    archive, model, _ = recorded
    frame = archive.source(loans(), "loans")
    _, rows = archive.split(frame, ["amount", "years"])
    _refused(recorded, TokenError, "_row_loans", lambda: archive.predict(model, frame, rows=rows))
