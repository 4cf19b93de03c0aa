"""What a plant is: one fault or fraud, who is expected to catch it, and what it would mean if nobody did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from backstory.drill.checks import Stage


class NotPlantableError(Exception):
    """This archive has nothing to plant a fault of this kind in; says what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """One fault or fraud.

    Attributes:
        name: How it is chosen and reported.
        fault: Its kind, in the words of an auditor.
        means: What it would mean, had it not been caught.
        needed: Checks that must catch it.
        shown: Checks that are let look too, to show what they do not see alone.
        act: Plants it in a stage's copy, names there what a finding must name, and says what it did.
    """

    name: str
    fault: str
    means: str
    needed: tuple[str, ...]
    act: Callable[[Stage], str]
    shown: tuple[str, ...] = ()
