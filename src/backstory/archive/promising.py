"""Switching promises on for an archive, and handing out the one about a record."""

from __future__ import annotations

import contextlib
import logging

from backstory.capture.promise import PromiseFile, Promising
from backstory.capture.recorder import Recorder
from backstory.errors import BackstoryError, FormatError, InputError, NotFoundError
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import Found
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.identity import id_text_of, time_text
from backstory.records.promise import (
    DELAY_SECONDS_MAX,
    KEY_TYPE,
    KeptPromise,
    PromiseDocument,
    key_name,
    parse_kept,
    parse_promise_text,
)
from backstory.storage.promises import PromiseStore
from backstory.tlog.hashing import hash_leaf
from backstory.tlog.note import parse_note
from backstory.tlog.proof import inclusion_proof
from backstory.tlog.signer import Ed25519Signer

_PART = "seed"
_SECOND = 10**9
_log = logging.getLogger("backstory")


def begin_promising(ledger: Ledger, recorder: Recorder) -> None:
    """Let a recorder promise what it makes durable, where promises are switched on and this process has their key.

    Whatever keeps it from that is in the log: an archive whose promises are damaged records all the same.
    """
    try:
        signer = _signer(ledger) if ledger.writable else None
        entry = None if signer is None else _newest_key(ledger)
        if signer is None or entry is None or entry.get("vkey") != signer.vkey:
            return
        delay = canonical.count_of(entry, "delay")
        store = PromiseStore(ledger.layout.root, ledger.world.disk)
        recorder.promiser.promising = Promising(layout=ledger.layout, signer=signer, delay=delay, store=store)
        store.remove_stale(ledger.world.now_ns(), delay)
    except BackstoryError as error:
        _log.warning("promises: %s", error)


def create_promise_key(ledger: Ledger, recorder: Recorder, delay: int) -> str:
    """Switch promises on, or change their delay; return the public key.

    Args:
        ledger: The archive, open for writing.
        recorder: Promises from now on; other processes do when they open the archive the next time.
        delay: By how many seconds after it was durable a record will be in the log.

    Raises:
        InputError: The delay is no number of seconds from 1 to 31,622,400.
    """
    if isinstance(delay, bool) or not isinstance(delay, int) or not 1 <= delay <= DELAY_SECONDS_MAX:
        raise InputError(f"promises: expected a delay of 1 to {DELAY_SECONDS_MAX} seconds, got {delay!r}")
    ledger.keys.get_or_create(_file(ledger), _PART)  # first: what an entry names is there
    signer = _signer(ledger)
    if signer is None:  # pragma: no cover - somebody removed it just now
        raise NotFoundError("promises: their key is gone")
    says: JsonObject = {"delay": str(delay), "vkey": signer.vkey}

    def entries() -> list[JsonObject]:
        newest = _newest_key(ledger)
        return [] if newest is not None and says.items() <= newest.items() else [{"type": KEY_TYPE, **says}]

    ledger.append(entries)
    begin_promising(ledger, recorder)
    return signer.vkey


def promise_key(ledger: Ledger) -> str:
    """Return the public key of promises; see `promise_terms`."""
    return promise_terms(ledger)[0]


def promise_terms(ledger: Ledger) -> tuple[str, int]:
    """Return the public key of promises, and by how many seconds after it was durable a record will be in the log.

    Raises:
        NotFoundError: They were never switched on for this log.
    """
    entry = _newest_key(ledger)
    if entry is None:
        raise NotFoundError("promises: they are not switched on; `backstory promise-key --delay SECONDS` does it")
    return canonical.text_of(entry, "vkey"), canonical.count_of(entry, "delay")


def promise_of(ledger: Ledger, recorder: Recorder, found: Found) -> PromiseFile:
    """Return the promise that was given about a record.

    Raises:
        NotFoundError: None was given, or it is not kept any more.
        StorageError: The record could not be made durable.
    """
    recorder.sync()
    recorder.promiser.make()
    stream, seq = found.table["stream"][0].as_py().hex(), found.table["seq"][0].as_py()
    for line in PromiseStore(ledger.layout.root, ledger.world.disk).lines_of(stream):
        with contextlib.suppress(FormatError):  # damage is the audit's to report
            kept = parse_kept(line)
            for index, run in enumerate(kept.runs):
                if run.first_seq <= seq < run.end_seq and id_text_of(run.id_at(seq)) == found.id:
                    text = parse_promise_text(parse_note(kept.note).text)
                    deadline = time_text(text.time_ns + text.delay * _SECOND)
                    return PromiseFile(_document(kept, index, seq).encode(), found.id, deadline)
    promise_key(ledger)  # says so where none is ever given
    raise NotFoundError(
        f"promise: none is kept about record {found.id}: it was recorded before they were switched on, by a worker or "
        "a job, or long ago"
    )


def _document(kept: KeptPromise, index: int, seq: int) -> PromiseDocument:
    path = inclusion_proof([hash_leaf(run.encode()) for run in kept.runs], index)
    return PromiseDocument(
        run=kept.runs[index], seq=seq, index=index, path=tuple(path), salt=kept.salts[index], note=kept.note
    )


def _file(ledger: Ledger) -> str:
    return f"promise-{ledger.layout.config.incarnation}"


def _signer(ledger: Ledger) -> Ed25519Signer | None:
    if not ledger.keys.has(_file(ledger)):
        return None
    return Ed25519Signer.from_seed(key_name(ledger.layout.config.origin), ledger.keys.key(_file(ledger), _PART))


def _newest_key(ledger: Ledger) -> JsonObject | None:
    """Return the newest key of promises of this log: one that a restored log carries over is of the log before."""
    own = f"{key_name(ledger.layout.config.origin)}+"
    found = [entry for entry in ledger.find_entries(KEY_TYPE) if canonical.text_of(entry, "vkey").startswith(own)]
    return found[-1] if found else None
