"""Whatever step of a disposal fails, the archive stays provable, and the next who comes completes it."""

from __future__ import annotations

import os
import shutil

import pytest
from tests.ledger.test_faults import Fault, FaultyDisk, with_faults
from tests.support.retention import PAYLOAD, SKELETON, Clock, acting, in_force, recorded, timed_ledger

from backstory.errors import NotFoundError, StorageError
from backstory.governance.disposal import disposals, execute_disposal, finish_disposals, propose_disposal
from backstory.governance.hold import place_hold
from backstory.governance.keeping import Keeping
from backstory.governance.proposal import decide
from backstory.governance.retention_scope import Scope
from backstory.ledger.read import find_record
from backstory.verify.archive import verify_archive

STEPS_MAX = 200
STRIDE = int(os.environ.get("BACKSTORY_RETENTION_STRIDE", "9"))
"""One in so many steps is tried, each turn another; 1 for every one, in a soak test."""


@pytest.fixture(scope="module")
def approved(tmp_path_factory):
    """An archive of six records of which one is held, all past their time, and an approved disposal."""
    root, clock = tmp_path_factory.mktemp("approved") / "archive", Clock()
    ledger = timed_ledger(root, clock)
    in_force(ledger, PAYLOAD, SKELETON)
    ids = recorded(ledger, 4) + recorded(ledger, 2, first=4)
    place_hold(ledger, "m", Scope(predictions=frozenset(ids[1:2])), "legal", clock.now + 10**18)
    clock.on(900)
    proposal = propose_disposal(ledger)
    with acting(ledger, "bob"):
        decide(ledger, proposal.index, "approved")
    ledger.close()
    return root, clock.now, ids, proposal.index


def insist_complete(ledger, clock, ids):
    """Insist that all but the held record are gone, as the log says."""
    assert list(Keeping(ledger, clock.now).overdue()) == []
    assert [one.executed is not None for one in disposals(ledger)] == [True]
    assert find_record(ledger, ids[1].hex(), "prediction").place is not None
    for key in ids[:1] + ids[2:]:
        with pytest.raises(NotFoundError):
            find_record(ledger, key.hex(), "prediction")
    kept = b"".join(path.read_bytes() for path in ledger.layout.segments.iterdir())
    assert not any(key in kept for key in ids[2:4])
    assert len(list(ledger.layout.segments.iterdir())) == 2


@pytest.mark.parametrize("operation", ["write_with", "remove", "commit"])
def test_a_disposal_survives_every_fault(tmp_path, approved, operation):
    """The audit passes in the middle, and the next run ends what was begun: nothing is left, nothing held is gone."""
    original, now, ids, proposal = approved
    for at in range(0, STEPS_MAX, STRIDE):
        root, clock = tmp_path / str(at), Clock()
        shutil.copytree(original, root)
        clock.now = now
        ledger = timed_ledger(root, clock, seed=2, disk=FaultyDisk())
        fault = Fault(operation, at // 2, persisted=bool(at % 2))
        with_faults(ledger, fault)
        try:
            execute_disposal(ledger, proposal)
        except StorageError:
            ledger.close()
            ledger = timed_ledger(root, clock, seed=3)
            assert not verify_archive(root, workers=1).failed
            finish_disposals(ledger)
            if not disposals(ledger):
                execute_disposal(ledger, proposal)
        insist_complete(ledger, clock, ids)
        assert not fault.happened or not verify_archive(root, workers=1).failed
        ledger.close()
        if not fault.happened:
            break
    assert 2 < at < STEPS_MAX - STRIDE
