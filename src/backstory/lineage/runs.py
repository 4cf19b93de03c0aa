"""Runs: how model versions came about and how they did, with rows, parameters, metrics, code and environment.

A run is an event, not a version: it is recorded when it has ended, well or not, and never changes. Bytes:
docs/format.md section 29.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from backstory.errors import FormatError, InputError, NotFoundError
from backstory.ledger.ledger import Ledger
from backstory.lineage.refs import RowRefs
from backstory.lineage.registry import Registered, rows_document
from backstory.lineage.store import LineageStore
from backstory.models.code_version import code_version
from backstory.models.environment import environment
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.identity import time_text
from backstory.records.names import names_instead

RUN = "run.recorded"
_PREFIX_MIN = 6


@dataclass(slots=True, kw_only=True)
class Notes:
    """What is taken down while a run goes on.

    Attributes:
        name: Name of the run; runs of one name are of one kind, such as a nightly training.
        began_ns: When it began.
        parameters: What it was told, as texts.
        metrics: What it measured, as texts of numbers.
        inputs: The rows it worked on, by role.
        makes: Versions it made.
        uses: Versions it used, such as those it evaluated.
    """

    name: str
    began_ns: int
    parameters: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, RowRefs] = field(default_factory=dict)
    makes: list[Registered] = field(default_factory=list)
    uses: list[Registered] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """A run in the log.

    Attributes:
        digest: Digest of its document.
        name: Its name.
        began: When it began, RFC 3339.
        ended: When it ended.
        error: Class of the exception that ended it; None if it ended well.
        parameters: What it was told.
        metrics: What it measured.
        rows: How many rows it worked on, by role.
        makes: Versions it made, as `name:version`.
        uses: Versions it used.
        document: All that is known of it.
    """

    digest: str
    name: str
    began: str
    ended: str
    error: str | None
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]
    rows: Mapping[str, int]
    makes: tuple[str, ...]
    uses: tuple[str, ...]
    document: JsonObject

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has, without the document."""
        return {
            "began": self.began,
            "digest": self.digest,
            "ended": self.ended,
            "error": self.error,
            "makes": list(self.makes),
            "metrics": {name: repr(value) for name, value in self.metrics.items()},
            "name": self.name,
            "parameters": dict(self.parameters),
            "rows": dict(self.rows),
            "uses": list(self.uses),
        }


def record_run(ledger: Ledger, store: LineageStore, notes: Notes, error: str | None) -> RecordedRun:
    """Put a run that has ended into the log.

    Args:
        ledger: The archive.
        store: Keeps what its rows point to.
        notes: What was taken down.
        error: Class of the exception that ended it.
    """
    inputs: JsonObject = {role: rows_document(ledger, store, rows, ()) for role, rows in notes.inputs.items()}
    document: JsonObject = {
        "began": time_text(notes.began_ns),
        "code": code_version(),
        "ended": time_text(ledger.world.now_ns()),
        "environment": ledger.put_document(environment()),
        "error": error,
        "inputs": inputs,
        "makes": [_named(version) for version in notes.makes],
        "metrics": dict(notes.metrics),
        "name": notes.name,
        "parameters": dict(notes.parameters),
        "uses": [_named(version) for version in notes.uses],
        "v": 1,
    }
    digest = ledger.put_document(document)
    ledger.append([{"document": digest, "name": notes.name, "type": RUN}])
    return _recorded(digest, document)


def find_runs(ledger: Ledger, name: str | None = None) -> list[RecordedRun]:
    """Return the runs, or those of a name, oldest first.

    Raises:
        NotFoundError: There is none of that name.
    """
    entries = ledger.find_entries(RUN, name)
    if name is not None and not entries:
        names = {canonical.text_of(entry, "name") for entry in ledger.find_entries(RUN)}
        raise NotFoundError(f"run: none called {name!r}{names_instead(name, names)}")
    digests = (canonical.text_of(entry, "document") for entry in entries)
    return [_recorded(digest, ledger.document(digest)) for digest in digests]


