"""The adverse-action pack: the reasons that were given, each shown to be among what was scored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from backstory.debug.explanation import scored_of
from backstory.errors import InputError
from backstory.lineage.plain import count_text, label
from backstory.lineage.reason_map import ReasonMap, find_reasons
from backstory.lineage.reasons import DISCLOSED, Adverse, Given, reasons_of
from backstory.records import canonical
from backstory.report.report import Cell, Column, Content, Layout, Layouts, Supports, Told
from backstory.report.report_case import (
    FACTORS,
    NOTICES,
    Case,
    decision_rows,
    factor_rows,
    factors_text,
    find_case,
    notice_rows,
    rule_text,
    system_of,
)
from backstory.report.report_desk import Asked, Desk, quote
from backstory.report.report_explanation import rights_rows
from backstory.report.report_make import Kind

_FACT = (Column("what", "what"), Column("value", ""))
_COUNT = 4
_STATES = {
    "creditor": "who took the action, with address",
    "notice": "the notice that the law wants, such as the ECOA notice",
    "bureau": "the agency whose report was used, and that it took no part in the decision",
    "score_range": "between which values scores lie",
    "score_provider": "who provided the score",
    "contact": "whom to ask",
}

LAYOUTS = Layouts(
    kind="adverse-action",
    code="RPT-03",
    title="Adverse action: the reasons, and what was scored",
    about="The principal reasons for an adverse action, each beside the factors of the score it stands for.",
    readers="for the applicant, and for an examiner",
    supports=(
        Supports(article="Regulation B, 12 CFR 1002.9(a) and (b)", serves="specific principal reasons, as were scored"),
        Supports(article="FCRA, section 615(a)", serves="the score, its date, the key factors"),
        Supports(article="CFPB Circular 2022-03 (withdrawn) and 2023-03", serves="that reasons are of this case"),
        Supports(article="Colorado SB 26-189", serves="disclosure of an adverse outcome"),
    ),
    sections=(
        Layout(
            name="action",
            title="The action",
            standing="recorded",
            columns=_FACT,
            none="No decision of a person, or of a program that uses the score, is recorded, or none may be seen here.",
        ),
        Layout(
            name="reasons",
            title="The principal reasons",
            standing="computed",
            columns=(
                Column("code", "code"),
                Column("text", "reason"),
                Column("features", "factors it stands for that moved the score against the applicant"),
                Column("added", "added to the score", "number"),
                Column("scored", "among what was scored"),
            ),
            none="No reason was given, and none is computed.",
        ),
        FACTORS,
        Layout(name="score", title="The score", standing="recorded", columns=_FACT),
        Layout(
            name="versions",
            title="What was used, in which version",
            standing="recorded",
            columns=(
                Column("what", "what"),
                Column("name", "name"),
                Column("version", "version", "count"),
                Column("digest", "digest", "digest"),
                Column("entry", "entry", "count"),
            ),
        ),
        Layout(
            name="disclosed",
            title="What was disclosed, and when",
            standing="recorded",
            columns=(
                Column("entry", "entry", "count"),
                Column("time", "time", "time"),
                Column("map", "reason map"),
                Column("adverse", "adverse side"),
                Column("computed", "reasons computed"),
                Column("method", "by method"),
            ),
            none="No disclosure of reasons is recorded.",
        ),
        NOTICES,
        Layout(
            name="statements",
            title="What the creditor adds",
            standing="stated",
            columns=_FACT,
            none="Nothing was added: who took the action, and the notices that the law wants, are not here.",
        ),
    ),
    limits=(
        "Whether the reasons are understandable, or the action lawful.",
        "Reasons that have no part in the score, such as an incomplete application, unless a decision names them.",
        "Whether the words of a reason say what its factors mean: who defined the reason map said so.",
        "A report of a consumer reporting agency that was used, but for what is stated.",
    ),
    states=_STATES,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reasons:
    """The reasons of a case.

    Attributes:
        known: The reason map.
        codes: Codes that were given, or that apply where none were.
        applying: All that apply, by code.
        given: Where the codes are from.
        adverse: The adverse side of the score.
    """

    known: ReasonMap
    codes: tuple[str, ...]
    applying: dict[str, Given]
    given: str
    adverse: str

    @property
    def unscored(self) -> tuple[str, ...]:
        """Codes that were given and are not among what was scored."""
        return tuple(code for code in self.codes if code not in self.applying)


def tell(desk: Desk, asked: Asked) -> Content:
    """Put the reasons of an adverse action beside what was scored.

    Raises:
        InputError: No reason map is known.
    """
    case = find_case(desk, asked)
    disclosed = _disclosed(desk, case)
    reasons = _reasons_of(desk, asked, case, disclosed)
    return Content(
        scope={"prediction": case.receipt.id} | ({"decision": case.decision.id} if case.decision else {}),
        summary=_summary(case, reasons),
        systems=system_of(case.story),
        sections={
            "action": Told(rows=list(decision_rows(case))),
            "disclosed": Told(rows=disclosed),
            "factors": Told(rows=factor_rows(case), text=factors_text(case)),
            "notices": Told(rows=notice_rows(desk, case)),
            "reasons": Told(rows=list(_reason_rows(reasons)), text=_reasons_text(reasons)),
            "score": Told(rows=list(_score_rows(asked, case))),
            "statements": Told(rows=rights_rows(asked, _STATES)),
            "versions": Told(rows=list(_version_rows(desk, case, reasons))),
        },
        completeness=["These are the records about this one case, as far as they lead to each other."],
        checked="each record and entry that is cited, against the checkpoint; each reason, against what was scored",
        withheld=desk.withheld,
    )


def _disclosed(desk: Desk, case: Case) -> list[dict[str, Cell]]:
    rows: list[dict[str, Cell]] = []
    for at, entry in desk.ledger.numbered_entries(DISCLOSED):
        if entry.get("prediction") == case.receipt.id:
            desk.cite(at)
            rows.append(
                {
                    "adverse": desk.cited(at, "adverse"),
                    "computed": desk.cited(at, "computed"),
                    "entry": str(at),
                    "map": f"{entry['name']}:{entry['version']}",
                    "method": desk.cited(at, "method"),
                    "time": desk.cited(at, "time"),
                }
            )
    return rows


def _reasons_of(desk: Desk, asked: Asked, case: Case, disclosed: list[dict[str, Cell]]) -> _Reasons:
    decision = case.decision
    name = asked.map or (decision.map if decision else None) or (str(disclosed[-1]["map"]) if disclosed else None)
    if name is None:
        raise InputError(
            "report adverse-action: expected a reason map; neither the decision nor a disclosure names one"
        )
    known = find_reasons(desk.ledger, name)
    adverse = asked.adverse or _adverse_of(desk, case, disclosed)
    codes: tuple[str, ...] = decision.reasons if decision else ()
    given = "as the decision gives them"
    if not codes and disclosed:
        codes, given = _codes_in(desk, int(str(disclosed[-1]["entry"]))), "as they were disclosed"
    applying: dict[str, Given] = {}
    if case.explained is not None:
        side: Adverse = "low" if adverse == "low" else "high"
        found = reasons_of(scored_of(case.explained), known, None, side)
        applying = {one.code: one for one in found.codes}
    if not codes:
        codes, given = tuple(applying)[:_COUNT], "computed now; none is recorded as given"
    return _Reasons(known=known, codes=codes, applying=applying, given=given, adverse=adverse)


def _adverse_of(desk: Desk, case: Case, disclosed: list[dict[str, Cell]]) -> str:
    """Return the adverse side: what the decision's domain says, else what was disclosed."""
    if case.decision is not None and case.decision.domain_entry is not None:
        entry = desk.cite(case.decision.domain_entry)
        return canonical.text_of(desk.ledger.document(canonical.text_of(entry, "document")), "adverse")
    if disclosed:
        return canonical.text_of(desk.ledger.log.entry(int(str(disclosed[-1]["entry"]))), "adverse")
    return "high"


