"""An archive whose clock the test sets, with rules, for what is kept how long.

Clock        a clock that goes a microsecond further each time it is read, and as far as it is told
archive      an archive about nobody or somebody, its clock, and what records into it
registered   models by name
in_force     rules proposed by one person and approved by another
acting       who acts
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

from tests.support.ledgers import BEGAN_NS, ORIGIN, SEALED, QuickDisk, make_batch, new_recorder

from backstory.governance.keeping import RULES
from backstory.governance.proposal import decide, propose
from backstory.ledger.create import create_archive
from backstory.ledger.ledger import Ledger
from backstory.ledger.seal import seal_all
from backstory.lineage.registry import Submission, register_model
from backstory.lineage.store import LineageStore
from backstory.records.schema import Schema
from backstory.storage.disk import Disk
from backstory.storage.world import World

DAY = 24 * 3600 * 10**9

PAYLOAD = {"ceiling": "6 months", "kinds": ["prediction"], "name": "payload", "part": "payload", "source": "a test"}
SKELETON = {"ceiling": "24 months", "kinds": ["prediction"], "name": "row", "part": "skeleton", "source": "a test"}


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        """Begin where every test's clock does."""
        self.now = BEGAN_NS

    def read(self) -> int:
        """Return the time, a microsecond later each time."""
        self.now += 1000
        return self.now

    def on(self, days: int) -> None:
        """Go on by days."""
        self.now += days * DAY


def timed_world(clock: Clock, seed: int = 1, disk: Disk | None = None) -> World:
    """Return a world with this clock."""
    return World(
        now_ns=clock.read, monotonic_ns=clock.read, random_bytes=Random(seed).randbytes, disk=disk or QuickDisk()
    )


def timed_ledger(root: Path, clock: Clock, *, seed: int = 1, disk: Disk | None = None, **places: Path) -> Ledger:
    """Create an archive, or open one, with this clock; a new one has `vault`, `keys` and `master` where it is said."""
    world = timed_world(clock, seed, disk)
    if not (root / "backstory.toml").exists():
        create_archive(root, ORIGIN, world, **places)
    return Ledger(root, world, writable=True, vkey=None, actor="ann")


def recorded(
    ledger: Ledger, rows: int, schema: Schema = SEALED, *, first: int = 0, model: str = "delay"
) -> list[bytes]:
    """Record and seal so many records in a stream of their own; return their ids."""
    recorder = new_recorder(ledger)
    ids = recorder.record(replace(make_batch(ledger, schema, first, rows, model))).ids
    recorder.close()
    seal_all(ledger)
    return [bytes.fromhex(str(one).replace("-", "")) for one in ids]


def registered(ledger: Ledger, *names: str) -> None:
    """Register models of these names, so that holds can name them."""
    for name in names:
        given = Submission(model=len, name=name, rows=None, target=None, metrics={}, trusted=())
        register_model(ledger, LineageStore(ledger), given)


@contextmanager
def acting(ledger: Ledger, actor: str | None) -> Iterator[None]:
    """Let somebody else act."""
    before, ledger.actor = ledger.actor, actor
    yield
    ledger.actor = before


def in_force(ledger: Ledger, *rules: dict[str, object], name: str = "test", models: Sequence[str] = ("*",)) -> None:
    """Bring rules in force: Ann proposes, Bob approves."""
    document = {"models": list(models), "name": name, "rules": list(rules), "v": 1}
    with acting(ledger, "ann"):
        proposal = propose(ledger, RULES, name, document)
    with acting(ledger, "bob"):
        decide(ledger, proposal.index, "approved")