def find_run(ledger: Ledger, spec: str) -> RecordedRun:
    """Return a run by a prefix of its digest, or the latest of a name.

    Raises:
        NotFoundError: There is none, or several begin so.
    """
    runs = find_runs(ledger)
    of_name = [run for run in runs if run.name == spec]
    found = of_name[-1:] or [run for run in runs if len(spec) >= _PREFIX_MIN and run.digest.startswith(spec)]
    if len({run.digest for run in found}) != 1:
        names = {run.name for run in runs}
        raise NotFoundError(f"run: expected one, {len(found)} fit {spec!r}{names_instead(spec, names)}")
    return found[0]


def runs_of(
    ledger: Ledger, version: Registered, runs: list[RecordedRun] | None = None
) -> tuple[list[RecordedRun], list[RecordedRun]]:
    """Return the runs that made a version, and those that used it, oldest first; `runs` are all, if they are known."""
    runs = find_runs(ledger) if runs is None else runs
    makes = [run for run in runs if _names(run.document, "makes", version.digest)]
    return makes, [run for run in runs if _names(run.document, "uses", version.digest)]


def parameter_text(name: str, value: Any) -> str:
    """Return a parameter as it is recorded.

    Raises:
        InputError: It is no text, number, truth value or None, or its name or text cannot be recorded.
    """
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, str):
        return _recordable(name, "".join(value))  # a member of an enumeration is what it stands for
    for kind in (bool, int, float):
        if isinstance(value, kind):
            try:
                text = repr(kind(value))
            except ValueError:
                raise InputError("run: expected a parameter of at most 4,300 digits, got one of more") from None
            return _recordable(name, text)
    if value is None:
        return _recordable(name, repr(value))
    raise InputError(f"run: expected a text, a number or a truth value as {name}, got {type(value).__name__}")


def metric_text(name: str, value: Any) -> str:
    """Return a metric as it is recorded.

    Raises:
        InputError: It is no number.
    """
    try:
        text = repr(float(value))
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"run: expected a number as {name}, got {type(value).__name__}") from None
    return _recordable(name, text)


def _recordable(name: Any, text: str) -> str:
    """Return a text that the log can hold under a name; a run that ends must not be lost for one."""
    try:
        canonical.encode({name: text})
    except FormatError:
        raise InputError("run: expected names and texts of Unicode text, got something else") from None
    return text


def _recorded(digest: str, document: JsonObject) -> RecordedRun:
    error = document.get("error")
    return RecordedRun(
        digest=digest,
        name=canonical.text_of(document, "name"),
        began=canonical.text_of(document, "began"),
        ended=canonical.text_of(document, "ended"),
        error=error if isinstance(error, str) else None,
        parameters=_texts(document.get("parameters")),
        metrics={name: float(text) for name, text in _texts(document.get("metrics")).items()},
        rows={role: canonical.count_of(said, "rows") for role, said in _objects(document.get("inputs")).items()},
        makes=_versions(document, "makes"),
        uses=_versions(document, "uses"),
        document=document,
    )


def _named(version: Registered) -> JsonObject:
    return {"digest": version.digest, "name": version.name, "version": str(version.version)}


def _versions(document: JsonObject, member: str) -> tuple[str, ...]:
    named = document.get(member)
    models = [model for model in named if isinstance(model, dict)] if isinstance(named, list) else []
    return tuple(f"{model.get('name')}:{model.get('version')}" for model in models)


def _names(document: JsonObject, member: str, digest: str) -> bool:
    named = document.get(member)
    return isinstance(named, list) and any(isinstance(one, dict) and one.get("digest") == digest for one in named)


def _texts(value: JsonValue) -> dict[str, str]:
    return {name: str(text) for name, text in value.items()} if isinstance(value, dict) else {}


def _objects(value: JsonValue) -> dict[str, JsonObject]:
    return {name: said for name, said in value.items() if isinstance(said, dict)} if isinstance(value, dict) else {}
