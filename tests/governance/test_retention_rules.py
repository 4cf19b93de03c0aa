"""What rules say together: floors, ceilings, obligations, calendar months."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstory.errors import FormatError
from backstory.governance.retention import PROFILES, read_profile
from backstory.governance.retention_rules import (
    CLOSURE,
    DECISION,
    NEVER,
    Item,
    Period,
    Rule,
    latest_overdue,
    parse_period,
    parse_rules,
    term_of,
)

YEAR_NS = 31_556_952 * 10**9
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "retention.json").read_text("utf-8"))

moments = st.integers(0, 200 * YEAR_NS)
periods = st.one_of(st.builds(Period, months=st.integers(1, 1200)), st.builds(Period, days=st.integers(1, 1200)))
rules = st.lists(
    st.builds(
        Rule,
        name=st.text("ab", min_size=1, max_size=3),
        kinds=st.just(frozenset({"*"})),
        part=st.just("payload"),
        source=st.just("a test"),
        trigger=st.sampled_from(["event", DECISION, CLOSURE]),
        adverse=st.sampled_from([None, True, False]),
        floor=st.none() | periods,
        ceiling=st.none() | periods,
        obligation=st.booleans(),
    ),
    max_size=5,
)
items = st.builds(
    Item,
    kind=st.just("prediction"),
    part=st.just("payload"),
    event=moments,
    adverse=st.booleans(),
    triggers=st.dictionaries(st.sampled_from([DECISION, CLOSURE]), moments),
)


def moment(text):
    """Return a time as nanoseconds since 1970."""
    return int(datetime.fromisoformat(text).timestamp()) * 10**9


@pytest.mark.parametrize("one", VECTORS["periods"], ids=lambda one: f"{one['from']} and {one['period']}")
def test_calendar_months(one):
    """Months are those of the calendar in UTC; in a month that is too short they end with it."""
    assert parse_period(one["period"], "a test").after(moment(one["from"])) == moment(one["until"])


@pytest.mark.parametrize("one", VECTORS["terms"], ids=lambda one: one["says"])
def test_terms(one):
    """What several rules say together is as written down."""
    found = parse_rules({"name": "test", "rules": one["rules"], "v": 1})
    triggers = {name: moment(time) for name, time in one.get("triggers", {}).items()}
    item = Item(kind="prediction", part="payload", event=moment(one["event"]), class_="D4", triggers=triggers)
    term = term_of(found, item)
    assert (term.keep_until, term.delete_by) == (moment(one["keep_until"]), moment(one["delete_by"]))


@given(moments, moments, periods)
def test_a_period_never_ends_earlier_for_what_begins_later(one, other, period):
    """So a list of overdue records by age has no holes."""
    assert period.after(min(one, other)) <= period.after(max(one, other))


@given(rules, items)
def test_keep_until_is_never_later_than_delete_by(found, item):
    """No rules contradict each other: what is to go may go."""
    term = term_of(found, item)
    assert term.keep_until <= term.delete_by
    assert term.binding_until <= term.keep_until


@given(rules, items)
def test_an_obligation_is_never_cut(found, item):
    """Nothing goes before the end of any floor that is a legal obligation."""
    term = term_of(found, item)
    for rule in found:
        if rule.obligation and rule.floor is not None and rule.covers(item):
            begin = item.triggers.get(rule.trigger) or item.event
            assert term.delete_by >= rule.floor.after(begin)


@given(rules, moments, st.booleans(), moments)
def test_the_latest_overdue_record_is_the_latest(found, now, adverse, event):
    """A record without events is overdue exactly if it is not later than that."""
    item = Item(kind="prediction", part="payload", event=min(event, now), adverse=adverse)
    assert (term_of(found, item).delete_by <= now) == (item.event <= latest_overdue(found, item, now))


def test_what_is_open_is_kept():
    """While a request is not answered no ceiling begins, and a floor has no end."""
    rule = Rule(
        name="r", kinds=frozenset({"request"}), part="payload", source="a test", trigger=CLOSURE,
        floor=Period(months=1), ceiling=Period(months=2),
    )  # fmt: skip
    item = Item(kind="request", part="payload", event=0, triggers={CLOSURE: None})
    assert (term_of([rule], item).keep_until, term_of([rule], item).delete_by) == (NEVER, NEVER)


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_can_be_adopted(profile):
    """Each that is shipped can be read, and each of its rules says where its figures are from."""
    found = parse_rules(read_profile(profile))
    assert all("ounsel must confirm" in rule.source for rule in found)
    assert all(rule.basis for rule in found if rule.obligation)


@pytest.mark.parametrize(
    "wrong",
    [
        {"ceiling": "0 months"},
        {"ceiling": "2 fortnights"},
        {"ceiling": "1201 years"},
        {"ceiling": "1 month", "part": "soul"},
        {"ceiling": "1 month", "trigger": "whim"},
        {"ceiling": "1 month", "part": "documents"},
        {"ceiling": "1 month", "part": "skeleton", "classes": ["D4"]},
        {"ceiling": "1 month", "classes": ["D9"]},
        {"floor": "1 month", "obligation": True},
        {"ceiling": "1 month", "colour": "red"},
        {},
    ],
    ids=str,
)
def test_a_wrong_rule_is_refused(wrong):
    """The message says which rule it is."""
    rule = {"kinds": ["prediction"], "name": "r", "part": "payload", "source": "a test", **wrong}
    with pytest.raises(FormatError, match="test/r"):
        parse_rules({"name": "test", "rules": [rule], "v": 1})
