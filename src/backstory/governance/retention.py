"""Rules in force and where an archive stands against them: what is overdue, what is held, how old what is."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.errors import FormatError, InputError
from backstory.governance.disposal import Counted, counted, disposals
from backstory.governance.freeze import Freeze, freezes
from backstory.governance.hold import Hold, holds, is_review_due
from backstory.governance.keeping import RULES, Keeping
from backstory.governance.proposal import Proposal, propose
from backstory.governance.retention_rules import parse_rules
from backstory.governance.retention_scope import look_at
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import manifests
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.identity import parse_time, time_text
from backstory.records.manifest import Manifest
from backstory.storage.disk import read_file

PROFILES = ("employment-california", "eu-default", "us-credit")
"""Sets of rules to start from. Counsel must confirm their figures."""
_YEAR_NS = 31_556_952 * 10**9
"""The mean year of the calendar, for ages in tables; rules count calendar months."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassStatus:
    """Where the records of a kind stand.

    Attributes:
        kind: Kind of the records.
        records: How many are sealed and there.
        gone: How many rows were disposed of.
        held: How many a hold or freeze reaches.
        years: How many are how old: by whole years, rounded down.
        oldest: Time of the oldest that is there, RFC 3339; None without any.
    """

    kind: str
    records: int
    gone: int
    held: int
    years: dict[int, int]
    oldest: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Where an archive stands against its rules.

    Attributes:
        time: The moment, RFC 3339.
        rules: How many rules are in force.
        classes: By kind of record.
        overdue: What is past its ceiling and kept by nothing.
        holds: The holds that are not released.
        reviews: Names of those whose review is due.
        freezes: The freezes that are not lifted.
        unfinished: Names of disposals that were begun and are not completed.
        late: Names of holds released more than 30 days ago while something is overdue.
    """

    time: str
    rules: int
    classes: tuple[ClassStatus, ...]
    overdue: tuple[Counted, ...]
    holds: tuple[Hold, ...]
    reviews: tuple[str, ...]
    freezes: tuple[Freeze, ...]
    unfinished: tuple[str, ...]
    late: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        return asdict(self)


def read_profile(given: str | Path, models: Sequence[str] = ()) -> JsonObject:
    """Return a set of rules as the document that is proposed.

    Args:
        given: Name of one that is shipped, or path of a TOML file; its name is the set's.
        models: Patterns of names of models that it is for; none for all.

    Raises:
        InputError: There is no such profile.
        FormatError: It holds no rules.
        StorageError: The file cannot be read.
    """
    if str(given) in PROFILES:
        data = resources.files("backstory.governance").joinpath("profiles", f"{given}.toml").read_bytes()
        name = str(given)
    elif Path(given).suffix == ".toml":
        data, name = read_file(Path(given)), Path(given).stem
    else:
        raise InputError(f"retention: expected {', '.join(PROFILES)} or the path of a .toml file, got {str(given)!r}")
    try:
        table = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"retention rules {name}: not TOML: {error}") from None
    rules: JsonValue = table.get("rules", [])
    if set(table) - {"rules"}:
        raise FormatError(f"retention rules {name}: expected only [[rules]]")
    document: JsonObject = {"models": list(models), "name": name, "rules": rules, "v": 1}
    if not models:
        del document["models"]
    parse_rules(document)
    return document


def adopt(ledger: Ledger, given: str | Path, models: Sequence[str] = ()) -> Proposal:
    """Propose a set of rules; it is in force, in the place of the set of its name, when another person approves.

    Raises:
        ForbiddenError: The archive was opened without an actor.
        InputError: There is no such profile.
        FormatError: It holds no rules.
    """
    document = read_profile(given, models)
    return propose(ledger, RULES, str(document["name"]), document)


def status(ledger: Ledger, now_ns: int) -> Status:
    """Return where an archive stands at a moment, nanoseconds since 1970.

    Raises:
        NotFoundError: The keys of the vault are not here, so that nobody can say what is overdue.
    """
    keeping = Keeping(ledger, now_ns)
    overdue = tuple(counted(keeping.overdue()))
    all_holds = holds(ledger)
    late = [one.name for one in all_holds if one.due is not None and parse_time(one.due) < now_ns and overdue]
    return Status(
        time=time_text(now_ns),
        rules=len(keeping.rules),
        classes=tuple(_class_status(keeping, kind) for kind in ledger.catalog.kinds()),
        overdue=overdue,
        holds=tuple(one for one in all_holds if one.released is None),
        reviews=tuple(one.name for one in all_holds if is_review_due(one, now_ns)),
        freezes=tuple(one for one in freezes(ledger) if one.lifted is None),
        unfinished=tuple(one.name for one in disposals(ledger) if one.executed is None),
        late=tuple(late),
    )


def _class_status(keeping: Keeping, kind: str) -> ClassStatus:
    records = gone = held = 0
    years: Counter[int] = Counter()
    oldest: int | None = None
    for position, manifest in manifests(keeping.ledger, kind):
        table = look_at(keeping.ledger, manifest)
        times = table["time"].drop_null().cast(pa.int64())
        records += len(times)
        gone += table.num_rows - len(times)
        held += _held(keeping, position, manifest, table)
        if len(times):
            first = pc.min(times).as_py()
            oldest = first if oldest is None else min(oldest, first)
            years.update(max(keeping.now - moment, 0) // _YEAR_NS for moment in times.to_pylist())
    return ClassStatus(
        kind=kind,
        records=records,
        gone=gone,
        held=held,
        years=dict(sorted(years.items())),
        oldest=None if oldest is None else time_text(oldest),
    )


def _held(keeping: Keeping, position: int, manifest: Manifest, table: pa.Table) -> int:
    masks = [mask for _, mask in keeping.reached(position, manifest, table)]
    return int(np.logical_or.reduce(masks).sum()) if masks else 0
