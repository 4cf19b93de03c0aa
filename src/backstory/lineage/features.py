"""Feature sets in an archive: defining them, finding their versions, and what changed between two.

The document of a version holds what its definitions are and nothing else, so the same definitions are one version; who
answers for them and why they may be used is said beside it. Bytes: docs/format.md section 28.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backstory.errors import InputError
from backstory.ledger.ledger import Ledger
from backstory.lineage.answer import Answer
from backstory.lineage.definition import find_definition, unknown_definition
from backstory.lineage.feature_set import (
    Feature,
    FeatureDefinition,
    FeatureSet,
    define_feature,
    feature_of,
    parse_definition,
)
from backstory.lineage.page import Page, Row, Section
from backstory.lineage.plain import count_text, label
from backstory.lineage.registry import require_model_name
from backstory.models.code_version import code_version
from backstory.records import canonical
from backstory.records.canonical import JsonObject

DEFINED = "features.defined"
"""Type of the entry that names a version of a feature set."""

_WHAT = "feature set"


def define_features(
    ledger: Ledger,
    name: str,
    features: Mapping[str, Any] | Iterable[Any],
    *,
    owner: str | None,
    justification: str | None,
) -> FeatureSet:
    """Keep a feature set; the same definitions again are the version there is.

    What is newly said of a known version is said in an entry of its own; the latest counts.

    Raises:
        InputError: A name cannot be used or stands twice, or a feature is defined by nothing known here.
    """
    require_model_name(name)
    for said in (owner, justification):
        if said is not None and not isinstance(said, str):
            raise InputError(f"features: expected owner and justification as text, got {type(said).__name__}")
    given = _given(features)
    definitions = [define_feature(feature) for feature in given]
    document: JsonObject = {"features": [one.content() for one in definitions], "name": name, "v": 1}
    digest = canonical.digest_of(document)
    said_of = {one.name: one.said() for one in definitions if one.said()}
    about: JsonObject = {"code": _code_of(given), "v": 1}
    about |= {} if owner is None else {"owner": owner}
    about |= {} if justification is None else {"justification": justification}
    about |= {"features": dict(said_of)} if said_of else {}
    known = _latest(ledger, name, digest)
    if known is not None:
        before = ledger.document(canonical.text_of(known, "about"))
        if {**before, "code": None} == {**about, "code": None}:
            return _read(ledger, known)
        about["code"] = before.get("code")  # the code it was first defined in
    ledger.put_document(document)
    said = ledger.put_document(about)

    def numbered() -> list[JsonObject]:
        """Number the version among those there are by then."""
        entries = ledger.find_entries(DEFINED, name)
        numbers = {canonical.text_of(one, "features"): canonical.text_of(one, "version") for one in entries}
        number = numbers.get(digest, str(len(numbers) + 1))
        return [{"about": said, "features": digest, "name": name, "type": DEFINED, "version": number}]

    ledger.append(numbered)
    return find_features(ledger, digest)


def _given(features: Mapping[str, Any] | Iterable[Any]) -> list[Feature]:
    if isinstance(features, str) or not isinstance(features, Iterable):
        raise InputError(f"features: expected a dict or a list of features, got {type(features).__name__}")
    pairs = features.items() if isinstance(features, Mapping) else [(None, feature) for feature in features]
    given = [feature_of(name, feature) for name, feature in pairs]
    names = Counter(feature.name for feature in given)
    if not given or max(names.values()) > 1:
        got = "none" if not given else f"{names.most_common(1)[0][0]!r} twice"
        raise InputError(f"features: expected at least one feature and each name once, got {got}")
    return sorted(given, key=lambda feature: feature.name)


def _code_of(features: list[Feature]) -> JsonObject:
    """Return the version of the code the functions stand in; of the running script where they stand in no file."""
    for feature in features:
        file = inspect.getsourcefile(feature.definition) if inspect.isfunction(feature.definition) else None
        if file is not None and Path(file).is_file():
            return code_version(Path(file))
    return code_version()


# --- finding ----------------------------------------------------------------------------------------------------------


def feature_sets(ledger: Ledger, name: str | None = None) -> list[FeatureSet]:
    """Return every version of all feature sets, or of one, oldest first.

    Raises:
        NotFoundError: There is none of that name.
    """
    latest = {canonical.text_of(entry, "features"): entry for entry in ledger.find_entries(DEFINED, name)}
    if name is not None and not latest:
        raise unknown_definition(ledger, name, entry=DEFINED, what=_WHAT)
    first: dict[str, JsonObject] = {}
    for entry in ledger.find_entries(DEFINED, name):
        first.setdefault(canonical.text_of(entry, "features"), entry)
    return [_read(ledger, entry, first[digest]) for digest, entry in latest.items()]


def find_features(ledger: Ledger, spec: str) -> FeatureSet:
    """Return a feature set by `name` (the latest version), `name:version`, or a digest prefix of at least 6 digits.

    Raises:
        NotFoundError: There is none.
        AmbiguousError: A digest prefix fits several.
        QueryError: What names it is no text.
    """
    return find_definition(ledger, spec, lambda name: feature_sets(ledger, name), entry=DEFINED, what=_WHAT)


def _latest(ledger: Ledger, name: str, digest: str) -> JsonObject | None:
    entries = [entry for entry in ledger.find_entries(DEFINED, name) if entry.get("features") == digest]
    return entries[-1] if entries else None


def _read(ledger: Ledger, entry: JsonObject, first: JsonObject | None = None) -> FeatureSet:
    digest = canonical.text_of(entry, "features")
    document, about = ledger.document(digest), ledger.document(canonical.text_of(entry, "about"))
    said, code, features = about.get("features"), about.get("code"), document.get("features")
    owner, justification = about.get("owner"), about.get("justification")
    words = said if isinstance(said, dict) else {}
    return FeatureSet(
        name=canonical.text_of(entry, "name"),
        version=canonical.count_of(entry, "version"),
        digest=digest,
        features=tuple(
            parse_definition(one, words.get(str(one.get("name")))) for one in features if isinstance(one, dict)
        )
        if isinstance(features, list)
        else (),
        owner=owner if isinstance(owner, str) else None,
        justification=justification if isinstance(justification, str) else None,
        code=code if isinstance(code, dict) else {},
        defined=canonical.text_of(first or entry, "time"),
    )


# --- comparing --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureDiff(Answer):
    """What is different between two feature sets.

    Attributes:
        before: The one, as `name:version`.
        after: The other.
        added: Names of features only the other has.
        removed: Names of features only the one has.
        changed: Names of features both have, each with what of it is another: `source`, `inputs`, `kind` …, and
            `owner` or `justification`.
    """

    before: str
    after: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: dict[str, tuple[str, ...]]

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        return {
            "added": list(self.added),
            "after": self.after,
            "before": self.before,
            "changed": {name: list(what) for name, what in self.changed.items()},
            "removed": list(self.removed),
        }

    def _page(self) -> Page:
        return diff_page(self)


def diff_features(before: FeatureSet, after: FeatureSet) -> FeatureDiff:
    """Return what is different between two feature sets."""
    one, other = ({feature.name: _facts(found, feature) for feature in found.features} for found in (before, after))
    both = {name: _differing(one[name], other[name]) for name in one if name in other}
    return FeatureDiff(
        before=f"{before.name}:{before.version}",
        after=f"{after.name}:{after.version}",
        added=tuple(name for name in other if name not in one),
        removed=tuple(name for name in one if name not in other),
        changed={name: what for name, what in both.items() if what},
    )


def diff_page(diff: FeatureDiff) -> Page:
    """Return a difference for a reader."""
    rows = [Row(cells=(label(name), "added")) for name in diff.added]
    rows += [Row(cells=(label(name), "removed")) for name in diff.removed]
    rows += [Row(cells=(label(name), f"another {', '.join(what)}")) for name, what in diff.changed.items()]
    same = f"{diff.before} and {diff.after} define the same"
    headline = f"{diff.before} and {diff.after}: {count_text(len(rows), 'feature')} differ" if rows else same
    section = Section(title="Features", columns=("feature", "what"), rows=tuple(rows))
    return Page(headline=headline, sections=(section,) if rows else ())


def _facts(found: FeatureSet, feature: FeatureDefinition) -> dict[str, Any]:
    said = {"description": feature.description}
    said |= {"owner": found.owner_of(feature), "justification": found.justification_of(feature)}
    return {**feature.content(), **said}


def _differing(one: dict[str, Any], other: dict[str, Any]) -> tuple[str, ...]:
    return tuple(sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name)))
