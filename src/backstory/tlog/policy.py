"""Policies (C2SP tlog-policy): which logs are believed, and how many of which witnesses must have cosigned.

    log example.org/delays+4d2ac5b1+AYx… https://example.org/log
    witness W1 witness.example/w1+29bbfba1+BJB…       name, key, and where to submit checkpoints
    witness W2 …
    witness W3 …
    group two-of-three 2 W1 W2 W3                     all, any, or a number
    quorum two-of-three                               or none

A witness counts once, whatever names its key goes by, and never for a log that has the same key or name. Names mean
something in their file only and are compared byte for byte; bytes that are not UTF-8 are kept as they are
(`surrogateescape`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Final

from backstory.errors import FormatError, InputError, VerificationError
from backstory.tlog.checkpoint import check_log_signatures, parse_checkpoint
from backstory.tlog.cosignature import find_cosignatures
from backstory.tlog.key import LOG_KINDS, WITNESS_KINDS, ValidKey, VerifierKey
from backstory.tlog.limits import FUTURE_TIME_MAX, POLICY_SIZE_MAX
from backstory.tlog.note import parse_note
from backstory.tlog.text import parse_decimal, printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from backstory.tlog.checkpoint import Checkpoint
    from backstory.tlog.note import Note

_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_ITEM: Final = re.compile(r"[^ \t]+")
_NONE: Final = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyLog:
    """A log whose checkpoints are believed.

    Attributes:
        key: Its key, of type 01 or 06, named after its origin.
        url: Where it is, or None.
    """

    key: VerifierKey
    url: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyWitness:
    """A witness.

    Attributes:
        name: Its name in the policy.
        key: Its key, of type 04 or 06.
        url: Where to submit checkpoints, or None.
    """

    name: str
    key: VerifierKey
    url: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyGroup:
    """A group of witnesses and groups.

    Attributes:
        name: Its name in the policy.
        threshold: How many of its members must have cosigned, 1 to their number.
        members: Names of witnesses and groups.
    """

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessTime:
    """A witness that counts.

    Attributes:
        name: Its name in the policy.
        vkey: Its key.
        time: When it cosigned, in POSIX seconds; 0 says nothing about time.
    """

    name: str
    vkey: str
    time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Witnessed:
    """A checkpoint that meets a policy.

    Attributes:
        checkpoint: What it says.
        witnesses: Every witness of the policy that cosigned, in the policy's order; may be more than the quorum needs.
        quorum_time: By when enough of them had cosigned, so that the checkpoint existed; None where the policy asks for
            none or too few say when.
        fresh_time: Enough of them cosigned at this time or later, so that no newer checkpoint was shown to them before;
            None where the policy asks for none.
    """

    checkpoint: Checkpoint
    witnesses: tuple[WitnessTime, ...]
    quorum_time: int | None
    fresh_time: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Which checkpoints are believed.

    Attributes:
        logs: The logs; may be none where the caller knows the log's key.
        witnesses: The witnesses.
        groups: The groups, each after its members.
        quorum: Name of the witness or group that must have cosigned, or None.
    """

    logs: tuple[PolicyLog, ...]
    witnesses: tuple[PolicyWitness, ...]
    groups: tuple[PolicyGroup, ...]
    quorum: str | None

    def check(
        self,
        note: bytes,
        *,
        keys: Iterable[VerifierKey | ValidKey] | None = None,
        now: int | None = None,
        max_age_seconds: int | None = None,
    ) -> Witnessed:
        """Check a signed checkpoint against the policy.

        Args:
            note: The signed checkpoint.
            keys: Keys of the logs to believe, instead of those that the policy lists.
            now: POSIX seconds; where given, cosignatures more than `FUTURE_TIME_MAX` seconds later do not count.
            max_age_seconds: How old `fresh_time` may be at most; needs `now`, and a policy with a quorum.

        Returns:
            The checkpoint and who cosigned it.

        Raises:
            FormatError: Note or checkpoint is malformed.
            InputError: The age was limited without `now` or without a quorum, or keys are ambiguous.
            VerificationError: A signature of a known key does not hold, the log's is missing, the quorum is not met, or
                its cosignatures are too old.
        """
        if max_age_seconds is not None and (now is None or self.quorum is None):
            raise InputError("an age can be limited only where the time is given and the policy asks for witnesses")
        parsed = parse_note(note)
        checkpoint = parse_checkpoint(parsed.text)
        log_keys = [log.key for log in self.logs] if keys is None else list(keys)
        check_log_signatures(parsed, checkpoint, checkpoint.origin, log_keys)
        witnesses = self._witnesses_of(parsed, checkpoint, log_keys, now)
        if not self.is_met([witness.name for witness in witnesses]):
            names = ", ".join(printable(witness.name) for witness in witnesses) or "nobody"
            raise VerificationError(
                f"checkpoint of size {checkpoint.size} is not witnessed: expected the quorum "
                f"{printable(self.quorum or _NONE)}, got {names}"
            )
        # Who says nothing about time may have cosigned at any.
        quorum_time = self._reached({witness.name: witness.time or inf for witness in witnesses}, is_latest=False)
        fresh_time = self._reached({witness.name: witness.time for witness in witnesses}, is_latest=True)
        if now is not None and max_age_seconds is not None and (fresh_time or 0) < now - max_age_seconds:
            raise VerificationError(
                f"checkpoint of size {checkpoint.size} is too old: expected the quorum's cosignatures within "
                f"{max_age_seconds} s, got {now - (fresh_time or 0):.0f} s"
            )
        return Witnessed(
            checkpoint=checkpoint,
            witnesses=witnesses,
            quorum_time=None if quorum_time is None or quorum_time == inf else int(quorum_time),
            fresh_time=None if fresh_time is None else int(fresh_time),
        )

    def is_met(self, names: Collection[str]) -> bool:
        """Say whether some witnesses make the quorum.

        Args:
            names: Names of witnesses in the policy.

        Returns:
            Whether they do; always where the policy asks for none.
        """
        times = {witness.name: 0 for witness in self.witnesses if witness.name in names}
        return self.quorum is None or self._reached(times, is_latest=False) is not None

    def witnesses_for(self, origin: str, log_keys: Iterable[VerifierKey | ValidKey]) -> tuple[PolicyWitness, ...]:
        """Return the witnesses that count for a log: all but those with its public key or its name.

        Args:
            origin: The log.
            log_keys: Keys of logs; those named after others do not matter.

        Returns:
            The witnesses, in the policy's order.
        """
        verifiers = [key.key if isinstance(key, ValidKey) else key for key in log_keys]
        own_public_keys = {key.public_key for key in verifiers if key.name == origin}
        return tuple(
            witness
            for witness in self.witnesses
            if witness.key.public_key not in own_public_keys and witness.key.name != origin
        )

    def _witnesses_of(
        self, note: Note, checkpoint: Checkpoint, log_keys: Iterable[VerifierKey | ValidKey], now: int | None
    ) -> tuple[WitnessTime, ...]:
        """Check the cosignatures of the policy's witnesses and keep those that count."""
        cosignatures = find_cosignatures(note, checkpoint, [witness.key for witness in self.witnesses])
        times = {cosignature.key: cosignature.time for cosignature in cosignatures}
        return tuple(
            WitnessTime(name=witness.name, vkey=witness.key.vkey, time=times[witness.key])
            for witness in self.witnesses_for(checkpoint.origin, log_keys)
            if witness.key in times and (now is None or times[witness.key] <= now + FUTURE_TIME_MAX)
        )

    def _reached(self, times: Mapping[str, float], *, is_latest: bool) -> float | None:
        """Find the first time by which, or the latest time since which, the quorum had cosigned; None for neither."""
        reached = dict(times)
        # A group comes after its members, so one pass does.
        for group in self.groups:
            held = sorted((reached[name] for name in group.members if name in reached), reverse=is_latest)
            if len(held) >= group.threshold:
                reached[group.name] = held[group.threshold - 1]
        return None if self.quorum is None else reached.get(self.quorum)


