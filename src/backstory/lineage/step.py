"""Steps: plain functions from frames to frames, and which rows each of them dropped.

A step is run as it is, once, and what it returns is handed on. What is noted of it is its code, digests of its
parameters, and by the ids of the frames which rows went in and which came out. What went in and did not come out was
dropped; a row that lives on in a group made inside was not.

Nothing is stored here: a step stays in the session until something refers to rows of the sources it worked on.

Specification: docs/format.md section 27.
"""

from __future__ import annotations

import functools
import inspect
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeAlias, TypeVar, get_args

import numpy as np

from backstory.errors import InputError
from backstory.frames.row_set import RowSet
from backstory.frames.table import LAZY, column_names, column_values, hold, kind_of, row_count, select_columns
from backstory.frames.token import ROW_PREFIX, id_columns
from backstory.lineage.canary import doubt_of
from backstory.lineage.group import GroupNode, MixNode
from backstory.lineage.refs import Grade, RowRefs, warn_of_lineage
from backstory.lineage.resolve import Resolved, resolve
from backstory.lineage.source import Origin, Snapshot, Sources
from backstory.lineage.window import WindowNode
from backstory.models.json_value import json_safe
from backstory.models.source_text import CodeText, describe
from backstory.records.canonical import JsonObject, JsonValue
from backstory.storage.fork import renew_in_child

if TYPE_CHECKING:
    from numpy.typing import NDArray

P = ParamSpec("P")
T = TypeVar("T")

_NOTED: Final = "_backstory_step"
"""Where what `recorded_step` makes has the function itself."""

GRADES: Final[tuple[Grade, ...]] = get_args(Grade)
"""From the surest to the least sure."""

_RECENT_MAX: Final = 16

Track: TypeAlias = "Snapshot | MixNode"
"""What rows are followed in: a part of a source, or the rows of a group."""

Print: TypeAlias = tuple[int, bytes]
"""The salt of what rows are of, and a hash of which of them they are."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Flow:
    """The rows of one source, part or group in a step.

    Attributes:
        track: What they are rows of.
        went_in: Which went in, as packed bits.
        came_out: Which came out, themselves or in a group made inside; None where that is not known.
    """

    track: Track
    went_in: NDArray[np.uint8]
    came_out: NDArray[np.uint8] | None

    def rows_in(self) -> RowSet:
        """Return the positions that went in."""
        return _row_set(self.track, self.went_in)

    def dropped(self) -> RowSet | None:
        """Return the positions that went in and did not come out; None where that is not known."""
        return None if self.came_out is None else self.rows_in() - _row_set(self.track, self.came_out)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepRun:
    """One run of a step.

    Attributes:
        name: The step's name.
        code: The function, by its text.
        parameters: What it was given beside frames, JSON-safe; only digests of these are kept.
        rows_in: Number of rows of each frame it was given, by parameter.
        takes: The source or group whose ids a frame had, by parameter, where the parameter has another name.
        rows_out: Number of rows of each frame it returned.
        returned: Which rows each of these has, as `Seen.prints` has them.
        flows: The rows of each source, part and group, by the salt of their ids.
        grade: How sure it is which rows it dropped, and which went into what it returned.
        problems: Why the grade is not better, in words.
    """

    name: str
    code: CodeText
    parameters: Mapping[str, JsonValue]
    rows_in: Mapping[str, int]
    takes: Mapping[str, str]
    rows_out: tuple[int, ...]
    returned: tuple[frozenset[Print], ...]
    flows: Mapping[int, Flow]
    grade: Grade
    problems: tuple[str, ...]


class Steps:
    """The runs of steps of one session that nothing refers to yet. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        renew_in_child(self, "_lock", Lock)
        self._runs: list[StepRun] = []
        self.recent: deque[StepRun] = deque(maxlen=_RECENT_MAX)
        """The latest runs, kept or not: what they returned may be fixed as a source."""
        self.named: dict[str, set[str]] = {}
        """By name the digests of runs that are known to be in the log."""

    def add(self, run: StepRun) -> None:
        """Keep a run until something refers to rows it worked on."""
        with self._lock:
            self._runs.append(run)
            self.recent.append(run)

    def take(self, origins: Iterable[Origin]) -> list[StepRun]:
        """Take out the runs that worked on rows of some sources or groups, or of what these were made of."""
        if not self._runs:
            return []
        wanted = {track_salt for origin in origins for track_salt in _salts(origin)}
        with self._lock:
            found = [run for run in self._runs if not wanted.isdisjoint(run.flows)]
            self._runs = [run for run in self._runs if wanted.isdisjoint(run.flows)]
        return found

    def put_back(self, runs: list[StepRun]) -> None:
        """Put back runs that could not be kept."""
        with self._lock:
            self._runs = [*runs, *self._runs]