def _codes_in(desk: Desk, index: int) -> tuple[str, ...]:
    entry = desk.ledger.log.entry(index)
    codes = entry.get("codes")
    if not isinstance(codes, list):
        text = desk.text_behind(entry.get("sealed_codes"), "sealed_codes", "D3")
        codes = [] if text is None else canonical.parse_object(text.encode(), "codes").get("codes")
    return tuple(map(str, codes)) if isinstance(codes, list) else ()


def _summary(case: Case, reasons: _Reasons) -> list[str]:
    one = case.decision
    decided = f"On {one.decided:%Y-%m-%d} was decided: {one.outcome}." if one is not None and one.outcome else ""
    count = count_text(len(reasons.codes), "reason")
    if case.explained is None:
        shown = f"{count}; what was scored cannot be told, so nothing shows that the reasons are among it."
    elif reasons.unscored:
        shown = (
            f"{count}, of which {', '.join(reasons.unscored)} IS NOT among what moved the score against the applicant."
        )
    else:
        shown = f"{count}; each stands for factors that were scored and moved the score against the applicant."
    return [decided, shown] if decided else [shown]


def _reasons_text(reasons: _Reasons) -> list[str]:
    known = f"{reasons.known.name}:{reasons.known.version}"
    return [f"By the reason map {known}, {reasons.given}. The adverse side of the score is the {reasons.adverse} one."]


def _reason_rows(reasons: _Reasons) -> Iterator[dict[str, Cell]]:
    texts = {one.code: one.text for one in reasons.known.reasons}
    for code in reasons.codes:
        found = reasons.applying.get(code)
        moved = {} if found is None else found.features
        yield {
            "added": None if found is None else repr(found.added),
            "code": code,
            "features": ", ".join(f"{label(name)} ({added:+.4g})" for name, added in moved.items()) or None,
            "scored": "NO" if found is None else "yes",
            "text": texts.get(code, "not in the map"),
        }


def _score_rows(asked: Asked, case: Case) -> Iterator[dict[str, Cell]]:
    for name, cell in case.score.items():
        yield {"what": "score" if name == "answer" else f"score for {name}", "value": cell}
    yield {"what": "made on", "value": case.story.time}
    yield {"what": "by its rule that is", "value": quote(case.receipt, "decision")}
    for name in ("score_range", "score_provider"):
        yield {"what": f"{_STATES[name]} (stated)", "value": asked.states.get(name)}


def _version_rows(desk: Desk, case: Case, reasons: _Reasons) -> Iterator[dict[str, Cell]]:
    for name, version, digest in system_of(case.story):
        for at, entry in desk.ledger.numbered_entries("model.registered", name):
            if entry.get("model") == digest:
                desk.cite(at)
                yield {"digest": digest, "entry": str(at), "name": name, "version": version, "what": "model"}
                break
    yield {"name": rule_text(case.story), "what": "threshold"}
    known = reasons.known
    for at, entry in desk.ledger.numbered_entries("reasons.defined", known.name):
        if entry.get("reasons") == known.digest:
            desk.cite(at)
            version = str(known.version)
            yield {
                "digest": known.digest, "entry": str(at), "name": known.name, "version": version, "what": "reason map",
            }  # fmt: skip
            break


KIND = Kind(layouts=LAYOUTS, asks=frozenset({"prediction", "decision", "map", "adverse"}), tell=tell)
