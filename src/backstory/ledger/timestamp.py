"""Having the published checkpoint stamped by an RFC 3161 authority, which says by when its entries were there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backstory.errors import StorageError
from backstory.storage.anchors import keep_stamp
from backstory.storage.disk import Disk, read_file
from backstory.storage.layout import Layout
from backstory.storage.remote import ask, require_url
from backstory.tlog.checkpoint import Checkpoint, open_checkpoint
from backstory.tlog.key import VerifierKey
from backstory.verify.time_stamp import RESPONSE_SIZE_MAX, Stamp, read_stamp, require_client

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_OK = 200
_QUERY = {"Content-Type": "application/timestamp-query"}
_REPLY = "application/timestamp-reply"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamped:
    """A checkpoint and its time stamp.

    Attributes:
        checkpoint: What was stamped.
        stamp: What the authority says.
        path: Where the token is.
    """

    checkpoint: Checkpoint
    stamp: Stamp
    path: Path


def stamp_checkpoint(layout: Layout, disk: Disk, authority: str, roots: Sequence[Certificate]) -> Stamped:
    """Have the published checkpoint stamped, check the stamp, and keep it beside the log.

    Needs no key of the archive and holds nothing up: recording and sealing go on meanwhile.

    Args:
        layout: The archive.
        disk: Writes the token.
        authority: URL of the authority.
        roots: Certificates it must be signed under; none to take a stamp of whoever answers, which authenticates
            nobody until it is verified with some.

    Raises:
        InputError: The URL is malformed, or the library for time stamps is not installed.
        StorageError: The authority does not answer as one, or the token cannot be written.
        FormatError: What it answered is no time stamp.
        VerificationError: The stamp does not hold, or the checkpoint does not.
    """
    url = require_url(authority, "authority")
    library = require_client()
    note = read_file(layout.log / "checkpoint")
    checkpoint = open_checkpoint(note, layout.config.origin, [VerifierKey.parse(layout.config.vkey)])
    message = checkpoint.encode().encode()
    builder = library.TimestampRequestBuilder().data(message).hash_algorithm(library.HashAlgorithm.SHA256)
    request = builder.nonce(nonce=True).cert_request(cert_request=True).build()
    reply = ask(url, body=request.as_bytes(), headers=_QUERY, size_max=RESPONSE_SIZE_MAX)
    if reply.status != _OK or reply.content_type != _REPLY:
        what = f"expected a time stamp, got HTTP {reply.status}"
        raise StorageError(f"timestamp: {what} and {reply.content_type} from the authority")
    stamp = read_stamp(reply.body, message, roots, nonce=request.nonce)
    return Stamped(checkpoint=checkpoint, stamp=stamp, path=keep_stamp(layout, disk, note, reply.body))
