"""A drill plants everything there is, sees what is caught and by whom, and fails where nobody looks."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import tempfile
from contextlib import closing
from dataclasses import replace

import pytest
from tests.support.accesses import accesses
from tests.support.archives import ORIGIN, fitted, loans

import backstory
from backstory.archive import Archive
from backstory.cli.main import run
from backstory.debug.replay import Replay
from backstory.drill.checks import (
    AGAINST,
    AUDIT,
    CHECKS,
    MONITOR,
    OPENING,
    PROMISE,
    RECEIPT,
    UNPINNED,
    WITNESS,
    Stage,
    by_audit,
    by_promise,
)
from backstory.drill.control import show_control
from backstory.drill.copies import copy_archive, differences, link_copy, put
from backstory.drill.hold import PLANTS, hold_drill, try_plant
from backstory.drill.openings import Reader, sealed_values
from backstory.drill.plant import Plant
from backstory.drill.scene import ADDED_ROWS
from backstory.drill.walk import choose, walk
from backstory.errors import ForbiddenError, InputError, VerificationError
from backstory.ledger.ledger import Ledger
from backstory.ledger.rotate import rotate_key
from backstory.storage.layout import read_layout
from backstory.storage.world import World
from backstory.verify.archive import verify_archive

FAULTS = {
    "edit", "delete", "reorder", "truncate", "fork", "rollback", "back-date", "dropped spool file", "swapped segments",
    "re-signed history with a stolen key", "forged receipt", "erased key",
}  # fmt: skip
"""What a drill must plant."""


def digests(root):
    """Return the SHA-256 of every file."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


def quick(root, *only, **options):
    """Hold a drill of some plants, without walks."""
    return hold_drill(root, only=only, workers=1, walks=0, **options)


def ask(capsys, *arguments, walks=0):
    """Run `backstory drill` in this process; return its exit code and what it printed."""
    capsys.readouterr()
    code = run(["drill", "--walks", str(walks), "--workers", "1", *map(str, arguments)])
    return code, capsys.readouterr()


def staged(scene, folder):
    """Return a fresh copy in which nothing is planted."""
    link_copy(scene.base, folder / "archive")
    return Stage(scene=scene, folder=folder, root=folder / "archive", kept=scene.kept, workers=1)


def writable(root):
    """Open an archive's stores for writing."""
    return closing(Ledger(root, World(), writable=True, vkey=None, actor=None))


@pytest.fixture
def people(people_once, tmp_path):
    """A copy of the archive with people that may be changed."""
    return shutil.copytree(people_once, tmp_path / "people")


@pytest.fixture
def copy(archive, tmp_path):
    """A copy of the archive that may be changed."""
    return shutil.copytree(archive, tmp_path / "copy")


def test_every_fault_that_is_asked_for_is_planted():
    """No word of the list is missing."""
    assert {plant.fault for plant in PLANTS} >= FAULTS


@pytest.mark.parametrize("name", [plant.name for plant in PLANTS])
def test_it_is_planted_and_caught(held, name):
    """Each plant can be planted in a small archive, and everybody who is to catch it does."""
    (outcome,) = [outcome for outcome in held.outcomes if outcome.name == name]
    assert outcome.state == "caught", outcome.lines()


def test_a_whole_drill_passes(held):
    """Everything is planted and caught, every prediction is walked, and the report says so in a sentence."""
    assert (held.failed, held.incomplete) == (False, False)
    assert str(held).splitlines()[0].endswith(held.verdict)
    assert held.verdict.startswith("passed")


@pytest.mark.parametrize("name", ["fork", "back-date", "re-sign-history", "rollback-whole"])
def test_what_the_key_alone_does_not_show_is_said(held, name):
    """An audit under the pinned key sees nothing of it; a kept checkpoint, a witness and a monitor each do."""
    (outcome,) = [outcome for outcome in held.outcomes if outcome.name == name]
    found = {catch.by: catch.finding for catch in outcome.catches}
    assert found[AUDIT] is None
    assert all(found[by] for by in (AGAINST, WITNESS, MONITOR))


