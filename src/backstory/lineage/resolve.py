"""From an id column to positions: which snapshot or group do these tokens name, and do they all pass its check.

Arithmetic on tokens breaks nearly all of a column, and one in 65,536 broken tokens passes by accident. So where a
column is damaged beyond a few rows, none of it is believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backstory.errors import TokenError
from backstory.frames.token import (
    ROW_PREFIX,
    TokenColumn,
    check_tokens,
    positions_of,
    read_tokens,
    sound_positions,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backstory.lineage.source import Origin, Snapshot, Sources

NO_ROW: Final = -1
BROKEN: Final = -2

# Above this many failures the chance that another token passed by accident is no longer below 1 in 1,000.
_FAILURES_TRUSTED_MAX: Final = 64
_PROBE_ROWS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Resolved:
    """One id column, read.

    Attributes:
        reference: The column's name without `_row_`.
        origin: What the positions point into.
        positions: One a row: 0 or more, `NO_ROW`, or `BROKEN`; 32 bits where they fit.
        is_broken: Whether a position is `BROKEN`.
        failure: What is wrong with the column, in words, or None.
    """

    reference: str
    origin: Origin
    positions: NDArray[np.signedinteger[Any]]
    is_broken: bool
    failure: str | None


def resolve(sources: Sources, column: str, values: Any) -> Resolved:
    """Read an id column and check its tokens against the session's sources and groups.

    Args:
        sources: The session's registry.
        column: The column's name, with `_row_`.
        values: Its values, from `column_values`.

    Returns:
        The positions; damaged ones are marked and described, not raised.

    Raises:
        TokenError: Nothing of that name is known in this session.
    """
    reference = column.removeprefix(ROW_PREFIX)
    origins = [origin for versions in sources.find(reference).values() for origin in reversed(versions)]
    if not origins:
        raise TokenError(
            f"row ids of an unknown source: expected a source or group of this archive, got column {column!r}; "
            "were these rows fixed in another archive or session?",
            column=column,
        )
    likeliest = origins[0]
    sound = _sound_positions(values, likeliest)
    if sound is not None:
        return Resolved(reference=reference, origin=likeliest, positions=sound, is_broken=False, failure=None)
    tokens = read_tokens(values)
    live = ~tokens.none
    best: tuple[int, Origin, NDArray[np.bool_]] | None = None
    for origin in origins:
        if best is not None and not _passes_probe(tokens.tokens[live][:_PROBE_ROWS], origin):
            continue
        valid = _check(tokens.tokens, origin)
        failed = int(np.count_nonzero(valid ^ live))
        if best is None or failed < best[0]:
            best = (failed, origin, valid)
        if failed == 0:
            break
    if best is None:  # pragma: no cover - a registered name has a version
        raise AssertionError(reference)
    return _conclude(reference, column, tokens, best)


def _sound_positions(values: Any, origin: Origin) -> NDArray[np.signedinteger[Any]] | None:
    """Return the positions if every value is a token of this very origin, or none; parts are told apart elsewhere."""
    if not isinstance(values, np.ndarray):
        return None
    if not isinstance(origin, tuple):
        return sound_positions(values, origin.salt, 0, origin.groups) if origin.groups else None
    if len(origin) > 1:
        return None
    return sound_positions(values, origin[0].salt, origin[0].first_position, origin[0].rows)


def _conclude(
    reference: str, column: str, tokens: TokenColumn, best: tuple[int, Origin, NDArray[np.bool_]]
) -> Resolved:
    failed, origin, valid = best
    positions = positions_of(tokens.tokens)
    used = _parts_used(origin, positions, valid)
    if failed == 0:
        return Resolved(reference=reference, origin=used, positions=positions, is_broken=False, failure=None)
    live = ~tokens.none
    wrong = live & ~valid
    count = int(live.sum())
    if failed > _FAILURES_TRUSTED_MAX or failed * 2 >= count:
        positions[live] = BROKEN
    else:
        positions[wrong] = BROKEN
    cause = tokens.flaw or _guess_cause(failed, count)
    failure = (
        f"row ids do not check: expected tokens of {_name_of(origin)}, got {failed} of {count} others in column "
        f"{column!r}, the first in row {int(np.argmax(wrong))}; likely cause: {cause}"
    )
    return Resolved(reference=reference, origin=used, positions=positions, is_broken=True, failure=failure)


def _guess_cause(failed: int, count: int) -> str:
    if failed < count:
        return "rows of another source, version or part mixed in (name the parts), or values filled into the id column"
    return (
        "arithmetic on row ids (rolling, mean, scaling), a cast to a narrower type, or ids of another source or archive"
    )


def _name_of(origin: Origin) -> str:
    return f"source {origin[0].name!r}" if isinstance(origin, tuple) else f"group {origin.name!r}"


def _check(tokens: NDArray[np.uint64], origin: Origin) -> NDArray[np.bool_]:
    if not isinstance(origin, tuple):
        return check_tokens(tokens, origin.salt, 0, origin.groups)
    if len(origin) == 1:
        return check_tokens(tokens, origin[0].salt, origin[0].first_position, origin[0].rows)
    valid = np.zeros(tokens.shape, np.bool_)
    positions = positions_of(tokens)
    for snapshot in origin:
        inside = _inside(positions, snapshot)
        if inside.any():
            valid[inside] = check_tokens(tokens[inside], snapshot.salt, snapshot.first_position, snapshot.rows)
    return valid


def _passes_probe(tokens: NDArray[np.uint64], origin: Origin) -> bool:
    return not tokens.size or bool(_check(tokens, origin).any())


def _parts_used(origin: Origin, positions: NDArray[np.int64], valid: NDArray[np.bool_]) -> Origin:
    """Leave out the parts no row names; keep all where no row names any."""
    if not isinstance(origin, tuple) or len(origin) == 1:
        return origin
    named = positions[valid]
    used = tuple(snapshot for snapshot in origin if bool(_inside(named, snapshot).any()))
    return used or origin


def _inside(positions: NDArray[np.int64], snapshot: Snapshot) -> NDArray[np.bool_]:
    end = snapshot.first_position + snapshot.rows
    return (positions >= snapshot.first_position) & (positions < end)
