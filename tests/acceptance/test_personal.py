"""Data about people: sealed on disk, opened only with a recorded purpose, and still provable."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from tests.support.accesses import accesses
from tests.support.archives import ORIGIN, files_of, fitted, loans, readable_content

import backstory
from backstory.archive import Archive
from backstory.errors import ForbiddenError, InputError, VerificationError
from backstory.storage.disk import Disk
from backstory.storage.keys import open_keys
from backstory.storage.layout import read_layout
from backstory.storage.vault import Vault

PEOPLE = 30
AMOUNT = 815_4711.25
"""Amounts from here on are found nowhere else by accident."""
NAME = "Quillfeather"
SEALED_FOLDERS = {"vault", "keys"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Personal:
    """A closed archive about people: where, the ids of sealed and of unsealed predictions, the key, the outputs."""

    path: Path
    ids: list[str]
    vkey: str
    outputs: list[int]

    def open(self, *, purpose: str | None = None) -> Archive:
        """Open it, for a purpose where one is given."""
        actor = None if purpose is None else "auditor"
        return backstory.open(self.path, vkey=self.vkey, actor=actor, purpose=purpose)


def people() -> pd.DataFrame:
    """Return loans of people, with their names."""
    table = loans(PEOPLE)
    table["amount"] += AMOUNT
    return table.assign(person=[f"{NAME}-{number:03d}" for number in range(PEOPLE)])


def _record(path: Path) -> tuple[list[str], str, list[int]]:
    archive = backstory.init(path, origin=ORIGIN)
    with archive:
        frame = archive.source(people(), "people", key="loan", subject="person")
        terms = archive.group(frame, "years", name="term", term_mean=("amount", "mean"))
        frame = frame.merge(terms, on="years")
        features, rows = archive.split(frame, ["amount", "years"])
        version = archive.register(fitted(people()), name="credit", rows=rows, target=frame["paid"])
        preds = archive.predict(version, features, rows=rows, decision=backstory.Threshold(1)).wait("sealed")
        archive.predict(version, features.head(2), subject=[f"{NAME}-a", f"{NAME}-b"])
        archive.outcome(preds.ids[0], f"{NAME} paid")
        archive.traced(subject="person")(_greet)(f"{NAME}-traced", AMOUNT)
    return list(preds.ids), archive.vkey, preds.output.tolist()


def _greet(person: str, amount: float) -> str:
    return f"hello {person}, {amount}"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Personal:
    """The archive, not to be changed."""
    path = tmp_path_factory.mktemp("personal") / "audit"
    ids, vkey, outputs = _record(path)
    return Personal(path=path, ids=ids, vkey=vkey, outputs=outputs)


@pytest.fixture
def personal(recorded: Personal, tmp_path: Path) -> Personal:
    """A copy of it."""
    path = shutil.copytree(recorded.path, tmp_path / "audit")
    return Personal(path=path, ids=recorded.ids, vkey=recorded.vkey, outputs=recorded.outputs)


def _planted() -> Iterator[bytes]:
    """Yield what must be nowhere in clear: names, amounts as text, as float64 and as the digits of their sums."""
    yield NAME.encode()
    yield base64.b64encode(NAME.encode())[:12]
    for amount in people()["amount"]:
        yield str(amount).encode()
        yield np.float64(amount).tobytes()
        yield np.float64(amount).tobytes()[::-1]


# --- on disk ----------------------------------------------------------------------------------------------------------


def _in_clear(root: Path, passed_over: set[str]) -> list[tuple[str, bytes]]:
    found = []
    for path in files_of(root):
        if path.relative_to(root).parts[0] not in passed_over:
            content = readable_content(path)
            found += [(str(path.relative_to(root)), value) for value in _planted() if value in content]
    return found


def test_no_personal_value_is_in_clear_anywhere(recorded: Personal):
    """Names and amounts are in no file, not even in the vault's, which are encrypted; Parquet was decoded to look."""
    assert _in_clear(recorded.path, set()) == []


def test_the_search_for_values_finds_them_where_they_are(archive: Archive):
    """The same search over an archive whose source is not about people does find them."""
    frame = archive.source(people(), "loans", key="loan")
    features, rows = archive.split(frame, ["amount", "years"])
    archive.predict(archive.register(fitted(people()), name="credit", rows=rows), features, rows=rows).wait("sealed")
    kinds = {name.split("/")[0] for name, _ in _in_clear(archive.path, set())}
    assert {"segments", "blobs"} <= kinds


def test_no_personal_value_is_in_the_spool(tmp_path: Path):
    """Before sealing as after: the spool of such a stream is encrypted."""
    archive = backstory.init(tmp_path / "audit", origin=ORIGIN)
    with archive:
        frame = archive.source(people(), "people", subject="person")
        features, rows = archive.split(frame, ["amount", "years"])
        version = archive.register(fitted(people()), name="credit", rows=rows)
        archive.predict(version, features, rows=rows).wait("durable")
        big = pd.concat([features] * 2_000, ignore_index=True)
        archive.predict(version, big, subject=f"{NAME}-x").wait("durable")
        assert list((tmp_path / "audit" / "spool").rglob("*.arrow"))
        assert _in_clear(archive.path, set()) == []


