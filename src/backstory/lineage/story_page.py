"""The story of a prediction, laid out: what was predicted, from which rows, by which model, and how that is proven."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from backstory.lineage.contracts import broken_rules, verdict_text
from backstory.lineage.feature_story import feature_alarms, feature_sections
from backstory.lineage.page import Page, Row, Section, facts_section
from backstory.lineage.plain import count_text, label, named, shown, to_second
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.envelope import OK
from backstory.records.redaction import HIDDEN, Redaction
from backstory.records.schema import split_name

if TYPE_CHECKING:
    from backstory.lineage.online import OnlineRow
    from backstory.lineage.story import RowStory, Story

OPEN_HINT = "give an actor and a purpose"
ERASED = "committed, erased"
NOT_AUTHENTICATED = "self-consistent, not authenticated"

_MARKS = {"masked": "masked", "pseudonymised": "pseudonym"}
"""What is said beside a value that is shown in another's place, by how it is seen."""

_REFERENCE_GROUP = "subject"
"""The sealed group that holds references to rows about people."""


def story_page(story: Story) -> Page:
    """Return a story for a reader, the answer first."""
    steps = facts_section("Steps", list(_step_facts(story))) if story.steps else None
    sections = [_rows_section(story), _computed_section(story), _added_section(story), steps, _online_section(story)]
    sections += feature_sections(story.lineage)
    sections.append(facts_section("Model", list(_model_facts(story))))
    sections += [facts_section("Code and environment", list(_code_facts(story))), _outcome_section(story)]
    sections.append(_followed_section(story))
    sections.append(_classes_section(story))
    sections.append(facts_section("Proof", list(_proof_facts(story.proof))))
    return Page(
        headline=_headline(story),
        alarms=tuple(_alarms(story)),
        facts=tuple(_facts(story)),
        sections=tuple(section for section in sections if section is not None),
    )


def _classes_section(story: Story) -> Section | None:
    """Return which columns have which class, where people confirmed that."""
    named = story.context.get("classification")
    if not isinstance(named, list):
        return None
    by_class: dict[str, list[str]] = {}
    for name, class_ in story.column_classes.items():
        by_class.setdefault(class_, []).append(label(name))
    facts = [(class_, ", ".join(by_class[class_])) for class_ in sorted(by_class)]
    said = [f"{one['kind']} {one['name']}, version {one['version']}" for one in named if isinstance(one, dict)]
    return facts_section("Classes", [*facts, ("confirmed", "; ".join(said))])


def _step_facts(story: Story) -> Iterator[tuple[str, str]]:
    for step in story.steps.get("steps", ()):
        model = step.get("model")
        whose = f"{model['name']}:{model['version']} " if isinstance(model, dict) else ""
        what = {"call": f"called {whose}", "use": "used "}.get(step["kind"], "") + step["name"]
        if "ref" in step:
            yield what, named({name: value for name, value in step["ref"].items() if value is not None})
        elif "values" in step:
            yield what, shown(step["values"])
        else:
            yield what, f"digest {step['digest']}" if "digest" in step else "values not kept"
    if story.steps:
        yield "kept", f"{story.steps['keep']}: {story.steps['why']}"


_ONLINE = {
    "same": "fetched again: as it was",
    "fetched": "fetched again; the record keeps nothing to compare it with",
    "no row": "there is no such row as of then",
    "not fetched": "not fetched again: no resolver",
}


def _online_section(story: Story) -> Section | None:
    """Return the rows that were used by reference, with what became of them."""
    if not story.online:
        return None
    rows = tuple(
        Row(
            cells=(
                row.source,
                shown(row.key),
                ", ".join(filter(None, (row.version and f"version {row.version}", row.at and f"at {row.at}"))),
                _online_text(row),
            ),
            loud=row.state in {"changed", "no row", "cannot"},
        )
        for row in story.online
    )
    return Section(title="Fetched online", columns=("source", "key", "as of", "now"), rows=rows)


