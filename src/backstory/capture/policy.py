"""What a recorder promises, and what it does where it cannot keep up or cannot write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from backstory.errors import InputError
from backstory.records.canonical import JsonObject

Durability = Literal["sync", "group", "async"]
OnFull = Literal["block", "spill", "refuse"]
OnFailure = Literal["closed", "open"]

SYNC_INTERVAL_NS: dict[Durability, int] = {"sync": 0, "group": 0, "async": 5 * 10**9}
"""How long written records may wait for a flush to the device; they are written every 25 ms."""
BUFFER_SIZE = 16 << 20
"""Bytes of single records a stream holds in memory at most, where nothing else is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a deployment records; it stands in every context and in every stream's description.

    Attributes:
        durability: `sync`: a record is on disk before the prediction is given out. `group`: at most 50 ms later.
            `async`: at most 5 s later.
        on_full: What happens where records come faster than they can be written. `block` and `spill`: the caller
            waits; with `spill` they go to another directory where the spool cannot be written. `refuse`: they are
            refused, counted, and the log says how many.
        on_failure: `closed`: a prediction whose record cannot be kept is not given out, an error is raised. `open`: it
            is given out, counted as refused, and the log says how many.
        spill: Directory, best on another disk, where records go while the spool cannot be written, under `spill`.
        buffer_size: Bytes of single records a stream holds in memory until they are written.
    """

    durability: Durability = "group"
    on_full: OnFull = "block"
    on_failure: OnFailure = "closed"
    spill: str | None = None
    buffer_size: int = BUFFER_SIZE

    def __post_init__(self) -> None:
        """Refuse what is no policy.

        Raises:
            InputError: A word is none of its field's, or the buffer is empty.
        """
        for name, words in (("durability", Durability), ("on_full", OnFull), ("on_failure", OnFailure)):
            if getattr(self, name) not in get_args(words):
                expected = ", ".join(map(repr, get_args(words)))
                raise InputError(f"policy: expected {name} to be one of {expected}, got {getattr(self, name)!r}")
        if self.buffer_size <= 0:
            raise InputError(f"policy: expected a buffer of at least one byte, got {self.buffer_size}")
        if (self.on_full == "spill") is (self.spill is None):
            raise InputError("policy: expected a spill directory exactly where on_full is 'spill'")

    def document(self) -> JsonObject:
        """Return it as it stands in a context."""
        return {"durability": self.durability, "on_failure": self.on_failure, "on_full": self.on_full}
