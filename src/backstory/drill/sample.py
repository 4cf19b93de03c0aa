"""Cutting a copy down to its oldest records, so that a drill of a large archive takes minutes and not hours.

The copy's log is cut and signed again there with its own key. It cannot be cut before what replaced older files or
keys: what the entries before it speak of is not there any more.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from backstory.drill.forge import checkpoint_of, read_entries, rewrite_log
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.manifest import parse_manifest
from backstory.storage.layout import read_layout
from backstory.tlog.signer import Signer

_SEALED = "segment.sealed"
_STAY = frozenset({"segments.merged", "key.rotated", "key.added", "archive.restored"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Where a copy is cut.

    Attributes:
        size: Entries that stay.
        whole: Entries there are.
        heads: Of each stream the next sequence number under them.
        left_out: Names of files that are of later entries, and not copied.
    """

    size: int
    whole: int
    heads: dict[str, int]
    left_out: frozenset[str]


def choose_sample(root: Path, records: int) -> Sample:
    """Find the longest beginning of a log with no more than so many records; it is of one segment at least.

    Args:
        root: The archive, which is only read.
        records: How many records.
    """
    whole = checkpoint_of(root)[1].size
    documents = [canonical.parse_object(entry, "entry") for entry in read_entries(read_layout(root), whole)]
    least = max((at + 1 for at, document in enumerate(documents) if document["type"] in _STAY), default=1)
    size, total = whole, 0
    for at, document in enumerate(documents):
        if document["type"] == _SEALED:
            count = parse_manifest(document).count
            if total and total + count > records and at >= least:
                size = at
                break
            total += count
    kept = [parse_manifest(document) for document in documents[:size] if document["type"] == _SEALED]
    return Sample(
        size=size,
        whole=whole,
        heads={manifest.stream: manifest.end_seq for manifest in kept},
        left_out=frozenset(name for document in documents[size:] for name in _files_of(document)),
    )


def cut(root: Path, sample: Sample, signers: tuple[Signer, ...]) -> None:
    """Cut the log of a copy, and take out what was not sealed by then."""
    layout = read_layout(root)
    for folder in (layout.spool, root / "promises"):
        if folder.exists():
            shutil.rmtree(folder)
            folder.mkdir()
    rewrite_log(root, lambda entries: entries[: sample.size], signers, sample.heads)


def _files_of(document: JsonObject) -> list[str]:
    """Return the names of the files that hold a segment."""
    if document["type"] != _SEALED:
        return []
    manifest = parse_manifest(document)
    names = [] if manifest.shard is None else [manifest.shard.name, manifest.shard.name.replace(".shard", ".people")]
    return [manifest.file.name, *names, *(f"{name}.json" for name in names)]
