"""`make bench`: the speed table: recording beside peers, and the demo's pipeline and archive.

Floors are what the same machine needs for the bare work: hashing a record, writing the same columns as plain Parquet,
one fsync. Questions are medians, the rest the fastest of some runs, ours and peers in turn; run it on an idle machine.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import platform
import statistics
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import backstory
from backstory.archive import Archive
from backstory.capture.prediction import Predictions
from backstory.cli.demo_data import DAMAGED_KEY, Prepared, Tables, fit, prepare, read_tables
from backstory.columns.encode import iter_blocks
from backstory.columns.tree import leaf_hashes, subtree_roots
from backstory.verify.archive import verify_archive
from benchmarks import capture, questions, service, verification
from benchmarks.causes import cause_rows
from benchmarks.contracts import contract_rows
from benchmarks.datasets import dataset_rows
from benchmarks.flags import flag_rows
from benchmarks.measure import Row, median_seconds, seconds, timed_in_turn
from benchmarks.peers import PeerFigures, peer_rows
from benchmarks.people import people_rows
from benchmarks.row_sets import row_set_rows

RUNS = 9
PREPARATIONS = 31
CALLS = 50


def main() -> int:
    """Print the table, or write it as a page with `--write PATH`; return 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("--write", type=Path, metavar="PATH", help="write the table as a page of the documentation")
    parser.add_argument("--long", action="store_true", help="also what takes minutes: ten million records")
    given = parser.parse_args()
    audit = ("the full audit", verification.verification_rows(10**7 if given.long else 10**6))
    of_much = [*questions.question_rows(10**7 if given.long else 10**6), *cause_rows()]
    asked = ("questions over much", of_much)
    people = ("records about people", people_rows(10**6))
    parts = [*_capture(long=given.long), *_archive(), asked, people, audit]
    if given.write is None:
        _print(parts)
    else:
        given.write.write_text(_page(parts))
    return 0 if all(row.met is not False for _, rows in parts for row in rows) else 1


def _capture(*, long: bool) -> list[tuple[str, list[Row]]]:
    """Measure recording beside peers."""
    sittings, figures = [capture.caller_times()], []
    for _ in range(2):  # in turn, as what a machine gives changes while this runs
        figures.append(peer_rows())
        sittings.append(capture.caller_times())
    caller, p50_us = capture.caller_rows(sittings)
    peers, ratios = _peers(figures, p50_us)
    growth = capture.growth_rows([10**4, 10**5, 10**6, 10**7] if long else [10**4, 10**5, 10**6])
    memory = capture.memory_rows(10**7) if long else []
    own = [*caller, *ratios, *capture.sustained_rows(), *service.service_rows(), *growth, *memory]
    return [("floors of a record of 20 fields", capture.floor_rows()), ("recording", own), ("peers", peers)]


def _peers(runs: list[list[PeerFigures]], p50_us: float) -> tuple[list[Row], list[Row]]:
    """Return what peers ask of their caller, by the least disturbed run of each, and how many times ours that is."""
    figures = [min(peer, key=lambda run: run.p50_us) for peer in zip(*runs, strict=True)]
    rows = [
        Row(
            what=f"{peer.name} {peer.version}",
            value=(
                f"p50 {peer.p50_us:.1f} us, p99 {peer.p99_us:.0f} us, {peer.records_per_second:,.0f} records/s, "
                f"{peer.cpu_us:.0f} us CPU, {peer.bytes_per_record:,.0f} bytes, kept {peer.kept:,} of {peer.recorded:,}"
            ),
        )
        for peer in figures
    ]
    ratios = []
    for name, least in (("MLflow", 100), ("OpenTelemetry", 10)):
        ratio = min(peer.p50_us for peer in figures if peer.name.startswith(name)) / p50_us
        what = f"{name}'s p50 / caller's cost"
        ratios.append(Row(what=what, value=f"{ratio:.0f}x", target=f">= {least}x", met=ratio >= least))
    return rows, ratios


