"""In other processes of this machine: bodies that can be stopped and cannot hurt the engine."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from handrail.errors import HandlerError, WorkerLost
from handrail.handlers.worker_process import Lost, NotStarted, WorkerProcess
from handrail.run.context import ExecutionContext
from handrail.run.envelope import open_reply, seal
from handrail.run.handler import BoundTask, TaskHandler
from handrail.run.remote_channel import lent

#: How long `close` waits for attempts that it has stopped to be told so, in seconds.
_CLOSE_SECONDS = 5.0


class ProcessTaskHandler(TaskHandler):
    """Runs bodies in worker processes that stay warm (`handler_type="process"`).

    A worker is started when an attempt needs one and none is idle. It is a fresh interpreter:
    not a fork, and the main script is not run again. It has this process's `sys.path`, working
    directory and root log level as they are when an attempt starts, and its environment
    variables as they were when the worker started. It runs one attempt at a time.

    Each worker leads a process group. Processes that a body started and left behind may go on
    after their attempt; they end, like the body, when the worker is stopped or closed and when
    this process dies in whatever way. Only those that leave the group (`setsid`) escape. What
    they print after their attempt is dropped, or taken for output of the worker's next attempt.

    Needs Linux.

    Args:
        workers: most bodies at once; by default as many as the run allows, else one per core.
        stop_grace_seconds: how long a stopped body may clean up (`SystemExit` is raised in it)
            before it is killed.
    """

    can_stop = True
    isolates = True

    def __init__(self, workers: int | None = None, *, stop_grace_seconds: float = 2.0) -> None:
        self._workers = workers
        self._pool = _Pool(workers, stop_grace_seconds)
        # For those who forget close(): at the latest when the interpreter ends.
        self._finalizer = weakref.finalize(self, self._pool.close)

    def execute_task(self, task: BoundTask, context: ExecutionContext) -> None:
        """Sends one attempt to a worker and waits for its reply.

        Raises:
            NotSerializableError: code, an argument or the result cannot cross.
            WorkerLost: the worker died or was stopped.
            HandlerError: no worker could be started.
            BaseException: what the body raised.
        """
        attempt = task.attempt
        envelope = seal(task.definition, attempt, task.arguments, task.workspace)
        try:
            with (
                self._pool.worker(attempt.attempt_id) as worker,
                lent(task.context.get_channel()) as channel,
            ):
                objects = {"execution": task.context, "channel": channel}
                reply = worker.perform(envelope, objects, task.output)
        except Lost as lost:
            raise WorkerLost(
                f"Task '{task.task_id}': {lost}. This attempt has no result; another one gets a "
                f"fresh worker (@task(max_retries=...)). What it printed: "
                f"handrail logs {attempt.run_id}"
            ) from None
        except NotStarted as problem:
            raise HandlerError(
                f"Task '{task.task_id}': a worker process could not start with "
                f"{sys.executable}. It said:\n{problem}"
            ) from None
        context.set_result(task.task_id, open_reply(reply, f"task '{task.task_id}'"))

    def get_name(self) -> str:
        """`"process"`."""
        return "process"

    def capacity(self, max_workers: int | None) -> int:
        """`workers` if given, else what the user asked for, else the number of cores."""
        return self._workers or max_workers or os.cpu_count() or 1

    def stop(self, attempt_id: str) -> bool:
        """Ends the worker that runs an attempt: SIGTERM to its group, a grace, SIGKILL.

        False: the worker could not be seen to end.
        """
        return self._pool.stop(attempt_id)

    def close(self) -> None:
        """Ends all workers; attempts that run raise `WorkerLost`. Later attempts get new ones."""
        self._pool.close()


class _Pool:
    """Workers, idle and busy. The worker used last is used first, so that it is warm."""

    def __init__(self, limit: int | None, grace_seconds: float) -> None:
        self._limit = limit
        self._grace_seconds = grace_seconds
        self._changed = threading.Condition()
        self._idle: list[WorkerProcess] = []
        #: By attempt; none: it waits for a worker.
        self._busy: dict[str, WorkerProcess | None] = {}
        self._stopped: set[str] = set()
        self._started_count = 0
        self._owner = os.getpid()

    @contextmanager
    def worker(self, attempt_id: str) -> Iterator[WorkerProcess]:
        """A worker for an attempt. It is kept if the attempt ends without an exception."""
        with self._changed:
            self._busy[attempt_id] = None
        worker: WorkerProcess | None = None
        try:
            worker = self._take(attempt_id)
            yield worker
            self._give_back(attempt_id, worker)
        except BaseException:
            if worker is not None:
                self._discard(worker)
            raise
        finally:
            with self._changed:
                self._busy.pop(attempt_id, None)
                self._stopped.discard(attempt_id)
                self._changed.notify_all()

    def stop(self, attempt_id: str) -> bool:
        """Ends the attempt's worker, or its wait for one. True: nothing of it runs."""
        with self._changed:
            if attempt_id not in self._busy:
                return True
            self._stopped.add(attempt_id)
            self._changed.notify_all()
            worker = self._busy[attempt_id]
        return worker is None or worker.stop(self._grace_seconds)

    def close(self) -> None:
        """Ends all workers and waits for those who use them."""
        if os.getpid() != self._owner:  # a fork of the owner ends; the workers are not its own
            return
        with self._changed:
            idle, self._idle = self._idle, []
            self._stopped.update(self._busy)
            self._changed.notify_all()
            busy = [worker for worker in self._busy.values() if worker is not None]
        for worker in (*idle, *busy):
            worker.terminate()
        for worker in idle:
            self._discard(worker)
        for worker in busy:
            worker.stop(self._grace_seconds)
        with self._changed:
            self._changed.wait_for(lambda: not self._busy, _CLOSE_SECONDS)

    def _take(self, attempt_id: str) -> WorkerProcess:
        worker = self._idle_one(attempt_id)
        if worker is not None and not worker.is_alive():
            worker.end(0.0)
            worker = None
        try:
            worker = worker or WorkerProcess()
        except BaseException:
            self._forget_one()
            raise
        with self._changed:
            self._busy[attempt_id] = worker
            was_stopped = attempt_id in self._stopped
        if was_stopped:
            self._discard(worker)
            raise Lost("it was stopped before its body began")
        return worker

    def _idle_one(self, attempt_id: str) -> WorkerProcess | None:
        """An idle worker, or leave to start one."""
        with self._changed:
            while attempt_id not in self._stopped:
                if self._idle:
                    return self._idle.pop()
                if self._limit is None or self._started_count < self._limit:
                    self._started_count += 1
                    return None
                self._changed.wait()
        raise Lost("it was stopped before its body began")

    def _give_back(self, attempt_id: str, worker: WorkerProcess) -> None:
        with self._changed:
            if attempt_id not in self._stopped:
                del self._busy[attempt_id]
                self._idle.append(worker)
                return
        raise Lost("its worker process was stopped")

    def _discard(self, worker: WorkerProcess) -> None:
        worker.end(self._grace_seconds)
        self._forget_one()

    def _forget_one(self) -> None:
        with self._changed:
            self._started_count -= 1
            self._changed.notify_all()
