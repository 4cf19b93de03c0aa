"""`backstory seal`: once, again and again, and what workers left."""

from __future__ import annotations

import pytest

import backstory
from backstory.cli.exit_codes import INPUT, NOT_FOUND
from backstory.ledger import stopping


@pytest.mark.parametrize("arguments", [("--rows", "5"), ("--age", "5"), ("--watch", "--every", "0")])
def test_when_to_seal_again_needs_watching(ask, copy, arguments):
    """A threshold without `--watch`, or none at all, is a mistake that is said."""
    assert ask("seal", *arguments, archive=copy).code == INPUT


def test_watching_seals_until_told_to_stop(ask, copy, monkeypatch):
    """What waited is sealed, and the sum is told at the end."""

    class AtOnce:
        """Stops after the first look."""

        def __init__(self, *_signals):
            pass

        def __enter__(self):
            return lambda seconds: seconds > 0

        def __exit__(self, *_error):
            pass

    monkeypatch.setattr(stopping, "stop_on", AtOnce)
    answer = ask("seal", "--watch", "--json", archive=copy)
    assert answer.json()["sealed"] == 1
    assert "1 records sealed" in answer.err
    assert ask("info", "--json", archive=copy).json()["unsealed"]["predictions"] == 0


def test_a_workers_spool_is_sealed_too(ask, tmp_path):
    """With `--spool` what workers recorded gets into the log; one that is not there is said."""
    with backstory.init(tmp_path / "audit", origin="example.org/test") as archive:
        archive.spool(tmp_path / "worker")
    with backstory.recorder(tmp_path / "worker") as recorder:
        recorder.record({"x": 1.0}, 2.0)
    answer = ask("seal", "--spool", tmp_path / "worker", "--json", archive=tmp_path / "audit")
    assert answer.json()["sealed"] == 1
    assert ask("seal", "--spool", tmp_path / "none", archive=tmp_path / "audit").code == NOT_FOUND
