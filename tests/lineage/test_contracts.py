"""Contracts in an archive: sources are checked before they are fixed, and what was found is kept, proven and told."""

from __future__ import annotations

import warnings

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from tests.support.archives import ORIGIN

import backstory
from backstory.errors import ForbiddenError, InputError, NotFoundError, VerificationError
from backstory.lineage.refs import LineageWarning

PROMISED = """
kind: DataContract
apiVersion: v3.1.0
id: loans
version: 1.0.0
status: active
team:
  - {username: erika.mustermann}
schema:
  - name: loans
    properties:
      - {name: loan, logicalType: string, primaryKey: true}
      - name: amount
        logicalType: number
        logicalTypeOptions: {maximum: 1000}
        customProperties: [{property: backstorySeverity, value: {range: flag}}]
      - {name: years, logicalType: number, quality: [{id: short, metric: invalidValues, mustBe: 0, severity: info,
         arguments: {validValues: [1, 2, 3]}}]}
"""


def loans(amount=5.0, years=1.0):
    """Return a few loans."""
    return pd.DataFrame({"loan": [f"l{n}" for n in range(6)], "amount": [amount, *[5.0] * 5], "years": years})


def predicted(archive, frame, name):
    """Register a model that was trained on a frame, predict its rows, and return the ids."""
    features, rows = archive.split(frame, ["amount", "years"])
    model = archive.register(lambda table: table["amount"] * 2, name=name, rows=rows)
    return model, archive.predict(model, features, rows=rows, method="__call__").ids


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """An archive with data that broke its contract, data that did not, and groups and models made from both."""
    with backstory.init(tmp_path_factory.mktemp("contracts") / "audit", origin=ORIGIN) as archive:
        archive.contracts.set("loans", PROMISED)
        with pytest.warns(LineageWarning, match=r"flags source loans: amount.range \(1 row\)"):
            odd = archive.source(loans(amount=5000.0), "loans", key="loan")
        odd_model, ids = predicted(archive, odd, "odd")
        noted = archive.source(loans(years=9.0), "loans", key="loan")
        _, noted_ids = predicted(archive, noted, "noted")
        good = archive.source(loans(), "loans", key="loan")
        _, good_ids = predicted(archive, good, "good")
        grouped = archive.group(odd, "years", name="term", mean=("amount", "mean"))
        _, group_ids = predicted(archive, good.merge(grouped, on="years").drop(columns="_row_loans"), "grouped")
        features, rows = archive.split(good, ["amount", "years"])
        served = archive.predict(odd_model, features, rows=rows, method="__call__").ids
        archive.source(loans(), "people", subject="loan")
        archive.flush()
        yield archive, {
            "odd": ids[0], "noted": noted_ids[0], "good": good_ids[0], "grouped": group_ids[0], "served": served[0]
        }  # fmt: skip


def test_why_says_that_its_own_row_is_of_such_data(kept):
    """The row's dataset version broke its contract: an alarm with the rule and how many rows, and as values."""
    archive, ids = kept
    story = archive.why(ids["odd"])
    (verdict,) = story.rows[0].contracts
    assert verdict["rules"] == [{"id": "amount.range", "rows": "1", "severity": "flag"}]
    assert "it was made from data that broke its contract" in " ".join(str(story).split())
    assert verdict["dataset"] == story.rows[0].digest


def test_why_says_it_of_the_model_too(kept):
    """A good row and a model that was trained on such data: the model's training is named, the row is not."""
    archive, ids = kept
    story = archive.why(ids["served"])
    assert [one["verdict"] for one in story.rows[0].contracts] == ["passed"]
    assert [one["verdict"] for one in story.training_contracts] == ["flagged"]
    text = " ".join(str(story).split())
    assert "its model was trained on data that broke its contract" in text
    assert "it was made from data that broke" not in text


def test_why_says_it_through_a_group(kept):
    """A group that was mixed from such data leads to it."""
    archive, ids = kept
    group = next(row for row in archive.why(ids["grouped"]).rows if row.kind == "group")
    assert [one["verdict"] for one in group.contracts] == ["flagged"]


