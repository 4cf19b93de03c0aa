"""What a suspect is swapped for, to see whether predictions are then no longer bad: rows, a model, a feature's value.

The rows of a source are swapped for those with the same keys in another version of it, through groups too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import decoded, unchunked
from backstory.debug.case import Case, Workshop, run_model
from backstory.debug.recompute import Correction, Recomputed, Steps, recompute
from backstory.debug.rootcause_asked import QUESTION
from backstory.debug.rootcause_columns import FactorColumn
from backstory.debug.rootcause_records import Population
from backstory.errors import InputError, QueryError
from backstory.frames.key import row_codes
from backstory.lineage import registry
from backstory.lineage.dataset import DatasetVersion, find_versions, list_versions
from backstory.lineage.plain import label
from backstory.lineage.reference import Reference, parse_references
from backstory.records import canonical
from backstory.records.access import Scope
from backstory.records.canonical import JsonObject

if TYPE_CHECKING:
    from numpy.typing import NDArray

Given: TypeAlias = "str | Mapping[str, Any]"
"""A spec of a version, `{"version": spec}`, or `{"values": {column: value}}`."""

NOT_SWAPPED = "none of its rows has its key in the other version"
ROW_LEVELS = frozenset({"source", "file", "day", "attribute", "row", "group"})


class CannotSwapError(InputError):
    """A suspect cannot be swapped for anything; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ran:
    """Outputs of the asked rows of a call.

    Attributes:
        outputs: One output a row.
        reasons: Why a row could not be run; "" where it was.
    """

    outputs: pa.Array
    reasons: Sequence[str]


Run: TypeAlias = Callable[[Case], Ran]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Swap:
    """A suspect and what it is swapped for.

    Attributes:
        key: What is swapped: suspects with the same key are tested once.
        what: The same in words, such as `weather:1 for weather:2`.
        before: Runs a call again as it was.
        after: Runs it with the suspect swapped.
        columns: The columns of rows that get other values; None for all, and for what is no row.
    """

    key: tuple[str, ...]
    what: str
    before: Run
    after: Run
    columns: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bench:
    """What suspects are swapped with.

    Attributes:
        shop: The archive.
        population: The predictions.
        steps: The functions that made the features.
        reference: By name of a source, model or feature what is right, where somebody said it.
        estimators: Models that were loaded, by digest.
    """

    shop: Workshop
    population: Population
    steps: Steps
    reference: Mapping[str, Given]
    estimators: dict[str, object]

    def estimator(self, model: JsonObject) -> object:
        """Return a model, loaded once."""
        digest = canonical.text_of(model, "digest")
        if digest not in self.estimators:
            self.estimators[digest] = self.shop.load(model)
        return self.estimators[digest]

    def recorded(self, case: Case, features: pa.Table | None = None) -> pa.Array:
        """Run a call's own model, on its own features if no others are given."""
        model = case.context.get("model")
        if not isinstance(model, dict):
            raise CannotSwapError("the predictions name no registered model that could be run again")
        return run_model(self.estimator(model), case, case.features if features is None else features)


def swap_of(bench: Bench, suspect: FactorColumn, inside: NDArray[np.bool_]) -> Swap:
    """Return what a suspect is swapped for.

    Args:
        bench: What there is to swap with.
        suspect: The factor.
        inside: The predictions that have the suspected value.

    Raises:
        CannotSwapError: There is nothing it could be swapped for, and why.
    """
    if suspect.level == "model":
        return _model_swap(bench, inside)
    if suspect.level in {"feature", "flag"} and suspect.reference is not None:
        return _feature_swap(bench, suspect.reference, inside)
    if suspect.level in ROW_LEVELS and suspect.reference is not None:
        return _row_swap(bench, suspect.reference, inside)
    raise CannotSwapError(f"{suspect.name} cannot be swapped for another in a replay")


