"""`backstory why`: the backstory of one prediction."""

from __future__ import annotations

from backstory.cli.answer import print_json, print_page
from backstory.cli.archives import open_archive
from backstory.cli.exit_codes import OK, PARTIAL
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, Opening
from backstory.cli.progress import progress


def why(prediction: str, /, *, asking: Asking = ASKING, opening: Opening = SEALED_STAY_SEALED) -> int:
    """Say why a model said this: rows, features, model, code, proof.

    Args:
        prediction: Id of the prediction, or a unique prefix.
        asking: Which archive.
        opening: Who asks.
    """
    with progress("looking"), open_archive(asking, opening) as archive:
        story = archive.why(prediction)
    if asking.json:
        print_json(story.to_dict())
    else:
        from backstory.lineage.story_page import story_page

        print_page(story_page(story))
    return PARTIAL if story.broken or story.sealed else OK
