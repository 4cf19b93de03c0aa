"""The extract for a person who asks what is held about them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from backstory.errors import InputError, NotFoundError
from backstory.governance.erasure_survey import Survey, survey_person
from backstory.governance.keeping import rules_in_force
from backstory.lineage.plain import count_text, label
from backstory.records.access import About
from backstory.records.canonical import JsonObject
from backstory.records.correction import CORRECTION
from backstory.records.decision import DECISION
from backstory.records.envelope import OUTCOME, PREDICTION
from backstory.records.identity import id_text
from backstory.records.manifest import parse_manifest
from backstory.records.notice import NOTICE
from backstory.records.request import REQUEST
from backstory.report.report import Cell, Column, Content, Layout, Layouts, Supports, Told, Withheld
from backstory.report.report_case import AUTOMATION, OF_DECISION, OF_NOTICE, OF_PREDICTION, RELIANCE, STAFF_SEALED
from backstory.report.report_desk import QUESTION, Asked, Desk, columns_of, quote, quote_time, unseen, value_of
from backstory.report.report_explanation import rights_rows
from backstory.report.report_make import Kind
from backstory.report.report_subject_rows import tell_rows
from backstory.verify.receipt import Receipt

_FACT = (Column("what", "what"), Column("value", ""))
_STATES = {
    "purposes": "what the data is processed for",
    "recipients": "who was given data, and in which countries",
    "period": "how long it is kept, or by which criteria",
    "source": "where data came from that you did not give",
    "consequences": "what the processing can mean for you",
    "rights": "how to have data corrected or erased, to restrict, to object",
    "complaint": "with whom a complaint can be lodged",
    "contact": "whom to ask",
}
_GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    PREDICTION: OF_PREDICTION,
    OUTCOME: ("outcome",),
    DECISION.kind: OF_DECISION,
    NOTICE.kind: OF_NOTICE,
    REQUEST.kind: ("subject", "text"),
    CORRECTION.kind: ("subject", "text"),
}
_MANY = 2
_OTHERS = "rows that others are in, too: they may say something of other people"

LAYOUTS = Layouts(
    kind="subject-access",
    code="RPT-02",
    title="What is held about you",
    about="A copy of what this archive holds about you: data that was used, answers of programs, decisions, notices.",
    readers="for the person it is about",
    supports=(
        Supports(article="GDPR, article 15(1) and (3)", serves="a copy, purposes, recipients, source, logic involved"),
        Supports(article="CJEU C-203/22", serves="what was actually done with this person's data"),
        Supports(article="California CPPA, § 7222", serves="how personal data led to outputs"),
    ),
    sections=(
        Layout(name="confirmation", title="Is there anything?", standing="recorded", columns=_FACT),
        Layout(
            name="answers",
            title="Answers of programs about you",
            standing="recorded",
            columns=(
                Column("prediction", "answer", "id"),
                Column("time", "time", "time"),
                Column("program", "program"),
                Column("answer", "it answered"),
                Column("decision", "by its rule that is"),
            ),
            none="None.",
        ),
        Layout(
            name="data",
            title="Data about you that was used",
            standing="recorded",
            columns=(Column("prediction", "for the answer", "id"), Column("name", "name"), Column("value", "value")),
            none="None.",
        ),
        Layout(
            name="factors",
            title="How it counted",
            standing="recorded",
            columns=(
                Column("prediction", "in the answer", "id"),
                Column("factor", "factor"),
                Column("effect", "what it did"),
                Column("added", "added to the score", "number"),
            ),
            none="No answer about you has factors.",
        ),
        Layout(
            name="decisions",
            title="Decisions about you",
            standing="recorded",
            columns=(
                Column("decision", "decision", "id"),
                Column("decided", "on", "time"),
                Column("outcome", "decided"),
                Column("automation", "how"),
                Column("reliance", "what a program's answer counted for"),
                Column("adverse", "adverse to you"),
            ),
            none="None.",
        ),
        Layout(
            name="later",
            title="What turned out later",
            standing="recorded",
            columns=(
                Column("outcome", "record", "id"),
                Column("of", "about the answer", "id"),
                Column("time", "recorded", "time"),
                Column("value", "value"),
            ),
            none="Nothing was recorded.",
        ),
        Layout(
            name="letters",
            title="Notices to you, and what you asked for",
            standing="recorded",
            columns=(
                Column("record", "record", "id"),
                Column("kind", "kind"),
                Column("type", "what"),
                Column("state", "state"),
                Column("at", "at", "time"),
                Column("due", "due", "time"),
                Column("text", "your words, or who was told"),
            ),
            none="None.",
        ),
        Layout(
            name="corrections",
            title="Corrections",
            standing="recorded",
            columns=(
                Column("correction", "record", "id"),
                Column("of", "of the answer", "id"),
                Column("time", "recorded", "time"),
                Column("values", "right values"),
                Column("reason", "because"),
            ),
            none="None.",
        ),
        Layout(
            name="sources",
            title="Where the data came from",
            standing="recorded",
            columns=(
                Column("source", "source"),
                Column("version", "version", "digest"),
                Column("answers", "answers that used it", "count"),
            ),
            none="No source is recorded; the data came with the requests.",
        ),
        Layout(
            name="rows",
            title="Rows about you in data that is kept",
            standing="recorded",
            columns=(
                Column("source", "source"),
                Column("version", "version", "digest"),
                Column("rows", "rows about you", "count"),
            ),
            none="None.",
        ),
        Layout(
            name="values",
            title="What these rows say",
            standing="recorded",
            columns=(
                Column("source", "source"),
                Column("version", "version", "digest"),
                Column("row", "row", "count"),
                Column("name", "name"),
                Column("value", "value"),
            ),
            none="Nothing is shown here.",
        ),
        Layout(
            name="learned",
            title="Programs that learned from rows about you",
            standing="recorded",
            columns=(Column("program", "program and version"),),
            none="None.",
        ),
        Layout(
            name="terms",
            title="How long it is kept",
            standing="recorded",
            columns=(
                Column("rule", "rule"),
                Column("kinds", "is about"),
                Column("floor", "at least"),
                Column("ceiling", "at most"),
                Column("source", "because of"),
            ),
            none="No rule is in force in this archive.",
        ),
        Layout(
            name="more",
            title="What the law wants you to be told besides",
            standing="stated",
            columns=_FACT,
            none="Nothing was added: purposes, recipients, your rights and whom to complain to are not said here.",
        ),
    ),
    limits=(
        "What other systems hold about you.",
        "Records that do not carry your id, such as data about others in which you are named.",
        "Rows of others in tables that your data came from, and backups.",
        "The logic of the programs beyond what counted in each answer.",
    ),
    states=_STATES,
)


def tell(desk: Desk, asked: Asked) -> Content:
    """Tell a person what is held about them.

    Raises:
        InputError: No person is named.
        ForbiddenError: Whom records are about may not be seen.
        NotFoundError: Nothing is held about them.
    """
    if asked.subject is None:
        raise InputError("report: expected a person")
    about = About(subject=lambda: asked.subject)
    survey = _survey(desk, asked.subject, about)
    ids = _ids(desk, survey)
    if not ids and not survey.rows:
        unread = "".join(f"; not looked into: {what}" for what in survey.unreadable)
        raise NotFoundError(
            f"report: the archive holds nothing about this person that is in the log and was not erased{unread}"
        )
    held = tell_rows(desk, survey, about)
    found: dict[str, list[Receipt]] = {}
    for kind, groups in _GROUPS.items():
        names = sorted(ids.get(kind, ()))
        why = STAFF_SEALED if kind in {DECISION.kind, NOTICE.kind, REQUEST.kind} else ""
        proven = desk.prove(kind, names, groups, about=about, why=why, leave_out=True)
        found[kind] = [proven[name] for name in names if name in proven]
    contexts = [desk.context_of(one) for one in found[PREDICTION]]
    answers = list(zip(found[PREDICTION], contexts, strict=True))
    return Content(
        scope={"person": asked.subject},
        summary=_summary(ids, survey),
        systems=_systems(contexts),
        sections={
            "answers": Told(rows=[_answer(*one) for one in answers]),
            "confirmation": Told(rows=list(_counts(ids, survey))),
            "corrections": Told(rows=[_correction(one) for one in found[CORRECTION.kind]]),
            "data": Told(rows=[row for one, _ in answers for row in _data(one)]),
            "decisions": Told(
                rows=[_decision(one) for one in found[DECISION.kind] if value_of(one, "state") != "verified"]
            ),
            "factors": Told(
                rows=[row for one, _ in answers for row in _factors(one)],
                text=list(_unshown_factors([one for one, _ in answers])),
            ),
            "later": Told(rows=[_outcome(one) for one in found[OUTCOME]]),
            "learned": Told(rows=[{"program": name} for name in survey.models]),
            "letters": Told(rows=[_letter(one, kind) for kind in (NOTICE.kind, REQUEST.kind) for one in found[kind]]),
            "more": Told(rows=rights_rows(asked, _STATES)),
            "rows": Told(rows=held.counts),
            "sources": Told(rows=list(_sources(contexts))),
            "terms": Told(rows=list(_terms(desk))),
            "values": Told(rows=held.values),
        },
        completeness=[
            "All records in the log that carry this person's id, of every kind that has one.",
            "All rows of this person in sources that are kept here and say whom a row is about.",
            *(f"Not looked into: {what}." for what in survey.unreadable),
            "Nothing shows that everything about the person was recorded, or under this id.",
        ],
        checked="each record that is listed, against the checkpoint",
        withheld=[*desk.withheld, *held.withheld, *_rows_of_others(contexts)],
    )


def _survey(desk: Desk, subject: str, about: About) -> Survey:
    """Look where a person is, for whoever may know whom records are about: the same look as before an erasure."""
    gate = desk.gate.within(about)
    if not gate.allows(["subject"]):
        gate.pass_through(QUESTION, ["subject"], 1)  # says why not
    return survey_person(desk.ledger, subject)


def _ids(desk: Desk, survey: Survey) -> dict[str, set[str]]:
    """Return the ids of the records about a person by kind."""
    kinds = {at: parse_manifest(desk.ledger.log.entry(at)).kind for at, _ in survey.ids}
    found: dict[str, set[str]] = {}
    for (at, _), name in survey.ids.items():
        found.setdefault(kinds[at], set()).add(id_text(name))
    return found


def _summary(ids: Mapping[str, Collection[str]], survey: Survey) -> list[str]:
    answers, decisions = (len(ids.get(kind, ())) for kind in (PREDICTION, DECISION.kind))
    given = count_text(answers, "answer")
    made = count_text(decisions, "record") + " of decisions about you" if decisions else "no decision about you"
    lines = [
        f"Yes: this archive holds data about you. Programs gave {given} about you; there is {made}."
        if decisions < _MANY
        else f"Yes: this archive holds data about you. Programs gave {given} about you; there are {made}.",
    ]
    if survey.rows:
        rows, models = sum(map(len, survey.rows.values())), len(survey.models)
        learned = f"; {count_text(models, 'version')} of programs learned from them" if models else ""
        lines.append(f"Data that is kept has {count_text(rows, 'row')} about you{learned}.")
    return [*lines, "What was used for each answer, what it counted and what was decided stands below."]


def _counts(ids: Mapping[str, Collection[str]], survey: Survey) -> Iterator[dict[str, Cell]]:
    for kind in _GROUPS:
        yield {"value": f"{len(ids.get(kind, ())):,}", "what": f"records of kind {kind}"}
    for kind in sorted(ids.keys() - _GROUPS.keys()):
        yield {"value": f"{len(ids[kind]):,}", "what": f"records of kind {kind}, which are not copied here"}
    yield {"value": f"{sum(map(len, survey.rows.values())):,}", "what": "rows of sources"}
    yield {"value": f"{len(survey.models):,}", "what": "versions of programs that learned from rows about you"}


def _systems(contexts: list[JsonObject]) -> list[tuple[str, str, str]]:
    named = [context.get("model") for context in contexts]
    models = {(str(m["name"]), str(m["version"]), str(m["digest"])) for m in named if isinstance(m, dict)}
    return sorted(models)


def _answer(one: Receipt, context: JsonObject) -> dict[str, Cell]:
    model = context.get("model")
    outputs = columns_of(one, "output")
    answer: Cell = quote(one, "output")
    if outputs:
        answer = ", ".join(f"{label(name)} {_shown(one, column)}" for name, column in outputs.items())
    return {
        "answer": answer,
        "decision": quote(one, "decision"),
        "prediction": one.id,
        "program": f"{model['name']} version {model['version']}" if isinstance(model, dict) else None,
        "time": quote_time(one),
    }


def _shown(one: Receipt, column: str) -> str:
    value = value_of(one, column)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _data(one: Receipt) -> Iterator[dict[str, Cell]]:
    for name, column in columns_of(one, "feature").items():
        yield {"name": name.replace("\\.", "."), "prediction": one.id, "value": quote(one, column)}


def _factors(one: Receipt) -> Iterator[dict[str, Cell]]:
    for name, column in columns_of(one, "attribution").items():
        added = value_of(one, column)
        if isinstance(added, float):
            effect = "raised the score" if added > 0 else "lowered the score" if added < 0 else "nothing"
            factor = name.replace("\\.", ".")
            yield {"added": quote(one, column), "effect": effect, "factor": factor, "prediction": one.id}


def _unshown_factors(answers: Sequence[Receipt]) -> Iterator[str]:
    """Say of how many answers it is not shown what each factor added, and why."""
    reasons = [unseen(one, "attribution") for one in answers if not columns_of(one, "attribution")]
    for reason, said in (
        ("withheld", "What each factor added was recorded with {}, and is withheld here; see what is not shown."),
        ("erased", "What each factor added was recorded with {}, and was erased."),
        (None, "What each factor added was not recorded with {}; ask for an explanation."),
    ):
        if reason in reasons:
            yield said.format(count_text(reasons.count(reason), "answer"))


def _decision(one: Receipt) -> dict[str, Cell]:
    automation, reliance = str(value_of(one, "automation")), str(value_of(one, "reliance"))
    return {
        "adverse": quote(one, "adverse"),
        "automation": AUTOMATION.get(automation, automation),
        "decided": quote_time(one, "decided"),
        "decision": one.id,
        "outcome": quote(one, "outcome"),
        "reliance": RELIANCE.get(reliance, reliance),
    }


def _outcome(one: Receipt) -> dict[str, Cell]:
    return {"of": _linked(one, "of"), "outcome": one.id, "time": quote_time(one), "value": quote(one, "value")}


def _letter(one: Receipt, kind: str) -> dict[str, Cell]:
    return {
        "at": quote_time(one, "at"),
        "due": quote_time(one, "due"),
        "kind": kind,
        "record": one.id,
        "state": quote(one, "state"),
        "text": quote(one, "text") if value_of(one, "text") is not None else quote(one, "recipient"),
        "type": quote(one, "type"),
    }


def _correction(one: Receipt) -> dict[str, Cell]:
    return {
        "correction": one.id,
        "of": _linked(one, "of"),
        "reason": quote(one, "reason"),
        "time": quote_time(one),
        "values": quote(one, "values"),
    }


def _linked(one: Receipt, column: str) -> str | None:
    value = value_of(one, column)
    return id_text(value) if isinstance(value, bytes) else None


def _sources(contexts: list[JsonObject]) -> Iterator[dict[str, Cell]]:
    counts: dict[tuple[str, str | None], int] = {}
    for context in contexts:
        for name, version in _references(context):
            counts[name, version] = counts.get((name, version), 0) + 1
    for (name, version), count in sorted(counts.items(), key=str):
        yield {"answers": str(count), "source": name, "version": version}


def _references(context: JsonObject) -> Iterator[tuple[str, str | None]]:
    refs = context.get("refs")
    for name, ref in refs.items() if isinstance(refs, dict) else ():
        parts = ref.get("parts") if isinstance(ref, dict) else None
        for part in parts if isinstance(parts, list) else [{}]:
            dataset = part.get("dataset") if isinstance(part, dict) else None
            yield name, dataset if isinstance(dataset, str) else None


def _rows_of_others(contexts: list[JsonObject]) -> Iterator[Withheld]:
    """Say that groups of rows, in which others are too, are not shown."""
    groups = set()
    for context in contexts:
        refs = context.get("refs")
        groups |= {
            name
            for name, ref in (refs.items() if isinstance(refs, dict) else ())
            if isinstance(ref, dict) and "group" in ref
        }
    for name in sorted(groups):
        yield Withheld(what=f"rows of {name}", group="row", class_="D3", reason=_OTHERS)


def _terms(desk: Desk) -> Iterator[dict[str, Cell]]:
    for rule in rules_in_force(desk.ledger):
        yield {
            "ceiling": None if rule.ceiling is None else str(rule.ceiling),
            "floor": None if rule.floor is None else str(rule.floor),
            "kinds": f"{rule.part} of {', '.join(sorted(rule.kinds))}",
            "rule": rule.name,
            "source": rule.source,
        }


KIND = Kind(layouts=LAYOUTS, asks=frozenset({"subject"}), tell=tell)
