"""Erased persons stay away: whatever copy is put back, whoever else erases, and whatever acts of governance kept."""

from __future__ import annotations

import shutil
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import backstory
from backstory.archive import Archive
from backstory.errors import BusyError, NotFoundError
from backstory.governance.erasure_plan import hold_erasing
from backstory.records import canonical
from backstory.verify.archive import verify_archive

WHO = "ann-zebra"
TABLE = pd.DataFrame({"customer": [WHO, "bob", WHO], "age": [31.5, 42.0, 32.5]})


def zeros(table: pd.DataFrame) -> np.ndarray:
    """Return a zero for each row."""
    return np.zeros(len(table))


def opened(root: Path, actor: str = "dpo") -> Archive:
    """Open an archive whose records wait until they are asked to be sealed."""
    return backstory.open(root, actor=actor, purpose="test", sealer="none")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return where an archive with records of a person is, and copies from before and after its spool was sealed."""
    places = {name: tmp_path / "now" / name for name in ("vault", "keys", "master")}
    root = tmp_path / "now" / "audit"
    with backstory.init(root, origin="example.org/copies", **places):
        pass
    with opened(root) as archive:
        model = archive.register(zeros, name="m")
        archive.predict(model, TABLE[["age"]], subject=TABLE["customer"], method="__call__").wait("durable")
        shutil.copytree(tmp_path / "now", tmp_path / "waiting")
        archive.flush()
    shutil.copytree(tmp_path / "now", tmp_path / "sealed")
    with opened(root) as archive:
        assert archive.privacy.erase(WHO, ground="request").records == 2
    return tmp_path


@pytest.mark.parametrize("copy", ["waiting", "sealed"])
@pytest.mark.parametrize("places", [("vault",), ("keys",), ("vault", "keys"), ("audit", "vault", "keys")])
def test_no_copy_brings_the_person_back(home: Path, copy: str, places: tuple[str, ...]) -> None:
    """Neither a copy of the spool nor one of vault or keys alone does, and no destroyed key stays in a file."""
    for place in places:
        shutil.rmtree(home / "now" / place)
        shutil.copytree(home / copy / place, home / "now" / place)
    with opened(home / "now" / "audit") as archive:
        archive.flush()
    with opened(home / "now" / "audit") as archive:
        assert archive.privacy.find(WHO).kinds == {}
        with suppress(NotFoundError):  # nobody has the id, which is known where all can be read
            archive.privacy.erase("cyd", ground="request")
        keys = archive._ledger.keys
        assert keys.masters is not None
        dead = keys.masters.dead()
        assert dead
        assert keys.sweep() == {}


def test_a_second_erasure_waits_for_the_first(home: Path) -> None:
    """While somebody erases another waits, and whoever only opens the archive does not."""
    done: list[int] = []

    def erase() -> None:
        with opened(home / "now" / "audit") as archive:
            done.append(archive.privacy.erase("bob", ground="request").records)

    with opened(home / "now" / "audit") as archive:
        with hold_erasing(archive._ledger, wait=False):
            other = threading.Thread(target=erase)
            other.start()
            with pytest.raises(BusyError, match="erasing"):
                archive.privacy.finish()
            other.join(0.2)
            assert done == []
        other.join()
        assert done == [1]


def test_acts_forget_the_person(home: Path) -> None:
    """Scope and list of a hold that was released go with the person, and so does their own role."""
    root = home / "now" / "audit"
    with opened(root) as archive:
        archive.predict(archive.register(zeros, name="n"), TABLE[["age"]], subject=TABLE["customer"], method="__call__")
        archive.flush()
        hold = archive.retention.hold("Doe", custodian="legal", review="2100-01-01T00:00:00Z", subjects=[WHO])
        released = archive.retention.release(hold.name)
        archive.access.assign(WHO, "data-subject", subject=WHO)
    with opened(root, "judge") as archive:
        archive.retention.approve(released.index)
    with opened(root) as archive:
        archive.privacy.erase(WHO, ground="request")
        ledger = archive._ledger
        names = [path.name for path in (ledger.layout.vault / "openings").iterdir()]
        assert not any(WHO.encode() in canonical.encode(ledger.vault.read_opening(name)) for name in names)
        (document,) = archive.retention.holds()[-1].documents
        listed = ledger.vault.read_table(str(ledger.document(document)["list"]["sealed_table"]))
        assert listed["row"].null_count == listed.num_rows == 2
    assert [finding for finding in verify_archive(root).findings if finding.severity != "note"] == []
