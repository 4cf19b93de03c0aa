"""What do these bad predictions share upstream? Counted over their lineage, and confirmed by replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backstory.debug.case import Workshop
from backstory.debug.chart import write_chart
from backstory.debug.enrichment import Enriched, Searched, Selection, search, selected
from backstory.debug.factors import Factors, build_factors
from backstory.debug.recompute import Steps
from backstory.debug.rootcause_columns import LATER
from backstory.debug.rootcause_confirm import Confirmation, Confirmer
from backstory.debug.rootcause_records import Asked, Population, read_population
from backstory.debug.rootcause_statistics import Counts
from backstory.debug.rootcause_swap import Bench, Given
from backstory.errors import InputError
from backstory.lineage.answer import Answer
from backstory.lineage.page import Page
from backstory.lineage.plain import plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """One name for what is shared.

    Attributes:
        name: What it is, such as `weather.station = 'EWR'`.
        level: Of what sort: model, context, source, file, day, group, attribute, call, hour, row, flag or feature.
        confirmation: What a replay with it swapped showed; None where that was not asked for.
    """

    name: str
    level: str
    confirmation: Confirmation | None = None

    @property
    def verdict(self) -> str:
        """`cause`, `correlate` or `not tested`."""
        return "not tested" if self.confirmation is None else self.confirmation.verdict

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        one = self.confirmation
        tested: dict[str, Any] = {} if one is None else {
            "fixed": one.fixed, "not_run": one.not_run, "reason": one.reason, "swapped": one.what,
            "tried": one.tried, "verdict": one.verdict,
        }  # fmt: skip
        return {"level": self.level, "name": self.name, "replay": tested or None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A value that stood out beside a finding, and no longer does without the predictions of it.

    Attributes:
        suspect: What it is.
        counts: Bad and all predictions inside and outside, when the finding was made.
    """

    suspect: Suspect
    counts: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something bad predictions share more than others.

    Attributes:
        suspects: What it is, by several names where the data cannot tell them apart, the coarsest first.
        order: 1 for one factor, 2 for a pair.
        counts: Bad and all predictions inside and outside, of those that the findings before leave.
        risk_ratio: How many times more frequent bad ones are inside.
        low: Lower bound of the 95% confidence interval of that.
        high: Its upper bound.
        p: Probability of as much by chance in any of the tests that were made.
        g: The G statistic, by which findings are ranked.
        rivals: What stood out beside it and is explained by it.
    """

    suspects: tuple[Suspect, ...]
    order: int
    counts: Counts
    risk_ratio: float
    low: float
    high: float
    p: float
    g: float
    rivals: tuple[Rival, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All names of it."""
        return tuple(one.name for one in self.suspects)

    @property
    def leading(self) -> Suspect:
        """The name that a replay shows to be the cause, if it shows one; else the coarsest.

        Where some names say where the predictions come from, those of features and flags do not count: another value of
        a feature that a model heeds mends much, whatever broke it.
        """
        return next((one for one in self._upstream if one.verdict == "cause"), self.suspects[0])

    @property
    def level(self) -> str:
        """Of what sort its leading name is."""
        return self.leading.level

    @property
    def verdict(self) -> str:
        """`cause` where a replay shows its leading name to be one, `correlate` where none, `not tested`."""
        verdicts = {one.verdict for one in self._upstream}
        return next((one for one in ("cause", "correlate") if one in verdicts), "not tested")

    @property
    def _upstream(self) -> Sequence[Suspect]:
        return [one for one in self.suspects if not LATER.issuperset(one.level.split(" and "))] or self.suspects

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        return {
            "counts": _counts(self.counts),
            "g": self.g,
            "leading": self.leading.name,
            "level": self.level,
            "names": list(self.names),
            "order": self.order,
            "p": self.p,
            "risk_ratio": [self.low, self.risk_ratio, self.high],
            "rivals": [{"counts": _counts(one.counts), **one.suspect.to_dict()} for one in self.rivals],
            "suspects": [one.to_dict() for one in self.suspects],
            "verdict": self.verdict,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RootCause(Answer):
    """What bad predictions share upstream.

    Attributes:
        findings: What was found, first what explains most; each is of what those before it leave.
        bad: How many predictions are bad.
        count: How many were looked at, the bad ones among them.
        unexplained: How many bad ones are in no finding.
        compared_with: Who the others are.
        looked_at: Names of the factors that were looked at.
        left_out: Factors that were not, by reason.
        not_counted: Predictions that were not looked at, by reason.
        tests: How many values and pairs could have been found; each counts as a test.
        support: How many predictions a value had to select, and how many bad ones a pair.
    """

    findings: tuple[Finding, ...]
    bad: int
    count: int
    unexplained: int
    compared_with: str
    looked_at: tuple[str, ...]
    left_out: dict[str, list[str]]
    not_counted: dict[str, int]
    tests: tuple[int, int]
    support: int

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as values JSON has."""
        answer = {
            "bad": self.bad,
            "compared_with": self.compared_with,
            "count": self.count,
            "findings": [one.to_dict() for one in self.findings],
            "left_out": self.left_out,
            "looked_at": list(self.looked_at),
            "not_counted": self.not_counted,
            "support": self.support,
            "tests": {"pairs": self.tests[1], "values": self.tests[0]},
            "unexplained": self.unexplained,
        }
        return plain(answer)  # type: ignore[no-any-return]

    def plot(self, path: str | Path) -> None:
        """Write the findings as a picture: which part of the predictions each selects is bad.

        Args:
            path: Where, an SVG file.

        Raises:
            InputError: Its name has another ending.
            StorageError: It cannot be written.
        """
        from backstory.debug.rootcause_page import rootcause_chart

        write_chart(path, "rootcause", rootcause_chart(self))

    def __repr__(self) -> str:
        """Return the answer on one line."""
        from backstory.debug.rootcause_page import rootcause_page

        return f"<RootCause: {rootcause_page(self).headline}>"

    def _page(self) -> Page:
        from backstory.debug.rootcause_page import rootcause_page

        return rootcause_page(self)


def find_root_cause(
    shop: Workshop,
    asked: Asked,
    *,
    features: bool,
    support: int,
    confirm: bool,
    steps: Steps,
    reference: Mapping[str, Given] | None,
    still_bad: str | None,
    sample: int,
) -> RootCause:
    """Find what bad predictions share; see `Archive.rootcause`."""
    if support < 1 or sample < 1:
        raise InputError(f"rootcause: expected a support and a sample of at least 1, got {support} and {sample}")
    population = read_population(shop, asked)
    factors = build_factors(shop, population.records, support=support, features=features)
    searched = search([column.factor() for column in factors.columns], population.bad, support=support)
    bench = Bench(shop=shop, population=population, steps=steps, reference=reference or {}, estimators={})
    predicate = still_bad or population.predicate
    confirmer = Confirmer(bench, factors.columns, predicate, sample) if confirm else None
    return RootCause(
        findings=_findings(factors, searched, population, confirmer),
        bad=int(population.bad.sum()),
        count=len(population.bad),
        unexplained=searched.unexplained,
        compared_with=population.what,
        looked_at=tuple(column.name for column in factors.columns),
        left_out=factors.left_out,
        not_counted=population.left_out,
        tests=(searched.single_tests, searched.pair_tests),
        support=support,
    )


def _findings(
    factors: Factors, searched: Searched, population: Population, confirmer: Confirmer | None
) -> tuple[Finding, ...]:
    as_factors = [column.factor() for column in factors.columns]
    left = np.ones(len(population.bad), bool)
    found = []
    for one in searched.findings:
        inside = selected(as_factors, one.selection) & left
        names = (one.selection, *one.same)
        suspects = [_suspect(factors, name, confirmer, inside) for name in names]
        rivals = tuple(
            Rival(
                suspect=_suspect(
                    factors, rival.selection, confirmer, selected(as_factors, rival.selection) & left, names
                ),
                counts=rival.counts,
            )
            for rival in one.rivals
        )
        found.append(_finding(one, suspects, rivals))
        left &= ~inside
    return tuple(found)


def _finding(one: Enriched, suspects: Sequence[Suspect], rivals: tuple[Rival, ...]) -> Finding:
    return Finding(
        suspects=tuple(suspects),
        order=len(one.selection),
        counts=one.counts,
        risk_ratio=one.risk_ratio,
        low=one.low,
        high=one.high,
        p=one.p,
        g=one.g,
        rivals=rivals,
    )


def _suspect(
    factors: Factors,
    selection: Selection,
    confirmer: Confirmer | None,
    inside: np.ndarray[Any, np.dtype[np.bool_]],
    beside: Sequence[Selection] = (),
) -> Suspect:
    columns = [(factors.columns[index], value) for index, value in selection]
    levels = dict.fromkeys(column.level for column, _ in columns)
    return Suspect(
        name=" and ".join(f"{column.name} = {column.label(value)}" for column, value in columns),
        level=" and ".join(levels),
        confirmation=None if confirmer is None else confirmer.confirm(selection, inside, beside),
    )


def _counts(counts: Counts) -> dict[str, int]:
    return {
        "all_inside": counts.all_inside,
        "all_outside": counts.all_outside,
        "bad_inside": counts.bad_inside,
        "bad_outside": counts.bad_outside,
    }
