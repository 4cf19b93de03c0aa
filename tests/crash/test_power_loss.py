"""After a power cut an archive has what was durable, once; says that the rest is unknown; and verifies.

`BACKSTORY_POWER_ROUNDS` says how many runs are cut, each at several moments.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import random
import shutil
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.support.ledgers import BEGAN_NS, OPEN, SEALED, make_batch, new_ledger, reopen, row, world
from tests.support.power import PowerDisk

from backstory.capture.ids import Ids
from backstory.capture.policy import Policy
from backstory.capture.recorder import Recorder, RowTarget
from backstory.ledger.ledger import Ledger
from backstory.ledger.seal import LEASE_NS, seal_all
from backstory.records.identity import id_text
from backstory.records.manifest import CLOSED_TYPE, MANIFEST_TYPE, parse_manifest
from backstory.storage import spool_writer
from backstory.storage.lock import LockStore
from backstory.verify.archive import verify_archive

ROUNDS = int(os.environ.get("BACKSTORY_POWER_ROUNDS", "8"))
STEPS = 30
CUTS = 8
INLINE_SIZE, ROTATE_SIZE = 6_000, 12_000
"""Small enough for a run of a few records to have batch files and several frames files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A moment at which the power was cut.

    Attributes:
        root: What was left.
        durable: Each stream's watermark at that moment.
        closed: Streams that had begun to end in order.
    """

    root: Path
    durable: dict[str, int]
    closed: frozenset[str]


@dataclass(slots=True, kw_only=True)
class Run:
    """One run of a recording program, with the cuts taken of it.

    Attributes:
        ids: Each stream's ids in the order of its sequence numbers.
        cuts: The cuts.
    """

    ledger: Ledger
    recorder: Recorder
    targets: dict[str, RowTarget]
    draw: random.Random
    ids: dict[str, list[str]] = field(default_factory=dict)
    cuts: list[Cut] = field(default_factory=list)

    def step(self) -> None:
        """Do one thing a service does."""
        name, schema = self.draw.choice([("open", OPEN), ("sealed", SEALED)])
        act = self.draw.choices(["row", "batch", "write", "sync", "fail", "seal", "retire"], [6, 3, 2, 4, 1, 1, 1])[0]
        count = self.draw.randint(1, 40)
        if act == "row":
            for number in range(count):
                self.record_row(name, number)
        elif act == "batch":
            done = self.recorder.record(make_batch(self.ledger, schema, 0, count * 3))
            self.ids.setdefault(done.stream, []).extend(done.ids)
        elif act == "write":
            for stream in self.recorder._streams.values():
                stream.write()
        elif act == "seal":
            seal_all(self.ledger)
        elif act == "retire" and schema.digest in self.recorder._streams:
            self.recorder._retire(schema.digest)
        else:
            self.ledger.world.disk.syncs_to_fail = int(act == "fail")
            self.recorder.sync()

    def record_row(self, name: str, number: int) -> None:
        """Record one prediction as a row of plain values."""
        target = self.targets[name]
        values = [number, number / 2, f"name {number}", float(number)]
        values += [True, f"person {number}"] if name == "sealed" else []
        context = bytes.fromhex(self.ledger.put_document({"model": {"name": name}, "v": 1}))
        first = self.recorder.record_row(target, row(context, values))
        self.ids.setdefault(target.stream.info.stream, []).extend(Ids(first, 1))

    def cut(self, root: Path) -> None:
        """Cut the power now."""
        streams = [*self.recorder._retired, *self.recorder._streams.values()]
        self.ledger.world.disk.cut(root, self.draw)
        durable = {stream.info.stream: stream.durable_seq for stream in streams}
        for name, head in LockStore(root / "lock.sqlite").heads().items():
            durable[name] = max(durable.get(name, 0), head)
        closed = frozenset(stream.info.stream for stream in streams if stream.is_retired)
        self.cuts.append(Cut(root=root, durable=durable, closed=closed))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new archive."""
    return new_ledger(tmp_path_factory.mktemp("template") / "archive").layout.root


