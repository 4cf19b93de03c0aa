"""A verifiable random function: ECVRF-EDWARDS25519-SHA512-TAI of RFC 9381, the side of whoever checks.

Under one public key every message has exactly one output. Only the holder of the private key can compute it, and a
proof shows to anyone that it is the one. Nothing here is secret, and nothing here is fast: making outputs is
`backstory.columns.vrf`.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha512
from typing import Final, TypeAlias

from backstory.errors import VerificationError

PROOF_SIZE: Final = 80
"""Bytes of a proof: a point, half a hash, and a number."""

OUTPUT_SIZE: Final = 64

FIELD_PRIME: Final = 2**255 - 19
GROUP_ORDER: Final = 2**252 + 27742317777372353535851937790883648493

_SUITE: Final = b"\x03"
_POINT_SIZE: Final = 32
_CHALLENGE_SIZE: Final = 16
_ATTEMPTS_MAX: Final = 256
_D: Final = -121665 * pow(121666, -1, FIELD_PRIME) % FIELD_PRIME
_ROOT_OF_MINUS_1: Final = pow(2, (FIELD_PRIME - 1) // 4, FIELD_PRIME)

_Point: TypeAlias = "tuple[int, int, int, int]"
_ZERO: Final[_Point] = (0, 1, 1, 0)


def verify_vrf(public_key: bytes, message: bytes, proof: bytes) -> bytes:
    """Check what a verifiable random function gives for a message.

    Args:
        public_key: The function's public key, 32 bytes. It is checked: under some keys, which no key pair has, a
            message would have several outputs.
        message: The input.
        proof: The proof, 80 bytes.

    Returns:
        The output, 64 bytes.

    Raises:
        VerificationError: The key, the proof or a point in them is malformed, or the proof is not of this key and
            message.

    Source: RFC 9381 sections 5.2, 5.3 and 5.4.5.
    """
    key = _decode(public_key)
    if _cleared(key)[:2] == (0, 1):
        raise VerificationError("vrf: the public key is one under which outputs are not unique")
    if len(proof) != PROOF_SIZE:
        raise VerificationError(f"vrf: expected a proof of {PROOF_SIZE} bytes, got {len(proof)}")
    gamma_bytes, challenge = proof[:_POINT_SIZE], proof[_POINT_SIZE : _POINT_SIZE + _CHALLENGE_SIZE]
    gamma, c = _decode(gamma_bytes), int.from_bytes(challenge, "little")
    s = int.from_bytes(proof[_POINT_SIZE + _CHALLENGE_SIZE :], "little")
    if s >= GROUP_ORDER:
        raise VerificationError("vrf: a number in the proof is not in its one form")
    hashed = _hash_to_curve(public_key, message)
    u = _multiply_both(s, _base(), c, _negated(key))
    v = _multiply_both(s, hashed, c, _negated(gamma))
    if challenge_of(public_key, _encode(hashed), gamma_bytes, _encode(u), _encode(v)) != challenge:
        raise VerificationError("vrf: the proof is not of this key and message")
    return output_of(_encode(_cleared(gamma)))


def candidate(public_key: bytes, message: bytes, attempt: int) -> bytes:
    """Return the bytes that may be a point, to be multiplied by 8: try and increment, RFC 9381 section 5.4.1.1."""
    return sha512(_SUITE + b"\x01" + public_key + message + bytes([attempt]) + b"\x00").digest()[:_POINT_SIZE]


def challenge_of(*points: bytes) -> bytes:
    """Return the challenge over the key, the hashed message, and the proof's points; RFC 9381 section 5.4.3."""
    return sha512(_SUITE + b"\x02" + b"".join(points) + b"\x00").digest()[:_CHALLENGE_SIZE]


def output_of(point: bytes) -> bytes:
    """Return the output of the proof's point, already multiplied by 8; RFC 9381 section 5.2."""
    return sha512(_SUITE + b"\x03" + point + b"\x00").digest()


def _hash_to_curve(public_key: bytes, message: bytes) -> _Point:
    for attempt in range(_ATTEMPTS_MAX):
        try:
            point = _cleared(_decode(candidate(public_key, message, attempt)))
        except VerificationError:
            continue
        if point[:2] != (0, 1):
            return point
    raise VerificationError("vrf: the message leads to no point")  # one in 2^256


def _add(p: _Point, q: _Point) -> _Point:
    """Add two points in extended coordinates, RFC 8032 section 5.1.4; the formula holds for doubling too."""
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % FIELD_PRIME, (p[1] + p[0]) * (q[1] + q[0]) % FIELD_PRIME
    c, d = 2 * p[3] * q[3] * _D % FIELD_PRIME, 2 * p[2] * q[2] % FIELD_PRIME
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % FIELD_PRIME, g * h % FIELD_PRIME, f * g % FIELD_PRIME, e * h % FIELD_PRIME


def _negated(point: _Point) -> _Point:
    return FIELD_PRIME - point[0], point[1], point[2], FIELD_PRIME - point[3]


def _multiply_both(first: int, p: _Point, second: int, q: _Point) -> _Point:
    """Return the sum of two multiples of points, with one doubling for both."""
    choices, total = (_ZERO, p, q, _add(p, q)), _ZERO
    for bit in range(max(first.bit_length(), second.bit_length()) - 1, -1, -1):
        total = _add(total, total)
        choice = (first >> bit & 1) + 2 * (second >> bit & 1)
        if choice:
            total = _add(total, choices[choice])
    return total


def _cleared(point: _Point) -> _Point:
    """Return a point eight times, which has no part of small order left, with third coordinate 1."""
    for _ in range(3):
        point = _add(point, point)
    x, y, z, _ = point
    inverse = pow(z, -1, FIELD_PRIME)
    x, y = x * inverse % FIELD_PRIME, y * inverse % FIELD_PRIME
    return x, y, 1, x * y % FIELD_PRIME


def _encode(point: _Point) -> bytes:
    inverse = pow(point[2], -1, FIELD_PRIME)
    x, y = point[0] * inverse % FIELD_PRIME, point[1] * inverse % FIELD_PRIME
    return (y | (x & 1) << 255).to_bytes(_POINT_SIZE, "little")


def _decode(data: bytes) -> _Point:
    """Read a point in its one form, RFC 8032 section 5.1.3.

    Raises:
        VerificationError: It is none, or is written in another form.
    """
    sign, y = divmod(int.from_bytes(data, "little"), 1 << 255)
    if len(data) != _POINT_SIZE or y >= FIELD_PRIME:
        raise VerificationError("vrf: expected a point in its one form")
    square = (y * y - 1) * pow(_D * y * y + 1, -1, FIELD_PRIME) % FIELD_PRIME
    x = pow(square, (FIELD_PRIME + 3) // 8, FIELD_PRIME)
    if (x * x - square) % FIELD_PRIME:
        x = x * _ROOT_OF_MINUS_1 % FIELD_PRIME
    if (x * x - square) % FIELD_PRIME or (x == 0 and sign):
        raise VerificationError("vrf: expected a point of the curve")
    x = x if x & 1 == sign else FIELD_PRIME - x
    return x, y, 1, x * y % FIELD_PRIME


@cache
def _base() -> _Point:
    return _decode((4 * pow(5, -1, FIELD_PRIME) % FIELD_PRIME).to_bytes(_POINT_SIZE, "little"))
