"""Lists of records that are kept in the vault: the log has what commits to them. Bytes: docs/format.md section 41.

A list is made and kept while others can append, as a long one takes seconds. It counts where the log has nothing since
that may change it; else it is made anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from backstory.ledger.ledger import Ledger
from backstory.ledger.sealed_table import keep_sealed_table
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.manifest import SKETCHED_TYPE, STREAM_TYPES
from backstory.records.merge import MERGE_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

PASSING: Final = frozenset({MERGE_TYPE, SKETCHED_TYPE}) | STREAM_TYPES
"""Entries that change no list: where records are, and who records."""
_TRIES = 3
"""So often a list is made while others can append, before it is made while they cannot."""


def append_listed(
    ledger: Ledger,
    prepare: Callable[[], tuple[Callable[[], JsonObject], pa.Table]],
    passes: Callable[[JsonObject], bool],
) -> None:
    """Append an entry whose document commits to a list.

    Args:
        ledger: The archive.
        prepare: Makes the list from the archive as it is; returns what makes the entry but for its document, and it.
        passes: Says whether an entry that others append meanwhile changes neither.
    """
    for _ in range(_TRIES):
        ledger.catch_up()
        size = ledger.catalog.size
        entry, table = prepare()
        kept = keep_list(ledger, table)

        def if_current() -> list[JsonObject]:
            is_current = all(passes(one) for _, one in ledger.log.entries(size, ledger.catalog.size))  # noqa: B023
            return [_entry(ledger, entry(), kept)] if is_current else []  # noqa: B023  called at once

        if ledger.append(if_current):
            return
        _drop(ledger, kept)
    # What it depends on changes all the time: at last while nothing can.
    ledger.append(lambda: [_listed(ledger, *prepare())])


def keep_list(ledger: Ledger, table: pa.Table) -> JsonObject | None:
    """Keep a table in the vault; return what commits to it, None for a table without rows."""
    return keep_sealed_table(ledger, table, (), "sealed_table") if table.num_rows else None


def read_list(ledger: Ledger, document: JsonObject) -> pa.Table | None:
    """Return the table a document commits to in its member `list`; None if that has no rows.

    Raises:
        NotFoundError: It, or its keys, are not here.
        VerificationError: It was changed.
    """
    kept = document.get("list")
    return ledger.vault.read_table(canonical.text_of(kept, "sealed_table")) if isinstance(kept, dict) else None


def rows_table(rows: Mapping[int, npt.NDArray[np.int64]]) -> pa.Table:
    """Return rows of segments, by the indexes of their manifests, as a table."""
    positions = sorted(position for position in rows if len(rows[position]))
    counts = [len(rows[position]) for position in positions]
    numbers = np.repeat(np.array(positions, np.uint64), counts)
    within = np.concatenate([np.zeros(0, np.uint32), *(rows[position].astype(np.uint32) for position in positions)])
    return pa.table({"manifest": pa.array(numbers, pa.uint64()), "row": pa.array(within, pa.uint32())})


def rows_of(table: pa.Table) -> dict[int, npt.NDArray[np.int64]]:
    """Return the rows of segments that a table lists, by the indexes of their manifests, ascending, each once."""
    manifests, rows = table["manifest"].to_numpy(), table["row"].to_numpy().astype(np.int64)
    return {int(position): np.unique(rows[manifests == position]) for position in np.unique(manifests)}


def _listed(ledger: Ledger, entry: Callable[[], JsonObject], table: pa.Table) -> JsonObject:
    return _entry(ledger, entry(), keep_list(ledger, table))


def _entry(ledger: Ledger, entry: JsonObject, kept: JsonObject | None) -> JsonObject:
    return {**entry, "document": ledger.put_document({"list": kept, "v": 1})}


def _drop(ledger: Ledger, kept: JsonObject | None) -> None:
    """Remove a list that counts for nothing from the vault."""
    if kept is not None:
        name = canonical.text_of(kept, "sealed_table")
        ledger.keys.destroy(name)
        ledger.vault.remove(name)
