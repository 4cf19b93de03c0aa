"""Halving finds the change, in as few trials as promised, whatever cannot be tried."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstory.debug.bisection import Configuration, Dimension, Outcome, Trial, Trials, find_flip
from backstory.errors import QueryError


def _dimension(values: int, name: str = "model") -> Dimension:
    return Dimension(name=name, values=tuple(f"{name}:{value}" for value in range(values)))


def _trials(rule: Callable[[Configuration], Outcome]) -> Trials:
    return Trials(lambda at: (rule(at), ""))


@given(values=st.integers(2, 200), data=st.data())
def test_one_change_is_found_in_as_many_trials_as_its_number_has_bits(values, data):
    """Beside the two ends."""
    flip = data.draw(st.integers(1, values - 1))
    trials = _trials(lambda at: "bad" if at[0] >= flip else "good")
    ((culprit,),) = find_flip([_dimension(values)], trials).causes
    assert (culprit.last_good, culprit.first_bad) == (flip - 1, flip)
    assert trials.count <= 2 + (values - 1).bit_length()


@pytest.mark.parametrize("flip", range(1, 64))
def test_64_versions_take_at_most_seven_replays(flip):
    """Of the bad end nothing is replayed: it is what was recorded."""
    known = [Trial(at=(63,), outcome="bad", note="recorded")]
    trials = Trials(lambda at: ("bad" if at[0] >= flip else "good", ""), known)
    find_flip([_dimension(64)], trials)
    assert trials.count <= 7


@given(values=st.integers(2, 64), data=st.data())
def test_what_cannot_be_tried_is_left_between_the_two_ends(values, data):
    """The change lies after the last good and not after the first bad, and all between could not be tried."""
    flip = data.draw(st.integers(1, values - 1))
    skipped = data.draw(st.sets(st.integers(1, max(1, values - 2))))
    skipped -= {0, values - 1}

    def rule(at: Configuration) -> Outcome:
        return "skip" if at[0] in skipped else "bad" if at[0] >= flip else "good"

    ((culprit,),) = find_flip([_dimension(values)], _trials(rule)).causes
    assert culprit.last_good < flip <= culprit.first_bad
    assert set(range(culprit.last_good + 1, culprit.first_bad)) <= skipped
    assert culprit.is_exact == (culprit.first_bad - culprit.last_good == 1)


@given(count=st.integers(2, 5), data=st.data())
def test_the_smallest_set_of_changes_is_found(count, data):
    """Of all that are needed together none is missing, and none is named that is not."""
    needed = data.draw(st.sets(st.integers(0, count - 1), min_size=2))
    flips = {at: data.draw(st.integers(1, 3)) for at in needed}
    dimensions = [_dimension(4, f"d{at}") for at in range(count)]
    trials = _trials(lambda at: "bad" if all(at[one] >= flips[one] for one in needed) else "good")
    (cause,) = find_flip(dimensions, trials).causes
    assert {culprit.dimension: culprit.first_bad for culprit in cause} == flips
    assert all(culprit.is_exact for culprit in cause)


@given(count=st.integers(2, 4), data=st.data())
def test_changes_that_turn_it_by_themselves_are_each_named(count, data):
    """Two causes are two causes, not one set."""
    flips = {at: data.draw(st.integers(1, 3)) for at in data.draw(st.sets(st.integers(0, count - 1), min_size=1))}
    trials = _trials(lambda at: "bad" if any(at[one] >= flip for one, flip in flips.items()) else "good")
    found = find_flip([_dimension(4, f"d{at}") for at in range(count)], trials)
    assert {cause[0].dimension: cause[0].first_bad for cause in found.causes} == flips
    assert all(len(cause) == 1 for cause in found.causes)


def test_dimensions_that_cannot_be_swapped_are_named():
    """What was not tried is not cleared."""

    def rule(at: Configuration) -> Outcome:
        return "skip" if at == (0, 1) else "bad" if at[0] else "good"

    assert find_flip([_dimension(2, "a"), _dimension(2, "b")], _trials(rule)).untested == (1,)


@pytest.mark.parametrize(
    ("outcome", "said"), sorted(set(itertools.product(["good", "bad", "skip"], repeat=2)) - {("good", "bad")})
)
def test_ends_that_are_not_what_they_are_said_to_be_are_refused(outcome, said):
    """Nothing can be looked for between two good ends, or two bad ones."""
    with pytest.raises(QueryError, match="end to be"):
        find_flip([_dimension(2)], _trials(lambda at: said if at[0] else outcome))


def test_what_was_tried_before_is_not_tried_again():
    """So a search that was stopped goes on."""
    first = _trials(lambda at: "bad" if at[0] >= 5 else "good")
    find_flip([_dimension(16)], first)
    again = Trials(lambda _: pytest.fail("tried again"), list(first.done.values()))
    assert find_flip([_dimension(16)], again).causes[0][0].first_bad == 5
