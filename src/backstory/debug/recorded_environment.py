"""Replaying in the recorded environment: made again with `uv`, and run in a process of its own.

What replay needs is installed in the recorded versions: the packages this library needs, those the model needs, and
what these require. The features go to the process and the outputs come back, through pipes; sealed values are opened
here, by whoever asked. Where the environment cannot be made nothing is run: today's never stands in for it.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from backstory.columns.arrow_type import unchunked
from backstory.columns.table_bytes import read_table, table_bytes
from backstory.debug.case import Workshop
from backstory.debug.isolated import how_called
from backstory.debug.runner import Job, Ran, RanIn, model_digest
from backstory.errors import BackstoryError, ModelError, StorageError, VerificationError
from backstory.lineage.registry import find_version
from backstory.models.environment import variables_of
from backstory.models.isolated import Interpreter, run_isolated
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue

NEEDED_HERE = (
    "cryptography",
    "cyclopts",
    "datasketches",
    "duckdb",
    "msgspec",
    "narwhals",
    "numpy",
    "pyarrow",
    "pyroaring",
    "rich",
)
"""Packages this library needs, as in its metadata, which a checkout has not."""

_NAMED_OTHERWISE = {"sklearn": "scikit-learn"}
_NEEDED_TO_COMPARE = ("threadpoolctl",)
"""Says which kernels ran."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+_-]*")
"""What a recorded package or version may be: anything else would be an order to `uv`, which runs what it installs."""

_ANSWER = ("backstory.debug.recorded_process", "answer")
_COMPLETE = "complete"
_DIGITS = 16
SECONDS = 600.0
"""Time the process has; importing libraries is part of it."""


def cache_of(env: str | Path) -> Path:
    """Return the directory in which recorded environments are made: the user's cache directory unless one is given."""
    return env.absolute() if isinstance(env, Path) else Path.home() / ".cache" / "backstory" / "environments"


