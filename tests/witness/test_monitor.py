"""The monitor: remembers what a log showed, and alarms at forks, rollbacks, damage and silence, with evidence."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack

import pytest
from tests.support.logs import NOW, Clock, DiskLog, policy_text, witness_at
from tests.support.loopback import answering, refusing, serving

from backstory.errors import InputError, NotFoundError, VerificationError
from backstory.ledger.cosign import feed
from backstory.server import log_app, witness_app
from backstory.storage.disk import Disk
from backstory.tlog.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from backstory.tlog.cosignature import cosign
from backstory.tlog.key import KeyKind, VerifierKey, require_keys
from backstory.tlog.note import add_signatures
from backstory.tlog.policy import parse_policy
from backstory.tlog.proof import verify_consistency
from backstory.tlog.signer import Ed25519Signer
from backstory.verify.log_source import open_log
from backstory.verify.monitor import Monitor


class Watch:
    """A monitor of one log, with what it takes."""

    def __init__(self, root, log, clock):
        self.log, self.clock = log, clock
        self.state = root / "monitor"
        self.options = {}

    def look(self, place=None):
        """Look at the log, or at what is in its place."""
        keys = require_keys(self.log.vkey)
        return Monitor(self.state, keys, self.clock.world(), **self.options).look(open_log(str(place or self.log.root)))

    def alarms(self, place=None):
        """Look, and return the kinds of alarms."""
        return [alarm.kind for alarm in self.look(place).alarms]

    def kept(self):
        """Return the tree sizes it keeps."""
        return sorted(int(path.name) for path in self.state.glob("*/[0-9]*"))


@pytest.fixture
def log(tmp_path):
    """A log of five entries."""
    return DiskLog(tmp_path / "a").append(5)


@pytest.fixture
def clock():
    """The monitor's clock, and the witnesses'."""
    return Clock()


@pytest.fixture
def watch(log, tmp_path, clock):
    """A monitor of it."""
    return Watch(tmp_path, log, clock)


@pytest.fixture
def witnessed(watch, tmp_path, log, clock):
    """Two witnesses of the log, served, in the monitor's policy; the feeder's policy."""
    with ExitStack() as stack:
        found = {}
        for name in ("w1", "w2"):
            witness = witness_at(tmp_path / name, log, clock=clock, name=f"witness.example.net/{name}")
            found[name] = (witness.vkey, stack.enter_context(serving(witness_app(tmp_path / name, clock.world()))))
        policy = parse_policy(policy_text(log, found))
        watch.options = {"policy": policy, "max_age_seconds": 3600}
        feed(log.layout, policy, Disk())
        yield policy


def fork_of(tmp_path, size=5):
    """Return another history of the same log."""
    return DiskLog(tmp_path / "b").append(size, "other")


def evidence(alarm, log):
    """Return kind, both checkpoints and the proof of an evidence file, opened with the log's key alone."""
    document = json.loads(alarm.evidence.read_text())
    keys = [VerifierKey.parse(log.vkey)]
    held, shown = (open_checkpoint(document[n].encode(), document["origin"], keys) for n in ("held", "shown"))
    return document["kind"], held, shown, [bytes.fromhex(text) for text in document["proof"]]


def test_first_look_keeps_the_checkpoint(watch, log):
    """What is seen first is kept, as it was signed."""
    look = watch.look()
    assert (look.alarms, look.before, watch.kept()) == ((), None, [5])
    (path,) = watch.state.glob("*/5")
    assert path.read_bytes() == log.note


def test_growth_is_proven_and_kept(watch, log):
    """A larger tree that extends the kept one is kept too."""
    watch.look()
    log.append(300)
    look = watch.look()
    assert (look.alarms, look.before, watch.kept()) == ((), 5, [5, 305])


def test_same_checkpoint_is_no_alarm(watch):
    """A log that rests is fine."""
    watch.look()
    assert watch.alarms() == []


def test_over_http_as_on_disk(watch, log):
    """A log that is served is looked at through its tiles alone, partial ones that are gone included."""
    with serving(log_app(log.root)) as url:
        watch.look(url)
        log.append(252).append(300)
        assert watch.alarms(url) == []
    assert watch.kept() == [5, 557]


def test_fork_of_one_size_is_told_with_both_checkpoints(watch, log, tmp_path):
    """Two trees of one size: both signed checkpoints are in the evidence."""
    watch.look()
    fork = fork_of(tmp_path)
    (alarm,) = watch.look(fork.root).alarms
    assert alarm.kind == "fork"
    assert evidence(alarm, log) == ("fork", log.checkpoint, fork.checkpoint, [])
    assert watch.kept() == [5]


