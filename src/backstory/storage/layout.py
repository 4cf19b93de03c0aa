"""The archive directory: names, and `backstory.toml`. See docs/format.md section 16."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from backstory.errors import FormatError, NotFoundError, UnsupportedVersionError
from backstory.storage.disk import read_file

FORMAT = 1
CONFIG_NAME = "backstory.toml"
LOCK_NAME = "lock.sqlite"
MASTER_NAME = "master"
_INCARNATION = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""What no setting holds: it would be written in another way than it was read, and is in no path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveConfig:
    """What `backstory.toml` says.

    Attributes:
        origin: The log's origin, which is also the name of its key.
        vkey: The log's public key as a C2SP verifier key.
        incarnation: Name of the log's directory below `log/`.
        vault: Directory of the vault, absolute or relative to the archive.
        keys: Directory of the keys, absolute or relative to the archive.
        lock: File of the lock store, absolute or relative to the archive.
        ml_dsa: A second key of the log, of type 06, that signs beside the first; empty if there is none.
        master: Directory of master keys and tombstones, absolute or relative to the archive.
    """

    origin: str
    vkey: str
    incarnation: str = "1"
    vault: str = "vault"
    keys: str = "keys"
    lock: str = LOCK_NAME
    ml_dsa: str = ""
    master: str = MASTER_NAME

    def encode(self) -> bytes:
        """Return the file's bytes."""
        return (
            "# A Backstory archive. The bytes are described in docs/format.md of the project.\n"
            f"# This file's SHA-256 stands in the log: after a change by hand `backstory verify` fails.\n"
            f"format = {FORMAT}\norigin = {_quoted(self.origin)}\nvkey = {_quoted(self.vkey)}\n"
            f"incarnation = {_quoted(self.incarnation)}\nvault = {_quoted(self.vault)}\nkeys = {_quoted(self.keys)}\n"
            + "".join(f"{name} = {_quoted(getattr(self, name))}\n" for name in _optional(self))
        ).encode()


_NEEDED = {"format", "origin", "vkey", "incarnation", "vault", "keys"}
_PATHS = ("vault", "keys", "lock", "master")
_NAME_SIZE_MAX = 255
"""So long may the name of a file be on every file system that is in use."""
_DEFAULTS = {"lock": LOCK_NAME, "master": MASTER_NAME, "ml_dsa": ""}
"""Settings that are written only where they are not as here, and these values."""


def _optional(config: ArchiveConfig) -> list[str]:
    return [name for name, value in _DEFAULTS.items() if getattr(config, name) != value]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths of an archive.

    Attributes:
        root: The archive directory.
        config: What its `backstory.toml` says.
    """

    root: Path
    config: ArchiveConfig

    @property
    def config_file(self) -> Path:
        """`backstory.toml`."""
        return self.root / CONFIG_NAME

    @property
    def lock(self) -> Path:
        """The lock store."""
        return self.root / self.config.lock

    @property
    def is_lock_away(self) -> bool:
        """Whether the lock store is one outside the archive's directory, and is not to be seen from here.

        So it is for whoever has a copy of the archive. One that was in the directory and is gone was taken away.
        """
        home = Path(os.path.realpath(self.lock.parent))
        return not os.path.lexists(self.lock) and not home.is_relative_to(os.path.realpath(self.root))

    @property
    def log(self) -> Path:
        """Directory of the current incarnation's log."""
        return self.root / "log" / self.config.incarnation

    @property
    def staged(self) -> Path:
        """Directory of what a commit is about to publish."""
        return self.log / "staged"

    @property
    def segments(self) -> Path:
        """Directory of the segment files."""
        return self.root / "segments"

    @property
    def blobs(self) -> Path:
        """Directory of the blobs."""
        return self.root / "blobs" / "sha256"

    @property
    def spool(self) -> Path:
        """Directory of the streams not yet sealed."""
        return self.root / "spool"

    @property
    def vault(self) -> Path:
        """Directory of sealed values."""
        return self.root / self.config.vault

    @property
    def keys(self) -> Path:
        """Directory of keys."""
        return self.root / self.config.keys

    @property
    def master(self) -> Path:
        """Directory of master keys and tombstones."""
        return self.root / self.config.master

    @property
    def catalog(self) -> Path:
        """The rebuildable index."""
        return self.root / "catalog.sqlite"


def read_layout(root: Path) -> Layout:
    """Read an archive's `backstory.toml`.

    Raises:
        NotFoundError: There is no archive at `root`.
        FormatError: The file is not one of ours.
        UnsupportedVersionError: The archive has a newer format.
        StorageError: The file cannot be read.
    """
    path = root / CONFIG_NAME
    if not path.is_file():
        raise NotFoundError(
            f"opening archive: expected a directory with {CONFIG_NAME} at {root}, got {_found_instead(root)}"
        )
    try:
        document = _document(read_file(path))
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets in brackets
        raise FormatError(f"opening archive: {CONFIG_NAME} is not TOML (at {root})") from error
    version = document.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise UnsupportedVersionError(
            f"opening archive: expected format {FORMAT} or older, got {version} (at {root}); use a newer Backstory",
            format=version,
        )
    if version is True or version != FORMAT or not _NEEDED <= set(document) <= _NEEDED | set(_DEFAULTS):
        raise FormatError(f"opening archive: {CONFIG_NAME} is not of format {FORMAT} (at {root})")
    values = {key: value for key, value in document.items() if key != "format"}
    is_text = all(isinstance(value, str) and _CONTROL.search(value) is None for value in values.values())
    if not is_text or not _INCARNATION.fullmatch(values["incarnation"]) or not _are_paths(values):
        raise FormatError(f"opening archive: {CONFIG_NAME} has a setting of the wrong type or form (at {root})")
    return Layout(root, ArchiveConfig(**values))


@lru_cache(maxsize=16)  # a commit reads the same file twice
def _document(data: bytes) -> Mapping[str, Any]:
    return tomllib.loads(data.decode())


def _are_paths(values: Mapping[str, str]) -> bool:
    parts = (part for name in _PATHS if name in values for part in values[name].split("/"))
    return all(len(part.encode()) <= _NAME_SIZE_MAX for part in parts)


def _found_instead(root: Path) -> str:
    if (root / "spool.json").is_file():
        return "a worker's spool, which is sealed into the archive that made it"
    if root.is_dir():
        return "one without"
    return "a file" if root.exists() else "nothing"
