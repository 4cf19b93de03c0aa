"""Reports as signed bundles: the namespace `archive.reports`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from backstory.archive.inside import Inside
from backstory.capture.model_version import ModelVersion
from backstory.errors import InputError
from backstory.ledger.read import Found
from backstory.lineage.reasons import Adverse
from backstory.lineage.reconcile import moment_ns
from backstory.report.report import Layouts
from backstory.report.report_desk import Asked, Desk
from backstory.report.report_kinds import KINDS, kind_of
from backstory.report.report_make import Kind, ReportFile, make_report
from backstory.report.waiting import seal_what_waits

if TYPE_CHECKING:
    from backstory.debug.case import Workshop


class Reports:
    """Reports for persons, auditors and authorities; made by `Archive.reports`."""

    def __init__(
        self, inside: Inside, find: Callable[[str], Found], shop: Callable[[], Workshop], vkey: str | None
    ) -> None:
        """Work on an open archive."""
        self._inside, self._find, self._shop, self._vkey = inside, find, shop, vkey

    def kinds(self) -> list[Layouts]:
        """Return the kinds of reports, each with its title, whom it is for, what it supports and does not cover."""
        return [kind_of(name).layouts for name in KINDS]

    def make(
        self,
        kind: str,
        path: str | Path,
        *,
        prediction: str | UUID | None = None,
        decision: str | UUID | None = None,
        subject: str | None = None,
        model: ModelVersion | str | None = None,
        map: str | None = None,  # noqa: A002  the word users know
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        adverse: Adverse | None = None,
        change: str | Sequence[str] = (),
        target: bool | str | None = None,
        expected: int | None = None,
        states: Mapping[str, str] | None = None,
        workers: int | None = None,
    ) -> ReportFile:
        """Write a report: a page, a PDF and data in one bundle, with proofs and the programs that check it.

        What waits is sealed first. The log says that the report is given out before it has its name. Sealed values are
        opened where whoever opened the archive may see them; what is withheld is listed with its commitment.

        Args:
            kind: What `kinds` lists: `individual-explanation`, `subject-access`, `adverse-action`, `log-extract`,
                `model-history`, `incident`, `retention-evidence`, `access-log`, `integrity-certificate`.
            path: The file, by convention ending in `.zip`.
            prediction: Id of the prediction it is about, or a unique prefix.
            decision: Id of the decision it is about, or a unique prefix.
            subject: The person it is about.
            model: The model it is about, or a version of it as `Archive.model` takes it.
            map: The reason map, as `explanations.show` takes it.
            since: Begin of its period, RFC 3339 or with a time zone.
            until: End of it, exclusive.
            adverse: Which side of the score is the adverse one. [default: what its decision's domain says, else `high`]
            change: Features that may change, in a search for what would have changed the answer.
            target: The answer wanted in that search, as `explanations.counterfactual` takes it.
            expected: How many predictions somebody else counted, to compare with.
            states: What you add, by name; nothing proves it, and the report says so. `kinds` says which names.
            workers: Processes that hash where the whole archive is verified; None for one a core.

        Returns:
            The report: its `path`, `id`, `index` of the log's entry about it, `document`, `html`, `pdf`.

        Raises:
            ConflictError: There is something at `path`.
            ForbiddenError: The archive is open for reading only, or the policy in force does not permit it.
            InputError: There is no such kind; what is given is not what it is about; `path` is inside the archive; or
                the extra `report` is not installed.
            NotFoundError: There is no such prediction, decision, person or model.
            LimitError: It would be too large.
        """
        wanted = kind_of(kind)
        given = {
            "prediction": None if prediction is None else str(prediction),
            "decision": None if decision is None else str(decision),
            "subject": subject,
            "model": model.digest if isinstance(model, ModelVersion) else model,
            "map": map,
            "since": moment_ns(since, "report: expected since"),
            "until": moment_ns(until, "report: expected until"),
            "adverse": adverse,
            "change": ((change,) if isinstance(change, str) else tuple(change)) or None,
            "target": target,
            "expected": expected,
            "states": dict(states or {}) or None,
        }
        asked = Asked(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
        _check(wanted, asked)
        inside = self._inside
        inside.recorder.sync()
        if inside.ledger.writable:
            seal_what_waits(inside.ledger, inside.recorder.streams())
        desk = Desk(
            ledger=inside.ledger,
            tracer=inside.tracer,
            gate=inside.gate,
            find=self._find,
            shop=self._shop,
            vkey=self._vkey,
            workers=workers,
        )
        return make_report(desk, wanted, asked, _arguments(asked), Path(path))


def _check(kind: Kind, asked: Asked) -> None:
    """Insist that only what a report of the kind can be about was asked for."""
    empty = Asked()
    name = kind.layouts.kind
    given = {one.name for one in fields(Asked) if getattr(asked, one.name) != getattr(empty, one.name)} - {"states"}
    if not given <= kind.asks:
        takes, other = ", ".join(sorted(kind.asks)), ", ".join(sorted(given - kind.asks))
        raise InputError(f"report {name}: takes {takes}; got {other}")
    unknown = asked.states.keys() - kind.layouts.states.keys()
    if unknown:
        takes = ", ".join(kind.layouts.states) or "nothing"
        raise InputError(f"report {name}: states takes {takes}; got {', '.join(sorted(unknown))}")


def _arguments(asked: Asked) -> dict[str, str]:
    """Return what was asked for as the report has it, as texts; whom it is about is said in its scope."""
    empty = Asked()
    since, until = asked.period
    texts = {"since": since, "until": until, "change": ", ".join(asked.change) or None}
    found = {}
    for one in fields(Asked):
        value = getattr(asked, one.name)
        if one.name != "states" and value != getattr(empty, one.name):
            found[one.name] = str(texts.get(one.name) or value)
    return found
