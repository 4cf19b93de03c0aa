"""Ids that are valid and on wrong rows: found by a look at the values."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import backstory
from backstory.archive import Archive
from backstory.errors import VerificationError
from backstory.lineage.refs import LineageWarning


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """Return an archive with a model that takes anything."""
    with backstory.init(tmp_path / "audit", origin="example.org/canary") as archive:
        archive.register(lambda table: np.ones(len(table)), name="one")
        yield archive


def claims() -> pd.DataFrame:
    """Return rows of customers, five each."""
    rng = np.random.default_rng(0)
    amount, age = rng.integers(1, 1_000, 300), rng.integers(18, 90, 300)
    return pd.DataFrame({"customer": np.arange(300) % 60, "amount": amount, "age": age.astype(float)})


def grade(archive: Archive, frame: Any) -> str:
    """Return the grade with which a prediction for the last row of a frame is recorded."""
    ids = archive.predict("one", frame, method="__call__").ids
    (row,) = archive.why(ids[-1]).rows
    return row.grade


def grades(archive: Archive, frame: Any, features: list[str]) -> dict[str, str]:
    """Return the grade of each reference, and insist that nothing is said about them."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", LineageWarning)
        table, rows = archive.split(frame, features=features)
        ids = archive.predict("one", table, rows=rows, method="__call__").ids
    return {row.reference: row.grade for row in archive.why(ids[-1]).rows}


def pasted(frame: Any) -> Any:
    """Return a frame with its ids beside other rows."""
    return frame.assign(_row_claims=np.roll(frame["_row_claims"], 7))


@pytest.mark.parametrize(
    "mix",
    [
        pasted,
        lambda frame: pasted(frame).assign(country="de"),
        lambda frame: pasted(frame.assign(age=np.log(frame.age), amount=frame.amount.astype("float32"))),
        lambda frame: frame.assign(**{name: np.sort(frame[name]) for name in ("age", "amount", "customer", "urgent")}),
        lambda frame: pl.from_pandas(pasted(frame)),
        lambda frame: pasted(frame).iloc[:9],
    ],
    ids=["pasted", "one value", "changed and pasted", "each sorted alone", "polars", "few"],
)
def test_ids_on_wrong_rows_are_not_exact(archive: Archive, mix: Any):
    """Every column has values of other rows: a warning, a coarse edge. Rare values that agree count for nothing."""
    table = claims().assign(country="de", urgent=np.arange(300) % 20 == 0)
    frame = mix(archive.source(table, "claims"))
    with pytest.warns(LineageWarning, match="wrong rows"):
        assert grade(archive, frame) == "coarse"


@pytest.mark.parametrize(
    "aggregate",
    [
        lambda frame: frame.groupby("customer", as_index=False).max(),
        lambda frame: frame.groupby("customer", as_index=False).min(),
        lambda frame: frame.groupby("customer", as_index=False).agg(
            {"amount": "sum", "age": "mean", "_row_claims": "max"}
        ),
        lambda frame: (
            pl.from_pandas(frame).group_by("customer").agg(pl.col("amount").mean(), pl.col("_row_claims").max())
        ),
    ],
    ids=["max", "min", "sum", "polars"],
)
def test_ids_of_one_row_beside_values_of_several_are_not_exact(archive: Archive, aggregate: Any):
    """The greatest id of a group is valid, and of one row of several: the key agrees, the aggregated columns do not."""
    frame = aggregate(archive.source(claims(), "claims"))
    with pytest.warns(LineageWarning, match=r"without group\(\)"):
        assert grade(archive, frame) == "coarse"


@pytest.mark.parametrize(
    "keep",
    [
        lambda frame: frame.sample(frac=0.5, random_state=0),
        lambda frame: frame.assign(log_amount=np.log(frame.amount)),
        lambda frame: frame.drop_duplicates("customer", keep="last"),
        lambda frame: frame.drop_duplicates("customer")[["_row_claims", "customer", "age"]].assign(age=frame.age * 2),
        lambda frame: frame[["_row_claims", "customer", "age"]].assign(age=np.random.default_rng(2).random(300)),
        lambda frame: frame.assign(age=frame.age.fillna(40.0)).astype({"age": "float32"}),
        lambda frame: frame.merge(pd.DataFrame({"customer": range(60), "age_of_contract": 3}), on="customer"),
        lambda frame: frame[["_row_claims", "age"]].assign(age=(frame.age - 40) / -9),
        lambda frame: frame[["_row_claims", "amount"]].assign(amount=np.log(frame.amount.clip(50, 300))),
        lambda frame: frame[["_row_claims", "word"]].assign(word=frame.word.str.upper()).iloc[:7],
        lambda frame: frame[["_row_claims", "pair"]],
        lambda frame: frame[["_row_claims", "empty"]],
        lambda frame: frame[["_row_claims", "word"]].assign(word=frame.word.astype("category").cat.codes),
    ],
    ids=[
        "sample",
        "new column",
        "last of each",
        "first of each",
        "one changed at random",
        "filled",
        "joined",
        "scaled",
        "clipped",
        "few rows",
        "lists",
        "nulls",
        "codes",
    ],
)
def test_rows_that_stayed_whole_are_exact(archive: Archive, keep: Any):
    """Steps that keep rows whole leave the edge exact, without a word, whatever columns were changed in step."""
    frame = claims()
    frame.loc[::7, "age"] = np.nan
    frame = frame.assign(pair=[[n, n + 1] for n in range(300)], empty=None, word=[f"w{n % 9}" for n in range(300)])
    with warnings.catch_warnings():
        warnings.simplefilter("error", LineageWarning)
        assert grade(archive, keep(archive.source(frame, "claims"))) == "exact"


