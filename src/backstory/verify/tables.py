"""Checking kept tables, of sources and of positions that lead to people, against the roots that documents name."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from backstory.columns.tree import root_of_subtrees
from backstory.errors import BackstoryError
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.erasure import ERASED_TYPE
from backstory.records.keyed import is_under
from backstory.records.keyed import keyed as keyed_digest
from backstory.records.limits import ROW_GROUP_ROWS
from backstory.records.sensitivity import PERSONAL_DOMAIN
from backstory.storage.blobs import BlobStore
from backstory.storage.disk import Disk
from backstory.tlog.limits import HASH_SIZE
from backstory.verify.audit import GROUPS_PER_TASK, Audit
from backstory.verify.blobs import DIGEST, Blobs
from backstory.verify.entries import Entries
from backstory.verify.erasure import is_lost
from backstory.verify.shards import count_erased_rows
from backstory.verify.worker import Answer, Task

DATASET_KEY = "datasets"
_MEANS_ROWS = (
    "the rows that predictions of this source refer to can no longer be shown to be the ones they were made from"
)
_MEANS_POSITIONS = "which rows of people went into this group or model, or their profile, can no longer be shown"
_MEANS_ERASED = "erased, or kept elsewhere: whether these rows are as they were is not known"
_MEANS_SORTED = "proofs that a row is in this version, or is not, cannot be believed"
_MEANS_KEYED = (
    "whether two versions have equal content can no longer be told; the rows themselves are checked by their root"
)


@dataclass(slots=True, kw_only=True)
class _Keyed:
    """Keyed digests of content: how many were compared, which differ, and how many are under another key."""

    compared: int = 0
    differ: list[str]
    other: int = 0


def check_tables(audit: Audit, entries: Entries, found: Blobs) -> None:
    """Hash the rows of every kept snapshot and table of positions that is to be read."""
    keyed = _Keyed(differ=[])
    key = _dataset_key(audit)
    _check_snapshots(audit, found, key, keyed)
    _say_referenced(audit, found)
    _check_positions(audit, found, key, keyed)
    what = "keyed content is not that of the rows"
    if keyed.differ and len(keyed.differ) == keyed.compared:
        what = f"with this key no {what}: it was changed"
        audit.add("failed", f"keys/{DATASET_KEY}.json", what, meaning=_MEANS_KEYED)
    else:
        for place in keyed.differ:
            audit.add("failed", place, f"its {what}: its document is not what was recorded", meaning=_MEANS_KEYED)
    if keyed.other and any(entry.get("rekeyed") is True for _, entry in entries.documents(ERASED_TYPE)):
        what = f"not compared: {keyed.other} digests of content are under a key that an erasure destroyed"
        audit.add("note", f"keys/{DATASET_KEY}.json", what)
    elif keyed.other:
        what = f"is not the key that {keyed.other} digests of content are under: it was changed"
        audit.add("failed", f"keys/{DATASET_KEY}.json", what, meaning=_MEANS_KEYED)


def _check_snapshots(audit: Audit, found: Blobs, key: bytes | None, keyed: _Keyed) -> None:
    asked: deque[tuple[str, JsonObject, bool, int]] = deque()
    blobs = BlobStore(audit.layout.blobs, Disk())
    due: list[tuple[str, JsonObject, str | None, bool]] = []
    total = 0
    for digest, (table, is_new) in sorted(found.snapshots.items()):
        try:
            document = canonical.parse_object(blobs.get(digest), f"dataset {digest}")
            total += canonical.count_of(document, "rows")
        except BackstoryError as error:
            audit.add("failed", f"dataset {digest}", error, meaning=_MEANS_ROWS)
            continue
        due.append((digest, document, table, is_new))

    def tasks() -> Iterator[Task]:
        for digest, document, table, is_new in due:
            if is_new or found.read_old:
                own = _tasks(audit, digest, document, table)
                asked.append((digest, document, table is None, len(own)))
                yield from own

    audit.expect("source rows", total)
    answers = audit.answers("source rows", tasks(), total)
    for first in answers:
        digest, document, is_personal, count = asked.popleft()
        own_answers = [first, *(next(answers) for _ in range(count - 1))]
        audit.counts["source rows"] += sum(answer.rows for answer in own_answers)
        place = f"dataset {document.get('name')} {digest}"
        what = "the kept rows do not lead to the version's root"
        if not _judge(audit, place, f"{digest}.shard", own_answers, document, what, _MEANS_ROWS):
            continue
        if is_personal:
            _compare_keyed(keyed, key, place, document, first.content[:HASH_SIZE])
        elif first.content.hex() != document.get("sorted", ""):
            audit.add("failed", place, "the kept rows do not lead to its sorted root", meaning=_MEANS_SORTED)


def _say_referenced(audit: Audit, found: Blobs) -> None:
    elsewhere = len(found.referenced - found.snapshots.keys())
    if elsewhere:
        what = f"rows of {elsewhere} dataset version{'s' if elsewhere > 1 else ''} not looked at: kept by reference"
        audit.add("note", "datasets", f"{what}, they are elsewhere; `backstory data check` reads them there")


def _tasks(audit: Audit, digest: str, document: JsonObject, table: str | None) -> list[Task]:
    """Return the tasks that hash a snapshot: a blob, or without one a shard of the vault, which is read whole.

    To be sorted, the rows of a blob are hashed in one task.
    """
    rows = canonical.count_of(document, "rows")
    if table is None:
        shard, vault = f"{digest}.shard", str(audit.layout.vault)
        return [Task(path="", weight=rows, shard=shard, vault=vault, keys=audit.keys_of(shard, [PERSONAL_DOMAIN]))]
    path = str(BlobStore(audit.layout.blobs, Disk()).path(table))
    groups = -(-rows // ROW_GROUP_ROWS)
    if "sorted" in document:
        return [Task(path=path, weight=rows, end_group=groups, in_order=False)]
    step = GROUPS_PER_TASK
    return [
        Task(path=path, weight=step * ROW_GROUP_ROWS, first_group=i, end_group=min(i + step, groups))
        for i in range(0, max(groups, 1), step)
    ]


def _check_positions(audit: Audit, found: Blobs, key: bytes | None, keyed: _Keyed) -> None:
    """Hash the positions in the vault against the roots that documents name."""
    asked: deque[tuple[str, JsonObject]] = deque()

    def tasks() -> Iterator[Task]:
        vault = str(audit.layout.vault)
        for name, (document, is_new) in sorted(found.positions.items()):
            root = document.get("root")
            if not isinstance(root, str) or not DIGEST.fullmatch(root) or name != f"{root}.shard":
                what = f"a document names a positions table that is not named by its root: {name!r}"
                audit.add("failed", "vault", what, meaning=_MEANS_POSITIONS)
            elif (is_new or found.read_old) and not is_lost(audit, name):
                asked.append((name, document))
                keys = audit.keys_of(name, [PERSONAL_DOMAIN])
                yield Task(path="", weight=_rows(document), shard=name, vault=vault, keys=keys)

    for answer in audit.answers("positions", tasks(), 0):
        name, document = asked.popleft()
        what = "the positions do not lead to the root in its document: changed"
        if _judge(audit, f"vault/{name}", name, [answer], document, what, _MEANS_POSITIONS):
            _compare_keyed(keyed, key, f"vault/{name}", document, answer.content)


def _rows(document: JsonObject) -> int:
    try:
        return canonical.count_of(document, "rows")
    except BackstoryError:
        return 0


def _judge(
    audit: Audit, place: str, shard: str, answers: list[Answer], document: JsonObject, what: str, meaning: str
) -> bool:
    """Compare rows with the root of their document; return whether they lead to it."""
    failed = dict.fromkeys(problem for answer in answers for problem in answer.failed)
    unknown = dict.fromkeys(problem for answer in answers for problem in answer.unknown)
    for problem in failed:
        audit.add("failed", place, problem, meaning=meaning)
    for problem in unknown:
        audit.add("unknown", place, problem, meaning=_MEANS_ERASED)
    if failed or unknown:
        return False
    count_erased_rows(audit, shard, answers)
    if root_of_subtrees(b"".join(answer.subtrees for answer in answers)).hex() != document.get("root"):
        audit.add("failed", place, what, meaning=meaning)
        return False
    return True


def _dataset_key(audit: Audit) -> bytes | None:
    try:
        return audit.keys.key(DATASET_KEY, "key")
    except BackstoryError:
        return None  # said where keys are checked


def _compare_keyed(keyed: _Keyed, key: bytes | None, place: str, document: JsonObject, content: bytes) -> None:
    if key is None or not content:  # of a table from which rows were erased there is none
        return
    if not is_under(key, document.get("content")):
        keyed.other += 1
        return
    keyed.compared += 1
    if keyed_digest(key, content) != document.get("content"):
        keyed.differ.append(place)
