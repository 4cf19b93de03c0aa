"""What a prediction looked like on its way through the model: the recorded features after each fitted step.

The stored model is loaded and the one row run through it, in today's environment. Its last stage is compared with the
recorded output: a row alone can give other last bits than in its batch, and the answer says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from backstory.capture.options import parse_options
from backstory.capture.output import output_column
from backstory.columns.python_value import python_rows, python_value
from backstory.debug.case import options_given
from backstory.debug.verdict import judge
from backstory.errors import BackstoryError, ModelError
from backstory.frames.container import rebuild
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import Found, read_sequence
from backstory.lineage.answer import Answer
from backstory.lineage.page import Page, Section, facts_section
from backstory.lineage.plain import count_text, label, plain, shown
from backstory.lineage.showing import about_record
from backstory.models import output_names
from backstory.models.sklearn_lineage import input_names, structure_of
from backstory.models.sklearn_stages import run_stages
from backstory.records import canonical
from backstory.records.access import Gate, Scope
from backstory.records.canonical import JsonObject
from backstory.records.envelope import OK

VALUES_SHOWN = 24
"""Values of a stage that a page shows; JSON has all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What one fitted step gave.

    Attributes:
        name: Name of the step.
        class_name: Its class.
        values: The values of its output columns by name.
    """

    name: str
    class_name: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages(Answer):
    """A prediction step by step.

    Attributes:
        id: Id of the prediction.
        features: Its features as recorded.
        stages: What each fitted step gave, first to last.
        recorded: The recorded output.
        output: The output now.
        verdict: `exact`: the same bytes. `equivalent`: within the tolerance of a replay. `different`: neither; a replay
            says more.
        difference: Largest absolute difference of numeric outputs, None where it cannot be computed.
    """

    id: str
    features: dict[str, Any]
    stages: tuple[Stage, ...]
    recorded: Any
    output: Any
    verdict: Literal["exact", "equivalent", "different"]
    difference: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        return {
            "difference": plain(self.difference),
            "features": plain(self.features),
            "id": self.id,
            "output": plain(self.output),
            "recorded": plain(self.recorded),
            "stages": [
                {"class": stage.class_name, "name": stage.name, "values": plain(stage.values)} for stage in self.stages
            ],
            "verdict": self.verdict,
        }

    def __repr__(self) -> str:
        """Return the answer on one line."""
        return f"<Stages of {self.id}: {stages_page(self).headline}>"

    def _page(self) -> Page:
        return stages_page(self)


def stages_page(found: Stages) -> Page:
    """Return a prediction step by step for a reader."""
    ends = {"exact": "which is the recorded output", "equivalent": f"the recorded output but for {found.difference}"}
    end = ends.get(found.verdict, f"and {shown(found.recorded)} was recorded")
    count = count_text(len(found.stages), "step leads", "steps lead")
    alarm = f"the steps end in another output than was recorded: `backstory replay {found.id}` says why"
    sections = [_section("Features", found.features)]
    sections += [_section(f"{label(stage.name)}: {stage.class_name}", stage.values) for stage in found.stages]
    return Page(
        headline=f"{count} to {shown(found.output)}, {end}",
        alarms=(alarm,) if found.verdict == "different" else (),
        facts=(("prediction", found.id),),
        sections=tuple(sections),
    )


def _section(title: str, values: dict[str, Any]) -> Section:
    facts = [(label(name), shown(value)) for name, value in list(values.items())[:VALUES_SHOWN]]
    if len(values) > VALUES_SHOWN:
        facts.append(("…", f"{count_text(len(values) - VALUES_SHOWN, 'value')} more"))
    return facts_section(title, facts)


def run_prediction(ledger: Ledger, gate: Gate, found: Found, load: Callable[[JsonObject], object]) -> Stages:
    """Run the recorded features of one prediction through the stored model, step by step.

    Args:
        ledger: The archive.
        gate: Opens sealed features and outputs.
        found: The prediction.
        load: Returns the model a context names, from its artifact.

    Raises:
        ForbiddenError: Its values are sealed, and the gate lets nothing through.
        ModelError: There is no stored model, the call failed, or the steps cannot be run any more.
        InputError: The features cannot be made again as the model was given them.
        VerificationError: The model or something else the record refers to was changed.
    """
    context = ledger.document(python_rows(found.table.select(["context"]))[0]["context"].hex())
    model, container = context.get("model"), context.get("container")
    if not isinstance(model, dict) or not isinstance(container, dict):
        raise ModelError("stages: the prediction names no registered model")
    if python_rows(found.table.select(["status"]))[0]["status"] != OK:
        raise ModelError("stages: the call failed; there is no output the steps could lead to")
    if found.schema.groups:
        within, scope = gate.within(about_record(ledger, found)), Scope(ids=(found.table["id"][0].as_py(),))
        within.pass_through("stages", found.schema.groups, 1, scope)
    table = _one_row(ledger, found, opened=bool(found.schema.groups))
    features = table["feature"].combine_chunks()
    columns = pa.Table.from_arrays(features.flatten(), names=[field.name for field in features.type])
    estimator = load(model)
    training = ledger.document(canonical.text_of(model, "digest")).get("training")
    is_about_people = isinstance(training, dict) and training.get("personal") is True
    recorded = table["output"].combine_chunks()
    try:
        stages, output = _run(
            estimator,
            context,
            rebuild(container, columns),
            sealed=not pa.types.is_struct(recorded.type),
            with_values=bool(found.schema.groups) or not is_about_people,
        )
    except BackstoryError:
        raise
    except Exception as error:  # a model may raise anything, with values of rows in its words
        raise ModelError(f"stages: the steps gave an output then, and raise {type(error).__name__} now") from error
    judgement = judge(recorded, output)[0]
    return Stages(
        id=found.id,
        features=dict(zip(columns.column_names, python_rows(columns)[0].values(), strict=True)),
        stages=stages,
        recorded=python_value(recorded[0]),
        output=python_value(output[0]),
        verdict="exact"
        if judgement.verdict == "exact"
        else "equivalent"
        if judgement.verdict == "equivalent"
        else "different",
        difference=judgement.difference,
    )


def _one_row(ledger: Ledger, found: Found, *, opened: bool) -> pa.Table:
    record = python_rows(found.table.select(["seq", "stream"]))[0]
    return read_sequence(ledger, record["stream"].hex(), found.schema, record["seq"], 1, opened=opened)


def _run(
    estimator: Any,  # noqa: ANN401  any model
    context: JsonObject,
    features: Any,  # noqa: ANN401  what it was given
    *,
    sealed: bool,
    with_values: bool,
) -> tuple[tuple[Stage, ...], pa.Array]:
    """Return what each step gave and the output as it is recorded; names of columns hold values only if they may."""
    method = canonical.text_of(context, "method")
    options = parse_options(context.get("options"))

    def predict(model: Any, given: Any) -> Any:  # noqa: ANN401
        function = model if method == "__call__" else getattr(model, method)
        by_position, by_name = options_given(function, options)
        return function(given, *by_position, **by_name)

    columns = input_names(estimator, list(getattr(features, "columns", [])) or None)
    structure = structure_of(estimator, columns, with_values=with_values)
    given = list(run_stages(estimator, features, predict))
    column, _ = output_column(given[-1][1], 1, output_names(estimator, method), sealed=sealed)
    steps = {step.name: step for step in structure.steps}
    stages = tuple(
        Stage(
            name=name,
            class_name=steps[name].class_name if name in steps else "",
            values=_values(value, steps[name].outs if name in steps else (), output_names(estimator, method)),
        )
        for name, value in given
    )
    return stages, column


def _values(given: Any, names: tuple[str, ...], outputs: list[str] | None) -> dict[str, Any]:  # noqa: ANN401
    """Return what a step gave for one row by the names of its columns."""
    if hasattr(given, "toarray"):
        given = given.toarray()
    row = given.to_numpy() if hasattr(given, "to_numpy") else given
    flat = row.reshape(-1).tolist()
    known = names if len(names) == len(flat) else tuple(outputs or ()) if len(outputs or ()) == len(flat) else ()
    if not known:
        known = ("output",) if len(flat) == 1 else tuple(str(at) for at in range(len(flat)))
    return dict(zip(known, flat, strict=True))
