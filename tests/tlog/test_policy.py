"""Policies: their file, the quorum, and how old it may be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tlog.grown_log import C2SP

from backstory.errors import FormatError, InputError, VerificationError
from backstory.tlog.checkpoint import Checkpoint, sign_checkpoint
from backstory.tlog.cosignature import cosign
from backstory.tlog.key import KeyKind, ValidKey, VerifierKey
from backstory.tlog.note import add_signatures
from backstory.tlog.policy import PolicyGroup, PolicyWitness, WitnessTime, parse_policy
from backstory.tlog.signer import Ed25519Signer, MlDsaSigner

ORIGIN = "example.org/delays"
LOG = Ed25519Signer.from_seed(ORIGIN, bytes(range(32)))
CHECKPOINT = Checkpoint(origin=ORIGIN, size=8, root=bytes(range(32)))
SIGNED = sign_checkpoint(CHECKPOINT, LOG)
WITNESSES = {
    name: Ed25519Signer.from_seed(f"witness.example/{name}", name.encode() * 16, KeyKind.COSIGNATURE)
    for name in ("X1", "X2", "X3", "Y1", "Y2", "Y3")
}
DEFINED = "".join(f"witness {name} {signer.vkey}\n" for name, signer in WITNESSES.items())
TWO_LEVELS = f"""log {LOG.vkey}
{DEFINED}
group X-witnesses 2 X1 X2 X3
group Y-witnesses any Y1 Y2 Y3
group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""
POLICY = parse_policy(TWO_LEVELS)
NOW = 1_767_225_600


def _note(**times):
    return add_signatures(SIGNED, [cosign(CHECKPOINT, WITNESSES[name], time) for name, time in times.items()])


def _policy(*lines):
    return parse_policy("\n".join((f"log {LOG.vkey}", *lines, "")))


def _two_of_three():
    return _policy(DEFINED, "group g 2 X1 X2 X3", "quorum g")


def test_policy_with_two_levels():
    """The example of the C2SP text has one log, six witnesses, and groups of groups."""
    assert [log.key.vkey for log in POLICY.logs] == [LOG.vkey]
    assert [witness.name for witness in POLICY.witnesses] == list(WITNESSES)
    assert POLICY.groups == (
        PolicyGroup(name="X-witnesses", threshold=2, members=("X1", "X2", "X3")),
        PolicyGroup(name="Y-witnesses", threshold=1, members=("Y1", "Y2", "Y3")),
        PolicyGroup(name="X-and-Y", threshold=2, members=("X-witnesses", "Y-witnesses")),
    )
    assert POLICY.quorum == "X-and-Y"


@pytest.mark.parametrize("names", ["X1 X2 Y1", "X1 X3 Y3", "X2 X3 Y2", "X1 X2 X3 Y1 Y2 Y3"])
def test_quorum_is_met(names):
    """Enough members of every group that is asked for make the quorum."""
    assert POLICY.is_met(names.split())
    witnessed = POLICY.check(_note(**dict.fromkeys(names.split(), NOW)))
    assert witnessed.checkpoint == CHECKPOINT
    assert [witness.name for witness in witnessed.witnesses] == names.split()
    assert (witnessed.quorum_time, witnessed.fresh_time) == (NOW, NOW)


@pytest.mark.parametrize("names", ["", "X1", "X1 X2", "X1 X2 X3", "Y1 Y2 Y3", "X1 Y1 Y2 Y3"])
def test_quorum_is_not_met(names):
    """Too few members of one group are not made up for by more of another."""
    assert not POLICY.is_met(names.split())
    with pytest.raises(VerificationError, match="X-and-Y"):
        POLICY.check(_note(**dict.fromkeys(names.split(), NOW)))


def test_one_witness_is_a_quorum():
    """The quorum may be one witness, without a group."""
    policy = _policy(DEFINED, "quorum Y2")
    assert policy.check(_note(Y2=NOW)).witnesses == (WitnessTime(name="Y2", vkey=WITNESSES["Y2"].vkey, time=NOW),)
    with pytest.raises(VerificationError):
        policy.check(_note(Y1=NOW))


def test_no_witness_is_asked_for():
    """With `quorum none` the log's signature is enough, and who cosigned is told all the same."""
    policy = _policy(DEFINED, "quorum none")
    witnessed = policy.check(_note(X1=NOW))
    assert policy.is_met([])
    assert [witness.name for witness in witnessed.witnesses] == ["X1"]
    assert (witnessed.quorum_time, witnessed.fresh_time) == (None, None)
    assert policy.check(SIGNED).witnesses == ()


