"""Checking blobs against their names, and that everything something refers to is there."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from backstory.errors import BackstoryError
from backstory.records import canonical
from backstory.records.membership import SUBJECTS
from backstory.storage.blobs import BlobStore
from backstory.storage.disk import TEMPORARY_PREFIX, Disk
from backstory.verify.audit import Audit
from backstory.verify.entries import Entries
from backstory.verify.worker import Task

DIGEST = re.compile(r"[0-9a-f]{64}")
_BLOB_KEYS = frozenset(
    {
        "about",
        "artifact",
        "context",
        "contexts",
        "contract",
        "dataset",
        "document",
        "edges",
        "environment",
        "features",
        "fitted",
        "group",
        "model",
        "profile",
        "reasons",
        "row_set",
        "schema",
        "sketches",
        "step",
        "table",
    }
)
"""Members of entries and documents that name a blob, or a list of them."""

_MEANS_CHANGED = (
    "whatever refers to this blob (a model, a context, a snapshot, a schema) cannot be shown to be as it was"
)
_MEANS_MISSING = "what refers to it can no longer be told or run again; what is proven of records stays so"
_MEANS_PAYLOAD = "the text or bytes that stand in the record by their digest cannot be shown"


@dataclass(slots=True, kw_only=True)
class Blobs:
    """What a log names besides files of records.

    Attributes:
        old: Digests of the blobs that entries before a bound lead to.
        new: Digests of the blobs that only entries from it on lead to.
        waiting: Digests of the blobs that only the spool leads to.
        snapshots: Dataset versions that were kept, each with the blob of its rows, None for one in the vault, and
            whether it is new.
        referenced: Dataset versions of which an entry keeps only where the rows are.
        positions: Tables of positions in the vault, each with what its document says, and whether it is new.
        trees: Trees of persons, by the digest of the document and the tree's shard in the vault, each with whether it
            is new.
        read_old: Whether what is not new is to be read again, as sizes are not what they were.
        read_unnamed: The same of the blobs that nothing leads to.
    """

    old: set[bytes] = field(default_factory=set)
    new: set[bytes] = field(default_factory=set)
    waiting: set[bytes] = field(default_factory=set)
    snapshots: dict[str, tuple[str | None, bool]] = field(default_factory=dict)
    referenced: set[str] = field(default_factory=set)
    positions: dict[str, tuple[canonical.JsonObject, bool]] = field(default_factory=dict)
    trees: dict[tuple[str, str], bool] = field(default_factory=dict)
    read_old: bool = True
    read_unnamed: bool = True

    @property
    def tables(self) -> dict[str, bool]:
        """Names of the tables in the vault, each with whether it is new."""
        snapshots = {f"{digest}.shard": is_new for digest, (table, is_new) in self.snapshots.items() if table is None}
        trees = {name: is_new for (_, name), is_new in self.trees.items()}
        return snapshots | {name: is_new for name, (_, is_new) in self.positions.items()} | trees


def find_blobs(audit: Audit, entries: Entries) -> Blobs:
    """Return the blobs that the log leads to, through documents too, and name those that are missing."""
    found = Blobs()
    bound = audit.keeper.others_before
    store = BlobStore(audit.layout.blobs, Disk())
    for index, entry in entries.documents():
        known = found.old if index < bound else found.new
        _follow(audit, store, found, known, list(_named_blobs(entry)), index)
        dataset, table = entry.get("dataset"), entry.get("table")
        if entry.get("type") == "source.fixed" and isinstance(dataset, str):
            if entry.get("kept") == "reference":
                found.referenced.add(dataset)
                continue
            found.snapshots.setdefault(dataset, (table if isinstance(table, str) else None, index >= bound))
    _follow(audit, store, found, found.waiting, sorted(audit.blobs_named), None)
    _compare_sizes(audit, found)
    return found


def _follow(
    audit: Audit, store: BlobStore, found: Blobs, known: set[bytes], wanted: list[str], index: int | None
) -> None:
    """Add blobs and what they lead to."""
    while wanted:
        digest = wanted.pop()
        key = bytes.fromhex(digest)
        if key in found.old or key in found.new or key in found.waiting:
            continue
        known.add(key)
        if not store.path(digest).is_file():
            by = "a record in the spool" if index is None else f"entry {index}"
            what = f"the log refers to it and it is missing ({by} leads to it)"
            audit.add("failed", _place(digest), what, index=index, meaning=_MEANS_MISSING)
            continue
        document = _document(store, digest)
        wanted += list(_named_blobs(document))
        for name, value in _sealed_edges(document):
            found.positions.setdefault(name, (value, known is not found.old))
        for name in _trees(document):
            found.trees[digest, name] = known is not found.old


def _compare_sizes(audit: Audit, found: Blobs) -> None:
    """Decide what an earlier audit read and need not be read again: where all sizes are as they were, nothing."""
    given = audit.keeper.given
    if given is None or not audit.keeper.others_before:
        return
    named, unnamed, count = sizes_of(audit, found, is_earlier=True)
    found.read_old, found.read_unnamed = named != given.named, unnamed != given.unnamed
    if found.read_old:
        audit.add("note", "blobs", "sizes or names of blobs are not those of the earlier audit: all are read again")
    if count < given.payloads:
        what = f"{given.payloads - count} blobs that no entry names are not here any more"
        meaning = "payloads of records may be among them: `--full` reads the records again and names these"
        audit.add("unknown", "blobs", what, meaning=meaning)


def _document(store: BlobStore, digest: str) -> canonical.JsonValue:
    """Return a blob that is a document; None of any other, and of a changed one, which is named where it is hashed."""
    try:
        with store.path(digest).open("rb") as file:
            if file.read(1) != b"{":
                return None
        return canonical.parse(store.get(digest))
    except (BackstoryError, OSError):
        return None


def check_blobs(audit: Audit, found: Blobs) -> None:
    """Hash blobs over all cores, and say of which it is not known who refers to them.

    Args:
        audit: The verification.
        found: What the log leads to, and what of it an earlier audit read.
    """
    audit.expect("blobs", sum(1 for _ in _listed(audit.layout.blobs)))
    asked: deque[str] = deque()
    for answer in audit.pool.run(_tasks(audit, found, asked)):
        digest = asked.popleft()
        audit.counts["blobs"] += bool(answer.sha256)
        for problem in answer.unknown:
            audit.add("unknown", _place(digest), problem, meaning="nothing is known of it until it can be read")
        if answer.sha256 not in {"", digest}:
            what = "its bytes are not the ones its name promises: it was changed"
            audit.add("failed", _place(digest), what, meaning=_MEANS_CHANGED)
        audit.progress("blobs", audit.counts["blobs"], audit.totals["blobs"])
    for digest, place in sorted(audit.payloads_named.items()):
        if not _path(audit, digest).is_file():
            what = f"a value of a record in {place} stands for it and it is missing, if that is no text that looks so"
            audit.add("unknown", _place(digest), what, meaning=_MEANS_PAYLOAD)


def _tasks(audit: Audit, found: Blobs, asked: deque[str]) -> Iterator[Task]:
    """Yield what hashes the blobs that are to be read, each with its digest in `asked`."""
    is_partial = bool(audit.keeper.others_before or audit.keeper.read_before)
    for path, size in _listed(audit.layout.blobs):
        digest = path.parent.name + path.name
        if path != _path(audit, digest) or not DIGEST.fullmatch(digest):
            place = f"blobs/sha256/{path.relative_to(audit.layout.blobs).as_posix()}"
            audit.add("failed", place, "is not named by a digest", meaning="somebody else wrote into the archive")
            continue
        key = bytes.fromhex(digest)
        is_unnamed = not (key in found.old or key in found.new or key in found.waiting)
        is_unnamed = is_unnamed and digest not in audit.payloads_named
        if is_unnamed and not is_partial:
            audit.add("note", _place(digest), "nothing refers to it: left by a writer that was stopped")
        if (key not in found.old or found.read_old) and (not is_unnamed or found.read_unnamed):
            asked.append(digest)
            yield Task(path=str(path), digest=True, weight=size // 1000)


def sizes_of(audit: Audit, found: Blobs, *, is_earlier: bool = False) -> tuple[str, str, int]:
    """Return the SHA-256 over names and sizes of what the log leads to, that of other blobs, and how many these are.

    Args:
        audit: The verification.
        found: What the log leads to.
        is_earlier: Whether only what the log led to at the earlier audit counts.
    """
    named, unnamed, count = sha256(), sha256(), 0
    for path, size in _listed(audit.layout.blobs):
        digest = path.parent.name + path.name
        key = bytes.fromhex(digest) if DIGEST.fullmatch(digest) else b""
        if key in found.old or (key in found.new and not is_earlier):
            named.update(f"{digest} {size}\n".encode())
        elif key not in found.new and key not in found.waiting:
            if not (is_earlier and digest in audit.payloads_named):
                unnamed.update(f"{digest} {size}\n".encode())
            count += 1
    for name, is_new in sorted(found.tables.items()):
        if not (is_new and is_earlier):
            named.update(f"vault/{name} {_size(audit.layout.vault / name)}\n".encode())
    return named.hexdigest(), unnamed.hexdigest(), count


def _listed(root: Path) -> Iterator[tuple[Path, int]]:
    """Yield every file below the blobs' directory and its size, in order; temporary ones are left out."""
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(TEMPORARY_PREFIX):
                yield path, _size(path)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _path(audit: Audit, digest: str) -> Path:
    return audit.layout.blobs / digest[:2] / digest[2:]


