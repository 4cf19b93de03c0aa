"""Time stamps: an authority stamps the checkpoint, and what is kept holds for whoever has its certificate."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import threading
from datetime import timedelta

import pytest
from asn1crypto import tsp
from tests.support.authority import NOW, Authority, authority_server
from tests.support.logs import DiskLog
from tests.support.loopback import answering, refusing, running

from backstory.errors import BackstoryError, FormatError, InputError, StorageError, VerificationError
from backstory.ledger.timestamp import stamp_checkpoint
from backstory.storage.disk import Disk
from backstory.verify.time_stamp import read_roots, read_stamp

MESSAGE = b"what is stamped\n"


def request_for(message=MESSAGE, nonce=7):
    """Return a request as another client would make it."""
    imprint = {"hash_algorithm": {"algorithm": "sha256"}, "hashed_message": hashlib.sha256(message).digest()}
    return tsp.TimeStampReq({"version": 1, "message_imprint": imprint, "nonce": nonce, "cert_req": True}).dump()


@pytest.fixture(scope="module")
def authority():
    """An authority that nobody bends."""
    return Authority()


@pytest.fixture(scope="module")
def token(authority):
    """A stamp of the message."""
    return authority.answer(request_for())


@pytest.fixture
def log(tmp_path):
    """A log of five entries."""
    return DiskLog(tmp_path / "a").append(5)


@pytest.fixture
def roots(authority, tmp_path):
    """The authority's certificate, read from a file."""
    (tmp_path / "root.pem").write_bytes(authority.pem)
    return read_roots([tmp_path / "root.pem"])


def test_stamp_of_the_checkpoint_is_kept(log, authority, roots):
    """The token is over the checkpoint's text, and stands beside the checkpoint."""
    with running(authority_server(authority.answer)) as url:
        made = stamp_checkpoint(log.layout, Disk(), url, roots)
    assert (made.stamp.time, made.stamp.authority) == ("2026-01-01T12:00:00Z", "CN=Test Authority")
    assert made.path.parent == log.folder / "anchors" / "5"
    assert read_stamp(made.path.read_bytes(), log.checkpoint.encode().encode(), roots) == made.stamp
    assert (made.path.parent / "checkpoint").read_bytes() == log.note


def test_two_authorities_may_stamp_one_checkpoint(log, authority):
    """Stamps do not replace each other."""
    for one in (authority, Authority("Other Authority")):
        with running(authority_server(one.answer)) as url:
            made = stamp_checkpoint(log.layout, Disk(), url, [])
    assert len(list(made.path.parent.glob("*.tsr"))) == 2


def test_without_a_certificate_nobody_is_authenticated(token):
    """A stamp of whoever answered says so."""
    assert read_stamp(token, MESSAGE, []).authenticated is False


def test_stamp_of_another_authority_does_not_hold(token, tmp_path):
    """A certificate of somebody else does not make it true."""
    (tmp_path / "other.pem").write_bytes(Authority().pem)
    with pytest.raises(VerificationError):
        read_stamp(token, MESSAGE, read_roots([tmp_path / "other.pem"]))


def test_stamp_of_something_else_does_not_hold(token, roots):
    """A token is over one message."""
    with pytest.raises(VerificationError):
        read_stamp(token, MESSAGE + b"x", roots)


def test_certificate_must_be_for_time_stamps(roots, tmp_path):
    """A key that the authority's root certified for something else does not stamp."""
    authority = Authority(is_for_time=False)
    (tmp_path / "server.pem").write_bytes(authority.pem)
    with pytest.raises(VerificationError):
        read_stamp(authority.answer(request_for()), MESSAGE, read_roots([tmp_path / "server.pem"]))


def test_certificate_must_have_been_valid_then(tmp_path):
    """A token dated outside its signer's certificate does not hold."""
    authority = Authority()
    authority.change = lambda fields: fields | {"gen_time": NOW + timedelta(days=2)}
    (tmp_path / "late.pem").write_bytes(authority.pem)
    with pytest.raises(VerificationError):
        read_stamp(authority.answer(request_for()), MESSAGE, read_roots([tmp_path / "late.pem"]))


@pytest.mark.parametrize("status", ["rejection", "waiting", "revocation_notification"])
def test_what_was_not_granted_is_no_stamp(status, roots):
    """A refusal with a token beside it is a refusal."""
    authority = Authority()
    authority.status = status
    with pytest.raises(VerificationError):
        read_stamp(authority.answer(request_for()), MESSAGE, roots)


