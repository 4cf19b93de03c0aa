"""Signed notes: made, taken apart, checked, and refused."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tlog.grown_log import C2SP

from backstory.errors import FormatError, InputError, VerificationError
from backstory.tlog.key import KeyKind, VerifierKey
from backstory.tlog.note import NoteSignature, add_signatures, parse_note, sign_note, verify_note
from backstory.tlog.signer import Ed25519Signer, MlDsaSigner

NAME = "example.org/log"
SIGNER = Ed25519Signer.from_seed(NAME, bytes(32))
KEY = VerifierKey.parse(SIGNER.vkey)
OTHER = Ed25519Signer.from_seed("example.org/other", bytes(range(32)))
TEXT = "example.org/log\n1\nroot\n"
NOTE = sign_note(TEXT, SIGNER)
LINE = NOTE.split(b"\n\n")[1]
LOG_KEY = VerifierKey.parse(C2SP["log_vkey"])


def test_vkey_of_the_vectors():
    """The published seed gives the published verifier key."""
    signer = Ed25519Signer.from_seed("predlog.example/tenant-a", bytes.fromhex(C2SP["log_seed_hex"]))
    assert signer.vkey == C2SP["log_vkey"]
    assert VerifierKey.parse(signer.vkey).public_key.hex() == C2SP["log_pub_hex"]
    assert LOG_KEY.vkey == C2SP["log_vkey"]


def test_generated_keys_are_new_and_restorable():
    """Each generated key is another one, and its seed restores it."""
    first, second = Ed25519Signer.generate(NAME), Ed25519Signer.generate(NAME)
    assert first.seed != second.seed
    assert Ed25519Signer.from_seed(NAME, first.seed).vkey == first.vkey


def test_seed_is_not_in_the_representation():
    """Printing a signer does not print its secret."""
    assert SIGNER.seed.hex() not in repr(SIGNER)
    assert repr(SIGNER.seed) not in repr(SIGNER)


def test_seed_of_another_size_is_refused():
    """A seed has 32 bytes."""
    with pytest.raises(FormatError):
        Ed25519Signer.from_seed(NAME, bytes(31))


@given(st.text(alphabet=st.characters(exclude_categories=("Cs", "Cc")), max_size=50))
def test_notes_round_trip(body):
    """Any text without control characters comes back from its note, empty lines included."""
    text = f"first\n\n{body}\n"
    assert verify_note(sign_note(text, SIGNER), [KEY]) == text


def test_last_empty_line_separates():
    """A text that looks like a note keeps its own signature lines."""
    inner = NOTE.decode()
    assert verify_note(sign_note(inner, OTHER), [VerifierKey.parse(OTHER.vkey)]) == inner


def test_unknown_signatures_are_passed_over():
    """Signatures by other keys, of any kind, neither help nor harm."""
    stranger = sign_note(TEXT, OTHER).split(b"\n\n")[1]
    assert verify_note(NOTE + stranger, [KEY]) == TEXT
    with pytest.raises(VerificationError):
        verify_note(NOTE + stranger, [VerifierKey.parse(Ed25519Signer.generate("example.org/third").vkey)])


def test_cosigned_note_of_the_vectors():
    """The published checkpoint verifies although it also has a witness's line."""
    assert verify_note(C2SP["checkpoint_size_8"].encode(), [LOG_KEY]).startswith("predlog.example/tenant-a\n8\n")


def test_key_of_the_same_name_is_another_key():
    """A signature counts only under its own key id, not under its name."""
    same_name = Ed25519Signer.from_seed(NAME, bytes(range(32)))
    with pytest.raises(VerificationError):
        verify_note(NOTE, [VerifierKey.parse(same_name.vkey)])


def test_without_keys_nothing_verifies():
    """A note does not verify when no key is accepted."""
    with pytest.raises(VerificationError):
        verify_note(NOTE, [])


def test_messages_do_no_harm():
    """A message names a few of the signers, and prints no character that could steer a terminal."""
    hostile = [Ed25519Signer.from_seed(f"a\x9b31m\u202e{n}", bytes([n]) * 32) for n in range(1, 31)]
    with pytest.raises(VerificationError, match=r"and 26 more") as caught:
        verify_note(sign_note(TEXT, SIGNER, *hostile), [VerifierKey.parse(OTHER.vkey)])
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_changed_text_does_not_verify():
    """One changed character of the text breaks the signature."""
    with pytest.raises(VerificationError):
        verify_note(NOTE.replace(b"\n1\n", b"\n2\n"), [KEY])


