"""What a model version consists of, step by step, and from which columns its features come: kept with the version.

What the fitted steps say is content of the version; what a probe of them showed is said beside it, in the entry. Bytes:
docs/format.md section 28.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from backstory.errors import ModelError
from backstory.frames.table import column_names, kind_of, without_views
from backstory.ledger.ledger import Ledger
from backstory.ledger.sealed_table import DATASET_KEY
from backstory.lineage.refs import RowRefs, warn_of_lineage
from backstory.models import Artifact, skops_format
from backstory.models.artifact import CALLABLE, SKOPS
from backstory.models.json_value import qualified_name
from backstory.models.sklearn_lineage import COLUMNS_MAX, EDGES_MAX, Structure, input_names, structure_of
from backstory.models.sklearn_probe import PROBE_ROWS, probe
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.keyed import keyed


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A model version's structure.

    Attributes:
        structure: Steps, predictors and where their features come from.
        document: The same as it is kept.
    """

    structure: Structure
    document: JsonObject


def describe_fitted(
    ledger: Ledger, model: object, artifact: Artifact, rows: RowRefs | None, *, personal: bool
) -> Fitted | None:
    """Return what a captured model consists of; None of one that is code and nothing else.

    Names of features made of values, such as categories, are left out unless the training rows are known and about
    nobody. Of one trained on rows about people digests of fitted states are keyed: few values can be guessed.
    """
    if artifact.format == CALLABLE:
        return None
    columns = input_names(model, None if rows is None else column_names(rows.features))
    if not columns:  # nothing says what it takes, so nothing can come from it
        return None
    try:
        structure = structure_of(model, columns, with_values=rows is not None and not personal)
        for got, most, what in (
            (structure.width, COLUMNS_MAX, "columns in a step"),
            (structure.edges, EDGES_MAX, "edges from columns to features"),
        ):
            if got > most:
                warn_of_lineage(
                    f"the column lineage of the model is not kept: expected at most {most:,} {what}, got {got:,}"
                )
                return None
        if artifact.format == SKOPS:
            states = skops_format.state_digests(artifact, [step.path for step in structure.steps])
        else:
            states = {step.path: artifact.content_digest for step in structure.steps}
    except ModelError:
        raise
    except Exception as error:  # noqa: BLE001  a foreign estimator may break any rule; the model is kept all the same
        warn_of_lineage(
            f"the steps of {qualified_name(type(model))} cannot be told, so its features have no column lineage: "
            f"{type(error).__name__}"
        )
        return None
    if personal:
        key = ledger.keys.get_or_create(DATASET_KEY, "key")["key"]
        states = {path: keyed(key, bytes.fromhex(digest)) for path, digest in states.items()}
    return Fitted(structure=structure, document=structure.document(states))


def probe_fitted(model: object, fitted: Fitted, rows: RowRefs) -> JsonObject | None:
    """Ask a model itself which features move with which column; None where there is nothing to ask.

    A `LineageWarning` says where it contradicts its structure.
    """
    sample = sample_rows(model, fitted.structure.columns, rows)
    found = None if sample is None else probe(model, fitted.structure, sample)
    if found is None:
        return None
    if found.findings:
        first = found.findings[0]
        moved = f"moves with {first.column!r}" if first.column else "is another among other rows"
        warn_of_lineage(
            f"{len(found.findings)} findings about the features of the model, such as: {first.feature!r} {moved}, "
            "which its fitted steps do not say; they are recorded with the version"
        )
    return found.document()


def sample_rows(model: object, columns: Sequence[str], rows: RowRefs) -> Any:
    """Return a few of the training rows from all over them, as the model takes them; None if that is not known.

    Args:
        model: The fitted model.
        columns: Names of its input columns.
        rows: The rows it was trained on.
    """
    frame = rows.features
    kind = kind_of(frame)
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(PROBE_ROWS, len(rows))).astype(np.int64))
    if rows.selector is not None:
        chosen = rows.selector[chosen]
    if kind == "arrow":
        if not importlib.util.find_spec("pandas"):
            return None
        taken = pa.table({name: without_views(frame[name]) for name in frame.column_names})
        frame, kind = taken.take(chosen).to_pandas(), "pandas"
    elif kind in {"pandas", "polars"}:
        frame = frame.iloc[chosen] if kind == "pandas" else frame[chosen]
    else:
        return None
    if hasattr(model, "feature_names_in_"):
        names = list(columns)
        return frame[names] if set(names) <= set(frame.columns) else None
    return frame.to_numpy() if len(frame.columns) == len(columns) else None


def graded(document: JsonObject, probed: JsonValue) -> dict[tuple[str, str], dict[str, str]]:
    """Return where features come from, by predictor and feature: input columns, each with the grade of the edge.

    Where a probe contradicts the structure, the feature is graded from the probe: `probed` is what it saw moving it,
    `coarse` what only the structure says.

    Args:
        document: A model version's `fitted`.
        probed: What its entry says of a probe, if anything.
    """
    found = {
        (str(predictor["name"]), str(feature["name"])): {str(k): str(v) for k, v in feature["from"].items()}
        for predictor in _objects(document.get("predictors"))
        for feature in _objects(predictor.get("features"))
        if isinstance(feature.get("from"), dict)
    }
    findings = _objects(probed.get("findings")) if isinstance(probed, dict) else []
    for finding in findings:
        feature = (str(finding.get("predictor")), str(finding.get("feature")))
        known = found.get(feature)
        if known is not None:
            found[feature] = dict.fromkeys(known, "coarse") | {n: g for n, g in known.items() if g == "probed"}
            if isinstance(finding.get("column"), str):
                found[feature][str(finding["column"])] = "probed"
    return found


def _objects(value: JsonValue) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
