"""The history of a model: its versions, each with parents, runs, evaluations, aliases, approvals, deployments."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from backstory.ledger.ledger import Ledger
from backstory.lineage.answer import Answer
from backstory.lineage.deployments import Approval, Interval, find_approvals, find_deployments
from backstory.lineage.impact_page import DIGITS_SHOWN
from backstory.lineage.justification import Justification, find_justifications
from backstory.lineage.page import Page, Row, Section
from backstory.lineage.plain import count_text, to_second
from backstory.lineage.registry import Registered, find_version, versions_of
from backstory.lineage.runs import RecordedRun, find_runs, runs_of
from backstory.records import canonical
from backstory.records.canonical import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionHistory:
    """What became of one model version.

    Attributes:
        model: The version, as `name:version`.
        digest: Its digest.
        registered: When it was registered, RFC 3339.
        parents: Versions it was made from, as `name:version`.
        aliases: Aliases that ever pointed to it, each with since when.
        made_by: Runs that made it.
        used_by: Runs that used it, such as evaluations.
        approvals: Verdicts on it.
        deployments: What deployments served while they served it.
        justifications: Why it was chosen.
    """

    model: str
    digest: str
    registered: str
    parents: tuple[str, ...]
    aliases: dict[str, str]
    made_by: tuple[RecordedRun, ...]
    used_by: tuple[RecordedRun, ...]
    approvals: tuple[Approval, ...]
    deployments: tuple[Interval, ...]
    justifications: tuple[Justification, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        return {
            "aliases": dict(self.aliases),
            "approvals": [asdict(one) for one in self.approvals],
            "deployments": [asdict(one) for one in self.deployments],
            "digest": self.digest,
            "justifications": [asdict(one) for one in self.justifications],
            "made_by": [run.to_dict() for run in self.made_by],
            "model": self.model,
            "parents": list(self.parents),
            "registered": self.registered,
            "used_by": [run.to_dict() for run in self.used_by],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class History(Answer):
    """The versions of a model, oldest first."""

    name: str
    versions: tuple[VersionHistory, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        return {"name": self.name, "versions": [one.to_dict() for one in self.versions]}

    def _page(self) -> Page:
        return history_page(self)


def model_history(ledger: Ledger, model: str) -> History:
    """Return the history of a model, or of one version of it.

    Args:
        ledger: The archive.
        model: A name, or what `find_version` takes.

    Raises:
        NotFoundError: There is no such model.
    """
    versions = versions_of(ledger, model) or [find_version(ledger, model)]
    name = versions[0].name
    entries = {canonical.text_of(entry, "model"): entry for entry in ledger.find_entries("model.registered", name)}
    served, runs = find_deployments(ledger), find_runs(ledger)
    return History(
        name=name,
        versions=tuple(
            _version_history(ledger, version, entries[version.digest], served, runs) for version in versions
        ),
    )


def _version_history(
    ledger: Ledger, version: Registered, entry: JsonObject, served: list[Interval], runs: list[RecordedRun]
) -> VersionHistory:
    made_by, used_by = runs_of(ledger, version, runs)
    parents = entry.get("parents")
    return VersionHistory(
        model=f"{version.name}:{version.version}",
        digest=version.digest,
        registered=canonical.text_of(entry, "time"),
        parents=tuple(_named(ledger, str(digest)) for digest in parents) if isinstance(parents, list) else (),
        aliases={
            canonical.text_of(alias, "alias"): canonical.text_of(alias, "time")
            for alias in ledger.find_entries("model.aliased", version.name)
            if alias.get("model") == version.digest
        },
        made_by=tuple(made_by),
        used_by=tuple(used_by),
        approvals=tuple(find_approvals(ledger, version)),
        deployments=tuple(one for one in served if any(share.digest == version.digest for share in one.shares)),
        justifications=tuple(find_justifications(ledger, version.name, version.digest)),
    )


def _named(ledger: Ledger, digest: str) -> str:
    version = find_version(ledger, digest)
    return f"{version.name}:{version.version}"


def history_page(history: History) -> Page:
    """Return a history for a reader: a section for each version, what happened to it in order."""
    return Page(
        headline=f"{history.name} has {count_text(len(history.versions), 'version')}",
        sections=tuple(_section(one) for one in history.versions),
    )


def _section(one: VersionHistory) -> Section:
    happened = [(one.registered, "registered", f"from {', '.join(one.parents)}" if one.parents else "")]
    happened += [(time, "aliased", alias) for alias, time in one.aliases.items()]
    happened += [(run.ended, "made by", _run_text(run)) for run in one.made_by]
    happened += [(run.ended, "used by", _run_text(run)) for run in one.used_by]
    happened += [(why.time, "justified", why.text) for why in one.justifications]
    happened += [
        (verdict.time, verdict.verdict, " ".join(filter(None, (_for(verdict), _as(verdict), verdict.reason))))
        for verdict in one.approvals
    ]
    for interval in one.deployments:
        share = next(share.share for share in interval.shares if share.digest == one.digest)
        happened.append((interval.since, "deployed", f"{interval.deployment}, share {share}"))
        if interval.until is not None:
            happened.append((interval.until, "changed", interval.deployment))
    rows = tuple(
        Row(cells=(to_second(time), what, detail), loud=what in {"rejected", "withdrawn"})
        for time, what, detail in sorted(happened, key=lambda event: event[0])
    )
    return Section(title=one.model, columns=("when", "what", ""), rows=rows)


def _run_text(run: RecordedRun) -> str:
    metrics = ", ".join(f"{name} {value:g}" for name, value in run.metrics.items())
    ended = f"failed with {run.error}" if run.error else metrics
    return f"{run.name} {run.digest[:DIGITS_SHOWN]}{f': {ended}' if ended else ''}"


def _for(verdict: Approval) -> str:
    return f"for {verdict.deployment}" if verdict.deployment else ""


def _as(verdict: Approval) -> str:
    return f"by the {verdict.role}:" if verdict.role else ""


def runs_page(runs: list[RecordedRun]) -> Page:
    """Return runs for a reader, a line each."""
    rows = tuple(
        Row(
            cells=(
                to_second(run.ended),
                run.name,
                ", ".join(f"{count:,} {role}" for role, count in run.rows.items()),
                ", ".join([*(f"made {model}" for model in run.makes), *(f"used {model}" for model in run.uses)]),
                f"failed: {run.error}" if run.error else ", ".join(f"{n} {v:g}" for n, v in run.metrics.items()),
                run.digest[:DIGITS_SHOWN],
            ),
            loud=run.error is not None,
        )
        for run in runs
    )
    columns = ("ended", "run", "rows", "models", "metrics", "digest")
    sections = (Section(title="Runs", columns=columns, rows=rows),) if rows else ()
    return Page(headline=count_text(len(rows), "run"), sections=sections)


def deployments_page(intervals: list[Interval]) -> Page:
    """Return what deployments served for a reader, a line each."""
    rows = tuple(
        Row(
            cells=(
                one.deployment,
                to_second(one.since),
                "now" if one.until is None else to_second(one.until),
                ", ".join(f"{share.model} {share.share}" for share in one.shares) or "nothing",
                one.reason or "",
            )
        )
        for one in intervals
    )
    columns = ("deployment", "since", "until", "versions and shares", "reason")
    sections = (Section(title="Deployments", columns=columns, rows=rows),) if rows else ()
    serving = len({one.deployment for one in intervals if one.until is None and one.shares})
    return Page(headline=f"{count_text(serving, 'deployment')} serving now", sections=sections)
