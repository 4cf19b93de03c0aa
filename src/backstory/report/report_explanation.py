"""The explanation of an individual decision, for the person it is about."""

from __future__ import annotations

from collections.abc import Iterator

from backstory.debug.counterfactual import search_counterfactuals
from backstory.errors import BackstoryError
from backstory.lineage.plain import count_text, label, shown
from backstory.report.report import Cell, Column, Content, Layout, Layouts, Supports, Told
from backstory.report.report_case import (
    FACTORS,
    NOTICES,
    Case,
    data_rows,
    decision_rows,
    factor_rows,
    factors_text,
    find_case,
    main_factors,
    notice_rows,
    rule_text,
    system_of,
    why_chosen,
)
from backstory.report.report_desk import Asked, Desk, quote, unseen
from backstory.report.report_make import Kind

_FACT = (Column("what", "what"), Column("value", ""))
_STATES = {
    "contest": "how to contest the decision, and to be heard",
    "correct": "how to have wrong data corrected",
    "review": "how to get a person to look at it again",
    "complaint": "with whom a complaint can be lodged",
    "contact": "whom to ask",
    "use": "what the model is meant for",
}
_STEPS, _BUDGET, _COUNT = 16, 20_000, 3

LAYOUTS = Layouts(
    kind="individual-explanation",
    code="RPT-01",
    title="Explanation of a decision about you",
    about="What was decided, what a program had to do with it, and what counted.",
    readers="for the person it is about",
    supports=(
        Supports(article="EU AI Act, article 86", serves="the role of the system, the main elements of the decision"),
        Supports(article="GDPR, articles 15(1)(h) and 22(3)", serves="the logic involved; human intervention, contest"),
        Supports(article="UK GDPR, article 22C", serves="information about a significant decision"),
        Supports(article="Colorado SB 26-189", serves="what the program contributed to an adverse outcome"),
        Supports(article="California CPPA, § 7222", serves="how personal data led to the output, and its use"),
    ),
    sections=(
        Layout(
            name="decision",
            title="What was decided",
            standing="recorded",
            columns=_FACT,
            none="No decision of a person or a program that uses the answer is recorded, or none may be seen here.",
        ),
        Layout(name="model", title="What the program did", standing="recorded", columns=_FACT),
        FACTORS,
        Layout(
            name="data",
            title="Which data was used, and where it came from",
            standing="recorded",
            columns=(
                Column("source", "source"),
                Column("row", "row"),
                Column("grade", "how sure"),
                Column("features", "used for"),
                Column("version", "version of the source", "digest"),
            ),
            none="No rows of sources are recorded; the data came with the request.",
        ),
        Layout(
            name="otherwise",
            title="What would have changed the answer",
            standing="computed",
            columns=(
                Column("changes", "if this had been different"),
                Column("answer", "the program would have answered"),
            ),
            none="Nobody asked for a search.",
        ),
        NOTICES,
        Layout(
            name="rights",
            title="What you can do",
            standing="stated",
            columns=_FACT,
            none="Nobody added how to contest it. Ask whoever gave you this.",
        ),
    ),
    limits=(
        "Whether the decision is right, fair or lawful.",
        "What was not recorded, such as talks, and what people thought.",
        "Other programs and people who may have had a part in it and are not recorded here.",
        "The model's own workings beyond what is told here.",
    ),
    states=_STATES,
)


def tell(desk: Desk, asked: Asked) -> Content:
    """Explain a decision."""
    case = find_case(desk, asked)
    return Content(
        scope={"prediction": case.receipt.id} | ({"decision": case.decision.id} if case.decision else {}),
        summary=_summary(case),
        systems=system_of(case.story),
        sections={
            "data": Told(rows=data_rows(case.story)),
            "decision": Told(rows=list(decision_rows(case))),
            "factors": Told(rows=factor_rows(case), text=factors_text(case)),
            "model": Told(rows=list(_model_rows(desk, asked, case))),
            "notices": Told(rows=notice_rows(desk, case)),
            "otherwise": _otherwise(desk, asked, case),
            "rights": Told(rows=rights_rows(asked, _STATES)),
        },
        completeness=[
            "These are the records about this one case, as far as they lead to each other.",
            "Nothing shows that everything about it was recorded.",
        ],
        checked="each record and entry that is cited, against the checkpoint",
        withheld=desk.withheld,
    )


