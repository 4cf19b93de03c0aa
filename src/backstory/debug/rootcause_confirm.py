"""Cause or correlate: some bad predictions are run again with the suspect swapped for what is right.

A suspect is called a cause only where at least half of them are then no longer bad, by the very predicate that said
they were. Only predictions that a run without the swap still finds bad count, so that running again repairs nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from backstory.columns.id_text import id_texts
from backstory.debug.case import Case, read_cases
from backstory.debug.enrichment import Selection
from backstory.debug.rootcause_asked import QUESTION, fulfilled
from backstory.debug.rootcause_columns import FactorColumn
from backstory.debug.rootcause_swap import ROW_LEVELS, Bench, Ran, Swap, swap_of
from backstory.errors import BackstoryError, VerificationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GOLDEN = (math.sqrt(5) - 1) / 2
CAUSE_FROM = 0.5
"""Part of the tried predictions that must no longer be bad."""

Verdict = Literal["cause", "correlate", "not tested"]
_VERDICTS = ("not tested", "correlate", "cause")


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """What a replay with a suspect swapped showed.

    Attributes:
        verdict: `cause`: at least half of the tried ones are no longer bad. `correlate`: fewer. `not tested`.
        fixed: How many are no longer bad.
        tried: How many were run, and are bad when they are run without the swap.
        what: What was swapped for what.
        reason: Why it was not tested.
        not_run: Predictions of the sample that do not count, by reason.
    """

    verdict: Verdict
    fixed: int = 0
    tried: int = 0
    what: str = ""
    reason: str = ""
    not_run: dict[str, int]

    def __str__(self) -> str:
        """Return it in a line."""
        if self.verdict == "not tested":
            return f"not tested: {self.reason}"
        name = "cause (counterfactual)" if self.verdict == "cause" else "correlate"
        rest = "; ".join(f"{count} did not count: {reason}" for reason, count in self.not_run.items())
        swapped = f"{self.fixed} of {self.tried} no longer bad, {self.what}"
        return f"{name}: {swapped}" + (f" ({rest})" if rest else "")


class Confirmer:
    """Runs samples of bad predictions again. What is the same for several suspects is run once."""

    def __init__(self, bench: Bench, columns: Sequence[FactorColumn], still_bad: str | None, sample: int) -> None:
        """Test suspects.

        Args:
            bench: What they are swapped with.
            columns: The factors.
            still_bad: The predicate that says of an output that it is bad.
            sample: How many predictions to run at most.
        """
        self._bench = bench
        self._columns = columns
        self._still_bad = still_bad
        self._sample = sample
        self._done: dict[tuple[Any, ...], Confirmation] = {}
        self._calls: tuple[Sequence[str], list[Case | tuple[str, BackstoryError]]] | None = None

    def confirm(
        self, selection: Selection, inside: NDArray[np.bool_], beside: Sequence[Selection] = ()
    ) -> Confirmation:
        """Test a selection: swap what it selects by, of a pair each by itself, and see what is no longer bad.

        Args:
            selection: The factors and values.
            inside: The predictions it selects.
            beside: What it stood out beside. Where both come through one reference whole rows are swapped of both, so
                that it is no cause if that mends something.

        Raises:
            VerificationError: Something that was read was changed.
        """
        if self._still_bad is None:
            return _not_tested("say what bad means of an output, with bad= or still_bad= as a predicate")
        bad = np.flatnonzero(inside & self._bench.population.bad)
        chosen = bad[_spread(len(bad), min(self._sample, len(bad)))]
        tests = [self._tested(index, inside, chosen) for index, _ in selection]
        best = max(tests, key=lambda one: (_VERDICTS.index(one.verdict), one.fixed))
        swapped = {self._rows_of(index) for one in beside for index, _ in one} - {None}
        if best.verdict == "cause" and any(self._rows_of(index) in swapped for index, _ in selection):
            return _not_tested("with its rows those of the finding are swapped, too")
        return best

    def _is_among(self, columns: frozenset[str], index: int) -> bool:
        """Say whether a factor is one of some columns of its rows, or none of them alone."""
        column = self._columns[index]
        return column.level != "attribute" or column.name.removeprefix(f"{column.reference}.") in columns

    def _rows_of(self, index: int) -> str | None:
        """Return the reference whose rows a swap of a factor replaces."""
        column = self._columns[index]
        return column.reference if column.level in ROW_LEVELS else None

    def _tested(self, index: int, inside: NDArray[np.bool_], chosen: NDArray[np.int64]) -> Confirmation:
        """Test one factor; of a pair it is enough that one of the two was needed."""
        try:
            swap = swap_of(self._bench, self._columns[index], inside)
            key = (swap.key, tuple(chosen.tolist()))
            if key not in self._done:
                self._done[key] = self._tried(swap, chosen)
        except VerificationError:
            raise
        except BackstoryError as error:
            return _not_tested(str(error).removeprefix(f"{QUESTION}: "))
        done = self._done[key]
        if done.verdict == "correlate" and swap.columns is not None and not self._is_among(swap.columns, index):
            return _not_tested(f"{swap.what}: of {self._columns[index].name} no other value was given")
        return done

    def _tried(self, swap: Swap, chosen: NDArray[np.int64]) -> Confirmation:
        population = self._bench.population
        texts = id_texts(population.records.column("id").take(pa.array(chosen))).to_pylist()
        place = dict(zip(texts, chosen.tolist(), strict=True))
        fixed = tried = 0
        not_run: Counter[str] = Counter()
        for case in self._calls_of(texts):
            if not isinstance(case, Case):
                not_run[str(case[1])] += 1
                continue
            try:
                first, second = swap.before(case), swap.after(case)
            except VerificationError:
                raise
            except BackstoryError as error:
                not_run[str(error)] += len(case.rows)
                continue
            was, now = (self._is_bad(case, run, place) for run in (first, second))
            for row, reasons in enumerate(zip(first.reasons, second.reasons, strict=True)):
                reason = next(
                    (one for one in reasons if one), "" if was[row] else "not bad when it is run again as it was"
                )
                if reason:
                    not_run[reason] += 1
                else:
                    tried += 1
                    fixed += int(not now[row])
        if not tried:
            reason, count = not_run.most_common(1)[0]
            return _not_tested(reason if count == len(chosen) else f"{reason} ({count} of {len(chosen)} predictions)")
        verdict: Verdict = "cause" if fixed >= CAUSE_FROM * tried else "correlate"
        return Confirmation(verdict=verdict, fixed=fixed, tried=tried, what=swap.what, not_run=dict(not_run))

    def _calls_of(self, ids: Sequence[str]) -> list[Case | tuple[str, BackstoryError]]:
        """Return the calls of predictions; those of the sample before are at hand, as several names may share it."""
        if self._calls is None or self._calls[0] != ids:
            self._calls = ids, list(read_cases(self._bench.shop, ids, QUESTION))
        return self._calls[1]

    def _is_bad(self, case: Case, run: Ran, place: dict[str, int]) -> NDArray[np.bool_]:
        columns: dict[str, Any] = {}
        if pa.types.is_struct(run.outputs.type):
            columns = {f"output.{f.name}": run.outputs.field(at) for at, f in enumerate(run.outputs.type)}
        else:
            columns["output"] = run.outputs
        decided = case.decide(run.outputs)
        if decided is not None:
            columns["decision"] = decided
        outcomes = self._bench.population.outcomes
        if outcomes is not None:
            columns["outcome"] = outcomes.take(pa.array([place[one] for one in case.ids]))
        return fulfilled(self._still_bad or "", pa.table(columns))


def _spread(count: int, chosen: int) -> NDArray[np.int64]:
    """Return places spread over all, each somewhere else in its piece: predictions may take turns at equal steps."""
    pieces = np.arange(chosen)
    return np.asarray((pieces + pieces * _GOLDEN % 1) * count / chosen, np.int64)


def _not_tested(reason: str) -> Confirmation:
    return Confirmation(verdict="not tested", reason=reason, not_run={})
