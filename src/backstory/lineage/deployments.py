"""Deployments: which model versions served what part of the traffic from when to when, and who had approved them.

Each `deployment.set` says the whole of what a deployment serves from then on; each `model.approved` is one person's
verdict. Whether a version was approved when it made a prediction is answered from the order of the log, not from clocks
alone: a verdict that stands behind the prediction's manifest came later, whatever time it claims.

Bytes: docs/format.md section 29.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, get_args

from backstory.errors import ForbiddenError, InputError
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import Found
from backstory.lineage.registry import Registered, find_version, require_model_name
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.identity import time_text

DEPLOYED = "deployment.set"
APPROVED = "model.approved"
Verdict = Literal["approved", "rejected", "withdrawn"]
_REASON_CHARACTERS_MAX = 1024
_ROUNDING = Decimal("1e-9")
"""What shares that are 1 together may miss of it, as doubles do."""
_SHARE_STEP = Decimal("1e-18")
_ROLE = re.compile(r"[^\x00-\x1f\x7f]{1,128}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A version's part of the traffic of a deployment.

    Attributes:
        model: The version, as `name:version`.
        digest: Its digest.
        share: From 0 to 1, as text.
    """

    model: str
    digest: str
    share: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """What a deployment served for a while.

    Attributes:
        deployment: Its name.
        since: From when, RFC 3339.
        until: Until when; None if it still does.
        shares: Versions and their parts of the traffic; none while it was switched off.
        entry: Index of the entry that began it.
        reason: Why it was changed, if somebody said.
    """

    deployment: str
    since: str
    until: str | None
    shares: tuple[Share, ...]
    entry: int
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """One person's verdict on a version.

    Attributes:
        verdict: `approved`, `rejected` or `withdrawn`.
        time: When it was given, RFC 3339.
        entry: Index of its entry.
        by: Commitment to who gave it; the vault may open it.
        role: In which role, if somebody said.
        deployment: For which deployment; None for any.
        reason: Why, if somebody said.
    """

    verdict: str
    time: str
    entry: int
    by: str
    role: str | None
    deployment: str | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Which version made a prediction, where it was deployed then, and whether it was approved then.

    Attributes:
        prediction: Id of the prediction.
        time: When it was recorded, RFC 3339.
        model: The version, as `name:version`; None if none made it.
        deployments: What the deployments that served the version then served.
        approved: Whether for each of these deployments the last verdict before the prediction, for it or any, was an
            approval; where it was not deployed, the last for any.
        verdicts: All verdicts before the prediction, oldest first.
        later: Verdicts given after it.
        is_sealed: Whether the prediction is in the log: then the order of entries shows which verdicts came before.
    """

    prediction: str
    time: str
    model: str | None
    deployments: tuple[Interval, ...]
    approved: bool
    verdicts: tuple[Approval, ...]
    later: tuple[Approval, ...]
    is_sealed: bool

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        return asdict(self)

    @property
    def where(self) -> str:
        """Say where its version was deployed then."""
        named = [f"{one.deployment} ({_percent(one, self.model)} of its traffic)" for one in self.deployments]
        return f"deployed as {', '.join(named)}" if named else "not deployed"

    @property
    def judged(self) -> str:
        """Say whether its version was approved then."""
        deciding = _deciding(self.verdicts, self.deployments)
        against = [(name, one) for name, one in deciding.items() if one is None or one.verdict != "approved"]
        if not against:
            verdict = max((one for one in deciding.values() if one is not None), key=lambda one: one.entry)
            said = f"approved before, at {verdict.time}{f' by the {verdict.role}' if verdict.role else ''}"
        else:
            name, against_it = against[0]
            place = f" for {name}" if name is not None and self.verdicts else ""
            why = "nobody had given a verdict" if against_it is None else f"{against_it.verdict} at {against_it.time}"
            said = f"NOT approved then{place}: {why}"
        after = f"; verdicts that came later: {len(self.later)}" if self.later else ""
        return f"{said}{after}{'' if self.is_sealed else ' (not sealed yet: by clocks only)'}"

    def __str__(self) -> str:
        """Return the answer in two sentences."""
        if self.model is None:
            return f"{self.prediction} was made by no registered model"
        return f"served by {self.model}, {self.where}\n{self.judged}"


def set_deployment(
    ledger: Ledger, name: str, shares: Iterable[tuple[Registered, str | float]], reason: str | None
) -> None:
    """Say what a deployment serves from now on; nothing is written where it does already.

    Raises:
        InputError: The name cannot be used, a version is there twice, a share is no part of 1, or all together are
            not 1.
    """
    require_model_name(name)
    given = [(version, _share(share)) for version, share in shares]
    if len({version.digest for version, _ in given}) < len(given):
        raise InputError(f"deployment: expected each version once, got one twice ({name})")
    rest = 1 - sum((share for _, share in given), Decimal())
    if given and abs(rest) > _ROUNDING:
        raise InputError(f"deployment: expected shares that are 1 together, got {1 - rest} ({name})")
    if given:  # three times 1/3 is a little less than 1: what is kept is 1 exactly
        given[-1] = (given[-1][0], given[-1][1] + rest)
    models: list[JsonValue] = [
        {
            "digest": version.digest,
            "name": version.name,
            "share": f"{share.normalize():f}",
            "version": str(version.version),
        }
        for version, share in given
    ]
    known = find_deployments(ledger, name)
    if known and [_share_of(model) for model in models] == list(known[-1].shares):
        return
    entry: JsonObject = {"models": models, "name": name, "type": DEPLOYED}
    ledger.append([entry | _reasons(reason)])


def find_deployments(ledger: Ledger, name: str | None = None) -> list[Interval]:
    """Return what deployments served, or one of them, in the order of the log."""
    found: list[Interval] = []
    latest: dict[str, int] = {}
    for index, entry in ledger.numbered_entries(DEPLOYED, name):
        deployment, since = canonical.text_of(entry, "name"), canonical.text_of(entry, "time")
        models = entry.get("models")
        interval = Interval(
            deployment=deployment,
            since=since,
            until=None,
            shares=tuple(_share_of(model) for model in models) if isinstance(models, list) else (),
            entry=index,
            reason=_text(entry, "reason"),
        )
        if deployment in latest:
            found[latest[deployment]] = replace(found[latest[deployment]], until=since)
        latest[deployment] = len(found)
        found.append(interval)
    return found


def knows_deployments(ledger: Ledger) -> bool:
    """Say whether anybody ever said anything of deployments or gave a verdict on a version."""
    return bool(ledger.catalog.entries(DEPLOYED) or ledger.catalog.entries(APPROVED))


def approve(
    ledger: Ledger,
    version: Registered,
    *,
    verdict: Verdict,
    deployment: str | None,
    role: str | None,
    reason: str | None,
) -> None:
    """Record a verdict on a version.

    Raises:
        ForbiddenError: Nobody gave it: the archive was opened without an actor.
        InputError: The verdict, the role or the reason cannot be used.
    """
    if ledger.actor is None:
        raise ForbiddenError("approval: expected an archive opened with an actor: the log says who gave a verdict")
    if verdict not in get_args(Verdict):
        raise InputError(f"approval: expected a verdict of {', '.join(get_args(Verdict))}, got {verdict!r}")
    if deployment is not None:
        require_model_name(deployment)
    if role is not None and not (isinstance(role, str) and _ROLE.fullmatch(role)):
        raise InputError("approval: expected a role of 1 to 128 characters, none of them a control character")
    entry: JsonObject = {
        "deployment": deployment,
        "model": version.digest,
        "name": version.name,
        "role": role,
        "type": APPROVED,
        "verdict": verdict,
        "version": str(version.version),
    }
    ledger.append([entry | _reasons(reason)])


def find_approvals(ledger: Ledger, version: Registered) -> list[Approval]:
    """Return the verdicts on a version, in the order of the log."""
    return [
        Approval(
            verdict=canonical.text_of(entry, "verdict"),
            time=canonical.text_of(entry, "time"),
            entry=index,
            by=canonical.text_of(entry, "actor"),
            role=_text(entry, "role"),
            deployment=_text(entry, "deployment"),
            reason=_text(entry, "reason"),
        )
        for index, entry in ledger.numbered_entries(APPROVED, version.name)
        if entry.get("model") == version.digest
    ]


def served_by(ledger: Ledger, found: Found) -> Served:
    """Say which version made a prediction, where it was deployed and whether it was approved then.

    Args:
        ledger: The archive.
        found: The prediction's record.
    """
    named = ledger.document(found.table["context"][0].as_py().hex()).get("model")
    version = find_version(ledger, canonical.text_of(named, "digest")) if isinstance(named, dict) else None
    time = time_text(found.table["time"][0].value)
    if version is None:
        return Served(
            prediction=found.id, time=time, model=None, deployments=(), approved=False, verdicts=(), later=(),
            is_sealed=found.place is not None,
        )  # fmt: skip
    bound = None if found.place is None else found.place.position

    def before(entry: int, moment: str) -> bool:
        return moment <= time and (bound is None or entry < bound)

    # What was set last before it, not what its clock falls into: a clock that was set back makes intervals that end
    # before they begin.
    then = {one.deployment: one for one in find_deployments(ledger) if before(one.entry, one.since)}
    serving = tuple(one for one in then.values() if any(share.digest == version.digest for share in one.shares))
    verdicts = find_approvals(ledger, version)
    earlier = tuple(one for one in verdicts if before(one.entry, one.time))
    return Served(
        prediction=found.id,
        time=time,
        model=f"{version.name}:{version.version}",
        deployments=serving,
        approved=all(one is not None and one.verdict == "approved" for one in _deciding(earlier, serving).values()),
        verdicts=earlier,
        later=tuple(one for one in verdicts if one not in earlier),
        is_sealed=found.place is not None,
    )


def _deciding(verdicts: Iterable[Approval], deployments: Iterable[Interval]) -> dict[str | None, Approval | None]:
    """Return the verdict that counts for each of some deployments, or for None where there is none of these."""
    found: dict[str | None, Approval | None] = dict.fromkeys(one.deployment for one in deployments) or {None: None}
    for verdict in verdicts:
        found |= {name: verdict for name in found if verdict.deployment in {None, name}}
    return found


def _percent(interval: Interval, model: str | None) -> str:
    share = next(one.share for one in interval.shares if one.model == model)
    return f"{(Decimal(share) * 100).normalize():f}%"


def _share(given: str | float) -> Decimal:
    try:
        share = Decimal(str(given)).quantize(_SHARE_STEP)
    except InvalidOperation:
        share = Decimal(-1)
    if not (share.is_finite() and 0 < share <= 1):
        raise InputError("deployment: expected shares of more than 0 and at most 1")
    return share


def _share_of(model: JsonValue) -> Share:
    said: Mapping[str, JsonValue] = model if isinstance(model, dict) else {}
    return Share(
        model=f"{said.get('name')}:{said.get('version')}", digest=str(said.get("digest")), share=str(said.get("share"))
    )


def _reasons(reason: str | None) -> JsonObject:
    if reason is None:
        return {}
    if not isinstance(reason, str) or not 0 < len(reason) <= _REASON_CHARACTERS_MAX:
        raise InputError(f"reason: expected a text of 1 to {_REASON_CHARACTERS_MAX} characters")
    return {"reason": reason}


def _text(entry: JsonObject, member: str) -> str | None:
    value = entry.get(member)
    return value if isinstance(value, str) else None
