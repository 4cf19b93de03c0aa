"""Recording the predictions of one call: the model runs unchanged, what went in and came out is kept.

A failed call is recorded with the class of its exception, which is raised on unchanged.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import pyarrow as pa

from backstory.capture.decision import Threshold
from backstory.capture.enclosing import Enclosing, enclosing
from backstory.capture.ids import Ids
from backstory.capture.options import SeenOptions
from backstory.capture.output import output_column
from backstory.capture.policy import Policy
from backstory.capture.promise import PromiseFile
from backstory.capture.recorded_types import RecordedTypes
from backstory.capture.recorder import Batch, Recorded, Recorder
from backstory.capture.steps import is_personal
from backstory.capture.subject import subject_column
from backstory.columns.arrow_type import flat_fields, unchunked
from backstory.errors import AlignmentError, BackstoryError, InputError, InputMutatedError, ModelError, StorageError
from backstory.frames.container import describe_container
from backstory.frames.equality import find_difference
from backstory.frames.table import LAZY, hold, kind_of, to_arrow
from backstory.frames.watch import Watch, refuse_flagged
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.classification import NO_CLASSES, Classes
from backstory.records.envelope import ENVELOPE, FAILED, OK, prediction_schema, seals
from backstory.records.limits import PAYLOAD_SIZE_MAX
from backstory.records.schema import Schema, escape_name, split_name
from backstory.storage.blobs import BlobStore
from backstory.storage.fork import renew_in_child

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Level = Literal["durable", "sealed"]
_SCHEMAS_MAX = 1_024
"""Schemas a process remembers."""
_CONTEXTS_MAX = 65_536
"""Contexts a process remembers to have stored; then it begins anew."""
_log = logging.getLogger("backstory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Row references of a call.

    Attributes:
        positions: For each reference one position a row: 0 or more, −1 no row, −2 broken.
        personal: References that lead to people.
        document: What the positions mean, as it stands in the context.
    """

    positions: Mapping[str, NDArray[np.signedinteger[Any]]] = field(default_factory=dict)
    personal: frozenset[str] = frozenset()
    document: JsonObject = field(default_factory=dict)


