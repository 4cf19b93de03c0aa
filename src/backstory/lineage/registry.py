"""Model versions: what each commits to, their numbers and aliases."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from backstory.columns.arrow_type import flat_fields
from backstory.columns.tree import leaf_hashes, root_of_subtrees, subtree_roots
from backstory.errors import AlignmentError, AmbiguousError, InputError, ModelError, NotFoundError, QueryError
from backstory.frames.table import to_arrow
from backstory.ledger.ledger import Ledger
from backstory.lineage.refs import RowRefs
from backstory.lineage.store import DATASET_KEY, LineageStore, positions_table
from backstory.models import capture_artifact, load_artifact
from backstory.models.code_version import code_version
from backstory.models.environment import environment
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.names import names_instead
from backstory.records.schema import dataset_schema

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,127}")
_DIGEST_PREFIX = re.compile(r"[0-9a-f]{6,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A model version in the log: name, number, digest of its document, digest of its artifact's blob."""

    name: str
    version: int
    digest: str
    artifact: str | None


def register_model(
    ledger: Ledger,
    store: LineageStore,
    model: object,
    *,
    name: str,
    rows: RowRefs | None,
    target: Any,
    metrics: Mapping[str, float],
    trusted: tuple[str, ...],
) -> Registered:
    """Register a model version; the same thing again gives the version it has already.

    Raises:
        InputError: The name cannot be used.
        ModelError: The model cannot be captured.
        AlignmentError: Rows and target differ in length.
    """
    require_model_name(name)
    if isinstance(model, type):
        raise ModelError(f"register: expected a model, got the class {model.__qualname__}; make one and fit it")
    artifact = capture_artifact(model, trusted=trusted)
    if rows is not None and target is not None and len(target) != len(rows):
        msg = f"register: expected {len(rows)} targets as row references, got {len(target)} (model {name})"
        raise AlignmentError(msg)
    training = None if rows is None else _training(ledger, store, rows, name)
    personal = training is not None and training["personal"] is True
    document: JsonObject = {
        "code": code_version(),
        "environment": ledger.put_document(environment()),
        "metrics": {key: repr(float(value)) for key, value in metrics.items()},
        "model": {
            "class": artifact.class_name,
            "classes": None if artifact.classes is None or personal else list(artifact.classes),
            "content": artifact.content_digest,
            "format": artifact.format,
            "framework": artifact.framework,
            "hyperparameters": artifact.hyperparameters,
            "reason": artifact.reason,
            "replayable": artifact.replayable,
            "seeds": dict(artifact.seeds),
            "steps": list(artifact.steps),
            "trusted": list(artifact.trusted),
            "versions": dict(artifact.versions),
        },
        "name": name,
        "target": None if target is None else _target_digest(ledger, target, personal=personal),
        "training": training,
        "v": 1,
    }
    digest = canonical.digest_of(document)
    for known in versions_of(ledger, name):
        if known.digest == digest:
            return known
    blob = None if artifact.data is None else ledger.blobs.put(artifact.data)
    ledger.put_document(document)

    def entries() -> list[JsonObject]:
        """Number the version among those there are by then; none if somebody registered the same meanwhile."""
        known = versions_of(ledger, name)
        if any(version.digest == digest for version in known):
            return []
        number = str(len(known) + 1)
        return [{"artifact": blob, "model": digest, "name": name, "type": "model.registered", "version": number}]

    ledger.append(entries)
    return next(version for version in versions_of(ledger, name) if version.digest == digest)


def _training(ledger: Ledger, store: LineageStore, rows: RowRefs, name: str) -> JsonObject:
    """Return what a version says of its training rows: which, in which order, with which features."""
    references = store.references(rows)
    personal = any(reference.personal for reference in references.values())
    table = positions_table(rows.positions)
    fields = flat_fields(to_arrow(rows.features).schema)
    earlier = (ledger.document(version.digest).get("training") for version in versions_of(ledger, name))
    kept = store.keep_sealed_positions(table, earlier) if personal else store.keep_positions(table)
    return {
        **kept,
        "order": None if personal else root_of_subtrees(subtree_roots(leaf_hashes(table))).hex(),
        "personal": personal,
        "refs": {name: reference.document() for name, reference in references.items()},
        "rows": str(len(rows)),
        "schema": ledger.put_document(dataset_schema(fields)),
    }


def _target_digest(ledger: Ledger, target: Any, *, personal: bool) -> str:
    """Return the ordered root of the target column; keyed where it is about people."""
    values = target.to_arrow() if hasattr(target, "to_arrow") else pa.array(target, from_pandas=True)
    root = root_of_subtrees(subtree_roots(leaf_hashes(pa.table({"target": values}))))
    if personal:
        key = ledger.keys.get_or_create(DATASET_KEY, "key")["key"]
        return hmac.new(key, root, hashlib.sha256).hexdigest()
    return root.hex()