def recorded_step(
    known: Callable[..., Sources], steps: Steps, function: Callable[P, T], name: str, grade: Grade | None
) -> Callable[P, T]:
    """Return a function that does what another does, and notes which rows went in and came out.

    Args:
        known: Gives the session's registry, with the sources whose ids some frames carry.
        steps: Where runs are noted.
        function: From frames to a frame, or to several; `__wrapped__` of what is returned.
        name: The step's name.
        grade: How sure the caller is; it is never graded better than its ids show.

    Raises:
        InputError: It is no plain function, or there is no such grade.
    """
    if not callable(function) or inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise InputError("step: expected a plain function from frames to a frame, got something else")
    if grade is not None and grade not in GRADES:
        raise InputError(f"step: expected a grade of {', '.join(GRADES)}, got {grade!r} ({name})")
    code = describe(function)
    signature = inspect.signature(function)

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = dict(named_arguments(bound))
        frames = {parameter: value for parameter, value in given.items() if is_frame(value)}
        parameters = {parameter: json_safe(value) for parameter, value in given.items() if parameter not in frames}
        sources = known(*frames.values())
        before = Seen()
        takes = {}
        for parameter, frame in frames.items():
            given_as = Seen()
            given_as.add(sources, frame, f"the frame it was given as {parameter!r}")
            before.join(given_as)
            names = {track.name for track in given_as.tracks.values()}
            if len(names) == 1 and names != {parameter}:
                takes[parameter] = names.pop()
        result = function(*args, **kwargs)
        after = Seen()
        prints = []
        returned = list(frames_of(result))
        referred = {len(rows) for rows in returned if isinstance(rows, RowRefs)}
        for number, frame in enumerate(returned, 1):
            one = Seen()
            one.add(known(frame), frame, f"the frame it returned as number {number}", referred, look=True)
            prints.append(one.prints())
            after.join(one)
        after.open(before.tracks)
        found, problems = _judge(before, after)
        run_grade = max(found, grade or "exact", key=GRADES.index)
        steps.add(
            StepRun(
                name=name,
                code=code,
                parameters=parameters,
                rows_in=dict(zip(frames, before.rows, strict=True)),
                takes=takes,
                rows_out=tuple(after.rows),
                returned=tuple(prints),
                flows=_flows(before, after),
                grade=run_grade,
                problems=tuple(problems),
            )
        )
        for problem in problems:
            warn_of_lineage(f"step {name} is recorded as {run_grade}: {problem}")
        return result

    setattr(run, _NOTED, function)
    return run


