"""The dataset versions of an archive: which there are, which one a text names, and all that is said of one."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import pyarrow as pa

from backstory.errors import AmbiguousError, InputError, NotFoundError
from backstory.frames.profile import Profile
from backstory.ledger.ledger import Ledger
from backstory.lineage.referenced import REFERENCE
from backstory.lineage.store import read_profile, source_versions
from backstory.records import canonical
from backstory.records.access import Gate, Scope
from backstory.records.canonical import JsonObject
from backstory.records.names import names_instead

_SPEC: Final = re.compile(r"(?P<name>[a-z][a-z0-9_]{0,62})(:(?P<number>[1-9][0-9]{0,8}))?(@(?P<part>.+))?")
_PREFIX: Final = re.compile(r"[0-9a-f]{6,64}")
_SHOWN_DIGITS: Final = 12


@dataclass(frozen=True, kw_only=True)
class DatasetVersion:
    """One dataset version as one part of one version of a source.

    Attributes:
        name: The source's name.
        number: Which version of the source it is part of, from 1 by when each was first recorded.
        part: Name of the part, or None for the whole source.
        digest: Digest of the dataset version.
        first: Position of its first row.
        time: When it was first recorded.
        table: Digest of the blob with its rows; None where they are sealed, or kept by reference.
        referenced: Whether they are nowhere but where they were read from.
        document: The version's document.
        about: What is said of it, as it was said last, and from where it was read first.
        schema: Names and logical types of its columns.
    """

    name: str
    number: int
    part: str | None
    digest: str
    first: int
    time: str
    table: str | None
    referenced: bool
    document: JsonObject
    about: JsonObject = field(repr=False)
    schema: dict[str, Any] = field(repr=False)

    @property
    def spec(self) -> str:
        """What names it: `flights:2@june`."""
        return f"{self.name}:{self.number}" + ("" if self.part is None else f"@{self.part}")

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return canonical.count_of(self.document, "rows")

    @property
    def personal(self) -> bool:
        """Whether it is about people."""
        return self.document.get("personal") is True

    @property
    def key(self) -> tuple[str, ...]:
        """Columns that identify a row."""
        names = self.document.get("key")
        return tuple(str(name) for name in names) if isinstance(names, list) else ()

    @cached_property
    def column_digests(self) -> dict[str, str]:
        """The digest of each column; none where it is about people."""
        columns = self.document.get("columns")
        return {str(one["name"]): str(one["digest"]) for one in columns or () if isinstance(one, dict)}  # type: ignore[union-attr]

    def profile(self, ledger: Ledger, gate: Gate) -> Profile | None:
        """Return its profile; None if it has none, if it was erased, or if the gate lets nothing through.

        Raises:
            VerificationError: It is not the one that was recorded.
        """
        said = self.about.get("profile")
        if isinstance(said, dict):
            if not gate.allows():
                return None
            gate.pass_through("data", ["source"], self.rows, Scope(dataset=self.digest))
        with contextlib.suppress(NotFoundError):
            return read_profile(ledger, said)
        return None


def list_versions(ledger: Ledger, name: str | None = None) -> list[DatasetVersion]:
    """Return the dataset versions of a source, or of all, by source, version and part.

    Raises:
        NotFoundError: There is no such source.
    """
    by_name: dict[str, list[JsonObject]] = {}
    for entry in ledger.find_entries("source.fixed", name):
        by_name.setdefault(canonical.text_of(entry, "name"), []).append(entry)
    if name is not None and not by_name:
        others = {str(entry["name"]) for entry in ledger.find_entries("source.fixed")}
        raise NotFoundError(f"data: no source {name!r}{names_instead(name, others)}")
    return [version for entries in by_name.values() for version in _numbered(ledger, entries)]


def find_versions(ledger: Ledger, spec: str) -> list[DatasetVersion]:
    """Return the dataset versions a text names: the parts of one version of a source, by position.

    Args:
        ledger: The archive.
        spec: `name` for the latest version, `name:2` for the second, `name:2@part` for a part of it, `name@part` for
            the part in the latest version that has it, or a dataset version's digest, or at least six digits it begins
            with.

    Raises:
        InputError: It is nothing of these.
        NotFoundError: There is none.
        AmbiguousError: Several digests begin so.
    """
    if _PREFIX.fullmatch(spec) and not ledger.catalog.entries("source.fixed", spec):
        return [_by_digest(ledger, spec)]
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise InputError(f"data: expected name, name:2, name@part or the beginning of a digest, got {spec!r}")
    versions = list_versions(ledger, match["name"])
    if match["number"] is not None:
        versions = [one for one in versions if one.number == int(match["number"])]
        if not versions:
            last = max(one.number for one in list_versions(ledger, match["name"]))
            raise NotFoundError(f"data: {match['name']} has no version {match['number']}; it has 1 to {last}")
    if match["part"] is not None:
        parts = names_instead(match["part"], {one.part for one in versions if one.part is not None})
        versions = [one for one in versions if one.part == match["part"]]
        if not versions:
            raise NotFoundError(f"data: {spec.partition('@')[0]} has no part {match['part']!r}{parts}")
    number = _latest(ledger, versions)
    return [one for one in versions if one.number == number]


def find_version(ledger: Ledger, spec: str) -> DatasetVersion:
    """Return the one dataset version a text names; see `find_versions`.

    Raises:
        AmbiguousError: It names several parts.
    """
    found = find_versions(ledger, spec)
    if len(found) > 1:
        parts = ", ".join(one.spec for one in found)
        raise AmbiguousError(f"data: {spec} has {len(found)} parts; name one of {parts}")
    return found[0]


def versions_table(versions: list[DatasetVersion]) -> pa.Table:
    """Return dataset versions as a table, one a row."""
    rows = [
        {
            "name": one.name,
            "version": one.number,
            "part": one.part,
            "dataset": one.digest,
            "rows": one.rows,
            "time": one.time,
            "owner": one.about.get("owner"),
            "purpose": one.about.get("purpose"),
            "personal": one.personal,
            "kept": kept_text(one),
        }
        for one in versions
    ]
    text = pa.string()
    schema = pa.schema(
        [
            ("name", text),
            ("version", pa.int64()),
            ("part", text),
            ("dataset", text),
            ("rows", pa.int64()),
            ("time", text),
            ("owner", text),
            ("purpose", text),
            ("personal", pa.bool_()),
            ("kept", text),
        ]
    )
    return pa.Table.from_pylist(rows, schema)


def kept_text(version: DatasetVersion) -> str:
    """Return where the rows of a version are: `copy`, `sealed` or `reference`."""
    if version.referenced:
        return "reference"
    return "sealed" if version.personal else "copy"


def _by_digest(ledger: Ledger, prefix: str) -> DatasetVersion:
    found = {one.digest: one for one in list_versions(ledger) if one.digest.startswith(prefix)}
    if not found:
        raise NotFoundError(f"data: no source and no dataset version begins with {prefix}")
    if len(found) > 1:
        named = ", ".join(digest[: max(len(prefix) + 4, _SHOWN_DIGITS)] for digest in found)
        raise AmbiguousError(f"data: {len(found)} dataset versions begin with {prefix}: {named}")
    return next(iter(found.values()))


def _numbered(ledger: Ledger, entries: list[JsonObject]) -> list[DatasetVersion]:
    """Return the versions of one source, each once, though it may have been recorded again and again."""
    versions: list[dict[tuple[str | None, str], list[JsonObject]]] = []
    for parts in source_versions(entries):
        names = set(map(_place, parts))
        known = next((version for version in versions if names <= version.keys()), None)
        if known is None:
            known = {}
            versions.append(known)
        for entry in parts:
            known.setdefault(_place(entry), []).append(entry)
    return [
        _version(ledger, number, again)
        for number, parts in enumerate(versions, 1)
        for again in sorted(parts.values(), key=lambda same: canonical.count_of(same[0], "first"))
    ]


def _place(entry: JsonObject) -> tuple[str | None, str]:
    """Return the part and the dataset version an entry is about."""
    part = entry.get("part")
    return part if isinstance(part, str) else None, canonical.text_of(entry, "dataset")


def _version(ledger: Ledger, number: int, entries: list[JsonObject]) -> DatasetVersion:
    """Return a version from the entries that recorded it, oldest first."""
    part, digest = _place(entries[0])
    document = ledger.document(digest)
    said = [about for entry in entries if isinstance(about := entry.get("about"), str)]
    tables = [table for entry in entries if isinstance(table := entry.get("table"), str)]
    columns = ledger.document(canonical.text_of(document, "schema")).get("columns")
    return DatasetVersion(
        name=canonical.text_of(entries[0], "name"),
        number=number,
        part=part,
        digest=digest,
        first=canonical.count_of(entries[0], "first"),
        time=canonical.text_of(entries[0], "time"),
        table=tables[0] if tables else None,
        referenced=all(entry.get("kept") == REFERENCE for entry in entries),
        document=document,
        about=_about(ledger, said),
        schema={str(one["name"]): one["type"] for one in columns or () if isinstance(one, dict)},  # type: ignore[union-attr]
    )


def _about(ledger: Ledger, said: list[str]) -> JsonObject:
    """Return what was said last, but from where it was read first: what was made of it can be older than the last."""
    documents = [ledger.document(digest) for digest in dict.fromkeys(said)]
    if not documents:
        return {}
    origin = next((document["origin"] for document in documents if document.get("origin")), None)
    return documents[-1] if origin is None else documents[-1] | {"origin": origin}


def _latest(ledger: Ledger, versions: list[DatasetVersion]) -> int:
    """Return the number of the version that was recorded last, which need not be the one recorded first last."""
    numbers = {(one.part, one.digest): one.number for one in versions}  # the highest, as they are in order
    entries = reversed(ledger.find_entries("source.fixed", versions[0].name))
    return next(numbers[place] for place in map(_place, entries) if place in numbers)
