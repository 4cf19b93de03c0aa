"""A pickle is known by its content, hashed and kept; nothing opens it but a process without network, when told to."""

from __future__ import annotations

import hashlib
import io
import pickle
import socket
import sys
import textwrap
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import joblib
import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn.linear_model import LogisticRegression

import backstory
from backstory.debug.case import read_case
from backstory.debug.isolated import run_in_own_process
from backstory.errors import ModelError
from backstory.models import capture_artifact, isolated_process, load_artifact
from backstory.models.isolated import Interpreter, run_isolated
from backstory.models.pickle_format import is_pickle

ROWS = np.random.default_rng(4).normal(size=(30, 3))
YES = (ROWS.sum(axis=1) > 0).astype(int)
SOURCES = str(Path(backstory.__file__).parents[1])


class Sentinel:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        """Say what unpickling calls."""
        return open, (str(self.path), "w")


def _numpy(thing):
    file = io.BytesIO()
    np.save(file, np.array([thing, None], dtype=object), allow_pickle=True)
    return file.getvalue()


def _numpy_zip(thing):
    file = io.BytesIO()
    np.savez(file, a=np.array([thing, None], dtype=object))
    return file.getvalue()


def _joblib(thing, compress=0):
    file = io.BytesIO()
    joblib.dump(thing, file, compress=compress)
    return file.getvalue()


def _torch_zip(thing):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps(thing))
        archive.writestr("model/version", "3\n")
    return file.getvalue()


FORMS = {
    **{f"protocol {n}": (lambda thing, n=n: pickle.dumps(thing, n)) for n in range(6)},
    "object array": _numpy,
    "zip of object arrays": _numpy_zip,
    "joblib": _joblib,
    **{
        f"joblib {kind}": (lambda thing, kind=kind: _joblib(thing, (kind, 3)))
        for kind in ("zlib", "gzip", "bz2", "lzma", "xz")
    },
    "torch zip": _torch_zip,
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """An archive."""
    with backstory.init(tmp_path_factory.mktemp("pickles") / "audit", origin="example.org/pickles") as made:
        yield made


@pytest.fixture(scope="module")
def model():
    """A model as people pickle it."""
    return LogisticRegression().fit(ROWS, YES)


@pytest.fixture(scope="module")
def case(archive, model, tmp_path_factory):
    """A recorded call of a model that is kept as a pickle, which the caller opened."""
    path = tmp_path_factory.mktemp("model") / "model.joblib"
    joblib.dump(model, path)
    version = archive.register(path, name="pickled")
    version.estimator = joblib.load(path)
    found = archive._found(archive.predict(version, ROWS, method="predict_proba").ids[0])
    return read_case(archive._workshop, found, "replay"), hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("form", FORMS)
def test_pickle_is_hashed_and_never_opened(tmp_path, form):
    """Whatever it is wrapped in and called, a file that runs what it says is kept as it is and stays closed."""
    sentinel, path = tmp_path / "opened", tmp_path / "model.onnx"
    data = FORMS[form](Sentinel(sentinel))
    path.write_bytes(data)
    artifact = capture_artifact(path)
    with pytest.raises(ModelError, match=artifact.content_digest):
        load_artifact(artifact.format, artifact.data)
    assert (artifact.format, artifact.data, artifact.replayable) == ("pickle", data, False)
    assert artifact.content_digest == hashlib.sha256(data).hexdigest()
    assert not sentinel.exists()


def test_sentinel_fires_when_opened(tmp_path):
    """The test above would see a pickle that is opened."""
    pickle.loads(pickle.dumps(Sentinel(tmp_path / "opened"))).close()
    assert (tmp_path / "opened").exists()


def test_registered_pickle_stays_closed(archive, tmp_path):
    """Registering, asking for it, and looking at its predictions open nothing; the reason names the digest."""
    sentinel, path = tmp_path / "opened", tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(Sentinel(sentinel)))
    version = archive.register(path, name="closed", alias="production")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest in version.document["model"]["reason"]
    with pytest.raises(ModelError, match=digest):
        archive.predict(version, ROWS)
    with archive.prediction(model=archive.model("closed@production")) as prediction:
        prediction.features({"a": 1.0})
        prediction.output(0.5)
    assert archive.replay(prediction.id).verdict == "not-replayable"
    assert not sentinel.exists()


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"PK\x03\x04", b"\x80\x09", b"\x93NUMPY\x01\x00v\x00{'descr': '<f8'", b"x\x9c", b"\x08\x09\x3a"],
)
def test_what_is_no_pickle(data):
    """Bytes that run nothing are not taken for a pickle."""
    assert not is_pickle(data)


