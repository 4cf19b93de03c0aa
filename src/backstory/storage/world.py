"""What an archive takes from outside, so that tests can bring their own."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from backstory.storage.disk import Disk


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What an archive takes from outside: the clock, randomness, the disk. Tests bring their own.

    Attributes:
        now_ns: Nanoseconds since the epoch, UTC.
        monotonic_ns: Nanoseconds of a clock nobody sets.
        random_bytes: Returns that many random bytes.
        disk: Writes files durably.
    """

    now_ns: Callable[[], int] = time.time_ns
    monotonic_ns: Callable[[], int] = time.monotonic_ns
    random_bytes: Callable[[int], bytes] = secrets.token_bytes
    disk: Disk = field(default_factory=Disk)
