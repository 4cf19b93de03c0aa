"""Disposal: what is past its time goes, after another person approved it, and the log proves what went.

A run proposes; another person approves; what is executed is what was proposed and is still overdue and held by nothing.
That is looked at once more, and said in the log before anything is destroyed, unless the log has something by then that
may change it: from then on whoever comes next completes it. A hold in the log after that entry does not reach what it
names. Bytes: docs/format.md section 41.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from backstory.errors import ConflictError, NotFoundError
from backstory.governance.disposal_list import classes_of, disposed_root, list_of, parts_of
from backstory.governance.keeping import Due, Keeping
from backstory.governance.proposal import Proposal, find_proposal, propose, refuse, require_actor
from backstory.governance.retention_events import EVENT_KINDS
from backstory.governance.retention_list import PASSING, append_listed, keep_list, read_list
from backstory.ledger.forget import is_destroyed, mark_forgotten, remember_disposal
from backstory.ledger.ledger import Ledger
from backstory.ledger.rewrite import rewrite_shard
from backstory.ledger.trim import trim_segments
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.identity import time_text
from backstory.records.manifest import MANIFEST_TYPE, SKETCHED_TYPE, Manifest, parse_manifest
from backstory.records.sensitivity import groups_by_domain

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    Rows = npt.NDArray[np.int64]

DISPOSAL: Final = "disposal"
"""Kind, and name, of the proposals to dispose of something."""
BEGUN, EXECUTED = "disposal.begun", "disposal.executed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """How much of a class goes or went.

    Attributes:
        label: The class: kind, part, and of payload its class, such as `prediction/payload/D4`.
        rule: The rule whose ceiling has passed.
        count: How many; of payload a sealed group of a record counts as one.
        oldest: Time of the oldest record, RFC 3339; empty where that is not said.
    """

    label: str
    rule: str
    count: int
    oldest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disposal:
    """A disposal that was begun.

    Attributes:
        name: Its name.
        begun: Index of the entry that began it.
        time: When that was, RFC 3339.
        proposal: Index of the proposal.
        digest: Digest of the document with the list of what goes.
        kept: What was proposed and stays: by ground how much.
        executed: Index of the entry that says it is done; None until then.
        classes: What went; empty until then.
        root: Root over the salted leaves of what went, in hex; empty until then.
    """

    name: str
    begun: int
    time: str
    proposal: int
    digest: str
    kept: Mapping[str, int]
    executed: int | None = None
    classes: tuple[Counted, ...] = ()
    root: str = ""

    @property
    def count(self) -> int:
        """How much went."""
        return sum(one.count for one in self.classes)


def propose_disposal(ledger: Ledger, now_ns: int | None = None) -> Proposal:
    """Propose to dispose of what is past its ceiling and kept by nothing.

    Args:
        ledger: The archive.
        now_ns: The moment to judge by, nanoseconds since 1970, not in the future; None for now.

    Raises:
        ForbiddenError: The archive was opened without an actor.
        ConflictError: Nothing is overdue, or the moment is in the future.
        NotFoundError: The keys of the vault are not here, so that nobody can say what may go.
    """
    require_actor(ledger, "proposing a disposal")
    clock = ledger.world.now_ns()
    now = clock if now_ns is None else now_ns
    if now > clock:
        raise ConflictError("disposal: expected a moment that is not in the future")
    due = list(Keeping(ledger, now).overdue())
    if not due:
        raise ConflictError("disposal: nothing is past its ceiling without a hold")
    classes: list[JsonValue] = [
        {"class": one.label, "count": str(one.count), "oldest": one.oldest, "rule": one.rule} for one in counted(due)
    ]
    listed = keep_list(ledger, list_of(due))
    return propose(ledger, DISPOSAL, DISPOSAL, {"classes": classes, "list": listed, "time": time_text(now), "v": 1})


def execute_disposal(ledger: Ledger, index: int) -> Disposal:
    """Dispose of what was proposed and approved, and is still overdue and held by nothing.

    Args:
        ledger: The archive.
        index: Index of the proposal's entry.

    Raises:
        NotFoundError: There is no such proposal.
        ForbiddenError: Nobody else approved it; the refusal is recorded.
        ConflictError: It was executed before.
        BusyError: Another process is rewriting the vault or merging segments; what was begun is completed by the next.
        StorageError: Something could not be written or removed; the same.
    """
    require_actor(ledger, "executing a disposal")
    finish_disposals(ledger)
    found = find_proposal(ledger, index)
    if found.kind != DISPOSAL:
        raise NotFoundError(f"disposal: entry {index} proposes none")
    if found.verdict != "approved":
        refuse(ledger, "executing a disposal", "not approved", "expected that another person approved it")
    proposed = read_list(ledger, found.document)
    if proposed is None:
        raise NotFoundError(f"disposal: proposal {index} lists nothing")
    wanted = parts_of(proposed)
    append_listed(ledger, lambda: _prepare(ledger, index, wanted), _passes)
    # A crash from here on leaves a disposal that was begun: the next call of `finish_disposals` completes it.
    finish_disposals(ledger)
    return next(one for one in disposals(ledger) if one.proposal == index)


def finish_disposals(ledger: Ledger) -> list[Disposal]:
    """Complete every disposal that was begun; return those.

    Raises:
        BusyError: Another process is rewriting the vault or merging segments.
        StorageError: Something could not be written or removed; the next call goes on.
        VerificationError: A file is not what the log says.
    """
    open_ones = [one for one in disposals(ledger) if one.executed is None]
    for one in open_ones:
        table = read_list(ledger, ledger.document(one.digest))
        if table is not None:
            _destroy(ledger, one.begun, table)
        entry = _proof(one, table)
        ledger.append(lambda: [entry] if _find(ledger, one.begun).executed is None else [])  # noqa: B023  called at once
    names = {one.name for one in open_ones}
    return [one for one in disposals(ledger) if one.name in names]


def disposals(ledger: Ledger) -> list[Disposal]:
    """Return the disposals that were begun, oldest first."""
    done = {canonical.text_of(entry, "begun"): (at, entry) for at, entry in ledger.numbered_entries(EXECUTED)}
    found = []
    for index, entry in ledger.numbered_entries(BEGUN):
        executed, proof = done.get(str(index), (None, {}))
        classes, kept = proof.get("classes", []), entry.get("kept")
        found.append(
            Disposal(
                name=canonical.text_of(entry, "name"),
                begun=index,
                time=canonical.text_of(entry, "time"),
                proposal=canonical.count_of(entry, "proposal"),
                digest=canonical.text_of(entry, "document"),
                kept={canonical.text_of(one, "ground"): canonical.count_of(one, "count") for one in _objects(kept)},
                executed=executed,
                classes=tuple(
                    Counted(
                        label=canonical.text_of(one, "class"),
                        rule=canonical.text_of(one, "rule"),
                        count=canonical.count_of(one, "count"),
                    )
                    for one in _objects(classes)
                ),
                root=str(proof.get("root", "")),
            )
        )
    return found


def counted(due: Iterable[Due]) -> list[Counted]:
    """Return how much of each class is due, by rule."""
    counts: Counter[tuple[str, str]] = Counter()
    oldest: dict[tuple[str, str], int] = {}
    for one in due:
        key = (one.label, one.rule)
        counts[key] += len(one.rows)
        oldest[key] = min(one.oldest, oldest.get(key, one.oldest))
    return [
        Counted(label=label, rule=rule, count=count, oldest=time_text(oldest[label, rule]))
        for (label, rule), count in sorted(counts.items())
    ]


def _passes(entry: JsonObject) -> bool:
    """Say whether an entry changes nothing of what goes: other records, and where records are. Any other may."""
    if entry["type"] == MANIFEST_TYPE:
        return parse_manifest(entry).kind not in EVENT_KINDS
    return entry["type"] in PASSING


def _prepare(
    ledger: Ledger, index: int, wanted: Mapping[int, Mapping[str, Rows]]
) -> tuple[Callable[[], JsonObject], pa.Table]:
    """Return what begins a disposal, but for its document, and the list of what of its proposal may go now.

    Raises:
        ConflictError: It was executed.
    """
    if any(one.proposal == index for one in disposals(ledger)):
        raise ConflictError(f"disposal: proposal {index} was executed")
    going, kept = _still_due(ledger, wanted, ledger.world.now_ns())
    table = list_of(going, ledger.world.random_bytes)
    sketches = _sketches(ledger, {one.position for one in going if one.group})
    entry: JsonObject = {
        "classes": classes_of(table),
        "kept": [{"count": str(count), "ground": ground} for ground, count in sorted(kept.items()) if count],
        "name": f"disposal-{index}",
        "proposal": str(index),
        "tables": str(sum(ledger.vault.path(name).is_file() for name in sketches)),
        "type": BEGUN,
    }
    return lambda: entry, table


def _still_due(ledger: Ledger, wanted: Mapping[int, Mapping[str, Rows]], now_ns: int) -> tuple[list[Due], Counter[str]]:
    """Return what of a proposal may go now, and by ground how much stays."""
    keeping = Keeping(ledger, now_ns)
    going: list[Due] = []
    kept: Counter[str] = Counter()
    for position, by_group in wanted.items():
        manifest = _manifest(ledger, position)
        past, held = keeping.past(position, manifest, held_too=True)
        left = {group: _mask_of(rows, manifest.count) for group, rows in by_group.items()}
        for one in past:
            rows = one.rows[left[one.group][one.rows]] if one.group in left else one.rows[:0]
            stays = held.stays[rows]
            kept.update(held.grounds(rows[stays]))
            if not stays.all():
                going.append(replace(one, rows=rows[~stays]))
            if len(rows):
                left[one.group][rows] = False
        kept["no longer overdue"] += sum(int(mask.sum()) for mask in left.values())
    return going, kept


def _mask_of(rows: Rows, count: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros(count, dtype=np.bool_)
    mask[rows] = True
    return mask


def _destroy(ledger: Ledger, begun: int, table: pa.Table) -> None:
    """Destroy what a list names; what is gone already is passed over."""
    parts = parts_of(table)
    of_values = {position: {group: rows for group, rows in own.items() if group} for position, own in parts.items()}
    for position, erased in of_values.items():
        if erased and not _is_destroyed(ledger, manifest := _manifest(ledger, position)):
            rewrite_shard(ledger, manifest, erased)
    for name in _sketches(ledger, [position for position, erased in of_values.items() if erased]):
        ledger.keys.destroy(name)
        ledger.vault.remove(name)
    if any(of_values.values()):  # after it: who sees it looks for shards that are older than their keys
        remember_disposal(ledger, disposed_root(table).hex())
        mark_forgotten(ledger)
    trimmed = {position: own[""] for position, own in parts.items() if "" in own}
    if trimmed:  # last: a row goes no earlier than its values
        trim_segments(ledger, trimmed, begun)


def _is_destroyed(ledger: Ledger, manifest: Manifest) -> bool:
    """Say whether all sealed values of a segment went with their shard, when a copy from before was put back."""
    domains = groups_by_domain(ledger.schema(manifest.schema).groups)
    return manifest.shard is not None and is_destroyed(ledger, manifest.shard.name, domains)


def _sketches(ledger: Ledger, positions: Collection[int]) -> list[str]:
    """Return the tables with sealed sketches of segments from which values go: they keep some of these."""
    segments = {(one.stream, one.first_seq) for one in (_manifest(ledger, position) for position in positions)}
    sealed: list[JsonValue] = []
    for entry in ledger.find_entries(SKETCHED_TYPE) if segments else ():
        if (canonical.text_of(entry, "stream"), canonical.count_of(entry, "first_seq")) in segments:
            said = ledger.document(canonical.text_of(entry, "sketches")).get("models")
            sealed += [one.get("sealed") for one in _objects(said)]
    return [canonical.text_of(one, "sealed_table") for one in sealed if isinstance(one, dict)]


def _proof(disposal: Disposal, table: pa.Table | None) -> JsonObject:
    """Return the entry that says what went."""
    return {
        "begun": str(disposal.begun),
        "classes": [] if table is None else classes_of(table),
        "name": disposal.name,
        "root": disposed_root(table).hex() if table is not None else "",
        "type": EXECUTED,
    }


def _find(ledger: Ledger, begun: int) -> Disposal:
    return next(one for one in disposals(ledger) if one.begun == begun)


def _objects(value: JsonValue) -> list[JsonObject]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _manifest(ledger: Ledger, position: int) -> Manifest:
    return parse_manifest(ledger.log.entry(position))