def test_file_of_no_known_form_is_refused(tmp_path):
    """A file nobody knows is refused by its name, and so is one that is not there."""
    (tmp_path / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(ModelError, match=r"model\.h5"):
        capture_artifact(tmp_path / "model.h5")
    with pytest.raises(ModelError, match="No such file"):
        capture_artifact(tmp_path / "missing.pkl")


@pytest.mark.parametrize("name", ["model.ubj", "model.json", "model.txt"])
def test_file_of_a_booster_is_the_booster(tmp_path, name):
    """A file of XGBoost or LightGBM is registered as the booster in it."""
    if name == "model.txt":
        booster = lightgbm.train({"verbose": -1, "num_threads": 1}, lightgbm.Dataset(ROWS, YES), 2)
    else:
        booster = xgboost.train({"nthread": 1}, xgboost.DMatrix(ROWS, YES), 2)
    booster.save_model(tmp_path / name)
    artifact = capture_artifact(tmp_path / name)
    loaded = load_artifact(artifact.format, artifact.data)
    given = ROWS if name == "model.txt" else xgboost.DMatrix(ROWS)
    np.testing.assert_array_equal(loaded.predict(given), booster.predict(given))


def test_file_of_skops_is_the_estimator(tmp_path, model):
    """A file of skops is registered as the estimator in it: one content digest, whoever dumped it."""
    import skops.io

    skops.io.dump(model, tmp_path / "model.bin")
    assert capture_artifact(tmp_path / "model.bin").content_digest == capture_artifact(model).content_digest


def test_skops_dumped_twice_has_one_content_digest(model, tmp_path):
    """Two dumps of one model, whose bytes differ, have one content digest."""
    import skops.io

    for name in ("one", "two"):
        skops.io.dump(model, tmp_path / name)
    one, two = (capture_artifact(tmp_path / name) for name in ("one", "two"))
    assert (tmp_path / "one").read_bytes() != (tmp_path / "two").read_bytes()
    assert one.content_digest == two.content_digest


def test_pickle_runs_in_its_own_process_when_named(archive, case):
    """Named by its digest it is run, elsewhere, and gives the recorded bits."""
    recorded, digest = case
    now = run_in_own_process(archive._workshop, recorded, recorded.features, pickles=[digest])
    assert now.equals(recorded.output)


def test_a_call_in_tiles_is_run_in_tiles_there_too(archive, case):
    """The other process makes the call as it was made: of one size, which a tile of none shows."""
    recorded, digest = case
    tiled = replace(recorded, context={**recorded.context, "tile": "0"})
    with pytest.raises(ModelError, match="isolated process"):
        run_in_own_process(archive._workshop, tiled, recorded.features, pickles=[digest])


@pytest.mark.parametrize("cut", [slice(0, 12), slice(0, 0)], ids=["prefix", "nothing"])
def test_pickle_runs_for_no_less_than_its_digest(archive, case, cut):
    """The beginning of a digest, or nothing, opens nothing."""
    recorded, digest = case
    with pytest.raises(ModelError, match=digest):
        run_in_own_process(archive._workshop, recorded, recorded.features, pickles=[digest[cut]])


@pytest.fixture
def isolated(tmp_path):
    """Runs a program in a process of its own: the body of `answer(body: bytes) -> bytes`."""
    (tmp_path / "path").mkdir()

    def run(program, body=b"", **options):
        source = "def answer(body):\n" + textwrap.indent(textwrap.dedent(program), "    ")
        (tmp_path / "path" / "program.py").write_text(source)
        path = [str(tmp_path / "path"), SOURCES]
        interpreter = Interpreter(executable=Path(sys.executable), path=path, variables={})
        return run_isolated(("program", "answer"), body, interpreter, **{"seconds": 30, **options})

    return run


OPEN = """
    from backstory.models.pickle_format import open_trusted
    open_trusted(body)
    return b"opened"
"""


def test_pickle_that_runs_does_run(isolated):
    """The process opens what it is given: the refusals below are the walls'."""
    assert isolated(OPEN, pickle.dumps({"a": 1})) == b"opened"


class Calling:
    """Connects to a port when it is unpickled."""

    def __init__(self, port):
        self.port = port

    def __reduce__(self):
        """Say what unpickling calls."""
        return socket.create_connection, (("127.0.0.1", self.port), 5)


def test_pickle_reaches_no_network(isolated):
    """A pickle that calls somebody on this very machine is refused, and nobody was called."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        with pytest.raises(ModelError, match="PermissionError"):
            isolated(OPEN, pickle.dumps(Calling(listener.getsockname()[1])))
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize(
    "attempt",
    [
        "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)",
        "socket.socket(socket.AF_UNIX)",
        "os.fork()",
        "subprocess.run(['/bin/true'])",
        "os.kill(os.getppid(), 0)",
        "resource.prlimit(os.getppid(), resource.RLIMIT_CORE, (0, 0))",
        "os.setpriority(os.PRIO_PROCESS, os.getppid(), 10)",
        "os.chmod('.', 0o700)",
        "os.utime('.', (1, 1))",
        "os.chroot('.')",
        "thread(socket.socket)",
    ],
)
def test_walls_refuse(isolated, attempt):
    """No socket of any family, no other process, no say in one, no file's mode or times; in no thread either."""
    program = f"""
        import os, resource, socket, subprocess, concurrent.futures
        thread = lambda call: concurrent.futures.ThreadPoolExecutor().submit(call).result()
        {attempt}
        return b"done"
    """
    with pytest.raises(ModelError, match="PermissionError"):
        isolated(program)


@pytest.mark.skipif(isolated_process.landlock_version() < 1, reason="the kernel has no Landlock")
def test_walls_keep_files_in(isolated, tmp_path):
    """It reads nothing beside its modules, and writes nothing outside its own directory, which is gone afterwards."""
    (tmp_path / "secret").write_text("key")
    program = f"""
        import os
        said = []
        for attempt in (lambda: open({str(tmp_path / "secret")!r}), lambda: open({str(tmp_path / "new")!r}, "w"),
                        lambda: open("/proc/%d/environ" % os.getppid())):
            try:
                attempt()
                said.append("did")
            except PermissionError:
                said.append("could not")
        open("own", "w").close()
        return " ".join([*said, os.getcwd()]).encode()
    """
    *said, folder = isolated(program).decode().split(" ")
    assert said == ["could", "not"] * 3
    assert not Path(folder).exists()


def test_environment_is_empty(isolated, monkeypatch):
    """Nothing of the caller's variables is there to be read."""
    monkeypatch.setenv("BACKSTORY_TEST_SECRET", "key")
    names = isolated("import os\nreturn ' '.join(sorted(os.environ)).encode()").decode().split()
    assert set(names) <= {"HOME", "LANG", "LC_CTYPE", "TMPDIR"}


def test_words_of_the_process_are_not_shown(isolated):
    """An error's text may hold what the model was given; only its class is told, and only a known one."""
    with pytest.raises(ModelError, match="raises ValueError") as refused:
        isolated("raise ValueError('4711')")
    with pytest.raises(ModelError, match="raises an error") as own:
        isolated("raise type('Has4711', (Exception,), {})('4711')")
    assert "4711" not in str(refused.value) + str(own.value)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import time\ntime.sleep(60)", "longer than 0.5 seconds"),
        ("import os\nos._exit(0)", "without an answer"),
        ("import os\nos.write(3, b'[]\\n')\nos._exit(0)", "without an answer"),
        ("return bytearray(1 << 40)", "MemoryError"),
    ],
)
def test_process_that_does_not_answer(isolated, program, words):
    """Too slow, gone, talking nonsense, too greedy: each is said."""
    seconds = 0.5 if "sleep" in program else 30
    with pytest.raises(ModelError, match=words):
        isolated(program, seconds=seconds)


