"""`backstory info`: what is in an archive, at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backstory.cli.answer import print_json, print_page
from backstory.cli.archives import open_ledger
from backstory.cli.models import list_models
from backstory.cli.options import ASKING, Asking
from backstory.cli.progress import progress

if TYPE_CHECKING:
    from backstory.ledger.ledger import Ledger
    from backstory.lineage.page import Page


def info(*, asking: Asking = ASKING) -> None:
    """Say what is in the archive: origin, key, models, sources, counts.

    Args:
        asking: Which archive.
    """
    with progress("counting"), open_ledger(asking) as ledger:
        document = describe(ledger)
    if asking.json:
        print_json(document)
    else:
        print_page(_page(document))


def describe(ledger: Ledger) -> dict[str, Any]:
    """Return what is in an archive."""
    from backstory.governance.proposal import POLICY_KIND, POLICY_NAME, in_force
    from backstory.ledger.read import manifests, spool_tables
    from backstory.lineage.plain import plain
    from backstory.records.envelope import OUTCOME, PREDICTION

    policy = in_force(ledger, POLICY_KIND, POLICY_NAME)
    checkpoint = ledger.log.checkpoint()
    kinds = {"predictions": PREDICTION, "outcomes": OUTCOME}
    sealed = {noun: sum(m.count for _, m in manifests(ledger, kind)) for noun, kind in kinds.items()}
    waiting = {noun: sum(t.num_rows for _, t in spool_tables(ledger, kind)) for noun, kind in kinds.items()}
    return {
        "access_policy": None if policy is None else policy.index,
        "authenticated": ledger.log.authenticated,
        "incarnation": ledger.layout.config.incarnation,
        "models": [plain(model) for model in list_models(ledger)],
        "origin": checkpoint.origin,
        "root": checkpoint.root.hex(),
        "sealed": sealed,
        "sources": _sources(ledger),
        "tree_size": checkpoint.size,
        "unsealed": waiting,
        "vkey": ledger.layout.config.vkey,
    }


def _sources(ledger: Ledger) -> list[dict[str, Any]]:
    """Return each source: how many dataset versions it has, and the rows of the newest, over its parts."""
    sources: dict[str, dict[str, Any]] = {}
    for entry in ledger.find_entries("source.fixed"):
        known = sources.setdefault(str(entry["name"]), {"versions": set(), "rows": 0})
        first = int(str(entry["first"]))
        known["versions"].add(entry["dataset"])
        known["rows"] = first + int(str(entry["rows"]))  # a part begins where the one before it ends
        known["dataset"] = entry["dataset"]
    return [{"name": name, **source, "versions": len(source["versions"])} for name, source in sources.items()]


def _access_text(policy: int | None) -> str:
    if policy is None:
        return "no access policy in force: whoever names an actor and a purpose reads sealed values"
    return f"the policy of entry {policy}"


def _page(document: dict[str, Any]) -> Page:
    from backstory.lineage.page import Page, Row, Section
    from backstory.lineage.plain import count_text

    counts = [count_text(document["sealed"][noun], noun[:-1]) for noun in ("predictions", "outcomes")]
    unsealed = [count_text(n, noun[:-1]) for noun, n in document["unsealed"].items() if n]
    facts = [
        ("public key", document["vkey"]),
        ("key", "pinned" if document["authenticated"] else "the archive's own: self-consistent, not authenticated"),
        ("access", _access_text(document["access_policy"])),
        ("tree size", f"{document['tree_size']}"),
        ("root", document["root"]),
        ("sealed", " and ".join(counts)),
        ("unsealed", " and ".join(unsealed) + ": no proof covers them yet" if unsealed else "nothing"),
    ]
    models = tuple(
        Row(cells=(f"{m['name']}:{m['version']}", ", ".join(m["aliases"]), m["digest"])) for m in document["models"]
    )
    sources = tuple(
        Row(cells=(s["name"], f"{s['rows']:,}", f"{s['versions']}", s["dataset"])) for s in document["sources"]
    )
    sections = (
        Section(title="Models", columns=("model", "aliases", "digest"), rows=models),
        Section(title="Sources", columns=("source", "rows", "versions", "newest version"), rows=sources),
    )
    return Page(headline=document["origin"], facts=tuple(facts), sections=tuple(s for s in sections if s.rows))
