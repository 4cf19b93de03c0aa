"""Frauds of somebody who has the log's key, and forgeries of what is handed out."""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

from backstory.drill.checks import (
    AGAINST,
    ANYTHING,
    AUDIT,
    MONITOR,
    PROMISE,
    RECEIPT,
    UNPINNED,
    WITNESS,
    Stage,
    by_monitor,
    by_witness,
)
from backstory.drill.copies import SCRATCH, link_copy, put
from backstory.drill.forge import checkpoint_of, config_digest, rewrite_log
from backstory.drill.plant import NotPlantableError, Plant
from backstory.drill.scene import DRILL_NAME, RECEIPTS
from backstory.governance.proposal import REFUSED
from backstory.ledger.ledger import Ledger
from backstory.ledger.seal import seal_all
from backstory.ledger.signing import SEED, key_name
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.promise import parse_promise
from backstory.storage.anchors import keep_cosigned
from backstory.storage.keys import KeyStore
from backstory.storage.layout import read_layout
from backstory.storage.rotations import rotation_sizes
from backstory.tlog.checkpoint import sign_checkpoint
from backstory.tlog.cosignature import cosign
from backstory.tlog.key import KeyKind, VerifierKey
from backstory.tlog.note import NoteSignature, add_signatures, parse_note, sign_note
from backstory.tlog.proof_file import encode_proof_file, parse_proof_file
from backstory.tlog.signer import Ed25519Signer

CONTINUED = "drill.continued"
"""Type of an entry that stands for any other; it is in copies only."""
_HISTORY = (AGAINST, WITNESS, MONITOR)


def fork(stage: Stage) -> str:
    """Let the log go on in two ways, both signed with its key, and show witness and monitor one of them."""
    _insist_key(stage)
    shown = stage.folder / "shown"
    link_copy(stage.root, shown)
    for root, name in ((shown, "one"), (stage.root, "other")):
        with closing(Ledger(root, SCRATCH, writable=True, vkey=None, actor=None)) as ledger:
            ledger.append([{"type": CONTINUED, "name": name}])
    stage.root, ours = shown, stage.root
    by_witness(stage)
    by_monitor(stage)
    stage.root = ours
    stage.names = ANYTHING
    stage.kept = stage.folder / "kept-checkpoint"
    stage.kept.write_bytes(checkpoint_of(shown)[0])
    return (
        "two copies append another entry each, both signed with the log's key; outsiders were shown one, now the other"
    )


