"""Which predictions say no more whom they are about, as the person was erased: nothing is linked to these any more.

What is said of such a prediction would be about the person, and no erasure would find it. Where the person's id was
disposed of alone it is the same.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import unchunked
from backstory.columns.people import group_of_subject
from backstory.errors import ConflictError, NotFoundError
from backstory.ledger.ledger import Ledger
from backstory.ledger.sealed import erased_values
from backstory.records.envelope import PREDICTION
from backstory.records.identity import id_text
from backstory.records.manifest import Manifest, parse_manifest


def require_not_erased(ledger: Ledger, what: str, predictions: Collection[bytes]) -> None:
    """Insist that nobody whom predictions are about was erased, before something is linked to them.

    Args:
        ledger: The archive.
        what: What is to be linked, for the error.
        predictions: Ids, 16 bytes each.

    Raises:
        ConflictError: Some are about somebody who was erased; `details["ids"]` has them all.
    """
    gone = sorted(map(id_text, erased_predictions(ledger, predictions)))
    if gone:
        raise ConflictError(
            f"{what}: {len(gone)} of {len(predictions)} predictions are about somebody who was erased, such as "
            f"{gone[0]!r}; nothing is recorded, as no erasure would find it: leave these out",
            ids=gone,
        )


def erased_predictions(ledger: Ledger, predictions: Collection[bytes]) -> set[bytes]:
    """Return which predictions are about somebody who was erased; not those whose sealed values are not here.

    Args:
        ledger: The archive.
        predictions: Ids, 16 bytes each.
    """
    ledger.catch_up()  # another process may have erased
    if not predictions:
        return set()
    wanted, found = pa.array(list(predictions), pa.binary(16)), set()
    for position in ledger.catalog.segments_with_id(min(predictions).hex(), max(predictions).hex()):
        manifest = parse_manifest(ledger.log.entry(position))
        if manifest.kind == PREDICTION:
            with suppress(NotFoundError):  # the vault, or keys, are elsewhere
                found |= _erased_in(ledger, manifest, wanted)
    return found


def _erased_in(ledger: Ledger, manifest: Manifest, wanted: pa.Array) -> set[bytes]:
    """Return which of some predictions are in a segment and erased."""
    if manifest.shard is None or not any(one.erased for one in ledger.vault.sections(manifest.shard.name)):
        return set()
    reader = ledger.segment(manifest, checked=True)
    ids = unchunked(reader.read_groups(range(reader.group_count), ["id"])["id"])
    here = pc.is_in(ids, value_set=wanted).to_numpy(zero_copy_only=False)
    if not here.any():
        return set()
    values = erased_values(ledger, manifest, 0, manifest.count)
    group = group_of_subject(ledger.schema(manifest.schema))
    gone = np.logical_and.reduce([*values.values()]) if group is None else values[group]
    return set(ids.filter(pa.array(here & gone)).to_pylist())