def _online_text(row: OnlineRow) -> str:
    if row.state == "changed":
        return f"CHANGED since: {', '.join(row.changed) or 'its values'}"
    if row.state == "cannot":
        return f"cannot be fetched again: {row.reason}"
    values = f": {named(row.values)}" if row.state == "fetched" else ""
    return _ONLINE[row.state] + values


_FLAGS = {
    "contract": "breaks rule {} of the contract",
    "missing": "{} is missing",
    "note": "note: breaks rule {} of the contract",
    "null": "{} has no value, and in training always had one",
    "range": "{} is outside of what training saw",
    "type": "{} is of another type than in training",
    "unseen": "{} has a value that training never saw",
}


def flag_text(flag: str) -> str:
    """Return a flag for a reader.

    >>> flag_text("range:amount")
    'amount is outside of what training saw'
    """
    kind, _, what = flag.partition(":")
    return _FLAGS[kind].format(label(what)) if kind in _FLAGS else label(flag)


def _marks(redacted: Iterable[Redaction]) -> dict[tuple[str, ...], str]:
    """Return by the parts of its name what is said beside a value that is shown, and not as it is."""
    return {
        tuple(split_name(one.field)): f" ({_MARKS[one.view]}: {one.class_})" for one in redacted if one.view in _MARKS
    }


def _mark(story: Story, top: str) -> str:
    """Return what is said beside a value of one column or several, such as the output."""
    return next((mark for path, mark in _marks(story.redacted).items() if path[0] == top), "")


def _headline(story: Story) -> str:
    who = _model_name(story) or f"{story.method}()"
    if story.status not in {OK, HIDDEN}:
        return f"{who} failed with {story.error}"
    if story.output is None and any(_is_output(group) for group in story.erased):
        return f"{who} predicted a value that is committed and was erased"
    if any(_is_output(group) for group in story.sealed):
        return f"{who} predicted a sealed value"
    return f"{who} predicted {shown(story.output)}{_mark(story, 'output')}"


def _is_output(group: str) -> bool:
    return group.partition(".")[0] == "output"


def _model_name(story: Story) -> str | None:
    return None if story.model is None else f"{story.model.get('name')}:{story.model.get('version')}"


def _alarms(story: Story) -> Iterator[str]:
    if story.served is not None and story.served.deployments and not story.served.approved:
        yield f"NOT APPROVED: {_model_name(story)} served without an approval that was in force then"
    if story.flags:
        yield f"FLAGGED: {', '.join(map(flag_text, story.flags))}"
    if story.broken:
        names = ", ".join(story.broken)
        yield f"BROKEN: the row of {names} behind this prediction is not known; the story is incomplete there"
    yield from feature_alarms(story.lineage)
    yield from _contract_alarms(story)
    if story.erased:
        yield f"ERASED: {', '.join(story.erased)}: {ERASED}"
    hints = {group: _sealed(story, group) for group in story.sealed if group not in story.erased}
    for hint in dict.fromkeys(hints.values()):
        yield f"{', '.join(group for group in hints if hints[group] == hint)}: {hint}"


def _contract_alarms(story: Story) -> Iterator[str]:
    for what, broken in _broken_contracts(story, flagged=True):
        yield f"CONTRACT: {what} data that broke its contract ({broken})"


def _broken_contracts(story: Story, *, flagged: bool) -> Iterator[tuple[str, str]]:
    """Yield what broke its contract: the prediction's own data, and that of its model's training.

    Args:
        story: The story.
        flagged: Whether what is flagged is asked for, or what is only noted.
    """
    own = (verdict for row in story.rows for verdict in row.contracts)
    for what, verdicts in (("it was made from", own), ("its model was trained on", story.training_contracts)):
        asked = (one for one in verdicts if broken_rules(one) and (one.get("verdict") == "flagged") is flagged)
        broken = dict.fromkeys(verdict_text(verdict) for verdict in asked)
        if broken:
            yield what, "; ".join(broken)


