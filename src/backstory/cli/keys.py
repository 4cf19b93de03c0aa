"""`backstory keys`: which keys speak for the log, changing them, and changing those of sealed values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_text
from backstory.cli.archives import open_archive, open_ledger
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, Opening

Action = Literal["list", "rotate", "add-ml-dsa", "rotate-master", "rekey"]


def keys(
    action: Action,
    archive: Path | None = None,
    /,
    *,
    domain: str | None = None,
    compromised: Annotated[bool, Parameter(negative=())] = False,
    asking: Asking = ASKING,
    opening: Opening = SEALED_STAY_SEALED,
) -> None:
    """List the keys of the log, or change them or those of sealed values.

    list           print every key with the tree sizes it speaks for, as verifiers take it

    rotate         draw a new key, let both sign that it follows, destroy the old one

    add-ml-dsa     draw a second key, of type ML-DSA-44, that signs too from now on

    rotate-master  wrap the keys of sealed values under a new master key, destroy the old one

    rekey          encrypt sealed values under new keys, destroy the old ones

    Args:
        action: What to do.
        archive: Directory of the archive, as --archive.
        domain: Of which key domain, for rotate-master and rekey; each in turn unless given.
        compromised: Say in the log that somebody may have had the keys.
        asking: Which archive.
        opening: Who changes them: needed where an access policy is in force.
    """
    asking = asking if archive is None else replace(asking, archive=archive)
    if action == "list":
        _list(asking)
    elif action == "rotate":
        _rotate(asking, opening)
    elif action == "add-ml-dsa":
        _add_ml_dsa(asking, opening)
    else:
        _change_sealed(action, asking, opening, domain, compromised=compromised)


def _change_sealed(
    action: Literal["rotate-master", "rekey"],
    asking: Asking,
    opening: Opening,
    domain: str | None,
    *,
    compromised: bool,
) -> None:
    from backstory.lineage.plain import count_text

    what = "key file" if action == "rotate-master" else "shard"
    with open_archive(asking, opening, writes=True) as archive:
        change = archive.keys.rotate_master if action == "rotate-master" else archive.keys.rekey
        counts = change(domain, compromised=compromised)
    if asking.json:
        print_json(
            {
                "changed": {name: str(count) for name, count in counts.items()},
                "reason": "compromise" if compromised else "rotation",
            }
        )
        return
    for name, count in counts.items():
        print_text(f"{name}: {count_text(count, what, f'{what}s')} under a new key")
    if action == "rotate-master":
        print_text("the old master key is destroyed here: older copies of the key files open nothing without it")
    else:
        print_text("the old keys are destroyed here; what was copied together with them stays readable")


def _list(asking: Asking) -> None:
    from backstory.ledger.rotate import list_keys

    with open_ledger(asking) as ledger:
        texts = [valid.text for valid in list_keys(ledger)]
        authenticated = ledger.log.authenticated
    if asking.json:
        print_json({"authenticated": authenticated, "keys": texts})
    else:
        print_text("\n".join(texts))


def _rotate(asking: Asking, opening: Opening) -> None:
    with open_archive(asking, opening, writes=True) as archive:
        retired = archive.vkey
        valid = archive.keys.rotate()
    if asking.json:
        print_json({"from": valid.first, "retired": retired, "vkey": valid.key.vkey})
    else:
        print_text(
            f"rotated at tree size {valid.first}\npublic key to pin: {valid.key.vkey}\n"
            f"retired: {retired} until {valid.first}\nthe old secret key is destroyed here; destroy its copies too"
        )


def _add_ml_dsa(asking: Asking, opening: Opening) -> None:
    with open_archive(asking, opening, writes=True) as archive:
        key = archive.keys.add_ml_dsa()
    if asking.json:
        print_json({"vkey": key.vkey})
    else:
        print_text(f"second key: {key.vkey}")
