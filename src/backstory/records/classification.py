"""Classifications: which class the columns of a source or a model have, as people confirmed it.

What a record's columns are placed by, open or in a sealed group, follows from them alone. Bytes: docs/format.md section
35.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from backstory.errors import FormatError
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.limits import COLUMN_COUNT_MAX
from backstory.records.schema import split_name
from backstory.records.sensitivity import CLASSES, CONFIDENTIAL, IDENTIFYING, PERSONAL, PSEUDONYMOUS, SECURITY

CONFIRMED: Final = "classification.confirmed"
"""Type of the entry that puts a version in force."""
KINDS: Final = ("model", "source")
GIVEN: Final = tuple(one for one in CLASSES if one != SECURITY)
"""Classes a column can be given."""
OF_RECORDS: Final = ("attribution", "decision", "flags", "outcome", "output", "steps")
"""Columns of a model's records besides its features, as a classification names them."""
FEATURE: Final = "feature."
_RESULTS = frozenset({"decision", "outcome", "output"})

_MEMBERS = {"anonymous", "columns", "fields", "kind", "name", "v"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnClass:
    """The class of one column.

    Attributes:
        name: Its name, as docs/format.md section 35 has it.
        sensitivity: D0 to D6.
        open: Whether it stands in clear in records about people too.
    """

    name: str
    sensitivity: str
    open: bool = False


@dataclass(frozen=True, kw_only=True)
class Classification:
    """The classes of the columns of a source or a model.

    Attributes:
        kind: `model` or `source`.
        name: Its name.
        columns: Its columns, in byte order of their names.
        fields: Classes whose groups of features and outputs are committed to by field.
        anonymous: Whether rows without a subject are about nobody who can be found, whatever their columns' classes.
    """

    kind: str
    name: str
    columns: tuple[ColumnClass, ...]
    fields: tuple[str, ...] = ()
    anonymous: bool = False

    def __post_init__(self) -> None:
        """Refuse what section 35 does not know.

        Raises:
            FormatError: A column twice or out of order, a class that cannot be given, or one that must not stand open.
        """
        names = [column.name for column in self.columns]
        if self.kind not in KINDS or not 0 < len(names) <= COLUMN_COUNT_MAX:
            raise FormatError("classification: expected one of a model or a source, with at least one column")
        if names != sorted(set(names), key=str.encode):
            raise FormatError("classification: expected each column once, in byte order of their names")
        for column in self.columns:
            if column.sensitivity not in GIVEN:
                raise FormatError(f"classification: expected a class of {', '.join(GIVEN)} (column {column.name!r})")
            if column.open and column.sensitivity > CONFIDENTIAL:
                raise FormatError(f"classification: expected at most D2 to stand open (column {column.name!r})")
            if self.kind == "model" and not column.name.startswith(FEATURE) and column.name not in OF_RECORDS:
                known = ", ".join(OF_RECORDS)
                raise FormatError(
                    f"classification: expected {FEATURE}<name> or one of {known}, got the column {column.name!r}"
                )
        if list(self.fields) != sorted(set(self.fields)) or not set(self.fields) <= set(GIVEN):
            raise FormatError(
                f"classification: expected the classes opened by field among {', '.join(GIVEN)}, in order"
            )

    @cached_property
    def _by_name(self) -> dict[str, ColumnClass]:
        return {column.name: column for column in self.columns}

    def column(self, name: str) -> ColumnClass | None:
        """Return what it says of a column; None if it does not name it."""
        return self._by_name.get(name)

    @cached_property
    def classes(self) -> dict[str, str]:
        """The class of each column, by name."""
        return {column.name: column.sensitivity for column in self.columns}

    @cached_property
    def is_personal(self) -> bool:
        """Whether a column says something of a person."""
        return any(column.sensitivity in PERSONAL for column in self.columns)

    def document(self) -> JsonObject:
        """Return it as canonical JSON has it."""
        columns: list[JsonValue] = [{"class": c.sensitivity, "name": c.name, "open": c.open} for c in self.columns]
        return {
            "anonymous": self.anonymous,
            "columns": columns,
            "fields": list(self.fields),
            "kind": self.kind,
            "name": self.name,
            "v": 1,
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its canonical JSON, in hex."""
        return hashlib.sha256(canonical.encode(self.document())).hexdigest()


def parse_classification(document: JsonObject) -> Classification:
    """Read a classification from its document.

    Raises:
        FormatError: It is none of version 1.
    """
    what = "classification"
    canonical.check_version(document, 1, what)
    columns, fields, anonymous = document.get("columns"), document.get("fields"), document.get("anonymous")
    if set(document) != _MEMBERS or not isinstance(columns, list) or not isinstance(fields, list):
        raise FormatError(f"{what}: expected exactly {', '.join(sorted(_MEMBERS))}")
    if not isinstance(anonymous, bool):
        raise FormatError(f"{what}: expected anonymous to be true or false")
    return Classification(
        kind=canonical.text_of(document, "kind"),
        name=canonical.text_of(document, "name"),
        columns=tuple(map(_parse_column, columns)),
        fields=tuple(str(one) for one in fields),
        anonymous=anonymous,
    )


def _parse_column(value: JsonValue) -> ColumnClass:
    if not isinstance(value, dict) or set(value) != {"class", "name", "open"} or not isinstance(value["open"], bool):
        raise FormatError("classification: a column needs exactly class, name and open")
    return ColumnClass(
        name=canonical.text_of(value, "name"), sensitivity=canonical.text_of(value, "class"), open=value["open"]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """A version of a classification that is in force.

    Attributes:
        classification: What was confirmed.
        version: Its number.
    """

    classification: Classification
    version: str

    def named(self) -> JsonObject:
        """Return what names it in a context."""
        said = self.classification
        return {"document": said.digest, "kind": said.kind, "name": said.name, "version": self.version}

    def document(self) -> JsonObject:
        """Return it as a worker's spool has it."""
        return {"classification": self.classification.document(), "version": self.version}


def parse_confirmed(document: JsonObject) -> Confirmed:
    """Read what `Confirmed.document` gave.

    Raises:
        FormatError: It is something else.
    """
    said = document.get("classification")
    if not isinstance(said, dict) or set(document) != {"classification", "version"}:
        raise FormatError("classification: expected exactly classification and version")
    return Confirmed(classification=parse_classification(said), version=canonical.text_of(document, "version"))


class Classes:
    """What the columns of records are placed by: the classifications of their model and of their rows' sources.

    Equal ones stand for each other, as the keys of a memory of schemas.

    Attributes:
        named: What a context says of them.
        fields: Classes whose groups of features and outputs are committed to by field.
        is_personal: Whether any of them says that a column tells something of a person.
    """

    def __init__(self, model: Confirmed | None, sources: Iterable[Confirmed] = (), *, is_known: bool = True) -> None:
        """Put together what is in force; where that cannot be read, every column is taken for personal."""
        self._is_known = is_known
        parts = [*([] if model is None else [model]), *sorted(sources, key=lambda one: one.classification.name)]
        self._model = None if model is None else model.classification
        self._sources = [one.classification for one in parts if one is not model]
        self._parts = tuple((one.classification.digest, one.version) for one in parts)
        self.is_personal = not is_known or any(one.classification.is_personal for one in parts)
        self.named: list[JsonValue] = [one.named() for one in parts]
        self.fields = frozenset(one for part in parts for one in part.classification.fields)

    def __eq__(self, other: object) -> bool:
        """Say whether the other places every column alike."""
        return isinstance(other, Classes) and (self._parts, self._is_known) == (other._parts, other._is_known)

    def __hash__(self) -> int:
        """Return a hash that equal ones share."""
        return hash((self._parts, self._is_known))

    def __bool__(self) -> bool:
        """Say whether there is any classification."""
        return bool(self._parts)

    def column(self, name: str) -> ColumnClass | None:
        """Return what is said of a column of records, other than what follows from other columns.

        Args:
            name: As a model's classification names it.
        """
        if not self._is_known:
            return ColumnClass(name=name, sensitivity=PSEUDONYMOUS if name in _RESULTS else IDENTIFYING)
        found = None if self._model is None else self._model.column(name)
        if found is not None or not name.startswith(FEATURE):
            return found
        given = [one for source in self._sources if (one := source.column(split_name(name)[1])) is not None]
        if given:
            return max(given, key=lambda one: (one.sensitivity, not one.open))
        return ColumnClass(name=name, sensitivity=IDENTIFYING) if self.is_personal else None


NO_CLASSES: Final = Classes(None)
UNKNOWN_CLASSES: Final = Classes(None, is_known=False)
