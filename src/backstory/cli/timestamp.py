"""`backstory timestamp`: have the checkpoint stamped by an RFC 3161 authority."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_text
from backstory.cli.archives import find_layout
from backstory.cli.options import ASKING, Asking


def timestamp(
    *,
    authority: str,
    root: Annotated[list[Path] | None, Parameter(negative=())] = None,
    asking: Asking = ASKING,
) -> None:
    """Have the newest checkpoint stamped by an RFC 3161 authority, and keep the stamp beside the log.

    Args:
        authority: URL of the authority.
        root: File with the certificate it signs under, PEM or DER; may be repeated. Without one any stamp is taken.
        asking: Which archive.
    """
    from backstory.ledger.timestamp import stamp_checkpoint
    from backstory.storage.disk import Disk
    from backstory.verify.time_stamp import read_roots

    made = stamp_checkpoint(find_layout(asking), Disk(), authority, read_roots(root or []))
    if asking.json:
        facts = {"authenticated": made.stamp.authenticated, "authority": made.stamp.authority, "path": str(made.path)}
        print_json({**facts, "time": made.stamp.time, "tree_size": made.checkpoint.size})
        return
    doubt = "" if made.stamp.authenticated else "; not authenticated, --root takes the authority's certificate"
    by = made.stamp.authority or "an authority that does not name itself"
    print_text(f"tree size {made.checkpoint.size} existed by {made.stamp.time}, says {by}; kept in {made.path}{doubt}")
