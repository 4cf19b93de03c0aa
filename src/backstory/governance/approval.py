"""Approvals by another person than the author: of model versions, reason maps, feature sets, deployments, thresholds.

The author is who wrote the entry that defined the thing. Where that entry names nobody, it is not known who it was,
nobody can be shown to be another person, and nothing is approved. Bytes: docs/format.md section 39.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Literal, get_args

from backstory.errors import ConflictError, InputError, NotFoundError
from backstory.governance.proposal import (
    Proposal,
    Verdict,
    proposals,
    propose,
    refuse,
    require_actor,
    require_other_person,
)
from backstory.ledger.ledger import Ledger
from backstory.lineage.deployments import DEPLOYED
from backstory.lineage.features import DEFINED as FEATURES_DEFINED
from backstory.lineage.reason_map import DEFINED as REASONS_DEFINED
from backstory.lineage.registry import require_model_name
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.identity import parse_time, time_text

APPROVED = "definition.approved"
"""Type of the entry that is a verdict on a definition."""

THRESHOLD = "threshold"
"""Kind of the proposals that change a threshold."""

Definition = Literal["deployment", "feature set", "reason map"]
"""What is approved by an entry of its own; a model version has `model.approved`."""

_ENTRIES: dict[str, tuple[str, str]] = {
    "deployment": (DEPLOYED, ""),
    "feature set": (FEATURES_DEFINED, "features"),
    "reason map": (REASONS_DEFINED, "reasons"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinitionApproval:
    """A verdict on a reason map, a feature set or a deployment.

    Attributes:
        kind: What it is on.
        name: Its name.
        of: Index of the entry that defined it.
        verdict: `approved` or `rejected`.
        time: When it was given, RFC 3339.
        entry: Index of its entry.
        by: Commitment to who gave it; the vault may open it.
    """

    kind: str
    name: str
    of: int
    verdict: str
    time: str
    entry: int
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdChange:
    """A change of a threshold that was approved.

    Attributes:
        name: The threshold.
        old: Its value before; None for its first.
        new: Its value.
        effective: From when on, RFC 3339.
        proposal: Index of the entry that proposed it.
        approved: When it was approved, RFC 3339.
    """

    name: str
    old: str | None
    new: str
    effective: str
    proposal: int
    approved: str


def require_other_author(ledger: Ledger, entry: JsonObject, action: str) -> None:
    """Insist that who acts now is not who wrote an entry.

    Raises:
        ForbiddenError: It is the same person, or the entry says nobody; the refusal is recorded.
        NotFoundError: The vault cannot say who wrote it.
    """
    require_actor(ledger, action)
    author = entry.get("actor")
    if not isinstance(author, str):
        refuse(ledger, action, "author unknown", "expected an author; define it in an archive opened with actor=")
    require_other_person(ledger, author, action)


def approve_definition(
    ledger: Ledger, kind: Definition, name: str, digest: str | None, verdict: Verdict, reason: str | None
) -> DefinitionApproval:
    """Record a verdict on what was defined last under a name, or with a digest.

    Args:
        ledger: The archive.
        kind: What it is.
        name: Its name.
        digest: Digest of its document; None for a deployment, of which the latest is meant.
        verdict: `approved` or `rejected`.
        reason: Why; kept as a commitment.

    Raises:
        InputError: The verdict is none.
        NotFoundError: There is no such thing.
        ForbiddenError: Whoever approves is who defined it, or who that was is not known; the refusal is recorded.
    """
    if verdict not in get_args(Verdict):
        raise InputError(f"approval: expected the verdict approved or rejected, got {verdict!r}")
    type_, member = _ENTRIES[kind]
    defined = [(index, one) for index, one in ledger.numbered_entries(type_, name) if _is(one, member, digest)]
    if not defined:
        raise NotFoundError(f"approval: no {kind} called {name!r}")
    index, latest = defined[-1]
    if verdict == "approved":  # of a feature set, what was said of it later has an author too
        for entry in [latest] if digest is None else [one for _, one in defined]:
            require_other_author(ledger, entry, f"approving a {kind}")
    require_actor(ledger, f"approving a {kind}")
    said: JsonObject = {"kind": kind, "name": name, "of": str(index), "type": APPROVED, "verdict": verdict}
    if reason is not None:
        said["reason"] = ledger.commit_text("reason", reason)
    ledger.append([said])
    return definition_approvals(ledger, kind, name)[-1]


def definition_approvals(
    ledger: Ledger, kind: Definition | None = None, name: str | None = None
) -> list[DefinitionApproval]:
    """Return verdicts on definitions, in the order of the log: all, of a kind, on a name."""
    return [
        DefinitionApproval(
            kind=canonical.text_of(entry, "kind"),
            name=canonical.text_of(entry, "name"),
            of=canonical.count_of(entry, "of"),
            verdict=canonical.text_of(entry, "verdict"),
            time=canonical.text_of(entry, "time"),
            entry=index,
            by=canonical.text_of(entry, "actor"),
        )
        for index, entry in ledger.numbered_entries(APPROVED, name)
        if kind is None or entry.get("kind") == kind
    ]


def propose_threshold(
    ledger: Ledger, name: str, new: str | float, old: str | float | None, effective_ns: int | None
) -> Proposal:
    """Propose a value of a threshold; it holds when another person has approved it, from a moment on.

    Args:
        ledger: The archive.
        name: The threshold; a name as a model's.
        new: Its value.
        old: Its value before; None for its first.
        effective_ns: From when on, in nanoseconds since the epoch; None for now.

    Raises:
        InputError: A value is no number.
        ConflictError: The value before is another.
        ForbiddenError: The archive was opened without an actor.
    """
    require_model_name(name)
    changes = threshold_changes(ledger, name)
    latest = changes[-1].new if changes else None
    before = None if old is None else _number(old)
    if before != latest:
        raise ConflictError(
            f"threshold {name}: expected old={latest or 'None'}, its latest value, got {before or 'None'}"
        )
    since = ledger.world.now_ns() if effective_ns is None else effective_ns
    document: JsonObject = {"effective": time_text(since), "new": _number(new), "old": before, "v": 1}
    return propose(ledger, THRESHOLD, name, document)


def threshold_changes(ledger: Ledger, name: str | None = None) -> list[ThresholdChange]:
    """Return approved changes of thresholds, in the order of approval: all, or those of one."""
    approved = [one for one in proposals(ledger, THRESHOLD, name) if one.verdict == "approved"]
    return [
        ThresholdChange(
            name=one.name,
            old=None if one.document.get("old") is None else canonical.text_of(one.document, "old"),
            new=canonical.text_of(one.document, "new"),
            effective=canonical.text_of(one.document, "effective"),
            proposal=one.index,
            approved=str(one.decided_time),
        )
        for one in sorted(approved, key=lambda one: one.decided or 0)
    ]


def threshold_at(ledger: Ledger, name: str, at_ns: int) -> ThresholdChange:
    """Return the change of a threshold that held at a moment: the last approved one that was effective.

    Raises:
        NotFoundError: None was.
    """
    held = [one for one in threshold_changes(ledger, name) if parse_time(one.effective) <= at_ns]
    if not held:
        raise NotFoundError(f"threshold {name}: no approved value was in force then")
    return held[-1]


def _is(entry: JsonObject, member: str, digest: str | None) -> bool:
    return digest is None or entry.get(member) == digest


def _number(value: str | float) -> str:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise InputError(f"threshold: expected a number, got {type(value).__name__}")
    return f"{number.normalize():f}"
