"""`backstory runs` and `backstory history`: trainings and evaluations, and what became of model versions."""

from __future__ import annotations

from backstory.cli.answer import print_json, print_page
from backstory.cli.archives import open_ledger
from backstory.cli.options import ASKING, Asking


def runs(name: str | None = None, /, *, asking: Asking = ASKING) -> None:
    """List the runs, oldest first: trainings, evaluations, whatever was recorded as one.

    Args:
        name: Only runs of this name.
        asking: Which archive.
    """
    from backstory.lineage.runs import find_runs

    with open_ledger(asking) as ledger:
        found = find_runs(ledger, name)
    if asking.json:
        print_json({"runs": [run.to_dict() for run in found]})
    else:
        from backstory.lineage.history import runs_page

        print_page(runs_page(found))


def history(model: str, /, *, asking: Asking = ASKING) -> None:
    """Say what became of the versions of a model: parents, runs, evaluations, aliases, approvals, deployments.

    Args:
        model: Name of the model, or one version: `name:version`, `name@alias`, a prefix of its digest.
        asking: Which archive.
    """
    from backstory.lineage.history import history_page, model_history

    with open_ledger(asking) as ledger:
        found = model_history(ledger, model)
    if asking.json:
        print_json(found.to_dict())
    else:
        print_page(history_page(found))
