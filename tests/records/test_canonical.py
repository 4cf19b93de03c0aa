"""Canonical JSON: one value, one sequence of bytes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstory.errors import FormatError
from backstory.records import canonical

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=9)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_parsing_inverts_encoding(value):
    """What was encoded is parsed to an equal value of the same types."""
    data = canonical.encode(value)
    assert json.dumps(canonical.parse(data), sort_keys=True) == json.dumps(value, sort_keys=True)


@given(VALUES)
def test_only_one_form_is_accepted(value):
    """Another way to write the same value is refused."""
    canonical_form = canonical.encode(value)
    for other in (
        json.dumps(value, indent=1).encode(),
        json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode(),
        canonical_form + b"\n",
        b" " + canonical_form,
    ):
        if other != canonical_form:
            with pytest.raises(FormatError):
                canonical.parse(other)


@given(VALUES, st.data())
def test_what_is_accepted_encodes_to_itself(value, data):
    """After any change of one byte, the bytes are refused or are the canonical form of what they say."""
    encoded = bytearray(canonical.encode(value))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        parsed = canonical.parse(bytes(encoded))
    except FormatError:
        return
    assert canonical.encode(parsed) == bytes(encoded)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"1.0", b"1e3", b"-0", b"01", b"NaN", b"Infinity", b"9007199254740992", b'{"a":1,"a":1}', b'{"b":1,"a":2}',
        b'"\\u0041"', b'"\\/"', b'"\\ud800"', b'"\xff"', b"[" * 40 + b"]" * 40, b"[" * 100_000, b"\xef\xbb\xbf1",
        b"9" * 5000,
    ],
)  # fmt: skip
def test_hostile_documents_are_refused(data):
    """Floats, large numbers, doubled or unordered members, needless escapes, bad text and deep nesting are refused."""
    with pytest.raises(FormatError):
        canonical.parse(data)


@pytest.mark.parametrize("value", [1.0, 2**53, b"x", "\ud800", {1: 2}, {"\ud800": 1}, float("nan"), {1, 2}])
def test_values_without_a_form_are_refused(value):
    """Floats, large integers, bytes, lone surrogates and other types cannot be encoded."""
    with pytest.raises(FormatError):
        canonical.encode(value)


def test_members_stand_in_order_of_utf16():
    """Names are ordered by UTF-16 code units, as RFC 8785 says, not by code points."""
    assert canonical.encode({"\ufb33": 1, "\U0001f600": 2}) == '{"\U0001f600":2,"\ufb33":1}'.encode()


@pytest.mark.parametrize("text", ["", "01", "-1", "+1", "1.0", "1_0", "٣", " 1", "9" * 21, "9" * 5000])
def test_counts_are_plain_decimal(text):
    """A count is decimal digits without sign, zeros in front or separators, of bounded length."""
    with pytest.raises(FormatError):
        canonical.count_of({"n": text}, "n")


@pytest.mark.parametrize("version", [True, 2, "1", None, 1.5])
def test_a_version_is_the_number_one(version):
    """JSON's true is not version 1."""
    with pytest.raises(FormatError):
        canonical.check_version({"v": version}, 1, "document")
