"""`backstory deployments`: what serves which part of the traffic, who approved it, what served one prediction."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

from backstory.cli.answer import print_json, print_page, print_text
from backstory.cli.archives import open_archive, require_named
from backstory.cli.options import ASKING, Asking
from backstory.errors import InputError

if TYPE_CHECKING:
    from backstory.archive import Archive
    from backstory.lineage.deployments import Verdict

Action = Literal["list", "set", "approve", "served"]


def deployments(
    action: Action,
    what: str | None = None,
    models: list[str] | None = None,
    /,
    *,
    actor: str | None = None,
    deployment: str | None = None,
    verdict: Literal["approved", "rejected", "withdrawn"] = "approved",
    role: str | None = None,
    reason: str | None = None,
    asking: Asking = ASKING,
) -> None:
    """Say what deployments serve, or change it.

    list [DEPLOYMENT]                   what each served from when to when

    set DEPLOYMENT MODEL[=SHARE] …      what it serves from now on; no model switches it off

    approve MODEL                       record --actor's verdict on a model version

    served ID                           what made a prediction, where it was deployed, was it approved then

    Args:
        action: What to do.
        what: The deployment, the model version or the prediction.
        models: Versions, each with its part of the traffic; one alone has all of it.
        actor: Who sets or approves; the log holds a commitment to the name.
        deployment: For which deployment the verdict is. [default: any]
        verdict: What the actor says of the version.
        role: In which role. No personal data: this and the reason are in the log.
        reason: Why.
        asking: Which archive.
    """
    if action == "list":
        with open_archive(asking) as archive:
            _list(archive, what, as_json=asking.json)
        return
    if what is None:
        raise InputError(f"deployments {action}: expected {_EXPECTED[action]}")
    if action == "served":
        with open_archive(asking) as archive:
            served = archive.deployments.served(what)
        if asking.json:
            print_json(served.to_dict())
        else:
            print_text(str(served))
        return
    with _writing(asking, actor) as archive:
        if action == "set":
            archive.deployments.set(what, _shares(models or []), reason=reason)
        else:
            _approve(archive, what, deployment, verdict, role, reason)
        _list(archive, what if action == "set" else None, as_json=asking.json)


_EXPECTED = {"set": "the name of a deployment", "approve": "a model version", "served": "the id of a prediction"}


def _writing(asking: Asking, actor: str | None) -> Archive:
    import backstory

    require_named(asking)
    return backstory.open(asking.archive, actor=actor, vkey=asking.vkey)


def _approve(
    archive: Archive, model: str, deployment: str | None, verdict: Verdict, role: str | None, reason: str | None
) -> None:
    archive.deployments.approve(model, deployment=deployment, verdict=verdict, role=role, reason=reason)


def _shares(models: list[str]) -> dict[str, str] | str | None:
    if not models:
        return None
    if len(models) == 1 and "=" not in models[0]:
        return models[0]
    shares = {}
    for text in models:
        model, mark, share = text.rpartition("=")
        if not mark:
            raise InputError(f"deployments set: expected MODEL=SHARE of each of several, got {text!r}")
        shares[model] = share
    return shares


def _list(archive: Archive, deployment: str | None, *, as_json: bool) -> None:
    found = archive.deployments.intervals(deployment)
    if as_json:
        print_json({"deployments": [asdict(one) for one in found]})
        return
    from backstory.lineage.history import deployments_page

    print_page(deployments_page(found))
