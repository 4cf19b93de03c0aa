"""The stand-alone verifiers as their users have them: a Python file, a file for Node, a page for a browser."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import random
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from tests.standalone.verifiers import NODE, VERIFIERS
from tests.support.receipts import SIGNER, Log, make_segment, many_file, one_file

from backstory.cli.main import run as run_backstory
from backstory.errors import InputError, VerificationError
from backstory.records import canonical
from backstory.tlog.checkpoint import parse_checkpoint
from backstory.tlog.cosignature import cosign
from backstory.tlog.key import KeyKind, VerifierKey
from backstory.tlog.note import add_signatures, parse_note
from backstory.tlog.signer import Ed25519Signer
from backstory.verify.receipt import verify_receipts
from backstory.verify.standalone import verifier_files

VECTORS = Path(__file__).parents[1] / "vectors"
EXPECTED = json.loads((VECTORS / "receipt.json").read_text("utf-8"))
VKEY = EXPECTED["vkey"]
PROGRAMS = {"python": [sys.executable, "-I", "-S"], "node": [str(NODE)]}
FILES = {"python": VERIFIERS / "verify_receipt.py", "node": VERIFIERS / "verify_receipt.mjs"}
KINDS = ["receipt.tlog-proof", "receipt.receipts"]


@pytest.fixture(params=PROGRAMS)
def check(request, tmp_path):
    """Return a way to run a verifier, copied to where nothing else is, on a file."""
    program = tmp_path / FILES[request.param].name
    program.write_bytes(FILES[request.param].read_bytes())

    def run(file, *options, vkey=VKEY):
        command = [*PROGRAMS[request.param], program, file, *(["--vkey", vkey] if vkey else []), *options]
        return subprocess.run([str(word) for word in command], capture_output=True, encoding="utf-8", check=False)

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_a_good_receipt_gives_0_and_the_json_of_ours(check, kind):
    """With --json a verifier prints what `Receipt.to_dict` has."""
    done = check(VECTORS / kind, "--json")
    ours = [receipt.to_dict() for receipt in verify_receipts(VECTORS / kind, vkey=VKEY)]
    shown = ours[0] if len(ours) == 1 else {"receipts": ours}
    assert (done.returncode, json.loads(done.stdout)) == (0, {"verdict": "verified", **shown})


def test_text_names_record_log_and_values(check):
    """Without --json it says which record, in which log, with which values, and that no witness was asked for."""
    text = check(VECTORS / "receipt.tlog-proof").stdout
    wanted = [EXPECTED["id"], EXPECTED["origin"], EXPECTED["root"], "feature.x = 128.5", "no witness was asked for"]
    assert [word for word in wanted if word not in text] == []


def lines_of_ours(kind):
    """Return what our command prints of a file."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert run_backstory(["verify-receipt", str(VECTORS / kind), "--vkey", VKEY]) == 0
    return out.getvalue().splitlines()


@pytest.mark.parametrize("kind", KINDS)
def test_text_is_that_of_ours(check, kind):
    """All three print the same lines but for values: verdict, each record with its model, once who was asked."""
    shown, ours = (
        [line for line in lines if not line.startswith("  ")]
        for lines in (check(VECTORS / kind).stdout.splitlines(), lines_of_ours(kind))
    )
    assert shown == ours
    assert any(re.match("model .* version .*, digest ", line) for line in shown)
    assert shown.count("no witness was asked for") == 1


def test_many_receipts_begin_with_a_summary(check):
    """Of many records the first line says how many, and in which log."""
    count = len(verify_receipts(VECTORS / "receipt.receipts", vkey=VKEY))
    found = f"{count} predictions in the log of {EXPECTED['origin']} at tree size "
    for first in (check(VECTORS / "receipt.receipts").stdout.splitlines()[0], lines_of_ours("receipt.receipts")[0]):
        assert first.startswith(f"verified under the given key: {found}")


