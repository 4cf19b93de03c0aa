"""One row of a source as whoever asks about a prediction may see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from backstory.columns.id_text import subject_column
from backstory.errors import NotFoundError
from backstory.lineage.reference import Part
from backstory.lineage.showing import Shown
from backstory.lineage.trace import Tracer
from backstory.records.access import SHOWN, Scope, Viewer
from backstory.records.redaction import Redaction, Seen, shown_as
from backstory.records.schema import escape_name
from backstory.records.sensitivity import IDENTIFYING, OPERATIONAL, group_name

_QUESTION = "why"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRow:
    """How a row is seen.

    Attributes:
        gate: A gate that decides about it.
        part: The part of a source it is in.
        position: Its position.
        columns: How each of its columns is seen.
    """

    gate: Viewer
    part: Part
    position: int
    columns: Mapping[str, Seen]

    def note(self) -> bool:
        """Record that a row about people is shown as far as it is; say whether any of it is."""
        groups = sorted({group_name("source", one.class_) for one in self.columns.values() if one.view in SHOWN})
        if groups:
            scope = Scope(dataset=self.part.dataset, positions=(self.position,))
            self.gate.show(_QUESTION, groups, 1, scope, self.gate.views())
        return bool(groups)

    def values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return those of the row's values that may be seen, as they may."""
        seen = ((name, value, self.columns[name]) for name, value in values.items())
        return {name: shown_as(value, one, self.gate.pseudonym) for name, value, one in seen if one.view in SHOWN}

    def redacted(self, reference: str) -> tuple[Redaction, ...]:
        """Return which values are not shown as they are; the dataset version commits to all of them.

        Args:
            reference: Name of the reference that leads to the row.
        """
        return tuple(
            Redaction(
                field=f"row.{escape_name(reference)}.{escape_name(name)}",
                class_=one.class_,
                view=one.view,
                reason=self.gate.reason(one.class_, one.view),
                group="source",
                commitment=self.part.dataset,
            )
            for name, one in self.columns.items()
            if not one.as_it_is
        )


def see_row(tracer: Tracer, shown: Shown, part: Part, position: int) -> SeenRow:
    """Return how a row that a prediction was made from is seen.

    Of a source about people a column nobody classified is identifying, of any other operational; one that became a
    feature has at least the class of this. Whose row it is the row says itself: it may be another person's than the
    prediction's.

    Args:
        tracer: Reads the row's source.
        shown: The prediction.
        part: The part of the source.
        position: The row's position.
    """
    document = tracer.dataset(part.dataset)
    subject = document.get("subject")
    about = shown.about
    if isinstance(subject, str):
        about = replace(about, subject=lambda: _subject_of(tracer, part, position, subject))
    gate = shown.any_gate.within(about)
    classes, views = gate.classes_of(part.dataset), gate.views()
    unnamed = IDENTIFYING if document.get("personal") is True else OPERATIONAL
    columns = {}
    for name in tracer.column_names(part.dataset):
        class_ = classes.get(name, unnamed)
        class_ = max(class_, shown.features.get(name, class_))
        columns[name] = Seen(class_=class_, view=views[class_], is_subject=name == subject)
    return SeenRow(gate=gate, part=part, position=position, columns=columns)


def _subject_of(tracer: Tracer, part: Part, position: int, subject: str) -> str | None:
    """Return whom a row is about, for deciding who may see it; None where it was erased."""
    try:
        value = subject_column(tracer.row(part, position)[subject])[0].as_py()
    except NotFoundError:
        return None
    return None if value is None else str(value)
