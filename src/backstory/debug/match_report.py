"""What came of replaying many predictions: counts that add up, and the worst of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backstory.debug.case import Asked
from backstory.debug.replay import LEVELS, Replay, environment_section
from backstory.debug.runner import RanIn
from backstory.debug.verdict import Verdict
from backstory.ledger.ledger import Ledger
from backstory.lineage.answer import Answer
from backstory.lineage.page import Page, Section, rows_of
from backstory.lineage.plain import count_text, plain

if TYPE_CHECKING:
    from backstory.debug.replaying import Manner

VERDICTS: tuple[Verdict, ...] = ("exact", "equivalent", "same-decision", "diverged", "not-replayable")
_WORST_KEPT = 5
_SHOWN_MAX = 10
_DIGITS = 12
_NO_MODEL = "no registered model"
_NO_ENVIRONMENT = "not recorded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Worst:
    """One of the largest differences.

    Attributes:
        id: Id of the prediction.
        verdict: Its verdict.
        difference: By how much the output differs.
    """

    id: str
    verdict: Verdict
    difference: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchReport(Answer):
    """What came of replaying many predictions.

    Attributes:
        asked: Which predictions were asked about, in words.
        how: How they were drawn, in words.
        population: How many fit.
        sample: How many were drawn; the counts add up to it.
        level: 0 digests, 1 from the recorded features, 2 from the source rows.
        ran_in: `present` or `recorded`: the environment they ran in.
        counts: Predictions by verdict, each of the five.
        reasons: Those that are not replayable by reason.
        stages: Those that diverged by the first stage that did.
        models: By model version how many of each verdict.
        environments: The same by digest of the recorded environment.
        changes: By digest of the recorded environment what differs where they ran.
        worst: The largest differences, largest first.
        seconds: By stage how long it took; the model of a call runs once.
        calls: How many calls they are of.
        diverged: Ids of those that diverged.
    """

    asked: str
    how: str
    population: int
    sample: int
    level: int
    ran_in: RanIn
    counts: Mapping[Verdict, int]
    reasons: Mapping[str, int]
    stages: Mapping[str, int]
    models: Mapping[str, Mapping[Verdict, int]]
    environments: Mapping[str, Mapping[Verdict, int]]
    changes: Mapping[str, dict[str, tuple[str, str]]]
    worst: tuple[Worst, ...]
    seconds: Mapping[str, float]
    calls: int
    diverged: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """`diverged` where any did; `not-replayable` where none could be replayed; else the weakest there is."""
        weakest: Sequence[Verdict] = ("diverged", "same-decision", "equivalent", "exact")
        return next((verdict for verdict in weakest if self.counts[verdict]), "not-replayable")

    def to_dict(self) -> dict[str, Any]:
        """Return the report as values JSON has."""
        return {
            "asked": self.asked,
            "calls": self.calls,
            "changes": {
                digest: {name: list(pair) for name, pair in of_one.items()} for digest, of_one in self.changes.items()
            },
            "counts": dict(self.counts),
            "diverged": list(self.diverged),
            "environments": {digest: dict(counts) for digest, counts in self.environments.items()},
            "how": self.how,
            "level": self.level,
            "models": {model: dict(counts) for model, counts in self.models.items()},
            "population": self.population,
            "ran_in": self.ran_in,
            "reasons": dict(self.reasons),
            "sample": self.sample,
            "seconds": dict(self.seconds),
            "stages": dict(self.stages),
            "verdict": self.verdict,
            "worst": [
                {"difference": plain(one.difference), "id": one.id, "verdict": one.verdict} for one in self.worst
            ],
        }

    def __repr__(self) -> str:
        """Return the counts on one line."""
        return f"<MatchReport: {report_page(self).headline}>"

    def _page(self) -> Page:
        return report_page(self)


class Tally:
    """Adds up replays as they come; of most nothing is kept but counts."""

    def __init__(self, ledger: Ledger) -> None:
        """Start at nothing."""
        self._ledger = ledger
        self._counts: Counter[Verdict] = Counter()
        self._reasons: Counter[str] = Counter()
        self._stages: Counter[str] = Counter()
        self._models: dict[str, Counter[Verdict]] = {}
        self._environments: dict[str, Counter[Verdict]] = {}
        self._changes: dict[str, dict[str, tuple[str, str]]] = {}
        self._worst: list[Worst] = []
        self._seconds: dict[str, float] = {}
        self._calls = 0
        self._diverged: list[str] = []

    def add(self, call: Asked, replays: Sequence[Replay]) -> None:
        """Add the replays of a call."""
        context = self._ledger.document(call.context)
        model, environment = context.get("model"), context.get("environment")
        name = f"{model['name']}:{model['version']}" if isinstance(model, dict) else _NO_MODEL
        digest = environment if isinstance(environment, str) else _NO_ENVIRONMENT
        self._calls += 1
        longest = max((one.stages for one in replays), key=len, default=())  # a stage that is of the call is in each
        apart = [stage for one in replays if one.level == 0 for stage in one.stages]
        for stage in apart or longest:
            self._seconds[stage.name] = self._seconds.get(stage.name, 0.0) + stage.seconds
        for one in replays:
            self._counts[one.verdict] += 1
            self._models.setdefault(name, Counter())[one.verdict] += 1
            self._environments.setdefault(digest, Counter())[one.verdict] += 1
            if one.environment:
                self._changes[digest] = one.environment
            if one.verdict == "not-replayable":
                self._reasons[one.reason] += 1
            if one.verdict == "diverged":
                self._diverged.append(one.id)
                self._stages[one.first_diverging or "model"] += 1
            if one.difference:
                self._worst.append(Worst(id=one.id, verdict=one.verdict, difference=one.difference))
        self._worst = sorted(self._worst, key=lambda one: -one.difference)[:_WORST_KEPT]

    def report(self, *, period: str, how: str, population: int, manner: Manner) -> MatchReport:
        """Return what was added up."""
        return MatchReport(
            asked=period,
            how=how,
            population=population,
            sample=sum(self._counts.values()),
            level=manner.level,
            ran_in=manner.runner.ran_in,
            counts={verdict: self._counts[verdict] for verdict in VERDICTS},
            reasons=dict(self._reasons.most_common()),
            stages=dict(self._stages.most_common()),
            models={name: dict(counts) for name, counts in sorted(self._models.items())},
            environments={digest: dict(counts) for digest, counts in sorted(self._environments.items())},
            changes=self._changes,
            worst=tuple(self._worst),
            seconds=dict(self._seconds),
            calls=self._calls,
            diverged=tuple(self._diverged),
        )


def report_page(found: MatchReport) -> Page:
    """Return a report for a reader: the counts first, then reasons, models, environments and the worst."""
    counts = ", ".join(f"{found.counts[verdict]:,} {verdict}" for verdict in VERDICTS if found.counts[verdict])
    alarm = f"{count_text(len(found.diverged), 'prediction')} diverged: `backstory replay {{}}` says where"
    where = "the recorded environment, made again" if found.ran_in == "recorded" else "today's"
    return Page(
        headline=f"{count_text(found.sample, 'prediction')} replayed: {counts}",
        alarms=(alarm.format(found.diverged[0]),) if found.diverged else (),
        facts=(
            ("asked", found.asked),
            ("drawn", found.how),
            ("calls", f"{found.calls:,}"),
            ("level", f"{found.level}: {LEVELS[found.level]}"),
            *((("environment", where),) if found.level else ()),
        ),
        sections=tuple(_sections(found)),
    )


def _sections(found: MatchReport) -> list[Section]:
    def counted(title: str, column: str, counts: Mapping[str, int]) -> list[Section]:
        shown = list(counts.items())[:_SHOWN_MAX]
        left = sum(counts.values()) - sum(count for _, count in shown)
        rows = rows_of(
            (f"{count:,}", name) for name, count in [*shown, *([("others; JSON has them", left)] if left else [])]
        )
        return [Section(title=title, columns=("predictions", column), rows=rows)] if rows else []

    def by(title: str, groups: Mapping[str, Mapping[Verdict, int]]) -> list[Section]:
        rows = rows_of(
            (name, *(f"{counts.get(verdict, 0):,}" for verdict in VERDICTS)) for name, counts in groups.items()
        )
        return [Section(title=title, columns=("", *VERDICTS), rows=rows)] if rows else []

    sections = counted("Not replayable", "reason", found.reasons)
    sections += counted("Diverged", "first stage that did", found.stages)
    diverged = list(found.diverged[:_SHOWN_MAX])
    if len(diverged) < len(found.diverged):
        diverged.append(f"… {len(found.diverged):,} in all; JSON has them")
    if diverged:
        sections.append(Section(title="Ids that diverged", rows=rows_of((name,) for name in diverged)))
    worst = rows_of((one.id, one.verdict, f"{one.difference:.3g}") for one in found.worst)
    if worst:
        sections.append(Section(title="Largest differences", columns=("prediction", "verdict", "by"), rows=worst))
    sections += by("Model versions", found.models)
    sections += by("Recorded environments", {name[:_DIGITS]: counts for name, counts in found.environments.items()})
    sections += [environment_section(changes) for changes in found.changes.values()]
    seconds = rows_of((name, f"{seconds:.3f}") for name, seconds in found.seconds.items())
    return [*sections, Section(title="Seconds", columns=("stage", "all calls"), rows=seconds)]