def test_answer_to_another_request_is_not_kept(log):
    """An old stamp of the same checkpoint is not passed off as one of now."""
    authority = Authority()
    authority.change = lambda fields: fields | {"nonce": 1}
    with running(authority_server(authority.answer)) as url, pytest.raises(VerificationError, match="another request"):
        stamp_checkpoint(log.layout, Disk(), url, [])
    assert not (log.folder / "anchors").exists()


@pytest.mark.parametrize("place", range(0, 900, 7))
def test_changed_token_never_says_another_time(token, roots, place):
    """A flipped bit anywhere is refused, or changes nothing that is said."""
    data = bytearray(token)
    data[place % len(data)] ^= 1
    try:
        stamp = read_stamp(bytes(data), MESSAGE, roots)
    except BackstoryError as error:
        assert isinstance(error, FormatError | VerificationError)  # noqa: PT017  both are right
    else:
        assert stamp == read_stamp(token, MESSAGE, roots)


@pytest.mark.parametrize("data", [b"", b"nonsense", b"0\x03\x02\x01\x02", b"0" * 3_000])
def test_what_is_no_token_is_malformed(data, roots):
    """Bytes that are no response are that, not a failed check."""
    with pytest.raises((FormatError, VerificationError)):
        read_stamp(data, MESSAGE, roots)


@pytest.mark.parametrize(
    ("status", "content_type"), [(500, "application/timestamp-reply"), (200, "text/html"), (302, "text/plain")]
)
def test_server_that_is_no_authority_is_told(log, status, content_type):
    """What does not answer as an authority keeps nothing."""
    with answering(status, b"<html>", content_type=content_type) as url, pytest.raises(StorageError):
        stamp_checkpoint(log.layout, Disk(), url, [])


def test_authority_that_is_not_there_is_told(log):
    """Nor does nobody."""
    with pytest.raises(StorageError, match="refused"):
        stamp_checkpoint(log.layout, Disk(), refusing(), [])


def test_file_without_a_certificate_is_refused(tmp_path):
    """A mistaken file is told before anything is asked."""
    (tmp_path / "x").write_bytes(b"nonsense")
    with pytest.raises(InputError):
        read_roots([tmp_path / "x"])


class OpensslAuthority:
    """An authority made of the `openssl ts` command; the signer's certificate alone is embedded."""

    def __init__(self, folder):
        self.folder = folder
        self.turns = threading.Lock()
        (folder / "openssl.cnf").write_text(
            "[tsa]\ndefault_tsa = here\n[here]\nserial = serial\nsigner_digest = sha256\ndefault_policy = 1.2.3.4.1\n"
            "digests = sha256\naccuracy = secs:1\ness_cert_id_chain = no\ness_cert_id_alg = sha256\n"
            "[req]\ndistinguished_name = dn\nprompt = no\n[dn]\nCN = openssl\n"
            "[ca]\nbasicConstraints = critical,CA:true\n"
            "[stamping]\nbasicConstraints = CA:false\nextendedKeyUsage = critical,timeStamping\n"
        )
        (folder / "serial").write_text("01\n")
        key = ("-newkey", "rsa:2048", "-nodes", "-config", "openssl.cnf")
        self.run("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=root", "-extensions", "ca")
        self.run("req", "-new", *key, "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=stamper")
        signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "openssl.cnf")
        self.run("x509", "-req", "-in", "tsa.csr", *signing, "-extensions", "stamping", "-out", "tsa.pem")

    def run(self, *arguments):
        """Run openssl."""
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)

    def answer(self, request):
        """Answer a request."""
        with self.turns:
            (self.folder / "request").write_bytes(request)
            files = ("-queryfile", "request", "-out", "answer", "-signer", "tsa.pem", "-inkey", "tsa.key")
            self.run("ts", "-reply", "-config", "openssl.cnf", "-section", "here", *files)
            return (self.folder / "answer").read_bytes()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl here")
def test_authority_of_openssl_stamps_the_checkpoint(log, tmp_path):
    """An authority that others wrote stamps our checkpoint, and its own command verifies what we keep."""
    authority = OpensslAuthority(tmp_path)
    with running(authority_server(authority.answer)) as url:
        made = stamp_checkpoint(log.layout, Disk(), url, read_roots([tmp_path / "ca.pem"]))
    assert (made.stamp.authority, made.stamp.authenticated) == ("CN=stamper", True)
    (tmp_path / "text").write_bytes(log.checkpoint.encode().encode())
    authority.run("ts", "-verify", "-in", str(made.path), "-data", "text", "-CAfile", "ca.pem")
