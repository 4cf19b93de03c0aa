"""Feature sets as values: named, versioned definitions of features, each with its code, owner and justification."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias, get_args

from backstory.errors import FormatError, InputError
from backstory.lineage.answer import Answer
from backstory.lineage.page import Page, Row, Section, facts_section
from backstory.lineage.plain import count_text, label, plain
from backstory.models import source_text
from backstory.models.json_value import json_safe, parameters_of
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue

Kind: TypeAlias = Literal["function", "sql", "transformer"]

_KINDS: dict[str, Kind] = {kind: kind for kind in get_args(Kind)}
_SAID = ("description", "justification", "owner")


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """A feature as it is written in a program: made by `archive.features.feature`, and called as its function is.

    Attributes:
        name: Its name, as the column it becomes.
        definition: A function, the text of an SQL query or expression, or a scikit-learn transformer.
        inputs: Names of the columns or sources it is made from, as `loans.amount`.
        description: What it says.
        owner: Who answers for it: a team or role, no person's name.
        justification: Why it may be used.
    """

    name: str
    definition: Any
    inputs: tuple[str, ...] = ()
    description: str | None = None
    owner: str | None = None
    justification: str | None = None

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Call the function.

        Raises:
            InputError: The feature is none.
        """
        if not callable(self.definition):
            raise InputError(f"feature {self.name}: expected a function to call, got {type(self.definition).__name__}")
        return self.definition(*args, **options)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureDefinition:
    """A feature as it is kept.

    Attributes:
        name: Its name.
        kind: `function`, `sql` or `transformer`.
        definition: Qualified name of the function or of the transformer's class, or the SQL text.
        source: Digest of the code; of a transformer with its parameters.
        basis: What the digest is of: `source`, `bytecode`, `name`, or `text` for SQL.
        params: Parameters of a transformer; what a partial function was given.
        inputs: Names of the columns or sources it is made from.
        description: What it says.
        owner: Who answers for it, where that is not who answers for the set.
        justification: Why it may be used, where that is not why the set may be.
    """

    name: str
    kind: Kind
    definition: str
    source: str
    basis: str
    params: JsonObject | None = None
    inputs: tuple[str, ...] = ()
    description: str | None = None
    owner: str | None = None
    justification: str | None = None

    def content(self) -> JsonObject:
        """Return what makes it this definition and no other."""
        content: JsonObject = {
            "basis": self.basis,
            "definition": self.definition,
            "inputs": list(self.inputs),
            "kind": self.kind,
            "name": self.name,
            "source": self.source,
        }
        return content if self.params is None else {**content, "params": self.params}

    def said(self) -> JsonObject:
        """Return what is said of it."""
        said = {"description": self.description, "justification": self.justification, "owner": self.owner}
        return {name: text for name, text in said.items() if text is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as values JSON has."""
        return {**self.content(), "description": self.description, "justification": self.justification} | {
            "owner": self.owner
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSet(Answer):
    """A version of a feature set.

    Attributes:
        name: Its name.
        version: Its number, from 1.
        digest: Digest of its document, in hex.
        features: Its features.
        owner: Who answers for it.
        justification: Why its features may be used.
        code: The code it was first defined in: `commit`, `dirty`, `diff`, `entry_point`.
        defined: When, RFC 3339.
    """

    name: str
    version: int
    digest: str
    features: tuple[FeatureDefinition, ...]
    owner: str | None = None
    justification: str | None = None
    code: JsonObject = field(default_factory=dict)
    defined: str = ""

    @property
    def reference(self) -> JsonObject:
        """How a context names the version."""
        return {"digest": self.digest, "name": self.name, "version": str(self.version)}

    def owner_of(self, feature: FeatureDefinition) -> str | None:
        """Return who answers for a feature: its own owner, or the set's."""
        return feature.owner or self.owner

    def justification_of(self, feature: FeatureDefinition) -> str | None:
        """Return why a feature may be used: its own justification, or the set's."""
        return feature.justification or self.justification

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as values JSON has."""
        return {
            "code": plain(self.code),
            "defined": self.defined,
            "digest": self.digest,
            "features": [feature.to_dict() for feature in self.features],
            "justification": self.justification,
            "name": self.name,
            "owner": self.owner,
            "version": self.version,
        }

    def __repr__(self) -> str:
        """Return name, number and the beginning of the digest."""
        return f"FeatureSet({self.name}:{self.version}, {self.digest[:12]})"

    def _page(self) -> Page:
        return feature_set_page(self)


def feature_set_page(found: FeatureSet) -> Page:
    """Return a feature set for a reader."""
    facts = [
        ("digest", found.digest),
        ("defined", found.defined),
        ("owner", found.owner or "nobody named"),
        ("justification", found.justification or "none given"),
        ("code", code_text(found.code)),
    ]
    sections = [facts_section(f"Feature {label(one.name)}", list(_facts(found, one))) for one in found.features]
    headline = f"feature set {found.name}:{found.version} with {count_text(len(found.features), 'feature')}"
    return Page(headline=headline, facts=tuple(facts), sections=tuple(sections))


def sets_page(found: Sequence[FeatureSet]) -> Page:
    """Return a list of feature sets for a reader."""
    rows = tuple(
        Row(
            cells=(
                f"{one.name}:{one.version}",
                ", ".join(label(feature.name) for feature in one.features),
                one.owner or "nobody named",
                one.digest[:12],
            )
        )
        for one in found
    )
    section = Section(title="Feature sets", columns=("set", "features", "owner", "digest"), rows=rows)
    headline = count_text(len(found), "version of feature sets", "versions of feature sets")
    return Page(headline=headline, sections=(section,) if rows else ())


def code_text(code: Mapping[str, JsonValue]) -> str:
    """Return a version of code for a reader: its commit, and loudly whether the files were another's."""
    if code.get("commit") is None:
        return f"unknown commit: {code.get('reason')}"
    return f"commit {code['commit']}, {'DIRTY: the files differed from it' if code.get('dirty') is True else 'clean'}"


def definition_text(feature: FeatureDefinition) -> str:
    """Return what a feature is made by: `function credit.income, source 1a2b…`."""
    return f"{feature.kind} {feature.definition}, source {feature.source[:12]}"


def feature_of(name: str | None, given: Any) -> Feature:
    """Return what somebody gave as a feature, under the name it is given by, or its own.

    Raises:
        InputError: It is no function, SQL text or transformer, or has no name.
    """
    if isinstance(given, Feature):
        return given if name in {None, given.name} else replace(given, name=str(name))
    own = name if name is not None else getattr(given, "__name__", None)
    if not isinstance(own, str) or not own or own == "<lambda>":
        raise InputError(f"features: expected a name for each feature, got none for a {type(given).__name__}")
    kind_of_definition(given)
    return Feature(name=own, definition=given)


def kind_of_definition(definition: Any) -> Kind:
    """Say how a feature is defined.

    Raises:
        InputError: By nothing known here.
    """
    if isinstance(definition, str):
        if definition.strip():
            return "sql"
    elif hasattr(definition, "get_params") and not isinstance(definition, type):
        return "transformer"
    elif callable(definition):
        return "function"
    raise InputError(
        f"features: expected a function, an SQL text or a scikit-learn transformer, got {type(definition).__name__}"
    )


def define_feature(feature: Feature) -> FeatureDefinition:
    """Return a feature as it is kept.

    Raises:
        InputError: It is defined by nothing known here, or what is said of it is no text.
    """
    kind = kind_of_definition(feature.definition)
    for said in (feature.description, feature.owner, feature.justification):
        if said is not None and not isinstance(said, str):
            raise InputError(f"feature {feature.name}: expected what is said of it as text, got {type(said).__name__}")
    params: JsonObject | None = None
    if kind == "sql":
        definition = "\n".join(line.rstrip() for line in str(feature.definition).strip().splitlines())
        source, basis = hashlib.sha256(definition.encode()).hexdigest(), "text"
    else:
        function, params = _given_to(feature.definition)
        code = source_text.describe(function)
        definition, source, basis = code.name, code.digest, code.basis
        if kind == "transformer":
            params = dict(parameters_of(function, deep=True))
            made_of: JsonObject = {"code": source, "params": params}
            functions = _functions_of(function)
            source = canonical.digest_of(made_of | ({"functions": functions} if functions else {}))
    description = feature.description
    if description is None and kind == "function":
        description = (inspect.getdoc(feature.definition) or "").partition("\n")[0] or None
    return FeatureDefinition(
        name=feature.name,
        kind=kind,
        definition=definition,
        source=source,
        basis=basis,
        params=params,
        inputs=feature.inputs,
        description=description,
        owner=feature.owner,
        justification=feature.justification,
    )


def _given_to(definition: Any) -> tuple[Any, JsonObject | None]:
    """Return the function a partial is of, with what it was given; anything else as it is."""
    if not isinstance(definition, functools.partial):
        return definition, None
    # A partial of a partial is one of the function already, unless it has attributes of its own.
    function, params = _given_to(definition.func)
    given: JsonObject = {str(at): json_safe(value) for at, value in enumerate(definition.args)}
    given |= {name: json_safe(value) for name, value in definition.keywords.items()}
    return function, given if params is None else {**given, "of": params}


def _functions_of(transformer: Any) -> JsonObject:
    """Return the code of the functions among a transformer's parameters, whose names alone are in these."""
    given = transformer.get_params(deep=True).items()
    functions = {str(name): value for name, value in given if callable(value) and not hasattr(value, "get_params")}
    return {name: _code_document(value) for name, value in functions.items() if not isinstance(value, type)}


def _code_document(definition: Any) -> JsonValue:
    function, params = _given_to(definition)
    digest = source_text.describe(function).digest
    return digest if params is None else {"code": digest, "params": params}


def parse_definition(content: JsonValue, said: JsonValue) -> FeatureDefinition:
    """Return a definition from what is kept of it.

    Raises:
        FormatError: It is not of the form docs/format.md gives it.
    """
    document = content if isinstance(content, dict) else {}
    words = said if isinstance(said, dict) else {}
    inputs, params = document.get("inputs"), document.get("params")
    kind = _KINDS.get(canonical.text_of(document, "kind"))
    if kind is None:
        raise FormatError("feature set: a feature is of a kind that is not known here")
    return FeatureDefinition(
        name=canonical.text_of(document, "name"),
        kind=kind,
        definition=canonical.text_of(document, "definition"),
        source=canonical.text_of(document, "source"),
        basis=canonical.text_of(document, "basis"),
        params=params if isinstance(params, dict) else None,
        inputs=tuple(str(one) for one in inputs) if isinstance(inputs, list) else (),
        **{name: text for name, text in words.items() if name in _SAID and isinstance(text, str)},
    )


def _facts(found: FeatureSet, feature: FeatureDefinition) -> list[tuple[str, str]]:
    facts = [("definition", definition_text(feature))]
    if feature.description:
        facts.append(("description", feature.description))
    facts.append(("made from", ", ".join(map(label, feature.inputs)) or "not said"))
    facts.append(("owner", found.owner_of(feature) or "nobody named"))
    facts.append(("justification", found.justification_of(feature) or "none given"))
    return facts
