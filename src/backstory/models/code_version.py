"""Which code is running: the git commit of the program's folder, and whether it was changed since.

Names no folder, author or remote. `diff` names the changes to tracked files; a new file makes the tree dirty but is not
in it.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

from backstory.records.canonical import JsonObject

TIMEOUT_SECONDS = 5.0
"""For each call of git; a repository that needs longer is recorded as unknown rather than holding up the caller."""
_NOT_COMPARED = "git could not compare the files with the commit"
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def code_version(start: Path | None = None) -> JsonObject:
    """Describe the version of the code in a folder.

    Args:
        start: A folder, or a file in it; by default that of the running script. An installed launcher (a server, a
            notebook) is not the code it runs, so there the current folder counts.

    Returns:
        `commit` (hex, or None with a `reason`), `dirty`, `diff` (SHA-256 of `git diff HEAD`, None when clean),
        `entry_point` (name of the script, without folders, or of the module that was run; or None).
    """
    place = start or _script() or Path.cwd()
    folder = place if place.is_dir() else place.parent
    entry: JsonObject = {"entry_point": _entry_point()}
    git = shutil.which("git")
    if git is None:
        return entry | {"commit": None, "reason": "git is not installed"}
    try:
        status = _run(git, folder, "status", "--porcelain=v2", "--branch", "--untracked-files=normal")
        if status is None:
            inside = _run(git, folder, "rev-parse", "--is-inside-work-tree")
            is_one = inside is not None and inside.strip() == b"true"
            return entry | {"commit": None, "reason": _NOT_COMPARED if is_one else "not in a git repository"}
        headers, changes = _parted(status)
        commit = headers.get(b"branch.oid", b"").decode("ascii")
        if not _COMMIT.fullmatch(commit):
            return entry | {"commit": None, "reason": "the git repository has no commit"}
        if not changes:
            return entry | {"commit": commit, "dirty": False, "diff": None}
        diff = _run(git, folder, "diff", "--no-ext-diff", "--no-textconv", "--binary", "--full-index", "HEAD", "--")
    except (OSError, subprocess.TimeoutExpired) as error:
        return entry | {"commit": None, "reason": f"git did not answer: {type(error).__name__}"}
    if diff is None:
        return entry | {"commit": None, "reason": _NOT_COMPARED}
    return entry | {"commit": commit, "dirty": True, "diff": hashlib.sha256(diff).hexdigest()}


def _parted(status: bytes) -> tuple[dict[bytes, bytes], list[bytes]]:
    """Return what git says of the branch, by name, and the lines about changed files."""
    headers: dict[bytes, bytes] = {}
    changes = []
    for line in status.splitlines():
        if line.startswith(b"# "):
            _, name, value = line.split(b" ", 2)
            headers[name] = value
        else:
            changes.append(line)
    return headers, changes


def _run(git: str, folder: Path, *arguments: str) -> bytes | None:
    # Optional locks off: looking must not write to the index. No file-system monitor: the repository names it.
    command = [git, "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(folder), *arguments]
    done = subprocess.run(  # noqa: S603  fixed arguments, no shell
        command, capture_output=True, stdin=subprocess.DEVNULL, timeout=TIMEOUT_SECONDS, check=False
    )
    return done.stdout if done.returncode == 0 else None


def _script() -> Path | None:
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    if file is None or Path(file).absolute().is_relative_to(sys.prefix):
        return None
    return Path(file)


def _entry_point() -> str | None:
    main = sys.modules.get("__main__")
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None:
        return str(spec.name).removesuffix(".__main__")
    return None if file is None else Path(file).name
