"""The whole write path against a plain list: whatever is recorded, sealed, crashed and reopened, the list is there."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.support.ledgers import OPEN, SEALED, catalog_rows, lose, make_batch, new_ledger, new_recorder, reopen

from backstory.catalog.catalog import Catalog
from backstory.ledger.read import find_record, read_sequence
from backstory.ledger.seal import seal_all
from backstory.verify.archive import verify_archive

SCHEMAS = st.sampled_from([OPEN, SEALED])


class Records(RuleBasedStateMachine):
    """Records batches and loses processes; `model` is what must be found."""

    @initialize()
    def create(self):
        """Begin with a new archive."""
        self.root = Path(tempfile.mkdtemp()) / "archive"
        self.ledger = new_ledger(self.root)
        self.recorder = new_recorder(self.ledger)
        self.model: dict[str, tuple[str, int, int]] = {}
        self.opened = 1

    @rule(schema=SCHEMAS, rows=st.integers(0, 40), context=st.sampled_from("ab"))
    def record(self, schema, rows, context):
        """Record a batch; its ids lie above all earlier ones of its stream."""
        first = len(self.model)
        done = self.recorder.record(make_batch(self.ledger, schema, first, rows, model=context))
        assert list(done.ids) == sorted(done.ids)
        for i, identity in enumerate(done.ids):
            assert identity not in self.model
            self.model[identity] = (done.stream, done.first_seq + i, first + i)

    @rule()
    def seal(self):
        """Seal everything; nothing is left to seal."""
        seal_all(self.ledger)
        assert seal_all(self.ledger) == 0

    @rule()
    def lose_the_recorder(self):
        """A process dies without closing; another begins."""
        lose(self.recorder)
        self.recorder = new_recorder(self.ledger)

    @rule()
    def reopen(self):
        """Everything is opened anew."""
        lose(self.recorder)
        self.opened += 1
        self.ledger = reopen(self.root, seed=self.opened)
        self.recorder = new_recorder(self.ledger)

    @rule()
    def lose_the_catalog(self):
        """The catalog is deleted and is the same again."""
        before = catalog_rows(self.root / "catalog.sqlite")
        self.ledger.catalog.close()
        (self.root / "catalog.sqlite").unlink()
        self.ledger.catalog = Catalog(self.root / "catalog.sqlite")
        self.ledger.catch_up()
        assert catalog_rows(self.root / "catalog.sqlite") == before

    @precondition(lambda self: self.model)
    @rule(choice=st.integers(0, 10**6))
    def find_one(self, choice):
        """A record is found by its id, with its own values and place."""
        identity = list(self.model)[choice % len(self.model)]
        stream, seq, number = self.model[identity]
        found = find_record(self.ledger, identity, "prediction")
        table = found.table
        assert (table["stream"][0].as_py().hex(), table["seq"][0].as_py()) == (stream, seq)
        if found.schema.digest == OPEN.digest:
            assert table["output"][0].as_py() == float(number)

    @precondition(lambda self: self.model)
    @rule(choice=st.integers(0, 10**6))
    def read_a_stream(self, choice):
        """A stream is read from 0 to its end, across segments and spool."""
        stream, _, _ = list(self.model.values())[choice % len(self.model)]
        seqs = sorted(seq for own, seq, _ in self.model.values() if own == stream)
        assert seqs == list(range(len(seqs)))
        schema = next(s for s in (OPEN, SEALED) if self._is_of(stream, s))
        table = read_sequence(self.ledger, stream, schema, 0, len(seqs), opened=True)
        assert table["seq"].to_pylist() == seqs

    def _is_of(self, stream, schema):
        identity = next(identity for identity, (own, _, _) in self.model.items() if own == stream)
        return find_record(self.ledger, identity, "prediction").schema.digest == schema.digest

    @invariant()
    def everything_verifies(self):
        """After every step the archive verifies, and no record is missing."""
        report = verify_archive(self.root, workers=1)
        assert not report.failed, report
        waiting = sum(frame.count for info in self.ledger.spool.streams() for frame in self._waiting(info))
        assert report.counts["records"] + waiting == len(self.model)

    def _waiting(self, info):
        head = self.ledger.lock.heads().get(info.stream, 0)
        return list(self.ledger.spool.frames(info, head))

    def teardown(self):
        """Seal all, find all."""
        self.recorder.close()
        seal_all(self.ledger)
        report = verify_archive(self.root, workers=1)
        assert report.counts["records"] == len(self.model)
        assert not report.failed
        assert self.ledger.spool.streams() == []
        shutil.rmtree(self.root.parent)


Records.TestCase.settings = settings(max_examples=8, stateful_step_count=10, deadline=None)
TestRecords = Records.TestCase
