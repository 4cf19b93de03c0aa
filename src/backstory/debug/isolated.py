"""Running a recorded call's model in a process of its own: pickles, and environments other than this one.

The features go in and the output comes back as Arrow, through pipes. The model is opened there, never here.
"""

from __future__ import annotations

import json
from collections.abc import Collection

import pyarrow as pa

from backstory.columns.arrow_type import flat_fields, unchunked
from backstory.columns.table_bytes import read_table, table_bytes
from backstory.debug.case import Case, Workshop, call_model
from backstory.errors import BackstoryError, ModelError
from backstory.lineage import registry
from backstory.models import load_artifact, pickle_format
from backstory.models.artifact import PICKLE
from backstory.models.environment import environment, variables_of
from backstory.models.isolated import Interpreter, run_isolated, this_interpreter
from backstory.records import canonical
from backstory.records.canonical import JsonObject

_ANSWER = ("backstory.debug.isolated", "answer")
_OF_CONTEXT = ("container", "method", "options", "tile")
SECONDS = 120.0
"""Time a call has; starting Python and its libraries is part of it."""


def run_in_own_process(
    shop: Workshop,
    case: Case,
    features: pa.Table,
    *,
    pickles: Collection[str] = (),
    interpreter: Interpreter | None = None,
    seconds: float = SECONDS,
) -> pa.Array:
    """Give features to the model a case names, in a fresh process, and return its output as it is recorded.

    A model that is a pickle is opened only if its digest is named, and only without network. Other formats run no code
    on loading and are not walled in, so that this works where walls cannot be put up.

    Args:
        shop: The archive.
        case: Says the model, the container, the method and the options.
        features: The features: those of the case, some rows of them, or others with the same columns.
        pickles: SHA-256 in hex, whole, of each artifact that may be opened although opening it runs code.
        interpreter: Which Python; this one by default, with the variables of arithmetic it has.
        seconds: Time it has.

    Returns:
        One output a row.

    Raises:
        ModelError: The case names no stored model, or one that may not be opened; the walls cannot be put up here; or
            the model raised an error, took too long, or gave no output that can be recorded.
        VerificationError: The artifact's bytes were changed.
    """
    named = case.context.get("model")
    if not isinstance(named, dict):
        raise ModelError("it names no registered model; only its features and output are recorded")
    version = registry.find_version(shop.ledger, canonical.text_of(named, "digest"))
    model = shop.ledger.document(version.digest).get("model")
    if version.artifact is None or not isinstance(model, dict):
        raise ModelError(f"model {version.name}:{version.version} has no artifact")
    form = canonical.text_of(model, "format")
    if form == PICKLE and version.artifact not in pickles:
        raise ModelError(pickle_format.refusal(version.artifact))
    data = shop.ledger.blobs.get(version.artifact)
    task: JsonObject = {
        **how_called(case),
        "format": form,
        "size": len(data),
        "trusted": model.get("trusted"),
    }
    body = json.dumps(task).encode() + b"\n" + data + table_bytes(features)
    with_ = interpreter or this_interpreter(variables_of(environment()))
    return _checked(run_isolated(_ANSWER, body, with_, seconds=seconds, walled=form == PICKLE), features.num_rows)


def how_called(case: Case) -> JsonObject:
    """Return what another process needs to know of a call, to call a model as it did; see `call_model`."""
    return {
        "context": {name: case.context[name] for name in _OF_CONTEXT if name in case.context},
        "sealed": not pa.types.is_struct(case.table.schema.field("output").type),
    }


def answer(body: bytes) -> bytes:
    """Do in the process of its own what the parent asks for: open the model, call it, return its output.

    Raises:
        BackstoryError: It cannot be done; `stage` in its details says what failed.
    """
    head, _, rest = body.partition(b"\n")
    task = json.loads(head)
    data, features = rest[: task["size"]], read_table(rest[task["size"] :])
    try:
        if task["format"] == PICKLE:
            model = pickle_format.open_trusted(data)
        else:
            model = load_artifact(task["format"], data, trusted=task["trusted"] or ())
    except Exception as error:  # opening it may raise anything
        raise ModelError(f"it cannot be opened: {type(error).__name__}: {error}", stage="load") from error
    return table_bytes(pa.table({"output": call_model(model, task["context"], features, sealed=task["sealed"])}))


def _checked(data: bytes, rows: int) -> pa.Array:
    """Read an answer nobody vouches for: of the type of an output, with as many rows as were asked about."""
    try:
        table = read_table(data)
        table.validate(full=True)
        flat_fields(table.schema)
    except (BackstoryError, pa.ArrowException, OSError, ValueError):
        raise ModelError("isolated process: its answer is not an output") from None
    if table.column_names != ["output"] or table.num_rows != rows:
        raise ModelError(f"isolated process: expected {rows} outputs, got {table.num_rows}")
    return unchunked(table["output"])
