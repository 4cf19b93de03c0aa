"""A recorded call with its values, and running a model on it again: what every question about behaviour begins with.

Many models give other bits for a row alone than in its batch, so a case is the whole call and the rows of it that were
asked about.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from backstory.capture.decision import Threshold, parse_decision
from backstory.capture.options import parse_options
from backstory.capture.output import output_column
from backstory.columns.arrow_type import unchunked
from backstory.columns.id_text import id_texts
from backstory.columns.python_value import python_rows
from backstory.errors import BackstoryError, ForbiddenError, ModelError, NotFoundError
from backstory.frames.container import rebuild
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import Found, find_record, read_sequence
from backstory.ledger.sealed import erased_values
from backstory.lineage.showing import subject_of
from backstory.lineage.source import Sources
from backstory.lineage.store import LineageStore
from backstory.lineage.trace import Tracer
from backstory.models import function_of, output_names
from backstory.models.tile import run_in_tiles
from backstory.records import canonical
from backstory.records.access import About, Gate, RecordRun, Scope
from backstory.records.canonical import JsonObject
from backstory.records.envelope import OK, PREDICTION
from backstory.records.identity import id_text
from backstory.records.manifest import parse_manifest
from backstory.records.schema import Schema

if TYPE_CHECKING:
    from numpy.typing import NDArray


ERASED = "committed, erased"
"""What is said of sealed values that are no more."""
_OF_CALL = ["id", "context", "status", "error", "stream", "seq", "batch_row", "batch_rows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What questions about behaviour work with.

    Attributes:
        ledger: The archive.
        gate: Opens sealed values, or does not.
        tracer: Reads lineage that was kept.
        store: Keeps lineage; draws the salts of ids.
        sources: What the ids of this session's frames mean.
        load: Returns the model a context names, from its artifact.
    """

    ledger: Ledger
    gate: Gate
    tracer: Tracer
    store: LineageStore
    sources: Sources
    load: Callable[[JsonObject], object]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """All predictions of one recorded call, with those that were asked about.

    Attributes:
        context: The context they share.
        schema: Their schema.
        table: Their records with all values, in the order of the call.
        rows: Rows of it that were asked about, rising.
        erased: How many rows of it were erased: each stands there with the values of one that was not.
    """

    context: JsonObject
    schema: Schema
    table: pa.Table
    rows: tuple[int, ...]
    erased: int = 0

    @property
    def ids(self) -> list[str]:
        """Ids of the predictions that were asked about."""
        return list(id_texts(self.table["id"].take(pa.array(self.rows))).to_pylist())

    @property
    def features(self) -> pa.Table:
        """The features of the whole call, flat, in the order the model was given them."""
        given = unchunked(self.table["feature"])
        return pa.Table.from_arrays(given.flatten(), names=[field.name for field in given.type])

    @property
    def output(self) -> pa.Array:
        """The outputs of the whole call as recorded."""
        return unchunked(self.table["output"])

    @property
    def decision(self) -> Threshold | None:
        """The rule that made decisions of the outputs; None where there was none."""
        rule = self.context.get("decision")
        return parse_decision(rule) if isinstance(rule, dict) else None

    def decide(self, output: pa.Array) -> pa.Array | None:
        """Return what the rule makes of outputs, such as those of another model; None where there was no rule.

        Raises:
            ModelError: It cannot be used on them: a rule of the last column says nothing of the last of other columns.
        """
        rule = self.decision
        if rule is not None and rule.column is None and _columns(output) != _columns(self.output):
            raise ModelError("the recorded decision is one of other output columns")
        return None if rule is None else rule.decide(output)

    def positions(self) -> dict[str, np.ndarray]:
        """Return for each row reference the positions of the whole call; −1 no row, −2 broken."""
        if "row" not in self.table.column_names:
            return {}
        given = unchunked(self.table["row"])
        return {
            field.name: given.field(at).fill_null(-2).to_numpy(zero_copy_only=False)
            for at, field in enumerate(given.type)
        }


