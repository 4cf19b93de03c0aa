"""Holding a drill: plant one thing after the other, each in a fresh copy, and let those look who are to catch it."""

from __future__ import annotations

import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from importlib import metadata
from pathlib import Path

from backstory.drill.checks import CHECKS, Check, Stage, look
from backstory.drill.control import show_control
from backstory.drill.copies import differences, link_copy
from backstory.drill.faults import FAULTS
from backstory.drill.frauds import FRAUDS
from backstory.drill.openings import Reader, record_opening, sealed_values
from backstory.drill.plant import NotPlantableError, Plant
from backstory.drill.report import DrillReport, Outcome
from backstory.drill.scene import Scene, insist_lock_store, set_scene
from backstory.drill.walk import Walk, choose, walk
from backstory.errors import ForbiddenError, InputError, StorageError, VerificationError
from backstory.ledger.ledger import Ledger
from backstory.ledger.log import LogReader
from backstory.records.identity import time_text
from backstory.storage.layout import read_layout
from backstory.storage.world import World
from backstory.version import VERSION

PLANTS: tuple[Plant, ...] = (*FAULTS, *FRAUDS)
"""Everything that can be planted, in the order of the report."""
WALKS = 5
_LIBRARIES = ("cryptography", "pyarrow")
Progress = Callable[[str, int, int], None]


def hold_drill(
    archive: Path,
    *,
    vkey: str | None = None,
    sample: int | None = None,
    only: Sequence[str] = (),
    seed: int = 0,
    walks: int = WALKS,
    workers: int | None = None,
    reader: Reader | None = None,
    progress: Progress | None = None,
    checks: dict[str, Check] = CHECKS,
) -> DrillReport:
    """Plant every kind of fault and fraud in copies of an archive, and see who catches it.

    The archive is only read; but where sealed values are opened for walks, its log says so before they are.

    Args:
        archive: The archive.
        vkey: Its public key as pinned from outside; None for its own.
        sample: How many records the copies have at most, as far as the log can be cut there; None for all.
        only: Names of plants to make, or kinds of fault; all without.
        seed: Chooses the predictions that are walked.
        walks: How many predictions to walk from why over replay to receipt.
        workers: Processes that hash; None for one a core.
        reader: Who opens sealed values, to walk what has any; None leaves them sealed.
        progress: Is told how far it is; None to tell nobody.
        checks: Who looks; for tests.

    Raises:
        InputError: There is no plant of a name.
        VerificationError: The archive itself does not verify.
        BackstoryError: It cannot be read or copied.
    """
    chosen = _chosen(only)
    world = World()
    began, began_ns = time.perf_counter(), world.now_ns()
    checkpoint = LogReader(read_layout(archive), vkey).checkpoint()
    with tempfile.TemporaryDirectory(prefix="backstory-drill-") as name:
        scene = set_scene(archive, Path(name), vkey, workers, sample)
        if progress is not None:
            progress("control", 0, len(chosen))
        control = show_control(scene, workers, checks)
        outcomes = []
        for number, plant in enumerate(chosen):
            if progress is not None:
                progress(plant.name, number, len(chosen))
            outcomes.append(try_plant(plant, scene, workers, checks, control.wolves))
        walked = _walk(scene, archive, vkey, choose(scene.base, scene.original_size, walks, seed), reader)
    return DrillReport(
        time=time_text(began_ns),
        origin=checkpoint.origin,
        tree_size=checkpoint.size,
        root=checkpoint.root.hex(),
        vkey=scene.vkey,
        pinned=vkey is not None,
        versions=_versions(),
        seed=seed,
        records=scene.audited.counts.get("records", 0),
        notes=scene.notes,
        control=control,
        outcomes=tuple(outcomes),
        walks=walked,
        milliseconds=round((time.perf_counter() - began) * 1000),
    )


