"""Running a preparation again: its steps get the rows wanted, under ids that last as long as they run.

Nothing is stored, no step is recorded, and what a step fixes as a source are the recorded rows.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backstory.debug.case import Workshop
from backstory.debug.row_match import Made, read_made
from backstory.debug.source_rows import Correction, Fed, Feed, Wanted, feed_of, rows_behind
from backstory.debug.step_code import Code, Step, Steps, steps_of
from backstory.errors import BackstoryError, InputError, PreparationError
from backstory.frames.library import Library
from backstory.frames.table import column_names
from backstory.frames.token import ROW_PREFIX
from backstory.lineage.reference import Reference
from backstory.lineage.rerun import feeding
from backstory.lineage.source import Sources
from backstory.lineage.step import frames_of, is_frame

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRerun:
    """A step that was run again.

    Attributes:
        name: Its name.
        code: Whether its text is the one that was recorded for these rows: `as recorded`, `changed`, `not recorded`.
        rows_in: Number of rows it was given of each source.
        seconds: How long it took.
    """

    name: str
    code: Code
    rows_in: Mapping[str, int]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rerun:
    """A preparation that was run again.

    Attributes:
        made: What it returned.
        steps: Its steps.
        corrected: How many source rows were given corrected values.
        seconds: How long fetching the rows took.
    """

    made: tuple[Made, ...]
    steps: tuple[StepRerun, ...]
    corrected: int
    seconds: float


def run_again(
    shop: Workshop,
    references: Mapping[str, Reference],
    positions: Mapping[str, NDArray[np.signedinteger[Any]]],
    steps: Steps,
    corrections: Sequence[Correction],
    *,
    rows: Fed,
    library: Library,
) -> Rerun:
    """Run a preparation again on source rows; see `recompute`."""
    clock = shop.ledger.world.monotonic_ns
    began = clock()
    named = steps_of(shop, steps, _datasets(shop, references.values()))
    for step in named:
        if step.problem:
            raise PreparationError(f"recompute: {step.problem}")
    behind = rows_behind(shop, references, positions)
    if any(wanted.is_of_several for wanted in behind[""].values()):
        behind = rows_behind(shop, references, positions, frozenset(step.name for step in named))
    kitchen = _Kitchen(shop, behind, rows, corrections, library)
    try:
        for owner in behind:
            kitchen.feeds(owner)
        fetched = (clock() - began) / 1e9
        result: Any = None
        done: list[StepRerun] = []
        results: dict[str, Any] = {}
        for step in named:
            result, rerun = _run(kitchen, step, results, result, clock)
            results[step.name] = result
            done.append(rerun)
        made = tuple(read_made(shop.sources, list(_frames_in(result)), kitchen.salts))
    finally:
        kitchen.close()
    if not made:
        raise PreparationError(f"recompute: what step {named[-1].name} returned has no ids of the rows it was given")
    return Rerun(made=made, steps=tuple(done), corrected=kitchen.corrected, seconds=fetched)


def _datasets(shop: Workshop, references: Iterable[Reference]) -> set[str]:
    """Return the dataset versions some references lead to, through groups too."""
    found, waiting = set(), list(references)
    while waiting:
        one = waiting.pop()
        found |= {part.dataset for part in one.parts}
        if one.group is not None:
            waiting += shop.tracer.edges(one.group).refs.values()
    return found


class _Kitchen:
    """The rows that steps are given, under ids of this session for as long as they run."""

    def __init__(
        self,
        shop: Workshop,
        behind: Mapping[str, Mapping[str, Wanted]],
        fed: Fed,
        corrections: Sequence[Correction],
        library: Library,
    ) -> None:
        self.library = library
        self._sources: Sources = shop.sources
        self._shop, self._behind, self._fed, self._corrections = shop, behind, fed, corrections
        self._feeds: dict[str, dict[str, Feed]] = {}

    def feeds(self, owner: str) -> dict[str, Feed]:
        """Return the rows for the step that makes a group, or for any other step."""
        owner = owner if owner in self._behind else ""
        if owner not in self._feeds:
            wanted = self._behind[owner].items()
            self._feeds[owner] = {
                name: feed_of(self._shop, name, rows, self._fed, self._corrections) for name, rows in wanted
            }
            for name, feed in self._feeds[owner].items():
                self._shop.store.restore(self._sources, name)
                self._sources.add(name, feed.snapshots)
        return self._feeds[owner]

    @property
    def salts(self) -> frozenset[int]:
        """The salts of all ids that were given out."""
        return frozenset(
            one.salt for feeds in self._feeds.values() for feed in feeds.values() for one in feed.snapshots
        )

    @property
    def corrected(self) -> int:
        """How many rows were corrected."""
        return sum(feed.corrected for feeds in self._feeds.values() for feed in feeds.values())

    def close(self) -> None:
        """Forget the ids, and what steps noted of them."""
        self._shop.store.steps.take([feed.snapshots for feeds in self._feeds.values() for feed in feeds.values()])
        self._sources.forget(set(self.salts))


def _run(
    kitchen: _Kitchen, step: Step, results: Mapping[str, Any], before: object, clock: Callable[[], int]
) -> tuple[Any, StepRerun]:
    """Run one step and return what it returned."""
    feeds = kitchen.feeds(step.name)
    by_position, by_name = _arguments(kitchen, step, feeds, results, before)
    given = {name: lambda kind, feed=feed: feed.frame(kind or kitchen.library) for name, feed in feeds.items()}
    began = clock()
    try:
        with feeding(given):
            result = step.function(*by_position, **by_name)
    except BackstoryError:
        raise
    except Exception as error:  # a step may raise anything, with values of rows in its words
        raise PreparationError(
            f"recompute: step {step.name} raises {type(error).__name__} when it is run again"
        ) from error
    seconds = (clock() - began) / 1e9
    return result, StepRerun(
        name=step.name,
        code=step.code,
        rows_in={name: feed.rows.num_rows for name, feed in feeds.items()},
        seconds=seconds,
    )


def _arguments(
    kitchen: _Kitchen, step: Step, feeds: Mapping[str, Feed], results: Mapping[str, Any], before: object
) -> tuple[list[Any], dict[str, Any]]:
    """Return what a step is given, by position and by name; what `functools.partial` gives it already is not in it."""
    bound = step.function.keywords if isinstance(step.function, functools.partial) else {}
    by_position, by_name = [], {}
    for name, parameter in inspect.signature(step.function).parameters.items():
        if name in bound or parameter.kind in {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
            continue
        source = step.takes.get(name, name)
        if source in results:
            value = results[source]
        elif source in feeds and not (source != name and _has_ids(before, source)):
            value = feeds[source].frame(_library_of(parameter) or kitchen.library)
        elif parameter.default is not inspect.Parameter.empty:
            continue
        elif results:
            value = before
        else:
            raise InputError(
                f"recompute: parameter {name!r} of step {step.name} is none of the sources these rows came from: "
                f"expected {', '.join(sorted(feeds)) or 'none'}"
            )
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            by_position.append(value)
        else:
            by_name[name] = value
    return by_position, by_name


def _has_ids(result: object, source: str) -> bool:
    """Say whether what a step returned has the rows of a source, so that they are not to be begun with again."""
    frames = (frame for frame in _frames_in(result) if is_frame(frame))
    return any(ROW_PREFIX + source in column_names(frame) for frame in frames)


def _library_of(parameter: inspect.Parameter) -> Library | None:
    """Return the library whose frames a parameter is annotated to take; None where it does not say."""
    said = parameter.annotation
    if said is inspect.Parameter.empty:
        return None
    text = said if isinstance(said, str) else f"{getattr(said, '__module__', '')}.{getattr(said, '__qualname__', said)}"
    libraries: dict[str, Library] = {
        "LazyFrame": "polars-lazy",
        "polars": "polars",
        "pl.": "polars",
        "pyarrow": "arrow",
        "pa.": "arrow",
        "DuckDB": "duckdb",
        "pandas": "pandas",
        "pd.": "pandas",
    }
    return next((library for mark, library in libraries.items() if mark in text), None)


def _frames_in(result: object) -> Iterator[Any]:
    """Yield the frames and row references a step returned, in a dataclass too."""
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        result = [getattr(result, field.name) for field in dataclasses.fields(result)]
    yield from frames_of(result)
