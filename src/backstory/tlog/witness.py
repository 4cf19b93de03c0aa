"""The witness protocol (C2SP tlog-witness) without its network: requests, judgement, answers.

    POST <submission prefix>/add-checkpoint        GET <monitoring prefix>/<hex SHA-256 of the origin>/checkpoint

    old <tree size>                                last size the witness cosigned, as far as the client knows
    <base64 of a hash>                             consistency proof from there, 0 to 63 hashes
                                                   empty line
    <signed checkpoint>

A witness keeps one fact for each log: the newest checkpoint it cosigned. `admit` looks at what needs no state: form,
origin, signature. `judge` compares with the state and must run in one transaction with reading the state and writing
the new one, or two requests at once could roll the witness back. Only after that is written does the witness sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from backstory.errors import FormatError, VerificationError
from backstory.tlog.checkpoint import check_log_signatures, read_checkpoint
from backstory.tlog.cosignature import find_cosignatures
from backstory.tlog.hashing import EMPTY_ROOT
from backstory.tlog.limits import HASH_SIZE, NOTE_SIGNATURES_MAX, NOTE_SIZE_MAX, PROOF_HASHES_MAX
from backstory.tlog.note import Note, NoteSignature, encode_note, parse_note
from backstory.tlog.proof import verify_consistency
from backstory.tlog.text import encode_base64, parse_base64, parse_decimal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from backstory.tlog.checkpoint import Checkpoint
    from backstory.tlog.cosignature import Cosignature
    from backstory.tlog.key import ValidKey, VerifierKey

SIZE_TYPE: Final = "text/x.tlog.size"
"""Content type of the answer that names the size the witness is at."""

TEXT_TYPE: Final = "text/plain; charset=utf-8"
"""Content type of every other answer."""

# A line of the head is at most 45 bytes.
ADD_CHECKPOINT_SIZE_MAX: Final = NOTE_SIZE_MAX + 45 * (PROOF_HASHES_MAX + 1) + 1
"""Bytes of the largest request body that is well formed."""

_OLD_MARK: Final = "old "


@dataclass(frozen=True, slots=True, kw_only=True)
class AddCheckpoint:
    """A request to cosign a checkpoint, nothing verified.

    Attributes:
        old_size: Size of the newest checkpoint that the witness cosigned, as the client believes.
        proof: Consistency proof from that size, at most `PROOF_HASHES_MAX` hashes of 32 bytes.
        note: The signed checkpoint.
    """

    old_size: int
    proof: tuple[bytes, ...]
    note: bytes

    def encode(self) -> bytes:
        """Write the request's body.

        Returns:
            The body.

        Raises:
            FormatError: One of the values has no form in it.
        """
        lines = [f"{_OLD_MARK}{self.old_size}", *(encode_base64(digest) for digest in self.proof)]
        body = "\n".join((*lines, "", "")).encode() + self.note
        # What a witness would refuse must not be sent.
        parse_add_checkpoint(body)
        return body


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A request for a known log that is signed by it; whether it fits the witness's state is open.

    Attributes:
        old_size: As the request says.
        proof: As the request says.
        checkpoint: What the log signed.
        note: The checkpoint with the log's own signatures and no others.
    """

    old_size: int
    proof: tuple[bytes, ...]
    checkpoint: Checkpoint
    note: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer.

    Attributes:
        status: Its status.
        body: Its body; for people where it refuses, except at 409.
        content_type: Type of the body.
    """

    status: int
    body: bytes
    content_type: str = TEXT_TYPE


def parse_add_checkpoint(body: bytes) -> AddCheckpoint:
    """Parse a request without verifying it.

    Args:
        body: The request's body.

    Returns:
        Its parts.

    Raises:
        FormatError: It is too large, or a line is not where or as it must be.
    """
    if len(body) > ADD_CHECKPOINT_SIZE_MAX:
        raise FormatError(f"request is malformed: expected at most {ADD_CHECKPOINT_SIZE_MAX} bytes, got {len(body)}")
    head, separator, note = body.partition(b"\n\n")
    if not separator or not head.isascii():
        raise FormatError("request is malformed: expected ASCII lines, an empty line, and a checkpoint")
    old_line, *proof_lines = head.decode("ascii").split("\n")
    if not old_line.startswith(_OLD_MARK):
        raise FormatError("request is malformed: expected a line with the old size")
    old_size = parse_decimal(old_line.removeprefix(_OLD_MARK), "old size of the request")
    if len(proof_lines) > PROOF_HASHES_MAX:
        raise FormatError(f"request is malformed: expected at most {PROOF_HASHES_MAX} hashes, got {len(proof_lines)}")
    proof = tuple(parse_base64(line, "hash of the request", HASH_SIZE) for line in proof_lines)
    read_checkpoint(parse_note(note).text)
    return AddCheckpoint(old_size=old_size, proof=proof, note=note)


def admit(body: bytes, logs: Mapping[str, Iterable[VerifierKey | ValidKey]]) -> Submission | Answer:
    """Check what can be checked of a request without the witness's state.

    Args:
        body: The request's body.
        logs: Keys of every log the witness knows, by origin.

    Returns:
        What to judge, or the refusal: 400 for another form, 404 for an unknown log, 403 without a good signature of it.

    Raises:
        InputError: The keys of a log are ambiguous.
    """
    try:
        request = parse_add_checkpoint(body)
    except FormatError as error:
        return _refuse(400, str(error))
    note = parse_note(request.note)
    checkpoint = read_checkpoint(note.text)
    if checkpoint.origin not in logs:
        return _refuse(404, "this witness does not know the log")
    try:
        lines = check_log_signatures(note, checkpoint, checkpoint.origin, logs[checkpoint.origin])
    except VerificationError as error:
        return _refuse(403, str(error))
    return Submission(
        old_size=request.old_size, proof=request.proof, checkpoint=checkpoint, note=encode_note(note.text, lines)
    )


def judge(submission: Submission, latest: Checkpoint | None) -> Answer | None:
    """Decide whether a witness may cosign.

    Args:
        submission: From `admit`.
        latest: The newest checkpoint of this log that the witness cosigned, or None before the first.

    Returns:
        None where it may: its new state is the submission's checkpoint. Else the refusal: 400 where the log would
        shrink, 409 where the client's old size is not the witness's, 422 where nothing shows that the log only grew.
        That can be a bad proof of a good checkpoint; with the size of `latest` and another root it is a fork, signed.
    """
    new, old_size = submission.checkpoint, submission.old_size
    cosigned_size, cosigned_root = (0, EMPTY_ROOT) if latest is None else (latest.size, latest.root)
    if old_size > new.size:
        return _refuse(400, f"old size {old_size} is larger than the checkpoint's {new.size}")
    if old_size != cosigned_size:
        return Answer(status=409, body=f"{cosigned_size}\n".encode(), content_type=SIZE_TYPE)
    try:
        # From size 0 to size 0 this compares with the empty root.
        verify_consistency(cosigned_size, new.size, cosigned_root, new.root, submission.proof)
    except VerificationError as error:
        return _refuse(422, str(error))
    return None


def answer_cosigned(lines: Sequence[NoteSignature]) -> Answer:
    """Answer with the witness's cosignatures.

    Args:
        lines: One line for each of its keys.

    Returns:
        The answer 200.
    """
    return Answer(status=200, body="".join(line.encode() for line in lines).encode())


def parse_cosignatures(body: bytes, checkpoint: Checkpoint, keys: Iterable[VerifierKey]) -> tuple[Cosignature, ...]:
    """Read the answer 200 of a witness.

    Args:
        body: The answer's body.
        checkpoint: What was submitted.
        keys: The keys of this witness; lines of others are passed over.

    Returns:
        The cosignatures, at least one; all hold.

    Raises:
        FormatError: It is not signature lines.
        VerificationError: A line of one of the keys does not hold, a key has two, or none has one.
    """
    known = list(keys)
    if len(body) > NOTE_SIZE_MAX:
        raise FormatError(f"answer is malformed: expected at most {NOTE_SIZE_MAX} bytes, got {len(body)}")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise FormatError("answer is malformed: expected UTF-8") from error
    *lines, rest = text.split("\n")
    if rest or not 1 <= len(lines) <= NOTE_SIGNATURES_MAX:
        raise FormatError(f"answer is malformed: expected 1 to {NOTE_SIGNATURES_MAX} lines that end with a newline")
    note = Note(text=checkpoint.encode(), signatures=tuple(NoteSignature.parse(line) for line in lines))
    cosignatures = find_cosignatures(note, checkpoint, known)
    if not cosignatures:
        raise VerificationError("answer does not verify: no cosignature is by a key of this witness")
    return cosignatures


def parse_size(body: bytes) -> int:
    """Read the answer 409 of a witness.

    Args:
        body: The answer's body.

    Returns:
        Size of the newest checkpoint that the witness cosigned.

    Raises:
        FormatError: It is not one decimal and a newline.
    """
    if not body.endswith(b"\n") or not body.isascii():
        raise FormatError("answer is malformed: expected a tree size and a newline")
    return parse_decimal(body[:-1].decode("ascii"), "size of the answer")


def monitoring_path(origin: str) -> str:
    """Name the page where a witness shows the newest checkpoint it cosigned.

    Args:
        origin: The log.

    Returns:
        The path below the monitoring prefix.
    """
    return f"{sha256(origin.encode()).hexdigest()}/checkpoint"


def _refuse(status: int, reason: str) -> Answer:
    return Answer(status=status, body=f"{reason}\n".encode())