def test_what_is_only_noted_is_no_alarm(kept):
    """A rule to be noted passes; the story mentions it, and does not raise its voice."""
    archive, ids = kept
    text = " ".join(str(archive.why(ids["noted"])).split())
    assert "was noted: loans: contract loans 1.0.0, short (6 rows)" in text
    assert "!! CONTRACT" not in text


def test_what_passed_is_not_talked_about(kept):
    """Data that kept its contract has a verdict, and the story is quiet about it."""
    archive, ids = kept
    story = archive.why(ids["good"])
    assert story.rows[0].contracts[0]["verdict"] == "passed"
    assert "contract loans" not in str(story)
    assert story.to_dict()["rows"][0]["contracts"][0]["checked"] == "7"


def test_verdicts_are_a_table(kept):
    """A row for each broken rule of each dataset version, one without a rule where none is broken."""
    archive, _ = kept
    found = archive.contracts.verdicts("loans")
    assert found.select(["verdict", "rule", "severity", "rows"]).to_pylist() == [
        {"verdict": "flagged", "rule": "amount.range", "severity": "flag", "rows": 1},
        {"verdict": "passed", "rule": "short", "severity": "note", "rows": 6},
        {"verdict": "passed", "rule": None, "severity": None, "rows": None},
    ]
    assert archive.contracts.verdicts().equals(found)
    with pytest.raises(NotFoundError, match="did you mean 'loans'"):
        archive.contracts.verdicts("loan")


def test_contract_is_kept_without_the_people_in_it(kept):
    """The contract can be read from the archive; nobody named in it is in any blob."""
    archive, _ = kept
    assert [rule.id for rule in archive.contracts.get("loans").rules][:2] == ["loan.type", "loan.required"]
    blobs = [path for path in (archive.path / "blobs").rglob("*") if path.is_file()]
    assert any(b"DataContract" in path.read_bytes() for path in blobs)
    assert not any(b"mustermann" in path.read_bytes() for path in blobs)


def test_audit_reaches_contracts(kept):
    """The archive verifies, and a contract that is gone is found."""
    archive, _ = kept
    assert not archive.verify().findings
    digest = archive.contracts.get("loans").digest
    path = archive.path / "blobs" / "sha256" / digest[:2] / digest[2:]
    held = path.read_bytes()
    try:
        path.unlink()
        with pytest.raises(VerificationError) as caught:
            archive.verify()
        assert [digest[2:] in finding.place for finding in caught.value.findings] == [True]
    finally:
        path.write_bytes(held)


def test_setting_the_same_again_writes_nothing(kept):
    """An entry says that something changed; the same contract again is none."""
    archive, _ = kept
    before = archive.contracts.list()
    archive.contracts.set("loans", PROMISED)
    assert archive.contracts.list() == before
    assert [(one.source, one.id, one.version) for one in before] == [("loans", "loans", "1.0.0")]


# --- at the source ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """An archive in which nothing is kept."""
    with backstory.init(tmp_path_factory.mktemp("sources") / "audit", origin=ORIGIN) as opened:
        yield opened


FRAMES = {
    "pandas": lambda frame: frame,
    "polars": pl.from_pandas,
    "lazy": lambda frame: pl.from_pandas(frame).lazy(),
    "arrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
    "duckdb": lambda frame: duckdb.from_arrow(pa.Table.from_pandas(frame, preserve_index=False)),
}


@pytest.mark.parametrize("library", FRAMES)
def test_refused_data_is_not_fixed(archive, library):
    """A broken rule to be refused raises with rules and counts, whatever the frame, and the name is as it was."""
    twice = loans().assign(loan="l1")
    with pytest.raises(InputError, match=r"refuses source loans: primaryKey \(5 rows\)") as caught:
        archive.source(FRAMES[library](twice), "loans", contract=PROMISED)
    assert caught.value.details["rules"] == [{"id": "primaryKey", "rows": "5", "severity": "refuse"}]
    assert "loans" not in archive._sources.find("loans")


