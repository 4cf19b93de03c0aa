"""`backstory retention`: how long records are kept, what is held, what is overdue, and disposing of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_text
from backstory.cli.archives import open_acting, open_archive
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, Opening
from backstory.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from backstory.archive import Archive
    from backstory.governance.disposal import Disposal
    from backstory.governance.freeze import Freeze
    from backstory.governance.hold import Hold
    from backstory.governance.proposal import Proposal
    from backstory.governance.retention import Status
    from backstory.governance.retention_rules import Rule

Act = Literal[
    "status", "rules", "holds", "freezes", "disposals", "proposals",
    "adopt", "hold", "extend", "release", "propose", "approve", "reject", "execute", "finish", "freeze", "unfreeze",
]  # fmt: skip

_NEEDS = {
    "adopt": "a profile, or the path of a .toml file",
    "hold": "a matter",
    "extend": "a hold",
    "release": "a hold",
    "approve": "the number of a proposal",
    "reject": "the number of a proposal",
    "execute": "the number of a proposal",
    "freeze": "a model version",
    "unfreeze": "a freeze",
}
"""Acts that are about something, and what that is."""
_READING = ("status", "rules", "holds", "freezes", "disposals", "proposals")


def retention(
    act: Act,
    what: str | None = None,
    /,
    *,
    models: Annotated[list[str] | None, Parameter(negative=())] = None,
    custodian: str | None = None,
    review: str | None = None,
    model: str | None = None,
    since: str | None = None,
    until: str | None = None,
    where: str | None = None,
    prediction: Annotated[list[str] | None, Parameter(negative=())] = None,
    subject: Annotated[list[str] | None, Parameter(negative=())] = None,
    incident: str | None = None,
    reason: str | None = None,
    now: str | None = None,
    opening: Opening = SEALED_STAY_SEALED,
    asking: Asking = ASKING,
) -> None:
    """Say what is overdue and held; change rules, place holds, dispose of what is past its time.

    status                     what is overdue, held, frozen, and how old records are

    rules                      the rules in force

    holds, freezes, disposals  what was placed, frozen, disposed of

    proposals                  what waits for another person

    adopt PROFILE              propose rules: eu-default, us-credit, employment-california, or a .toml file

    hold MATTER                keep what --subject, --prediction, --model, --since, --until, --where say

    extend HOLD                put on its list what joined, with another --review

    release HOLD               propose to release it

    propose                    propose to dispose of what is past its ceiling

    approve PROPOSAL           approve what another person proposed

    reject PROPOSAL            reject it

    execute PROPOSAL           dispose of what was approved and is still overdue and not held

    finish                     complete disposals that were cut short

    freeze MODEL               keep a version and its records as they are for an --incident

    unfreeze FREEZE            propose to lift it

    Args:
        act: What to do.
        what: What it is about.
        models: For adopt: a pattern of names of models that the rules are for, may be repeated. [default: all]
        custodian: Who keeps a hold; the log has a commitment to the name, as to the matter and the scope.
        review: When somebody is to look at a hold again, RFC 3339.
        model: Hold predictions of this model, `name` or `name:version`.
        since: Hold predictions from then on, RFC 3339.
        until: Hold predictions before then, RFC 3339.
        where: Hold predictions for which this SQL predicate holds.
        prediction: Hold this prediction, by its whole id; may be repeated.
        subject: Hold what is about this person; may be repeated.
        incident: Which incident a freeze is for.
        reason: Why; the log has a commitment to it.
        now: For status and propose: the moment to judge by, RFC 3339.
        opening: Who acts.
        asking: Which archive.
    """
    needed = _NEEDS.get(act)
    if (what is None) is not (needed is None):
        raise InputError(f"retention {act}: expected {needed or 'nothing more'}")
    if act in _READING:
        with open_archive(asking, opening) as archive:
            _show(_read(archive, act, now), as_json=asking.json)
        return
    with open_acting(asking, opening, f"retention {act}") as archive:
        given = what or ""
        scope = {
            "model": model, "predictions": prediction or [], "since": since, "subjects": subject or [], "until": until,
            "where": where,
        }  # fmt: skip
        acts: dict[str, Callable[[], object]] = {
            "adopt": lambda: archive.retention.adopt(given, models=models or ()),
            "approve": lambda: archive.retention.approve(_number(given), reason=reason),
            "execute": lambda: archive.retention.execute(_number(given)),
            "extend": lambda: archive.retention.extend(given, review=_said(review, "--review")),
            "finish": archive.retention.finish,
            "freeze": lambda: archive.retention.freeze(given, _said(incident, "--incident"), _said(reason, "--reason")),
            "hold": lambda: _hold(archive, given, custodian, review, scope),
            "propose": lambda: archive.retention.propose(now),
            "reject": lambda: archive.retention.reject(_number(given), reason=reason),
            "release": lambda: archive.retention.release(given),
            "unfreeze": lambda: archive.retention.unfreeze(given),
        }
        _show(acts[act](), as_json=asking.json)


def _read(archive: Archive, act: str, now: str | None) -> object:
    acts: dict[str, Callable[[], object]] = {
        "disposals": archive.retention.disposals,
        "freezes": archive.retention.freezes,
        "holds": archive.retention.holds,
        "proposals": archive.retention.proposals,
        "rules": archive.retention.rules,
        "status": lambda: archive.retention.status(now),
    }
    return acts[act]()


def _hold(archive: Archive, matter: str, custodian: str | None, review: str | None, scope: dict[str, Any]) -> Hold:
    said, when = _said(custodian, "--custodian"), _said(review, "--review")
    return archive.retention.hold(matter, custodian=said, review=when, **scope)


def _said(given: str | None, option: str) -> str:
    if given is None:
        raise InputError(f"retention: expected {option}")
    return given


def _number(given: str) -> int:
    if not given.isdecimal():
        raise InputError(f"retention: expected the number of a proposal, got {given!r}")
    return int(given)


def _show(found: object, *, as_json: bool) -> None:
    """Print an answer, or several."""
    several = list(found) if isinstance(found, list | tuple) else None
    if as_json:
        print_json(_plain(found) if several is None else {"found": [_plain(one) for one in several]})
    elif several is None:
        print_text(_text(found))
    else:
        print_text("\n".join(_text(one) for one in several) or "none")


def _plain(one: Any) -> Any:  # noqa: ANN401  whatever the archive answers
    document = asdict(one)
    for name in ("kinds", "classes"):
        if isinstance(document.get(name), frozenset):
            document[name] = sorted(document[name])
    for name in ("floor", "ceiling"):
        if name in document:
            document[name] = None if getattr(one, name) is None else str(getattr(one, name))
    return document


def _text(one: Any) -> str:  # noqa: ANN401
    name = type(one).__name__
    return _TEXTS[name](one)


def _status(one: Status) -> str:
    lines = [f"{one.time}: {one.rules} rules in force"]
    for kind in one.classes:
        ages = ", ".join(f"{count} of {year} years" for year, count in kind.years.items())
        lines.append(f"{kind.kind}: {kind.records} records ({ages or 'none'}), {kind.gone} gone, {kind.held} held")
    lines += [f"overdue: {due.count} {due.label} by {due.rule}, oldest of {due.oldest}" for due in one.overdue]
    lines += [_held(hold) for hold in one.holds] + [_frozen(freeze) for freeze in one.freezes]
    lines += [f"review of {name} is due" for name in one.reviews]
    lines += [f"{name} was cut short: `backstory retention finish`" for name in one.unfinished]
    lines += [f"{name} was released, and what is overdue since is late" for name in one.late]
    return "\n".join(lines if one.overdue else [*lines, "nothing is overdue"])


def _held(one: Hold) -> str:
    state = f"released {one.released}" if one.released else f"review {one.review}"
    return f"{one.name}: placed {one.placed}, {one.records} records on its list, {state}"


def _frozen(one: Freeze) -> str:
    return f"{one.name}: {one.model} since {one.placed}{f', lifted {one.lifted}' if one.lifted else ''}"


def _proposed(one: Proposal) -> str:
    return f"proposal {one.index}: {one.kind} {one.name}, {one.verdict or 'waits for another person'}"


def _disposed(one: Disposal) -> str:
    went = [f"  {part.count} {part.label} by {part.rule}" for part in one.classes]
    kept = [f"  kept: {count} ({ground})" for ground, count in one.kept.items()]
    state = f"executed in entry {one.executed}" if one.executed is not None else "cut short"
    return "\n".join([f"{one.name}: begun {one.time}, {state}", *went, *kept])


def _ruled(one: Rule) -> str:
    what = "/".join(part for part in (",".join(sorted(one.kinds)), one.part, ",".join(sorted(one.classes))) if part)
    spans = [f"{name} {span}" for name, span in (("floor", one.floor), ("ceiling", one.ceiling)) if span is not None]
    adverse = {None: "", True: ", adverse", False: ", not adverse"}[one.adverse]
    duty = f", {one.basis}" if one.obligation else ""
    return f"{one.name}: {what}{adverse}: {', '.join(spans)} after the {one.trigger}{duty} ({one.source})"


_TEXTS: dict[str, Callable[[Any], str]] = {
    "Disposal": _disposed,
    "Freeze": _frozen,
    "Hold": _held,
    "Proposal": _proposed,
    "Rule": _ruled,
    "Status": _status,
}
