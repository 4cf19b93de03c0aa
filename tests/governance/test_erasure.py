"""Erasing a person: what is refused, what waits, what a crash leaves, and what is said of it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import backstory
from backstory.archive import Archive
from backstory.cli.main import run
from backstory.errors import BusyError, ConflictError, ForbiddenError, InputError, NotFoundError, VerificationError
from backstory.ledger import half_written
from backstory.ledger.rekey import rekey_domain
from backstory.records.erasure import Erased, padded, parse_erased, tree_leaves
from backstory.records.keyed import are_comparable, is_under, keyed
from backstory.storage.disk import hold_directory
from backstory.verify.archive import verify_archive
from backstory.verify.erasure_certificate import verify_erasure

WHO = "ann"
PEOPLE = pd.DataFrame({"customer": ["ann", "bob", "ann", "cyd"], "age": [31.0, 42.0, 32.0, 55.0]})


def zeros(table: pd.DataFrame) -> np.ndarray:
    """Return a zero for each row."""
    return np.zeros(len(table))


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    """Return an archive with a source about people, a model trained on it, and predictions with and without an id."""
    root = tmp_path / "audit"
    with backstory.init(root, origin="example.org/erasure", master=tmp_path / "master"):
        pass
    with opened(root) as archive:
        frame = archive.source(PEOPLE, "people", subject="customer")
        features, rows = archive.split(frame[["_row_people", "age"]])
        model = archive.register(zeros, name="m", rows=rows)
        archive.predict(model, features, rows=rows, method="__call__")
        archive.predict(model, PEOPLE[["age"]], subject=PEOPLE["customer"], method="__call__")
        archive.flush()
    return root


def opened(root: Path) -> Archive:
    """Open an archive for somebody who may see everything."""
    return backstory.open(root, actor="dpo", purpose="test")


@pytest.fixture
def archive(audit: Path) -> Iterator[Archive]:
    """Open it."""
    with opened(audit) as one:
        yield one


def test_nobody_is_erased_without_actor_or_ground(audit: Path) -> None:
    """Who erases must be named, and why must be one of the known grounds."""
    with backstory.open(audit) as archive, pytest.raises(ForbiddenError, match="actor"):
        archive.privacy.erase(WHO, ground="request")
    with opened(audit) as archive, pytest.raises(InputError, match="ground"):
        archive.privacy.erase(WHO, ground="because")


def test_what_dead_writers_left_goes_with_an_erasure(
    archive: Archive, audit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys as they were, a shard from before it was rewritten: files without a name are removed, unless in writing."""
    folders = [*(audit / name for name in ("keys", "keys/staff", "vault", "segments")), audit.parent / "master"]
    for folder in folders:
        folder.mkdir(exist_ok=True)
        folder.joinpath(".new-left").write_bytes(b"as it was")
    erase = archive.privacy.erase
    erase("bob", ground="request")
    assert all(folder.joinpath(".new-left").exists() for folder in folders)
    monkeypatch.setattr(half_written, "WRITING_NS", -(10**9))
    erase(WHO, ground="request")
    assert not any(folder.joinpath(".new-left").exists() for folder in folders)


def test_find_says_where_a_person_is(archive: Archive) -> None:
    """Records by kind, rows, sources and models; after the erasure there is nothing."""
    found = archive.privacy.find(WHO)
    assert (dict(found.kinds), found.rows, found.sources, found.models) == ({"prediction": 4}, 2, ("people",), ("m:1",))
    done = archive.privacy.erase(WHO, ground="request")
    assert (done.records, done.rows, done.complete) == (4, 2, True)
    assert archive.privacy.find(WHO).kinds == {}
    assert "nobody was found" not in str(done)


def test_nobody_is_not_erased(archive: Archive) -> None:
    """An id that nobody has, or nobody any more, is an error: no entry and no certificate say that all is done."""
    with pytest.raises(NotFoundError, match="nobody was found"):
        archive.privacy.erase("anne", ground="request")
    assert archive._ledger.find_entries("subject.erased") == []
    assert list((archive._ledger.layout.vault / "erasures").glob("*")) == []


