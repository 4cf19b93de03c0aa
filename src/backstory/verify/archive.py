"""Verifying a whole archive from its bytes.

Reads checkpoint, log, manifests, segments, blobs, shards, snapshots and spool, and names every bad place. The key that
signed the checkpoint proves who speaks only if the caller pinned it from outside.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from backstory.errors import BackstoryError, FormatError, InputError, NotFoundError, StorageError, VerificationError
from backstory.records.canonical import JsonObject
from backstory.records.manifest import MANIFEST_TYPE, Manifest, parse_manifest
from backstory.storage.disk import Disk, read_file
from backstory.storage.keys import KeyStore
from backstory.storage.layout import Layout, read_layout
from backstory.storage.lock import LockStore
from backstory.tlog.checkpoint import Checkpoint, open_checkpoint
from backstory.tlog.note import Ed25519Signer, VerifierKey, require_key
from backstory.verify.audit import Audit, Progress
from backstory.verify.blobs import check_blobs, check_snapshots
from backstory.verify.finding import Finding, VerificationReport
from backstory.verify.jobs import check_jobs
from backstory.verify.log import check_log, later_entries
from backstory.verify.pool import WorkerPool
from backstory.verify.segments import check_segments
from backstory.verify.spool import check_spool
from backstory.verify.streams import check_streams
from backstory.verify.unnamed import check_unnamed


def _no_progress(_what: str, _done: int, _total: int) -> None:
    """Tell nobody."""


def verify_archive(
    root: Path,
    *,
    vkey: str | None = None,
    workers: int | None = None,
    spools: Sequence[Path] = (),
    progress: Progress = _no_progress,
) -> VerificationReport:
    """Check a whole archive.

    Args:
        root: The archive.
        vkey: Public key pinned from outside, as `init` printed it; None to trust the archive's own, which shows that
            the archive is consistent in itself and not whose it is.
        workers: Processes that hash; None for one a core.
        spools: Spools of workers: a stream that is in none, and did not end by the log, is unknown from there on.
        progress: Is told how far it is.

    Returns:
        What was checked and every bad place. What this shows: what was recorded is still what is there, whole and in
        order, under the checkpoint. What it does not show: that what was recorded was true, that everything was
        recorded, or that nobody was shown another log (that takes a witness).

    Raises:
        NotFoundError: There is no archive, or no spool of a worker where one was named.
        UnsupportedVersionError: It has a newer format.
        InputError: The pinned key is malformed, or there are to be no workers.
    """
    if workers is not None and workers < 1:
        raise InputError(f"verify: expected at least 1 process to hash with, got {workers}")
    began = time.perf_counter()
    layout = _read_config(root, vkey)
    if isinstance(layout, Finding):
        return VerificationReport(
            origin="?", tree_size=0, root="", authenticated=False, counts={}, findings=(layout,),
            seconds=time.perf_counter() - began,
        )  # fmt: skip
    with WorkerPool(workers) as pool:
        audit = Audit(layout=layout, pool=pool, progress=progress)
        checkpoint = _check_checkpoint(audit)
        if checkpoint is not None:
            entries, findings = check_log(layout.log, checkpoint, lambda: _size_now(layout, checkpoint.size))
            audit.findings += findings
            audit.counts["entries"] = checkpoint.size
            _check_genesis(audit, entries)
            manifests = _check_manifests(audit, entries)
            check_jobs(audit, entries, manifests)
            check_segments(audit, entries, manifests, lambda: _size_now(layout, checkpoint.size))
            check_snapshots(audit, entries)
            check_spool(audit)
            check_unnamed(audit, entries, manifests, spools, lambda: _later(layout, checkpoint.size))
            check_streams(audit, entries, manifests, spools, lambda: _later(layout, checkpoint.size))
            check_blobs(audit, entries)
            _check_signing_key(audit)
    return VerificationReport(
        origin=layout.config.origin,
        tree_size=checkpoint.size if checkpoint else 0,
        root=checkpoint.root.hex() if checkpoint else "",
        authenticated=vkey is not None,
        counts=audit.counts,
        totals=audit.totals,
        findings=tuple(audit.findings),
        seconds=time.perf_counter() - began,
    )


def _read_config(root: Path, vkey: str | None) -> Layout | Finding:
    if vkey is not None:
        require_key(vkey)
    try:
        layout = read_layout(root)
        VerifierKey.parse(layout.config.vkey)
    except FormatError as error:
        return Finding(severity="failed", place="backstory.toml", what=str(error))
    if vkey is not None and vkey.strip() != layout.config.vkey:
        what = "its public key is not the pinned one: the archive is another's, or its key was swapped"
        return Finding(severity="failed", place="backstory.toml", what=what)
    return layout


def _check_checkpoint(audit: Audit) -> Checkpoint | None:
    """Check the published checkpoint and that the lock store holds the same."""
    layout = audit.layout
    place = f"log/{layout.config.incarnation}/checkpoint"
    with _no_commit(layout):
        try:
            note = read_file(layout.log / "checkpoint")
            checkpoint = open_checkpoint(note, layout.config.origin, [VerifierKey.parse(layout.config.vkey)])
        except (VerificationError, FormatError) as error:
            audit.add("failed", place, error)
            return None
        except StorageError as error:
            audit.add("unknown" if (layout.log / "checkpoint").exists() else "failed", place, error)
            return None
        try:
            lock = LockStore(layout.lock, writable=False)
            lock.check()
            committed, audit.heads = lock.checkpoint(), lock.heads()
        except BackstoryError as error:
            audit.add("failed", "lock.sqlite", error)
            return checkpoint
    if committed != (checkpoint.size, note):
        what = (
            "holds another checkpoint than the one published: a commit was cut short, or one was put back from a copy"
        )
        audit.add("failed", "lock.sqlite", f"{what}; open the archive for writing to complete it")
    return checkpoint


def _size_now(layout: Layout, size: int) -> int:
    """Return the size of the log now, which may have grown since its checkpoint was read."""
    try:
        with _no_commit(layout):
            note = read_file(layout.log / "checkpoint")
        return max(size, open_checkpoint(note, layout.config.origin, [VerifierKey.parse(layout.config.vkey)]).size)
    except BackstoryError:
        return size


def _later(layout: Layout, size: int) -> list[JsonObject | None]:
    """Return the entries the log has now behind those of a size."""
    return later_entries(layout.log, size, _size_now(layout, size))


@contextlib.contextmanager
def _no_commit(layout: Layout) -> Iterator[None]:
    """Wait for a commit that is under way, so that its halves are not taken for damage."""
    try:
        file = (layout.log / "writer").open("rb")
    except OSError:
        yield  # no writer was ever here, or none this process can see
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def _check_genesis(audit: Audit, entries: list[JsonObject | None]) -> None:
    """Check that the log's first entry speaks of this archive and that `backstory.toml` is as it says."""
    config = audit.layout.config
    if not entries:
        audit.add("failed", "entry 0", "expected the entry archive.created, got an empty log")
        return
    first = entries[0]
    if first is None:
        return  # said already
    if (first.get("type"), first.get("origin"), first.get("vkey")) != ("archive.created", config.origin, config.vkey):
        audit.add("failed", "entry 0", "is not archive.created, or names another origin or key than backstory.toml")
    if first.get("config") != hashlib.sha256(read_file(audit.layout.config_file)).hexdigest():
        audit.add("failed", "backstory.toml", "its digest is not the one in entry 0: it was changed")


