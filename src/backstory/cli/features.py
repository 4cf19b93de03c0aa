"""`backstory features`: the feature sets of an archive."""

from __future__ import annotations

from typing import Literal

from backstory.cli.answer import print_json, print_page
from backstory.cli.archives import open_archive, open_ledger
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, Opening
from backstory.errors import InputError

Action = Literal["list", "show", "diff"]
_SPECS = {"list": (0, 1), "show": (1, 1), "diff": (2, 2)}
"""How many feature sets each action takes, at least and at most."""


def features(action: Action, /, *specs: str, asking: Asking = ASKING, opening: Opening = SEALED_STAY_SEALED) -> None:
    """List feature sets, show one with the definition and justification of each feature, or compare two.

    list [NAME]          every version of all feature sets, or of one

    show SPEC            its features, and who uses it

    diff BEFORE AFTER    what was added, removed or changed

    Args:
        action: What to do.
        specs: Feature sets: `name` (the latest version), `name:version` or a prefix of the digest.
        asking: Which archive.
        opening: Who asks, where an access policy is in force.
    """
    least, most = _SPECS[action]
    if not least <= len(specs) <= most:
        wanted = str(least) if least == most else f"{least} or {most}"
        raise InputError(f"features {action}: expected {wanted} feature sets, got {len(specs)}")
    if action == "list":
        _list(specs, asking)
    elif action == "show":
        _show(specs[0], asking, opening)
    else:
        _diff(specs[0], specs[1], asking, opening)


def _list(specs: tuple[str, ...], asking: Asking) -> None:
    from backstory.lineage.feature_set import sets_page
    from backstory.lineage.features import feature_sets

    with open_ledger(asking) as ledger:
        found = feature_sets(ledger, *specs)
    if asking.json:
        print_json({"feature_sets": [one.to_dict() for one in found]})
    else:
        print_page(sets_page(found))


def _show(spec: str, asking: Asking, opening: Opening) -> None:
    from backstory.lineage.feature_set import feature_set_page

    with open_archive(asking, opening) as archive:
        found = archive.features.show(spec)
        use = archive.features.used_by(found)
    if asking.json:
        print_json({**found.to_dict(), "used_by": use.to_dict()})
    else:
        from dataclasses import replace

        from backstory.lineage.plain import count_text

        page = feature_set_page(found)
        models = ", ".join(use.models) or "no model"
        fact = "used by", f"{models}; {count_text(use.count, 'prediction')}"
        print_page(replace(page, facts=(*page.facts, fact)))


def _diff(before: str, after: str, asking: Asking, opening: Opening) -> None:
    from backstory.lineage.features import diff_page

    with open_archive(asking, opening) as archive:
        diff = archive.features.diff(before, after)
    if asking.json:
        print_json(diff.to_dict())
    else:
        print_page(diff_page(diff))
