"""The report of a root cause, and its picture."""

from __future__ import annotations

import math

from backstory.debug.chart import Bar, Level, bars
from backstory.debug.rootcause import Finding, RootCause, Suspect
from backstory.debug.rootcause_statistics import Counts
from backstory.lineage.page import Page, Section, facts_section
from backstory.lineage.plain import count_text

_NAMES_SHOWN = 6
_LEFT_OUT_SHOWN = 6
_Z = 1.959964


def rootcause_page(found: RootCause) -> Page:
    """Return a root cause for a reader."""
    explained = found.bad - found.unexplained
    share = f"{found.bad:,} of {count_text(found.count, 'prediction')} are bad"
    if found.findings:
        headline = f"{share}; {count_text(len(found.findings), 'finding')} for {explained:,} of the bad ones"
    else:
        headline = f"{share}; nothing upstream that they share beyond chance was found"
    facts = [
        ("compared", found.compared_with),
        ("in no finding", f"{found.unexplained:,} bad"),
        (
            "looked at",
            f"{count_text(len(found.looked_at), 'factor')}, {found.tests[0]:,} values, {found.tests[1]:,} pairs",
        ),
        *((f"left out: {reason}", _listed(names)) for reason, names in found.left_out.items()),
        *(
            ("not counted", f"{count_text(count, 'prediction')} {reason}")
            for reason, count in found.not_counted.items()
        ),
    ]
    alarms = ["sealed values were not looked at: whoever may read them gets more"] if "sealed" in found.left_out else []
    sections = [_section(number, one) for number, one in enumerate(found.findings, 1)]
    return Page(headline=headline, alarms=tuple(alarms), facts=tuple(facts), sections=tuple(sections))


def _section(number: int, one: Finding) -> Section:
    rest = " of what is left" if number > 1 else ""
    facts = [
        ("inside", _share(one.counts.bad_inside, one.counts.all_inside) + rest),
        ("outside", _share(one.counts.bad_outside, one.counts.all_outside) + rest),
        ("risk ratio", _ratio(one)),
        ("by chance", f"p {_p(one.p)}, after all tests"),
    ]
    first = one.leading
    others = [other for other in one.suspects if other is not first]
    facts += [("replay", str(first.confirmation))] if first.confirmation is not None else []
    facts += [
        (_relation(first, other), other.name if other.confirmation == first.confirmation else _named(other))
        for other in others[:_NAMES_SHOWN]
    ]
    if len(others) > _NAMES_SHOWN:
        facts.append(("or", count_text(len(others) - _NAMES_SHOWN, "other name")))
    for rival in one.rivals:
        counts = _share(rival.counts.bad_inside, rival.counts.all_inside)
        facts.append(("explained by it", _named(rival.suspect, counts)))
    title = f"{number}. {first.name}"
    return facts_section(title, facts)


def _relation(first: Suspect, other: Suspect) -> str:
    """Return what another name of the same predictions is beside the leading one."""
    return "and not" if (first.verdict, other.verdict) == ("cause", "correlate") else "or"


def _named(one: Suspect, counts: str = "") -> str:
    told = [one.name, *([counts] if counts else [])]
    return "; ".join([*told, str(one.confirmation)] if one.confirmation is not None else told)


def _share(bad: int, count: int) -> str:
    return f"{bad:,} of {count:,} bad ({100 * bad / count if count else 0:.1f}%)"


def _ratio(one: Finding) -> str:
    if one.counts.bad_outside == 0:
        return f"at least {one.low:.3g}, as there is no bad one outside"
    return f"{one.risk_ratio:.3g}, 95% from {one.low:.3g} to {one.high:.3g}"


def _p(p: float) -> str:
    return "< 1e-300" if p == 0 else f"= {p:.1g}"


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_LEFT_OUT_SHOWN])
    more = len(names) - _LEFT_OUT_SHOWN
    return f"{count_text(len(names), 'factor')}: {shown}{f' and {more:,} more' if more > 0 else ''}"


def rootcause_chart(found: RootCause) -> str:
    """Return the findings as a picture: the bad part of the predictions each selects, with its 95% interval."""
    rows = [
        Bar(label=one.leading.name, value=_percent(one.counts), low=low, high=high, note=_note(one))
        for one in found.findings
        for low, high in [_interval(one.counts)]
    ]
    overall = 100 * found.bad / found.count
    return bars(
        "What bad predictions share",
        rows,
        axis="bad predictions among those that share it, %, with 95% interval",
        subtitle=f"{found.bad:,} of {found.count:,} predictions are bad, {found.unexplained:,} of them in no finding",
        level=Level(label=f"all: {overall:.3g}", value=overall),
    )


def _note(one: Finding) -> str:
    return f"{one.counts.bad_inside:,} of {one.counts.all_inside:,}; {one.verdict}"


def _percent(counts: Counts) -> float:
    return 100 * counts.bad_inside / counts.all_inside


def _interval(counts: Counts) -> tuple[float, float]:
    """Return Wilson's interval of a share, in percent."""
    n, share = counts.all_inside, counts.bad_inside / counts.all_inside
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    width = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2)) / (1 + _Z**2 / n)
    return 100 * max(middle - width, 0.0), 100 * min(middle + width, 1.0)
