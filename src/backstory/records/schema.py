"""What the columns of a row are: names, logical types, sensitivity classes, sealed groups.

A logical type is independent of units, widths of offsets, encodings and libraries; see docs/format.md section 4.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property

from backstory.errors import FormatError
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.limits import COLUMN_COUNT_MAX, NESTING_DEPTH_MAX
from backstory.records.sensitivity import CLASSES

COMMITMENT_PREFIX = "commitment."
"""Name of the leaf column that holds a sealed group's commitment, before the group's name."""

_PRIMITIVE = re.compile(
    r"null|bool|u?int(8|16|32|64)|float(16|32|64)|string|bytes|date|time|duration"
    r"|timestamp(\[[^\[\]\x00-\x20]{1,64}\])?|decimal\([0-9]{1,2},-?[0-9]{1,2}\)"
)


def escape_name(part: str) -> str:
    r"""Escape one part of a column name, so that a dot in it is not a step into a struct.

    >>> escape_name("a.b")
    'a\\.b'
    """
    return part.replace("\\", "\\\\").replace(".", "\\.")


def split_name(name: str) -> list[str]:
    r"""Split a flattened column name into its unescaped parts.

    >>> split_name(r"feature.a\.b")
    ['feature', 'a.b']
    """
    parts, current, escaped = [], "", False
    for character in name:
        if escaped:
            current, escaped = current + character, False
        elif character == "\\":
            escaped = True
        elif character == ".":
            parts.append(current)
            current = ""
        else:
            current += character
    parts.append(current)
    return parts


def check_type(value: JsonValue, depth: int = 0) -> None:
    """Insist that a JSON value names a logical type.

    Raises:
        FormatError: It does not.
    """
    if depth > NESTING_DEPTH_MAX:
        raise FormatError(f"schema: type nested deeper than {NESTING_DEPTH_MAX}")
    if isinstance(value, str) and _PRIMITIVE.fullmatch(value):
        return
    if isinstance(value, dict) and set(value) == {"list"}:
        check_type(value["list"], depth + 1)
        return
    fields = value.get("struct") if isinstance(value, dict) and set(value) == {"struct"} and depth else None
    if isinstance(fields, list) and fields:
        for field in fields:
            if not isinstance(field, dict) or set(field) != {"name", "type"} or not isinstance(field["name"], str):
                raise FormatError("schema: a struct's field needs exactly a name and a type")
            check_type(field["type"], depth + 1)
        if len({field["name"] for field in fields if isinstance(field, dict)}) != len(fields):
            raise FormatError("schema: a struct's fields need distinct names")
        return
    raise FormatError("schema: not a logical type of docs/format.md section 4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a record schema.

    Attributes:
        name: Flattened, escaped name.
        type: Logical type as JSON.
        sensitivity: Class D0 … D7.
        group: Sealed group the column belongs to, or None for an open column.
    """

    name: str
    type: JsonValue
    sensitivity: str
    group: str | None = None