def test_a_record_that_fails_among_many_is_named(check, shared, tmp_path):
    """The number of the receipt in its file, in the words of ours."""
    document = json.loads(shared.read_bytes())
    document["receipts"][1]["index"] = "0"
    path = tmp_path / "bad.receipts"
    path.write_bytes(canonical.encode(document))
    done = check(path, vkey=SIGNER.vkey)
    assert (done.returncode, done.stderr[:40]) == (20, "does not verify: receipt 1 of the file: ")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_is_no_mistake(check, option):
    """Asked how it is used, it says so."""
    done = check(option, vkey=None)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: ")


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """Return the receipt of a record whose time is no time, and whose text tries to be another line."""
    odd_values = {"time": ("string", "now"), "feature.t": ("string", "x\n  output = 1\u2028\x1b[1m\u202e")}

    def change(values):
        return [(name, *odd_values.get(name, (type_, value))) for name, type_, value in values]

    log = Log([make_segment(random.Random(1), 1, change_values=change)])
    path = tmp_path_factory.mktemp("odd") / "r"
    path.write_bytes(one_file(log, log.claim(0, 0)))
    return path


def test_a_value_cannot_pretend_to_be_a_line(check, odd):
    """Whatever a value holds, its text stays on its line and shows what it is made of."""
    done = check(odd, vkey=SIGNER.vkey)
    text = done.stdout
    ours = str(verify_receipts(odd, vkey=SIGNER.vkey)[0])
    assert done.returncode == 0
    assert [[line for line in shown.split("\n") if line.startswith("  output = 1")] for shown in (text, ours)] == [
        [],
        [],
    ]
    assert set(text + ours) & set("\x1b\u2028\u202e") == set()


def test_a_changed_receipt_gives_20(check, tmp_path):
    """What does not verify has its own exit code."""
    data = (VECTORS / "receipt.tlog-proof").read_bytes()
    (tmp_path / "r").write_bytes(data.replace(b"example.org/test\n", b"example.org/tost\n"))
    assert check(tmp_path / "r").returncode == 20


@pytest.mark.parametrize("name", ["receipt.json", "nothing here"])
def test_what_is_no_receipt_gives_21(check, name):
    """What cannot be checked has its own exit code."""
    assert check(VECTORS / name).returncode == 21


@pytest.mark.parametrize(
    "options",
    [["--quorum", "1"], ["--witness", "x"], ["--vkey", VKEY[:-4]], ["--vkey", f"{VKEY} from 9 until 3"], ["--unknown"]],
)
def test_a_wrong_question_gives_2(check, options):
    """A malformed key or option is the caller's mistake, and says nothing about the receipt."""
    assert check(VECTORS / "receipt.tlog-proof", *options).returncode == 2


def test_no_key_gives_2(check):
    """Nothing verifies under no key."""
    assert check(VECTORS / "receipt.tlog-proof", vkey=None).returncode == 2


def test_another_key_gives_20(check):
    """A receipt of another key's log does not verify."""
    other = Ed25519Signer.from_seed(EXPECTED["origin"], bytes(32)).vkey
    assert check(VECTORS / "receipt.tlog-proof", vkey=other).returncode == 20


@pytest.mark.parametrize(("sizes", "code"), [(" from 3", 0), (" until 3", 0), (" until 2", 20), (" from 4", 20)])
def test_a_key_speaks_for_its_sizes(check, sizes, code):
    """A retired key vouches for the tree sizes it was valid for."""
    assert check(VECTORS / "receipt.tlog-proof", vkey=VKEY + sizes).returncode == code


@pytest.mark.parametrize(("name", "code"), [(SIGNER.name, 20), ("witness.example/w", 0)])
def test_a_witness_of_the_logs_name_does_not_count(check, tmp_path, name, code):
    """A log is not its own witness: neither under its key nor under its name."""
    witness = Ed25519Signer.from_seed(name, bytes(32), kind=KeyKind.COSIGNATURE)
    log = Log([make_segment(random.Random(1), 1)])
    log.note = add_signatures(log.note, [cosign(parse_checkpoint(parse_note(log.note).text), witness, 1)])
    file = tmp_path / "cosigned.tlog-proof"
    file.write_bytes(one_file(log, log.claim(0, 0)))
    assert check(file, "--witness", witness.vkey, vkey=SIGNER.vkey).returncode == code


@pytest.mark.parametrize("first", [0, 2], ids=["small order", "no point"])
def test_a_key_that_no_party_has_is_malformed(check, first):
    """A key under which anyone can sign is refused, and one under which nobody can; by ours too."""
    weak = VerifierKey(name="example.org/test", public_key=bytes([first, *bytes(31)]), kind=KeyKind.ED25519).vkey
    assert check(VECTORS / "receipt.tlog-proof", vkey=weak).returncode == 2
    with pytest.raises(InputError):
        verify_receipts(VECTORS / "receipt.tlog-proof", vkey=weak)


