"""Legal holds: records stay, whatever their rules say, for as long as a matter needs them.

A hold has a scope, which records that are made later join by themselves, and a list of the records that fitted when it
was placed, which stay on it whatever becomes of the scope. Entries say neither whom nor what it is about. Two people
release it. Bytes: docs/format.md section 41.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from backstory.errors import ConflictError, InputError, NotFoundError
from backstory.governance.proposal import Proposal, propose, require_actor, require_other_person
from backstory.governance.retention_events import read_events
from backstory.governance.retention_list import PASSING, append_listed, read_list, rows_of, rows_table
from backstory.governance.retention_rules import Period
from backstory.governance.retention_scope import Reach, Scope, look_at, parse_scope
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import manifests
from backstory.lineage.registry import find_version
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.identity import parse_time, time_text
from backstory.records.manifest import MANIFEST_TYPE, parse_manifest

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    import pyarrow as pa

PLACED, EXTENDED, RELEASED = "hold.placed", "hold.extended", "hold.released"
RELEASE: Final = "release"
"""Kind of the proposals to release a hold."""
DISPOSED_WITHIN: Final = Period(days=30)
"""Within this time after a release, what is overdue is to be disposed of."""
_NAME_SIZE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A legal hold.

    Attributes:
        name: Its name, which says nothing.
        placed: When it was placed, RFC 3339.
        entry: Index of the entry that placed it.
        by: Commitment to who placed it.
        matter: Commitment to the matter.
        custodian: Commitment to who keeps it.
        commitment: Commitment to its scope.
        documents: Digests of the documents with its lists.
        records: How many records are on the lists.
        review: When it is to be looked at again, RFC 3339.
        released: When it was released; None while it holds.
        due: By when what is overdue since is to be disposed of.
    """

    name: str
    placed: str
    entry: int
    by: str
    matter: str
    custodian: str
    commitment: str
    documents: tuple[str, ...]
    records: int
    review: str
    released: str | None = None
    due: str | None = None

    def scope(self, ledger: Ledger) -> Scope:
        """Return its scope.

        Raises:
            NotFoundError: The vault cannot say it.
        """
        return parse_scope(ledger.text_of(self.commitment, "scope"))

    def listed(self, ledger: Ledger) -> dict[int, npt.NDArray[np.int64]]:
        """Return the rows on its lists, by the indexes of their manifests."""
        found: dict[int, npt.NDArray[np.int64]] = {}
        for digest in self.documents:
            table = read_list(ledger, ledger.document(digest))
            for position, rows in ({} if table is None else rows_of(table)).items():
                found[position] = np.union1d(found.get(position, rows), rows)
        return found


def place_hold(ledger: Ledger, matter: str, scope: Scope, custodian: str, review_ns: int) -> Hold:
    """Place a hold on what fits a scope now, and on what will.

    Args:
        ledger: The archive.
        matter: What it is for; kept as a commitment.
        scope: What is held.
        custodian: Who keeps it; kept as a commitment.
        review_ns: When it is to be looked at again, nanoseconds since 1970.

    Raises:
        ForbiddenError: The archive was opened without an actor.
        InputError: The scope holds nothing, its condition asks for sealed values, or the review is past.
        NotFoundError: Nobody registered the model.
    """
    require_actor(ledger, "placing a hold")
    if not (scope.narrows or scope.predictions or scope.subjects):
        raise InputError("hold: expected what to hold: a model, a period, a condition, predictions or subjects")
    if review_ns <= ledger.world.now_ns():
        raise InputError("hold: expected a review in the future")
    _insist_model(ledger, scope)
    name = f"hold-{ledger.world.random_bytes(_NAME_SIZE).hex()}"

    def entry() -> JsonObject:
        return {
            "custodian": ledger.commit_text("custodian", custodian),
            "matter": ledger.commit_text("matter", matter),
            "name": name,
            "review": time_text(review_ns),
            "scope": ledger.commit_text("scope", canonical.encode(scope.document()).decode()),
            "type": PLACED,
        }

    def listed() -> tuple[Callable[[], JsonObject], pa.Table]:
        reach = Reach(ledger, scope, read_events(ledger))
        rows = _rows(ledger, reach)
        if any(reach.is_unread(parse_manifest(ledger.log.entry(position))) for position in rows):
            raise InputError(
                "hold: the condition asks for values that are sealed, so that nobody can say which records it holds: "
                "expected a model, a period, predictions or subjects"
            )
        return entry, rows_table(rows)

    append_listed(ledger, listed, _passes)
    return find_hold(ledger, name)


def extend_hold(ledger: Ledger, name: str, review_ns: int) -> Hold:
    """Put on the list of a hold what has joined it since, and set another review.

    Raises:
        NotFoundError: There is no such hold.
        ConflictError: It was released.
    """
    require_actor(ledger, "extending a hold")

    def listed() -> tuple[Callable[[], JsonObject], pa.Table]:
        hold = _holding(ledger, name)
        known = hold.listed(ledger)
        reach = Reach(ledger, hold.scope(ledger), read_events(ledger), known)
        rows = {at: np.setdiff1d(own, known.get(at, own[:0])) for at, own in _rows(ledger, reach).items()}
        entry: JsonObject = {"name": name, "review": time_text(review_ns), "type": EXTENDED}
        return lambda: entry, rows_table(rows)

    append_listed(ledger, listed, _passes)
    return find_hold(ledger, name)


