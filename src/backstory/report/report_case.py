"""One case as reports about a person tell it: a prediction, what was decided with it, what was scored and used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from backstory.debug.explanation import AT_DECISION, Contribution, Explanation, explain_prediction
from backstory.debug.explanation_plan import Explain
from backstory.errors import BackstoryError, ForbiddenError, NotFoundError
from backstory.governance.decision_read import OUTCOME, STAFF_GROUP, Decision, find_decision, find_decisions
from backstory.governance.facts import LINKS
from backstory.governance.notice import find_notices
from backstory.lineage.plain import count_text, label, named, shown
from backstory.lineage.registry import find_version
from backstory.lineage.showing import about_record
from backstory.lineage.story import Story
from backstory.lineage.why import tell_story
from backstory.records import canonical
from backstory.records.access import About
from backstory.records.decision import DECISION
from backstory.records.envelope import PREDICTION
from backstory.records.notice import NOTICE
from backstory.records.schema import escape_name
from backstory.report.report import Cell, Column, Layout
from backstory.report.report_desk import QUESTION, Asked, Desk, quote, quote_time, require
from backstory.verify.receipt import Receipt

OF_PREDICTION: Final = ("features", "output", "subject")
"""Sealed groups of a prediction that a report about it opens."""

OF_DECISION: Final = ("subject", "outcome")
"""Those of a decision; who decided and free text of staff stay sealed in its receipt."""

OF_NOTICE: Final = ("subject",)

STAFF_SEALED: Final = "who decided and words of staff are shown as far as they belong here, and not opened in the proof"

AUTOMATION: Final = {
    "human-approved": "a program decided, and a person let it pass",
    "human-decided": "a person decided, with the answer of a model before them",
    "solely-automated": "a program decided alone; no person took part",
}
RELIANCE: Final = {
    "disregarded": "it was not relied on",
    "one-of-several": "it was one thing among several that counted",
    "principal": "it was the main thing that counted",
    "sole": "nothing else counted",
}
ACTION: Final = {
    "accepted": "what the model said was followed",
    "disregarded": "what the model said was left out of account",
    "escalated": "the case was passed on",
    "modified": "what the model said was changed",
    "overrode": "the opposite of what the model said was decided",
    "reversed": "an earlier decision was reversed",
    "stopped": "the program was stopped",
}
GRADES: Final = {
    "broken": "not known which row",
    "coarse": "some row of these",
    "declared": "as was declared",
    "exact": "exactly this row",
    "probed": "as far as a test showed",
}

FACTORS = Layout(
    name="factors",
    title="What counted, and which way",
    standing="computed",
    columns=(
        Column("factor", "factor"),
        Column("value", "value"),
        Column("effect", "what it did"),
        Column("added", "added to the score", "number"),
        Column("part", "part of all that moved it, %", "number"),
    ),
    none="What each factor added is not known.",
)
NOTICES = Layout(
    name="notices",
    title="What the person was told, and when",
    standing="recorded",
    columns=(
        Column("notice", "notice", "id"),
        Column("type", "kind"),
        Column("state", "state"),
        Column("issued", "issued", "time"),
        Column("due", "due", "time"),
        Column("sent", "sent or delivered", "time"),
        Column("channel", "by"),
        Column("ground", "ground"),
    ),
    none="No notice about this is recorded.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A prediction and what was decided with it.

    Attributes:
        receipt: What is proven of the prediction.
        about: What decides who may see it, and what is about it.
        story: Its backstory.
        decision: The decision; None where none is recorded, or none may be seen.
        decided: What is proven of the decision.
        explained: What each feature added; None where that cannot be said.
        unexplained: Why not.
    """

    receipt: Receipt
    about: About
    story: Story
    decision: Decision | None
    decided: Receipt | None
    explained: Explanation | None
    unexplained: str

    @property
    def score(self) -> dict[str, Cell]:
        """What the model answered: by column of the record its value."""
        names = [name for name in _columns(self.receipt) if name == "output" or name.startswith("output.")]
        return {name.removeprefix("output.") if "." in name else "answer": quote(self.receipt, name) for name in names}

    @property
    def model(self) -> str:
        """The model, as people name it."""
        named_ = self.story.model
        return "no registered model" if named_ is None else f"{named_.get('name')} version {named_.get('version')}"


