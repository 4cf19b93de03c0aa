"""The list of what a disposal takes: runs of rows of segments, by part, with the rule whose time is over.

What is past its time lies together, as records are sealed in the order of time. So a list is as long as there are gaps,
not as there are records. Bytes: docs/format.md section 41.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from backstory.columns.tree import leaf_hashes_of, root_of_subtrees, subtree_roots
from backstory.governance.keeping import Due
from backstory.records.canonical import JsonValue

if TYPE_CHECKING:
    import numpy.typing as npt

    Rows = npt.NDArray[np.int64]

METHODS: Final = {
    "payload": "values and salts rewritten without, old keys destroyed",
    "skeleton": "row replaced by its leaf hash",
}
_DOMAIN: Final = b"backstory/disposed/v1\x00"
_SALT_SIZE = 32


def list_of(due: Sequence[Due], random_bytes: Callable[[int], bytes] | None = None) -> pa.Table:
    """Return what is due as a list, each run of rows with a salt where chance is given."""
    cut = [_runs(one.rows) for one in due]
    counts = [len(firsts) for firsts, _ in cut]
    columns = {
        "manifest": pa.array(np.repeat(np.array([one.position for one in due], np.uint64), counts), pa.uint64()),
        "row": _joined([firsts for firsts, _ in cut]),
        "rows": _joined([lengths for _, lengths in cut]),
        "group": _repeated([one.group for one in due], counts),
        "rule": _repeated([one.rule for one in due], counts),
        "class": _repeated([one.label for one in due], counts),
    }
    if random_bytes is not None:
        total = sum(counts)
        salts = pa.py_buffer(random_bytes(_SALT_SIZE * total) if total else b"")
        columns["salt"] = pa.Array.from_buffers(pa.binary(_SALT_SIZE), total, [None, salts])
    return pa.table(columns)


def parts_of(table: pa.Table) -> dict[int, dict[str, Rows]]:
    """Return the rows a list names, ascending, by manifest and group; the group is empty for the row itself."""
    groups = table["group"].combine_chunks().dictionary_encode()
    names, codes = groups.dictionary.to_pylist(), groups.indices.to_numpy()
    positions, firsts, lengths = (table[name].to_numpy() for name in ("manifest", "row", "rows"))
    order = np.lexsort((firsts, codes, positions))
    positions, codes = positions[order], codes[order]
    firsts, lengths = firsts[order].astype(np.int64), lengths[order].astype(np.int64)
    bounds = _bounds((np.diff(positions) != 0) | (np.diff(codes) != 0), len(order)).tolist()
    found: dict[int, dict[str, Rows]] = {}
    for low, high in pairwise(bounds):
        rows = _rows(firsts[low:high], lengths[low:high])
        found.setdefault(int(positions[low]), {})[names[codes[low]]] = rows
    return found


def classes_of(table: pa.Table) -> list[JsonValue]:
    """Return how much of each class a list names, as entries say it."""
    sums = table.group_by(["class", "rule"]).aggregate([("rows", "sum")]).to_pylist()
    return [
        {
            "class": one["class"],
            "count": str(one["rows_sum"]),
            "method": METHODS[one["class"].split("/")[1]],
            "rule": one["rule"],
        }
        for one in sorted(sums, key=lambda one: (one["class"], one["rule"]))
    ]


def disposed_root(table: pa.Table) -> bytes:
    """Return the root over the salted leaves of what a disposal's list names, in its order."""
    columns = (table[name].to_pylist() for name in ("salt", "manifest", "row", "rows", "group"))
    leaves = [
        hashlib.sha256(
            b"".join((
                _DOMAIN,
                salt,
                manifest.to_bytes(8, "little"),
                row.to_bytes(4, "little"),
                rows.to_bytes(4, "little"),
                group.encode(),
            ))
        ).digest()
        for salt, manifest, row, rows, group in zip(*columns, strict=True)
    ]  # fmt: skip
    return root_of_subtrees(subtree_roots(leaf_hashes_of(leaves)))


def _runs(rows: Rows) -> tuple[Rows, Rows]:
    """Return the first row of each run of rows that follow each other, and its length."""
    bounds = _bounds(np.diff(rows) != 1, len(rows))
    return rows[bounds[:-1]], np.diff(bounds)


def _rows(firsts: Rows, lengths: Rows) -> Rows:
    """Return the rows of runs, one after the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(firsts - before, lengths) + np.arange(lengths.sum())


def _bounds(changes: npt.NDArray[np.bool_], count: int) -> Rows:
    """Return where parts of a sequence begin, and its end, from where an item differs from the one before."""
    return np.concatenate([[0], np.flatnonzero(changes) + 1, [count]]) if count else np.zeros(1, np.int64)


def _joined(numbers: Sequence[Rows]) -> pa.Array:
    return pa.array(np.concatenate([np.zeros(0, np.int64), *numbers]).astype(np.uint32), pa.uint32())


def _repeated(texts: Sequence[str], counts: Sequence[int]) -> pa.Array:
    return pa.array(texts, pa.string()).take(pa.array(np.repeat(np.arange(len(texts)), counts), pa.int64()))
