"""Which people a training set is about, read from its sealed positions: what its tree of persons must be of.

Read from the vault, apart from the code that builds the tree. The positions, groups and rows that are read are checked
against their own roots elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.id_text import subject_texts
from backstory.errors import FormatError
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.storage.blobs import BlobStore
from backstory.storage.vault import Vault

if TYPE_CHECKING:
    from numpy.typing import NDArray


class TrainedPeople:
    """Collects the rows about people that a training set stands on, directly and through groups and windows."""

    def __init__(self, blobs: BlobStore, vault: Vault) -> None:
        """Read documents and sealed tables there."""
        self._blobs = blobs
        self._vault = vault
        self._rows: dict[str, list[NDArray[np.int64]]] = {}

    def subjects(self, training: JsonObject) -> set[str]:
        """Return the ids of the people.

        Args:
            training: What a model version's document says of its training set.

        Raises:
            NotFoundError: Positions or rows were erased, or are kept elsewhere.
            FormatError: A document or table is malformed.
        """
        try:
            self._add(training, self._positions(training))
        except (pa.ArrowException, IndexError, KeyError, TypeError, ValueError) as error:
            raise FormatError("positions: their table is not as its document says") from error
        found: set[str] = set()
        for dataset, parts in self._rows.items():
            table = self._vault.read_table(f"{dataset}.shard")
            column = canonical.text_of(self._document(dataset), "subject")
            chosen = np.unique(np.concatenate(parts))
            if column not in table.column_names or (len(chosen) and chosen[-1] >= table.num_rows):
                raise FormatError(f"dataset {dataset}: its rows are not those that positions point to")
            found |= subject_texts(table[column].take(pa.array(chosen)))
        return found

    def _add(self, holder: JsonObject, positions: pa.Table) -> None:
        """Add what rows of a table of positions lead to."""
        refs = holder.get("refs")
        for name, reference in refs.items() if isinstance(refs, dict) else ():
            if not isinstance(reference, dict) or reference.get("personal") is not True:
                continue
            values = pc.struct_field(positions["row"], name).drop_null().to_numpy()
            taken = np.unique(values[values >= 0])
            if reference.get("kind") == "group":
                group = self._document(canonical.text_of(reference, "group"))
                table = self._positions(group)
                self._add(group, table.filter(pa.array(_members(table, taken))))
                continue
            parts = reference.get("parts")
            for part in parts if isinstance(parts, list) else ():
                if isinstance(part, dict):
                    first, rows = canonical.count_of(part, "first"), canonical.count_of(part, "rows")
                    inside = taken[(taken >= first) & (taken < first + rows)] - first
                    self._rows.setdefault(canonical.text_of(part, "dataset"), []).append(inside)

    def _positions(self, holder: JsonObject) -> pa.Table:
        table = self._vault.read_table(canonical.text_of(holder, "sealed_edges"))
        if "row" not in table.column_names or not pa.types.is_struct(table.schema.field("row").type):
            raise FormatError("positions: expected a column row with a field for each reference")
        return table

    def _document(self, digest: str) -> JsonObject:
        return canonical.parse_object(self._blobs.get(digest), f"document {digest}")


def _members(table: pa.Table, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say of each row of an edge table whether it is in one of some groups or windows."""
    if "group" in table.column_names:
        return np.isin(table["group"].to_numpy(), numbers)
    if len(numbers) and numbers[-1] >= table.num_rows:
        raise FormatError("positions: expected a window of the table")
    change = np.zeros(table.num_rows + 1, np.int64)
    np.add.at(change, table["begin"].to_numpy()[numbers].astype(np.int64), 1)
    np.add.at(change, table["end"].to_numpy()[numbers].astype(np.int64), -1)
    return np.cumsum(change)[:-1] > 0
