"""Entries that say which key speaks for the log from now on. Bytes: docs/format.md section 12.

`key.rotated` replaces the key, `key.added` adds a second one, `archive.restored` begins a log of another origin with
the entries of an earlier one. What they say counts only as far as the entry is proven to be in the log.
"""

from __future__ import annotations

from dataclasses import dataclass

from backstory.errors import FormatError
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.identity import check_digest

CREATED_TYPE = "archive.created"
ROTATED_TYPE = "key.rotated"
ADDED_TYPE = "key.added"
RESTORED_TYPE = "archive.restored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """What a `key.rotated` entry says.

    Attributes:
        vkey: The key that speaks for the log from the next checkpoint on.
        retired: The key that speaks for it no longer.
        config: SHA-256 of the `backstory.toml` that names the new key, in hex.
    """

    vkey: str
    retired: str
    config: str

    def document(self) -> JsonObject:
        """Return the entry besides its envelope."""
        return {"config": self.config, "retired": self.retired, "type": ROTATED_TYPE, "vkey": self.vkey}


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A tree of a log: how many entries, and its root.

    Attributes:
        size: Entries.
        root: Root, in hex.
    """

    size: int
    root: str

    def document(self) -> JsonObject:
        """Return the JSON form."""
        return {"root": self.root, "size": str(self.size)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What an `archive.restored` entry says.

    Attributes:
        origin: Origin of the log that begins here.
        vkey: Its key.
        config: SHA-256 of the `backstory.toml` that names both, in hex.
        previous_origin: Origin of the log whose entries it goes on with.
        previous_vkey: The key that spoke for that log at the end.
        previous: The tree of that log it begins with: all entries before this one.
        last_known: The newest tree of that log somebody has a signed checkpoint of, if there is a newer one.
        lost: How many entries of that log are gone, by `last_known`; None where nobody had one.
    """

    origin: str
    vkey: str
    config: str
    previous_origin: str
    previous_vkey: str
    previous: Head
    last_known: Head | None
    lost: int | None

    def document(self) -> JsonObject:
        """Return the entry besides its envelope."""
        return {
            "config": self.config,
            "last_known": None if self.last_known is None else self.last_known.document(),
            "lost": None if self.lost is None else str(self.lost),
            "origin": self.origin,
            "previous": {"origin": self.previous_origin, "vkey": self.previous_vkey, **self.previous.document()},
            "type": RESTORED_TYPE,
            "vkey": self.vkey,
        }


def parse_rotated(document: JsonObject) -> Rotated:
    """Read a `key.rotated` entry.

    Raises:
        FormatError: It is none of version 1.
    """
    _check_type(document, ROTATED_TYPE)
    text = canonical.text_of
    return Rotated(
        vkey=text(document, "vkey"),
        retired=text(document, "retired"),
        config=check_digest(document.get("config"), ROTATED_TYPE),
    )


def parse_restored(document: JsonObject) -> Restored:
    """Read an `archive.restored` entry.

    Raises:
        FormatError: It is none of version 1.
    """
    _check_type(document, RESTORED_TYPE)
    previous, last_known = document.get("previous"), document.get("last_known")
    if not isinstance(previous, dict):
        raise FormatError(f"{RESTORED_TYPE}: expected a log it goes on with")
    return Restored(
        origin=canonical.text_of(document, "origin"),
        vkey=canonical.text_of(document, "vkey"),
        config=check_digest(document.get("config"), RESTORED_TYPE),
        previous_origin=canonical.text_of(previous, "origin"),
        previous_vkey=canonical.text_of(previous, "vkey"),
        previous=_head(previous),
        last_known=None if last_known is None else _head(last_known),
        lost=None if document.get("lost") is None else canonical.count_of(document, "lost"),
    )


def _head(value: JsonValue) -> Head:
    if not isinstance(value, dict):
        raise FormatError(f"{RESTORED_TYPE}: expected a tree with size and root")
    return Head(size=canonical.count_of(value, "size"), root=check_digest(value.get("root"), RESTORED_TYPE))


def _check_type(document: JsonObject, type_: str) -> None:
    if document.get("type") != type_:
        raise FormatError(f"{type_}: expected an entry of this type")
    canonical.check_version(document, 1, type_)
