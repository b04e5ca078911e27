"""Lanes: threads that take attempts of one handler from a queue and hand back outcomes.

A lane starts few threads. The engine asks it to grow while attempts wait and nothing comes
back, so that many short bodies share one thread and long ones run side by side.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

Job = TypeVar("Job")


class Inbox(Generic[Job]):
    """Where finished jobs come back. Any thread puts, one thread gets."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Job] = SimpleQueue()
        self.put = self._queue.put
        #: Is nothing there at this moment?
        self.is_empty = self._queue.empty

    def get(self, patience: Callable[[], float | None]) -> Job | None:
        """The next finished job; none if there is none within `patience()` seconds.

        Patience is asked for only if nothing is there; none is endless.
        """
        if not self._queue.empty():
            return self._queue.get()
        timeout_seconds = patience()
        try:
            if timeout_seconds is None:
                return self._queue.get()
            return self._queue.get(timeout=min(max(timeout_seconds, 0.0), threading.TIMEOUT_MAX))
        except Empty:
            return None


class Lane(Generic[Job]):
    """Runs jobs in at most `capacity` threads, in the order they came.

    Args:
        name: shown as the threads' name.
        work: what is done with a job; must not raise.
    """

    def __init__(self, name: str, work: Callable[[Job], None], capacity: int) -> None:
        self._name = name
        self._work = work
        self._capacity = max(capacity, 1)
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def submit(self, job: Job) -> None:
        """Queues a job."""
        self._jobs.put(job)
        if not self._threads:
            self._start()

    def grow(self) -> None:
        """Starts another thread if jobs wait and the capacity allows it."""
        if not self._jobs.empty() and len(self._threads) < self._capacity:
            self._start()

    @property
    def has_waiting(self) -> bool:
        """Do jobs wait for a thread that could still be started?"""
        return not self._jobs.empty() and len(self._threads) < self._capacity

    def close(self) -> None:
        """Lets the threads end after the jobs they are at. Does not wait for them."""
        for _ in self._threads:
            self._jobs.put(None)

    def _start(self) -> None:
        # Daemon: a body that hangs must not keep the interpreter from ending.
        name = f"handrail-{self._name}-{len(self._threads)}"
        thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._work(job)
