"""Reading the log: entries that are proven to be under the published checkpoint."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence

from backstory.errors import BackstoryError, NotFoundError, VerificationError
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.storage.disk import read_file
from backstory.storage.layout import Layout, read_layout
from backstory.storage.log_file import read_log_file
from backstory.storage.rotations import read_rotations
from backstory.tlog.checkpoint import Checkpoint, open_checkpoint
from backstory.tlog.hashing import hash_leaf
from backstory.tlog.key import ValidKey, VerifierKey, require_keys
from backstory.tlog.proof import tile_inclusion_proof, verify_inclusion
from backstory.tlog.rotation import follow_rotations
from backstory.tlog.tile import TILE_WIDTH, TilePath, decode_bundle, tile_at

_CACHED_ENTRIES = 4_096


class LogReader:
    """The log of one archive as its published checkpoint describes it.

    Attributes:
        layout: Where the archive is, and its settings as last read.
        keys: The keys it accepts: those that were pinned, or else the archive's own, and those they lead to.
        authenticated: Whether a key was pinned from outside.
    """

    def __init__(self, layout: Layout, vkey: str | Sequence[str] | None) -> None:
        """Read the log of an archive.

        Args:
            layout: Where the archive is.
            vkey: Public keys pinned from outside, of which one is the archive's or was before it was rotated; None to
                use the archive's own, which authenticates nothing.

        Raises:
            VerificationError: No pinned key is the archive's, or leads to it.
            InputError: A pinned key is malformed.
            FormatError: The archive's own key is malformed.
        """
        own = VerifierKey.parse(layout.config.vkey)
        self._pinned = (ValidKey(key=own),) if vkey is None else require_keys(vkey)
        self.layout = layout
        self.authenticated = vkey is not None
        self.keys = self._follow()
        self._cache: OrderedDict[int, bytes] = OrderedDict()
        self._checked: tuple[bytes, Checkpoint] | None = None

    def checkpoint(self) -> Checkpoint:
        """Return the published checkpoint after checking its signature; see `signed_checkpoint`."""
        return self.signed_checkpoint()[1]

    def signed_checkpoint(self) -> tuple[bytes, Checkpoint]:
        """Return the published checkpoint as signed and as what it says, after checking its signature.

        Raises:
            VerificationError: The signature does not verify.
            FormatError: It is malformed.
        """
        note = read_file(self.layout.log / "checkpoint")
        checked = self._checked
        if checked is None or checked[0] != note:
            checked = self._checked = (note, self._open(note))
        return checked

    def renew(self) -> None:
        """Read the archive's settings again, and follow its keys from the pinned ones.

        Raises:
            VerificationError: Its key is none the pinned ones lead to, or it was restored and has another log now.
        """
        layout = read_layout(self.layout.root)
        if layout.config.incarnation != self.layout.config.incarnation:
            raise VerificationError("log: the archive was restored meanwhile, and has another log; open it again")
        self.layout = layout
        self.keys = self._follow()

    def _open(self, note: bytes) -> Checkpoint:
        try:
            return open_checkpoint(note, self.layout.config.origin, self.keys)
        except VerificationError:
            known = self.keys
            self.renew()
            if self.keys == known:
                raise
        return open_checkpoint(note, self.layout.config.origin, self.keys)  # the key was rotated since

    def _follow(self) -> tuple[ValidKey, ...]:
        """Return the pinned keys and those they lead to, one of the archive's own among them."""
        config = self.layout.config
        accepted: dict[str, ValidKey] = {}
        problem: BackstoryError | None = None
        for valid in self._pinned:
            try:
                chain = follow_rotations(valid, read_rotations(self.layout.log))
            except BackstoryError as error:
                problem, chain = error, (valid,)  # of no account where a key that was pinned is still in use
            for link in chain:
                accepted.setdefault(link.key.vkey, link)
        if accepted.keys() & {config.vkey, config.ml_dsa}:
            return tuple(accepted.values())
        what = "no change of key leads from one to the other" if problem is None else str(problem)
        raise VerificationError(
            f"opening archive: its public key is not the pinned one; it may have been swapped, as {what}"
            f"{self._restored()}",
            origin=config.origin,
        ) from problem

    def _restored(self) -> str:
        """Say so where the archive has another origin than the pinned key: then it may have been restored."""
        origin = self.layout.config.origin
        if all(valid.key.name == origin for valid in self._pinned):
            return ""
        return f", or the archive was restored: its origin is {origin} now, and whoever restored it knows the new key"

    def read_tile(self, tile: TilePath) -> bytes:
        """Return the bytes of a tile or entry bundle; of the full one where a partial is gone."""
        return read_log_file(self.layout.log, tile)

    def proof(self, index: int, checkpoint: Checkpoint) -> list[bytes]:
        """Return the inclusion proof of an entry under a checkpoint."""
        return tile_inclusion_proof(self.read_tile, index, checkpoint.size)

    def entry_bytes(self, index: int) -> bytes:
        """Return an entry after proving that it is under the published checkpoint.

        Raises:
            NotFoundError: The log has no such entry.
            VerificationError: It is not the entry the checkpoint commits to.
        """
        cached = self._cache.get(index)
        if cached is not None:
            return cached
        checkpoint = self.checkpoint()
        if not 0 <= index < checkpoint.size:
            raise NotFoundError(f"log: expected an index below {checkpoint.size}, got {index}")
        bundle = tile_at(checkpoint.size, None, index // TILE_WIDTH)
        entry = decode_bundle(self.read_tile(bundle), bundle.width)[index % TILE_WIDTH]
        verify_inclusion(hash_leaf(entry), index, checkpoint.size, self.proof(index, checkpoint), checkpoint.root)
        self._cache[index] = entry
        if len(self._cache) > _CACHED_ENTRIES:
            self._cache.popitem(last=False)
        return entry

    def entry(self, index: int) -> JsonObject:
        """Return an entry as a document, proven as `entry_bytes` says."""
        return canonical.parse_object(self.entry_bytes(index), f"entry {index}")

    def entries(self, first: int, end: int) -> Iterator[tuple[int, JsonObject]]:
        """Iterate over entries `first` to `end`, exclusive, each proven."""
        for index in range(first, end):
            yield index, self.entry(index)
