"""Features made by the code of another commit: its files are laid out in a folder, and a process imports them there.

The process opens the archive for reading and sees what is open in it; about people it makes nothing again.
"""

from __future__ import annotations

import importlib
import json
import operator
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backstory.columns.table_bytes import read_table, table_bytes
from backstory.debug.case import Case, Workshop, read_cases
from backstory.debug.other_version import features_with
from backstory.debug.step_code import Steps
from backstory.errors import ForbiddenError, InputError, ModelError, NotFoundError, QueryError
from backstory.ledger.ledger import Ledger
from backstory.lineage import registry
from backstory.lineage.dataset import DatasetVersion, find_versions
from backstory.lineage.referenced import Places
from backstory.lineage.source import Sources
from backstory.lineage.store import LineageStore
from backstory.lineage.trace import Tracer
from backstory.models.isolated import Interpreter, run_isolated, this_interpreter
from backstory.records import canonical
from backstory.records.access import About, Scope
from backstory.storage.world import World

if TYPE_CHECKING:
    import pyarrow as pa

SECONDS_MAX = 600.0
"""Time that one commit's code has to make some features."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A git repository and where in it code is imported from.

    Attributes:
        top: Its top folder.
        inside: The folder modules are imported from, below the top.
    """

    top: Path
    inside: str


def repository_of(folder: Path) -> Repository:
    """Return the git repository a folder is in.

    Raises:
        NotFoundError: It is in none.
    """
    top = _git(folder, "rev-parse", "--show-toplevel").strip()
    inside = _git(folder, "rev-parse", "--show-prefix").strip()
    return Repository(top=Path(top), inside=inside)


def commits_between(repository: Repository, good: str, bad: str) -> list[str]:
    """Return the commits from one to another, both included, along the first parents.

    Raises:
        NotFoundError: There is no such commit, or git is not installed.
        QueryError: The first is not an ancestor of the other.
    """
    first, last = (_git(repository.top, "rev-parse", "--verify", f"{name}^{{commit}}").strip() for name in (good, bad))
    between = _git(repository.top, "rev-list", "--first-parent", "--reverse", f"{first}..{last}").split()
    parents = _git(repository.top, "rev-list", "--first-parent", last).split()
    if first == last or first not in parents:
        raise QueryError("bisect: expected the good commit to be an ancestor of the bad one, along first parents")
    return [first, *between]


def features_at_commit(
    shop: Workshop,
    case: Case,
    repository: Repository,
    commit: str,
    steps: Sequence[str],
    versions: Mapping[str, Sequence[DatasetVersion]],
) -> pa.Table:
    """Return the features of a call, those asked about made again by the code of a commit.

    Args:
        shop: The archive.
        case: The call.
        repository: Where the commit is.
        commit: The commit.
        steps: The functions that prepare, each `MODULE:FUNCTION`.
        versions: For each source another version whose rows are taken.

    Raises:
        ModelError: The code raises an error, or gives no such features.
    """
    asked = {
        "archive": str(shop.ledger.layout.root.absolute()),
        "ids": case.ids,
        "steps": list(steps),
        "versions": {name: [one.spec for one in parts] for name, parts in versions.items()},
    }
    with tempfile.TemporaryDirectory(prefix="backstory-") as folder:
        _lay_out(repository, commit, Path(folder))
        asked |= {"folder": str(Path(folder).resolve()), "top": str(repository.top.resolve())}
        own = this_interpreter({})
        path = [str(Path(folder) / repository.inside), *_path_at(own.path, repository.top, Path(folder))]
        interpreter = Interpreter(executable=own.executable, path=path, variables={})
        place = (__name__, "features_of_body")
        answer = run_isolated(place, json.dumps(asked).encode(), interpreter, seconds=SECONDS_MAX, walled=False)
    return read_table(answer)


def features_of_body(body: bytes) -> bytes:
    """Return the features that were asked for, as an Arrow stream; runs in the process of a commit."""
    asked = json.loads(body)
    ledger = Ledger(Path(asked["archive"]), World(), writable=False, vkey=None, actor=None)
    places = Places(ledger)
    shop = Workshop(
        ledger=ledger,
        gate=_Shut(),
        tracer=Tracer(ledger, places),
        store=LineageStore(ledger, places),
        sources=Sources(),
        load=lambda named: registry.load_model(
            ledger, registry.find_version(ledger, canonical.text_of(named, "digest"))
        ),
    )
    (case,) = read_cases(shop, asked["ids"], "bisect")
    if not isinstance(case, Case):
        raise case[1]
    versions = {
        name: [one for spec in specs for one in find_versions(ledger, spec)]
        for name, specs in asked["versions"].items()
    }
    steps = [_function(text, Path(asked["folder"])) for text in asked["steps"]]
    made = features_with(shop, case, steps, versions)
    _require_no_other_code(Path(asked["top"]))
    return table_bytes(made)