def _model_swap(bench: Bench, inside: NDArray[np.bool_]) -> Swap:
    ledger, records = bench.shop.ledger, bench.population.records
    contexts = [digest.hex() for digest in records.column("context").to_pylist()]
    of_good = Counter[str]()
    name = ""
    for context, _ in Counter(c for c, one in zip(contexts, inside, strict=True) if one).most_common(1):
        model = records.contexts[context].get("model")
        name = canonical.text_of(model, "name") if isinstance(model, dict) else ""
    for context, count in Counter(c for c, one in zip(contexts, inside, strict=True) if not one).items():
        model = records.contexts[context].get("model")
        if isinstance(model, dict) and model.get("name") == name:
            of_good[canonical.text_of(model, "digest")] += count
    given = bench.reference.get(name)
    spec = _spec(given) if given is not None else next(iter(dict(of_good.most_common(1))), None)
    if spec is None:
        raise CannotSwapError(f"no other version of {name or 'the model'} made any of the predictions")
    version = registry.find_version(ledger, spec)
    named: JsonObject = {"digest": version.digest, "name": version.name, "version": str(version.version)}
    return Swap(
        key=("model", version.digest),
        what=f"the model for {version.name}:{version.version}",
        before=lambda case: _all_ran(bench.recorded(case), case),
        after=lambda case: _all_ran(run_model(bench.estimator(named), case, case.features), case),
    )


def _feature_swap(bench: Bench, feature: str, inside: NDArray[np.bool_]) -> Swap:
    """Swap a feature's value for the middle one, or the most frequent text, of good predictions elsewhere."""
    records = bench.population.records
    if f"feature.{feature}" not in records.column_names("feature"):
        raise CannotSwapError(f"there is no feature {feature} to give another value")
    values = decoded(records.column(f"feature.{feature}"))
    good = values.filter(pa.array(~inside & ~bench.population.bad)).drop_null()
    given = bench.reference.get(feature)
    if not len(good) and given is None:
        raise CannotSwapError(f"no good prediction has a value of {feature}")
    which = "value given"
    if given is not None:
        value = _values(given).get(feature) if isinstance(given, Mapping) else given
    elif pa.types.is_floating(good.type) or pa.types.is_integer(good.type):
        value, which = pc.quantile(good, 0.5, interpolation="nearest")[0].as_py(), "middle value of the good ones"
    else:
        value, which = _commonest(good), "commonest value of the good ones"

    def after(case: Case) -> Ran:
        features = case.features
        at = features.column_names.index(feature) if feature in features.column_names else -1
        if at < 0:
            return _none_ran(case, f"the call has no feature {feature}")
        column = unchunked(features[feature])
        asked = np.zeros(len(column), bool)
        asked[list(case.rows)] = True
        changed = pc.if_else(pa.array(asked), pa.scalar(value).cast(column.type), column)
        return _all_ran(bench.recorded(case, features.set_column(at, feature, changed)), case)

    return Swap(
        key=("feature", feature),
        what=f"{feature} for the {which}",
        before=lambda case: _all_ran(bench.recorded(case), case),
        after=after,
    )


def _commonest(values: pa.Array) -> Any:  # noqa: ANN401  a feature's value
    counted = pc.value_counts(values)
    return counted[int(pc.index(counted.field("counts"), pc.max(counted.field("counts"))).as_py())]["values"].as_py()


def _row_swap(bench: Bench, name: str, inside: NDArray[np.bool_]) -> Swap:
    if bench.steps is None:
        raise CannotSwapError("the features cannot be made again from other rows without steps=")
    records = bench.population.records
    tried = inside & bench.population.bad
    used_in = records.column("context").filter(pa.array(tried)).unique().to_pylist()
    contexts = [records.contexts[digest.hex()] for digest in used_in]
    references = [parse_references(one["refs"])[name] for one in contexts if name in (one.get("refs") or {})]  # type: ignore[operator]
    sources = sorted({source for one in references for source in _sources_below(bench, one)})
    right: dict[str, Sequence[DatasetVersion] | Mapping[str, Any]] = {}
    for source in sources:
        given = bench.reference.get(source)
        if isinstance(given, Mapping) and "values" in given:
            right[source] = _values(given)
        elif given is not None:
            right[source] = find_versions(bench.shop.ledger, _spec(given))
        else:
            used = {part.dataset for one in references for part in _parts_below(bench, one)}
            right[source] = _other_version(bench, source, used)
    right = {source: one for source, one in right.items() if one}
    if not right:
        listed = " or ".join(sources)
        raise CannotSwapError(
            f"there is no other version of {listed}, with a key, than those used; say what is right with reference="
        )
    told = [
        f"the {', '.join(map(label, one))} given" if isinstance(one, Mapping) else _version_name(one)
        for source, one in right.items()
    ]
    given_columns = [frozenset(one) for one in right.values() if isinstance(one, Mapping)]
    return Swap(
        key=("rows", name),
        columns=frozenset[str]().union(*given_columns) if len(given_columns) == len(right) else None,
        what=f"rows of {', '.join(right)} for {', '.join(told)}",
        before=lambda case: _recomputed(bench, case, name, ()),
        after=lambda case: _recomputed(bench, case, name, _corrections(bench, case, name, right)),
    )


