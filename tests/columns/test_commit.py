"""Commitments, salts and trees of many rows are those of one row at a time."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.ledgers import OPEN, SEALED, make_body

from backstory.columns.commit import commitments
from backstory.columns.encode import iter_blocks
from backstory.columns.salt import salts
from backstory.columns.seal import commit_groups, pick_columns, sealed_columns, with_commitments
from backstory.columns.tree import (
    leaf_hashes,
    leaf_hashes_of,
    root_of_subtrees,
    split_hashes,
    subtree_roots,
)
from backstory.errors import FormatError, VerificationError
from backstory.records.commitment import commit, verify_opening
from backstory.records.row import encode_row
from backstory.records.schema import Schema
from backstory.tlog.hashing import hash_leaf, root_hash

KEY = bytes(range(32))
GROUP = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(GROUP, st.lists(st.none() | st.floats() | st.just(float("nan")), min_size=1, max_size=40))
def test_bulk_commitments_are_the_scalar_ones(group, values):
    """Committing to many rows at once is committing to each."""
    table = pa.table({"x": pa.array(values, pa.float64(), from_pandas=False)})
    own = salts(KEY, 0, len(values), 1)[:, 0]
    expected = [commit(group, own[i].tobytes(), encode_row([("x", "float64", v)])) for i, v in enumerate(values)]
    assert split_hashes(commitments(table, group, own)) == expected


def test_bulk_commitments_cross_block_borders():
    """Rows 8,191 and 8,192 are in two blocks and keep their own salts."""
    table = pa.table({"x": pa.array(range(8200), pa.int64())})
    own = salts(KEY, 0, 8200, 2)[:, 1]
    bulk = split_hashes(commitments(table, "g", own))
    for i in (0, 8191, 8192, 8199):
        assert bulk[i] == commit("g", own[i].tobytes(), encode_row([("x", "int64", i)]))


@pytest.mark.parametrize("change", ["group", "salt", "row"])
def test_nothing_else_opens_a_commitment(change):
    """Another group, salt or row does not open a commitment."""
    parts = {"group": "g", "salt": bytes(32), "row": b"row"}
    commitment = commit(**parts)
    verify_opening(commitment, **parts)
    other = {"group": "h", "salt": bytes(31) + b"\x01", "row": b"rov"}[change]
    with pytest.raises(VerificationError):
        verify_opening(commitment, **{**parts, change: other})


@pytest.mark.parametrize(("group", "salt"), [("", bytes(32)), ("x" * 256, bytes(32)), ("g", bytes(31)), ("g", b"")])
def test_malformed_openings_are_refused(group, salt):
    """A group's name has 1 to 255 bytes, a salt 32."""
    with pytest.raises(FormatError):
        commit(group, salt, b"")


@given(st.integers(0, 1100))
def test_roots_over_subtrees_are_rfc_6962(count):
    """The root of the subtree roots is the root of the leaves, for every size."""
    leaves = [hash_leaf(i.to_bytes(2, "big")) for i in range(count)]
    assert root_of_subtrees(subtree_roots(b"".join(leaves))) == root_hash(leaves)


def test_leaves_of_tables_are_those_of_their_rows():
    """A table's leaf hashes are the leaf hashes of its encoded rows."""
    table = make_body(OPEN, 0, 300)
    rows = [row for block in iter_blocks(table) for row in block.rows()]
    assert leaf_hashes(table) == leaf_hashes_of(rows) == b"".join(hash_leaf(row) for row in rows)


def test_no_sealed_value_is_left_in_the_leaf_table():
    """Of a sealed group the leaf table has the commitment alone, and it opens with the parted values and salts."""
    schema = Schema(
        kind=SEALED.kind, columns=tuple(c for c in SEALED.columns if c.group is not None or c.name == "seq")
    )
    table = make_body(SEALED, 0, 20).append_column("seq", pa.array(range(20), pa.uint64()))
    leaf, sealed = (
        with_commitments(schema, table, commit_groups(schema, table, {"personal": KEY})),
        sealed_columns(schema, table)["personal"],
    )
    assert leaf.column_names == ["seq", "commitment"]
    assert [f.name for f in leaf.schema.field("commitment").type] == list(schema.groups)
    for position, group in enumerate(schema.groups):
        columns = pick_columns(sealed, [c.name for c in schema.group_columns(group)])
        row = next(next(iter_blocks(columns.slice(7, 1))).rows())
        salt = salts(KEY, 7, 1, len(schema.groups))[0, position].tobytes()
        verify_opening(leaf["commitment"][7].as_py()[group], group, salt, row)
