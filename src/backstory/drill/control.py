"""The control of a drill: an honest copy that has grown as archives do, in which nobody may find anything.

Without it whoever refuses everything would seem to catch everything.
"""

from __future__ import annotations

import shutil
from contextlib import closing

from backstory.drill.checks import ANYTHING, OPENING, PROMISE, RECEIPT, Check, Stage, look
from backstory.drill.copies import SCRATCH, link_copy
from backstory.drill.forge import checkpoint_of
from backstory.drill.report import Control
from backstory.drill.scene import Scene
from backstory.ledger.ledger import Ledger
from backstory.ledger.seal import seal_all


def show_control(scene: Scene, workers: int | None, checks: dict[str, Check]) -> Control:
    """Let an honest copy grow, and show it to everybody.

    Args:
        scene: What the drill works with.
        workers: Processes that hash.
        checks: Who looks.
    """
    folder = scene.folder / "control"
    stage = Stage(
        scene=scene,
        folder=folder,
        root=folder / "archive",
        kept=scene.kept,
        receipt=scene.receipts[0] if scene.receipts else b"",
        promise=scene.added.promise if scene.added else b"",
        names=ANYTHING,
        workers=workers,
    )
    blind = {
        *([] if scene.signers else [OPENING]),
        *([] if stage.receipt else [RECEIPT]),
        *([] if stage.promise else [PROMISE]),
    }
    try:
        link_copy(scene.base, stage.root)
        did = _grow(stage)
        looks = tuple(look(stage, by, check, needed=False) for by, check in checks.items() if by not in blind)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Control(did=did, looks=looks)


def _grow(stage: Stage) -> str:
    """Seal what waits in the spool, as an archive does every day."""
    if not stage.scene.signers:
        return f"an honest copy, which could not grow: {stage.scene.no_key}"
    _, before = checkpoint_of(stage.root)
    with closing(Ledger(stage.root, SCRATCH, writable=True, vkey=None, actor=None)) as ledger:
        seal_all(ledger)
    return (
        f"an honest copy whose spool was sealed: its log grew from {before.size} entries to"
        f" {checkpoint_of(stage.root)[1].size}"
    )
