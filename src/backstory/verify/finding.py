"""What a verification found, and what each finding means for who relies on the archive."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from backstory.records.canonical import JsonObject

Severity = Literal["failed", "unknown", "note"]
"""`failed`: evidence does not verify. `unknown`: it could not be checked. `note`: worth knowing, nothing is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One bad or noteworthy place.

    Attributes:
        severity: How bad.
        place: The file, relative to the archive, or the stream or entry.
        what: What is wrong: expected, got.
        stream: The stream concerned, 32 hex digits; None where it is none in particular.
        seq: Sequence number of the first record concerned.
        end_seq: One more than that of the last; None where that is not known.
        index: Leaf index in the log of the entry concerned.
        meaning: What it means for whom, in a sentence; None for notes that say it themselves.
    """

    severity: Severity
    place: str
    what: str
    stream: str | None = None
    seq: int | None = None
    end_seq: int | None = None
    index: int | None = None
    meaning: str | None = None

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.severity}: {self.place}: {self.what}"

    def to_dict(self) -> JsonObject:
        """Return the finding as JSON-safe values; sequence numbers and indexes are decimal text."""
        return {
            "end_seq": _text(self.end_seq),
            "index": _text(self.index),
            "meaning": self.meaning,
            "place": self.place,
            "seq": _text(self.seq),
            "severity": self.severity,
            "stream": self.stream,
            "what": self.what,
        }


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationReport:
    """What was checked and what was found.

    Attributes:
        origin: The log's origin.
        tree_size: Entries under the checkpoint that was checked.
        root: Its root, in hex.
        authenticated: Whether the public key was pinned from outside.
        since: Size of the log under which an earlier audit read the files that this one did not read again; None where
            everything was read.
        witnesses: Who cosigned the checkpoint by the policy that was asked for, by name; None without a policy.
        counts: How many entries, segments, records, blobs, snapshots were checked.
        totals: How many segments, records and source rows there are to check.
        findings: Every bad or noteworthy place.
        seconds: How long it took.
    """

    origin: str
    tree_size: int
    root: str
    authenticated: bool
    counts: dict[str, int]
    since: int | None = None
    witnesses: tuple[str, ...] | None = None
    totals: dict[str, int] = field(default_factory=dict)
    findings: tuple[Finding, ...] = field(default=())
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether any evidence does not verify."""
        return any(finding.severity == "failed" for finding in self.findings)

    @property
    def incomplete(self) -> bool:
        """Whether something could not be checked."""
        return any(finding.severity == "unknown" for finding in self.findings)

    @property
    def verdict(self) -> str:
        """One sentence on what this verification shows."""
        if self.failed:
            bad = sum(finding.severity == "failed" for finding in self.findings)
            return f"FAILED: {bad} place{'s' if bad > 1 else ''} where evidence does not verify"
        if self.incomplete:
            return "INCOMPLETE: nothing failed, but not everything could be checked"
        earlier = "" if self.since is None else f"; files named before entry {self.since} by an earlier audit's word"
        if not self.authenticated:
            return f"self-consistent, not authenticated: pin the public key to know whose archive this is{earlier}"
        cosigned = f", cosigned by {', '.join(self.witnesses)}" if self.witnesses else ""
        return f"verified: complete and unchanged under the pinned key{cosigned}{earlier}"

    def to_dict(self) -> JsonObject:
        """Return the report as JSON-safe values."""
        return {
            "authenticated": self.authenticated,
            "counts": dict(self.counts),
            "findings": [finding.to_dict() for finding in self.findings],
            "milliseconds": round(self.seconds * 1000),
            "origin": self.origin,
            "root": self.root,
            "since": _text(self.since),
            "totals": dict(self.totals),
            "tree_size": self.tree_size,
            "verdict": self.verdict,
            "witnesses": None if self.witnesses is None else list(self.witnesses),
        }

    def __repr__(self) -> str:
        """Return the verdict on one line."""
        return f"<VerificationReport: {self.verdict}>"

    def __str__(self) -> str:
        """Return the verdict, the counts, one line a finding, and below it what it means."""
        counts = ", ".join(self._checked(name, count) for name, count in self.counts.items())
        lines = [self.verdict]
        if self.counts or self.root:  # neither where it was not even opened
            lines += [f"{self.origin}, tree size {self.tree_size}, root {self.root or 'not known'}", counts]
        for finding in self.findings:
            lines += [str(finding), *([] if finding.meaning is None else [f"    {finding.meaning}"])]
        return "\n".join(lines)

    def _checked(self, name: str, count: int) -> str:
        total = self.totals.get(name, count)
        one = f"{name.removesuffix('ies')}y" if name.endswith("ies") else name.removesuffix("s")
        return f"{count:,}{'' if count == total else f' of {total:,}'} {one if total == 1 else name}"
