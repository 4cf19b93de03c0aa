"""The gate sealed values are read through. Readers are handed one; without one the answer is deny."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Gate(Protocol):
    """Decides whether sealed values may be read, and records that they were."""

    def allows(self) -> bool:
        """Say whether sealed values may be read at all, without reading any."""

    def pass_through(self, question: str, groups: Sequence[str], records: int) -> None:
        """Record a read of sealed values before it happens.

        Args:
            question: What is being asked: `why`, `impact`, `receipt`, …
            groups: Sealed groups to be read.
            records: Of how many records.

        Raises:
            ForbiddenError: It is not allowed, or cannot be recorded; nothing may be read.
        """
