"""Checking what the log says of jobs against the manifests: each part once, with the records it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from backstory.errors import FormatError
from backstory.records.job import (
    FINISHED_TYPE,
    PART_TYPE,
    JobEnd,
    JobPart,
    PartName,
    parse_job_end,
    parse_job_part,
)
from backstory.verify.audit import Audit
from backstory.verify.entries import Entries
from backstory.verify.held import Holdings

_MEANS = "how many records a run of this job left, and whether a part was done twice, can no longer be shown"


def check_jobs(audit: Audit, entries: Entries, holdings: Holdings) -> None:
    """Check the entries about jobs, as far as the log can be read: where an entry is missing, more may be."""
    if not entries.is_whole:
        return  # said already
    sealed = holdings.sealed
    seen: set[PartName | str] = set()
    runs: dict[tuple[str, str], list[int]] = {}
    for index, entry in entries.documents(PART_TYPE, FINISHED_TYPE):
        try:
            if entry["type"] == PART_TYPE:
                part = parse_job_part(entry)
                runs.setdefault((part.which.name, part.which.run), []).append(part.records)
                problem = _problem_of_part(part, sealed, seen)
                seen |= {part.which, part.stream}
            else:
                end = parse_job_end(entry)
                problem = _problem_of_end(end, runs.get((end.name, end.run), []))
                if problem is None and end.expected not in {None, end.records}:
                    what = f"a run of a job ended with {end.records} records, {end.expected} were expected"
                    audit.add("note", f"entry {index}", what, index=index)
        except FormatError as error:
            problem = str(error)
        if problem is not None:
            audit.add("failed", f"entry {index}", problem, index=index, meaning=_MEANS)


def _problem_of_part(part: JobPart, sealed: Mapping[str, int], seen: AbstractSet[PartName | str]) -> str | None:
    found = sealed.get(part.stream, 0)
    if found != part.records:
        return f"a part of a job has {part.records} records by this, {found} by the manifests of stream {part.stream}"
    return "a part of a job that was done before is done again" if seen & {part.which, part.stream} else None


def _problem_of_end(end: JobEnd, parts: Sequence[int]) -> str | None:
    if (len(parts), sum(parts)) == (end.parts, end.records):
        return None
    return (
        f"a run of a job has {end.records} records in {end.parts} parts by this, "
        f"{sum(parts)} in {len(parts)} by the entries before it"
    )
