"""A witness over HTTP: each rule of C2SP tlog-witness with its status, its memory, its clock, its evidence."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import stat
import threading

import pytest
from tests.support.logs import NOW, Clock, DiskLog, witness_at
from tests.support.loopback import serving

from backstory.errors import ConflictError, InputError, NotFoundError, StorageError, VerificationError
from backstory.server import witness_app
from backstory.storage.disk import Disk
from backstory.storage.keys import KeyStore
from backstory.storage.remote import ask
from backstory.storage.world import World
from backstory.tlog.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from backstory.tlog.cosignature import find_cosignatures
from backstory.tlog.key import VerifierKey
from backstory.tlog.note import parse_note, sign_note
from backstory.tlog.signer import Ed25519Signer
from backstory.tlog.witness import AddCheckpoint, monitoring_path, parse_cosignatures
from backstory.verify.witness import Witness, create_witness

SIZE_TYPE = "text/x.tlog.size"
ROUNDS_AT_ONCE = 20


@pytest.fixture
def log(tmp_path):
    """A log of five entries."""
    return DiskLog(tmp_path / "a").append(5)


@pytest.fixture
def fork(tmp_path):
    """Another history of the same log, signed with the same key."""
    return DiskLog(tmp_path / "b").append(5, "other")


@pytest.fixture
def witness(log, tmp_path):
    """A witness that knows the log."""
    return witness_at(tmp_path / "w", log)


def evidence_in(folder):
    """Return every document of evidence a witness kept."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("w/evidence/*/*.json"))]


def test_first_checkpoint_is_cosigned(log, witness):
    """From size 0, with an empty proof, the answer is one line that holds under the witness's key."""
    answer = witness.add_checkpoint(log.request(0))
    (cosignature,) = parse_cosignatures(answer.body, log.checkpoint, [VerifierKey.parse(witness.vkey)])
    assert (answer.status, cosignature.time) == (200, NOW)


def test_growth_is_cosigned(log, witness):
    """A checkpoint that is proven to extend the last one is cosigned."""
    witness.add_checkpoint(log.request(0))
    log.append(300)
    assert witness.add_checkpoint(log.request(5)).status == 200
    assert witness.latest(log.checkpoint.origin).checkpoint == log.checkpoint


def test_same_checkpoint_is_cosigned_again_with_a_newer_time(log, tmp_path):
    """A log that does not grow can still have its newest checkpoint confirmed."""
    clock = Clock()
    witness = witness_at(tmp_path / "w", log, clock=clock)
    witness.add_checkpoint(log.request(0))
    clock.now += 60
    assert witness.add_checkpoint(log.request(5)).status == 200
    assert witness.latest(log.checkpoint.origin).time == NOW + 60


@pytest.mark.parametrize("body", [b"", b"old 0\n", b"old 00\n\n", b"old 1\nAAAA\n\nx\n", b"old 5\r\n\n", b"\xff" * 9])
def test_malformed_request_is_400(body, witness):
    """What is no request is refused as such."""
    assert witness.add_checkpoint(body).status == 400


def test_unknown_log_is_404(witness, tmp_path):
    """A log whose key the witness was not given is unknown."""
    stranger = DiskLog(tmp_path / "c", origin="example.org/other").append(1)
    assert witness.add_checkpoint(stranger.request(0)).status == 404


def test_wrong_signature_is_403(log, witness):
    """A checkpoint that the log's key did not sign is refused, whoever else did."""
    forger = Ed25519Signer.from_seed(log.signer.name, bytes(32))
    assert witness.add_checkpoint(log.request(0, sign_checkpoint(log.checkpoint, forger))).status == 403


def test_larger_old_size_is_400(log, witness):
    """An old size above the new one makes no sense."""
    body = AddCheckpoint(old_size=6, proof=(), note=log.note).encode()
    assert witness.add_checkpoint(body).status == 400


def test_other_old_size_is_409_with_the_right_one(log, witness):
    """Who does not know where the witness is, is told."""
    answer = witness.add_checkpoint(log.request(3))
    assert (answer.status, answer.body, answer.content_type) == (409, b"0\n", SIZE_TYPE)
    witness.add_checkpoint(log.request(0))
    assert witness.add_checkpoint(log.request(0)).body == b"5\n"


def test_rollback_is_refused(log, witness):
    """A smaller checkpoint, correctly signed, is never cosigned: the old size it needs is above it."""
    small = log.note
    log.append(1)
    witness.add_checkpoint(log.request(0))
    assert witness.add_checkpoint(AddCheckpoint(old_size=6, proof=(), note=small).encode()).status == 400
    assert witness.add_checkpoint(AddCheckpoint(old_size=5, proof=(), note=small).encode()).status == 409


def test_fork_is_422_and_kept_as_evidence(log, fork, witness, tmp_path):
    """Two trees of one size: refused, and both checkpoints are kept as the log signed them."""
    witness.add_checkpoint(log.request(0))
    assert witness.add_checkpoint(fork.request(5)).status == 422
    (kept,) = evidence_in(tmp_path)
    held, shown = (
        open_checkpoint(kept[name].encode(), kept["origin"], [VerifierKey.parse(log.vkey)])
        for name in ("held", "shown")
    )
    assert (kept["kind"], held, shown) == ("fork", log.checkpoint, fork.checkpoint)
    assert witness.latest(log.checkpoint.origin).checkpoint == log.checkpoint


def test_growth_of_a_fork_is_422(log, fork, witness, tmp_path):
    """A larger tree with another beginning is refused; what that shows alone, the evidence does not overstate."""
    witness.add_checkpoint(log.request(0))
    fork.append(3)
    assert witness.add_checkpoint(fork.request(5)).status == 422
    (kept,) = evidence_in(tmp_path)
    assert (kept["kind"], len(kept["proof"])) == ("unproven", 4)


def test_surplus_proof_of_the_same_tree_is_no_evidence(log, witness, tmp_path):
    """Anybody can send the newest checkpoint again with a hash too many: it is refused, and the log is not accused."""
    witness.add_checkpoint(log.request(0))
    answer = witness.add_checkpoint(AddCheckpoint(old_size=5, proof=(bytes(32),), note=log.note).encode())
    assert (answer.status, evidence_in(tmp_path)) == (422, [])


def test_bad_proofs_do_not_keep_a_fork_from_being_kept(log, fork, witness, tmp_path, monkeypatch):
    """What anybody can send, a good checkpoint with a bad proof, does not use up the room for what is a fork."""
    monkeypatch.setattr("backstory.verify.evidence.FILES_MAX", 2)
    witness.add_checkpoint(log.request(0))
    for _ in range(3):
        body = AddCheckpoint(old_size=5, proof=(bytes(32),), note=log.append(1).note).encode()
        assert witness.add_checkpoint(body).status == 422
    assert witness.add_checkpoint(fork.request(5)).status == 422
    assert sorted(kept["kind"] for kept in evidence_in(tmp_path)) == ["fork", "unproven", "unproven"]


def test_evidence_is_kept_once(log, fork, witness, tmp_path):
    """Showing a fork again and again does not fill the witness's disk."""
    witness.add_checkpoint(log.request(0))
    for _ in range(3):
        witness.add_checkpoint(fork.request(5))
    assert len(evidence_in(tmp_path)) == 1


def test_a_root_for_no_entries_is_422(log, witness):
    """A log without entries has the empty root and no other."""
    lie = Checkpoint(origin=log.checkpoint.origin, size=0, root=bytes(32))
    text = f"{lie.origin}\n0\n{'A' * 43}=\n"
    body = b"old 0\n\n" + sign_note(text, log.signer)  # `sign_checkpoint` refuses to sign this
    assert witness.add_checkpoint(body).status == 422


def test_clock_that_went_back_is_refused(log, tmp_path):
    """A time before one that was said already is never said, for any log."""
    clock = Clock()
    other = DiskLog(tmp_path / "c", origin="example.org/other").append(1)
    witness = witness_at(tmp_path / "w", log, other, clock=clock)
    witness.add_checkpoint(log.request(0))
    clock.now -= 1
    assert witness.add_checkpoint(other.request(0)).status == 503
    assert witness.latest(other.checkpoint.origin) is None
    clock.now += 1
    assert witness.add_checkpoint(other.request(0)).status == 200


def test_log_can_be_added_while_it_runs(log, tmp_path):
    """A witness reads the list of logs for each request."""
    witness = witness_at(tmp_path / "w")
    assert witness.add_checkpoint(log.request(0)).status == 404
    Witness(tmp_path / "w", World()).add_logs(log.vkey)
    assert witness.add_checkpoint(log.request(0)).status == 200


def test_of_two_logs_added_at_once_none_is_lost(tmp_path):
    """Who adds a log waits for another process that does, and writes behind what that one wrote."""
    both_write = threading.Barrier(2)

    class MeetingDisk(Disk):
        def write(self, path, data, **options):
            with contextlib.suppress(threading.BrokenBarrierError):
                both_write.wait(timeout=0.2)  # nobody else comes where one waits for the other
            super().write(path, data, **options)

    witness_at(tmp_path / "w")
    logs = [DiskLog(tmp_path / name, f"example.org/{name}") for name in ("a", "b")]
    witnesses = [Witness(tmp_path / "w", World(disk=MeetingDisk())) for _ in logs]
    threads = [
        threading.Thread(target=witness.add_logs, args=(log.vkey,))
        for witness, log in zip(witnesses, logs, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(witnesses[0].logs()) == {"example.org/a", "example.org/b"}


def test_key_of_a_log_holds_for_its_sizes(log, tmp_path):
    """A key that was rotated away is not believed beyond the size it was valid to."""
    witness = witness_at(tmp_path / "w")
    witness.add_logs(f"{log.vkey} until 5")
    assert witness.add_checkpoint(log.request(0)).status == 200
    log.append(1)
    assert witness.add_checkpoint(log.request(5)).status == 403


@pytest.mark.parametrize("vkey", ["nonsense", "", "witness.example.net/w1+b2fa045d+BJDNcPY8"])
def test_what_is_no_key_of_a_log_is_not_added(vkey, witness):
    """A mistyped key is refused when it is given, not when a log is turned away."""
    with pytest.raises(InputError):
        witness.add_logs(vkey)


def test_known_key_is_not_added_twice(log, witness):
    """A key is in the list once."""
    with pytest.raises(ConflictError):
        witness.add_logs(log.vkey)


def test_secrets_are_the_owners(witness, tmp_path):
    """Directory and key can be read by their owner alone."""
    assert stat.S_IMODE((tmp_path / "w").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "w/keys/witness.json").stat().st_mode) == 0o600


def test_witness_is_never_made_over_another(witness, tmp_path):
    """Making a witness where one is would lose its memory."""
    with pytest.raises(ConflictError):
        create_witness(tmp_path / "w", "witness.example.net/w2", World())


def test_witness_without_memory_does_not_start(witness, tmp_path):
    """A state that is gone is not made anew: it would cosign the other half of a fork."""
    (tmp_path / "w/state.sqlite").unlink()
    with pytest.raises(StorageError, match="must not sign again"):
        Witness(tmp_path / "w", World())


def test_witness_that_was_never_made_is_not_called_lost(tmp_path):
    """A directory that is not there, such as one misspelt, is no witness that forgot."""
    with pytest.raises(NotFoundError, match="witness init"):
        Witness(tmp_path / "nowhere", World())


def test_witness_without_key_does_not_start(witness, tmp_path):
    """A key that is gone is said to be gone."""
    (tmp_path / "w/keys/witness.json").unlink()
    with pytest.raises(NotFoundError):
        Witness(tmp_path / "w", World())


def test_state_belongs_to_one_key(witness, tmp_path):
    """Another key with this memory would be another witness."""
    KeyStore(tmp_path / "w/keys", World().disk).put("witness", {"seed": bytes(32)})
    with pytest.raises(VerificationError):
        Witness(tmp_path / "w", World())


def test_state_that_cannot_be_written_cosigns_nothing(log, witness, tmp_path):
    """Where the new state cannot be written, no cosignature leaves."""
    with sqlite3.connect(tmp_path / "w/state.sqlite") as connection:
        connection.execute("CREATE TRIGGER full BEFORE INSERT ON latest BEGIN SELECT RAISE(ABORT, 'full'); END")
    with pytest.raises(StorageError):
        witness.add_checkpoint(log.request(0))


def test_of_two_requests_at_once_one_is_cosigned(tmp_path):
    """Two witnesses on one state are shown the halves of forks at the same time: of each, one half is cosigned."""
    halves = [
        [DiskLog(tmp_path / f"{number}-{word}", f"example.org/{number}").append(1, word) for word in ("left", "right")]
        for number in range(ROUNDS_AT_ONCE)
    ]
    witnesses = [witness_at(tmp_path / "w", *(left for left, _ in halves)), Witness(tmp_path / "w", Clock().world())]
    together = threading.Barrier(2, timeout=10)
    statuses = [[0, 0] for _ in halves]

    def submit(which):
        for number, pair in enumerate(halves):
            together.wait()
            statuses[number][which] = witnesses[which].add_checkpoint(pair[which].request(0)).status

    threads = [threading.Thread(target=submit, args=(which,)) for which in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {tuple(sorted(pair)) for pair in statuses} == {(200, 409)}


@pytest.fixture
def url(witness, tmp_path):
    """The witness, served."""
    with serving(witness_app(tmp_path / "w")) as url:
        yield url


def test_it_answers_over_http(log, url, witness):
    """POST to `/add-checkpoint` is answered with a cosignature, a conflict with the size and its own content type."""
    reply = ask(f"{url}/add-checkpoint", body=log.request(0), size_max=10_000)
    assert reply.status == 200
    assert parse_cosignatures(reply.body, log.checkpoint, [VerifierKey.parse(witness.vkey)])
    reply = ask(f"{url}/add-checkpoint", body=log.request(0), size_max=10_000)
    assert (reply.status, reply.content_type, reply.body) == (409, SIZE_TYPE, b"5\n")


def test_it_shows_what_it_cosigned(log, url, witness):
    """GET of the log's page gives the newest checkpoint as the witness cosigned it; before that, and elsewhere, 404."""
    page = f"{url}/{monitoring_path(log.checkpoint.origin)}"
    assert ask(page, size_max=10_000).status == 404
    ask(f"{url}/add-checkpoint", body=log.request(0), size_max=10_000)
    note = ask(page, size_max=10_000).body
    assert find_cosignatures(parse_note(note), log.checkpoint, [VerifierKey.parse(witness.vkey)])
    assert [ask(f"{url}{path}", size_max=100).status for path in ("/", "/checkpoint", "/..", "/logs")] == [404] * 4


@pytest.mark.parametrize("size", [2_000_000, 1_100_000])
def test_huge_request_is_400(url, size):
    """More than any request can have is not read to its end."""
    assert ask(f"{url}/add-checkpoint", body=b"o" * size, size_max=1_000).status == 400


def test_other_methods_are_not_allowed(url):
    """The submission page takes POST."""
    assert ask(f"{url}/add-checkpoint", size_max=1_000).status == 405


def test_trouble_of_its_own_is_500_and_says_nothing(log, url, tmp_path):
    """What is wrong with the witness's files is for its operator, not for whoever asks."""
    (tmp_path / "w/logs").write_bytes(b"nonsense\n")
    reply = ask(f"{url}/add-checkpoint", body=log.request(0), size_max=1_000)
    assert (reply.status, b"nonsense" in reply.body, str(tmp_path).encode() in reply.body) == (500, False, False)
