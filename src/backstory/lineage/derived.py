"""What a table that is fixed was made from: the sources its ids name, and the step whose rows it has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from backstory.frames.table import column_names
from backstory.frames.token import id_columns
from backstory.lineage.group import MixNode
from backstory.lineage.step import Seen

if TYPE_CHECKING:
    from backstory.lineage.source import Origin, Sources
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


def derived_from(sources: Sources, steps: Steps, frame: Any) -> Derivation:
    """Return what a frame was made from, as its ids say; nothing if it has none, or some that do not check.

    Args:
        sources: The session's registry.
        steps: The steps of the session.
        frame: The frame, with the ids it has.
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
    runs = (run for run in reversed(steps.recent) if _returned(run, seen))
    return Derivation(origins=origins, step=next(runs, None))


def _returned(run: StepRun, seen: Seen) -> bool:
    """Say whether what a step returned has exactly the rows that were seen."""
    if run.grade == "broken" or seen.rows[0] not in run.rows_out:
        return False
    for salt, mask in seen.masks.items():
        flow = run.flows.get(salt)
        if flow is None or flow.came_out is None or not np.array_equal(flow.came_out, np.packbits(mask)):
            return False
    return True
