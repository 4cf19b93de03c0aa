"""Every maximum of the log's formats, with its unit and its reason.

This module holds numbers only; the modules that parse and encode refuse what is over them.
"""

from __future__ import annotations

from typing import Final

HASH_SIZE: Final = 32
"""Bytes of a SHA-256 hash."""

TREE_SIZE_MAX: Final = 2**63 - 1
"""Leaves. C2SP: sizes and indexes fit a signed 64-bit integer."""

TIME_MAX: Final = 2**63 - 1
"""POSIX seconds of a cosignature; C2SP."""

FUTURE_TIME_MAX: Final = 60
"""Seconds. How far a witness's clock may be ahead of the reader's before its cosignature does not count."""

POLICY_SIZE_MAX: Final = 128 << 10
"""Bytes of a policy file; room for 70 witnesses with the largest kind of key. Checking a key takes time."""

PROOF_HASHES_MAX: Final = 63
"""Hashes. No proof in a tree of at most 2**63 - 1 leaves is longer, and C2SP sets the same cap."""

TILE_LEVEL_MAX: Final = 63
"""Highest tile level a path may name; C2SP."""

ENTRY_SIZE_MAX: Final = 65_535
"""Bytes of one log entry: its length is written as two bytes."""

KEY_NAME_SIZE_MAX: Final = 255
"""UTF-8 bytes of a key name or origin: cosignatures write its length as one byte."""

NOTE_SIZE_MAX: Final = 1_000_000
"""Bytes of a signed note; room for `NOTE_SIGNATURES_MAX` signatures of the largest known kind."""

NOTE_SIGNATURES_MAX: Final = 100
"""Signature lines of a note. C2SP demands at least 16; the Go implementation stops at 100 too."""

PROOF_EXTRA_SIZE_MAX: Final = 16 * 2**20
"""Bytes of a proof file's extra data before base64: a receipt with every group opened stays far below."""
