"""Checking segments and vault shards against their manifests, wherever the records of a segment are now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from backstory.columns.tree import HASH_SIZE, root_of_subtrees
from backstory.errors import BackstoryError, FormatError
from backstory.records.canonical import JsonObject
from backstory.records.limits import SUBTREE_ROWS
from backstory.records.manifest import MANIFEST_TYPE, FileRef, Manifest, parse_manifest
from backstory.records.schema import parse_schema
from backstory.storage.blobs import BlobStore, file_digest
from backstory.storage.disk import TEMPORARY_PREFIX, Disk
from backstory.storage.segment import ParquetReader, group_count_of, subtree_count_of
from backstory.verify.audit import GROUPS_PER_TASK, Audit
from backstory.verify.held import HeldFile, Part, held_files
from backstory.verify.log import later_entries
from backstory.verify.worker import Answer, Task, first_difference


def check_segments(
    audit: Audit,
    entries: Sequence[JsonObject | None],
    manifests: Sequence[tuple[int, Manifest]],
    size_now: Callable[[], int],
) -> None:
    """Hash every record of every segment, over all cores.

    Args:
        audit: The verification.
        entries: The log's entries, None where one could not be read.
        manifests: Those of them that are manifests, with their indexes.
        size_now: Gives the size of the log once no commit is under way: segments may be merged meanwhile.
    """
    for index, manifest in manifests:
        audit.blobs_named |= {manifest.schema, *manifest.contexts}
        if manifest.shard is not None:
            _check_shard(audit, index, manifest, manifest.shard)
    files, problems = held_files(entries, manifests)
    for index, problem in problems:
        audit.add("failed", f"entry {index}", problem)
    known = {file.ref.name for file in files}
    while gone := _check_files(audit, files):
        entries, manifests = _grown(audit, entries, manifests, size_now())
        files = _where_now(audit, gone, held_files(entries, manifests)[0])
        known |= {file.ref.name for file in files}
    audit.counts["segments"] = len(audit_manifests)
    audit.counts["records"] = sum(manifest.count for _, manifest in manifests)
    _note_others(audit, known, manifests)
