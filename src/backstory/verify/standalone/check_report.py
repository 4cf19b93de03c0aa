"""What `check_bundle.py` beside it asks of a bundle that is a report; Python 3.9 and its standard library.

A report says what stands in records and entries, what was computed from them, and what somebody stated; each section
says which. Checked here: that the tables are those of the report, that the records and entries it stands on are exactly
those that are proven in the bundle, and that each text it quotes is what is proven. What it does not quote is compared
with nothing: it is what the log says was given out.

It is meant to be read next to docs/format.md, section "Reports".
"""

from __future__ import annotations

import datetime as dt
import hashlib
import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))  # `python -I` does not look beside the program
receipt: Any = importlib.import_module("verify_receipt")

Json = Any
FILES = ("README.txt", "report.html", "report.json", "report.pdf", "schema.json")


def open_report(data: bytes, manifest: dict[str, Json]) -> dict[str, Json]:
    """Check that a report is the one the manifest names, and says the same of itself."""
    named = receipt.need_members(manifest["report"], "digest id kind")
    receipt.from_hex(named["digest"])
    receipt.need(hashlib.sha256(data).hexdigest() == named["digest"], "it is another report than the manifest names")
    report: dict[str, Json] = receipt.from_json(data)
    receipt.check_version(report, "report")
    fits = report["backstory"] == "report" and report["made"] == manifest["time"]
    fits = fits and report["id"] == named["id"] and report["kind"] == named["kind"]
    log, integrity = manifest["log"], report["integrity"]
    fits = fits and all(integrity.get(name) == log[name] for name in ("origin", "root", "size"))
    receipt.need(fits, "it says another thing of itself than the manifest")
    receipt.need(isinstance(report["title"], str) and isinstance(report["quotes"], list), "it is not of its form")
    receipt.need(isinstance(report["sections"], list), "it has no sections")
    for section in report["sections"]:
        receipt.need(isinstance(section["columns"], list), "a section has no columns")
        receipt.need(isinstance(section.get("rows"), list) or not section["columns"], "a section has no rows")
    return report


def check_tables(report: dict[str, Json], names: list[str], read: Callable[[str], bytes]) -> None:
    """Check that each section with columns has its table, byte for byte, and that there is no other."""
    left = {name for name in names if re.fullmatch(r"tables/[a-z][a-z_]{0,63}\.csv", name)}
    for section in report["sections"]:
        if section["columns"]:
            name = f"tables/{section['name']}.csv"
            receipt.need(name in left, f"{name} is missing")
            left.remove(name)
            receipt.need(read(name) == table(section), f"{name} says something else than the report")
    receipt.need(not left, "no section of the report is of this name: " + ", ".join(sorted(left)))


def table(section: dict[str, Json]) -> bytes:
    """Write the rows of a section as CSV, in its one form."""
    names = [column["name"] for column in section["columns"]]
    lines = [",".join(names)]
    for row in section["rows"]:
        receipt.need(set(row) == set(names), "a row has other columns than its section")
        lines.append(",".join(cell(row[name]) for name in names))
    return "".join(line + "\r\n" for line in lines).encode()


def cell(value: Json) -> str:
    """Write one value of a row."""
    if value is None:
        return ""
    receipt.need(isinstance(value, str), "a cell is neither text nor null")
    text: str = value
    return '"' + text.replace('"', '""') + '"' if not text or set(text) & set('",\r\n') else text


def check_evidence(
    report: dict[str, Json], records: dict[str, dict[str, Json]], entries: dict[int, dict[str, Json]]
) -> dict[str, Json]:
    """Check that the report stands on exactly what is proven here, and each of its quotes."""
    proven = {"entries": [str(index) for index in sorted(entries)], "records": sorted(records)}
    receipt.need(report["evidence"] == proven, "it names other evidence than the bundle has")
    for quote in report["quotes"]:
        check_quote(report, quote, records, entries)
    return {
        "entries": len(entries),
        "id": report["id"],
        "kind": report["kind"],
        "quotes": len(report["quotes"]),
        "title": report["title"],
    }


def check_quote(
    report: dict[str, Json],
    quote: dict[str, Json],
    records: dict[str, dict[str, Json]],
    entries: dict[int, dict[str, Json]],
) -> None:
    """Check that what stands at a place of the report is what a record or an entry says."""
    found = re.fullmatch("/sections/(0|[1-9][0-9]{0,9})/rows/(0|[1-9][0-9]{0,9})/([a-z][a-z_]{0,63})", quote["at"])
    if found is None:
        raise receipt.FailedError("a quote leads nowhere")
    section = report["sections"][int(found[1])]
    said = section["rows"][int(found[2])][found[3]]
    types = [column["type"] for column in section["columns"] if column["name"] == found[3]]
    receipt.need(len(types) == 1 and isinstance(types[0], str), "a quote leads nowhere")
    if "record" in quote:
        receipt.need_members(quote, "at column record")
        facts = records[quote["record"]]
        shown = [values for values in (facts["values"], *facts["opened"].values()) if quote["column"] in values]
        value = shown[0][quote["column"]]
    else:
        receipt.need_members(quote, "at entry member")
        receipt.need(isinstance(quote["member"], str), "a malformed quote")
        value = entries[receipt.count_of(quote["entry"])].get(quote["member"])
    if isinstance(value, bool):
        value = "true" if value else "false"
    elif isinstance(value, str) and types[0] == "time" and re.fullmatch("-?[0-9]{1,19}", value):
        value = moment(int(value))
    receipt.need(value is None or isinstance(value, str), f"{quote['at']} is no text")
    receipt.need(said == value, f"{quote['at']} is not what is proven")


def moment(nanoseconds: int) -> str:
    """Return a number of nanoseconds since 1970 as the time it is."""
    seconds, rest = divmod(nanoseconds, 10**9)
    date = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=seconds)  # noqa: DTZ001  both UTC
    return f"{date.isoformat()}.{rest:09}Z"


if __name__ == "__main__":
    sys.stderr.write("cannot be checked: this is a part of check_bundle.py beside it; run that one\n")
    sys.exit(21)
