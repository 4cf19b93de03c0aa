"""`backstory seal`: put what is recorded into the log, once or again and again."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_text
from backstory.cli.archives import open_ledger
from backstory.cli.options import ASKING, Asking
from backstory.cli.progress import progress
from backstory.columns.own_process import keep_memory
from backstory.errors import InputError
from backstory.lineage.plain import count_text

if TYPE_CHECKING:
    from backstory.ledger.ledger import Ledger

_NS = 10**9


def seal(
    *,
    spool: Annotated[list[Path] | None, Parameter(negative=())] = None,
    watch: Annotated[bool, Parameter(negative=())] = False,
    every: float | None = None,
    rows: int | None = None,
    age: float | None = None,
    asking: Asking = ASKING,
) -> None:
    """Put everything recorded so far into the log, under a signed checkpoint.

    Args:
        spool: Directory of a worker's spool to seal too; may be repeated.
        watch: Go on until SIGTERM or Ctrl-C, then finish the seal under way and end.
        every: With --watch, seconds between two looks. [default: 1]
        rows: With --watch, seal a stream that has so many unsealed records. [default: 65536]
        age: With --watch, seal a stream whose oldest unsealed record waits for so many seconds. [default: 10]
        asking: Which archive.
    """
    spools = spool or []
    if not watch and (every, rows, age) != (None, None, None):
        raise InputError("seal: --every, --rows and --age say when to seal again, and need --watch")
    if min(value for value in (every, rows, age, 1) if value is not None) <= 0:
        raise InputError("seal: expected --every, --rows and --age above 0")
    keep_memory()
    if watch:
        with open_ledger(asking, writable=True) as ledger:
            count = _watch(ledger, spools, every, rows, age)
            size = ledger.log.checkpoint().size
    else:
        with progress("sealing"), open_ledger(asking, writable=True) as ledger:
            count = _seal_once(ledger, spools)
            size = ledger.log.checkpoint().size
    if asking.json:
        print_json({"sealed": count, "tree_size": size})
    else:
        print_text(f"sealed {count_text(count, 'record')}; tree size {size}")


def _seal_once(ledger: Ledger, spools: Sequence[Path]) -> int:
    from backstory.archive.forgetting import collect_and_forget
    from backstory.ledger.seal import seal_all

    return seal_all(ledger) + sum(collect_and_forget(ledger, root) for root in spools)


def _watch(ledger: Ledger, spools: Sequence[Path], every: float | None, rows: int | None, age: float | None) -> int:
    from backstory.archive.forgetting import Forgetting
    from backstory.ledger import watch
    from backstory.ledger.collect import watch_worker
    from backstory.ledger.stopping import stop_on

    rule = watch.Rule(rows=rows or watch.ROWS, age_ns=watch.AGE_NS if age is None else int(age * _NS))
    workers = [Forgetting(ledger, watch_worker(ledger, root, rule)) for root in spools]
    watches: list[watch.Looking] = [watch.Watch(ledger, rule), *workers]
    with stop_on([signal.SIGTERM, signal.SIGINT]) as stop, _log_on_stderr():
        return watch.watch(watches, stop, watch.EVERY_SECONDS if every is None else every)


@contextmanager
def _log_on_stderr() -> Iterator[None]:
    """Let what is sealed, and what is not, be read on stderr while watching."""
    log, handler = logging.getLogger("backstory"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.setLevel(before)
        log.removeHandler(handler)
