"""What an erasure does not reach: copies that others were given, and what was learned from a person's rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backstory.errors import NotFoundError
from backstory.governance.erasure_survey import Survey
from backstory.governance.facts import read_facts
from backstory.ledger.ledger import Ledger
from backstory.records import canonical
from backstory.records.access_record import ACCESS, DENIED, EXPORT
from backstory.records.canonical import JsonObject
from backstory.records.identity import id_text
from backstory.records.manifest import parse_manifest

if TYPE_CHECKING:
    from backstory.records.access import Gate

_EXPORTS = {
    "bundle.exported": "evidence bundle",
    "membership.shown": "proof of membership",
    "report.made": "report",
}
"""Entries that say that something was given out, which may have held records of the person."""
_GIVEN = {EXPORT: "report", "receipt": "receipt"}
"""What leaves the archive, by the question of the access that names the records in it. Other accesses are reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """Something that was given out.

    Attributes:
        what: What it was.
        time: When, RFC 3339.
        who: Who was given it, or gave it; None where that is not known.
        entry: Index of the entry that says so; None where an access says it.
        is_sure: Whether it was about the person, or only may have been.
    """

    what: str
    time: str
    who: str | None = None
    entry: int | None = None
    is_sure: bool = True

    def to_dict(self) -> JsonObject:
        """Return it as JSON-safe values."""
        return {"entry": self.entry, "is_sure": self.is_sure, "time": self.time, "what": self.what, "who": self.who}

    def __str__(self) -> str:
        """Return it for a reader."""
        who = "" if self.who is None else f", {self.who}"
        where = "" if self.entry is None else f" (entry {self.entry})"
        return f"{self.what}, {self.time}{who}{where}{'' if self.is_sure else '; may hold something of the person'}"


def recipients_of(ledger: Ledger, gate: Gate, found: Survey) -> tuple[Recipient, ...]:
    """Return who was given something about a person's records, as far as the log and the accesses know, oldest first.

    Args:
        ledger: The archive.
        gate: Opens names, or does not.
        found: Where the person is.
    """
    sure, perhaps = list(_accesses(ledger, gate, found)), list(_exports(ledger, found))
    for one in sure:  # a report's access is recorded right before its entry: what is certain is listed once
        later = [other for other in perhaps if other.what == one.what and other.time >= one.time]
        if later:
            perhaps.remove(later[0])
    return tuple(sorted([*_disclosures(ledger, gate, found), *sure, *perhaps], key=lambda one: one.time))


def what_remains(ledger: Ledger, found: Survey) -> tuple[str, ...]:
    """Return in sentences what an erasure cannot reach."""
    remains = []
    if found.models:
        count = len(found.models)
        remains.append(
            f"{count} model version{'s' if count > 1 else ''} learned from rows of the person, and may hold what was "
            "learned, or categories, in the artifact; retrain without the rows if that matters"
        )
    remains.append("receipts, bundles and reports that others hold still show what was opened in them")
    remains += [f"not looked into: {text}" for text in found.unreadable]
    if ledger.layout.master.resolve().is_relative_to(ledger.layout.root.resolve()):
        remains.append(
            "the tombstones are inside the archive's directory: whoever puts back a copy of all of it brings the "
            "person back; keep the master keys elsewhere (backstory.init(master=…))"
        )
    else:
        remains.append("copies of the vault made before hold ciphertext that no key opens any more")
    return tuple(remains)


def _disclosures(ledger: Ledger, gate: Gate, found: Survey) -> Iterator[Recipient]:
    names = {id_text(name) for name in found.ids.values()}
    for index, entry in ledger.numbered_entries("reasons.disclosed"):
        if entry.get("prediction") in names:
            time = canonical.text_of(entry, "time")
            yield Recipient(what="reasons", time=time, who=_name(ledger, gate, entry.get("recipient")), entry=index)


def _name(ledger: Ledger, gate: Gate, commitment: object) -> str | None:
    if not isinstance(commitment, str) or not gate.allows():
        return None
    try:
        return ledger.text_of(commitment, "recipient")
    except NotFoundError:
        return None


def _exports(ledger: Ledger, found: Survey) -> Iterator[Recipient]:
    """Yield what was given out since the person's first record: what was in it the log does not say."""
    firsts = [parse_manifest(ledger.log.entry(index)).first_time for index in found.records]
    if not firsts:
        return
    for type_, what in _EXPORTS.items():
        for index, entry in ledger.numbered_entries(type_):
            time = canonical.text_of(entry, "time")
            if time >= min(firsts) and entry.get("records") != "0":
                yield Recipient(what=what, time=time, entry=index, is_sure=False)


def _accesses(ledger: Ledger, gate: Gate, found: Survey) -> Iterator[Recipient]:
    wanted = set(found.ids.values())
    rows = {dataset: frozenset(numbers.tolist()) for dataset, numbers in found.rows.items()}
    if not (wanted or rows) or not gate.allows():
        return
    for fact in read_facts(ledger, gate, ACCESS, "erase", {"question": sorted(_GIVEN)}):
        ids = fact.values.get("ids") or ()
        own = rows.get(str(fact.values.get("dataset")), frozenset())
        is_theirs = not wanted.isdisjoint(ids) or not own.isdisjoint(fact.values.get("positions") or ())
        if fact.values["outcome"] != DENIED and is_theirs:
            yield Recipient(what=_GIVEN[fact.values["question"]], time=fact.time, who=fact.values.get("actor"))