def _archive() -> list[tuple[str, list[Row]]]:
    """Measure the demo's pipeline and archive."""
    tables = read_tables()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "archive"
        with redirect_stdout(io.StringIO()), backstory.init(path, origin="example.org/bench") as archive:
            rows = [_preparation(archive, tables), *dataset_rows(tables.flights), *contract_rows()]
            rows += flag_rows()
            rows += row_set_rows(archive, tables.flights)
            prepared = prepare(tables, archive)
            registered, predictions = _recording(archive, prepared)
            rows += registered
            segment = max((path / "segments").iterdir(), key=lambda file: file.stat().st_size)
            table = pq.read_table(segment)
            rows += _size(segment, table)
            rows += _questions(archive, predictions)
            rows += _verification(archive)
            floors = _floors(table, Path(folder))
    return [("floors of a demo's prediction", floors), ("the demo's pipeline and archive", rows)]


def _preparation(archive: Archive, tables: Tables) -> Row:
    pairs = timed_in_turn(lambda: prepare(tables, archive), lambda: prepare(tables, None), PREPARATIONS)
    ratio = statistics.median(traced / plain for traced, plain in pairs)
    traced, plain = (statistics.median(times) * 1e3 for times in zip(*pairs, strict=True))
    value = f"{ratio:.3f}x ({traced:.0f} ms against {plain:.0f} ms)"
    return Row(what="preparation with row lineage / plain pipeline", value=value, target="<= 1.15x", met=ratio <= 1.15)


def _recording(archive: Archive, prepared: Prepared) -> tuple[list[Row], Predictions]:
    model = fit(prepared)
    register = seconds(lambda: archive.register(model, name="delay", rows=prepared.train_rows, target=prepared.target))
    version = archive.model("delay")
    kept: list[Predictions] = []

    def record() -> None:
        kept.append(archive.predict(version, prepared.later, rows=prepared.later_rows))
        archive.flush()

    plain, whole = [], []
    for _ in range(3):
        plain.append(seconds(lambda: model.predict(prepared.later)))  # type: ignore[attr-defined]
        whole.append(seconds(record))
    count = len(prepared.later)
    ours = min(whole) - min(plain)
    rate = count / ours
    rows = [
        Row(what="register: fingerprint of 3 sources, artifact, training rows", value=f"{register:.2f} s"),
        Row(
            what=f"record, seal and prove {count:,} predictions (without the model's own {min(plain):.2f} s)",
            value=f"{rate:,.0f} rows/s",
            target=">= 100,000",
            met=rate >= 100_000,
        ),
        Row(what="the same with the model's own time", value=f"{count / min(whole):,.0f} rows/s"),
    ]
    return rows, kept[0]


def _size(segment: Path, table: pa.Table) -> list[Row]:
    plain = segment.with_name("plain")
    pq.write_table(table.replace_schema_metadata(None), plain, compression="zstd")
    own, other = segment.stat().st_size / table.num_rows, plain.stat().st_size / table.num_rows
    plain.unlink()
    return [
        Row(
            what="archive bytes a prediction / plain zstd Parquet of the same columns",
            value=f"{own / other:.2f}x ({own:.1f} against {other:.1f})",
            target="<= 1.5x",
            met=own / other <= 1.5,
        )
    ]


