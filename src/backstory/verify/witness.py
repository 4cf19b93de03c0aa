"""A witness of other people's logs: cosigns a checkpoint once it is proven to extend the one cosigned before.

It speaks C2SP tlog-witness; the judgement is `backstory.tlog.witness`, here are key, memory and clock:

    state.sqlite                the newest checkpoint of every log: written before a cosignature leaves
    keys/witness.json           the key
    logs                        a line for each key of a log it knows: verifier key [from N] [until N]
    evidence/<origin>/*.json    correctly signed checkpoints that do not extend the one before

`<origin>` is the SHA-256 of a log's origin in hex.
"""

from __future__ import annotations

from pathlib import Path

from backstory.errors import ConflictError, FormatError, InputError, NotFoundError, VerificationError
from backstory.storage.disk import read_file
from backstory.storage.keys import KeyStore
from backstory.storage.world import World
from backstory.tlog.cosignature import cosign
from backstory.tlog.key import KeyKind, ValidKey, parse_valid_keys, require_keys
from backstory.tlog.note import add_signatures
from backstory.tlog.signer import Ed25519Signer
from backstory.tlog.witness import Answer, Submission, admit, answer_cosigned, judge, monitoring_path
from backstory.verify.evidence import Evidence, SignedCheckpoint, keep_evidence, log_folder
from backstory.verify.witness_state import Cosigned, WitnessState

KEY_NAME = "witness"
_INCONSISTENT = 422
_UNAVAILABLE = 503
_NS = 10**9
_LOGS_HEAD = b"# Logs this witness knows, a key a line: <verifier key> [from <tree size>] [until <tree size>]\n"


def create_witness(folder: Path, name: str, world: World) -> str:
    """Create a witness: a key of its own, an empty state, no logs.

    Args:
        folder: Directory that does not exist yet.
        name: Name of the witness; by convention a URL without scheme.
        world: Clock, randomness, disk.

    Returns:
        Its verifier key, for the policies of those who rely on it.

    Raises:
        ConflictError: There is something at `folder`.
        InputError: The name is not usable.
        StorageError: It cannot be written.
    """
    if folder.exists():
        raise ConflictError(f"witness: expected nothing at {folder}")
    try:
        signer = Ed25519Signer.from_seed(name, world.random_bytes(32), kind=KeyKind.COSIGNATURE)
    except FormatError as error:
        raise InputError(str(error)) from error
    world.disk.make_directory(folder, mode=0o700)
    KeyStore(folder / "keys", world.disk).put(KEY_NAME, {"seed": signer.seed}, replace=False)
    world.disk.write(folder / "logs", _LOGS_HEAD)
    WitnessState.create(folder / "state.sqlite", signer.vkey)
    world.disk.sync_directory(folder)
    return signer.vkey