def names_of(steps: Steps) -> list[str]:
    """Return functions by module and name, as a process of another commit imports them.

    Raises:
        InputError: They are not functions of modules.
    """
    given = [steps] if callable(steps) else list(steps or ()) if not isinstance(steps, Mapping | str) else []
    names = [f"{one.__module__}:{one.__qualname__}" for one in given]
    if not names or any(name.startswith("__main__:") or "<" in name for name in names):
        raise InputError(
            "bisect: over commits, expected steps= with functions of modules, so that each commit has its own"
        )
    return names


class _Shut:
    """Lets nothing through: the code of a commit is not asked who reads."""

    def allows(self, groups: Sequence[str] | None = None) -> bool:  # noqa: ARG002
        return False

    def lacking(self, groups: Sequence[str] | None = None) -> str:  # noqa: ARG002
        return "they stay sealed for a commit's code"

    def pass_through(self, question: str, groups: Sequence[str], records: int, scope: Scope | None = None) -> None:  # noqa: ARG002
        raise ForbiddenError(
            f"{question}: {records} sealed values of {', '.join(groups)} stay sealed for a commit's code"
        )

    def require_open(self, question: str, classes: Sequence[str] = ("D0", "D1", "D2")) -> None:
        """Let it: what stands open is there for a commit's code as for any."""

    @property
    def bound_subject(self) -> None:
        """Nobody."""

    def within(self, about: About) -> _Shut:  # noqa: ARG002
        return self


def _path_at(path: Sequence[str], top: Path, folder: Path) -> list[str]:
    """Return where modules are imported from, with a commit's own folders in the place of today's."""
    return [
        str(folder / Path(entry).resolve().relative_to(top.resolve())) if _is_of(Path(entry), top) else entry
        for entry in path
    ]


def _is_of(place: Path, top: Path) -> bool:
    """Say whether a place is in a repository: neither in an environment that stands in it, nor this library."""
    kept = (Path(sys.prefix).resolve(), Path(__file__).resolve().parents[2])
    found = place.resolve()
    return found.is_relative_to(top.resolve()) and not any(found.is_relative_to(one) for one in kept)


def _function(text: str, folder: Path) -> Callable[..., Any]:
    """Return a function of the commit's files.

    Raises:
        ModelError: The commit has no such function.
    """
    name, _, path = text.partition(":")
    try:
        module = importlib.import_module(name)
        found: Any = operator.attrgetter(path)(module)
    except (ImportError, AttributeError) as error:
        raise ModelError(f"the commit has no {text} ({type(error).__name__})") from error
    if not Path(str(module.__file__)).resolve().is_relative_to(folder):
        raise ModelError(f"the commit has no module {name} in the folder steps are imported from")
    return found  # type: ignore[no-any-return]


def _require_no_other_code(top: Path) -> None:
    """Refuse features that today's files had a part in, where the commit does not have them.

    Raises:
        ModelError: They had.
    """
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and _is_of(Path(file), top):
            raise ModelError(f"the commit has no module {name}; the working tree's would be another commit's code")


def _lay_out(repository: Repository, commit: str, folder: Path) -> None:
    """Write the files of a commit into a folder; nothing of the repository changes."""
    archive = folder / "commit.tar"
    _git(repository.top, "archive", "--format=tar", f"--output={archive}", commit)
    try:
        shutil.unpack_archive(archive, folder, "tar", filter="data")
    except (OSError, shutil.ReadError, ValueError) as error:
        raise ModelError(f"the files of commit {commit[:12]} cannot be laid out: {type(error).__name__}") from error
    archive.unlink()


def _git(folder: Path, *arguments: str) -> str:
    git = shutil.which("git")
    if git is None:
        raise NotFoundError("bisect: git is not installed")
    done = subprocess.run(  # noqa: S603  fixed program, no shell
        [git, "-c", "core.fsmonitor=false", "-C", str(folder), *arguments],
        capture_output=True, stdin=subprocess.DEVNULL, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        what = done.stderr.strip().splitlines()[-1:] or ["git failed"]
        raise NotFoundError(f"bisect: {what[0]}")
    return done.stdout
