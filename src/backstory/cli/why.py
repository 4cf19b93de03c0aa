"""`backstory why`: the backstory of one prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_page
from backstory.cli.archives import open_archive, tree_size
from backstory.cli.exit_codes import OK, PARTIAL
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, AsOf, Opening
from backstory.cli.progress import progress
from backstory.errors import InputError
from backstory.lineage.story import Story

if TYPE_CHECKING:
    from backstory.lineage.page import Page
    from backstory.lineage.version_story import VersionStory


def why(
    prediction: str,
    /,
    *,
    stages: Annotated[bool, Parameter(negative=())] = False,
    as_of: AsOf = None,
    asking: Asking = ASKING,
    opening: Opening = SEALED_STAY_SEALED,
) -> int:
    """Say why a model said this: rows, features, model, code, proof.

    Args:
        prediction: Id of the prediction, or a unique prefix; or a model version, such as `delay:3`, or a dataset
            version.
        stages: Say instead what its features became at each fitted step of the model, up to the output.
        as_of: Answer from the past.
        asking: Which archive.
        opening: Who asks.
    """
    if stages:
        if as_of is not None:
            raise InputError("why: expected --stages or --as-of, got both; steps are run by the model as it is stored")
        return _stages(prediction, asking, opening)
    with progress("looking"), open_archive(asking, opening) as archive:
        story = archive.why(prediction, as_of=tree_size(as_of, archive.tree_size_at))
    if asking.json:
        print_json(story.to_dict())
    else:
        print_page(_page(story))
    if isinstance(story, Story):
        return PARTIAL if story.broken or story.sealed else OK
    return PARTIAL if any(edge.grade in {"broken", "sealed"} for edge in story.graph.edges) else OK


def _page(story: Story | VersionStory) -> Page:
    from backstory.lineage.story_page import story_page
    from backstory.lineage.version_story import VersionStory, version_page

    return version_page(story) if isinstance(story, VersionStory) else story_page(story)


def _stages(prediction: str, asking: Asking, opening: Opening) -> int:
    with progress("running"), open_archive(asking, opening) as archive:
        found = archive.stages(prediction)
    if asking.json:
        print_json(found.to_dict())
    else:
        from backstory.debug.stages import stages_page

        print_page(stages_page(found))
    return PARTIAL if found.verdict == "different" else OK
