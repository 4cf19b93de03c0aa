"""What the parts of an open archive share: handed to the namespaces, so that each takes what it needs."""

from __future__ import annotations

from dataclasses import dataclass

from backstory.archive.calls import Calls
from backstory.capture.recorder import Recorder
from backstory.governance.access import AccessGate
from backstory.ledger.ledger import Ledger
from backstory.lineage.referenced import Places
from backstory.lineage.source import Kept, Sources
from backstory.lineage.store import LineageStore
from backstory.lineage.trace import Tracer


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """The working parts of one open archive.

    Attributes:
        ledger: Its log and files.
        store: Keeps lineage.
        sources: What the tokens of this session mean.
        calls: Makes recorded calls, and knows sources of earlier sessions.
        tracer: Reads lineage that was kept.
        gate: Opens sealed values, or does not.
        recorder: Holds what is not in the log yet.
        places: Where the rows are that are kept by reference.
        keep: Whether rows are kept, or where they are, unless `source` is told.
    """

    ledger: Ledger
    store: LineageStore
    sources: Sources
    calls: Calls
    tracer: Tracer
    gate: AccessGate
    recorder: Recorder
    places: Places
    keep: Kept

    def require(self, action: str) -> None:
        """Insist that the archive can be written and the policy in force, where one is, permits an action.

        Raises:
            ForbiddenError: It cannot, or does not; what a policy refuses is recorded.
        """
        self.calls.require_writable()
        self.gate.require(action)