def _sealed(story: Story, group: str) -> str:
    class_ = story.classes.get(group)
    reasons = [one.reason for one in story.redacted if one.group == group]
    return f"sealed{'' if class_ is None else f' (class {class_})'}: {reasons[0] if reasons else OPEN_HINT}"


def _facts(story: Story) -> Iterator[tuple[str, str]]:
    yield "prediction", story.id
    yield "recorded", story.time
    if story.request_id is not None:
        yield "request", shown(story.request_id)
    rule = story.context.get("decision")
    if story.decision is not None:
        by = f", by the rule {_rule(rule, story.output)}" if isinstance(rule, dict) else ""
        yield "decision", f"{shown(story.decision)}{_mark(story, 'decision')}{by}"
    yield "made from", _made_from(story)
    for what, broken in _broken_contracts(story, flagged=False):
        yield "contract", f"{what} data of which was noted: {broken}"
    yield "proof", _proof_line(story.proof)


def _rule(rule: JsonObject, output: object) -> str:
    """Return a rule with the output column it looked at: of several (one for each class) the last unless named."""
    column = rule.get("column")
    if column is None and isinstance(output, dict):
        column = list(output)[-1]
    return f"{'output' if column is None else f'output {label(column)}'} at or above {rule.get('value')}"


def _made_from(story: Story) -> str:
    if not story.rows:
        return "features whose rows were not recorded"
    sources = sum(row.kind == "source" for row in story.rows)
    groups = len(story.rows) - sources
    parts = [count_text(sources, "source row")] if sources else []
    parts += [f"{count_text(groups, 'group')} of rows"] if groups else []
    return " and ".join(parts)


# --- rows and features ------------------------------------------------------------------------------------------------


def _rows_section(story: Story) -> Section | None:
    if not story.rows:
        return None
    rows = tuple(_row(story, row) for row in story.rows)
    return Section(title="Rows", columns=("from", "row", "edge", "what became features"), rows=rows)


def _row(story: Story, row: RowStory) -> Row:
    if row.state == "broken":
        return Row(
            cells=(row.reference, "not known", "BROKEN", "its token was lost or damaged before recording"), loud=True
        )
    if row.state == "erased":
        return Row(cells=(row.reference, "erased", row.grade, ERASED))
    if row.state == "sealed":
        return Row(cells=(row.reference, "sealed", row.grade, _sealed(story, _REFERENCE_GROUP)))
    if row.state == "no row":
        return Row(cells=(row.reference, "none matched", row.grade, ""))
    place = f"{'group' if row.kind == 'group' else 'row'} {row.position}"
    marks = _marks(row.redacted)
    keyed = ((name, value, marks.get(("row", row.reference, name), "")) for name, value in row.key.items())
    key = [f"{label(name)} {shown(value)}{mark}" for name, value, mark in keyed]
    return Row(
        cells=(row.reference, "\n".join([place, *key]), row.grade, _became(story, row)), loud=row.grade == "broken"
    )


def _became(story: Story, row: RowStory) -> str:
    """Say which values became features, and of a group how many rows went into it."""
    lines = [", ".join(_carried(story, row))]
    if row.members:
        lines.append("mixed from " + ", ".join(f"{count_text(n, 'row')} of {name}" for name, n in row.members.items()))
    lines += [f"such as {name} {', '.join(map(str, rows))}" for name, rows in row.sample.items() if rows]
    return "\n".join(line for line in lines if line)


def _carried(story: Story, row: RowStory) -> Iterator[str]:
    """Yield features with their values; where the row has another value than the model was given, both."""
    marks = _marks(story.redacted)
    for name in row.features:
        given, mark = story.features.get(name), marks.get(("feature", name), "")
        if name in row.values and row.values[name] != given:
            yield f"{label(name)} {shown(given)}{mark} (the row has {shown(row.values[name])})"
        else:
            yield f"{label(name)} {shown(given)}{mark}"


