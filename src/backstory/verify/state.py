"""What an auditor remembers from one audit to the next: a file kept outside the archive. Bytes: docs/format.md.

It is believed: whoever can change it decides what is not read again. What it says of the log itself is checked, as the
log's entries are read in every run: a log that does not begin with what was audited is a finding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from backstory.errors import FormatError, InputError, UnsupportedVersionError
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.identity import check_digest, parse_time, time_text
from backstory.storage.disk import read_file
from backstory.storage.world import World
from backstory.tlog.checkpoint import Checkpoint

VERSION = 1
OPEN_MAX = 10_000
"""So many files that were not as they should be are remembered one by one; with more all are read again."""
RENEW_SECONDS = 5.0
"""So often the file is renewed while an audit runs."""

_MEMBERS = frozenset(
    {"checkpoint", "full", "open", "origin", "others", "payloads", "segments", "sizes", "time", "v", "vkey", "whole"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditState:
    """What was audited, and how.

    Attributes:
        origin: Origin of the log.
        vkey: The log's key in force under the checkpoint.
        note: The checkpoint as it was signed.
        size: Its size: all entries before were read and lead to its root.
        root: That root.
        time: When, RFC 3339, by the auditor's clock.
        segments: The files of records that entries before this one name were read whole and found good, but `open`.
        open: Indexes of entries before `segments` whose files were not.
        others: The same of everything else that entries before this one name: blobs, snapshots, tables in the vault.
        named: SHA-256 over names and sizes of these.
        unnamed: SHA-256 over names and sizes of the blobs that no entry names, as records may.
        payloads: How many of those there were.
        full: Where everything is being read again: when that began, and up to which entry it has come; else None.
        whole: When everything was last read, whatever earlier audits had read; None if it never was.
    """

    origin: str
    vkey: str
    note: bytes
    size: int
    root: bytes
    time: str
    segments: int = 0
    open: tuple[int, ...] = ()
    others: int = 0
    named: str = "0" * 64
    unnamed: str = "0" * 64
    payloads: int = 0
    full: tuple[str, int] | None = None
    whole: str | None = None

    def encode(self) -> bytes:
        """Return the file's bytes."""
        full: JsonObject | None = None if self.full is None else {"began": self.full[0], "segments": str(self.full[1])}
        return canonical.encode(
            {
                "checkpoint": {"note": self.note.decode(), "root": self.root.hex(), "size": str(self.size)},
                "full": full,
                "open": [str(index) for index in self.open],
                "origin": self.origin,
                "others": str(self.others),
                "payloads": str(self.payloads),
                "segments": str(self.segments),
                "sizes": {"named": self.named, "unnamed": self.unnamed},
                "time": self.time,
                "v": VERSION,
                "vkey": self.vkey,
                "whole": self.whole,
            }
        )


def parse_state(data: bytes) -> AuditState:
    """Read an auditor's state.

    Raises:
        UnsupportedVersionError: It is of a newer version.
        FormatError: It is none.
    """
    what = "audit state"
    document = canonical.parse_object(data, what)
    version = document.get("v")
    if isinstance(version, int) and version is not True and version > VERSION:
        raise UnsupportedVersionError(f"{what}: expected version {VERSION}, got {version}; use a newer Backstory")
    canonical.check_version(document, VERSION, what)
    head, sizes, full, opened = (document.get(key) for key in ("checkpoint", "sizes", "full", "open"))
    if (
        set(document) != _MEMBERS
        or not isinstance(head, dict)
        or set(head) != {"note", "root", "size"}
        or not isinstance(sizes, dict)
        or set(sizes) != {"named", "unnamed"}
        or not isinstance(opened, list)
        or not (full is None or (isinstance(full, dict) and set(full) == {"began", "segments"}))
    ):
        raise FormatError(f"{what}: has other members than version {VERSION}")
    whole = document.get("whole")
    state = AuditState(
        origin=canonical.text_of(document, "origin"),
        vkey=canonical.text_of(document, "vkey"),
        note=canonical.text_of(head, "note").encode(),
        size=canonical.count_of(head, "size"),
        root=bytes.fromhex(check_digest(head.get("root"), f"{what}'s root")),
        time=_time(document, "time"),
        segments=canonical.count_of(document, "segments"),
        open=tuple(canonical.count_of({"open": index}, "open") for index in opened),
        others=canonical.count_of(document, "others"),
        named=check_digest(sizes.get("named"), f"{what}'s sizes"),
        unnamed=check_digest(sizes.get("unnamed"), f"{what}'s sizes"),
        payloads=canonical.count_of(document, "payloads"),
        full=None if full is None else (_time(full, "began"), canonical.count_of(full, "segments")),
        whole=None if whole is None else _time(document, "whole"),
    )
    bounds = (state.segments, state.others, 0 if state.full is None else state.full[1])
    if max(bounds) > state.size or list(state.open) != sorted({i for i in state.open if i < state.size}):
        raise FormatError(f"{what}: speaks of entries beyond its checkpoint, or not in order")
    return state


