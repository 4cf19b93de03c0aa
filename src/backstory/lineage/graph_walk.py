"""Drawing up lineage graphs: from a prediction, a model version or a dataset version to all it stands on.

And from a model or dataset version forward to what was made of it. Sets of rows are counted, never listed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from backstory.ledger.ledger import Ledger
from backstory.ledger.read import Found
from backstory.lineage.dataset import DatasetVersion, list_versions
from backstory.lineage.graph import Edge, Grade, Graph, Kind, Node
from backstory.lineage.impact import contexts_now, impact_of_model, impact_of_rows
from backstory.lineage.plain import count_text, to_second
from backstory.lineage.reach import Chosen
from backstory.lineage.reference import Reference, parse_references
from backstory.lineage.registry import Registered, find_version
from backstory.lineage.resolve import BROKEN
from backstory.lineage.runs import RecordedRun, find_runs, runs_of
from backstory.lineage.showing import show_record
from backstory.lineage.store import note_sealed_positions
from backstory.lineage.trace import Edges, Tracer
from backstory.records import canonical
from backstory.records.access import Viewer
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.envelope import NO_ROW
from backstory.records.identity import time_text

_DIGITS = 12
_NAMED = 2
_GRADES: dict[str, Grade] = {
    "exact": "exact",
    "declared": "declared",
    "probed": "probed",
    "coarse": "coarse",
    "broken": "broken",
}


class GraphWalk:
    """Collects nodes and edges while it walks through an archive."""

    def __init__(self, ledger: Ledger, tracer: Tracer, gate: Viewer) -> None:
        """Walk through an archive; through positions of people by way of a gate."""
        self._ledger = ledger
        self._tracer = tracer
        self._gate = gate
        self._nodes: dict[str, Node] = {}
        self._edges: dict[tuple[str, str], Edge] = {}
        self._below: set[str] = set()
        self._datasets = {version.digest: version for version in list_versions(ledger)}

    @functools.cached_property
    def _runs(self) -> list[RecordedRun]:
        """All runs, read once for however many models."""
        return find_runs(self._ledger)

    def of_prediction(self, found: Found) -> Graph:
        """Return what a prediction stands on: rows, groups, model, code."""
        shown = show_record(self._ledger, self._gate, found, "graph")
        record, sealed = shown.values, shown.sealed
        context = self._ledger.document(record["context"].hex())
        facts = {"recorded": to_second(time_text(found.table["time"][0].value)), "status": str(record["status"])}
        facts |= {"sealed": ", ".join(sealed)} if sealed else {}
        subject = self._node("prediction", f"prediction:{found.id}", found.id[:_DIGITS], facts)
        features = [str(name) for name in record.get("feature") or ()]
        for name, reference in parse_references(context.get("refs")).items():
            position = (record.get("row") or {}).get(name, None)
            known = (not reference.personal or name in (record.get("row") or {})) and not isinstance(position, str)
            positions = np.array([BROKEN if position is None else position]) if known else None
            self._reference(subject, name, reference, positions, self._features_of(reference, features))
        model = context.get("model")
        if isinstance(model, dict):
            version = find_version(self._ledger, canonical.text_of(model, "digest"))
            self._edge(self._model(version), subject, "exact", canonical.text_of(context, "method"))
        return self._graph(f"prediction {found.id}", subject)

    def of_model(self, version: Registered) -> Graph:
        """Return what a model version stands on, and how many predictions it made."""
        subject = self._model(version)
        self._predictions(version, impact_of_model(self._ledger, self._gate, version).counts["predictions"])
        return self._graph(f"model {version.name}:{version.version}", subject)

    def behind(self, version: Registered | DatasetVersion) -> Graph:
        """Return what a model version or a dataset version stands on, without what was made of it."""
        if isinstance(version, Registered):
            return self._graph(f"model {version.name}:{version.version}", self._model(version))
        return self._graph(f"dataset {version.spec}", self._dataset(version.digest))

    def of_dataset(self, version: DatasetVersion) -> Graph:
        """Return where a dataset version came from, and what was made of it: groups, models, predictions."""
        subject = self._dataset(version.digest)
        masks = {
            (one.digest, one.first): np.ones(one.rows, bool)
            for one in self._datasets.values()
            if one.digest == version.digest
        }
        impact = impact_of_rows(self._ledger, self._tracer, self._gate, version.name, Chosen(masks=masks))
        at = {version.digest: subject} | self._groups_of(version.digest, subject)
        for reached in impact.models:
            model = find_version(self._ledger, reached.digest)
            node = self._model_alone(model)
            training = self._ledger.document(model.digest).get("training")
            self._forward(at, node, training.get("refs") if isinstance(training, dict) else {}, "training")
        models: dict[str, str] = {}
        for spec, count in impact.by_model.items():
            if spec:
                model = find_version(self._ledger, spec)
                models[model.digest] = self._predictions(model, count)
        for digest in contexts_now(self._ledger):
            context = self._ledger.document(digest)
            named = context.get("model")
            target = models.get(canonical.text_of(named, "digest")) if isinstance(named, dict) else None
            if target is not None:
                self._forward(at, target, context.get("refs"), "")
        if impact.sealed:
            unseen = self._node("predictions", "predictions:sealed", "predictions not looked at", {})
            self._edge(subject, unseen, "sealed")
        if impact.sealed_models:
            unseen = self._node("model", "models:sealed", "models not looked at", {})
            self._edge(subject, unseen, "sealed")
        return self._graph(f"dataset {version.spec}", subject)

    # --- upstream -----------------------------------------------------------------------------------------------------

    def _reference(
        self, target: str, name: str, reference: Reference, positions: np.ndarray | None, features: Iterable[str] = ()
    ) -> None:
        """Add the rows or groups that positions of a reference are, and what those stand on; None where sealed."""
        grade: Grade = "sealed" if positions is None else _GRADES.get(reference.grade, "broken")
        known = None if positions is None else _distinct(positions)
        facts: dict[str, str] = {}
        if positions is not None:
            lost, none = (int(np.count_nonzero(positions == kind)) for kind in (BROKEN, NO_ROW))
            facts |= {"not known": f"{lost:,}"} if lost else {}
            facts |= {"matched none": f"{none:,}"} if none else {}
            grade = "broken" if lost else grade
        noun = "row" if reference.group is None else "group"
        label = f"{noun}s of {name}" if known is None else f"{count_text(len(known), noun)} of {name}"
        kind: Kind = "rows" if reference.group is None else "group"
        came = list(features)
        own = self._group_facts(reference) or ({"gives": _some(came)} if came else {})
        node = self._node(kind, f"{kind}:{name} > {target}", label, own | facts)
        self._edge(node, target, grade, _some(came))
        if reference.group is not None:
            self._members(node, reference.group, known)
        for part in reference.parts:
            if known is None or bool(((known >= part.first) & (known < part.end)).any()):
                self._edge(self._dataset(part.dataset), node, "exact" if known is not None else "sealed")

    def _members(self, target: str, group: str, nodes: np.ndarray | None) -> None:
        """Add what went into some groups of a grouping; None where it is not known which groups."""
        document = self._tracer.dataset(group)
        references = parse_references(document.get("refs"))
        if nodes is None or ("sealed_edges" in document and not self._gate.allows()):
            for name, reference in references.items():
                self._reference(target, name, reference, None)
            return
        note_sealed_positions(self._gate, "graph", document)
        edges = self._tracer.edges(group)
        rows = _rows_in(edges, nodes)
        for name, reference in references.items():
            self._reference(target, name, reference, edges.positions[name][rows])

    def _group_facts(self, reference: Reference) -> dict[str, str]:
        if reference.group is None:
            return {}
        document = self._tracer.dataset(reference.group)
        by, aggs = document.get("by"), document.get("aggs")
        facts = {"by": _some(str(name) for name in by)} if isinstance(by, list) and by else {}
        return facts | ({"gives": _some(aggs)} if isinstance(aggs, dict) and aggs else {})

    def _features_of(self, reference: Reference, features: list[str]) -> list[str]:
        if reference.group is not None:
            aggs = self._tracer.dataset(reference.group).get("aggs")
            return [name for name in features if isinstance(aggs, dict) and name in aggs]
        own = {name for part in reference.parts for name in self._tracer.column_names(part.dataset)}
        return [name for name in features if name in own]

    def _dataset(self, digest: str) -> str:
        """Add a dataset version, where it was read, and those it was made from; return its node."""
        version = self._datasets[digest]
        node = f"dataset:{digest}"
        if node in self._nodes:
            return node
        facts = {"rows": f"{version.rows:,}", "digest": digest[:_DIGITS]}
        facts |= {"about": "people"} if version.personal else {}
        self._node("dataset", node, version.spec, facts)
        origin = version.about.get("origin")
        if isinstance(origin, dict):
            self._origin(node, origin)
        parents = version.about.get("parents")
        self._below.add(digest)
        for parent in parents if isinstance(parents, list) else []:
            # Equal content is one version: rows that came back as they were are made from what was made from them.
            if parent in self._datasets and parent not in self._below:
                self._edge(self._dataset(str(parent)), node, "declared")
        self._below.remove(digest)
        return node

    def _origin(self, dataset: str, origin: JsonObject) -> None:
        """Add where a version was read: by the digests of its files exactly, else as somebody said."""
        system, path, files = str(origin.get("system")), origin.get("path"), origin.get("files")
        place = path or origin.get("engine") or origin.get("topic")
        label = f"{system} {PurePosixPath(place).name}" if isinstance(place, str) else system
        facts = {"read": to_second(str(origin.get("extracted")))} if origin.get("extracted") else {}
        facts |= {"files": str(len(files))} if isinstance(files, list) else {}
        node = self._node("origin", f"origin:{canonical.digest_of(origin)[:_DIGITS]}", label, facts)
        self._edge(node, dataset, "exact" if files else "declared")

    def _model(self, version: Registered) -> str:
        """Add a model version, its training rows, code, runs and parents; return its node."""
        node = f"model:{version.digest}"
        if node in self._nodes:
            return node
        self._model_alone(version)
        document = self._ledger.document(version.digest)
        self._code(node, document.get("code"))
        training = document.get("training")
        if isinstance(training, dict):
            open_ = training.get("personal") is not True or self._gate.allows()
            if open_:
                note_sealed_positions(self._gate, "graph", training)
            positions: Mapping[str, Any] = self._tracer.training(training) if open_ else {}
            for name, reference in parse_references(training.get("refs")).items():
                self._reference(node, name, reference, positions.get(name))
        for run in runs_of(self._ledger, version, self._runs)[0]:
            facts = {"ended": to_second(run.ended), "digest": run.digest[:_DIGITS]}
            self._edge(self._node("run", f"run:{run.digest}", f"run {run.name}", facts), node, "exact")
        entry = next(
            e for e in self._ledger.find_entries("model.registered", version.name) if e["model"] == version.digest
        )
        parents = entry.get("parents")
        for parent in parents if isinstance(parents, list) else []:
            if parent == version.digest:
                continue  # trained again, with the same result
            self._edge(self._model_alone(find_version(self._ledger, str(parent))), node, "declared", "parent")
        return node

    def _model_alone(self, version: Registered) -> str:
        document = self._ledger.document(version.digest)
        model, training = document.get("model"), document.get("training")
        facts = {"class": str(model.get("class")).rpartition(".")[2]} if isinstance(model, dict) else {}
        if isinstance(training, dict):
            facts["trained on"] = count_text(canonical.count_of(training, "rows"), "row")
        facts["digest"] = version.digest[:_DIGITS]
        return self._node("model", f"model:{version.digest}", f"{version.name}:{version.version}", facts)

    def _code(self, model: str, code: JsonValue) -> None:
        if not isinstance(code, dict):
            return
        commit, script = code.get("commit"), code.get("entry_point")
        label = f"commit {str(commit)[:_DIGITS]}" if commit else str(script or "code")
        facts = {"script": str(script)} if script and commit else {}
        facts |= {"changed": "since the commit"} if code.get("dirty") else {}
        facts |= {} if commit else {"commit": "not known"}
        node = self._node("code", f"code:{canonical.digest_of(code)[:_DIGITS]}", label, facts)
        self._edge(node, model, "exact" if commit else "coarse")

    # --- downstream ---------------------------------------------------------------------------------------------------

    def _groups_of(self, dataset: str, subject: str) -> dict[str, str]:
        """Add the groupings that rows of a dataset version went into, however deep; return nodes by digest."""
        digests = {canonical.text_of(entry, "group"): None for entry in self._ledger.find_entries("group.recorded")}
        at: dict[str, str] = {}
        found = True
        while found:
            found = False
            for digest in [digest for digest in digests if digest not in at]:
                document = self._tracer.dataset(digest)
                references = parse_references(document.get("refs")).values()
                if any(_leads_to(reference, {dataset, *at}) for reference in references):
                    name, count = canonical.text_of(document, "name"), canonical.count_of(document, "groups")
                    own = Reference(name=name, grade="exact", personal=False, group=digest)
                    label = f"{count_text(count, 'group')} of {name}"
                    at[digest] = self._node("group", f"group:{digest}", label, self._group_facts(own))
                    found = True
        for digest, node in at.items():
            self._forward({dataset: subject} | at, node, self._tracer.dataset(digest).get("refs"), "")
        return at

    def _forward(self, at: Mapping[str, str], target: str, refs: JsonValue, label: str) -> None:
        """Add edges from what is reached to what refers to it."""
        for reference in parse_references(refs).values():
            for digest in [reference.group, *(part.dataset for part in reference.parts)]:
                source = at.get(str(digest))
                if source is not None and source != target:
                    self._edge(source, target, _GRADES.get(reference.grade, "broken"), label)

    def _predictions(self, version: Registered, count: int) -> str:
        spec = f"{version.name}:{version.version}"
        node = self._node(
            "predictions", f"predictions:{version.digest}", f"{count_text(count, 'prediction')}", {"of": spec}
        )
        self._edge(self._model_alone(version), node, "exact")
        return node

    # --- the graph ----------------------------------------------------------------------------------------------------

    def _node(self, kind: Kind, name: str, label: str, facts: Mapping[str, str]) -> str:
        self._nodes.setdefault(name, Node(kind=kind, id=name, label=label, facts=dict(facts)))
        return name

    def _edge(self, source: str, target: str, grade: Grade, label: str = "") -> None:
        self._edges.setdefault((source, target), Edge(source=source, target=target, grade=grade, label=label))

    def _graph(self, title: str, subject: str) -> Graph:
        checkpoint = self._ledger.log.checkpoint()
        return Graph(
            title=title,
            subject=subject,
            proof={
                "origin": checkpoint.origin,
                "root": checkpoint.root.hex(),
                "tree_size": str(checkpoint.size),
            },
            nodes=tuple(self._nodes.values()),
            edges=tuple(self._edges.values()),
        )


def _leads_to(reference: Reference, digests: set[str]) -> bool:
    return reference.group in digests or any(part.dataset in digests for part in reference.parts)


def _rows_in(edges: Edges, groups: np.ndarray) -> np.ndarray:
    """Return the rows of a positions table that went into some groups, each once, however the groups overlap."""
    count = len(next(iter(edges.positions.values())))
    changes = np.zeros(count + 1, np.int64)
    np.add.at(changes, edges.begins[groups], 1)
    np.add.at(changes, edges.ends[groups], -1)
    inside = np.flatnonzero(np.cumsum(changes[:count]))
    return np.asarray(inside if edges.order is None else edges.order[inside])


def _distinct(positions: np.ndarray) -> np.ndarray:
    """Return the positions that are of rows, each once."""
    found = positions[positions >= 0]
    marks = np.zeros(int(found.max()) + 1 if len(found) else 0, bool)
    marks[found] = True
    return np.flatnonzero(marks)


def _some(names: Iterable[str]) -> str:
    """Return the first few names, and how many more there are."""
    every = list(names)
    more = f" and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return ", ".join(every[:_NAMED]) + more