def test_no_finding_names_a_place_that_is_gone(held):
    """The directory a drill works in is in no report."""
    assert "backstory-drill-" not in str(held)


@pytest.mark.parametrize(
    ("blind", "plant"),
    [
        (AUDIT, "edit-record"),
        (AGAINST, "fork"),
        (WITNESS, "rollback-whole"),
        (MONITOR, "re-sign-history"),
        (RECEIPT, "forge-receipt-value"),
        (PROMISE, "break-promise"),
    ],
)
def test_a_check_that_is_blind_is_reported(scene, blind, plant):
    """Where one of those who are to catch it sees nothing, it is NOT CAUGHT, whoever else does."""
    (chosen,) = [one for one in PLANTS if one.name == plant]
    outcome = try_plant(chosen, scene, 1, CHECKS | {blind: lambda _stage: None})
    assert outcome.state == "NOT CAUGHT"
    assert any(blind in line and "SAW NOTHING" in line for line in outcome.lines())


def test_nobody_finds_anything_in_an_honest_copy_that_grew(held):
    """Everybody looks at it, and its log is longer than what they saw before."""
    assert [look.by for look in held.control.looks] == list(CHECKS)
    assert held.control.wolves == ()
    before, after = (int(word) for word in held.control.did.split() if word.isdigit())
    assert after > before


@pytest.mark.parametrize(
    ("wolf", "plant"),
    [
        (AUDIT, "edit-record"),
        (AGAINST, "fork"),
        (UNPINNED, None),  # no plant needs it
        (OPENING, "rollback-without-lock-store"),
        (WITNESS, "rollback-whole"),
        (MONITOR, "re-sign-history"),
        (RECEIPT, "forge-receipt-value"),
        (PROMISE, "break-promise"),
    ],
)
def test_a_check_that_finds_something_everywhere_cries_wolf(scene, wolf, plant):
    """It alone is named, and what it would have caught is NOT CAUGHT, whoever else finds it."""
    checks = CHECKS | {wolf: lambda _stage: ("failed", "does not like it")}
    control = show_control(scene, 1, checks)
    assert control.wolves == (wolf,)
    assert any(wolf in line and "CRIES WOLF" in line for line in control.lines())
    for chosen in (one for one in PLANTS if one.name == plant):
        outcome = try_plant(chosen, scene, 1, checks, control.wolves)
        assert outcome.state == "NOT CAUGHT"
        assert any(wolf in line and "NOT COUNT" in line for line in outcome.lines())


@pytest.mark.parametrize(("plant", "caught"), [("edit-entry", 1), ("rollback-whole", 0)])
def test_a_drill_in_which_somebody_cries_wolf_fails(archive, capsys, monkeypatch, plant, caught):
    """Also where all that was planted was caught by others; who is needed is not believed."""
    monkeypatch.setitem(CHECKS, WITNESS, lambda _stage: ("failed", "does not cosign"))
    code, said = ask(capsys, "-a", archive, "--no-entry", "--only", plant)
    assert code == 20
    assert f"FAILED: {caught} of 1 planted faults and frauds were caught; cries wolf: witness" in said.out


def test_a_drill_that_fails_ends_with_20(archive, capsys, monkeypatch):
    """The shell is told that something was not caught."""
    monkeypatch.setitem(CHECKS, AUDIT, lambda _stage: None)
    code, said = ask(capsys, "-a", archive, "--no-entry", "--only", "edit-entry")
    assert code == 20
    assert "NOT CAUGHT: edit (edit-entry)" in said.out


