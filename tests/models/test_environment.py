"""The environment is described without naming the machine or its user."""

from __future__ import annotations

import getpass
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import threadpoolctl
from numpy._core._multiarray_umath import __cpu_features__ as cpu_features

from backstory.models.environment import VARIABLES, _record_digest, environment, kernels, one_thread
from backstory.records import canonical


def test_names_versions_and_records():
    """Python and each package are there with version and digest of what was installed."""
    facts = environment()
    assert facts["python"]["version"] == platform.python_version()
    assert facts["packages"]["numpy"]["version"] == np.__version__
    assert len(facts["packages"]["numpy"]["record"]) == 64


def test_is_canonical():
    """It can be written as canonical JSON, so holds no floats."""
    canonical.encode(environment())


def test_names_nobody():
    """No host, user, home or installation folder is in it."""
    text = canonical.encode(environment()).decode()
    private = {str(Path.home()), sys.prefix, f'"{platform.node()}"', f'"{getpass.getuser()}"'}
    assert not [word for word in private if word in text]


def test_numerics_name_the_kernels():
    """The thread pools that are loaded are named with their architecture."""
    pools = environment()["numerics"]["pools"]
    assert {pool["internal_api"] for pool in pools} & {"openblas", "mkl", "blis"}
    assert not any("filepath" in pool for pool in pools)


def test_only_variables_of_arithmetic_are_read():
    """Of the process's variables only the listed ones appear."""
    program = "print(e()['numerics']['variables'])"
    assert in_new_process(program, OMP_NUM_THREADS="3", API_TOKEN="hidden") == "{'OMP_NUM_THREADS': '3'}"
    assert "OMP_NUM_THREADS" in VARIABLES


def test_record_digest_is_of_the_wheel_not_of_the_place():
    """Scripts, compiled files and the installer's notes do not count; module files do."""
    wheel = "a/b.py,sha256=1,10\na-1.dist-info/METADATA,sha256=2,5\n"
    place = (
        "../../bin/a,sha256=9,1\na/__pycache__/b.pyc,,\na-1.dist-info/INSTALLER,sha256=8,4\na-1.dist-info/RECORD,,\n"
    )
    assert _record_digest(place + wheel) == _record_digest(wheel)
    assert _record_digest(wheel) != _record_digest(wheel.replace("sha256=1", "sha256=3"))
    assert _record_digest(None) is None


def in_new_process(program: str, **variables: str) -> str:
    """Return what a program prints that begins with nothing loaded; `e` is `environment`."""
    source = str(Path(sys.modules["backstory.models.environment"].__file__).parents[2])
    start = "import sys; sys.path[:0] = sys.argv[1:]\nfrom backstory.models.environment import environment as e\n"
    command = [sys.executable, "-c", start + program, source]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout.strip()


def test_a_library_loaded_later_is_named_from_then_on():
    """The pools are those loaded by now, not those that were when somebody first asked; else it is the same object."""
    program = """
pools = lambda: {pool["user_api"] for pool in e()["numerics"]["pools"]}
e(); before, same = pools(), e() is e()
import sklearn.tree
print(before, same, "openmp" in pools(), e() is e())
"""
    assert in_new_process(program) == "{'blas'} True True True"


def test_asking_again_costs_microseconds():
    """What did not change is not described again: a thousand questions take less than looking once."""
    environment()
    begun = time.thread_time()
    for _ in range(1000):
        environment()
    assert time.thread_time() - begun < 0.1


def test_processor_features_that_are_not_used_are_not_named():
    """Of the processor what NumPy uses is named: a feature it was told to leave alone is not."""
    features = environment()["numerics"]["cpu"]
    assert set(features) <= {name for name, is_on in cpu_features.items() if is_on}
    other = in_new_process("print(e()['numerics']['cpu'])", NPY_DISABLE_CPU_FEATURES="X86_V3")
    assert "'X86_V3'" not in other


def test_numerics_say_how_many_processors_and_that_tiny_numbers_are_kept():
    """How many processors the process may use, and whether numbers near zero are flushed, are facts of arithmetic."""
    numerics = environment()["numerics"]
    assert numerics["cpus"] == str(len(os.sched_getaffinity(0)))
    assert numerics["subnormals"] == "kept"


def test_torch_is_described_only_where_it_is_loaded():
    """PyTorch's switches are asked of a loaded PyTorch, each time, and nothing imports it."""
    program = """
import types
assert "torch" not in e()["numerics"] and "torch" not in sys.modules
torch = sys.modules["torch"] = types.ModuleType("torch")
torch.get_num_threads = lambda: 3
torch.are_deterministic_algorithms_enabled = lambda: False
first = e()["numerics"]["torch"]
torch.are_deterministic_algorithms_enabled = lambda: True
print(first["threads"], first["deterministic"], e()["numerics"]["torch"]["deterministic"], "gpu" in first)
"""
    assert in_new_process(program) == "3 False True False"


def test_kernels_are_named_by_library():
    """The family of processors that loaded kernels are for is known, and one thread is a limit that ends."""
    assert "openblas" in " ".join(kernels())
    many = [pool["num_threads"] for pool in environment()["numerics"]["pools"]]
    with one_thread():
        assert {pool["num_threads"] for pool in threadpoolctl.threadpool_info()} == {1}
    assert [pool["num_threads"] for pool in threadpoolctl.threadpool_info()] == many
