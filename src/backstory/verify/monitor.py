"""A monitor: an outsider that remembers what a log showed it, and alarms when the log shows something else.

It keeps every checkpoint it verified, and needs the log's public key and nothing secret. Each look goes like this:

1. The witnesses of the policy are asked which checkpoint they cosigned last; then the log is asked for its newest. In
   this order what the witnesses have seen can only be older.
2. The checkpoint must be signed by the log.
3. It must extend the newest one kept. The proof is built from the log's tiles and checked, nothing of it is believed.
4. What the witnesses cosigned must be of the same tree, and enough of them must have cosigned recently.

What it shows: the log only grew between the looks, and these witnesses were shown the same one. What it does not show:
that entries are what they say, or that nobody else was shown another log.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from backstory.errors import BackstoryError, ConflictError, FormatError, InputError, StorageError, VerificationError
from backstory.records.canonical import JsonObject
from backstory.storage.disk import read_file, storage_errors
from backstory.storage.remote import ask, require_url
from backstory.storage.world import World
from backstory.tlog.checkpoint import Checkpoint, open_checkpoint
from backstory.tlog.cosignature import find_cosignatures
from backstory.tlog.key import ValidKey
from backstory.tlog.limits import FUTURE_TIME_MAX, NOTE_SIZE_MAX
from backstory.tlog.note import parse_note
from backstory.tlog.policy import Policy, PolicyWitness
from backstory.tlog.proof import tile_consistency_proof, verify_consistency
from backstory.tlog.tree import RangeReader, root_at
from backstory.tlog.witness import monitoring_path
from backstory.verify.evidence import Evidence, Kind, SignedCheckpoint, keep_evidence, log_folder
from backstory.verify.log_source import LogSource

_NS = 10**9
_OK, _NOT_FOUND = 200, 404
_NO_CACHE = {"Cache-Control": "no-cache"}
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Something a look found.

    Attributes:
        kind: `fork`, `rollback`, `signature` (not signed by the log), `damaged` (tiles and checkpoint do not fit),
            `stale` (too few witnesses say that it is the newest), or `unreachable`.
        what: What is wrong, for a person.
        evidence: File with both signed checkpoints, where there are two.
    """

    kind: str
    what: str
    evidence: Path | None = None

    @property
    def is_unknown(self) -> bool:
        """Whether it says only that something could not be read."""
        return self.kind == "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What one witness was shown.

    Attributes:
        name: Its name in the policy.
        signed: The checkpoint it cosigned last.
        time: When it cosigned it, in seconds since the epoch.
    """

    name: str
    signed: SignedCheckpoint
    time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at a log.

    Attributes:
        origin: The log.
        time_ns: When.
        checkpoint: What it shows now; None where that could not be read or is not signed by it.
        before: Tree size of the newest checkpoint kept before; None at the first look.
        sightings: What the witnesses were shown.
        alarms: What is wrong.
    """

    origin: str
    time_ns: int
    checkpoint: Checkpoint | None = None
    before: int | None = None
    sightings: tuple[Sighting, ...] = ()
    alarms: tuple[Alarm, ...] = field(default=())

    @property
    def failed(self) -> bool:
        """Whether there is an alarm that is more than something unread."""
        return any(not alarm.is_unknown for alarm in self.alarms)

    def __str__(self) -> str:
        """Return one line, or one for each alarm."""
        if self.alarms:
            return "\n".join(
                f"ALARM {a.kind}: {self.origin}: {a.what}{f'; evidence in {a.evidence}' if a.evidence else ''}"
                for a in self.alarms
            )
        size = self.checkpoint.size if self.checkpoint else 0
        grown = "seen for the first time" if self.before is None else f"consistent with tree size {self.before}"
        witnessed = f"; shown the same: {', '.join(s.name for s in self.sightings)}" if self.sightings else ""
        return f"ok: {self.origin} at tree size {size}, {grown}{witnessed}"

    def to_dict(self) -> JsonObject:
        """Return the look as JSON-safe values."""
        return {
            "alarms": [
                {"evidence": str(a.evidence) if a.evidence else None, "kind": a.kind, "what": a.what}
                for a in self.alarms
            ],
            "before": self.before,
            "ok": not self.alarms,
            "origin": self.origin,
            "root": self.checkpoint.root.hex() if self.checkpoint else None,
            "tree_size": self.checkpoint.size if self.checkpoint else None,
            "witnesses": [
                {"name": s.name, "time": s.time, "tree_size": s.signed.checkpoint.size} for s in self.sightings
            ],
        }