def test_times_of_the_quorum():
    """The quorum's time is when enough had cosigned, its freshness since when enough did."""
    witnessed = _two_of_three().check(_note(X1=100, X2=200, X3=300))
    assert (witnessed.quorum_time, witnessed.fresh_time) == (200, 200)
    witnessed = POLICY.check(_note(X1=100, X2=400, X3=300, Y1=50, Y2=350))
    assert (witnessed.quorum_time, witnessed.fresh_time) == (300, 300)
    one_of_three = _policy(DEFINED, "group g any X1 X2 X3", "quorum g")
    witnessed = one_of_three.check(_note(X1=100, X2=200))
    assert (witnessed.quorum_time, witnessed.fresh_time) == (100, 200)


def test_time_0_says_nothing():
    """A cosignature with time 0 counts for the quorum, shows no time, and is never fresh."""
    signer = MlDsaSigner.from_seed("witness.example/Z", bytes(32))
    policy = _policy(f"witness Z {signer.vkey}", "quorum Z")
    note = add_signatures(SIGNED, [cosign(CHECKPOINT, signer, 0)])
    witnessed = policy.check(note)
    assert (witnessed.quorum_time, witnessed.fresh_time) == (None, 0)
    with pytest.raises(VerificationError, match="too old"):
        policy.check(note, now=NOW, max_age_seconds=1000)


@pytest.mark.parametrize(("age", "is_fresh"), [(0, True), (3600, True), (3601, False)])
def test_age(age, is_fresh):
    """The quorum may be as old as was allowed and not a second older."""
    note = _note(X1=NOW - age, X2=NOW - age, X3=5)
    if is_fresh:
        _two_of_three().check(note, now=NOW, max_age_seconds=3600)
    else:
        with pytest.raises(VerificationError, match="too old"):
            _two_of_three().check(note, now=NOW, max_age_seconds=3600)
    _two_of_three().check(note)


def test_cosignatures_from_the_future_do_not_count():
    """A cosignature more than 60 seconds ahead of the reader's clock is no vote; others still make the quorum."""
    _two_of_three().check(_note(X1=NOW + 60, X2=NOW), now=NOW)
    ahead = {"X1": NOW + 61, "X2": NOW}
    with pytest.raises(VerificationError, match="got X2"):
        _two_of_three().check(_note(**ahead), now=NOW)
    assert len(_two_of_three().check(_note(**ahead, X3=NOW), now=NOW).witnesses) == 2
    assert len(_two_of_three().check(_note(**ahead)).witnesses) == 2


def test_an_age_needs_a_time_and_a_quorum():
    """Limiting the age without saying what time it is, or without asking for witnesses, is the caller's mistake."""
    with pytest.raises(InputError):
        POLICY.check(_note(X1=NOW, X2=NOW, Y1=NOW), max_age_seconds=60)
    with pytest.raises(InputError):
        _policy("quorum none").check(SIGNED, now=NOW, max_age_seconds=60)


def test_the_log_must_sign():
    """Witnesses do not stand in for the log: its own signature must be there and hold."""
    stranger = sign_checkpoint(CHECKPOINT, Ed25519Signer.from_seed(ORIGIN, bytes(32)))
    lines = [cosign(CHECKPOINT, WITNESSES[name], NOW) for name in ("X1", "X2", "Y1")]
    with pytest.raises(VerificationError, match="signed by"):
        POLICY.check(add_signatures(stranger, lines))
    with pytest.raises(VerificationError):
        POLICY.check(_note(X1=NOW, X2=NOW, Y1=NOW).replace(b"\n8\n", b"\n9\n"))


def test_any_listed_log_may_sign():
    """A checkpoint of each listed log is believed, and of a log whose key is listed under another name not."""
    other = Ed25519Signer.from_seed("example.org/other", bytes(32))
    policy = _policy(f"log {other.vkey} https://example.org/other", "quorum none")
    of_other = Checkpoint(origin="example.org/other", size=1, root=bytes(32))
    assert policy.check(sign_checkpoint(of_other, other)).checkpoint == of_other
    assert policy.check(SIGNED).checkpoint == CHECKPOINT
    with pytest.raises(VerificationError):
        _policy("quorum none").check(sign_checkpoint(of_other, other))