def _time(document: JsonObject, key: str) -> str:
    text = canonical.text_of(document, key)
    parse_time(text)
    return text


def read_state(path: Path) -> AuditState | None:
    """Read the state file; None where there is none yet.

    Raises:
        InputError: It is a directory.
        StorageError: It cannot be read.
        FormatError: It is none.
        UnsupportedVersionError: It is of a newer version.
    """
    if path.is_dir():
        raise InputError("verify: expected a file for the state, got a directory")
    return parse_state(read_file(path)) if path.exists() else None


class StateKeeper:
    """Decides what is not read again, and remembers what was.

    Attributes:
        given: What the file said; None without one.
        is_believed: Whether there was one, and nothing contradicts it.
        read_before: Index of the first entry whose file of records is to be read, those in `open` apart.
        others_before: Index of the first entry of which everything else it names is to be read.
    """

    def __init__(self, path: Path | None, world: World, *, full: bool = False) -> None:
        """Begin with what the file says, if there is one.

        Args:
            path: The state file; None to remember nothing.
            world: A clock that only goes up, and the disk.
            full: Whether everything is to be read again.
        """
        self._path = path
        self._is_full = full
        self._world = world
        self._renewed_ns = world.monotonic_ns()
        self.given = None if path is None else read_state(path)
        self._state: AuditState | None = None
        self.is_believed = self.given is not None
        self.read_before = 0
        self.others_before = 0

    @property
    def name(self) -> str:
        """What findings call the file."""
        return "state" if self._path is None else f"state {self._path.name}"

    def disbelieve(self) -> None:
        """Read everything and leave the file as it is: it contradicts the log, and so is evidence."""
        self.is_believed = False
        self._path = None

    def begin(self, origin: str, vkey: str, note: bytes, checkpoint: Checkpoint, now_ns: int) -> None:
        """Remember that the log itself was checked up to a checkpoint, and when."""
        moment = time_text(now_ns)
        fresh = AuditState(origin=origin, vkey=vkey, note=note, size=checkpoint.size, root=checkpoint.root, time=moment)
        before = self.given if self.is_believed else None
        full = (moment, 0) if self._is_full else None
        if before is None:
            self._state = replace(fresh, full=full)
        else:
            self.read_before, self.others_before = before.segments, before.others
            if self._is_full:
                full = before.full or full
                self.read_before, self.others_before = 0 if full is None else full[1], 0
            self._state = replace(
                fresh,
                segments=before.segments,
                open=before.open,
                others=before.others,
                named=before.named,
                unnamed=before.unnamed,
                payloads=before.payloads,
                full=full or before.full,
                whole=before.whole,
            )
        self._renew()

    def skips(self, index: int) -> bool:
        """Say whether the file of an entry need not be read again."""
        return index < self.read_before and (self._state is None or index not in self._state.open)

    def passed(self, index: int, *, good: bool) -> None:
        """Remember that the file of an entry, and those of all before it, were looked at."""
        if self._state is None or self._path is None:
            return
        if good is (index in self._state.open):
            opened = {*self._state.open, index} if not good else set(self._state.open) - {index}
            self._state = replace(self._state, open=tuple(sorted(opened)))
        if not self._is_full:
            self._state = replace(self._state, segments=max(self._state.segments, index + 1))
        elif self._state.full is not None:
            began, reached = self._state.full
            self._state = replace(self._state, full=(began, max(reached, index + 1)))
        if self._world.monotonic_ns() - self._renewed_ns >= RENEW_SECONDS * 10**9:
            self._renew()

    def keep_open(self, holders: Callable[[int], bool]) -> None:
        """Forget files that hold records no longer."""
        if self._state is not None:
            self._state = replace(self._state, open=tuple(index for index in self._state.open if holders(index)))

    def finish(self, *, others_good: bool, named: str, unnamed: str, payloads: int) -> None:
        """Remember that an audit came to its end.

        Args:
            others_good: Whether everything beside the files of records was found good.
            named: SHA-256 over names and sizes of what entries name.
            unnamed: SHA-256 over names and sizes of the blobs that no entry names.
            payloads: How many those are.
        """
        state = self._state
        if state is None or self._path is None:
            return
        if self._is_full or self.read_before == self.others_before == 0:
            state = replace(state, whole=state.time, full=None)
        state = replace(state, segments=state.size)
        if others_good:
            state = replace(state, others=state.size, named=named, unnamed=unnamed, payloads=payloads)
        else:
            state = replace(state, others=0)
        self._state = state
        self._renew()

    def _renew(self) -> None:
        if self._state is None or self._path is None:
            return
        state = self._state
        if len(state.open) > OPEN_MAX:
            state = replace(state, segments=min(state.open[0], state.segments), open=())
        self._world.disk.write(self._path, state.encode())
        self._renewed_ns = self._world.monotonic_ns()