def find_case(desk: Desk, asked: Asked) -> Case:
    """Find a prediction and the decision made with it, prove both, and say what counted.

    Raises:
        InputError: Not one of a prediction and a decision.
        NotFoundError: There is none, it is not in the log yet, or what leads from the decision to it was erased.
        ForbiddenError: What the decision was made with is sealed.
    """
    require(asked, "prediction", "decision")
    decision = _decision_of(desk, asked)
    if asked.prediction is None and (decision is None or not decision.predictions):
        if decision is not None and decision.erased:
            raise NotFoundError("report: whom the decision is about was erased, and with them what it was made with")
        raise ForbiddenError("report: what the decision was made with is sealed; give the prediction")
    found = desk.find(asked.prediction or (decision.predictions[0] if decision else ""))
    if found.place is None:
        raise NotFoundError("report: the prediction is not in the log yet; `backstory seal` does it")
    about = about_record(desk.ledger, found)
    receipt = desk.prove(PREDICTION, [found.id], OF_PREDICTION, about=about)[found.id]
    decided = None
    if decision is not None and decision.entry is not None:
        decided = desk.prove(DECISION.kind, [decision.id], OF_DECISION, about=about, why=STAFF_SEALED)[decision.id]
    explained, unexplained = None, ""
    try:
        explained = explain_prediction(desk.shop(), found, Explain(), anew=False)
    except BackstoryError as error:
        unexplained = f"It cannot be said what each factor added: {error}."
    return Case(
        receipt=receipt,
        about=about,
        story=tell_story(desk.ledger, desk.tracer, desk.gate, found),
        decision=decision,
        decided=decided,
        explained=explained,
        unexplained=unexplained,
    )


def _decision_of(desk: Desk, asked: Asked) -> Decision | None:
    groups = (LINKS, OUTCOME, STAFF_GROUP)
    if asked.decision is not None:
        return find_decision(desk.ledger, desk.gate, QUESTION, asked.decision, groups=groups)
    if not desk.gate.allows([LINKS]):
        return None
    whole = desk.find(asked.prediction or "").id
    found = find_decisions(desk.ledger, desk.gate, QUESTION, predictions=[whole], groups=groups)
    return max(found, key=lambda one: (one.stands, one.is_final, one.id), default=None)


def system_of(story: Story) -> list[tuple[str, str, str]]:
    """Return the model version of a prediction as a report lists it."""
    model = story.model
    return [] if model is None else [tuple(str(model[name]) for name in ("name", "version", "digest"))]  # type: ignore[list-item]


def decision_rows(case: Case) -> Iterator[dict[str, Cell]]:
    """Yield what is recorded of a decision, a label and a value each."""
    one, receipt = case.decision, case.decided
    if one is None:
        return

    def said(label_: str, column: str, words: Mapping[str, str] | None = None) -> dict[str, Cell]:
        plain: Cell = None if receipt is None else quote(receipt, column)
        value = str(getattr(one, column) or "")
        return {"what": label_, "value": words.get(value, value) if words else plain or value or None}

    yield said("decided", "outcome")
    yield {"what": "on", "value": one.decided.isoformat().replace("+00:00", "Z")}
    yield said("how", "automation", AUTOMATION)
    yield said("what the model's answer counted for", "reliance", RELIANCE)
    yield said("what was done with it", "action", ACTION)
    if one.ground is not None:
        yield said("because of", "ground")
    yield {"what": "adverse to the person", "value": "yes" if one.adverse else "no"}
    yield {"what": "decided by, as", "value": one.role or _kept_back(one)}
    yield {"what": "with the authority of", "value": one.authority or _kept_back(one)}
    confirmed = sum(verdict.verdict == "confirmed" for verdict in one.verifications)
    yield {"what": "confirmed by others", "value": count_text(confirmed, "person", "people") if confirmed else "nobody"}
    state = "it stands" if one.stands else "it was reversed later" if one.reversed_by else "it is a draft"
    yield {"what": "does it stand?", "value": state}
    yield {"what": "domain", "value": one.domain}
    yield {"what": "id of the decision", "value": one.id}


def _kept_back(one: Decision) -> str:
    return "sealed" if STAFF_GROUP in one.sealed else "not recorded"


def factor_rows(case: Case) -> list[dict[str, Cell]]:
    """Return what each factor added, largest first, with a quote of each value that is proven."""
    found = case.explained
    if found is None:
        return []
    whole = sum(abs(one.added) for one in found.contributions) or 1.0
    return [
        {
            "added": _added(case, one, found),
            "effect": "raised the score" if one.added > 0 else "lowered the score" if one.added < 0 else "nothing",
            "factor": ", ".join(map(label, one.columns)),
            "part": repr(round(100 * abs(one.added) / whole, 1)),
            "value": _value(case, one),
        }
        for one in found.contributions
    ]