def test_a_finding_about_something_else_is_no_catch(scene):
    """What was planted must be named."""

    def act(stage):
        (stage.root / "log" / "1" / "checkpoint").unlink()
        stage.names = ("no such place",)
        return "something else"

    plant = Plant(name="x", fault="x", means="x", needed=(AUDIT,), act=act)
    assert try_plant(plant, scene, 1, CHECKS).state == "NOT CAUGHT"


@pytest.mark.parametrize("plant", [plant for plant in PLANTS if AUDIT in plant.needed], ids=lambda plant: plant.name)
def test_an_audit_does_not_find_it_where_it_was_not_planted(scene, tmp_path, plant):
    """Under the same key and policy, and whatever a finding must name: without the plant there is none."""
    planted = staged(scene, tmp_path / "planted")
    plant.act(planted)
    control = staged(scene, tmp_path / "control")
    control.names, control.policy = planted.names, planted.policy
    assert "" not in planted.names
    assert by_audit(planted) is not None
    assert by_audit(control) is None


def test_a_genuine_promise_is_kept_where_one_is_forged(scene, tmp_path):
    """What is caught is that it is forged, not that nothing was sealed."""
    (plant,) = [plant for plant in PLANTS if plant.name == "forge-promise"]
    stage = staged(scene, tmp_path)
    plant.act(stage)
    assert by_promise(stage) is not None
    stage.promise = scene.added.promise
    assert by_promise(stage) is None


