"""Who may, how long, who decided: the namespaces of the front door for governance.

What a namespace needs is imported when it is first used: opening an archive should not take longer for it.
"""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from backstory.archive.preparation import Preparation

if TYPE_CHECKING:
    from backstory.archive.access import Access
    from backstory.archive.decisions import Decisions
    from backstory.archive.keys import Keys
    from backstory.archive.privacy import Privacy
    from backstory.archive.reports import Reports
    from backstory.archive.retention import Retention
    from backstory.archive.rights import Rights
    from backstory.archive.sharing import Sharing
    from backstory.report.query import Query, QueryAnswer


class Governing(Preparation):
    """The namespaces for governance of an open archive; see `Archive`."""

    @cached_property
    def access(self) -> Access:
        """Who may see what: roles, policies, grants, and who saw whom."""
        from backstory.archive.access import Access

        return Access(self._inside)

    @cached_property
    def keys(self) -> Keys:
        """Changing the keys of the log and of sealed values."""
        from backstory.archive.keys import Keys

        return Keys(self._inside)

    @cached_property
    def privacy(self) -> Privacy:
        """Classes of columns, records of a person, erasure and rectification."""
        from backstory.archive.privacy import Privacy

        return Privacy(self._inside)

    @cached_property
    def retention(self) -> Retention:
        """How long records are kept: floors, ceilings, holds, disposal, freezes."""
        from backstory.archive.retention import Retention

        return Retention(self._inside)

    @cached_property
    def decisions(self) -> Decisions:
        """What people and programs decided with predictions, and who approved what."""
        from backstory.archive.decisions import Decisions

        return Decisions(self._inside, lambda: self._workshop)

    @cached_property
    def rights(self) -> Rights:
        """Notices that were given and requests that people made, with their clocks."""
        from backstory.archive.rights import Rights

        return Rights(self._inside)

    @cached_property
    def sharing(self) -> Sharing:
        """Figures that can be given away: differentially private, under a budget per audience."""
        from backstory.archive.sharing import Sharing

        return Sharing(self._inside)

    def query(self, query: str, **parameters: str | int | bool | datetime | None) -> QueryAnswer:
        """Answer a canonical query of auditors, `Q-01` to `Q-26`; docs/reference/queries.md lists them.

        Args:
            query: Its id.
            **parameters: What it takes, by name.

        Returns:
            The answer: `rows`, `table` (Arrow) or `frame()` (pandas); `status`: `answered`, or of a query that must be
            empty `holds` or `violated`, or `incomplete` or `not-applicable`; `examined`: how much was looked at, and
            `notes`: what is missing; `size` and `root` of the log.

        Raises:
            InputError: There is no such query.
            QueryError: A parameter is missing, unknown or malformed.
            ForbiddenError: What it reads may not be read.
        """
        from backstory.report.queries import query_of
        from backstory.report.query import Room, run_query

        asked = query_of(query)
        self._recorder.write()
        room = Room(
            ledger=self._ledger,
            gate=self._inside.gate,
            tracer=self._tracer,
            recorder=self._recorder,
            vkey=self._vkey,
            why=self.why,
            impact=self.impact,
            replay=self.replay,
            performance=self.drift.performance,
            reasons=self.explanations.reasons,
        )
        return run_query(room, asked, parameters)

    def queries(self) -> list[Query]:
        """Return the canonical queries: what each asks, takes and reads, what an answer shows and does not show."""
        from backstory.report.queries import QUERIES

        return list(QUERIES.values())

    @cached_property
    def reports(self) -> Reports:
        """Reports for persons, auditors and authorities, as signed bundles."""
        from backstory.archive.reports import Reports

        return Reports(self._inside, self._found, lambda: self._workshop, self._vkey)
