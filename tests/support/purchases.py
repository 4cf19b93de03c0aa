"""One preparation with everything rows go through, in five libraries, and once more with plain lists.

Purchases of two systems are put together (a union), what each customer spent in the ten days before is added (a
window), every tag of a purchase becomes a line (explode), the shop's rate is joined where there is one (a left join),
and each line gets the mean and number of the earlier lines of its tag (a group, merged back). The lines before a date
are for training, the others are predicted. Customers, shops and tags may be null.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from backstory.archive import Archive

Rows = list[dict[str, Any]]
Tables = dict[str, Rows]

START = datetime(2026, 1, 1)  # noqa: DTZ001
CUTOFF = START + timedelta(days=30)
WINDOW = "10d"
FEATURES = ["amount", "spend", "visits", "rate", "tag_mean", "tag_n"]
SUMS = {"spend": ("amount", "sum"), "visits": ("amount", "count")}
MEANS = {"tag_mean": ("amount", "mean"), "tag_n": ("amount", "count")}
INFLUENCES = {"old": "amount", "new": "amount", "shops": "rate"}
"""The column of each source that reaches features and decides neither joins nor filters."""
_SCHEMA = pa.schema(
    {
        "tx": pa.int64(),
        "cust": pa.string(),
        "shop": pa.string(),
        "ts": pa.timestamp("us"),
        "amount": pa.float64(),
        "tags": pa.list_(pa.string()),
    }
)
_SHOPS = pa.schema({"shop": pa.string(), "rate": pa.float64()})


def tables() -> Tables:
    """Return the three tables. Amounts are quarters, so that sums of them are exact."""
    rng = np.random.default_rng(5)

    def purchase(tx: int, day: int) -> dict[str, Any]:
        tags: list[str | None] = [f"t{tag}" for tag in sorted(rng.choice(9, 2, replace=False).tolist())]
        return {
            "tx": tx,
            "cust": None if rng.random() < 0.1 else f"c{rng.integers(0, 12)}",
            "shop": None if rng.random() < 0.1 else f"s{rng.integers(0, 8)}",
            "ts": START + timedelta(days=day, hours=int(rng.integers(0, 3))),
            "amount": float(rng.integers(1, 400)) / 4,
            "tags": [tags[0], None] if rng.random() < 0.1 else tags,
        }

    old = [purchase(tx, int(rng.integers(0, 34))) for tx in range(60)]
    new = [purchase(1000 + tx, int(rng.integers(28, 60))) for tx in range(110)]
    old[3]["amount"] = -5.0  # filtered out
    old[7].update(ts=START, tags=["only"])  # of a tag that nothing predicted has
    old[8].update(ts=START, cust="nobody else", shop=None, tags=["only"])  # reaches training alone
    old[9].update(ts=START + timedelta(days=29), cust="c1", tags=["only"])  # is in windows alone
    shops = [{"shop": f"s{number}", "rate": number / 8} for number in range(6)]  # s6 and s7 have no rate
    shops.append({"shop": "closed", "rate": 0.5})  # nobody bought there
    return {"old": old, "new": new, "shops": shops}


def arrow(given: Tables) -> dict[str, pa.Table]:
    """Return the tables for a library to read."""
    schemas = {"old": _SCHEMA, "new": _SCHEMA, "shops": _SHOPS}
    return {name: pa.Table.from_pylist(rows, schemas[name]) for name, rows in given.items()}


def changed(given: Tables, source: str, position: int) -> Tables:
    """Return the tables with another number in one row, on the same side of the filter."""
    rows = [*given[source]]
    row = rows[position] = copy.copy(rows[position])
    column = INFLUENCES[source]
    row[column] += 1000.25 if row[column] >= 0 else -1.0
    return {**given, source: rows}


def by_hand(given: Tables) -> Rows:
    """Return the lines in order with their features and `is_train`: the preparation without any library."""
    both = [row for row in given["old"] if row["amount"] > 0] + given["new"]
    rates = {row["shop"]: row["rate"] for row in given["shops"]}
    lines, of_tag = [], defaultdict(list)
    for row in both:
        earlier = [
            other["amount"]
            for other in both
            if row["cust"] is not None
            and other["cust"] == row["cust"]
            and row["ts"] - timedelta(days=10) <= other["ts"] < row["ts"]
        ]
        own = {"spend": sum(earlier) if earlier else None, "visits": len(earlier), "rate": rates.get(row["shop"])}
        for tag in row["tags"]:
            lines.append({**row, **own, "tag": tag, "is_train": row["ts"] < CUTOFF})
            if row["ts"] < CUTOFF and tag is not None:
                of_tag[tag].append(row["amount"])
    for line in lines:
        same = of_tag.get(line["tag"])
        line["tag_mean"], line["tag_n"] = (sum(same) / len(same), len(same)) if same else (None, None)
    return sorted(lines, key=lambda line: (line["tx"], line["tag"] is None, line["tag"] or ""))


# --- the same with five libraries -------------------------------------------------------------------------------------


def with_pandas(archive: Archive, given: dict[str, pa.Table]) -> tuple[Any, Any]:
    """Prepare with pandas; return the frames for training and to predict."""
    old, new, shops = (archive.source(given[name].to_pandas(), name) for name in ("old", "new", "shops"))
    both = pd.concat([old[old["amount"] > 0], new], ignore_index=True)
    both = archive.window(both, by="cust", time="ts", name="recent", window=WINDOW, **SUMS)
    lines = both.explode("tags").merge(shops, on="shop", how="left")
    means = archive.group(lines[lines["ts"] < CUTOFF], "tags", name="tag", **MEANS)
    lines = lines.merge(means, on="tags", how="left").sort_values(["tx", "tags"], ignore_index=True)
    return lines[lines["ts"] < CUTOFF], lines[lines["ts"] >= CUTOFF]


def with_polars(archive: Archive, given: dict[str, pa.Table], *, lazy: bool = False) -> tuple[Any, Any]:
    """Prepare with polars, eager or lazy."""
    frames = {name: pl.DataFrame(pl.from_arrow(table)) for name, table in given.items()}
    old, new, shops = (
        archive.source(frames[name].lazy() if lazy else frames[name], name) for name in ("old", "new", "shops")
    )
    both = pl.concat([old.filter(pl.col("amount") > 0), new], how="diagonal")
    both = archive.window(both, by="cust", time="ts", name="recent", window=WINDOW, **SUMS)
    lines = both.explode("tags").join(shops, on="shop", how="left")
    means = archive.group(lines.filter(pl.col("ts") < CUTOFF), "tags", name="tag", **MEANS)
    lines = lines.join(means, on="tags", how="left").sort("tx", "tags", nulls_last=True)
    return lines.filter(pl.col("ts") < CUTOFF), lines.filter(pl.col("ts") >= CUTOFF)


def with_lazy_polars(archive: Archive, given: dict[str, pa.Table]) -> tuple[Any, Any]:
    """Prepare with lazy polars."""
    return with_polars(archive, given, lazy=True)


def with_arrow(archive: Archive, given: dict[str, pa.Table]) -> tuple[Any, Any]:
    """Prepare with pyarrow."""
    old, new, shops = (archive.source(given[name], name) for name in ("old", "new", "shops"))
    both = pa.concat_tables([old.filter(pc.field("amount") > 0), new], promote_options="default")
    both = archive.window(both, by="cust", time="ts", name="recent", window=WINDOW, **SUMS)
    lists = both.column("tags").combine_chunks()
    lines = both.drop_columns(["tags"]).take(lists.value_parent_indices()).append_column("tags", lists.flatten())
    lines = lines.join(shops, "shop", join_type="left outer")
    means = archive.group(lines.filter(pc.field("ts") < CUTOFF), "tags", name="tag", **MEANS)
    lines = lines.join(means, "tags", join_type="left outer").sort_by([("tx", "ascending"), ("tags", "ascending")])
    return lines.filter(pc.field("ts") < CUTOFF), lines.filter(pc.field("ts") >= CUTOFF)


def with_duckdb(archive: Archive, given: dict[str, pa.Table]) -> tuple[Any, Any]:
    """Prepare with SQL; the names in it are those of the relations."""
    con = duckdb.connect()
    for name, table in given.items():
        con.register(f"raw_{name}", table)
    old, new, shops = (archive.source(con.table(f"raw_{name}"), name) for name in ("old", "new", "shops"))
    joint = con.sql("SELECT * FROM old WHERE amount > 0 UNION ALL BY NAME SELECT * FROM new")
    joint = archive.window(joint, by="cust", time="ts", name="recent", window=WINDOW, **SUMS)
    lines = con.sql(
        "SELECT b.*, rate, _row_shops FROM (SELECT * REPLACE (unnest(tags) AS tags) FROM joint) AS b "
        "LEFT JOIN shops USING (shop)"
    )
    means = archive.group(lines.filter(f"ts < '{CUTOFF}'"), "tags", name="tag", **MEANS)
    lines = con.sql(
        "SELECT lines.*, tag_mean, tag_n, _row_tag FROM lines LEFT JOIN means USING (tags) ORDER BY tx, tags NULLS LAST"
    )
    del old, new, shops, means
    return lines.filter(f"ts < '{CUTOFF}'"), lines.filter(f"ts >= '{CUTOFF}'")


PIPELINES = {
    "pandas": with_pandas,
    "polars": with_polars,
    "polars-lazy": with_lazy_polars,
    "arrow": with_arrow,
    "duckdb": with_duckdb,
}


def double(frame: Any) -> np.ndarray:
    """Return twice the amount: a model."""
    return np.asarray(frame["amount"]) * 2.0
