"""RFC 3161 time stamps: what an authority says about when some bytes existed.

A token shows that the bytes existed when the authority stamped them: nothing stamped can be younger. It shows no lower
bound, and it is worth as much as the authority.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from backstory.errors import FormatError, InputError, VerificationError
from backstory.storage.disk import read_file

if TYPE_CHECKING:
    from rfc3161_client import TimeStampResponse

RESPONSE_SIZE_MAX = 1 << 20
"""Bytes of a response; one with a certificate has about one thousand."""
_SHA256 = x509.ObjectIdentifier("2.16.840.1.101.3.4.2.1")


_CHAIN_MAX = 8
"""Certificates between a signer's and a root that are looked at: authorities have one or two."""


class UnknownAuthorityError(VerificationError):
    """A time stamp's signer does not lead to any of the given certificates: nothing is said about its signature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What a time stamp says.

    Attributes:
        time: When, RFC 3339 in UTC.
        authority: Subject of the certificate that signed; empty where the token holds none.
        authenticated: Whether the signature holds under a certificate from outside. If not, anybody may have made it.
    """

    time: str
    authority: str
    authenticated: bool


def require_client() -> ModuleType:
    """Return the library that reads time stamps.

    Raises:
        InputError: It is not installed.
    """
    try:
        import rfc3161_client
    except ImportError as error:
        raise InputError("time stamp: needs the package rfc3161-client, expected `backstory[timestamp]`") from error
    return rfc3161_client


def read_roots(paths: Sequence[Path]) -> list[x509.Certificate]:
    """Read the certificates of authorities that a person trusts.

    Args:
        paths: Files, PEM (with one or more certificates) or DER.

    Raises:
        InputError: One holds no certificate.
        StorageError: One cannot be read.
    """
    roots: list[x509.Certificate] = []
    for path in paths:
        data = read_file(path)
        try:
            is_text = data.lstrip().startswith(b"-----BEGIN")
            roots += x509.load_pem_x509_certificates(data) if is_text else [x509.load_der_x509_certificate(data)]
        except (ValueError, x509.InvalidVersion) as error:
            raise InputError(f"certificate of an authority: {path.name} holds none, neither PEM nor DER") from error
    return roots


def read_stamp(data: bytes, message: bytes, roots: Sequence[x509.Certificate], *, nonce: int | None = None) -> Stamp:
    """Check a time stamp.

    Args:
        data: The authority's response, DER.
        message: What it must be over.
        roots: Certificates that must have signed it or its signer; none to leave open who signed.
        nonce: The number the response must repeat; None where the request is long past.

    Raises:
        FormatError: It is not a response.
        UnknownAuthorityError: Its signer does not lead to any of the roots.
        VerificationError: It was not granted, is over something else, or its signature does not hold.
        InputError: The library is not installed.
    """
    library = require_client()
    try:
        response: TimeStampResponse = library.decode_timestamp_response(data)
        if response.status != library.PKIStatus.GRANTED:
            raise VerificationError(f"time stamp: the authority did not grant it (status {response.status})")
        info = response.tst_info
        imprint = info.message_imprint
        if (imprint.hash_algorithm, imprint.message) != (_SHA256, hashlib.sha256(message).digest()):
            raise VerificationError("time stamp: it is over something else, or by another digest than SHA-256")
        if nonce is not None and info.nonce != nonce:
            raise VerificationError("time stamp: it answers another request")
        if roots:
            _check_signature(response, message, roots)
        moment = info.gen_time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return Stamp(time=moment, authority=_authority(response), authenticated=bool(roots))
    except (ValueError, TypeError, LookupError, x509.InvalidVersion) as error:  # as its parts raise when read
        raise FormatError("time stamp: it is not an RFC 3161 response") from error


def _check_signature(response: TimeStampResponse, message: bytes, roots: Sequence[x509.Certificate]) -> None:
    library = require_client()
    try:
        library.VerifierBuilder(roots=list(roots)).build().verify_message(response, message)
    except library.VerificationError as error:
        if not _leads_to(response, roots):
            what = "time stamp: who signed it does not lead to any of the given certificates"
            raise UnknownAuthorityError(what) from error
        raise VerificationError("time stamp: its signature does not hold under the given certificates") from error


def _leads_to(response: TimeStampResponse, roots: Sequence[x509.Certificate]) -> bool:
    """Say whether a token's signer was certified by one of the roots, directly or by others in the token."""
    held, certificate = _certificates(response), _signer(response)
    for _ in range(_CHAIN_MAX):
        if certificate is None:
            return False
        if any(_is_issued_by(certificate, root) for root in roots):
            return True
        certificate = next((one for one in held if _is_issued_by(certificate, one)), None)
    return False


def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, TypeError, UnsupportedAlgorithm, ValueError):  # as of another name or kind of key
        return False
    return True


def _authority(response: TimeStampResponse) -> str:
    """Return the subject of the certificate that the token names as its signer's."""
    signer = _signer(response)
    return "" if signer is None else signer.subject.rfc4514_string()


def _signer(response: TimeStampResponse) -> x509.Certificate | None:
    """Return the certificate that the token names as its signer's, if it is in it."""
    named = {(signer.issuer, signer.serial_number) for signer in response.signed_data.signer_infos}
    return next((one for one in _certificates(response) if (one.issuer, one.serial_number) in named), None)


def _certificates(response: TimeStampResponse) -> list[x509.Certificate]:
    return [x509.load_der_x509_certificate(data) for data in response.signed_data.certificates]