def _computed_section(story: Story) -> Section | None:
    """Return the features no row has as a column: made on the way, or not traced."""
    carried = {name for row in story.rows for name in row.features}
    marks = _marks(story.redacted)
    left = [
        (label(name), f"{shown(value)}{marks.get(('feature', name), '')}")
        for name, value in story.features.items()
        if name not in carried
    ]
    if not left:
        return None
    return facts_section("Features made on the way" if story.rows else "Features", left)


def _added_section(story: Story) -> Section | None:
    """Return what each feature added to the output, largest first, where that was recorded; what of it is withheld."""
    withheld = list(_withheld_parts(story))
    base = story.attribution_base
    if base is None and not withheld:
        return None
    added = sorted(story.attributions.items(), key=lambda pair: (-abs(pair[1]), pair[0]))
    lines = [(label(name), f"{value:+.6g}") for name, value in added] + withheld
    document = _member(story.context, "explanation")
    if base is not None and not withheld:
        total = base + sum(story.attributions.values())
        lines.append(("adds up to", f"{total:.6g}{_units(story, document)}, from {base:.6g}"))
    method = f" ({document['method']})" if "method" in document else ""
    lines.append(("says", f"what the model's arithmetic did{method}; it names no causes"))
    return facts_section("What each feature added", lines)


def _units(story: Story, document: JsonObject) -> str:
    """Say in which units parts add up, or why that is not shown."""
    if "units" in document:
        column = document.get("column")
        return f", the {document['units']}{'' if column is None else f' of {label(column)}'}"
    hidden = [one.reason for one in story.redacted if one.field == "context"]
    return f" in units that are not shown ({hidden[0]})" if hidden else ""


def _withheld_parts(story: Story) -> Iterator[tuple[str, str]]:
    """Yield what features added where it was recorded and is not shown; nothing where a whole group is sealed."""
    hidden = {one.field: one for one in story.redacted if one.view != "clear"}
    parts = [name for name in story.column_classes if split_name(name)[0] == "attribution"]
    if story.attribution_base is None and all(
        name not in hidden or hidden[name].group in {*story.sealed, *story.erased} for name in parts
    ):
        return  # an alarm says so of all of the group
    for name in parts:
        feature = split_name(name)[-1]
        if feature not in story.attributions:
            yield label(feature), f"not shown: {hidden[name].reason if name in hidden else ERASED}"


# --- model, code, outcomes, proof -------------------------------------------------------------------------------------


def _model_facts(story: Story) -> Iterator[tuple[str, str]]:
    yield "called", f"{story.method}()"
    if story.model is None:
        yield "model", "none registered: a function was called"
        function, source = (_member(story.context, "code").get(name) for name in ("function", "source"))
        if function is not None:
            yield "function", f"{function}, source {source}"
        return
    model, training = _member(story.model, "model"), story.model.get("training")
    yield "model", f"{_model_name(story)}, {model['class']}" if "class" in model else str(_model_name(story))
    yield "digest", str(story.model.get("digest"))
    if any(one.field == "model" for one in story.redacted):
        yield "more", next(one.reason for one in story.redacted if one.field == "model")
        return
    yield "trained on", _training(training)
    if story.model.get("target") is not None:
        yield "target", str(story.model["target"])
    if story.served is not None:
        yield "deployed", story.served.where
        yield "approved", story.served.judged
    container = story.context.get("container")
    held = container if isinstance(container, dict) else {}
    parts = ((model, model.get("replayable")), (held, held.get("rebuildable", True)))
    lost = [part for part, is_kept in parts if not is_kept]
    yield "replayable", "yes" if not lost else f"no: {lost[0].get('reason')}"
    if story.determinism is not None:
        yield "determinism", story.determinism.in_words


