"""Why rows are not there, laid out: what became of them for each model, the steps that dropped them, the first rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from backstory.lineage.impact_page import DIGITS_SHOWN
from backstory.lineage.page import Page, Section, rows_of
from backstory.lineage.plain import count_text
from backstory.lineage.story_page import OPEN_HINT

if TYPE_CHECKING:
    from backstory.lineage.why_not import WhyNot

ROWS_SHOWN = 10
"""So many rows are named for a reader; `.verdicts` and `to_dict()` have them all."""

_WORDS = {
    "used": "used: it is in the training set",
    "through-groups": "used through a group that its training rows refer to",
    "dropped": "dropped",
    "left-out": "not in the training set, though no recorded step dropped it",
    "other-version": "of a dataset version that the model was not trained on",
}


def why_not_page(answer: WhyNot) -> Page:
    """Return an answer for a reader, the verdict first."""
    return Page(
        headline=_headline(answer),
        alarms=tuple(_alarms(answer)),
        sections=tuple(section for section in _sections(answer) if section.rows),
    )


def _headline(answer: WhyNot) -> str:
    whose = f"{count_text(answer.rows, 'row')} of {answer.source}"
    if not answer.rows:
        keys = "the key" if len(answer.missing) == 1 else f"any of the {len(answer.missing):,} keys"
        return f"no fixed version of {answer.source} has {keys} asked about"
    if not answer.models:
        dropped = answer.verdicts["verdict"].to_pylist().count("dropped")
        nobody = "no model that was looked at" if answer.sealed else "no model"
        return f"{whose}: {nobody} was trained on the source; steps dropped {dropped:,}"
    if len(answer.models) == 1:
        model = answer.models[0]
        counts = {
            "used": model.used,
            "used through groups": model.through_groups,
            "dropped by a step": model.dropped,
            "left out though no step dropped them": model.left_out,
            "of a version it was not trained on": model.other_version,
        }
        told = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
        return f"{whose} and model {model.name}:{model.version}: {told}"
    using = sum(bool(model.used or model.through_groups) for model in answer.models)
    return f"{whose}: {using} of {count_text(len(answer.models), 'model')} trained on the source used some of them"


def _alarms(answer: WhyNot) -> Iterator[str]:
    if answer.missing and answer.rows:
        named = ", ".join(map(str, answer.missing[:ROWS_SHOWN])) + (", …" if len(answer.missing) > ROWS_SHOWN else "")
        yield f"no fixed version has {count_text(len(answer.missing), 'key')} asked about (counted from 0: {named})"
    if answer.sealed:
        yield f"PARTIAL: {answer.sealed} sealed models or steps not looked at: {OPEN_HINT}"
    for digest, why in answer.left_out.items():
        yield f"PARTIAL: rows of version {digest[:DIGITS_SHOWN]} not looked at: {why}"


def _sections(answer: WhyNot) -> Iterator[Section]:
    models = (
        (
            f"{model.name}:{model.version}",
            f"{model.used:,}",
            f"{model.through_groups:,}",
            f"{model.dropped:,}",
            f"{model.left_out:,}",
            f"{model.other_version:,}",
        )
        for model in answer.models
    )
    columns = ("model", "used", "through groups", "dropped", "left out", "other version")
    yield Section(title="What became of them", columns=columns, rows=rows_of(models))
    steps = (
        (
            step.name,
            f"{step.rows:,}",
            step.function,
            step.code[:DIGITS_SHOWN],
            "" if step.commit is None else step.commit[:DIGITS_SHOWN],
            step.grade,
        )
        for step in answer.steps
    )
    columns = ("step", "dropped", "function", "code", "commit", "grade")
    yield Section(title="Steps that dropped them", columns=columns, rows=rows_of(steps))
    shown = answer.verdicts.slice(0, ROWS_SHOWN).to_pylist()
    more = answer.verdicts.num_rows - len(shown)
    title = f"Rows: the first {len(shown)} of {answer.verdicts.num_rows:,} lines" if more else "Rows"
    lines = (
        (
            f"{answer.source} {row['position']}",
            "" if row["model"] is None else f"{row['model']}:{row['version']}",
            _told(row["verdict"], row["step"]),
        )
        for row in shown
    )
    yield Section(title=title, columns=("row", "model", "why"), rows=rows_of(lines))


def _told(verdict: str, step: str | None) -> str:
    if verdict == "dropped":
        return f"dropped by step {step}"
    return _WORDS[verdict] if step is None else f"{_WORDS[verdict]}; it came out of step {step}"
