"""Evidence against a log: two checkpoints it signed that do not belong to one history.

Both notes are kept as they came, so that anybody with the log's public key can see that it signed both. Bytes:
docs/format.md, "Witness and monitor state".
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from backstory.errors import ConflictError
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.identity import time_text
from backstory.storage.disk import Disk
from backstory.tlog.checkpoint import Checkpoint

Kind = Literal["fork", "rollback", "unproven"]
"""`fork`: both cannot be of one log that only grows. `rollback`: the log went back to a smaller tree. `unproven`: the
proof that came with the larger one, or from the log's tiles, does not lead to it from the smaller one; whoever has all
tiles as they were can say more.
"""

FILES_MAX = 1_000
"""Files of evidence of one kind kept for one log. One is enough; a log that signs forks for ever must not fill a disk,
and what anybody can send a witness, a good checkpoint with a bad proof, must not keep a fork from being kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCheckpoint:
    """A checkpoint as it was signed, and what it says.

    Attributes:
        note: The signed note.
        checkpoint: What it says.
    """

    note: bytes
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Two checkpoints of one log that do not fit together.

    Attributes:
        kind: In what way.
        held: What was seen before.
        shown: What was shown now.
        proof: The consistency proof that does not lead from one to the other; empty where there is none.
        time_ns: When it was shown.
    """

    kind: Kind
    held: SignedCheckpoint
    shown: SignedCheckpoint
    proof: tuple[bytes, ...] = ()
    time_ns: int

    def encode(self) -> bytes:
        """Return the bytes of the file."""
        document: JsonObject = {
            "held": self.held.note.decode(),
            "kind": self.kind,
            "origin": self.shown.checkpoint.origin,
            "proof": [digest.hex() for digest in self.proof],
            "shown": self.shown.note.decode(),
            "time": time_text(self.time_ns),
            "v": 1,
        }
        return canonical.encode(document)

    @property
    def name(self) -> str:
        """Name of the file; the same for the same two checkpoints."""
        held, shown = self.held.checkpoint, self.shown.checkpoint
        pair = hashlib.sha256(f"{held.encode()}{shown.root.hex()}".encode()).hexdigest()[:8]
        return f"{self.kind}-{held.size}-{shown.size}-{pair}.json"


def keep_evidence(folder: Path, disk: Disk, evidence: Evidence) -> Path:
    """Store evidence, durably and once.

    Args:
        folder: Directory of the evidence against this log.
        disk: Writes it.
        evidence: The two checkpoints.

    Returns:
        The file; it is not written where there are `FILES_MAX` of its kind already.

    Raises:
        StorageError: It cannot be written.
    """
    disk.make_directory(folder)
    path = folder / evidence.name
    if not path.exists() and len(list(folder.glob(f"{evidence.kind}-*"))) < FILES_MAX:
        with contextlib.suppress(ConflictError):  # another process kept the same
            disk.write(path, evidence.encode(), replace=False)
    return path


def log_folder(root: Path, origin: str) -> Path:
    """Return the directory of what concerns one log; its name is the digest of the origin, as witnesses call it."""
    return root / hashlib.sha256(origin.encode()).hexdigest()