def test_keys_of_the_caller():
    """Keys that the caller pinned take the place of the listed logs, with the sizes they speak for."""
    policy = parse_policy("quorum none\n")
    key = VerifierKey.parse(LOG.vkey)
    assert policy.check(SIGNED, keys=[key]).checkpoint == CHECKPOINT
    with pytest.raises(VerificationError, match="no key was given for that name"):
        policy.check(SIGNED)
    with pytest.raises(VerificationError, match="sizes 0 to 7"):
        policy.check(SIGNED, keys=[ValidKey(key=key, last=7)])
    other = VerifierKey.parse(Ed25519Signer.from_seed(ORIGIN, bytes(32)).vkey)
    with pytest.raises(VerificationError):
        _policy("quorum none").check(SIGNED, keys=[other])


def test_a_failing_cosignature_refuses_the_checkpoint():
    """A line of a known witness that does not hold is not made up for by enough others."""
    wrong = cosign(Checkpoint(origin=ORIGIN, size=9, root=bytes(32)), WITNESSES["X3"], NOW)
    note = add_signatures(_note(X1=NOW, X2=NOW), [wrong])
    with pytest.raises(VerificationError, match="X3"):
        _two_of_three().check(note)


def test_unknown_witnesses_do_not_count():
    """Cosignatures of witnesses that the policy does not list change nothing."""
    strangers = [Ed25519Signer.from_seed(f"s{n}", bytes([n]) * 32, KeyKind.COSIGNATURE) for n in range(9)]
    note = add_signatures(SIGNED, [cosign(CHECKPOINT, signer, NOW) for signer in strangers])
    with pytest.raises(VerificationError, match="got nobody"):
        _two_of_three().check(note)


@pytest.mark.parametrize("pinned", [False, True])
def test_a_log_is_not_its_own_witness(pinned):
    """A witness with the public key of the log does not count, whatever it is called."""
    own = Ed25519Signer.from_seed("witness.example/independent", LOG.seed, KeyKind.COSIGNATURE)
    text = f"witness W {own.vkey}\nquorum W\n"
    policy = parse_policy(text if pinned else f"log {LOG.vkey}\n{text}")
    keys = [VerifierKey.parse(LOG.vkey)] if pinned else None
    with pytest.raises(VerificationError, match="got nobody"):
        policy.check(add_signatures(SIGNED, [cosign(CHECKPOINT, own, NOW)]), keys=keys)


def test_a_witness_with_the_logs_name_does_not_count():
    """A second key of the log under the log's name is not a witness of it."""
    own = MlDsaSigner.from_seed(ORIGIN, bytes(32))
    policy = _policy(f"witness W {own.vkey}", "quorum W")
    with pytest.raises(VerificationError, match="got nobody"):
        policy.check(add_signatures(SIGNED, [cosign(CHECKPOINT, own, NOW)]))


def test_a_log_may_witness_another_log():
    """A key that is listed as a log's counts as a witness of other logs."""
    other = Ed25519Signer.from_seed("example.org/other", bytes(32))
    witness = Ed25519Signer.from_seed("example.org/other", bytes(32), KeyKind.COSIGNATURE)
    policy = _policy(f"log {other.vkey}", f"witness W {witness.vkey}", "quorum W")
    assert len(policy.check(add_signatures(SIGNED, [cosign(CHECKPOINT, witness, NOW)])).witnesses) == 1


def test_an_ml_dsa_log_and_witness():
    """A policy may list ML-DSA-44 keys on both sides."""
    log, witness = MlDsaSigner.from_seed(ORIGIN, bytes(32)), MlDsaSigner.from_seed("w", b"w" * 32)
    policy = parse_policy(f"log {log.vkey}\nwitness W {witness.vkey} https://w.example/\nquorum W\n")
    note = add_signatures(sign_checkpoint(CHECKPOINT, LOG, log, time=5), [cosign(CHECKPOINT, witness, NOW)])
    assert policy.check(note).fresh_time == NOW
    assert policy.witnesses == (PolicyWitness(name="W", key=VerifierKey.parse(witness.vkey), url="https://w.example/"),)


def test_policy_of_the_vectors():
    """The published cosigned checkpoint meets a policy of its log and its witness."""
    policy = parse_policy(f"log {C2SP['log_vkey']}\nwitness w1 {C2SP['witness_vkey']}\nquorum w1\n")
    witnessed = policy.check(C2SP["checkpoint_size_8"].encode(), now=NOW + 600, max_age_seconds=600)
    assert (witnessed.checkpoint.size, witnessed.fresh_time) == (8, NOW)
    with pytest.raises(VerificationError):
        policy.check(C2SP["checkpoint_size_6"].encode())


