"""Small archives for tests, and a look into all their bytes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

import backstory
from backstory.ledger.read import records_now
from backstory.records.envelope import PREDICTION
from backstory.records.identity import id_text

if TYPE_CHECKING:
    from backstory.archive import Archive
    from backstory.lineage.story import Story

ORIGIN = "example.org/acceptance"


def loans(rows: int = 40) -> pd.DataFrame:
    """Return made-up loans: a key, two features and a target."""
    numbers = np.arange(rows)
    return pd.DataFrame(
        {
            "loan": [f"loan-{number:04d}" for number in numbers],
            "amount": numbers * 137.5 % 1000,
            "years": numbers % 7 + 1.0,
            "paid": (numbers * 5 % 3 > 0).astype("int64"),
        }
    )


def fitted(table: pd.DataFrame) -> object:
    """Return a small classifier of `amount` and `years`."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit(table[["amount", "years"]], table["paid"])


def archive_with_predictions(path: Path) -> tuple[Archive, list[str]]:
    """Make an archive with one source, one group, one model and 40 sealed predictions; return it open, with the ids."""
    archive = backstory.init(path, origin=ORIGIN)
    table = loans()
    frame = archive.source(table, "loans", key="loan")
    groups = archive.group(frame, "years", name="term", term_mean=("amount", "mean"))
    frame = frame.merge(groups, on="years")
    features, rows = archive.split(frame, ["amount", "years"])
    model = archive.register(fitted(frame), name="credit", rows=rows, target=frame["paid"], alias="production")
    ids = archive.predict(model, features, rows=rows, decision=backstory.Threshold(1)).wait("sealed").ids
    return archive, list(ids)


def stories(archive: Archive) -> list[Story]:
    """Return the stories of all predictions, oldest first."""
    archive.flush()
    return [archive.why(name) for name in ids_of(archive)]


def ids_of(archive: Archive) -> list[str]:
    """Return the ids of all predictions in the log, oldest first; a search would open a database for it."""
    ledger = archive._ledger
    manifests, _ = records_now(ledger, PREDICTION)
    readers = [ledger.segment(manifest, checked=True) for _, manifest in manifests]
    tables = [reader.read_groups(range(reader.group_count), ["id"]) for reader in readers]
    return sorted(id_text(value) for table in tables for value in table["id"].to_pylist())


def files_of(root: Path) -> list[Path]:
    """Return every file of an archive."""
    return sorted(path for path in root.rglob("*") if path.is_file())


def readable_content(path: Path) -> bytes:
    """Return a file's bytes, and after them what they decode to if they are Parquet."""
    data = path.read_bytes()
    if not data.startswith(b"PAR1"):
        return data
    table = pq.read_table(io.BytesIO(data))
    return data + "\n".join(str(row) for row in table.to_pylist()).encode()
