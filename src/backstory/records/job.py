"""Jobs: runs over many rows whose parts are recorded once each. Bytes: docs/format.md sections 12 and 15."""

from __future__ import annotations

from dataclasses import dataclass

from backstory.errors import FormatError
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.identity import check_hex_id

PART_TYPE, FINISHED_TYPE = "job.part", "job.finished"
JOB_TYPES = frozenset({PART_TYPE, FINISHED_TYPE})


@dataclass(frozen=True, slots=True, kw_only=True)
class PartName:
    """What names a part of a job: the job, the run of it, the part of the run."""

    name: str
    run: str
    part: str

    def document(self) -> JsonObject:
        """Return the JSON form."""
        return {"name": self.name, "part": self.part, "run": self.run}

    @property
    def key(self) -> str:
        """The text an index finds the part's entry by."""
        return entry_key(self.document())


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPart:
    """What one `job.part` entry says: which part is done, which stream holds its records, and how many."""

    which: PartName
    stream: str
    records: int

    def document(self) -> JsonObject:
        """Return the members of the entry besides its envelope."""
        return {**self.which.document(), "records": str(self.records), "stream": self.stream}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnd:
    """What one `job.finished` entry says: what is in the log of a run, and how many records were expected."""

    name: str
    run: str
    parts: int
    records: int
    expected: int | None

    def document(self) -> JsonObject:
        """Return the members of the entry besides its envelope."""
        return {
            "expected": None if self.expected is None else str(self.expected),
            "name": self.name,
            "parts": str(self.parts),
            "records": str(self.records),
            "run": self.run,
        }


def parse_part_name(document: JsonValue, what: str) -> PartName:
    """Read which part is meant.

    Args:
        document: A JSON object.
        what: What it is, for the error message.

    Raises:
        FormatError: It does not name a part.
    """
    if not isinstance(document, dict):
        raise FormatError(f"{what}: expected name, run and part of a job")
    name, run, part = (canonical.text_of(document, key) for key in ("name", "run", "part"))
    return PartName(name=name, run=run, part=part)


def parse_job_part(document: JsonObject) -> JobPart:
    """Read a `job.part` entry.

    Raises:
        FormatError: Not such an entry of version 1, or one without records.
    """
    _insist(document, PART_TYPE)
    part = JobPart(
        which=parse_part_name(document, PART_TYPE),
        stream=check_hex_id(canonical.text_of(document, "stream"), f"{PART_TYPE}'s stream"),
        records=canonical.count_of(document, "records"),
    )
    if part.records == 0:
        raise FormatError(f"{PART_TYPE}: expected at least one record")
    return part


def parse_job_end(document: JsonObject) -> JobEnd:
    """Read a `job.finished` entry.

    Raises:
        FormatError: Not such an entry of version 1.
    """
    _insist(document, FINISHED_TYPE)
    return JobEnd(
        name=canonical.text_of(document, "name"),
        run=canonical.text_of(document, "run"),
        parts=canonical.count_of(document, "parts"),
        records=canonical.count_of(document, "records"),
        expected=None if document.get("expected") is None else canonical.count_of(document, "expected"),
    )


def entry_key(document: JsonObject) -> str:
    """Return the text by which an entry about a job is indexed."""
    names = [document.get(key) for key in ("name", "run", "part") if key in document]
    return canonical.encode(names).decode()


def part_keys(name: str, run: str) -> tuple[str, str]:
    """Return the bounds of the keys of a run's parts: the first is in, the second out."""
    prefix = canonical.encode([name, run]).decode().removesuffix("]")
    return f"{prefix},", f"{prefix}-"  # `-` follows the comma


def _insist(document: JsonObject, type_: str) -> None:
    if document.get("type") != type_:
        raise FormatError(f"job: expected an entry {type_}")
    canonical.check_version(document, 1, type_)
