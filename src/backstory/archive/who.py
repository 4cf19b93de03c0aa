"""Who opens an archive, and as what: what could not be recorded is refused before anything is opened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from backstory.errors import ForbiddenError, InputError
from backstory.governance.access import AccessGate
from backstory.tlog.signer import Signer

Mode = Literal["r", "rw"]


def require_recordable(
    mode: str, *, actor: str | None, purpose: str | None, role: str | None, case: str | None, signer: Signer | None
) -> None:
    """Insist that what is asked for on opening can be recorded; see `backstory.open`.

    Raises:
        InputError: There is no such mode, or it is not said who asks, as what, for what.
        ForbiddenError: Nothing is recorded in mode `r`.
    """
    if mode not in {"r", "rw"}:
        raise InputError(f"opening archive: expected mode 'r' or 'rw', got {mode!r}")
    for name, text in {"actor": actor, "purpose": purpose, "role": role, "case": case}.items():
        if text is not None and not text.strip():
            raise InputError(f"opening archive: expected the {name} in words, got an empty text")
    if purpose is not None and mode == "r":
        raise ForbiddenError("opening archive: reading sealed values is recorded, so a purpose needs mode 'rw'")
    if actor is not None and mode == "r":
        raise ForbiddenError("opening archive: an actor is who writes or opens sealed values, and needs mode 'rw'")
    if (role is not None or case is not None) and mode == "r":
        raise ForbiddenError("opening archive: what is seen under a role or for a case is recorded; use mode 'rw'")
    if (role is not None or case is not None) and actor is None:
        raise InputError("opening archive: expected an actor with the role or case: the log says who asked")
    if purpose is not None and actor is None:
        raise InputError("opening archive: expected an actor with the purpose: the log says who read sealed values")
    if signer is not None and mode == "r":
        raise ForbiddenError("opening archive: nothing is signed in mode 'r'; a signer needs mode 'rw'")


def require_role(gate: AccessGate, close: Callable[[], None]) -> None:
    """Insist that whoever opened the archive has the role they named; else it is closed again.

    Raises:
        ForbiddenError: They do not.
    """
    try:
        gate.require_role()
    except BaseException:
        close()
        raise
