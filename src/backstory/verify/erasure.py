"""Checking that no more is missing than the log accounts for: by erasures of persons, and by disposals.

Whoever can write into the vault can make values disappear as an erasure does, and nothing shows that by itself. The log
says how many values went; the audit counts how many are gone.
"""

from __future__ import annotations

from backstory.errors import BackstoryError
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.commitment import verify_opening
from backstory.records.erasure import ERASED_TYPE, Erased, parse_erased
from backstory.records.row import encode_row
from backstory.storage.disk import read_file
from backstory.storage.vault import open_opening, openings_key
from backstory.verify.audit import Audit
from backstory.verify.entries import Entries

DISPOSED_TYPE = "disposal.begun"
_MEANS_MORE = "sealed values are gone that nobody said were erased or disposed of: they were destroyed, or hidden"
_MEANS_TABLE = "erased, or kept elsewhere: whether it is as it was is not known"


def is_lost(audit: Audit, name: str) -> bool:
    """Say whether a table about people is not here, nor its keys; and count it."""
    if (audit.layout.vault / name).is_file() or audit.keys.has(name):
        return False
    audit.lost.add(name)
    return True


def check_erasures(audit: Audit, entries: Entries) -> None:
    """Compare what is missing with what the log accounts for; everything else was looked at before."""
    values, tables = 0, 0
    for index, entry in entries.documents(ERASED_TYPE):
        try:
            erased = parse_erased(entry)
            counts = _counts(audit, erased)
        except BackstoryError as error:
            audit.add("failed", "log", error, index=index, meaning=_MEANS_MORE)
            continue
        values += counts["values"]
        tables += counts["tables"]
    for _, entry in entries.documents(DISPOSED_TYPE):
        values += _disposed(entry)
        tables += canonical.count_of(entry, "tables") if "tables" in entry else 0
    missing = sum(audit.erased.values())
    if missing > values and entries.is_whole:
        what = f"{missing} sealed values or rows are missing in rewritten shards; the log accounts for {values}"
        audit.add("failed", "vault", what, meaning=_MEANS_MORE)
    if len(audit.lost) <= tables:
        if audit.lost:
            audit.add("note", "vault", f"{len(audit.lost)} tables about people are not here: erasures destroyed them")
        return
    for name in sorted(audit.lost):
        audit.add("unknown", f"vault/{name}", f"{name} was not checked: its keys are not here", meaning=_MEANS_TABLE)


def _counts(audit: Audit, erased: Erased) -> dict[str, int]:
    """Return how much an erasure took: exactly where the opening is here, else at most.

    Raises:
        BackstoryError: The opening does not open the commitment.
    """
    path = audit.layout.vault / "openings" / erased.counts
    if not path.is_file() or not audit.keys.has(openings_key(erased.counts)):
        return {"tables": erased.tables, "values": erased.values}
    opening = open_opening(audit.keys.get(openings_key(erased.counts)), read_file(path), erased.counts)
    text = canonical.text_of(opening, "name")
    salt = bytes.fromhex(canonical.text_of(opening, "salt"))
    verify_opening(bytes.fromhex(erased.counts), "counts", salt, encode_row([("name", "string", text)]))
    document = canonical.parse_object(text.encode(), "counts of an erasure")
    return {name: canonical.count_of(document, name) for name in ("tables", "values")}


def _disposed(entry: JsonObject) -> int:
    """Return how many sealed values a disposal took."""
    classes = entry.get("classes")
    return sum(
        canonical.count_of(one, "count")
        for one in (classes if isinstance(classes, list) else ())
        if isinstance(one, dict) and "/payload" in str(one.get("class"))
    )
