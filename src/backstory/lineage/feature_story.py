"""The features of a prediction: how each is defined, whose it is, why it may be used, and what the model makes of it.

The definitions are those of the feature set the prediction names, or else of the one its model is bound to. What the
model makes of a column is told by its fitted steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from backstory.ledger.ledger import Ledger
from backstory.lineage.feature_set import FeatureDefinition, FeatureSet, code_text, definition_text
from backstory.lineage.feature_use import features_named
from backstory.lineage.features import find_features
from backstory.lineage.fitted import graded
from backstory.lineage.page import Row, Section, facts_section
from backstory.lineage.plain import label, plain
from backstory.lineage.registry import versions_of
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue

_NAMES_SHOWN = 4
"""Features of a model that a page names for one column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureStory:
    """A feature of a prediction.

    Attributes:
        name: Its name.
        definition: How it is defined; None where no feature set defines it.
        owner: Who answers for it.
        justification: Why it may be used.
        made_from: Columns or sources it is made from, each with the grade of the edge.
        is_changed: Whether its code was another when the prediction was made.
        became: What the model makes of it: features of its predictor, each with the grade of the edge.
    """

    name: str
    definition: FeatureDefinition | None = None
    owner: str | None = None
    justification: str | None = None
    made_from: dict[str, str] = field(default_factory=dict)
    is_changed: bool = False
    became: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        return {
            "became": self.became,
            "changed": self.is_changed,
            "definition": None if self.definition is None else self.definition.to_dict(),
            "justification": self.justification,
            "made_from": self.made_from,
            "name": self.name,
            "owner": self.owner,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureLineage:
    """The features of a prediction.

    Attributes:
        features: The features.
        feature_set: The set that defines them; None where none is named.
        findings: What a probe of the model showed that its fitted steps do not say.
        unused: Features of the model that no tree of it splits on, where that is known.
    """

    features: tuple[FeatureStory, ...] = ()
    feature_set: FeatureSet | None = None
    findings: tuple[JsonObject, ...] = ()
    unused: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        found = self.feature_set
        return {
            "code": None if found is None else plain(found.code),
            "feature_set": None if found is None else plain(found.reference),
            "features": [feature.to_dict() for feature in self.features],
            "findings": plain(list(self.findings)),
            "unused": list(self.unused),
        }


def tell_features(ledger: Ledger, context: JsonObject, model: JsonObject | None, names: list[str]) -> FeatureLineage:
    """Return what is known of the features of predictions of one context.

    Args:
        ledger: The archive.
        context: The context.
        model: The model version's document with name and digest, where there is one.
        names: Names of the features, where they may be seen.
    """
    digest = features_named(ledger, context)
    found = None if digest is None else find_features(ledger, digest)
    fitted = None if model is None else model.get("fitted")
    document = ledger.document(fitted) if isinstance(fitted, str) else {}
    became, findings = _fitted(ledger, model or {}, document) if document else ({}, ())
    if found is None and not became:
        return FeatureLineage(findings=findings, unused=_unused(document))
    defined = {} if found is None else {feature.name: feature for feature in found.features}
    named = context.get("features")
    changed = named.get("changed") if isinstance(named, dict) else None
    stories = [
        _story(name, found, defined.get(name), became.get(name, {}), changed)
        for name in names or dict.fromkeys([*_texts(document.get("columns")), *defined])
    ]
    return FeatureLineage(features=tuple(stories), feature_set=found, findings=findings, unused=_unused(document))


def _story(
    name: str,
    found: FeatureSet | None,
    definition: FeatureDefinition | None,
    became: dict[str, str],
    changed: JsonValue,
) -> FeatureStory:
    if found is None or definition is None:
        return FeatureStory(name=name, became=became)
    return FeatureStory(
        name=name,
        definition=definition,
        owner=found.owner_of(definition),
        justification=found.justification_of(definition),
        made_from=dict.fromkeys(definition.inputs, "declared"),
        is_changed=isinstance(changed, list) and name in changed,
        became=became,
    )


def _fitted(
    ledger: Ledger, model: JsonObject, document: JsonObject
) -> tuple[dict[str, dict[str, str]], tuple[JsonObject, ...]]:
    """Return what a model makes of each of its columns, and what a probe found."""
    versions = versions_of(ledger, canonical.text_of(model, "name"))
    about = next((version.about for version in versions if version.digest == model.get("digest")), None)
    probed = None if about is None else ledger.document(about).get("probe")
    findings = probed.get("findings") if isinstance(probed, dict) else None
    steps = document.get("steps")
    became: dict[str, dict[str, str]] = {}
    if isinstance(steps, list) and any(isinstance(step, dict) and step.get("out") for step in steps):
        edges = graded(document, probed)
        is_one = len({predictor for predictor, _ in edges}) == 1
        for (predictor, feature), sources in edges.items():
            for column, grade in sources.items():
                became.setdefault(column, {})[feature if is_one else f"{predictor}: {feature}"] = grade
    return became, tuple(one for one in findings if isinstance(one, dict)) if isinstance(findings, list) else ()


def _unused(document: JsonObject) -> tuple[str, ...]:
    """Return the features of a predictor that no tree splits on."""
    predictors = document.get("predictors")
    found: dict[str, None] = {}
    for predictor in predictors if isinstance(predictors, list) else ():
        features = predictor.get("features") if isinstance(predictor, dict) else None
        if isinstance(predictor, dict) and isinstance(features, list) and "used" in predictor:
            used = frozenset(_texts(predictor["used"]))
            names = [str(feature["name"]) for feature in features if isinstance(feature, dict)]
            found |= dict.fromkeys(name for name in names if name not in used)
    return tuple(found)


def _texts(value: JsonValue) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def feature_alarms(found: FeatureLineage) -> Iterator[str]:
    """Yield what must not be overlooked."""
    changed = [label(feature.name) for feature in found.features if feature.is_changed]
    if changed:
        yield f"CHANGED: the code of {', '.join(changed)} was another than its feature set was defined with"
    moved = [f"{label(one.get('feature'))} with {label(one['column'])}" for one in found.findings if "column" in one]
    if moved:
        yield f"features of the model move with columns its steps do not name: {_cut(moved)}"
    unsteady = [label(one.get("feature")) for one in found.findings if "column" not in one]
    if unsteady:
        yield f"features of the model depend on what other rows they are computed with: {_cut(unsteady)}"


def feature_sections(found: FeatureLineage) -> Iterator[Section]:
    """Yield the definitions of features, and what the model makes of them, for a reader."""
    used = found.feature_set
    if used is not None:
        defined = [(feature, feature.definition) for feature in found.features if feature.definition is not None]
        rows = tuple(_definition_row(feature, definition) for feature, definition in defined)
        title = f"Definitions: feature set {used.name}:{used.version}, {code_text(used.code)}"
        yield Section(title=title, columns=("feature", "definition", "justification", "made from"), rows=rows)
        bare = [label(feature.name) for feature in found.features if feature.definition is None]
        if bare:
            yield facts_section("Features the set does not define", [("", ", ".join(bare))])
    rows = tuple(
        Row(
            cells=(
                label(one.name),
                _cut([label(name) for name in one.became]),
                ", ".join(sorted(set(one.became.values()))),
            )
        )
        for one in found.features
        if one.became
    )
    if rows:
        yield Section(title="Inside the model", columns=("column", "became", "edge"), rows=rows)
    if found.unused:
        yield facts_section("Trees", [("split on no", _cut([label(name) for name in found.unused]))])


def _definition_row(feature: FeatureStory, made_by: FeatureDefinition) -> Row:
    owner = "" if feature.owner is None else f"\nowner {feature.owner}"
    made_from = "\n".join(f"{label(name)} ({grade})" for name, grade in feature.made_from.items())
    definition = definition_text(made_by) + ("\nCHANGED since" if feature.is_changed else "")
    why = (feature.justification or "none given") + owner
    return Row(cells=(label(feature.name), definition, why, made_from or "not said"), loud=feature.is_changed)


def _cut(names: list[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
