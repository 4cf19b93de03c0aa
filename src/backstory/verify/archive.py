"""Verifying a whole archive from its bytes.

Reads checkpoint, log, manifests, segments, blobs, shards, snapshots and spool, and names every bad place. The key that
signed the checkpoint proves who speaks only if the caller pinned it from outside.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from backstory.columns.tree import root_of_subtrees
from backstory.errors import BackstoryError, FormatError, NotFoundError, StorageError, VerificationError
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.limits import ROW_GROUP_ROWS
from backstory.records.manifest import MANIFEST_TYPE, Manifest, parse_manifest
from backstory.records.schema import parse_schema
from backstory.storage.blobs import BlobStore, file_digest
from backstory.storage.disk import TEMPORARY_PREFIX, Disk, read_file
from backstory.storage.keys import KeyStore
from backstory.storage.layout import Layout, read_layout
from backstory.storage.lock import LockStore
from backstory.storage.segment import ParquetReader
from backstory.storage.spool import Spool
from backstory.tlog.checkpoint import Checkpoint, open_checkpoint
from backstory.tlog.note import VerifierKey
from backstory.verify.finding import Finding, Severity, VerificationReport
from backstory.verify.log import check_log
from backstory.verify.pool import run_tasks
from backstory.verify.worker import Answer, Task, first_difference

GROUPS_PER_TASK = 4
"""Row groups one task hashes: 32,768 rows, a few hundred milliseconds."""

Progress = Callable[[str, int, int], None]
"""Told what is being checked, how much is done, and how much there is."""


def _no_progress(_what: str, _done: int, _total: int) -> None:
    """Tell nobody."""


@dataclass(slots=True)
class _Audit:
    """One verification under way."""

    layout: Layout
    workers: int | None
    progress: Progress
    findings: list[Finding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    blobs_named: set[str] = field(default_factory=set)
    """Blobs some entry or document refers to."""

    def add(self, severity: Severity, place: str, what: object) -> None:
        self.findings.append(Finding(severity=severity, place=place, what=str(what)))


def verify_archive(
    root: Path, *, vkey: str | None = None, workers: int | None = None, progress: Progress = _no_progress
) -> VerificationReport:
    """Check a whole archive.

    Args:
        root: The archive.
        vkey: Public key pinned from outside, as `init` printed it; None to trust the archive's own, which shows that the
            archive is consistent in itself and not whose it is.
        workers: Processes that hash; None for one a core.
        progress: Is told how far it is.

    Returns:
        What was checked and every bad place. What this shows: what was recorded is still what is there, whole and in order,
        under the checkpoint. What it does not show: that what was recorded was true, that everything was recorded, or
        that nobody was shown another log (that takes a witness).

    Raises:
        NotFoundError: There is no archive.
        UnsupportedVersionError: It has a newer format.
    """
    began = time.perf_counter()
    layout = _read_config(root, vkey)
    if isinstance(layout, Finding):
        return VerificationReport(
            origin="?", tree_size=0, root="", authenticated=False, counts={}, findings=(layout,),
            seconds=time.perf_counter() - began,
        )  # fmt: skip
    audit = _Audit(layout, workers, progress)
    checkpoint = _check_checkpoint(audit, vkey)
    if checkpoint is not None:
        entries, findings = check_log(layout.log, checkpoint)
        audit.findings += findings
        audit.counts["entries"] = checkpoint.size
        _check_genesis(audit, entries, vkey)
        manifests = _check_manifests(audit, entries)
        _check_segments(audit, manifests)
        _check_snapshots(audit, entries)
        _check_blobs(audit, entries)
        _check_spool(audit)
    return VerificationReport(
        origin=layout.config.origin,
        tree_size=checkpoint.size if checkpoint else 0,
        root=checkpoint.root.hex() if checkpoint else "",
        authenticated=vkey is not None,
        counts=audit.counts,
        findings=tuple(audit.findings),
        seconds=time.perf_counter() - began,
    )


def _read_config(root: Path, vkey: str | None) -> Layout | Finding:
    try:
        layout = read_layout(root)
        VerifierKey.parse(layout.config.vkey)
    except FormatError as error:
        return Finding(severity="failed", place="backstory.toml", what=str(error))
    if vkey is not None and vkey.strip() != layout.config.vkey:
        what = "its public key is not the pinned one: the archive is another's, or its key was swapped"
        return Finding(severity="failed", place="backstory.toml", what=what)
    return layout


def _check_checkpoint(audit: _Audit, vkey: str | None) -> Checkpoint | None:
    """Check the published checkpoint and that the lock store holds the same."""
    config = audit.layout.config
    place = f"log/{config.incarnation}/checkpoint"
    try:
        note = read_file(audit.layout.log / "checkpoint")
        checkpoint = open_checkpoint(note, config.origin, [VerifierKey.parse(vkey or config.vkey)])
    except (VerificationError, FormatError) as error:
        audit.add("failed", place, error)
        return None
    except StorageError as error:
        audit.add("failed" if not (audit.layout.log / "checkpoint").exists() else "unknown", place, error)
        return None
    try:
        lock = LockStore(audit.layout.lock, writable=False)
        damage = lock.integrity()
        if damage:
            audit.add("failed", "lock.sqlite", damage)
        elif lock.checkpoint() != (checkpoint.size, note):
            audit.add("failed", "lock.sqlite", "holds another checkpoint than the one published; a commit was cut short, "
                      "or one of the two was put back from a copy: open the archive for writing to complete it")  # fmt: skip
    except NotFoundError as error:
        audit.add("failed", "lock.sqlite", error)
    except StorageError as error:
        audit.add("failed", "lock.sqlite", error)
    return checkpoint


def _check_genesis(audit: _Audit, entries: list[JsonObject | None], vkey: str | None) -> None:
    """Check that the log's first entry speaks of this archive and that `backstory.toml` is as it says."""
    first = entries[0] if entries else None
    if first is None or first.get("type") != "archive.created":
        audit.add("failed", "entry 0", "expected the entry archive.created")
        return
    config = audit.layout.config
    if first.get("origin") != config.origin or first.get("vkey") != (vkey or config.vkey).strip():
        audit.add("failed", "entry 0", "names another origin or key than backstory.toml")
    if first.get("config") != hashlib.sha256(read_file(audit.layout.config_file)).hexdigest():
        audit.add("failed", "backstory.toml", "its digest is not the one in entry 0: it was changed")


