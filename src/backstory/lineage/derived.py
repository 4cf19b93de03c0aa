"""What a table that is fixed was made from: the sources its ids name, and the step whose rows it has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backstory.frames.table import column_names
from backstory.frames.token import id_columns
from backstory.lineage.group import MixNode
from backstory.lineage.refs import warn_of_lineage
from backstory.lineage.step import Seen

if TYPE_CHECKING:
    from collections.abc import Container

    from backstory.lineage.source import Origin, Snapshot, Sources
    from backstory.lineage.step import StepRun, Steps


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Derivation:
    """What a table was made from.

    Attributes:
        origins: Sources and groups that its rows have ids of.
        step: The latest step that returned a frame of exactly these rows; None if there is none.
    """

    origins: tuple[Origin, ...] = ()
    step: StepRun | None = None


def derived_from(sources: Sources, steps: Steps, frame: Any, name: str, subject: str | None) -> Derivation:
    """Return what a frame was made from, as its ids say; nothing if it has none, or some that do not check.

    A `LineageWarning` says so if rows about people are about to be kept in clear.

    Args:
        sources: The session's registry.
        steps: The steps of the session.
        frame: The held frame, with the ids it has.
        name: What it is to be fixed as.
        subject: The column that will say which person a row is about.
    """
    if not id_columns(column_names(frame)):
        return Derivation()
    seen = Seen()
    seen.add(sources, frame, "the frame to fix")
    if seen.failures or not seen.tracks:
        return Derivation()
    origins: tuple[Origin, ...] = tuple(
        track if isinstance(track, MixNode) else (track,) for track in seen.tracks.values()
    )
    people = [track.name for track in seen.tracks.values() if not isinstance(track, MixNode) and track.subject]
    if people and subject is None:
        warn_of_lineage(
            f"source {name} has rows of {people[0]}, which are about people, and will be kept in clear: expected "
            "subject=, the column that names them, if they still are"
        )
    runs = (run for run in reversed(steps.recent) if _returned(run, seen))
    return Derivation(origins=origins, step=next(runs, None))


def made_from(snapshot: Snapshot, but: Container[int]) -> list[Snapshot]:
    """Return what a snapshot was made from, however far back, what was made of something after that.

    Args:
        snapshot: The snapshot, which is not among them.
        but: Salts of snapshots to stop at.
    """
    found: dict[int, Snapshot] = {}
    waiting = [(snapshot, False)]
    while waiting:  # one that is fixed again and again in a loop is further back than Python calls itself
        one, is_done = waiting.pop()
        if is_done:
            found[one.salt] = one
        elif one.salt not in found and (one.salt not in but or one is snapshot):
            waiting.append((one, True))
            origins = () if one.derived is None else one.derived.origins
            waiting += [(parent, False) for origin in origins for parent in _parts(origin)]
    return [one for one in found.values() if one is not snapshot]


def _parts(origin: Origin) -> list[Snapshot]:
    """Return the parts of sources that rows of an origin are of, in groups too."""
    if isinstance(origin, tuple):
        return list(origin)
    return [part for inner in origin.origins.values() for part in _parts(inner)]


def _returned(run: StepRun, seen: Seen) -> bool:
    """Say whether one of the frames a step returned has exactly the rows that were seen."""
    prints = seen.prints()
    frames = zip(run.rows_out, run.returned, strict=True)
    return run.grade != "broken" and any(rows == seen.rows[0] and prints <= of_one for rows, of_one in frames)
