"""What is said of predictions: which are meant, what turned out about them, and whether they are bad by a predicate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import unchunked
from backstory.columns.seal import merge_columns
from backstory.debug.case import Workshop
from backstory.errors import QueryError
from backstory.frames.table import column_names, to_arrow
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import records_now
from backstory.ledger.sealed import read_shard
from backstory.lineage.predicate import checked_predicate, in_memory, wrong_predicate
from backstory.lineage.search import search_predictions
from backstory.records.access import whole_segments
from backstory.records.envelope import OUTCOME
from backstory.records.identity import ID_SIZE

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUESTION = "rootcause"


def chosen_ids(ledger: Ledger, given: Any, what: str) -> pa.Array:  # noqa: ANN401  ids in any form
    """Return the ids that are meant, 16 bytes each.

    Args:
        ledger: The archive.
        given: Ids, a table with a column `id`, or a predicate as `search` takes it.
        what: What they are: `bad` or `good`.

    Raises:
        QueryError: It is none of these, or asks for values that are sealed.
    """
    if isinstance(given, str):
        hits = search_predictions(ledger, given, (), None)
        if hits.not_compared:
            raise QueryError(f"rootcause: {hits.left_out}; give the ids of the {what} ones")
        texts = [text for table, _ in hits.parts for text in table["id"].to_pylist()]
    else:
        texts = [str(one) for one in _listed(given, what)]
    try:
        return pa.array([UUID(text).bytes for text in texts], pa.binary(ID_SIZE))
    except ValueError:
        raise QueryError(f"rootcause: expected whole ids as {what}, got a text that is none") from None


def _listed(given: Any, what: str) -> Sequence[Any]:  # noqa: ANN401
    if isinstance(given, Sequence) and not isinstance(given, bytes):
        return given
    if hasattr(given, "ids"):  # what `predict` gave
        return list(given.ids)
    if hasattr(given, "columns") or hasattr(given, "column_names"):
        if "id" not in column_names(given):
            raise QueryError(f"rootcause: expected a table with a column id as {what}, got one without")
        return list(to_arrow(given)["id"].to_pylist())
    if hasattr(given, "tolist") or hasattr(given, "to_pylist"):
        return list(given.tolist() if hasattr(given, "tolist") else given.to_pylist())
    raise QueryError(f"rootcause: expected ids, a table with ids or a predicate as {what}, got {type(given).__name__}")


def outcomes_of(shop: Workshop, ids: pa.Array) -> pa.Array:
    """Return the latest outcome of each prediction, null where there is none or it is sealed.

    Args:
        shop: The archive.
        ids: Ids of the predictions.
    """
    parts: list[pa.Table] = []
    sealed, waiting = records_now(shop.ledger, OUTCOME)
    for _, manifest in sealed:
        reader = shop.ledger.segment(manifest, checked=True)
        table = reader.read_groups(range(reader.group_count))
        groups = shop.ledger.schema(manifest.schema).groups
        if groups and manifest.shard is not None and shop.gate.allows():
            shop.gate.pass_through(QUESTION, groups, manifest.count, whole_segments([manifest]))
            table = merge_columns(table, read_shard(shop.ledger, manifest.shard).select(["value"]))
        parts.append(table)
    for schema, table in waiting:
        if schema.groups and shop.gate.allows():
            shop.gate.pass_through(QUESTION, schema.groups, table.num_rows)
        if not schema.groups or shop.gate.allows():
            parts.append(table)
    known = [
        pa.table({"of": part["of"].cast(pa.large_binary()), "time": part["time"], "value": part["value"]})
        for part in parts
        if "value" in part.column_names
    ]
    known = [part.filter(pc.is_valid(part["of"])) for part in known]  # without those that were disposed of
    if not known:
        return pa.nulls(len(ids), pa.float64())
    try:
        whole = pa.concat_tables(known, promote_options="permissive")
    except pa.ArrowException:
        raise QueryError("rootcause: the outcomes are of several types, which no predicate compares") from None
    whole = whole.sort_by("time")
    latest = dict(zip(whole["of"].to_pylist(), range(whole.num_rows), strict=True))
    rows = [latest.get(one) for one in ids.to_pylist()]
    return unchunked(whole["value"].take(pa.array(rows, pa.int64())))


def fulfilled(predicate: str, table: pa.Table) -> NDArray[np.bool_]:
    """Return for which rows an SQL predicate holds; columns such as `output.late` are members of `output`.

    Raises:
        QueryError: It is malformed, or names other columns.
    """
    import duckdb

    tops: dict[str, dict[str, pa.Array]] = {}
    for name in table.column_names:
        top, _, inner = name.partition(".")
        tops.setdefault(top, {})[inner] = unchunked(table[name])
    columns = {
        top: members[""] if "" in members else pa.StructArray.from_arrays(list(members.values()), names=list(members))
        for top, members in tops.items()
    }
    row = "_row_number"
    asked = pa.table(columns | {row: pa.array(np.arange(table.num_rows))})
    with in_memory() as connection:
        connection.register("asked", asked)
        try:
            sql = f"SELECT {row} FROM asked WHERE {checked_predicate(predicate, QUESTION)}"  # noqa: S608  checked
            hits = connection.execute(sql).fetchnumpy()[row]
        except duckdb.Error as error:
            raise wrong_predicate(error, QUESTION) from None
    mask = np.zeros(table.num_rows, bool)
    mask[np.asarray(hits, np.int64)] = True
    return mask