def _check_manifests(audit: _Audit, entries: list[JsonObject | None]) -> list[tuple[int, Manifest]]:
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
    try:
        heads = LockStore(audit.layout.lock, writable=False).heads()
    except BackstoryError:
        return manifests  # said already
    for stream in sorted(set(heads) | set(ends)):
        if heads.get(stream, 0) != ends.get(stream, 0) and None not in entries:
            what = f"the lock store says {heads.get(stream, 0)} records are sealed, the log {ends.get(stream, 0)}"
            audit.add("failed", f"stream {stream}", what)
    return manifests


def _check_segments(audit: _Audit, manifests: list[tuple[int, Manifest]]) -> None:
    """Hash every record of every segment, over all cores."""
    tasks, parts = [], []
    for index, manifest in manifests:
        place = f"segments/{manifest.file.name}"
        audit.blobs_named |= {manifest.schema, *manifest.contexts}
        if _check_file(audit, audit.layout.segments, "segments", index, manifest):
            own = _segment_tasks(audit, manifest, place)
            parts.append((index, manifest, place, len(own)))
            tasks += own
    total = sum(manifest.count for _, manifest in manifests)
    answers = _answers(audit, "records", tasks, total)
    for index, manifest, place, count in parts:
        _judge_segment(audit, index, manifest, place, [next(answers) for _ in range(count)])
    audit.counts["segments"] = len(manifests)
    audit.counts["records"] = total
    known = {m.file.name for _, m in manifests}
    for path in sorted(audit.layout.segments.iterdir()):
        if path.name not in known and not path.name.startswith(TEMPORARY_PREFIX):
            audit.add("note", f"segments/{path.name}", "no manifest speaks of it: left by a sealer that was stopped")


def _check_file(audit: _Audit, folder: Path, label: str, index: int, manifest: Manifest) -> bool:
    path = folder / manifest.file.name
    place = f"{label}/{manifest.file.name}"
    whom = f"records {manifest.first_seq} to {manifest.end_seq - 1} of stream {manifest.stream}, entry {index}"
    if not path.is_file():
        audit.add("failed", place, f"the file is missing ({whom})")
        return False
    try:
        if file_digest(path) != manifest.file.sha256:
            audit.add("failed", place, f"the file's digest is not the manifest's: it was changed ({whom})")
        shard = manifest.shard
        if shard and (audit.layout.vault / shard.name).is_file():
            if file_digest(audit.layout.vault / shard.name) != shard.sha256:
                audit.add("failed", f"vault/{shard.name}", f"the shard's digest is not the manifest's ({whom})")
        elif shard:
            audit.add(
                "unknown", f"vault/{shard.name}", f"the shard is not here: sealed values were not checked ({whom})"
            )
    except OSError as error:
        audit.add("unknown", place, f"could not be read: {error.strerror}")
        return False
    return True


