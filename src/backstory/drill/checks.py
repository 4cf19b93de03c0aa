"""Who catches what: each check is somebody who looks at a copy after something was planted in it.

A catch is a finding that was not there before and that names what was planted; a finding about something else is none.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from backstory.drill.copies import SCRATCH
from backstory.drill.forge import checkpoint_of, tile_reader
from backstory.drill.scene import Scene, submit
from backstory.errors import BackstoryError, FormatError, VerificationError
from backstory.ledger.ledger import Ledger
from backstory.records.canonical import JsonObject
from backstory.storage.layout import read_layout
from backstory.tlog.proof import tile_consistency_proof
from backstory.tlog.witness import parse_size
from backstory.verify.archive import verify_archive
from backstory.verify.finding import Finding, VerificationReport
from backstory.verify.log_source import open_log
from backstory.verify.monitor import Monitor
from backstory.verify.promise import verify_promise
from backstory.verify.receipt import verify_receipt
from backstory.verify.witness import Witness

ANYTHING = ("",)
"""For what has no place of its own: whatever is new counts."""
_COSIGNED, _MOVED = 200, 409
_AGAINST = "against "


@dataclass(kw_only=True)
class Stage:
    """A copy in which one thing is planted, and what outsiders hold at that moment.

    Attributes:
        scene: What the drill works with.
        folder: Where the copy and its outsiders are.
        root: The copy.
        kept: A checkpoint that was kept outside.
        receipt: A receipt that somebody presents.
        promise: A promise that somebody holds.
        names: Texts of which a finding must have one, the best first: what was planted.
        policy: Policy that an auditor demands.
        workers: Processes that hash.
    """

    scene: Scene
    folder: Path
    root: Path
    kept: Path
    receipt: bytes = b""
    promise: bytes = b""
    names: tuple[str, ...] = ()
    policy: str | None = None
    workers: int | None = None
    report: VerificationReport | None = field(default=None)

    def audit(self) -> VerificationReport:
        """Return what an audit under the pinned key and the kept checkpoint says; made once."""
        if self.report is None:
            self.report = verify_archive(
                self.root, vkey=self.scene.vkey, against=[self.kept], policy=self.policy, workers=self.workers
            )
        return self.report


@dataclass(frozen=True, slots=True, kw_only=True)
class Catch:
    """What one check said.

    Attributes:
        by: Who looked.
        finding: What it found of what was planted; None if nothing.
        severity: `failed` or `unknown`; empty if nothing.
        milliseconds: How long the look took.
        needed: Whether this check is expected to catch; without, it shows what this one alone does not see.
        counts: Whether whoever looked finds nothing in an honest copy; otherwise nothing it finds is a catch.
    """

    by: str
    finding: str | None
    severity: str
    milliseconds: int
    needed: bool
    counts: bool = True

    @property
    def is_catch(self) -> bool:
        """Whether what was planted was found, by somebody who does not find something everywhere."""
        return self.counts and self.finding is not None

    def to_dict(self) -> JsonObject:
        """Return it as JSON-safe values."""
        return {
            "by": self.by,
            "counts": self.counts,
            "finding": self.finding,
            "milliseconds": self.milliseconds,
            "needed": self.needed,
            "severity": self.severity or None,
        }


Said = tuple[str, str] | None
"""Severity and text of a catch; None for nothing."""
Check = Callable[[Stage], Said]


def look(stage: Stage, by: str, check: Check, *, needed: bool, counts: bool = True) -> Catch:
    """Let somebody look, and take the time. What an audit of the copy took counts for whoever uses it."""
    began = time.perf_counter()
    audited = stage.report
    said = check(stage)
    seconds = time.perf_counter() - began + (audited.seconds if audited is not None and by in _AUDITS else 0)
    severity, finding = said or ("", None)
    if finding is not None:  # what is in a report is in the archive, not in a directory that is gone
        finding = finding.replace(f"{stage.root}/", "").replace(f"{stage.folder}/", "")
    milliseconds = round(seconds * 1000)
    return Catch(by=by, finding=finding, severity=severity, milliseconds=milliseconds, needed=needed, counts=counts)


def by_audit(stage: Stage) -> Said:
    """Look as an auditor with the pinned key alone."""
    found = [finding for finding in stage.audit().findings if not finding.place.startswith(_AGAINST)]
    return _first(stage, found, stage.names)


def by_kept_checkpoint(stage: Stage) -> Said:
    """Look as an auditor who kept a checkpoint."""
    found = [one for one in stage.audit().findings if one.place.startswith(_AGAINST) and one.severity == "failed"]
    return ("failed", str(found[0])) if found else None


def by_unpinned_audit(stage: Stage) -> Said:
    """Look as an auditor who believes the key in the archive."""
    report = verify_archive(stage.root, workers=stage.workers)
    return _first(stage, list(report.findings), ANYTHING)


def by_opening(stage: Stage) -> Said:
    """Look as the archive itself does before it writes on."""
    try:
        with closing(Ledger(stage.root, SCRATCH, writable=True, vkey=stage.scene.vkey, actor=None)):
            return None
    except BackstoryError as error:
        return "failed", str(error)


def by_witness(stage: Stage) -> Said:
    """Look as a witness that is asked to cosign."""
    folder = _own(stage, stage.scene.witness)
    witness = Witness(folder, SCRATCH)
    status, body = submit(stage.root, witness, 0, ())
    _, shown = checkpoint_of(stage.root)
    if status == _MOVED:
        held = parse_size(body)
        if held > shown.size:
            return "failed", f"has cosigned {held} entries of this log, and is shown {shown.size}"
        try:
            proof = tile_consistency_proof(tile_reader(read_layout(stage.root)), held, shown.size)
        except FormatError:
            proof = []
        status, body = submit(stage.root, witness, held, proof)
    if status == _COSIGNED:
        return None
    return "failed", f"does not cosign (status {status}): {body.decode('utf-8', 'replace').strip()}"


def by_monitor(stage: Stage) -> Said:
    """Look as a monitor that has seen the log before."""
    folder = _own(stage, stage.scene.monitor)
    seen = Monitor(folder, stage.scene.keys, SCRATCH).look(open_log(str(stage.root)))
    return ("failed", f"{seen.alarms[0].kind}: {seen.alarms[0].what}") if seen.failed else None


def by_receipt(stage: Stage) -> Said:
    """Look as a stranger to whom a receipt is shown."""
    try:
        verify_receipt(stage.receipt, vkey=stage.scene.pinned)
    except (VerificationError, FormatError) as error:
        return "failed", str(error)
    return None


def by_promise(stage: Stage) -> Said:
    """Look as the holder of a promise, after its delay."""
    added = stage.scene.added
    now = max(SCRATCH.now_ns() // 10**9, added.deadline if added else 0)
    try:
        found = verify_promise(
            stage.promise,
            vkey=stage.scene.pinned,
            promise_vkey=added.promise_vkey if added else None,
            log=stage.root,
            as_of=now,
            now=now,
        )
    except (VerificationError, FormatError) as error:
        return "failed", str(error)
    return ("failed", f"{found.verdict}: {found.why}") if found.verdict == "broken" else None


AUDIT = "audit under the pinned key"
AGAINST = "audit against a kept checkpoint"
UNPINNED = "audit without a pinned key"
OPENING = "opening for writing"
WITNESS = "witness"
MONITOR = "monitor"
RECEIPT = "verifier of the receipt"
PROMISE = "holder of the promise"
CHECKS: dict[str, Check] = {
    AUDIT: by_audit,
    AGAINST: by_kept_checkpoint,
    UNPINNED: by_unpinned_audit,
    OPENING: by_opening,
    WITNESS: by_witness,
    MONITOR: by_monitor,
    RECEIPT: by_receipt,
    PROMISE: by_promise,
}
"""Everybody who looks, by the name they have in the report."""
_AUDITS = frozenset({AUDIT, AGAINST})


def _first(stage: Stage, findings: list[Finding], names: tuple[str, ...]) -> Said:
    """Return the new finding that names best what was planted."""
    new = [finding for finding in findings if finding.severity != "note" and finding not in stage.scene.known]
    for severity in ("failed", "unknown"):
        for name in names:
            for finding in new:
                if finding.severity == severity and name in str(finding):
                    return severity, str(finding)
    return None


def _own(stage: Stage, state: Path) -> Path:
    """Return this copy's own copy of an outsider's memory."""
    folder = stage.folder / state.name
    if not folder.exists():
        shutil.copytree(state, folder)
    return folder