def test_good_then_failing_signature_of_one_key():
    """A failing signature of a known key spoils the note, in front of a good one or after it."""
    blob = bytearray(base64.b64decode(LINE.split(b" ")[2]))
    blob[-1] ^= 1
    failing = b" ".join((*LINE.split(b" ")[:2], base64.b64encode(blob))) + b"\n"
    for note in (NOTE + failing, NOTE.replace(LINE, failing + LINE)):
        with pytest.raises(VerificationError):
            verify_note(note, [KEY])


def test_two_good_signatures_of_one_key():
    """A known key that signed twice spoils the note; of an unknown key nothing is asked."""
    with pytest.raises(VerificationError, match="two signatures"):
        verify_note(NOTE + LINE, [KEY])
    stranger = sign_note(TEXT, OTHER).split(b"\n\n")[1]
    assert verify_note(NOTE + stranger * 2, [KEY]) == TEXT


def test_several_signers():
    """A text is signed by several keys in the order they are given; each verifies alone, and all together."""
    note = sign_note(TEXT, SIGNER, OTHER)
    assert note == NOTE + sign_note(TEXT, OTHER).split(b"\n\n")[1]
    other_key = VerifierKey.parse(OTHER.vkey)
    for keys in ([KEY], [other_key], [KEY, other_key]):
        assert verify_note(note, keys) == TEXT


def test_nobody_and_twice_the_same_cannot_sign():
    """A note has at least one signer, and none twice."""
    for signers in ((), (SIGNER, SIGNER)):
        with pytest.raises(FormatError):
            sign_note(TEXT, *signers)


def test_other_kinds_of_key_do_not_sign_any_text():
    """Keys that cosign checkpoints neither sign nor verify a note."""
    for signer in (
        Ed25519Signer.from_seed(NAME, bytes(32), KeyKind.COSIGNATURE),
        MlDsaSigner.from_seed(NAME, bytes(32)),
    ):
        with pytest.raises(InputError, match="type"):
            sign_note(TEXT, signer)
        with pytest.raises(InputError, match="type"):
            verify_note(NOTE, [KEY, VerifierKey.parse(signer.vkey)])


def test_added_signatures():
    """Added lines come last; a line of a key that is there takes its place; a note stays within its limit."""
    line = parse_note(sign_note(TEXT, OTHER)).signatures[0]
    assert add_signatures(NOTE, [line]) == sign_note(TEXT, SIGNER, OTHER)
    assert add_signatures(add_signatures(NOTE, [line]), [line]) == sign_note(TEXT, SIGNER, OTHER)
    assert add_signatures(NOTE, []) == NOTE
    others = [NoteSignature(name="a", key_id=bytes([n]) * 4, signature=b"s") for n in range(100)]
    assert len(parse_note(add_signatures(NOTE, others[:99])).signatures) == 100
    with pytest.raises(FormatError):
        add_signatures(NOTE, others)


def test_signature_of_another_length_does_not_verify():
    """A signature under a known key that is cut or extended does not verify."""
    blob = base64.b64decode(LINE.split(b" ")[2])
    for changed in (blob[:-1], blob + b"\x00"):
        line = b" ".join((*LINE.split(b" ")[:2], base64.b64encode(changed))) + b"\n"
        with pytest.raises(VerificationError):
            verify_note(NOTE.replace(LINE, line), [KEY])


def test_ambiguous_keys_are_refused(monkeypatch):
    """Two keys that share name and key id cannot both be accepted."""
    twin = VerifierKey(name=NAME, public_key=bytes(32))
    monkeypatch.setattr(VerifierKey, "key_id", b"same")
    with pytest.raises(InputError):
        verify_note(NOTE, [KEY, twin])


