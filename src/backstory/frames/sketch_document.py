"""What is said of the predictions of a segment, model version by model version: counts, times, sketches.

Made when a segment is sealed, read by whoever asks about drift, and made once more by an audit. Bytes: docs/format.md
section 34.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from backstory.errors import FormatError
from backstory.frames.sketch import COLUMNS, ColumnSketch, parse_sketches, sketch_of
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.envelope import OK
from backstory.records.identity import check_digest, time_text
from backstory.records.schema import Schema, split_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Sketched:
    """What is said of the predictions of one model version in a segment.

    Attributes:
        model: Digest of the version.
        rows: How many there are.
        errors: How many of them failed.
        first: Time of the earliest.
        last: Time of the latest.
        columns: Their sketches; none where these are sealed.
        sealed: Where in the vault the sketches are; None where they are open.
    """

    model: str
    rows: int
    errors: int
    first: str
    last: str
    columns: tuple[ColumnSketch, ...]
    sealed: JsonObject | None = None

    def document(self) -> JsonObject:
        """Return what is open of it in any case, as JSON."""
        return {
            "errors": str(self.errors),
            "first": self.first,
            "last": self.last,
            "model": self.model,
            "rows": str(self.rows),
        }


def is_sealed(schema: Schema) -> bool:
    """Say whether a column of a schema that is sketched is sealed."""
    return any(column.group is not None and split_name(column.name)[0] in COLUMNS for column in schema.columns)


def by_model(document: Callable[[str], JsonObject], table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Yield the digests of the model versions in records, in order, each with its records.

    Args:
        document: Returns a context by its digest.
        table: The records.
    """
    contexts: dict[str, list[bytes]] = {}
    found = pc.unique(table["context"]).to_pylist()
    for context in found:
        model = document(context.hex()).get("model")
        if isinstance(model, dict) and isinstance(model.get("digest"), str):
            contexts.setdefault(str(model["digest"]), []).append(context)
    for model_digest, own in sorted(contexts.items()):
        if len(own) == len(found):
            yield model_digest, table
        else:
            mine = pc.is_in(table["context"], value_set=pa.array(own, table["context"].type))
            yield model_digest, table.filter(mine)


def said_of(model: str, table: pa.Table) -> Sketched:
    """Return what is to be said of the predictions of a model version.

    Raises:
        ColumnError: A column's type has no encoding.
    """
    ends = pc.min_max(table["time"])
    return Sketched(
        model=model,
        rows=table.num_rows,
        errors=int(pc.sum(pc.not_equal(table["status"], OK)).as_py()),
        first=time_text(ends["min"].value),
        last=time_text(ends["max"].value),
        columns=sketch_of(table),
    )


def parse_sketched(document: JsonObject) -> tuple[Sketched, ...]:
    """Read what a document says of a segment.

    Raises:
        FormatError: It is none.
    """
    canonical.check_version(document, 1, "sketches")
    models = document.get("models")
    if not isinstance(models, list):
        raise FormatError("sketches: expected a list of objects, one for each model")
    return tuple(_parse(one) for one in models if isinstance(one, dict))


def _parse(document: JsonObject) -> Sketched:
    rows, sealed = canonical.count_of(document, "rows"), document.get("sealed")
    named = sealed if isinstance(sealed, dict) else None
    return Sketched(
        model=check_digest(document.get("model"), "sketches: model"),
        rows=rows,
        errors=canonical.count_of(document, "errors"),
        first=canonical.text_of(document, "first"),
        last=canonical.text_of(document, "last"),
        columns=() if named is not None else parse_sketches(document.get("columns"), rows),
        sealed=named,
    )


def parse_sealed(table: pa.Table, rows: int) -> tuple[ColumnSketch, ...]:
    """Read sketches from the table they are sealed in.

    Raises:
        FormatError: They are none.
    """
    if table.column_names != ["columns"] or table.num_rows != 1:
        raise FormatError("sketches: expected a table of one value")
    document = canonical.parse_object(table["columns"][0].as_py(), "sketches")
    return parse_sketches(document.get("columns"), rows)