def propose_release(ledger: Ledger, name: str) -> Proposal:
    """Propose to release a hold; it is released when another person approves, who did not place it.

    Raises:
        NotFoundError: There is no such hold.
        ConflictError: It was released.
    """
    _holding(ledger, name)
    return propose(ledger, RELEASE, name, {"hold": name, "v": 1})


def insist_may_release(ledger: Ledger, proposal: Proposal) -> None:
    """Insist that who approves a release is not who placed the hold.

    Raises:
        ForbiddenError: It is; the refusal is recorded.
    """
    require_other_person(ledger, find_hold(ledger, proposal.name).by, "releasing a hold")


def release(ledger: Ledger, proposal: Proposal) -> Hold:
    """Release a hold whose release was approved; doing it again changes nothing."""
    now = ledger.world.now_ns()
    entry: JsonObject = {
        "due": time_text(DISPOSED_WITHIN.after(now)),
        "name": proposal.name,
        "proposal": str(proposal.index),
        "type": RELEASED,
    }
    ledger.append(lambda: [entry] if find_hold(ledger, proposal.name).released is None else [])
    return find_hold(ledger, proposal.name)


def holds(ledger: Ledger) -> list[Hold]:
    """Return the holds, those released too, oldest first."""
    found: dict[str, Hold] = {}
    for index, entry in ledger.numbered_entries(PLACED):
        text = {member: canonical.text_of(entry, member) for member in ("name", "time", "actor", "matter", "custodian")}
        digest = canonical.text_of(entry, "document")
        found[text["name"]] = Hold(
            name=text["name"],
            placed=text["time"],
            entry=index,
            by=text["actor"],
            matter=text["matter"],
            custodian=text["custodian"],
            commitment=canonical.text_of(entry, "scope"),
            documents=(digest,),
            records=_count(ledger, digest),
            review=canonical.text_of(entry, "review"),
        )
    for entry in ledger.find_entries(EXTENDED):
        hold, digest = found[canonical.text_of(entry, "name")], canonical.text_of(entry, "document")
        found[hold.name] = replace(
            hold,
            documents=(*hold.documents, digest),
            records=hold.records + _count(ledger, digest),
            review=canonical.text_of(entry, "review"),
        )
    for entry in ledger.find_entries(RELEASED):
        hold = found[canonical.text_of(entry, "name")]
        released, due = canonical.text_of(entry, "time"), canonical.text_of(entry, "due")
        found[hold.name] = replace(hold, released=released, due=due)
    return list(found.values())


def find_hold(ledger: Ledger, name: str) -> Hold:
    """Return a hold by its name.

    Raises:
        NotFoundError: There is none.
    """
    for hold in holds(ledger):
        if hold.name == name:
            return hold
    raise NotFoundError(f"hold: none is called {name!r}")


def is_review_due(hold: Hold, now_ns: int) -> bool:
    """Say whether a hold is to be looked at again."""
    return hold.released is None and parse_time(hold.review) <= now_ns


def _holding(ledger: Ledger, name: str) -> Hold:
    hold = find_hold(ledger, name)
    if hold.released is not None:
        raise ConflictError(f"hold {name}: it was released at {hold.released}")
    return hold


def _rows(ledger: Ledger, reach: Reach) -> dict[int, npt.NDArray[np.int64]]:
    """Return the rows that a scope reaches, by the indexes of their manifests."""
    found: dict[int, npt.NDArray[np.int64]] = {}
    for kind in ledger.catalog.kinds():
        for position, manifest in manifests(ledger, kind):
            mask = reach.mask(position, manifest, look_at(ledger, manifest))
            if mask.any():
                found[position] = np.nonzero(mask)[0].astype(np.int64)
    return found


def _insist_model(ledger: Ledger, scope: Scope) -> None:
    """Insist that the model of a scope is one that predictions can name, as one that is mistyped would hold nothing.

    Raises:
        NotFoundError: It is none that was registered, or is given by alias or digest.
    """
    if scope.model is None:
        return
    version = find_version(ledger, scope.model)
    if scope.model not in {version.name, f"{version.name}:{version.version}"}:
        raise NotFoundError(
            f"hold: expected a model as name or name:version, got {scope.model!r}; it is {version.name}:"
            f"{version.version} now"
        )


def _passes(entry: JsonObject) -> bool:
    """Say whether an entry takes no record away and concerns no hold. Records that are new join by themselves."""
    return entry["type"] in PASSING or entry["type"] == MANIFEST_TYPE


def _count(ledger: Ledger, digest: str) -> int:
    kept = ledger.document(digest).get("list")
    return canonical.count_of(kept, "rows") if isinstance(kept, dict) else 0