def _version_name(parts: Sequence[DatasetVersion]) -> str:
    return parts[0].spec if len(parts) == 1 else f"other parts of {parts[0].name}:{parts[0].number}"


def _sources_below(bench: Bench, reference: Reference) -> set[str]:
    if reference.group is None:
        return {reference.name}
    inner = parse_references(bench.shop.ledger.document(reference.group).get("refs"))
    return {source for one in inner.values() for source in _sources_below(bench, one)}


def _parts_below(bench: Bench, reference: Reference) -> set[Any]:
    if reference.group is None:
        return set(reference.parts)
    inner = parse_references(bench.shop.ledger.document(reference.group).get("refs"))
    return {part for one in inner.values() for part in _parts_below(bench, one)}


def _other_version(bench: Bench, source: str, used: set[str]) -> Sequence[DatasetVersion]:
    """Return what the newest version of a source has that the predictions were not made of, if its rows have a key."""
    versions = [one for one in list_versions(bench.shop.ledger, source) if one.key and one.digest not in used]
    newest = max((one.number for one in versions), default=0)
    return [one for one in versions if one.number == newest]


def _spec(given: Given) -> str:
    spec = given.get("version") if isinstance(given, Mapping) else given
    if not isinstance(spec, str):
        raise QueryError("rootcause: expected reference={name: version} or {name: {'values': {column: value}}}")
    return spec


def _values(given: Mapping[str, Any]) -> Mapping[str, Any]:
    values = given.get("values")
    if not isinstance(values, Mapping) or not values:
        raise QueryError("rootcause: expected values by column in reference={name: {'values': {…}}}")
    return values


def _corrections(
    bench: Bench, case: Case, name: str, right: Mapping[str, Sequence[DatasetVersion] | Mapping[str, Any]]
) -> tuple[Correction, ...]:
    """Return what the rows that asked predictions have through a reference are in the right version.

    Raises:
        CannotSwapError: None of them is in it.
    """
    reference = parse_references(case.context.get("refs"))[name]
    positions = case.positions()[name][list(case.rows)]
    found: list[Correction] = []
    for one, places in _rows_below(bench, reference, positions):
        values = right.get(one.name)
        if values is None:
            continue
        for part in one.parts:
            own = np.unique(places[(places >= part.first) & (places < part.end)])
            if not len(own):
                continue
            if isinstance(values, Mapping):
                found.append(Correction(source=one.name, dataset=part.dataset, positions=own, values=values))
            else:
                rows = bench.shop.tracer.columns(part.dataset, None).take(pa.array(own - part.first))
                there, table = _same_keys(bench, rows, values)
                if there.any():
                    found.append(Correction(source=one.name, dataset=part.dataset, positions=own[there], values=table))
    if not found:
        used = f"no row of {', '.join(right)} that was used"
        raise CannotSwapError(f"{used} has its key in another version; say what is right with reference=")
    return tuple(found)