def record_drill(archive: Path, report: DrillReport, vkey: str | None, actor: str | None = None) -> int:
    """Let the log of the archive say that a drill was held, and by whom; return the index of the entry.

    Raises:
        ForbiddenError: The signing key is not here.
        BackstoryError: The archive cannot be written.
    """
    with closing(Ledger(archive, World(), writable=True, vkey=vkey, actor=actor)) as ledger:
        return ledger.append([report.entry()]).start


def insist_recordable(archive: Path, vkey: str | None, *, opens: bool = False) -> None:
    """Insist that the archive can be written, before a drill is held that its log is to speak of.

    Args:
        archive: The archive.
        vkey: Its public key as pinned from outside; None for its own.
        opens: Whether sealed values are to be opened, which is never left out of the log.

    Raises:
        ForbiddenError: The signing key is not here.
        BackstoryError: The archive cannot be written.
    """
    insist_lock_store(archive)  # without it no drill can be held, recorded or not
    try:
        with closing(Ledger(archive, World(), writable=True, vkey=vkey, actor=None)):
            return
    except (ForbiddenError, StorageError) as error:
        way_out = "the entry about the drill with --no-entry" + (", and --actor and --purpose" if opens else "")
        raise type(error)(f"{error}; or leave out {way_out}") from error


def try_plant(
    plant: Plant, scene: Scene, workers: int | None, checks: dict[str, Check], wolves: Sequence[str] = ()
) -> Outcome:
    """Plant one thing in a fresh copy, and let everybody look who is to.

    Args:
        plant: What.
        scene: Where.
        workers: Processes that hash.
        checks: Who looks.
        wolves: Whose catches do not count, as they find something in an honest copy too.

    Raises:
        VerificationError: It changed nothing.
    """
    folder = scene.folder / plant.name
    stage = Stage(scene=scene, folder=folder, root=folder / "archive", kept=scene.kept, workers=workers)
    try:
        link_copy(scene.base, stage.root)
        try:
            did = plant.act(stage)
        except NotPlantableError as error:
            return Outcome(name=plant.name, fault=plant.fault, state="not planted", did=str(error), means=plant.means)
        _insist_changed(plant, stage)
        named = [(name, True) for name in plant.needed] + [(name, False) for name in plant.shown]
        catches = tuple(
            look(stage, name, checks[name], needed=needed, counts=name not in wolves) for name, needed in named
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    is_caught = all(catch.is_catch for catch in catches if catch.needed)
    return Outcome(
        name=plant.name,
        fault=plant.fault,
        state="caught" if is_caught else "NOT CAUGHT",
        did=did,
        means=plant.means,
        catches=catches,
    )


def _walk(scene: Scene, archive: Path, vkey: str | None, names: list[str], reader: Reader | None) -> tuple[Walk, ...]:
    """Walk in a copy; if sealed values are to be opened there, the archive's own log says so first."""
    values = sealed_values(scene.base, names)
    if reader is None or not values.names:
        return walk(scene.base, scene.pinned, names)
    record_opening(archive, vkey, reader, values)
    root = scene.folder / "walked"
    link_copy(scene.base, root)
    return walk(root, scene.pinned, names, reader, values.names)


def _insist_changed(plant: Plant, stage: Stage) -> None:
    """Insist that a plant changed something: what nobody can see proves nobody blind, and nobody seeing."""
    scene = stage.scene
    added = scene.added
    presented = [data for data in (stage.receipt, stage.promise) if data]
    genuine = {*scene.receipts, *([] if added is None else [added.promise])}
    if not differences(scene.base, stage.root) and all(data in genuine for data in presented):
        raise VerificationError(f"drill: {plant.name} changed nothing; this is a bug of the drill")


def _chosen(only: Sequence[str]) -> list[Plant]:
    known = {plant.name for plant in PLANTS} | {plant.fault for plant in PLANTS}
    for name in only:
        if name not in known:
            raise InputError(f"drill: no plant {name!r}; there are {', '.join(plant.name for plant in PLANTS)}")
    return [plant for plant in PLANTS if not only or {plant.name, plant.fault} & set(only)]


def _versions() -> dict[str, str]:
    return {
        "backstory": VERSION,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in _LIBRARIES},
    }
