"""Checking what a report says against what its bundle proves: tables, evidence, quotes.

Bytes and the order of the checks: docs/format.md, section "Reports". `standalone/check_report.py` holds the same check
once more, written apart from this one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from backstory.errors import FormatError, VerificationError
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.identity import check_digest, time_text
from backstory.verify.receipt import Receipt
from backstory.verify.receipt_file import check_version

ENTRY_TYPE: Final = "report.made"
REPORT, PAGE, PDF, SCHEMA = "report.json", "report.html", "report.pdf", "schema.json"
FILES: Final = ("README.txt", PAGE, REPORT, PDF, SCHEMA)
"""Files that every report bundle has, beside those of every bundle."""

_TABLE = re.compile(r"tables/([a-z][a-z_]{0,63})\.csv")
_AT = re.compile("/sections/(0|[1-9][0-9]{0,9})/rows/(0|[1-9][0-9]{0,9})/([a-z][a-z_]{0,63})")
_QUOTED = re.compile('[",\r\n]')
_NANOSECONDS = re.compile("-?[0-9]{1,19}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFacts:
    """What a report that verifies is.

    Attributes:
        kind: Its kind, such as `access-log`.
        id: Its id.
        title: Its title.
        quotes: How many of its texts were compared with what is proven.
        entries: How many entries it cites.
    """

    kind: str
    id: str
    title: str
    quotes: int
    entries: int

    def to_dict(self) -> JsonObject:
        """Return it as values JSON has."""
        return {
            "entries": self.entries,
            "id": self.id,
            "kind": self.kind,
            "quotes": self.quotes,
            "title": self.title,
        }


def csv_bytes(section: JsonObject) -> bytes:
    r"""Return the table of a section as CSV, in its one form.

    >>> csv_bytes({"columns": [{"name": "a"}, {"name": "b"}], "rows": [{"a": "x,y", "b": None}, {"a": "", "b": "1"}]})
    b'a,b\r\n"x,y",\r\n"",1\r\n'

    Raises:
        FormatError: The section is malformed.
    """
    names = [canonical.text_of(object_of(column), "name") for column in list_of(section.get("columns"))]
    lines = [",".join(names)]
    for row in map(object_of, list_of(section.get("rows"))):
        if set(row) != set(names):
            raise FormatError("a row has other columns than its section")
        lines.append(",".join(_csv_cell(row[name]) for name in names))
    return "".join(f"{line}\r\n" for line in lines).encode()


def _csv_cell(value: JsonValue) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise FormatError("a cell is neither text nor null")
    if not value or _QUOTED.search(value):
        return '"' + value.replace('"', '""') + '"'
    return value


class ReportCheck:
    """The report of a bundle, whose parts are compared with what the bundle proves."""

    def __init__(self, data: bytes, manifest: JsonObject) -> None:
        """Take a report apart and compare its frame with the manifest.

        Raises:
            VerificationError: It is another report than the manifest names.
            FormatError: It is malformed.
        """
        named = object_of(manifest["report"])
        if set(named) != {"digest", "id", "kind"}:
            raise FormatError("the manifest names no report")
        if hashlib.sha256(data).hexdigest() != check_digest(named["digest"], "report's digest"):
            raise VerificationError("it is another report than the manifest names")
        self.digest = str(named["digest"])
        self._document = canonical.parse_object(data, "report")
        check_version(self._document, "report")
        integrity, log = object_of(self._document.get("integrity")), object_of(manifest["log"])
        fits = self._document.get("backstory") == "report" and self._document.get("made") == manifest["time"]
        fits = fits and all(self._document.get(name) == named[name] for name in ("id", "kind"))
        if not fits or any(integrity.get(name) != log[name] for name in ("origin", "root", "size")):
            raise VerificationError("it says another thing of itself than the manifest")
        self._sections = [object_of(section) for section in list_of(self._document.get("sections"))]

    def check_tables(self, names: Collection[str], read: Callable[[str], bytes]) -> None:
        """Check that each section with columns has its table, byte for byte.

        Args:
            names: Names of the files of the bundle.
            read: Returns the bytes of one.

        Raises:
            VerificationError: A table is missing, is too much, or says something else than the report.
        """
        left = {name for name in names if _TABLE.fullmatch(name)}
        for section in self._sections:
            if not list_of(section.get("columns")):
                continue
            name = f"tables/{canonical.text_of(section, 'name')}.csv"
            if name not in left:
                raise VerificationError(f"{name}: it is missing")
            left.remove(name)
            if read(name) != csv_bytes(section):
                raise VerificationError(f"{name}: it says something else than the report")
        for name in sorted(left):
            raise VerificationError(f"{name}: no section of the report is of this name")

    def check_evidence(
        self, records: Mapping[str, Receipt], entries: Mapping[int, JsonObject], manifest: JsonObject
    ) -> ReportFacts:
        """Check that what the report stands on is what the bundle proves, and each quote.

        Args:
            records: What the receipts of the bundle prove, by id.
            entries: The entries that are proven, by index.
            manifest: The manifest.

        Raises:
            VerificationError: A record or entry is missing or too much, or a quote is of something else.
        """
        evidence = object_of(self._document.get("evidence"))
        if evidence != {"entries": [str(index) for index in sorted(entries)], "records": sorted(records)}:
            raise VerificationError("it names other evidence than the bundle has")
        if canonical.count_of(manifest, "records") != len(records):
            raise VerificationError("it is of another number of records than the manifest")
        quotes = list_of(self._document.get("quotes"))
        for quote in map(object_of, quotes):
            self._check_quote(quote, records, entries)
        return ReportFacts(
            kind=canonical.text_of(self._document, "kind"),
            id=canonical.text_of(self._document, "id"),
            title=canonical.text_of(self._document, "title"),
            quotes=len(quotes),
            entries=len(entries),
        )

    def _check_quote(
        self, quote: JsonObject, records: Mapping[str, Receipt], entries: Mapping[int, JsonObject]
    ) -> None:
        where = canonical.text_of(quote, "at")
        said, type_ = self._cell(where)
        if set(quote) == {"at", "column", "record"}:
            receipt = records.get(canonical.text_of(quote, "record"))
            column = canonical.text_of(quote, "column")
            proven = None if receipt is None else _value(receipt, column)
        elif set(quote) == {"at", "entry", "member"}:
            entry, member = entries.get(canonical.count_of(quote, "entry")), canonical.text_of(quote, "member")
            proven = None if entry is None else (entry.get(member),)
        else:
            raise FormatError("a malformed quote")
        if proven is None or said != _as_text(proven[0], type_):
            raise VerificationError(f"{where} is not what is proven")

    def _cell(self, where: str) -> tuple[str | None, str]:
        """Return what stands at a pointer to a cell of a table, and the type of its column."""
        found = _AT.fullmatch(where)
        if found is None:
            raise FormatError("a quote leads nowhere")
        try:
            section = self._sections[int(found[1])]
            row = object_of(list_of(section.get("rows"))[int(found[2])])
            value = row[found[3]]
        except LookupError as error:
            raise FormatError("a quote leads nowhere") from error
        columns = map(object_of, list_of(section.get("columns")))
        types = [canonical.text_of(one, "type") for one in columns if one.get("name") == found[3]]
        if not isinstance(value, str | None) or len(types) != 1:
            raise FormatError("a quote leads nowhere")
        return value, types[0]


def _value(receipt: Receipt, column: str) -> tuple[JsonValue] | None:
    """Return the value of a column in the form a verifier of receipts reports it; None where it is not shown."""
    shown = receipt.to_dict()
    for values in (shown["values"], *object_of(shown["opened"]).values()):
        if isinstance(values, dict) and column in values:
            return (values[column],)
    return None


def _as_text(value: JsonValue, type_: str) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return None
    if not isinstance(value, str):
        raise FormatError("a quote of what is no text")
    return time_text(int(value)) if type_ == "time" and _NANOSECONDS.fullmatch(value) else value


def object_of(value: JsonValue) -> JsonObject:
    """Return a value that must be an object.

    Raises:
        FormatError: It is none.
    """
    if not isinstance(value, dict):
        raise FormatError("expected an object")
    return value


def list_of(value: JsonValue) -> list[JsonValue]:
    """Return a value that must be a list.

    Raises:
        FormatError: It is none.
    """
    if not isinstance(value, list):
        raise FormatError("expected a list")
    return value
