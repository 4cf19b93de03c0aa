"""Keeping, at the front door: after a disposal questions are answered from what is left; a frozen version stays."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.archives import ORIGIN, fitted, loans
from tests.support.retention import Clock, timed_world

from backstory.archive.facade import Archive
from backstory.errors import ConflictError, ForbiddenError, InputError, NotFoundError
from backstory.governance.proposal import REFUSED
from backstory.ledger.create import create_archive
from backstory.verify.archive import verify_archive
from backstory.verify.bundle import verify_bundle
from backstory.verify.standalone import check_bundle as alone

OPEN_RULE = (
    'name = "row"\nkinds = ["prediction", "outcome"]\npart = "skeleton"\nceiling = "12 months"\nsource = "a test"\n'
)


def acted(root, clock, actor):
    """Open an archive as somebody."""
    return Archive(root, actor=actor, purpose="a test", world=timed_world(clock, seed=ord(actor[0])), sealer="none")


@pytest.fixture(scope="module")
def trimmed(tmp_path_factory):
    """An archive of which the older 40 predictions are gone but one that was held, and the younger 40 are there."""
    folder = tmp_path_factory.mktemp("trimmed")
    root, clock = folder / "archive", Clock()
    create_archive(root, ORIGIN, timed_world(clock))
    (folder / "own.toml").write_text(f"[[rules]]\n{OPEN_RULE}")
    with acted(root, clock, "ann") as archive:
        table = loans()
        frame = archive.source(table, "loans", key="loan")
        features, rows = archive.split(frame, ["amount", "years"])
        model = archive.register(fitted(frame), name="credit", rows=rows, target=frame["paid"], alias="production")
        old = archive.predict(model, features, rows=rows).wait("sealed").ids
        archive.outcome(old[:2], [1, 0])
        archive.flush()
        rule = archive.retention.adopt(folder / "own.toml")
        archive.retention.hold("m", custodian="c", review="2099-01-01T00:00:00Z", predictions=[old[5]])
    clock.on(400)
    with acted(root, clock, "bob") as archive:
        archive.retention.approve(rule.index)
        young = archive.predict("credit", features, rows=rows).wait("sealed").ids
        run = archive.retention.propose()
    with acted(root, clock, "ann") as archive:
        archive.retention.approve(run.index, reason="checked")
        done = archive.retention.execute(run.index)
    return root, clock, old, young, done


def test_counts_and_rule(trimmed):
    """39 predictions and both outcomes went, by the rule."""
    *_, done = trimmed
    went = {(one.label, one.rule, one.count) for one in done.classes}
    assert went == {("prediction/skeleton", "own/row", 39), ("outcome/skeleton", "own/row", 2)}


def test_an_answer_about_floors_says_what_it_cannot_compare(trimmed):
    """Of rows that went whole nothing is left: how many is counted apart, and the words claim nothing of them."""
    root, clock, *_ = trimmed
    with acted(root, clock, "ann") as archive:
        answer = archive.query("Q-13")
    assert (answer.status, answer.examined["disposed rows gone whole"]) == ("holds", 41)
    assert any(note.startswith("41 disposed rows went whole and cannot be compared") for note in answer.notes)
    assert "rows that went whole" in answer.shows_not


def test_a_report_of_keeping_lists_what_went(trimmed, tmp_path):
    """Each class with its rule and count, and that one record was held."""
    root, clock, *_, done = trimmed
    with acted(root, clock, "ann") as archive:
        report = archive.reports.make("retention-evidence", tmp_path / "r.zip")
    sections = {one["name"]: one["rows"] for one in report.document["sections"]}
    went = {(row["rule"], row["what"], row["count"]) for row in sections["disposals"]}
    assert went == {(one.rule, one.label, str(one.count)) for one in done.classes}
    assert [row["ground"] for row in sections["kept"]] == [*done.kept]


def test_every_question_is_answered_from_what_is_left(trimmed):
    """Search, impact, why, receipts, drift, graph and reconciliation find the held and the young, and no others."""
    root, clock, old, young, _ = trimmed
    left = {old[5], *young}
    with acted(root, clock, "ann") as archive:
        assert set(archive.search("output >= 0")["id"]) == left
        assert archive.impact("loans", rows=[5]).counts["predictions"] == 2
        assert archive.impact("loans", rows=[6]).counts["predictions"] == 1
        assert archive.impact(model="credit:1").counts["predictions"] == len(left)
        assert archive.why(old[5]).id == old[5]
        archive.receipt(old[5])
        assert archive.why(young[0]).outcomes == ()
        with pytest.raises(NotFoundError, match="39 went by the disposal"):
            archive.why(old[6])
        assert archive.reconcile(count=len(left), since="2026-06-01T00:00:00Z").recorded == len(young)
        archive.graph("credit:1")
        archive.replay(old[5])
        assert not archive.verify().failed
        assert archive.retention.status().overdue == ()


def test_a_bundle_of_what_is_left(trimmed, tmp_path):
    """The held record of a trimmed segment goes into a bundle beside a young one; both verifiers accept it."""
    root, clock, old, young, _ = trimmed
    with acted(root, clock, "ann") as archive:
        archive.bundle(tmp_path / "b.zip", [old[5], young[0]])
        vkey = archive._ledger.layout.config.vkey
        with pytest.raises(NotFoundError, match="none sealed with 1 of 1 ids"):
            archive.bundle(tmp_path / "none.zip", [old[6]])
    assert verify_bundle(tmp_path / "b.zip", vkey=vkey).records == 2
    assert alone.check_bundle(str(tmp_path / "b.zip"), [alone.receipt.Key(vkey, 1)])["records"] == "2"


def test_another_incarnation_reads_it_too(trimmed):
    """The catalog can be built again, and an audit with nothing but the files passes."""
    root, clock, old, *_ = trimmed
    (root / "catalog.sqlite").unlink()
    with acted(root, clock, "carl") as archive:
        assert archive.why(old[5]).id == old[5]
        with pytest.raises(ConflictError, match="nothing is past"):
            archive.retention.propose()


def test_a_trim_the_log_does_not_name_is_found(trimmed, tmp_path):
    """Whoever takes another record out of a trimmed file is found out."""
    root, *_ = trimmed
    shutil.copytree(root, copy := tmp_path / "copy")
    (path,) = [one for one in (copy / "segments").iterdir() if ".trim" in one.name and "-40." in one.name]
    file = pq.ParquetFile(path)
    table = file.read()
    nulls = table.take(pa.array(np.zeros(len(table), int), mask=np.ones(len(table), bool)))
    with pq.ParquetWriter(path, table.schema) as writer:
        writer.write_table(nulls)
        writer.add_key_value_metadata({k: v for k, v in file.metadata.metadata.items() if k.startswith(b"backstory")})
    said = " ".join(one.what for one in verify_archive(copy, workers=1).findings if one.severity == "failed")
    assert "40 of its records are gone, by the log 39" in said
    assert "digest is not the one in its entry" in said


def test_a_frozen_version_stays(tmp_path):
    """Its alias, a registration under it, and its deployment are refused on the record until two people lift it."""
    root, clock = tmp_path / "archive", Clock()
    create_archive(root, ORIGIN, timed_world(clock))
    frame = loans()
    with acted(root, clock, "ann") as archive:
        archive.register(len, name="credit", alias="production")
        archive.register(max, name="credit")
        archive.deployments.set("web", "credit:1")
        freeze = archive.retention.freeze("credit:1", "INC-7", "wrong limits")
        before = len(archive._ledger.find_entries(REFUSED))
        for act in (
            lambda: archive.alias("credit:2", "production"),
            lambda: archive.register(fitted(frame), name="credit", alias="production"),
            lambda: archive.deployments.set("web", "credit:2"),
        ):
            with pytest.raises(ForbiddenError, match="the refusal is in the log"):
                act()
        assert len(archive._ledger.find_entries(REFUSED)) == before + 3
        archive.alias("credit:2", "challenger")
        proposal = archive.retention.unfreeze(freeze.name)
        with pytest.raises(ForbiddenError):
            archive.retention.approve(proposal.index)
    with acted(root, clock, "bob") as archive:
        archive.retention.approve(proposal.index)
        archive.alias("credit:2", "production")
        assert [one.lifted is not None for one in archive.retention.freezes()] == [True]


@pytest.fixture
def about_people(tmp_path):
    """An archive with 20 sealed predictions about people, their rows to go after 12 months, and its clock and ids."""
    root, clock = tmp_path / "archive", Clock()
    create_archive(root, ORIGIN, timed_world(clock))
    values = OPEN_RULE.replace('"row"', '"values"').replace('"skeleton"', '"payload"').replace("12 months", "6 months")
    (tmp_path / "own.toml").write_text(f"[[rules]]\n{OPEN_RULE}[[rules]]\n{values}")
    table = loans(20).assign(who=[f"c-{number}" for number in range(20)])
    with acted(root, clock, "ann") as archive:
        frame = archive.source(table, "loans", key="loan", subject="who")
        features, rows = archive.split(frame, ["amount", "years"])
        model = archive.register(fitted(table), name="credit", rows=rows)
        ids = archive.predict(model, features, rows=rows, subject=table["who"]).wait("sealed").ids
        rule = archive.retention.adopt(tmp_path / "own.toml")
    with acted(root, clock, "bob") as archive:
        archive.retention.approve(rule.index)
    return root, clock, ids


def openings(root):
    """Return the names of the texts that the vault keeps, and of all else in it."""
    return sorted(path.name for path in (root / "vault").rglob("*"))


@pytest.mark.parametrize("wrong", ["credti", "credit:7", "credit@production"])
def test_a_hold_on_a_model_nobody_registered_is_refused(trimmed, wrong):
    """A mistyped model would hold nothing and seem to: it is refused, as is a name that moves, and nothing is kept."""
    root, clock, *_ = trimmed
    with acted(root, clock, "ann") as archive:
        kept = openings(root)
        with pytest.raises(NotFoundError, match="credit"):
            archive.retention.hold("m", custodian="c", review="2099-01-01T00:00:00Z", model=wrong)
        assert openings(root) == kept


def test_a_hold_whose_condition_nobody_can_tell_is_refused(about_people):
    """A condition over sealed values would hold nothing and seem to: it is refused; over open ones it holds."""
    root, clock, ids = about_people
    with acted(root, clock, "ann") as archive:
        kept = openings(root)
        for condition in ("output >= 0", "feature.amount > 1"):
            with pytest.raises(InputError, match="asks for values that are sealed"):
                archive.retention.hold("m", custodian="c", review="2099-01-01T00:00:00Z", where=condition)
        assert archive.retention.holds() == []
        assert openings(root) == kept
        held = archive.retention.hold("m", custodian="c", review="2099-01-01T00:00:00Z", where="status = 'ok'")
    assert held.records == len(ids)


def test_what_joins_a_hold_and_cannot_be_told_is_held(trimmed, tmp_path):
    """Where a condition over open values meets records that seal these later, all that may fit are held."""
    original, clock, *_ = trimmed
    shutil.copytree(original, root := tmp_path / "copy")
    with acted(root, clock, "bob") as archive:
        archive.retention.hold("m", custodian="c", review="2099-01-01T00:00:00Z", where="output >= 0")
        before = {one.kind: one.held for one in archive.retention.status().classes}["prediction"]
        table = loans(4).assign(who=["a", "b", "c", "d"])
        model = archive.register(fitted(table), name="sealed")
        archive.predict(model, table[["amount", "years"]], subject=table["who"]).wait("sealed")
        after = {one.kind: one.held for one in archive.retention.status().classes}["prediction"]
    assert (before, after) == (41, 45)


def test_a_person_is_erased_from_what_a_disposal_left(about_people):
    """Of a segment of which most rows are gone, those left that are about a person are found and erased."""
    root, clock, ids = about_people
    with acted(root, clock, "ann") as archive:
        hold = archive.retention.hold("m", custodian="c", review="2099-01-01T00:00:00Z", predictions=ids[5:7])
    clock.on(400)
    with acted(root, clock, "bob") as archive:
        run = archive.retention.propose()
    with acted(root, clock, "ann") as archive:
        archive.retention.approve(run.index)
        archive.retention.execute(run.index)
        assert archive.privacy.erase("c-3", ground="request").records == 0
        release = archive.retention.release(hold.name)
    with acted(root, clock, "bob") as archive:
        archive.retention.approve(release.index)
        assert archive.privacy.erase("c-5", ground="request").records == 1
        assert archive.privacy.find("c-6").kinds == {"prediction": 1}
        assert not archive.verify().failed


def test_what_cannot_be_asked(trimmed):
    """A hold on nothing, a review that is past, a profile there is none of, a time without a zone: each says so."""
    root, clock, *_ = trimmed
    with acted(root, clock, "ann") as archive:
        for wrong in (
            lambda: archive.retention.hold("m", custodian="c", review="2099-01-01T00:00:00Z"),
            lambda: archive.retention.hold("m", custodian="c", review="2020-01-01T00:00:00Z", model="credit"),
            lambda: archive.retention.adopt("mars-default"),
        ):
            with pytest.raises(InputError):
                wrong()
