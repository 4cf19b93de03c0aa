"""`backstory rights`: requests that people made, notices they were given, and what is overdue."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from backstory.cli.answer import print_json, print_page, print_text
from backstory.cli.archives import open_acting, open_archive
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, Opening
from backstory.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from backstory.archive import Archive
    from backstory.governance.notice import MissingNotice, Notice
    from backstory.governance.request import Request
    from backstory.lineage.page import Page

Listed = TypeVar("Listed", "MissingNotice", "Notice", "Request")

Act = Literal[
    "requests", "request", "answer", "overdue", "show", "notices", "notice", "delivery", "exempt", "missing", "clocks"
]

_NEEDS = {
    "request": ("type",),
    "answer": ("request", "what became of it"),
    "show": ("request",),
    "notice": ("type",),
    "delivery": ("notice", "what became of it"),
    "exempt": ("decision", "type of notice"),
}
"""Acts that are about something, and what that is."""


def rights(
    act: Act,
    /,
    *what: str,
    subject: str | None = None,
    decision: str | None = None,
    ground: str | None = None,
    rule: str | None = None,
    began: str | None = None,
    due: str | None = None,
    at: str | None = None,
    zone: str = "UTC",
    text: str | None = None,
    content: Path | None = None,
    template: str | None = None,
    language: str | None = None,
    channel: str | None = None,
    recipient: str | None = None,
    now: str | None = None,
    opening: Opening = SEALED_STAY_SEALED,
    asking: Asking = ASKING,
) -> None:
    """Record requests and notices and what became of them; say what is overdue, and who was not told.

    requests                   every request, without what is sealed

    show REQUEST               one request

    request TYPE               record what --subject asks for: access, erasure, human-review, …

    answer REQUEST STATE       identified, extended, fulfilled, refused, or notified

    overdue                    requests that are due and not answered

    notices                    every notice, or those about --decision

    notice TYPE                record that a notice was issued

    delivery NOTICE STATE      sent, delivered, or failed

    exempt DECISION TYPE       record a ground to give no notice of that type

    missing                    adverse decisions nobody was told of as they had to be

    clocks                     the terms that are known, and where they stand

    Args:
        act: What to do.
        what: What it is about.
        subject: Who asks, or is told.
        decision: Id of the decision a notice is about.
        ground: The legal ground; stands in clear.
        rule: Name of the clock.
        began: When the term began, or the request was received, RFC 3339.
        due: When it is due, where no clock says so, RFC 3339.
        at: When it happened, RFC 3339.
        zone: Time zone whose days count.
        text: What the person wrote, or was told.
        content: File with the content of a notice; it is kept, sealed.
        template: Version of the template.
        language: Language of a notice.
        channel: How a notice goes.
        recipient: Of the answer notified, who was told.
        now: For overdue and missing: the moment that is asked about, RFC 3339.
        opening: What opens sealed values.
        asking: Which archive.
    """
    needed = _NEEDS.get(act, ())
    if len(what) != len(needed):
        raise InputError(f"rights {act}: expected {' and '.join(f'a {one}' for one in needed) or 'nothing more'}")
    if act in {"answer", "delivery", "exempt", "notice", "request"}:
        said = {
            "at": at, "began": began, "channel": channel, "due": due, "ground": ground, "language": language,
            "content": None if content is None else content.read_bytes(), "decision": decision,
            "recipient": recipient, "rule": rule, "subject": subject, "template": template, "text": text, "zone": zone,
        }  # fmt: skip
        _act(act, what, {name: value for name, value in said.items() if value is not None}, opening, asking)
        return
    if act == "clocks":
        _clocks(as_json=asking.json)
        return
    with open_archive(asking, opening) as archive:
        _answer(archive, act, what, decision, now, as_json=asking.json)


_TAKEN = {
    "answer": ("at", "due", "ground", "recipient", "text", "zone"),
    "delivery": ("at",),
    "exempt": ("at", "ground"),
    "notice": (
        "at", "began", "channel", "content", "decision", "due", "ground", "language", "rule", "subject", "template",
        "zone",
    ),
    "request": ("began", "due", "ground", "rule", "subject", "text", "zone"),
}  # fmt: skip
"""Options that an act takes."""

_DEMANDED = {"exempt": "ground", "notice": "ground", "request": "subject"}


def _act(act: str, what: tuple[str, ...], said: dict[str, Any], opening: Opening, asking: Asking) -> None:
    odd = [name for name in said if name not in _TAKEN[act] and name != "zone"]
    if odd:
        raise InputError(f"rights {act}: takes no {', '.join(f'--{name}' for name in odd)}")
    if act in _DEMANDED and _DEMANDED[act] not in said:
        raise InputError(f"rights {act}: expected --{_DEMANDED[act]}")
    given = {name: said[name] for name in _TAKEN[act] if name in said}
    with open_acting(asking, opening, f"rights {act}") as archive:
        if act == "request":
            given["received"] = given.pop("began", None)
            made: Any = archive.rights.request(*what, **given)
        elif act == "answer":
            made = archive.rights.answer(*what, **given)  # type: ignore[arg-type]
        elif act == "notice":
            made = archive.rights.notice(*what, **given)
        elif act == "delivery":
            made = archive.rights.delivery(*what, **given)  # type: ignore[arg-type]
        else:
            made = archive.rights.exempt(*what, **given)
    if asking.json:
        print_json(made.to_dict())
    else:
        print_text(f"{made.id} {made.state}{f', due {made.due.isoformat()}' if made.due else ''}")


def _answer(
    archive: Archive, act: str, what: tuple[str, ...], decision: str | None, now: str | None, *, as_json: bool
) -> None:
    from backstory.governance.notice import missing_page, notices_page
    from backstory.governance.request import requests_page

    if act == "show":
        found = archive.rights.show(what[0])
        if as_json:
            print_json(found.to_dict())
        else:
            print_page(found._page())  # noqa: SLF001  as every answer is laid out
        return
    if act == "requests":
        _list(act, archive.rights.requests(), requests_page, as_json=as_json)
    elif act == "overdue":
        _list(act, archive.rights.overdue(now), requests_page, as_json=as_json)
    elif act == "notices":
        _list(act, archive.rights.notices(decision=decision), notices_page, as_json=as_json)
    else:
        _list(act, archive.rights.missing_notices(now), missing_page, as_json=as_json)


def _list(act: str, found: list[Listed], page: Callable[[list[Listed]], Page], *, as_json: bool) -> None:
    if as_json:
        print_json({act: [one.to_dict() for one in found]})
    else:
        print_page(page(found))


def _clocks(*, as_json: bool) -> None:
    from backstory.governance.clocks import CLOCKS

    if as_json:
        from dataclasses import asdict

        print_json({"clocks": [asdict(one) for one in CLOCKS.values()]})
        return
    lines = [
        f"{one.name}: {one.term.count} {one.term.unit} from when {one.runs_from}; {one.source}"
        for one in CLOCKS.values()
    ]
    print_text("\n".join(lines))
