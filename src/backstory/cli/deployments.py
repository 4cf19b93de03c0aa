"""`backstory deployments`: what serves which part of the traffic, who approved it, what served one prediction."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

from backstory.cli.answer import print_json, print_page, print_text
from backstory.cli.archives import open_archive, require_named
from backstory.cli.options import ASKING, Asking
from backstory.errors import ForbiddenError, InputError, NotFoundError

if TYPE_CHECKING:
    from backstory.archive import Archive

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
    request: str | None = None,
    asking: Asking = ASKING,
) -> None:
    """Say what deployments serve, or change it.

    list [DEPLOYMENT]                   what each served from when to when

    set DEPLOYMENT MODEL[=SHARE] …      what it serves from now on; no model switches it off

    approve MODEL                       record --actor's verdict on a model version

    served ID | --request ID            what made a prediction, where it was deployed, was it approved then

    Args:
        action: What to do.
        what: The deployment, the model version or the prediction.
        models: Versions, each with its part of the traffic; one alone has all of it.
        actor: Who sets or approves; the log holds a commitment to the name.
        deployment: For which deployment the verdict is. [default: any]
        verdict: What the actor says of the version.
        role: In which role. No personal data: this and the reason are in the log.
        reason: Why.
        request: For served: id of the request instead of the prediction's.
        asking: Which archive.
    """
    if action == "list":
        with open_archive(asking) as archive:
            _list(archive, what, as_json=asking.json)
        return
    if action == "served" and (what is None) != (request is None):
        _served(asking, what, request)
        return
    if what is None or action == "served":
        raise InputError(f"deployments {action}: expected {_EXPECTED[action]}")
    if action == "approve" and actor is None:
        raise ForbiddenError("deployments approve: expected --actor: the log says who gave a verdict")
    with _writing(asking, actor) as archive:
        if action == "set":
            archive.deployments.set(what, _shares(models or []), reason=reason)
            _list(archive, what, as_json=asking.json)
            return
        archive.deployments.approve(what, deployment=deployment, verdict=verdict, role=role, reason=reason)
        given = archive.deployments.approvals(what)[-1]
        spec = archive.model(what)
    if asking.json:
        print_json({"model": f"{spec.name}:{spec.version}", **asdict(given)})
    else:
        print_text(f"{spec.name}:{spec.version} {given.verdict} for {given.deployment or 'any deployment'}")


_EXPECTED = {
    "set": "the name of a deployment",
    "approve": "a model version",
    "served": "the id of a prediction, or --request",
}


def _served(asking: Asking, prediction: str | None, request: str | None) -> None:
    """Print what made a prediction, or each prediction of a request."""
    with open_archive(asking) as archive:
        if prediction is not None:
            found = [archive.deployments.served(prediction)]
        else:
            found = archive.deployments.served_request(str(request))
    if not found:
        raise NotFoundError(f"deployments served: no prediction was made for a request {request!r}")
    if asking.json:
        print_json(found[0].to_dict() if request is None else {"served": [one.to_dict() for one in found]})
    else:
        named = [str(one) if request is None else f"prediction {one.prediction}\n{one}" for one in found]
        print_text("\n\n".join(named))


def _writing(asking: Asking, actor: str | None) -> Archive:
    import backstory

    require_named(asking)
    return backstory.open(asking.archive, actor=actor, vkey=asking.vkey)


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
