"""The environment is described without naming the machine or its user."""

from __future__ import annotations

import getpass
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np

from backstory.models.environment import VARIABLES, _record_digest, environment
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
    program = "import sys; sys.path[:0] = sys.argv[1:]\nfrom backstory.models.environment import environment as e\n"
    program += "print(e()['numerics']['variables'])"
    source = str(Path(sys.modules["backstory.models.environment"].__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", program, source],
        env={"OMP_NUM_THREADS": "3", "API_TOKEN": "hidden"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "{'OMP_NUM_THREADS': '3'}"
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
