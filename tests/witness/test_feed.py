"""The feeder: collects cosignatures over HTTP, from our witness and one that others wrote, and keeps a quorum."""

from __future__ import annotations

import fcntl
import json
from contextlib import ExitStack

import pytest
from aics_witness import Witness as ForeignWitness
from aics_witness import WitnessStore, make_server
from aics_witness.config import LogConfig
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.logs import NOW, ORIGIN, Clock, DiskLog, policy_text, witness_at
from tests.support.loopback import answering, refusing, running, serving

import backstory
from backstory.errors import InputError
from backstory.ledger.cosign import ATTEMPTS, feed
from backstory.server import witness_app
from backstory.storage.anchors import anchor_folder, keep_cosigned, newest_cosigned
from backstory.storage.disk import Disk
from backstory.storage.layout import read_layout
from backstory.tlog.cosignature import cosign
from backstory.tlog.key import KeyKind
from backstory.tlog.policy import parse_policy
from backstory.tlog.signer import Ed25519Signer

NAMES = ("w1", "w2", "w3")


@pytest.fixture
def log(tmp_path):
    """A log of five entries."""
    return DiskLog(tmp_path / "a").append(5)


@pytest.fixture
def clock():
    """The witnesses' clock."""
    return Clock()


@pytest.fixture
def witnesses(log, tmp_path, clock):
    """Three witnesses that know the log, served: key and URL by name."""
    with ExitStack() as stack:
        found = {}
        for name in NAMES:
            witness = witness_at(tmp_path / name, log, clock=clock, name=f"witness.example.net/{name}")
            url = stack.enter_context(serving(witness_app(tmp_path / name, clock.world())))
            found[name] = (witness.vkey, url)
        yield found


def fed(log, witnesses, threshold="all"):
    """Run one round of the feeder."""
    return feed(log.layout, parse_policy(policy_text(log, witnesses, threshold)), Disk())


def with_one(log, url, vkey=None):
    """Run one round with one witness, which needs another key where none is given."""
    key = vkey or Ed25519Signer.generate("witness.example.net/x", kind=KeyKind.COSIGNATURE).vkey
    return fed(log, {"x": (key, url)})


def test_quorum_is_met_and_kept(log, witnesses):
    """The cosigned checkpoint is kept where the receipt maker finds it, and meets the policy for whoever checks it."""
    round_ = fed(log, witnesses, 2)
    checked = parse_policy(policy_text(log, witnesses, 3)).check(newest_cosigned(log.layout), now=NOW)
    assert round_.path == anchor_folder(log.layout, 5) / "cosigned"
    assert [witness.name for witness in checked.witnesses] == list(NAMES)
    assert not round_.contradicted


def test_growth_is_fed_with_a_proof(log, witnesses):
    """Each round goes on from what the witnesses cosigned before."""
    fed(log, witnesses)
    log.append(300)
    assert fed(log, witnesses).path == anchor_folder(log.layout, 305) / "cosigned"


def test_size_the_witness_names_is_taken(log, witnesses, tmp_path):
    """A feeder that remembers nothing is told where the witness is, and proves from there."""
    fed(log, witnesses)
    (anchor_folder(log.layout, 5) / "cosigned").unlink()
    log.append(2)
    assert fed(log, witnesses).path


def test_one_missing_witness_is_borne(log, witnesses):
    """Two of three are enough where the policy says so; the third is named."""
    witnesses["w2"] = (witnesses["w2"][0], refusing())
    round_ = fed(log, witnesses, 2)
    assert round_.path
    assert [answer.name for answer in round_.answers if answer.problem] == ["w2"]


def test_quorum_that_is_not_met_keeps_nothing(log, witnesses):
    """With too few, nothing is kept, and the round says so."""
    witnesses["w2"] = (witnesses["w2"][0], refusing())
    round_ = fed(log, witnesses)
    assert (round_.path, newest_cosigned(log.layout)) == (None, None)
    assert "THE QUORUM IS NOT MET" in str(round_)


def test_quorum_can_be_met_in_two_rounds(log, witnesses):
    """Who cosigned this very checkpoint before still counts while others join."""
    fed(log, {name: witnesses[name] for name in ("w1", "w2")})
    both = policy_text(log, witnesses | {"w1": (witnesses["w1"][0], refusing())})
    assert feed(log.layout, parse_policy(both), Disk()).path


def test_log_that_rests_gets_newer_times(log, witnesses, clock):
    """Feeding the same checkpoint again renews its cosignatures, each witness's once."""
    fed(log, witnesses)
    clock.now += 60
    fed(log, witnesses)
    note = newest_cosigned(log.layout)
    times = [witness.time for witness in parse_policy(policy_text(log, witnesses)).check(note).witnesses]
    assert times == [NOW + 60] * 3
    assert note.count(b"witness.example.net") == 3