W = f"witness W {WITNESSES['X1'].vkey}"
V = f"witness V {WITNESSES['X2'].vkey}"
SAME_AS_W = Ed25519Signer.from_seed("another.name", WITNESSES["X1"].seed, KeyKind.COSIGNATURE).vkey
GOOD_FILES = {
    "shortest": "quorum none\n",
    "white space": f" \t quorum\t \tnone \t\n\n \t\n{W}  \n",
    "comments": f"# log\n  \t# quorum W\n#\n{W}\nquorum W\n# the end\n",
    "comment beyond ascii": "# für uns\nquorum none\n",
    "definitions after the quorum": f"quorum none\n{W}\nlog {LOG.vkey}\n",
    "witness and log with a url": f"{W} https://w.example/\nlog {LOG.vkey} https://l.example/\nquorum W\n",
    "names of key words": f"witness quorum {WITNESSES['X1'].vkey}\ngroup all all quorum\nquorum all\n",
    "name of digits": f"witness 1 {WITNESSES['X1'].vkey}\ngroup 2 1 1\nquorum 2\n",
    "name with a sign": f"witness #W {WITNESSES['X1'].vkey}\nquorum #W\n",
    "name with a no-break space": f"witness W\u00a0W {WITNESSES['X1'].vkey}\nquorum W\u00a0W\n",
    "key of a log and of a witness": f"log {LOG.vkey}\nwitness W "
    + Ed25519Signer.from_seed("w", LOG.seed, KeyKind.COSIGNATURE).vkey
    + "\nquorum W\n",
}
MALFORMED = {
    "empty": "",
    "no quorum": f"log {LOG.vkey}\n{W}\n",
    "two quorums": "quorum none\nquorum none\n",
    "quorum of nobody": "quorum W\n",
    "quorum defined later": f"quorum W\n{W}\n",
    "quorum of two": f"{W}\n{V}\nquorum W V\n",
    "quorum without a name": "quorum\n",
    "no final newline": "quorum none",
    "carriage returns": "quorum none\r\n",
    "nul": "quorum none\n# \0\n",
    "delete": "quorum none\n# \x7f\n",
    "vertical tab": "quorum\vnone\n",
    "form feed": "quorum\fnone\n",
    "no-break space between items": "quorum\u00a0none\n",
    "byte order mark": "\ufeffquorum none\n",
    "unknown line": "quorum none\nmirror x\n",
    "capitals": "Quorum none\n",
    "comment behind a line": "quorum none # nobody\n",
    "log without a key": "log\nquorum none\n",
    "log with a malformed key": f"log {LOG.vkey[:-1]}\nquorum none\n",
    "log with a witness's key": f"log {WITNESSES['X1'].vkey}\nquorum none\n",
    "log with two urls": f"log {LOG.vkey} a b\nquorum none\n",
    "one log twice": f"log {LOG.vkey}\nlog {LOG.vkey}\nquorum none\n",
    "one public key for two logs": f"log {LOG.vkey}\nlog {Ed25519Signer.from_seed('x', LOG.seed).vkey}\nquorum none\n",
    "witness without a key": "witness W\nquorum none\n",
    "witness with a log's key": f"witness W {LOG.vkey}\nquorum W\n",
    "witness with two urls": f"{W} a b\nquorum none\n",
    "one name twice": f"{W}\nwitness W {WITNESSES['X2'].vkey}\nquorum W\n",
    "one public key for two witnesses": f"{W}\nwitness V {SAME_AS_W}\nquorum none\n",
    "witness called none": f"witness none {WITNESSES['X1'].vkey}\nquorum none\n",
    "group called none": f"{W}\ngroup none any W\nquorum none\n",
    "group with a witness's name": f"{W}\ngroup W any W\nquorum W\n",
    "group of nobody": f"{W}\ngroup g any\nquorum none\n",
    "group of none": f"{W}\ngroup g any none\nquorum g\n",
    "group of somebody unknown": f"{W}\ngroup g any W Z\nquorum g\n",
    "group of somebody defined later": f"{W}\ngroup g any W V\n{V}\nquorum g\n",
    "group of itself": f"{W}\ngroup g any W g\nquorum g\n",
    "member twice in a group": f"{W}\ngroup g 2 W W\nquorum g\n",
    "member of two groups": f"{W}\n{V}\ngroup g any W V\ngroup h any W\nquorum g\n",
    "threshold 0": f"{W}\ngroup g 0 W\nquorum g\n",
    "threshold above the members": f"{W}\ngroup g 2 W\nquorum g\n",
    "threshold with a leading zero": f"{W}\ngroup g 01 W\nquorum g\n",
    "threshold with a sign": f"{W}\ngroup g +1 W\nquorum g\n",
    "threshold of another script": f"{W}\ngroup g \u0661 W\nquorum g\n",
    "threshold in capitals": f"{W}\ngroup g ANY W\nquorum g\n",
    "names that look alike": f"witness K {WITNESSES['X1'].vkey}\nquorum \u212a\n",
    "too large": "#" * 1_000_000 + "\nquorum none\n",
}