class Explains(Protocol):
    """Says what each feature added to the outputs of a call."""

    @property
    def document(self) -> JsonObject:
        """What a context says of it."""

    def columns(
        self,
        features: Any,  # noqa: ANN401  whatever the model takes
        output: pa.Array,
    ) -> dict[str, pa.Array]:
        """Return what was added, as columns of records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a model.

    Attributes:
        model: What the context says of the model: name, version, digest.
        method: Name of the method, or of the function.
        features: The input, as the model gets it.
        output_names: Names of the columns of a two-dimensional output.
        rows: Row references.
        subject: The person each row is about: one text for all rows or one a row; None where it is about nobody.
        request_id: The caller's id of the request; of several rows perhaps one a row.
        decision: The rule that turns outputs into decisions.
        code: The code that is running.
        environment: Returns the digest of the environment's description; asked where records are made, as the
            description is stored first.
        options: What the method is given besides the features.
        steps: What the prediction went through, as it is recorded; see `capture.steps`.
        by_hand: Whether features and output were said by the caller, instead of seen on their way through a model.
        recorder: Where what it gives is recorded; None for the capture's own, which also takes it where it fails.
        feature_set: What the context says of the definitions of its features.
        watch: What its features are compared with, and what the context says of that.
        tile: Rows of each run of the model, where it is run in tiles.
        explain: Says what each feature added to the output, where somebody asked.
        classes: What people confirmed of the columns of its records.
    """

    model: JsonObject | None
    method: str
    features: Any
    output_names: list[str] | None = None
    rows: Rows = field(default_factory=Rows)
    subject: Any = None
    request_id: str | pa.Array | None = None
    decision: Threshold | None = None
    code: JsonObject = field(default_factory=dict)
    environment: Callable[[], str] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    steps: str | None = None
    by_hand: bool = False
    recorder: Recorder | None = None
    feature_set: JsonObject | None = None
    watch: tuple[Watch, JsonObject] | None = None
    explain: Explains | None = None
    tile: int | None = None
    classes: Classes = NO_CLASSES


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a recorded call gave.

    Attributes:
        output: What the model returned, unchanged.
        ids: Id of each prediction, in the order of the rows; none where the records were refused and the policy lets
            predictions go out without them.
    """

    output: Any
    ids: Ids
    _wait: Callable[[Level], None]
    _promise: Callable[[str], PromiseFile]

    def __len__(self) -> int:
        """Return the number of predictions."""
        return len(self.ids)

    def __repr__(self) -> str:
        """Return the ids and the type of the output, on one line."""
        return f"<Predictions: ids {self.ids}, output {type(self.output).__name__}>"

    def wait(self, level: Level = "durable") -> Predictions:
        """Return when the records are on disk (`durable`) or in the log under a signed checkpoint (`sealed`).

        Raises:
            InputError: There is no such level.
            StorageError: They could not be written.
        """
        if level not in get_args(Level):
            raise InputError(f"wait: expected {' or '.join(map(repr, get_args(Level)))}, got {level!r}")
        self._wait(level)
        return self

    def promise(self, index: int = 0) -> PromiseFile:
        """Return the operator's signed promise that a record is on disk and will be in the log; see `Archive.promise`.

        Args:
            index: Which of the predictions.

        Raises:
            InputError: There is no such prediction.
            NotFoundError: No promise was given about it, as where promises are not switched on.
        """
        try:
            identity = self.ids[index]
        except (IndexError, TypeError) as error:
            raise InputError(f"promise: expected one of {len(self.ids)} predictions, got {index!r}") from error
        return self._promise(identity)


class Capture:
    """Runs models and records what they did.

    Attributes:
        types: The types columns are recorded in.
        promise: Returns the promise about a record.
    """

    def __init__(
        self,
        recorder: Recorder,
        blobs: BlobStore,
        seal: Callable[[], None],
        promise: Callable[[str], PromiseFile],
    ) -> None:
        """Record through a recorder; `seal` is called where a caller waits for the proof, `promise` where one asks."""
        self.promise = promise
        self._recorder = recorder
        self._blobs = blobs
        self._seal = seal
        self._lock = threading.Lock()
        renew_in_child(self, "_lock", threading.Lock)
        self._contexts: set[str] = set()
        self.types = RecordedTypes()
        self._options = SeenOptions()

    def predict(self, call: Call, run: Callable[[Any], Any]) -> Predictions:
        """Run a model on the call's features and record its predictions.

        Raises:
            InputError: The input has no rows, or cannot be recorded, or breaks a contract that refuses it; this is
                recorded as a failed call. The model was not called.
            OutputLengthError: The model returned another number of rows. The call is recorded as failed.
            InputMutatedError: The model changed its input. The predictions are recorded, with the input as it was.
            StorageError: The record could not be written; the prediction is not given out.
        """
        begun = self.begin(call)
        try:
            refuse_flagged(begun.refusals)
            output = run(call.features)
        except BaseException as error:
            begun.fail(error)
            raise
        return begun.finish(output)

    def begin(self, call: Call) -> Begun:
        """Take down a call's input before the model runs.

        Raises:
            InputError: The input has no rows, or cannot be recorded.
        """
        held = hold(call.features)
        features = to_arrow(held)
        if features.num_rows == 0:
            raise InputError("predict: expected at least one row, got none")
        columns: dict[str, pa.Array] = {}
        if call.rows.positions:
            columns["row"] = _rows_column(call.rows, features.num_rows)
        columns["feature"] = _struct(features)
        if call.subject is not None:
            columns["subject"] = subject_column(call.subject, features.num_rows)
        # A copy may lie in memory in another way than what the model is given.
        container = describe_container(held if kind_of(call.features) in LAZY else call.features)
        table = self.typed(call, columns, exact=_exact_features(container))
        if call.watch is None:
            return Begun(self, call, held, table, container)
        flagged = call.watch[0].table(features)
        return Begun(self, call, held, table, container, flagged.flags, flagged.refusals)

    @property
    def policy(self) -> Policy:
        """What the recorder promises."""
        return self._recorder.policy

    def payload(self, value: Any) -> Any:  # noqa: ANN401  any value
        """Return a value as it is or, where it is a large text or bytes, the digest of the blob that holds it."""
        if not isinstance(value, str | bytes) or len(value) <= PAYLOAD_SIZE_MAX:
            return value
        data = value.encode("utf-8", "backslashreplace") if isinstance(value, str) else value
        return {"blob": self._blobs.put(data), "size": len(data), "type": type(value).__name__}

    def defer(self, end: Callable[[], object]) -> None:
        """Let a prediction that was given up be recorded soon; for finalizers, see `Recorder.defer`."""
        self._recorder.defer(end)

    def wait(self, level: Level) -> None:
        """Return when everything recorded so far is durable, or sealed."""
        self._recorder.sync()
        if level == "sealed":
            self._seal()

    def record(
        self,
        begun: Begun,
        *,
        result: pa.Table | None = None,
        form: JsonObject | None = None,
        error: str | None = None,
    ) -> Recorded | None:
        """Record the rows of a call that has ended; None if they were refused and the policy allows that.

        Args:
            begun: The call, with its input.
            result: Its output and, where a rule was given, its decision, typed; None for a failed call.
            form: What the output was besides its values.
            error: Class name of the exception of a failed call.
        """
        try:
            body, schema, context = self.shape(begun, result=result, form=form)
        except StorageError as problem:
            self._recorder.refuse_early(begun.table.num_rows, problem)
            return None
        status = OK if error is None else FAILED
        request_id = begun.call.request_id
        batch = Batch(schema=schema, context=context, status=status, error=error, request_id=request_id, body=body)
        own = begun.call.recorder if error is None else None
        return (own or self._recorder).record(batch)

    def shape(self, begun: Begun, *, result: pa.Table | None, form: JsonObject | None) -> tuple[pa.Table, Schema, str]:
        """Return the columns of a call's records, their schema, and the digest of their context; see `record`."""
        call, body = begun.call, begun.table
        if result is not None:
            for name in result.column_names:
                body = body.append_column(name, result[name])
        is_watched, has_steps = begun.flags is not None, call.steps is not None
        rows, personal = tuple(call.rows.positions), call.rows.personal
        schema = _schema_of(body.schema, rows, personal, call.classes, steps=has_steps, flags=is_watched)
        if begun.flags is not None:
            body = body.append_column("flags", begun.flags)
        if call.steps is not None:
            body = body.append_column("steps", pa.repeat(pa.scalar(call.steps, pa.large_string()), body.num_rows))
        order = dict.fromkeys(split_name(column.name)[0] for column in schema.columns[len(ENVELOPE) :])
        explained = "attribution_base" in body.column_names
        context = self._context(call, begun.container, form, personal=bool(schema.groups), explained=explained)
        return body.select(list(order)), schema, context

    def _context(
        self, call: Call, container: dict[str, Any], form: JsonObject | None, *, personal: bool, explained: bool
    ) -> str:
        """Intern what is the same for many records and return its digest."""
        document: JsonObject = {
            "code": call.code,
            "container": _shown(container, by_hand=call.by_hand, personal=personal),
            "decision": call.decision.document() if call.decision else None,
            "environment": None if call.environment is None else call.environment(),
            "kind": "prediction",
            "method": call.method,
            "model": call.model,
            "output": form,
            "policy": (call.recorder or self._recorder).policy.document(),
            "refs": call.rows.document,
            "v": 1,
        }
        if call.classes:
            document["classification"] = call.classes.named
        if call.feature_set is not None:
            document["features"] = call.feature_set
        if call.watch is not None:
            document["watch"] = call.watch[1]
        if call.explain is not None and explained:
            document["explanation"] = call.explain.document
        if call.tile is not None:
            document["tile"] = str(call.tile)
        if call.options:
            document["options"] = self._options.describe(_site_of(call), call.options, personal=personal)
        data = canonical.encode(document)
        digest = hashlib.sha256(data).hexdigest()
        with self._lock:
            if digest not in self._contexts:
                if len(self._contexts) >= _CONTEXTS_MAX:
                    self._contexts.clear()
                self._contexts.add(self._blobs.put(data))
        return digest

    def typed(self, call: Call, columns: dict[str, pa.Array], exact: Collection[str] = ()) -> pa.Table:
        """Cast every column of a call to its recorded type; see `RecordedTypes.cast`.

        Raises:
            ColumnError: A type has no encoding, or a value does not fit its recorded type.
        """
        return self.types.cast(_site_of(call), columns, exact)