class RecordedRunner:
    """Runs models in the environments they were recorded in."""

    ran_in: RanIn = "recorded"

    def __init__(self, shop: Workshop, cache: Path, packages: Mapping[str, str] | None = None) -> None:
        """Make environments in a directory; those that are there are used again.

        Args:
            shop: The archive.
            cache: The directory.
            packages: Versions of packages that are taken instead of the recorded ones, by name.
        """
        self._shop = shop
        self._cache = cache
        self._packages = packages or {}

    def run(self, jobs: Sequence[Job]) -> list[Ran | BackstoryError]:
        """Return what came of each job, or why nothing did; see `Runner`. A process runs all jobs of a model."""
        found: dict[int, Ran | BackstoryError] = {}
        together: dict[tuple[str, str, tuple[str, ...]], list[int]] = {}
        for at, job in enumerate(jobs):
            try:
                together.setdefault(self._needs(job), []).append(at)
            except VerificationError:
                raise
            except BackstoryError as error:
                found[at] = error
        for (digest, _, names), places in together.items():
            try:
                document = self._document(digest)
                python = made_environment(self._cache, canonical.digest_of(document), document, names)
                ran = self._exchange(python, document, [jobs[at] for at in places])
            except VerificationError:
                raise
            except BackstoryError as error:
                ran = [error] * len(places)
            found |= dict(zip(places, ran, strict=True))
        return [found[at] for at in range(len(jobs))]

    def _document(self, digest: str) -> JsonObject:
        """Return a recorded environment, with the packages changed that are to be others.

        Raises:
            ModelError: A package that is to be another was not recorded.
        """
        document = self._shop.ledger.document(digest)
        recorded = document.get("packages")
        if not self._packages or not isinstance(recorded, dict):
            return document
        unknown = [name for name in self._packages if name not in recorded]
        if unknown:
            raise ModelError(f"the recorded environment has no package {unknown[0]!r}")
        changed: JsonObject = {name: {"version": version} for name, version in self._packages.items()}
        return {**document, "packages": {**recorded, **changed}}

    def _needs(self, job: Job) -> tuple[str, str, tuple[str, ...]]:
        """Return the digests of a call's environment and model, and the packages the model needs."""
        digest = job.case.context.get("environment")
        if not isinstance(digest, str):
            raise ModelError("its record does not say in which environment it was made")
        model = self._shop.ledger.document(model_digest(job.case)).get("model")
        versions = model.get("versions") if isinstance(model, dict) else None
        container = job.case.context.get("container")
        kind = container.get("kind") if isinstance(container, dict) else None
        names = [
            *(versions if isinstance(versions, dict) else ()),
            *([str(kind)] if kind in {"pandas", "polars"} else ()),
        ]
        return digest, model_digest(job.case), tuple(sorted({_package(name) for name in names} - {"python"}))

    def _exchange(self, python: Path, recorded: JsonObject, jobs: Sequence[Job]) -> list[Ran | BackstoryError]:
        with _only_this_package() as folder:
            interpreter = Interpreter(executable=python, path=[str(folder)], variables=variables_of(recorded))
            answer = run_isolated(_ANSWER, self._written(jobs), interpreter, seconds=SECONDS, walled=False)
        head, _, rest = answer.partition(b"\n")
        said = json.loads(head)
        found: list[Ran | BackstoryError] = []
        for one in said["answers"]:
            if "error" in one:
                found.append(ModelError(one["error"]))
                continue
            output = unchunked(read_table(rest[: one["size"]])["output"])
            rest = rest[one["size"] :]
            found.append(
                Ran(output=output, environment=said["environment"], seconds=float(one["seconds"]), is_partial=True)
            )
        return found

    def _written(self, jobs: Sequence[Job]) -> bytes:
        """Return jobs for the process: what is said of them, then each model once, then the features of each."""
        models: dict[str, int] = {}
        said: list[JsonValue] = []
        blobs: list[bytes] = []
        described: list[JsonValue] = []
        for job in jobs:
            digest = model_digest(job.case)
            if digest not in models:
                models[digest] = len(models)
                data, about = self._model(digest)
                blobs.append(data)
                said.append(about)
        for job in jobs:
            data = table_bytes(job.features)
            blobs.append(data)
            described.append(
                {
                    **how_called(job.case),
                    "model": models[model_digest(job.case)],
                    "rows": list(job.rows),
                    "size": len(data),
                }
            )
        return json.dumps({"jobs": described, "models": said}).encode() + b"\n" + b"".join(blobs)

    def _model(self, digest: str) -> tuple[bytes, JsonObject]:
        version = find_version(self._shop.ledger, digest)
        model = self._shop.ledger.document(digest).get("model")
        if version.artifact is None or not isinstance(model, dict):
            reason = model.get("reason") if isinstance(model, dict) else None
            raise ModelError(f"model {version.name}:{version.version} cannot be loaded: {reason}")
        data = self._shop.ledger.blobs.get(version.artifact)
        return data, {"format": model.get("format"), "size": len(data), "trusted": model.get("trusted")}


def made_environment(cache: Path, digest: str, recorded: JsonObject, names: Sequence[str]) -> Path:
    """Return the Python of a recorded environment, made now if it was not before.

    Args:
        cache: The directory such environments are kept in.
        digest: Digest of the environment's document.
        recorded: The document.
        names: Packages the model needs.

    Raises:
        ModelError: It cannot be made: `uv` is not here, no index is reached, a version is gone.
        StorageError: The directory cannot be written.
    """
    versions = _versions(recorded)
    lacking = [name for name in names if name not in versions]
    if lacking:
        raise ModelError(f"the recorded environment names no version of {', '.join(lacking)}, which the model needs")
    wanted = sorted({*NEEDED_HERE, *_NEEDED_TO_COMPARE, *names})
    which = hashlib.sha256("\n".join(wanted).encode()).hexdigest()
    place = cache / f"{digest[:_DIGITS]}-{which[:_DIGITS]}"
    python = place / "bin" / "python"
    if (place / _COMPLETE).is_file():
        return python
    uv = find_uv()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=".making-", dir=cache))
    except OSError as error:
        raise StorageError(f"recorded environment: {cache} cannot be written: {error.strerror}") from error
    try:
        _make(uv, making, versions, wanted, recorded)
        if not place.exists():  # another process may have been faster
            making.rename(place)
    except OSError as error:
        raise StorageError(f"recorded environment: it cannot be put into {cache}: {error.strerror}") from error
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return python


