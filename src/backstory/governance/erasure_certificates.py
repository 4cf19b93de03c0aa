"""Certificates of erasures, kept until somebody has them: a crash after the entry must not cost the person the proof.

A certificate says which records were one person's, which nothing else that is kept says. So it waits in the vault,
encrypted under a key of its own, from before its erasure is done until it was handed over, and then that key is
destroyed for good. Bytes: docs/format.md section 38.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backstory.errors import NotFoundError
from backstory.governance.erasure_plan import hold_erasing
from backstory.governance.proposal import require_actor
from backstory.ledger.ledger import Ledger
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.erasure import ERASED_TYPE, parse_erased
from backstory.storage.disk import save_file
from backstory.storage.keys import KEY_SIZE

if TYPE_CHECKING:
    from backstory.governance.access import AccessGate

_QUESTION: Final = "certificate"
_GROUPS: Final = ("subject",)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What proves, record by record, that an erasure was of it; for the person.

    Attributes:
        data: The bytes of the file.
    """

    data: bytes

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the certificate to a file, by convention ending in `.erasure`, and return its path.

        Args:
            path: The file.
            overwrite: Whether a file that is there gives way.

        Raises:
            ConflictError: There is something at `path`, and it must stay.
            StorageError: It cannot be written.
        """
        return save_file(self.data, path, "certificate", overwrite=overwrite)

    def __repr__(self) -> str:
        """Return its size: what is in it is about a person."""
        return f"<Certificate: {len(self.data):,} bytes>"


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingCertificate:
    """A certificate that nobody was handed yet, as far as the log says what it is of.

    Attributes:
        entry: Index of the entry of its erasure.
        time: When that was written, RFC 3339.
        ground: Why the person was erased.
        request: What was asked, such as a case number; None where nothing was said, or it may not be read.
        complete: Whether that entry ended the erasure, or another follows it.
    """

    entry: int
    time: str
    ground: str
    request: str | None
    complete: bool

    def to_dict(self) -> JsonObject:
        """Return it as JSON-safe values."""
        return {
            "complete": self.complete,
            "entry": self.entry,
            "ground": self.ground,
            "request": self.request,
            "time": self.time,
        }

    def __str__(self) -> str:
        """Return it for a reader."""
        asked = "" if self.request is None else f", {self.request}"
        return f"entry {self.entry}, {self.time}, ground {self.ground}{asked}"


def keep_certificate(ledger: Ledger, root: str, certificate: Certificate) -> None:
    """Keep a certificate durably until it is handed over; keeping it again changes nothing.

    Args:
        ledger: The archive.
        root: Root of the leaves of its erasure, in hex.
        certificate: The certificate.

    Raises:
        StorageError: It could not be written.
    """
    ledger.vault.certificates.write(root, certificate.data, ledger.world.random_bytes(KEY_SIZE))


def let_go(ledger: Ledger, root: str) -> None:
    """Destroy a certificate that was handed over: its key for good, then the file."""
    ledger.vault.certificates.remove(root)


def waiting_certificates(ledger: Ledger, gate: AccessGate) -> list[WaitingCertificate]:
    """Return the certificates that nobody was handed yet, oldest first; see `Privacy.certificates`."""
    require_actor(ledger, "asking for certificates")
    gate.require("erase")
    return [
        WaitingCertificate(
            entry=index,
            time=canonical.text_of(entry, "time"),
            ground=erased.ground,
            request=_request(ledger, gate, erased.request),
            complete=erased.complete,
        )
        for index, entry in ledger.numbered_entries(ERASED_TYPE)
        if ledger.vault.certificates.has((erased := parse_erased(entry)).root)
    ]


def hand_over(ledger: Ledger, gate: AccessGate, entry: int, path: str | Path, *, overwrite: bool) -> Path:
    """Write a certificate where its holder gets it, and keep it no longer; see `Privacy.hand_over`."""
    require_actor(ledger, "handing over a certificate")
    gate.require("erase")
    roots = {index: parse_erased(one).root for index, one in ledger.numbered_entries(ERASED_TYPE)}
    if entry not in roots:
        raise NotFoundError(f"certificate: entry {entry} is of no erasure")
    root = roots[entry]
    if not ledger.vault.certificates.has(root):
        raise NotFoundError(f"certificate: that of entry {entry} was handed over, and is kept no longer")
    gate.note_read(_QUESTION, _GROUPS, 0)  # names no record: who saw them must not lead to whose they were
    with hold_erasing(ledger, wait=True):
        saved = Certificate(ledger.vault.certificates.read(root)).save(path, overwrite=overwrite)
        let_go(ledger, root)
    return saved


def _request(ledger: Ledger, gate: AccessGate, commitment: str | None) -> str | None:
    if commitment is None or not gate.allows():
        return None
    try:
        return ledger.text_of(commitment, "request")
    except NotFoundError:
        return None
