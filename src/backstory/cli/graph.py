"""`backstory graph`: the lineage of a prediction, a model or a dataset as a graph."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_text
from backstory.cli.archives import open_archive, tree_size
from backstory.cli.exit_codes import OK, PARTIAL
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, AsOf, Opening
from backstory.cli.progress import progress


def graph(
    spec: str,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=("--output", "-o"))] = None,
    as_of: AsOf = None,
    asking: Asking = ASKING,
    opening: Opening = SEALED_STAY_SEALED,
) -> int:
    """Draw what something was made from, and what was made of it; each edge says how sure it is.

    Args:
        spec: Id of a prediction; a model version, such as `delay:3`; a dataset version, such as `weather`.
        output: File to write: a picture (`.svg`), data (`.json`) or for Graphviz (`.dot`). [default: a line for each
            edge]
        as_of: Answer from the past.
        asking: Which archive.
        opening: Who asks.
    """
    with progress("tracing"), open_archive(asking, opening) as archive:
        drawn = archive.graph(spec, as_of=tree_size(as_of, archive.tree_size_at))
    if output is not None:
        drawn.save(output)
        sys.stderr.write(f"{len(drawn.nodes)} nodes and {len(drawn.edges)} edges written to {output}\n")
    if asking.json:
        print_json(drawn.to_dict())
    elif output is None:
        print_text(str(drawn))
    return PARTIAL if any(edge.grade in {"broken", "sealed"} for edge in drawn.edges) else OK
