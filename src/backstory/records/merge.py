"""Merging: the entry that says that one file holds the records of several manifests. Bytes: docs/format.md section 12.

What it says is about files only. What proves a record is its manifest, which a merge leaves as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from backstory.errors import FormatError
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.identity import check_hex_id
from backstory.records.limits import MERGE_PARTS_MAX, MERGE_ROWS_MAX
from backstory.records.manifest import FileRef, parse_file

MERGE_TYPE = "segments.merged"
_PARTS_MIN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """What one `segments.merged` entry says.

    Attributes:
        stream: Stream id, 32 hex digits.
        first_seq: Sequence number of the first record.
        count: Records in the file.
        file: The merged file.
        parts: Indexes of the manifests' entries, in order of seq.
    """

    stream: str
    first_seq: int
    count: int
    file: FileRef
    parts: tuple[int, ...]

    @property
    def end_seq(self) -> int:
        """One more than the sequence number of the last record."""
        return self.first_seq + self.count

    def document(self) -> JsonObject:
        """Return the members of the entry besides its envelope."""
        return {
            "count": str(self.count),
            "file": self.file.document(),
            "first_seq": str(self.first_seq),
            "parts": [str(index) for index in self.parts],
            "stream": self.stream,
        }


def parse_merge(document: JsonObject) -> Merge:
    """Read what a `segments.merged` entry says.

    Raises:
        FormatError: Not such an entry of version 1, or one with impossible figures.
    """
    if document.get("type") != MERGE_TYPE:
        raise FormatError(f"merge: expected an entry {MERGE_TYPE}")
    canonical.check_version(document, 1, "merge")
    parts = document.get("parts")
    if not isinstance(parts, list) or not _PARTS_MIN <= len(parts) <= MERGE_PARTS_MAX:
        raise FormatError(f"merge: expected {_PARTS_MIN} to {MERGE_PARTS_MAX} parts")
    merge = Merge(
        stream=check_hex_id(canonical.text_of(document, "stream"), "merge's stream"),
        first_seq=canonical.count_of(document, "first_seq"),
        count=canonical.count_of(document, "count"),
        file=parse_file(document.get("file"), "merge"),
        parts=tuple(canonical.count_of({"part": part}, "part") for part in parts),
    )
    if not 0 < merge.count <= MERGE_ROWS_MAX:
        raise FormatError(f"merge: expected 1 to {MERGE_ROWS_MAX} records, got {merge.count}")
    return merge
