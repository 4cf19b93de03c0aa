"""The gate of rules: for code that compares what is sealed and shows nobody any of it, such as that two people acted.

Whoever uses it ends in a yes, a no, a count or an entry without these values; reads of that kind are not accesses.
"""

from __future__ import annotations

from collections.abc import Sequence

from backstory.records.access import ALL_CLEAR, About, Scope, View, Views


class RuleGate:
    """Lets a rule look; see `backstory.records.access.Gate`."""

    def allows(self, groups: Sequence[str] | None = None) -> bool:  # noqa: ARG002  as every gate is asked
        """Let it."""
        return True

    def lacking(self, groups: Sequence[str] | None = None) -> str:  # noqa: ARG002
        """Return nothing: it lets a rule look."""
        return ""

    def views(self, about: About | None = None) -> Views:  # noqa: ARG002
        """Return that everything is compared as it is."""
        return ALL_CLEAR

    def pass_through(self, question: str, groups: Sequence[str], records: int, scope: Scope | None = None) -> None:
        """Record nothing: nobody sees the values."""

    def show(self, question: str, groups: Sequence[str], records: int, scope: Scope, views: Views) -> None:
        """Record nothing: nobody sees the values."""

    def require_open(self, question: str, classes: Sequence[str] = ("D0", "D1", "D2")) -> None:
        """Let it."""

    @property
    def bound_subject(self) -> None:
        """Nobody: a rule looks at everybody's."""

    def within(self, about: About) -> RuleGate:  # noqa: ARG002
        """Return itself: it lets a rule look at any record."""
        return self

    def pseudonym(self, subject: str) -> str:
        """Refuse: a rule shows nothing.

        Raises:
            AssertionError: Always.
        """
        raise AssertionError(f"pseudonym of {len(subject)} characters: a rule shows nothing")

    def reason(self, class_: str, view: View) -> str:  # noqa: ARG002
        """Return none: a rule shows nothing."""
        return ""
