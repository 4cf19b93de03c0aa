"""scikit-learn estimators and pipelines, through skops: arrays and a schema instead of a pickle.

A model is stored only if its own bytes load again under the reviewed list of types (`skops_trust`) and the names the
caller trusts: what cannot be loaded safely tomorrow is refused today. The bytes are rewritten (`skops_schema`), so
capturing one model twice gives one blob.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

from backstory.errors import ModelError
from backstory.models import skops_schema, skops_trust, source_text
from backstory.models.artifact import SKOPS, Artifact
from backstory.models.json_value import parameters_of, qualified_name, seeds_of
from backstory.models.sklearn_parts import Path
from backstory.models.step import class_labels, steps_of
from backstory.models.tree_bounds import check_trees
from backstory.records import canonical

_LIBRARIES = ("sklearn", "numpy", "scipy", "skops", "xgboost", "lightgbm")


def capture(model: object, trusted: Sequence[str]) -> Artifact:
    """Capture a fitted scikit-learn estimator or pipeline.

    Args:
        model: The estimator; it is not changed.
        trusted: Names of further types the caller answers for.

    Raises:
        ModelError: Not fitted, not writable by skops, or of types that are neither reviewed nor trusted.
    """
    _check_fitted(model)
    skops = _import_skops()
    try:
        data = skops_schema.rewrite(skops.dumps(model))
    except (TypeError, ValueError, RecursionError) as error:
        msg = f"model: {qualified_name(model)} cannot be written by skops: {error}"
        raise ModelError(msg) from error
    load(data, trusted)
    needed = sorted(_untrusted(skops, data) & frozenset(trusted) - skops_trust.REVIEWED)
    hyperparameters = parameters_of(model, deep=True)
    used = {name for _, name in skops_schema.named_types(skops_schema.read_zip(data)[0])}
    return Artifact(
        format=SKOPS,
        data=data,
        content_digest=_content_digest(data, needed),
        framework="scikit-learn",
        versions=_versions(used),
        class_name=qualified_name(type(model)),
        hyperparameters=hyperparameters,
        seeds=seeds_of(hyperparameters),
        steps=steps_of(model),
        classes=class_labels(model),
        trusted=tuple(needed),
        replayable=True,
        reason=None,
    )


def load(data: bytes, trusted: Sequence[str]) -> object:
    """Load a skops file under the reviewed list.

    Args:
        data: The file.
        trusted: Names of further types the caller answers for.

    Raises:
        ModelError: Not a skops file, of types that are neither reviewed nor trusted, or with damaged trees.
    """
    skops = _import_skops()
    schema, _ = skops_schema.read_zip(data)
    named = skops_schema.named_types(schema)
    untrusted = _untrusted(skops, data)
    skops_trust.check_types(named, untrusted, frozenset(trusted))
    try:
        accepted = untrusted & (skops_trust.REVIEWED | frozenset(trusted))
        model: object = skops.loads(data, trusted=sorted(accepted))
    except Exception as error:  # building foreign objects can raise anything
        what = ", ".join(sorted(untrusted - skops_trust.REVIEWED)) or "its parts"
        msg = f"model: a stored model cannot be loaded from {what}: {type(error).__name__}"
        raise ModelError(msg) from error
    check_trees(model)
    return model


def _import_skops() -> ModuleType:
    try:
        return importlib.import_module("skops.io")
    except ImportError as error:
        msg = "model: a scikit-learn model needs the package skops to be stored, expected `backstory[sklearn]`"
        raise ModelError(msg) from error


def _untrusted(skops: ModuleType, data: bytes) -> frozenset[str]:
    try:
        return frozenset(skops.get_untrusted_types(data=data))
    except Exception as error:  # a crafted schema can raise anything while it is read
        msg = f"model: the skops file cannot be audited: {type(error).__name__}"
        raise ModelError(msg) from error


def _check_fitted(model: object) -> None:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(model)
    except NotFittedError as error:
        msg = f"model: expected a fitted model, got an unfitted {qualified_name(type(model))}"
        raise ModelError(msg) from error
    except TypeError:
        return  # an estimator without `fit` has no state to miss


def state_digests(artifact: Artifact, paths: Iterable[Path]) -> dict[Path, str]:
    """Return the content digest that each of some parts of a captured model would have as a model of its own.

    Args:
        artifact: The captured model.
        paths: Where the parts stand; see `sklearn_parts`.

    Raises:
        ModelError: The artifact is not a skops file.
    """
    found = skops_schema.part_digests(artifact.data or b"", paths)
    trusted = frozenset(artifact.trusted)
    return {path: _with_sources(content, sorted(trusted & types)) for path, (content, types) in found.items()}


def _content_digest(data: bytes, trusted: Sequence[str]) -> str:
    return _with_sources(skops_schema.content_digest(data), trusted)


def _with_sources(content: str, trusted: Sequence[str]) -> str:
    if not trusted:
        return content
    # A skops file holds the state of a custom step, not its code; without the code the digest would promise too much.
    sources: dict[str, Any] = {name: source_text.describe(_resolve(name)).digest for name in trusted}
    return hashlib.sha256(canonical.encode({"content": content, "sources": sources})).hexdigest()


def _resolve(name: str) -> object:
    # The type was imported to load the model a moment ago, so its module is there.
    module, _, attribute = name.rpartition(".")
    if module in sys.modules:
        return getattr(sys.modules[module], attribute)
    owner, _, class_name = module.rpartition(".")  # a bound method: module.Class.method
    return getattr(getattr(sys.modules[owner], class_name), attribute)


def _versions(used: set[str]) -> dict[str, str]:
    always = {"sklearn", "numpy", "scipy", "skops"}
    packages = always | {name.partition(".")[0] for name in used}
    return {name: str(sys.modules[name].__version__) for name in _LIBRARIES if name in packages and name in sys.modules}
