"""Checking segments and vault shards against their manifests, wherever the records of a segment are now."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from backstory.columns.tree import HASH_SIZE, root_of_subtrees
from backstory.errors import BackstoryError
from backstory.records.canonical import JsonObject
from backstory.records.limits import ROW_GROUP_ROWS, SUBTREE_ROWS
from backstory.records.manifest import FileRef, Manifest
from backstory.records.schema import parse_schema
from backstory.records.sensitivity import groups_by_domain
from backstory.storage.blobs import BlobStore
from backstory.storage.disk import Disk
from backstory.storage.segment import ParquetReader, group_count_of, subtree_count_of
from backstory.verify.audit import GROUPS_PER_TASK, Audit
from backstory.verify.entries import Entries
from backstory.verify.finding import Severity
from backstory.verify.held import HeldFile, Holdings, Part, add_later, held_file
from backstory.verify.log import later_entries
from backstory.verify.shards import judge_shard, look_at_shard
from backstory.verify.worker import Answer, Task, first_difference

_STILL_PROVEN = "its records still lead to the signed root; what else is in the file is not what was written"


def check_segments(audit: Audit, entries: Entries, holdings: Holdings, size_now: Callable[[], int]) -> None:
    """Hash every record of every segment, over all cores; of files an earlier audit read, look at the size.

    Args:
        audit: The verification.
        entries: The log.
        holdings: Its manifests, and what was merged.
        size_now: Gives the size of the log once no commit is under way: segments may be merged meanwhile.
    """
    audit.expect("segments", len(holdings))
    audit.expect("records", holdings.records)
    audit.keeper.keep_open(holdings.is_holder)
    files = (held_file(index, entries.document) for index in holdings.holders())
    gone = _check_files(audit, files)
    later: dict[int, JsonObject | None] = {}
    holdings = copy.deepcopy(holdings) if gone else holdings

    def read(index: int) -> JsonObject | None:
        return later.get(index) if index in later else entries.document(index)

    while gone:
        known = len(entries) + len(later)
        new = dict(enumerate(later_entries(audit.layout.log, known, size_now()), known))
        later.update(new)
        add_later(holdings, new)
        gone = _check_files(audit, _where_now(audit, gone, holdings, read))


@dataclass(slots=True, kw_only=True)
class _Plan:
    """What is asked about one file: first its digest, then those of shards, then the rows of each of its parts."""

    file: HeldFile
    shards: list[Part] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    problems: int = 0


def _check_files(audit: Audit, files: Iterable[HeldFile]) -> list[HeldFile]:
    """Check the records of files; return those that are not there, about which nothing is said yet."""
    plans: deque[_Plan] = deque()
    gone: list[HeldFile] = []

    def tasks() -> Iterator[Task]:
        for file in files:
            if audit.keeper.skips(file.entry):
                _look_at(audit, file)
                continue
            plan = _Plan(file=file, shards=[part for part in file.parts if part.manifest.shard is not None])
            plans.append(plan)
            yield from _tasks_of(audit, plan)  # a list: the plan is whole before the first answer

    answers = audit.answers("records", tasks(), audit.totals["records"])
    for digest in answers:
        plan = plans.popleft()
        before = audit.problems
        shards = [next(answers) for _ in plan.shards]
        rows = [[next(answers) for _ in range(count)] for count in plan.rows]
        of_part = {part.index: answers_of for part, answers_of in zip(plan.file.parts, rows, strict=False)}
        for part, answer in zip(plan.shards, shards, strict=True):
            _judge_shard(audit, part, answer, of_part.get(part.index, []))
        if _judge_file(audit, plan.file, digest, rows):
            audit.keeper.passed(plan.file.entry, good=audit.problems == before + plan.problems and not plan.problems)
        else:
            audit.keeper.passed(plan.file.entry, good=False)
            gone.append(plan.file)
    return gone


def _tasks_of(audit: Audit, plan: _Plan) -> list[Task]:
    """Return the tasks of a file; those that hash its rows only where there is something to read."""
    layout, file = audit.layout, plan.file
    path = layout.segments / file.ref.name
    tasks = [Task(path=str(path), digest=True, weight=file.ref.size // 1000)]
    for part in plan.shards:
        shard = part.manifest.shard
        if shard is not None:
            tasks.append(Task(path=str(layout.vault / shard.name), digest=True, weight=shard.size // 1000))
    if path.is_file():
        before = audit.problems
        for part in file.parts:
            own = _row_tasks(audit, file, part)
            plan.rows.append(len(own))
            tasks += own
        plan.problems = audit.problems - before
    return tasks


def _row_tasks(audit: Audit, file: HeldFile, part: Part) -> list[Task]:
    layout, manifest, shard = audit.layout, part.manifest, part.manifest.shard
    try:
        schema = BlobStore(layout.blobs, Disk()).get(manifest.schema)
        parse_schema(schema)
    except BackstoryError as error:
        _say(audit, "failed", file.place, part, f"its schema cannot be read: {error}", _lost(manifest))
        return []
    groups = group_count_of(manifest.count)
    opened = shard is not None and (layout.vault / shard.name).is_file()
    keys = audit.keys_of(shard.name, groups_by_domain(parse_schema(schema).groups)) if shard and opened else {}
    return [
        Task(
            path=str(layout.segments / file.ref.name),
            weight=min(GROUPS_PER_TASK * ROW_GROUP_ROWS, manifest.count - first * ROW_GROUP_ROWS),
            first_group=first,
            end_group=min(first + GROUPS_PER_TASK, groups),
            offset=part.first_group,
            first_subtree=part.first_subtree,
            stream=manifest.stream,
            first_seq=manifest.first_seq,
            schema=schema,
            shard=shard.name if shard and opened else None,
            vault=str(layout.vault),
            keys=keys,
        )
        for first in range(0, groups, GROUPS_PER_TASK)
    ]


def _look_at(audit: Audit, file: HeldFile) -> None:
    """Check that a file an earlier audit read is there and of its size, and so its shards."""
    before = audit.problems
    found = _size_of(audit.layout.segments / file.ref.name)
    if found != file.ref.size:
        what = "is not here" if found is None else f"has {found} bytes, its entry says {file.ref.size}"
        _say_file(audit, "failed", file, f"{what}; an earlier audit read it ({file.whom})", _lost_in(file))
    for part in file.parts:
        shard = part.manifest.shard
        if shard is None:
            continue
        found = _size_of(audit.layout.vault / shard.name)
        if found is None:
            _say_shard_gone(audit, part, shard)
            continue
        for severity, what in look_at_shard(audit, shard, found):
            _say(audit, severity, f"vault/{shard.name}", part, what, _sealed_lost(part.manifest))
    audit.keeper.passed(file.entry, good=audit.problems == before)


def _size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _where_now(
    audit: Audit, gone: list[HeldFile], holdings: Holdings, read: Callable[[int], JsonObject | None]
) -> list[HeldFile]:
    """Return the files that hold the records of missing ones by now, as far as they do; name those that none does."""
    moved: dict[int, set[int]] = {}
    for file in gone:
        for part in file.parts:
            holder = holdings.holder_of(part.index)
            if holder == file.entry:
                what = f"the file is not here: nothing of it was checked ({file.whom})"
                _say_file(audit, "failed", file, what, _lost_in(file))
                break
            moved.setdefault(holder, set()).add(part.index)
    files = [(held_file(holder, read), parts) for holder, parts in sorted(moved.items())]
    return [replace(file, parts=tuple(part for part in file.parts if part.index in parts)) for file, parts in files]


def _judge_shard(audit: Audit, part: Part, answer: Answer, rows: list[Answer]) -> None:
    """Judge a shard. It may live elsewhere or be erased, whole or in part: its commitments stay as they were."""
    shard = part.manifest.shard
    if shard is None:
        return
    place, whom = f"vault/{shard.name}", _whom(part)
    for problem in answer.unknown:
        _say(audit, "unknown", place, part, problem, _sealed_unknown(part.manifest))
    if not answer.sha256 and not answer.unknown:
        _say_shard_gone(audit, part, shard)
    elif answer.sha256:
        for severity, what in judge_shard(audit, shard, answer.sha256, rows):
            _say(audit, severity, place, part, f"{what} ({whom})", _sealed_lost(part.manifest))


def _judge_file(audit: Audit, file: HeldFile, digest: Answer, rows: list[list[Answer]]) -> bool:
    """Compare a file with what its entry says; False if it is not there, about which nothing is said."""
    path = audit.layout.segments / file.ref.name
    stored = _stored(audit, file)
    if not path.is_file():  # asked last: so the file was there, or it is gone
        return False
    before = audit.problems
    if file.counts:
        _judge_merged(audit, file)
    for part, of_part in zip(file.parts, rows, strict=False):
        end = part.first_subtree + subtree_count_of(part.manifest.count)
        roots = stored[part.first_subtree * HASH_SIZE : end * HASH_SIZE] if file.counts else stored
        _judge_segment(audit, file, part, of_part, roots)
    for problem in digest.unknown:
        _say_file(audit, "unknown", file, problem, _unknown_in(file))
    if digest.sha256 not in {"", file.ref.sha256}:
        what = f"the file's digest is not the one in its entry: it was changed ({file.whom})"
        _say_file(audit, "failed", file, what, _STILL_PROVEN if audit.problems == before else _lost_in(file))
    return True


def _judge_merged(audit: Audit, file: HeldFile) -> None:
    """Compare what a merged file says of itself with the manifests it is said to hold."""
    try:
        reader = ParquetReader(audit.layout.segments / file.ref.name)
        same = tuple(reader.counts()) == file.counts
        whole = reader.group_count == sum(group_count_of(count) for count in file.counts)
        roots = len(reader.subtrees()) == HASH_SIZE * sum(subtree_count_of(count) for count in file.counts)
    except BackstoryError as error:
        _say_file(audit, "failed", file, f"{error} ({file.whom})", _lost_in(file))
        return
    if not (same and whole and roots):
        what = f"its counts, row groups or subtree roots are not its manifests' ({file.whom})"
        _say_file(audit, "failed", file, what, "readers would look for these records in the wrong places")


def _judge_segment(audit: Audit, file: HeldFile, part: Part, answers: list[Answer], stored: bytes) -> None:
    """Compare what the rows of a segment led to with what its manifest says."""
    index, manifest = part.index, part.manifest
    lost = _lost(manifest)
    for problem in dict.fromkeys(problem for answer in answers for problem in answer.failed):
        _say(audit, "failed", file.place, part, f"{problem} (entry {index})", lost)
    for problem in dict.fromkeys(problem for answer in answers for problem in answer.unknown):
        _say(audit, "unknown", file.place, part, problem, _sealed_unknown(manifest))
    if not answers or any(answer.rows == 0 for answer in answers):
        return
    subtrees = b"".join(answer.subtrees for answer in answers)
    rows = sum(answer.rows for answer in answers)
    audit.counts["segments"] += 1
    audit.counts["records"] += rows
    contexts = {context for answer in answers for context in answer.contexts}
    audit.payloads_named.update((digest, file.place) for answer in answers for digest in answer.payloads)
    if rows != manifest.count or root_of_subtrees(subtrees).hex() != manifest.root:
        _say_other_root(audit, file, part, first_difference(subtrees, stored))
    elif stored != subtrees:
        what = f"the stored subtree roots are not those of the records (entry {index})"
        _say(audit, "failed", file.place, part, what, _STILL_PROVEN)
    gone = sum(answer.gone for answer in answers)
    if gone != part.gone:
        what = f"{gone} of its records are gone, by the log {part.gone} (entry {file.entry})"
        _say(audit, "failed", file.place, part, what, lost)
    _judge_ends(audit, file, part, answers, contexts)


def _judge_ends(audit: Audit, file: HeldFile, part: Part, answers: list[Answer], contexts: set[str]) -> None:
    """Compare ids and contexts of records with their manifest; where some are gone, they are among those it names."""
    index, manifest, lost = part.index, part.manifest, _lost(part.manifest)
    if part.gone:
        answers = [answer for answer in answers if answer.first_id]
        ids = {answer.first_id for answer in answers} | {answer.last_id for answer in answers}
        if not contexts <= set(manifest.contexts) or not all(manifest.first_id <= i <= manifest.last_id for i in ids):
            what = f"records name other contexts or have other ids than the manifest's (entry {index})"
            _say(audit, "failed", file.place, part, what, lost)
    elif contexts != set(manifest.contexts):
        _say(audit, "failed", file.place, part, f"records name other contexts than the manifest (entry {index})", lost)
    if not part.gone and (answers[0].first_id, answers[-1].last_id) != (manifest.first_id, manifest.last_id):
        _say(audit, "failed", file.place, part, f"the first or last id is not the manifest's (entry {index})", lost)
    if any(answer.last_id >= after.first_id for answer, after in pairwise(answers)):
        _say(audit, "failed", file.place, part, f"ids do not rise (entry {index})", lost)


def _say_other_root(audit: Audit, file: HeldFile, part: Part, row: int | None) -> None:
    """Say that records are not the recorded ones; where the stored subtree roots tell, among which."""
    manifest, what = part.manifest, f"the records do not lead to the manifest's root (entry {part.index})"
    first, end = manifest.first_seq, manifest.end_seq
    if row is not None:
        first, end = first + row, min(first + row + SUBTREE_ROWS, end)
        what = f"{what}; the first changed record is among seq {first} to {end - 1}"
    audit.add(
        "failed",
        file.place,
        what,
        stream=manifest.stream,
        seq=first,
        end_seq=end,
        index=part.index,
        meaning=_lost(manifest),
    )


def _stored(audit: Audit, file: HeldFile) -> bytes:
    try:
        return ParquetReader(audit.layout.segments / file.ref.name).subtrees()
    except BackstoryError:
        return b""


def _say(audit: Audit, severity: Severity, place: str, part: Part, what: str, meaning: str) -> None:
    of = part.manifest
    audit.add(
        severity,
        place,
        what,
        stream=of.stream,
        seq=of.first_seq,
        end_seq=of.end_seq,
        index=part.index,
        meaning=meaning,
    )


def _say_file(audit: Audit, severity: Severity, file: HeldFile, what: str, meaning: str) -> None:
    first, last = file.parts[0].manifest, file.parts[-1].manifest
    audit.add(
        severity,
        file.place,
        what,
        stream=first.stream,
        seq=first.first_seq,
        end_seq=last.end_seq,
        index=file.entry,
        meaning=meaning,
    )


def _say_shard_gone(audit: Audit, part: Part, shard: FileRef) -> None:
    what = f"the file is not here: nothing of it was checked ({_whom(part)})"
    _say(audit, "unknown", f"vault/{shard.name}", part, what, _sealed_unknown(part.manifest))


def _whom(part: Part) -> str:
    of = part.manifest
    return f"records {of.first_seq} to {of.end_seq - 1} of stream {of.stream}, entry {part.index}"


def _records(of: Manifest) -> str:
    return f"records {of.first_seq} to {of.end_seq - 1} of stream {of.stream}"


def _lost(of: Manifest) -> str:
    return f"{_records(of)} can no longer be shown to be what was recorded"


def _lost_in(file: HeldFile) -> str:
    first, last = file.parts[0].manifest, file.parts[-1].manifest
    whom = f"records {first.first_seq} to {last.end_seq - 1} of stream {first.stream}"
    return f"{whom} can no longer be shown to be what was recorded"


def _unknown_in(file: HeldFile) -> str:
    return f"nothing is known of {file.whom}: try again where the file can be read"


def _sealed_lost(of: Manifest) -> str:
    return f"the sealed values of {_records(of)} can no longer be shown to be what was recorded; their commitments can"


def _sealed_unknown(of: Manifest) -> str:
    return f"whether sealed values of {_records(of)} are what was recorded is not known; their commitments are proven"
