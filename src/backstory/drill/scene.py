"""Setting the scene of a drill: a copy to plant in, and what outsiders kept of the archive before anything was planted.

Where the log's key is in the copy, a few records are added to it first, of a kind the archive may not have: open and
about a person, sealed and waiting in the spool, promised. So nearly everything can be planted in any archive.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from backstory.archive import Archive
from backstory.drill.copies import SCRATCH, copy_archive, link_copy
from backstory.drill.forge import checkpoint_of
from backstory.drill.sample import choose_sample, cut
from backstory.drill.walk import choose
from backstory.errors import BackstoryError, ForbiddenError, NotFoundError, StorageError, VerificationError
from backstory.governance.proposal import REFUSED
from backstory.ledger.ledger import Ledger
from backstory.ledger.log import LogReader
from backstory.ledger.read import find_record
from backstory.ledger.receipt import make_receipt
from backstory.ledger.rotate import rotate_key
from backstory.ledger.signing import KeyFiles
from backstory.records.envelope import PREDICTION
from backstory.records.identity import parse_time
from backstory.storage.keys import KeyStore
from backstory.storage.layout import read_layout
from backstory.storage.lock import LockStore
from backstory.tlog.key import ValidKey
from backstory.tlog.signer import Signer
from backstory.tlog.witness import AddCheckpoint
from backstory.verify.archive import verify_archive
from backstory.verify.finding import Finding, VerificationReport
from backstory.verify.log_source import open_log
from backstory.verify.monitor import Monitor
from backstory.verify.promise import verify_promise
from backstory.verify.receipt import verify_receipt
from backstory.verify.witness import Witness, create_witness

DRILL_NAME = "backstory drill"
"""Who asks for sealed values in a copy."""
ADDED_ROWS = 4
"""Records of each kind that are added to the copy, each time."""
DELAY_SECONDS = 1
RECEIPTS = 2
_COSIGNED = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What was added to the copy.

    Attributes:
        sealed: Ids of open records that are sealed.
        promise: The promise about a record that waits in the spool.
        promise_vkey: Public key of promises.
        deadline: When its delay is over, POSIX seconds.
    """

    sealed: tuple[str, ...]
    promise: bytes
    promise_vkey: str
    deadline: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a drill works with.

    Attributes:
        folder: Where everything is; removed at the end.
        base: The copy that all others are made of.
        older: A copy of it as it was before the last records; None where nothing could be added.
        vkey: The key that outsiders pinned.
        keys: That key and those it leads to, with their validity.
        signers: The log's own keys; none where they are not in the archive.
        no_key: Why they are not.
        added: What was added; None where nothing could be.
        receipts: Receipts of two records.
        witness: State of a witness that cosigned the base's checkpoint.
        witness_vkey: Its public key.
        monitor: State of a monitor that has seen it.
        kept: File with that checkpoint, as kept on paper.
        audited: What an audit says of the base.
        known: What it found there: nobody's catch.
        original_size: Entries of the log before anything was added.
        notes: What whoever reads the report should know about the copy.
    """

    folder: Path
    base: Path
    older: Path | None
    vkey: str
    keys: tuple[ValidKey, ...]
    signers: tuple[Signer, ...]
    no_key: str
    added: Added | None
    receipts: tuple[bytes, ...]
    witness: Path
    witness_vkey: str
    monitor: Path
    kept: Path
    audited: VerificationReport
    known: frozenset[Finding]
    original_size: int
    notes: tuple[str, ...] = field(default=())

    @property
    def pinned(self) -> list[str]:
        """The keys as a stranger has them, who cannot follow a change of key from a receipt."""
        return [key.text for key in self.keys]


def set_scene(archive: Path, folder: Path, vkey: str | None, workers: int | None, records: int | None) -> Scene:
    """Copy an archive, add to the copy, and let outsiders look at it.

    Args:
        archive: The archive.
        folder: An empty directory.
        vkey: The key pinned from outside; None for the archive's own.
        workers: Processes that hash.
        records: How many records to take at most; None for all.

    Raises:
        ForbiddenError: The copy would have to be signed, and the key is not here.
        VerificationError: The archive does not verify, so that a drill would show nothing.
        StorageError: Its lock store is elsewhere, and not to be seen from here.
        BackstoryError: It cannot be read or copied.
    """
    insist_lock_store(archive)
    work, base, older = folder / "work", folder / "base", folder / "older"
    sample = None if records is None else choose_sample(archive, records)
    is_as_it_was = copy_archive(archive, work, frozenset() if sample is None else sample.left_out)
    pinned = vkey or read_layout(work).config.vkey
    signers, no_key = _signers(work)
    notes: list[str] = []
    if sample is not None and sample.size < sample.whole:
        if not signers:
            raise ForbiddenError(f"drill: the copy cannot be cut to a sample, as {no_key}")
        cut(work, sample, signers)
        notes.append(f"a sample: the copies have the first {sample.size} of {sample.whole} entries")
    if not is_as_it_was:
        if not signers:
            raise ForbiddenError(f"drill: lock store, vault or keys are outside the archive, and {no_key}")
        with closing(Ledger(work, SCRATCH, writable=True, vkey=None, actor=None)) as ledger:
            rotate_key(ledger)  # its commit names the settings of the copy
        signers, no_key = _signers(work)
        notes.append("lock store, vault or keys are elsewhere: the copies have them inside, under a key of their own")
    original_size = checkpoint_of(work)[1].size
    added = _add_records(work, base, older) if signers else None
    if added is None:
        work.rename(base)
        notes.append(f"nothing was added to the copy: {no_key}")
    report = verify_archive(base, vkey=pinned, workers=workers)
    if report.failed:
        bad = tuple(finding for finding in report.findings if finding.severity == "failed")
        raise VerificationError(
            "drill: the archive itself does not verify, so a drill would show nothing; see `backstory verify`",
            findings=bad,
        )
    keys = LogReader(read_layout(base), pinned).keys
    witness_vkey = _show(base, folder, keys)
    kept = folder / "kept-checkpoint"
    kept.write_bytes(checkpoint_of(base)[0])
    return Scene(
        folder=folder,
        base=base,
        older=older if added else None,
        vkey=pinned,
        keys=keys,
        signers=signers,
        no_key=no_key,
        added=added,
        receipts=_receipts(base, added, original_size, keys),
        witness=folder / "witness",
        witness_vkey=witness_vkey,
        monitor=folder / "monitor",
        kept=kept,
        audited=report,
        known=frozenset(report.findings),
        original_size=original_size,
        notes=tuple(notes),
    )


def insist_lock_store(archive: Path) -> None:
    """Insist on the archive's lock store before one is missed in a copy, whose path would tell nobody anything.

    Raises:
        VerificationError: It was in the archive, and is gone.
        StorageError: It is elsewhere, and not to be seen from here.
    """
    layout = read_layout(archive)
    try:
        LockStore(layout.lock)
    except StorageError as error:
        if layout.is_lock_away:
            raise
        raise VerificationError(f"drill: the archive itself does not verify: {error}") from error


def submit(root: Path, witness: Witness, old_size: int, proof: Sequence[bytes]) -> tuple[int, bytes]:
    """Show a copy's checkpoint to a witness; return the status and body of its answer."""
    note, _ = checkpoint_of(root)
    answer = witness.add_checkpoint(AddCheckpoint(old_size=old_size, proof=tuple(proof), note=note).encode())
    return answer.status, answer.body


