"""The peers' half of the speed table counts what is kept, and measures without Backstory."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.peer_prediction import prediction_fields, prediction_score
from benchmarks.peer_process import measure
from benchmarks.peer_recorders import PEERS, HashChain, SqliteRows
from benchmarks.peers import PYTHON_VARIABLE, ROOT, PeerFigures, find_python, format_table, measure_peer

CALLS = 40
ALONE = {name: peer for name, peer in PEERS.items() if peer.open in {HashChain, SqliteRows}}
"""Peers of the standard library, which run in any environment."""


def test_prediction_has_twenty_fields():
    """The prediction everyone records has 14 floats, 4 whole numbers and 2 strings, and a float as output."""
    kinds = [type(value) for value in prediction_fields(7).values()]
    assert [kinds.count(kind) for kind in (float, int, str)] == [14, 4, 2]
    assert type(prediction_score(7)) is float


def test_predictions_differ_and_repeat():
    """No two calls are alike, and the same call has the same values every time."""
    calls = [tuple(prediction_fields(call).values()) for call in range(5_000)]
    assert len(set(calls)) == len({prediction_score(call) for call in range(5_000)}) == 5_000
    assert calls[4_999] == tuple(prediction_fields(4_999).values())


@pytest.mark.parametrize("name", ALONE)
def test_figures_are_of_what_was_kept(name, tmp_path):
    """A peer that keeps everything is found to, and its figures are above nothing."""
    figures = PeerFigures(name=name, **measure(replace(ALONE[name], calls=CALLS, calls_per_flush=CALLS), tmp_path))
    assert figures.recorded == figures.kept == CALLS
    assert 0 < figures.p50_us <= figures.p99_us
    assert min(figures.records_per_second, figures.bytes_per_record) > 0


def test_what_is_lost_is_not_counted(tmp_path):
    """A row that is gone, after every call was acknowledged, lowers the count."""
    rows = SqliteRows(tmp_path)
    for call in range(-1, CALLS):
        rows.record(call, prediction_fields(call), prediction_score(call))
    rows._database.execute("DELETE FROM predictions WHERE call = 5")
    rows.close()
    assert rows.count_kept() == CALLS - 1


def test_a_broken_chain_counts_up_to_the_break(tmp_path):
    """Of a chain only the lines before one that was changed are counted."""
    chain = HashChain(tmp_path)
    for call in range(-1, CALLS):
        chain.record(call, prediction_fields(call), prediction_score(call))
    chain.close()
    path = tmp_path / "chain.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[11] = lines[11].replace(b'"call":10,', b'"call":77,')
    path.write_bytes(b"".join(lines))
    assert chain.count_kept() == 10


def test_measuring_peers_loads_no_backstory():
    """The process that measures a peer imports nothing of what it is compared with."""
    code = "import sys, benchmarks.peer_process; print([m for m in sys.modules if m.split('.')[0] == 'backstory'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_peer_that_fails_says_why():
    """What a failed peer wrote is a note of the error."""
    with pytest.raises(subprocess.CalledProcessError) as caught:
        measure_peer("no such peer", Path(sys.executable))
    assert "KeyError: 'no such peer'" in caught.value.__notes__[0]


def test_missing_environment_names_the_command(monkeypatch, tmp_path):
    """Without the peers' interpreter, the error says how to get it."""
    monkeypatch.setenv(PYTHON_VARIABLE, str(tmp_path / "python"))
    with pytest.raises(FileNotFoundError, match=r"run `make \.venv-peers/\.peers`"):
        find_python()


def test_table_shows_what_was_dropped():
    """A line of the table has both counts."""
    row = PeerFigures(
        name="peer",
        version="1.0",
        p50_us=1.25,
        p99_us=2_000.0,
        records_per_second=10.0,
        cpu_us=3.0,
        bytes_per_record=500.0,
        recorded=2_000,
        kept=884,
    )
    assert format_table([row]).splitlines()[1].split() == (
        ["peer", "1.0", "1.2", "2,000.0", "10", "3.0", "500", "884", "of", "2,000"]
    )