def versions_of(ledger: Ledger, name: str) -> list[Registered]:
    """Return the versions of a model, oldest first."""
    return [_registered(entry) for entry in ledger.find_entries("model.registered", name)]


def all_versions(ledger: Ledger) -> list[Registered]:
    """Return every model version of the archive, oldest first."""
    return [_registered(entry) for entry in ledger.find_entries("model.registered")]


def _registered(entry: JsonObject) -> Registered:
    artifact = entry.get("artifact")
    return Registered(
        name=canonical.text_of(entry, "name"),
        version=canonical.count_of(entry, "version"),
        digest=canonical.text_of(entry, "model"),
        artifact=artifact if isinstance(artifact, str) else None,
    )


def find_version(ledger: Ledger, spec: str) -> Registered:
    """Return the model version a text names.

    Args:
        ledger: The archive.
        spec: `name` (the latest version), `name@alias`, `name:version`, or a prefix of the digest, at least 6 digits.

    Raises:
        NotFoundError: There is none.
        AmbiguousError: A digest prefix fits several.
        QueryError: What names it is no text.
    """
    if not isinstance(spec, str):
        raise QueryError(f"model: expected its name as text, got {type(spec).__name__}")
    name, mark, rest = spec.partition("@")
    if mark:
        entries = [e for e in ledger.find_entries("model.aliased", name) if e.get("alias") == rest]
        if not entries:
            _require_known(ledger, name)
            aliases = [str(e.get("alias")) for e in ledger.find_entries("model.aliased", name)]
            raise NotFoundError(f"model: no alias {rest!r} of {name!r}{names_instead(rest, aliases)}")
        digest = entries[-1].get("model")
        return next(v for v in versions_of(ledger, name) if v.digest == digest)
    name, mark, rest = spec.partition(":")
    versions = versions_of(ledger, name)
    if mark:
        found = [v for v in versions if str(v.version) == rest]
        if not found:
            _require_known(ledger, name)
            raise NotFoundError(f"model: no version {rest!r} of {name!r}; it has {len(versions)}")
        return found[0]
    if versions:
        return versions[-1]
    fitting = _with_digest(ledger, spec) if _DIGEST_PREFIX.fullmatch(spec) else []
    if len(fitting) > 1:
        msg = f"model: {len(fitting)} versions have digests that begin with {spec!r}"
        raise AmbiguousError(msg)
    if not fitting:
        _require_known(ledger, spec)
    return fitting[0]


def _require_known(ledger: Ledger, name: str) -> None:
    """Refuse the name of a model that has no version."""
    names = {version.name for version in all_versions(ledger)}
    if name not in names:
        raise NotFoundError(f"model: none called {name!r}{names_instead(name, names)}")


def _with_digest(ledger: Ledger, prefix: str) -> list[Registered]:
    """Return the versions whose digest begins so; of entries with one digest the first."""
    newest_first = (version for version in reversed(all_versions(ledger)) if version.digest.startswith(prefix))
    return list({version.digest: version for version in newest_first}.values())


def set_alias(ledger: Ledger, version: Registered, alias: str) -> None:
    """Let an alias point to a version; nothing is written where it does already.

    Raises:
        InputError: The alias cannot be used.
    """
    require_model_name(alias)
    entries = [e for e in ledger.find_entries("model.aliased", version.name) if e.get("alias") == alias]
    if entries and entries[-1].get("model") == version.digest:
        return
    entry: JsonObject = {
        "alias": alias,
        "model": version.digest,
        "name": version.name,
        "type": "model.aliased",
        "version": str(version.version),
    }
    ledger.append([entry])


def load_model(ledger: Ledger, version: Registered) -> object:
    """Load the model of a version from its artifact, safely.

    Raises:
        ModelError: It has none (a plain callable), or the artifact cannot be loaded safely.
        VerificationError: The artifact's bytes were changed.
    """
    model = ledger.document(version.digest).get("model")
    if version.artifact is None or not isinstance(model, dict):
        reason = model.get("reason") if isinstance(model, dict) else None
        msg = f"model {version.name}:{version.version} cannot be loaded: {reason}"
        raise ModelError(msg)
    trusted: JsonValue = model.get("trusted")
    names = [str(name) for name in trusted] if isinstance(trusted, list) else []
    return load_artifact(canonical.text_of(model, "format"), ledger.blobs.get(version.artifact), trusted=names)


def require_model_name(name: str) -> None:
    """Refuse a name of a model or alias that could be taken for something else.

    Raises:
        InputError: It is not a letter and then at most 127 letters, digits, `_`, `.`, `-`.
    """
    if not isinstance(name, str):
        raise InputError(f"name: expected text, got {type(name).__name__}")
    if not _NAME.fullmatch(name):
        msg = f"name: expected a letter, then at most 127 letters, digits, '_', '.', '-', got {name!r}"
        raise InputError(msg)
