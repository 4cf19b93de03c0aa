"""Checking segments and vault shards against their manifests."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from backstory.columns.tree import root_of_subtrees
from backstory.errors import BackstoryError
from backstory.records.limits import ROW_GROUP_ROWS, SUBTREE_ROWS
from backstory.records.manifest import FileRef, Manifest
from backstory.records.schema import parse_schema
from backstory.storage.blobs import BlobStore, file_digest
from backstory.storage.disk import TEMPORARY_PREFIX, Disk
from backstory.storage.segment import ParquetReader
from backstory.verify.audit import GROUPS_PER_TASK, Audit
from backstory.verify.finding import Severity
from backstory.verify.worker import Answer, Task, first_difference


def check_segments(audit: Audit, manifests: list[tuple[int, Manifest]]) -> None:
    """Hash every record of every segment, over all cores."""
    tasks, parts = [], []
    for index, manifest in manifests:
        place = f"segments/{manifest.file.name}"
        audit.blobs_named |= {manifest.schema, *manifest.contexts}
        if _check_files(audit, index, manifest, place):
            own = _segment_tasks(audit, manifest, place)
            parts.append((index, manifest, place, len(own)))
            tasks += own
    total = sum(manifest.count for _, manifest in manifests)
    answers = audit.answers("records", tasks, total)
    for index, manifest, place, count in parts:
        _judge_segment(audit, index, manifest, place, [next(answers) for _ in range(count)])
    audit.counts["segments"] = len(manifests)
    audit.counts["records"] = total
    known = {m.file.name for _, m in manifests}
    for path in sorted(audit.layout.segments.glob("*")):
        if path.name not in known and not path.name.startswith(TEMPORARY_PREFIX):
            audit.add("note", f"segments/{path.name}", "no manifest speaks of it: left by a sealer that was stopped")


def _check_files(audit: Audit, index: int, manifest: Manifest, place: str) -> bool:
    """Check segment and shard against their digests; return whether the segment can be read."""
    whom = f"records {manifest.first_seq} to {manifest.end_seq - 1} of stream {manifest.stream}, entry {index}"
    shard = manifest.shard
    if shard is not None:
        _check_digest(
            audit, f"vault/{shard.name}", audit.layout.vault / shard.name, shard, whom=whom, missing="unknown"
        )
    return _check_digest(
        audit, place, audit.layout.segments / manifest.file.name, manifest.file, whom=whom, missing="failed"
    )


def _check_digest(audit: Audit, place: str, path: Path, file: FileRef, *, whom: str, missing: Severity) -> bool:
    if not path.is_file():  # a shard may live elsewhere or be erased: its commitments stay as they were
        audit.add(missing, place, f"the file is not here: nothing of it was checked ({whom})")
        return False
    try:
        digest = file_digest(path)
    except OSError as error:
        audit.add("unknown", place, f"could not be read: {error.strerror}")
        return False
    if digest != file.sha256:
        audit.add("failed", place, f"the file's digest is not the manifest's: it was changed ({whom})")
    return True


def _segment_tasks(audit: Audit, manifest: Manifest, place: str) -> list[Task]:
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


def _judge_segment(audit: Audit, index: int, manifest: Manifest, place: str, answers: list[Answer]) -> None:
    """Compare what the rows of a segment led to with what its manifest says."""
    audit.add_all("failed", place, [f"{problem} (entry {index})" for answer in answers for problem in answer.failed])
    audit.add_all("unknown", place, [problem for answer in answers for problem in answer.unknown])
    if not answers or any(answer.rows == 0 for answer in answers):
        return
    subtrees = b"".join(answer.subtrees for answer in answers)
    stored = _stored_subtrees(audit.layout.segments / manifest.file.name)
    rows = sum(answer.rows for answer in answers)
    if rows != manifest.count or root_of_subtrees(subtrees).hex() != manifest.root:
        where = _first_changed(manifest, first_difference(subtrees, stored))
        audit.add("failed", place, f"the records do not lead to the manifest's root (entry {index}){where}")
    elif stored != subtrees:
        audit.add("failed", place, f"the stored subtree roots are not those of the records (entry {index})")
    contexts = {context for answer in answers for context in answer.contexts}
    if contexts != set(manifest.contexts):
        audit.add("failed", place, f"records name other contexts than the manifest (entry {index})")
    if (answers[0].first_id, answers[-1].last_id) != (manifest.first_id, manifest.last_id):
        audit.add("failed", place, f"the first or last id is not the manifest's (entry {index})")
    if any(answer.last_id >= after.first_id for answer, after in pairwise(answers)):
        audit.add("failed", place, f"ids do not rise (entry {index})")


def _first_changed(manifest: Manifest, row: int | None) -> str:
    if row is None:
        return ""
    first = manifest.first_seq + row
    return f"; the first changed record is among seq {first} to {min(first + SUBTREE_ROWS, manifest.end_seq) - 1}"


def _stored_subtrees(path: Path) -> bytes:
    try:
        return ParquetReader(path).subtrees()
    except BackstoryError:
        return b""
