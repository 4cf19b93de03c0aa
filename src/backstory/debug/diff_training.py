"""What differs between the rows two model versions were trained on: which rows, or only their order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from backstory.debug.case import Workshop
from backstory.debug.diff_parts import ABSENT, Change, StageDiff
from backstory.lineage.plain import count_text
from backstory.lineage.reference import Reference, parse_references
from backstory.lineage.store import note_sealed_positions
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAME = "training rows"
SAME = "the same rows in the same order"
REORDERED = "the same rows in another order"

_Places: TypeAlias = "dict[str, NDArray[np.int64]]"
_DIGITS_SHOWN = 12
_PLACE_BITS = 44
"""Positions have fewer; what stands above them says of which dataset version or group a position is."""


def compare_training(shop: Workshop, before: JsonValue, after: JsonValue, question: str = "diff") -> StageDiff:
    """Compare two training sets, as documents of model versions have them; equal ones are not opened.

    A row is the same row where it is of the same position of the same dataset version.

    Args:
        shop: The archive.
        before: The member `training` of one version.
        after: The same of the other.
        question: What is asked, as the log says it where positions are sealed.
    """
    if before == after:
        return StageDiff(name=NAME, same=True, said=SAME if before else "not recorded of either")
    if not isinstance(before, dict) or not isinstance(after, dict):
        change = Change(name="rows", before=_rows_text(before), after=_rows_text(after))
        return StageDiff(name=NAME, same=False, said="recorded of one only", changes=(change,))
    if _kept(before) == _kept(after):
        return StageDiff(name=NAME, same=True, said=SAME)
    if not shop.gate.allows() and (before.get("personal") is True or after.get("personal") is True):
        return StageDiff(name=NAME, same=False, said="another set or order; which rows is sealed")
    numbers: dict[str, int] = {}
    first, second = (_places(shop, training, numbers, question) for training in (before, after))
    if first.keys() == second.keys() and _row_order(first) == _row_order(second):
        return StageDiff(name=NAME, same=True, said=SAME)
    if first.keys() == second.keys() and _row_set(first) == _row_set(second):
        order = Change(name="order root", before=before.get("order"), after=after.get("order"))
        return StageDiff(name=NAME, same=False, said=REORDERED, changes=(order,))
    changes = tuple(_counted(before, after, first, second))
    return StageDiff(name=NAME, same=False, said=_said(changes, before, after), changes=changes)


def _kept(training: JsonObject) -> JsonObject:
    """Return what says which rows in which order: sealed positions by their keyed content, which has no salt in it."""
    members = (
        ("content", "order", "refs", "rows", "sets") if "content" in training else ("edges", "order", "refs", "sets")
    )
    return {name: training.get(name) for name in members}


def _places(shop: Workshop, training: JsonObject, numbers: dict[str, int], question: str) -> _Places:
    """Return for each reference where its rows are, as numbers that are the same for the same row of both sets."""
    note_sealed_positions(shop.gate, question, training)
    positions = shop.tracer.training(training)
    references = parse_references(training.get("refs"))
    return {name: _placed(positions[name], references[name], numbers) for name in sorted(references)}


def _placed(positions: NDArray[Any], reference: Reference, numbers: dict[str, int]) -> NDArray[np.int64]:
    placed = positions.astype(np.int64)
    if reference.group is not None:
        number = numbers.setdefault(reference.group, len(numbers))
        return np.where(placed < 0, placed, placed + (number << _PLACE_BITS))
    for part in reference.parts:
        inside = (positions >= part.first) & (positions < part.end)
        number = numbers.setdefault(part.dataset, len(numbers))
        placed[inside] = positions[inside] - part.first + (number << _PLACE_BITS)
    return placed


def _row_order(places: _Places) -> list[bytes]:
    return [values.tobytes() for values in places.values()]


def _row_set(places: _Places) -> list[bytes]:
    order = np.lexsort(list(places.values()))
    return [values[order].tobytes() for values in places.values()]


def _counted(before: JsonObject, after: JsonObject, first: _Places, second: _Places) -> Iterable[Change]:
    """Yield what is to be said of each source or group."""
    if before["rows"] != after["rows"]:
        numbers = (count_text(canonical.count_of(side, "rows"), "row") for side in (before, after))
        yield Change(name="rows", before=next(numbers), after=next(numbers))
    references = tuple(parse_references(side.get("refs")) for side in (before, after))
    for name in sorted(first.keys() | second.keys()):
        if name not in first or name not in second:
            yield Change(name=name, before=_side_text(first, name), after=_side_text(second, name))
            continue
        one, two = (np.unique(places[name][places[name] >= 0]) for places in (first, second))
        if not np.array_equal(one, two):
            removed, added = (len(np.setdiff1d(*pair, assume_unique=True)) for pair in ((one, two), (two, one)))
            of = tuple(_version_text(side[name]) for side in references)
            yield Change(
                name=name, before=f"{removed:,} only here, of {of[0]}", after=f"{added:,} only here, of {of[1]}"
            )
        elif not np.array_equal(np.sort(first[name]), np.sort(second[name])):
            text = "the same rows, in other numbers"
            yield Change(name=name, before=text, after=text)


def _side_text(places: _Places, name: str) -> str:
    return count_text(len(places[name]), "row") if name in places else ABSENT


def _version_text(reference: Reference) -> str:
    digests = [reference.group] if reference.group is not None else [part.dataset for part in reference.parts]
    return ", ".join(str(digest)[:_DIGITS_SHOWN] for digest in digests)


def _said(changes: tuple[Change, ...], before: JsonObject, after: JsonObject) -> str:
    names = ", ".join(change.name for change in changes if change.name != "rows")
    one, two = (parse_references(side.get("refs")) for side in (before, after))
    others = sorted(name for name in one.keys() & two.keys() if one[name].parts != two[name].parts)
    versions = f"; of {', '.join(others)} another version or part" if others else ""
    return f"other rows of {names}{versions}" if names else f"the rows are paired otherwise{versions}"


def _rows_text(training: JsonValue) -> str:
    return f"{training['rows']} rows" if isinstance(training, dict) else "not recorded"