def test_others_stay(archive: Archive) -> None:
    """What is about others opens as before, rows and records, and the audit finds nothing wrong."""
    before = archive.privacy.find("bob")
    archive.privacy.erase(WHO, ground="request")
    after = archive.privacy.find("bob")
    assert (after.kinds, after.rows) == (before.kinds, before.rows)
    stories = [archive.why(name) for name in after.ids]
    assert [story.features for story in stories] == [{"age": 42.0}] * 2
    archive.flush()
    report = verify_archive(archive.path)
    assert [finding for finding in report.findings if finding.severity != "note"] == []


def test_times_do_not_tell_what_was_erased_together(archive: Archive) -> None:
    """Shards, indexes, openings and their keys that were written anew have the times they had."""
    archive.access.assign("Ann Lee", "data-subject", subject=WHO)
    layout = archive._ledger.layout
    marks = {folder / "erasures.mark" for folder in (layout.vault, layout.keys)}

    def files() -> dict[Path, tuple[int, bytes]]:
        paths = {path for folder in (layout.vault, layout.keys) for path in folder.rglob("*") if path.is_file()}
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in paths - marks}

    before = files()
    archive.privacy.erase(WHO, ground="request")
    after = files()
    changed = {path for path in before.keys() & after.keys() if before[path][1] != after[path][1]}
    assert {path.suffix for path in changed} >= {".shard", ".people", ".json"}
    drawn = layout.keys / "datasets.json"  # destroyed, and made anew
    assert [path for path in changed if before[path][0] != after[path][0]] == [drawn]


def test_a_hold_refuses_on_the_record(archive: Archive) -> None:
    """A legal hold refuses the erasure with its ground in the log; nothing was erased."""
    bob = archive.privacy.find(WHO).ids[0]
    archive.retention.hold("litigation", custodian="legal", review="2030-01-01T00:00:00Z", predictions=[bob])
    with pytest.raises(ForbiddenError, match=r"nothing was erased: 1 of 4 records .* must be kept .*17\(3\)\(e\)"):
        archive.privacy.erase(WHO, ground="request", request="case 17")
    (refused,) = archive._ledger.find_entries("erasure.refused")
    assert refused["grounds"] == [{"code": "hold", "law": "GDPR 17(3)(e)"}]
    assert archive.privacy.find(WHO).kinds == {"prediction": 4}
    done = archive.privacy.erase(WHO, ground="request", partial=True)
    assert (done.records, done.rows, len(done.kept), done.left) == (3, 0, 1, 1)
    assert archive.privacy.find(WHO).kinds == {"prediction": 1}
    said = str(done)
    assert "in part: what must be kept is still there" in said
    assert "1 records of the person" in said
    assert "rows of datasets about the person, and what was made of them, as long as these records" in said
    proof = verify_erasure(done.certificate.data, vkey=archive.vkey)
    assert (proof.complete, proof.partial) == (True, True)
    assert "not all of it: other records of the person had to be kept" in str(proof)


def test_an_erasure_of_all_says_so(archive: Archive) -> None:
    """Where nothing was kept, neither the answer nor the certificate says that something was."""
    done = archive.privacy.erase(WHO, ground="request")
    assert "nothing of the person that can be erased is left" in str(done)
    assert "not all of it" not in str(verify_erasure(done.certificate.data, vkey=archive.vkey))