MALFORMED = {
    "empty": b"",
    "no final newline": NOTE[:-1],
    "two final newlines": NOTE + b"\n",
    "junk after the signatures": NOTE + b"junk\n",
    "junk without newline": NOTE + b"junk",
    "no signature": TEXT.encode() + b"\n",
    "no empty line": TEXT.encode() + LINE,
    "carriage returns": NOTE.replace(b"\n", b"\r\n"),
    "carriage return in the text": NOTE.replace(b"root", b"ro\rot"),
    "tab in the text": NOTE.replace(b"root", b"ro\tot"),
    "nul in the text": NOTE.replace(b"root", b"ro\x00ot"),
    "byte order mark": b"\xef\xbb\xbf" + NOTE,
    "not utf-8": NOTE.replace(b"root", b"ro\xffot"),
    "overlong utf-8": NOTE.replace(b"root", b"ro\xc0\xafot"),
    "surrogate": NOTE.replace(b"root", b"ro\xed\xa0\x80ot"),
    "hyphen for the em dash": NOTE.replace("\N{EM DASH}".encode(), b"-"),
    "two spaces after the dash": NOTE.replace("\N{EM DASH} ".encode(), "\N{EM DASH}  ".encode()),
    "two spaces before the base64": NOTE.replace(b"log ", b"log  "),
    "space at the end of the line": NOTE[:-1] + b" \n",
    "no name": NOTE.replace("\N{EM DASH} example.org/log".encode(), "\N{EM DASH} ".encode()),
    "plus in the name": NOTE.replace(b"log ", b"l+g "),
    "unicode space in the name": NOTE.replace(b"log ", "l\N{NO-BREAK SPACE}g ".encode()),
    "line separator between signatures": NOTE[:-1] + "\N{LINE SEPARATOR}".encode() + LINE,
    "next line between signatures": NOTE[:-1] + b"\xc2\x85" + LINE,
    "name of 256 bytes": NOTE.replace(b"log ", b"l" * 244 + b" "),
    "base64 without padding": NOTE.replace(b"=\n", b"\n"),
    "base64 with more padding": NOTE.replace(b"=\n", b"==\n"),
    "base64 of the url alphabet": TEXT.encode() + b"\n" + "\N{EM DASH} a ".encode() + b"-_-_-_-_\n",
    "base64 with stray bits": TEXT.encode() + b"\n" + "\N{EM DASH} a ".encode() + b"AAAAAAF=\n",
    "base64 with a stray character": NOTE[:-3] + b"!" + NOTE[-3:],
    "key id alone": TEXT.encode() + b"\n" + "\N{EM DASH} a ".encode() + b"AAAAAA==\n",
    "empty base64": TEXT.encode() + b"\n" + "\N{EM DASH} a ".encode() + b"\n",
    "101 signatures": NOTE + LINE * 100,
    "too large": b"a" * 1_000_000 + b"\n\n" + LINE,
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_notes_are_refused(name):
    """A note of any other form than the one C2SP gives is refused before a signature is looked at."""
    assert MALFORMED[name] != NOTE
    with pytest.raises(FormatError):
        parse_note(MALFORMED[name])


def test_100_signatures_are_read():
    """A note may have 100 signatures."""
    assert len(parse_note(NOTE + LINE * 99).signatures) == 100


@given(st.binary(max_size=200))
def test_note_parser_raises_nothing_else(data):
    """Arbitrary bytes give a note or a format error."""
    try:
        parse_note(data)
    except FormatError:
        return


PUBLIC = SIGNER.vkey.split("+", 2)[2]


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        NAME,
        SIGNER.vkey[:-1],
        SIGNER.vkey + "\n",
        " " + SIGNER.vkey,
        SIGNER.vkey.replace(NAME, ""),
        SIGNER.vkey.replace(NAME, "example.org/other"),
        SIGNER.vkey.replace(NAME, "example.org /log"),
        f"{NAME}+{KEY.key_id.hex().upper()}+{PUBLIC}",
        f"{NAME}+00000000+{PUBLIC}",
        f"{NAME}+{KEY.key_id.hex()[:7]}+{PUBLIC}",
        f"{NAME}+{KEY.key_id.hex()}+{PUBLIC[:-4]}",
        f"{NAME}+{KEY.key_id.hex()}+",
        "\ud800+00000000+" + PUBLIC,
    ],
)
def test_malformed_verifier_keys_are_refused(vkey):
    """A verifier key with another form or key id is refused."""
    with pytest.raises(FormatError):
        VerifierKey.parse(vkey)


def test_base64_of_a_verifier_key_may_hold_a_plus_sign():
    """Only the first two plus signs separate the parts of a verifier key."""
    signers = (Ed25519Signer.from_seed(NAME, bytes([number]) * 32) for number in range(100))
    vkey = next(signer.vkey for signer in signers if "+" in signer.vkey.split("+", 2)[2])
    assert VerifierKey.parse(vkey).vkey == vkey


@pytest.mark.parametrize("text", ["", "no newline", "tab\there\n", "\ufefftext\n", "carriage\r\n"])
def test_texts_that_cannot_be_signed(text):
    """What no checker would accept is not signed."""
    with pytest.raises(FormatError):
        sign_note(text, SIGNER)


@pytest.mark.parametrize(
    "name", ["", "two words", "a+b", "tab\t", "new\nline", "\u2003", "x" * 256, "\ufeffa", "\ud800"]
)
def test_names_that_no_key_may_have(name):
    """A key name has no space, plus sign, control character or byte order mark, and at most 255 bytes."""
    with pytest.raises(FormatError):
        Ed25519Signer.generate(name)


def test_signer_that_signs_with_another_key_is_caught():
    """A note whose signature its own verifier key refuses is not handed out."""

    class Confused:
        name = SIGNER.name
        vkey = SIGNER.vkey
        sign = staticmethod(OTHER.sign)

    with pytest.raises(VerificationError):
        sign_note(TEXT, Confused())