def _segment_tasks(audit: _Audit, manifest: Manifest, place: str) -> list[Task]:
    layout, shard = audit.layout, manifest.shard
    try:
        schema = BlobStore(layout.blobs, Disk()).get(manifest.schema)
        parse_schema(schema)
    except BackstoryError as error:
        audit.add("failed", place, f"its schema cannot be read: {error}")
        return []
    groups = -(-manifest.count // ROW_GROUP_ROWS)
    opened = shard is not None and (layout.vault / shard.name).is_file()
    return [
        Task(
            path=str(layout.segments / manifest.file.name),
            first_group=first,
            end_group=min(first + GROUPS_PER_TASK, groups),
            stream=manifest.stream,
            first_seq=manifest.first_seq,
            schema=schema,
            shard=shard.name if shard and opened else None,
            vault=str(layout.vault),
            keys=str(layout.keys),
        )
        for first in range(0, groups, GROUPS_PER_TASK)
    ]


def _answers(audit: _Audit, what: str, tasks: list[Task], total: int) -> Iterator[Answer]:
    done = 0
    for answer in run_tasks(tasks, audit.workers):
        done += answer.rows
        audit.progress(what, done, total)
        yield answer


def _judge_segment(audit: _Audit, index: int, manifest: Manifest, place: str, answers: list[Answer]) -> None:
    for problem in dict.fromkeys(problem for answer in answers for problem in answer.failed):
        audit.add("failed", place, f"{problem} (entry {index})")
    for problem in dict.fromkeys(problem for answer in answers for problem in answer.unknown):
        audit.add("unknown", place, problem)
    if not answers or any(answer.rows == 0 for answer in answers):
        return
    subtrees = b"".join(answer.subtrees for answer in answers)
    rows = sum(answer.rows for answer in answers)
    if rows != manifest.count or root_of_subtrees(subtrees).hex() != manifest.root:
        stored = _stored_subtrees(audit.layout.segments / manifest.file.name)
        row = first_difference(subtrees, stored)
        where = "" if row is None else f"; the first changed record is among seq {manifest.first_seq + row} to " \
            f"{min(manifest.first_seq + row + 255, manifest.end_seq - 1)}"  # fmt: skip
        audit.add("failed", place, f"the records do not lead to the manifest's root (entry {index}){where}")
    elif _stored_subtrees(audit.layout.segments / manifest.file.name) != subtrees:
        audit.add("failed", place, f"the stored subtree roots are not those of the records (entry {index})")
    contexts = {context for answer in answers for context in answer.contexts}
    if contexts != set(manifest.contexts):
        audit.add("failed", place, f"records name other contexts than the manifest (entry {index})")
    if (answers[0].first_id, answers[-1].last_id) != (manifest.first_id, manifest.last_id):
        audit.add("failed", place, f"the first or last id is not the manifest's (entry {index})")
    pairs = zip(answers, answers[1:], strict=False)
    if any(answer.last_id >= after.first_id for answer, after in pairs):
        audit.add("failed", place, f"ids do not rise (entry {index})")


def _stored_subtrees(path: Path) -> bytes:
    try:
        return ParquetReader(path).subtrees()
    except BackstoryError:
        return b""


def _check_snapshots(audit: _Audit, entries: list[JsonObject | None]) -> None:
    """Hash the rows of every kept source snapshot against its dataset version."""
    blobs = BlobStore(audit.layout.blobs, Disk())
    tasks, parts = [], []
    for digest, table in _snapshots(entries):
        try:
            document = canonical.parse_object(blobs.get(digest), f"dataset {digest}")
            groups = -(-canonical.count_of(document, "rows") // ROW_GROUP_ROWS)
        except BackstoryError as error:
            audit.add("failed", f"dataset {digest}", error)
            continue
        if table is None:
            own = [Task(path="", first_group=0, end_group=0, shard=f"{digest}.shard", vault=str(audit.layout.vault),
                        keys=str(audit.layout.keys))]  # fmt: skip
        else:
            path = str(blobs.path(table))
            ends = range(0, groups, GROUPS_PER_TASK)
            own = [Task(path=path, first_group=i, end_group=min(i + GROUPS_PER_TASK, groups)) for i in ends]
        parts.append((digest, document, len(own)))
        tasks += own
    total = sum(canonical.count_of(document, "rows") for _, document, _ in parts)
    answers = _answers(audit, "source rows", tasks, total)
    for digest, document, count in parts:
        own_answers = [next(answers) for _ in range(count)]
        place = f"dataset {document.get('name')} {digest}"
        for answer in own_answers:
            for severity, problems in (("failed", answer.failed), ("unknown", answer.unknown)):
                for problem in problems:
                    audit.add(severity, place, problem)  # type: ignore[arg-type]
        if not any(answer.failed or answer.unknown for answer in own_answers):
            if root_of_subtrees(b"".join(answer.subtrees for answer in own_answers)).hex() != document.get("root"):
                audit.add("failed", place, "the kept rows do not lead to the version's root")
    audit.counts["source rows"] = total


def _snapshots(entries: list[JsonObject | None]) -> dict[str, str | None] | Iterator[tuple[str, str | None]]:
    found: dict[str, str | None] = {}
    for entry in entries:
        if entry is not None and entry.get("type") == "source.fixed":
            table = entry.get("table")
            found[str(entry.get("dataset"))] = table if isinstance(table, str) else None
    return iter(found.items())


_BLOB_KEYS = frozenset({"artifact", "context", "dataset", "edges", "environment", "group", "model", "schema", "table"})
"""Members of entries and documents that name a blob."""


def _check_blobs(audit: _Audit, entries: list[JsonObject | None]) -> None:
    """Check every blob against its name, and that every blob something refers to is there."""
    blobs = BlobStore(audit.layout.blobs, Disk())
    present = set()
    paths = list(blobs.paths())
    for done, path in enumerate(paths):
        digest = path.parent.name + path.name
        place = path.relative_to(audit.layout.root).as_posix()
        try:
            if path.parent.parent != audit.layout.blobs or blobs.path(digest) != path:
                raise FormatError("not named by a digest")  # noqa: TRY301
            if file_digest(path) != digest:
                audit.add("failed", place, "its bytes are not the ones its name promises: it was changed")
        except FormatError as error:
            audit.add("failed", place, f"does not belong here: {error}")
        except OSError as error:
            audit.add("unknown", place, f"could not be read: {error.strerror}")
        present.add(digest)
        audit.progress("blobs", done + 1, len(paths))
    audit.counts["blobs"] = len(paths)
    wanted = {digest for entry in entries if entry for digest in _named_blobs(entry)} | audit.blobs_named
    seen: set[str] = set()
    while wanted:
        digest = wanted.pop()
        seen.add(digest)
        if digest not in present:
            audit.add("failed", f"blob {digest}", "the log refers to it and it is missing")
            continue
        try:
            data = blobs.get(digest)
            document = canonical.parse(data) if data[:1] == b"{" else None
        except BackstoryError:
            continue  # a changed blob was named above; other bytes are no document
        wanted |= set(_named_blobs(document)) - seen
    for digest in sorted(present - seen):
        audit.add("note", f"blob {digest}", "nothing refers to it: left by a writer that was stopped")


def _named_blobs(value: canonical.JsonValue) -> Iterator[str]:
    if isinstance(value, dict):
        for key, member in value.items():
            if key in _BLOB_KEYS and isinstance(member, str) and len(member) == 64:  # noqa: PLR2004  hex digits
                yield member
            yield from _named_blobs(member)
    elif isinstance(value, list):
        for member in value:
            yield from _named_blobs(member)


def _check_spool(audit: _Audit) -> None:
    """Say what is recorded and not yet sealed, and what cannot be read of it."""
    keys = KeyStore(audit.layout.keys, Disk())
    spool = Spool(audit.layout.spool, keys, Disk())
    waiting = 0
    try:
        streams = spool.streams()
        heads = LockStore(audit.layout.lock, writable=False).heads()
    except BackstoryError as error:
        audit.add("failed", "spool", error)
        return
    for info in streams:
        place = f"spool/{info.stream}"
        head = heads.get(info.stream, 0)
        try:
            for frame in spool.frames(info, head):
                spool.table(info, frame)
                waiting += frame.first_seq + frame.count - max(head, frame.first_seq)
            torn = spool.torn_size(info)
        except BackstoryError as error:
            audit.add("failed", place, error)
            continue
        if torn and not spool.is_open(info.stream):
            audit.add(
                "note", place, f"unknown after the last complete record: {torn} bytes of a write a crash cut short"
            )
    if waiting:
        audit.add("note", "spool", f"{waiting} records are recorded and not yet sealed: no proof covers them yet")
