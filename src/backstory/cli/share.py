"""`backstory share`: differentially private figures, under a budget for each audience."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_page, print_text
from backstory.cli.archives import open_acting, open_archive
from backstory.cli.exit_codes import OK
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, Opening
from backstory.errors import InputError

if TYPE_CHECKING:
    from backstory.archive import Archive
    from backstory.archive.sharing import Selection
    from backstory.governance.budget import Budget
    from backstory.governance.sharing import Figure

Act = Literal[
    "budgets", "budget", "approve", "reject", "figures", "count", "sum", "mean", "rate", "histogram", "quantile"
]


def share(
    act: Act,
    what: str | None = None,
    of: str | None = None,
    /,
    *,
    epsilon: str | None = None,
    delta: str = "0",
    period: Literal["month", "quarter", "year"] | None = None,
    unit: Literal["subject", "record"] = "subject",
    reason: str | None = None,
    by: Annotated[list[str] | None, Parameter(negative=())] = None,
    where: Annotated[list[str] | None, Parameter(negative=())] = None,
    model: str | None = None,
    since: str | None = None,
    until: str | None = None,
    bounds: str | None = None,
    share_below: float = 0.5,
    value: str | None = None,
    categories: str | None = None,
    edges: str | None = None,
    per_person: int = 1,
    again: Annotated[bool, Parameter(negative=())] = False,
    asking: Asking = ASKING,
    opening: Opening = SEALED_STAY_SEALED,
) -> int:
    """Make figures that can be given away, with noise, and manage the budgets they use up.

    budgets [AUDIENCE]                  what each audience may learn, and what is left of it

    budget AUDIENCE --epsilon E         propose a budget; approve or reject ENTRY: another person decides

    count AUDIENCE --epsilon E          people, or predictions with --per-person above 1

    sum | mean | quantile AUDIENCE COLUMN --bounds LOW,HIGH --epsilon E

    rate | histogram AUDIENCE COLUMN --epsilon E

    figures [AUDIENCE]                  what was given out

    Args:
        act: What to do.
        what: The audience, or the index of a proposal's entry.
        of: The column: output, decision, outcome or feature.NAME.
        epsilon: What a figure, or all of a period, may lose.
        delta: The same of delta.
        period: After which a budget is whole again. [default: never]
        unit: Whose presence a budget protects.
        reason: Why a budget is approved or rejected.
        by: Cells, as NAME=KEY,KEY …: model, day, month or a column.
        where: Conditions, as "COLUMN OPERATOR VALUE": all of them hold.
        model: Only predictions of this model.
        since: Only predictions from this moment on.
        until: Only predictions before this moment.
        bounds: Least and largest value, as LOW,HIGH.
        share_below: Of a quantile: which share of the rows lies below it.
        value: Of a rate: which value is counted. [default: true]
        categories: Of a histogram: values, separated by commas.
        edges: Of a histogram of numbers: where bins begin, and where the last one ends.
        per_person: How many predictions about one person count at most.
        again: Make a figure anew that the audience was given before, and charge for it.
        asking: Which archive.
        opening: Who acts, and what for.
    """
    if act in {"budgets", "figures"}:
        with open_archive(asking, opening) as archive:
            _show(archive, act, what, as_json=asking.json)
        return OK
    if what is None:
        raise InputError(f"share {act}: expected {'an entry' if act in {'approve', 'reject'} else 'an audience'}")
    with open_acting(asking, opening, "share") as archive:
        if act == "budget":
            _print_budgets(
                [archive.sharing.budget(what, epsilon=_given(epsilon), delta=delta, unit=unit, period=period)], asking
            )
            return OK
        if act in {"approve", "reject"}:
            verdict: Any = "approved" if act == "approve" else "rejected"
            if not what.isdecimal():
                raise InputError(f"share {act}: expected the index of a proposal's entry")
            _print_budgets([archive.sharing.decide(int(what), verdict, reason)], asking)
            return OK
        rows: Selection = {"per_person": per_person, "again": again}
        if model is not None:
            rows["model"] = model
        if since is not None:
            rows["since"] = since
        if until is not None:
            rows["until"] = until
        rows["by"] = dict(map(_keys, by or []))
        rows["where"] = [_condition(one) for one in where or []]
        takes = {
            "sum": {"bounds": _numbers(bounds)},
            "mean": {"bounds": _numbers(bounds)},
            "quantile": {"bounds": _numbers(bounds), "share": share_below},
            "rate": {"value": None if value is None else _plain(value)},
            "histogram": {
                "categories": None if categories is None else [_plain(one) for one in categories.split(",")],
                "delta": delta,
                "edges": _numbers(edges),
            },
        }.get(act, {})
        names = [what] if act == "count" else [what, _column(act, of)]
        figure: Figure = getattr(archive.sharing, act)(*names, epsilon=_given(epsilon), **takes, **rows)
    if asking.json:
        print_json(figure.to_dict())
    else:
        print_page(figure._page())  # noqa: SLF001  as every answer is printed
    return OK


def _show(archive: Archive, act: str, audience: str | None, *, as_json: bool) -> None:
    if act == "figures":
        found = archive.sharing.figures(audience)
        if as_json:
            print_json({"figures": [one.to_dict() for one in found]})
        else:
            print_text("\n\n".join(map(str, found)) or "no figure was given out")
        return
    budgets = archive.sharing.budgets(audience)
    if as_json:
        print_json({"budgets": [asdict(one) for one in budgets]})
    else:
        print_text("\n".join(map(_line, budgets)) or "no budget was proposed")


def _print_budgets(found: list[Budget], asking: Asking) -> None:
    if asking.json:
        print_json(asdict(found[0]))
    else:
        print_text("\n".join(map(_line, found)))


def _line(one: Budget) -> str:
    again = f" each {one.period}" if one.period else ""
    size = f"epsilon {one.epsilon}, delta {one.delta}{again}, protects a {one.unit}"
    state = f"left: {one.left_epsilon}, {one.left_delta}" if one.in_force else one.verdict or "waits for another person"
    return f"{one.audience}: {size}; {state} (entry {one.proposal})"


def _given(epsilon: str | None) -> str:
    if epsilon is None:
        raise InputError("share: expected --epsilon")
    return epsilon


def _column(act: str, of: str | None) -> str:
    if of is None:
        raise InputError(f"share {act}: expected a column after the audience")
    return of


def _keys(text: str) -> tuple[str, list[Any]]:
    name, mark, keys = text.partition("=")
    if not mark:
        raise InputError("share: expected --by as NAME=KEY,KEY")
    public = name in {"model", "day", "month"}
    return name, [key if public else _plain(key) for key in keys.split(",")]


def _condition(text: str) -> tuple[str, str, Any]:
    column, _, rest = text.strip().partition(" ")
    operator, _, value = rest.strip().partition(" ")
    return column, operator, _plain(value.strip())


def _numbers(text: str | None) -> Any:  # noqa: ANN401  as many numbers as there are
    if text is None:
        return None
    try:
        return tuple(float(one) for one in text.split(","))
    except ValueError:
        raise InputError("share: expected numbers separated by commas") from None


def _plain(text: str) -> str | int | float | bool:
    """Return what a text on the command line means: true, false, a number, or itself; quoted it is a text."""
    if text in {"true", "false"}:
        return text == "true"
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    try:
        return float(text) if not text.lstrip("-").isdecimal() else int(text)
    except ValueError:
        return text