def test_grown_fork_is_told_with_a_proof(watch, log, tmp_path):
    """A larger tree with another beginning: the evidence's proof leads to the new root, and to another old one."""
    watch.look()
    fork = fork_of(tmp_path)
    beginning = fork.checkpoint.root
    (alarm,) = watch.look(fork.append(3).root).alarms
    kind, held, shown, proof = evidence(alarm, log)
    assert (kind, held, shown) == ("fork", log.checkpoint, fork.checkpoint)
    verify_consistency(5, 8, beginning, shown.root, proof)
    with pytest.raises(VerificationError):
        verify_consistency(5, 8, held.root, shown.root, proof)


def test_fork_behind_a_power_of_two_is_proven_too(watch, log, tmp_path):
    """A proof from such a size leaves out the old root: in the evidence it comes first, and is not the held one."""
    log.append(3)
    watch.look()
    fork = fork_of(tmp_path, 8)
    beginning = fork.checkpoint.root
    (alarm,) = watch.look(fork.append(3).root).alarms
    kind, held, shown, (first, *proof) = evidence(alarm, log)
    assert (kind, held, first) == ("fork", log.checkpoint, beginning)
    verify_consistency(8, 11, first, shown.root, proof)


def test_damage_below_the_root_is_no_fork(watch, log):
    """A tile that only the proof needs: a log with a changed bit there is damaged; what is kept accuses nobody."""
    log.append(195)
    watch.look()
    log.append(100)
    path = log.folder / "tile/0/000"
    data = bytearray(path.read_bytes())
    data[250 * 32] ^= 1
    path.write_bytes(data)
    (alarm,) = watch.look().alarms
    assert (alarm.kind, evidence(alarm, log)[0]) == ("damaged", "unproven")


def test_fork_alarms_at_every_look(watch, tmp_path):
    """An alarm is not forgotten by being raised."""
    watch.look()
    fork = fork_of(tmp_path).append(3)
    assert [watch.alarms(fork.root) for _ in range(2)] == [["fork"], ["fork"]]


def test_rollback_is_told(watch, log, tmp_path):
    """A smaller tree than was shown before, even of the same history."""
    copy = shutil.copytree(log.root, tmp_path / "copy")
    log.append(2)
    watch.look()
    (alarm,) = watch.look(copy).alarms
    kind, held, shown, _ = evidence(alarm, log)
    assert (kind, held.size, shown.size) == ("rollback", 7, 5)


def test_tiles_of_another_tree_are_damage(watch, log):
    """Tiles that do not lead to the signed root are no fork: that the log is damaged is all they show."""
    (log.folder / "tile/0/000.p/5").write_bytes(bytes(5 * 32))
    assert watch.alarms() == ["damaged"]
    assert watch.kept() == []


def test_cut_tile_is_damage(watch, log):
    """A tile of the wrong length is damage too."""
    (log.folder / "tile/0/000.p/5").write_bytes(b"cut")
    assert watch.alarms() == ["damaged"]


def test_tile_that_is_gone_is_not_called_a_fork(watch, log):
    """What cannot be read is unknown, and the checkpoint is not kept as verified."""
    watch.look()
    log.append(1)
    (log.folder / "tile/0/000.p/6").unlink()
    look = watch.look()
    assert ([alarm.kind for alarm in look.alarms], look.failed, watch.kept()) == (["unreachable"], False, [5])


def test_other_signature_is_told(watch, log):
    """A checkpoint by another key, and something that is none, are alarms."""
    forged = sign_checkpoint(log.checkpoint, Ed25519Signer.from_seed(log.signer.name, bytes(32)))
    (log.folder / "checkpoint").write_bytes(forged)
    assert watch.alarms() == ["signature"]
    (log.folder / "checkpoint").write_bytes(b"nonsense")
    assert watch.alarms() == ["signature"]


@pytest.mark.parametrize(("status", "body"), [(404, b""), (500, b"broken"), (302, b""), (200, b"x" * 1_100_000)])
def test_server_that_fails_is_unreachable(watch, status, body):
    """An answer that is no checkpoint's says nothing about the log."""
    with answering(status, body, location="/") as url:
        look = watch.look(url)
    assert ([alarm.kind for alarm in look.alarms], look.failed) == (["unreachable"], False)


def test_nobody_there_is_unreachable(watch):
    """Nor does no answer."""
    assert watch.alarms(refusing()) == ["unreachable"]


def test_changed_memory_is_an_error(watch, log):
    """A monitor does not compare with a checkpoint that the log did not sign."""
    watch.look()
    (path,) = watch.state.glob("*/5")
    forger = Ed25519Signer.from_seed(log.signer.name, bytes(32))
    path.write_bytes(sign_checkpoint(Checkpoint(origin=log.signer.name, size=5, root=bytes(32)), forger))
    with pytest.raises(VerificationError):
        watch.look()