@dataclass(frozen=True, slots=True)
class Begun:
    """A call whose input is taken down and whose model is running.

    Attributes:
        capture: Where it will be recorded.
        call: The call.
        held: The input, protected from what the model does to its own.
        table: The input as it is recorded: row references, features, subjects.
        container: What the input was besides its values.
        flags: What was found of each row, as it is recorded; None where nobody looked.
        refusals: Rules of a contract that refuse the call, with how many rows break each.
    """

    capture: Capture
    call: Call
    held: Any
    table: pa.Table
    container: dict[str, Any]
    flags: pa.Array | None = None
    refusals: Mapping[str, int] = field(default_factory=dict)

    @property
    def first_flags(self) -> str | None:
        """The flags of the first row, as they are recorded."""
        return None if self.flags is None else self.flags[0].as_py()

    @property
    def is_about_person(self) -> bool:
        """Whether its record is about a person: the call is, or the prediction around it, which it may become."""
        around = enclosing() if self.table.num_rows == 1 else None
        return is_personal(self.call) or (around is not None and around.is_about_person)

    @property
    def seals_output(self) -> bool:
        """Whether its output is sealed, so that names in it may be values."""
        return self.is_about_person or seals(self.call.classes, "output", about_person=False)

    def fail(self, error: BaseException) -> None:
        """Record that the model raised; the caller raises it on, whatever becomes of the record."""
        try:
            around = enclosing()
            if around is not None and self.table.num_rows == 1 and around.take_failure(self, type(error).__qualname__):
                return
            self.capture.record(self._within(around), error=type(error).__qualname__)
        except Exception as problem:  # noqa: BLE001
            tell_unrecorded(problem)

    def finish(self, output: Any, column: pa.Array | None = None) -> Predictions:  # noqa: ANN401
        """Record what the model returned.

        Args:
            output: The output, which the predictions will hold.
            column: What to record of it, one value a row; None to record the output as a model's.

        Raises:
            OutputLengthError: Not one output a row; recorded as a failed call.
            ModelError: The output has no encoding; recorded as a failed call.
            InputMutatedError: The model changed its input.
        """
        result, form = self.result(output, column)
        result, unexplained = self._explained(result)
        ids = Ids(0, 0)
        around = enclosing()
        if around is None or self.table.num_rows != 1 or not around.take_call(self, output, result, form):
            recorded = self.capture.record(self._within(around), result=result, form=form)
            ids = recorded.ids if recorded is not None else ids
            if around is not None and ids:
                records = {"count": len(ids), "first": ids[0], "last": ids[-1]}
                around.take_step(self.call.method, records, personal=False)
        difference = find_difference(self.held, self.call.features)
        if difference is not None:
            first, last = (ids[0], ids[-1]) if ids else ("", "")
            raise InputMutatedError(
                f"model changed its input while predicting: {difference}; recorded as it was before (id {first} on)",
                ids=[first, last],
            )
        if unexplained is not None:
            first, last = (ids[0], ids[-1]) if ids else ("", "")
            raise ModelError(f"{unexplained}; recorded without (id {first} on)", ids=[first, last]) from unexplained
        return Predictions(output, ids, self.capture.wait, self.capture.promise)

    def _explained(self, result: pa.Table) -> tuple[pa.Table, BackstoryError | None]:
        """Return the result with what each feature added to it, where that was asked; and why it could not be said."""
        if self.call.explain is None:
            return result, None
        try:
            columns = self.call.explain.columns(self.held, unchunked(result["output"]))
        except BackstoryError as problem:
            return result, problem
        for name, values in columns.items():
            result = result.append_column(name, values)
        return result, None

    def _within(self, around: Enclosing | None) -> Begun:
        """Return the call with the request id of the prediction around it: of many rows it is a record of its own."""
        if around is None or self.call.request_id is not None:
            return self
        return replace(self, call=replace(self.call, request_id=around.request_id))

    def result(self, output: Any, column: pa.Array | None) -> tuple[pa.Table, JsonObject]:  # noqa: ANN401
        """Return output and decision as they are recorded, and what the context says of their form; see `finish`."""
        call = self.call
        try:
            form: JsonObject = {"dtype": type(output).__name__, "kind": "returned"}
            exact = ("output",) if column is None else ()  # a replay compares a model's outputs with their types
            if column is None:
                column, form = output_column(output, self.table.num_rows, call.output_names, sealed=self.seals_output)
            columns = {"output": column}
            if call.decision is not None:
                columns["decision"] = call.decision.decide(column)
            return self.capture.typed(call, columns, exact=exact), form
        except BackstoryError as error:
            self.fail(error)
            raise
        except Exception as error:  # noqa: BLE001  an output may raise anything, with values of rows in its words
            msg = f"model output: a {type(output).__name__} cannot be recorded ({type(error).__name__})"
            refusal = ModelError(msg)
            self.fail(refusal)
            raise refusal from None


