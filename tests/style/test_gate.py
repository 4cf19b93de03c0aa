"""Sealed values are read in few modules: those that ask a gate, and those that compare and show nobody anything."""

import ast

from tests.style.test_tidy import MODULES, PACKAGE

READERS = frozenset({"find_linked_rows", "open_rows", "personal_snapshot", "read_sequence", "read_shard", "vault"})
"""Functions, and the attribute of a ledger, that sealed values are read with."""

ASKING = frozenset({"note_hits", "note_read", "pass_through", "show"})
"""Calls that ask a gate, or record what it was asked before."""

OWN = ("drill", "ledger", "storage", "verify")
"""Packages that keep, check or copy them; what they show they are asked for by others."""

ASK = frozenset(
    {
        "debug/case.py",
        "debug/diff_prediction.py",
        "debug/drift_read.py",
        "debug/rootcause_asked.py",
        "debug/rootcause_records.py",
        "debug/stages.py",
        "governance/erasure_certificates.py",
        "governance/facts.py",
        "governance/rectification.py",
        "governance/sharing_read.py",
        "lineage/data_diff.py",
        "lineage/impact.py",
        "lineage/predictions.py",
        "lineage/reached_people.py",
        "lineage/scan.py",
        "lineage/showing.py",
        "lineage/store.py",
        "lineage/why.py",
    }
)
"""Modules that ask a gate before they read."""

TOLD = frozenset(
    {
        "debug/capsule.py",  # whether values are there, by their names
        "governance/decision_people.py",
        "governance/disposal.py",
        "governance/erased_predictions.py",  # whether values are there
        "governance/erasure.py",
        "governance/erasure_plan.py",
        "governance/erasure_survey.py",
        "governance/keeping.py",
        "governance/retention_list.py",
        "lineage/subjects.py",  # trees over persons; what they prove is asked of a gate by report/membership.py
        "lineage/trace.py",  # reads for those above
        "report/tables.py",  # writes what report/bundle.py asked for
    }
)
"""Modules that read for others who asked, or for rules, and show nobody what they read."""


def reading_modules():
    """Return the modules that read sealed values, and those of them that ask a gate."""
    reading, asking = set(), set()
    for path in MODULES:
        name = path.relative_to(PACKAGE).as_posix()
        if name.partition("/")[0] in OWN:
            continue
        nodes = list(ast.walk(ast.parse(path.read_text())))
        calls = [node.func for node in nodes if isinstance(node, ast.Call)]
        named = {getattr(call, "id", getattr(call, "attr", "")) for call in calls}
        held = {node.attr for node in nodes if isinstance(node, ast.Attribute) and not _is_path(node)}
        if READERS & (named | held):
            reading.add(name)
        if ASKING & named:
            asking.add(name)
    return reading, asking


def _is_path(node):
    """Say whether an attribute is the vault's directory, not the vault."""
    return getattr(node.value, "attr", "") == "layout"


def test_sealed_values_are_read_in_few_modules():
    """A new one has to say which of the two it is."""
    reading, _ = reading_modules()
    assert reading == ASK | TOLD


def test_those_that_show_them_ask_a_gate():
    """Each has a call of it."""
    _, asking = reading_modules()
    assert asking >= ASK
