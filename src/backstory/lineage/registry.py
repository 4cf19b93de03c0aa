"""Model versions: what each commits to, their numbers and aliases."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from backstory.columns.arrow_type import flat_fields
from backstory.columns.tree import leaf_hashes, root_of_subtrees, subtree_roots
from backstory.errors import AlignmentError, AmbiguousError, InputError, ModelError, NotFoundError, QueryError
from backstory.frames.contract import Contract
from backstory.frames.row_set import RowSet, is_ascending
from backstory.frames.table import to_arrow
from backstory.ledger.ledger import Ledger
from backstory.ledger.sealed_table import DATASET_KEY
from backstory.lineage.contracts import require_no_trained_people
from backstory.lineage.determinism import probe_determinism
from backstory.lineage.fitted import Fitted, describe_fitted, probe_fitted
from backstory.lineage.refs import RowRefs
from backstory.lineage.row_sets import keep_row_set
from backstory.lineage.store import LineageStore, positions_table
from backstory.lineage.training_subjects import keep_training_tree
from backstory.lineage.watching import keep_training_profile
from backstory.models import capture_artifact, load_artifact
from backstory.models.artifact import Artifact
from backstory.models.code_version import code_version
from backstory.models.determinism import Determinism, parse_determinism
from backstory.models.environment import environment
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.keyed import keyed
from backstory.records.membership import SUBJECTS
from backstory.records.names import names_instead
from backstory.records.schema import dataset_schema

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,127}")
_DIGEST_PREFIX = re.compile(r"[0-9a-f]{6,64}")
_MODELS_MAX = 1_024
"""Models of which a process remembers where they were registered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A model version in the log: name, number, digests of its document, its artifact and of what is said of it."""

    name: str
    version: int
    digest: str
    artifact: str | None
    about: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A model that is to be registered, and what goes with it.

    Attributes:
        model: The model.
        name: Its name.
        rows: The rows it was trained on.
        target: What it was trained to predict, one value a row.
        metrics: Figures to keep with the version.
        trusted: Types of a scikit-learn pipeline that may be loaded again.
        provable: `subjects` where it is to be provable whom the rows are about.
        parents: Digests of the versions it was made from.
        features: Digest of the feature set it is bound to.
        contract: The contract of its features.
    """

    model: object
    name: str
    rows: RowRefs | None
    target: Any
    metrics: Mapping[str, float]
    trusted: tuple[str, ...]
    provable: frozenset[str] = frozenset()
    parents: tuple[str, ...] = ()
    features: str | None = None
    contract: Contract | None = None


def register_model(ledger: Ledger, store: LineageStore, given: Submission) -> Registered:
    """Register a model version; the same thing again gives the version it has already.

    Raises:
        InputError: The name cannot be used.
        ModelError: The model cannot be captured.
        AlignmentError: Rows and target differ in length.
    """
    require_model_name(given.name)
    if isinstance(given.model, type):
        raise ModelError(f"register: expected a model, got the class {given.model.__qualname__}; make one and fit it")
    artifact = capture_artifact(given.model, trusted=given.trusted)
    given = replace(given, model=_runnable(given.model, artifact))
    if given.rows is not None and given.target is not None and len(given.target) != len(given.rows):
        expected = f"expected {len(given.rows)} targets as row references, got {len(given.target)}"
        raise AlignmentError(f"register: {expected} (model {given.name})")
    training = _training(ledger, store, given.rows, given.provable, given.name)
    personal = training is not None and training["personal"] is True
    fitted = describe_fitted(ledger, given.model, artifact, given.rows, personal=personal)
    document = _document(ledger, given, artifact, training)
    if fitted is not None:
        document["fitted"] = ledger.put_document(fitted.document)
    digest = canonical.digest_of(document)
    for known in versions_of(ledger, given.name):
        if known.digest == digest:
            return known
    entry: JsonObject = {"artifact": None, "model": digest, "name": given.name, "type": "model.registered"}
    if artifact.data is not None:
        entry["artifact"] = ledger.blobs.put(artifact.data)
    ledger.put_document(document)
    if given.parents:
        entry["parents"] = list(given.parents)
    said = _said(store, given, artifact, fitted, personal=personal)
    if said:
        entry["about"] = ledger.put_document({**said, "v": 1})

    def entries() -> list[JsonObject]:
        """Number the version among those there are by then; none if somebody registered the same meanwhile."""
        known = versions_of(ledger, given.name)
        is_there = any(version.digest == digest for version in known)
        return [] if is_there else [entry | {"version": str(len(known) + 1)}]

    ledger.append(entries)
    return next(version for version in versions_of(ledger, given.name) if version.digest == digest)


def _runnable(model: object, artifact: Artifact) -> object:
    """Return a model that can be run: of a file, or of a description such as a `ModelProto`, what is in it."""
    if callable(model) or hasattr(model, "predict") or artifact.data is None or not artifact.replayable:
        return model
    return load_artifact(artifact.format, artifact.data, trusted=artifact.trusted)


def _document(ledger: Ledger, given: Submission, artifact: Artifact, training: JsonObject | None) -> JsonObject:
    """Return what names a version; members that came later than the first are there only where they are used."""
    personal = training is not None and training["personal"] is True
    document: JsonObject = {
        "code": code_version(),
        "environment": ledger.put_document(_environment_of(artifact.content_digest)),
        "metrics": {key: repr(float(value)) for key, value in given.metrics.items()},
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
        "name": given.name,
        "target": None if given.target is None else target_digest(ledger, given.target, personal=personal),
        "training": training,
        "v": 1,
    }
    if given.features is not None:
        document["features"] = given.features
    if given.contract is not None:
        if training is not None:
            require_no_trained_people(ledger, given.contract, training["refs"])
        document["contract"] = ledger.blobs.put(given.contract.text.encode())
    return document


