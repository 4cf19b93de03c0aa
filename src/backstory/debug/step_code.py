"""The functions of a preparation: as they were given, as they were recorded, and whether these are the same code."""

from __future__ import annotations

import functools
import hashlib
import hmac
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from backstory.debug.case import Workshop
from backstory.errors import BackstoryError, InputError, NotFoundError
from backstory.lineage.step import plain_function
from backstory.lineage.step_store import step_references
from backstory.models.json_value import json_safe
from backstory.models.source_text import describe
from backstory.records import canonical
from backstory.records.canonical import JsonObject

Steps: TypeAlias = (
    "Callable[..., Any] | Sequence[Callable[..., Any]] | Mapping[str, Callable[..., Any]] | Literal['recorded'] | None"
)
"""The functions that prepare, in order. The parameters of each are named as the sources it takes; one that is no source
gets what the step of that name returned, else its default, else what the step before returned. In a mapping, or by its
own name, a step may have the name of a group: it is then given the rows that group was made of. `recorded` imports the
functions that were recorded."""

Code: TypeAlias = Literal["as recorded", "changed", "not recorded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One function of a preparation.

    Attributes:
        name: What its result is known as.
        function: The function itself, whose runs are not recorded.
        code: Whether its text is the one that was recorded for these rows.
        takes: What its parameters took that are not named so: names of sources or groups.
        problem: Why running it says nothing: it was given another value then; "" if nothing speaks against it.
    """

    name: str
    function: Callable[..., Any]
    code: Code
    takes: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""


def steps_of(shop: Workshop, steps: Steps, datasets: Iterable[str]) -> tuple[Step, ...]:
    """Return the functions of a preparation, compared with what was recorded of rows of some dataset versions.

    Raises:
        InputError: There are none, or they are no functions.
        NotFoundError: The recorded ones are wanted, and none was recorded or can be imported.
    """
    recorded = recorded_steps(shop, frozenset(datasets))
    if steps is None:
        raise InputError("recompute: expected steps=, the functions that made the features, got none")
    if isinstance(steps, str):
        if steps != "recorded":
            raise InputError("recompute: expected steps to be functions, or 'recorded', got another text")
        given = _imported(recorded)
    elif isinstance(steps, Mapping):
        given = dict(steps)
    else:
        functions = [steps] if callable(steps) else list(steps)
        given = {_name_of(function): function for function in functions}
        if len(given) < len(functions):
            raise InputError("recompute: two steps have one name: give them as {'name': function, …}")
    if not given or not all(callable(function) for function in given.values()):
        raise InputError("recompute: expected functions as steps, got something else or none")
    return tuple(_compared(shop, name, function, recorded) for name, function in given.items())


def recorded_steps(shop: Workshop, datasets: frozenset[str]) -> list[JsonObject]:
    """Return the documents of the steps that worked on rows of some dataset versions, in the order they were kept."""
    documents = (
        shop.ledger.document(canonical.text_of(entry, "step")) for entry in shop.ledger.find_entries("step.recorded")
    )
    return [
        document
        for document in documents
        if any(part.dataset in datasets for one in step_references(document).values() for part in one.parts)
    ]


def _name_of(function: Callable[..., Any]) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))


def _code_of(document: JsonObject) -> JsonObject:
    code = document.get("code")
    return code if isinstance(code, dict) else {}


def _imported(recorded: Sequence[JsonObject]) -> dict[str, Callable[..., Any]]:
    """Import the recorded functions by their qualified names."""
    named = dict.fromkeys((canonical.text_of(one, "name"), str(_code_of(one).get("function"))) for one in recorded)
    if not named:
        raise NotFoundError("recompute: no step was recorded of these rows: expected steps=, the functions themselves")
    found = {}
    for name, function in named:
        module, _, rest = function.rpartition(".")
        try:
            found[name] = getattr(importlib.import_module(module), rest)
        except Exception as error:  # what is imported is the user's, and may raise anything
            raise NotFoundError(
                f"recompute: the recorded step {name} cannot be imported as {function}: {type(error).__name__}"
            ) from error
    return found


def _compared(shop: Workshop, name: str, given: Callable[..., Any], recorded: Sequence[JsonObject]) -> Step:
    function = plain_function(given)
    plain: Any = function
    while isinstance(plain, functools.partial):
        plain = plain_function(plain.func)
    code = describe(plain)
    same_name = [document for document in recorded if _code_of(document).get("function") == code.name]
    if not same_name:
        return Step(name=name, function=function, code="not recorded")
    same = [document for document in same_name if _code_of(document).get("digest") == code.digest]
    document = (same or same_name)[-1]
    takes = document.get("takes")
    return Step(
        name=name,
        function=function,
        code="as recorded" if same else "changed",
        takes={one: str(other) for one, other in takes.items()} if isinstance(takes, dict) else {},
        problem=_other_parameter(shop, function, document, name),
    )


def _other_parameter(shop: Workshop, function: Callable[..., Any], document: JsonObject, name: str) -> str:
    """Say which parameter of a recorded step had another value than it would have now; "" if none had."""
    given = document.get("parameters")
    then = (
        {str(one["name"]): one["digest"] for one in given if isinstance(one, dict)} if isinstance(given, list) else {}
    )
    key = None
    if isinstance(document.get("sealed_edges"), str):
        key = shop.store.personal_key()
    parameters = inspect.signature(function).parameters
    for parameter, digest in then.items():
        if parameter not in parameters:
            continue
        default = parameters[parameter].default
        if default is inspect.Parameter.empty:
            return f"parameter {parameter} of step {name} had a value that is not given now"
        try:
            encoded = canonical.encode(json_safe(default))
        except BackstoryError:
            continue
        made = hashlib.sha256(encoded) if key is None else hmac.new(key, encoded, hashlib.sha256)
        if made.hexdigest() != digest:
            return f"parameter {parameter} of step {name} had another value"
    return ""