@pytest.fixture
def shared(tmp_path):
    """A file of two receipts that share a context."""
    log = Log([make_segment(random.Random(1), 2)])
    path = tmp_path / "shared.receipts"
    path.write_bytes(many_file(log, [log.claim(0, 0), log.claim(0, 1)]))
    return path


def test_a_shared_context_is_read_once(shared):
    """Neither time nor memory grows with the number of records that share a large context."""
    first, second = verify_receipts(shared, vkey=SIGNER.vkey)
    assert first.context is second.context
    program = runpy.run_path(str(FILES["python"]))
    first, second = program["check_file"](shared.read_bytes(), [program["Key"](SIGNER.vkey, 1)], [], 0)
    assert first["context"] is second["context"]


def test_a_shared_context_is_read_once_in_javascript(shared):
    """So in JavaScript."""
    script = f"""
        import {{ readFileSync }} from "node:fs";
        import {{ checkFile }} from {json.dumps(FILES["node"].as_uri())};
        const data = new Uint8Array(readFileSync({json.dumps(str(shared))}));
        const [one, other] = await checkFile(data, {{ vkeys: [{json.dumps(SIGNER.vkey)}] }});
        console.log(one.context === other.context);
    """
    command = [str(NODE), "--input-type=module", "--eval", script]
    assert subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout == "true\n"


def test_python_file_runs_on_3_9():
    """The Python file has no syntax newer than it says."""
    source = FILES["python"].read_text("utf-8")
    assert "Python 3.9" in source
    assert ast.parse(source, feature_version=(3, 9))


def test_python_file_imports_the_standard_library_alone():
    """The Python file needs nothing installed, and shares no code with the package."""
    nodes = list(ast.walk(ast.parse(FILES["python"].read_bytes())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    assert names - sys.stdlib_module_names == set()


def test_page_holds_the_script_and_loads_nothing():
    """The page is one file: the module is in it, whole, and it names no other file or address."""
    files = verifier_files()
    page = files["verify_receipt.html"].decode()
    assert files["verify_receipt.mjs"].decode() in page
    assert re.findall(r"(?:src|href|action)\s*=\s*['\"]|@import|url\(|https?://", page) == []


def test_script_does_not_end_the_page():
    """Nothing in the module would end the script of the page."""
    assert "</script" not in verifier_files()["verify_receipt.mjs"].decode().lower()


def test_page_may_connect_to_nothing():
    """The page's own policy forbids every connection."""
    assert "default-src 'none'" in verifier_files()["verify_receipt.html"].decode()


def signature_cases():
    """Return signatures that must not count, by what is wrong with them."""
    signer, message = Ed25519Signer.from_seed("a", bytes(range(32))), b"message"
    good, order = signer.sign(message), 2**252 + 27742317777372353535851937790883648493
    s = int.from_bytes(good[32:], "little")
    return signer, message, good, {
        "S above the order": good[:32] + (s + order).to_bytes(32, "little"),
        "R is no point": b"\x02" + bytes(31) + good[32:],
        "R above the prime": (2**255 - 19 + 1).to_bytes(32, "little") + good[32:],
        "S of another": good[:32] + signer.sign(b"other")[32:],
        "short": good[:63],
        "long": good + b"\0",
        "empty": b"",
    }  # fmt: skip


@pytest.mark.parametrize("name", signature_cases()[3])
def test_ed25519_of_the_python_file_refuses(name):
    """Signatures with another spelling, or of something else, do not hold; the good one does."""
    from backstory.verify.standalone import verify_receipt as alone

    signer, message, good, bad = signature_cases()
    public = VerifierKey.parse(signer.vkey).public_key
    assert alone.is_ed25519(public, message, good)
    assert not alone.is_ed25519(public, message, bad[name])


def test_ed25519_agrees_with_the_library():
    """Over many keys and messages, right and wrong by a bit, it says what `cryptography` says."""
    from backstory.verify.standalone import verify_receipt as alone

    for number in range(40):
        signer, message = Ed25519Signer.from_seed("a", bytes([number] * 32)), bytes([number]) * number
        signature = bytearray(signer.sign(message))
        signature[number % 64] ^= (number % 3 == 0) << number % 8
        key = VerifierKey.parse(signer.vkey)
        try:
            key.verify(message, bytes(signature))
            expected = True
        except VerificationError:
            expected = False
        assert alone.is_ed25519(key.public_key, message, bytes(signature)) is expected
