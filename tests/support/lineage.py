"""Which source rows does an archive claim a prediction was made from?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backstory.lineage.reference import Reference, parse_references
from backstory.lineage.trace import Tracer

if TYPE_CHECKING:
    from backstory.archive import Archive

Claimed = dict[str, set[int]]
"""Positions by name of the source."""


def rows_of(archive: Archive, prediction: str) -> dict[str, int | None]:
    """Return the position of each reference of a prediction, as its story tells it."""
    return {row.reference: row.position for row in archive.why(prediction).rows}


def claimed_rows(archive: Archive, prediction: str) -> Claimed:
    """Return every source row a prediction leads to, directly and through groups however deep."""
    story = archive.why(prediction)
    tracer = Tracer(archive._ledger)
    references = parse_references(story.context["refs"])
    claimed: Claimed = {}
    for row in story.rows:
        if row.position is not None:
            _follow(tracer, references[row.reference], row.position, claimed)
    return claimed


def claimed_by_all(archive: Archive, model: str) -> dict[str, Claimed]:
    """Return by prediction of a model what `claimed_rows` returns, of predictions of one call."""
    found = archive.search("model = ?", [model])
    references = parse_references(archive.why(found["id"].iloc[0]).context["refs"])
    tracer, known, claimed = Tracer(archive._ledger), {}, {}
    for row in found.to_dict("records"):
        own: Claimed = claimed.setdefault(row["id"], {})
        for name, reference in references.items():
            position = row[f"row.{name}"]
            if (name, position) not in known:
                _follow(tracer, reference, position, known.setdefault((name, position), {}))
            for source, rows in known[name, position].items():
                own.setdefault(source, set()).update(rows)
    return claimed


def member_rows(archive: Archive, prediction: str, group: str) -> Claimed:
    """Return the source rows that went into the group a prediction refers to."""
    story = archive.why(prediction)
    row = next(row for row in story.rows if row.reference == group)
    claimed: Claimed = {}
    _follow(Tracer(archive._ledger), parse_references(story.context["refs"])[group], row.position, claimed)
    return claimed


def _follow(tracer: Tracer, reference: Reference, position: int | None, claimed: Claimed) -> None:
    if position is None or position < 0:
        return
    if reference.group is None:
        claimed.setdefault(reference.name, set()).add(position)
        return
    edges = tracer.edges(reference.group)
    for name, inner in edges.refs.items():
        for member in edges.members(position, name).tolist():
            _follow(tracer, inner, member, claimed)