def _questions(archive: Archive, predictions: Predictions) -> list[Row]:
    ids = [predictions.ids[i * len(predictions) // CALLS] for i in range(CALLS)]
    archive.why(ids[0])
    times = sorted(seconds(lambda one=one: archive.why(one)) for one in ids)  # type: ignore[misc]
    why = times[len(times) // 2]
    impact = median_seconds(lambda: archive.impact("weather", keys=DAMAGED_KEY), RUNS)
    receipt = archive.receipt(ids[0]).data
    check = median_seconds(lambda: backstory.verify_receipt(receipt, vkey=archive.vkey), CALLS)
    replay = seconds(lambda: archive.replay(ids[0]))
    return [
        Row(what="why, warm, p50", value=f"{why * 1e3:.1f} ms", target="<= 20 ms", met=why <= 0.020),
        Row(what="impact of one weather row", value=f"{impact * 1e3:.0f} ms", target="<= 500 ms", met=impact <= 0.5),
        Row(what="receipt check", value=f"{check * 1e3:.2f} ms", target="<= 5 ms", met=check <= 0.005),
        Row(what="receipt size", value=f"{len(receipt):,} bytes"),
        Row(what="replay of one prediction in its whole batch", value=f"{replay * 1e3:.0f} ms"),
    ]


def _verification(archive: Archive) -> list[Row]:
    reports = [verify_archive(archive.path, vkey=archive.vkey) for _ in range(3)]
    fastest = min(reports, key=lambda report: report.seconds)
    records, rows = fastest.counts["records"], fastest.counts["source rows"]
    rate = (records + rows) / fastest.seconds
    return [
        Row(
            what=f"full verification of {records:,} records and {rows:,} kept source rows on {os.cpu_count()} cores",
            value=f"{rate:,.0f} rows/s ({fastest.seconds:.2f} s)",
            target=">= 200,000",
            met=rate >= 200_000 and not fastest.failed,
        )
    ]


def _floors(table: pa.Table, folder: Path) -> list[Row]:
    count = table.num_rows
    row = next(next(iter_blocks(table)).rows())
    sha = median_seconds(lambda: [hashlib.sha256(row).digest() for _ in range(10_000)], RUNS) / 10_000
    encode = median_seconds(lambda: [block.joined() for block in iter_blocks(table)], 3) / count
    leaves = median_seconds(lambda: leaf_hashes(table), 3) / count
    hashes = leaf_hashes(table)
    tree = median_seconds(lambda: subtree_roots(hashes), 3) / count
    target = folder / "floor"
    parquet = median_seconds(lambda: pq.write_table(table, target, compression="zstd"), 3)

    def append() -> None:
        with target.open("ab") as file:
            file.write(row)
            file.flush()
            os.fsync(file.fileno())

    fsync = median_seconds(append, CALLS)
    return [
        Row(what=f"SHA-256 of one record ({len(row)} bytes)", value=f"{sha * 1e6:.2f} us"),
        Row(what="row encoding, a record", value=f"{encode * 1e6:.2f} us"),
        Row(what="encoding and leaf hash, a record", value=f"{leaves * 1e6:.2f} us"),
        Row(what="interior nodes, a record", value=f"{tree * 1e6:.2f} us"),
        Row(what="plain zstd Parquet write of the same columns", value=f"{count / parquet:,.0f} rows/s"),
        Row(what="append and fsync", value=f"{fsync * 1e3:.2f} ms"),
    ]


def _machine() -> str:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    cores = f"{os.cpu_count()} cores, {platform.machine()}"
    return f"Backstory {backstory.__version__}, {python}, pyarrow {pa.__version__}, {cores}"


def _page(parts: list[tuple[str, list[Row]]]) -> str:
    """Return the table as a page."""
    lines = [
        "# Speed",
        "",
        "Written by `python -m benchmarks --write docs/performance.md`; `make bench` prints the same table.",
        "Read ratios rather than absolute figures: floors are what the same machine needs for the bare work. It is a",
        "virtual one, which from hour to hour is up to a half slower; a target in figures is met or missed with it.",
        "",
        _machine(),
    ]
    for title, rows in parts:
        lines += [
            "",
            f"## {title[0].upper()}{title[1:]}",
            "",
            "| what | figure | target | |",
            "| --- | --- | --- | --- |",
        ]
        for row in rows:
            verdict = "" if row.met is None else ("met" if row.met else "missed")
            lines.append(f"| {row.what} | {row.value} | {row.target} | {verdict} |")
    return "\n".join(lines) + "\n"


def _print(parts: list[tuple[str, list[Row]]]) -> None:
    print(f"{_machine()}\n")
    for title, rows in parts:
        print(title)
        for row in rows:
            verdict = "" if row.met is None else ("met" if row.met else "MISSED")
            print(f"  {row.what:<90} {row.value:>38}  {row.target:<12} {verdict}")
        print()


if __name__ == "__main__":
    raise SystemExit(main())
