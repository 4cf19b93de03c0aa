"""Auditing a step: what it makes of other rows than the ones it says.

A step's claim is in its ids: an output row is made of the input rows it names, and of those that went into a group it
names. The audit changes single input rows, runs the step again, and compares all output rows that do not name the
changed one: if one of them differs, rows have an influence nobody declared, such as through `fillna(mean)`, a rolling
window, or a target averaged over other rows. Then it changes one column at a time, in all sampled rows at once, and so
tells which input column each output column changes with.

What is found is true; what is not found was looked for in samples. A step that does not give the same twice is said to,
and nothing else is said of the columns that differ.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from backstory.columns.draw import Draw
from backstory.errors import InputError
from backstory.frames.perturb import Style, perturb
from backstory.frames.table import (
    Frame,
    as_given,
    column_names,
    drop_columns,
    hold,
    row_count,
)
from backstory.frames.token import id_columns
from backstory.lineage.answer import Answer
from backstory.lineage.audit_output import ROWS, Influence, Output, differences, influences, read_output
from backstory.lineage.page import Page
from backstory.lineage.refs import Grade, RowRefs
from backstory.lineage.source import Sources
from backstory.lineage.step import frames_of, is_frame, named_arguments, plain_function
from backstory.models.source_text import describe

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STYLES: tuple[Style, ...] = ("above", "other", "below")


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnAudit:
    """What was found of one output column.

    Attributes:
        name: Its name; `(rows)` for output rows that come or go.
        own: Input columns, as `frame.column`, that it changes with in the rows that its row names.
        declared: Those that it changes with in rows of a group its row names.
        others: Those that it changes with in rows that nothing names.
        rows_reached: In how many output rows one changed row showed at most, of those that do not name it.
        target: How it changes with the target: `own`, `declared` or `others`, the worst found; None if not at all.
        is_steady: Whether the step gives the same for it twice; nothing else is said of it where not.
    """

    name: str
    own: tuple[str, ...]
    declared: tuple[str, ...]
    others: tuple[str, ...]
    rows_reached: int
    target: Influence | None
    is_steady: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit(Answer):
    """What an audit of a step found.

    Attributes:
        step: Name of the function.
        code: Digest of its text.
        rows_in: Number of rows of each frame, by parameter.
        rows_out: Number of rows it returned.
        columns: What was found of each output column.
        target: The target column that was asked about.
        ids_lost: What is wrong with the ids of what it returned, in words; empty if nothing.
        samples: How many rows were changed one by one.
        runs: How often the step was run.
        refused: In how many of the runs it raised an error over a changed value; nothing is learned from these.
        seed: What the samples were drawn with.
        grade: What the step has earned: `probed`, `coarse` where other rows have an influence, `broken` where ids are
            lost; None where nothing can be said, as it does not give the same twice or no change showed in anything.
    """

    step: str
    code: str
    rows_in: Mapping[str, int]
    rows_out: int
    columns: tuple[ColumnAudit, ...]
    target: str | None
    ids_lost: tuple[str, ...]
    samples: int
    runs: int
    refused: int
    seed: int
    grade: Grade | None

    @property
    def leaks(self) -> tuple[ColumnAudit, ...]:
        """The output columns that change with the target, but for the target itself."""
        return tuple(column for column in self.columns if column.target is not None)

    @property
    def undeclared(self) -> tuple[ColumnAudit, ...]:
        """The output columns that change with rows that nothing names."""
        return tuple(column for column in self.columns if column.rows_reached or column.others)

    def to_dict(self) -> dict[str, Any]:
        """Return all that was found as values JSON has."""
        found = {name: getattr(self, name) for name in self.__slots__}
        return found | {
            "columns": [asdict(column) for column in self.columns],
            "ids_lost": list(self.ids_lost),
            "rows_in": dict(self.rows_in),
        }

    def __repr__(self) -> str:
        """Return the verdict on one line."""
        from backstory.lineage.audit_page import audit_page

        return f"<Audit: {audit_page(self).headline}>"

    def _page(self) -> Page:
        from backstory.lineage.audit_page import audit_page

        return audit_page(self)


@dataclass(slots=True)
class _Found:
    """What was seen to change, while the audit goes on."""

    by_column: dict[str, dict[Influence, set[str]]] = field(default_factory=dict)
    reached: Counter[str] = field(default_factory=Counter)
    changes: int = 0

    def add(self, column: str, influence: Influence, cause: str | None, rows: int) -> None:
        self.changes += 1
        if influence == "others":
            self.reached[column] = max(self.reached[column], rows)
        if cause is not None:
            self.by_column.setdefault(column, {}).setdefault(influence, set()).add(cause)


def audit_step(
    sources: Sources,
    draw_salt: Callable[[], int],
    step: Callable[..., Any],
    inputs: Any,
    *,
    samples: int,
    seed: int,
    target: str | None,
) -> Audit:
    """Run a step again and again with single rows changed, and say what changes; see `Archive.audit`.

    Raises:
        InputError: There is no frame among the inputs, one has no rows, or no such target.
    """
    function = plain_function(step)
    args, kwargs = _arguments(inputs)
    if samples < 1:
        raise InputError(f"audit: expected at least one sample, got {samples}")
    bound = inspect.signature(function).bind(*args, **kwargs)
    # A frame given twice is one: its rows are changed in both places at once.
    once = {id(value): (name, value) for name, value in named_arguments(bound) if is_frame(value)}
    given = dict(once.values())
    if not given or not all(row_count(hold(frame)) for frame in given.values()):
        raise InputError("audit: expected a frame with rows among the inputs, got none")
    frames = {name: _Input(sources, draw_salt(), name, frame) for name, frame in given.items()}
    try:
        if target is not None and not any(target in one.columns for one in frames.values()):
            raise InputError(f"audit: expected the target {target!r} among the columns of a frame, got none such")
        return _Audit(sources, function, args, kwargs, frames, samples=samples, seed=seed, target=target).run()
    finally:
        sources.forget({one.salt for one in frames.values()})


def _arguments(inputs: Any) -> tuple[list[Any], dict[str, Any]]:
    """Return what a step is to be given: by position, and by name."""
    if is_frame(inputs):
        return [inputs], {}
    if isinstance(inputs, Mapping):
        return [], dict(inputs)
    if isinstance(inputs, Sequence) and not isinstance(inputs, str):
        return list(inputs), {}
    raise InputError("audit: expected a frame, a list of arguments or a dict of them by name")


class _Input:
    """One frame the step is given, with an id of its own for each row."""

    def __init__(self, sources: Sources, salt: int, name: str, frame: Frame) -> None:
        held = hold(frame)
        self.given = frame
        self.salt = salt
        self.reference = f"audited_{salt:016x}"
        plain = drop_columns(held, id_columns(column_names(held)))
        self.columns = column_names(plain)
        self.rows = row_count(held)
        self.name = name
        self.frame, _ = sources.fix(held, self.reference, salt=salt)

    def changed(self, columns: list[str], rows: NDArray[np.int64], style: Style, draw: Draw) -> Frame:
        """Return the frame with other values in some columns of some rows; None if none could be given others."""
        frame, is_changed = self.frame, False
        for column in columns:
            other = perturb(frame, column, rows, style, draw)
            if other is not None:
                frame, is_changed = other, True
        return frame if is_changed else None


class _Audit:
    """One audit while it goes on."""

    def __init__(
        self,
        sources: Sources,
        function: Callable[..., Any],
        args: list[Any],
        kwargs: dict[str, Any],
        frames: dict[str, _Input],
        *,
        samples: int,
        seed: int,
        target: str | None,
    ) -> None:
        self._sources = sources
        self._function = function
        self._args, self._kwargs = args, kwargs
        self._frames = frames
        self._samples, self._seed, self._target = samples, seed, target
        self._draw = Draw(seed)
        self._runs = self._refused = 0
        self._found = _Found()
        self._interned: dict[object, int] = {}

    def run(self) -> Audit:
        base = self._output({})
        again = self._output({})
        unsteady = {change.column for change in differences(base, again)}
        if not base.problems:
            sampled = self._sampled(base)
            for number, (name, row) in enumerate(sampled):
                one = self._frames[name]
                self._try(base, unsteady, name, one.columns, np.array([row]), _STYLES[number % len(_STYLES)], None)
            for name, one in self._frames.items():
                rows = np.array([row for other, row in sampled if other == name], np.int64)
                for column in one.columns:
                    self._try(base, unsteady, name, [column], rows, "other", f"{name}.{column}")
                    self._try(base, unsteady, name, [column], rows, "above", f"{name}.{column}")
        return self._report(base, unsteady)

    def _sampled(self, base: Output) -> list[tuple[str, int]]:
        """Return rows to change, spread over the frames: of each in equal parts rows that came out and that did not."""
        found = []
        for number, (name, one) in enumerate(self._frames.items()):
            count = max(-(-(self._samples - number) // len(self._frames)), 1)
            inside = self._draw.shuffled(base.named(name))
            outside = self._draw.shuffled(np.setdiff1d(np.arange(one.rows), inside))
            split = max(count - len(outside), min(count // 2 + count % 2, len(inside)))
            chosen = [*inside[:split], *outside[: count - min(split, len(inside))]]
            found += [(name, int(row)) for row in chosen]
        self._samples = len(found)
        return found

    def _try(
        self,
        base: Output,
        unsteady: set[str],
        name: str,
        columns: list[str],
        rows: NDArray[np.int64],
        style: Style,
        cause: str | None,
    ) -> None:
        """Run the step with changed rows and note what else changed."""
        changed = self._frames[name].changed(columns, rows, style, self._draw) if len(rows) else None
        if changed is None:
            return
        try:
            output = self._output({name: changed})
        except Exception:  # noqa: BLE001  the user's code, over a value it never had
            self._refused += 1
            return
        for change in differences(base, output):
            if change.column not in unsteady:
                for influence, count in influences(base, output, name, rows, change).items():
                    self._found.add(change.column, influence, cause, count)

    def _output(self, changed: Mapping[str, Frame]) -> Output:
        self._runs += 1
        handed = {  # held anew: a step may change in place what it is given
            id(one.given): as_given(one.given, hold(changed.get(name, one.frame))) for name, one in self._frames.items()
        }
        args = [handed.get(id(value), value) for value in self._args]
        kwargs = {name: handed.get(id(value), value) for name, value in self._kwargs.items()}
        result = self._function(*args, **kwargs)
        frames = [frame for frame in frames_of(result) if not isinstance(frame, RowRefs)]
        if not frames:
            raise InputError(f"audit: expected the step to return a frame, got {type(result).__name__}")
        references = {one.reference: name for name, one in self._frames.items()}
        return read_output(self._sources, [hold(frame) for frame in frames], references, self._interned)

    def _report(self, base: Output, unsteady: set[str]) -> Audit:
        seen = set(self._found.by_column) | set(self._found.reached) | unsteady
        names = [*base.columns, *([ROWS] if ROWS in seen else [])]
        columns = tuple(self._column(name, is_steady=name not in unsteady) for name in names)
        is_undeclared = any(column.rows_reached or column.others for column in columns)
        grade: Grade | None = "probed" if self._found.changes and not unsteady else None
        if is_undeclared:
            grade = "coarse"
        if base.problems:
            grade = "broken"
        text = describe(self._function)
        return Audit(
            step=getattr(self._function, "__name__", text.name),
            code=text.digest,
            rows_in={name: one.rows for name, one in self._frames.items()},
            rows_out=base.rows,
            columns=columns,
            target=self._target,
            ids_lost=tuple(base.problems),
            samples=self._samples,
            runs=self._runs,
            refused=self._refused,
            seed=self._seed,
            grade=grade,
        )

    def _column(self, name: str, *, is_steady: bool) -> ColumnAudit:
        causes = self._found.by_column.get(name, {})
        targets = {f"{frame}.{self._target}" for frame in self._frames}
        worst: tuple[Influence, ...] = ("others", "declared", "own")
        is_target = name.rpartition(".")[2] == self._target
        hit = next((kind for kind in worst if not targets.isdisjoint(causes.get(kind, ()))), None)
        return ColumnAudit(
            name=name,
            own=tuple(sorted(causes.get("own", ()))),
            declared=tuple(sorted(causes.get("declared", ()))),
            others=tuple(sorted(causes.get("others", ()))),
            rows_reached=self._found.reached[name],
            target=None if name == ROWS or (is_target and hit == "own") else hit,
            is_steady=is_steady,
        )
