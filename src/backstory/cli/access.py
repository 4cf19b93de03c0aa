"""`backstory access`: policies, roles, cases and grants; who saw what."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_page, print_text
from backstory.cli.archives import open_acting, open_archive
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, Opening
from backstory.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from backstory.archive import Archive
    from backstory.governance.access_log import Seen
    from backstory.governance.access_stream import Access
    from backstory.lineage.page import Page

Act = Literal[
    "policy", "propose", "approve", "assign", "remove", "assign-case", "grant", "break-glass", "end", "reviews",
    "review", "log", "who-saw",
]  # fmt: skip

_NEEDS: dict[Act, tuple[str, ...]] = {
    "propose": ("a file with a policy, or `starting`",),
    "approve": ("the entry of a proposal",),
    "assign": ("a person", "a role"),
    "remove": ("a person", "a role"),
    "assign-case": ("a person", "a case"),
    "grant": ("a person", "a case"),
    "break-glass": ("a case",),
    "end": ("the entry of a grant or a case",),
    "review": ("the entry of a break-glass",),
}
"""What follows each act."""


def access(
    act: Act,
    /,
    *what: str,
    until: str | None = None,
    since: str | None = None,
    class_: Annotated[list[str] | None, Parameter(name="--class", negative=())] = None,
    reason: str | None = None,
    minutes: int = 240,
    verdict: Literal["justified", "not-justified"] | None = None,
    subject: str | None = None,
    prediction: str | None = None,
    model: Annotated[list[str] | None, Parameter(negative=())] = None,
    by: str | None = None,
    question: str | None = None,
    overdue: Annotated[bool, Parameter(negative=())] = False,
    asking: Asking = ASKING,
    opening: Opening = SEALED_STAY_SEALED,
) -> None:
    """Say who may see what, and who saw it.

    policy                     print the access policy in force

    propose FILE               propose a policy, or `starting`, the one that is shipped

    approve ENTRY              approve what another person proposed

    assign PERSON ROLE         give another person a role; --subject or --model binds it

    remove PERSON ROLE         take it from them

    assign-case PERSON CASE    let another person work on a case, with --model also on predictions of a model

    grant PERSON CASE          let another person see each --class for a case, --until then

    break-glass CASE           let --actor see each --class for --minutes; another person reviews it

    end ENTRY                  end a grant or the work on a case

    reviews                    what people opened for themselves, and what was found of it

    review ENTRY               say with --verdict whether it was justified

    log                        who asked what, what for, and what came of it

    who-saw                    who saw values of a --subject, or of a --prediction

    Args:
        act: What to do.
        what: The person, role, case, file or entry.
        until: When it ends; of log, only what was recorded before. RFC 3339.
        since: Only what was recorded, or belongs to the case, at or after this moment.
        class_: Class such as D4; once for each.
        reason: Why; kept sealed.
        minutes: How long a broken glass shows, at most 240.
        verdict: What a review found.
        subject: The person asked about, or the one a role is bound to.
        prediction: Id of a prediction.
        model: Name of a model; once for each.
        by: Only accesses by this person.
        question: Only accesses of this kind, such as why.
        overdue: Only what should have been reviewed by now.
        asking: Which archive.
        opening: Who acts or asks.
    """
    needed = _NEEDS.get(act, ())
    if len(what) != len(needed):
        raise InputError(f"access {act}: expected {' and '.join(needed) or 'nothing after it'}, got {len(what)} words")
    if act == "policy":
        with open_archive(asking, opening) as archive:
            _print_policy(archive, asking)
        return
    models, why, classes = tuple(model or ()), reason or "", tuple(class_ or ())
    acts: dict[str, Callable[[Archive], Any]] = {
        "propose": lambda archive: {"proposal": archive.access.propose_policy(_policy_text(what[0])).index},
        "approve": lambda archive: {"policy": archive.access.approve(_entry(what[0]), reason=reason).index},
        "assign": lambda archive: {
            "entry": archive.access.assign(what[0], what[1], until=until, subject=subject, models=models)
        },
        "remove": lambda archive: {"ended": archive.access.remove(what[0], what[1])},
        "assign-case": lambda archive: {
            "entry": archive.access.assign_case(what[0], what[1], until=until, models=models, between=(since, None))
        },
        "grant": lambda archive: {
            "entry": archive.access.grant(what[0], classes, what[1], until=_given(until, "--until"), why=why)
        },
        "break-glass": lambda archive: {
            "entry": archive.access.break_glass(classes, what[0], why=why, minutes=minutes)
        },
        "end": lambda archive: {"ended": _end(archive, _entry(what[0]))},
        "review": lambda archive: {"reviewed": _review(archive, _entry(what[0]), _given(verdict, "--verdict"), why)},
        "reviews": lambda archive: {"reviews": [asdict(one) for one in archive.access.reviews(overdue=overdue)]},
        "log": lambda archive: archive.access.log(since=since, until=until, actor=by, question=question),
        "who-saw": lambda archive: archive.access.who_saw(subject=subject, prediction=prediction),
    }
    with closing(open_acting(asking, opening, f"access {act}")) as archive:
        found = acts[act](archive)
    if act in {"log", "who-saw"}:
        _print_accesses(act, found, asking)
    elif asking.json:
        print_json(found)
    else:
        print_text("\n".join(_lines(found)))


def _print_policy(archive: Archive, asking: Asking) -> None:
    policy = archive.access.policy()
    if asking.json:
        print_json({"policy": None if policy is None else asdict(policy)})
    elif policy is None:
        print_text("no access policy in force: whoever names an actor and a purpose reads sealed values")
    else:
        print_text(f"// entry {policy.index}, approved {policy.approved}\n{policy.text}")


def _print_accesses(act: Act, found: list[Access] | list[Seen], asking: Asking) -> None:
    if asking.json:
        print_json({"accesses" if act == "log" else "seen": [one.to_dict() for one in found]})
    else:
        print_page(_page(act, found))


def _why_unsure(access_: Access) -> str:
    """Say why it is not known whether records were among those that were read."""
    return "which was erased" if access_.is_erased else "not said which"


def _page(act: Act, found: list[Access] | list[Seen]) -> Page:
    from backstory.governance.access_log import Seen
    from backstory.lineage.page import Page, Row, Section
    from backstory.lineage.plain import count_text, to_second

    everything: list[Access | Seen] = [*found]
    lines: dict[tuple[str, ...], tuple[list[str], list[str]]] = {}
    for at, one in enumerate(everything):
        access_ = one.access if isinstance(one, Seen) else one
        what = "" if not isinstance(one, Seen) else ", ".join(one.records) if one.certain else _why_unsure(access_)
        line = (
            to_second(access_.time),
            access_.actor or "erased",
            access_.role or "",
            f"{access_.question}: {access_.outcome}",
            "; ".join(text for text in (access_.purpose, access_.case and f"case {access_.case}") if text),
            str(at) if act == "log" else "",  # the log has a line for each; one question reads a person more than once
        )
        classes, records = lines.setdefault(line, ([], []))
        classes += access_.classes
        records.append(what or count_text(access_.records, "record"))
    rows = [
        Row(
            cells=(*line[:4], ", ".join(sorted(set(classes))), ", ".join(dict.fromkeys(records)), line[4]),
            loud=line[3].endswith(": denied"),
        )
        for line, (classes, records) in lines.items()
    ]
    columns = ("when", "who", "role", "what", "classes", "records", "what for")
    noun = "access" if len(found) == 1 else "accesses"
    headline = f"{len(found):,} {noun}" if act == "log" else f"seen in {len(found):,} {noun}"
    return Page(
        headline=headline, sections=(Section(title="Accesses", columns=columns, rows=tuple(rows)),) if rows else ()
    )


def _lines(found: dict[str, Any]) -> list[str]:
    lines = []
    for name, value in found.items():
        if name == "reviews":
            lines += [_review_line(one) for one in value] or ["nobody broke the glass"]
        else:
            lines.append(f"{name}: {', '.join(map(str, value)) if isinstance(value, list) else value}")
    return lines


def _review_line(one: dict[str, Any]) -> str:
    said = one["verdict"] or f"to be reviewed by {one['review_due']}"
    return f"entry {one['index']}: {', '.join(one['classes'])} from {one['time']} to {one['until']}: {said}"


def _end(archive: Archive, entry: int) -> int:
    archive.access.end(entry)
    return entry


def _review(archive: Archive, entry: int, verdict: Literal["justified", "not-justified"], why: str) -> int:
    archive.access.review(entry, verdict, reason=why)
    return entry


def _policy_text(given: str) -> str:
    if given == "starting":
        return given
    path = Path(given)
    if not path.is_file():
        raise NotFoundError(f"access propose: no file {path}")
    return path.read_text(encoding="utf-8")


def _entry(text: str) -> int:
    if not text.isdecimal():
        raise InputError("access: expected the index of an entry of the log")
    return int(text)


def _given(value: Any, option: str) -> Any:  # noqa: ANN401  an option of any type
    if value is None:
        raise InputError(f"access: expected {option}")
    return value
