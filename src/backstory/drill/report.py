"""The report of a drill, as text to be filed and as JSON. Bytes: docs/format.md section 21."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from backstory.drill.checks import Catch
from backstory.drill.walk import SEALED, Walk
from backstory.lineage.plain import count_text
from backstory.records import canonical
from backstory.records.canonical import JsonObject

HELD_TYPE = "drill.held"
State = Literal["caught", "NOT CAUGHT", "not planted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one plant.

    Attributes:
        name: The plant.
        fault: Its kind.
        state: Whether everybody who must catch it did.
        did: What was done; why it could not be, for one that was not planted.
        means: What it would have meant.
        catches: What each check said.
    """

    name: str
    fault: str
    state: State
    did: str
    means: str
    catches: tuple[Catch, ...] = ()

    def to_dict(self) -> JsonObject:
        """Return it as JSON-safe values."""
        return {
            "catches": [catch.to_dict() for catch in self.catches],
            "did": self.did,
            "fault": self.fault,
            "means": self.means,
            "name": self.name,
            "state": self.state,
        }

    def lines(self) -> list[str]:
        """Return it for a reader."""
        lines = [f"{self.state}: {self.fault} ({self.name})"]
        if self.state == "not planted":
            return [*lines, f"    why: {self.did}"]
        lines += [f"    planted: {self.did}", f"    uncaught it would mean: {self.means}"]
        for catch in self.catches:
            when = _seconds(catch)
            if catch.is_catch:
                lines.append(f"    {catch.by}, {when}: {catch.finding}")
            elif catch.finding is not None:
                lines.append(f"    {catch.by}, {when}: cries wolf, so this does NOT COUNT: {catch.finding}")
            elif catch.needed:
                lines.append(f"    {catch.by}, {when}: SAW NOTHING, and was to catch it")
            else:
                lines.append(f"    {catch.by}, {when}: sees nothing; alone it cannot")
        return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What everybody said of an honest copy.

    Attributes:
        did: What the copy is.
        looks: What each check said; nothing, if it is any good.
    """

    did: str
    looks: tuple[Catch, ...]

    @property
    def wolves(self) -> tuple[str, ...]:
        """Who found something though nothing was planted."""
        return tuple(look.by for look in self.looks if look.finding is not None)

    def to_dict(self) -> JsonObject:
        """Return it as JSON-safe values."""
        return {"did": self.did, "looks": [look.to_dict() for look in self.looks]}

    def lines(self) -> list[str]:
        """Return it for a reader."""
        lines = ["control: nothing is planted, and whoever finds something cries wolf", f"    shown: {self.did}"]
        for look in self.looks:
            said = "finds nothing" if look.finding is None else f"CRIES WOLF: {look.finding}"
            lines.append(f"    {look.by}, {_seconds(look)}: {said}")
        return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillReport:
    """What a drill showed.

    Attributes:
        time: When it began, RFC 3339.
        origin: The log.
        tree_size: Entries under its checkpoint.
        root: Its root, in hex.
        vkey: The key that outsiders pinned.
        pinned: Whether it came from outside the archive.
        versions: Of Backstory, Python and what else matters.
        seed: What chose the predictions to walk.
        records: Records in the copy.
        notes: What is to be known about the copy.
        control: What was said of an honest copy.
        outcomes: What became of each plant.
        walks: What became of each prediction.
        milliseconds: How long it took.
    """

    time: str
    origin: str
    tree_size: int
    root: str
    vkey: str
    pinned: bool
    versions: dict[str, str]
    seed: int
    records: int
    notes: tuple[str, ...]
    control: Control
    outcomes: tuple[Outcome, ...]
    walks: tuple[Walk, ...]
    milliseconds: int

    def count(self, state: State) -> int:
        """Return how many plants ended so."""
        return sum(outcome.state == state for outcome in self.outcomes)

    @property
    def opened(self) -> int:
        """How many predictions were walked with their sealed values opened."""
        return sum(walk.opened for walk in self.walks)

    @property
    def failed(self) -> bool:
        """Whether something planted was not caught, somebody cries wolf, or a prediction could not be followed."""
        return bool(self.count("NOT CAUGHT") or self.control.wolves) or any(walk.failed for walk in self.walks)

    @property
    def incomplete(self) -> bool:
        """Whether something could not be planted or replayed; sealed walks may be missing, if one was made whole."""
        is_walked = any(walk.is_whole for walk in self.walks)
        return self.count("not planted") > 0 or self._stuck > 0 or not is_walked

    @property
    def _sealed(self) -> int:
        return sum(walk.replay == SEALED for walk in self.walks)

    @property
    def _stuck(self) -> int:
        return sum(not walk.is_whole and walk.replay != SEALED for walk in self.walks)

    @property
    def verdict(self) -> str:
        """One sentence on what the drill showed."""
        caught, planted = self.count("caught"), len(self.outcomes) - self.count("not planted")
        said = f"{caught} of {planted} planted faults and frauds were caught"
        lost = sum(walk.failed for walk in self.walks)
        if self.failed:
            wolves = "".join(f"; cries wolf: {by}" for by in self.control.wolves)
            followed = f"; {count_text(lost, 'prediction')} could not be followed" if lost else ""
            return f"FAILED: {said}{wolves}{followed}"
        missing = [f"{self.count('not planted')} could not be planted"] if self.count("not planted") else []
        missing += [f"{count_text(self._stuck, 'prediction')} could not be replayed"] if self._stuck else []
        missing += [f"{count_text(self._sealed, 'prediction')} not walked: sealed"] if self._sealed else []
        missing += [] if self.walks else ["no prediction was walked"]
        told = f"{said}; {', '.join(missing)}" if missing else said
        return f"INCOMPLETE: {told}" if self.incomplete else f"passed: {told}"

    @property
    def data(self) -> bytes:
        """The report in canonical JSON: what the entry in the log is about."""
        return canonical.encode(self.to_dict())

    @property
    def digest(self) -> str:
        """SHA-256 of `data`, in hex."""
        return hashlib.sha256(self.data).hexdigest()

    def entry(self) -> JsonObject:
        """Return the entry that says that the drill was held."""
        return {
            "caught": self.count("caught"),
            "not_planted": self.count("not planted"),
            "opened": self.opened,
            "planted": len(self.outcomes) - self.count("not planted"),
            "report": self.digest,
            "type": HELD_TYPE,
        }

    def to_dict(self) -> JsonObject:
        """Return it as JSON-safe values."""
        return {
            "caught": self.count("caught"),
            "control": self.control.to_dict(),
            "kind": "drill",
            "milliseconds": self.milliseconds,
            "not_planted": self.count("not planted"),
            "notes": list(self.notes),
            "opened": self.opened,
            "origin": self.origin,
            "pinned": self.pinned,
            "planted": len(self.outcomes) - self.count("not planted"),
            "plants": [outcome.to_dict() for outcome in self.outcomes],
            "records": str(self.records),
            "root": self.root,
            "seed": str(self.seed),
            "time": self.time,
            "tree_size": str(self.tree_size),
            "v": 1,
            "verdict": self.verdict,
            "versions": dict(self.versions),
            "vkey": self.vkey,
            "walks": [walk.to_dict() for walk in self.walks],
        }

    def __str__(self) -> str:
        """Return it for a reader."""
        pinned = "pinned from outside" if self.pinned else "the archive's own; nobody pinned one"
        lines = [
            f"drill of {self.time}: {self.verdict}",
            f"archive: {self.origin}, tree size {self.tree_size}, root {self.root}",
            f"in the copies: {self.records:,} sealed records",
            f"public key: {self.vkey} ({pinned})",
            f"versions: {', '.join(f'{name} {version}' for name, version in self.versions.items())}",
            f"took {self.milliseconds / 1000:.0f} s; seed {self.seed}; SHA-256 of this report as JSON {self.digest}",
            *(f"note: {note}" for note in self.notes),
            *(
                [f"sealed values opened in {self.opened} of the walks; the archive's log says so"]
                if self.opened
                else []
            ),
            "",
            *self.control.lines(),
            "",
            *(line for outcome in self.outcomes for line in outcome.lines()),
            "",
            *(line for one in self.walks for line in _walk_lines(one)),
        ]
        return "\n".join(lines).rstrip("\n")


def _seconds(look: Catch) -> str:
    return f"{look.milliseconds / 1000:.2f} s"


def _walk_lines(one: Walk) -> list[str]:
    took = ", ".join(f"{step} {milliseconds} ms" for step, milliseconds in one.milliseconds.items())
    lines = [f"prediction {one.id}: {took}"]
    if one.problem:
        return [*lines, f"    FAILED: {one.problem}"]
    if one.replay == SEALED:
        return [*lines, f"    not walked: sealed: {one.reason}; the receipt verifies"]
    could = "could not be replayed" if one.replay == "not-replayable" else f"replay {one.replay}"
    return [*lines, f"    {could}: {one.reason}; the receipt verifies"]
