"""Parameters become JSON without floats, addresses or data."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstory.models import container
from backstory.models.json_value import json_safe
from backstory.records import canonical

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
NESTED = st.recursive(
    PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner), max_leaves=20
)


@given(NESTED)
def test_any_value_is_canonical(value):
    """Whatever a parameter is, its description can be written as canonical JSON."""
    canonical.encode(json_safe(value))


@given(NESTED.filter(lambda value: "\ud800" not in str(value)))
def test_containers_keep_values_exactly(value):
    """A container's header gives back the same value of the same type."""
    try:
        written = canonical.encode(container.to_json(value, "value"))
    except canonical.FormatError:  # nested deeper than canonical JSON goes, or not Unicode text
        return
    again = container.from_json(canonical.parse(written))
    assert again == value
    assert repr(again) == repr(value)


@pytest.mark.parametrize(
    "value",
    [object(), lambda: 0, np.random.RandomState(3), np.random.default_rng(3), iter([]), pd.DataFrame({"a": [1]}),
     {"f": object()}, [print], slice(1, None), np.array([object()], dtype=object)],
)  # fmt: skip
def test_no_address_is_written(value):
    """Objects are named by type, never by where they are in memory."""
    assert not re.search(rb"0x[0-9a-fA-F]", canonical.encode(json_safe(value)))


def test_arrays_and_tables_keep_their_content_private():
    """An array is its shape and digest; a table is its shape."""
    secret = np.arange(123450, 123460)
    assert b"123457" not in canonical.encode(json_safe({"weights": secret, "nested": [secret]}))
    assert json_safe(pd.DataFrame({"name": ["Ada"]})) == {"type": "pandas.DataFrame", "shape": [1, 1]}


def test_long_containers_are_digested():
    """A vocabulary is named by size and digest, not written out."""
    facts = json_safe({f"word{i}": i for i in range(1000)})
    assert facts["count"] == 1000
    assert "word7" not in facts


def test_generators_in_one_state_are_alike():
    """A generator is named by its state, so one seed is one description."""
    assert json_safe(np.random.RandomState(3)) == json_safe(np.random.RandomState(3))
    assert json_safe(np.random.RandomState(3)) != json_safe(np.random.RandomState(4))


def test_scalars():
    """Floats become their repr, integers stay while JSON can hold them, sets are ordered."""
    assert json_safe([0.1, float("nan"), np.float32(0.5), 2**60, {"b", "a"}]) == [
        "0.1", "nan", "0.5", str(2**60), ["a", "b"]]  # fmt: skip


def test_a_cycle_ends():
    """A container inside itself is described to a depth and then named."""
    loop: list[object] = []
    loop.append(loop)
    canonical.encode(json_safe(loop))