def back_date(stage: Stage) -> str:
    """Write the log's tail anew with earlier times."""
    _insist_key(stage)
    floor = _floor(stage)
    size = checkpoint_of(stage.root)[1].size
    first = max(floor, size // 2)

    def change(entries: list[bytes]) -> list[bytes]:
        return [*entries[:first], *(_edited(entry, _year_before) for entry in entries[first:])]

    rewrite_log(stage.root, change, stage.scene.signers)
    stage.names = ANYTHING
    return f"entries {first} to {size - 1} say times of a year before; the log was re-signed with its own key"


def resign_history(stage: Stage) -> str:
    """Take an entry out of the log, and sign everything again with its own key."""
    _insist_key(stage)
    floor = _floor(stage)
    taken: list[int] = []

    def change(entries: list[bytes]) -> list[bytes]:
        refused = [at for at in range(floor, len(entries)) if _type(entries[at]) == REFUSED]
        if not refused:
            raise NotPlantableError("no entry since the last change of key says that something was refused")
        taken.append(refused[-1])
        first = [_edited(entry, _year_before) for entry in entries[:1]] if floor == 0 else entries[:1]
        rest = [entry for at, entry in enumerate(entries) if at not in {0, refused[-1]}]
        time = str(canonical.parse_object(rest[-1], "entry")["time"])
        return [*first, *rest, canonical.encode({"name": "filler", "time": time, "type": CONTINUED, "v": 1})]

    rewrite_log(stage.root, change, stage.scene.signers)
    stage.names = ANYTHING
    return (
        f"entry {taken[0]}, which said that something was refused, is taken out, another put at the end in its place,"
        f" and the history from entry {floor} on re-signed with the log's own, stolen key; lock store and catalog agree"
    )


def approve_another(stage: Stage) -> str:
    """Append an approval that has the number of a version nobody registered, and the digest of another."""
    _insist_key(stage)
    with closing(Ledger(stage.root, SCRATCH, writable=True, vkey=None, actor=DRILL_NAME)) as ledger:
        nobody: JsonObject = {"model": "0" * 64, "name": "drill", "version": "0"}
        named = [nobody, *ledger.find_entries("model.registered")][-1]
        number = str(canonical.count_of(named, "version") + 1)
        approval: JsonObject = {
            "deployment": None,
            "model": named["model"],
            "name": named["name"],
            "role": None,
            "type": "model.approved",
            "verdict": "approved",
            "version": number,
        }
        (index,) = ledger.append([approval])
    stage.names = (f"entry {index}:",)
    return (
        f"entry {index} approves {named['name']}:{number}, which nobody registered, under the digest of another model; "
        "signed with the log's own key"
    )


def swap_key(stage: Stage) -> str:
    """Write the whole log anew under a key of one's own, and name it in `backstory.toml`."""
    layout = read_layout(stage.root)
    thief = Ed25519Signer.generate(layout.config.origin)
    before, own = config_digest(layout), layout.config.vkey
    put(layout.config_file, replace(layout.config, vkey=thief.vkey, ml_dsa="").encode())
    after = config_digest(layout)
    KeyStore(layout.keys, SCRATCH.disk).put(key_name(layout.config), {SEED: thief.seed})

    def change(entries: list[bytes]) -> list[bytes]:
        named = [entry.replace(before.encode(), after.encode()) for entry in entries]
        return [entry.replace(own.encode(), thief.vkey.encode()) for entry in named]

    rewrite_log(stage.root, change, [thief])
    stage.names = ("backstory.toml",)
    return "backstory.toml names another public key, and the whole log is signed with it"


def forge_receipt_value(stage: Stage) -> str:
    """Change a value in a receipt."""

    def change(extra: JsonObject, _other: JsonObject) -> JsonObject:
        row = bytearray(base64.b64decode(str(extra["row"])))
        row[-1] ^= 1
        return {**extra, "row": base64.b64encode(bytes(row)).decode()}

    return _forge_receipt(stage, change, "a receipt says another value than was recorded")


def forge_receipt_path(stage: Stage) -> str:
    """Give a record the path of another one."""

    def change(extra: JsonObject, other: JsonObject) -> JsonObject:
        return {**extra, "path": other["path"], "index": other["index"], "entry": other["entry"]}

    return _forge_receipt(stage, change, "a receipt has the path of another record")


def forge_receipt_log(stage: Stage) -> str:
    """Sign a receipt's checkpoint as another log of the same name."""
    file = parse_proof_file(_receipts(stage)[0])
    _, checkpoint = checkpoint_of(stage.root)
    thief = Ed25519Signer.generate(checkpoint.origin)
    stage.receipt = encode_proof_file(replace(file, note=sign_checkpoint(checkpoint, thief)))
    return "a receipt is of another log of the same name, signed with that log's key"


def forge_promise(stage: Stage) -> str:
    """Sign a promise with a key that is not the operator's."""
    added = stage.scene.added
    if added is None:
        raise NotPlantableError(f"no promise was given: {stage.scene.no_key}")
    with closing(Ledger(stage.root, SCRATCH, writable=True, vkey=None, actor=None)) as ledger:
        seal_all(ledger)  # the genuine promise is kept then: what is caught is the signature, nothing else
    document = parse_promise(added.promise)
    thief = Ed25519Signer.generate(VerifierKey.parse(added.promise_vkey).name)
    stage.promise = replace(document, note=sign_note(parse_note(document.note).text, thief)).encode()
    return "a promise is signed with a key that is not the operator's"


def forge_cosignature(stage: Stage) -> str:
    """Put a cosignature beside the log that the witness did not make."""
    note, checkpoint = checkpoint_of(stage.root)
    key = VerifierKey.parse(stage.scene.witness_vkey)
    thief = Ed25519Signer.generate(key.name, KeyKind.COSIGNATURE)
    made = cosign(checkpoint, thief, SCRATCH.now_ns() // 10**9)
    line = NoteSignature(name=key.name, key_id=key.key_id, signature=made.signature)
    keep_cosigned(read_layout(stage.root), SCRATCH.disk, add_signatures(note, [line]))
    config = read_layout(stage.root).config
    stage.policy = f"log {config.vkey}\nwitness drill {key.vkey}\nquorum drill\n"
    stage.names = (f"anchors/{checkpoint.size}/",)  # that there is none, it would say without the forged one too
    return "a cosigned checkpoint beside the log has a signature that its witness did not make"


FRAUDS = (
    Plant(
        name="fork",
        fault="fork",
        means="two people would be shown two histories, and each would believe theirs",
        needed=_HISTORY,
        shown=(AUDIT,),
        act=fork,
    ),
    Plant(
        name="back-date",
        fault="back-date",
        means="what was done later would seem to have been done in time",
        needed=_HISTORY,
        shown=(AUDIT,),
        act=back_date,
    ),
    Plant(
        name="re-sign-history",
        fault="re-signed history with a stolen key",
        means="an insider would rewrite the past, and every signature would hold",
        needed=_HISTORY,
        shown=(AUDIT,),
        act=resign_history,
    ),
    Plant(
        name="approve-another",
        fault="forged approval",
        means="a model nobody looked at would seem to have been approved",
        needed=(AUDIT,),
        act=approve_another,
    ),
    Plant(
        name="swap-key",
        fault="swapped key",
        means="another log would be taken for this one",
        needed=(AUDIT,),
        shown=(UNPINNED,),
        act=swap_key,
    ),
    Plant(
        name="forge-receipt-value",
        fault="forged receipt",
        means="somebody would prove a prediction that was never made",
        needed=(RECEIPT,),
        act=forge_receipt_value,
    ),
    Plant(
        name="forge-receipt-path",
        fault="forged receipt",
        means="a prediction would be proven with the proof of another",
        needed=(RECEIPT,),
        act=forge_receipt_path,
    ),
    Plant(
        name="forge-receipt-log",
        fault="forged receipt",
        means="a prediction of a made-up log would pass for one of this log",
        needed=(RECEIPT,),
        act=forge_receipt_log,
    ),
    Plant(
        name="forge-promise",
        fault="forged promise",
        means="the operator would be accused of a promise it never gave",
        needed=(PROMISE,),
        act=forge_promise,
    ),
    Plant(
        name="forge-cosignature",
        fault="forged cosignature",
        means="a witness would seem to have seen what it never saw",
        needed=(AUDIT,),
        act=forge_cosignature,
    ),
)
"""In the order of the report."""


def _insist_key(stage: Stage) -> None:
    if not stage.scene.signers:
        raise NotPlantableError(stage.scene.no_key)


def _floor(stage: Stage) -> int:
    """Return from which entry on the present key can write history anew: retired keys are destroyed."""
    return max(rotation_sizes(read_layout(stage.root).log), default=0)


def _type(entry: bytes) -> object:
    return canonical.parse_object(entry, "entry").get("type")


def _edited(entry: bytes, change: Callable[[str], str]) -> bytes:
    document = canonical.parse_object(entry, "entry")
    return canonical.encode({**document, "time": change(str(document["time"]))})


def _year_before(time: str) -> str:
    return f"{int(time[:4]) - 1}{time[4:]}".replace("-02-29", "-02-28")


def _receipts(stage: Stage) -> tuple[bytes, ...]:
    if not stage.scene.receipts:
        raise NotPlantableError(
            f"there are not {RECEIPTS} sealed predictions, and none could be added: {stage.scene.no_key}"
        )
    return stage.scene.receipts


def _forge_receipt(stage: Stage, change: Callable[[JsonObject, JsonObject], JsonObject], said: str) -> str:
    file, other = (parse_proof_file(data) for data in _receipts(stage))
    extras = [canonical.parse_object(one.extra or b"", "receipt") for one in (file, other)]
    stage.receipt = encode_proof_file(replace(file, extra=canonical.encode(change(*extras))))
    return said