def test_a_column_of_another_source_is_not_compared(archive: Archive):
    """A year of a flight is not the year in which its plane was built, though both tables call it so."""
    rng = np.random.default_rng(1)
    flights = pd.DataFrame({"tail": rng.integers(0, 40, 300), "year": 2013 + np.arange(300) % 2})
    planes = pd.DataFrame({"tail": np.arange(40), "year": rng.choice([2012, 2013, 2014], 40)})
    flown, built = archive.source(flights, "flights"), archive.source(planes, "planes")
    frame = flown.merge(built[["_row_planes", "tail"]], on="tail")
    assert grades(archive, frame, ["year"]) == {"flights": "exact", "planes": "exact"}


@pytest.mark.parametrize("suffixes", [("", "_before"), ("_before", "")])
def test_a_source_joined_to_itself_is_not_compared(archive: Archive, suffixes: tuple[str, str]):
    """Which of two equal columns kept its name, ids do not say."""
    frame = archive.source(claims().assign(number=np.arange(300)), "claims")
    both = frame.merge(frame.assign(number=frame.number + 1), on="number", suffixes=suffixes)
    assert set(grades(archive, both, ["age"]).values()) == {"exact"}
    before = frame[["_row_claims", "number", "age"]].assign(number=frame.number + 1)
    untraced = before.drop(columns="_row_claims").merge(
        frame[["_row_claims", "number", "age"]], on="number", suffixes=suffixes
    )
    assert grades(archive, untraced, ["age", "age_before"]) == {"claims": "exact"}


def test_the_warning_is_of_the_callers_line(archive: Archive):
    """Not of a line of Backstory's, where it would be shown once for all of a program."""
    frame = pasted(archive.source(claims(), "claims"))
    with pytest.warns(LineageWarning) as caught:
        archive.predict("one", frame, method="__call__")
    assert caught[0].filename == __file__


# --- sources of an earlier session ------------------------------------------------------------------------------------


def recorded(root: Path, table: pd.DataFrame, **options: str) -> pd.DataFrame:
    """Fix rows, predict from some in a session of its own, and return them with their ids."""
    with backstory.init(root, origin="example.org/canary") as archive:
        archive.register(lambda table: np.ones(len(table)), name="one")
        frame = archive.source(table, "claims", **options)
        archive.predict("one", frame.head(), method="__call__")
    return frame


def reopened(root: Path) -> Archive:
    """Open an archive, with a model that takes anything."""
    archive = backstory.open(root)
    archive.register(lambda table: np.ones(len(table)), name="one")
    return archive


def test_sources_of_an_earlier_session_are_compared_too(tmp_path: Path):
    """Rows of a source that was fixed, and kept, by another process."""
    frame = recorded(tmp_path / "audit", claims())
    with reopened(tmp_path / "audit") as archive:
        assert grade(archive, frame.sample(frac=1, random_state=0)) == "exact"
        with pytest.warns(LineageWarning):
            assert grade(archive, pasted(frame)) == "coarse"


def test_a_look_at_kept_rows_does_not_keep_them(tmp_path: Path):
    """Of a large source of an earlier session little is decoded, and nothing stays in memory."""
    table = pd.DataFrame({f"x{n}": np.random.default_rng(n).random(40_000) for n in range(12)})
    frame = recorded(tmp_path / "audit", table)
    with reopened(tmp_path / "audit") as archive:
        before = pa.total_allocated_bytes()
        archive.predict("one", frame.iloc[::1_000], method="__call__")
        assert pa.total_allocated_bytes() - before < 1 << 20


def test_rows_about_people_are_not_opened_to_be_compared(tmp_path: Path):
    """Without an actor and a purpose the vault stays shut, also where the rows in it were erased."""
    frame = recorded(tmp_path / "audit", claims(), subject="customer")
    with reopened(tmp_path / "audit") as archive:
        assert grades(archive, pasted(frame), ["age"]) == {"claims": "exact"}
        for shard in (tmp_path / "audit" / "vault").iterdir():
            shard.unlink()
        assert len(archive.predict("one", frame, method="__call__").ids) == 300


def snapshot_file(root: Path) -> Path:
    """Return the file in which the kept rows are."""
    return next(path for path in (root / "blobs").rglob("*") if path.is_file() and path.read_bytes()[:4] == b"PAR1")


def test_kept_rows_that_are_gone_are_not_compared(tmp_path: Path):
    """A prediction does not fail for a file it could do without."""
    frame = recorded(tmp_path / "audit", claims())
    snapshot_file(tmp_path / "audit").unlink()
    with reopened(tmp_path / "audit") as archive:
        assert len(archive.predict("one", frame, method="__call__").ids) == 300


def test_kept_rows_that_were_changed_are_an_error(tmp_path: Path):
    """Nothing is compared with rows that are not those the log names."""
    frame = recorded(tmp_path / "audit", claims())
    path = snapshot_file(tmp_path / "audit")
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with reopened(tmp_path / "audit") as archive, pytest.raises(VerificationError, match="blob"):
        archive.predict("one", frame, method="__call__")
