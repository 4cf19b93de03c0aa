"""Where records are now: the entries that say that one file holds the records of several manifests, or less of them.

What they say is about files only. What proves a record is its manifest, which they leave as it is. Bytes:
docs/format.md, sections 12 (merged files) and 41 (trimmed ones).
"""

from __future__ import annotations

from dataclasses import dataclass

from backstory.errors import FormatError
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.identity import check_hex_id
from backstory.records.limits import MERGE_PARTS_MAX, MERGE_ROWS_MAX
from backstory.records.manifest import FileRef, parse_file

MERGE_TYPE, TRIM_TYPE = "segments.merged", "segments.trimmed"
MOVED_TYPES = frozenset({MERGE_TYPE, TRIM_TYPE})
"""Types of the entries that say in which file records are now."""
_PARTS_MIN = {MERGE_TYPE: 2, TRIM_TYPE: 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """What one `segments.merged` or `segments.trimmed` entry says.

    Attributes:
        stream: Stream id, 32 hex digits.
        first_seq: Sequence number of the first record.
        count: Records in the file.
        file: The merged or trimmed file.
        parts: Indexes of the manifests' entries, in order of seq.
        gone: Of a trimmed file how many records of each part are not in it any more; empty for a merged one.
        disposal: Of a trimmed file the index of the entry that began the disposal; None where a restore lost it.
    """

    stream: str
    first_seq: int
    count: int
    file: FileRef
    parts: tuple[int, ...]
    gone: tuple[int, ...] = ()
    disposal: int | None = None

    @property
    def end_seq(self) -> int:
        """One more than the sequence number of the last record."""
        return self.first_seq + self.count

    def gone_of(self, part: int) -> int:
        """Return how many records of a part, by the index of its manifest, are not in the file any more."""
        return self.gone[self.parts.index(part)] if self.gone else 0

    def document(self) -> JsonObject:
        """Return the members of the entry besides its time, version and actor."""
        document: JsonObject = {
            "count": str(self.count),
            "file": self.file.document(),
            "first_seq": str(self.first_seq),
            "parts": [str(index) for index in self.parts],
            "stream": self.stream,
            "type": TRIM_TYPE if self.gone else MERGE_TYPE,
        }
        if self.gone:
            document["gone"] = [str(count) for count in self.gone]
            document["disposal"] = None if self.disposal is None else str(self.disposal)
        return document


def parse_merge(document: JsonObject) -> Merge:
    """Read what a `segments.merged` or `segments.trimmed` entry says.

    Raises:
        FormatError: Not such an entry of version 1, or one with impossible figures.
    """
    type_ = str(document.get("type"))
    if type_ not in MOVED_TYPES:
        raise FormatError(f"merge: expected an entry {MERGE_TYPE} or {TRIM_TYPE}")
    canonical.check_version(document, 1, "merge")
    parts, least = document.get("parts"), _PARTS_MIN[type_]
    if not isinstance(parts, list) or not least <= len(parts) <= MERGE_PARTS_MAX:
        raise FormatError(f"merge: expected {least} to {MERGE_PARTS_MAX} parts")
    gone = document.get("gone", []) if type_ == TRIM_TYPE else []
    if not isinstance(gone, list) or len(gone) != (len(parts) if type_ == TRIM_TYPE else 0):
        raise FormatError("trimmed file: expected how many records are gone of each part")
    disposal = document.get("disposal")
    merge = Merge(
        stream=check_hex_id(canonical.text_of(document, "stream"), "merge's stream"),
        first_seq=canonical.count_of(document, "first_seq"),
        count=canonical.count_of(document, "count"),
        file=parse_file(document.get("file"), "merge"),
        parts=tuple(canonical.count_of({"part": part}, "part") for part in parts),
        gone=tuple(canonical.count_of({"gone": count}, "gone") for count in gone),
        disposal=None if type_ != TRIM_TYPE or disposal is None else canonical.count_of(document, "disposal"),
    )
    if not 0 < merge.count <= MERGE_ROWS_MAX:
        raise FormatError(f"merge: expected 1 to {MERGE_ROWS_MAX} records, got {merge.count}")
    return merge
