"""Which people a training set is about: every row with a subject that it stands on, directly or through groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from backstory.columns.id_text import subject_texts
from backstory.errors import InputError
from backstory.ledger.ledger import Ledger
from backstory.lineage.reference import Reference, parse_references
from backstory.lineage.resolve import BROKEN
from backstory.lineage.subjects import keep_tree
from backstory.lineage.trace import Tracer
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.membership import SUBJECTS

if TYPE_CHECKING:
    from numpy.typing import NDArray


def keep_training_tree(
    ledger: Ledger,
    training: JsonObject,
    positions: Mapping[str, NDArray[np.signedinteger[Any]]],
    earlier: Iterable[JsonValue],
) -> JsonObject:
    """Build the tree of the persons of a training set, unless an earlier version has the same; return its member.

    Args:
        ledger: The archive.
        training: What is said of the training set, otherwise complete.
        positions: Its positions, by reference.
        earlier: What is said of the training sets of earlier versions.

    Raises:
        InputError: None of its rows is of a source with a subject, or it is not known of which rows some are.
    """
    for document in earlier:
        if isinstance(document, dict) and SUBJECTS in document:
            known, tree = {n: v for n, v in document.items() if n != SUBJECTS}, document[SUBJECTS]
            if known == training and isinstance(tree, dict):
                return tree
    references = parse_references(training.get("refs"))
    if not any(reference.personal for reference in references.values()):
        raise InputError("register: expected rows of a source with subject=, so that persons can be proven; got none")
    walk = _Walk(ledger)
    for name, reference in references.items():
        walk.add(reference, positions[name])
    return keep_tree(ledger, training, walk.subjects())


class _Walk:
    """Collects the rows about people that a training set stands on, directly and through groups."""

    def __init__(self, ledger: Ledger) -> None:
        self._tracer = Tracer(ledger)
        self._rows: dict[str, NDArray[np.bool_]] = {}
        self._groups: dict[str, NDArray[np.bool_]] = {}

    def add(self, reference: Reference, positions: NDArray[np.signedinteger[Any]]) -> None:
        """Add what a reference leads to from some positions.

        Raises:
            InputError: It is not known from which rows something came.
        """
        if not reference.personal:
            return
        broken = int((positions == BROKEN).sum())
        if broken or (reference.group is None and not reference.parts):
            raise InputError(
                f"register: expected every row of {reference.name} to be known, so that it can be proven whom the "
                f"training set is not about; got {broken or len(positions)} of {len(positions)} that are not"
            )
        taken = np.unique(positions[positions >= 0])
        if reference.group is not None:
            self._add_groups(reference.group, taken)
        for part in reference.parts:
            inside = taken[(taken >= part.first) & (taken < part.end)] - part.first
            self._rows.setdefault(part.dataset, np.zeros(part.rows, bool))[inside] = True

    def _add_groups(self, group: str, numbers: NDArray[np.signedinteger[Any]]) -> None:
        edges = self._tracer.edges(group)
        seen = self._groups.setdefault(group, np.zeros(len(edges.begins), bool))
        new = numbers[~seen[numbers]]
        seen[new] = True
        for name, reference in edges.refs.items():
            if reference.personal and len(new):
                self.add(reference, np.concatenate([edges.members(int(number), name) for number in new]))

    def subjects(self) -> set[str]:
        """Return the ids of the persons whom the rows are about."""
        found: set[str] = set()
        for dataset, rows in self._rows.items():
            subject = self._tracer.dataset(dataset).get("subject")
            if isinstance(subject, str):
                table = self._tracer.columns(dataset, None, [subject])
                found |= subject_texts(table.filter(pa.array(rows))[subject])
        return found