def _columns(output: pa.Array) -> list[str] | None:
    return [field.name for field in output.type] if pa.types.is_struct(output.type) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Predictions of one recorded call that were asked about, before anything of them is read.

    Attributes:
        schema: Their schema.
        stream: The stream of the call, in hex.
        first: Sequence number of its first record.
        count: How many predictions it made.
        rows: Those of them that were asked about, rising.
        ids: The ids of these.
        context: Digest of the context they share.
        error: Class of the exception the call failed with; None where it did not.
    """

    schema: Schema
    stream: str
    first: int
    count: int
    rows: tuple[int, ...]
    ids: tuple[str, ...]
    context: str
    error: str | None


def read_case(shop: Workshop, found: Found, question: str) -> Case:
    """Return the call a prediction was made in.

    Args:
        shop: The archive; what its gate lets through is noted under `question`.
        found: The prediction.
        question: What is asked, such as `replay`.

    Raises:
        ForbiddenError: Values are sealed, and the gate lets nothing through.
        ModelError: The call failed, so there is no output.
        NotFoundError: Records of the call are not here, or it was erased.
        VerificationError: They were changed.
    """
    record = python_rows(found.table.select(_OF_CALL))[0]
    return read_call(shop, asked_of(found.schema, record["stream"].hex(), [record]), question)


def asked_of(schema: Schema, stream: str, records: Sequence[dict[str, Any]]) -> Asked:
    """Return what was asked about of one call.

    Args:
        schema: Schema of its records.
        stream: Their stream, in hex.
        records: Of each record `id`, `context`, `status`, `error`, `seq`, `batch_row` and `batch_rows`; each once.
    """
    one = records[0]
    rows = sorted((record["batch_row"], id_text(record["id"])) for record in records)
    return Asked(
        schema=schema,
        stream=stream,
        first=one["seq"] - one["batch_row"],
        count=one["batch_rows"],
        rows=tuple(row for row, _ in rows),
        ids=tuple(name for _, name in rows),
        context=one["context"].hex(),
        error=None if one["status"] == OK else str(one["error"]),
    )


def read_call(shop: Workshop, asked: Asked, question: str | None) -> Case:
    """Return a call with all its values.

    Args:
        shop: The archive.
        asked: The call.
        question: What is asked; None where the read was noted already, together with that of other calls.

    Raises:
        ForbiddenError: Values are sealed, and the gate does not let all of the call through: the model is given the
            whole of it. Where a question is asked the refusal is recorded.
        ModelError: The call failed, so there is no output.
        NotFoundError: Records of the call are not here, or all that were asked about were erased.
        VerificationError: They were changed.
    """
    context, schema = shop.ledger.document(asked.context), asked.schema
    gate, scope = shop.gate, Scope(runs=(RecordRun(stream=asked.stream, first=asked.first, count=asked.count),))
    if schema.groups and question is not None:
        gate = _gate_of_call(shop, asked)
        if not gate.allows(schema.groups):
            gate.pass_through(question, schema.groups, asked.count, scope)  # says why not
    elif schema.groups and not gate.allows():
        raise ForbiddenError(f"its values are sealed: {gate.lacking()}")
    if asked.error is not None:
        raise ModelError(f"the call failed with {asked.error}; there is no output to compare with")
    if schema.groups and question is not None:
        gate.pass_through(question, schema.groups, asked.count, scope)
    gone = erased_of(shop.ledger, asked)
    rows = tuple(row for row in asked.rows if not gone[row])
    if not rows:
        raise NotFoundError(f"its values are {ERASED}")
    table = read_sequence(shop.ledger, asked.stream, schema, asked.first, asked.count, opened=bool(schema.groups))
    return Case(context=context, schema=schema, table=_filled(table, gone), rows=rows, erased=int(gone.sum()))


def _gate_of_call(shop: Workshop, asked: Asked) -> Gate:
    """Return the gate that decides about a call: of a record that may not be seen, where there is one in it."""
    groups = asked.schema.groups
    if shop.gate.allows(groups):
        return shop.gate
    gate = shop.gate
    for about in _abouts(shop, asked):
        gate = shop.gate.within(about)
        if not gate.allows(groups):
            break
    return gate


def _abouts(shop: Workshop, asked: Asked) -> Iterator[About]:
    """Yield what decides about the records of a call, once for those of which it is the same."""
    model = shop.ledger.document(asked.context).get("model")
    name = canonical.text_of(model, "name") if isinstance(model, dict) else None
    call = read_sequence(shop.ledger, asked.stream, asked.schema, asked.first, asked.count, opened=False)
    columns = call["request_id"].to_pylist(), call["time"].cast(pa.int64()).to_pylist(), call["id"].to_pylist()
    is_by_person, seen = shop.gate.bound_subject is not None, set()
    for request_id, time_ns, key in zip(*columns, strict=True):
        if is_by_person or (request_id, time_ns) not in seen:
            seen.add((request_id, time_ns))
            yield About(
                request_id=request_id,
                model=name,
                time_ns=time_ns,
                subject=lambda key=key: subject_of(shop.ledger, find_record(shop.ledger, id_text(key), PREDICTION)),  # type: ignore[misc]
            )


def erased_of(ledger: Ledger, asked: Asked) -> NDArray[np.bool_]:
    """Return which rows of a call had sealed values that were erased, or whose keys are not here."""
    gone = np.zeros(asked.count, np.bool_)
    if not asked.schema.groups:
        return gone
    end = asked.first + asked.count
    for position in ledger.catalog.segments_with_seq(asked.stream, asked.first, end):
        manifest = parse_manifest(ledger.log.entry(position))
        low, high = max(asked.first, manifest.first_seq), min(end, manifest.end_seq)
        try:
            found = erased_values(ledger, manifest, low - manifest.first_seq, high - low)
        except NotFoundError:
            found = {"": np.ones(high - low, np.bool_)}
        for of_group in found.values():
            gone[low - asked.first : high - asked.first] |= of_group
    return gone


def _filled(table: pa.Table, gone: NDArray[np.bool_]) -> pa.Table:
    """Give the rows that were erased the values of one that was not: the model is given as many rows as then."""
    if not gone.any():
        return table
    indices = np.arange(len(gone))
    indices[gone] = np.flatnonzero(~gone)[0]
    filled = table.take(pa.array(indices))
    for name in _OF_CALL:
        filled = filled.set_column(filled.column_names.index(name), name, table[name])
    return filled


def read_cases(
    shop: Workshop, predictions: Iterable[str], question: str
) -> Iterator[Case | tuple[str, BackstoryError]]:
    """Yield the calls some predictions were made in, each call once, with all rows of it that were asked about.

    Args:
        shop: The archive.
        predictions: Ids, or unique prefixes of them.
        question: What is asked.

    Yields:
        A case; or the id of a prediction whose call cannot be read, and why.

    Raises:
        NotFoundError: There is no such prediction.
        VerificationError: Records were changed.
    """
    calls: dict[tuple[str, int], tuple[Schema, list[dict[str, Any]], list[str]]] = {}
    for name in predictions:
        found = find_record(shop.ledger, name, PREDICTION)
        record = python_rows(found.table.select(_OF_CALL))[0]
        call = record["stream"].hex(), record["seq"] - record["batch_row"]
        _, records, ids = calls.setdefault(call, (found.schema, [], []))
        records.append(record)
        ids.append(found.id)
    for (stream, _), (schema, records, ids) in calls.items():
        asked = asked_of(schema, stream, records)
        try:
            case = read_call(shop, asked, question)
            yield case
            yield from ((name, NotFoundError(f"its values are {ERASED}")) for name in ids if name not in case.ids)
        except (ForbiddenError, ModelError, NotFoundError) as error:
            yield from ((name, error) for name in ids)


def model_of(shop: Workshop, case: Case) -> object:
    """Return the model a case names, from its artifact.

    Raises:
        ModelError: It names none, or it cannot be loaded.
    """
    model = case.context.get("model")
    if not isinstance(model, dict):
        raise ModelError("it names no registered model; only its features and output are recorded")
    return shop.load(model)


def run_model(estimator: object, case: Case, features: pa.Table) -> pa.Array:
    """Give features to a model as the call did, and return its output as it is recorded.

    Args:
        estimator: The model: the recorded one, or another that takes these features.
        case: Says the container, the method and the options.
        features: The features: those of the case, some rows of them, or others with the same columns.

    Raises:
        InputError: The container cannot be made again.
        ModelError: The model raised an error, or gives no output that can be recorded.
        NotFoundError: It has no such method.
    """
    is_text = not pa.types.is_struct(case.table.schema.field("output").type)
    return call_model(estimator, case.context, features, sealed=is_text)


def call_model(estimator: object, context: JsonObject, features: pa.Table, *, sealed: bool) -> pa.Array:
    """Do what `run_model` does, for a context; `sealed` as `output_column` takes it."""
    container = context.get("container")
    if not isinstance(container, dict):
        raise ModelError("its record does not say how the model was given its features")
    method = canonical.text_of(context, "method")
    function: Any = function_of(estimator, method)
    if function is None:
        raise NotFoundError(f"the model has no method {method!r}")
    try:
        by_position, options = options_given(function, parse_options(context.get("options")))
        given = rebuild(container, features)
        if "tile" in context:
            tile = canonical.count_of(context, "tile")
            output = run_in_tiles(lambda rows: function(rows, *by_position, **options), given, tile)
        else:
            output = function(given, *by_position, **options)
        return output_column(output, features.num_rows, output_names(estimator, method), sealed=sealed)[0]
    except BackstoryError:
        raise
    except Exception as error:  # a model may raise anything, with values of rows in its words
        raise ModelError(f"the call gave an output then, and raises {type(error).__name__} now") from error


def options_given(function: Callable[..., Any], options: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return the recorded options as a function takes them: those it takes by position only, and the others by name."""
    try:
        parameters: Sequence[inspect.Parameter] = list(inspect.signature(function).parameters.values())[1:]
    except (TypeError, ValueError):
        return [], options
    only = [one.name for one in parameters if one.kind is inspect.Parameter.POSITIONAL_ONLY and one.name in options]
    return [options[name] for name in only], {name: options[name] for name in options if name not in only}
