"""What differs between two environments, as a replay says it: Python, machine, packages, numerics.

Pure: two documents of `backstory.models.environment` in, names and values out. Thread pools are compared by library
and only where both environments have them: which ones are loaded depends on what a process did before it was asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from backstory.records.canonical import JsonObject, JsonValue

Changes = Mapping[str, tuple[str, str]]
"""Name to what it was and what it is."""

_FAMILY = ".architecture"
_DIGITS = 12
_NOT_SAID = "None"
_NAMES_OF_POOLS = frozenset({"internal_api", "prefix", "user_api"})
_OWN_RULES = frozenset({"pools", "variables"})


def environment_changes(then: JsonObject, now: JsonObject, *, is_partial: bool = False) -> dict[str, tuple[str, str]]:
    """Return what differs between two environments; nothing where the first is not known.

    A package of the same version with other files is named as `numpy.files`.

    Args:
        then: The recorded environment; empty where none was recorded.
        now: The other.
        is_partial: Whether only some packages were meant to be in the other: those that are not are no difference.

    >>> environment_changes({"python": {"version": "3.11.7"}}, {"python": {"version": "3.12.1"}})
    {'python.version': ('3.11.7', '3.12.1')}
    """
    if not then:
        return {}
    before, after = _member(then, "numerics"), _member(now, "numerics")
    before_packages, after_packages = _member(then, "packages"), _member(now, "packages")
    if is_partial:
        before_packages = {name: one for name, one in before_packages.items() if name in after_packages}
    pairs = _pairs(_facts(then), _facts(now)) | _packages(before_packages, after_packages)
    pairs |= _pairs(*_pools_of_both(before.get("pools"), after.get("pools")))
    if before and after:
        pairs |= _pairs(_variables(before), _variables(after))
    for name in set(before) & set(after) - _OWN_RULES:
        pairs |= _pairs(dict(_flat(name, before[name])), dict(_flat(name, after[name])))
    return {name: pairs[name] for name in sorted(pairs)}


def kernel_families(changes: Changes) -> str:
    """Return which libraries run kernels of another processor family, in words; empty where none does.

    >>> kernel_families({"openblas.architecture": ("SkylakeX", "Sandybridge")})
    'another kernel family: openblas SkylakeX then, Sandybridge now'
    """
    found = [
        f"{name.removesuffix(_FAMILY)} {then} then, {now} now"
        for name, (then, now) in changes.items()
        if name.endswith(_FAMILY)
    ]
    return f"another kernel family: {'; '.join(found)}" if found else ""


def has_pools(environment: JsonObject) -> bool:
    """Say whether an environment names thread pools: without them nobody knows which kernels ran."""
    return bool(_member(environment, "numerics").get("pools"))


def _member(document: JsonObject, name: str) -> JsonObject:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _pairs(then: dict[str, str], now: dict[str, str]) -> dict[str, tuple[str, str]]:
    names = [name for name in set(then) | set(now) if then.get(name) != now.get(name)]
    return {name: (then.get(name, "absent"), now.get(name, "absent")) for name in names}


def _facts(document: JsonObject) -> dict[str, str]:
    return {
        f"{group}.{name}": str(value)
        for group in ("python", "platform")
        for name, value in _member(document, group).items()
    }


def _packages(then: JsonObject, now: JsonObject) -> dict[str, tuple[str, str]]:
    pairs = _pairs(*({name: _of_package(one, "version") for name, one in some.items()} for some in (then, now)))
    for name in set(then) & set(now) - set(pairs):
        files = _of_package(then[name], "record"), _of_package(now[name], "record")
        if files[0] != files[1] and _NOT_SAID not in files:
            pairs[f"{name}.files"] = files[0][:_DIGITS], files[1][:_DIGITS]
    return pairs


def _of_package(package: JsonValue, fact: str) -> str:
    return str(package.get(fact)) if isinstance(package, dict) else str(package)


def _variables(numerics: JsonObject) -> dict[str, str]:
    return {name: str(value) for name, value in _member(numerics, "variables").items()}


def _pools_of_both(then: JsonValue, now: JsonValue) -> tuple[dict[str, str], dict[str, str]]:
    """Return the facts of libraries that both have, as `openblas.architecture`.

    A process may have loaded several copies of a library, told apart by their versions. One that only one side has
    loaded says nothing; where both have one that the other has not, it was replaced.
    """
    before, after = _by_version(then), _by_version(now)
    found: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for name in set(before) & set(after):
        ours, theirs = before[name], after[name]
        same = set(ours) & set(theirs)
        is_replaced = set(ours) > same and set(theirs) > same
        for facts, pools in zip(found, (ours, theirs), strict=True):
            facts.update(_merged(name, [pools[version] for version in pools if is_replaced or version in same]))
    return found


def _by_version(pools: JsonValue) -> dict[str, dict[str, JsonObject]]:
    found: dict[str, dict[str, JsonObject]] = {}
    for pool in pools if isinstance(pools, list) else []:
        if isinstance(pool, dict):
            found.setdefault(str(pool.get("internal_api")), {})[f"{pool.get('prefix')} {pool.get('version')}"] = pool
    return found


def _merged(name: str, pools: list[JsonObject]) -> dict[str, str]:
    values: dict[str, set[str]] = {}
    for pool in pools:
        for fact in set(pool) - _NAMES_OF_POOLS:
            values.setdefault(f"{name}.{fact}", set()).add(str(pool[fact]))
    return {fact: ", ".join(sorted(found)) for fact, found in values.items()}


def _flat(name: str, value: JsonValue) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for inner, one in value.items():
            yield from _flat(f"{name}.{inner}", one)
    else:
        yield name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)
