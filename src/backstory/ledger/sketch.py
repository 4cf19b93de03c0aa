"""Sketches of the predictions of a segment, made when it is sealed, for each model version in it.

They stand in the log beside the manifest, so that drift is seen without reading the records again. Of records about
people they hold values too, and are in the vault. Bytes: docs/format.md section 34, docs/adr/0020.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from backstory.errors import BackstoryError
from backstory.frames.sketch_document import by_model, is_sealed, said_of
from backstory.ledger.sealed_table import keep_sealed_table
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.envelope import PREDICTION
from backstory.records.manifest import SKETCHED_TYPE, Manifest

if TYPE_CHECKING:
    from backstory.ledger.ledger import Ledger
    from backstory.records.schema import Schema

ROWS_MIN: Final = 1_024
"""Records of a segment with fewer are read themselves: its sketches would be no smaller than they are."""
_log = logging.getLogger("backstory")


def sketched_entries(ledger: Ledger, schema: Schema, table: pa.Table, manifest: Manifest) -> list[JsonObject]:
    """Keep the sketches of a segment; return the entry that names them, none where there are none.

    A sketch that cannot be made must not keep records from being sealed: that is logged.

    Args:
        ledger: The archive.
        schema: Schema of the records.
        table: The records with all columns.
        manifest: Their manifest.
    """
    if schema.kind != PREDICTION or table.num_rows < ROWS_MIN:
        return []
    sealed = is_sealed(schema)
    try:
        models: list[JsonValue] = [
            _document(ledger, model, part, sealed=sealed) for model, part in by_model(ledger.document, table)
        ]
    except Exception as error:  # noqa: BLE001  whatever it is: what is told of records must not keep them unsealed
        what = error if isinstance(error, BackstoryError) else type(error).__name__  # others' words may hold values
        _log.warning("segment %s is sealed without sketches: %s", manifest.file.name, what)
        return []
    if not models:
        return []
    sketches = ledger.put_document({"models": models, "v": 1})
    return [
        {
            "count": str(manifest.count),
            "first_seq": str(manifest.first_seq),
            "sketches": sketches,
            "stream": manifest.stream,
            "type": SKETCHED_TYPE,
        }
    ]


def _document(ledger: Ledger, model: str, table: pa.Table, *, sealed: bool) -> JsonObject:
    said = said_of(model, table)
    document, columns = said.document(), [column.document() for column in said.columns]
    if not sealed:
        return {**document, "columns": list(columns)}
    kept = pa.table({"columns": [canonical.encode({"columns": list(columns)})]})
    return {**document, "sealed": keep_sealed_table(ledger, kept, (), "sealed_table")}