def test_fork_is_a_contradiction(log, witnesses, tmp_path):
    """A witness that cosigned the other half of a fork says so, and the round says it is one."""
    fed(log, witnesses)
    round_ = fed(DiskLog(tmp_path / "b").append(5, "other"), witnesses)
    assert (round_.contradicted, round_.path) == (True, None)


def test_rollback_is_a_contradiction(log, witnesses, tmp_path):
    """A log that was put back from a copy is behind its witnesses."""
    fed(log.append(2), witnesses)
    round_ = fed(DiskLog(tmp_path / "b").append(5), witnesses)
    assert round_.contradicted
    assert "has cosigned 7 entries of this log, and here are 5" in str(round_)


def test_quicker_feeder_is_no_contradiction(log, tmp_path):
    """That the log grew, and another feeder showed the witness more, while we asked is no sign of a rollback."""
    witness = witness_at(tmp_path / "w", log)
    inner = witness_app(tmp_path / "w")
    is_first = True

    async def app(scope, receive, send):
        nonlocal is_first
        if is_first:
            is_first = False
            witness.add_checkpoint(log.append(1).request(0))
        await inner(scope, receive, send)

    with serving(app) as url:
        round_ = with_one(log, url, witness.vkey)
    assert (round_.contradicted, round_.checkpoint.size) == (False, 6)
    assert round_.path


@pytest.mark.parametrize("times", [2, 3, 50])
def test_quicker_feeders_of_a_busy_log_are_no_contradiction(log, tmp_path, times):
    """However often another feeder was quicker, it is no rollback; if always, this round ends without this witness."""
    witness = witness_at(tmp_path / "w", log)
    inner = witness_app(tmp_path / "w")
    left = times

    async def app(scope, receive, send):
        nonlocal left
        if scope["method"] == "POST" and left:
            left -= 1
            latest = witness.latest(ORIGIN)
            witness.add_checkpoint(log.append(1).request(latest.checkpoint.size if latest else 0))
        await inner(scope, receive, send)

    with serving(app) as url:
        round_ = with_one(log, url, witness.vkey)
    assert not round_.contradicted
    assert (round_.path is None) == (times > ATTEMPTS)
    assert times - left <= 2 * ATTEMPTS
    if times > ATTEMPTS:
        assert "another feeder that was quicker" in str(round_)


def test_a_rollback_while_the_log_grows_is_a_contradiction(log, witnesses, tmp_path):
    """A witness ahead of what is published even after it was asked is one, and what it cosigned is kept as evidence."""
    fed(log.append(20), witnesses)
    back = DiskLog(tmp_path / "b").append(5)
    inner = witness_app(tmp_path / "w1")

    async def app(scope, receive, send):
        back.append(1)
        await inner(scope, receive, send)

    with serving(app) as url:
        round_ = with_one(back, url, witnesses["w1"][0])
    (alarm,) = round_.alarms
    evidence = json.loads(alarm.evidence.read_bytes())
    assert (round_.contradicted, alarm.kind) == (True, "rollback")
    assert evidence["held"].encode().startswith(log.checkpoint.encode().encode())
    assert evidence["shown"].encode() == back.note


@pytest.mark.parametrize(("status", "body"), [(409, b"99\n"), (422, b"")])
def test_word_of_another_history_is_no_evidence(log, status, body):
    """A witness that says so and shows no checkpoint signed by the log is told, and nothing is kept."""
    with answering(status, body) as url:
        round_ = with_one(log, url)
    assert (round_.contradicted, round_.alarms) == (True, ())
    assert "shows nothing signed" in str(round_)


def test_evidence_that_cannot_be_kept_is_told(log, witnesses, tmp_path):
    """Where the evidence cannot be written the round says so, and still that a witness contradicts."""
    fed(log, witnesses)
    other = DiskLog(tmp_path / "b").append(5, "other")
    (other.folder / "anchors").write_bytes(b"")
    round_ = fed(other, witnesses)
    assert round_.contradicted
    assert "evidence could not be looked for, or not be kept" in str(round_)
    assert "shows nothing signed" not in str(round_)


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (403, b"no such key\n", "HTTP 403: no such key"),
        (404, b"", "HTTP 404"),
        (302, b"", "HTTP 302"),
        (500, b"\xff\xfe", "HTTP 500"),
        (409, b"nonsense", "tree size and a newline"),
        (409, b"3\n", "another tree size 4 times"),
        (200, b"", "lines that end with a newline"),
        (200, b"nonsense\n", "signature line"),
        (200, b"x" * 2_000_000, "at most 1000000 bytes"),
    ],
)
def test_answer_that_is_none_is_told(log, status, body, told):
    """Whatever a witness answers instead of a cosignature is said in a line, and keeps nothing."""
    with answering(status, body, location="/elsewhere") as url:
        round_ = with_one(log, url)
    assert told in round_.answers[0].problem
    assert (round_.path, round_.contradicted) == (None, False)


