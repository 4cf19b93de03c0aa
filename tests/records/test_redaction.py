"""What is left of a value that may not be seen as it is."""

from datetime import UTC, date, datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from backstory.records.redaction import HIDDEN, Seen, masked, pseudonym_of, shown_as

VALUES = st.one_of(
    st.text(), st.binary(), st.integers(), st.floats(), st.booleans(), st.none(), st.dates(), st.datetimes(),
    st.decimals(allow_nan=True), st.lists(st.integers()),
)  # fmt: skip


@given(VALUES)
def test_masked_is_a_text_that_many_values_share(value):
    """A range, a year or nothing: never the value itself."""
    said = masked(value)
    assert isinstance(said, str)
    assert said in {HIDDEN, "-10…10"} or "…" in said or said.lstrip("-")[1:2] == "e" or said.isdigit()
    if isinstance(value, str):
        assert said == HIDDEN


@given(st.integers(10, 10**14), st.booleans())
def test_a_masked_number_is_in_its_range_with_a_tenth_of_its_size(number, negative):
    """One digit is kept, so that at least nine values of ten are gone."""
    number = -number if negative else number
    low, high = map(int, masked(number).split("…"))
    assert low <= number <= high
    assert high - low == 10 ** (len(str(abs(number))) - 1)
    assert masked(float(number)) == masked(number) == masked(Decimal(number))


def test_dates_keep_their_year():
    """Of a moment, too."""
    assert masked(date(2026, 5, 1)) == masked(datetime(2026, 12, 31, tzinfo=UTC)) == "2026"


@given(st.text(min_size=1), st.text(min_size=1), st.text())
def test_a_pseudonym_is_one_person_s_within_one_purpose(one, other, purpose):
    """The same for the same person, another for another person, purpose or key."""
    here = pseudonym_of(bytes(32), purpose, one)
    assert here == pseudonym_of(bytes(32), purpose, one)
    assert (here == pseudonym_of(bytes(32), purpose, other)) is (one == other)
    assert here != pseudonym_of(bytes(32), f"{purpose}.", one)
    assert here != pseudonym_of(b"1" * 32, purpose, one)
    assert len(here) == 32


def test_under_pseudonyms_only_the_person_is_replaced():
    """Other values of the class are what they are; what is aggregate or own is not shown at all."""
    assert shown_as(7, Seen(class_="D3", view="pseudonymised"), str.upper) == 7
    assert shown_as("ann", Seen(class_="D3", view="pseudonymised", is_subject=True), str.upper) == "ANN"
    assert shown_as(None, Seen(class_="D3", view="pseudonymised", is_subject=True), str.upper) is None
    for view in ("aggregate", "own", "just-in-time", "none"):
        assert shown_as("ann", Seen(class_="D3", view=view), str.upper) is None
