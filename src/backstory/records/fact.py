"""Facts: records that people and their programs make about predictions, and about what was done with them.

Decisions, notices, requests, corrections and accesses are records as predictions are: they have a stream and a number
in it, a leaf, a receipt, and their sealed groups can be erased. Bytes: docs/format.md section 39.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from backstory.records.canonical import JsonValue
from backstory.records.envelope import ENVELOPE
from backstory.records.schema import Column, Schema
from backstory.records.sensitivity import OPERATIONAL, PERSONAL, group_name


@dataclass(frozen=True, kw_only=True)
class FactKind:
    """A kind of fact: the columns its records have after the envelope.

    Attributes:
        kind: The records' kind, such as `decision`.
        columns: The columns, as `open_column` and `sealed_column` make them.
    """

    kind: str
    columns: tuple[Column, ...]

    @cached_property
    def schema(self) -> Schema:
        """The schema of its records."""
        return Schema(kind=self.kind, columns=(*ENVELOPE, *self.columns))


def open_column(name: str, type_: JsonValue = "string", class_: str = OPERATIONAL) -> Column:
    """Return a column that stands in clear; what is about a person must not."""
    if class_ in PERSONAL:
        raise AssertionError(f"column {name} of class {class_} must be sealed")
    return Column(name=name, type=type_, sensitivity=class_)


def sealed_column(name: str, class_: str, group: str, type_: JsonValue = "string") -> Column:
    """Return a column that is sealed under its group's commitment; the group's name gets the class."""
    return Column(name=name, type=type_, sensitivity=class_, group=group_name(group, class_))
