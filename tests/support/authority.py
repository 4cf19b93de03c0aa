"""A small RFC 3161 authority: a root, a signer under it, and tokens, made without any library for time stamps."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from asn1crypto import algos, cms, core, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
_SHA256 = {"algorithm": "sha256"}


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """An authority. What it answers can be bent to see whether anybody notices.

    Attributes:
        change: Changes the fields of a token before it is signed.
        status: The status of its answers.
    """

    def __init__(self, name: str = "Test Authority", *, is_for_time: bool = True) -> None:
        self.change: Callable[[dict], dict] = lambda fields: fields
        self.status = "granted"
        root_key, self._key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        self.root = _certificate(f"{name} Root", root_key, f"{name} Root", root_key, None)
        usage = ExtendedKeyUsageOID.TIME_STAMPING if is_for_time else ExtendedKeyUsageOID.SERVER_AUTH
        self.signer = _certificate(name, self._key, f"{name} Root", root_key, usage)
        self._serial = 0

    @property
    def pem(self) -> bytes:
        """The root's certificate, as it is handed out."""
        return self.root.public_bytes(Encoding.PEM)

    def answer(self, request: bytes) -> bytes:
        """Answer a request."""
        asked = tsp.TimeStampReq.load(request, strict=True)
        self._serial += 1
        fields = {
            "version": "v1",
            "policy": "1.2.3.4.1",
            "message_imprint": asked["message_imprint"],
            "serial_number": self._serial,
            "gen_time": NOW,
            "nonce": asked["nonce"],
        }
        info = tsp.TSTInfo(self.change(fields))
        token = self._sign(info.dump())
        return tsp.TimeStampResp({"status": {"status": self.status}, "time_stamp_token": token}).dump()

    def _sign(self, content: bytes) -> cms.ContentInfo:
        certificate = asn1_x509.Certificate.load(self.signer.public_bytes(Encoding.DER))
        signing = tsp.SigningCertificateV2(
            {"certs": [{"hash_algorithm": _SHA256, "cert_hash": hashlib.sha256(certificate.dump()).digest()}]}
        )
        attributes = cms.CMSAttributes(
            [
                cms.CMSAttribute({"type": "content_type", "values": ["tst_info"]}),
                cms.CMSAttribute({"type": "message_digest", "values": [hashlib.sha256(content).digest()]}),
                cms.CMSAttribute({"type": "signing_certificate_v2", "values": [signing]}),
            ]
        )
        issuer = cms.IssuerAndSerialNumber({"issuer": certificate.issuer, "serial_number": certificate.serial_number})
        signer = cms.SignerInfo(
            {
                "version": "v1",
                "sid": cms.SignerIdentifier({"issuer_and_serial_number": issuer}),
                "digest_algorithm": algos.DigestAlgorithm(_SHA256),
                "signed_attrs": attributes,
                "signature_algorithm": algos.SignedDigestAlgorithm({"algorithm": "sha256_ecdsa"}),
                "signature": self._key.sign(attributes.untag().dump(force=True), ec.ECDSA(hashes.SHA256())),
            }
        )
        signed = cms.SignedData(
            {
                "version": "v3",
                "digest_algorithms": [_SHA256],
                "encap_content_info": {"content_type": "tst_info", "content": core.ParsableOctetString(content)},
                "certificates": [certificate],
                "signer_infos": [signer],
            }
        )
        return cms.ContentInfo({"content_type": "signed_data", "content": signed})


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, issuer_key: ec.EllipticCurvePrivateKey, usage: object
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=usage is None, path_length=None), critical=True)
    )
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
    return builder.sign(issuer_key, hashes.SHA256())


def authority_server(answer: Callable[[bytes], bytes]) -> ThreadingHTTPServer:
    """Return a server of the loopback that answers time stamp requests."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            assert self.headers["content-type"] == "application/timestamp-query"
            body = answer(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-type", "application/timestamp-reply")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Say nothing."""

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)
