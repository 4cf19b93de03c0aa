"""What a verification found."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
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
        what: What is wrong: expected, got, and for whom it matters.
    """

    severity: Severity
    place: str
    what: str

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.severity}: {self.place}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationReport:
    """What was checked and what was found.

    Attributes:
        origin: The log's origin.
        tree_size: Entries under the checkpoint that was checked.
        root: Its root, in hex.
        authenticated: Whether the public key was pinned from outside.
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
        if self.authenticated:
            return "verified: complete and unchanged under the pinned key"
        return "self-consistent, not authenticated: pin the public key to know whose archive this is"

    def with_finding(self, finding: Finding) -> VerificationReport:
        """Return the report with one finding more."""
        return replace(self, findings=(*self.findings, finding))

    def to_dict(self) -> JsonObject:
        """Return the report as JSON-safe values."""
        return {
            "authenticated": self.authenticated,
            "counts": dict(self.counts),
            "findings": [{"place": f.place, "severity": f.severity, "what": f.what} for f in self.findings],
            "milliseconds": round(self.seconds * 1000),
            "origin": self.origin,
            "root": self.root,
            "totals": dict(self.totals),
            "tree_size": self.tree_size,
            "verdict": self.verdict,
        }

    def __repr__(self) -> str:
        """Return the verdict on one line."""
        return f"<VerificationReport: {self.verdict}>"

    def __str__(self) -> str:
        """Return the verdict, the counts and one line a finding."""
        counts = ", ".join(self._checked(name, count) for name, count in self.counts.items())
        lines = [self.verdict, f"{self.origin}, tree size {self.tree_size}, root {self.root}", counts]
        return "\n".join([*lines, *(str(finding) for finding in self.findings)])

    def _checked(self, name: str, count: int) -> str:
        total = self.totals.get(name, count)
        one = f"{name.removesuffix('ies')}y" if name.endswith("ies") else name.removesuffix("s")
        return f"{count:,}{'' if count == total else f' of {total:,}'} {one if total == 1 else name}"
