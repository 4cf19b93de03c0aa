"""Checking blobs against their names, and source snapshots against their dataset versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from backstory.columns.tree import root_of_subtrees
from backstory.errors import BackstoryError, FormatError
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.limits import ROW_GROUP_ROWS
from backstory.storage.blobs import BlobStore, file_digest
from backstory.storage.disk import Disk
from backstory.verify.audit import GROUPS_PER_TASK, Audit
from backstory.verify.worker import Task


def check_snapshots(audit: Audit, entries: list[JsonObject | None]) -> None:
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
    answers = audit.answers("source rows", tasks, total)
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


def check_blobs(audit: Audit, entries: list[JsonObject | None]) -> None:
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
