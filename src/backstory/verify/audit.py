"""One verification under way: what it checks, how it hashes, what it has found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from backstory.storage.layout import Layout
from backstory.storage.lock import LockStore
from backstory.verify.finding import Finding, Severity
from backstory.verify.pool import WorkerPool
from backstory.verify.worker import Answer, Task

GROUPS_PER_TASK = 4
"""Row groups one task hashes: 32,768 rows, a few hundred milliseconds."""

Progress = Callable[[str, int, int], None]
"""Told what is being checked, how much is done, and how much there is."""


@dataclass(slots=True, kw_only=True)
class Audit:
    """One verification under way.

    Attributes:
        layout: The archive.
        pool: Processes that hash.
        progress: Is told how far the verification is.
        heads: Next sequence number of every stream as the lock store says with the checkpoint; None where that could
            not be read.
        findings: What was found so far.
        counts: What was checked so far.
        totals: What of it there is to check, where that can be more.
        blobs_named: Blobs that some entry or document refers to.
    """

    layout: Layout
    pool: WorkerPool
    progress: Progress
    heads: Mapping[str, int] | None = None
    findings: list[Finding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    blobs_named: set[str] = field(default_factory=set)

    def expect(self, what: str, total: int) -> None:
        """Say how much there is to check; what of it was, is counted as it is."""
        self.counts[what], self.totals[what] = 0, total

    def add(self, severity: Severity, place: str, what: object) -> None:
        """Keep a finding."""
        self.findings.append(Finding(severity=severity, place=place, what=str(what)))

    def add_all(self, severity: Severity, place: str, problems: list[str]) -> None:
        """Keep a finding for each of the problems, each once."""
        for problem in dict.fromkeys(problems):
            self.add(severity, place, problem)

    def head_now(self, stream: str) -> int:
        """Return the next sequence number of a stream as the lock store says now: others may seal meanwhile."""
        if self.heads is None:
            return 0
        return LockStore(self.layout.lock, writable=False).heads().get(stream, 0)

    def answers(self, what: str, tasks: list[Task], total: int) -> Iterator[Answer]:
        """Run tasks and yield their answers in order, telling how far it is."""
        done = 0
        for answer in self.pool.run(tasks):
            done += answer.rows
            self.progress(what, done, total)
            yield answer
