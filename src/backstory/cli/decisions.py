"""`backstory decisions`: what was decided with predictions, who verified it, and what waits for a second person."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_page, print_text
from backstory.cli.archives import open_acting, open_archive
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, Opening
from backstory.errors import InputError
from backstory.records.decision import Action, Automation, Reliance

if TYPE_CHECKING:
    from backstory.governance.decision_read import Decision
    from backstory.governance.proposal import Proposal

Act = Literal["list", "show", "of", "oversight", "record", "verify", "finalise", "proposals", "decide"]
_ACTS = frozenset({"record", "verify", "finalise", "decide"})
"""What somebody does, and does not only ask."""

_NEEDS = {
    "show": "the id of a decision",
    "of": "the id of a prediction",
    "record": "the id of a prediction, or several",
    "verify": "the id of a draft",
    "finalise": "the id of a draft",
    "decide": "the entry of a proposal",
}


def decisions(
    act: Act,
    /,
    *what: str,
    outcome: str | None = None,
    adverse: bool | None = None,
    automation: Automation | None = None,
    reliance: Reliance | None = None,
    action: Action | None = None,
    ground: str | None = None,
    domain: str | None = None,
    reason: Annotated[list[str] | None, Parameter(negative=())] = None,
    reason_map: str | None = None,
    subject: str | None = None,
    case: str | None = None,
    text: str | None = None,
    shown: Path | None = None,
    opened: str | None = None,
    authority: str | None = None,
    competence: str | None = None,
    signature: str | None = None,
    reverses: str | None = None,
    verdict: Literal["approved", "confirmed", "disputed", "rejected"] | None = None,
    model: str | None = None,
    since: str | None = None,
    until: str | None = None,
    opening: Opening = SEALED_STAY_SEALED,
    asking: Asking = ASKING,
) -> None:
    """Record what was decided with predictions, verify it, make it final; or say what was decided.

    list                     decisions and drafts, without what is sealed

    show DECISION            one decision

    of PREDICTION            the decisions made with a prediction

    oversight                how often people did not follow a model, and how long a review took

    record PREDICTION …      record what --actor decided

    verify DRAFT             record --actor's verdict on a draft

    finalise DRAFT           make a draft a decision

    proposals                what was proposed and decided by two people

    decide ENTRY             approve or reject what another person proposed

    Args:
        act: What to do.
        what: Ids of predictions, of a decision, or the entry of a proposal.
        outcome: What was decided.
        adverse: Whether it is adverse to the person; of list, only those that are, or are not.
        automation: Who decided: a program alone, a program and a person, or a person.
        reliance: What the predictions counted for.
        action: What was done with what the model said.
        ground: Code for why it was not accepted; stands in clear.
        domain: The domain, which says what the decision needs.
        reason: Code of a reason; once for each.
        reason_map: The reason map the codes are of, where the domain names none.
        subject: Whom it is about.
        case: The case.
        text: Why, in words.
        shown: File with what whoever decided was shown; it is kept.
        opened: When the case was opened, RFC 3339.
        authority: By which authority.
        competence: With which proof of competence.
        signature: What the signature means.
        reverses: Id of the decision that is reversed.
        verdict: Of verify: confirmed or disputed; of decide: approved or rejected.
        model: Only decisions on predictions of this model, or version.
        since: Only what was decided then or later, RFC 3339.
        until: Only what was decided before, RFC 3339.
        opening: What opens sealed values.
        asking: Which archive.
    """
    if act in _NEEDS and not what:
        raise InputError(f"decisions {act}: expected {_NEEDS[act]}")
    if act in _ACTS:
        said = {
            "authority": authority, "competence": competence, "signature": signature, "outcome": outcome,
            "adverse": adverse, "automation": automation, "reliance": reliance, "action": action, "ground": ground,
            "domain": domain, "reasons": reason or [], "map": reason_map, "subject": subject, "case": case,
            "text": text, "shown": None if shown is None else shown.read_bytes(), "opened": opened,
            "reverses": reverses, "verdict": verdict,
        }  # fmt: skip
        _act(act, what, {name: value for name, value in said.items() if value is not None}, opening, asking)
        return
    with open_archive(asking, opening) as archive:
        if act == "show":
            _print(archive.decisions.show(what[0]), as_json=asking.json)
        elif act == "oversight":
            _print(archive.decisions.oversight(model, since=since, until=until), as_json=asking.json)
        elif act == "proposals":
            _proposals(archive.decisions.proposals(), as_json=asking.json)
        elif act == "of":
            _list(archive.decisions.of(what[0]), as_json=asking.json)
        else:
            found = archive.decisions.find(domain=domain, model=model, adverse=adverse, since=since, until=until)
            _list(found, as_json=asking.json)


def _act(act: str, what: tuple[str, ...], said: dict[str, Any], opening: Opening, asking: Asking) -> None:
    with open_acting(asking, opening, f"decisions {act}") as archive:
        if act == "record":
            missing = [name for name in _DEMANDED if name not in said]
            if missing:
                raise InputError(f"decisions record: expected {', '.join(f'--{name}' for name in missing)}")
            said.pop("verdict", None)
            made = archive.decisions.record(list(what), **said)
        elif act == "verify":
            given = {name: said[name] for name in ("competence", "signature", "verdict") if name in said}
            made = archive.decisions.verify(what[0], **given)
        elif act == "finalise":
            made = archive.decisions.finalise(what[0])
        else:
            if not what[0].isdecimal():
                raise InputError("decisions decide: expected the entry of a proposal, a number")
            decided = archive.decisions.decide(int(what[0]), said.get("verdict", "approved"))
            _proposals([decided], as_json=asking.json)
            return
    if asking.json:
        print_json(made.to_dict())
    else:
        print_text(f"{made.id} {made.state}")


_DEMANDED = ("outcome", "adverse", "automation", "reliance", "action")


def _print(answer: Any, *, as_json: bool) -> None:  # noqa: ANN401  a decision, or figures about some
    if as_json:
        print_json(answer.to_dict())
    else:
        print_page(answer._page())  # noqa: SLF001  as every answer is laid out


def _list(found: list[Decision], *, as_json: bool) -> None:
    from backstory.governance.decision_read import decisions_page

    if as_json:
        print_json({"decisions": [one.to_dict() for one in found]})
    else:
        print_page(decisions_page(found))


def _proposals(found: list[Proposal], *, as_json: bool) -> None:
    if as_json:
        print_json({"proposals": [asdict(one) for one in found]})
        return
    lines = [f"{one.index}  {one.kind} {one.name}: {one.verdict or 'waits for another person'}" for one in found]
    print_text("\n".join(lines) or "no proposals")
