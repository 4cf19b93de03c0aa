"""Checking anchors: cosigned checkpoints and time stamps beside a log hold, or are named."""

from __future__ import annotations

import shutil

import pytest
from tests.support.authority import Authority, authority_server
from tests.support.logs import NOW, DiskLog, policy_text
from tests.support.loopback import running

from backstory.ledger.timestamp import stamp_checkpoint
from backstory.storage.anchors import keep_cosigned, newest_cosigned, stamp_name
from backstory.storage.disk import Disk
from backstory.tlog.cosignature import cosign
from backstory.tlog.key import KeyKind, VerifierKey
from backstory.tlog.note import add_signatures
from backstory.tlog.policy import parse_policy
from backstory.tlog.signer import Ed25519Signer
from backstory.tlog.tree import RangeReader
from backstory.verify.anchors import AnchorRules, check_anchors
from backstory.verify.audit import Audit
from backstory.verify.pool import WorkerPool
from backstory.verify.time_stamp import read_roots

WITNESS = Ed25519Signer.from_seed("witness.example.net/w1", bytes(32), kind=KeyKind.COSIGNATURE)


@pytest.fixture(scope="module")
def authority():
    """An authority."""
    return Authority()


@pytest.fixture
def log(tmp_path, authority):
    """A log of nine entries, cosigned and stamped when it had five, cosigned again at nine."""
    log = DiskLog(tmp_path / "a").append(5)
    anchor(log)
    with running(authority_server(authority.answer)) as url:
        stamp_checkpoint(log.layout, Disk(), url, [])
    log.append(4)
    anchor(log)
    return log


def anchor(log):
    """Keep the newest checkpoint with the witness's cosignature."""
    keep_cosigned(log.layout, Disk(), add_signatures(log.note, [cosign(log.checkpoint, WITNESS, NOW)]))


def policy_of(log, signer=WITNESS):
    """Return a policy with one witness."""
    return parse_policy(policy_text(log, {"w1": (signer.vkey, "http://localhost")}))


def check(log, tmp_path, *, roots=None, **options):
    """Check the anchors; return them, and what was found as severity and the end of the place."""
    certificates = ()
    if roots is not None:
        (tmp_path / "root.pem").write_bytes(roots)
        certificates = tuple(read_roots([tmp_path / "root.pem"]))
    size = log.checkpoint.size

    def root_at(at):
        return RangeReader(log.read_tile, size).read_hash(0, at) if at <= size else None

    rules = AnchorRules(
        keys=(VerifierKey.parse(log.vkey),), root_at=root_at, size_now=lambda: size, roots=certificates, **options
    )
    with WorkerPool(1) as pool:
        audit = Audit(layout=log.layout, pool=pool, progress=lambda *_: None)
        anchors = check_anchors(audit, rules)
    assert audit.counts.get("anchors", 0) == len(anchors)
    return anchors, [(f.severity, f.place.removeprefix("log/1/anchors").lstrip("/")) for f in audit.findings]


def test_newest_cosigned_is_the_largest(log):
    """What a receipt takes is the cosigned checkpoint of the largest tree; sizes are compared as numbers."""
    assert newest_cosigned(log.layout).startswith(b"example.org/delays\n9\n")
    log.append(1)
    anchor(log)
    assert newest_cosigned(log.layout).startswith(b"example.org/delays\n10\n")


def test_damaged_cosigned_is_passed_over(log):
    """A receipt made beside a damaged anchor takes the one before."""
    (log.folder / "anchors/9/cosigned").write_bytes(b"nonsense")
    assert newest_cosigned(log.layout).startswith(b"example.org/delays\n5\n")


def test_log_without_anchors_is_whole(tmp_path):
    """None are needed."""
    assert check(DiskLog(tmp_path / "a").append(1), tmp_path) == ((), [])


def test_what_holds_is_told(log, tmp_path, authority):
    """With policy and certificate: who cosigned, and when it existed by whose word."""
    anchors, findings = check(log, tmp_path, roots=authority.pem, policy=policy_of(log), now=NOW)
    assert findings == [("note", "5")]  # the first 5 entries were there by then
    assert [(a.size, a.witnesses) for a in anchors] == [(5, ("w1",)), (9, ("w1",))]
    assert [(s.time, s.authenticated) for a in anchors for s in a.stamps] == [("2026-01-01T12:00:00Z", True)]


def test_without_a_certificate_it_is_noted(log, tmp_path):
    """A stamp that nobody was asked to believe is a note, not a proof."""
    anchors, findings = check(log, tmp_path)
    assert findings == [("note", "")]
    assert [s.authenticated for a in anchors for s in a.stamps] == [False]


def stamp(log, authority):
    """Have the newest checkpoint stamped by an authority whose certificate nobody asks for."""
    with running(authority_server(authority.answer)) as url:
        return stamp_checkpoint(log.layout, Disk(), url, []).path


def test_stamps_of_two_authorities_are_good_to_whoever_believes_one(log, tmp_path, authority):
    """What another authority stamped is a note where a stamp that holds is over as many entries, or more."""
    log.append(1)
    stamp(log, Authority("Other Authority"))
    stamp(log, authority)
    assert check(log, tmp_path, roots=authority.pem)[1] == [("note", "10"), ("note", "10")]