def test_no_key_of_a_sealed_stream_is_left(recorded: Personal):
    """The spool's keys are destroyed with it."""
    assert list((recorded.path / "keys").glob("spool-*")) == []


def test_sealed_files_are_for_their_owner_only(recorded: Personal):
    """Vault and keys cannot be read by others."""
    for folder in SEALED_FOLDERS:
        assert (recorded.path / folder).stat().st_mode & 0o077 == 0
        assert all(path.stat().st_mode & 0o077 == 0 for path in (recorded.path / folder).rglob("*"))


# --- questions --------------------------------------------------------------------------------------------------------


def test_why_without_purpose_shows_nothing_sealed(personal: Personal):
    """It says which groups are sealed, and neither values nor rows."""
    with personal.open() as archive:
        story = archive.why(personal.ids[0])
        assert set(story.sealed) >= {"features", "output", "subject"}
        assert (story.output, story.decision, story.features) == (None, None, {})
        assert {row.state for row in story.rows} == {"sealed"}
        assert {row.position for row in story.rows} == {None}
        assert NAME not in str(story)


def test_why_of_an_unsealed_record_without_purpose_shows_nothing_sealed(personal: Personal):
    """The spool holds everything; the story shows what the segment will show."""
    with personal.open() as archive:
        name = archive.predict("credit", people()[["amount", "years"]].head(1), subject=NAME).ids[0]
        story = archive.why(name)
        assert story.proof["state"] == "unsealed"
        assert (story.output, story.features) == (None, {})
        assert NAME not in str(story)


def test_why_with_a_purpose_shows_the_values(personal: Personal):
    """Features, output, decision, row and group are there."""
    with personal.open(purpose="case 77") as archive:
        story = archive.why(personal.ids[4])
        assert story.sealed == ()
        assert story.output == personal.outputs[4]
        row = next(row for row in story.rows if row.reference == "people")
        assert row.values["amount"] == story.features["amount"]  # noqa: PD011  a story is no frame
        assert row.values["person"].startswith(NAME)  # noqa: PD011  a story is no frame
        term = next(row for row in story.rows if row.reference == "term")
        assert term.members["people"] >= 1


def test_each_read_with_a_purpose_is_on_record(personal: Personal):
    """Who and why are sealed in it."""
    with personal.open(purpose="case 77") as archive:
        before = len(accesses(archive._ledger))
        archive.why(personal.ids[4])
        entries = accesses(archive._ledger)[before:]
        assert entries
        assert {entry["question"] for entry in entries} == {"why"}
        asked = archive.access.log()[before:-1]
        assert {(one.actor, one.purpose, one.question) for one in asked} == {("auditor", "case 77", "why")}
        archive.flush()
    written = b"".join(path.read_bytes() for path in sorted(personal.path.rglob("*")) if path.is_file())
    assert b"case 77" not in written
    assert b"auditor" not in written


def test_a_question_without_purpose_is_no_entry(personal: Personal):
    """Nothing was opened."""
    with personal.open() as archive:
        before = len(accesses(archive._ledger))
        archive.why(personal.ids[4])
        assert len(accesses(archive._ledger)) == before


def test_actor_and_purpose_are_both_needed(personal: Personal):
    """An actor alone opens nothing; a purpose that is nobody's is refused."""
    with backstory.open(personal.path, actor="auditor") as archive:
        assert archive.why(personal.ids[0]).sealed
    with pytest.raises(InputError, match="actor"):
        backstory.open(personal.path, purpose="case 77")


def test_reading_for_a_purpose_needs_an_archive_that_can_record_it(personal: Personal):
    """A read-only archive cannot write down who looked: refused, and nothing is shown."""
    with pytest.raises(ForbiddenError):
        backstory.open(personal.path, mode="r", actor="auditor", purpose="case 77")


def test_search_sees_open_columns_only(personal: Personal):
    """Sealed columns are not there to be searched."""
    with personal.open(purpose="case 77") as archive:
        found = archive.search("model = 'credit'")
        assert len(found) == PEOPLE + 2
        assert not {"output", "feature.amount", "subject", "row.people"} & set(found.columns)
        assert NAME not in found.to_csv()


def test_outcomes_about_people_are_sealed(personal: Personal):
    """Without a purpose an outcome has no value, with one it has."""
    with personal.open() as archive:
        assert [outcome["value"] for outcome in archive.why(personal.ids[0]).outcomes] == [None]
    with personal.open(purpose="case 77") as archive:
        assert [outcome["value"] for outcome in archive.why(personal.ids[0]).outcomes] == [f"{NAME} paid"]


def test_impact_of_people_without_purpose_is_refused(personal: Personal):
    """Choosing people's rows by a value would tell who they are."""
    with personal.open() as archive, pytest.raises(ForbiddenError, match="people"):
        archive.impact("people", where=f"person = '{NAME}-003'")


