"""The archive directory: names, and `backstory.toml`. See docs/format.md section 16."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from backstory.errors import FormatError, NotFoundError, UnsupportedVersionError
from backstory.storage.disk import read_file

FORMAT = 1
CONFIG_NAME = "backstory.toml"
_INCARNATION = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveConfig:
    """What `backstory.toml` says.

    Attributes:
        origin: The log's origin, which is also the name of its key.
        vkey: The log's public key as a C2SP verifier key.
        incarnation: Name of the log's directory below `log/`.
        vault: Directory of the vault, absolute or relative to the archive.
        keys: Directory of the keys, absolute or relative to the archive.
    """

    origin: str
    vkey: str
    incarnation: str = "1"
    vault: str = "vault"
    keys: str = "keys"

    def encode(self) -> bytes:
        """Return the file's bytes."""
        return (
            "# A Backstory archive. The bytes are described in docs/format.md of the project.\n"
            f"# This file's SHA-256 stands in the log: after a change by hand `backstory verify` fails.\n"
            f"format = {FORMAT}\norigin = {_quoted(self.origin)}\nvkey = {_quoted(self.vkey)}\n"
            f"incarnation = {_quoted(self.incarnation)}\nvault = {_quoted(self.vault)}\nkeys = {_quoted(self.keys)}\n"
        ).encode()


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
        return self.root / "lock.sqlite"

    @property
    def log(self) -> Path:
        """Directory of the current incarnation's log."""
        return self.root / "log" / self.config.incarnation

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
        document = tomllib.loads(read_file(path).decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FormatError(f"opening archive: {CONFIG_NAME} is not TOML (at {root})") from error
    version = document.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise UnsupportedVersionError(
            f"opening archive: expected format {FORMAT} or older, got {version} (at {root}); use a newer Backstory",
            format=version,
        )
    if (
        version is True
        or version != FORMAT
        or set(document) != {"format", "origin", "vkey", "incarnation", "vault", "keys"}
    ):
        raise FormatError(f"opening archive: {CONFIG_NAME} is not of format {FORMAT} (at {root})")
    values = {key: value for key, value in document.items() if key != "format"}
    if not all(isinstance(value, str) for value in values.values()) or not _INCARNATION.fullmatch(
        values["incarnation"]
    ):
        raise FormatError(f"opening archive: {CONFIG_NAME} has a setting of the wrong type (at {root})")
    return Layout(root, ArchiveConfig(**values))


def _found_instead(root: Path) -> str:
    if (root / "spool.json").is_file():
        return "a worker's spool, which is sealed into the archive that made it"
    if root.is_dir():
        return "one without"
    return "a file" if root.exists() else "nothing"
