"""The gate sealed values are read through. Readers are handed one; without one the answer is deny.

Views, and how a value looks in them: docs/format.md section 40.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from backstory.records.limits import ACCESS_IDS_MAX
from backstory.records.manifest import Manifest
from backstory.records.sensitivity import CLASSES

View = Literal["clear", "just-in-time", "own", "pseudonymised", "masked", "aggregate", "none"]
"""How somebody may see values of a class; `just-in-time` and `own` show nothing of a record they do not hold for."""

Views = Mapping[str, View]
"""A view for each class, D0 to D7."""

ALL_CLEAR: Views = dict.fromkeys(CLASSES, "clear")
SHOWN: frozenset[View] = frozenset({"clear", "pseudonymised", "masked"})
"""Views in which a single value is shown at all, if not as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRun:
    """Records of a stream that follow each other: `count` from `first` on."""

    stream: str
    first: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which records or rows somebody reads, for whoever asks later who saw them.

    Attributes:
        ids: Ids of records.
        runs: Records by stream and number, where they are many.
        dataset: Digest of the dataset version whose rows are read.
        positions: Which rows of it; None for all.
    """

    ids: tuple[bytes, ...] = ()
    runs: tuple[RecordRun, ...] = ()
    dataset: str | None = None
    positions: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse more than the record of an access can hold: many positions are any, many ids are runs."""
        most = max(len(self.ids), len(self.runs), len(self.positions or ()))
        if most > ACCESS_IDS_MAX:
            raise AssertionError(f"scope: expected at most {ACCESS_IDS_MAX} ids, runs or positions, got {most}")


def whole_segments(manifests: Iterable[Manifest]) -> Scope | None:
    """Return the scope of all records of some segments; None where they are too many to name."""
    runs = tuple(RecordRun(stream=one.stream, first=one.first_seq, count=one.count) for one in manifests)
    return Scope(runs=runs) if 0 < len(runs) <= ACCESS_IDS_MAX else None


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What of a record decides who may see it.

    Attributes:
        request_id: The id of its request, which may be a case.
        model: Name of its model.
        time_ns: When it was recorded.
        subject: Gives whom it is about; asked only where that decides, as it opens a sealed value.
    """

    request_id: str | None = None
    model: str | None = None
    time_ns: int = 0
    subject: Callable[[], str | None] = lambda: None


class Gate(Protocol):
    """Decides whether sealed values may be read as they are, and records that they were."""

    def allows(self, groups: Sequence[str] | None = None) -> bool:
        """Say whether sealed values may be read as they are, without reading any.

        Args:
            groups: Sealed groups that would be read; None for those about people in general.
        """

    def pass_through(self, question: str, groups: Sequence[str], records: int, scope: Scope | None = None) -> None:
        """Record a read of sealed values as they are, before it happens; it is on disk when this returns.

        Args:
            question: What is being asked: `why`, `impact`, `receipt`, …
            groups: Sealed groups to be read.
            records: Of how many records.
            scope: Which they are.

        Raises:
            ForbiddenError: It is not allowed, or cannot be recorded; nothing may be read.
        """

    def lacking(self, groups: Sequence[str] | None = None) -> str:
        """Say in a few words what stands in the way where `allows` says no, for whoever would remedy it.

        Args:
            groups: As `allows` was asked.
        """

    def require_open(self, question: str, classes: Sequence[str] = ("D0", "D1", "D2")) -> None:
        """Insist that classes which are not about people are seen as they are: the answer shows them so.

        Raises:
            ForbiddenError: A policy is in force under which they are not; the refusal is recorded.
        """

    @property
    def bound_subject(self) -> str | None:
        """The person whose records alone are for whoever asks; None where their role is bound to none."""

    def within(self, about: About) -> Gate:
        """Return a gate that decides about one record."""


class Viewer(Gate, Protocol):
    """A gate that also says how values may be seen that may not be seen as they are."""

    def views(self, about: About | None = None) -> Views:
        """Return how values of each class are seen: of a record, or of any.

        Where no policy is in force, open classes are clear, and sealed ones where `allows` says so.
        """

    def show(self, question: str, groups: Sequence[str], records: int, scope: Scope, views: Views) -> None:
        """Record that sealed values are shown as `views` says, before they are read; or that none are.

        Args:
            question: What is being asked.
            groups: Sealed groups to be read.
            records: Of how many records.
            scope: Which they are.
            views: What `views` returned for them.

        Raises:
            ForbiddenError: It cannot be recorded; nothing may be read.
        """

    def within(self, about: About) -> Viewer:
        """Return a gate that decides about one record."""

    def classes_of(self, dataset: str) -> Mapping[str, str]:
        """Return the classes of a dataset version's columns, as far as they are known."""

    def pseudonym(self, subject: str) -> str:
        """Return what stands for a person where they are shown under a pseudonym."""

    def reason(self, class_: str, view: View) -> str:
        """Say in a few words why a class is seen in a view."""