def test_impact_of_people_with_a_purpose_is_answered(personal: Personal):
    """Directly and through the group; the reads are entries."""
    with personal.open(purpose="case 77") as archive:
        hits = archive.impact("people", keys="loan-0003")
        assert personal.ids[3] in hits.predictions["id"].to_pylist()
        assert {"people", "term"} == set(hits.predictions["via"].to_pylist())
        assert [model.name for model in hits.models] == ["credit"]
        assert {"impact"} <= {str(entry["question"]) for entry in accesses(archive._ledger)}


def test_impact_by_position_without_purpose_says_what_it_left_out(personal: Personal):
    """Sealed segments are counted, not passed over in silence."""
    with personal.open() as archive:
        hits = archive.impact("people", rows=[3])
        assert hits.counts["predictions"] == 0
        assert hits.sealed >= 1


# --- proofs -----------------------------------------------------------------------------------------------------------


def test_a_receipt_without_openings_verifies_and_shows_nothing(personal: Personal):
    """The sealed groups are committed to, and stay closed."""
    with personal.open() as archive:
        receipt = archive.receipt(personal.ids[5])
    shown = backstory.verify_receipt(receipt.data, vkey=personal.vkey)
    assert not any(value in receipt.data for value in _planted())
    assert NAME not in str(shown)


def test_a_receipt_with_openings_verifies_and_shows_the_values(personal: Personal):
    """Opened for a purpose, the values are proven to be those committed to."""
    with personal.open(purpose="their own request") as archive:
        receipt = archive.receipt(personal.ids[5])
        amount = archive.why(personal.ids[5]).features["amount"]
    assert str(amount) in str(backstory.verify_receipt(receipt.data, vkey=personal.vkey))


def test_replay_needs_a_purpose(personal: Personal):
    """Without one the features are sealed, and it says so."""
    with personal.open() as archive:
        again = archive.replay(personal.ids[6])
        assert again.verdict == "not-replayable"
        assert "sealed" in again.reason


def test_replay_with_a_purpose_is_exact(personal: Personal):
    """Sealed features come back to the bit."""
    with personal.open(purpose="case 77") as archive:
        assert archive.replay(personal.ids[6]).verdict == "exact"


def test_the_archive_verifies_without_and_with_its_vault(personal: Personal):
    """Without the vault the proofs stand; what was not checked is said to be unknown, not failed."""
    with personal.open() as archive:
        assert not archive.verify(workers=1).failed
    shutil.rmtree(personal.path / "vault")
    with backstory.open(personal.path, mode="r", vkey=personal.vkey) as archive:
        report = archive.verify(check=False, workers=1)
    assert not report.failed
    assert any(finding.severity == "unknown" for finding in report.findings)


def _forge(path: Path, having: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change the shards that have a column, and encrypt them under their own keys as the archive does."""
    keys = open_keys(read_layout(path), Disk())
    vault = Vault(path / "vault", keys, Disk())
    for shard in sorted((path / "vault").glob("*.shard")):
        table = vault.read_table(shard.name)
        if having in table.column_names and len(vault.sections(shard.name)) == 1:
            vault.write_table(shard.name, change(table), keys.key(shard.name, "shard_key"))


def _other_amounts(table: pa.Table) -> pa.Table:
    at = table.column_names.index("amount")
    return table.set_column(at, "amount", pa.array([99.0] * table.num_rows))


def _other_rows(table: pa.Table) -> pa.Table:
    row = table["row"].combine_chunks()
    zeros = [pa.array([0] * table.num_rows, field.type) for field in row.type]
    at = table.column_names.index("row")
    return table.set_column(at, "row", pa.StructArray.from_arrays(zeros, fields=list(row.type)))


FORGED_ROWS = [
    pytest.param(lambda archive, name: archive.why(name), id="why"),
    pytest.param(lambda archive, _: archive.impact("people", where="amount > 0"), id="impact"),
]


@pytest.mark.parametrize("ask", FORGED_ROWS)
def test_forged_rows_of_people_are_never_shown(ask: Callable[[Archive, str], object], personal: Personal):
    """Whoever has the archive's keys can write a shard, and not one that leads to the version's root."""
    with personal.open(purpose="complaint") as archive:
        ask(archive, personal.ids[0])
        _forge(personal.path, "amount", _other_amounts)
        with pytest.raises(VerificationError, match="root"):
            ask(archive, personal.ids[0])


def test_forged_references_of_people_reach_nothing(personal: Personal):
    """Sealed references are read from the shard that the log names, or not at all."""
    _forge(personal.path, "row", _other_rows)
    with personal.open(purpose="complaint") as archive, pytest.raises(VerificationError, match="changed"):
        archive.impact("people", rows=[0])


def test_equal_personal_snapshots_are_one_version_inside_the_archive(personal: Personal):
    """Salted as they are, fixing the same rows again is recognised."""
    digests = set()
    with personal.open(purpose="case 77") as archive:
        for _ in range(2):
            frame = archive.source(people(), "people", key="loan", subject="person")
            name = archive.predict("credit", frame[["amount", "years", "_row_people"]].head(1)).ids[0]
            digests.add(archive.why(name).rows[0].digest)
        digests.add(archive.why(personal.ids[0]).rows[0].digest)
    assert len(digests) == 1
