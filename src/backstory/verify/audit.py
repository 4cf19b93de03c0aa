"""One verification under way: what it checks, how it hashes, what it has found."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from backstory.errors import BackstoryError, StorageError
from backstory.storage.disk import Disk
from backstory.storage.keys import KeyStore, key_name, open_keys
from backstory.storage.layout import Layout
from backstory.storage.lock import LockStore
from backstory.storage.master import Wrappers
from backstory.storage.world import World
from backstory.verify.finding import Finding, Severity
from backstory.verify.pool import WorkerPool
from backstory.verify.state import StateKeeper
from backstory.verify.worker import Answer, Task

GROUPS_PER_TASK = 4
"""Row groups one task hashes: 32,768 rows, a few hundred milliseconds."""
FINDINGS_MAX = 10_000
"""So many findings are told one by one, the rest by their number."""


class Progress(Protocol):
    """Told what is being checked, how much is done, and how much there is."""

    def __call__(self, what: str, done: int, total: int, /) -> None:
        """Show it."""


@dataclass(slots=True, kw_only=True)
class Audit:
    """One verification under way.

    Attributes:
        layout: The archive.
        pool: Processes that hash.
        progress: Is told how far the verification is.
        keeper: Decides what need not be read again.
        heads: Next sequence number of every stream as the lock store says with the checkpoint; None until then. Where
            that cannot be read, as the log says.
        findings: What was found so far.
        problems: How many of all findings are more than notes.
        counts: What was checked so far.
        totals: What of it there is to check, where that can be more.
        blobs_named: Blobs that something read in this run refers to and no entry.
        payloads_named: Blobs that values of records seem to stand for, with a place where one does.
        wrappers: Master keys that are held elsewhere, by domain.
        erased: How many values (a group of a row each) of each rewritten shard were erased, and rows of each rewritten
            table, by its name: as was counted of what was read, of the rest as the file says.
        lost: Tables about people that are not here, nor their keys.
        keys: The key store.
    """

    layout: Layout
    pool: WorkerPool
    progress: Progress
    keeper: StateKeeper = field(default_factory=lambda: StateKeeper(None, World()))
    heads: Mapping[str, int] | None = None
    findings: list[Finding] = field(default_factory=list)
    problems: int = 0
    omitted: Counter[Severity] = field(default_factory=Counter)
    counts: dict[str, int] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    blobs_named: set[str] = field(default_factory=set)
    payloads_named: dict[str, str] = field(default_factory=dict)
    wrappers: Wrappers = field(default_factory=dict)
    erased: dict[str, int] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    keys: KeyStore = field(init=False)

    def __post_init__(self) -> None:
        """Open the key store."""
        self.keys = open_keys(self.layout, Disk(), wrappers=self.wrappers)

    def keys_of(self, shard: str, domains: Iterable[str]) -> dict[str, dict[str, bytes]]:
        """Return the keys of a shard by domain, as far as they are here; what others lack is said elsewhere."""
        found = {}
        for domain in domains:
            with contextlib.suppress(BackstoryError):
                found[domain] = self.keys.get(key_name(shard, domain))
        return found

    def expect(self, what: str, total: int) -> None:
        """Say how much there is to check; what of it was, is counted as it is."""
        self.counts[what], self.totals[what] = 0, total

    def add(
        self,
        severity: Severity,
        place: str,
        what: object,
        *,
        stream: str | None = None,
        seq: int | None = None,
        end_seq: int | None = None,
        index: int | None = None,
        meaning: str | None = None,
    ) -> None:
        """Keep a finding; see `Finding`."""
        self.keep(
            Finding(
                severity=severity,
                place=place,
                what=str(what),
                stream=stream,
                seq=seq,
                end_seq=end_seq,
                index=index,
                meaning=meaning,
            )
        )

    def keep(self, *findings: Finding) -> None:
        """Keep findings that were made elsewhere; of very many only their number."""
        for finding in findings:
            self.problems += finding.severity != "note"
            if len(self.findings) < FINDINGS_MAX:
                self.findings.append(finding)
            else:
                self.omitted[finding.severity] += 1

    def all_findings(self) -> tuple[Finding, ...]:
        """Return what was found, with a line for those that are not told one by one."""
        rest = [
            Finding(severity=severity, place="archive", what=f"{count} findings more, not told one by one")
            for severity, count in sorted(self.omitted.items())
        ]
        return (*self.findings, *rest)

    def head_now(self, stream: str) -> int:
        """Return the next sequence number of a stream as the lock store says now: others may seal meanwhile.

        Where it cannot be read, as of a copy that is without it, the log says how far the stream was sealed.
        """
        try:
            return LockStore(self.layout.lock, writable=False).heads().get(stream, 0)
        except StorageError:
            return (self.heads or {}).get(stream, 0)

    def answers(self, what: str, tasks: Iterable[Task], total: int) -> Iterator[Answer]:
        """Run tasks and yield their answers in order, telling how far it is."""
        done = 0
        for answer in self.pool.run(tasks):
            done += answer.rows
            self.progress(what, done, total)
            yield answer
