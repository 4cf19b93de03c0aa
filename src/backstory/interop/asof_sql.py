"""As-of rows of an SQL table in which each row says from when to when it was valid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from backstory.errors import InputError, NotFoundError
from backstory.lineage.online import key_by_column

if TYPE_CHECKING:
    import sqlalchemy as sa


class SqlAsOf:
    """Fetches rows of a table with validity: `archive.resolvers["stats"] = backstory.SqlAsOf(engine, "stats", …)`.

    Of several rows of a key the one counts that was valid: from `valid_from` on, and before `valid_to` where that is
    not null. Any database that SQLAlchemy knows.
    """

    def __init__(
        self,
        engine: sa.Engine | str,
        table: str,
        *,
        key: str | Sequence[str],
        valid_from: str | None = None,
        valid_to: str | None = None,
        version: str | None = None,
        schema: str | None = None,
    ) -> None:
        """Read a table.

        Args:
            engine: A SQLAlchemy engine, or the URL of one.
            table: Name of the table.
            key: Column or columns of the key.
            valid_from: Column that says from when a row was valid.
            valid_to: Column that says until when; null while it still is.
            version: Column with the row's version, for records that name one.
            schema: Schema of the table.

        Raises:
            InputError: The table has no such column, one of `valid_from` and `valid_to` holds no moments, or nothing
                says which row was valid.
        """
        import sqlalchemy as sa

        self._engine = sa.create_engine(engine) if isinstance(engine, str) else engine
        self._table = sa.Table(table, sa.MetaData(), schema=schema, autoload_with=self._engine)
        self._key = (key,) if isinstance(key, str) else tuple(key)
        self._from, self._to, self._version = valid_from, valid_to, version
        named = [*self._key, *(name for name in (valid_from, valid_to, version) if name is not None)]
        missing = [name for name in named if name not in self._table.columns]
        if missing:
            raise InputError(f"as-of: expected a column {missing[0]!r} in table {table!r}")
        for name in (valid_from, valid_to):
            # A database compares texts and numbers with a moment as it likes, and gives another row.
            if name is not None and not isinstance(self._table.columns[name].type, sa.DateTime | sa.Date):
                raise InputError(f"as-of: expected column {name!r} of table {table!r} to be of a type for moments")
        if valid_from is None and version is None:
            raise InputError(f"as-of: expected valid_from or version: what says which row of {table!r} was valid?")

    def fetch(self, key: Any, *, version: str | None, at: datetime) -> Mapping[str, Any] | None:  # noqa: ANN401
        """Return a row as it was; see `backstory.lineage.online.AsOf`.

        Raises:
            InputError: The key has not the columns of the table's.
            NotFoundError: Several rows were valid at once, or the record has no version and nothing else tells.
        """
        import sqlalchemy as sa

        columns = self._table.columns
        conditions = [columns[name] == value for name, value in key_by_column(self._key, key).items()]
        rows: list[dict[str, Any]] = []
        by_version = version is not None and self._version is not None
        if version is not None and self._version is not None:
            conditions.append(sa.cast(columns[self._version], sa.String) == version)
            rows = self._rows(conditions)
        if not by_version or len(rows) > 1:  # a version of a whole view has several rows of a key
            rows = self._rows([*conditions, *self._valid(at)])
            if self._from is not None and self._to is None and len(rows) > 1:
                rows = [row for row in rows if row[self._from] == rows[0][self._from]]
        if len(rows) > 1:
            raise NotFoundError(f"as-of: expected one row of {self._table.name!r} at a time, got several")
        return rows[0] if rows else None

    def _valid(self, at: datetime) -> list[sa.ColumnElement[bool]]:
        """Return what is true of rows that were valid, or of those and earlier ones where nothing says until when."""
        import sqlalchemy as sa

        columns = self._table.columns
        if self._from is None:
            raise NotFoundError(f"as-of: expected a version on the record that is of one row of {self._table.name!r}")
        conditions = [columns[self._from] <= self._of_type(self._from, at)]
        if self._to is not None:
            end = columns[self._to]
            conditions.append(sa.or_(end.is_(None), end > self._of_type(self._to, at)))
        return conditions

    def _rows(self, conditions: Sequence[sa.ColumnElement[bool]]) -> list[dict[str, Any]]:
        """Return at most two rows, the latest first: more are as wrong as two."""
        import sqlalchemy as sa

        query = sa.select(self._table).where(*conditions).limit(2)
        if self._from is not None:
            query = query.order_by(self._table.columns[self._from].desc())
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def _of_type(self, name: str, at: datetime) -> datetime:
        """Return a moment as a column holds it: without a time zone, in UTC, where the column has none."""
        has_zone = getattr(self._table.columns[name].type, "timezone", False)
        return at.astimezone(UTC) if has_zone else at.astimezone(UTC).replace(tzinfo=None)
