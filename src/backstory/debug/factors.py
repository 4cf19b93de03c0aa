"""What predictions have in common upstream, as factors: by their lineage, their context, time, flags and features.

Each factor is one column of numbers, made from one column of records or rows at a time, so that memory is bounded by
the number of predictions and factors, not by what the values are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from backstory.columns.arrow_type import decoded
from backstory.debug.case import Workshop
from backstory.debug.rootcause_columns import (
    FactorColumn,
    binned,
    coded,
    has_many_values,
    is_number,
    listed,
    texts,
)
from backstory.debug.rootcause_records import Records
from backstory.debug.rootcause_sources import LeftOut, group_factor, match_factor, source_factors, source_rows
from backstory.errors import InputError
from backstory.lineage.deployments import find_deployments
from backstory.lineage.plain import count_text, to_second
from backstory.lineage.reference import Reference, parse_references
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.identity import time_text
from backstory.records.schema import split_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SHORT = 12
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_DAY_NS, _HOUR_NS = 86_400_000_000_000, 3_600_000_000_000
_EPOCH_WEEKDAY = 3
"""1970 began on a Thursday."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Factors:
    """The factors of some predictions.

    Attributes:
        columns: Those that can tell predictions apart.
        left_out: The others by reason: the same for all, hardly any two predictions the same, sealed, erased, of a type
            that cannot be compared.
    """

    columns: tuple[FactorColumn, ...]
    left_out: dict[str, list[str]]


def build_factors(shop: Workshop, records: Records, *, support: int, features: bool = True) -> Factors:
    """Return the factors of some predictions.

    Args:
        shop: The archive; what its gate lets through is noted.
        records: The predictions.
        support: A factor none of whose values so many predictions have is left out.
        features: Whether features are factors, too.

    Raises:
        VerificationError: Rows were changed.
    """
    left_out = LeftOut()
    for name in records.closed:
        left_out.add("sealed", ".".join(split_name(name)))
    kept: list[FactorColumn] = []
    for column in _all_factors(shop, records, left_out, features=features):
        counts = np.bincount(np.asarray(column.codes) + 1, minlength=column.values + 1)
        if counts.max() == len(column.codes):
            if column.values:
                left_out.add("the same for all", column.name)
        elif counts[1:].max(initial=0) < support:
            left_out.add("hardly any two predictions the same", column.name)
        else:
            kept.append(column)
    return Factors(columns=tuple(kept), left_out=left_out.names)


def _all_factors(shop: Workshop, records: Records, left_out: LeftOut, *, features: bool) -> Iterator[FactorColumn]:
    encoded = records.column("context").dictionary_encode()
    digests = [digest.hex() for digest in encoded.dictionary.to_pylist()]
    contexts = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32)
    documents = [records.contexts[digest] for digest in digests]
    times = records.column("time").cast(pa.int64()).to_numpy(zero_copy_only=False)
    yield from _context_factors(shop, documents, contexts)
    yield from _deployment_factors(shop, documents, contexts, times)
    yield from _time_factors(times)
    yield from _call_factors(records)
    references = [parse_references(one.get("refs")) if one.get("refs") else {} for one in documents]
    for name in records.column_names("row"):
        yield from _reference_factors(shop, records, name.removeprefix("row."), references, contexts, left_out)
    yield from _flag_factors(records)
    if features:
        yield from _feature_factors(records, left_out)


def _context_factors(
    shop: Workshop, documents: list[JsonObject], contexts: NDArray[np.int32]
) -> Iterator[FactorColumn]:
    """Yield what the contexts say: model version, code, environment with what of it differs, feature set, method."""
    said = [_context_facts(one) for one in documents]
    environments = [_environment_facts(shop, one) for one in documents]
    differing = [name for name in environments[0] if len({facts.get(name) for facts in environments}) > 1]
    differing += [name for facts in environments[1:] for name in facts if name not in environments[0]]
    for name in dict.fromkeys([*(name for facts in said for name in facts), *differing]):
        of_context = texts([(facts | other).get(name) for facts, other in zip(said, environments, strict=True)])
        yield of_context.take(contexts).column(name, "model" if name == "model" else "context")


def _context_facts(context: JsonObject) -> dict[str, str]:
    facts: dict[str, str] = {}
    model, code = context.get("model"), context.get("code")
    if isinstance(model, dict):
        facts["model"] = f"{canonical.text_of(model, 'name')}:{model.get('version')}"
    if isinstance(code, dict):
        facts |= {f"code: {name}": str(value)[:_SHORT] for name in ("commit", "dirty") if (value := code.get(name))}
        facts |= {"entry point": str(code["entry_point"])} if code.get("entry_point") else {}
    facts["method"] = canonical.text_of(context, "method")
    for name, member in (("decision rule", "decision"), ("feature set", "features"), ("options", "options")):
        if context.get(member) is not None:
            facts[name] = _brief(context[member])
    environment = context.get("environment")
    if isinstance(environment, str):
        facts["environment"] = environment[:_SHORT]
    return facts


