"""What can be changed between two replays of the same predictions, and replaying them with some of it changed.

A lever is a model's versions, a source's versions, the commits of the code that prepares, or a package's versions, in
order from the good end to the bad one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from backstory.debug.bisection import Configuration, Dimension
from backstory.debug.case import Case, Workshop, model_of, read_cases, run_model
from backstory.debug.commit import commits_between, features_at_commit, names_of, repository_of
from backstory.debug.condition import outputs_table
from backstory.debug.environment_diff import environment_changes
from backstory.debug.other_version import features_with
from backstory.debug.recorded_environment import RecordedRunner, cache_of
from backstory.debug.runner import Job
from backstory.debug.step_code import Steps
from backstory.errors import BackstoryError, ModelError, QueryError
from backstory.ledger.ledger import Ledger
from backstory.lineage.dataset import DatasetVersion, find_versions, list_versions
from backstory.lineage.registry import find_version, versions_of
from backstory.models.environment import environment
from backstory.models.source_text import describe
from backstory.records import canonical
from backstory.records.canonical import JsonValue

QUESTION = "bisect"
_PREPARING = frozenset({"source", "commit"})
"""Kinds of levers that change features."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lever:
    """Something that changed.

    Attributes:
        kind: What it is.
        name: Of a model, a source or a package the name.
        dimension: Its name, and its values for a reader.
        values: Its values: versions of a model, digests of a source's versions by part, commits, or package versions.
        unplayable: Values that are known not to be replayable, and why.
    """

    kind: Literal["model", "source", "commit", "package"]
    name: str
    dimension: Dimension
    values: tuple[Any, ...]
    unplayable: dict[int, str] = field(default_factory=dict)


def model_lever(ledger: Ledger, good: str, bad: str) -> Lever:
    """Return the versions of a model from one to another, in the order of their numbers or against it.

    Args:
        ledger: The archive.
        good: A version that was good, as `Archive.model` takes it.
        bad: One that is bad.

    Raises:
        QueryError: They are the same, or of two models.
        NotFoundError: There is no such version.
    """
    first, last = find_version(ledger, good), find_version(ledger, bad)
    if first.name != last.name:
        raise QueryError(f"bisect: expected two versions of one model, got {first.name} and {last.name}")
    if first.digest == last.digest:
        raise QueryError(f"bisect: expected two versions of {first.name}, got {first.name}:{first.version} twice")
    low, high = sorted((first.version, last.version))
    between = sorted(
        (version for version in versions_of(ledger, first.name) if low <= version.version <= high),
        key=lambda version: version.version,
        reverse=first.version > last.version,
    )
    return Lever(
        kind="model",
        name=first.name,
        dimension=Dimension(name=f"model {first.name}", values=tuple(f"{one.name}:{one.version}" for one in between)),
        values=tuple(between),
        unplayable={at: "it has no stored artifact" for at, one in enumerate(between) if one.artifact is None},
    )


def source_lever(ledger: Ledger, good: str, bad: str) -> Lever:
    """Return the versions of a source from one to another, in the order of their numbers or against it.

    Args:
        ledger: The archive.
        good: A version whose rows were good, such as `weather:1`.
        bad: One whose rows are bad.

    Raises:
        InputError: One names no version.
        NotFoundError: There is no such version.
        QueryError: They are the same, or of two sources.
    """
    first, last = find_versions(ledger, good)[0], find_versions(ledger, bad)[0]
    if first.name != last.name or first.number == last.number:
        raise QueryError(f"bisect: expected two versions of one source, got {first.spec} and {last.spec}")
    low, high = sorted((first.number, last.number))
    parts: dict[int, list[DatasetVersion]] = {}
    for one in list_versions(ledger, first.name):
        if low <= one.number <= high:
            parts.setdefault(one.number, []).append(one)
    numbers = sorted(parts, reverse=first.number > last.number)
    return Lever(
        kind="source",
        name=first.name,
        dimension=Dimension(name=f"source {first.name}", values=tuple(f"{first.name}:{one}" for one in numbers)),
        values=tuple(parts[one] for one in numbers),
    )


