"""`archive.features`: feature sets, which say what each feature is made by, whose it is, and why it may be used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, overload

from backstory.archive.inside import Inside
from backstory.lineage.feature_set import Feature, FeatureSet, feature_of
from backstory.lineage.feature_use import FeatureUse, used_by
from backstory.lineage.features import FeatureDiff, define_features, diff_features, feature_sets, find_features


class Features:
    """The feature sets of an archive; made by `Archive.features`."""

    def __init__(self, inside: Inside) -> None:
        """Define and find feature sets of an archive."""
        self._inside = inside

    @overload
    def feature(
        self,
        definition: Any,  # noqa: ANN401  a function, an SQL text or a transformer
        /,
        *,
        name: str | None = None,
        inputs: str | Iterable[str] = (),
        description: str | None = None,
        owner: str | None = None,
        justification: str | None = None,
    ) -> Feature: ...
    @overload
    def feature(
        self,
        definition: None = None,
        /,
        *,
        name: str | None = None,
        inputs: str | Iterable[str] = (),
        description: str | None = None,
        owner: str | None = None,
        justification: str | None = None,
    ) -> Callable[[Any], Feature]: ...
    def feature(
        self,
        definition: Any = None,
        /,
        *,
        name: str | None = None,
        inputs: str | Iterable[str] = (),
        description: str | None = None,
        owner: str | None = None,
        justification: str | None = None,
    ) -> Feature | Callable[[Any], Feature]:
        """Say of a function, an SQL text or a scikit-learn transformer what feature it makes; also as a decorator.

        Nothing is recorded before `define`. As a decorator its words are part of the function's text, so changing them
        makes another definition. No personal data: all of it stands in clear.

        Args:
            definition: What makes the feature.
            name: The feature's name, as the column it becomes; a function's own name without it.
            inputs: Columns or sources it is made from, such as `loans.amount`.
            description: What it says; the first line of a function's docstring without it.
            owner: Who answers for it: a team or role, no person's name.
            justification: Why it may be used.

        Returns:
            The feature, which is called as the function is; without a definition a decorator that gives it.

        Raises:
            InputError: It is none of these, or has no name.
        """
        named = (inputs,) if isinstance(inputs, str) else tuple(inputs)

        def wrap(given: Any) -> Feature:  # noqa: ANN401
            bare = feature_of(name, given)
            return Feature(
                name=bare.name, definition=bare.definition, inputs=named, description=description, owner=owner,
                justification=justification,
            )  # fmt: skip

        return wrap if definition is None else wrap(definition)

    def define(
        self,
        name: str,
        features: Mapping[str, Any] | Iterable[Any],
        *,
        owner: str | None = None,
        justification: str | None = None,
    ) -> FeatureSet:
        """Define a feature set and return its version; the same definitions again are the version there is.

        Args:
            name: The set's name; a name as a model's.
            features: By name, or a list: functions, SQL texts, scikit-learn transformers, or what `feature` returned.
            owner: Who answers for all that have no owner of their own.
            justification: Why all may be used that have no justification of their own.

        Raises:
            ForbiddenError: The archive is open for reading only, or the policy in force does not let you.
            InputError: A name cannot be used or stands twice, or a feature is defined by nothing known here.
        """
        self._inside.require("register")
        return define_features(self._inside.ledger, name, features, owner=owner, justification=justification)

    def versions(self, name: str | None = None) -> list[FeatureSet]:
        """Return every version of all feature sets, or of one, oldest first.

        Raises:
            NotFoundError: There is none of that name.
        """
        return feature_sets(self._inside.ledger, name)

    def show(self, spec: str) -> FeatureSet:
        """Return a feature set by `name`, `name:version` or a digest prefix.

        Raises:
            NotFoundError: There is none.
            AmbiguousError: A digest prefix fits several.
        """
        self._inside.gate.require_open("features show")
        return find_features(self._inside.ledger, spec)

    def diff(self, before: str | FeatureSet, after: str | FeatureSet) -> FeatureDiff:
        """Return which features were added, removed or changed, and what of them.

        Raises:
            NotFoundError: There is no such feature set.
        """
        self._inside.gate.require_open("features diff")
        return diff_features(self._found(before), self._found(after))

    def used_by(self, spec: str | FeatureSet) -> FeatureUse:
        """Return which model versions are bound to a version of a feature set, and how many predictions name it.

        Raises:
            NotFoundError: There is no such feature set.
        """
        found = self._found(spec)
        self._inside.recorder.write()
        return used_by(self._inside.ledger, found)

    def _found(self, spec: str | FeatureSet) -> FeatureSet:
        return spec if isinstance(spec, FeatureSet) else self.show(spec)