def test_a_drill_that_is_ended_leaves_no_copies(archive, tmp_path, capsys, monkeypatch):
    """They hold the archive's keys: SIGTERM clears up as Ctrl-C does."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setitem(CHECKS, AUDIT, lambda _stage: os.kill(os.getpid(), signal.SIGTERM))
    code, _ = ask(capsys, "-a", archive, "--no-entry", "--only", "edit-entry")
    assert (code, list(tmp_path.iterdir())) == (130, [])
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_plant_that_changes_nothing_is_a_bug(scene):
    """It would prove nothing, whoever sees nothing."""
    plant = Plant(name="x", fault="x", means="x", needed=(AUDIT,), act=lambda _stage: "nothing")
    with pytest.raises(VerificationError, match="changed nothing"):
        try_plant(plant, scene, 1, CHECKS)


def test_the_archive_is_not_touched(copy, capsys):
    """Without the entry every file is what it was, byte for byte."""
    before = digests(copy)
    ask(capsys, "-a", copy, "--no-entry", "--only", "edit", "--only", "fork")
    assert digests(copy) == before


def test_the_log_says_that_a_drill_was_held(copy, tmp_path, capsys):
    """The entry holds the digest of the report in JSON, and nothing but log, lock store and catalog has changed."""
    before = digests(copy)
    filed = tmp_path / "drill.json"
    code, _ = ask(capsys, "-a", copy, "--only", "edit-entry", "--report", filed)
    with writable(copy) as ledger:
        (entry,) = ledger.find_entries("drill.held")
    assert code == 21  # nothing was walked
    assert entry["report"] == hashlib.sha256(filed.read_bytes()).hexdigest()
    assert (entry["planted"], entry["caught"], entry["not_planted"]) == (1, 1, 0)
    after = digests(copy)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert all(name.startswith(("log/", "lock.sqlite", "catalog.sqlite")) for name in changed)
    assert not verify_archive(copy, workers=1).failed


def test_json_is_the_report(archive, tmp_path, capsys):
    """One document, with the digest and what each check said; what is filed as text names it."""
    filed = tmp_path / "drill.txt"
    _, said = ask(capsys, "-a", archive, "--no-entry", "--only", "forged receipt", "--json", "--report", filed)
    document = json.loads(said.out)
    assert document["entry"] is None
    assert [plant["state"] for plant in document["plants"]] == ["caught"] * 3
    assert document["report"] in filed.read_text("utf-8")


def test_the_same_seed_walks_the_same_predictions(scene, held):
    """Whoever doubts a report holds the drill again."""
    again = [choose(scene.base, scene.original_size, 2, seed) for seed in (7, 8)]
    assert again[0] == [walk.id for walk in held.walks]
    assert again[1] != again[0]
    assert "seed 7" in str(held)


def test_every_step_of_a_walk_is_timed(held):
    """Why, replay, receipt and its check each have their milliseconds."""
    assert [set(walk.milliseconds) for walk in held.walks] == [{"why", "replay", "receipt", "verify-receipt"}] * 2
    assert [walk.replay for walk in held.walks] == ["exact", "exact"]


def test_a_replay_that_cannot_run_does_not_pass(tmp_path):
    """A function that is recorded by its source alone cannot be replayed, and the report says so."""
    with contextlib.redirect_stdout(io.StringIO()), backstory.init(tmp_path / "a", origin="example.org/a") as archive:
        archive.traced(len)("abc")
    report = hold_drill(tmp_path / "a", only=["edit-entry"], workers=1, walks=1)
    assert (report.failed, report.incomplete) == (False, True)
    assert "1 prediction could not be replayed" in report.verdict
    assert "could not be replayed:" in str(report)


def test_what_is_sealed_is_not_walked_unless_somebody_says_who_asks(people, capsys):
    """It is told, and where there is nothing else the drill is incomplete; story and receipt are looked at."""
    code, said = ask(capsys, "-a", people, "--no-entry", "--only", "edit-entry", "--json", walks=2)
    document = json.loads(said.out)
    assert (code, document["opened"]) == (21, 0)
    assert document["verdict"].startswith("INCOMPLETE")
    assert document["verdict"].endswith("; 2 predictions not walked: sealed")
    assert [one["replay"] for one in document["walks"]] == ["sealed"] * 2
    assert all(set(one["milliseconds"]) == {"why", "receipt", "verify-receipt"} for one in document["walks"])


def test_one_walk_that_is_whole_is_enough_beside_sealed_ones(held):
    """The verdict still says how many were not walked."""
    whole = held.walks[0]
    sealed = replace(whole, replay="sealed")
    report = replace(held, walks=(whole, sealed))
    assert (report.failed, report.incomplete) == (False, False)
    assert report.verdict == f"{held.verdict}; 1 prediction not walked: sealed"
    assert replace(held, walks=(sealed,)).incomplete
    assert replace(held, walks=(whole, sealed, replace(whole, replay="not-replayable"))).incomplete


def test_a_drill_that_opens_sealed_values_passes_and_says_so(people, capsys):
    """The archive's log says that they were read, for the drill and by whom, and then how many walks it was."""
    opening = ("--actor", "kim", "--purpose", "quarterly drill")
    code, said = ask(capsys, "-a", people, "--only", "edit-entry", *opening, walks=2)
    assert code == 0, said
    assert "sealed values opened in 2 of the walks" in said.out
    with writable(people) as ledger:
        (opened,), (drilled,) = accesses(ledger), ledger.find_entries("drill.held")
    assert (opened["question"], opened["records"]) == ("drill", 30)  # a replay runs the whole call
    assert drilled["opened"] == 2
    assert "actor" in drilled
    assert not verify_archive(people, workers=1).failed


def test_the_log_speaks_of_sealed_values_before_the_first_is_read(people, monkeypatch):
    """When the walks begin, the entry is there."""
    seen = []

    def look_first(*given):
        with writable(people) as ledger:
            seen.extend(entry["question"] for entry in accesses(ledger))
        return walk(*given)

    monkeypatch.setattr("backstory.drill.hold.walk", look_first)
    hold_drill(people, only=["edit-entry"], workers=1, walks=1, reader=Reader(actor="kim", purpose="drill"))
    assert seen == ["drill"]


