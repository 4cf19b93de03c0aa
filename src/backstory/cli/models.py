"""`backstory models`: the model versions of an archive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backstory.cli.answer import print_json, print_page
from backstory.cli.archives import open_ledger
from backstory.cli.options import ASKING, Asking

if TYPE_CHECKING:
    from backstory.ledger.ledger import Ledger
    from backstory.lineage.page import Page


def models(*, asking: Asking = ASKING) -> None:
    """List the model versions with their aliases, oldest first.

    Args:
        asking: Which archive.
    """
    with open_ledger(asking) as ledger:
        found = list_models(ledger)
    if asking.json:
        print_json({"models": found})
    else:
        print_page(_page(found))


def list_models(ledger: Ledger) -> list[dict[str, Any]]:
    """Return every model version with the aliases that point to it now."""
    aliases: dict[tuple[object, object], object] = {}
    for entry in ledger.find_entries("model.aliased"):
        aliases[entry["name"], entry["alias"]] = entry["model"]  # a later entry moves the alias
    return [
        _model(ledger, entry, [
            str(alias) for (name, alias), digest in aliases.items() if (name, digest) == (entry["name"], entry["model"])
        ])
        for entry in ledger.find_entries("model.registered")
    ]  # fmt: skip


def _model(ledger: Ledger, entry: dict[str, Any], aliases: list[str]) -> dict[str, Any]:
    document: dict[str, Any] = ledger.document(str(entry["model"]))
    about: dict[str, Any] = ledger.document(str(entry["about"])) if entry.get("about") else {}
    training, model = document.get("training"), document.get("model") or {}
    return {
        "aliases": aliases,
        "class": model.get("class"),
        "determinism": about.get("determinism"),
        "digest": entry["model"],
        "framework": model.get("framework"),
        "name": entry["name"],
        "registered": entry["time"],
        "replayable": model.get("replayable") is True,
        "training_rows": None if training is None else int(training["rows"]),
        "version": int(entry["version"]),
    }


def _page(found: list[dict[str, Any]]) -> Page:
    from backstory.lineage.impact_page import DIGITS_SHOWN
    from backstory.lineage.page import Page, Row, Section
    from backstory.lineage.plain import count_text

    rows = tuple(
        Row(
            cells=(
                f"{model['name']}:{model['version']}",
                ", ".join(model["aliases"]),
                str(model["framework"] or "callable"),
                "not recorded" if model["training_rows"] is None else f"{model['training_rows']:,}",
                "replayable" if model["replayable"] else "not replayable",
                (model["determinism"] or {}).get("class") or "not known",
                model["digest"][:DIGITS_SHOWN],
            )
        )
        for model in found
    )
    columns = ("model", "aliases", "framework", "training rows", "replay", "determinism", "digest")
    headline = count_text(len(rows), "model version")
    return Page(headline=headline, sections=(Section(title="Models", columns=columns, rows=rows),) if rows else ())
