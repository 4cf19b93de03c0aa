"""The index beside a shard: whom its records are about and what they lead to, as keyed tokens in blocks."""

from __future__ import annotations

import hmac

import numpy as np
import pyarrow as pa
import pytest

from backstory.columns.people import PeopleIndex, block_of, index_tokens, indexed_columns, leads_to, parse_people
from backstory.errors import FormatError
from backstory.records.access_record import ACCESS
from backstory.records.decision import DECISION
from backstory.records.notice import NOTICE

KEY = bytes(range(32))
NAME = "0f-0-3000.people"
ROWS = 3_000
LINKS = [bytes([row % 251, row // 251]) * 8 for row in range(ROWS)]


@pytest.fixture(scope="module")
def table():
    """Return records about 700 persons, some about nobody, that lead to one thing or to two."""
    subjects = [None if row % 7 == 0 else f"person {row % 700}" for row in range(ROWS)]
    lists = [None if row == 5 else [LINKS[row], LINKS[(row + 1) % ROWS]] for row in range(ROWS)]
    one = [LINKS[row] if row % 100 == 0 else None for row in range(ROWS)]
    return pa.table(
        {
            "subject": pa.array(subjects, pa.large_string()),
            "predictions": pa.array(lists, pa.large_list(pa.large_binary())),
            "reverses": pa.array(one, pa.large_binary()),
        }
    )


@pytest.fixture(scope="module")
def index(table):
    """Return their index."""
    return PeopleIndex.of(KEY, NAME, table)


def test_links_are_indexed_where_records_are_about_persons():
    """The ids in the group with the subject are links; records about nobody have no index."""
    assert indexed_columns(DECISION.schema) == ("subject", "predictions", "reverses")
    assert indexed_columns(NOTICE.schema) == ("subject", "decision", "request")
    assert indexed_columns(ACCESS.schema) == ()


def test_a_token_is_an_hmac_of_index_column_and_id():
    """So a token says nothing of the same id in another index, or in another column."""
    (token,) = index_tokens(KEY, NAME, "predictions", [b"\x01" * 16])
    message = b"backstory/index/v1\0" + NAME.encode() + b"\0predictions\0" + b"\x01" * 16
    assert token.tobytes() == hmac.digest(KEY, message, "sha256")[:16]


def test_one_block_is_enough_for_whoever_looks_for_one_id(table, index):
    """Each id is found with its rows in the block that its first bits name, and in no other."""
    blocks = index.blocks()
    assert len(blocks) == 8
    wanted = {"subject": ["person 8", "person 699"], "predictions": [LINKS[5], LINKS[6], LINKS[2_999]]}
    for column, ids in wanted.items():
        for one in ids:
            (token,) = index_tokens(KEY, NAME, column, [one if isinstance(one, bytes) else one.encode()])
            block = parse_people([blocks[block_of(token, len(blocks))]], "index")
            expected = np.flatnonzero(leads_to(table, {column: [one]}))
            assert len(expected)
            assert block.rows_of(token).tolist() == expected.tolist()


def test_blocks_together_are_the_index(index):
    """What is written is what is read; a block that is cut short is none."""
    blocks = index.blocks()
    assert parse_people(blocks, "index").blocks() == blocks
    with pytest.raises(FormatError):
        parse_people([*blocks[:-1], blocks[-1][:-1]], "index")


def test_rows_leave_with_all_they_lead_to(table, index):
    """Without a row nothing of it is left: the index is that of the others."""
    gone = list(range(0, ROWS, 3))
    blank = pa.array([row % 3 == 0 for row in range(ROWS)])
    left = pa.table(
        {name: pa.compute.if_else(blank, pa.scalar(None, table[name].type), table[name]) for name in table.column_names}
    )
    assert index.without(gone).blocks() == PeopleIndex.of(KEY, NAME, left).blocks()
