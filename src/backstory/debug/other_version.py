"""The rows of another version of a source in the place of those that were recorded, matched by their keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from backstory.columns.arrow_type import decoded, unchunked
from backstory.debug.case import Case, Workshop
from backstory.debug.features_again import features_again
from backstory.debug.recompute import Correction, Steps
from backstory.debug.source_rows import rows_behind, version_rows
from backstory.errors import InputError, ModelError
from backstory.lineage.dataset import DatasetVersion
from backstory.lineage.plain import count_text
from backstory.lineage.reference import Part, parse_references

_LOST = "the {what} has no row with {count} of the {keys} keys these predictions were made of"


def features_with(
    shop: Workshop, case: Case, steps: Steps, versions: Mapping[str, Sequence[DatasetVersion]]
) -> pa.Table:
    """Return the features of a call, those asked about made again of other versions of some sources.

    Args:
        shop: The archive; what its gate lets through is noted.
        case: The call.
        steps: The functions that prepare.
        versions: For each source the version whose rows are taken, by its parts. Rows have the key they had.

    Raises:
        ForbiddenError: Rows are about people, and the gate lets nothing through.
        InputError: A source has no key, or the steps cannot be run.
        ModelError: A row that is needed is not in the other version, or the steps give no such row any more.
        NotFoundError: The record has no row references, or rows were erased.
        VerificationError: Rows were changed.
    """
    corrections = [one for name, parts in versions.items() for one in corrections_of(shop, case, name, parts)]
    made = features_again(shop, case, steps, corrections)
    lost = [reason for verdict, reason in zip(made.verdicts, made.reasons, strict=True) if verdict == "not-replayable"]
    if lost:
        raise ModelError(f"the features of {count_text(len(lost), 'prediction')} cannot be made again: {lost[0]}")
    return made.features


def corrections_of(shop: Workshop, case: Case, name: str, version: Sequence[DatasetVersion]) -> list[Correction]:
    """Return the rows a call was made of with the values that rows of the same key have in another version.

    Args:
        shop: The archive; what its gate lets through is noted.
        case: The call.
        name: The source.
        version: The version, by its parts.

    Raises:
        ForbiddenError: Rows are about people, and the gate lets nothing through.
        InputError: The source has no key, or these predictions were not made of it.
        ModelError: A row that is needed is not in that version.
        NotFoundError: Rows were erased.
        VerificationError: Rows were changed.
    """
    index = np.asarray(case.rows, np.int64)
    positions = {reference: values[index] for reference, values in case.positions().items()}
    behind = rows_behind(shop, parse_references(case.context.get("refs")), positions)[""]
    if name not in behind:
        raise InputError(
            f"bisect: these predictions were not made of rows of {name}, but of {', '.join(sorted(behind))}"
        )
    there = {one.digest for one in version}
    rows = np.unique(np.concatenate(behind[name].positions))
    found = []
    for part in behind[name].parts:
        own = rows[(rows >= part.first) & (rows < part.end)]
        if part.dataset not in there and len(own):
            found.append(_correction(shop, name, part, own, version))
    return found


def _correction(
    shop: Workshop, name: str, part: Part, positions: np.ndarray, version: Sequence[DatasetVersion]
) -> Correction:
    keys = [str(key) for key in shop.tracer.dataset(part.dataset).get("key") or ()]  # type: ignore[union-attr]
    if not keys:
        raise InputError(f"bisect: expected source {name} to have a key, by which rows of two versions are matched")
    was = version_rows(shop, part.dataset, name).take(pa.array(positions - part.first))
    now = pa.concat_tables([version_rows(shop, one.digest, name) for one in version], promote_options="permissive")
    gone = sorted({*was.column_names} - {*now.column_names})
    if gone:
        raise ModelError(f"{version[0].spec} has no column {', '.join(gone)}, which these predictions were made with")
    wanted, known = (_numbered(table, keys) for table in (was, now))
    places = {key: row for row, key in enumerate(known)}
    at = [places.get(key) for key in wanted]
    missing = sum(place is None for place in at)
    if missing:
        raise ModelError(_LOST.format(what=version[0].spec, count=missing, keys=len(at)))
    columns = [column for column in was.column_names if column not in keys]
    return Correction(
        source=name,
        dataset=part.dataset,
        positions=positions,
        values=now.select(columns).take(pa.array(at, pa.int64())),
    )


def _numbered(table: pa.Table, keys: Sequence[str]) -> list[tuple[object, ...]]:
    """Return the key of each row."""
    return list(zip(*(decoded(unchunked(table[key])).to_pylist() for key in keys), strict=True))
