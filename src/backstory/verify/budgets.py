"""Checking that figures used up no more of an audience's privacy budget than two people allowed, in the log's order."""

from __future__ import annotations

from backstory.errors import BackstoryError, VerificationError
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.privacy_budget import (
    BUDGET,
    RELEASED,
    SPENT,
    BudgetTerms,
    Period,
    is_audience,
    parse_loss,
    parse_terms,
    spent_in,
)
from backstory.storage.blobs import BlobStore
from backstory.storage.disk import Disk
from backstory.verify.audit import Audit
from backstory.verify.entries import Entries

PROPOSED, DECIDED = "proposal.made", "proposal.decided"
_MEANS_OVERSPENT = "figures were given out that tell more about single people than their budget allows"
_MEANS_ANSWER = "what an audience was told is not bounded by what the log charges for it"


def check_budgets(audit: Audit, entries: Entries) -> None:
    """Check every charge against the budget in force at it, and every answer against its charge."""
    checked = _Budgets(BlobStore(audit.layout.blobs, Disk()))
    for index, entry in entries.documents(PROPOSED, DECIDED, SPENT, RELEASED):
        try:
            what = checked.problem_of(index, entry)
        except BackstoryError as error:
            what = str(error)
        if what is not None and entries.is_whole:
            means = _MEANS_ANSWER if entry["type"] == RELEASED else _MEANS_OVERSPENT
            audit.add("failed", "log", VerificationError(what), index=index, meaning=means)


class _Budgets:
    """What of the entries read so far counts for budgets."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._proposed: dict[str, tuple[str, str]] = {}
        self._in_force: dict[str, tuple[str, BudgetTerms]] = {}
        self._spent: dict[str, list[JsonObject]] = {}
        self._periods: dict[str, Period | None] = {}
        self._open: dict[str, str] = {}

    def problem_of(self, index: int, entry: JsonObject) -> str | None:
        """Take an entry in; return what is wrong with it, None if nothing is."""
        name = canonical.text_of(entry, "name")
        if entry["type"] == PROPOSED:
            if entry.get("kind") == BUDGET:
                self._proposed[str(index)] = (name, canonical.text_of(entry, "document"))
            return None
        if entry["type"] == DECIDED:
            return self._decide(entry)
        if entry["type"] == RELEASED:
            spent = canonical.text_of(entry, "spent")
            if self._open.pop(spent, None) != name:
                return f"figure: its answer names entry {spent}, which charges {name!r} for none that is open"
            return None
        return self._charge(index, name, entry)

    def _decide(self, entry: JsonObject) -> str | None:
        of = canonical.text_of(entry, "proposal")
        if of not in self._proposed or entry.get("verdict") != "approved":
            return None
        name, digest = self._proposed[of]
        terms = parse_terms(canonical.parse_object(self._blobs.get(digest), f"blob {digest}"))
        _, before = self._in_force.get(name, (of, terms))
        self._in_force[name], self._periods[of] = (of, terms), terms.period
        if before.unit != terms.unit:
            return f"budget: its unit is {terms.unit}, that of the audience's budget before it {before.unit}"
        return None

    def _charge(self, index: int, name: str, entry: JsonObject) -> str | None:
        if not is_audience(name) or name not in self._in_force:
            return "figure: its audience has no budget that another person approved"
        proposal, terms = self._in_force[name]
        if entry.get("budget") != proposal:
            return f"figure: it names the budget of entry {entry.get('budget')}, in force is that of entry {proposal}"
        before = self._spent.setdefault(name, [])
        total = spent_in(before, name, terms, canonical.text_of(entry, "time"), self._periods) + parse_loss(entry)
        before.append(entry)
        self._open[str(index)] = name
        if not total.fits(terms.limit):
            return f"figure: with it {total.epsilon} of epsilon are used up, the budget has {terms.limit.epsilon}"
        return None
