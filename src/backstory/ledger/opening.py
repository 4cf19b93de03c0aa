"""Openings of records for whoever gets a receipt: sealed groups, or single fields of those committed to by field.

What is handed out opens the commitments of its record. Bytes: docs/format.md sections 5 and 14.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from backstory.columns.arrow_type import flatten
from backstory.columns.encode import encode_columns
from backstory.columns.seal import pick_columns
from backstory.errors import InputError, NotFoundError
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import Place
from backstory.ledger.sealed import erased_values
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.commitment import field_data, field_salt, verify_fields, verify_opening
from backstory.records.schema import Schema
from backstory.records.sensitivity import class_of_group, domain_of, groups_by_domain
from backstory.tlog.hashing import hash_leaf, root_hash

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be opened.

    Attributes:
        groups: Sealed groups to open whole; None for all.
        fields: Columns to open besides.
    """

    groups: frozenset[str] | None
    fields: frozenset[str] = frozenset()

    def among(self, schema: Schema) -> dict[str, frozenset[str]]:
        """Return which columns of which sealed groups of records to open, in the order of the groups."""
        chosen = {group: self._columns(schema, group) for group in schema.groups}
        return {group: columns for group, columns in chosen.items() if columns}

    def _columns(self, schema: Schema, group: str) -> frozenset[str]:
        names = frozenset(column.name for column in schema.group_columns(group))
        return names if self.groups is None or group in self.groups else names & self.fields


def require_fields(schemas: Collection[Schema], fields: str | Collection[str]) -> frozenset[str]:
    """Return the names of fields to open.

    Args:
        schemas: Schemas of the records.
        fields: Name or names of columns, such as `feature.age`.

    Raises:
        InputError: No record has such a column, or it is in a group that is opened as a whole.
    """
    asked = frozenset([fields] if isinstance(fields, str) else fields)
    if not asked:
        raise InputError("fields: expected at least one column")
    by_field = {name for schema in schemas for group in schema.fields for name in schema.field_names(group)}
    for name in sorted(asked - by_field):
        columns = [column for schema in schemas for column in schema.columns if column.name == name]
        if not columns:
            raise InputError(f"fields: no record has a column {name!r}")
        why = "stands in clear" if columns[0].group is None else f"is opened with its whole group {columns[0].group!r}"
        raise InputError(f"fields: expected columns that are committed to by field; {name!r} {why}")
    return asked


def groups_of_fields(schemas: Collection[Schema], fields: Collection[str]) -> tuple[str, ...]:
    """Return the sealed groups that some columns are in, in byte order."""
    found = {column.group for schema in schemas for column in schema.columns if column.name in fields}
    return tuple(sorted((group for group in found if group is not None), key=str.encode))


class Openings:
    """The openings of records of one segment; its sealed values are read when the first of them is opened."""

    def __init__(self, ledger: Ledger, place: Place, schema: Schema, wanted: Wanted) -> None:
        """Open what is wanted of records of the segment of a place.

        Raises:
            NotFoundError: The sealed values or their keys are not here.
            VerificationError: The sealed values were changed.
        """
        self._ledger, self._manifest, self._schema = ledger, place.manifest, schema
        self._chosen = wanted.among(schema)
        self._by_domain = groups_by_domain(schema.groups)
        shard = place.manifest.shard
        domains = list(groups_by_domain(self._chosen))
        self._sections = ledger.vault.open_sections(shard.name, domains) if shard is not None and domains else {}

    def open(self, places: Sequence[Place], records: pa.Table) -> list[JsonObject]:
        """Return what the receipt of each record has: `openings`, and `erased` where something was.

        Raises:
            VerificationError: The sealed values are not those the records committed to.
        """
        members: list[JsonObject] = [{"openings": {}} for _ in places]
        gone = [self._erased(place) for place in places]
        rows = np.array([place.row for place in places], np.int64)
        for group, chosen in self._chosen.items():
            domain = domain_of(class_of_group(group))
            section, position = self._sections[domain], self._by_domain[domain].index(group)
            kept = section.salts(len(self._by_domain[domain]))
            values = pick_columns(section.pick(rows), [column.name for column in self._schema.group_columns(group)])
            for at, place in enumerate(places):
                if group in gone[at]:
                    continue
                salt = kept.cut(place.row, 1)[0, position].tobytes()
                commitment = records["commitment"][at].as_py()[group]
                opening = self._opening(group, chosen, values.slice(at, 1), salt, commitment)
                members[at]["openings"] |= {group: opening}  # type: ignore[operator]
        for member, groups in zip(members, gone, strict=True):
            if groups:
                member["erased"] = list(groups)
        return members

    def _erased(self, place: Place) -> tuple[str, ...]:
        """Return which groups of a record were erased, as far as can be seen here."""
        with suppress(NotFoundError):  # where something of it is to be opened, that says so
            found = erased_values(self._ledger, self._manifest, place.row, 1)
            return tuple(group for group, is_gone in found.items() if is_gone[0])
        return ()

    def _opening(
        self, group: str, chosen: frozenset[str], values: pa.Table, salt: bytes, commitment: bytes
    ) -> JsonObject:
        if group not in self._schema.fields:
            (row,) = encode_columns(flatten(values)).rows()
            verify_opening(commitment, group, salt, row)
            return {"row": _text(row), "salt": salt.hex()}
        columns = {column.name: column for column in flatten(values)}
        opened: JsonObject = {}
        leaves, hidden = [], list[JsonValue]()
        for index, name in enumerate(self._schema.field_names(group)):
            (row,) = encode_columns([columns[name]]).rows()
            own = field_salt(salt, index)
            leaves.append(hash_leaf(field_data(own, row)))
            if name in chosen:
                opened[name] = {"row": _text(row), "salt": own.hex()}
            else:
                hidden.append(leaves[-1].hex())
        verify_fields(commitment, group, len(leaves), root_hash(leaves))
        return {"fields": opened, "leaves": hidden}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