class Witness:
    """One witness. Any number of processes may be it; they take turns."""

    def __init__(self, folder: Path, world: World) -> None:
        """Open a witness.

        Raises:
            StorageError: Its state is gone.
            NotFoundError: It was never made, or its key is gone.
            VerificationError: The key is not the one the state belongs to.
            FormatError: A file is malformed.
        """
        if not folder.is_dir():
            raise NotFoundError(
                f"witness: expected a directory at {folder}, got none; `backstory witness init` makes one"
            )
        self._folder = folder
        self._world = world
        self._state = WitnessState(folder / "state.sqlite")
        self.vkey = self._state.vkey()
        seed = KeyStore(folder / "keys", world.disk).key(KEY_NAME, "seed")
        self._signer = Ed25519Signer.from_seed(self.vkey.partition("+")[0], seed, kind=KeyKind.COSIGNATURE)
        if self._signer.vkey != self.vkey:
            raise VerificationError("witness: its key is not the one its state belongs to")

    def logs(self) -> dict[str, list[ValidKey]]:
        """Return the keys of the logs it knows, by origin; read anew, so that a log can be added while it runs.

        Raises:
            FormatError: A line of the file is malformed.
            StorageError: The file cannot be read.
        """
        known: dict[str, list[ValidKey]] = {}
        for line in read_file(self._folder / "logs").decode("utf-8", "replace").split("\n"):
            if line and not line.startswith("#"):
                (key,) = parse_valid_keys(line)
                known.setdefault(key.key.name, []).append(key)
        return known

    def add_logs(self, vkeys: str) -> list[str]:
        """Trust the keys of logs from now on.

        Args:
            vkeys: A verifier key a line, each with its validity where it has one. A key's name is its log's origin.

        Returns:
            The origins.

        Raises:
            InputError: One is malformed or is not a log's key.
            ConflictError: One is known already.
            BusyError: Other processes of this witness hold its state.
            StorageError: Its files cannot be read or written.
        """
        keys = require_keys(vkeys)
        lines = "".join(f"{key.text}\n" for key in keys)
        with self._state.turn():  # of two who add at once, the second reads what the first has written
            known = {key.key for keys_of_log in self.logs().values() for key in keys_of_log}
            if any(key.key in known for key in keys):
                raise ConflictError("witness: it knows that key already; `logs` in its directory may be edited by hand")
            self._world.disk.write(self._folder / "logs", read_file(self._folder / "logs") + lines.encode())
        return [key.key.name for key in keys]

    def latest(self, origin: str) -> Cosigned | None:
        """Return the newest checkpoint it cosigned of a log; None if it cosigned none."""
        return self._state.latest(origin)

    def add_checkpoint(self, body: bytes) -> Answer:
        """Answer the body of a POST to `add-checkpoint`.

        Raises:
            BackstoryError: Its own files cannot be read or written, or are not sound; nothing was cosigned.
        """
        admitted = admit(body, self.logs())
        if isinstance(admitted, Answer):
            return admitted
        origin = admitted.checkpoint.origin
        with self._state.turn() as turn:
            latest = turn.latest(origin)
            refusal = judge(admitted, None if latest is None else latest.checkpoint)
            now = self._world.now_ns() // _NS
            if refusal is None and now < turn.latest_time():
                # A time once said must stay the latest: policies ask how old the newest cosignature is.
                refusal = Answer(status=_UNAVAILABLE, body=b"the clock of this witness went back\n")
            if refusal is None:
                line = cosign(admitted.checkpoint, self._signer, now)
                note = add_signatures(admitted.note, [line])
                turn.write(Cosigned(checkpoint=admitted.checkpoint, time=now, note=note))
        # Here the state is on disk. Killed before this, nothing left; killed after it, the log asks again and gets its
        # cosignature for the same tree.
        if refusal is None:
            return answer_cosigned([line])
        if refusal.status == _INCONSISTENT:
            self._keep_evidence(admitted, latest)
        return refusal

    def checkpoint(self, path: str) -> bytes | None:
        """Return the newest cosigned checkpoint that a path of the monitoring endpoint names; None if there is none.

        Args:
            path: `<hex SHA-256 of the origin>/checkpoint`.
        """
        for origin in self.logs():
            if monitoring_path(origin) == path:
                latest = self.latest(origin)
                return None if latest is None else latest.note
        return None

    def _keep_evidence(self, submission: Submission, latest: Cosigned | None) -> None:
        if latest is None:
            return  # one checkpoint contradicts nothing
        held, shown = latest.checkpoint, submission.checkpoint
        if held == shown:
            return  # a surplus proof of the same tree
        evidence = Evidence(
            kind="fork" if held.size == shown.size else "unproven",
            held=SignedCheckpoint(note=latest.note, checkpoint=held),
            shown=SignedCheckpoint(note=submission.note, checkpoint=shown),
            proof=submission.proof,
            time_ns=self._world.now_ns(),
        )
        keep_evidence(log_folder(self._folder / "evidence", shown.origin), self._world.disk, evidence)
