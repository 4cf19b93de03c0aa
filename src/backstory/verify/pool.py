"""Tasks over worker processes, answered in order."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future

import msgspec

from backstory.verify.worker import Answer, Task, receive, send, work

INLINE_TASKS = 2
"""So few tasks are done sooner here than a process starts."""


def run_tasks(tasks: Sequence[Task], workers: int | None) -> Iterator[Answer]:
    """Run tasks and yield their answers in the order of the tasks.

    Args:
        tasks: What to hash.
        workers: Processes to use; None for one a core.
    """
    count = min(workers or os.cpu_count() or 1, len(tasks))
    if count <= 1 or len(tasks) <= INLINE_TASKS or not sys.executable:
        yield from map(work, tasks)
        return
    waiting: queue.SimpleQueue[tuple[Task, Future[Answer]]] = queue.SimpleQueue()
    futures: list[Future[Answer]] = []
    for task in tasks:
        future: Future[Answer] = Future()
        futures.append(future)
        waiting.put((task, future))
    threads = [threading.Thread(target=_drive, args=(waiting,), daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for future in futures:
        yield future.result()
    for thread in threads:
        thread.join()


def _drive(waiting: queue.SimpleQueue[tuple[Task, Future[Answer]]]) -> None:
    """Feed one worker process, starting another when it dies over a task."""
    process = None
    while True:
        try:
            task, future = waiting.get_nowait()
        except queue.Empty:
            break
        try:
            process = process or _start()
            answer = _ask(process, task)
            if answer is None:
                process.communicate()
                process = None
                answer = Answer(unknown=["could not be decoded: the process that tried died"])
            future.set_result(answer)
        except Exception as error:  # noqa: BLE001  whoever waits for the answer is told
            future.set_exception(error)
    if process is not None:
        process.communicate()


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


def _start() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "backstory.verify.worker"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603  our own module
