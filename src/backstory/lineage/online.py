"""Rows that were fetched by key while a prediction was made, from a feature store or a database, fetched again.

A record names such a row by source, key, version and moment, and keeps no copy of it. Whoever knows the store gives a
resolver, which fetches the row as it was then, or says that it cannot. What the record keeps of the row's values shows
whether it still is what it was. Bytes: docs/format.md section 30.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from backstory.errors import InputError
from backstory.lineage.plain import plain

OnlineState = Literal["same", "changed", "fetched", "no row", "cannot", "not fetched"]


class AsOf(Protocol):
    """Fetches rows of one online source as they were.

    Any object with such a method will do:

        class Accounts:
            def fetch(self, key, *, version, at):
                return self.store.get(key, as_of=at)

        archive.resolvers["accounts"] = Accounts(store)
    """

    def fetch(self, key: Any, *, version: str | None, at: datetime) -> Mapping[str, Any] | None:
        """Return a row as it was; None if there was none then.

        Args:
            key: The key, as the record has it: a value, or values by column.
            version: The version that was used: of the row, the view or the table; None if the record has none.
            at: As of when, with a time zone: the event time on the record, or else when the prediction was recorded.

        Raises:
            Exception: It cannot be told. The story says so, with the class of the exception.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineRow:
    """A row that a prediction used by reference.

    Attributes:
        source: Name of the feature view, table or service.
        key: Key of the row.
        version: Version that was used, if the record has one.
        at: As of when, if the record has it.
        state: `same` or `changed`: fetched again and compared with what the record keeps; `fetched`: the record keeps
            nothing to compare with; `no row`: there is none as of then; `cannot`: see `reason`; `not fetched`: no
            resolver was given.
        values: The row as it is fetched now.
        changed: Names of the values that differ, where the record keeps them.
        reason: Why it cannot be fetched.
    """

    source: str
    key: Any
    version: str | None
    at: str | None
    state: OnlineState
    values: Mapping[str, Any] = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        return {name: plain(value) for name, value in asdict(self).items()}


def key_by_column(columns: tuple[str, ...], key: Any) -> dict[str, Any]:
    """Return a key's values by column: of a mapping, or of values in the order of the columns.

    Raises:
        InputError: It has other columns, or more or fewer values.

    >>> key_by_column(("cust", "day"), ["c-1", 5])
    {'cust': 'c-1', 'day': 5}
    """
    if isinstance(key, Mapping):
        values = dict(key)
    else:
        given = list(key) if isinstance(key, list | tuple) else [key]
        values = dict(zip(columns, given, strict=False)) if len(given) == len(columns) else {}
    if set(values) != set(columns):
        raise InputError(f"as-of: expected a value for each of {', '.join(columns)}")
    return values
