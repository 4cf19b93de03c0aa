"""What the shell is told. Numbers are public: docs/reference/commands.md lists them, and none changes its meaning."""

from __future__ import annotations

from backstory.errors import (
    AmbiguousError,
    BackstoryError,
    BusyError,
    ConflictError,
    ForbiddenError,
    FormatError,
    InputError,
    NotFoundError,
    StorageError,
    UnsupportedVersionError,
    VerificationError,
)

OK = 0
UNLISTED = 1
INPUT = 2
PARTIAL = 3
NOT_FOUND = 10
CONFLICT = 11
BUSY = 12
FORBIDDEN = 13
FAILED = 20
UNVERIFIED = 21
INTERRUPTED = 130

MEANINGS = {
    OK: "done, or the answer is yes",
    UNLISTED: "an error this table does not list",
    INPUT: "the command, an option or a question is malformed",
    PARTIAL: "answered in part: something is sealed or broken, and the answer names it; a query is incomplete",
    NOT_FOUND: "no such archive, prediction, model or source",
    CONFLICT: "something is in the way, or an id prefix fits several",
    BUSY: "another process holds what is needed; try again",
    FORBIDDEN: "not allowed: read-only, or sealed values without actor and purpose",
    FAILED: "verification failed, a replay diverged, a count differs, a contract or query is violated, or lint warns",
    UNVERIFIED: "could not verify, read or replay: nothing is said about the evidence; a query does not apply",
    INTERRUPTED: "interrupted",
}
"""Every exit code with its meaning. A program should take a code it does not know for a failure."""

_BY_CLASS: dict[type[BackstoryError], int] = {
    InputError: INPUT,
    UnsupportedVersionError: UNVERIFIED,
    NotFoundError: NOT_FOUND,
    AmbiguousError: CONFLICT,
    ConflictError: CONFLICT,
    BusyError: BUSY,
    ForbiddenError: FORBIDDEN,
    VerificationError: FAILED,
    StorageError: UNVERIFIED,
    FormatError: UNVERIFIED,
    BackstoryError: UNLISTED,
}


def exit_code(error: type[BackstoryError]) -> int:
    """Return the exit code of an error's class: its own, or that of the nearest class above it."""
    return next(_BY_CLASS[parent] for parent in error.__mro__ if parent in _BY_CLASS)
