"""Checking segments and vault shards against their manifests, wherever the records of a segment are now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from backstory.columns.tree import HASH_SIZE, root_of_subtrees
from backstory.errors import BackstoryError
from backstory.records.canonical import JsonObject
from backstory.records.limits import SUBTREE_ROWS
from backstory.records.manifest import FileRef, Manifest
from backstory.records.schema import parse_schema
from backstory.storage.blobs import BlobStore
from backstory.storage.checked_files import file_digest
from backstory.storage.disk import Disk
from backstory.storage.segment import ParquetReader, group_count_of, subtree_count_of
from backstory.verify.audit import GROUPS_PER_TASK, Audit
from backstory.verify.held import HeldFile, Part, held_files, read_on
from backstory.verify.log import later_entries
from backstory.verify.worker import Answer, Task, first_difference


def check_segments(
    audit: Audit,
    entries: Sequence[JsonObject | None],
    manifests: Sequence[tuple[int, Manifest]],
    size_now: Callable[[], int],
) -> None:
    """Hash every record of every segment, over all cores.

    Args:
        audit: The verification.
        entries: The log's entries, None where one could not be read.
        manifests: Those of them that are manifests, with their indexes.
        size_now: Gives the size of the log once no commit is under way: segments may be merged meanwhile.
    """
    for index, manifest in manifests:
        audit.blobs_named |= {manifest.schema, *manifest.contexts}
        if manifest.shard is not None:
            _check_shard(audit, index, manifest, manifest.shard)
    files, problems = held_files(entries, manifests)
    for index, problem in problems:
        audit.add("failed", f"entry {index}", problem)
    log, all_manifests = list(entries), list(manifests)
    audit.expect("segments", len(manifests))
    audit.expect("records", sum(manifest.count for _, manifest in manifests))
    while gone := _check_files(audit, files):
        read_on(log, all_manifests, later_entries(audit.layout.log, len(log), size_now()))
        files = _where_now(audit, gone, held_files(log, all_manifests)[0])


def _check_files(audit: Audit, files: list[HeldFile]) -> list[HeldFile]:
    """Check the records of files; return those that are not there, about which nothing is said yet."""
    tasks: list[Task] = []
    found: list[tuple[HeldFile, list[int]]] = []
    gone = []
    for file in files:
        path = audit.layout.segments / file.ref.name
        if path.is_file() and _check_digest(audit, file.place, path, file.ref, file.whom):
            own = [_segment_tasks(audit, file, part) for part in file.parts]
            found.append((file, [len(some) for some in own]))
            tasks += [task for some in own for task in some]
        elif not path.is_file():
            gone.append(file)
    total = sum(part.manifest.count for file in files for part in file.parts)
    answers = audit.answers("records", tasks, total)
    for file, counts in found:
        own_answers = [[next(answers) for _ in range(count)] for count in counts]
        stored = _stored(audit, file)
        if not (audit.layout.segments / file.ref.name).is_file():  # asked last: so the file was there, or it is gone
            gone.append(file)
            continue
        if file.counts:
            _judge_merged(audit, file)
        for part, of_part in zip(file.parts, own_answers, strict=True):
            end = part.first_subtree + subtree_count_of(part.manifest.count)
            roots = stored[part.first_subtree * HASH_SIZE : end * HASH_SIZE] if file.counts else stored
            _judge_segment(audit, part.index, part.manifest, file.place, of_part, roots)
    return gone


def _where_now(audit: Audit, gone: list[HeldFile], files: list[HeldFile]) -> list[HeldFile]:
    """Return the files that hold the records of missing ones by now, as far as they do; name those that none does."""
    before = {part.index: file for file in gone for part in file.parts}
    missing = {}
    moved = []
    for file in files:
        parts = tuple(part for part in file.parts if part.index in before)
        old = before[parts[0].index] if parts else None
        if old is not None and old.ref.name == file.ref.name:
            missing[old.ref.name] = old
        elif parts:
            moved.append(replace(file, parts=parts))
    for file in missing.values():
        what = f"the file is not here: nothing of it was checked ({file.whom})"
        audit.add("failed", file.place, what)
    return moved


def _check_shard(audit: Audit, index: int, manifest: Manifest, shard: FileRef) -> None:
    """Check a shard against its digest. It may live elsewhere or be erased: its commitments stay as they were."""
    place, path = f"vault/{shard.name}", audit.layout.vault / shard.name
    whom = f"records {manifest.first_seq} to {manifest.end_seq - 1} of stream {manifest.stream}, entry {index}"
    if path.is_file():
        _check_digest(audit, place, path, shard, whom)
    else:
        audit.add("unknown", place, f"the file is not here: nothing of it was checked ({whom})")


def _check_digest(audit: Audit, place: str, path: Path, file: FileRef, whom: str) -> bool:
    """Check a file against its digest; return whether it can be read."""
    try:
        digest = file_digest(path)
    except FileNotFoundError:
        return False  # between two looks
    except OSError as error:
        audit.add("unknown", place, f"could not be read: {error.strerror}")
        return False
    if digest != file.sha256:
        audit.add("failed", place, f"the file's digest is not the one in its entry: it was changed ({whom})")
    return True


def _segment_tasks(audit: Audit, file: HeldFile, part: Part) -> list[Task]:
    layout, manifest, shard = audit.layout, part.manifest, part.manifest.shard
    try:
        schema = BlobStore(layout.blobs, Disk()).get(manifest.schema)
        parse_schema(schema)
    except BackstoryError as error:
        audit.add("failed", file.place, f"its schema cannot be read: {error}")
        return []
    groups = group_count_of(manifest.count)
    opened = shard is not None and (layout.vault / shard.name).is_file()
    return [
        Task(
            path=str(layout.segments / file.ref.name),
            first_group=first,
            end_group=min(first + GROUPS_PER_TASK, groups),
            offset=part.first_group,
            stream=manifest.stream,
            first_seq=manifest.first_seq,
            schema=schema,
            shard=shard.name if shard and opened else None,
            vault=str(layout.vault),
            keys=str(layout.keys),
        )
        for first in range(0, groups, GROUPS_PER_TASK)
    ]


def _judge_merged(audit: Audit, file: HeldFile) -> None:
    """Compare what a merged file says of itself with the manifests it is said to hold."""
    try:
        reader = ParquetReader(audit.layout.segments / file.ref.name)
        same = tuple(reader.counts()) == file.counts
        whole = reader.group_count == sum(group_count_of(count) for count in file.counts)
        roots = len(reader.subtrees()) == HASH_SIZE * sum(subtree_count_of(count) for count in file.counts)
    except BackstoryError as error:
        audit.add("failed", file.place, f"{error} ({file.whom})")
        return
    if not (same and whole and roots):
        audit.add("failed", file.place, f"its counts, row groups or subtree roots are not its manifests' ({file.whom})")


def _judge_segment(
    audit: Audit, index: int, manifest: Manifest, place: str, answers: list[Answer], stored: bytes
) -> None:
    """Compare what the rows of a segment led to with what its manifest says."""
    audit.add_all("failed", place, [f"{problem} (entry {index})" for answer in answers for problem in answer.failed])
    audit.add_all("unknown", place, [problem for answer in answers for problem in answer.unknown])
    if not answers or any(answer.rows == 0 for answer in answers):
        return
    subtrees = b"".join(answer.subtrees for answer in answers)
    rows = sum(answer.rows for answer in answers)
    audit.counts["segments"] += 1
    audit.counts["records"] += rows
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


def _stored(audit: Audit, file: HeldFile) -> bytes:
    try:
        return ParquetReader(audit.layout.segments / file.ref.name).subtrees()
    except BackstoryError:
        return b""
