"""How long things are kept: rules with floors and ceilings, and what follows from several of them. Pure.

A rule is evaluated when somebody asks, not stamped on a record when it is made: which rules apply is often known only
later, as with an adverse decision. Bytes: docs/format.md section 41.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase

from backstory.errors import FormatError
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.sensitivity import CLASSES

SKELETON, PAYLOAD, DOCUMENTS = "skeleton", "payload", "documents"
PARTS = (SKELETON, PAYLOAD, DOCUMENTS)
"""What of a record ends at a time of its own: its row, its sealed values; and the documents of models."""

EVENT, DECISION, NOTICE, CLOSURE = "event", "decision", "notice", "closure"
TRIGGERS = (EVENT, DECISION, NOTICE, CLOSURE)
"""From when a rule counts."""

NEVER = 1 << 63
"""A time in nanoseconds that no clock reaches."""

_PERIOD = re.compile(r"([1-9][0-9]{0,3}) (day|month|year)s?")
_COUNT_MAX = 1200
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_MONTHS_OF = {"month": 1, "year": 12}
_SECOND_NS = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND, _DAY = timedelta(seconds=1), timedelta(days=1)
_MEMBERS = {
    "adverse", "basis", "ceiling", "classes", "floor", "kinds", "models", "name", "obligation", "part", "source",
    "trigger",
}  # fmt: skip
_RULES_MAX = 256


@dataclass(frozen=True, slots=True)
class Period:
    """A span of time: calendar months in UTC, and days of 24 hours."""

    months: int = 0
    days: int = 0

    def __str__(self) -> str:
        """Return the span as rules write it."""
        count, unit = (self.months, "month") if self.months else (self.days, "day")
        return f"{count} {unit}{'' if count == 1 else 's'}"

    def after(self, moment_ns: int) -> int:
        """Return the moment that lies so far behind another.

        Args:
            moment_ns: Nanoseconds since 1970, UTC.

        Returns:
            Nanoseconds since 1970; `NEVER` where no calendar reaches it. Where the month does not have the day it is
            the end of the month, so that what begins later never ends earlier.

        >>> Period(months=1).after(30 * 24 * 3600 * 10**9) // (24 * 3600 * 10**9)  # from 31 January 1970
        59
        """
        seconds, rest = divmod(moment_ns, _SECOND_NS)
        try:
            begin = _EPOCH + timedelta(seconds=seconds, days=self.days)
            month = begin.year * 12 + begin.month - 1 + self.months
            year, month = month // 12, month % 12 + 1
            last = monthrange(year, month)[1]
            if begin.day > last:
                end, rest = datetime(year, month, last, tzinfo=UTC) + _DAY, 0
            else:
                end = begin.replace(year=year, month=month)
        except (OverflowError, ValueError):
            return NEVER
        return min((end - _EPOCH) // _SECOND * _SECOND_NS + rest, NEVER)


def parse_period(text: str, what: str) -> Period:
    """Read a span of time such as `25 months`.

    Raises:
        FormatError: It is none.

    >>> parse_period("2 years", "floor")
    Period(months=24, days=0)
    """
    match = _PERIOD.fullmatch(text)
    if match is None or int(match[1]) > _COUNT_MAX:
        raise FormatError(
            f"{what}: expected 1 to {_COUNT_MAX} days, months or years, such as '25 months', got {text!r}"
        )
    count, unit = int(match[1]), match[2]
    return Period(days=count) if unit == "day" else Period(months=count * _MONTHS_OF[unit])


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How long one part of some records is kept.

    Attributes:
        name: Its name, with its set's before a slash.
        kinds: Kinds of records; `*` for all.
        part: `skeleton`, `payload` or `documents`.
        source: Citation of where it is from.
        trigger: From when it counts.
        classes: Classes of payload; empty for all.
        models: Patterns of names of models.
        adverse: Whether the records were decided on adversely; None for either.
        floor: How long they are kept at least.
        ceiling: After how long they are to be deleted.
        obligation: Whether the floor is a legal obligation, which no ceiling cuts.
        basis: The legal ground of an obligation.
    """

    name: str
    kinds: frozenset[str]
    part: str
    source: str
    trigger: str = EVENT
    classes: frozenset[str] = frozenset()
    models: tuple[str, ...] = ("*",)
    adverse: bool | None = None
    floor: Period | None = None
    ceiling: Period | None = None
    obligation: bool = False
    basis: str | None = None

    def covers(self, item: Item) -> bool:
        """Say whether the rule is about an item."""
        return (
            self.part == item.part
            and ("*" in self.kinds or item.kind in self.kinds)
            and (not self.classes or item.class_ in self.classes)
            and (self.adverse is None or self.adverse == item.adverse)
            and any(fnmatchcase(item.model, pattern) for pattern in self.models)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A part of a record, as far as rules look at it.

    Attributes:
        kind: Kind of the record.
        part: Which part of it.
        event: The record's time, nanoseconds since 1970.
        class_: Class of the payload; empty for other parts.
        model: Name of the model; empty where there is none.
        adverse: Whether what was decided with it was adverse.
        triggers: Times of what happened since, by trigger; `closure` is there for what can be closed, None while it
            is open.
    """

    kind: str
    part: str
    event: int
    class_: str = ""
    model: str = ""
    adverse: bool = False
    triggers: Mapping[str, int | None] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Its class in words of the tables: kind, part, class of payload."""
        return "/".join(part for part in (self.kind, self.part, self.class_) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """What rules say of an item.

    Attributes:
        keep_until: Until when it must stay, nanoseconds since 1970; 0 where nothing says so.
        delete_by: When it is to go; `NEVER` where no ceiling is.
        floor: The rule that keeps it longest.
        ceiling: The rule whose ceiling counts.
        binding_until: Until when a legal obligation keeps it; 0 without one.
        binding: The rule with that obligation.
    """

    keep_until: int = 0
    delete_by: int = NEVER
    floor: Rule | None = None
    ceiling: Rule | None = None
    binding_until: int = 0
    binding: Rule | None = None


def term_of(rules: Iterable[Rule], item: Item) -> Term:
    """Say until when an item is kept and when it is to go.

    Never is `keep_until` later than `delete_by`: a floor that is no legal obligation gives way to a ceiling, and a
    ceiling to an obligation. Source: docs/format.md section 41.
    """
    ceilings: list[tuple[int, Rule]] = []
    binding: list[tuple[int, Rule]] = []
    wishes: list[tuple[int, Rule]] = []
    for rule in rules:
        if not rule.covers(item):
            continue
        begin = _begin_of(rule.trigger, item)
        if rule.ceiling is not None and begin is not None:
            ceilings.append((rule.ceiling.after(begin), rule))
        if rule.floor is not None:
            end = NEVER if begin is None else rule.floor.after(begin)
            (binding if rule.obligation else wishes).append((end, rule))
    first = min(ceilings, key=_moment, default=(NEVER, None))
    bound = max(binding, key=_moment, default=(0, None))
    delete_by = max(first[0], bound[0])
    kept = max([bound, *((min(end, delete_by), rule) for end, rule in wishes)], key=_moment)
    return Term(
        keep_until=kept[0],
        delete_by=delete_by,
        floor=kept[1],
        ceiling=first[1],
        binding_until=bound[0],
        binding=bound[1],
    )


def latest_overdue(rules: Sequence[Rule], item: Item, now: int) -> int:
    """Return the latest time of a record for which it is to be gone by now, as an item that differs only in its time.

    Terms never come earlier for a later record, so there is one such time.

    Args:
        rules: The rules.
        item: The item, of any time and without triggers.
        now: Nanoseconds since 1970.

    Returns:
        Nanoseconds since 1970; -1 where no record is old enough.
    """
    low, high = -1, now
    while low < high:
        middle = (low + high + 1) // 2
        asked = Item(kind=item.kind, part=item.part, event=middle, class_=item.class_, model=item.model,
                     adverse=item.adverse)  # fmt: skip
        if term_of(rules, asked).delete_by <= now:
            low = middle
        else:
            high = middle - 1
    return low


def parse_rules(document: JsonObject) -> tuple[Rule, ...]:
    """Read a set of rules.

    Raises:
        FormatError: It is none; the message names the rule and what is wrong with it.
    """
    what = "retention rules"
    canonical.check_version(document, 1, what)
    unknown = set(document) - {"models", "name", "rules", "v"}
    if unknown:
        raise FormatError(f"{what}: expected models, name, rules and v, got {', '.join(sorted(unknown))} too")
    name = _name(document, what)
    given = document.get("rules")
    if not isinstance(given, list) or len(given) > _RULES_MAX:
        raise FormatError(f"{what} {name}: expected a list of at most {_RULES_MAX} rules")
    models = _texts(document, "models", f"{what} {name}") or ("*",)
    rules = tuple(_parse_rule(name, rule, models) for rule in given)
    if len({rule.name for rule in rules}) != len(rules):
        raise FormatError(f"{what} {name}: expected a name of its own for each rule")
    return rules


def _parse_rule(set_name: str, given: JsonValue, models: tuple[str, ...]) -> Rule:
    if not isinstance(given, dict):
        raise FormatError(f"retention rules {set_name}: expected a rule as a table")
    name = f"{set_name}/{_name(given, 'retention rule')}"
    what = f"retention rule {name}"
    if unknown := set(given) - _MEMBERS:
        raise FormatError(f"{what}: there is no {', '.join(sorted(unknown))}")
    part, trigger = canonical.text_of(given, "part"), str(given.get("trigger", EVENT))
    if part not in PARTS or trigger not in TRIGGERS:
        raise FormatError(f"{what}: expected a part of {', '.join(PARTS)} and a trigger of {', '.join(TRIGGERS)}")
    kinds, classes = _texts(given, "kinds", what), _texts(given, "classes", what)
    if not kinds or not set(classes) <= set(CLASSES) or (classes and part != PAYLOAD):
        raise FormatError(f"{what}: expected kinds, and classes of D0 to D7 where its part is payload only")
    floor, ceiling = (
        parse_period(canonical.text_of(given, member), f"{what}, {member}") if member in given else None
        for member in ("floor", "ceiling")
    )
    obligation, basis, adverse = given.get("obligation", False), given.get("basis"), given.get("adverse")
    if not isinstance(obligation, bool) or not isinstance(adverse, bool | None) or not isinstance(basis, str | None):
        raise FormatError(f"{what}: expected obligation and adverse as true or false, and basis as a text")
    if obligation and (not basis or floor is None):
        raise FormatError(f"{what}: an obligation needs a floor and its legal basis by name")
    if (floor is None and ceiling is None) or (part == DOCUMENTS and ceiling is not None):
        raise FormatError(f"{what}: expected a floor or a ceiling, and no ceiling for documents")
    own = _texts(given, "models", what)
    return Rule(
        name=name,
        kinds=frozenset(kinds),
        part=part,
        source=canonical.text_of(given, "source"),
        trigger=trigger,
        classes=frozenset(classes),
        models=own or models,
        adverse=adverse,
        floor=floor,
        ceiling=ceiling,
        obligation=obligation,
        basis=basis,
    )


def _begin_of(trigger: str, item: Item) -> int | None:
    """Return from when a rule counts for an item; None while that has not come."""
    if trigger == CLOSURE and CLOSURE in item.triggers:
        return item.triggers[CLOSURE]
    at = item.triggers.get(trigger)
    return item.event if at is None else at


def _moment(found: tuple[int, Rule | None]) -> int:
    return found[0]


def _name(document: JsonObject, what: str) -> str:
    name = canonical.text_of(document, "name")
    if not _NAME.fullmatch(name):
        raise FormatError(f"{what}: a name has 1 to 64 letters, digits, '-', '_' or '.', and begins with a letter")
    return name


def _texts(document: JsonObject, member: str, what: str) -> tuple[str, ...]:
    value = document.get(member, [])
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise FormatError(f"{what}: expected {member} as a list of texts")
    return tuple(str(text) for text in value)
