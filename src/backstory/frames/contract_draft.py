"""A contract while it is read."""

from __future__ import annotations

from dataclasses import dataclass, field

from backstory.frames.contract import Allowed, Rule, Severity, Test


@dataclass(slots=True, kw_only=True)
class Draft:
    """What was read so far.

    Attributes:
        rules: Rules.
        unchecked: What is said and not checked.
        valued: Columns of which values are named.
    """

    rules: list[Rule] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    valued: set[str] = field(default_factory=set)

    def add(self, id_: str, test: Test, severity: Severity, column: str | None, allowed: Allowed | None = None) -> None:
        """Add a rule; one with an id that is taken gets a number."""
        taken, free, number = {rule.id for rule in self.rules}, id_, 1
        while free in taken:
            number += 1
            free = f"{id_}#{number}"
        self.rules.append(Rule(id=free, test=test, severity=severity, column=column, allowed=allowed))
