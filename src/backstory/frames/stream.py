"""A batch of a stream as a source: which offsets of which partitions its rows are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.errors import ColumnError, InputError, KeyNotUniqueError
from backstory.frames.table import LAZY, Frame, column_names, column_values, kind_of, require_columns, row_count
from backstory.records.canonical import JsonObject, JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The offsets of one partition.

    Attributes:
        partition: The partition.
        first: The least offset.
        last: The greatest.
        rows: How many rows.
    """

    partition: str
    first: int
    last: int
    rows: int

    @property
    def whole(self) -> bool:
        """Whether no offset between the first and the last is missing."""
        return self.rows == self.last - self.first + 1

    def document(self) -> JsonObject:
        """Return the span as JSON."""
        return {
            "first": str(self.first),
            "last": str(self.last),
            "partition": self.partition,
            "rows": str(self.rows),
            "whole": self.whole,
        }


class Stream:
    """A batch of a stream, such as what a Kafka consumer polled, to be fixed with `archive.source`.

    ```python
    batch = backstory.Stream(frame, topic="payments", partition="partition", offset="offset")
    payments = archive.source(batch, "payments", part="2026-06-01T10:00")
    ```

    The archive then says which offsets of which partitions the rows are, and whether some between are missing.
    """

    def __init__(self, frame: Frame, *, topic: str, partition: str | int, offset: str | int) -> None:
        """Take a batch.

        Args:
            frame: A pandas, polars (eager) or pyarrow frame, one row a message.
            topic: Name of the topic.
            partition: The column with the partition of each row, or the number of the one partition.
            offset: The column with the offset of each row, or that of the first of rows without gaps.

        Raises:
            ColumnError: A column is missing or holds no offsets.
            KeyNotUniqueError: Two rows have the same offset in a partition.
            InputError: The topic is no text, the frame is lazy, or there are no rows.
        """
        if not isinstance(topic, str) or not topic:
            raise InputError(f"stream: expected the name of a topic, got {type(topic).__name__}")
        if kind_of(frame) in LAZY:
            raise InputError("stream: expected rows that are there, got a frame that runs anew at each read")
        self.frame = frame
        self.topic = topic
        self.spans = _spans(frame, partition, offset)

    def origin(self) -> JsonObject:
        """Return what is recorded of where the rows came from."""
        spans: list[JsonValue] = [span.document() for span in self.spans]
        return {"partitions": spans, "topic": self.topic}


def _spans(frame: Frame, partition: str | int, offset: str | int) -> tuple[Span, ...]:
    named = [column for column in (partition, offset) if isinstance(column, str)]
    require_columns(column_names(frame), named, "the batch of a stream")
    rows = row_count(frame)
    if rows == 0:
        raise InputError("stream: expected at least one row in the batch, got none")
    partitions = _array(frame, partition) if isinstance(partition, str) else pa.array([partition] * rows)
    if isinstance(offset, str):
        offsets = _array(frame, offset)
    else:
        offsets = pa.array(np.arange(offset, offset + rows, dtype=np.int64))
    if not pa.types.is_integer(offsets.type) or offsets.null_count or partitions.null_count:
        raise ColumnError("stream: expected a whole number as offset and a partition in every row")
    table = pa.table({"partition": partitions, "offset": offsets})
    found = table.group_by("partition", use_threads=False).aggregate(
        [("offset", "min"), ("offset", "max"), ("offset", "count"), ("offset", "count_distinct")]
    )
    if not pc.all(pc.equal(found["offset_count"], found["offset_count_distinct"])).as_py():
        doubled = rows - pc.sum(found["offset_count_distinct"]).as_py()
        raise KeyNotUniqueError(
            f"stream: expected each offset of a partition once, got {doubled} rows with one that was there before"
        )
    spans = (
        Span(partition=str(row["partition"]), first=row["offset_min"], last=row["offset_max"], rows=row["offset_count"])
        for row in found.to_pylist()
    )
    return tuple(sorted(spans, key=lambda span: (len(span.partition), span.partition)))


def _array(frame: Frame, name: str) -> pa.Array:
    values: Any = column_values(frame, name)
    array = pa.array(values) if isinstance(values, np.ndarray) else values
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