def make_run(seed: int, template: Path, folder: Path) -> Run:
    """Record for a while, and cut the power at moments drawn from a seed."""
    draw = random.Random(seed)
    root, shadow = folder / "archive", folder / "shadow"
    shutil.copytree(template, root)
    shadow.mkdir()
    disk = PowerDisk(root, shadow)
    ledger = reopen(root, seed=seed, disk=disk)
    recorder = Recorder(ledger.spool, ledger.blobs, ledger.world, Policy(durability="async"))
    recorder._syncer = threading.current_thread()  # this one: what happens is then only what the seed says
    run = Run(
        ledger=ledger,
        recorder=recorder,
        targets={"open": RowTarget(OPEN), "sealed": RowTarget(SEALED)},
        draw=draw,
    )

    def maybe_cut() -> None:
        if len(run.cuts) < CUTS and draw.random() < 0.03:
            run.cut(folder / f"cut-{len(run.cuts)}")

    disk.on_effect = maybe_cut
    for _ in range(STEPS):
        run.step()
    disk.on_effect = lambda: None
    run.cut(folder / "cut-last")
    recorder.close()
    return run


def recover(root: Path) -> Ledger:
    """Open what a cut left, as the next process would, and seal what is there."""
    began = BEGAN_NS + 2 * LEASE_NS  # whoever held a lease did not survive
    later = dataclasses.replace(world(seed=99), now_ns=itertools.count(began, 10**6).__next__)
    ledger = Ledger(root, later, writable=True, vkey=None, actor=None)
    seal_all(ledger)
    return ledger


def sealed_records(ledger: Ledger) -> list[tuple[str, int, str]]:
    """Return stream, sequence number and id of every record the log covers."""
    found = []
    for entry in ledger.find_entries(MANIFEST_TYPE):
        manifest = parse_manifest(entry)
        table = pq.read_table(ledger.layout.segments / manifest.file.name, columns=["stream", "seq", "id"])
        found += [(row["stream"].hex(), row["seq"], id_text(row["id"])) for row in table.to_pylist()]
    return found


def files(root: Path) -> dict[str, bytes]:
    """Return every file of an archive but SQLite's, which counts its transactions."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and ".sqlite" not in path.name
    }


def insist_nothing_durable_is_lost(run: Run, cut: Cut) -> None:
    """Recover from a cut, and insist on all this module promises."""
    ledger = recover(cut.root)
    found = sealed_records(ledger)
    assert max(Counter(identity for _, _, identity in found).values(), default=1) == 1
    assert all(run.ids[stream][seq] == identity for stream, seq, identity in found), "each in its own place"
    there = Counter(stream for stream, _, _ in found)
    assert all(there[stream] >= end for stream, end in cut.durable.items())
    report = verify_archive(cut.root, workers=1)
    assert not report.failed, str(report)
    assert not report.incomplete, str(report)
    assert report.counts["records"] == len(found)
    assert ledger.spool.stream_names() == []
    closed = ledger.find_entries(CLOSED_TYPE)
    assert len({entry["stream"] for entry in closed}) == len(closed)
    unclean = {entry["stream"] for entry in closed if not entry["clean"]}
    assert {stream for stream, end in cut.durable.items() if end and stream not in cut.closed} <= unclean
    before = files(cut.root)
    recover(cut.root)
    assert files(cut.root) == before, "a second recovery changes nothing"


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_nothing_durable_is_lost_by_a_power_cut(
    seed: int, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Whenever the power is cut, what was durable is there once, the rest is said to be unknown, and all verifies."""
    monkeypatch.setattr(spool_writer, "INLINE_SIZE_MAX", INLINE_SIZE)
    monkeypatch.setattr(spool_writer, "ROTATE_SIZE", ROTATE_SIZE)
    run = make_run(seed, template, tmp_path)
    assert run.ids
    for cut in run.cuts:
        insist_nothing_durable_is_lost(run, cut)
