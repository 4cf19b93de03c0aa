"""Whom predictions are about: a decision on them is about one of these people, so that erasing the person finds it.

Names are compared by rules and shown to nobody.
"""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import unchunked
from backstory.columns.people import group_of_subject
from backstory.errors import NotFoundError
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import records_now
from backstory.ledger.sealed import open_rows
from backstory.records.envelope import PREDICTION


def people_of(ledger: Ledger, predictions: Collection[bytes]) -> dict[bytes, str]:
    """Return whom predictions are about, by id; without those about nobody, and those whose person was erased.

    Args:
        ledger: The archive.
        predictions: Ids, 16 bytes each.
    """
    if not predictions:
        return {}
    wanted, low, high = pa.array(list(predictions), pa.binary(16)), min(predictions).hex(), max(predictions).hex()
    found: dict[bytes, str] = {}
    sealed, waiting = records_now(ledger, PREDICTION)
    for _, table in waiting:
        if "subject" in table.column_names:
            _note(found, table.filter(pc.is_in(table["id"], value_set=wanted)))
    for _, manifest in sealed:
        group = group_of_subject(ledger.schema(manifest.schema))
        if group is None or manifest.shard is None or manifest.first_id > high or manifest.last_id < low:
            continue
        reader = ledger.segment(manifest, checked=True)
        ids = unchunked(reader.read_groups(range(reader.group_count), ["id"])["id"])
        rows = pc.indices_nonzero(pc.is_in(ids, value_set=wanted)).to_pylist()
        if not rows:
            continue
        first = rows[0]
        run = reader.read_rows(first, rows[-1] - first + 1)
        try:
            subjects = open_rows(ledger, manifest, first, run, [group])["subject"]
        except NotFoundError:
            continue  # erased, or the vault is away
        _note(found, pa.table({"id": run["id"], "subject": subjects}).take([row - first for row in rows]))
    return found


def _note(found: dict[bytes, str], table: pa.Table) -> None:
    subjects = table["subject"].cast(pa.large_string())
    pairs = zip(table["id"].to_pylist(), subjects.to_pylist(), strict=True)
    found.update((key, whom) for key, whom in pairs if whom is not None)
