"""What an archive says of itself to operators: its recorder's counts, its spool, its log."""

from __future__ import annotations

from backstory.capture.metrics import Metrics
from backstory.capture.recorder import RecorderStatus
from backstory.errors import BackstoryError
from backstory.ledger.ledger import Ledger
from backstory.records import canonical
from backstory.records.identity import parse_time
from backstory.storage.spool import StreamInfo

_NS_PER_SECOND = 10**9


def measure(ledger: Ledger, status: RecorderStatus) -> Metrics:
    """Return the metrics of an archive and of one recorder into it.

    Raises:
        StorageError: The log cannot be read.
    """
    now_ns = ledger.world.now_ns()
    heads = ledger.heads()
    unsealed = [_oldest_ns(ledger, info, heads.get(info.stream, 0)) for info in ledger.spool.streams()]
    since_ns = min((one for one in unsealed if one is not None), default=now_ns)
    last = ledger.log.entry(ledger.log.checkpoint().size - 1)
    return Metrics(
        records_total=status.recorded,
        refused_total=status.refused,
        watermark_lag_records=status.recorded - status.durable,
        buffer_bytes=status.pending_size,
        spool_bytes=ledger.spool.size(),
        seal_lag_seconds=_seconds(now_ns - since_ns),
        checkpoint_age_seconds=_seconds(now_ns - parse_time(canonical.text_of(last, "time"))),
    )


def _oldest_ns(ledger: Ledger, info: StreamInfo, head: int) -> int | None:
    """Return when the first record of a stream was made that is not sealed; None if there is none.

    A stream that cannot be read cannot be sealed either: it waits since it was opened.
    """
    try:
        frame = next(ledger.spool.frames(info, head), None)
        if frame is None:
            return None
        times = ledger.spool.table(info, ledger.schema(info.schema), frame)["time"]
        return int(times[max(head - frame.first_seq, 0)].value)
    except BackstoryError:
        return parse_time(info.opened) if info.stream in ledger.spool.stream_names() else None


def _seconds(ns: int) -> float:
    return max(ns, 0) / _NS_PER_SECOND  # the clock may have been set back