def plain_function(step: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function behind a step, whose runs are not noted; anything else as it is."""
    function: Callable[..., Any] = getattr(step, _NOTED, step)
    return function


@dataclass(slots=True)
class Seen:
    """What the ids of some frames name.

    Attributes:
        rows: Number of rows of each frame.
        without: Frames without ids, in words.
        failures: Ids that do not check, in words.
        doubts: What speaks against ids that check, in words.
        damaged: What such ids are of, by salt.
        tracks: What rows are of, by salt.
        masks: Which of its rows are there, by salt.
    """

    rows: list[int] = field(default_factory=list)
    without: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    damaged: set[int] = field(default_factory=set)
    tracks: dict[int, Track] = field(default_factory=dict)
    masks: dict[int, NDArray[np.bool_]] = field(default_factory=dict)

    def add(self, sources: Sources, frame: Any, what: str, referred: Iterable[int] = (), *, look: bool = False) -> None:
        """Note the rows that the ids of a frame name, or row references.

        Args:
            sources: The session's registry.
            frame: The frame, or row references.
            what: The frame, in words.
            referred: Numbers of rows that row references beside it are of: they stand for ids that were split off.
            look: Whether to look at the values of some rows too. A lazy frame is then run whole, else for its ids.
        """
        if isinstance(frame, RowRefs):
            self.rows.append(len(frame))
            for name, positions in frame.positions.items():
                self.mark(frame.origins[name], positions)
            if look:
                self._look(frame, what)
            return
        ids = id_columns(column_names(frame))
        is_lazy = bool(ids) and kind_of(frame) in LAZY
        held = hold(frame if look else select_columns(frame, ids)) if is_lazy else frame
        self.rows.append(row_count(held))
        if not ids and self.rows[-1] not in referred:
            self.without.append(what)
        sound = {}
        for column in ids:
            if not sources.find(column.removeprefix(ROW_PREFIX)):
                self.failures.append(f"{what} has ids of an unknown source in {column!r}")
                continue
            found = resolve(sources, column, column_values(held, column))
            self.mark(found.origin, found.positions)
            if found.failure is None:
                sound[found.reference] = found
            else:
                self.failures.append(f"{what}: {found.failure}")
                self.damaged.update(_own_salts(found.origin))
        if look:
            self._look(_references(sound, held, self.rows[-1]), what)

    def join(self, other: Seen) -> None:
        """Note what other frames name too."""
        self.rows += other.rows
        self.without += other.without
        self.failures += other.failures
        self.doubts += other.doubts
        self.damaged |= other.damaged
        self.tracks |= other.tracks
        for salt, mask in other.masks.items():
            self.masks[salt] = self.masks[salt] | mask if salt in self.masks else mask

    def prints(self) -> frozenset[Print]:
        """Return which rows there are, short enough to keep."""
        return frozenset((salt, sha256(np.packbits(mask).tobytes()).digest()) for salt, mask in self.masks.items())

    def _look(self, rows: RowRefs, what: str) -> None:
        """Note references whose rows have other values than what they point to."""
        for name in rows.names:
            doubt = doubt_of(rows, name)
            if doubt is not None:
                self.doubts.append(f"{what}: {doubt}")
                self.damaged.update(_own_salts(rows.origins[name]))

    def mark(self, origin: Origin, positions: NDArray[np.signedinteger[Any]]) -> None:
        """Note that rows are there."""
        for track in origin if isinstance(origin, tuple) else (origin,):
            first, rows = _extent(track)
            mask = self.masks.setdefault(track.salt, np.zeros(rows, np.bool_))
            self.tracks[track.salt] = track
            inside = (positions >= first) & (positions < first + rows)
            mask[(positions if inside.all() else positions[inside]) - first] = True

    def open(self, known: Iterable[int]) -> None:
        """Note the rows that went into the groups, but for those of groups that are known."""
        waiting = [salt for salt in self.tracks if salt not in known]
        while waiting:
            salt = waiting.pop()
            node = self.tracks[salt]
            if isinstance(node, MixNode):
                members = _members(node, self.masks[salt])
                for name, positions in node.refs.items():
                    self.mark(node.origins[name], positions[members])
                    waiting += [inner for inner in _own_salts(node.origins[name]) if inner not in known]


def _references(columns: Mapping[str, Resolved], frame: Any, rows: int) -> RowRefs:
    return RowRefs(
        positions={name: column.positions for name, column in columns.items()},
        origins={name: column.origin for name, column in columns.items()},
        grades=dict.fromkeys(columns, "exact"),
        rows=rows,
        features=frame,
        selector=None,
        aligned_by_caller=False,
    )


def _judge(before: Seen, after: Seen) -> tuple[Grade, list[str]]:
    """Say how sure it is which rows went where, and what speaks against it."""
    broken = after.failures + before.failures
    if not after.rows:
        broken.append("it returned no frame")
    broken += [f"{what} has no row ids" for what in after.without] if before.tracks else []
    if broken:
        return "broken", broken
    lost = dict.fromkeys(track.name for salt, track in before.tracks.items() if not _is_there(track, after))
    coarse = [f"no frame it returned has the ids of {name}: which rows it used is not known" for name in lost]
    coarse += [f"{what} has no row ids" for what in before.without]
    coarse += after.doubts
    return ("coarse", coarse) if coarse else ("exact", [])


def _is_there(track: Track, after: Seen) -> bool:
    """Say whether ids of a source or group came out: those of other parts of the source show that none of this did."""
    is_part = isinstance(track, Snapshot) and track.part is not None
    others = (other for other in after.tracks.values() if isinstance(other, Snapshot) and other.part is not None)
    return track.salt in after.tracks or (is_part and any(other.name == track.name for other in others))


def _flows(before: Seen, after: Seen) -> dict[int, Flow]:
    flows = {}
    for salt, track in {**after.tracks, **before.tracks}.items():
        nothing = np.zeros(_extent(track)[1], np.bool_)
        is_known = after.rows and not after.without and salt not in after.damaged and _is_there(track, after)
        flows[salt] = Flow(
            track=track,
            went_in=np.packbits(before.masks.get(salt, nothing)),
            came_out=np.packbits(after.masks.get(salt, nothing)) if is_known else None,
        )
    return flows


def _row_set(track: Track, bits: NDArray[np.uint8]) -> RowSet:
    first, rows = _extent(track)
    return RowSet.of_mask(np.unpackbits(bits, count=rows).view(np.bool_), first)


def _extent(track: Track) -> tuple[int, int]:
    """Return the first position of rows, and how many there are."""
    return (0, track.groups) if isinstance(track, MixNode) else (track.first_position, track.rows)


def _members(node: MixNode, used: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which rows went into the groups that are used."""
    if isinstance(node, GroupNode):
        return used[node.codes]
    if not isinstance(node, WindowNode):
        raise TypeError(type(node).__name__)  # pragma: no cover - there are no others
    turns = np.zeros(len(used) + 1, np.int64)
    np.add.at(turns, node.begins[used], 1)
    np.add.at(turns, node.ends[used], -1)
    inside: NDArray[np.bool_] = np.cumsum(turns)[:-1] > 0
    return inside


def _own_salts(origin: Origin) -> list[int]:
    """Return the salts of a source's parts, or of a group."""
    return [snapshot.salt for snapshot in origin] if isinstance(origin, tuple) else [origin.salt]


def _salts(origin: Origin) -> Iterator[int]:
    """Yield the salts of a source's parts, or of a group and of all that was mixed into it."""
    yield from _own_salts(origin)
    if isinstance(origin, MixNode):
        for inner in origin.origins.values():
            yield from _salts(inner)


def named_arguments(bound: inspect.BoundArguments) -> Iterator[tuple[str, Any]]:
    """Yield what a function is given, by parameter; each of `*args` by its number, of `**kwargs` by its name."""
    for parameter, value in bound.arguments.items():
        kind = bound.signature.parameters[parameter].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            yield from ((f"{parameter}.{number}", item) for number, item in enumerate(value))
        elif kind is inspect.Parameter.VAR_KEYWORD:
            yield from ((str(name), item) for name, item in value.items())
        else:
            yield parameter, value


def is_frame(value: object) -> bool:
    """Say whether something is a frame that can carry row ids."""
    try:
        return kind_of(value) not in {"numpy", "record", "records"}
    except InputError:
        return False


def frames_of(result: object) -> Iterator[Any]:
    """Yield the frames and row references a step returned, alone or in a tuple, list or dict."""
    if isinstance(result, RowRefs) or is_frame(result):
        yield result
    elif isinstance(result, tuple | list):
        yield from (item for item in result if isinstance(item, RowRefs) or is_frame(item))
    elif isinstance(result, Mapping):
        yield from (item for item in result.values() if isinstance(item, RowRefs) or is_frame(item))


def step_document(run: StepRun, code: JsonObject, digest: Callable[[JsonValue], str]) -> JsonObject:
    """Return what a run is described by, without its rows.

    Args:
        run: The run.
        code: The version of the code that ran.
        digest: Names a parameter's value.
    """
    document: JsonObject = {} if not run.takes else {"takes": dict(run.takes)}
    return document | {
        "code": {**code, "basis": run.code.basis, "digest": run.code.digest, "function": run.code.name},
        "grade": run.grade,
        "in": {parameter: str(rows) for parameter, rows in run.rows_in.items()},
        "name": run.name,
        "out": [str(rows) for rows in run.rows_out],
        "parameters": [{"digest": digest(value), "name": name} for name, value in run.parameters.items()],
        "problems": list(run.problems),
        "v": 1,
    }
