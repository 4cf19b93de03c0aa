"""What every test shares: how Hypothesis searches, and where temporary files are.

On a developer's machine Hypothesis looks for new examples each time; under CI it takes the same ones each time, so
that a change is never blamed for an example nobody had tried before. Neither has a deadline: two busy cores make any of
them a lie.

Temporary files are in memory where the system has room for them there: nothing a test kills takes the kernel with it,
power cuts are simulated, and flushing to a disk would cost a quarter of the run. `make soak` writes to the disk.

A process uses one thread for its mathematics: the tests run in as many processes as there are cores, and threads that
wait for each other in a loop keep the other processes from working.

Git is asked about this checkout once: it does not change meanwhile, and every archive of a test would ask again, twice.

Whoever runs the tests as root runs them without root's right to pass over permissions, as others run Backstory.

`make quick` leaves out the functions that `slow.txt` names; `make slow` runs every test and writes that file.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("dev", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

os.environ.setdefault("OMP_NUM_THREADS", "1")

_PR_CAPBSET_DROP = 24
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
_CAPABILITIES_V3 = 0x2008_0522


def _heed_permissions() -> None:
    """Give up the rights by which root passes over permissions, here and in every process that is started."""
    system = ctypes.CDLL(None, use_errno=True)
    for right in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
        system.prctl(_PR_CAPBSET_DROP, right, 0, 0, 0)
    header, rights = (ctypes.c_uint32 * 2)(_CAPABILITIES_V3, 0), (ctypes.c_uint32 * 6)()
    if system.capget(header, rights) == 0:
        for place in range(3):  # effective, permitted, inheritable
            rights[place] &= ~(1 << _CAP_DAC_OVERRIDE | 1 << _CAP_DAC_READ_SEARCH)
        system.capset(header, rights)


if sys.platform == "linux" and os.geteuid() == 0:
    _heed_permissions()

_MEMORY = Path("/dev/shm")
_ROOM = 4 << 30
if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _ROOM:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))

_CHECKOUT = Path(__file__).parents[1]

_SLOW = Path(__file__).with_name("slow.txt")
_SLOW_SECONDS = 0.4


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run leave out what is slow, or write down what is."""
    parser.addoption("--quick", action="store_true", help=f"leave out what {_SLOW.name} names")
    parser.addoption("--note-slow", action="store_true", help=f"write into {_SLOW.name} what takes {_SLOW_SECONDS} s")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is slow, where that is asked for."""
    if not config.getoption("--quick"):
        return
    slow = set(_SLOW.read_text("utf-8").split())
    config.hook.pytest_deselected(items=[item for item in items if _function_of(item.nodeid) in slow])
    items[:] = [item for item in items if _function_of(item.nodeid) not in slow]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write down which functions took long with any of their parameters, where that is asked for."""
    if not terminalreporter.config.getoption("--note-slow"):
        return
    reports = [report for several in terminalreporter.stats.values() for report in several]
    slow = {
        _function_of(report.nodeid)
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call" and report.duration >= _SLOW_SECONDS
    }
    _SLOW.write_text("".join(f"{name}\n" for name in sorted(slow)), "utf-8")


def _function_of(nodeid: str) -> str:
    return nodeid.partition("[")[0]


@pytest.fixture(scope="session", autouse=True)
def _git_is_asked_once() -> Iterator[None]:
    """Remember what git says of this checkout, and of nothing else."""
    module = importlib.import_module("backstory.models.code_version")
    ask = module._run
    remembered = functools.cache(ask)

    def run(git: str, folder: Path, *arguments: str) -> bytes | None:
        answer: bytes | None = (remembered if folder.is_relative_to(_CHECKOUT) else ask)(git, folder, *arguments)
        return answer

    module._run = run
    yield
    module._run = ask
