"""Reading the Open Data Contract Standard, version 3, with the standard's own model.

What a contract says that is not checked is named in `Contract.unchecked`; a member the standard does not have is
refused, as it may be a rule misspelt. The mapping is in docs/how-to/data-contracts.md and docs/format.md section 26.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from backstory.errors import InputError, UnsupportedVersionError
from backstory.frames.contract import LOGICAL_TYPES, Contract, NotNull, OfType, OneOf, Unique
from backstory.frames.contract_draft import Draft
from backstory.frames.contract_options import option_tests, scalars
from backstory.frames.contract_quality import read_quality, read_sla
from backstory.frames.contract_severity import Severities, read_severities
from backstory.frames.contract_yaml import dump_yaml, kept_text, load_yaml
from backstory.records.names import names_instead, nearest

if TYPE_CHECKING:
    from open_data_contract_standard.model import OpenDataContractStandard, SchemaObject, SchemaProperty

_STANDARD: Final = "v3."
_NOT_CHECKED: Final = ("items", "map", "relationships", "partitioned", "transformLogic")


def read_contract(given: Contract | Mapping[str, Any] | str | Path, table: str | None = None) -> Contract:
    """Return a contract.

    Args:
        given: A path; text in YAML, which has several lines; the same as a mapping; or a contract read before.
        table: Which of its tables, where it is about several.

    Raises:
        InputError: It is malformed, or not about one table of that name; the message says where.
        UnsupportedVersionError: It is of another version of the standard.
    """
    if isinstance(given, Contract):
        return given
    if isinstance(given, Mapping):
        document = dict(given)
        text = dump_yaml(document)
    elif isinstance(given, str | Path):
        text = given if isinstance(given, str) and "\n" in given else _read_file(Path(given))
    else:
        raise InputError(f"contract: expected a path, YAML, a dict or a Contract, got {type(given).__name__}")
    document = load_yaml(text)
    model = _model_of(document)
    chosen = _object_of(model, table)
    draft = Draft()
    severities = read_severities(model.customProperties, Severities(), "customProperties")
    severities = read_severities(chosen.customProperties, severities, f"schema {chosen.name}")
    _read_object(draft, chosen, severities)
    read_sla(draft, model, chosen, severities)
    if not draft.rules:
        raise InputError(f"contract: expected at least one rule, got none that can be checked (schema {chosen.name})")
    return Contract(
        id=str(model.id),
        version=str(model.version),
        table=str(chosen.name),
        rules=tuple(draft.rules),
        unchecked=tuple(draft.unchecked),
        valued=frozenset(draft.valued),
        text=kept_text(text, document),
    )


def _read_file(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        raise InputError(f"contract: there is no file {str(path)!r}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"contract: the file {str(path)!r} cannot be read ({type(error).__name__})") from None


def _model_of(document: dict[str, Any]) -> OpenDataContractStandard:
    try:
        from open_data_contract_standard.model import OpenDataContractStandard
        from pydantic import ValidationError
    except ImportError:
        raise InputError("contracts need a library that is not installed: pip install 'backstory[contracts]'") from None
    version = document.get("apiVersion")
    if document.get("kind") != "DataContract" or not isinstance(version, str):
        raise InputError("contract: expected 'kind: DataContract' and 'apiVersion' of the Open Data Contract Standard")
    if not version.startswith(_STANDARD):
        raise UnsupportedVersionError(f"contract: expected the standard's version 3, got apiVersion {version!r}")
    try:
        model = OpenDataContractStandard.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise InputError(f"contract: {first['msg']} ({_place(first['loc'])})") from None
    for name in ("id", "version"):
        if not isinstance(document.get(name), str) or not document[name]:
            raise InputError(f"contract: expected {name!r} as text, got {type(document.get(name)).__name__}")
    _refuse_unknown(document.get("schema"), model.schema_, "schema")
    _refuse_unknown(document.get("slaProperties"), model.slaProperties, "slaProperties")
    return model


def _place(location: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")


def _refuse_unknown(given: Any, model: Any, place: str) -> None:
    """Refuse members that the standard's model would leave out without a word."""
    if isinstance(given, list) and isinstance(model, list):
        for number, (item, read) in enumerate(zip(given, model, strict=True)):
            _refuse_unknown(item, read, f"{place}[{number}]")
        return
    fields = getattr(type(model), "model_fields", None)
    if not isinstance(given, dict) or fields is None:
        return
    names = {info.alias or name: name for name, info in fields.items()}
    for name, value in given.items():
        if name not in names:
            raise InputError(f"contract: the standard has no {name!r}{nearest(str(name), names)} ({place})")
        _refuse_unknown(value, getattr(model, names[name]), f"{place}.{name}")