def test_directory_without_a_log_is_refused(watch, tmp_path):
    """A mistyped directory is told at once."""
    with pytest.raises(NotFoundError):
        watch.look(tmp_path / "nowhere")


def test_log_without_an_archive_is_read(watch, log):
    """A directory of tiles alone is a log too."""
    assert watch.alarms(log.folder) == []


def test_age_needs_a_quorum(watch):
    """A checkpoint has no time of its own."""
    watch.options = {"max_age_seconds": 60}
    with pytest.raises(InputError):
        watch.look()


@pytest.mark.usefixtures("witnessed")
def test_witnesses_that_agree_are_named(watch):
    """What the witnesses show is compared, and said."""
    look = watch.look()
    assert look.alarms == ()
    assert [(s.name, s.signed.checkpoint.size, s.time) for s in look.sightings] == [("w1", 5, NOW), ("w2", 5, NOW)]


@pytest.mark.usefixtures("witnessed")
def test_witnesses_may_be_behind(watch, log):
    """A log that grew since it was fed shows that what they cosigned is its beginning."""
    log.append(300)
    assert watch.alarms() == []


@pytest.mark.usefixtures("witnessed")
def test_split_view_is_told_by_the_witnesses(watch, log, tmp_path):
    """A monitor that never saw the log before finds that its witnesses were shown another one, and keeps both."""
    fork = fork_of(tmp_path, 9)
    first, second = watch.look(fork.root).alarms
    assert (first.kind, second.kind) == ("fork", "fork")
    kind, held, shown, proof = evidence(first, log)
    assert (kind, held, shown) == ("fork", log.checkpoint, fork.checkpoint)
    verify_consistency(5, 9, DiskLog(tmp_path / "c").append(5, "other").checkpoint.root, shown.root, proof)


def test_rollback_behind_the_witnesses_is_told(watch, log, witnessed, tmp_path):
    """A monitor that never saw the log before finds that its witnesses were shown more."""
    copy = shutil.copytree(log.root, tmp_path / "copy")
    feed(log.append(2).layout, witnessed, Disk())
    assert watch.alarms(copy) == ["rollback", "rollback"]


@pytest.mark.usefixtures("witnessed")
def test_silence_is_told(watch, clock):
    """When the quorum's newest cosignatures are too old, somebody is kept from seeing what is new."""
    clock.now += 3601
    assert watch.alarms() == ["stale"]


def test_feeding_ends_the_silence(watch, log, clock, witnessed):
    """Feeding the same checkpoint again is enough."""
    clock.now += 3601
    feed(log.layout, witnessed, Disk())
    assert watch.alarms() == []


def test_too_few_witnesses_are_told(watch, log, witnessed, tmp_path):
    """A witness that is gone is unknown; a quorum that is missing is an alarm."""
    shutil.rmtree(log.folder / "anchors")
    text = policy_text(
        log, {w.name: (w.key.vkey, w.url if w.name == "w1" else refusing()) for w in witnessed.witnesses}
    )
    watch.options["policy"] = parse_policy(text)
    assert watch.alarms() == ["unreachable", "stale"]


def test_witness_that_never_cosigned_is_told(watch, log, tmp_path):
    """A policy whose witness was never fed is noticed at the first look."""
    witness = witness_at(tmp_path / "w", log)
    with serving(witness_app(tmp_path / "w")) as url:
        watch.options = {"policy": parse_policy(policy_text(log, {"w": (witness.vkey, url)}))}
        look = watch.look()
    assert [alarm.kind for alarm in look.alarms] == ["unreachable", "stale"]
    assert "cosigned nothing of this log" in look.alarms[0].what


def test_log_is_not_its_own_witness(watch, log):
    """A witness in the policy that has the log's name does not make the quorum, here as in a receipt."""
    signer = Ed25519Signer.from_seed(log.signer.name, bytes(32), kind=KeyKind.COSIGNATURE)
    watch.options = {"policy": parse_policy(f"witness w {signer.vkey}\nquorum w\n")}
    note = add_signatures(log.note, [cosign(log.checkpoint, signer, NOW)])
    (log.folder / "checkpoint").write_bytes(note)
    assert watch.alarms() == ["stale"]


def test_page_that_the_witness_did_not_sign_does_not_count(watch, log, witnessed):
    """The log's own checkpoint in the place of a witness's page is not taken for its word."""
    shutil.rmtree(log.folder / "anchors")
    with answering(200, log.note) as url:
        text = policy_text(log, {w.name: (w.key.vkey, url) for w in witnessed.witnesses})
        watch.options["policy"] = parse_policy(text)
        assert watch.alarms() == ["unreachable", "unreachable", "stale"]