def tell_unrecorded(problem: Exception) -> None:
    """Say in the log that a failed prediction is not recorded; the exception that goes on is the prediction's own."""
    shown = problem if isinstance(problem, BackstoryError) else type(problem).__qualname__  # it may quote values
    _log.error("recording: a failed prediction is not recorded: %s", shown)


def _site_of(call: Call) -> tuple[str, ...]:
    """Return what calls of one method of one model, or of one function, have in common."""
    return str(call.model and call.model.get("digest")), call.method, str(call.code.get("source"))


@functools.lru_cache(maxsize=_SCHEMAS_MAX)
def _schema_of(
    columns: pa.Schema,
    rows: tuple[str, ...],
    personal: frozenset[str],
    classes: Classes,
    *,
    steps: bool,
    flags: bool,
) -> Schema:
    """Return the schema of records of these columns; made once, as its digest takes longer than all the rest."""
    fields = flat_fields(columns)
    return prediction_schema(
        rows=rows,
        personal_rows=personal,
        features=[f for f in fields if f[0].startswith("feature.")],
        outputs=[f for f in fields if f[0] == "output" or f[0].startswith("output.")],
        decision="bool" if "decision" in columns.names else None,
        subject="subject" in columns.names,
        steps=steps,
        flags=flags,
        attributions=[f for f in fields if f[0].startswith(("attribution.", "attribution_base"))],
        classes=classes,
    )


