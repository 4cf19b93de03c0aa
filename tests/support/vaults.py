"""Archives with values in two key domains, and a master key that another process holds.

TWO_DOMAINS    predictions about persons, one feature of which is of a special category
new_vault      an archive with such records, sealed
manifest_in    the manifest of its predictions
sealed_rows    its sealed values, row by row
KeyService     a process with a key of its own that wraps and unwraps over a socket
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from tests.support.ledgers import SEALED, make_batch, new_ledger, new_recorder

from backstory.errors import VerificationError
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import manifests
from backstory.ledger.seal import seal_all
from backstory.ledger.sealed import open_rows
from backstory.records.manifest import Manifest
from backstory.records.schema import Column, Schema


def _special(column: Column) -> Column:
    return replace(column, sensitivity="D5", group="features.D5") if column.name == "feature.name" else column


TWO_DOMAINS = Schema(kind=SEALED.kind, columns=tuple(_special(column) for column in SEALED.columns))


def new_vault(root: Path, rows: int = 300) -> Ledger:
    """Return a new archive whose predictions are about persons, `person 0` and so on, one each."""
    ledger = new_ledger(root)
    recorder = new_recorder(ledger)
    recorder.record(replace(make_batch(ledger, SEALED, 0, rows), schema=TWO_DOMAINS))
    recorder.close()
    seal_all(ledger)
    return ledger


def manifest_in(ledger: Ledger) -> Manifest:
    """Return the manifest of the predictions."""
    ((_, manifest),) = manifests(ledger, SEALED.kind)
    return manifest


def sealed_rows(ledger: Ledger, groups: list[str] | None = None) -> list[dict[str, object]]:
    """Return the sealed values of the predictions, each checked against its commitment."""
    manifest = manifest_in(ledger)
    reader = ledger.segment(manifest, checked=True)
    return open_rows(ledger, manifest, 0, reader.read_groups(range(reader.group_count)), groups).to_pylist()


_SERVICE = """
import json, secrets, sys, socket
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
key, server = AESGCM(secrets.token_bytes(32)), socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1]); server.listen(); print("ready", flush=True)
while True:
    connection, _ = server.accept()
    with connection, connection.makefile("rw") as stream:
        for line in stream:
            ask = json.loads(line)
            data, name = bytes.fromhex(ask["data"]), ask["name"].encode()
            try:
                if ask["do"] == "wrap":
                    nonce = secrets.token_bytes(12)
                    answer = nonce + key.encrypt(nonce, data, name)
                else:
                    answer = key.decrypt(data[:12], data[12:], name)
                stream.write(json.dumps({"data": answer.hex()}) + "\\n")
            except (InvalidTag, ValueError):
                stream.write(json.dumps({"data": None}) + "\\n")
            stream.flush()
"""


class KeyService:
    """A master key that never leaves another process, as one in a hardware module or a key service."""

    def __init__(self, folder: Path, name: str = "service:1") -> None:
        """Start the process."""
        self.name = name
        self.asked = 0
        path = folder / f"{name.replace(':', '-')}.sock"
        command = [sys.executable, "-c", _SERVICE, path.name]
        self._process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE)
        assert self._process.stdout.readline() == b"ready\n"
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._stream = self._socket.makefile("rw")

    def wrap(self, name: str, data: bytes) -> bytes:
        """Wrap what a key file holds."""
        return self._ask("wrap", name, data)

    def unwrap(self, name: str, data: bytes) -> bytes:
        """Return what was wrapped."""
        return self._ask("unwrap", name, data)

    def close(self) -> None:
        """End the process, and with it the key."""
        self._stream.close()
        self._socket.close()
        self._process.kill()
        self._process.communicate()

    def _ask(self, what: str, name: str, data: bytes) -> bytes:
        self.asked += 1
        self._stream.write(json.dumps({"do": what, "name": name, "data": data.hex()}) + "\n")
        self._stream.flush()
        answer = json.loads(self._stream.readline())["data"]
        if answer is None:
            raise VerificationError(f"keys: {name!r} was not wrapped under {self.name}")
        return bytes.fromhex(answer)
