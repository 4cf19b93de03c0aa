"""Checkpoints kept elsewhere, pinned keys, cosignatures: what shows that a whole history was rewritten."""

from __future__ import annotations

import base64
import shutil

import pytest
from tests.support.ledgers import OPEN, ORIGIN, make_batch, new_ledger, new_recorder, reopen, world

import backstory
from backstory.errors import InputError
from backstory.ledger.read import manifests
from backstory.ledger.restore import restore
from backstory.ledger.seal import seal_all
from backstory.storage.anchors import COSIGNED, anchor_folder
from backstory.storage.layout import read_layout
from backstory.tlog.checkpoint import parse_checkpoint
from backstory.tlog.cosignature import cosign
from backstory.tlog.key import KeyKind
from backstory.tlog.note import add_signatures, parse_note
from backstory.tlog.signer import Ed25519Signer
from backstory.verify.archive import verify_archive

NOW = 1_767_225_600
WITNESS = Ed25519Signer.from_seed("example.net/witness", bytes(range(32)), kind=KeyKind.COSIGNATURE)
OTHER = "example.org/other"
SIGNATURE = f"\n\u2014 {OTHER} {base64.b64encode(bytes(68)).decode()}\n"
"""A line that looks like a signature."""


def seal(ledger, first):
    """Record five numbered records and seal them."""
    recorder = new_recorder(ledger)
    recorder.record(make_batch(ledger, OPEN, first, 5))
    recorder.close()
    seal_all(ledger)


def note_of(root):
    """Return the published checkpoint of an archive."""
    return (read_layout(root).log / "checkpoint").read_bytes()


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """An archive of two commits, its checkpoints after each, and another history of it under the same key."""
    folder = tmp_path_factory.mktemp("history")
    new_ledger(folder / "begun")
    shutil.copytree(folder / "begun", folder / "rewritten")
    shutil.copytree(folder / "begun", folder / "archive")
    notes = []
    for first in (0, 10):
        seal(reopen(folder / "archive"), first)
        notes.append(note_of(folder / "archive"))
    ledger = reopen(folder / "rewritten", seed=7)
    for first in (1, 11, 21):
        seal(ledger, first)
    return folder / "archive", notes, folder / "rewritten", ledger.layout.config.vkey


def written(note, form):
    """Return a checkpoint as a person may have kept it."""
    checkpoint = parse_checkpoint(parse_note(note).text)
    return {
        "signed": note.decode(),
        "hex": f"{checkpoint.size} {checkpoint.root.hex()}",
        "HEX": f"{checkpoint.size}: {checkpoint.root.hex().upper()}\n",
        "base64": f"{checkpoint.size} {base64.b64encode(checkpoint.root).decode()}",
    }[form]


FORMS = ["signed", "hex", "HEX", "base64"]


def audit(root, **options):
    """Verify an archive; return the places where evidence does not verify."""
    report = verify_archive(root, workers=1, **options)
    return report, {finding.place for finding in report.findings if finding.severity == "failed"}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("where", ["text", "file"])
def test_a_log_contains_what_was_kept_of_it(history, tmp_path, form, where):
    """Every checkpoint of the log, in every form, is contained."""
    root, notes, _, _ = history
    given = [written(note, form) for note in notes]
    if where == "file":
        paths = [tmp_path / str(number) for number in range(len(given))]
        for path, text in zip(paths, given, strict=True):
            path.write_text(text, "utf-8")
        given = paths
    report, failed = audit(root, against=given)
    assert (failed, report.counts["kept checkpoints"]) == (set(), 2)


@pytest.fixture(scope="module")
def receipts(history):
    """A receipt of each kind, of the true history."""
    with backstory.open(history[0], mode="r") as archive:
        ids = [manifest.first_id for _, manifest in manifests(archive._ledger, "prediction")]
        return {"tlog-proof": archive.receipt(ids[0]).data, "receipts": archive.receipts(ids).data}


@pytest.mark.parametrize("kind", ["tlog-proof", "receipts"])
def test_a_receipt_is_a_checkpoint_that_was_kept(history, receipts, tmp_path, kind):
    """Its log contains the checkpoint in it, and a history that was rewritten does not."""
    root, _, rewritten, vkey = history
    path = tmp_path / f"early.{kind}"
    path.write_bytes(receipts[kind])
    report, failed = audit(root, vkey=vkey, against=[path])
    assert (failed, report.counts["kept checkpoints"]) == (set(), 1)
    assert audit(rewritten, vkey=vkey, against=[path])[1] == {f"against early.{kind}"}


@pytest.mark.parametrize("kind", ["tlog-proof", "receipts"])
def test_a_restore_takes_a_receipt_for_the_newest_checkpoint(history, receipts, tmp_path, kind):
    """With the receipt of a record that is lost, the new log says how many entries are."""
    shutil.copytree(history[0].parent / "begun", tmp_path / "copy")
    restored = restore(tmp_path / "copy", world(3), last=receipts[kind]).restored
    note = parse_checkpoint(parse_note(history[1][-1]).text)
    assert (restored.last_known.root, restored.lost) == (note.root.hex(), note.size - 1)


@pytest.mark.parametrize("form", FORMS)
def test_a_rewritten_history_is_caught_by_what_was_kept(history, form):
    """Under the real key it verifies; with one checkpoint of the true history it does not."""
    _, notes, rewritten, vkey = history
    assert audit(rewritten, vkey=vkey)[1] == set()
    report, failed = audit(rewritten, vkey=vkey, against=[written(notes[0], form)])
    assert failed == {"against the given checkpoint"}
    (finding,) = [finding for finding in report.findings if finding.severity == "failed"]
    assert "rewritten" in finding.meaning
    assert finding.index is not None


