"""Why is this model, or this data, as it is? What a model version or a dataset version was made from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from backstory.ledger.ledger import Ledger
from backstory.lineage.answer import Answer
from backstory.lineage.dataset import DatasetVersion
from backstory.lineage.graph import Graph
from backstory.lineage.graph_walk import GraphWalk
from backstory.lineage.justification import Justification, find_justifications
from backstory.lineage.page import Page, Row, Section
from backstory.lineage.plain import plain, shown
from backstory.lineage.registry import Registered, determinism_of
from backstory.models.determinism import Determinism
from backstory.records import canonical
from backstory.records.canonical import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class VersionStory(Answer):
    """What a model version or a dataset version was made from.

    Attributes:
        kind: `model` or `dataset`.
        spec: What names it: `delay:3`, `flights:2@june`.
        digest: Its digest.
        time: When it was first recorded, RFC 3339.
        document: What the digest is of.
        graph: All it stands on: sets of rows, groups, code, runs, parents, where data was read.
        proof: The entry it came with, and the tree size and root it was read under.
        determinism: How far a model gives the same bits again; None where nobody looked.
        justifications: Why a model version was chosen, in the order in which it was said.
    """

    kind: str
    spec: str
    digest: str
    time: str
    document: JsonObject
    graph: Graph
    proof: dict[str, Any]
    determinism: Determinism | None = None
    justifications: tuple[Justification, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the story as values JSON has."""
        return {
            "determinism": None if self.determinism is None else self.determinism.document(),
            "digest": self.digest,
            "document": plain(self.document),
            "graph": self.graph.to_dict(),
            "justifications": [asdict(one) for one in self.justifications],
            "kind": self.kind,
            "proof": self.proof,
            "spec": self.spec,
            "time": self.time,
        }

    def __repr__(self) -> str:
        """Return the answer on one line."""
        return f"<VersionStory: {version_page(self).headline}>"

    def _page(self) -> Page:
        return version_page(self)


def tell_version(ledger: Ledger, walk: GraphWalk, version: Registered | DatasetVersion) -> VersionStory:
    """Return the story of a model version or a dataset version."""
    is_model = isinstance(version, Registered)
    type_, member = ("model.registered", "model") if is_model else ("source.fixed", "dataset")
    index, entry = next(
        (index, entry)
        for index, entry in ledger.numbered_entries(type_, version.name)
        if entry.get(member) == version.digest
    )
    graph = walk.behind(version)
    return VersionStory(
        kind="model" if is_model else "dataset",
        spec=f"{version.name}:{version.version}" if isinstance(version, Registered) else version.spec,
        digest=version.digest,
        time=canonical.text_of(entry, "time"),
        document=ledger.document(version.digest),
        graph=graph,
        proof={**graph.proof, "entry": index},
        determinism=determinism_of(ledger, version) if isinstance(version, Registered) else None,
        justifications=tuple(find_justifications(ledger, version.name, version.digest)) if is_model else (),
    )


def version_page(story: VersionStory) -> Page:
    """Return a story for a reader: what it was made from, the nearest first."""
    labels = {node.id: node.label for node in story.graph.nodes}
    near = [labels[edge.source] for edge in story.graph.edges if edge.target == story.graph.subject]
    facts = {node.id: node.facts for node in story.graph.nodes}[story.graph.subject]
    proof = story.proof
    rows = tuple(
        Row(
            cells=(f"{'  ' * depth}{labels[edge.source]}", labels[edge.target], edge.grade),
            loud=edge.grade == "broken",
        )
        for depth, edge in story.graph.outline()
    )
    metrics = story.document.get("metrics")
    made = ", ".join(near) or "what it says itself: nothing before it is recorded"
    all_facts = [("recorded", story.time), *((name, text) for name, text in facts.items() if name != "digest")]
    all_facts += [("metrics", shown(metrics))] if metrics else []
    all_facts += [] if story.determinism is None else [("determinism", story.determinism.in_words)]
    for why in story.justifications:
        all_facts.append(("why it was chosen", why.text))
        all_facts += [("not chosen", one) for one in why.alternatives]
    all_facts += [
        ("digest", story.digest),
        (
            "proof",
            f"entry {proof['entry']} under tree size {proof['tree_size']} of {proof['origin']}, root {proof['root']}",
        ),
    ]
    section = Section(title="What went into what", columns=("this", "went into", "edge"), rows=rows)
    return Page(
        headline=f"{story.kind} {story.spec} was made from {made}",
        facts=tuple(all_facts),
        sections=(section,) if rows else (),
    )