def _object_of(model: OpenDataContractStandard, table: str | None) -> SchemaObject:
    objects = model.schema_ or []
    names = [str(one.name) for one in objects]
    if any(one.name is None for one in objects) or len(set(names)) != len(names):
        raise InputError("contract: expected a name for each schema object, and none twice (schema)")
    if len(objects) == 1:
        return objects[0]
    if table in names:
        return objects[names.index(table)]
    if not objects:
        raise InputError("contract: expected a table, got none (schema)")
    raise InputError(f"contract: it is about {len(names)} tables, expected one of them, got {table!r}"
                     f"{names_instead(str(table), names)}")  # fmt: skip


def _read_object(draft: Draft, chosen: SchemaObject, severities: Severities) -> None:
    properties = chosen.properties or []
    names = [str(one.name) for one in properties]
    for number, one in enumerate(properties):
        if one.name is None or names.count(one.name) > 1:
            raise InputError(
                "contract: expected a name for each property, and none twice "
                f"(schema {chosen.name}, properties[{number}])"
            )
        _read_property(draft, one, severities)
    keys = sorted((one for one in properties if one.primaryKey), key=lambda one: _key_place(one, names))
    if keys:
        columns = tuple(str(one.name) for one in keys)
        draft.add("primaryKey", Unique(columns=columns), severities.of("unique"), None)
    read_quality(draft, chosen.quality, None, severities, names)


def _key_place(one: SchemaProperty, names: list[str]) -> tuple[int, int]:
    place = one.primaryKeyPosition
    return (place if place is not None and place > 0 else len(names) + 1, names.index(str(one.name)))


def _read_property(draft: Draft, one: SchemaProperty, outer: Severities) -> None:
    name, place = str(one.name), f"property {one.name}"
    severities = read_severities(one.customProperties, outer, place)
    if one.logicalType is not None and one.logicalType not in LOGICAL_TYPES:
        raise InputError(
            f"contract: expected a logicalType of the standard, got {one.logicalType!r}"
            f"{names_instead(one.logicalType, LOGICAL_TYPES)} ({place})"
        )
    options = one.logicalTypeOptions or {}
    zoned = options.get("timezone")
    draft.add(f"{name}.type", OfType(type=one.logicalType, zoned=zoned if isinstance(zoned, bool) else None),
              severities.of("type"), name)  # fmt: skip
    if one.required or one.primaryKey:
        draft.add(f"{name}.required", NotNull(), severities.of("required"), name)
    if one.enum:
        values = scalars([item.value for item in one.enum], f"{place}, enum")
        draft.add(f"{name}.enumeration", OneOf(values=values), severities.of("enumeration"), name)
        draft.valued.add(name)
    for kind, test in option_tests(one.logicalType, options, place, draft):
        draft.add(f"{name}.{kind}", test, severities.of(kind.partition(".")[0]), name)
        if kind == "range":
            draft.valued.add(name)
    if one.unique:
        draft.add(f"{name}.unique", Unique(columns=(name,)), severities.of("unique"), name)
    if one.examples:
        draft.valued.add(name)
    draft.unchecked += _left_out(one, place)
    read_quality(draft, one.quality, name, severities, [name])


def _left_out(one: SchemaProperty, place: str) -> Iterator[str]:
    if one.properties:
        yield f"{place}: the properties within it are not checked"
    for member in _NOT_CHECKED:
        if getattr(one, member, None):
            yield f"{place}: {member} is not checked"
