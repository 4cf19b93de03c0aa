"""The manifest of a segment: the entry that commits to a run of records. Bytes: docs/format.md section 12."""

from __future__ import annotations

import re
from dataclasses import dataclass

from backstory.errors import FormatError
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.identity import check_digest, check_hex_id
from backstory.records.limits import SEGMENT_CONTEXTS_MAX, SEGMENT_ROWS_MAX

MANIFEST_TYPE = "segment.sealed"
OPENED_TYPE, HEARTBEAT_TYPE, CLOSED_TYPE = "stream.opened", "stream.heartbeat", "stream.closed"
"""Types of the entries about a writer: it began, it said what it has counted, it ended and all of it is sealed."""
_FILE_NAME = re.compile(r"[0-9A-Za-z_-][0-9A-Za-z_.-]{0,254}")
SKETCHED_TYPE = "segment.sketched"
"""Type of the entry that names what is kept of the values of a segment's records."""
STREAM_TYPES = frozenset({OPENED_TYPE, HEARTBEAT_TYPE, CLOSED_TYPE})


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRef:
    """A file a manifest speaks of: its name, SHA-256 in hex, and size in bytes."""

    name: str
    sha256: str
    size: int

    def document(self) -> JsonObject:
        """Return the JSON form."""
        return {"name": self.name, "sha256": self.sha256, "size": str(self.size)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What one `segment.sealed` entry says.

    Attributes:
        kind: Kind of the records.
        stream: Stream id, 32 hex digits.
        first_seq: Sequence number of the first record.
        count: Records in the segment, at least 1.
        first_id: Id of the first record, 32 hex digits.
        last_id: Id of the last record.
        first_time: RFC 3339 time of the first record.
        last_time: RFC 3339 time of the last record.
        contexts: Digests of the contexts the records refer to, in hex, sorted.
        schema: Digest of the schema, in hex.
        root: Root of the record leaves, in hex.
        file: The segment file.
        shard: The vault shard, None without sealed groups.
    """

    kind: str
    stream: str
    first_seq: int
    count: int
    first_id: str
    last_id: str
    first_time: str
    last_time: str
    contexts: tuple[str, ...]
    schema: str
    root: str
    file: FileRef
    shard: FileRef | None

    @property
    def end_seq(self) -> int:
        """One more than the sequence number of the last record."""
        return self.first_seq + self.count

    def document(self) -> JsonObject:
        """Return the members of the entry besides its envelope."""
        return {
            "contexts": list(self.contexts),
            "count": str(self.count),
            "file": self.file.document(),
            "first_id": self.first_id,
            "first_seq": str(self.first_seq),
            "first_time": self.first_time,
            "kind": self.kind,
            "last_id": self.last_id,
            "last_time": self.last_time,
            "root": self.root,
            "schema": self.schema,
            "shard": self.shard.document() if self.shard else None,
            "stream": self.stream,
        }


def parse_manifest(document: JsonObject) -> Manifest:
    """Read a manifest from a `segment.sealed` entry.

    Raises:
        FormatError: Not a manifest of version 1, or one with impossible figures.
    """
    if document.get("type") != MANIFEST_TYPE:
        raise FormatError(f"manifest: expected an entry {MANIFEST_TYPE}")
    canonical.check_version(document, 1, "manifest")
    text, contexts, shard = canonical.text_of, document.get("contexts"), document.get("shard")
    if not isinstance(contexts, list) or not 0 < len(contexts) <= SEGMENT_CONTEXTS_MAX:
        raise FormatError(f"manifest: expected 1 to {SEGMENT_CONTEXTS_MAX} contexts")
    manifest = Manifest(
        kind=text(document, "kind"),
        stream=check_hex_id(text(document, "stream"), "manifest's stream"),
        first_seq=canonical.count_of(document, "first_seq"),
        count=canonical.count_of(document, "count"),
        first_id=check_hex_id(text(document, "first_id"), "manifest's first id"),
        last_id=check_hex_id(text(document, "last_id"), "manifest's last id"),
        first_time=text(document, "first_time"),
        last_time=text(document, "last_time"),
        contexts=tuple(check_digest(c, "manifest's context") for c in contexts),
        schema=check_digest(document.get("schema"), "manifest's schema"),
        root=check_digest(document.get("root"), "manifest's root"),
        file=parse_file(document.get("file")),
        shard=None if shard is None else parse_file(shard),
    )
    if not 0 < manifest.count <= SEGMENT_ROWS_MAX:
        raise FormatError(f"manifest: expected 1 to {SEGMENT_ROWS_MAX} records, got {manifest.count}")
    return manifest


def parse_file(value: JsonValue, what: str = "manifest") -> FileRef:
    """Read what an entry says of a file.

    Args:
        value: The member of the entry.
        what: What the entry is, for the error message.

    Raises:
        FormatError: Not a file, or its name is none of ours.
    """
    if not isinstance(value, dict):
        raise FormatError(f"{what}: expected a file with name, sha256 and size")
    name = canonical.text_of(value, "name")
    if not _FILE_NAME.fullmatch(name):
        raise FormatError(
            f"{what}: a file's name has 1 to 255 letters, digits, '-', '_' or '.', and begins with no dot"
        )
    return FileRef(
        name=name,
        sha256=check_digest(value.get("sha256"), f"{what}'s file"),
        size=canonical.count_of(value, "size"),
    )
