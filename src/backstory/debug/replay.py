"""Replay at level 1: the recorded features, through the recorded model, compared with the recorded output.

The whole batch of the original call is replayed and the row picked out, because many models give other bits for a row
alone than in its batch (see docs/adr/0006). Today's environment is used, and the report says how it differs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from backstory.capture.decision import parse_decision
from backstory.capture.options import parse_options
from backstory.capture.output import output_column
from backstory.columns.arrow_type import arrow_type, flat_fields
from backstory.columns.encode import iter_blocks
from backstory.columns.python_value import python_rows, python_value
from backstory.errors import BackstoryError, ForbiddenError, ModelError, NotFoundError, VerificationError
from backstory.frames.container import rebuild
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import Found, read_sequence
from backstory.lineage.plain import plain, shown
from backstory.models import output_names
from backstory.models.environment import environment
from backstory.records import canonical
from backstory.records.access import Gate
from backstory.records.canonical import JsonObject
from backstory.records.envelope import OK

Verdict = Literal["exact", "equivalent", "same-decision", "diverged", "not-replayable"]

TOLERANCES = {"float64": 1e-12, "float32": 1e-6, "float16": 1e-3}
"""Absolute differences within which outputs are equivalent. Source: measurements in docs/adr/0006."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What a replay showed.

    Attributes:
        id: Id of the prediction.
        verdict: `exact`: same bytes. `equivalent`: within the stated tolerance. `same-decision`: outside it, but the
            decision is the same and further from the threshold than the difference. `diverged`: neither.
            `not-replayable`: something is missing, see `reason`.
        reason: Why, in a sentence.
        recorded: The recorded output.
        replayed: The output now.
        difference: Largest absolute difference of numeric outputs, None where it cannot be computed.
        batch_rows: Rows replayed together.
        environment: What differs between the recorded environment and this one: name to recorded and present value.
    """

    id: str
    verdict: Verdict
    reason: str
    recorded: Any = None
    replayed: Any = None
    difference: float | None = None
    batch_rows: int = 0
    environment: dict[str, tuple[str, str]]

    def to_dict(self) -> dict[str, Any]:
        """Return the replay as values JSON has."""
        return {
            "batch_rows": self.batch_rows,
            "difference": plain(self.difference),
            "environment": {name: list(pair) for name, pair in self.environment.items()},
            "id": self.id,
            "reason": self.reason,
            "recorded": plain(self.recorded),
            "replayed": plain(self.replayed),
            "verdict": self.verdict,
        }

    def __repr__(self) -> str:
        """Return the verdict on one line."""
        return f"<Replay of {self.id}: {self.verdict}, {self.reason}>"

    def __str__(self) -> str:
        """Return verdict, values and differences of the environment."""
        lines = [
            f"replay of {self.id}: {self.verdict}",
            f"  {self.reason}",
            f"  recorded {shown(self.recorded)}, replayed {shown(self.replayed)} (batch of {self.batch_rows:,})",
        ]
        if self.verdict == "not-replayable":
            lines = lines[:2]
        lines += [f"  environment: {name} was {then}, is {now}" for name, (then, now) in self.environment.items()]
        return "\n".join(lines)


def replay_prediction(ledger: Ledger, gate: Gate, found: Found, load: Callable[[JsonObject], object]) -> Replay:
    """Replay one prediction from its recorded features.

    Args:
        ledger: The archive.
        gate: Opens sealed features and outputs.
        found: The prediction.
        load: Returns the model a context names.

    Raises:
        VerificationError: The model or something else the record refers to was changed.
    """
    context: JsonObject = {}
    try:
        record = python_rows(found.table)[0]
        context = ledger.document(record["context"].hex())
        if found.schema.groups and not gate.allows():
            raise ForbiddenError("its values are sealed: give an actor and a purpose to open them")
        if record["status"] != OK:
            raise ModelError(f"the call failed with {record['error']}; there is no output to compare with")
        table, row = _whole_batch(ledger, gate, found)
        replayed = _run(context, table, load)
    except VerificationError:
        raise
    except BackstoryError as error:
        return Replay(id=found.id, verdict="not-replayable", reason=str(error), environment={})
    changes = environment_changes(ledger, context)
    return _judge(found.id, context, table, row, replayed, changes)


def _whole_batch(ledger: Ledger, gate: Gate, found: Found) -> tuple[pa.Table, int]:
    """Return all records of the original call with their values, and the prediction's row among them."""
    record = python_rows(found.table)[0]
    first, rows = record["seq"] - record["batch_row"], record["batch_rows"]
    if found.schema.groups:
        gate.pass_through("replay", found.schema.groups, rows)
    table = read_sequence(ledger, record["stream"].hex(), found.schema, first, rows, opened=gate.allows())
    return table, record["batch_row"]


def _run(context: JsonObject, table: pa.Table, load: Callable[[JsonObject], object]) -> pa.Array:
    """Give the recorded features to the recorded model in the container they came in."""
    container, model = context.get("container"), context.get("model")
    if not isinstance(container, dict) or not isinstance(model, dict):
        raise ModelError("it names no registered model; only its features and output are recorded")
    features = table["feature"].combine_chunks()
    columns = pa.Table.from_arrays(features.flatten(), names=[field.name for field in features.type])
    try:
        native = rebuild(container, columns)
        is_text = not pa.types.is_struct(table.schema.field("output").type)
        return _call(load(model), context, native, table.num_rows, sealed=is_text)
    except BackstoryError:
        raise
    except Exception as error:  # a model may raise anything, with values of rows in its words
        raise ModelError(f"the call gave an output then, and raises {type(error).__name__} now") from error


