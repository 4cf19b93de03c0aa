"""What the features of one prediction added to its output: as recorded at decision time, or computed afterwards.

Afterwards means by replay: the recorded features go through the recorded model again, and a prediction whose replay
diverges is not explained, as what would be explained is another output. What an explanation says is what the model's
arithmetic did with the values it was given; it names no causes.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from backstory.capture.options import parse_options
from backstory.columns.python_value import python_value
from backstory.debug.case import Case, Workshop, model_of, options_given, read_case, run_model
from backstory.debug.environment_diff import environment_changes
from backstory.debug.explanation_baseline import Baseline, baseline_of, training_baseline
from backstory.debug.explanation_plan import ATTRIBUTION, BASE, Calling, Explain, group_name, plan_of
from backstory.debug.verdict import Verdict, judge
from backstory.errors import ModelError
from backstory.frames.container import rebuild
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import Found
from backstory.lineage.answer import Answer
from backstory.lineage.page import Page, Section, rows_of
from backstory.lineage.plain import count_text, label, plain, shown
from backstory.lineage.reasons import Factor, Scored
from backstory.lineage.trace import Tracer
from backstory.models import function_of
from backstory.models.environment import environment
from backstory.records import canonical
from backstory.records.access import Gate
from backstory.records.canonical import JsonObject, JsonValue

QUESTION = "explain"
AT_DECISION, AFTERWARDS = "at decision time", "afterwards"
SHOWN = 24
"""Features that a page shows; JSON has all."""

NOT_CAUSES = "what the model's arithmetic did with these values; it names no causes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """What one feature added.

    Attributes:
        feature: Its name; of several that cannot be told apart all names.
        columns: The input columns it is.
        values: Their values.
        added: What it added, in the units of the explanation.
    """

    feature: str
    columns: tuple[str, ...]
    values: dict[str, Any]
    added: float

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        return {
            "added": plain(self.added),
            "columns": list(self.columns),
            "feature": self.feature,
            "values": plain(self.values),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation(Answer):
    """What the features of a prediction added to its output.

    Attributes:
        id: Id of the prediction.
        model: Its model, as `name:version`.
        model_digest: Digest of the model version.
        output: The recorded output.
        method: `tree`, `linear` or `permutation`.
        versions: Packages that computed it.
        units: What base and contributions add up to: the `output`, the `probability` or `log-odds` of the class, or the
            `margin` the model turns into its output.
        explained: Class or column that is explained; None where there is one output.
        baseline: What it is compared with, as docs/format.md section 33 has it.
        base: What is there before anything is added.
        contributions: What was added, largest first whatever its sign.
        computed: `at decision time`, or `afterwards`.
        where: Of one computed afterwards, in which environment.
        verdict: Of one computed afterwards, the verdict of the replay it rests on.
        environment: Of one computed afterwards, what differs from the recorded environment: name to both values.
        is_sealed: Whether it is about a person: what is made of it is to be sealed too.
    """

    id: str
    model: str
    model_digest: str
    output: Any
    method: str
    versions: dict[str, str]
    units: str
    explained: str | None
    baseline: JsonObject
    base: float
    contributions: tuple[Contribution, ...]
    computed: str
    where: str = ""
    verdict: Verdict | None = None
    environment: dict[str, tuple[str, str]]
    is_sealed: bool = False

    @property
    def total(self) -> float:
        """What base and contributions add up to."""
        return self.base + sum(one.added for one in self.contributions)

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        return {
            "base": plain(self.base),
            "baseline": plain(self.baseline),
            "computed": self.computed,
            "contributions": [one.to_dict() for one in self.contributions],
            "environment": {name: list(pair) for name, pair in self.environment.items()},
            "explained": self.explained,
            "id": self.id,
            "method": self.method,
            "model": self.model,
            "model_digest": self.model_digest,
            "output": plain(self.output),
            "total": plain(self.total),
            "units": self.units,
            "verdict": self.verdict,
            "versions": dict(self.versions),
            "where": self.where,
        }

    def __repr__(self) -> str:
        """Return the answer on one line."""
        return f"<Explanation of {self.id}: {explanation_page(self).headline}>"

    def _page(self) -> Page:
        return explanation_page(self)


def explanation_page(found: Explanation) -> Page:
    """Return an explanation for a reader."""
    most = [one for one in found.contributions[:1] if one.added]
    what = f"{label(most[0].feature)} added most ({most[0].added:+.6g})" if most else "no feature added anything"
    facts = [
        ("prediction", found.id),
        ("adds up to", f"{found.base:.6g} and what was added: {found.total:.6g}, {_units_text(found)}"),
        ("method", f"{found.method}, by {', '.join(' '.join(pair) for pair in found.versions.items())}"),
        ("compared with", _baseline_text(found.baseline)),
        ("computed", found.computed if found.verdict is None else _afterwards_text(found)),
        ("says", NOT_CAUSES),
    ]
    facts += [("environment", f"{name} was {then}, is {now}") for name, (then, now) in found.environment.items()]
    return Page(
        headline=f"{found.model} gave {shown(found.output)}: {what}",
        facts=tuple(facts),
        sections=(contributions_section(found),),
    )


def contributions_section(found: Explanation) -> Section:
    """Return what each feature added, largest first."""
    lines = [
        (label(one.feature), ", ".join(map(shown, one.values.values())), f"{one.added:+.6g}")
        for one in found.contributions[:SHOWN]
    ]
    left = found.contributions[SHOWN:]
    if left:
        rest = sum(one.added for one in left)
        lines.append(("…", count_text(len(left), "more feature"), f"{rest:+.6g}"))
    title = f"What each feature added to {found.base:.6g}"
    return Section(title=title, columns=("feature", "value", "added"), rows=rows_of(lines))


def _units_text(found: Explanation) -> str:
    of = "" if found.explained is None else f" of {label(found.explained)}"
    return {"output": f"the output{of}", "margin": f"the margin{of} before it becomes the output"}.get(
        found.units, f"the {found.units}{of}"
    )


def _baseline_text(baseline: JsonObject) -> str:
    if baseline.get("paths") is True:
        return "what its trees were trained on, path by path"
    drawn = {"given": "rows that were given", "training": "rows it was trained on"}.get(
        str(baseline.get("drawn")), "rows"
    )
    digest = baseline.get("digest")
    kept = f", digest {digest[:12]}" if isinstance(digest, str) else ""
    return f"{baseline.get('rows')} of {baseline.get('of')} {drawn}, seed {baseline.get('seed')}{kept}"


def _afterwards_text(found: Explanation) -> str:
    return f"{found.computed}, with {found.where}; its replay is {found.verdict}"


def explain_prediction(shop: Workshop, found: Found, asked: Explain, *, anew: bool) -> Explanation:
    """Return what the features of a prediction added to its output.

    Args:
        shop: The archive.
        found: The prediction.
        asked: How it is to be explained.
        anew: Whether it is computed though the record has it.

    Raises:
        ForbiddenError: Its values are sealed, and the gate lets nothing through.
        ModelError: The call failed, the model is not there, its replay diverges, or the method is not for this model.
        InputError: The features cannot be made again as the model was given them.
    """
    case = read_case(shop, found, QUESTION)
    (row,) = case.rows
    recorded = case.context.get("explanation")
    if isinstance(recorded, dict) and not anew and _is_that(recorded, asked):
        values = case.table.select([ATTRIBUTION, BASE]).slice(row, 1)
        return _explanation(found, case, recorded, values, computed=AT_DECISION)
    estimator = model_of(shop, case)
    now = run_model(estimator, case, case.features)
    judgement = judge(case.output.slice(row, 1), now.slice(row, 1), case.decision)[0]
    if judgement.verdict == "diverged":
        raise ModelError(f"explain: its replay diverges ({judgement.reason}), so another output would be explained")
    plan = plan_of(asked, calling_of(case, estimator), lambda: baseline_for(shop, case, asked))
    container: Any = case.context.get("container")
    features = rebuild(container, case.features.slice(row, 1))
    columns = plan.columns(features, case.output.slice(row, 1))
    return _explanation(
        found,
        case,
        plan.document,
        pa.table(columns),
        computed=AFTERWARDS,
        verdict=judgement.verdict,
        changes=environment_changes(_environment_of(shop.ledger, case.context), environment()),
    )


def scored_of(found: Explanation) -> Scored:
    """Return the factors of an explanation as reasons look at them."""
    return Scored(
        id=found.id,
        model=found.model_digest,
        factors=tuple(Factor(columns=one.columns, added=one.added) for one in found.contributions),
        units=found.units,
        method=found.method,
        computed=found.computed,
        is_sealed=found.is_sealed,
    )


def calling_of(case: Case, estimator: object) -> Calling:
    """Return how a recorded call called its model.

    Raises:
        ModelError: It has no such method, or an option of the call was not kept.
    """
    method = canonical.text_of(case.context, "method")
    function = function_of(estimator, method)
    container: Any = case.context.get("container")
    if function is None or not isinstance(container, dict):
        raise ModelError(f"explain: expected a model with a method {method!r}, and features it can be given again")
    by_position, options = options_given(function, parse_options(case.context.get("options")))
    return Calling(
        model=estimator,
        method=method,
        container=container,
        run=lambda features: function(features, *by_position, **options),
        decision=case.decision,
        has_options=bool(by_position or options),
    )


def baseline_for(shop: Workshop, case: Case, asked: Explain) -> Baseline:
    """Return the rows an explanation of a recorded prediction compares with."""
    model = case.context.get("model")
    digest = canonical.text_of(model, "digest") if isinstance(model, dict) else ""
    container = case.context.get("container")
    names = [str(name) for name in container["columns"]] if isinstance(container, dict) else []  # type: ignore[union-attr]
    return baseline_asked(shop.ledger, shop.tracer, shop.gate, shop.ledger.document(digest), names, asked)


def baseline_asked(
    ledger: Ledger, tracer: Tracer, gate: Gate, model: JsonObject, columns: list[str], asked: Explain
) -> Baseline:
    """Return the rows an explanation compares with: those that were given, or rows of the model's training.

    Raises:
        ModelError: None were given, and those of the training cannot be told.
    """
    if asked.background is not None:
        return baseline_of(ledger, asked.background, columns, asked.rows, asked.seed)
    training = model.get("training")
    if not isinstance(training, dict):
        raise ModelError("explain: the model was registered without training rows, so give background=")
    return training_baseline(ledger, tracer, gate, training, columns, asked.rows, asked.seed)


def _environment_of(ledger: Ledger, context: JsonObject) -> JsonObject:
    digest = context.get("environment")
    return ledger.document(digest) if isinstance(digest, str) else {}


def _is_that(recorded: JsonObject, asked: Explain) -> bool:
    """Say whether what was recorded is what is asked for."""
    explained = {str(recorded.get("column")), str(recorded.get("class"))}
    is_method = asked.method in {"auto", recorded.get("method")}
    return is_method and asked.background is None and (asked.column is None or str(asked.column) in explained)


def _explanation(
    found: Found,
    case: Case,
    document: JsonObject,
    values: pa.Table,
    *,
    computed: str,
    verdict: Verdict | None = None,
    changes: dict[str, tuple[str, str]] | None = None,
) -> Explanation:
    (row,) = case.rows
    given = {name: python_value(case.features[name][row]) for name in case.features.column_names}
    added = python_value(values[ATTRIBUTION][0])
    joint = document.get("joint")
    lists = [tuple(map(str, one)) for one in joint if isinstance(one, list)] if isinstance(joint, list) else []
    groups = {group_name(group): group for group in lists}
    contributions = []
    for name, amount in added.items():
        columns = groups.get(name, (name,))
        own = {column: given.get(column) for column in columns}
        contributions.append(Contribution(feature=name, columns=columns, values=own, added=float(amount)))
    model, versions = case.context.get("model"), document.get("versions")
    named = model if isinstance(model, dict) else {}
    baseline = document.get("baseline")
    packages = {name: str(version) for name, version in versions.items()} if isinstance(versions, dict) else {}
    explained = document.get("column") if document.get("column") is not None else _class_text(document.get("class"))
    return Explanation(
        id=found.id,
        model=f"{named.get('name')}:{named.get('version')}",
        model_digest=str(named.get("digest")),
        output=python_value(case.output[row]),
        method=canonical.text_of(document, "method"),
        versions=packages,
        units=canonical.text_of(document, "units"),
        explained=None if explained is None else str(explained),
        baseline=baseline if isinstance(baseline, dict) else {},
        base=float(values[BASE][0].as_py()),
        contributions=tuple(sorted(contributions, key=lambda one: (-abs(one.added), one.feature))),
        computed=computed,
        where=f"Python {platform.python_version()}, {', '.join(' '.join(pair) for pair in packages.items())}"
        if verdict is not None
        else "",
        verdict=verdict,
        environment=changes or {},
        is_sealed=bool(case.schema.groups),
    )


def _class_text(value: JsonValue) -> str | None:
    return None if value is None else f"class {value}"
