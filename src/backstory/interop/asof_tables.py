"""As-of rows of Delta and Iceberg tables, which keep their earlier versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from backstory.errors import NotFoundError
from backstory.lineage.online import key_by_column

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa
    from pyiceberg.table import Table


class DeltaAsOf:
    """Fetches rows of a Delta table as of a version or a moment: `backstory.DeltaAsOf("s3://…/stats", key="cust")`."""

    def __init__(
        self, table: str | Path, *, key: str | Sequence[str], storage_options: Mapping[str, str] | None = None
    ) -> None:
        """Read a table.

        Args:
            table: Its path or URL.
            key: Column or columns of the key.
            storage_options: What deltalake needs to reach it.
        """
        self._table, self._options = str(table), dict(storage_options or {})
        self._key = (key,) if isinstance(key, str) else tuple(key)

    def fetch(self, key: Any, *, version: str | None, at: datetime) -> Mapping[str, Any] | None:  # noqa: ANN401
        """Return a row as it was; see `backstory.lineage.online.AsOf`.

        Raises:
            NotFoundError: The table keeps the version no more, or has several such rows.
        """
        from deltalake import DeltaTable

        if version is not None:
            table = DeltaTable(self._table, version=int(version), storage_options=self._options)
        else:
            table = DeltaTable(self._table, storage_options=self._options)
            table.load_as_version(at)  # the earliest version there is, where all are later
            if table.history(1)[0]["timestamp"] > at.timestamp() * 1000:
                if table.version() == 0:
                    return None
                raise NotFoundError("as-of: expected the version of that moment, got a table that keeps it no more")
        wanted = key_by_column(self._key, key)
        filters = [(name, "=", value) for name, value in wanted.items()]
        return _only(table.to_pyarrow_table(filters=filters))


class IcebergAsOf:
    """Fetches rows of an Iceberg table as of a snapshot or a moment: `backstory.IcebergAsOf(table, key="cust")`."""

    def __init__(self, table: Table, *, key: str | Sequence[str]) -> None:
        """Read a table.

        Args:
            table: A table that pyiceberg has loaded.
            key: Column or columns of the key.
        """
        self._table = table
        self._key = (key,) if isinstance(key, str) else tuple(key)

    def fetch(self, key: Any, *, version: str | None, at: datetime) -> Mapping[str, Any] | None:  # noqa: ANN401
        """Return a row as it was; see `backstory.lineage.online.AsOf`."""
        from pyiceberg.expressions import And, BooleanExpression, EqualTo, Reference

        table = self._table.refresh()
        if version is not None:
            snapshot = int(version)
        else:
            found = table.snapshot_as_of_timestamp(int(at.timestamp() * 1000))
            if found is None:
                return None
            snapshot = found.snapshot_id
        conditions: list[BooleanExpression] = [
            EqualTo(term=Reference(name), value=value) for name, value in key_by_column(self._key, key).items()
        ]
        row_filter = conditions[0] if len(conditions) == 1 else And(*conditions)
        return _only(table.scan(row_filter=row_filter, snapshot_id=snapshot).to_arrow())


def _only(table: pa.Table) -> Mapping[str, Any] | None:
    """Return the one row of a table, or None if it has none.

    Raises:
        NotFoundError: It has several.
    """
    if table.num_rows > 1:
        raise NotFoundError("as-of: expected one row of a key, got several")
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows[0] if rows else None
