"""Lists of records that are kept in the vault: the log has what commits to them. Bytes: docs/format.md section 41."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from backstory.ledger.ledger import Ledger
from backstory.ledger.sealed_table import keep_sealed_table
from backstory.records import canonical
from backstory.records.canonical import JsonObject

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt


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
