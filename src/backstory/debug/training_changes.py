"""What about a training is not as it was: rows and their order, features, parameters, chance, environment, code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from backstory.columns.tree import leaf_hashes, root_of_subtrees, subtree_roots
from backstory.debug.environment_diff import environment_changes
from backstory.debug.retraining import Difference
from backstory.debug.step_run import StepRerun
from backstory.frames.profile import Profile
from backstory.lineage.fitted import describe_fitted
from backstory.lineage.plain import count_text
from backstory.lineage.refs import RowRefs
from backstory.lineage.store import positions_table
from backstory.models.artifact import Artifact
from backstory.models.code_version import code_version
from backstory.models.environment import environment
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from backstory.ledger.ledger import Ledger

_NAMED_MAX = 5
_CHANCE = ("random_state", "seed")


def other_rows(
    order: NDArray[np.int64], positions: Mapping[str, NDArray[np.signedinteger[Any]]], *, personal: bool
) -> Iterator[Difference]:
    """Yield how the rows trained on are not the recorded ones in their order.

    Args:
        order: Which of the recorded rows, in which order.
        positions: Their positions.
        personal: Whether they are about people, so that no root of them is shown.
    """
    count = len(next(iter(positions.values())))
    if np.array_equal(order, np.arange(count)):
        return
    if np.array_equal(np.sort(order), np.arange(count)):
        now = {name: values[order] for name, values in positions.items()}
        changes = () if personal else (("order root", _root(positions), _root(now)),)
        yield Difference(name="order", said="the same rows, shuffled", changes=changes)
        return
    said = f"{len(order):,} rows, which are {len(np.unique(order)):,} of the recorded {count:,}"
    yield Difference(name="rows", said=said)


def other_features(then: Profile | None, now: Profile) -> Iterator[Difference]:
    """Yield which features have another profile in what is exact of it: quantiles are sketched by chance."""
    before, after = ({} if one is None else _exact(one) for one in (then, now))
    names = [name for name in before if before[name] != after.get(name)]
    if names:
        shown = ", ".join(names[:_NAMED_MAX]) + (", …" if len(names) > _NAMED_MAX else "")
        yield Difference(name="features", said=f"other values of {shown}")


def other_settings(
    ledger: Ledger, document: JsonObject, artifact: Artifact, steps: Sequence[StepRerun]
) -> Iterator[Difference]:
    """Yield what differs in parameters, chance, environment and code.

    Args:
        ledger: The archive.
        document: The model version's document.
        artifact: The model that came out.
        steps: The steps that were run.
    """
    model, now = document.get("model"), artifact.hyperparameters
    then = model.get("hyperparameters") if isinstance(model, dict) else None
    if isinstance(then, dict):
        changes = _changed(then, now, sorted({*then, *now}))
        if changes:
            yield Difference(name="parameters", said=count_text(len(changes), "parameter"), changes=changes)
    unset = [name for name, value in now.items() if name.endswith(_CHANCE) and value is None]
    if unset:
        said = f"{', '.join(unset)} not set: each training may draw other numbers"
        yield Difference(name="chance", said=said)
    recorded = document.get("environment")
    changed = environment_changes(ledger.document(recorded) if isinstance(recorded, str) else {}, environment())
    if changed:
        changes = tuple((name, was, is_now) for name, (was, is_now) in changed.items())
        yield Difference(name="environment", said=count_text(len(changes), "difference"), changes=changes)
    edited = [step.name for step in steps if step.code == "changed"]
    if edited:
        yield Difference(name="code", said=f"the text of {', '.join(edited)} is not the recorded one")
    before = document.get("code")
    moved = _changed(before, code_version(), ["commit", "diff"]) if isinstance(before, dict) else ()
    if moved:
        yield Difference(name="code", said="another state of the code", changes=moved)


def first_step(
    ledger: Ledger, document: JsonObject, trained: object, artifact: Artifact, features: pa.Table
) -> Iterator[Difference]:
    """Yield the first fitted step that learned something else, of a model of several steps.

    Args:
        ledger: The archive.
        document: The model version's document.
        trained: The model that came out.
        artifact: The same, captured.
        features: What it was trained on, of which only the names matter.
    """
    digest, training = document.get("fitted"), document.get("training")
    personal = isinstance(training, dict) and training.get("personal") is True
    nothing = RowRefs(
        positions={},
        origins={},
        grades={},
        rows=0,
        features=features.slice(0, 0),
        selector=None,
        aligned_by_caller=True,
    )
    made = describe_fitted(ledger, trained, artifact, nothing, personal=personal)
    if made is None or not isinstance(digest, str):
        return
    then, now = dict(_states(ledger.document(digest))), _states(made.document)
    other = next((name for name, state in now if name in then and then[name] != state), None)
    if other is not None and len(now) > 1:
        changes = ((other, then[other], dict(now)[other]),)
        yield Difference(name="fitted step", said=f"{other} is the first that learned something else", changes=changes)


def _root(positions: Mapping[str, NDArray[np.signedinteger[Any]]]) -> str:
    return root_of_subtrees(subtree_roots(leaf_hashes(positions_table(positions)))).hex()


def _exact(profile: Profile) -> dict[str, JsonObject]:
    documents = [column.document() for column in profile.columns]
    return {
        canonical.text_of(one, "name"): {name: value for name, value in one.items() if name != "quantiles"}
        for one in documents
    }


def _changed(
    then: Mapping[str, JsonValue], now: Mapping[str, JsonValue], names: Sequence[str]
) -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (name, _text(then.get(name)), _text(now.get(name))) for name in names if then.get(name) != now.get(name)
    )


def _states(document: JsonObject) -> list[tuple[str, str]]:
    steps = document.get("steps")
    found = [one for one in steps if isinstance(one, dict)] if isinstance(steps, list) else []
    return [(str(one.get("name")), str(one["state"])) for one in found if isinstance(one.get("state"), str)]


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else canonical.encode(value).decode()