def _call(estimator: object, context: JsonObject, features: object, rows: int, *, sealed: bool) -> pa.Array:
    """Return what the context's method of a model returns, as it is recorded."""
    method = canonical.text_of(context, "method")
    function: Any = estimator if method == "__call__" else getattr(estimator, method, None)
    if function is None:
        raise NotFoundError(f"the model has no method {method!r}")
    by_position, options = options_given(function, parse_options(context.get("options")))
    output = function(features, *by_position, **options)
    column, _ = output_column(output, rows, output_names(estimator, method), sealed=sealed)
    return column


def options_given(function: Callable[..., Any], options: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return the options a method takes by position only, and the others."""
    try:
        parameters = list(inspect.signature(function).parameters.values())[1:]
    except (TypeError, ValueError):
        return [], options
    only = [one.name for one in parameters if one.kind is inspect.Parameter.POSITIONAL_ONLY and one.name in options]
    return [options[name] for name in only], {name: options[name] for name in options if name not in only}


def _judge(
    name: str,
    context: JsonObject,
    table: pa.Table,
    row: int,
    replayed: pa.Array,
    changes: dict[str, tuple[str, str]],
) -> Replay:
    recorded = table["output"].combine_chunks()
    one = recorded.slice(row, 1)
    other = as_recorded(replayed.slice(row, 1), one.type)
    common: dict[str, Any] = {
        "id": name,
        "recorded": python_value(one[0]),
        "replayed": python_value(replayed[row] if other is None else other[0]),
        "batch_rows": table.num_rows,
        "environment": changes,
    }
    if other is None:
        return Replay(verdict="diverged", reason="the output is of another type now", **common)
    if encoded(one) == encoded(other):
        same = "the same bytes, in this environment" if changes else "the same bytes, in the recorded environment"
        return Replay(verdict="exact", reason=same, difference=0.0, **common)
    difference, tolerance = largest_difference(one, other)
    common["difference"] = difference
    if difference is not None and difference <= tolerance:
        return Replay(verdict="equivalent", reason=f"differs by {difference:.3g}, within {tolerance:g}", **common)
    rule = context.get("decision")
    if isinstance(rule, dict) and difference is not None:
        threshold = parse_decision(rule)
        if threshold.decide(one) == threshold.decide(other):
            score = float(threshold.scores(one)[0].as_py())
            if abs(score - threshold.value) > difference:
                reason = (
                    f"differs by {difference:.3g}, the score is {abs(score - threshold.value):.3g} from the threshold"
                )
                return Replay(verdict="same-decision", reason=reason, **common)
    reason = "the output is another" if difference is None else f"differs by {difference:.3g}, more than {tolerance:g}"
    return Replay(verdict="diverged", reason=reason, **common)


def as_recorded(values: pa.Array, type_: pa.DataType) -> pa.Array | None:
    """Give an output the type outputs are recorded in; None where it was of another logical type."""
    try:
        fields = flat_fields(pa.schema([("output", values.type)]))
        if fields != flat_fields(pa.schema([("output", type_)])):
            return None
        if not pa.types.is_struct(values.type):
            return values.cast(arrow_type(fields[0][1]))
        return values.cast(type_)
    except (BackstoryError, pa.ArrowException):
        return None


def encoded(values: pa.Array) -> bytes:
    """Return the row encoding of an output: equal bytes mean equal to the bit, except that all NaN are one."""
    return b"".join(row for block in iter_blocks(pa.table({"output": values})) for row in block.rows())


def largest_difference(one: pa.Array, other: pa.Array) -> tuple[float | None, float]:
    """Return the largest absolute difference of numeric outputs, and the tolerance of their type."""
    pairs = (
        [(one, other)] if not pa.types.is_struct(one.type) else list(zip(one.flatten(), other.flatten(), strict=True))
    )
    if not all(pa.types.is_floating(a.type) and not a.null_count and not b.null_count for a, b in pairs):
        return None, 0.0
    tolerance = min(TOLERANCES[{"double": "float64", "float": "float32"}.get(str(a.type), "float16")] for a, _ in pairs)
    differences = [np.abs(a.to_numpy().astype(np.float64) - b.to_numpy().astype(np.float64)) for a, b in pairs]
    largest = float(np.max(np.concatenate(differences)))
    return (None if np.isnan(largest) else largest), tolerance


def environment_changes(ledger: Ledger, context: JsonObject) -> dict[str, tuple[str, str]]:
    """Return what differs between a context's environment and this process's, in Python, machine and packages."""
    digest = context.get("environment")
    then = _facts(ledger.document(digest)) if isinstance(digest, str) else {}
    now = _facts(environment())
    names = sorted(name for name in set(then) | set(now) if then.get(name) != now.get(name))
    return {name: (then.get(name, "absent"), now.get(name, "absent")) for name in names} if then else {}


def _facts(document: JsonObject) -> dict[str, str]:
    facts: dict[str, str] = {}
    for group in ("python", "platform"):
        part = document.get(group)
        facts |= {f"{group}.{k}": str(v) for k, v in part.items()} if isinstance(part, dict) else {}
    packages = document.get("packages")
    for name, package in packages.items() if isinstance(packages, dict) else ():
        facts[name] = str(package.get("version")) if isinstance(package, dict) else str(package)
    return facts
