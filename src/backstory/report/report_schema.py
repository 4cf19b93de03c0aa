"""The published schemas of reports: JSON Schema 2020-12, one for each kind, made from its layout."""

from __future__ import annotations

from backstory.records.canonical import JsonObject, JsonValue
from backstory.report.report import Column, Layout, Layouts

_TEXT: JsonObject = {"type": "string"}
_TEXT_OR_NULL: JsonObject = {"type": ["string", "null"]}
_TEXTS: JsonObject = {"items": _TEXT, "type": "array"}
_COUNT: JsonObject = {"pattern": "^(0|[1-9][0-9]*)$", "type": "string"}
_DIGEST: JsonObject = {"pattern": "^[0-9a-f]{64}$", "type": "string"}
_ID_PATTERN = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_ID: JsonObject = {"pattern": _ID_PATTERN, "type": "string"}
_TIME_PATTERN = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{9}Z$"
_TIME: JsonObject = {"pattern": _TIME_PATTERN, "type": "string"}
_CELLS: dict[str, JsonObject] = {
    "count": {"pattern": "^(0|[1-9][0-9]*)$", "type": ["string", "null"]},
    "digest": {"pattern": "^[0-9a-f]{64}$", "type": ["string", "null"]},
    "id": {"pattern": _ID_PATTERN, "type": ["string", "null"]},
    "number": {"pattern": "^(-?([0-9]+([.][0-9]+)?(e[+-]?[0-9]+)?|inf)|nan)$", "type": ["string", "null"]},
    "text": _TEXT_OR_NULL,
    "time": {"pattern": _TIME_PATTERN, "type": ["string", "null"]},
}


def schema_of(kind: Layouts) -> JsonObject:
    """Return the schema of reports of a kind."""
    with_counts = [layout.name for layout in kind.sections if layout.columns]
    members: JsonObject = {
        "about": _TEXT,
        "backstory": {"const": "report"},
        "bases": _list_of(_object({"article": _TEXT, "serves": _TEXT})),
        "code": {"const": kind.code},
        "completeness": _TEXTS,
        "counts": _object(dict.fromkeys([*with_counts, "proven_entries", "proven_records"], _COUNT)),
        "evidence": _object({"entries": _list_of(_COUNT), "records": _list_of(_ID)}),
        "generator": {"additionalProperties": _TEXT, "required": ["backstory"], "type": "object"},
        "id": _ID,
        "integrity": _object(
            {
                "algorithms": _TEXTS,
                "anchors": _TEXTS,
                "checked": _TEXT,
                "origin": _TEXT,
                "pinned": {"type": "boolean"},
                "root": _DIGEST,
                "size": _COUNT,
                "vkey": _TEXT,
            }
        ),
        "kind": {"const": kind.kind},
        "limits": {"items": _TEXT, "minItems": 1, "type": "array"},
        "made": _TIME,
        "purpose": _TEXT_OR_NULL,
        "question": _object({"arguments": {"additionalProperties": _TEXT, "type": "object"}, "function": _TEXT}),
        "quotes": _list_of(
            {
                "oneOf": [
                    _object({"at": _TEXT, "column": _TEXT, "record": _ID}),
                    _object({"at": _TEXT, "entry": _COUNT, "member": _TEXT}),
                ]
            }
        ),
        "readers": _TEXT,
        "redaction": _object({"profile": _TEXT, "withheld": _list_of(_withheld())}),
        "requester": _TEXT_OR_NULL,
        "scope": _object(
            {
                "about": {"additionalProperties": _TEXT, "type": "object"},
                "as_of": _COUNT,
                "since": _CELLS["time"],
                "until": _CELLS["time"],
            }
        ),
        "sections": {
            "items": False,
            "minItems": len(kind.sections),
            "prefixItems": [_section(layout) for layout in kind.sections],
            "type": "array",
        },
        "summary": {"items": _TEXT, "minItems": 1, "type": "array"},
        "systems": _list_of(_object({"digest": _DIGEST, "name": _TEXT, "version": _COUNT})),
        "title": {"const": kind.title},
        "v": {"const": 1},
    }
    return {
        "$id": f"urn:backstory:report:{kind.kind}:1",
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "description": kind.about,
        "title": kind.title,
        **_object(members),
    }


def _section(layout: Layout) -> JsonObject:
    columns: list[JsonValue] = [_column(column) for column in layout.columns]
    row = _object({column.name: _CELLS[column.type] for column in layout.columns})
    return _object(
        {
            "columns": {"items": False, "minItems": len(columns), "prefixItems": columns, "type": "array"}
            if columns
            else {"maxItems": 0, "type": "array"},
            "name": {"const": layout.name},
            "none": _TEXT,
            "rows": _list_of(row) if columns else {"maxItems": 0, "type": "array"},
            "standing": {"const": layout.standing},
            "text": _TEXTS,
            "title": {"const": layout.title},
        }
    )


def _column(column: Column) -> JsonObject:
    return _object({"label": _TEXT, "name": {"const": column.name}, "type": {"const": column.type}})


def _withheld() -> JsonObject:
    commitment = _CELLS["digest"]
    return _object({"class": _TEXT, "commitment": commitment, "group": _TEXT, "reason": _TEXT, "what": _TEXT})


def _list_of(item: JsonObject) -> JsonObject:
    return {"items": item, "type": "array"}


def _object(members: JsonObject) -> JsonObject:
    """Return the schema of an object with exactly these members."""
    return {
        "additionalProperties": False,
        "properties": members,
        "required": [*sorted(members)],
        "type": "object",
    }
