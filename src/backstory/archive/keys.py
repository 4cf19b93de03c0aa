"""Changing the keys of an archive: the namespace `archive.keys`. Which there are, `backstory keys list` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backstory.archive.inside import Inside

if TYPE_CHECKING:  # what they need is imported when it is asked for
    from backstory.ledger.ledger import Ledger
    from backstory.ledger.rekey import Reason
    from backstory.storage.master import KeyWrapper
    from backstory.tlog.key import ValidKey, VerifierKey
    from backstory.tlog.signer import Signer


class Keys:
    """The keys of a log, and those of sealed values. Whoever changes them need not be let see any value."""

    def __init__(self, inside: Inside) -> None:
        """Work on an open archive."""
        self._inside = inside

    def rotate(self, signer: Signer | None = None) -> ValidKey:
        """Let another key speak for the log from the next checkpoint on, and destroy the one that did.

        Args:
            signer: The new key, where it is held elsewhere; the archive has to be opened again with it. None to draw
                one and keep it in a file.

        Returns:
            The new key, with the tree size from which on it speaks; `text` is what verifiers take.

        Raises:
            BusyError: Another process is changing the keys.
            ForbiddenError: The archive cannot be written, its key is not here, or the policy in force does not let you.
            InputError: The given key is not one of this log, or is the one it has.
        """
        from backstory.ledger.rotate import rotate_key

        return rotate_key(self._operated(), signer)

    def add_ml_dsa(self) -> VerifierKey:
        """Let a second key, of type ML-DSA-44, sign beside the log's key from now on; return its public half.

        Raises:
            BusyError: Another process is changing the keys.
            ConflictError: The log has one.
            ForbiddenError: As `rotate` says.
        """
        from backstory.ledger.rotate import add_ml_dsa

        return add_ml_dsa(self._operated())

    def rotate_master(
        self, domain: str | None = None, *, compromised: bool = False, wrapper: KeyWrapper | None = None
    ) -> dict[str, int]:
        """Wrap the keys of sealed values under another master key, and destroy the one before.

        Args:
            domain: Of which key domain; None for each that has keys.
            compromised: Say in the log that somebody may have had the key.
            wrapper: The new key, where it is held elsewhere; the archive has to be opened again with it. None to draw
                one and keep it in a file.

        Returns:
            By domain how many key files are wrapped under it.

        Raises:
            BusyError: Another process is changing the keys.
            ForbiddenError: The archive cannot be written, or the policy in force does not let you.
            NotFoundError: There is no such domain, or a master key is not here.
        """
        from backstory.ledger.rekey import domains_in_use, rotate_master

        ledger = self._operated()
        return {one: rotate_master(ledger, one, _why(compromised), wrapper) for one in domains_in_use(ledger, domain)}

    def rekey(self, domain: str | None = None, *, compromised: bool = False) -> dict[str, int]:
        """Encrypt sealed values under other keys, and destroy the ones before.

        Args:
            domain: Of which key domain; None for each that has keys.
            compromised: Say in the log that somebody may have had the keys.

        Returns:
            By domain how many shards were encrypted anew.

        Raises:
            BusyError: Another process is rewriting the vault.
            ForbiddenError: The archive cannot be written, or the policy in force does not let you.
            NotFoundError: There is no such domain, or keys of a shard are not here.
            VerificationError: A shard was changed.
        """
        from backstory.ledger.rekey import domains_in_use, rekey_domain

        ledger = self._operated()
        return {one: rekey_domain(ledger, one, _why(compromised)) for one in domains_in_use(ledger, domain)}

    def _operated(self) -> Ledger:
        self._inside.require("operate-keys")
        return self._inside.ledger


def _why(compromised: bool) -> Reason:  # noqa: FBT001  as it was given
    return "compromise" if compromised else "rotation"
