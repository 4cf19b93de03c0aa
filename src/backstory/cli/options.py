"""Options that several commands share. A setting comes from an option, then the environment, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

ARCHIVE_VARIABLE = "BACKSTORY_ARCHIVE"

Json = Annotated[bool, Parameter(negative=(), help="Print one JSON document, errors too.")]
PublicKey = Annotated[str | None, Parameter(help="Public key as `init` printed it, kept outside the archive.")]
AsOf = Annotated[
    str | None, Parameter(help="Answer from the log as it was at this tree size, or at this moment, RFC 3339.")
]
ArchivePath = Annotated[
    Path, Parameter(name=("--archive", "-a"), env_var=ARCHIVE_VARIABLE, help="Directory of the archive.")
]


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What every question takes.

    Attributes:
        archive: Directory of the archive.
        vkey: Public key pinned from outside.
        json: Print one JSON document.
    """

    archive: ArchivePath = Path()
    vkey: PublicKey = None
    json: Json = False


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What opens sealed values.

    Attributes:
        actor: Who is asking.
        purpose: What for.
        role: Under which role.
        for_case: For which case.
    """

    actor: Annotated[
        str | None, Parameter(help="Who is asking. With --purpose, sealed values are opened and the log says so.")
    ] = None
    purpose: Annotated[str | None, Parameter(help="What the sealed values are read for.")] = None
    role: Annotated[str | None, Parameter(help="Under which role, where an access policy is in force.")] = None
    for_case: Annotated[str | None, Parameter(name="--for-case", help="For which case, such as a request's id.")] = None


ASKING = Asking()
"""All defaults."""

SEALED_STAY_SEALED = Opening()
"""Nobody said who asks: sealed values stay sealed."""
