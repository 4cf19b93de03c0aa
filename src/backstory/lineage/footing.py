"""What training rows stand on: from the positions of a training set back to rows of sources, through groups too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from backstory.lineage.reference import Part, Reference, parse_references
from backstory.lineage.store import note_sealed_positions
from backstory.lineage.trace import Edges, Tracer
from backstory.records import canonical
from backstory.records.access import Gate
from backstory.records.canonical import JsonObject

if TYPE_CHECKING:
    from numpy.typing import NDArray

Rows: TypeAlias = "dict[Part, NDArray[np.bool_]]"
"""For each part of a dataset version a mask over its rows."""


@dataclass(slots=True)
class Footing:
    """Rows of sources that some rows stand on.

    Attributes:
        tracer: Reads groups.
        gate: Lets positions that lead to people be read, and records it.
        question: What is being asked.
        direct: Rows that are referred to directly.
        through: Rows that went into groups that are referred to, however deep.
        names: Name of the source of each part.
    """

    tracer: Tracer
    gate: Gate
    question: str
    direct: Rows = field(default_factory=dict)
    through: Rows = field(default_factory=dict)
    names: dict[Part, str] = field(default_factory=dict)

    def add_training(self, training: JsonObject) -> None:
        """Add what a training or evaluation set stands on.

        Raises:
            ForbiddenError: Its positions are sealed, and the gate lets nothing through.
        """
        note_sealed_positions(self.gate, self.question, training)
        positions = self.tracer.training(training)
        for name, reference in parse_references(training.get("refs")).items():
            self.add(reference, positions[name])

    def add(self, reference: Reference, positions: NDArray[np.signedinteger[Any]]) -> None:
        """Add what some positions of a reference stand on."""
        self._add(reference, positions, self.direct)

    def either(self, part: Part) -> NDArray[np.bool_]:
        """Return which rows of a part are stood on, in either way."""
        nothing = np.zeros(part.rows, np.bool_)
        return self.direct.get(part, nothing) | self.through.get(part, nothing)

    def _add(self, reference: Reference, positions: NDArray[np.signedinteger[Any]], rows: Rows) -> None:
        for part in reference.parts:
            inside = positions[(positions >= part.first) & (positions < part.end)] - part.first
            rows.setdefault(part, np.zeros(part.rows, np.bool_))[inside] = True
            self.names[part] = reference.name
        if reference.group is not None:
            document = self.tracer.dataset(reference.group)
            note_sealed_positions(self.gate, self.question, document)
            edges = self.tracer.edges(reference.group)
            used = np.zeros(canonical.count_of(document, "groups"), np.bool_)
            used[positions[positions >= 0]] = True
            members = _members(edges, used)
            for name, inner in edges.refs.items():
                self._add(inner, edges.positions[name][members], self.through)


def stands_on(tracer: Tracer, references: Mapping[str, Reference]) -> set[Part]:
    """Return the parts of dataset versions that references can lead to, through groups too; no position is read."""
    found: set[Part] = set()
    for reference in references.values():
        found.update(reference.parts)
        if reference.group is not None:
            found |= stands_on(tracer, parse_references(tracer.dataset(reference.group).get("refs")))
    return found


def _members(edges: Edges, used: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return which rows of a table went into groups that are used."""
    turns = np.zeros(max(edges.ends.max(initial=0), edges.begins.max(initial=0)) + 1, np.int64)
    np.add.at(turns, edges.begins[used], 1)
    np.add.at(turns, edges.ends[used], -1)
    places = np.flatnonzero(np.cumsum(turns) > 0)
    return places if edges.order is None else edges.order[places]
