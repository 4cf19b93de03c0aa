"""Logs on disk that a test can grow, fork and put back, and clocks it can set. No archive's writer is involved.

DiskLog      an archive directory with a log and nothing else, signed by a key the test holds
Clock        a clock that stands still until it is told
witness_at   a witness that knows some logs
"""

from __future__ import annotations

import itertools
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from backstory.storage.layout import ArchiveConfig, Layout, read_layout
from backstory.storage.log_file import read_log_file
from backstory.storage.world import World
from backstory.tlog.checkpoint import Checkpoint, sign_checkpoint
from backstory.tlog.hashing import EMPTY_ROOT
from backstory.tlog.proof import tile_consistency_proof
from backstory.tlog.signer import Ed25519Signer
from backstory.tlog.tile import TilePath
from backstory.tlog.tree import grow
from backstory.tlog.witness import AddCheckpoint
from backstory.verify.witness import Witness, create_witness

ORIGIN = "example.org/delays"
NOW = 1_767_225_600
"""2026-01-01, in seconds."""


@dataclass
class Clock:
    """A clock that stands still until it is told; in seconds."""

    now: int = NOW

    def world(self) -> World:
        """Return a world with this clock."""
        return World(now_ns=lambda: self.now * 10**9)


class DiskLog:
    """An archive directory that holds a log and nothing else."""

    def __init__(self, root: Path, origin: str = ORIGIN, seed: bytes = bytes(range(32))) -> None:
        self.root = root
        self.signer = Ed25519Signer.from_seed(origin, seed)
        self.checkpoint = Checkpoint(origin=origin, size=0, root=EMPTY_ROOT)
        self.note = b""
        self._numbers = itertools.count()
        self.folder = root / "log" / "1"
        self.folder.mkdir(parents=True)
        (root / "backstory.toml").write_bytes(ArchiveConfig(origin=origin, vkey=self.signer.vkey).encode())

    @property
    def vkey(self) -> str:
        """The log's key."""
        return self.signer.vkey

    @property
    def layout(self) -> Layout:
        """Where the files are."""
        return read_layout(self.root)

    def read_tile(self, tile: TilePath) -> bytes:
        """Return a tile."""
        return read_log_file(self.folder, tile)

    def append(self, count: int, word: str = "entry") -> DiskLog:
        """Append numbered entries, sign the checkpoint and publish it."""
        entries = [f"{word}-{next(self._numbers)}".encode() for _ in range(count)]
        growth = grow(self.checkpoint.size, entries, self.read_tile)
        for path, data in growth.files.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_bytes(data)
            shutil.rmtree(self.folder / f"{path}.p", ignore_errors=True)  # of a tile that is full now
        self.checkpoint = replace(self.checkpoint, size=growth.size, root=growth.root)
        self.note = sign_checkpoint(self.checkpoint, self.signer)
        (self.folder / "checkpoint").write_bytes(self.note)
        return self

    def request(self, old_size: int, note: bytes | None = None) -> bytes:
        """Return the body of a request to cosign the newest checkpoint."""
        proof = tuple(tile_consistency_proof(self.read_tile, old_size, self.checkpoint.size))
        return AddCheckpoint(old_size=old_size, proof=proof, note=note or self.note).encode()


def witness_at(
    folder: Path, *logs: DiskLog, clock: Clock | None = None, name: str = "witness.example.net/w1"
) -> Witness:
    """Make a witness that knows some logs."""
    world = (clock or Clock()).world()
    create_witness(folder, name, world)
    witness = Witness(folder, world)
    for log in logs:
        witness.add_logs(log.vkey)
    return witness


def policy_text(log: DiskLog, witnesses: dict[str, tuple[str, str]], threshold: int | str = "all") -> str:
    """Return a policy for one log: witnesses by name, each with key and URL, and how many are enough."""
    lines = [f"log {log.vkey}"]
    lines += [f"witness {name} {vkey} {url}" for name, (vkey, url) in witnesses.items()]
    lines += [f"group enough {threshold} {' '.join(witnesses)}", "quorum enough"]
    return "\n".join(lines) + "\n"
