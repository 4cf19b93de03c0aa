"""Rows that a prediction used by key are named on its record, and fetched again as they were, or said not to be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
import sqlalchemy as sa
from deltalake import write_deltalake
from pyiceberg.catalog.sql import SqlCatalog
from tests.support.archives import ORIGIN

import backstory
from backstory.errors import InputError

LONG_AGO, NOW = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """A database with a table that keeps from when to when its rows were valid."""
    engine = sa.create_engine(f"sqlite:///{tmp_path_factory.mktemp('sql') / 'stats.db'}")
    columns = [sa.Column("cust", sa.String), sa.Column("spend", sa.Float), sa.Column("version", sa.Integer)]
    times = [sa.Column("from_ts", sa.DateTime), sa.Column("to_ts", sa.DateTime)]
    table = sa.Table("stats", sa.MetaData(), *columns, *times)
    change = datetime(2026, 3, 1)  # noqa: DTZ001  the database's moments have no zone
    rows = [
        {"cust": "c-1", "spend": 10.0, "version": 1, "from_ts": datetime(2025, 1, 1), "to_ts": change},  # noqa: DTZ001
        {"cust": "c-1", "spend": 25.5, "version": 2, "from_ts": change, "to_ts": None},
    ]
    with engine.begin() as connection:
        table.create(connection)
        connection.execute(table.insert(), rows)
    return engine


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """An empty archive."""
    with backstory.init(tmp_path_factory.mktemp("online") / "audit", origin=ORIGIN) as archive:
        yield archive


@pytest.fixture(autouse=True)
def _no_resolvers(archive):
    archive.resolvers.clear()


def used(archive, source="stats", keep="full", **uses):
    """Return the story of a prediction that used a row."""
    with archive.prediction(keep=keep) as prediction:
        prediction.uses(source, **uses)
        prediction.output(1.0)
    return lambda: archive.why(prediction.id)


def only(story):
    """Return the one row a story has."""
    (row,) = story.online
    return row


def test_without_a_resolver_a_row_is_named_and_not_fetched(archive):
    """And the story says so."""
    story = used(archive, key="c-1", version="7", at=LONG_AGO)()
    row = only(story)
    assert (row.source, row.key, row.version, row.state) == ("stats", "c-1", "7", "not fetched")
    assert "no resolver" in str(story)


@pytest.mark.parametrize("keep", ["full", "digest", "record"])
def test_the_reference_is_kept_however_much_of_steps_is(archive, keep):
    """Without it nobody would know which row it was."""
    assert only(used(archive, keep=keep, key={"cust": "c-1"}, values={"spend": 1.0})()).key == {"cust": "c-1"}


@pytest.mark.parametrize(("at", "spend"), [(LONG_AGO, 10.0), (NOW, 25.5)])
def test_a_row_of_a_table_with_validity_is_as_it_was(archive, engine, at, spend):
    """As of the moment on the record."""
    archive.resolvers["stats"] = backstory.SqlAsOf(engine, "stats", key="cust", valid_from="from_ts", valid_to="to_ts")
    row = only(used(archive, key="c-1", at=at)())
    assert (row.state, row.values["spend"]) == ("fetched", spend)


def test_without_a_moment_it_is_as_of_the_prediction(archive, engine):
    """When it was recorded."""
    archive.resolvers["stats"] = backstory.SqlAsOf(engine, "stats", key="cust", valid_from="from_ts")
    assert only(used(archive, key="c-1")()).values["spend"] == 25.5


def test_a_version_on_the_record_decides(archive, engine):
    """Where the table has a column for it."""
    archive.resolvers["stats"] = backstory.SqlAsOf(engine, "stats", key="cust", version="version")
    assert only(used(archive, key="c-1", version=1)()).values["spend"] == 10.0


@pytest.mark.parametrize("keep", ["full", "digest"])
def test_a_row_that_is_as_it_was_is_said_to_be(archive, engine, keep):
    """Compared with the values, or with their digest."""
    resolver = backstory.SqlAsOf(engine, "stats", key="cust", valid_from="from_ts", valid_to="to_ts")
    archive.resolvers["stats"] = resolver
    values = resolver.fetch("c-1", version=None, at=LONG_AGO)
    assert only(used(archive, keep=keep, key="c-1", at=LONG_AGO, values=values)()).state == "same"


def test_columns_that_nobody_used_are_not_compared(archive, engine):
    """The record keeps one feature of the row; from when the row was valid is no change of it."""
    archive.resolvers["stats"] = backstory.SqlAsOf(engine, "stats", key="cust", valid_from="from_ts", valid_to="to_ts")
    online = only(used(archive, key="c-1", at=LONG_AGO, values={"spend": 10.0})())
    assert (online.state, online.changed) == ("same", ())


def test_a_row_that_changed_is_said_to_have(archive, engine):
    """With the names of what differs."""
    resolver = backstory.SqlAsOf(engine, "stats", key="cust", valid_from="from_ts", valid_to="to_ts")
    archive.resolvers["stats"] = resolver
    values = dict(resolver.fetch("c-1", version=None, at=LONG_AGO))
    story = used(archive, key="c-1", at=LONG_AGO, values=values | {"spend": 11.0})()
    assert (only(story).state, only(story).changed) == ("changed", ("spend",))
    assert "CHANGED since: spend" in str(story)


def test_no_row_is_said(archive, engine):
    """None of this key, or none as of then."""
    archive.resolvers["stats"] = backstory.SqlAsOf(engine, "stats", key="cust", valid_from="from_ts", valid_to="to_ts")
    assert only(used(archive, key="c-9")()).state == "no row"
    assert only(used(archive, key="c-1", at=datetime(2020, 1, 1, tzinfo=UTC))()).state == "no row"


def test_a_resolver_that_cannot_tell_is_believed(archive):
    """The class of its exception, as its message may hold values."""

    class Broken:
        def fetch(self, key, **_as_of):
            raise ConnectionError(f"no {key}")

    archive.resolvers["stats"] = Broken()
    row = only(used(archive, key="c-1")())
    assert (row.state, row.reason) == ("cannot", "ConnectionError")


def test_a_key_of_other_columns_cannot_be_fetched(archive, engine):
    """Nothing is guessed."""
    archive.resolvers["stats"] = backstory.SqlAsOf(engine, "stats", key="cust", valid_from="from_ts")
    assert only(used(archive, key={"account": 5})()).reason == "InputError"


def test_a_table_without_validity_is_refused(engine):
    """Its rows are as they are now, which is not the question."""
    with pytest.raises(InputError, match="valid_from"):
        backstory.SqlAsOf(engine, "stats", key="cust")
    with pytest.raises(InputError, match="until"):
        backstory.SqlAsOf(engine, "stats", key="cust", valid_from="from_ts", valid_to="until")


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    """A database with a table that says until when in text, and one whose version is of the whole view."""
    engine = sa.create_engine(f"sqlite:///{tmp_path_factory.mktemp('views') / 'views.db'}")
    with engine.begin() as connection:
        connection.execute(sa.text("create table texts (cust text, since text, at timestamp)"))
        connection.execute(sa.text("create table view (cust text, spend float, version text, since timestamp)"))
        for spend, version, since in ((1, "v1", "2026-01-01"), (2, "v1", "2026-03-01"), (3, "v2", "2026-04-01")):
            row = {"spend": spend, "version": version, "since": f"{since} 00:00:00.000000"}
            connection.execute(sa.text("insert into view values ('c-1', :spend, :version, :since)"), row)
        connection.execute(sa.text("insert into view values ('c-2', 1, 'v1', '2026-01-01 00:00:00.000000')"))
        connection.execute(sa.text("insert into view values ('c-2', 2, 'v1', '2026-01-01 00:00:00.000000')"))
    return engine


def test_validity_in_text_is_refused(views):
    """A database compares it with a moment letter by letter, and gives another row."""
    with pytest.raises(InputError, match="'since' of table 'texts'"):
        backstory.SqlAsOf(views, "texts", key="cust", valid_from="since")
    with pytest.raises(InputError, match="'since' of table 'texts'"):
        backstory.SqlAsOf(views, "texts", key="cust", valid_from="at", valid_to="since")


def test_a_version_of_a_whole_view_has_a_row_at_each_moment(archive, views):
    """Of its rows the one counts that was valid then."""
    archive.resolvers["view"] = backstory.SqlAsOf(views, "view", key="cust", valid_from="since", version="version")
    february = datetime(2026, 2, 1, tzinfo=UTC)
    assert only(used(archive, "view", key="c-1", version="v1", at=february)()).values["spend"] == 1
    assert only(used(archive, "view", key="c-1", version="v1", at=NOW)()).values["spend"] == 2
    assert only(used(archive, "view", key="c-1", at=NOW)()).values["spend"] == 3


def test_rows_that_were_valid_at_once_are_none(archive, views):
    """Which of them was used cannot be told."""
    archive.resolvers["view"] = backstory.SqlAsOf(views, "view", key="cust", valid_from="since")
    assert only(used(archive, "view", key="c-2", at=NOW)()).state == "cannot"


def test_a_row_found_by_version_only_needs_one(archive, views):
    """Without a version on the record a single row may be of any time."""
    archive.resolvers["view"] = backstory.SqlAsOf(views, "view", key=["cust", "spend"], version="version")
    assert only(used(archive, "view", key=("c-1", 3), version="v2")()).state == "fetched"
    assert only(used(archive, "view", key=("c-1", 3))()).state == "cannot"


def test_a_row_of_a_delta_table_is_as_of_a_version(archive, tmp_path):
    """Or as of a moment."""
    path = tmp_path / "stats"
    write_deltalake(path, pa.table({"cust": ["c-1", "c-2"], "spend": [1.0, 2.0]}))
    write_deltalake(path, pa.table({"cust": ["c-1", "c-2"], "spend": [5.0, 6.0]}), mode="overwrite")
    archive.resolvers["stats"] = backstory.DeltaAsOf(path, key="cust")
    assert only(used(archive, key="c-1", version=0)()).values == {"cust": "c-1", "spend": 1.0}
    assert only(used(archive, key="c-2", at=datetime.now(UTC) + timedelta(seconds=1))()).values["spend"] == 6.0
    assert only(used(archive, key="c-2", version=9)()).state == "cannot"
    assert only(used(archive, key="c-2", at=LONG_AGO)()).state == "no row"  # not the first that there ever was


def test_a_row_of_an_iceberg_table_is_as_of_a_snapshot(archive, tmp_path):
    """Or as of a moment."""
    catalog = SqlCatalog("default", uri=f"sqlite:///{tmp_path / 'catalog.db'}", warehouse=f"file://{tmp_path}")
    catalog.create_namespace("features")
    rows = pa.table({"cust": ["c-1"], "spend": [1.0]})
    table = catalog.create_table("features.stats", rows.schema)
    table.append(rows)
    first = table.current_snapshot().snapshot_id
    table.overwrite(pa.table({"cust": ["c-1"], "spend": [5.0]}))
    archive.resolvers["stats"] = backstory.IcebergAsOf(table, key="cust")
    assert only(used(archive, key="c-1", version=first)()).values == {"cust": "c-1", "spend": 1.0}
    assert only(used(archive, key="c-1")()).values["spend"] == 5.0
    assert only(used(archive, key="c-1", at=datetime(2020, 1, 1, tzinfo=UTC))()).state == "no row"
