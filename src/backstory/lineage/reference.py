"""What a row reference points to, as it is written down: in contexts, groups and training sets.

A reference document is canonical JSON. `{"kind": "source", "parts": [{"dataset": …, "first": …, "rows": …}]}` points to
the rows of dataset versions by position; `{"kind": "group", "group": …}` to the nodes of a group by number. Both carry
the grade of the edge and whether it leads to people.
"""

from __future__ import annotations

from dataclasses import dataclass

from backstory.errors import FormatError
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Rows of one dataset version: positions `first` to `first + rows`, exclusive."""

    dataset: str
    first: int
    rows: int

    @property
    def end(self) -> int:
        """The position behind the last."""
        return self.first + self.rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What the positions of one reference mean.

    Attributes:
        name: Name of the source or group.
        grade: exact, declared, probed, coarse or broken.
        personal: Whether it leads to rows about people, directly or through groups.
        parts: Dataset versions by position; empty for a group.
        group: Digest of the group's document; None for a source.
    """

    name: str
    grade: str
    personal: bool
    parts: tuple[Part, ...] = ()
    group: str | None = None

    def document(self) -> JsonObject:
        """Return the reference as JSON."""
        common: JsonObject = {"grade": self.grade, "name": self.name, "personal": self.personal}
        if self.group is not None:
            return {**common, "group": self.group, "kind": "group"}
        parts: list[JsonValue] = [
            {"dataset": part.dataset, "first": str(part.first), "rows": str(part.rows)} for part in self.parts
        ]
        return {**common, "kind": "source", "parts": parts}

    def part_of(self, position: int) -> Part:
        """Return the part a position is in.

        Raises:
            FormatError: It is in none.
        """
        for part in self.parts:
            if part.first <= position < part.first + part.rows:
                return part
        msg = f"reference {self.name}: position {position} is in no part"
        raise FormatError(msg)


def parse_references(value: JsonValue) -> dict[str, Reference]:
    """Read the `refs` member of a context, group or training set.

    Raises:
        FormatError: It is not of that form.
    """
    if not isinstance(value, dict):
        msg = "references: expected an object"
        raise FormatError(msg)
    return {name: _parse(name, item) for name, item in value.items()}


def _parse(name: str, value: JsonValue) -> Reference:
    if not isinstance(value, dict):
        msg = f"reference {name}: expected an object"
        raise FormatError(msg)
    parts = value.get("parts", [])
    return Reference(
        name=canonical.text_of(value, "name"),
        grade=canonical.text_of(value, "grade"),
        personal=value.get("personal") is True,
        group=canonical.text_of(value, "group") if value.get("kind") == "group" else None,
        parts=tuple(
            Part(
                dataset=canonical.text_of(part, "dataset"),
                first=canonical.count_of(part, "first"),
                rows=canonical.count_of(part, "rows"),
            )
            for part in (parts if isinstance(parts, list) else [])
            if isinstance(part, dict)
        ),
    )