def _rows_column(rows: Rows, count: int) -> pa.StructArray:
    for name, values in rows.positions.items():
        if len(values) != count:
            msg = f"predict: expected {count} row references as in the input, got {len(values)} ({name})"
            raise AlignmentError(msg)
    arrays = [pa.array(values, pa.int64(), mask=values < -1) for values in rows.positions.values()]
    return pa.StructArray.from_arrays(arrays, names=list(rows.positions))


def _exact_features(container: dict[str, Any]) -> frozenset[str]:
    """Return the columns of the features whose numbers must keep their type, as nothing else says it to a replay."""
    columns = container["columns"]
    types = container.get("dtypes", ["object"] * len(columns))
    held = (name for name, type_ in zip(columns, types, strict=True) if type_ == "object")
    return frozenset(f"feature.{escape_name(name)}" for name in held)


def _struct(table: pa.Table) -> pa.Array:
    plain = [column.combine_chunks() for column in table.columns]
    return pa.StructArray.from_arrays(plain, names=table.column_names)


def _shown(container: dict[str, Any], *, by_hand: bool, personal: bool) -> JsonObject:
    """Return the container as it stands in the context: in clear, so without values that may be about people."""
    if by_hand:
        reason = "features and output were recorded by hand; what the model was given is not known"
    elif personal and container.get("categories"):
        reason = "categories of a record about a person are not kept in its context"
    else:
        return container
    kept = {k: v for k, v in container.items() if k in {"kind", "columns"}}
    return {**kept, "rebuildable": False, "reason": reason}