def _check_signing_key(audit: Audit) -> None:
    """Check that the signing key, where it is here, is the one of the log: with another nothing can be added."""
    config = audit.layout.config
    name = f"log-{config.incarnation}"
    try:
        seed = KeyStore(audit.layout.keys, Disk()).key(name, "seed")
    except NotFoundError:
        return  # kept elsewhere
    except BackstoryError as error:
        audit.add("failed", f"keys/{name}.json", error)
        return
    if Ed25519Signer.from_seed(config.origin, seed).vkey != config.vkey:
        audit.add("failed", f"keys/{name}.json", "is not the key that signed the log")


def _check_manifests(audit: Audit, entries: list[JsonObject | None]) -> list[tuple[int, Manifest]]:
    """Check that manifests cover each stream from 0 without gaps or overlaps, up to its head in the lock store."""
    manifests = []
    ends: dict[str, int] = {}
    for index, entry in enumerate(entries):
        if entry is None or entry.get("type") != MANIFEST_TYPE:
            continue
        try:
            manifest = parse_manifest(entry)
        except FormatError as error:
            audit.add("failed", f"entry {index}", error)
            continue
        expected = ends.get(manifest.stream, 0)
        if manifest.first_seq != expected:
            what = f"records {expected} to {manifest.first_seq} are missing or doubled (entry {index})"
            audit.add("failed", f"stream {manifest.stream}", what)
        ends[manifest.stream] = manifest.end_seq
        manifests.append((index, manifest))
    if audit.heads is None or None in entries:
        return manifests  # said already
    heads = audit.heads
    for stream in sorted(set(heads) | set(ends)):
        if heads.get(stream, 0) != ends.get(stream, 0):
            what = (
                f"says that {heads.get(stream, 0)} records of stream {stream} are sealed, the log {ends.get(stream, 0)}"
            )
            audit.add("failed", "lock.sqlite", what)
    return manifests
