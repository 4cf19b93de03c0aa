"""How far rows reach: from positions in sources, through groups however deep, to the positions records refer to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self, TypeAlias

import numpy as np

from backstory.lineage.reference import Reference, parse_references
from backstory.lineage.store import note_sealed_positions
from backstory.lineage.trace import Tracer
from backstory.records.access import Gate

Masks: TypeAlias = dict[tuple[str, int], np.ndarray]
"""Rows asked about: for each dataset version, by its digest and where its positions begin, a mask over its rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Rows that are asked about.

    Attributes:
        masks: The rows.
        left_out: Dataset versions in which they could not be looked for, by digest, and why.
    """

    masks: Masks
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Reached:
    """Positions that are reached, of those a reference can have.

    Attributes:
        first: The lowest of them.
        mask: Whether each from there to the highest is one, between two that are none.
    """

    first: int
    mask: np.ndarray

    @classmethod
    def of(cls, positions: np.ndarray) -> Self | None:
        """Return these positions, in any order; None if there are none."""
        if not len(positions):
            return None
        low = int(positions.min())
        mask = np.zeros(int(positions.max()) - low + 3, bool)
        mask[positions - (low - 1)] = True
        return cls(low, mask)

    def any_between(self, low: int, high: int) -> bool:
        """Say whether one of them is from `low` to `high`, both included."""
        begin, end = max(low - self.first + 1, 0), high - self.first + 2
        return end > 0 and bool(self.mask[begin:end].any())

    def among(self, positions: np.ndarray) -> np.ndarray:
        """Return which of some positions are reached; one below 0 never is."""
        if len(self.mask) == 3:  # noqa: PLR2004  one between two
            return np.asarray(positions == self.first)
        return np.asarray(self.mask.take(np.subtract(positions, self.first - 1, dtype=np.int64), mode="clip"))


@dataclass(slots=True)
class Reach:
    """Positions reached so far, by what they are positions in; remembers what was asked before."""

    tracer: Tracer
    gate: Gate
    datasets: Masks
    known: dict[str, Reached | None] = field(default_factory=dict)

    def of_reference(self, reference: Reference) -> Reached | None:
        """Return the positions of a reference that are reached; None if none is."""
        if reference.group is not None:
            return self.of_group(reference.group)
        found = [
            np.flatnonzero(self.datasets[part.dataset, part.first]) + part.first
            for part in reference.parts
            if (part.dataset, part.first) in self.datasets
        ]
        return Reached.of(np.concatenate(found)) if found else None

    def of_group(self, group: str) -> Reached | None:
        """Return the nodes of a group that some reached row went into.

        A group that is sealed and may not be opened reaches nothing: nor may the references of records to it.
        """
        if group not in self.known:
            self.known[group] = self._of_group(group)
        return self.known[group]

    def _of_group(self, group: str) -> Reached | None:
        document = self.tracer.dataset(group)
        references = parse_references(document.get("refs"))
        ways = {name: reached for name, ref in references.items() if (reached := self.of_reference(ref)) is not None}
        if not ways or ("sealed_edges" in document and not self.gate.allows()):
            return None
        note_sealed_positions(self.gate, "impact", document)
        edges = self.tracer.edges(group)
        rows = np.zeros(len(next(iter(edges.positions.values()))), bool)
        for name, reached in ways.items():
            rows |= reached.among(edges.positions[name])
        return Reached.of(edges.reached(rows))
