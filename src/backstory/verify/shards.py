"""Judging shards: as they were sealed they have their manifest's digest; rewritten ones say which keys open them now.

Whether the values in them open their commitments is checked with the records. Bytes: docs/format.md section 37.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from backstory.errors import BackstoryError
from backstory.records.manifest import FileRef
from backstory.storage.shard_file import Section, open_shard_file, read_head
from backstory.verify.audit import Audit
from backstory.verify.finding import Severity
from backstory.verify.worker import Answer

Said: TypeAlias = tuple[Severity, str]
"""How bad something is, and what."""


def judge_shard(audit: Audit, shard: FileRef, digest: str, rows: Sequence[Answer]) -> list[Said]:
    """Say what is wrong with a shard that is there, and count what was erased from it.

    Args:
        audit: The verification.
        shard: The shard as its manifest names it.
        digest: SHA-256 of the file, in hex.
        rows: What the tasks over its records found.
    """
    if digest == shard.sha256:
        return []
    sections = _rewritten(audit, shard)
    if sections is None:
        return [("failed", "the file's digest is not the one in its entry: it was changed")]
    keys = audit.keys_of(shard.name, (section.domain for section in sections))
    for section in sections:
        if section.domain in keys and section.key not in keys[section.domain] and section.is_rewritten:
            return [("failed", f"it names a key that is not here (domain {section.domain}): it was changed")]
    said = sum(section.erased for section in sections if section.domain in keys)
    counted = sum(answer.erased for answer in rows)
    if rows and counted != said and not any(answer.failed or answer.unknown for answer in rows):
        return [("failed", f"{counted} of its values were erased, it says {said}: it was changed")]
    return []


def look_at_shard(audit: Audit, shard: FileRef, size: int) -> list[Said]:
    """Say what is wrong with the size of a shard that an earlier audit read, and count what was erased from it."""
    if size == shard.size or _rewritten(audit, shard) is not None:
        return []
    return [("failed", f"has {size} bytes, its entry says {shard.size}; an earlier audit read it")]


def count_erased_rows(audit: Audit, name: str, answers: Iterable[Answer]) -> None:
    """Count the rows that were erased from a table about persons."""
    erased = sum(answer.erased for answer in answers)
    if erased:
        audit.erased[name] = erased


def _rewritten(audit: Audit, shard: FileRef) -> tuple[Section, ...] | None:
    """Return what a rewritten shard says of its sections, and count what was erased; None if it is not one."""
    try:
        with open_shard_file(audit.layout.vault / shard.name) as file:
            sections = read_head(file, shard.name)[0]
    except BackstoryError:
        return None
    if not any(section.is_rewritten for section in sections):
        return None
    audit.erased[shard.name] = sum(section.erased for section in sections)
    return sections
