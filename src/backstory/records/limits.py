"""Every maximum of the formats in one place. Sizes are in bytes, counts are numbers of things."""

from __future__ import annotations

COLUMN_COUNT_MAX = 65_535
"""Cells of one row; the header's count could hold more, but no table that wide is a mistake-free one."""

ENTRY_SIZE_MAX = 65_535
"""An entry's length is a u16 in its bundle (C2SP tlog-tiles)."""

NESTING_DEPTH_MAX = 32
"""Lists and structs inside each other, and JSON documents; keeps every decoder's recursion bounded."""

STREAMS_OPEN_MAX = 64
"""Streams one recorder holds open, each with two descriptors: one a kind of record. The longest unused is closed."""

JOB_TEXT_MAX = 256
"""Characters of a job's name, of a run's and of a part's."""

REQUEST_ID_MAX = 256
"""Characters of a request's id, which a client may choose."""

PAYLOAD_SIZE_MAX = 1 << 16
"""A text of more characters, or a bytes value of more bytes, goes to a blob; the record has its digest."""

STEPS_MAX = 1_000
"""Steps of one prediction that are kept."""

STEPS_SIZE_MAX = 1 << 20
"""Characters and bytes in the values of one prediction's steps, and in those a generator gave, that are kept."""

SEGMENT_ROWS_MAX = 1_048_576
"""Rows of one segment: 128 row groups of 8,192."""

MERGE_ROWS_MAX = SEGMENT_ROWS_MAX
"""Rows of one merged file."""

MERGE_PARTS_MAX = 1_024
"""Manifests of one merged file: each adds a row group, so some kilobytes to the footer whoever opens the file reads."""

SEGMENT_CONTEXTS_MAX = 256
"""Contexts one manifest may name: 64 hex digits each keeps the entry below half its limit."""

ROW_GROUP_ROWS = 8_192
"""Rows of a Parquet row group; a multiple of `SUBTREE_ROWS`, so a group's subtree roots need no other group."""

DECISION_PREDICTIONS_MAX = 10_000
"""Predictions that one decision was made with."""

KEPT_CONTENT_SIZE_MAX = 1 << 20
"""Bytes of a page that somebody was shown, or of a notice, that are kept with the record."""

RECEIPTS_COUNT_MAX = 65_536
"""Receipts of one file; a browser must be able to check it."""

RECEIPTS_SIZE_MAX = 256 << 20
"""Bytes of such a file: base64 and JSON in memory are a few times as large."""

BUNDLE_RECORDS_MAX = 1_000_000
"""Predictions of one evidence bundle: some gigabytes, and an hour for whoever checks it without Backstory."""

BUNDLE_FOUND_MAX = 100_000
"""Predictions of one bundle that are found by a predicate or a case, which needs all of them in memory at once."""

BUNDLE_RECEIPTS = 8_192
"""Receipts of one file in a bundle; keeps the memory of whoever writes and whoever checks it small."""

BUNDLE_RECEIPTS_SIZE_MAX = 16 << 20
"""Bytes of such a file: 8,192 predictions from 100 numbers each fit, wider ones go into more files."""

BUNDLE_RECEIPTS_FILES_MAX = 9_999
"""Such files in one bundle: their names have four digits."""

REPORT_RECORDS_MAX = 10_000
"""Records that one report proves: whoever checks it holds all of them in memory at once."""

REPORT_ENTRIES_MAX = 20_000
"""Entries that one report cites: each is a file of its own in the bundle."""

BUNDLE_STORIES = 25
"""Predictions whose whole story is told in a bundle, and whose source rows are in it."""

BUNDLE_FILES_MAX = 65_535
"""Files of one bundle."""

ACCESS_IDS_MAX = 10_000
"""Ids, runs or positions one record of an access names; more are more of them."""

SUBTREE_ROWS = 256
"""Leaves under one stored subtree root."""

INTEGER_MAX = 2**53 - 1
"""Largest integer of canonical JSON (RFC 8785 section 3.2.2.3)."""

assert ROW_GROUP_ROWS % SUBTREE_ROWS == 0  # noqa: S101  relation between two constants, checked once at import
assert SEGMENT_ROWS_MAX % ROW_GROUP_ROWS == 0  # noqa: S101
assert MERGE_PARTS_MAX * 23 < ENTRY_SIZE_MAX // 2  # noqa: S101  indexes of up to 20 digits
assert SEGMENT_CONTEXTS_MAX * 68 < ENTRY_SIZE_MAX // 2  # noqa: S101