def _training(training: JsonValue) -> str:
    if not isinstance(training, dict):
        return "rows that were not recorded"
    names = ", ".join(_member(training, "refs"))
    return f"{count_text(int(str(training.get('rows'))), 'row')} of {names}"


def _code_facts(story: Story) -> Iterator[tuple[str, str]]:
    if any(one.field == "context" for one in story.redacted):
        return
    yield "code", _code(_member(story.context, "code"))
    if story.model is not None:
        yield "model's code", _code(_member(story.model, "code"))
    yield "environment", _environment(story)


def _code(code: JsonObject) -> str:
    """Return a version of code: its commit, and loudly whether the files were another's."""
    if code.get("commit") is None:
        return f"unknown commit: {code.get('reason')}"
    state = f"DIRTY: the files differed from it, diff {code.get('diff')}" if code.get("dirty") is True else "clean"
    return f"commit {code['commit']}, {state}"


def _environment(story: Story) -> str:
    """Return the environment in a line: what is known of Python and system, the model's libraries, the digest."""
    python, platform = _member(story.environment, "python"), _member(story.environment, "platform")
    parts = [f"Python {python['version']}"] if "version" in python else []
    parts += [" ".join(str(platform[name]) for name in ("os", "machine") if name in platform)] if platform else []
    versions = _member(_member(story.model or {}, "model"), "versions")
    parts += [f"{name} {version}" for name, version in versions.items()]
    parts.append(f"digest {story.context.get('environment')}")
    return ", ".join(part for part in parts if part)


def _outcome_section(story: Story) -> Section | None:
    if not story.outcomes:
        return None
    rows = [
        Row(
            cells=(
                str(o["time"]),
                _outcome_text(o),
                str(o["proof"]) if o["stands"] else f"{o['proof']}; CORRECTED since",
            )
        )
        for o in story.outcomes
    ]
    return Section(title="Outcomes", columns=("recorded", "value", "proof"), rows=tuple(rows))


def _outcome_text(outcome: Mapping[str, Any]) -> str:
    reason = outcome.get("redacted")
    if outcome.get("erased"):
        return ERASED
    if outcome["value"] is None and reason is not None:
        return f"sealed: {reason}"
    return shown(outcome["value"]) if reason is None else f"{shown(outcome['value'])} ({reason})"


def _followed_section(story: Story) -> Section | None:
    """Return the decisions made with it, and the notices of these."""
    if story.followed is None:
        reason = next((one.reason for one in story.redacted if one.field == "followed"), OPEN_HINT)
        return facts_section("Decisions", [("decisions", f"what leads to them is sealed: {reason}")])
    rows = tuple(Row(cells=(to_second(one.time), one.kind, one.id, one.text), loud=one.loud) for one in story.followed)
    return Section(title="Decisions", columns=("recorded", "what", "id", ""), rows=rows) if rows else None


def _proof_line(proof: Mapping[str, JsonValue]) -> str:
    if proof.get("state") != "sealed":
        return "unsealed: no proof covers it yet"
    return f"sealed, {proof.get('key')}"


def _proof_facts(proof: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
    sealed = proof.get("state") == "sealed"
    yield "state", "sealed" if sealed else "unsealed: no proof covers it yet; `flush()` or `backstory seal` seals it"
    pin = ": give the public key that was pinned (vkey)" if proof.get("key") == NOT_AUTHENTICATED else ""
    yield "key", f"{proof.get('key')}{pin}"
    if sealed:
        yield "log", f"entry {proof['entry']} of {proof['origin']}, tree size {proof['tree_size']}"
        yield "root", str(proof["root"])
        yield "record", f"seq {proof['seq']} of stream {proof['stream']}"
        yield "segment", str(proof["segment"])


def _member(document: Mapping[str, JsonValue], name: str) -> JsonObject:
    value = document.get(name)
    return value if isinstance(value, dict) else {}