def _brief(value: JsonValue) -> str:
    return value[:_SHORT] if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _environment_facts(shop: Workshop, context: JsonObject) -> dict[str, str]:
    """Return what an environment consists of; only where it differs is it a factor of its own."""
    digest = context.get("environment")
    document = shop.ledger.document(digest) if isinstance(digest, str) else {}
    facts: dict[str, str] = {}
    for group in ("python", "platform"):
        part = document.get(group)
        facts |= {f"{group} {name}": str(value) for name, value in part.items()} if isinstance(part, dict) else {}
    packages = document.get("packages")
    for name, package in packages.items() if isinstance(packages, dict) else ():
        facts[f"package {name}"] = str(package.get("version")) if isinstance(package, dict) else str(package)
    return facts


def _deployment_factors(
    shop: Workshop, documents: list[JsonObject], contexts: NDArray[np.int32], times: NDArray[np.int64]
) -> Iterator[FactorColumn]:
    """Yield what each deployment served when a prediction of a version it served was made."""
    intervals = find_deployments(shop.ledger)
    models = [one.get("model") for one in documents]
    digests = [str(one.get("digest")) if isinstance(one, dict) else None for one in models]
    for name in dict.fromkeys(one.deployment for one in intervals):
        own = [one for one in intervals if one.deployment == name]
        since = np.array([np.datetime64(one.since.rstrip("Z"), "ns").astype(np.int64) for one in own])
        number = np.searchsorted(np.maximum.accumulate(since), times, side="right") - 1
        serves = np.array([[any(s.digest == digest for s in one.shares) for digest in digests] for one in own], bool)
        there = (number >= 0) & serves[np.maximum(number, 0), contexts]
        labels = [f"since {one.since}: {', '.join(f'{s.model} {s.share}' for s in one.shares)}" for one in own]
        yield listed(np.where(there, number, -1), labels).column(f"deployment {name}", "context")


def _time_factors(times: NDArray[np.int64]) -> Iterator[FactorColumn]:
    """Yield day, weekday and hour of the moment of recording, in UTC."""
    day = times // _DAY_NS
    known, number = np.unique(day, return_inverse=True)
    yield listed(number, [str(np.datetime64(int(one), "D")) for one in known]).column("recorded: day", "day")
    yield listed((day + _EPOCH_WEEKDAY) % 7, _WEEKDAYS).column("recorded: weekday", "day")
    hour = times // _HOUR_NS % 24
    yield listed(hour, [f"{one:02}:00 to {one:02}:59" for one in range(24)]).column("recorded: hour of the day", "hour")


def _call_factors(records: Records) -> Iterator[FactorColumn]:
    """Yield the process that recorded a prediction, the call it was made in, and whether that failed."""
    writers = records.column("stream").dictionary_encode()
    of_writer = writers.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    names = [one.hex()[:_SHORT] for one in writers.dictionary.to_pylist()]
    yield listed(of_writer, names).column("writer", "context")
    first = records.column("call").to_numpy(zero_copy_only=False).astype(np.int64)
    order = np.unique(np.stack([of_writer, first]), axis=1, return_index=True, return_inverse=True)
    (_, at, number) = order
    sizes = records.column("batch_rows").take(pa.array(at)).to_pylist()
    moments = records.column("time").cast(pa.int64()).take(pa.array(at)).to_pylist()
    labels = [
        f"{to_second(time_text(moment))}, {count_text(size, 'prediction')}"
        for moment, size in zip(moments, sizes, strict=True)
    ]
    yield listed(number.reshape(-1), labels).column("call", "call")
    yield coded(records.column("status")).column("status", "context")


def _reference_factors(
    shop: Workshop,
    records: Records,
    name: str,
    references: list[dict[str, Reference]],
    contexts: NDArray[np.int32],
    left_out: LeftOut,
) -> Iterator[FactorColumn]:
    positions = records.column(f"row.{name}").fill_null(-2).to_numpy(zero_copy_only=False)
    own: Mapping[int, Reference] = {number: refs[name] for number, refs in enumerate(references) if name in refs}
    if not own:
        return
    known = np.isin(contexts, list(own))
    positions = np.where(known, positions, -1)
    yield match_factor(name, positions)
    if any(one.group is not None for one in own.values()):
        yield group_factor(shop, name, own, contexts, positions)
    found = source_rows(own, contexts, positions)
    if found is not None:
        yield from source_factors(shop, name, found, left_out)


def _flag_factors(records: Records) -> Iterator[FactorColumn]:
    """Yield each flag, and whether a prediction has any."""
    if not records.column_names("flags"):
        return
    encoded = decoded(records.column("flags")).dictionary_encode()
    known = [json.loads(text) for text in encoded.dictionary.to_pylist()]
    of_row = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    for flag in dict.fromkeys(flag for flags in known for flag in flags):
        has = np.array([flag in flags for flags in known], bool)
        codes = np.where((of_row >= 0) & has[np.maximum(of_row, 0)], 0, -1)
        _, _, feature = str(flag).partition(":")
        yield listed(codes, ["yes"]).column(f"flag {flag}", "flag", feature)


def _feature_factors(records: Records, left_out: LeftOut) -> Iterator[FactorColumn]:
    """Yield the features, numbers in bins."""
    for name in records.column_names("feature"):
        feature = name.removeprefix("feature.")
        values = decoded(records.column(name))
        try:
            in_bins = is_number(values.type) and has_many_values(values)
            yield (binned(values) if in_bins else coded(values)).column(name, "feature", feature)
        except (InputError, pa.ArrowException):
            left_out.add("of a type that cannot be compared", name)
