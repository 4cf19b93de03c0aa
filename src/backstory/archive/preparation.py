"""What is done to data on its way to a model: the part of the front door that fixes, mixes and splits rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from backstory.archive.inside import Inside
from backstory.archive.questions import Questions
from backstory.lineage import group as grouping
from backstory.lineage import prepare as preparing
from backstory.lineage.about import About
from backstory.lineage.refs import RowRefs
from backstory.lineage.split import split as split_frame

FrameT = TypeVar("FrameT")


class Preparation(Questions):
    """The verbs of an open archive for data; see `Archive`."""

    def __init__(self, inside: Inside, vkey: str | None) -> None:
        """Prepare data for the models of an archive."""
        super().__init__(inside.ledger, inside.gate, inside.recorder, inside.tracer, vkey)
        self._inside = inside
        self._store = inside.store
        self._sources = inside.sources
        self._calls = inside.calls

    def source(
        self,
        frame: FrameT,
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
    ) -> FrameT:
        """Fix a snapshot of a frame and return the frame with one id column more, `_row_<name>`.

        The snapshot is kept when a model or a prediction first refers to it. What you do to the frame until then does
        not change it; only memory shared on purpose is not protected, such as a NumPy array that was made a frame with
        `copy=False` and is written to. The same name again, without `part`, is a new version of the source; earlier
        versions stay.

        Args:
            frame: A pandas, polars (eager or lazy) or pyarrow frame with at least one row.
            name: The source's name: a small letter, then at most 62 small letters, digits and `_`.
            key: Column or columns that identify a row.
            subject: Column that says which person a row is about. The snapshot and all that is made from it is sealed.
            part: Name of this part of the source; parts have disjoint positions and can be used together.
            origin: Where the data came from, such as a URL.
            owner: Who answers for the data: a team or a role. No personal data: this and what follows is in the log.
            purpose: What it may be used for.
            licence: Under which licence it is used.
            basis: The legal basis of its use.

        Raises:
            ColumnError: A named column is missing, the key has nulls, or the frame has such an id column already.
            KeyNotUniqueError: Two rows have the same key.
            InputError: The frame is empty, or the name cannot be used.
        """
        salt = self._store.draw_salt()
        about = About(owner=owner, purpose=purpose, licence=licence, basis=basis)
        traced_frame, _ = self._sources.fix(
            frame, name, salt=salt, key=key, subject=subject, part=part, origin=origin, about=about
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
        """Drop duplicate rows without regard to id columns; the row that is kept keeps its ids."""
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
