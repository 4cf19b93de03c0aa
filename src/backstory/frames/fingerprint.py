"""Fingerprints: what identifies a table's content, whatever library, file format, chunking or encoding it comes in.

Rows are read once and in constant memory. Two tables have one fingerprint if and only if they have the same columns
with the same logical types in the same order, and the same rows in the same order. Bytes: docs/format.md section 9.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from backstory.columns.arrow_type import flat_fields, flatten
from backstory.columns.encode import BLOCK_ROWS, encode_twice
from backstory.columns.leaf_sort import MEMORY_BYTES, Sorter
from backstory.columns.tree import LEAF_PREFIX, TreeBuilder
from backstory.errors import ColumnError
from backstory.frames.batches import batches_of
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.schema import dataset_schema

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK_BYTES: Final = 16 << 20
"""Bytes of values encoded at once, where rows are so wide that the usual number of them has more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What identifies a table's content.

    Attributes:
        rows: Number of rows.
        schema: The schema's document: flattened names and logical types, in table order.
        root: Ordered root, in hex.
        columns: Digest of each column by its flattened name, in table order.
        sorted_root: Root over the sorted leaf hashes, in hex, the same for every order of the rows; None if it was not
            asked for.
    """

    rows: int
    schema: JsonObject
    root: str
    columns: dict[str, str]
    sorted_root: str | None

    @property
    def digest(self) -> str:
        """One digest for all of it but the sorted root, which follows from the rest."""
        return canonical.digest_of({**self._content(), "v": 1})

    def _content(self) -> JsonObject:
        return {
            "columns": [{"digest": digest, "name": name} for name, digest in self.columns.items()],
            "root": self.root,
            "rows": str(self.rows),
            "schema": canonical.digest_of(self.schema),
        }

    def document(self) -> JsonObject:
        """Return the members of a dataset version's document that a fingerprint gives; `schema` is its digest."""
        return self._content() | ({} if self.sorted_root is None else {"sorted": self.sorted_root})


class Fingerprinter:
    """Makes the fingerprint of tables that come one after the other."""

    def __init__(
        self,
        schema: pa.Schema,
        *,
        with_sorted: bool = False,
        keep_subtrees: bool = False,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        """Begin with no rows.

        Args:
            schema: Arrow schema of the tables.
            with_sorted: Whether the sorted root is wanted.
            keep_subtrees: Whether the roots of the runs of 256 leaves are.
            memory_bytes: What sorting may take of memory; beyond it leaves go to a temporary file.

        Raises:
            ColumnError: No column, a doubled name, or a type without encoding.
        """
        self._fields = flat_fields(schema)
        if not self._fields:
            raise ColumnError("fingerprint: expected at least one column, got none")
        self._hashers = {name: hashlib.sha256() for name, _ in self._fields}
        self._tree = TreeBuilder(keep_subtrees=keep_subtrees)
        self._sorter = Sorter(memory_bytes) if with_sorted else None
        self._rows = 0

    def add(self, table: pa.Table) -> None:
        """Take in rows.

        Raises:
            ColumnError: Other columns or logical types than those of the schema, or a value without encoding.
        """
        if flat_fields(table.schema) != self._fields:
            raise ColumnError("fingerprint: expected the columns and types of the first rows, got others")
        step = max(1, min(BLOCK_ROWS, _BLOCK_BYTES * table.num_rows // max(table.nbytes, 1)))
        for start in range(0, table.num_rows, step):
            rows, columns = encode_twice(flatten(table.slice(start, step)), LEAF_PREFIX)
            leaves = rows.hashes()
            self._tree.add(leaves)
            if self._sorter is not None:
                self._sorter.add(leaves)
            for name, column in columns.items():
                self._hashers[name].update(column.joined()[0])
        self._rows += table.num_rows

    def subtrees(self) -> bytes:
        """Return the roots of the runs of 256 leaves so far, concatenated, if they are kept."""
        return self._tree.subtrees()

    def fingerprint(self) -> Fingerprint:
        """Return the fingerprint of all rows; nothing can be added after it."""
        return Fingerprint(
            rows=self._rows,
            schema=dataset_schema(self._fields),
            root=self._tree.root().hex(),
            columns={name: hasher.hexdigest() for name, hasher in self._hashers.items()},
            sorted_root=None if self._sorter is None else self._sorter.root().hex(),
        )


def fingerprint(
    data: Any,
    *,
    read: Mapping[str, Any] | None = None,
    memory_bytes: int = MEMORY_BYTES,
) -> Fingerprint:
    """Return what identifies the content of anything with rows, reading it once and in constant memory.

    Args:
        data: A frame, a stream of Arrow batches, a file or a directory of files; see `batches_of`.
        read: How a file is to be read, as in `source`.
        memory_bytes: What sorting may take of memory; beyond it hashes go to a temporary file.

    Raises:
        ColumnError: No column, a doubled name, or a value without encoding.
        InputError: It has no rows that can be read.
        NotFoundError: There is no such file.
        StorageError: A file cannot be read.
    """
    batches = batches_of(data, read)
    made = Fingerprinter(batches.schema, with_sorted=True, memory_bytes=memory_bytes)
    for table in batches.tables:
        made.add(table)
    return made.fingerprint()