@pytest.mark.parametrize("given", ["path", "text", "dict", "contract"])
def test_contract_may_be_given_in_any_form(archive, given, tmp_path):
    """A path, the text, a dict and a contract read before are one contract."""
    import yaml

    (tmp_path / "c.yaml").write_text(PROMISED)
    forms = {
        "path": tmp_path / "c.yaml",
        "text": PROMISED,
        "dict": yaml.safe_load(PROMISED),
        "contract": backstory_contract(),
    }
    with pytest.raises(InputError, match="primaryKey"):
        archive.source(loans().assign(loan="l1"), "loans", contract=forms[given])


def backstory_contract():
    """Return the contract, read."""
    from backstory.frames.contract_odcs import read_contract

    return read_contract(PROMISED)


def test_nothing_is_kept_before_something_refers_to_it(archive):
    """A source that was checked and that nothing used leaves no entry and no blob."""
    held = sum(1 for path in (archive.path / "blobs").rglob("*") if path.is_file())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LineageWarning)
        archive.source(loans(amount=5000.0), "unused", contract=PROMISED)
    assert sum(1 for path in (archive.path / "blobs").rglob("*") if path.is_file()) == held
    assert archive.contracts.verdicts().num_rows == 0


def test_id_columns_are_not_looked_at(archive):
    """A frame that carries ids of another source is checked without them."""
    traced = archive.source(loans(), "first")
    assert archive.contracts.check(traced, archive.contracts.infer(traced, "first")).state == "passed"
    assert "_row_" not in archive.contracts.infer(traced, "first")


def test_contract_with_values_of_people_is_refused(archive):
    """An enumeration of the column that names people would stand in clear: neither `source` nor `set` takes it."""
    named = PROMISED.replace("primaryKey: true}", "primaryKey: true, examples: [erika]}")
    with pytest.raises(InputError, match="no values of 'loan'"):
        archive.source(loans(), "people", subject="loan", contract=named)
    assert archive.source(loans(), "people", subject="loan", contract=PROMISED) is not None


def test_contract_of_a_model_with_values_of_people_is_refused(archive):
    """Nor does `register` for a model of rows about people, directly or through a group; nothing of it is kept."""
    named = PROMISED.replace("primaryKey: true}", "primaryKey: true, examples: [erika]}")
    frame = archive.source(loans(), "trained", subject="loan")
    grouped = archive.group(frame, "loan", name="by_loan", amounts=("amount", "sum"))
    for rows in (archive.split(frame, ["amount"])[1], archive.split(grouped, ["amounts"])[1]):
        with pytest.raises(InputError, match="no values of 'loan'"):
            archive.register(len, name="counted", rows=rows, contract=named)
    assert not [
        path for path in (archive.path / "blobs").rglob("*") if path.is_file() and b"erika" in path.read_bytes()
    ]
    assert archive.register(len, name="counted", rows=rows, contract=PROMISED) is not None


def test_contract_is_taken_back(archive):
    """None instead of a contract: later data is not checked, and the list is without it."""
    archive.contracts.set("gone", PROMISED)
    with pytest.raises(InputError, match="primaryKey"):
        archive.source(loans().assign(loan="l1"), "gone")
    archive.contracts.set("gone", None)
    archive.source(loans().assign(loan="l1"), "gone")
    assert archive.contracts.get("gone") is None
    assert archive.contracts.list() == []


def test_reader_sets_nothing(archive):
    """An archive that is open for reading checks, and sets no contract."""
    with backstory.open(archive.path, mode="r") as reader:
        assert reader.contracts.check(loans(), PROMISED).state == "passed"
        with pytest.raises(ForbiddenError):
            reader.contracts.set("loans", PROMISED)


def test_file_is_checked_as_it_is_read(archive, tmp_path):
    """A file that breaks its contract is refused as a frame would be."""
    loans().assign(loan="l1").to_csv(tmp_path / "loans.csv", index=False)
    with pytest.raises(InputError, match="primaryKey"):
        archive.source(tmp_path / "loans.csv", "loans", contract=PROMISED)


def test_lazy_frame_runs_once(archive):
    """What is checked is what is fixed: a lazy frame is not run a second time for the check."""
    runs = []
    lazy = pl.from_pandas(loans()).lazy().map_batches(lambda frame: runs.append(1) or frame)
    archive.source(lazy, "lazy", contract=PROMISED)
    assert len(runs) == 1
