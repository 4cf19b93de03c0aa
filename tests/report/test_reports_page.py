"""docs/reference/reports.md says of each kind of report what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from backstory.report.report_kinds import KINDS, kind_of

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "reports.md").read_text("utf-8")


def test_every_kind_is_there():
    """In the order of `backstory report --list`."""
    assert [line.removeprefix("## ") for line in PAGE.splitlines() if line.startswith("## ")] == list(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_says_what_it_is(name):
    """Title, what it takes and states, its sections, what it supports and does not cover."""
    kind = kind_of(name)
    told = PAGE.split(f"## {name}\n", 1)[1].split("\n## ", 1)[0]
    layouts = kind.layouts
    assert f"{layouts.code}, *{layouts.title}*: {layouts.about}" in told
    assert all(f"`{one}`" in told for one in (*kind.asks, *layouts.states))
    assert all(f"`{one.name}` ({one.standing})" in told for one in layouts.sections)
    assert all(f"{one.article} ({one.serves})" in told for one in layouts.supports)
    assert all(limit in told for limit in layouts.limits)
