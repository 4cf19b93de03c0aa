"""`backstory diff`: what differs between two predictions, model versions, dataset versions or contexts."""

from __future__ import annotations

from backstory.cli.answer import print_json, print_page
from backstory.cli.archives import open_archive
from backstory.cli.exit_codes import OK, PARTIAL
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, Opening
from backstory.cli.progress import progress


def diff(before: str, after: str, /, *, asking: Asking = ASKING, opening: Opening = SEALED_STAY_SEALED) -> int:
    """Say what differs between two predictions, model versions, dataset versions or contexts, the first stage first.

    Each is named by the id of a prediction, as `delay:2` or `flights:2`, or by digits its digest begins with. Where
    that can be several things, say which: `prediction:…`, `model:…`, `data:…`, `context:…`; after `context:` the id
    of a prediction names its context.

    Args:
        before: The first.
        after: The second.
        asking: Which archive.
        opening: Who asks.
    """
    from backstory.debug.diff_page import diff_page

    with progress("comparing"), open_archive(asking, opening) as archive:
        answer = archive.diff(before, after)
    if asking.json:
        print_json(answer.to_dict())
    else:
        print_page(diff_page(answer))
    return PARTIAL if any(stage.same is None for stage in answer.stages) else OK