@functools.lru_cache(maxsize=_MODELS_MAX)
def _environment_of(content: str) -> JsonObject:  # noqa: ARG001  what it is the environment of
    """Describe where a model is registered, once: a library loaded later does not make it another version."""
    return environment()


def _said(
    store: LineageStore, given: Submission, artifact: Artifact, fitted: Fitted | None, *, personal: bool
) -> JsonObject:
    """Return what is said of a version beside its document: what varies from one look to the next."""
    said: JsonObject = {}
    if given.rows is not None:
        said["profile"] = keep_training_profile(store, given.rows, personal=personal)
        probed = None if fitted is None else probe_fitted(given.model, fitted, given.rows)
        said |= {} if probed is None else {"probe": probed}
    determinism = probe_determinism(given.model, artifact, given.rows)
    return said if determinism is None else {**said, "determinism": determinism.document()}


def rows_document(ledger: Ledger, store: LineageStore, rows: RowRefs, earlier: Iterable[JsonValue]) -> JsonObject:
    """Keep rows a model was trained or tried on; return what is said of them: which, in which order, which features.

    Args:
        ledger: The archive.
        store: Keeps what the rows point to.
        rows: The rows.
        earlier: What was said of other rows, which may be the same: those about people are then not kept again.
    """
    references = store.references(rows)
    personal = any(reference.personal for reference in references.values())
    fields = flat_fields(to_arrow(rows.features).schema)
    if personal:
        kept = {**store.keep_sealed_positions(positions_table(rows.positions), earlier), "order": None}
    else:
        kept = _open_positions(ledger, store, rows)
    return {
        **kept,
        "personal": personal,
        "refs": {name: reference.document() for name, reference in references.items()},
        "rows": str(len(rows)),
        "schema": ledger.put_document(dataset_schema(fields)),
    }


def _open_positions(ledger: Ledger, store: LineageStore, rows: RowRefs) -> JsonObject:
    """Keep the positions of rows: as a set where they strictly ascend, which says their order too, else in a table."""
    sets = {name: values for name, values in rows.positions.items() if is_ascending(values)}
    kept: JsonObject = {"order": None}
    if len(sets) < len(rows.positions) or not sets:
        table = positions_table({name: values for name, values in rows.positions.items() if name not in sets})
        order = root_of_subtrees(subtree_roots(leaf_hashes(table))).hex()
        kept = {**store.keep_positions(table), "order": order}
    if sets:
        kept["sets"] = {name: keep_row_set(ledger, RowSet.of_positions(values)) for name, values in sets.items()}
    return kept


def _training(
    ledger: Ledger, store: LineageStore, rows: RowRefs | None, provable: frozenset[str], name: str
) -> JsonObject | None:
    """Return what is said of the training rows, and where asked for the tree of the persons they are about.

    Raises:
        InputError: Something else is to be provable, or there are no rows about people.
    """
    if provable - {SUBJECTS}:
        raise InputError(f"register: expected provable='subjects', got {sorted(provable)}")
    if rows is None:
        if provable:
            raise InputError("register: expected rows=, so that it can be proven whom the training set is about")
        return None
    earlier = [ledger.document(version.digest).get("training") for version in versions_of(ledger, name)]
    training = rows_document(ledger, store, rows, earlier)
    if not provable:
        return training
    return {**training, SUBJECTS: keep_training_tree(ledger, training, rows.positions, earlier)}


def target_digest(ledger: Ledger, target: Any, *, personal: bool) -> str:
    """Return the ordered root of the target column; keyed where it is about people."""
    values = target.to_arrow() if hasattr(target, "to_arrow") else pa.array(target, from_pandas=True)
    root = root_of_subtrees(subtree_roots(leaf_hashes(pa.table({"target": values}))))
    if personal:
        key = ledger.keys.get_or_create(DATASET_KEY, "key")["key"]
        return keyed(key, root)
    return root.hex()


def versions_of(ledger: Ledger, name: str) -> list[Registered]:
    """Return the versions of a model, oldest first."""
    return [_registered(entry) for entry in ledger.find_entries("model.registered", name)]


def all_versions(ledger: Ledger) -> list[Registered]:
    """Return every model version of the archive, oldest first."""
    return [_registered(entry) for entry in ledger.find_entries("model.registered")]


def _registered(entry: JsonObject) -> Registered:
    artifact, about = entry.get("artifact"), entry.get("about")
    return Registered(
        name=canonical.text_of(entry, "name"),
        version=canonical.count_of(entry, "version"),
        digest=canonical.text_of(entry, "model"),
        artifact=artifact if isinstance(artifact, str) else None,
        about=about if isinstance(about, str) else None,
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


def determinism_of(ledger: Ledger, version: Registered) -> Determinism | None:
    """Return what was found out of a version's determinism when it was registered; None where nobody looked.

    Raises:
        NotFoundError: What is said of the version is not here.
        VerificationError: It was changed.
    """
    return None if version.about is None else parse_determinism(ledger.document(version.about).get("determinism"))


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