def test_a_log_that_was_put_back_is_caught(history, tmp_path):
    """A kept checkpoint that is larger than the log says from which entry on it was cut."""
    root, notes, _, _ = history
    begun = root.parent / "begun"
    report, failed = audit(begun, against=[written(notes[1], "hex")])
    assert failed == {"against the given checkpoint"}
    (finding,) = [finding for finding in report.findings if finding.severity == "failed"]
    assert finding.index == 1
    assert "put back" in finding.what


def test_a_directory_of_checkpoints_is_taken_as_a_monitor_keeps_it(history, tmp_path):
    """Each signed note in it is compared; other files are passed over."""
    _, notes, rewritten, _ = history
    (tmp_path / "monitor" / "evidence").mkdir(parents=True)
    (tmp_path / "monitor" / "evidence" / "fork.json").write_text("{}")
    for number, note in enumerate(notes):
        (tmp_path / "monitor" / str(number)).write_bytes(note)
    _, failed = audit(rewritten, against=[tmp_path / "monitor"])
    assert failed == {"against 0", "against 1"}


def test_a_damaged_checkpoint_among_those_kept_is_not_passed_over(history, tmp_path):
    """A file that is called as a monitor calls a checkpoint, and holds none, is told: it may be the one that counts."""
    root, notes, *_ = history
    (tmp_path / "1").write_bytes(notes[0])
    (tmp_path / "2").write_bytes(notes[1][:-2])
    with pytest.raises(InputError, match="checkpoint in 2"):
        audit(root, against=[tmp_path])


@pytest.mark.parametrize("text", ["", "no file", "5", "5 abc", "-1 " + "0" * 64, "05 " + "0" * 64, "5 " + "0" * 63])
def test_what_is_no_checkpoint_is_refused(history, text):
    """The caller is told; nothing is taken for a checkpoint that may be a typing mistake."""
    with pytest.raises(InputError):
        audit(history[0], against=[text])


def test_a_kept_note_of_another_log_is_a_finding(history):
    """It was kept of another log, or another log is shown."""
    root, notes, _, _ = history
    _, failed = audit(root, against=[parse_note(notes[0]).text.replace(ORIGIN, OTHER) + SIGNATURE])
    assert failed == {"against the given checkpoint"}


def test_a_note_signed_by_nobody_is_said_to_be(history):
    """It shows what was kept, not that the log said it."""
    root, notes, _, _ = history
    report, failed = audit(root, against=[parse_note(notes[0]).text + SIGNATURE])
    assert failed == set()
    assert any("not signed by a key that is accepted" in finding.what for finding in report.findings)


@pytest.fixture
def witnessed(history, tmp_path):
    """Both histories, the true one's checkpoint cosigned and kept in each, and the policy that asks for the witness."""
    root, notes, rewritten, vkey = history
    checkpoint = parse_checkpoint(parse_note(notes[-1]).text)
    cosigned = add_signatures(notes[-1], [cosign(checkpoint, WITNESS, NOW)])
    for name, source in (("archive", root), ("rewritten", rewritten)):
        shutil.copytree(source, tmp_path / name)
        folder = anchor_folder(read_layout(tmp_path / name), checkpoint.size)
        folder.mkdir(parents=True)
        (folder / "checkpoint").write_bytes(notes[-1])
        (folder / COSIGNED).write_bytes(cosigned)
    policy = tmp_path / "policy"
    policy.write_text(f"log {vkey}\nwitness w {WITNESS.vkey}\nquorum w\n")
    return tmp_path, policy, vkey


def test_cosignatures_by_the_policy_are_told(witnessed):
    """A log whose newest checkpoint is cosigned is verified, with the witness's name."""
    folder, policy, vkey = witnessed
    report, failed = audit(folder / "archive", policy=policy, vkey=vkey)
    assert (failed, report.incomplete, report.witnesses) == (set(), False, ("w",))
    assert "cosigned by w" in report.verdict


def test_a_rewritten_history_is_caught_by_its_witness(witnessed):
    """With the true history's cosignatures it fails; without them it cannot be verified."""
    folder, policy, vkey = witnessed
    _, failed = audit(folder / "rewritten", policy=policy, vkey=vkey)
    assert any(place.startswith("log/1/anchors/") for place in failed)
    shutil.rmtree(folder / "rewritten" / "log" / "1" / "anchors")
    report, failed = audit(folder / "rewritten", policy=policy, vkey=vkey)
    assert (failed, report.incomplete) == (set(), True)


def test_old_cosignatures_are_refused_where_fresh_ones_are_asked_for(witnessed):
    """A greatest age is of the newest checkpoint that meets the policy."""
    folder, policy, vkey = witnessed
    report, failed = audit(folder / "archive", policy=policy, vkey=vkey, max_age_seconds=3600)
    assert failed == {"log/1/anchors"}
    (finding,) = [finding for finding in report.findings if finding.severity == "failed"]
    assert "old copy" in finding.meaning


def test_a_greatest_age_needs_a_policy(history):
    """Nobody's cosignature is fresh or stale."""
    with pytest.raises(InputError):
        audit(history[0], max_age_seconds=1)


def test_a_report_of_an_archive_under_another_key_is_without_empty_lines(history):
    """Where nothing could be opened the report gives no tree size and no root: there is none."""
    other = Ed25519Signer.from_seed(ORIGIN, bytes(32)).vkey
    lines = str(verify_archive(history[0], workers=1, vkey=other)).splitlines()
    assert (lines[0][:6], lines[1][:7]) == ("FAILED", "failed:")