def commit_lever(folder: Path, good: str, bad: str) -> Lever:
    """Return the commits from one to another, along the first parents.

    Args:
        folder: Where the code is imported from, in a git repository.
        good: A commit whose code was good.
        bad: One whose code is bad.

    Raises:
        NotFoundError: There is no such repository or commit.
        QueryError: The good one is no ancestor of the bad one.
    """
    repository = repository_of(folder)
    commits = commits_between(repository, good, bad)
    return Lever(
        kind="commit",
        name=str(repository.top),
        dimension=Dimension(name="commit", values=tuple(commit[:12] for commit in commits)),
        values=tuple((repository, commit) for commit in commits),
    )


def package_lever(name: str, versions: Sequence[str]) -> Lever:
    """Return versions of a package, from good to bad.

    Raises:
        QueryError: They are not two or more.
    """
    if isinstance(versions, str) or len(versions) < 2:  # noqa: PLR2004
        raise QueryError(f"bisect: expected two or more versions of package {name}, from good to bad")
    return Lever(
        kind="package",
        name=name,
        dimension=Dimension(name=f"package {name}", values=tuple(f"{name} {one}" for one in versions)),
        values=tuple(versions),
    )


class Rig:
    """Replays some predictions with levers at some of their values."""

    def __init__(
        self,
        shop: Workshop,
        predictions: Sequence[str],
        levers: Sequence[Lever],
        steps: Steps = None,
        environments: Path | None = None,
    ) -> None:
        """Read the predictions with the calls they were made in.

        Args:
            shop: The archive.
            predictions: Ids, or unique prefixes.
            levers: What can be changed.
            steps: The functions that prepare features; needed for sources and commits.
            environments: Directory in which environments with other packages are made; the user's cache directory
                without one.

        Raises:
            InputError: Steps of several commits are not functions of modules.
            NotFoundError: There is no such prediction.
            ForbiddenError: Its values are sealed.
            ModelError: Its call failed.
            QueryError: There is no prediction or no lever, or one of a model the predictions are not of.
        """
        if not predictions or not levers:
            raise QueryError("bisect: expected predictions and something that changed between good and bad, got none")
        self._shop = shop
        self._levers = tuple(levers)
        self._steps = steps
        self._cache = cache_of(environments or "recorded")
        self._names = names_of(steps) if any(lever.kind == "commit" for lever in levers) else []
        self._made: dict[tuple[int, Configuration], pa.Table] = {}
        self._cases: list[Case] = []
        for case in read_cases(shop, predictions, QUESTION):
            if not isinstance(case, Case):
                raise case[1]
            self._cases.append(case)
        for name in (lever.name for lever in levers if lever.kind == "model"):
            others = {model for case in self._cases if (model := _model_name(case)) not in {None, name}}
            if others:
                raise QueryError(
                    f"bisect: expected predictions of model {name}, got some of {', '.join(sorted(others))}"
                )
        self._done: dict[Configuration, pa.Table] = {}
        self._here: dict[JsonValue, bool] = {}
        self.replays = 0
        """Configurations that were replayed, or could not be."""

    @property
    def ids(self) -> list[str]:
        """Ids of the predictions that are replayed."""
        return [name for case in self._cases for name in case.ids]

    @property
    def predictions(self) -> int:
        """How many there are."""
        return sum(len(case.rows) for case in self._cases)

    @property
    def is_sealed(self) -> bool:
        """Whether values of some are sealed in the archive, so that nothing of them may stand in clear elsewhere."""
        return any(case.schema.groups for case in self._cases)

    @property
    def steps(self) -> list[str]:
        """Digests of the code that prepares."""
        given = [self._steps] if callable(self._steps) else list(self._steps or ())
        return [describe(one).digest for one in given]

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """What the levers change."""
        return tuple(lever.dimension for lever in self._levers)

    @property
    def good_end(self) -> Configuration:
        """Every lever at its good end."""
        return tuple(0 for _ in self._levers)

    @property
    def bad_end(self) -> Configuration:
        """Every lever at its bad end."""
        return tuple(len(lever.values) - 1 for lever in self._levers)

    def unplayable(self, at: Configuration) -> str | None:
        """Return why a configuration cannot be replayed, where that is known without trying."""
        for lever, value in zip(self._levers, at, strict=True):
            if value in lever.unplayable:
                return f"{lever.dimension.values[value]}: {lever.unplayable[value]}"
        return None

    def outputs(self, at: Configuration) -> pa.Table:
        """Return what comes out with the levers at these values; what was recorded where that is what they were.

        Raises:
            BackstoryError: It cannot be replayed.
        """
        if at not in self._done:
            self._done[at] = self._outputs(at)
        return self._done[at]

    def _outputs(self, at: Configuration) -> pa.Table:
        parts = []
        recorded = all(self._is_recorded(case, at) for case in self._cases)
        self.replays += not recorded
        for number, case in enumerate(self._cases):
            output = case.output if recorded else self._replayed(number, case, at)
            asked = output.take(pa.array(case.rows))
            parts.append(outputs_table(case.ids, asked, case.decision))
        try:
            return pa.concat_tables(parts)
        except pa.ArrowException:
            raise ModelError("the predictions have outputs of several types, which cannot be compared") from None

    def _is_recorded(self, case: Case, at: Configuration) -> bool:
        """Say whether a case was recorded with these very values, and here; of sources and code that is not known."""
        return self._is_here(case) and all(
            lever.kind == "model" and _digest(case) == lever.values[value].digest
            for lever, value in zip(self._levers, at, strict=True)
        )

    def _is_here(self, case: Case) -> bool:
        """Say whether a case was recorded where it is replayed: else what is another may be no version's doing."""
        digest = case.context.get("environment")
        if digest not in self._here:
            then = self._shop.ledger.document(digest) if isinstance(digest, str) else {}
            self._here[digest] = bool(then) and not environment_changes(then, environment())
        return self._here[digest]

    def _replayed(self, number: int, case: Case, at: Configuration) -> pa.Array:
        features = self._features(number, case, at)
        for _, version in self._chosen(at, "model"):
            case = replace(case, context={**case.context, "model": {"digest": version.digest}})
        packages = {lever.name: version for lever, version in self._chosen(at, "package")}
        if not packages:
            return run_model(model_of(self._shop, case), case, features)
        runner = RecordedRunner(self._shop, self._cache, packages)
        (ran,) = runner.run([Job(case=case, features=features, rows=range(features.num_rows))])
        if isinstance(ran, BackstoryError):
            raise ran
        return ran.output

    def _features(self, number: int, case: Case, at: Configuration) -> pa.Table:
        """Return the features of a call, made again where sources or code are among the levers; once for the same."""
        kinds = [value if lever.kind in _PREPARING else -1 for lever, value in zip(self._levers, at, strict=True)]
        key = number, tuple(kinds)
        if key not in self._made:
            versions = {lever.name: parts for lever, parts in self._chosen(at, "source")}
            commits = self._chosen(at, "commit")
            if commits:
                repository, commit = commits[0][1]
                made = features_at_commit(self._shop, case, repository, commit, self._names, versions)
            else:
                made = features_with(self._shop, case, self._steps, versions) if versions else case.features
            self._made[key] = made
        return self._made[key]

    def _chosen(self, at: Configuration, kind: str) -> list[tuple[Lever, Any]]:
        """Return the levers of a kind with the values they have in a configuration."""
        levers = zip(self._levers, at, strict=True)
        return [(lever, lever.values[value]) for lever, value in levers if lever.kind == kind]


def _digest(case: Case) -> str | None:
    model = case.context.get("model")
    return canonical.text_of(model, "digest") if isinstance(model, dict) else None


def _model_name(case: Case) -> str | None:
    model = case.context.get("model")
    return canonical.text_of(model, "name") if isinstance(model, dict) else None