def test_no_group_is_opened_that_the_log_does_not_name(people, tmp_path):
    """What the gate in the copy saw, of stories, replays and receipts, was announced."""
    with writable(people) as ledger:
        size = ledger.log.checkpoint().size
    names = choose(people, size, 3, 0)
    announced = sealed_values(people, names)
    link_copy(people, tmp_path / "walked")
    walks = walk(
        tmp_path / "walked", [read_layout(people).config.vkey], names, Reader(actor="a", purpose="b"), announced.names
    )
    assert all(one.is_whole and one.opened for one in walks)
    with writable(tmp_path / "walked") as ledger:
        seen = {group for entry in accesses(ledger) for group in entry["groups"]}
    assert seen == set(announced.groups)
    assert seen > {"source", "positions"}


def test_a_report_says_nothing_that_sealed_values_tell(people, tmp_path, monkeypatch):
    """How far a score is from its threshold is left to who may ask `replay`."""
    told = Replay(id="x", verdict="same-decision", reason="the score is 0.25 from the threshold", environment={})
    monkeypatch.setattr(Archive, "replay", lambda _self, _name: told)
    link_copy(people, tmp_path / "walked")
    names = choose(people, 100, 1, 0)
    keys, reader = [read_layout(people).config.vkey], Reader(actor="a", purpose="b")
    (one,) = walk(tmp_path / "walked", keys, names, reader, frozenset(names))
    assert (one.replay, one.failed) == ("same-decision", False)
    assert "0.25" not in str(one)


def test_rows_of_a_source_about_people_are_announced(tmp_path):
    """Also where no group leads to them; then no positions are read."""
    table = loans()
    with contextlib.redirect_stdout(io.StringIO()), backstory.init(tmp_path / "a", origin=ORIGIN) as archive:
        features, rows = archive.split(archive.source(table, "loans", key="loan", subject="loan"), ["amount", "years"])
        model = archive.register(fitted(table), name="credit", rows=rows)
        ids = archive.predict(model, features, rows=rows).wait("sealed").ids
    values = sealed_values(tmp_path / "a", ids[:1])
    assert "source" in values.groups
    assert "positions" not in values.groups


def test_nothing_sealed_is_nothing_opened(copy, capsys):
    """Who asks may be said in any archive; its log speaks of sealed values only where some were read."""
    opening = ("--actor", "kim", "--purpose", "drill")
    code, _ = ask(capsys, "-a", copy, "--only", "edit-entry", *opening, walks=1)
    with writable(copy) as ledger:
        (entry,) = ledger.find_entries("drill.held")
        assert (code, entry["opened"], accesses(ledger)) == (0, 0, [])


@pytest.mark.parametrize("given", [("--actor", "kim"), ("--purpose", "drill")])
def test_actor_and_purpose_come_together(archive, capsys, given):
    """One of them opens nothing, and is refused before anything is copied."""
    code, said = ask(capsys, "-a", archive, "--no-entry", *given)
    assert code == 2
    assert "both --actor and --purpose" in said.err


def test_sealed_values_cannot_be_opened_without_an_entry(people, capsys):
    """The way out without the key is to leave them sealed."""
    (people / "keys" / "log-1.json").unlink()
    code, said = ask(capsys, "-a", people, "--no-entry", "--actor", "kim", "--purpose", "drill")
    assert code == 13
    assert "leave out" in said.err
    assert "--purpose" in said.err


def test_without_the_key_nothing_that_needs_it_counts_as_caught(copy):
    """It is not planted, the report says why, and the verdict is not a pass."""
    (copy / "keys" / "log-1.json").unlink()
    report = quick(copy, "fork", "edit-record", "forged receipt")
    assert {outcome.name: outcome.state for outcome in report.outcomes} == {
        "edit-record": "caught",
        "fork": "not planted",
        "forge-receipt-value": "caught",
        "forge-receipt-path": "caught",
        "forge-receipt-log": "caught",
    }
    assert report.verdict.startswith("INCOMPLETE")
    assert "key store" in str(report)


