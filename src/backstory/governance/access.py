"""The gate of this version: sealed values need an actor and a purpose, and every read becomes an entry."""

from __future__ import annotations

from collections.abc import Sequence

from backstory.errors import ForbiddenError
from backstory.ledger.ledger import Ledger


class PurposeGate:
    """Lets sealed values be read when somebody said who and why, and the log can record it."""

    def __init__(self, ledger: Ledger, purpose: str | None) -> None:
        """Guard an archive opened with a purpose, or without one."""
        self._ledger = ledger
        self._purpose = purpose

    @property
    def purpose(self) -> str | None:
        """What sealed values are read for, where somebody said it."""
        return self._purpose

    def allows(self) -> bool:
        """Say whether sealed values may be read."""
        return self._ledger.writable and self._purpose is not None and self._ledger.actor is not None

    def pass_through(self, question: str, groups: Sequence[str], records: int) -> None:
        """Record the read in the log; see `backstory.records.access.Gate`.

        Raises:
            ForbiddenError: No actor, no purpose, or an archive that cannot record the read.
        """
        if not self.allows():
            msg = (
                f"{question}: sealed values ({', '.join(groups)}) need an actor and a purpose and an archive open "
                "for writing, so that the read is recorded"
            )
            raise ForbiddenError(msg)
        self._ledger.append(
            [
                {
                    "groups": list(groups),
                    "purpose": self._ledger.commit_text("purpose", self._purpose or ""),
                    "question": question,
                    "records": str(records),
                    "type": "sealed.opened",
                }
            ]
        )