@dataclass(frozen=True, kw_only=True)
class Schema:
    """The columns of the records of a stream, in table order.

    Attributes:
        kind: `prediction` or `outcome`.
        columns: All columns, open and sealed.
        fields: Sealed groups that are committed to by field, in byte order.
    """

    kind: str
    columns: tuple[Column, ...]
    fields: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse doubled names and unknown classes.

        Raises:
            FormatError: A name twice, too many columns, or a class that does not exist.
        """
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names) or len(names) > COLUMN_COUNT_MAX:
            raise FormatError(f"schema: expected at most {COLUMN_COUNT_MAX} distinct column names, got {len(names)}")
        if len(set(self.leaf_names)) != len(self.leaf_names):
            raise FormatError(f"schema: an open column has the name of a commitment ({COMMITMENT_PREFIX}…)")
        for column in self.columns:
            check_type(column.type)
            if column.sensitivity not in CLASSES:
                raise FormatError(f"schema: expected a class of {', '.join(CLASSES)} (column {column.name!r})")
        if self.fields != tuple(group for group in self.groups if group in self.fields):
            raise FormatError("schema: expected the groups committed to by field to be sealed groups, in byte order")

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Names of the sealed groups, in byte order."""
        return tuple(sorted({c.group for c in self.columns if c.group is not None}, key=str.encode))

    @cached_property
    def open_columns(self) -> tuple[Column, ...]:
        """The columns that stand in the segment in clear."""
        return tuple(c for c in self.columns if c.group is None)

    def group_columns(self, group: str) -> tuple[Column, ...]:
        """Return the columns of one sealed group, in table order."""
        return tuple(self._grouped.get(group, ()))

    @cached_property
    def _grouped(self) -> dict[str, list[Column]]:
        """The columns of every sealed group; whoever opens all of many groups looks at each column once."""
        grouped: dict[str, list[Column]] = {}
        for column in self.columns:
            if column.group is not None:
                grouped.setdefault(column.group, []).append(column)
        return grouped

    def field_names(self, group: str) -> tuple[str, ...]:
        """Return the names of a sealed group's columns in the order of its fields: that of their UTF-8 bytes."""
        return tuple(sorted((c.name for c in self.group_columns(group)), key=str.encode))

    def sensitivity_of(self, group: str) -> str:
        """Return the highest class of a sealed group's columns."""
        return max(c.sensitivity for c in self.group_columns(group))

    @cached_property
    def leaf_names(self) -> tuple[str, ...]:
        """Names of the cells of a record's leaf, in the order of their UTF-8 bytes."""
        names = [c.name for c in self.open_columns] + [COMMITMENT_PREFIX + escape_name(g) for g in self.groups]
        return tuple(sorted(names, key=str.encode))

    @cached_property
    def encoded(self) -> bytes:
        """The canonical JSON of the schema."""
        columns: list[JsonValue] = [
            {"class": c.sensitivity, "group": c.group, "name": c.name, "type": c.type} for c in self.columns
        ]
        by_field: JsonObject = {"fields": list(self.fields)} if self.fields else {}
        return canonical.encode({"columns": columns, "kind": self.kind, "v": 1, **by_field})

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, in hex."""
        return hashlib.sha256(self.encoded).hexdigest()


def parse_schema(data: bytes) -> Schema:
    """Read a record schema from its canonical JSON.

    Raises:
        FormatError: Not a schema of version 1.
    """
    document = canonical.parse_object(data, "schema")
    columns, fields = document.get("columns"), document.get("fields", [""])
    canonical.check_version(document, 1, "schema")
    if not isinstance(columns, list) or set(document) - {"fields"} != {"columns", "kind", "v"}:
        raise FormatError("schema: expected exactly columns, kind and v, and fields where it names any")
    if not isinstance(fields, list) or not fields:
        raise FormatError("schema: expected fields to be a list of groups, absent where there are none")
    return Schema(
        kind=canonical.text_of(document, "kind"),
        columns=tuple(_parse_column(c) for c in columns),
        fields=tuple(str(one) for one in fields) if "fields" in document else (),
    )


def _parse_column(value: JsonValue) -> Column:
    if not isinstance(value, dict) or set(value) != {"class", "group", "name", "type"}:
        raise FormatError("schema: a column needs exactly class, group, name and type")
    group = value["group"]
    if group is not None and not isinstance(group, str):
        raise FormatError("schema: a column's group is a string or null")
    return Column(
        name=canonical.text_of(value, "name"),
        type=value["type"],
        sensitivity=canonical.text_of(value, "class"),
        group=group,
    )


def dataset_schema(columns: list[tuple[str, JsonValue]]) -> JsonObject:
    """Return the schema document of a dataset: flattened names and logical types, in table order."""
    return {"columns": [{"name": name, "type": type_} for name, type_ in columns], "kind": "dataset", "v": 1}


def dataset_columns(document: JsonObject) -> list[str]:
    """Return the names of a dataset's columns, as they were given, from its schema document; of a struct its own."""
    columns = document.get("columns")
    names = [str(c["name"]) for c in columns if isinstance(c, dict)] if isinstance(columns, list) else []
    return list(dict.fromkeys(split_name(name)[0] for name in names))