def rights_rows(asked: Asked, states: dict[str, str]) -> list[dict[str, Cell]]:
    """Return what whoever asks stated, in the order in which a report names it."""
    return [{"what": label_, "value": asked.states[name]} for name, label_ in states.items() if name in asked.states]


def _summary(case: Case) -> list[str]:
    one = case.decision
    lines = [f"On {case.story.time[:10]} the program {case.model} answered: {_answer(case)}."]
    if one is not None:
        decided = f": {one.outcome}" if one.outcome is not None else ""
        people = {
            "human-approved": "a person let it pass",
            "human-decided": "a person decided",
            "solely-automated": "no person took part",
        }.get(one.automation, "")
        lines.append(f"On {one.decided:%Y-%m-%d} a decision was made{decided}; {people}.")
    factors = main_factors(case)
    if factors:
        lines.append(f"What counted most in the answer: {factors}.")
    else:
        lines.append(
            {
                "erased": "What counted most was recorded with the answer, and was erased.",
                "withheld": "What counted most was recorded with the answer, and is withheld here.",
                None: "What counted most is not known.",
            }[unseen(case.receipt, "attribution")]
        )
    return lines


def _answer(case: Case) -> str:
    if case.story.output is None and case.receipt.sealed:
        return "erased" if case.receipt.erased else "sealed"
    output = case.story.output
    values = output.items() if isinstance(output, dict) else [("", output)]
    return ", ".join(
        f"{f'{value:.4g}' if isinstance(value, float) else shown(value)}{name and f' for {name}'}"
        for name, value in values
    )


def _model_rows(desk: Desk, asked: Asked, case: Case) -> Iterator[dict[str, Cell]]:
    story = case.story
    yield {"what": "program", "value": case.model}
    if "use" in asked.states:
        yield {"what": "meant for (stated, not proven)", "value": asked.states["use"]}
    chosen = why_chosen(desk, story)
    if chosen is not None:
        yield {"what": "why this version was chosen", "value": chosen}
    yield {"what": "asked on", "value": story.time}
    for name, cell in case.score.items():
        yield {"what": "it answered" if name == "answer" else f"it answered for {name}", "value": cell}
    decided = quote(case.receipt, "decision")
    if decided is not None:
        yield {"what": "by its rule that is", "value": decided}
    yield {"what": "its rule", "value": rule_text(story)}
    if story.served is not None:
        yield {"what": "in use then", "value": story.served.where}
        yield {"what": "approved then", "value": story.served.judged}
    if story.flags:
        yield {"what": "what was unusual in the data", "value": ", ".join(story.flags)}


def _otherwise(desk: Desk, asked: Asked, case: Case) -> Told:
    if not asked.change or asked.target is None:
        return Told()
    try:
        found = search_counterfactuals(
            desk.shop(), desk.find(case.receipt.id), target=asked.target, change=list(asked.change), bounds={},
            steps=_STEPS, budget=_BUDGET, count=_COUNT, seed=0,
        )  # fmt: skip
    except BackstoryError as error:
        return Told(text=[f"The search could not be made: {error}."])
    tried = count_text(found.evaluations, "combination")
    names = ", ".join(map(label, found.change))
    text = f"Wanted: {found.target}. {tried} of values of {names} were tried; all else stayed as it was."
    return Told(
        text=[text, *([] if found.found else ["None of them changed the answer so."])],
        rows=[
            {
                "answer": shown(one.output),
                "changes": "; ".join(f"{label(n)}: {shown(a)} → {shown(b)}" for n, (a, b) in one.changes.items()),
            }
            for one in found.found
        ],
    )


KIND = Kind(layouts=LAYOUTS, asks=frozenset({"prediction", "decision", "change", "target"}), tell=tell)
