"""Features made again from source rows: by whom, from which rows, and what a difference shows."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from tests.support.accesses import accesses
from tests.support.archives import ORIGIN, loans
from tests.support.purchases import FEATURES, PIPELINES, arrow, double, tables

import backstory
from backstory.archive import Archive
from backstory.debug.case import Case, read_cases
from backstory.debug.features_again import ONLY_ALL, USES_OTHERS, FeaturesAgain, features_again, features_of_calls
from backstory.debug.recompute import Correction, Recomputed, recompute, typed
from backstory.errors import BackstoryError, ForbiddenError, InputError, NotFoundError, PreparationError
from backstory.lineage.reference import parse_references

NAMES = ["amount", "years", "rate", "term_mean"]


def rates() -> pd.DataFrame:
    """Return a rate for some numbers of years; no loan is of nine."""
    return pd.DataFrame({"years": [1.0, 2.0, 3.0, 4.0, 9.0], "rate": [5, None, 7, 8, 9]}, dtype="Float64").astype(
        {"years": "float64", "rate": "Int64"}
    )


def join(loans: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
    """Join the rate and the mean of the term; ids ride along."""
    means = loans.groupby("years", as_index=False).agg(term_mean=("amount", "mean"))
    return loans.merge(rates, on="years", how="left").merge(means, on="years")


def halved(loans: pd.DataFrame, by: float = 2.0) -> pd.DataFrame:
    """Divide the amounts."""
    return loans.assign(amount=loans["amount"] / by)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """An archive with 40 predictions of loans, closed, and their ids."""
    path = tmp_path_factory.mktemp("again") / "audit"
    with backstory.init(path, origin=ORIGIN) as archive:
        frame, rate = archive.source(loans(), "loans", key="loan"), archive.source(rates(), "rates")
        frame = archive.step(halved)(frame)
        means = archive.group(frame, "years", name="term", term_mean=("amount", "mean"))
        frame = frame.merge(rate, on="years", how="left").merge(means, on="years")
        frame["rate"] = frame["rate"].astype("float64")
        features, rows = archive.split(frame, NAMES)
        model = archive.register(double, name="sum", rows=rows)
        ids = list(archive.predict(model, features, rows=rows, method="__call__").wait("sealed").ids)
    return path, ids


@pytest.fixture(scope="module")
def archive(kept: tuple[Path, list[str]]) -> Iterator[Archive]:
    """The same archive, open for reading only."""
    with backstory.open(kept[0], mode="r") as opened:
        yield opened


@pytest.fixture(scope="module")
def case(archive: Archive, kept: tuple[Path, list[str]]) -> Case:
    """The one call, with five of its predictions asked about."""
    (found,) = read_cases(archive._workshop, [kept[1][at] for at in (3, 8, 11, 20, 39)], "replay")
    assert isinstance(found, Case)
    return found


def again(archive: Archive, case: Case, steps: Any, **options: Any) -> Recomputed:
    """Make the features of the rows asked about again."""
    rows = np.asarray(case.rows)
    positions = {name: values[rows] for name, values in case.positions().items()}
    references = parse_references(case.context["refs"])
    return recompute(archive._workshop, references, positions, case.features.schema, steps, **options)


def features(loans: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
    """Prepare as was recorded, in one function."""
    return join(halved(loans), rates)


# --- what is made -----------------------------------------------------------------------------------------------------


def test_features_are_made_again_exactly(archive: Archive, case: Case):
    """From the rows lineage names, by a plain function, in the order and the types they were recorded in."""
    found = again(archive, case, features)
    assert found.table.equals(case.features.take(pa.array(case.rows)))
    assert found.reasons == ("",) * 5


def test_only_the_rows_that_lineage_names_are_given(archive: Archive, case: Case):
    """Those of the predictions and of their groups, of 40 loans and 5 rates."""
    (step,) = again(archive, case, features).rerun.steps
    assert step.rows_in == {"loans": 23, "rates": 2}
    (step,) = again(archive, case, features, rows="all").rerun.steps
    assert step.rows_in == {"loans": 40, "rates": 5}


def test_steps_run_one_after_the_other(archive: Archive, case: Case):
    """A parameter that is no source gets what the step of its name, or the one before, returned."""

    def term(halved: pd.DataFrame) -> pd.DataFrame:
        return halved.groupby("years", as_index=False).agg(term_mean=("amount", "mean"))

    def joined(halved: pd.DataFrame, rates: pd.DataFrame, term: pd.DataFrame) -> pd.DataFrame:
        return halved.merge(rates, on="years", how="left").merge(term, on="years")

    def same(frame: pd.DataFrame) -> pd.DataFrame:
        return frame

    found = again(archive, case, [halved, term, joined, same])
    assert found.table.equals(case.features.take(pa.array(case.rows)))
    assert [step.name for step in found.rerun.steps] == ["halved", "term", "joined", "same"]


def test_a_parameter_says_which_library_it_takes(archive: Archive, case: Case):
    """By its annotation; pandas where it has none, or the one that is asked for."""
    seen: list[str] = []

    def look(loans: pl.DataFrame, rates: pl.LazyFrame) -> Any:
        seen.extend([type(loans).__name__, type(rates).__name__])
        return loans.with_columns(rate=pl.lit(1.0), term_mean=pl.lit(2.0))

    def arrows(loans: Any) -> Any:
        seen.append(type(loans).__name__)
        nothing = pa.array([0.0] * loans.num_rows)
        return loans.append_column("rate", nothing).append_column("term_mean", nothing)

    again(archive, case, look)
    again(archive, case, arrows, library="arrow")
    assert seen == ["DataFrame", "LazyFrame", "Table"]


def test_whole_numbers_with_nulls_stay_nullable(archive: Archive, case: Case):
    """Also where none of the few rows that are given is null."""
    seen = []

    def look(loans: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
        seen.append((str(rates["rate"].dtype), int(rates["rate"].isna().sum())))
        return features(loans, rates)

    one = Case(context=case.context, schema=case.schema, table=case.table, rows=(case.rows[0],))
    again(archive, one, look)
    assert seen == [("Int64", 0)]


@pytest.mark.parametrize("engine", ["pandas", "polars-lazy", "duckdb"])
def test_a_preparation_that_fixes_its_own_sources_is_run_again_as_it_is(engine: str, tmp_path: Path):
    """In each library, with windows, groups, unions and lists; each of 206 lines is told from the others of its row."""
    given = arrow(tables())
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as archive:
        train, test = PIPELINES[engine](archive, given)
        _, rows = archive.split(train, FEATURES)
        model = archive.register(double, name="double", rows=rows)
        given_features, rows = archive.split(test, FEATURES)
        ids = archive.predict(model, given_features, rows=rows, method="__call__").wait("sealed").ids
        (case,) = read_cases(archive._workshop, list(ids), "replay")
        assert isinstance(case, Case)
        empty = {name: table.slice(0, 1) for name, table in given.items()}
        found = features_again(archive._workshop, case, functools.partial(PIPELINES[engine], archive, empty))
        assert set(found.verdicts) == {"exact"}, (found.reasons, found.stages)
        assert not found.finding


# --- what a difference shows ------------------------------------------------------------------------------------------


def test_a_step_that_uses_rows_its_ids_do_not_name_is_found(archive: Archive, case: Case, tmp_path: Path):
    """A mean of all rows fills a gap: traced rows give another value, all rows the recorded one."""

    def filled(loans: pd.DataFrame) -> pd.DataFrame:
        return loans.assign(above=loans["amount"] - loans["amount"].mean())

    with backstory.init(tmp_path / "audit", origin=ORIGIN) as other:
        table, rows = other.split(filled(other.source(loans(), "loans")), ["amount", "above"])
        model = other.register(double, name="sum", rows=rows)
        ids = other.predict(model, table, rows=rows, method="__call__").wait("sealed").ids
        (asked,) = read_cases(other._workshop, [ids[4]], "replay")
        assert isinstance(asked, Case)
        found = features_again(other._workshop, asked, filled)
    assert found.finding == USES_OTHERS
    assert found.verdicts == ("exact",)
    assert [stage.verdict for stage in found.stages if stage.name.startswith("features")] == ["diverged", "exact"]


def test_other_features_are_diverged_and_named(archive: Archive, case: Case):
    """By column, with the values where nothing is sealed; the rest of the call stays as recorded."""

    def other(loans: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
        return features(loans, rates).assign(amount=lambda frame: frame["amount"] + (frame["loan"] == "loan-0003"))

    found = features_again(archive._workshop, case, other)
    assert found.columns == {"amount": 1}
    assert found.verdicts.count("diverged") == 1
    assert "another value of amount: 206.25 then, 207.25 now" in found.reasons
    changed = np.flatnonzero([a != b for a, b in zip(found.features["amount"], case.features["amount"], strict=True)])
    assert len(changed) == 1


def test_a_last_bit_is_equivalent(archive: Archive, case: Case):
    """As a sum in another order gives it."""

    def off(loans: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
        return features(loans, rates).assign(term_mean=lambda frame: np.nextafter(frame["term_mean"], np.inf))

    assert set(features_again(archive._workshop, case, off).verdicts) == {"equivalent"}


def test_infinity_is_near_nothing(archive: Archive, case: Case):
    """The tolerance grows with the value, and would otherwise hold anything."""

    def endless(loans: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
        return features(loans, rates).assign(term_mean=np.inf)

    assert set(features_again(archive._workshop, case, endless).verdicts) == {"diverged"}


def test_steps_that_run_on_all_rows_only_are_not_said_to_use_them(archive: Archive, case: Case):
    """What they did not give is not known."""

    def whole(loans: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
        if len(loans) < 40:
            raise KeyError
        return features(loans, rates)

    found = features_again(archive._workshop, case, whole)
    assert set(found.verdicts) == {"exact"}
    assert found.finding.startswith(ONLY_ALL)
    assert "KeyError" in found.finding


@pytest.mark.parametrize(("value", "is_refused"), [(float("nan"), False), (0.5, False), (0.1, True)])
def test_floats_of_another_width_are_taken_where_no_value_changes(value: float, is_refused: bool):
    """A column of few rows may be all missing, and then wider than it was."""
    given, wanted = pa.table({"x": pa.array([value, None], "float64")}), pa.schema([("x", pa.float32())])
    if is_refused:
        with pytest.raises(PreparationError, match="expected column 'x' as float, got double"):
            typed(given, wanted)
    else:
        assert typed(given, wanted).schema == wanted


def test_a_row_that_does_not_come_out_is_named(archive: Archive, case: Case):
    """It keeps its recorded features."""

    def without(loans: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
        return features(loans[loans["loan"] != "loan-0003"], rates)

    found = again(archive, case, without)
    assert max(found.reasons) == "no row came out for it"
    assert found.made.sum() == 4
    assert found.table["amount"].null_count == 1


def test_several_different_rows_are_none(archive: Archive, case: Case):
    """Equal ones are one; where they differ nobody knows which it is."""

    def doubled(loans: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
        frame = features(loans, rates)
        return pd.concat([frame, frame.assign(amount=lambda one: one["amount"] + (one["loan"] == "loan-0003"))])

    found = again(archive, case, doubled)
    assert max(found.reasons) == "2 rows with different values came out for it"
    assert found.made.sum() == 4


def test_ids_that_break_are_named(archive: Archive, case: Case):
    """A preparation that computes with ids gives no rows."""

    def broken(loans: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
        return features(loans, rates).assign(_row_loans=lambda frame: frame["_row_loans"] // 2)

    assert all(reason.startswith("row ids do not check") for reason in again(archive, case, broken).reasons)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (lambda flights: flights, "parameter 'flights' of step <lambda> is none of the sources"),
        (lambda loans: loans.drop(columns="_row_loans"), "has no ids of the rows it was given"),
        (lambda loans: loans, "expected 4 columns of what step <lambda> returned, got none called 'rate', 'term_mean'"),
        (lambda loans: loans["nothing"], "step <lambda> raises KeyError when it is run again"),
        (None, "expected steps="),
        ([halved, halved], "two steps have one name"),
        (functools.partial(features, rates=None), "step features raises"),
        (lambda loans, rates: features(loans, rates).astype({"amount": str}), "expected column 'amount' as double"),
    ],
)
def test_what_cannot_be_run_is_refused_in_words(steps: Any, said: str, archive: Archive, case: Case):
    """What was expected, and what it is instead."""
    with pytest.raises(InputError) as refused:
        again(archive, case, steps)
    assert said in str(refused.value)


# --- code that was recorded -------------------------------------------------------------------------------------------


def test_code_is_compared_with_what_was_recorded(archive: Archive, case: Case):
    """By the digest of its text, where a step of its name was recorded of these rows."""
    found = again(archive, case, [halved, join_halved])
    assert [step.code for step in found.rerun.steps] == ["as recorded", "not recorded"]


def join_halved(halved: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
    """Join what was halved."""
    return join(halved, rates)


def test_changed_code_is_said_to_be(archive: Archive, case: Case, monkeypatch: pytest.MonkeyPatch):
    """A function of the recorded name with another text."""

    def other(loans: pd.DataFrame, by: float = 2.0) -> pd.DataFrame:
        return loans.assign(amount=loans["amount"] / by + 0)

    other.__qualname__, other.__module__ = halved.__qualname__, halved.__module__
    found = again(archive, case, {"halved": other, "features": join_halved})
    assert [step.code for step in found.rerun.steps] == ["changed", "not recorded"]


def test_another_parameter_than_recorded_is_refused(archive: Archive, case: Case):
    """Its digest says so."""
    with pytest.raises(PreparationError, match="parameter by of step halved had another value"):
        again(archive, case, [functools.partial(halved, by=3.0), join_halved])
    again(archive, case, [functools.partial(halved, by=2.0), join_halved])


def test_recorded_steps_are_imported_only_when_asked(archive: Archive, case: Case):
    """By their qualified names; here they lack what joins, and are said to."""
    with pytest.raises(PreparationError, match="of what step halved returned"):
        again(archive, case, "recorded")


def cleaned(frame: pd.DataFrame) -> pd.DataFrame:
    """Keep the larger loans."""
    return frame[frame["amount"] > 100]


def scaled(frame: pd.DataFrame, per: pd.DataFrame) -> pd.DataFrame:
    """Join a rate under another name."""
    return frame.merge(per, on="years", how="left").assign(rate=lambda rows: rows["rate"].astype("float64"))


def test_recorded_steps_know_which_source_a_parameter_took(tmp_path: Path):
    """Where it has another name; a later step gets what the one before returned."""
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as archive:
        frame = archive.step(cleaned)(archive.source(loans(), "loans"))
        frame = archive.step(scaled)(frame, archive.source(rates(), "rates"))
        table, rows = archive.split(frame, ["amount", "rate"])
        model = archive.register(double, name="sum", rows=rows)
        ids = archive.predict(model, table, rows=rows, method="__call__").wait("sealed").ids
        (case,) = read_cases(archive._workshop, list(ids[:4]), "replay")
        assert isinstance(case, Case)
        found = features_again(archive._workshop, case, "recorded")
        documents = [
            archive._workshop.ledger.document(str(entry["step"]))
            for entry in archive._workshop.ledger.find_entries("step.recorded")
        ]
    assert set(found.verdicts) == {"exact"}
    assert [stage.note for stage in found.stages if stage.name.startswith("step")] == ["code: as recorded"] * 2
    assert [document.get("takes") for document in documents] == [{"frame": "loans"}, {"frame": "loans", "per": "rates"}]


# --- which rows -------------------------------------------------------------------------------------------------------


def test_a_correction_changes_what_is_made_of_the_row(archive: Archive, case: Case):
    """And of the groups it is in, and nothing else; the archive keeps the row as it was."""
    (dataset,) = {part.dataset for part in parse_references(case.context["refs"])["loans"].parts}
    correction = Correction(source="loans", dataset=dataset, positions=np.array([3, 38]), values={"amount": 1_000_000})
    before, after = again(archive, case, features), again(archive, case, features, corrections=[correction])
    assert after.rerun.corrected == 2
    amounts = zip(before.table["amount"].to_pylist(), after.table["amount"].to_pylist(), strict=True)
    corrected = case.positions()["loans"].tolist().index(3)
    assert [one != other for one, other in amounts] == [row == corrected for row in case.rows]
    with pytest.raises(BackstoryError, match="expected values of type double for 'amount'"):
        again(
            archive,
            case,
            features,
            corrections=[Correction(source="loans", dataset=dataset, positions=np.array([3]), values={"amount": "x"})],
        )


def test_a_group_of_another_version_is_made_by_a_step_of_its_name(tmp_path: Path):
    """Trained on one month, asked about the next: the step named as the group gets the month it was made of."""

    def term(loans: pd.DataFrame) -> pd.DataFrame:
        return loans.groupby("years", as_index=False).agg(term_mean=("amount", "mean"))

    def joined(loans: pd.DataFrame, term: pd.DataFrame) -> pd.DataFrame:
        return loans.merge(term, on="years")

    with backstory.init(tmp_path / "audit", origin=ORIGIN) as archive:
        first = archive.source(loans(), "loans", key="loan")
        means = archive.group(first, "years", name="term", term_mean=("amount", "mean"))
        second = archive.source(loans().assign(amount=lambda frame: frame["amount"] * 3), "loans", key="loan")
        table, rows = archive.split(second.merge(means, on="years"), ["amount", "term_mean"])
        model = archive.register(double, name="sum", rows=rows)
        ids = archive.predict(model, table, rows=rows, method="__call__").wait("sealed").ids
        (case,) = read_cases(archive._workshop, list(ids[:7]), "replay")
        assert isinstance(case, Case)
        assert set(features_again(archive._workshop, case, [term, joined]).verdicts) == {"exact"}
        with pytest.raises(InputError, match="of 2 versions of it"):
            features_again(archive._workshop, case, {"all": lambda loans: joined(loans, term(loans))})


def test_calls_of_one_version_are_made_again_together(archive: Archive, case: Case):
    """The preparation runs once for all of them, and each gets its own."""
    calls = []

    def counted(loans: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
        calls.append(len(loans))
        return features(loans, rates)

    ones = [Case(context=case.context, schema=case.schema, table=case.table, rows=(row,)) for row in case.rows]
    found = features_of_calls(archive._workshop, ones, counted)
    assert all(isinstance(one, FeaturesAgain) and one.verdicts == ("exact",) for one in found)
    assert len(calls) == 1


def test_nothing_stays_behind(kept: tuple[Path, list[str]], archive: Archive, case: Case):
    """No entry, no source or group of the session, no run of a step, in an archive that is open for reading only."""

    def grouped(loans: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
        frame = archive.step(halved)(loans)
        means = archive.group(frame, "years", name="term", term_mean=("amount", "mean"))
        return frame.merge(rates, on="years", how="left").merge(means, on="years")

    sources, steps = archive._workshop.sources, archive._workshop.store.steps
    files = sorted(path for path in kept[0].rglob("*") if path.is_file())
    found = features_again(archive._workshop, case, grouped)
    assert set(found.verdicts) == {"exact"}
    assert not sources.find("term")
    assert not any(origin for origin in sources.find("loans").get("loans", ()) if origin[0].salt != _salt(archive))
    assert not steps._runs
    assert sorted(path for path in kept[0].rglob("*") if path.is_file()) == files


def _salt(archive: Archive) -> int:
    (entry,) = archive._workshop.ledger.find_entries("source.fixed", "loans")
    return int(str(entry["salt"]), 16)


# --- people -----------------------------------------------------------------------------------------------------------


def test_rows_about_people_are_read_through_the_gate(tmp_path: Path):
    """Refused without a purpose; with one the log says what was read."""
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as archive:
        frame = archive.source(loans(), "loans", subject="loan")
        table, rows = archive.split(frame, ["amount", "years"])
        model = archive.register(double, name="credit", rows=rows)
        ids = list(archive.predict(model, table, rows=rows, subject=loans()["loan"], method="__call__").ids)
    with backstory.open(tmp_path / "audit", mode="rw", actor="auditor", purpose="complaint 7") as archive:
        (case,) = read_cases(archive._workshop, ids[:3], "replay")
        assert isinstance(case, Case)
        found = features_again(archive._workshop, case, lambda loans: loans)
        other = features_again(archive._workshop, case, lambda loans: loans.assign(amount=1.5))
        opened = accesses(archive._workshop.ledger)
        assert [entry["records"] for entry in opened if entry["question"] == "recompute"][:2] == [40, 40]
    assert set(found.verdicts) == {"exact"}
    assert set(other.reasons) == {"another value of amount"}
    with backstory.open(tmp_path / "audit", mode="r") as archive, pytest.raises(ForbiddenError):
        features_again(archive._workshop, case, lambda loans: loans)


def test_a_prediction_without_row_references_says_so(tmp_path: Path):
    """Nothing leads to its rows."""
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as archive:
        model = archive.register(double, name="double")
        ids = archive.predict(model, loans()[["amount", "years"]], method="__call__").wait("sealed").ids
        (case,) = read_cases(archive._workshop, [ids[0]], "replay")
        assert isinstance(case, Case)
        with pytest.raises(NotFoundError, match="no row references"):
            features_again(archive._workshop, case, features)