def find_uv() -> str:
    """Return the program `uv`: the one beside this Python, or the one on the path.

    Raises:
        ModelError: There is none.
    """
    found = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if found is None:
        raise ModelError("the recorded environment cannot be made: `uv` is not here; the extra `environments` has it")
    return found


def _make(uv: str, folder: Path, versions: dict[str, str], wanted: Sequence[str], recorded: JsonObject) -> None:
    _make_python(uv, folder, recorded)
    requirements, constraints = folder / "requirements.txt", folder / "constraints.txt"
    requirements.write_text("".join(f"{name}\n" for name in wanted), "utf-8")
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in versions.items()), "utf-8")
    problem = _run(
        uv, "pip", "install", "--no-build", "--compile-bytecode", "--python", str(folder / "bin" / "python"),
        "--requirements", str(requirements), "--constraints", str(constraints),
    )  # fmt: skip
    if problem is not None:
        raise ModelError(f"the recorded environment cannot be made: {problem}")
    (folder / _COMPLETE).write_text("", "utf-8")


def _make_python(uv: str, folder: Path, recorded: JsonObject) -> None:
    """Make an environment of the recorded Python; of this one, which the replay then names, where `uv` finds none."""
    python = recorded.get("python")
    version = str(python.get("version")) if isinstance(python, dict) else ""
    if not _VERSION.fullmatch(version):
        raise ModelError("the recorded environment names no version of Python")
    here = ".".join(map(str, sys.version_info[:3]))
    choices = [sys.executable] if version == here else [version, sys.executable]
    for choice in choices:
        problem = _run(uv, "venv", "--no-project", "--relocatable", "--clear", "--python", choice, str(folder))
        if problem is None:
            return
    raise ModelError(f"the recorded environment cannot be made: {problem}")


def _run(uv: str, *arguments: str) -> str | None:
    """Run `uv`; return what it says went wrong, on one line, or None."""
    done = subprocess.run([uv, "--quiet", *arguments], capture_output=True, text=True, check=False, cwd=Path.home())  # noqa: S603  own arguments
    if done.returncode == 0:
        return None
    return " ".join(done.stderr.split())[-400:] or f"uv ended with {done.returncode}"


@contextmanager
def _only_this_package() -> Iterator[Path]:
    """Give a folder with this library and nothing that is installed beside it."""
    with tempfile.TemporaryDirectory(prefix="backstory-") as folder:
        (Path(folder) / "backstory").symlink_to(Path(__file__).absolute().parents[1])
        yield Path(folder)


def _package(name: str) -> str:
    """Return the name of the package that has a module."""
    return re.sub(r"[-_.]+", "-", _NAMED_OTHERWISE.get(name, name)).lower()


def _versions(recorded: JsonObject) -> dict[str, str]:
    packages = recorded.get("packages")
    found = {
        name: str(package["version"])
        for name, package in (packages.items() if isinstance(packages, dict) else ())
        if isinstance(package, dict) and name != "backstory"
    }
    if not found:
        raise ModelError("the recorded environment names no packages")
    if not all(_NAME.fullmatch(name) and _VERSION.fullmatch(version) for name, version in found.items()):
        raise ModelError("the recorded environment names a package or version that can be none")
    return found