def parse_policy(data: bytes | str) -> Policy:
    """Parse a policy file.

    Args:
        data: The file, at most `POLICY_SIZE_MAX` bytes.

    Returns:
        The policy.

    Raises:
        FormatError: It is too large, holds control characters, or a line is not as it must be. The message says which.
    """
    try:
        content = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    except UnicodeEncodeError as error:
        raise FormatError("policy is malformed: expected text that has a form as bytes") from error
    if len(content) > POLICY_SIZE_MAX:
        raise FormatError(f"policy is malformed: expected at most {POLICY_SIZE_MAX} bytes, got {len(content)}")
    if _CONTROL.search(content) is not None:
        raise FormatError("policy is malformed: expected no control character but newline and tab")
    *lines, rest = content.decode("utf-8", "surrogateescape").split("\n")
    if rest:
        raise FormatError("policy is malformed: expected a newline at the end of its last line")
    reader = _PolicyReader()
    for number, line in enumerate(lines, start=1):
        items = _ITEM.findall(line)
        if items and not items[0].startswith("#"):
            try:
                reader.read(items)
            except FormatError as error:
                raise FormatError(f"line {number} of the policy: {error}") from error
    return reader.finish()


class _PolicyReader:
    """The lines of a policy file read so far."""

    def __init__(self) -> None:
        self._logs: list[PolicyLog] = []
        self._witnesses: dict[str, PolicyWitness] = {}
        self._groups: dict[str, PolicyGroup] = {}
        self._grouped: set[str] = set()
        self._quorum: str | None = None
        self._has_quorum = False
        self._log_keys: set[bytes] = set()
        self._witness_keys: set[bytes] = set()

    def read(self, items: list[str]) -> None:
        match items:
            case ["log", vkey, *rest] if len(rest) <= 1:
                self._add_log(vkey, rest)
            case ["witness", name, vkey, *rest] if len(rest) <= 1:
                self._add_witness(name, vkey, rest)
            case ["group", name, threshold, *members] if members:
                self._add_group(name, threshold, members)
            case ["quorum", name]:
                self._set_quorum(name)
            case _:
                raise FormatError("expected a log, a witness, a group or the quorum, with all its items and no more")

    def finish(self) -> Policy:
        if not self._has_quorum:
            raise FormatError("policy is malformed: expected a line with the quorum")
        return Policy(
            logs=tuple(self._logs),
            witnesses=tuple(self._witnesses.values()),
            groups=tuple(self._groups.values()),
            quorum=self._quorum,
        )

    def _add_log(self, vkey: str, rest: list[str]) -> None:
        key = VerifierKey.parse(vkey)
        if key.kind not in LOG_KINDS:
            raise FormatError(f"expected a log's key of type 01 or 06, got {key.kind:02x}")
        if key.public_key in self._log_keys:
            raise FormatError("another log has the same public key")
        self._log_keys.add(key.public_key)
        self._logs.append(PolicyLog(key=key, url=rest[0] if rest else None))

    def _add_witness(self, name: str, vkey: str, rest: list[str]) -> None:
        self._check_new(name)
        key = VerifierKey.parse(vkey)
        if key.kind not in WITNESS_KINDS:
            raise FormatError(f"expected a witness's key of type 04 or 06, got {key.kind:02x}")
        if key.public_key in self._witness_keys:
            raise FormatError("another witness has the same public key")
        self._witness_keys.add(key.public_key)
        self._witnesses[name] = PolicyWitness(name=name, key=key, url=rest[0] if rest else None)

    def _add_group(self, name: str, threshold_text: str, members: list[str]) -> None:
        self._check_new(name)
        for member in members:
            self._check_defined(member)
            if member in self._grouped:
                raise FormatError(f"{printable(member)} is a member of a group already")
            self._grouped.add(member)
        match threshold_text:
            case "all":
                threshold = len(members)
            case "any":
                threshold = 1
            case _:
                threshold = parse_decimal(threshold_text, "threshold of the group")
        if not 1 <= threshold <= len(members):
            raise FormatError(f"expected a threshold from 1 to {len(members)}, got {threshold}")
        self._groups[name] = PolicyGroup(name=name, threshold=threshold, members=tuple(members))

    def _set_quorum(self, name: str) -> None:
        if self._has_quorum:
            raise FormatError("there is a quorum already")
        if name != _NONE:
            self._check_defined(name)
            self._quorum = name
        self._has_quorum = True

    def _check_new(self, name: str) -> None:
        if name == _NONE or name in self._witnesses or name in self._groups:
            raise FormatError(f"the name {printable(name)} is taken")

    def _check_defined(self, name: str) -> None:
        if name not in self._witnesses and name not in self._groups:
            raise FormatError(f"expected a witness or group of a line before, got {printable(name)}")