class Monitor:
    """Watches one log. What it keeps: `<SHA-256 of the origin in hex>/<tree size>`, each a signed checkpoint."""

    def __init__(
        self,
        state: Path,
        keys: Sequence[ValidKey],
        world: World,
        *,
        policy: Policy | None = None,
        max_age_seconds: int | None = None,
    ) -> None:
        """Watch the log that some keys are of.

        Args:
            state: Directory to remember in; made where there is none.
            keys: Keys of the log, obtained from outside, with their validity.
            world: Clock and disk.
            policy: Witnesses to ask, and how many are enough.
            max_age_seconds: How long ago enough witnesses must have cosigned at most.

        Raises:
            InputError: The keys are of several logs, or there is an age without a policy that has a quorum.
        """
        origins = {key.key.name for key in keys}
        if len(origins) != 1:
            raise InputError(f"monitor: expected keys of one log, got {len(origins)}")
        if max_age_seconds is not None and (policy is None or policy.quorum is None):
            raise InputError(
                "monitor: a checkpoint has no time but its cosignatures': an age needs a policy with a quorum"
            )
        (self.origin,) = origins
        self._keys = tuple(keys)
        self._world = world
        self._policy = policy
        self._max_age_seconds = max_age_seconds
        self._folder = log_folder(state, self.origin)
        asked = policy.witnesses if policy else ()
        self._asked = [(w, require_url(w.url, f"URL of witness {w.name}")) for w in asked if w.url is not None]

    def look(self, source: LogSource) -> Look:
        """Look at the log once, and keep its checkpoint if it extends what was kept.

        Args:
            source: Where to read the log.

        Raises:
            VerificationError: A checkpoint that this monitor kept does not verify: its own state was changed.
            StorageError: Its own state cannot be read or written.
        """
        now_ns = self._world.now_ns()
        held = self._newest_kept()
        alarms: list[Alarm] = []
        sightings = [found for one in self._asked if (found := self._ask(*one, alarms)) is not None]
        shown = self._read(source, alarms)
        if shown is not None:
            trouble = self._check_history(source, held, shown, now_ns)
            if trouble is None:
                self._keep(shown)
                for sighting in sightings:
                    to_whom = f"to witness {sighting.name}"
                    alarm = self._check_extends(source, sighting.signed, shown, to_whom, now_ns)
                    alarms += [] if alarm is None else [alarm]
                alarms += self._check_freshness(shown, sightings, now_ns // _NS)
            else:
                alarms.append(trouble)
        return Look(
            origin=self.origin,
            time_ns=now_ns,
            checkpoint=shown.checkpoint if shown else None,
            before=held.checkpoint.size if held else None,
            sightings=tuple(sightings),
            alarms=tuple(alarms),
        )

    def _newest_kept(self) -> SignedCheckpoint | None:
        if not self._folder.is_dir():
            return None
        with storage_errors("listing", self._folder):
            sizes = [int(path.name) for path in self._folder.iterdir() if _SIZE.fullmatch(path.name)]
        if not sizes:
            return None
        return self._open(read_file(self._folder / str(max(sizes))))

    def _keep(self, shown: SignedCheckpoint) -> None:
        path = self._folder / str(shown.checkpoint.size)
        if not path.exists():
            self._world.disk.make_directory(self._folder)
            with contextlib.suppress(ConflictError):  # another process of this monitor kept the same
                self._world.disk.write(path, shown.note, replace=False)

    def _open(self, note: bytes) -> SignedCheckpoint:
        return SignedCheckpoint(note=note, checkpoint=open_checkpoint(note, self.origin, self._keys))

    def _read(self, source: LogSource, alarms: list[Alarm]) -> SignedCheckpoint | None:
        """Return the log's newest checkpoint, if it can be read and is signed by the log."""
        try:
            return self._open(source.checkpoint())
        except StorageError as error:
            alarms.append(Alarm(kind="unreachable", what=str(error)))
        except BackstoryError as error:
            alarms.append(Alarm(kind="signature", what=str(error)))
        return None

    def _check_history(
        self, source: LogSource, held: SignedCheckpoint | None, shown: SignedCheckpoint, now_ns: int
    ) -> Alarm | None:
        """Check what is shown against what was kept, and against the log's tiles."""
        if held is not None and shown.checkpoint.size <= held.checkpoint.size:  # which no tile can excuse
            return self._check_extends(source, held, shown, "before", now_ns) or self._check_tiles(source, shown)
        alarm = self._check_tiles(source, shown)
        if alarm is not None or held is None:
            return alarm
        return self._check_extends(source, held, shown, "before", now_ns)

    def _check_tiles(self, source: LogSource, shown: SignedCheckpoint) -> Alarm | None:
        """Check that the log's own tiles lead to what it signed; what is read from them then is evidence."""
        try:
            root = root_at(shown.checkpoint.size, source.read_tile)
        except StorageError as error:
            return Alarm(kind="unreachable", what=str(error))
        except FormatError as error:
            return Alarm(kind="damaged", what=str(error))
        if root == shown.checkpoint.root:
            return None
        what = f"its tiles do not lead to the root it signed for size {shown.checkpoint.size}"
        return Alarm(kind="damaged", what=what)

    def _check_extends(
        self, source: LogSource, held: SignedCheckpoint, shown: SignedCheckpoint, to_whom: str, now_ns: int
    ) -> Alarm | None:
        """Check that what is shown extends what was shown before or to a witness, by the log's own tiles."""
        old, new = held.checkpoint, shown.checkpoint
        if new.size < old.size:
            what = f"it shows tree size {new.size} and showed {old.size} {to_whom}"
            return self._accuse("rollback", held, shown, (), what, now_ns)
        proof: tuple[bytes, ...] = ()
        root = new.root
        if new.size > old.size:
            read_tile = functools.cache(source.read_tile)
            try:
                proof = tuple(tile_consistency_proof(read_tile, old.size, new.size))
                root = RangeReader(read_tile, new.size).read_hash(0, old.size)
                verify_consistency(old.size, new.size, root, new.root, proof)
            except StorageError as error:
                return Alarm(kind="unreachable", what=str(error))
            except FormatError as error:
                return Alarm(kind="damaged", what=str(error))
            except VerificationError:  # nothing leads from these tiles to what it signed: they say nothing of its past
                what = f"its tiles do not lead from size {old.size} to the root it signed for size {new.size}"
                return replace(self._accuse("unproven", held, shown, proof, what, now_ns), kind="damaged")
        if root == old.root:
            return None
        # The proof leads to the root shown now and to another one before: it shows the fork to anybody.
        if old.size < new.size and old.size.bit_count() == 1:
            proof = (root, *proof)
        what = f"it shows another tree of size {old.size} than it showed {to_whom}"
        return self._accuse("fork", held, shown, proof, what, now_ns)

    def _ask(self, witness: PolicyWitness, url: str, alarms: list[Alarm]) -> Sighting | None:
        """Return what a witness cosigned last, if it says so and both signatures hold."""
        try:
            reply = ask(f"{url}/{monitoring_path(self.origin)}", headers=_NO_CACHE, size_max=NOTE_SIZE_MAX)
            if reply.status != _OK:
                never = " (it has cosigned nothing of this log)" if reply.status == _NOT_FOUND else ""
                raise StorageError(f"HTTP {reply.status}{never}")
            signed = self._open(reply.body)
            for cosignature in find_cosignatures(parse_note(signed.note), signed.checkpoint, [witness.key]):
                return Sighting(name=witness.name, signed=signed, time=cosignature.time)
            raise VerificationError("what it shows is not cosigned by it")
        except BackstoryError as error:
            alarms.append(Alarm(kind="unreachable", what=f"witness {witness.name}: {error}"))
        return None

    def _check_freshness(self, shown: SignedCheckpoint, sightings: Sequence[Sighting], now: int) -> list[Alarm]:
        """Check that enough witnesses cosigned this log recently, at this size or on the way to it."""
        policy = self._policy
        if policy is None:
            return []
        keys = {witness.key: witness.name for witness in policy.witnesses}
        times = [(sighting.name, sighting.time) for sighting in sightings]
        try:
            lines = find_cosignatures(parse_note(shown.note), shown.checkpoint, keys)
        except VerificationError as error:
            return [Alarm(kind="signature", what=str(error))]
        times += [(keys[cosignature.key], cosignature.time) for cosignature in lines]
        since = 0 if self._max_age_seconds is None else now - self._max_age_seconds
        counting = {witness.name for witness in policy.witnesses_for(self.origin, self._keys)}
        recent = {name for name, time in times if since <= time <= now + FUTURE_TIME_MAX and name in counting}
        if policy.is_met(recent):
            return []
        when = "" if self._max_age_seconds is None else f" within {self._max_age_seconds} s"
        who = ", ".join(sorted(recent)) or "nobody"
        what = f"expected the quorum {policy.quorum} to have cosigned{when}, got {who}"
        return [Alarm(kind="stale", what=what)]

    def _accuse(
        self,
        kind: Kind,
        held: SignedCheckpoint,
        shown: SignedCheckpoint,
        proof: tuple[bytes, ...],
        what: str,
        now_ns: int,
    ) -> Alarm:
        evidence = Evidence(kind=kind, held=held, shown=shown, proof=proof, time_ns=now_ns)
        path = keep_evidence(self._folder / "evidence", self._world.disk, evidence)
        return Alarm(kind=kind, what=what, evidence=path)