def _signers(root: Path) -> tuple[tuple[Signer, ...], str]:
    layout = read_layout(root)
    try:
        return KeyFiles(KeyStore(layout.keys, SCRATCH.disk), None)(layout.config), ""
    except BackstoryError:
        return (), "the log's signing key is not in the archive's key store (kept elsewhere)"


def _add_records(work: Path, base: Path, older: Path) -> Added:
    """Record as a service would, and copy what is there in between and at the end, as a crash would leave it."""
    with _opened(work) as archive:
        try:
            promise_vkey = archive.promises()
        except NotFoundError:
            promise_vkey = archive.promises(delay=DELAY_SECONDS)
        _record(archive)
        _record(archive, DRILL_NAME)
    link_copy(work, older)
    with _opened(work) as archive:
        sealed = [_record(archive) for _ in range(RECEIPTS)]
        _record(archive, DRILL_NAME)
    with closing(Ledger(work, SCRATCH, writable=True, vkey=None, actor=DRILL_NAME)) as ledger:
        ledger.append([{"action": DRILL_NAME, "ground": DRILL_NAME, "type": REFUSED}])  # nothing else refers to it
    with _opened(work) as archive:
        promise = archive.promise(_record(archive)).data
        link_copy(work, base)
    deadline = parse_time(verify_promise(promise, promise_vkey=promise_vkey).deadline) // 10**9 + 1
    return Added(sealed=tuple(sealed), promise=promise, promise_vkey=promise_vkey, deadline=deadline)


def _opened(work: Path) -> Archive:
    return Archive(work, mode="rw", actor=DRILL_NAME, purpose=DRILL_NAME, sealer="none", world=SCRATCH)


def _record(archive: Archive, subject: str | None = None) -> str:
    """Record some predictions by hand and return the id of the last one."""
    for number in range(ADDED_ROWS):
        with archive.prediction(subject=subject) as prediction:
            prediction.features({"drill": float(number)})
            prediction.output(float(number))
    return str(prediction.id)


def _show(base: Path, folder: Path, keys: Sequence[ValidKey]) -> str:
    """Show the base to a new witness and a new monitor; return the witness's key."""
    vkey = create_witness(folder / "witness", "drill.invalid/witness", SCRATCH)
    witness = Witness(folder / "witness", SCRATCH)
    witness.add_logs("".join(f"{key.text}\n" for key in keys))
    status, _ = submit(base, witness, 0, ())
    look = Monitor(folder / "monitor", keys, SCRATCH).look(open_log(str(base)))
    if status != _COSIGNED or look.alarms:
        raise VerificationError("drill: the archive's log is not accepted by a witness or a monitor")
    return vkey


def _receipts(base: Path, added: Added | None, original_size: int, keys: Sequence[ValidKey]) -> tuple[bytes, ...]:
    """Return receipts of two predictions of the archive, which hold; of two that were added where it has fewer."""
    names: Sequence[str] = choose(base, original_size, RECEIPTS, seed=0)
    if len(names) < RECEIPTS:
        names = added.sealed if added else ()
    with closing(Ledger(base, SCRATCH, writable=False, vkey=None, actor=None)) as ledger:
        receipts = tuple(make_receipt(ledger, find_record(ledger, name, PREDICTION), ()).data for name in names)
    for receipt in receipts:
        verify_receipt(receipt, vkey=[key.text for key in keys])  # or a forged one would be refused for nothing
    return receipts
