"""Domains of decisions: what a decision needs before it is one, such as reasons or a second verifier.

A domain is proposed by one person and approved by another; what was approved last of a name is in force. Bytes:
docs/format.md section 39.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from backstory.errors import ConflictError, FormatError, InputError, NotFoundError
from backstory.governance.proposal import Proposal, proposals, propose
from backstory.ledger.ledger import Ledger
from backstory.lineage.reason_map import find_reasons
from backstory.lineage.reasons import Adverse
from backstory.lineage.registry import require_model_name
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.names import names_instead

DOMAIN = "decision.domain"
"""Kind of the proposals."""

_VERIFIERS_MAX = 8
_CODES_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What a domain demands.

    Attributes:
        reasons: Reason map, as `name:version`, whose codes are given for an adverse decision; None where none are.
        adverse: Which side of the score is the adverse one.
        least: How many codes at least.
        most: How many at most.
        scored: Whether each code has to be among those that apply to what was scored.
        verifiers: How many different persons have to confirm a decision before it is final.
        competence: Whether each of them names a proof of their competence.
        notice: Type of the notice that an adverse decision is followed by; None where none is due.
        models: Names of the models whose predictions are decided on in this domain, and in no other.
    """

    reasons: str | None = None
    adverse: Adverse = "high"
    least: int = 1
    most: int = 4
    scored: bool = True
    verifiers: int = 0
    competence: bool = False
    notice: str | None = None
    models: tuple[str, ...] = ()

    def document(self) -> JsonObject:
        """Return them as they are kept."""
        return {
            "adverse": self.adverse,
            "competence": self.competence,
            "least": str(self.least),
            "models": list(self.models),
            "most": str(self.most),
            "notice": self.notice,
            "reasons": self.reasons,
            "scored": self.scored,
            "v": 1,
            "verifiers": str(self.verifiers),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A domain of decisions.

    Attributes:
        name: Its name.
        entry: Index of the entry that proposed it.
        demands: What it demands.
    """

    name: str
    entry: int
    demands: Demands


def propose_domain(ledger: Ledger, name: str, demands: Demands) -> Proposal:
    """Propose what decisions of a domain need; another person approves it.

    Raises:
        InputError: A name cannot be used, or a number makes no sense.
        ConflictError: Predictions of a model are decided on in another domain.
        NotFoundError: There is no such reason map.
        ForbiddenError: The archive was opened without an actor.
    """
    require_model_name(name)
    for model in demands.models:
        require_model_name(model)
    insist_models_free(ledger, name, demands)
    if demands.adverse not in get_args(Adverse):
        raise InputError(f"domain: expected adverse high or low, got {demands.adverse!r}")
    if not 1 <= demands.least <= demands.most <= _CODES_MAX:
        raise InputError(
            f"domain: expected 1 <= least <= most <= {_CODES_MAX} codes, got {demands.least} and {demands.most}"
        )
    if not 0 <= demands.verifiers <= _VERIFIERS_MAX:
        raise InputError(f"domain: expected 0 to {_VERIFIERS_MAX} verifiers, got {demands.verifiers}")
    document = demands.document()
    if demands.reasons is not None:
        known = find_reasons(ledger, demands.reasons)
        document["reasons"] = f"{known.name}:{known.version}"
    return propose(ledger, DOMAIN, name, document)


def insist_models_free(ledger: Ledger, name: str, demands: Demands) -> None:
    """Insist that no other domain in force has a model: its predictions could then be decided on in neither.

    Raises:
        ConflictError: One has.
    """
    for other in domains_in_force(ledger).values():
        shared = sorted({*demands.models} & {*other.demands.models})
        if shared and other.name != name:
            listed = ", ".join(shared)
            raise ConflictError(f"domain {name}: expected models of no other domain, got {listed} of {other.name}")


def domain_of(proposal: Proposal) -> Domain:
    """Return the domain a proposal describes.

    Raises:
        FormatError: Its document is none of a domain.
    """
    said = proposal.document
    models, reasons, notice = said.get("models"), said.get("reasons"), said.get("notice")
    if proposal.kind != DOMAIN or not isinstance(models, list):
        raise FormatError(f"domain: the proposal in entry {proposal.index} is none of a domain")
    return Domain(
        name=proposal.name,
        entry=proposal.index,
        demands=Demands(
            reasons=_text(reasons),
            adverse="low" if said.get("adverse") == "low" else "high",
            least=canonical.count_of(said, "least"),
            most=canonical.count_of(said, "most"),
            scored=said.get("scored") is True,
            verifiers=canonical.count_of(said, "verifiers"),
            competence=said.get("competence") is True,
            notice=_text(notice),
            models=tuple(map(str, models)),
        ),
    )


def domains_in_force(ledger: Ledger) -> dict[str, Domain]:
    """Return the domains in force, by name."""
    approved = (one for one in proposals(ledger, DOMAIN) if one.verdict == "approved")
    return {one.name: domain_of(one) for one in sorted(approved, key=lambda one: one.decided or 0)}


def require_domain(domains: dict[str, Domain], name: str) -> Domain:
    """Return a domain in force.

    Raises:
        NotFoundError: None of that name is.
    """
    if name not in domains:
        raise NotFoundError(f"domain: none called {name!r} is in force{names_instead(name, domains)}")
    return domains[name]


def _text(value: JsonValue) -> str | None:
    return value if isinstance(value, str) else None
