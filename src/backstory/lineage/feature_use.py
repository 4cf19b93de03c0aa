"""Who uses a feature set: models bound to it, predictions that name it, and whether its code is still what it was."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from types import CodeType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from backstory.errors import BackstoryError, InputError
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import records_now
from backstory.lineage.feature_set import Feature, FeatureDefinition, FeatureSet
from backstory.lineage.features import find_features
from backstory.lineage.refs import warn_of_lineage
from backstory.lineage.registry import all_versions
from backstory.models import source_text
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.envelope import PREDICTION
from backstory.storage.fork import renew_in_child


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureUse:
    """Who uses a version of a feature set.

    Attributes:
        features: The version, as `name:version`.
        models: Model versions bound to it, as `name:version`.
        predictions: How many predictions name it, by the model version they are of; by an empty text without one.
    """

    features: str
    models: tuple[str, ...]
    predictions: dict[str, int]

    @property
    def count(self) -> int:
        """How many predictions name it."""
        return sum(self.predictions.values())

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        return {
            "count": self.count,
            "features": self.features,
            "models": list(self.models),
            "predictions": self.predictions,
        }


def used_by(ledger: Ledger, found: FeatureSet) -> FeatureUse:
    """Return which models are bound to a version of a feature set, and how many predictions name it."""
    models = {version.digest: version for version in all_versions(ledger)}
    bound = [one for one in models.values() if ledger.document(one.digest).get("features") == found.digest]
    counts: Counter[str] = Counter()
    for context, count in _records_by_context(ledger):
        document = ledger.document(context)
        model = document.get("model")
        if features_named(ledger, document) == found.digest:
            counts[f"{model['name']}:{model['version']}" if isinstance(model, dict) else ""] += count
    return FeatureUse(
        features=f"{found.name}:{found.version}",
        models=tuple(f"{one.name}:{one.version}" for one in bound),
        predictions=dict(counts),
    )


def features_named(ledger: Ledger, context: JsonObject) -> str | None:
    """Return the digest of the feature set a prediction is of: its own, or the one its model is bound to."""
    named, model = context.get("features"), context.get("model")
    if isinstance(named, dict):
        return canonical.text_of(named, "digest")
    if isinstance(model, dict):
        bound = ledger.document(canonical.text_of(model, "digest")).get("features")
        return bound if isinstance(bound, str) else None
    return None


def _records_by_context(ledger: Ledger) -> Iterable[tuple[str, int]]:
    """Yield contexts of predictions, and how many there are of each, in the log and not yet."""
    sealed, waiting = records_now(ledger, PREDICTION)
    for position, manifest in sealed:
        if len(manifest.contexts) == 1:
            yield manifest.contexts[0], manifest.count - ledger.gone_in(position, manifest)
            continue
        reader = ledger.segment(manifest, checked=True)
        yield from _counted(reader.read_groups(range(reader.group_count), ["context"])["context"])
    for _, table in waiting:
        yield from _counted(table["context"])


def _counted(contexts: pa.ChunkedArray) -> Iterable[tuple[str, int]]:
    for pair in pc.value_counts(contexts.drop_null()).to_pylist():
        yield pair["values"].hex(), pair["counts"]


# --- code that changed since ------------------------------------------------------------------------------------------


class DefinitionWatch:
    """Says which functions of a feature set are not the code any more that the set was defined with.

    A function is looked for where its name says it is, among the modules that are loaded; one that is not there, or of
    which the source is not known now or was not then, is not compared. Threads may share it.
    """

    def __init__(self) -> None:
        """Know no code yet."""
        self._lock = threading.Lock()
        renew_in_child(self, "_lock", threading.Lock)
        self._digests: dict[CodeType, tuple[str, str]] = {}

    def changed(self, found: FeatureSet) -> tuple[str, ...]:
        """Return the names of the features whose code is another now."""
        functions = (feature for feature in found.features if feature.kind == "function")
        return tuple(feature.name for feature in functions if self._is_another(feature))

    def _is_another(self, feature: FeatureDefinition) -> bool:
        function = _loaded(feature.definition)
        function = function.definition if isinstance(function, Feature) else function
        code = getattr(function, "__code__", None)
        if not isinstance(code, CodeType):
            return False
        with self._lock:
            known = self._digests.get(code)
        if known is None:
            text = source_text.describe(function)
            known = text.basis, text.digest
            with self._lock:
                self._digests[code] = known
        return known[0] == feature.basis and known[1] != feature.source


def _loaded(name: str) -> Any:
    """Return what a qualified name means among the loaded modules; None where there is nothing."""
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:end]))
        if found is not None:
            for part in parts[end:]:
                found = getattr(found, part, None)
            return found
    return None


class FeatureBinding:
    """Finds the feature set a model is bound to, or a prediction names, and says where its code is another now."""

    def __init__(self, ledger: Ledger) -> None:
        """Look in an archive."""
        self._ledger = ledger
        self._watch = DefinitionWatch()
        self._found: dict[str, FeatureSet] = {}

    def bind(self, spec: FeatureSet | str, columns: Collection[str] | None) -> str:
        """Return the digest of the feature set a model is to be bound to.

        Refused is a set whose code changed: nothing is lost by defining it again, and a model that names definitions
        which are not those of its features says something false for as long as it is kept.

        Args:
            spec: The set, or what `find_features` takes.
            columns: The columns the model was trained on, where they are known.

        Raises:
            InputError: The code of a feature is another than it was defined with, or none is a column of the model.
            NotFoundError: There is no such feature set.
        """
        found = self._set(spec)
        changed = self._watch.changed(found)
        what = f"{found.name}:{found.version}"
        if changed:
            raise InputError(
                f"register: expected the code {what} was defined with, got another of {', '.join(changed)}; "
                "define the set again",
                features=list(changed),
            )
        if columns is not None and not {feature.name for feature in found.features} & set(columns):
            raise InputError(f"register: expected definitions of the model's features, got none of them in {what}")
        return found.digest

    def context_member(self, bound: str | None, given: FeatureSet | str | None) -> JsonObject | None:
        """Return what the context of predictions says of their feature set; None where there is none.

        A set whose code changed is warned of and recorded as changed, not refused: the prediction is made, and what is
        recorded must say what it was made with.

        Args:
            bound: Digest of the set the model is bound to.
            given: The set the caller names, or what `find_features` takes.
        """
        if given is None:
            if bound is None:
                return None
            try:
                found = self._set(bound)
            except BackstoryError:  # its digest says which it is; that the rest cannot be read stops no prediction
                return {"digest": bound}
        else:
            found = self._set(given)
        what = f"{found.name}:{found.version}"
        if bound is not None and bound != found.digest:
            model = self._set(bound)
            warn_of_lineage(
                f"the model is bound to the feature set {model.name}:{model.version} and predicts with {what}"
            )
        changed = self._watch.changed(found)
        if not changed:
            return found.reference
        warn_of_lineage(
            f"the code of {', '.join(changed)} is another than {what} was defined with; recorded as changed"
        )
        return {**found.reference, "changed": list(changed)}

    def _set(self, spec: FeatureSet | str) -> FeatureSet:
        if isinstance(spec, FeatureSet):
            return spec
        if spec not in self._found:
            found = find_features(self._ledger, spec)
            if spec != found.digest:  # what a name means may change
                return found
            self._found[spec] = found
        return self._found[spec]
