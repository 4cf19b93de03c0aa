"""Sensitivity classes: what a column says about whom, and so under which commitment and which keys it is sealed.

The class of a sealed group follows from its name, so that a gate can decide without its schema. Classes:
docs/format.md section 35.
"""

from __future__ import annotations

from collections.abc import Iterable

CLASSES = ("D0", "D1", "D2", "D3", "D4", "D5", "D6", "D7")
"""From structural (D0), operational (D1), confidential (D2), pseudonymous (D3), identifying (D4), special or protected
(D5) and staff data (D6) to security matters (D7)."""

STRUCTURAL, OPERATIONAL, CONFIDENTIAL, PSEUDONYMOUS, IDENTIFYING, SPECIAL, STAFF, SECURITY = CLASSES

PERSONAL = (PSEUDONYMOUS, IDENTIFYING, SPECIAL, STAFF, SECURITY)
"""Classes that never stand in clear: their columns are in a sealed group."""

_GROUPS = {
    "features": IDENTIFYING,
    "outcome": PSEUDONYMOUS,
    "output": PSEUDONYMOUS,
    "positions": PSEUDONYMOUS,
    "source": IDENTIFYING,
    "steps": IDENTIFYING,
    "subject": PSEUDONYMOUS,
}
"""Groups whose name says no class."""

_DOMAINS = {CONFIDENTIAL: "confidential", SPECIAL: "special", STAFF: "staff", SECURITY: "security"}
PERSONAL_DOMAIN = "personal"
"""The domain of most that is about persons; its key files have no folder of their own."""
DOMAINS = tuple(sorted({*_DOMAINS.values(), PERSONAL_DOMAIN}))
"""Key domains: the keys of each are wrapped under a master key of its own."""


def group_name(base: str, class_: str) -> str:
    """Return the name of a sealed group whose columns are of a class.

    >>> group_name("features", "D4"), group_name("features", "D5")
    ('features', 'features.D5')
    """
    return base if _GROUPS.get(base) == class_ else f"{base}.{class_}"


def class_of_group(group: str) -> str:
    """Return the class of a sealed group's columns; of one that is not known that of identifying data.

    >>> class_of_group("output"), class_of_group("features.D5")
    ('D3', 'D5')
    """
    _, dot, suffix = group.rpartition(".")
    return suffix if dot and suffix in CLASSES else _GROUPS.get(group, IDENTIFYING)


def groups_by_domain(groups: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return sealed groups by the key domain they are under, both in byte order.

    >>> groups_by_domain(["features", "features.D5", "output"])
    {'personal': ('features', 'output'), 'special': ('features.D5',)}
    """
    found: dict[str, list[str]] = {}
    for group in sorted(groups, key=str.encode):
        found.setdefault(domain_of(class_of_group(group)), []).append(group)
    return {domain: tuple(found[domain]) for domain in sorted(found)}


def domain_of(class_: str) -> str:
    """Return the key domain of a class.

    >>> domain_of("D4"), domain_of("D5")
    ('personal', 'special')
    """
    return _DOMAINS.get(class_, PERSONAL_DOMAIN)
