"""Data contracts: what it costs to check a table, and one record."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from backstory.frames.contract import Contract
from backstory.frames.contract_check import check_rows, check_table
from backstory.frames.contract_odcs import read_contract
from backstory.frames.contract_record import compile_record_check
from benchmarks.measure import Row, seconds

RUNS = 5
RECORD_RUNS = 20
ROWS = 10**6
RECORDS = 1000
RULES = 20
TABLE_SECONDS_MAX = 2.0
RECORD_US_MAX = 20.0


def promised() -> Contract:
    """Return a contract with rules of every kind that single rows can break."""
    moments = {"minimum": "2020-01-01T00:00:00Z", "maximum": "2040-01-01T00:00:00Z"}
    listed = {"metric": "invalidValues", "arguments": {"validValues": ["open", "late", "paid"]}, "mustBe": 0}
    pattern = {"pattern": "^L-[0-9]{7}$", "minLength": 3, "maxLength": 12}
    properties: list[dict[str, Any]] = [
        {"name": "loan", "logicalType": "string", "required": True, "logicalTypeOptions": pattern},
        {
            "name": "amount",
            "logicalType": "number",
            "required": True,
            "logicalTypeOptions": {"minimum": 0, "exclusiveMaximum": 1000, "multipleOf": 0.5},
        },
        {
            "name": "years",
            "logicalType": "integer",
            "required": True,
            "logicalTypeOptions": {"minimum": 1, "maximum": 40, "format": "i8"},
        },
        {"name": "state", "logicalType": "string", "required": True, "quality": [listed]},
        {"name": "at", "logicalType": "timestamp", "required": True, "logicalTypeOptions": moments},
        {"name": "rate", "logicalType": "number"},
        {"name": "is_open", "logicalType": "boolean"},
    ]
    return read_contract(
        {
            "kind": "DataContract",
            "apiVersion": "v3.1.0",
            "id": "loans",
            "version": "1",
            "schema": [{"name": "loans", "properties": properties}],
        }
    )


def table(rows: int) -> pa.Table:
    """Return a table that breaks a few of its rules."""
    number = np.arange(rows)
    return pa.table(
        {
            "loan": pa.array([f"L-{n:07d}" for n in range(rows)]),
            "amount": number * 0.5 % 1000.5,
            "years": number % 41 + 1,
            "state": pa.array(np.array(["open", "late", "paid"])[number % 3]),
            "at": pa.array(1_700_000_000 + number, pa.timestamp("s", tz="UTC")),
            "rate": pa.array(number / 7, mask=number % 5 == 0),
            "is_open": number % 2 == 0,
        }
    )


def contract_rows() -> list[Row]:
    """Return what checks cost in one process."""
    contract, held = promised(), table(ROWS)
    whole = min(seconds(lambda: check_table(contract, held, now_ns=0)) for _ in range(RUNS))
    batch = min(seconds(lambda: check_rows(contract, held)) for _ in range(RUNS))
    check = compile_record_check(contract)
    record = held.slice(0, 1).to_pylist()[0]
    each = min(seconds(lambda: [check(record) for _ in range(RECORDS)]) for _ in range(RECORD_RUNS)) / RECORDS
    single = each * 1e6
    rules = len(contract.rules)
    return [
        Row(
            what=f"contract of {rules} rules, {ROWS:,} rows",
            value=f"{whole:.2f} s",
            target=f"<= {TABLE_SECONDS_MAX:.0f} s",
            met=whole <= TABLE_SECONDS_MAX and rules >= RULES,
        ),
        Row(what=f"the same, row by row for a batch of {ROWS:,}", value=f"{batch:.2f} s"),
        Row(
            what=f"contract of {rules} rules, one record",
            value=f"{single:.1f} us",
            target=f"<= {RECORD_US_MAX:.0f} us",
            met=single <= RECORD_US_MAX and rules >= RULES,
        ),
    ]
