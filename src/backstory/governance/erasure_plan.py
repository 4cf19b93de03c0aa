"""What an erasure is about to do, kept until it is done: so that whoever comes after a crash goes on with it.

A plan names a person and their records, so it is kept in the vault, encrypted under a key of its own that is destroyed
for good with it. Bytes: docs/format.md section 38.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from backstory.errors import ForbiddenError, FormatError, NotFoundError
from backstory.ledger.ledger import Ledger
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.storage.keys import KEY_SIZE

_NAME_SIZE: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an erasure is about to do.

    Attributes:
        subject: The person's id.
        ground: Why.
        request: Commitment to what was asked, in hex; None where nothing was said.
        time: When the erasure began, in nanoseconds: later records of the person are not erased.
        leaves: Salt and text of each leaf about a record or row.
        others: Leaf hashes that fill the tree up.
        records: By index of a manifest and group, rows of its segment.
        tables: By shard, rows of a table about people.
        lost: Shards that go whole.
        openings: Commitments whose openings go, in hex.
        rekey: Name of the key of keyed digests that goes; None where it stays.
        values: How many values there were to erase.
        tables_lost: How many of the shards that go whole are no sketches.
        waits: Streams that other processes hold, whose records of the person come to light when they let go; and
            `workers' spools`.
        size: Tree size at which the person was last looked for.
        follows: Root of the erasure that this one completes, in hex.
        erased: Ids of the records that earlier parts of it erased: what comes in about these is erased too.
        partial: Whether records of the person must be kept.
        has_begun: Whether anything may have been destroyed; if not, only records that are waited for are erased.
    """

    subject: str
    ground: str
    request: str | None
    time: int
    leaves: tuple[tuple[bytes, str], ...] = ()
    others: tuple[bytes, ...] = ()
    records: Mapping[int, Mapping[str, tuple[int, ...]]]
    tables: Mapping[str, tuple[int, ...]]
    lost: tuple[str, ...] = ()
    openings: tuple[str, ...] = ()
    rekey: str | None = None
    values: int = 0
    tables_lost: int = 0
    waits: tuple[str, ...] = ()
    size: int = 0
    follows: str | None = None
    erased: tuple[str, ...] = ()
    partial: bool = False
    has_begun: bool = True

    def encode(self) -> bytes:
        """Return the plan as canonical JSON."""
        document: JsonObject = {
            "erased": list(self.erased),
            "follows": self.follows,
            "ground": self.ground,
            "has_begun": self.has_begun,
            "leaves": [[salt.hex(), text] for salt, text in self.leaves],
            "lost": list(self.lost),
            "openings": list(self.openings),
            "partial": self.partial,
            "others": [one.hex() for one in self.others],
            "records": {
                str(index): {group: list(rows) for group, rows in groups.items()}
                for index, groups in self.records.items()
            },
            "rekey": self.rekey,
            "request": self.request,
            "size": str(self.size),
            "subject": self.subject,
            "tables_lost": str(self.tables_lost),
            "tables": {name: list(rows) for name, rows in self.tables.items()},
            "time": str(self.time),
            "v": 1,
            "values": str(self.values),
            "waits": list(self.waits),
        }
        return canonical.encode(document)


@contextmanager
def hold_erasing(ledger: Ledger, *, wait: bool) -> Iterator[None]:
    """Keep others from erasing meanwhile, so that a plan is performed by one process at a time.

    Args:
        ledger: The archive.
        wait: Whether to wait for another process that erases.

    Raises:
        BusyError: Another process erases, and this one is not to wait.
        ForbiddenError: The archive cannot be written.
    """
    if not ledger.writable:
        raise ForbiddenError("archive is open for reading only: expected mode 'rw' to erase")
    with ledger.vault.hold_plans(wait=wait):
        yield


def write_plan(ledger: Ledger, plan: Plan, name: str | None = None) -> str:
    """Keep a plan durably, in the place of an earlier one of that name, and return its name."""
    name = name or ledger.world.random_bytes(_NAME_SIZE).hex()
    ledger.vault.plans.write(name, plan.encode(), ledger.world.random_bytes(KEY_SIZE))
    return name


def plans(ledger: Ledger) -> Iterator[tuple[str, Plan]]:
    """Yield the plans that are kept, with their names; one whose key was destroyed is done, and is removed.

    Raises:
        FormatError: One is malformed.
        VerificationError: One was changed.
    """
    for name in ledger.vault.plans.names():
        try:
            data = ledger.vault.plans.read(name)
        except NotFoundError:
            remove_plan(ledger, name)
            continue
        yield name, _parse(data)


def remove_plan(ledger: Ledger, name: str) -> None:
    """Destroy a plan: its key for good, then the file."""
    ledger.vault.plans.remove(name)


def _parse(data: bytes) -> Plan:
    what = "plan of an erasure"
    document = canonical.parse_object(data, what)
    canonical.check_version(document, 1, what)
    try:
        return Plan(
            subject=canonical.text_of(document, "subject"),
            ground=canonical.text_of(document, "ground"),
            request=_text(document["request"]),
            time=int(canonical.text_of(document, "time")),
            leaves=tuple((bytes.fromhex(salt), text) for salt, text in _pairs(document["leaves"])),
            others=tuple(bytes.fromhex(one) for one in _texts(document["others"])),
            records={int(at): _rows(groups) for at, groups in _members(document["records"])},
            tables=_rows(document["tables"]),
            lost=_texts(document["lost"]),
            openings=_texts(document["openings"]),
            rekey=_text(document["rekey"]),
            values=canonical.count_of(document, "values"),
            tables_lost=canonical.count_of(document, "tables_lost"),
            waits=_texts(document["waits"]),
            size=canonical.count_of(document, "size"),
            follows=_text(document["follows"]),
            erased=_texts(document["erased"]),
            partial=document["partial"] is True,
            has_begun=document["has_begun"] is True,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{what}: it is malformed") from error


def _text(value: JsonValue) -> str | None:
    return None if value is None else str(value)


def _texts(value: JsonValue) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(str(one) for one in value)


def _pairs(value: JsonValue) -> Iterator[tuple[str, str]]:
    if not isinstance(value, list):
        raise TypeError
    for one in value:
        first, second = _texts(one)
        yield first, second


def _members(value: JsonValue) -> Iterator[tuple[str, JsonValue]]:
    if not isinstance(value, dict):
        raise TypeError
    yield from value.items()


def _rows(value: JsonValue) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for name, rows in _members(value):
        if not isinstance(rows, list):
            raise TypeError
        found[name] = tuple(int(str(row)) for row in rows)
    return found
