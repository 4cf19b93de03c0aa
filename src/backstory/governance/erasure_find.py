"""Where a person is, for whoever may know: before an erasure, or for an answer to the person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backstory.governance.erasure_left import Recipient, recipients_of
from backstory.governance.erasure_survey import survey_person
from backstory.ledger.ledger import Ledger
from backstory.ledger.seal import seal_all
from backstory.records.canonical import JsonObject
from backstory.records.identity import id_text

if TYPE_CHECKING:
    from backstory.capture.recorder import Recorder
    from backstory.records.access import Gate

_QUESTION = "find person"
_GROUPS = ("subject",)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectRecords:
    """Where a person is in an archive.

    Attributes:
        kinds: How many records of each kind are about the person.
        ids: Ids of these records.
        rows: How many rows of dataset versions are.
        sources: The sources of these rows.
        models: Model versions trained on rows of the person.
        trees: Dataset versions and training sets whose tree of persons has the person in it.
        recipients: Who was given something about the records, as far as log and accesses know.
        unreadable: What could not be looked into.
    """

    kinds: Mapping[str, int]
    ids: tuple[str, ...]
    rows: int
    sources: tuple[str, ...]
    models: tuple[str, ...]
    trees: tuple[str, ...]
    recipients: tuple[Recipient, ...]
    unreadable: tuple[str, ...]

    def to_dict(self) -> JsonObject:
        """Return it as JSON-safe values."""
        return {
            "ids": list(self.ids),
            "kinds": dict(self.kinds),
            "models": list(self.models),
            "recipients": [one.to_dict() for one in self.recipients],
            "rows": self.rows,
            "sources": list(self.sources),
            "trees": list(self.trees),
            "unreadable": list(self.unreadable),
        }

    def __str__(self) -> str:
        """Return it for a reader."""
        counts = ", ".join(f"{count:,} of kind {kind}" for kind, count in sorted(self.kinds.items())) or "none"
        lines = [f"records    {counts}", f"rows       {self.rows:,} of {', '.join(self.sources) or 'no source'}"]
        lists = {"trained on": self.models, "trees": self.trees, "given to": self.recipients, "unread": self.unreadable}
        lines += [f"{name:<10} {text}" for name, texts in lists.items() for text in texts]
        return "\n".join(lines)


def find_person(ledger: Ledger, gate: Gate, recorder: Recorder, subject: str) -> SubjectRecords:
    """Return where a person is; see `Privacy.find`."""
    if not gate.allows(_GROUPS):
        gate.pass_through(_QUESTION, list(_GROUPS), 0)  # says why not
    recorder.sync()
    seal_all(ledger)
    found = survey_person(ledger, subject)
    gate.pass_through(_QUESTION, list(_GROUPS), len(found.ids))
    return SubjectRecords(
        kinds=found.kinds,
        ids=tuple(id_text(name) for name in found.ids.values()),
        rows=sum(map(len, found.rows.values())),
        sources=tuple(found.sources),
        models=tuple(found.models),
        trees=tuple(found.trees),
        recipients=recipients_of(ledger, gate, found),
        unreadable=tuple(found.unreadable),
    )