def factors_text(case: Case) -> list[str]:
    """Say how the factors were found, and what they do not say."""
    found = case.explained
    if found is None:
        return [case.unexplained]
    when = "when the answer was given" if found.computed == AT_DECISION else "afterwards, by running the model again"
    return [
        (
            f"Computed {when}, by method {found.method}. The score starts at {found.base:.6g}, before any factor "
            f"counts; what the factors added leads to {found.total:.6g}, in units of the {found.units}."
        ),
        "They say what the model's arithmetic did with these values. They name no causes in the world.",
    ]


def main_factors(case: Case, count: int = 3) -> str:
    """Say which factors counted most, in words."""
    rows = [row for row in factor_rows(case) if row["effect"] != "nothing"][:count]
    return ", ".join(f"{row['factor']} ({row['effect']})" for row in rows)


def _added(case: Case, one: Contribution, found: Explanation) -> Cell:
    """Return what a factor added: quoted where the record itself has it."""
    if found.computed == AT_DECISION:
        cell = quote(case.receipt, f"attribution.{escape_name(one.feature)}")
        if cell is not None and cell.text is not None:
            return cell
    return repr(one.added)


def _value(case: Case, one: Contribution) -> Cell:
    if len(one.columns) == 1:
        cell = quote(case.receipt, f"feature.{escape_name(one.columns[0])}")
        if cell is not None:
            return cell
    return ", ".join(shown(value) for value in one.values.values())


def data_rows(story: Story) -> list[dict[str, Cell]]:
    """Return the rows of sources that a prediction was made from."""
    return [
        {
            "features": ", ".join(map(label, row.features)) or None,
            "grade": GRADES.get(row.grade, row.grade),
            "row": named(row.key or row.values) or row.state if row.state in {"row", "sealed"} else row.state,
            "source": row.reference,
            "version": row.digest or None,
        }
        for row in story.rows
    ]


def notice_rows(desk: Desk, case: Case) -> list[dict[str, Cell]]:
    """Return the notices about a decision, each proven."""
    decision = case.decision
    if decision is None or not desk.gate.allows([LINKS]):
        return []
    found = find_notices(desk.ledger, desk.gate, QUESTION, decisions=[decision.id], groups=(LINKS,))
    sealed = [one for one in found if one.entry is not None]
    proven = desk.prove(NOTICE.kind, [one.id for one in sealed], OF_NOTICE, about=case.about, why=STAFF_SEALED)
    return [
        {
            "channel": quote(proven[one.id], "channel"),
            "due": quote(proven[one.id], "due") if one.due is None else quote_time(proven[one.id], "due"),
            "ground": quote(proven[one.id], "ground"),
            "issued": quote_time(proven[one.id], "at"),
            "notice": one.id,
            "sent": None if one.sent is None else f"{one.sent:%Y-%m-%dT%H:%M:%S}.{one.sent.microsecond:06}000Z",
            "state": one.state,
            "type": quote(proven[one.id], "type"),
        }
        for one in sealed
    ]


def rule_text(story: Story) -> str:
    """Say which rule made a decision of the model's answer."""
    hidden = [one.reason for one in story.redacted if one.field == "context"]
    if hidden:
        return f"not shown: {hidden[0]}"
    rule = story.context.get("decision")
    if not isinstance(rule, dict):
        return "no rule of the program"
    column = rule.get("column")
    return f"yes where {'the score' if column is None else f'{column}'} is {rule.get('value')} or more"


def why_chosen(desk: Desk, story: Story) -> str | None:
    """Return why the model version was chosen, where somebody said so and it may be seen; the entry is then cited."""
    if story.model is None or not desk.has_business:
        return None
    digest = str(story.model["digest"])
    name = find_version(desk.ledger, digest).name
    for index, entry in reversed(desk.ledger.numbered_entries("choice.justified", name)):
        if entry.get("of") == digest:
            desk.cite(index)
            desk.documents.add(canonical.text_of(entry, "document"))
            return canonical.text_of(desk.ledger.document(canonical.text_of(entry, "document")), "text")
    return None


def _columns(receipt: Receipt) -> list[str]:
    return [name for values in (receipt.values, *receipt.opened.values()) for name in values]
