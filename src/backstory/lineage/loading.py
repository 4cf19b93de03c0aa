"""Choosing dataset versions by how they came in: when they were loaded, as which part, from which file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath

from backstory.errors import QueryError
from backstory.ledger.ledger import Ledger
from backstory.lineage.reconcile import moment_ns
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.identity import parse_time
from backstory.records.names import names_instead

Moment = str | datetime | None
_ENDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Which loads of a source are meant; what is None does not count.

    Attributes:
        since: Nanoseconds since the epoch: at or after this moment.
        until: Before this moment.
        part: The part they are of.
        origin: Where they came from, in the caller's words, as the path that was read, or as the name of a file.
    """

    since: int | None = None
    until: int | None = None
    part: str | None = None
    origin: str | None = None

    @classmethod
    def asked(cls, loaded: tuple[Moment, Moment] | None, part: str | None, origin: str | None) -> Load:
        """Return what a question asks for.

        Raises:
            QueryError: `loaded` is no pair of moments, or one of them is none.
        """
        if loaded is not None and not (isinstance(loaded, tuple | list) and len(loaded) == _ENDS):
            raise QueryError("impact: expected loaded=(since, until), two moments of which one may be None")
        since, until = loaded or (None, None)
        wanted = "impact: expected loaded=(since, until)"
        return cls(since=moment_ns(since, wanted), until=moment_ns(until, wanted), part=part, origin=origin)

    @property
    def is_asked(self) -> bool:
        """Whether anything is asked for."""
        return any(one is not None for one in (self.since, self.until, self.part, self.origin))

    def choose(self, ledger: Ledger, entries: Iterable[JsonObject]) -> list[JsonObject]:
        """Return the `source.fixed` entries of these loads."""
        return [entry for entry in entries if self._is_of(ledger, entry)]

    def instead(self, ledger: Ledger, entries: Iterable[JsonObject]) -> str:
        """Return the end of a message that says that none of some entries is of these loads: what they are of."""
        if self.part is not None:
            return names_instead(self.part, {str(entry["part"]) for entry in entries if entry.get("part") is not None})
        if self.origin is not None:
            places = [_places(entry, origin_of(ledger, entry)) for entry in entries]
            return names_instead(self.origin, {str(place) for of_one in places for place in of_one if place})
        times = sorted(loaded_at(entry, origin_of(ledger, entry)) for entry in entries)
        return f"; loads there are from {times[0]} to {times[-1]}"

    def _is_of(self, ledger: Ledger, entry: JsonObject) -> bool:
        origin = origin_of(ledger, entry)
        time = parse_time(loaded_at(entry, origin))
        return (
            (self.since is None or time >= self.since)
            and (self.until is None or time < self.until)
            and (self.part is None or entry.get("part") == self.part)
            and (self.origin is None or self.origin in _places(entry, origin))
        )


def origin_of(ledger: Ledger, entry: JsonObject) -> JsonObject:
    """Return what is said of where a version was read from; empty where nothing is."""
    about = entry.get("about")
    origin = ledger.document(about).get("origin") if isinstance(about, str) else None
    return origin if isinstance(origin, dict) else {}


def loaded_at(entry: JsonObject, origin: JsonObject) -> str:
    """Return when a version was loaded: when it was read, where that is known, else when it was first used."""
    extracted = origin.get("extracted")
    return extracted if isinstance(extracted, str) else canonical.text_of(entry, "time")


def _places(entry: JsonObject, origin: JsonObject) -> set[JsonValue]:
    """Return the texts that mean where a version came from."""
    path, files = origin.get("path"), origin.get("files")
    named = [file.get("name") for file in files if isinstance(file, dict)] if isinstance(files, list) else []
    own = {entry.get("origin"), path, *named}
    return own | {PurePosixPath(text).name for text in own if isinstance(text, str)}
