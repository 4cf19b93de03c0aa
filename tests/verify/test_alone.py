"""A receipt, and a proof of membership, are checked by very little code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests" / "vectors"

CHECK = """
import json, sys
from backstory.verify.receipt import verify_receipt
verify_receipt(sys.argv[1], vkey=json.load(open(sys.argv[2]))["vkey"])
print(*sorted(sys.modules))
"""

CHECK_MEMBERSHIP = """
import json, sys
from backstory.verify.membership import verify_membership
vector = json.load(open(sys.argv[1]))
verify_membership(vector["file"], vkey=vector["vkey"])
print(*sorted(sys.modules))
"""

HEAVY = {"duckdb", "msgspec", "nacl", "narwhals", "numpy", "pandas", "pyarrow", "sqlite3"}
WRITERS = {f"backstory.{name}" for name in ("capture", "catalog", "columns", "frames", "ledger", "models", "storage")}


def test_a_receipt_needs_neither_arrow_nor_the_writer():
    """Checking a receipt loads no table library, no database and nothing that writes archives."""
    command = [sys.executable, "-W", "ignore", "-c", CHECK, VECTORS / "receipt.tlog-proof", VECTORS / "receipt.json"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    assert set(done.stdout.split()) & (HEAVY | WRITERS) == set()


def test_a_proof_of_membership_needs_no_more():
    """Checking a proof of membership loads nothing of that either, and no library for curves."""
    command = [sys.executable, "-W", "ignore", "-c", CHECK_MEMBERSHIP, VECTORS / "membership.json"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    assert set(done.stdout.split()) & (HEAVY | WRITERS) == set()
