"""A receipt that was handed out stays good, whatever becomes of the archive it is from."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.archives import ORIGIN
from tests.support.ledgers import reopen

import backstory
from backstory.errors import VerificationError
from backstory.ledger.merge import merge_all
from backstory.verify import standalone

SEGMENTS = 8
"""So many small segments of one stream are merged."""
ALONE = Path(standalone.__file__).parent / "verify_receipt.py"


@pytest.fixture(scope="module")
def handed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """An archive with a record in each of several segments, a folder with a receipt of each, and the archive's key."""
    folder = tmp_path_factory.mktemp("handed")
    with backstory.init(folder / "audit", origin=ORIGIN) as archive:
        double = archive.traced(_double)
        for km in range(SEGMENTS):
            double(km)
            archive.flush()
        for name in archive.search("true")["id"]:
            archive.receipt(name).save(folder / f"{name}.tlog-proof")
        archive.receipts(path.stem for path in folder.glob("*.tlog-proof")).save(folder / "all.receipts")
        return folder / "audit", folder, archive.vkey


def _double(km: int) -> int:
    return 2 * km


def _merge(root: Path) -> Path:
    ledger = reopen(root)
    assert merge_all(ledger).replaced == SEGMENTS
    ledger.close()
    return root


def _move(root: Path) -> Path:
    return root.rename(root.with_name("elsewhere"))


def _trim(root: Path) -> Path:
    shutil.rmtree(root / "segments")
    return root


def _grow(root: Path) -> Path:
    with backstory.open(root) as archive:
        archive.traced(_double)(100)
    return root


@pytest.mark.parametrize("change", [_merge, _move, _trim, _grow])
def test_old_receipts_still_verify(
    handed: tuple[Path, Path, str], tmp_path: Path, change: Callable[[Path], Path]
) -> None:
    """Segments merged, trimmed or moved, and a log that went on, are nothing to receipts made before."""
    original, folder, vkey = handed
    root = change(shutil.copytree(original, tmp_path / "audit"))
    receipts = sorted(folder.glob("*.tlog-proof"))
    assert len(receipts) == SEGMENTS
    for path in receipts:
        assert backstory.verify_receipt(path, vkey=vkey).id == path.stem
    command = [sys.executable, "-I", ALONE, folder / "all.receipts", "--vkey", vkey]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    with backstory.open(root, mode="r", vkey=vkey) as archive:
        failed = archive.verify(check=False).failed
        assert failed == (change is _trim)
        if not failed:  # and what is there still answers for itself
            later = archive.receipt(receipts[0].stem).save(tmp_path / "later.tlog-proof")
            assert backstory.verify_receipt(later, vkey=vkey).values == (
                backstory.verify_receipt(receipts[0], vkey=vkey).values
            )


def test_a_swapped_key_is_caught_with_a_pinned_one_only(handed: tuple[Path, Path, str], tmp_path: Path) -> None:
    """A log signed anew with a key that is swapped in agrees with itself, and says that this is all it does."""
    _, _, vkey = handed
    with backstory.init(tmp_path / "forged", origin=ORIGIN) as forged:
        forged.traced(_double)(1)
        forged.flush()
    assert forged.vkey != vkey
    with backstory.open(tmp_path / "forged", mode="r") as archive:
        report = archive.verify()
    assert (report.failed, report.authenticated) == (False, False)
    assert report.verdict.startswith("self-consistent, not authenticated")
    with pytest.raises(VerificationError, match="pinned"):
        backstory.open(tmp_path / "forged", mode="r", vkey=vkey)
