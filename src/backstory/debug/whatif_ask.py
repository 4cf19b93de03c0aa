"""What a what-if asks, put together from what the caller gave: which predictions, and what is to be different."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from backstory.debug.case import Workshop
from backstory.debug.recompute import Steps
from backstory.debug.whatif import Asked
from backstory.debug.whatif_features import GivenFeatures
from backstory.debug.whatif_model import OtherModel, other_model
from backstory.debug.whatif_rows import Corrected
from backstory.errors import ColumnError, QueryError
from backstory.ledger.read import find_record
from backstory.lineage.impact import Impact, ReachedModel, contexts_now, impact_of_rows
from backstory.lineage.impact_page import DIGITS_SHOWN
from backstory.lineage.plain import count_text, label
from backstory.lineage.reference import parse_references
from backstory.lineage.registry import find_version
from backstory.lineage.rows import select_rows
from backstory.lineage.story_page import OPEN_HINT
from backstory.records.envelope import PREDICTION
from backstory.records.identity import ID_CHARACTERS
from backstory.records.names import names_instead

_NAME_THEM = "name their predictions to see them"


def question_of(
    shop: Workshop,
    predictions: Sequence[str] | None,
    *,
    model: str | None,
    features: Any,  # noqa: ANN401  a mapping or any frame
    source: str | None,
    values: Mapping[str, Any] | None,
    steps: Steps,
    **choice: Any,  # noqa: ANN401  as `select_rows` takes it
) -> Asked:
    """Return the question; see `Archive.whatif`.

    Raises:
        QueryError: Nothing is to be different, it is not said which predictions are meant, or a part of a correction is
            missing.
        ColumnError: The source has no such column.
        NotFoundError: There is no such prediction, version, source or row.
    """
    if model is None and features is None and source is None:
        raise QueryError("whatif: expected model=, features=, or source= with the rows to correct")
    if source is None and (values is not None or steps is not None or any(one is not None for one in choice.values())):
        raise QueryError("whatif: rows, values= and steps= are of a source: expected source=")
    if source is None and predictions is None:
        raise QueryError("whatif: expected predictions; only with source= are those meant that the rows reached")
    what: list[str] = []
    corrected: Corrected | None = None
    trained: tuple[ReachedModel, ...] = ()
    cautions: list[str] = []
    if source is not None:
        corrected = _correction(shop, source, values, steps, choice)
        rows = sum(int(mask.sum()) for mask in corrected.chosen.masks.values())
        impact = impact_of_rows(shop.ledger, shop.tracer, shop.gate, source, corrected.chosen)
        trained = impact.models
        cautions += _cautions(shop, corrected, impact)
        if predictions is None:
            predictions = list(dict.fromkeys(impact.predictions["id"].to_pylist()))
            cautions += _beyond(shop, corrected, impact)
        what.append(f"{', '.join(map(label, corrected.values))} corrected in {count_text(rows, 'row')} of {source}")
    ids = tuple(dict.fromkeys(_whole(shop, name) for name in predictions or ()))
    given = None if features is None else GivenFeatures(features, None if predictions is None else ids)
    if given is not None:
        what.append(f"other {', '.join(map(label, given.names))}")
    other: OtherModel | None = None
    if model is not None:
        other = other_model(shop, find_version(shop.ledger, model))
        what.append(f"model {other.name}")
    return Asked(
        ids=ids,
        what=", ".join(what),
        corrected=corrected,
        features=given,
        model=other,
        trained=trained,
        cautions=tuple(cautions),
    )


def _correction(
    shop: Workshop, source: str, values: Mapping[str, Any] | None, steps: Steps, choice: dict[str, Any]
) -> Corrected:
    if not values:
        raise QueryError("whatif: expected values= with the corrected values by column")
    if steps is None:
        raise QueryError("whatif: expected steps=, the functions that prepare the features from the sources")
    chosen = select_rows(shop.ledger, shop.tracer, shop.gate, source, **choice)
    for dataset, _ in chosen.masks:
        names = shop.tracer.column_names(dataset)
        unknown = [name for name in values if name not in names]
        if unknown:
            raise ColumnError(f"whatif: {source} has no column {unknown[0]!r}{names_instead(unknown[0], names)}")
    return Corrected(source=source, chosen=chosen, values=dict(values), steps=steps)


def _cautions(shop: Workshop, corrected: Corrected, impact: Impact) -> Iterator[str]:
    """Yield what may be missing from the answer."""
    keys: set[str] = set()
    for dataset, _ in corrected.chosen.masks:
        said = shop.tracer.dataset(dataset).get("key")
        keys |= {str(name) for name in said} if isinstance(said, list) else set()
    moved = sorted(keys & corrected.values.keys())
    if moved:
        yield f"{', '.join(moved)} is of the key: other rows may join these then; {_NAME_THEM}"
    if impact.sealed or impact.sealed_models:
        yield f"PARTIAL: sealed predictions or models were not searched for these rows: {OPEN_HINT}"
    for digest, why in corrected.chosen.left_out.items():
        yield f"PARTIAL: rows of version {digest[:DIGITS_SHOWN]} not looked at: {why}"


def _beyond(shop: Workshop, corrected: Corrected, impact: Impact) -> Iterator[str]:
    """Yield why others may change than the predictions the rows reached, which are asked about only if named."""
    placing: set[str] = set()
    for digest in _groups(shop):
        document = shop.ledger.document(digest)
        by = document.get("by")
        placing |= {str(name) for name in (*(by if isinstance(by, list) else []), document.get("time"))}
    moved = sorted(placing & corrected.values.keys())
    if moved:
        yield f"{', '.join(moved)} says which groups a row is in: others have these rows then; {_NAME_THEM}"
    if not impact.lines and not impact.sealed:
        yield f"no prediction was made of these rows: with other values they may be used; {_NAME_THEM}"


def _groups(shop: Workshop) -> set[str]:
    """Return the groups and windows that predictions refer to, and those below them, by digest."""
    found: set[str] = set()
    documents = [shop.ledger.document(context) for context in contexts_now(shop.ledger)]
    while documents:
        references = parse_references(documents.pop().get("refs") or {})
        new = {one.group for one in references.values() if one.group is not None} - found
        documents += [shop.ledger.document(group) for group in new]
        found |= new
    return found


def _whole(shop: Workshop, name: str) -> str:
    """Return the whole id a text begins."""
    return name.lower() if len(name) == ID_CHARACTERS else find_record(shop.ledger, name, PREDICTION).id
