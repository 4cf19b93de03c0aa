"""What differs between two predictions, from their source rows to their decisions.

Each is read alone, sealed values through the gate only; whole calls are read where a model is run again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backstory.columns.arrow_type import unchunked
from backstory.columns.python_value import python_rows, python_value
from backstory.debug.case import Workshop
from backstory.debug.diff_context import compare_container, compare_contexts, compare_rule
from backstory.debug.diff_parts import ABSENT, Change, Documents, StageDiff, stage_of
from backstory.debug.verdict import encoded_rows, largest_difference
from backstory.errors import NotFoundError
from backstory.ledger.read import Found, read_sequence
from backstory.lineage.plain import count_text
from backstory.lineage.reference import Reference, parse_references
from backstory.lineage.showing import about_record
from backstory.lineage.store import note_sealed_positions
from backstory.records.access import Scope
from backstory.records.canonical import JsonObject
from backstory.records.envelope import NO_ROW

if TYPE_CHECKING:
    import pyarrow as pa

QUESTION = "diff"
_DIGITS_SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Side:
    """One of two predictions.

    Attributes:
        found: Its record.
        digest: Digest of its context.
        context: Its context.
        table: Its record with the values that may be read.
        sealed: Why some stayed sealed; empty where none did.
    """

    found: Found
    digest: str
    context: JsonObject
    table: pa.Table
    sealed: str

    def field(self, name: str) -> pa.Array | None:
        """Return a column of the record, of one value; None where it has none or may not be read."""
        return unchunked(self.table[name]) if name in self.table.column_names else None

    @property
    def features(self) -> dict[str, pa.Array]:
        """The features by name, each an array of one."""
        given = self.field("feature")
        if given is None:
            return {}
        return dict(zip([field.name for field in given.type], given.flatten(), strict=True))


def read_side(shop: Workshop, documents: Documents, found: Found) -> Side:
    """Read one prediction, with its sealed values where the gate lets them through.

    Raises:
        VerificationError: It was changed.
    """
    gate = shop.gate.within(about_record(shop.ledger, found))
    opened = bool(found.schema.groups) and gate.allows(found.schema.groups)
    if opened:
        gate.pass_through(QUESTION, found.schema.groups, 1, Scope(ids=(found.table["id"][0].as_py(),)))
    record = python_rows(found.table.select(["context", "seq", "stream"]))[0]
    table = read_sequence(shop.ledger, record["stream"].hex(), found.schema, record["seq"], 1, opened=opened)
    digest = record["context"].hex()
    return Side(
        found=found,
        digest=digest,
        context=documents.open(digest),
        table=table,
        sealed="" if opened or not found.schema.groups else gate.lacking(found.schema.groups),
    )


def diff_predictions(shop: Workshop, documents: Documents, one: Side, two: Side) -> tuple[StageDiff, ...]:
    """Compare two predictions stage by stage."""
    rows, groups = _references(shop, documents, one, two)
    between: tuple[StageDiff, ...] = (
        StageDiff(name="context", same=True, said="container, model, call, code, environment, rule"),
    )
    if one.digest != two.digest:
        between = (
            compare_container(one.context, two.context),
            *compare_contexts(shop, documents, one.context, two.context),
            compare_rule(one.context, two.context),
        )
    return (
        rows,
        groups,
        _features(one, two),
        *between,
        _column("status", one, two),
        _column("output", one, two),
        _column("decision", one, two),
    )


def _column(name: str, one: Side, two: Side) -> StageDiff:
    before, after = one.field(name), two.field(name)
    if before is None or after is None:
        if one.sealed or two.sealed:
            return StageDiff(name=name, same=None, said=f"sealed: {one.sealed or two.sealed}")
        if before is None and after is None:
            return StageDiff(name=name, same=True, said="neither has one")
    change = _change(name, before, after)
    if change is None:
        return StageDiff(name=name, same=True)
    difference = None
    if before is not None and after is not None and before.type == after.type:
        difference, _ = largest_difference(before, after)
    said = "" if difference is None else f"by {difference:.6g}"
    return StageDiff(name=name, same=False, said=said, changes=(change,))


def _change(name: str, before: pa.Array | None, after: pa.Array | None) -> Change | None:
    """Return what changed about one value; None where it is the same to the bit."""
    if before is None or after is None:
        one, two = (ABSENT if side is None else python_value(side[0]) for side in (before, after))
        return Change(name=name, before=one, after=two)
    if before.type == after.type and encoded_rows(before) == encoded_rows(after):
        return None
    one, two = python_value(before[0]), python_value(after[0])
    if one == two and before.type != after.type:
        return Change(name=name, before=f"{one} ({before.type})", after=f"{two} ({after.type})")
    return Change(name=name, before=one, after=two)


def _features(one: Side, two: Side) -> StageDiff:
    if one.sealed or two.sealed:
        return StageDiff(name="features", same=None, said=f"sealed: {one.sealed or two.sealed}")
    before, after = one.features, two.features
    names = list(dict.fromkeys([*before, *after]))
    found = (_change(name, before.get(name), after.get(name)) for name in names)
    changes = tuple(change for change in found if change is not None)
    return stage_of("features", changes, f"{len(changes)} of {count_text(len(names), 'value')}" if changes else "")


def _references(shop: Workshop, documents: Documents, one: Side, two: Side) -> tuple[StageDiff, StageDiff]:
    """Compare the rows and the groups the two refer to."""
    sides = tuple(parse_references(side.context.get("refs")) for side in (one, two))
    before, after = (_positions(side) for side in (one, two))
    rows: list[Change] = []
    groups: list[Change] = []
    hidden: dict[bool, list[str]] = {False: [], True: []}
    for name in dict.fromkeys([*sides[0], *sides[1]]):
        first, second = (side.get(name) for side in sides)
        is_group = any(side is not None and side.group is not None for side in (first, second))
        if any(side is not None and side.personal for side in (first, second)) and not shop.gate.allows():
            hidden[is_group].append(name)
            continue
        changes = groups if is_group else rows
        changes += _reference(shop, documents, name, (first, before.get(name)), (second, after.get(name)))
    return (
        _reference_stage(shop, "source rows", rows, hidden[False]),
        _reference_stage(shop, "groups", groups, hidden[True]),
    )


def _reference_stage(shop: Workshop, name: str, changes: list[Change], hidden: list[str]) -> StageDiff:
    said = f"of {', '.join(hidden)} sealed: {shop.gate.lacking()}" if hidden else ""
    same = False if changes else None if hidden else True
    return StageDiff(name=name, same=same, said=said, changes=tuple(changes))


def _positions(side: Side) -> dict[str, int | None]:
    given = side.field("row")
    if given is None:
        return {}
    names = (field.name for field in given.type)
    return {name: values[0].as_py() for name, values in zip(names, given.flatten(), strict=True)}


def _reference(
    shop: Workshop,
    documents: Documents,
    name: str,
    before: tuple[Reference | None, int | None],
    after: tuple[Reference | None, int | None],
) -> Iterator[Change]:
    """Yield what differs about the row or group two references lead to; equal ones are not read."""
    places = [_place(*side) for side in (before, after)]
    if places[0] == places[1]:
        return
    yield Change(name=name, before=_place_text(places[0]), after=_place_text(places[1]))
    (one, at), (two, to) = before, after
    if one is None or two is None or at is None or to is None or NO_ROW in {at, to}:
        return
    if one.group is not None and two.group is not None:
        sizes = _members(shop, documents, one.group, at), _members(shop, documents, two.group, to)
        if sizes[0] != sizes[1]:
            yield Change(name=f"{name}: rows in it", before=sizes[0], after=sizes[1])
    elif one.group is None and two.group is None:
        yield from _columns(shop, name, (one, at), (two, to))


def _columns(
    shop: Workshop, name: str, before: tuple[Reference, int], after: tuple[Reference, int]
) -> Iterator[Change]:
    """Yield the columns in which two source rows differ."""
    tables = []
    try:
        for reference, position in (before, after):
            if reference.personal:
                scope = Scope(dataset=reference.part_of(position).dataset, positions=(position,))
                shop.gate.pass_through(QUESTION, ["source"], 1, scope)
            tables.append(shop.tracer.row(reference.part_of(position), position))
    except NotFoundError:
        yield Change(name=f"{name}: values", before="not here any more", after="not here any more")
        return
    one, two = tables
    for column in dict.fromkeys([*one.column_names, *two.column_names]):
        values = (unchunked(side[column]) if column in side.column_names else None for side in (one, two))
        change = _change(f"{name}.{column}", *values)
        if change is not None:
            yield change


def _members(shop: Workshop, documents: Documents, group: str, number: int) -> str:
    note_sealed_positions(shop.gate, QUESTION, documents.open(group))
    edges = shop.tracer.edges(group)
    counts = {ref: int((edges.members(number, ref) >= 0).sum()) for ref in edges.refs}
    return ", ".join(f"{count:,} of {ref}" for ref, count in counts.items())


def _place(reference: Reference | None, position: int | None) -> tuple[str, int | None] | None:
    """Return what a position is in, and which of it."""
    if reference is None:
        return None
    if reference.group is not None:
        return reference.group, position
    if position is None or position == NO_ROW:
        return "", position
    part = reference.part_of(position)
    return part.dataset, position - part.first


def _place_text(place: tuple[str, int | None] | None) -> str:
    if place is None:
        return ABSENT
    digest, position = place
    if position is None or position == NO_ROW:
        return "broken" if position is None else "no row"
    return f"{position:,} of {digest[:_DIGITS_SHOWN]}"
