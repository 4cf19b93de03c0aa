"""What is done to data on its way to a model: the part of the front door that fixes, mixes and splits rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar, overload

from backstory.archive.debugging import Debugging
from backstory.archive.inside import Inside
from backstory.frames.contract import Contract
from backstory.frames.place import without_secrets
from backstory.frames.reading import AsFrame, take
from backstory.frames.window import Closed
from backstory.lineage import group as grouping
from backstory.lineage import prepare as preparing
from backstory.lineage import window as windowing
from backstory.lineage.about import About
from backstory.lineage.audit import Audit, audit_step
from backstory.lineage.contracts import judging
from backstory.lineage.derived import derived_from
from backstory.lineage.origin import external_ids
from backstory.lineage.refs import Grade, RowRefs
from backstory.lineage.registry import require_model_name
from backstory.lineage.rerun import fed_instead
from backstory.lineage.source import Kept
from backstory.lineage.split import split as split_frame
from backstory.lineage.step import is_frame, recorded_step
from backstory.records.identity import time_text

FrameT = TypeVar("FrameT")
P = ParamSpec("P")
T = TypeVar("T")


class Preparation(Debugging):
    """The verbs of an open archive for data; see `Archive`."""

    def __init__(self, inside: Inside, vkey: str | None) -> None:
        """Prepare data for the models of an archive."""
        super().__init__(inside, vkey)
        self._store = inside.store
        self._sources = inside.sources
        self._calls = inside.calls

    def source(
        self,
        frame: Any,  # noqa: ANN401  any frame, path, query or table
        name: str,
        *,
        key: str | Sequence[str] | None = None,
        subject: str | None = None,
        part: str | None = None,
        origin: str | None = None,
        owner: str | None = None,
        purpose: str | None = None,
        licence: str | None = None,
        basis: str | None = None,
        contract: Contract | Mapping[str, Any] | str | Path | None = None,
        provable: str | Sequence[str] = (),
        snapshot: Mapping[str, str | int] | None = None,
        read: Mapping[str, Any] | None = None,
        as_frame: AsFrame | None = None,
        keep: Kept | None = None,
    ) -> Any:  # noqa: ANN401  a frame of the caller's library
        """Fix a snapshot of a table and return it with one id column more, `_row_<name>`.

        A frame is taken as it is. Anything else is read, once, and the archive says from where:

            archive.source("flights.csv.gz", "flights", read={"types": {"flight": "string"}})
            archive.source(Path("2026-06"), "loans", key="loan_id", as_frame="polars")
            archive.source(backstory.Query("SELECT * FROM loans WHERE month = :m", engine, {"m": 6}), "loans")
            archive.source(backstory.Stream(frame, topic="payments", partition="p", offset="o"), "payments")
            archive.source(deltalake.DeltaTable("loans", version=17), "loans")
            archive.source(catalog.load_table("risk.loans"), "loans", read={"snapshot": 8620708667752149062})

        The snapshot is kept when a model or a prediction first refers to it. What you do to the frame until then does
        not change it; only memory shared on purpose is not protected, such as a NumPy array that was made a frame with
        `copy=False` and is written to. The same name again, without `part`, is a new version of the source; earlier
        versions stay.

        Args:
            frame: A pandas, polars (eager or lazy) or pyarrow frame or a DuckDB relation, with at least one row; the
                path of a CSV, Parquet or JSON-lines file (`.gz` too) or of a directory of such files; a
                `backstory.Query` or `backstory.Stream`; a table of deltalake or pyiceberg.
            name: The source's name: a small letter, then at most 62 small letters, digits and `_`.
            key: Column or columns that identify a row.
            subject: Column that says which person a row is about. The snapshot and all that is made from it is sealed.
            part: Name of this part of the source; parts have disjoint positions and can be used together.
            origin: Where the data came from, such as a URL.
            owner: Who answers for the data: a team or a role. No personal data: this and what follows is in the log.
            purpose: What it may be used for.
            licence: Under which licence it is used.
            basis: The legal basis of its use.
            contract: What the data is promised to be: path, YAML or dict of the Open Data Contract Standard; the one of
                `contracts.set` if not given. A broken rule refuses the data, gives a `LineageWarning`, or is noted.
            provable: `rows` to be able to prove that a row is in it or is not, `subjects` the same of persons.
            snapshot: Ids that other systems give to this state, by system, as `{"lakefs": "main@5a1c"}`.
            read: How to read what is no frame: `columns`, `types` (by column, as `int64`, `string`, `date`,
                `timestamp[UTC]`, `decimal(10,2)`); of CSV `delimiter`, `quote`, `names`, `nulls`, `skip`, `encoding`;
                of a directory `pattern`; of Iceberg `snapshot`.
            as_frame: `pandas`, `polars` or `arrow`, for what is no frame; pandas where it is installed, if not given.
            keep: `copy` keeps the rows in the archive; `reference` keeps only where they are, and what to check them
                against when they are read there again. As the archive was opened, if not given.

        Raises:
            ColumnError: A named column is missing, the key has nulls, or the frame has such an id column already.
            KeyNotUniqueError: Two rows have the same key.
            InputError: There are no rows, or what was given cannot be read or used so, or the contract refuses it; or
                its classification says that columns are about people, and there is no subject.
            NotFoundError: There is no such file, version or snapshot.
            StorageError: It cannot be read, or changed while it was read.
        """
        again = fed_instead(frame, name, as_frame)
        if again is not None:
            return again
        if subject is None:
            self._calls.require_subject(name)
        judge = judging(self._inside.ledger, contract, name, subject)
        salt = self._store.draw_salt()
        about = About(owner=owner, purpose=purpose, licence=licence, basis=basis, external=external_ids(snapshot))
        taken = take(frame, read, as_frame, extracted=time_text(self._inside.ledger.world.now_ns()))
        sources = self._calls.known(taken.frame)
        traced_frame, _ = self._sources.fix(
            taken.frame,
            name,
            salt=salt,
            key=key,
            subject=subject,
            part=part,
            origin=None if origin is None else without_secrets(origin),
            about=about,
            judge=judge,
            provable=provable,
            rows=taken.rows,
            reading=taken.reading,
            keep=keep or (self._inside.keep if taken.rows is not None else "copy"),
            derive=lambda held: derived_from(sources, self._store.steps, held, name, subject),
        )
        return traced_frame

    def prepare(self, function: Callable[..., FrameT], *frames: Any) -> FrameT:  # noqa: ANN401  any frames
        """Run a preparation with and without ids, and return its result if the ids changed nothing.

        Raises:
            PreparationError: The result differs, such as when `dropna()` sees an id column.
            TokenError: The preparation lost or damaged the ids.
        """
        return preparing.prepare(self._calls.known(*frames), function, *frames)

    def distinct(
        self, frame: FrameT, subset: str | Sequence[str] | None = None, keep: preparing.Keep = "first"
    ) -> FrameT:
        """Drop duplicate rows without regard to id columns; the row that is kept keeps its ids.

        It is recorded as the only one. Where all equal rows are to be members, `group` by the columns that decide.
        """
        return preparing.distinct(frame, subset, keep)

    def group(
        self,
        frame: FrameT,
        by: str | Sequence[str],
        *,
        name: str,
        dropna: bool = True,
        **aggregations: tuple[str, str],
    ) -> FrameT:
        """Aggregate rows by key and keep which rows went where.

        Which sources went in is found by comparing values: one whose rows changed no value of the frame (a rate of 1.0
        everywhere, a fill that filled nothing) is left out.

        Args:
            frame: A frame with id columns.
            by: Key column or columns.
            name: The group's name, as a source's.
            dropna: Leave out rows with a null in the key.
            aggregations: `route_mean=("dep_delay", "mean")`: mean, sum, count, min, max, std, first, last, nunique.

        Returns:
            The library's own result with the id column `_row_<name>`.

        Raises:
            ColumnError: A column is missing or an id column.
            InputError: An aggregation is unknown.
            TokenError: There is no id column, or a token does not check.
        """
        salt = self._store.draw_salt()
        sources = self._calls.known(frame)
        grouped, _ = grouping.group(sources, frame, by, name=name, salt=salt, dropna=dropna, **aggregations)
        return grouped  # type: ignore[no-any-return]

    def window(
        self,
        frame: FrameT,
        *,
        by: str | Sequence[str],
        time: str,
        name: str,
        window: str | int | timedelta | None = None,
        rows: int | None = None,
        closed: Closed = "left",
        **aggregations: tuple[str, str],
    ) -> FrameT:
        """Add to each row what the earlier rows of its entity come to, and keep which rows those are.

        Nothing of the future is looked at, and by default nothing of the row's own moment: what comes out was known
        then. Values are computed alike for every library: nulls are skipped (not by first and last), a window without
        rows is null, `count` and `nunique` of it are 0. A row without entity or moment is in no window, and its own
        is empty.

        Args:
            frame: A frame with id columns.
            by: Column or columns that make the entity.
            time: Column with the moment: a time, a date or an integer.
            name: Name of the windows, as a source's.
            window: How far a row looks back: `30d` (ns, us, ms, s, m, h, d, w; a day has 24 hours), a timedelta, or a
                number where the time is one.
            rows: On how many rows it looks back at most, instead; those of one moment are in the order they are in.
            closed: `left`: from that far on, up to before the row's moment; `none`: not from exactly that far; `both`
                and `right`: the same with the row's moment, so with the row itself, which is the last of `rows`.
            aggregations: `spend=("amount", "sum")`: those of `group`.

        Returns:
            The frame with the new columns and the id column `_row_<name>`, in its order; a relation in that of its ids.

        Raises:
            ColumnError: A column is missing, an id column or of a type that does not fit, or an output name is taken.
            InputError: Window, rows, closed or an aggregation cannot be used.
            TokenError: There is no id column, or a token does not check.
        """
        salt = self._store.draw_salt()
        windowed, _ = windowing.window(
            self._calls.known(frame), frame, by=by, time=time, name=name, salt=salt, window=window, rows=rows,
            closed=closed, **aggregations,
        )  # fmt: skip
        return windowed  # type: ignore[no-any-return]

    @overload
    def step(
        self, function: Callable[P, T], /, *, name: str | None = None, grade: Grade | None = None
    ) -> Callable[P, T]: ...

    @overload
    def step(
        self, function: None = None, /, *, name: str | None = None, grade: Grade | None = None
    ) -> Callable[[Callable[P, T]], Callable[P, T]]: ...

    def step(
        self, function: Callable[P, T] | None = None, /, *, name: str | None = None, grade: Grade | None = None
    ) -> Any:
        """Note what a function from frames to frames does to rows: which went in, which came out, which it dropped.

        A decorator, `@archive.step`, or a call, `archive.step(clean)(frame)`. The function runs as it is, and what it
        returns is handed on. With its code and digests of its parameters it is recorded when a model or a prediction
        refers to rows of the same sources; `why_not` says then which rows it dropped.

        Args:
            function: A plain function that takes frames, and what else it needs, and returns one frame or several.
            name: The step's name, as a model's; the function's without it.
            grade: How sure you are that a row comes from the rows its ids name alone. Without it, and at most, what the
                ids show: `exact` where all came through, `coarse` where those of a frame did not, `broken` where what
                it returned has none. Both of these are warned of.

        Raises:
            InputError: It is no plain function, or name or grade cannot be used.
        """
        if function is None:
            return lambda decorated: self.step(decorated, name=name, grade=grade)
        named = getattr(function, "__name__", "") if name is None else name
        require_model_name(named)
        return recorded_step(self._calls.known, self._store.steps, function, named, grade)

    def audit(
        self,
        step: Callable[..., Any],
        inputs: Any,  # noqa: ANN401  a frame, or what the step is to be given
        samples: int = 32,
        *,
        seed: int = 0,
        target: str | None = None,
    ) -> Audit:
        """Change single rows, run a step again, and say what changes in rows that do not name them.

        Finds fills from all rows, windows, ranks, and targets that reach features. The step runs `samples` times, twice
        for each input column, and twice unchanged: give it thousands of rows rather than millions. Nothing is recorded.

        Args:
            step: A function from frames to a frame, or several; one that `step` decorated too.
            inputs: A frame, a list of arguments, or a dict of them by name.
            samples: How many rows to change, one by one.
            seed: What the rows are drawn with: the same seed finds the same.
            target: Column that no feature may depend on.

        Returns:
            An audit: of each of the `columns` by which input columns of which rows it changes; `undeclared`, `leaks`,
            `ids_lost`; and the `grade` the step has earned: `probed`, `coarse` where other rows have an influence,
            `broken` where it lost ids, None where it does not give the same twice.

        Raises:
            InputError: There is no frame with rows, no such target, or the step returns no frame.
        """
        given = inputs.values() if isinstance(inputs, Mapping) else inputs
        sources = self._calls.known(*(given if isinstance(given, Iterable) and not is_frame(given) else [given]))
        return audit_step(sources, self._store.draw_salt, step, inputs, samples=samples, seed=seed, target=target)

    def split(
        self,
        frame: FrameT,
        features: str | Sequence[str] | None = None,
        *,
        on_broken: Literal["refuse", "grade"] = "refuse",
    ) -> tuple[FrameT, RowRefs]:
        """Take the id columns off a frame: the features a model gets, and a row reference for each of their rows.

        Args:
            frame: A frame with id columns.
            features: Column or columns for the model, in order; all but the id columns without it.
            on_broken: `refuse` raises for tokens that do not check; `grade` records those rows as broken and warns.

        Raises:
            TokenError: No id column, tokens that do not check, or tokens of another archive.
            ColumnError: A feature is missing or an id column.
        """
        columns = [features] if isinstance(features, str) else features
        return split_frame(self._calls.known(frame), frame, columns, on_broken=on_broken)