@pytest.mark.parametrize("name", GOOD_FILES)
def test_good_files(name):
    """Everything that the C2SP text allows is read, from bytes and from text."""
    assert parse_policy(GOOD_FILES[name]) == parse_policy(GOOD_FILES[name].encode())


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_files_are_refused(name):
    """Everything else is refused."""
    with pytest.raises(FormatError):
        parse_policy(MALFORMED[name])


def test_names_are_bytes():
    """Names may be bytes that are no UTF-8; they are compared byte for byte, and printed without harm."""
    vkey = WITNESSES["X1"].vkey.encode()
    policy = parse_policy(b"log " + LOG.vkey.encode() + b"\nwitness \xff\xc3 " + vkey + b"\nquorum \xff\xc3\n")
    assert [witness.name for witness in policy.check(_note(X1=NOW)).witnesses] == ["\udcff\udcc3"]
    with pytest.raises(VerificationError, match=r"got nobody") as caught:
        policy.check(SIGNED)
    assert str(caught.value).isprintable()
    with pytest.raises(FormatError):
        parse_policy(b"witness \xff " + vkey + b"\nquorum \xfe\n")
    with pytest.raises(FormatError):
        parse_policy(b"log \xff" + LOG.vkey.encode() + b"\nquorum none\n")


def test_the_line_is_named():
    """The message says which line is malformed."""
    with pytest.raises(FormatError, match="line 3"):
        parse_policy("# first\n\nlog nothing\nquorum none\n")


def test_large_policies():
    """100 witnesses and as many groups, one in the other, are read and met."""
    signers = [Ed25519Signer.from_seed(f"w{n}", bytes([n]) * 32, KeyKind.COSIGNATURE) for n in range(100)]
    lines = [f"witness w{n} {signer.vkey}" for n, signer in enumerate(signers)]
    lines += ["group g0 all w0", *(f"group g{n} all g{n - 1} w{n}" for n in range(1, 100)), "quorum g99"]
    policy = _policy(*lines)
    assert policy.is_met([f"w{n}" for n in range(100)])
    assert not policy.is_met([f"w{n}" for n in range(99)])


@given(st.dictionaries(st.sampled_from(list(WITNESSES)), st.integers(1, 50)), st.integers(0, 60))
def test_quorum_and_freshness_agree_with_their_definition(times, age):
    """The quorum is reached by its time and not before, and held since its freshness and not longer."""
    x_times = sorted(time for name, time in times.items() if name.startswith("X"))
    y_times = sorted(time for name, time in times.items() if name.startswith("Y"))
    if len(x_times) < 2 or not y_times:
        assert not POLICY.is_met(times)
        return
    witnessed = POLICY.check(_note(**times))
    assert witnessed.quorum_time == max(x_times[1], y_times[0])
    assert witnessed.fresh_time == min(x_times[-2], y_times[-1])
    is_fresh = witnessed.fresh_time >= 60 - age
    try:
        POLICY.check(_note(**times), now=60, max_age_seconds=age)
    except VerificationError:
        assert not is_fresh
    else:
        assert is_fresh


@given(st.lists(st.sampled_from([*TWO_LEVELS.split(), "none", "\n", " ", "2", "any", "all", "#"]), max_size=30))
def test_parser_raises_nothing_else(items):
    """Any mixture of a policy's words is a policy or malformed."""
    try:
        parse_policy(" ".join(items) + "\n")
    except FormatError:
        return


@given(st.binary(max_size=100))
def test_any_bytes_are_a_policy_or_malformed(data):
    """Arbitrary bytes before a good policy are read or malformed."""
    try:
        parse_policy(data + b"\nquorum none\n")
    except FormatError:
        return
