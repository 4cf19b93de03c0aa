"""What the log says of jobs: which parts of a run are done, and that a run has ended."""

from __future__ import annotations

from backstory.ledger.ledger import Ledger
from backstory.records.canonical import JsonObject
from backstory.records.job import (
    FINISHED_TYPE,
    PART_TYPE,
    JobEnd,
    JobPart,
    PartName,
    entry_key,
    parse_job_end,
    parse_job_part,
    part_keys,
)


def find_part(ledger: Ledger, which: PartName) -> JobPart | None:
    """Return what the log says of a part, as far as the catalog goes; None if it is not done."""
    for position in ledger.catalog.entries(PART_TYPE, which.key):
        part = parse_job_part(ledger.log.entry(position))
        if part.which == which:
            return part
    return None


def parts_of(ledger: Ledger, name: str, run: str) -> list[JobPart]:
    """Return the parts of a run that are done, as far as the catalog goes, oldest first."""
    positions = ledger.catalog.entries_between(PART_TYPE, *part_keys(name, run))
    parts = [parse_job_part(ledger.log.entry(position)) for position in positions]
    return [part for part in parts if (part.which.name, part.which.run) == (name, run)]


def finish_run(ledger: Ledger, name: str, run: str, expected: int | None) -> JobEnd:
    """Say in the log what it has of a run, unless that is what it says already.

    Args:
        ledger: The archive.
        name: The job.
        run: The run of it.
        expected: How many records there should be; None where nobody said.
    """
    ends: list[JobEnd] = []

    def entries() -> list[JsonObject]:
        parts = parts_of(ledger, name, run)
        records = sum(part.records for part in parts)
        ends.append(JobEnd(name=name, run=run, parts=len(parts), records=records, expected=expected))
        positions = ledger.catalog.entries(FINISHED_TYPE, entry_key({"name": name, "run": run}))
        if positions and parse_job_end(ledger.log.entry(positions[-1])) == ends[-1]:
            return []
        return [{"type": FINISHED_TYPE, **ends[-1].document()}]

    ledger.append(entries)
    return ends[-1]