def _rows_below(
    bench: Bench, reference: Reference, positions: NDArray[np.int64]
) -> list[tuple[Reference, NDArray[np.int64]]]:
    """Return the references to sources that a reference leads to, with the positions."""
    real = positions[positions >= 0]
    if reference.group is None:
        return [(reference, real)]
    edges = bench.shop.tracer.edges(reference.group)
    found = []
    for name, inner in edges.refs.items():
        members = [edges.members(int(group), name) for group in np.unique(real)]
        found += _rows_below(bench, inner, np.concatenate([np.zeros(0, np.int64), *members]))
    return found


def _same_keys(bench: Bench, rows: pa.Table, versions: Sequence[DatasetVersion]) -> tuple[NDArray[np.bool_], pa.Table]:
    """Return which rows have their key in a version, and the rows of the version with these keys."""
    keys = list(versions[0].key)
    if not keys or not set(keys) <= set(rows.column_names):
        raise CannotSwapError(f"{versions[0].name} was fixed without a key, so its rows have no others to swap for")
    for one in versions:
        if one.personal:
            bench.shop.gate.pass_through(QUESTION, ["source"], one.rows, Scope(dataset=one.digest))
    parts = [bench.shop.tracer.columns(one.digest, one.table) for one in versions]
    try:
        other = pa.concat_tables(parts, promote_options="permissive")
        both = pa.concat_tables([rows.select(keys), other.select(keys)], promote_options="permissive")
    except pa.ArrowException:
        raise CannotSwapError(f"{versions[0].name} has its key, or parts of it, in columns of other types") from None
    codes = row_codes(both, keys)
    mine, theirs = codes[: rows.num_rows], codes[rows.num_rows :]
    if not len(theirs):
        return np.zeros(len(mine), bool), other.select([])
    order = np.argsort(theirs, kind="stable")
    place = np.searchsorted(theirs[order], mine)
    at = order[np.minimum(place, len(order) - 1)]
    there = theirs[at] == mine
    names = [name for name in rows.column_names if name in other.column_names and name not in keys]
    return there, other.select(names).take(pa.array(at[there]))


def _recomputed(bench: Bench, case: Case, name: str, corrections: Sequence[Correction]) -> Ran:
    """Make the features of the asked rows again and run the call with them; where nothing was swapped, say so."""
    chosen = list(case.rows)
    references = parse_references(case.context.get("refs"))
    positions = {ref: places[chosen] for ref, places in case.positions().items()}
    again: Recomputed = recompute(
        bench.shop,
        references,
        positions,
        case.features.schema,
        bench.steps,
        corrections,
    )
    index = np.arange(case.table.num_rows)
    made = np.flatnonzero(again.made)
    index[np.array(chosen)[made]] = case.table.num_rows + made
    features = pa.concat_tables([case.features, again.table]).take(pa.array(index))
    swapped = _is_swapped(bench, references[name], positions[name], corrections) if corrections else again.made
    reasons = [
        why or ("" if there else NOT_SWAPPED) for why, there in zip(again.reasons, swapped.tolist(), strict=True)
    ]
    return Ran(outputs=bench.recorded(case, features).take(pa.array(chosen)), reasons=reasons)


def _is_swapped(
    bench: Bench, reference: Reference, positions: NDArray[np.int64], corrections: Sequence[Correction]
) -> NDArray[np.bool_]:
    """Return which positions lead to a row that has other values: their own, or one of a group."""
    swapped = np.zeros(len(positions), bool)
    if reference.group is None:
        for one in corrections:
            if any(part.dataset == one.dataset for part in reference.parts):
                swapped |= np.isin(positions, one.positions)
        return swapped
    edges = bench.shop.tracer.edges(reference.group)
    for group in np.unique(positions[positions >= 0]):
        members = ((inner, edges.members(int(group), ref)) for ref, inner in edges.refs.items())
        if any(_is_swapped(bench, inner, places, corrections).any() for inner, places in members):
            swapped |= positions == group
    return swapped


def _all_ran(outputs: pa.Array, case: Case) -> Ran:
    return Ran(outputs=outputs.take(pa.array(list(case.rows))), reasons=[""] * len(case.rows))


def _none_ran(case: Case, reason: str) -> Ran:
    return Ran(outputs=case.output.take(pa.array(list(case.rows))), reasons=[reason] * len(case.rows))