@pytest.mark.parametrize("name", ["Other Authority", "Test Authority"])
def test_a_newer_stamp_of_another_authority_is_unknown(log, tmp_path, authority, name):
    """By when the entries under it were there is open; it says nothing against the log, whatever name it bears."""
    log.append(1)
    stamp(log, Authority(name))
    assert check(log, tmp_path, roots=authority.pem)[1] == [("note", "5"), ("unknown", "10")]


def test_a_stamp_of_another_authority_over_something_else_fails(log, tmp_path, authority):
    """Whoever made it: it is not over the checkpoint it lies beside."""
    other = stamp(DiskLog(tmp_path / "b").append(3), Authority("Other Authority"))
    shutil.copy(other, log.folder / "anchors" / "5" / other.name)
    assert ("failed", f"5/{other.name}") in check(log, tmp_path, roots=authority.pem)[1]


def test_a_broken_signature_of_a_believed_authority_fails(log, tmp_path, authority):
    """It is not taken for one of an authority that nobody knows."""
    (good,) = (log.folder / "anchors" / "5").glob("*.tsr")
    data = bytearray(good.read_bytes())
    data[-5] ^= 1
    bad = good.with_name(stamp_name(bytes(data)))
    bad.write_bytes(data)
    assert check(log, tmp_path, roots=authority.pem)[1] == [("failed", f"5/{bad.name}"), ("note", "5")]


def test_missing_anchors_are_unknown_to_who_asks(log, tmp_path, authority):
    """Whoever demands witnesses and time stamps, and finds none, is told that this could not be verified."""
    shutil.rmtree(log.folder / "anchors")
    assert check(log, tmp_path, roots=authority.pem, policy=policy_of(log))[1] == [("unknown", ""), ("unknown", "")]


def test_other_witness_is_not_enough(log, tmp_path):
    """Cosignatures of a witness the policy does not list do not meet it, and are no damage."""
    other = policy_of(log, Ed25519Signer.generate("witness.example.net/w2", kind=KeyKind.COSIGNATURE))
    assert ("unknown", "") in check(log, tmp_path, policy=other)[1]


def test_cosignature_of_the_future_does_not_count(log, tmp_path):
    """A witness cannot vouch for a time that has not come."""
    anchors, _ = check(log, tmp_path, policy=policy_of(log), now=NOW - 3600)
    assert [a.witnesses for a in anchors] == [(), ()]


def test_forged_cosignature_fails(log, tmp_path):
    """A line in a known witness's name that does not hold is damage."""
    keep_cosigned(
        log.layout,
        Disk(),
        add_signatures(log.note, [cosign(DiskLog(tmp_path / "b").append(1).checkpoint, WITNESS, NOW)]),
    )
    assert ("failed", "9/cosigned") in check(log, tmp_path, policy=policy_of(log))[1]


FILES = ("5/checkpoint", "5/cosigned", "9/cosigned", "5/stamp")


def path_of(log, name):
    """Return the path of an anchor; `stamp` stands for the only token."""
    (stamp,) = (log.folder / "anchors").glob("*/*.tsr")
    return stamp if name.endswith("stamp") else log.folder / "anchors" / name


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["flip", "cut", "empty"])
def test_damaged_file_is_named(log, tmp_path, name, how):
    """A changed byte, a missing end and an empty file are found in each kind of file, which is named."""
    path = path_of(log, name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes({"flip": bytes(data), "cut": path.read_bytes()[:-1], "empty": b""}[how])
    place = f"5/{path.name}" if name.endswith("stamp") else name
    assert ("failed", place) in check(log, tmp_path, policy=policy_of(log))[1]


def test_swapped_files_are_named(log, tmp_path):
    """A checkpoint under another size's name is out of place."""
    five, nine = log.folder / "anchors/5/cosigned", log.folder / "anchors/9/cosigned"
    five.write_bytes(nine.read_bytes())
    assert ("failed", "5/cosigned") in check(log, tmp_path)[1]


def test_stamp_under_another_size_fails(log, tmp_path):
    """A token is over the checkpoint it stands beside."""
    path = path_of(log, "5/stamp")
    shutil.move(path, log.folder / "anchors/9" / path.name)
    assert ("failed", f"9/{path.name}") in check(log, tmp_path)[1]


@pytest.mark.parametrize("name", ["x", "5/x", "05/cosigned"])
def test_strangers_are_named(log, tmp_path, name):
    """What no rule puts there is named."""
    path = log.folder / "anchors" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x")
    assert ("failed", name.removesuffix("/cosigned")) in check(log, tmp_path)[1]


def test_rewritten_history_is_found(log, tmp_path):
    """A history that was signed anew with the real key contradicts each anchor that was kept."""
    other = DiskLog(tmp_path / "b").append(9, "other")
    shutil.copytree(log.folder / "anchors", other.folder / "anchors")
    found = check(other, tmp_path)[1]
    assert {("failed", "5/checkpoint"), ("failed", "5/cosigned"), ("failed", "9/cosigned")} <= set(found)


def test_log_that_was_cut_is_found(log, tmp_path):
    """An anchor of a larger tree than the log has says that it was longer once."""
    short = DiskLog(tmp_path / "b").append(5)
    shutil.copytree(log.folder / "anchors", short.folder / "anchors")
    assert [place for severity, place in check(short, tmp_path)[1] if severity == "failed"] == ["9/cosigned"]
