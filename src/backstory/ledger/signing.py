"""Who signs for a log: the keys of its key files, or a signer that was given from outside.

keys/log-<incarnation>.json           the key that `backstory.toml` names
keys/log-<incarnation>-next.json      while the key is rotated: the one it is going to name
keys/log-<incarnation>-ml-dsa.json    the second key, where there is one
"""

from __future__ import annotations

from collections.abc import Callable

from backstory.errors import ForbiddenError
from backstory.storage.keys import KeyStore
from backstory.storage.layout import ArchiveConfig
from backstory.tlog.signer import Ed25519Signer, MlDsaSigner, Signer

SEED = "seed"
"""Part of a key file that holds a signing key's secret."""

Signers = Callable[[ArchiveConfig], tuple[Signer, ...]]
"""Gives the signers of the keys that a `backstory.toml` names, the Ed25519 key first."""


def key_name(config: ArchiveConfig) -> str:
    """Return the name of the key file with the log's key."""
    return f"log-{config.incarnation}"


def next_key_name(config: ArchiveConfig) -> str:
    """Return the name of the key file with the key that is to follow."""
    return f"{key_name(config)}-next"


def ml_dsa_key_name(config: ArchiveConfig) -> str:
    """Return the name of the key file with the second key."""
    return f"{key_name(config)}-ml-dsa"


class KeyFiles:
    """Gives the signers of an archive: those of its key files, the first of which may be given from outside instead."""

    def __init__(self, keys: KeyStore, signer: Signer | None) -> None:
        """Read keys from a key store when they are needed, but for the one that `signer` has."""
        self._keys = keys
        self._given = signer
        self._known: tuple[ArchiveConfig, tuple[Signer, ...]] | None = None

    def __call__(self, config: ArchiveConfig) -> tuple[Signer, ...]:
        """Return the signers of the keys that `backstory.toml` names; end a rotation that was cut short.

        Raises:
            ForbiddenError: A key is not here, or is another than the one that is named.
            FormatError: A key file is malformed.
            StorageError: A key file cannot be read, or the retired key not be removed.
        """
        if self._known is not None and self._known[0] == config:
            return self._known[1]
        if self._promote(config):
            self._given = None  # its key is the retired one
        signers = [self._first(config) if self._given is None else self._given]
        if config.ml_dsa:
            if not self._keys.has(ml_dsa_key_name(config)):
                raise ForbiddenError(f"archive: expected the signing key {ml_dsa_key_name(config)!r} in the key store")
            signers.append(MlDsaSigner.from_seed(config.origin, self._keys.key(ml_dsa_key_name(config), SEED)))
        _insist_named(config, signers)
        self._known = config, tuple(signers)
        return self._known[1]

    def _first(self, config: ArchiveConfig) -> Signer:
        name = key_name(config)
        if not self._keys.has(name):
            raise ForbiddenError(
                f"archive: expected the signing key {name!r} in the key store; open with mode 'r' without it,"
                " or give whoever has it as signer="
            )
        return Ed25519Signer.from_seed(config.origin, self._keys.key(name, SEED))

    def _promote(self, config: ArchiveConfig) -> bool:
        """Put the next key in the place of the retired one, which is gone then, once `backstory.toml` names it."""
        waiting = next_key_name(config)
        if not self._keys.has(waiting):
            return False
        seed = self._keys.key(waiting, SEED)
        if Ed25519Signer.from_seed(config.origin, seed).vkey != config.vkey:
            return False
        self._keys.put(key_name(config), {SEED: seed})
        self._keys.discard(waiting)
        return True


def _insist_named(config: ArchiveConfig, signers: list[Signer]) -> None:
    """Insist that signers are of the keys that `backstory.toml` names, all of them and in order.

    Raises:
        ForbiddenError: They are of others: the key was rotated since, or is of another archive.
    """
    named = [config.vkey, *([config.ml_dsa] if config.ml_dsa else [])]
    given = [signer.vkey for signer in signers]
    if given != named:
        raise ForbiddenError(
            f"archive: expected to sign with {_labels(named)}, got {_labels(given)}; the key was rotated since,"
            " or is another archive's"
        )


def _labels(vkeys: list[str]) -> str:
    return " and ".join("+".join(vkey.split("+", 2)[:2]) for vkey in vkeys)
