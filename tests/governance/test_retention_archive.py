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
