"""Jobs: predictions over more rows than fit into memory, part by part, each part recorded exactly once."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from backstory.archive.calls import Calls
from backstory.capture.decision import Threshold
from backstory.capture.enclosing import inside
from backstory.capture.ids import Ids
from backstory.capture.model_version import ModelVersion
from backstory.capture.policy import Policy
from backstory.capture.recorder import Recorder
from backstory.errors import ConflictError, InputError, StorageError
from backstory.ledger.job import find_part, finish_run, parts_of
from backstory.ledger.ledger import Ledger
from backstory.ledger.seal import seal_part, seal_stream
from backstory.lineage.refs import RowRefs
from backstory.records.job import JobPart, PartName
from backstory.records.limits import JOB_TEXT_MAX
from backstory.records.manifest import parse_manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class PartPredictions:
    """What a part of a job gave. Its records are in the log.

    Attributes:
        part: The part, as text.
        output: What the model returned, unchanged; None where the part was recorded before.
        ids: Id of each prediction in the order of the rows, also where the part was recorded before.
        repeated: Whether the part was recorded before, here or by another process: nothing was recorded now.
    """

    part: str
    output: Any
    ids: Ids
    repeated: bool

    def __len__(self) -> int:
        """Return the number of predictions."""
        return len(self.ids)

    def __repr__(self) -> str:
        """Return part and ids, on one line."""
        return f"<PartPredictions: part {self.part!r}, ids {self.ids}{', recorded before' if self.repeated else ''}>"


class Job:
    """One run of a job: `with archive.job("nightly", run="2026-11-22") as job: …`.

    A part that is done stays done, whatever process did it and whatever happens afterwards; one that is not has no
    record in the log. Threads and processes may share a run. The run's end is written by leaving the `with` block.
    """

    def __init__(
        self,
        ledger: Ledger,
        calls: Calls,
        version_of: Callable[[ModelVersion | str], ModelVersion],
        policy: Policy,
        *,
        name: str,
        run: str,
        expect: int | None,
    ) -> None:
        """Made by `Archive.job`."""
        self._ledger = ledger
        self._calls = calls
        self._version_of = version_of
        self._policy = replace(policy, on_failure="closed")  # a part without its records is not done
        self.name = _text(name, "name")
        self.run = _text(run, "run")
        self.expect = None if expect is None else _count(expect)

    def predict(
        self,
        model: ModelVersion | str,
        features: Any,  # noqa: ANN401  whatever the model takes
        *,
        part: int | str,
        rows: RowRefs | None = None,
        method: str = "predict",
        subject: Any = None,  # noqa: ANN401  one text or one a row
        decision: Threshold | None = None,
    ) -> PartPredictions:
        """Run a model on a part and return when its records are in the log, all of them; or find them there.

        A part that is done is not predicted again: the model is not run. Where two do a part at the same time, the
        records of one count, and the other gets these.

        Args:
            model: The version, or what `Archive.model` takes.
            features: A frame or anything else `Archive.predict` takes.
            part: Names the part within the run, kept as text: 3 and "3" are the same. No personal data.
            rows: Row references of the features, from `split`; not needed for a token frame.
            method: Method of the model to call.
            subject: The person the predictions are about, or one a row. They are then sealed.
            decision: Rule that turns the output into a decision.

        Raises:
            InputError: As `Archive.predict`. Where the model fails, the failed predictions are recorded, as others are,
                and the part is not done.
            StorageError: The records could not be written. Whether the part is done `done` says.
        """
        which = self._which(part)
        earlier = self._find(which)
        if earlier is not None:
            return PartPredictions(part=which.part, output=None, ids=self._ids(earlier), repeated=True)
        ledger = self._ledger
        recorder = Recorder(ledger.spool, ledger.blobs, ledger.world, self._policy, job=which.document())
        try:
            with inside(None):  # a part is no step of a prediction around it
                made = self._calls.predict(
                    self._version_of(model),
                    features,
                    rows=rows,
                    method=method,
                    subject=subject,
                    decision=decision,
                    recorder=recorder,
                )
        finally:  # also where records were made and the model changed its input, which is an error
            sealed = self._seal(recorder)
            self._calls.add_counts(recorder.status())
        (done,) = sealed
        ids = self._ids(done)
        repeated = ids != made.ids  # somebody else was first
        return PartPredictions(part=which.part, output=None if repeated else made.output, ids=ids, repeated=repeated)

    def done(self, part: int | str) -> bool:
        """Say whether a part is done: recorded, and in the log."""
        return self._find(self._which(part)) is not None

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts that are done, in the order in which they were."""
        self._ledger.catch_up()
        return tuple(part.which.part for part in parts_of(self._ledger, self.name, self.run))

    def __enter__(self) -> Self:
        """Return the job."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Say in the log that the run has ended, with its records; after an exception do nothing.

        Raises:
            ConflictError: The run has more or fewer records than expected.
        """
        if kind is not None:
            return
        end = finish_run(self._ledger, self.name, self.run, self.expect)
        if end.expected not in {None, end.records}:
            raise ConflictError(
                f"job {self.name!r}, run {self.run!r}: expected {end.expected} records, got {end.records} in "
                f"{end.parts} parts; the log says so too",
                expected=end.expected,
                records=end.records,
                parts=end.parts,
            )

    def __repr__(self) -> str:
        """Return name and run."""
        return f"<Job {self.name!r}, run {self.run!r}>"

    def _which(self, part: int | str) -> PartName:
        if isinstance(part, bool) or not (isinstance(part, str) or hasattr(part, "__index__")):
            raise InputError(f"job: expected the part as a text or a whole number, got {type(part).__name__}")
        text = part if isinstance(part, str) else str(operator.index(part))
        return PartName(name=self.name, run=self.run, part=_text(text, "part"))

    def _find(self, which: PartName) -> JobPart | None:
        self._ledger.catch_up()
        return find_part(self._ledger, which)

    def _seal(self, recorder: Recorder) -> list[JobPart]:
        """Let go of a part's recorder and put what it recorded into the log; return what the log then says."""
        try:
            recorder.close()
        except StorageError:
            recorder.abandon()
            raise
        streams = recorder.streams()
        for info in (info for info, end_seq in streams if end_seq == 0):
            seal_stream(self._ledger, info)  # it could not be written, and is removed
        return [seal_part(self._ledger, info) for info, end_seq in streams if end_seq > 0]

    def _ids(self, part: JobPart) -> Ids:
        """Return the ids of a part's records: they are of one call, so they follow each other."""
        position = self._ledger.catalog.segments_with_seq(part.stream, 0, 1)[0]
        first_id = parse_manifest(self._ledger.log.entry(position)).first_id
        return Ids(int(first_id, 16), part.records)


def _count(value: int) -> int:
    """Return a number of records, after checking that it is one.

    Raises:
        InputError: It is no whole number, or negative.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise InputError(f"job: expected a whole number of records, got {type(value).__name__}")
    count = operator.index(value)
    if count < 0:
        raise InputError(f"job: expected a number of records that is not negative, got {count}")
    return count


def _text(value: str, what: str) -> str:
    """Return a text that names something, after checking that it can.

    Raises:
        InputError: It is no text, empty, too long, or not Unicode.
    """
    if not isinstance(value, str) or not 0 < len(value) <= JOB_TEXT_MAX:
        got = f"{len(value)} characters" if isinstance(value, str) else type(value).__name__
        raise InputError(f"job: expected a {what} of 1 to {JOB_TEXT_MAX} characters, got {got}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise InputError(f"job: expected a {what} that is Unicode text, got a lone surrogate")
    return value
