"""Checking blobs against their names, and source snapshots against their dataset versions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from backstory.columns.tree import root_of_subtrees
from backstory.errors import BackstoryError
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.limits import ROW_GROUP_ROWS
from backstory.storage.blobs import BlobStore
from backstory.storage.checked_files import file_digest
from backstory.storage.disk import Disk
from backstory.verify.audit import GROUPS_PER_TASK, Audit
from backstory.verify.worker import Task


def check_snapshots(audit: Audit, entries: list[JsonObject | None]) -> None:
    """Hash the rows of every kept source snapshot against its dataset version."""
    blobs = BlobStore(audit.layout.blobs, Disk())
    tasks: list[Task] = []
    parts: list[tuple[str, JsonObject, int]] = []
    total = 0
    for digest, table in _snapshots(entries).items():
        try:
            document = canonical.parse_object(blobs.get(digest), f"dataset {digest}")
            rows = canonical.count_of(document, "rows")
            own = _snapshot_tasks(audit, digest, rows, None if table is None else blobs.path(table))
        except BackstoryError as error:
            audit.add("failed", f"dataset {digest}", error)
            continue
        parts.append((digest, document, len(own)))
        tasks += own
        total += rows
    audit.expect("source rows", total)
    answers = audit.answers("source rows", tasks, total)
    for digest, document, count in parts:
        own_answers = [next(answers) for _ in range(count)]
        audit.counts["source rows"] += sum(answer.rows for answer in own_answers)
        place = f"dataset {document.get('name')} {digest}"
        failed = [problem for answer in own_answers for problem in answer.failed]
        unknown = [problem for answer in own_answers for problem in answer.unknown]
        audit.add_all("failed", place, failed)
        audit.add_all("unknown", place, unknown)
        root = root_of_subtrees(b"".join(answer.subtrees for answer in own_answers)).hex()
        if not failed and not unknown and root != document.get("root"):
            audit.add("failed", place, "the kept rows do not lead to the version's root")


def _snapshot_tasks(audit: Audit, digest: str, rows: int, path: Path | None) -> list[Task]:
    """Return the tasks that hash a snapshot: a blob, or without a path a shard of the vault, which is read whole."""
    if path is None:
        vault, keys = str(audit.layout.vault), str(audit.layout.keys)
        return [Task(path="", first_group=0, end_group=0, shard=f"{digest}.shard", vault=vault, keys=keys)]
    groups = -(-rows // ROW_GROUP_ROWS)
    starts = range(0, groups, GROUPS_PER_TASK)
    return [Task(path=str(path), first_group=i, end_group=min(i + GROUPS_PER_TASK, groups)) for i in starts]


def _snapshots(entries: list[JsonObject | None]) -> dict[str, str | None]:
    """Return the kept snapshots: by digest of the dataset version the blob of its rows, None for a personal one."""
    found: dict[str, str | None] = {}
    for entry in entries:
        if entry is not None and entry.get("type") == "source.fixed":
            table = entry.get("table")
            found[str(entry.get("dataset"))] = table if isinstance(table, str) else None
    return found


_DIGEST = re.compile(r"[0-9a-f]{64}")
_BLOB_KEYS = frozenset({"artifact", "context", "dataset", "edges", "environment", "group", "model", "schema", "table"})
"""Members of entries and documents that name a blob."""


def check_blobs(audit: Audit, entries: list[JsonObject | None]) -> None:
    """Check every blob against its name, and that every blob something refers to is there."""
    blobs = BlobStore(audit.layout.blobs, Disk())
    present = _check_names(audit, blobs)
    wanted = {digest for entry in entries if entry for digest in _named_blobs(entry)} | audit.blobs_named
    seen: set[str] = set()
    sealed: dict[str, canonical.JsonValue] = {}
    while wanted:
        digest = wanted.pop()
        seen.add(digest)
        if digest not in present:
            audit.add("failed", _place(digest), "the log refers to it and it is missing")
            continue
        try:
            data = blobs.get(digest)
            document = canonical.parse(data) if data[:1] == b"{" else None
        except BackstoryError:
            continue  # a changed blob was named above; other bytes are no document
        wanted |= set(_named_blobs(document)) - seen
        sealed.update(_sealed_edges(document))
    for digest in sorted(present - seen):
        audit.add("note", _place(digest), "nothing refers to it: left by a writer that was stopped")
    _check_sealed_edges(audit, sealed)


def _check_sealed_edges(audit: Audit, sealed: dict[str, canonical.JsonValue]) -> None:
    """Hash the positions in the vault against the roots that documents name."""
    named = {name: root for name, root in sorted(sealed.items()) if name == f"{root}.shard" and _is_digest(root)}
    for name in sorted(set(sealed) - set(named)):
        audit.add("failed", "vault", f"a document names a positions table that is not named by its root: {name!r}")
    vault, keys = str(audit.layout.vault), str(audit.layout.keys)
    tasks = [Task(path="", first_group=0, end_group=0, shard=name, vault=vault, keys=keys) for name in named]
    for (name, root), answer in zip(named.items(), audit.answers("positions", tasks, 0), strict=True):
        audit.add_all("failed", f"vault/{name}", answer.failed)
        audit.add_all("unknown", f"vault/{name}", answer.unknown)
        if not answer.failed and not answer.unknown and root_of_subtrees(answer.subtrees).hex() != root:
            audit.add("failed", f"vault/{name}", "the positions do not lead to the root in its document: changed")


def _check_names(audit: Audit, blobs: BlobStore) -> set[str]:
    """Check that every blob has the bytes its name promises; return the digests that are names."""
    present: set[str] = set()
    paths = list(blobs.paths())
    for done, path in enumerate(paths):
        digest = path.parent.name + path.name
        if path != audit.layout.blobs / digest[:2] / digest[2:] or not _DIGEST.fullmatch(digest):
            audit.add("failed", f"blobs/sha256/{path.relative_to(audit.layout.blobs)}", "is not named by a digest")
            continue
        present.add(digest)
        try:
            if file_digest(path) != digest:
                audit.add("failed", _place(digest), "its bytes are not the ones its name promises: it was changed")
        except OSError as error:
            audit.add("unknown", _place(digest), f"could not be read: {error.strerror}")
        audit.progress("blobs", done + 1, len(paths))
    audit.counts["blobs"] = len(paths)
    return present


def _place(digest: str) -> str:
    return f"blobs/sha256/{digest[:2]}/{digest[2:]}"


def _is_digest(value: canonical.JsonValue) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _sealed_edges(value: canonical.JsonValue) -> Iterator[tuple[str, canonical.JsonValue]]:
    """Yield the positions tables in the vault a document refers to, each with the root it must have."""
    if isinstance(value, dict):
        name = value.get("sealed_edges")
        if isinstance(name, str):
            yield name, value.get("root")
        for member in value.values():
            yield from _sealed_edges(member)
    elif isinstance(value, list):
        for member in value:
            yield from _sealed_edges(member)


def _named_blobs(value: canonical.JsonValue) -> Iterator[str]:
    if isinstance(value, dict):
        for key, member in value.items():
            if key in _BLOB_KEYS and isinstance(member, str) and _DIGEST.fullmatch(member):
                yield member
            yield from _named_blobs(member)
    elif isinstance(value, list):
        for member in value:
            yield from _named_blobs(member)
