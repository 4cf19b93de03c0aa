"""Schemas: parsed strictly, named by their digest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.ledgers import OPEN, SEALED

from backstory.errors import FormatError
from backstory.records import canonical
from backstory.records.envelope import outcome_schema
from backstory.records.schema import Column, Schema, check_type, escape_name, parse_schema, split_name

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=5)


@pytest.mark.parametrize("schema", [OPEN, SEALED, outcome_schema("float64", sealed=True)])
def test_parsing_inverts_encoding(schema):
    """A schema read back is the same schema under the same digest."""
    again = parse_schema(schema.encoded)
    assert (again, again.digest, again.leaf_names) == (schema, schema.digest, schema.leaf_names)


def test_every_changed_byte_changes_the_digest_or_is_refused():
    """A changed schema is refused, or is another schema whose bytes are the changed ones."""
    data = OPEN.encoded
    for at in range(0, len(data), 3):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        try:
            schema = parse_schema(changed)
        except FormatError:
            continue
        assert schema.encoded == changed


@given(st.lists(TEXT, min_size=1, max_size=4))
def test_names_split_as_they_were_joined(parts):
    """Escaped parts joined by dots split into the same parts."""
    assert split_name(".".join(escape_name(part) for part in parts)) == parts


@pytest.mark.parametrize(
    "type_",
    ["int128", "Int64", "", "int64 ", "timestamp[]", "timestamp[a]b", "decimal(1)", "decimal(1,2,3)", None, 1, [], {},
     {"list": "int64", "x": 1}, {"struct": [{"name": "a", "type": "int64"}]}, {"list": {"struct": []}},
     {"list": {"struct": [{"name": "a"}]}}, {"list": {"struct": [{"name": 1, "type": "int64"}]}},
     {"list": {"struct": [{"name": "a", "type": "int64"}, {"name": "a", "type": "int64"}]}}],
)  # fmt: skip
def test_unknown_types_are_refused(type_):
    """What docs/format.md does not list is no logical type."""
    with pytest.raises(FormatError):
        check_type(type_)


def test_deep_types_are_refused():
    """Types nested deeper than the limit are refused."""
    type_ = "int64"
    for _ in range(40):
        type_ = {"list": type_}
    with pytest.raises(FormatError):
        check_type(type_)


@pytest.mark.parametrize(
    "change",
    [{"v": 2}, {"v": True}, {"kind": 1}, {"columns": {}}, {"more": 1}, {"columns": [{}]}, {"columns": ["x"]}],
)
def test_malformed_schemas_are_refused(change):
    """A schema has exactly its members, each of its type."""
    with pytest.raises(FormatError):
        parse_schema(canonical.encode({**canonical.parse_object(OPEN.encoded, "schema"), **change}))


@pytest.mark.parametrize(
    "columns",
    [
        [Column(name="a", type="int64", sensitivity="D1"), Column(name="a", type="int64", sensitivity="D1")],
        [Column(name="a", type="int64", sensitivity="D9")],
        [Column(name="a", type="int64", sensitivity="D3", group="g"),
         Column(name="commitment.g", type="bytes", sensitivity="D0")],
    ],
    ids=["doubled name", "unknown class", "name of a commitment"],
)  # fmt: skip
def test_contradictory_columns_are_refused(columns):
    """A name twice, a class that does not exist, or a column in the place of a commitment are refused."""
    with pytest.raises(FormatError):
        Schema(kind="prediction", columns=tuple(columns))