def test_who_saw_says_that_it_was_erased_whom(audit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A read of an erased person's record may have been of another's: it says that this was erased, not unsaid."""
    with opened(audit) as archive:
        bob = archive.privacy.find("bob").ids[0]
        archive.why(archive.privacy.find(WHO).ids[0])
        assert [one.access.question for one in archive.access.who_saw(prediction=bob) if one.access.named] == []
        archive.privacy.erase(WHO, ground="request")
        unsure = archive.access.who_saw(prediction=bob)
        erased = [one for one in unsure if one.access.is_erased]
        assert {(one.certain, one.records, one.access.named) for one in erased} == {(False, (), True)}
        assert {one.access.question for one in erased} == {"why"}
        assert {one.access.question for one in unsure if one not in erased} == {"find person"}
        assert [one.to_dict()["erased"] for one in unsure].count(True) == len(erased)
    who = ["-a", str(audit), "--actor", "dpo", "--purpose", "test"]
    assert run(["access", "who-saw", "--prediction", bob, *who]) == 0
    said = capsys.readouterr().out
    assert "which was erased" in said
    assert "not said which" in said


STEPS = (
    "rewrite_shard",
    "rewrite_table",
    "_destroy",
    "forget_openings",
    "_append",
    "keep_certificate",
    "remove_plan",
    "let_go",
    "write_plan",
)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("after", [False, True])
def test_a_crash_leaves_the_person_or_an_erasure_that_is_completed(
    audit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    """Whatever step is the last one done, the next opener finds the person whole, or completes the erasure.

    The certificate is then where it was to be, or it waits; nothing of it is lost, and nothing is kept afterwards.
    """
    from backstory.governance import erasure

    done: Callable[..., object] = getattr(erasure, step)

    def stop(*given: object, **named: object) -> object:
        if after:
            done(*given, **named)
        raise KeyboardInterrupt

    with opened(audit) as archive:
        monkeypatch.setattr(erasure, step, stop)
        with pytest.raises(KeyboardInterrupt):
            archive.privacy.erase(WHO, ground="request", request="case 17", certificate=tmp_path / "ann.erasure")
        monkeypatch.undo()
    with opened(audit) as archive:
        is_whole = step == "write_plan" and not after
        assert archive.privacy.find(WHO).kinds == ({"prediction": 4} if is_whole else {})
        assert len(archive._ledger.find_entries("subject.erased")) == (0 if is_whole else 1)
        waiting = archive.privacy.certificates()
        has_file = step == "let_go"
        assert (tmp_path / "ann.erasure").exists() == has_file
        assert [one.request for one in waiting] == ([] if is_whole or (has_file and after) else ["case 17"])
        for one in waiting:
            archive.privacy.hand_over(one.entry, tmp_path / "ann.erasure", overwrite=True)
        if not is_whole:
            proof = verify_erasure(tmp_path / "ann.erasure", vkey=archive.vkey)
            assert (len(proof.erased), proof.complete, proof.partial) == (6, True, False)
        assert archive.privacy.certificates() == []
        assert nothing_waits(archive)
    report = verify_archive(audit)
    assert [finding for finding in report.findings if finding.severity == "failed"] == []


def nothing_waits(archive: Archive) -> bool:
    """Say whether neither plans nor certificates are kept, nor keys of theirs."""
    ledger = archive._ledger
    kept = [path for name in ("erasures", "certificates") for path in (ledger.layout.vault / name).glob("*")]
    return not kept and not [name for name in ledger.keys.names() if name.startswith("erasure-")]


def test_whoever_rewrites_at_the_same_time_costs_no_certificate(audit: Path, tmp_path: Path) -> None:
    """An erasure that another process holds up goes on later, and its certificate waits, for one reader, once."""
    with opened(audit) as archive:
        with hold_directory(archive._ledger.layout.vault, "busy"), pytest.raises(BusyError, match="it has begun"):
            archive.privacy.erase(WHO, ground="request")
        assert archive.privacy.certificates() == []
        (done,) = archive.privacy.finish()
        (waiting,) = archive.privacy.certificates()
        assert (waiting.entry, waiting.request, waiting.complete) == (done.entry, None, True)
        rekey_domain(archive._ledger, "personal", "rotation")
        path = archive.privacy.hand_over(waiting.entry, tmp_path / "ann.erasure")
        assert len(verify_erasure(path, vkey=archive.vkey).erased) == 6
        assert nothing_waits(archive)
        with pytest.raises(NotFoundError, match="handed over"):
            archive.privacy.hand_over(waiting.entry, tmp_path / "again.erasure")
        with pytest.raises(NotFoundError, match="no erasure"):
            archive.privacy.hand_over(0, tmp_path / "again.erasure")
        assert [one.question for one in archive.access.log()][-2:] == ["certificate", "access-log"]


def test_nothing_is_erased_where_the_certificate_has_no_place(archive: Archive, tmp_path: Path) -> None:
    """A file that stands where the certificate is to be is noticed before anything is destroyed."""
    (tmp_path / "ann.erasure").write_text("of another erasure")
    with pytest.raises(ConflictError, match="certificate"):
        archive.privacy.erase(WHO, ground="request", certificate=tmp_path / "ann.erasure")
    assert archive.privacy.find(WHO).kinds == {"prediction": 4}


OTHER = """
import sys, pandas as pd, backstory
with backstory.open(sys.argv[1], actor="batch", sealer="none") as archive:
    model = archive.model("m")
    table = pd.DataFrame({"age": [33.0]})
    archive.predict(archive.register(ZEROS, name="m2"), table, subject="ann", method="__call__").wait("durable")
    print("ready", flush=True)
    sys.stdin.readline()
"""


def test_what_another_process_holds_is_waited_for(audit: Path) -> None:
    """While another process has a stream open the erasure is not complete; the next opener after it completes it."""
    code = OTHER.replace("ZEROS", "lambda table: [0.0] * len(table)")
    with subprocess.Popen(
        [sys.executable, "-c", code, str(audit)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "ready"
        with opened(audit) as archive:
            done = archive.privacy.erase(WHO, ground="request")
            assert (done.complete, len(done.waits)) == (False, 1)
            assert archive.privacy.finish() == []
        other.communicate("\n")
    with opened(audit) as archive:
        first, last = archive._ledger.find_entries("subject.erased")
        assert (first["complete"], last["complete"], last["follows"]) == (False, True, first["root"])
        assert archive.privacy.find(WHO).kinds == {}
        assert list((archive._ledger.layout.vault / "erasures").glob("*")) == []


def test_what_is_held_stays_when_an_erasure_that_waited_goes_on(audit: Path) -> None:
    """An erasure that went on without what is held, and waits, does not take it once its turn comes."""
    code = OTHER.replace("ZEROS", "lambda table: [0.0] * len(table)")
    with subprocess.Popen(
        [sys.executable, "-c", code, str(audit)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "ready"
        with opened(audit) as archive:
            held = archive.privacy.find(WHO).ids[:1]
            archive.retention.hold("m", custodian="legal", review="2999-01-01T00:00:00Z", predictions=held)
            done = archive.privacy.erase(WHO, ground="request", partial=True)
            assert (done.complete, len(done.kept)) == (False, 1)
        other.communicate("\n")
    with opened(audit) as archive:
        (refused,) = archive._ledger.find_entries("erasure.refused")
        assert refused["grounds"] == [{"code": "hold", "law": "GDPR 17(3)(e)"}]
        assert archive.privacy.find(WHO).ids == held
        assert list((archive._ledger.layout.vault / "erasures").glob("*")) == []


def test_more_missing_than_the_log_accounts_for_is_found(audit: Path) -> None:
    """Values that disappear without an erasure in the log are a failure of the audit."""
    from backstory.ledger.people_index import find_people_rows
    from backstory.ledger.rewrite import rewrite_shard

    with opened(audit) as archive:
        ((manifest, rows),) = find_people_rows(archive._ledger, WHO)
        rewrite_shard(archive._ledger, manifest, {"features": rows, "output": rows, "subject": rows})
    report = verify_archive(audit)
    (failed,) = [finding for finding in report.findings if finding.severity == "failed"]
    assert "6 sealed values or rows are missing" in failed.what


def test_a_correction_stands_beside_the_original(archive: Archive) -> None:
    """A rectification changes nothing, is sealed, and goes with the person."""
    ids = archive.privacy.find("cyd").ids
    said = archive.privacy.rectify(ids[1], {"age": 56.0}, reason="typing error")
    assert (said.to_dict()["values"], said.reason, said.who) == ({"age": "56.0"}, "typing error", "dpo")
    story = archive.why(ids[1])
    assert (story.features, [one.text for one in story.followed]) == ({"age": 55.0}, ["corrected: age is 56.0"])
    archive.flush()
    assert [one.id for one in archive.privacy.corrections(ids[1])] == [said.id]
    with pytest.raises(InputError, match="features of the prediction"):
        archive.privacy.rectify(ids[1], {"height": 1.0}, reason="typing error")
    assert archive.privacy.erase("cyd", ground="unlawful").records == 3
    (gone,) = archive.privacy.corrections(ids[1])
    assert (gone.to_dict()["values"], gone.reason, gone.who) == (None, None, "dpo")


def test_a_correction_is_of_the_type_of_its_column(archive: Archive) -> None:
    """A number may be given as text, as the command line does; what is no number is refused, and not shown."""
    (_, one) = archive.privacy.find("cyd").ids
    with pytest.raises(InputError, match=r"value of type float64 for 'age'") as refused:
        archive.privacy.rectify(one, {"age": "high"}, reason="typing error")
    assert "high" not in str(refused.value)
    said = archive.privacy.rectify(one, {"age": "56"}, reason="typing error")
    assert said.to_dict()["values"] == {"age": "56"}


def test_nothing_is_linked_to_a_prediction_of_an_erased_person(archive: Archive) -> None:
    """Outcomes, corrections and decisions would stay for good: none is recorded, and all that are meant are named."""
    mine, bob = archive.privacy.find(WHO).ids, archive.privacy.find("bob").ids
    outcome = archive.outcome(mine[0], 1)
    request = archive.rights.request("erasure", subject=WHO, due="2030-01-01T00:00:00Z", text="forget me")
    archive.privacy.erase(WHO, ground="request")
    made = {"outcome": "refused", "adverse": True, "reliance": "sole", "subject": "bob"}
    several = [*bob, *mine]
    for link in (
        lambda: archive.outcome(mine[0], "late"),
        lambda: archive.outcome(several, [1] * len(several)),
        lambda: archive.decisions.correct_outcome(outcome, 2),
        lambda: archive.privacy.rectify(mine[0], {"age": 5.0}, reason="late"),
        lambda: archive.decisions.record(mine[0], automation="human-decided", action="accepted", **made),
        lambda: archive.decisions.record_many(several, **{**made, "subject": ["bob"] * len(several)}),
    ):
        with pytest.raises(ConflictError, match="about somebody who was erased") as refused:
            link()
        assert set(refused.value.details["ids"]) <= set(mine)
    assert sorted(refused.value.details["ids"]) == sorted(mine)
    with pytest.raises(ConflictError, match="expected no text="):
        archive.rights.answer(request.id, "fulfilled", text="done")
    assert archive.rights.answer(request.id, "fulfilled").state == "fulfilled"
    assert archive.outcome(bob[0], "late")
    archive.flush()
    assert [archive.why(one).outcomes for one in (mine[1], bob[1])] == [(), ()]


def test_what_another_links_at_the_same_moment_is_erased_when_it_comes(
    audit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another process linked just before it could see the erasure is erased when it comes in; others' stays."""
    from backstory.archive import calls

    with opened(audit) as archive:
        mine, bob = archive.privacy.find(WHO).ids[0], archive.privacy.find("bob").ids[0]
        with backstory.open(audit, sealer="none") as other:
            other.outcome(bob, "early")  # its stream is open
            assert not archive.privacy.erase(WHO, ground="request").complete
            monkeypatch.setattr(calls, "require_not_erased", lambda *_: None)
            said = other.outcome([mine, bob], ["late", "late"])
        (done,) = archive.privacy.finish()
        assert (done.complete, done.records) == (True, 1)
        assert verify_erasure(done.certificate.data, vkey=archive.vkey).erased == (f"record {said[0]}",)
        assert [one["value"] for one in archive.why(bob).outcomes] == ["early", "late"]
        assert archive.privacy.finish() == []


def test_the_command_line(
    audit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`erase` reads the person from standard input, puts the certificate where it is told, and a stranger checks it."""
    who = ["-a", str(audit), "--actor", "dpo", "--purpose", "request", "--json"]
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{WHO}\n"))
    assert run(["erase", "--find", *who]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 2
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{WHO}\n"))
    path = tmp_path / "ann.erasure"
    assert run(["erase", "--ground", "request", "--certificate", str(path), "--verifier", *who]) == 0
    assert json.loads(capsys.readouterr().out)["records"] == 4
    with backstory.open(audit, mode="r") as archive:
        vkey = archive.vkey
    assert run(["verify-erasure", str(path), "--vkey", vkey, "--json"]) == 0
    proven = json.loads(capsys.readouterr().out)
    assert len(proven["erased"]) == 6
    command = [sys.executable, "-I", "-S", "check_erasure.py", path.name, "--vkey", vkey, "--json"]
    alone = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(alone.stdout) == proven
    assert run(["erase", "--finish", *who]) == 0
    capsys.readouterr()
    assert run(["erase", "--certificates", *who]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert run(["erase", "--entry", "0", "--certificate", str(tmp_path / "other"), *who]) == 10


def test_a_person_on_the_command_line_is_not_taken(capsys: pytest.CaptureFixture[str]) -> None:
    """`erase` says where it reads the person from, and does not repeat who was given."""
    assert run(["erase", "ann-zebra", "--ground", "request"]) == 2
    said = capsys.readouterr().err
    assert "read from standard input" in said
    assert "leave it out" in said
    assert "ann-zebra" not in said


@pytest.mark.parametrize(
    "given",
    [
        [],
        ["--find", "--verifier"],
        ["--find", "--finish"],
        ["--find", "--certificate", "x"],
        ["--entry", "3"],
        ["--find", "--collected"],
    ],
)
def test_erase_does_one_thing_at_a_time(given: list[str], audit: Path) -> None:
    """What it is to do is said, once, and a certificate only where there is one."""
    assert (
        run(
            ["erase", *given, "-a", str(audit), "--actor", "dpo"],
        )
        == 2
    )


def test_a_certificate_of_another_form_is_refused(archive: Archive) -> None:
    """A file that says the same in another way, or more, does not verify."""
    data = archive.privacy.erase(WHO, ground="request").certificate.data
    assert verify_erasure(data, vkey=archive.vkey).complete
    for changed in (data.replace(b'"v":1', b'"v":1 '), data.replace(b'"what"', b'"that"', 1)):
        with pytest.raises(VerificationError):
            verify_erasure(changed, vkey=archive.vkey)


def test_a_tree_says_no_exact_count() -> None:
    """Leaves are filled up to a power of two, at least 16, and sorted."""
    assert [padded(count) for count in (0, 1, 16, 17, 1000)] == [16, 16, 16, 32, 1024]
    leaves = tree_leaves([bytes([number]) * 32 for number in range(20)], os.urandom)
    assert (len(leaves), leaves) == (32, sorted(leaves))


def test_an_entry_is_read_as_it_was_written() -> None:
    """What `document` gives `parse_erased` reads."""
    hexes = [bytes([number]).hex() * 32 for number in range(4)]
    one = Erased(
        ground="child",
        request=hexes[0],
        leaves=16,
        root=hexes[1],
        counts=hexes[2],
        values=32,
        tables=16,
        rekeyed=True,
        complete=False,
        partial=False,
        follows=hexes[3],
    )
    assert parse_erased(one.document()) == one


def test_digests_of_two_keys_are_not_comparable() -> None:
    """A keyed digest says under which key it is, without giving the key away."""
    one, other = keyed(bytes(32), b"x"), keyed(b"k" * 32, b"x")
    assert (is_under(bytes(32), one), is_under(bytes(32), other)) == (True, False)
    assert (are_comparable(one, one), are_comparable(one, other)) == (True, False)
    assert bytes(32).hex() not in one