def test_cosignature_of_another_key_does_not_count(log):
    """A line by a key the policy does not give to this witness is passed over."""
    stranger = Ed25519Signer.generate("witness.example.net/y", kind=KeyKind.COSIGNATURE)
    with answering(200, cosign(log.checkpoint, stranger, NOW).encode().encode()) as url:
        assert "no cosignature is by a key of this witness" in with_one(log, url).answers[0].problem


def test_cosignature_of_another_checkpoint_does_not_count(log):
    """A line that does not hold for what was submitted is refused."""
    key = Ed25519Signer.generate("witness.example.net/x", kind=KeyKind.COSIGNATURE)
    line = cosign(log.checkpoint, key, NOW)
    log.append(1)
    with answering(200, line.encode().encode()) as url:
        assert with_one(log, url, key.vkey).path is None


def test_damaged_anchor_does_not_stop_the_feeder(log, witnesses):
    """What was kept and is damaged gives way to what is signed now."""
    fed(log, witnesses)
    (anchor_folder(log.layout, 5) / "cosigned").write_bytes(b"nonsense")
    assert fed(log, witnesses).path
    note = bytearray(newest_cosigned(log.layout))
    at = note.rindex(b" ") + 20
    note[at] = ord("B" if note[at] == ord("A") else "A")
    keep_cosigned(log.layout, Disk(), bytes(note))
    assert fed(log, witnesses).path


@pytest.mark.parametrize(
    "text", ["quorum none\n", "log {log}\nwitness w {w} {url}\nquorum none\n", "log {log}\nwitness w {w}\nquorum w\n"]
)
def test_policy_that_cannot_be_fed_is_refused(log, text):
    """A policy without this log, without witnesses, or whose witnesses have no URL is a mistake of the caller."""
    key = Ed25519Signer.generate("witness.example.net/x", kind=KeyKind.COSIGNATURE)
    with pytest.raises(InputError):
        feed(log.layout, parse_policy(text.format(log=log.vkey, w=key.vkey, url=refusing())), Disk())


def test_feeder_waits_for_no_writer(witnesses, tmp_path):
    """While somebody holds an archive's log to append to it, its published checkpoint is fed all the same."""
    with backstory.init(tmp_path / "real", origin=ORIGIN) as archive:
        vkey = archive.vkey
    real = read_layout(tmp_path / "real")
    witness = witness_at(tmp_path / "w")
    witness.add_logs(vkey)
    with serving(witness_app(tmp_path / "w")) as url, (real.log / "writer").open("ab") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        policy = f"log {vkey}\nwitness w {witness.vkey} {url}\nquorum w\n"
        assert feed(real, parse_policy(policy), Disk()).path


@pytest.mark.parametrize("url", ["ftp://example.org", "http://", "file:///etc/passwd", "http://example.org/?q"])
def test_url_that_is_none_is_refused(log, url):
    """Only http and https are asked, so a policy cannot make the feeder read a file."""
    with pytest.raises(InputError):
        with_one(log, url)


@pytest.fixture
def foreign(log, tmp_path):
    """A witness that others wrote, served: key and URL."""
    with WitnessStore(tmp_path / "foreign.db", create=True) as store:
        config = LogConfig.from_strings(log.checkpoint.origin, [log.vkey])
        witness = ForeignWitness("witness.example.net/foreign", Ed25519PrivateKey.generate(), store, [config])
        with running(make_server(witness)) as url:
            yield witness.vkey_text, url


def test_foreign_witness_accepts_our_feeder(log, foreign, tmp_path):
    """It cosigns our first checkpoint, our growth with our proof, and takes our word for nothing: a fork is refused."""
    assert fed(log, {"f": foreign}).path
    assert fed(log.append(300), {"f": foreign}).path
    round_ = fed(DiskLog(tmp_path / "b").append(305, "other"), {"f": foreign})
    assert (round_.contradicted, round_.path) == (True, None)


def test_both_kinds_of_witness_make_one_quorum(log, foreign, witnesses):
    """Cosignatures of ours and theirs stand on one checkpoint and meet one policy."""
    assert fed(log, witnesses | {"f": foreign}).path
