"""Every parser that is fuzzed."""

from __future__ import annotations

from tests.fuzz import of_bundles, of_erasures, of_log, of_membership, of_receipts, of_records, of_storage, of_vault

PARSERS = {
    **of_log.PARSERS,
    **of_records.PARSERS,
    **of_storage.PARSERS,
    **of_receipts.PARSERS,
    **of_bundles.PARSERS,
    **of_membership.PARSERS,
    **of_erasures.PARSERS,
    **of_vault.PARSERS,
}
