"""Tasks over worker processes, answered in order."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Self

import msgspec

from backstory.storage.pipe import receive, send
from backstory.verify.worker import Answer, Task, keep_open, work

INLINE_TASKS = 2
"""So few tasks are done sooner here than a process starts."""


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

    def run(self, tasks: Sequence[Task]) -> Iterator[Answer]:
        """Run tasks and yield their answers in the order of the tasks."""
        count = min(self._workers, len(tasks))
        if count <= 1 or len(tasks) <= INLINE_TASKS or not sys.executable:
            opener = keep_open()
            yield from (work(task, opener) for task in tasks)
            return
        waiting: queue.SimpleQueue[tuple[Task, Future[Answer]]] = queue.SimpleQueue()
        futures: list[Future[Answer]] = []
        for task in tasks:
            future: Future[Answer] = Future()
            futures.append(future)
            waiting.put((task, future))
        threads = [threading.Thread(target=self._drive, args=(waiting,), daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        for future in futures:
            yield future.result()
        for thread in threads:
            thread.join()

    def _drive(self, waiting: queue.SimpleQueue[tuple[Task, Future[Answer]]]) -> None:
        """Feed one worker process, taking another when it dies over a task; do the tasks here where none starts."""
        process, opener = None, keep_open()
        while True:
            try:
                task, future = waiting.get_nowait()
            except queue.Empty:
                break
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
