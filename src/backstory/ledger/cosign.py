"""The feeder: shows the published checkpoint to witnesses and keeps what they sign.

It runs beside the archive, in its own process, without any key of it, and writes nothing but anchors: a witness that is
slow or gone never holds up recording or sealing. What a witness says of another history is its word alone, until it
shows a checkpoint that the log's key signed: such a one is kept.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from backstory.errors import BackstoryError, InputError, VerificationError
from backstory.records.canonical import JsonObject
from backstory.storage.anchors import FOLDER, anchor_sizes, cosigned_at, keep_cosigned
from backstory.storage.disk import Disk, read_file
from backstory.storage.layout import Layout
from backstory.storage.log_file import read_log_file
from backstory.storage.remote import ask, require_url
from backstory.storage.world import World
from backstory.tlog.checkpoint import Checkpoint, open_checkpoint
from backstory.tlog.cosignature import Cosignature, find_cosignatures
from backstory.tlog.key import ValidKey, VerifierKey
from backstory.tlog.limits import NOTE_SIZE_MAX
from backstory.tlog.note import add_signatures, parse_note
from backstory.tlog.policy import Policy, PolicyWitness
from backstory.tlog.proof import tile_consistency_proof
from backstory.tlog.tile import TilePath
from backstory.tlog.witness import AddCheckpoint, parse_cosignatures, parse_size
from backstory.verify.log_source import open_log
from backstory.verify.monitor import Alarm, Monitor

ATTEMPTS = 4
"""How often one witness is asked about one checkpoint, and about how many in a round: it may cosign for another feeder
between two of our requests."""
CONTRADICTED = "contradicted"
"""Folder beside the anchors: state of a monitor that looks when a witness contradicts, with the evidence."""

_COSIGNED, _MOVED, _INCONSISTENT = 200, 409, 422


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessAnswer:
    """What one witness said.

    Attributes:
        name: Its name in the policy.
        cosignature: What it signed; None if it did not.
        problem: Why it did not; empty if it did.
        contradicts: Whether it says that it has seen another history of this log than this archive holds.
        is_ahead: Whether it has cosigned more than it was shown, and no more than is published by now.
    """

    name: str
    cosignature: Cosignature | None = None
    problem: str = ""
    contradicts: bool = False
    is_ahead: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fed:
    """One round of the feeder.

    Attributes:
        checkpoint: What was shown.
        answers: What each witness said, in the policy's order.
        path: The cosigned checkpoint; None where the policy's quorum was not met.
        alarms: Where a witness contradicted: what is wrong by what the log signed, each with evidence, or why that
            could not be looked for.
    """

    checkpoint: Checkpoint
    answers: tuple[WitnessAnswer, ...]
    path: Path | None
    alarms: tuple[Alarm, ...] = ()

    @property
    def contradicted(self) -> bool:
        """Whether a witness says that it has seen another history."""
        return any(answer.contradicts for answer in self.answers)

    def __str__(self) -> str:
        """Return one line, and one more for each alarm and each witness that did not cosign."""
        signed = sum(answer.cosignature is not None for answer in self.answers)
        met = f"the quorum is met, kept in {self.path}" if self.path else "THE QUORUM IS NOT MET, nothing kept"
        if any(alarm.evidence for alarm in self.alarms):
            met = f"THE LOG'S KEY SIGNED ANOTHER HISTORY; {met}"
        elif self.contradicted:  # what they signed before may still meet the quorum
            shows = "" if self.alarms else ", and shows nothing signed of it"
            met = f"A WITNESS SAYS IT WAS SHOWN ANOTHER HISTORY{shows}; {met}"
        head = f"tree size {self.checkpoint.size}: {signed} of {len(self.answers)} witnesses cosigned now; {met}"
        alarms = [f"ALARM {a.kind}: {a.what}{f'; evidence in {a.evidence}' if a.evidence else ''}" for a in self.alarms]
        return "\n".join([head, *alarms, *(f"{a.name}: {a.problem}" for a in self.answers if a.problem)])

    def to_dict(self) -> JsonObject:
        """Return the round as JSON-safe values."""
        return {
            "alarms": [
                {"evidence": str(a.evidence) if a.evidence else None, "kind": a.kind, "what": a.what}
                for a in self.alarms
            ],
            "met": self.path is not None,
            "path": str(self.path) if self.path else None,
            "tree_size": self.checkpoint.size,
            "witnesses": [
                {
                    "contradicts": answer.contradicts,
                    "name": answer.name,
                    "problem": answer.problem or None,
                    "time": answer.cosignature.time if answer.cosignature else None,
                }
                for answer in self.answers
            ],
        }


def require_feedable(policy: Policy, layout: Layout) -> None:
    """Insist that a policy can be met by feeding this archive's log.

    Raises:
        InputError: It does not list the log's key, asks for no witnesses, or those that have a URL are not enough.
    """
    if layout.config.vkey not in {log.key.vkey for log in policy.logs}:
        raise InputError(f"policy: it does not list the key of this log: log {layout.config.vkey}")
    asked = [witness.name for witness in policy.witnesses if witness.url is not None]
    if policy.quorum is None or not policy.is_met(asked):
        raise InputError("policy: expected a quorum, and enough witnesses with a URL to make it")


def feed(layout: Layout, policy: Policy, disk: Disk) -> Fed:
    """Show the published checkpoint to the witnesses of a policy, and keep it cosigned if the quorum is met.

    Args:
        layout: The archive.
        policy: Witnesses with their URLs, and how many are enough.
        disk: Writes the cosigned checkpoint, and evidence where a witness contradicts and has some.

    Returns:
        What each witness said.

    Raises:
        InputError: The policy is not for this log, or cannot be met, or a URL in it is malformed.
        VerificationError: The published checkpoint does not verify.
        StorageError: The log cannot be read, or the cosigned checkpoint not be written.
    """
    require_feedable(policy, layout)
    asked = [(w, require_url(w.url, f"URL of witness {w.name}")) for w in policy.witnesses if w.url is not None]
    for _ in range(ATTEMPTS):
        note, checkpoint, answers = _ask_all(layout, asked)
        if not any(answer.is_ahead for answer in answers):
            break  # else the log grew meanwhile, and another feeder was quicker: what is published now is shown
    cosigned = _merged(layout, policy, note, checkpoint, answers)
    lines = find_cosignatures(parse_note(cosigned), checkpoint, [witness.key for witness in policy.witnesses])
    signed = {cosignature.key for cosignature in lines}
    path = None
    if policy.is_met([witness.name for witness in policy.witnesses if witness.key in signed]):
        policy.check(cosigned)  # what is handed out later must hold for whoever checks it
        path = keep_cosigned(layout, disk, cosigned)
    alarms = _look(layout, policy, {answer.name for answer in answers if answer.contradicts}, disk)
    return Fed(checkpoint=checkpoint, answers=answers, path=path, alarms=alarms)


def _look(layout: Layout, policy: Policy, names: Collection[str], disk: Disk) -> tuple[Alarm, ...]:
    """Look at the log as a monitor that asks these witnesses what they cosigned, and return what that shows."""
    if not names:
        return ()
    contradicting = tuple(witness for witness in policy.witnesses if witness.name in names)
    keys = [ValidKey(key=log.key) for log in policy.logs if log.key.name == layout.config.origin]
    asking = replace(policy, witnesses=contradicting, groups=(), quorum=None)
    try:
        monitor = Monitor(layout.log / FOLDER / CONTRADICTED, keys, World(disk=disk), policy=asking)
        look = monitor.look(open_log(str(layout.root)))
    except BackstoryError as error:
        return (Alarm(kind="unreachable", what=f"evidence could not be looked for, or not be kept: {error}"),)
    return tuple(alarm for alarm in look.alarms if alarm.evidence is not None)


def _ask_all(
    layout: Layout, asked: Sequence[tuple[PolicyWitness, str]]
) -> tuple[bytes, Checkpoint, tuple[WitnessAnswer, ...]]:
    """Show the checkpoint that is published now to all witnesses at once."""
    note, checkpoint = _published(layout)
    with ThreadPoolExecutor(max_workers=len(asked)) as pool:
        answers = pool.map(lambda one: _ask_one(layout, one[0], one[1], note, checkpoint), asked)
        return note, checkpoint, tuple(answers)


def _published(layout: Layout) -> tuple[bytes, Checkpoint]:
    note = read_file(layout.log / "checkpoint")
    return note, open_checkpoint(note, layout.config.origin, [VerifierKey.parse(layout.config.vkey)])


def _ask_one(layout: Layout, witness: PolicyWitness, url: str, note: bytes, checkpoint: Checkpoint) -> WitnessAnswer:
    def read_tile(tile: TilePath) -> bytes:
        return read_log_file(layout.log, tile)

    def refused(problem: str, *, contradicts: bool = False) -> WitnessAnswer:
        return WitnessAnswer(name=witness.name, problem=problem, contradicts=contradicts)

    try:
        old_size = _last_cosigned(layout, witness.key, checkpoint.size)
        for _ in range(ATTEMPTS):
            proof = tuple(tile_consistency_proof(read_tile, old_size, checkpoint.size))
            request = AddCheckpoint(old_size=old_size, proof=proof, note=note).encode()
            reply = ask(f"{url}/add-checkpoint", body=request, size_max=NOTE_SIZE_MAX)
            if reply.status == _COSIGNED:
                (cosignature,) = parse_cosignatures(reply.body, checkpoint, [witness.key])
                return WitnessAnswer(name=witness.name, cosignature=cosignature)
            if reply.status == _INCONSISTENT:
                what = f"says that this log of {checkpoint.size} entries does not extend the one it cosigned"
                return refused(what, contradicts=True)
            if reply.status != _MOVED:
                return refused(f"answers HTTP {reply.status}: {_first_line(reply.body)}")
            old_size = parse_size(reply.body)
            if old_size > checkpoint.size:
                here = _published(layout)[1].size  # whoever shows a checkpoint to witnesses published it before
                if old_size <= here:
                    what = f"has cosigned {old_size} entries already, for another feeder that was quicker each time"
                    return WitnessAnswer(name=witness.name, problem=what, is_ahead=True)
                what = f"has cosigned {old_size} entries of this log, and here are {here}: it was put back"
                return refused(what, contradicts=True)
    except BackstoryError as error:
        return refused(str(error))
    return refused(f"named another tree size {ATTEMPTS} times")


def _last_cosigned(layout: Layout, key: VerifierKey, size: int) -> int:
    """Return the newest tree size up to `size` that a witness's stored cosignature is of; 0 for none.

    It only saves a request: a witness that remembers another size says so.
    """
    for known in reversed(anchor_sizes(layout)):
        note = cosigned_at(layout, known) if known <= size else None
        if note is not None:
            lines = parse_note(note).signatures
            return known if any((line.name, line.key_id) == (key.name, key.key_id) for line in lines) else 0
    return 0


def _merged(
    layout: Layout, policy: Policy, note: bytes, checkpoint: Checkpoint, answers: Sequence[WitnessAnswer]
) -> bytes:
    """Return the checkpoint with the new cosignatures, and those that other witnesses gave for it before."""
    kept: tuple[Cosignature, ...] = ()
    before = cosigned_at(layout, checkpoint.size)
    if before is not None and parse_note(before).text == parse_note(note).text:
        try:
            kept = find_cosignatures(parse_note(before), checkpoint, [witness.key for witness in policy.witnesses])
        except VerificationError:
            kept = ()  # damaged; what was signed now takes its place
    for cosignature in (*kept, *(answer.cosignature for answer in answers)):
        if cosignature is not None:
            note = add_signatures(note, [cosignature.line])  # the newer line of a key takes the older one's place
    return note


def _first_line(body: bytes) -> str:
    return body.decode("utf-8", "replace").partition("\n")[0][:200]
