"""Freezes: a model version stays as it is while an incident is looked into.

Its records are not disposed of and not erased, nor does an alias or a deployment of it change, until two people lift
the freeze. Bytes: docs/format.md section 41.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from backstory.errors import ConflictError, NotFoundError
from backstory.governance.proposal import Proposal, propose, refuse, require_actor
from backstory.ledger.ledger import Ledger
from backstory.lineage import registry
from backstory.lineage.deployments import find_deployments
from backstory.records import canonical
from backstory.records.canonical import JsonObject

PLACED, LIFTED = "freeze.placed", "freeze.lifted"
UNFREEZE: Final = "unfreeze"
"""Kind of the proposals to lift a freeze."""
_NAME_SIZE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """A model version that stays as it is.

    Attributes:
        name: The freeze's name, which says nothing.
        model: The version, as `name:version`.
        digest: Its digest.
        placed: When, RFC 3339.
        entry: Index of the entry that placed it.
        incident: Commitment to the incident.
        why: Commitment to the reason.
        lifted: When it was lifted; None while it holds.
    """

    name: str
    model: str
    digest: str
    placed: str
    entry: int
    incident: str
    why: str
    lifted: str | None = None


def place_freeze(ledger: Ledger, model: str, incident: str, why: str) -> Freeze:
    """Freeze a model version.

    Args:
        ledger: The archive.
        model: The version, by `name:version`, `name@alias` or digest.
        incident: Which incident; kept as a commitment.
        why: Why; kept as a commitment.

    Raises:
        ForbiddenError: The archive was opened without an actor.
        NotFoundError: There is no such version.
    """
    require_actor(ledger, "freezing a model")
    version = registry.find_version(ledger, model)
    name = f"freeze-{ledger.world.random_bytes(_NAME_SIZE).hex()}"
    entry: JsonObject = {
        "incident": ledger.commit_text("incident", incident),
        "model": {"digest": version.digest, "name": version.name, "version": str(version.version)},
        "name": name,
        "type": PLACED,
        "why": ledger.commit_text("why", why),
    }
    ledger.append([entry])
    return find_freeze(ledger, name)


def propose_unfreeze(ledger: Ledger, name: str) -> Proposal:
    """Propose to lift a freeze; it is lifted when another person approves.

    Raises:
        NotFoundError: There is no such freeze.
        ConflictError: It was lifted.
    """
    found = find_freeze(ledger, name)
    if found.lifted is not None:
        raise ConflictError(f"freeze {name}: it was lifted at {found.lifted}")
    return propose(ledger, UNFREEZE, name, {"freeze": name, "v": 1})


def lift(ledger: Ledger, proposal: Proposal) -> Freeze:
    """Lift a freeze whose lifting was approved; doing it again changes nothing."""
    entry: JsonObject = {"name": proposal.name, "proposal": str(proposal.index), "type": LIFTED}
    ledger.append(lambda: [entry] if find_freeze(ledger, proposal.name).lifted is None else [])
    return find_freeze(ledger, proposal.name)


def freezes(ledger: Ledger) -> list[Freeze]:
    """Return the freezes, those lifted too, oldest first."""
    found: dict[str, Freeze] = {}
    for index, entry in ledger.numbered_entries(PLACED):
        model = entry.get("model")
        of = model if isinstance(model, dict) else {}
        name = canonical.text_of(entry, "name")
        found[name] = Freeze(
            name=name,
            model=f"{canonical.text_of(of, 'name')}:{canonical.text_of(of, 'version')}",
            digest=canonical.text_of(of, "digest"),
            placed=canonical.text_of(entry, "time"),
            entry=index,
            incident=canonical.text_of(entry, "incident"),
            why=canonical.text_of(entry, "why"),
        )
    for entry in ledger.find_entries(LIFTED):
        name = canonical.text_of(entry, "name")
        found[name] = replace(found[name], lifted=canonical.text_of(entry, "time"))
    return list(found.values())


def find_freeze(ledger: Ledger, name: str) -> Freeze:
    """Return a freeze by its name.

    Raises:
        NotFoundError: There is none.
    """
    for one in freezes(ledger):
        if one.name == name:
            return one
    raise NotFoundError(f"freeze: none is called {name!r}")


def insist_alias_free(ledger: Ledger, model: str, alias: str) -> None:
    """Insist that an alias does not point to a frozen version.

    Args:
        ledger: The archive.
        model: Name of the model.
        alias: The alias.

    Raises:
        ForbiddenError: It does; the refusal is recorded.
    """
    if not (frozen := _frozen(ledger)):
        return
    pointed = [e.get("model") for e in ledger.find_entries("model.aliased", model) if e.get("alias") == alias]
    if pointed and pointed[-1] in frozen:
        refuse(ledger, "changing an alias", "frozen", f"{model}@{alias} is of a version that an incident keeps frozen")


def insist_deployment_free(ledger: Ledger, deployment: str, models: Sequence[str]) -> None:
    """Insist that a deployment serves no frozen version that it would serve otherwise then.

    Args:
        ledger: The archive.
        deployment: Its name.
        models: Digests of the versions it is to serve.

    Raises:
        ForbiddenError: It does; the refusal is recorded.
    """
    if not (frozen := _frozen(ledger)):
        return
    now = [one for one in find_deployments(ledger, deployment) if one.until is None]
    served = {share.digest for one in now for share in one.shares}
    if served & frozen or set(models) & frozen:
        refuse(ledger, "changing a deployment", "frozen", f"{deployment} serves, or is to, a version that is frozen")


def _frozen(ledger: Ledger) -> set[str]:
    return {one.digest for one in freezes(ledger) if one.lifted is None}