def test_walls_that_are_up_cannot_be_talked_away(isolated):
    """What code says behind the walls is never taken for the word that nothing was opened."""
    with pytest.raises(ModelError) as refused:
        isolated("""
            import os
            os.write(3, b'{"stage": "walls", "error": "4711"}\\n')
            os._exit(0)
        """)
    assert "4711" not in str(refused.value)
    assert "nothing was opened" not in str(refused.value)


def test_time_is_over_for_what_a_process_started_too(isolated):
    """A child that holds the output open does not make the caller wait for it."""
    program = "import os, time\nif os.fork() == 0:\n    time.sleep(60)\nreturn b'done'"
    begun = time.monotonic()
    with pytest.raises(ModelError, match="longer than 1 seconds"):
        isolated(program, seconds=1, walled=False)
    assert time.monotonic() - begun < 30


def test_prints_are_no_answer(isolated):
    """What a model prints goes nowhere."""
    assert isolated("print('noise', flush=True)\nreturn b'answer'") == b"answer"


def verdict_of(machine, number, argument=0, architecture=None):
    """Run the filter as the kernel would: one register, jumps forward."""
    known = isolated_process._MACHINES[machine][0]
    rules = isolated_process._filter(*isolated_process._MACHINES[machine])
    held = {0: number, 4: architecture or known, 16: argument}
    at, register = 0, 0
    while True:
        code, yes, no, operand = rules[at]
        if code == 0x06:
            return operand
        if code == 0x20:
            register, met = held[operand], None
        else:
            met = {0x15: register == operand, 0x35: register >= operand, 0x45: bool(register & operand)}[code]
        at += 1 if met is None else 1 + (yes if met else no)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_filter_refuses_what_is_listed_and_nothing_else(machine):
    """On each machine exactly the listed calls are refused, new processes too, and threads are not."""
    _, clone, prlimit, refused = isolated_process._MACHINES[machine]
    listed = {*refused, 425, 426, 427, 424, 434, 438, 452, 463, 466}
    others = set(range(470)) - listed - {clone, 435}
    assert {verdict_of(machine, number) for number in listed} == {isolated_process._REFUSE}
    assert {verdict_of(machine, number) for number in others} == {isolated_process._ALLOW}
    assert verdict_of(machine, clone, 17) == isolated_process._REFUSE
    assert verdict_of(machine, clone, 0x3D0F00) == isolated_process._ALLOW  # a thread, as glibc makes one
    assert verdict_of(machine, prlimit, 4711) == isolated_process._REFUSE
    assert verdict_of(machine, prlimit) == isolated_process._ALLOW  # its own limits, which only get lower
    assert verdict_of(machine, 435) == isolated_process._MISSING
    assert verdict_of(machine, 0x4000_0000 + 41) == isolated_process._REFUSE
    assert verdict_of(machine, 0, architecture=0x4000_0003) == isolated_process._KILL