def _place(digest: str) -> str:
    return f"blobs/sha256/{digest[:2]}/{digest[2:]}"


def _sealed_edges(value: canonical.JsonValue) -> Iterator[tuple[str, canonical.JsonObject]]:
    """Yield the tables in the vault a document refers to, of positions or a profile, each with what it says of it."""
    members: Sequence[canonical.JsonValue] = ()
    if isinstance(value, dict):
        named = (value.get(member) for member in ("sealed_edges", "sealed_table"))
        yield from ((name, value) for name in named if isinstance(name, str))
        members = list(value.values())
    elif isinstance(value, list):
        members = value
    for member in members:
        yield from _sealed_edges(member)


def _trees(document: canonical.JsonValue) -> Iterator[str]:
    """Yield the names of the shards with the leaves of trees of persons, of a dataset version or a training set."""
    holders = (document, document.get("training")) if isinstance(document, dict) else ()
    for holder in holders:
        tree = holder.get(SUBJECTS) if isinstance(holder, dict) else None
        key = tree.get("key") if isinstance(tree, dict) else None
        if isinstance(key, str) and DIGEST.fullmatch(key):
            yield f"{key}.shard"


def _named_blobs(value: canonical.JsonValue) -> Iterator[str]:
    if isinstance(value, dict):
        for key, member in value.items():
            if key in _BLOB_KEYS:
                named = member if isinstance(member, list) else [member]
                yield from (one for one in named if isinstance(one, str) and DIGEST.fullmatch(one))
            yield from _named_blobs(member)
    elif isinstance(value, list):
        for member in value:
            yield from _named_blobs(member)