def test_without_the_key_a_drill_that_is_to_be_recorded_does_not_begin(copy, capsys):
    """It would be held for nothing; the way out is named."""
    (copy / "keys" / "log-1.json").unlink()
    code, said = ask(capsys, "-a", copy)
    assert code == 13
    assert "--no-entry" in said.err


def test_a_lock_store_elsewhere_is_not_touched(tmp_path):
    """The copies have one of their own."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        backstory.init(tmp_path / "a", origin="example.org/a", lock=tmp_path / "lock") as archive,
    ):
        archive.traced(len)("abc")
    before = digests(tmp_path)
    report = quick(tmp_path / "a", "fork", "rollback")
    assert digests(tmp_path) == before
    assert report.count("caught") == 3


@pytest.mark.parametrize("given", [(), ("--no-entry",)])
def test_a_copy_without_its_lock_store_is_told_by_its_own_path(tmp_path, capsys, given):
    """Not by a directory that is gone; and no way out is named that is none."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        backstory.init(tmp_path / "a", origin="example.org/a", lock=tmp_path / "lock") as archive,
    ):
        archive.traced(len)("abc")
    (tmp_path / "lock").rename(tmp_path / "elsewhere")
    code, said = ask(capsys, "-a", tmp_path / "a", *given)
    assert code == 21
    assert f"expected a file at {tmp_path / 'lock'};" in said.err
    assert "--no-entry" not in said.err


def test_an_archive_whose_lock_store_was_taken_away_does_not_verify(copy, capsys):
    """It was inside: that is a finding, and no copy is made."""
    (copy / "lock.sqlite").unlink()
    code, said = ask(capsys, "-a", copy, "--no-entry")
    assert code == 20
    assert f"expected a file at {copy / 'lock.sqlite'};" in said.err


def test_an_archive_whose_key_was_rotated_is_drilled(copy):
    """History is written anew from the change of key on, as the retired key is gone; who pinned it still catches it."""
    pinned = read_layout(copy).config.vkey
    with writable(copy) as ledger:
        rotate_key(ledger)
    report = quick(copy, "re-sign-history", "back-date", "swap-key", vkey=pinned)
    assert report.count("caught") == 3


def test_a_sample_has_no_more_than_was_asked_for(copy):
    """The copies have the oldest records; a segment is taken whole."""
    with backstory.open(copy, sealer="none") as archive:
        for _ in range(3):
            archive.traced(len)("abc")
    sample = quick(copy, "edit-record", sample=40)
    assert sample.records == 40 + 5 * ADDED_ROWS
    assert "a sample" in str(sample)


def test_a_sample_cannot_be_signed_without_the_key(copy):
    """It is said, not passed over."""
    with backstory.open(copy, sealer="none") as archive:
        archive.traced(len)("abc")
    (copy / "keys" / "log-1.json").unlink()
    with pytest.raises(ForbiddenError):
        quick(copy, "edit-record", sample=40)


def test_an_archive_that_does_not_verify_is_not_drilled(copy):
    """What is caught already would be caught again, whatever is planted."""
    next((copy / "segments").iterdir()).unlink()
    with pytest.raises(VerificationError, match="itself does not verify"):
        quick(copy)


def test_an_unknown_plant_is_refused(archive):
    """A drill of nothing would pass."""
    with pytest.raises(InputError, match="edit-record"):
        quick(archive, "no-such-plant")


def test_copies_that_share_files_do_not_share_changes(archive, tmp_path):
    """Whatever is put into one copy, the one it was made of stays as it was."""
    copy_archive(archive, tmp_path / "one")
    link_copy(tmp_path / "one", tmp_path / "other")
    assert differences(tmp_path / "one", tmp_path / "other") == []
    before = digests(tmp_path / "one")
    (segment,) = (tmp_path / "other" / "segments").iterdir()
    put(segment, b"other")
    assert digests(tmp_path / "one") == before
    assert differences(tmp_path / "one", tmp_path / "other") == [f"segments/{segment.name}"]
