"""Master keys and the log's key in a PKCS#11 token, SoftHSM's: they never leave it. Run by `make hsm`."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from pathlib import Path

import pkcs11
import pytest
from pkcs11.mechanisms import GCMParams
from pkcs11.util.ec import encode_named_curve_parameters

import backstory
from backstory.errors import NotFoundError, VerificationError
from backstory.ledger.ledger import Ledger
from backstory.ledger.rekey import domains_in_use, rekey_domain, rotate_master
from backstory.ledger.rotate import rotate_key
from backstory.storage.master import wrappers_of
from backstory.storage.world import World
from backstory.tlog.key import VerifierKey

MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
ORIGIN = "example.org/hsm"
PIN = "1234"
NONCE_SIZE = 12
POINT_HEAD_SIZE = 2


class TokenWrapper:
    """A master key in a token: AES-256-GCM, the name of what is wrapped as additional data."""

    def __init__(self, session, label):
        """Use the key of this label."""
        self.name = f"pkcs11:{label}"
        self._key = session.get_key(label=label, object_class=pkcs11.ObjectClass.SECRET_KEY)

    def wrap(self, name, data):
        """Encrypt in the token."""
        nonce = secrets.token_bytes(NONCE_SIZE)
        options = GCMParams(nonce, name.encode(), 128)
        return nonce + self._key.encrypt(data, mechanism=pkcs11.Mechanism.AES_GCM, mechanism_param=options)

    def unwrap(self, name, data):
        """Decrypt in the token."""
        options = GCMParams(data[:NONCE_SIZE], name.encode(), 128)
        try:
            return self._key.decrypt(data[NONCE_SIZE:], mechanism=pkcs11.Mechanism.AES_GCM, mechanism_param=options)
        except pkcs11.exceptions.PKCS11Error as error:
            raise VerificationError(f"keys: {name!r} was not wrapped under {self.name}") from error


class TokenSigner:
    """The log's key in a token: Ed25519."""

    def __init__(self, session, label):
        """Use the key of this label."""
        self._key = session.get_key(label=label, object_class=pkcs11.ObjectClass.PRIVATE_KEY)
        public = session.get_key(label=label, object_class=pkcs11.ObjectClass.PUBLIC_KEY)
        point = public[pkcs11.Attribute.EC_POINT][POINT_HEAD_SIZE:]
        self.name, self.vkey = ORIGIN, VerifierKey(name=ORIGIN, public_key=point).vkey

    def sign(self, message):
        """Sign in the token."""
        return self._key.sign(message, mechanism=pkcs11.Mechanism.EDDSA)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """A session with a new token that has two master keys and two signing keys."""
    module = next((path for path in MODULES if Path(path).is_file()), None)
    if module is None or shutil.which("softhsm2-util") is None:
        pytest.fail("expected SoftHSM: install softhsm2 (Debian) or softhsm (Homebrew)")
    folder = tmp_path_factory.mktemp("token")
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}\nobjectstore.backend = file\n")
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    command = ["softhsm2-util", "--init-token", "--free", "--label", "audit", "--pin", PIN, "--so-pin", PIN]
    subprocess.run(command, check=True, capture_output=True)
    with pkcs11.lib(module).get_token(token_label="audit").open(rw=True, user_pin=PIN) as opened:
        hidden = {pkcs11.Attribute.EXTRACTABLE: False, pkcs11.Attribute.SENSITIVE: True}
        for label in ("master-1", "master-2"):
            opened.generate_key(pkcs11.KeyType.AES, 256, label=label, store=True, template=hidden)
        for label in ("log-1", "log-2"):
            parameters = opened.create_domain_parameters(
                pkcs11.KeyType.EC_EDWARDS,
                {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("1.3.101.112")},
                local=True,
            )
            parameters.generate_keypair(
                mechanism=pkcs11.Mechanism.EC_EDWARDS_KEY_PAIR_GEN, label=label, store=True, private_template=hidden
            )
        yield opened


def test_an_archive_whose_keys_are_in_a_token(session, tmp_path):
    """Records are sealed, read, proven and rekeyed with keys of the token; without them nothing sealed opens."""
    root = tmp_path / "archive"
    first, signer = TokenWrapper(session, "master-1"), TokenSigner(session, "log-1")
    backstory.init(root, origin=ORIGIN, signer=signer, wrapper=first).close()
    options = {"actor": "Ann", "purpose": "a test", "vkey": signer.vkey}
    with backstory.open(root, signer=signer, wrapper=first, **options) as archive:
        with archive.prediction(subject="Bea") as one:
            one.output(42.25)
        archive.flush()
        assert archive.verify().verdict.startswith("verified")
        assert "42.25" in str(archive.why(one.id))
    assert not list((root / "master").glob("master-*.json"))
    assert not list((root / "keys").glob("log-*.json"))
    ledger = Ledger(
        root, World(), writable=True, vkey=signer.vkey, actor=None, signer=signer, wrappers=wrappers_of(first)
    )
    text = ledger.commit_text("purpose", "a test")
    second = TokenWrapper(session, "master-2")
    for domain in domains_in_use(ledger):
        rotate_master(ledger, domain, "rotation", second)
        rekey_domain(ledger, domain, "rotation")
    rotate_key(ledger, following := TokenSigner(session, "log-2"))
    ledger.close()
    with backstory.open(root, signer=following, wrapper=second, **options) as archive:
        assert archive.verify().verdict.startswith("verified")
        assert "42.25" in str(archive.why(one.id))
    reader = Ledger(root, World(), writable=False, vkey=signer.vkey, actor=None, wrappers=wrappers_of(first))
    with pytest.raises(NotFoundError, match="master-2"):
        reader.text_of(text, "purpose")
    reader.close()


def test_a_token_refuses_what_is_another_files(session):
    """What was wrapped for one key file does not unwrap as that of another, nor after a change."""
    wrapper = TokenWrapper(session, "master-1")
    wrapped = wrapper.wrap("a.shard", b"keys")
    assert wrapper.unwrap("a.shard", wrapped) == b"keys"
    for name, data in (("b.shard", wrapped), ("a.shard", wrapped[:-1] + bytes([wrapped[-1] ^ 1]))):
        with pytest.raises(VerificationError):
            wrapper.unwrap(name, data)
