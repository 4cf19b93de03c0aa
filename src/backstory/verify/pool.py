"""Tasks over worker processes, answered in order."""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import Self

import msgspec

from backstory.storage.pipe import receive, send
from backstory.verify.worker import Answer, Opener, Task, work

INLINE_WEIGHT = 60_000
"""So much (rows, or thousands of bytes) is hashed sooner here than a process starts."""

TASKS_AHEAD = 4
"""Tasks a process has before it, so that none waits for the slowest; what is ahead is what memory holds."""

DEATHS_MAX = 3
"""After so many processes died over tasks, no more are started: something is wrong with all of them."""

_START = """
import runpy, sys
sys.path[:] = sys.argv[1:]
runpy.run_module("backstory.verify.worker_process", run_name="__main__")
"""
"""What a process runs: our module, found where this process finds it, which may have been told where to look."""


class WorkerPool:
    """Processes that answer tasks; started when first needed, kept until the pool is closed."""

    def __init__(self, workers: int | None) -> None:
        """Use up to so many processes; None for one a core."""
        self._workers = workers or os.cpu_count() or 1
        self._deaths = 0
        self._startable = True
        self._idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        """Return the pool."""
        return self

    def __exit__(self, *_error: object) -> None:
        """End the processes."""
        while not self._idle.empty():
            self._idle.get().communicate()

    def run(self, tasks: Iterable[Task]) -> Iterator[Answer]:
        """Run tasks, taken as they are needed, and yield their answers in the order of the tasks."""
        rest = iter(tasks)
        first, weight = [], 0
        while weight <= INLINE_WEIGHT and (task := next(rest, None)) is not None:
            first.append(task)
            weight += task.weight
        if self._workers <= 1 or weight <= INLINE_WEIGHT or not sys.executable:
            opener = Opener()
            yield from (work(task, opener) for task in itertools.chain(first, rest))
            return
        waiting: queue.SimpleQueue[tuple[Task, Future[Answer]] | None] = queue.SimpleQueue()
        threads = [threading.Thread(target=self._drive, args=(waiting,), daemon=True) for _ in range(self._workers)]
        for thread in threads:
            thread.start()
        futures: collections.deque[Future[Answer]] = collections.deque()
        try:
            for task in itertools.chain(first, rest):
                future: Future[Answer] = Future()
                futures.append(future)
                waiting.put((task, future))
                if len(futures) >= TASKS_AHEAD * self._workers:
                    yield futures.popleft().result()
            while futures:
                yield futures.popleft().result()
        finally:
            for _ in threads:
                waiting.put(None)
            for thread in threads:
                thread.join()

    def _drive(self, waiting: queue.SimpleQueue[tuple[Task, Future[Answer]] | None]) -> None:
        """Feed one worker process, taking another when it dies over a task; do the tasks here where none starts."""
        process, opener = None, Opener()
        while (given := waiting.get()) is not None:
            task, future = given
            try:
                if self._deaths > DEATHS_MAX:
                    future.set_result(Answer(unknown=["was not checked: worker processes keep dying"]))
                    continue
                process = process or self._take()
                if process is None:
                    future.set_result(work(task, opener))
                    continue
                answer = _ask(process, task)
                if answer is None:
                    process.communicate()
                    process = None
                    self._deaths += 1
                    answer = Answer(unknown=["could not be decoded: the process that tried died"])
                future.set_result(answer)
            except Exception as error:  # noqa: BLE001  whoever waits for the answer is told
                future.set_exception(error)
        if process is not None:
            self._idle.put(process)

    def _take(self) -> subprocess.Popen[bytes] | None:
        """Return a process that has said that it works; None where none can be started."""
        with contextlib.suppress(queue.Empty):
            return self._idle.get_nowait()
        if not self._startable:
            return None
        command = [sys.executable, "-c", _START, *sys.path]
        try:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603  our own module
        except OSError:
            self._startable = False
            return None
        if process.stdout is None or receive(process.stdout) is None:
            process.communicate()
            self._startable = False
            return None
        return process


def _ask(process: subprocess.Popen[bytes], task: Task) -> Answer | None:
    """Return a worker's answer, None if it died over the task."""
    if process.stdin is None or process.stdout is None:
        return None
    try:
        send(process.stdin, task)
        data = receive(process.stdout)
    except BrokenPipeError:
        return None
    return None if data is None else msgspec.msgpack.decode(data, type=Answer)
