"""Which version of a named definition a text means: of a feature set, or of a reason map."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from backstory.errors import AmbiguousError, NotFoundError, QueryError
from backstory.ledger.ledger import Ledger
from backstory.records import canonical
from backstory.records.names import names_instead

_DIGEST_PREFIX = re.compile(r"[0-9a-f]{6,64}")


class Version(Protocol):
    """One version: its number, and its digest."""

    @property
    def version(self) -> int:
        """Its number under its name, from 1."""

    @property
    def digest(self) -> str:
        """Digest of its document."""


Found = TypeVar("Found", bound=Version)


def find_definition(
    ledger: Ledger, spec: str, versions: Callable[[str | None], Sequence[Found]], *, entry: str, what: str
) -> Found:
    """Return the version that `name` (the latest), `name:version` or a digest prefix of at least 6 digits means.

    Args:
        ledger: The archive.
        spec: The text.
        versions: Returns every version of a name, or of all, oldest first.
        entry: The type of the entries that define one, such as `features.defined`.
        what: What it is called, such as `feature set`.

    Raises:
        NotFoundError: There is none.
        AmbiguousError: A digest prefix fits several.
        QueryError: What names it is no text.
    """
    question = entry.partition(".")[0]
    if not isinstance(spec, str):
        raise QueryError(f"{question}: expected the name of a {what} as text, got {type(spec).__name__}")
    name, mark, number = spec.partition(":")
    if ledger.find_entries(entry, name):
        fitting = [one for one in versions(name) if not mark or str(one.version) == number]
        if not fitting:
            raise NotFoundError(f"{question}: no version {number!r} of {name!r}")
        return fitting[-1]
    if _DIGEST_PREFIX.fullmatch(spec):
        fitting = [one for one in versions(None) if one.digest.startswith(spec)]
        if len(fitting) > 1:
            raise AmbiguousError(f"{question}: {len(fitting)} versions have digests that begin with {spec!r}")
        if fitting:
            return fitting[0]
    raise unknown_definition(ledger, name, entry=entry, what=what)


def unknown_definition(ledger: Ledger, name: str, *, entry: str, what: str) -> NotFoundError:
    """Return the error that there is none of a name, with the names there are."""
    names = {canonical.text_of(one, "name") for one in ledger.find_entries(entry)}
    return NotFoundError(f"{entry.partition('.')[0]}: no {what} called {name!r}{names_instead(name, names)}")
