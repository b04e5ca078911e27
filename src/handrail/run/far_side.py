"""The far side of the border: a process that runs bodies and returns data.

Started as `python -m handrail.run.far_side COMMANDS REPLIES LIFELINE LOG`, four numbers of
inherited pipe ends. Frames (`handrail.run.frames`) go one at a time each way:

    far -> near    [b"ready"]                             once, at the start
    near -> far    [setup or b"", envelope, arguments]    run this attempt
    far -> near    [b"code"]                              the far side does not know the code
    near -> far    [code]
    far -> near    [b"call", object.method, arguments]    any number of times
    near -> far    [failure, result]                      the answer to a call
    far -> near    [b"reply", failure, result]            the attempt has ended

What the body prints goes through file descriptors 1 and 2, log records through LOG. When
nobody holds the other end of LIFELINE any more, the kernel kills this process group.
"""

from __future__ import annotations

import fcntl
import logging
import os
import pickle
import select
import signal
import sys
from pathlib import Path
from typing import Any, cast

from handrail.contracts.task import TaskDefinition
from handrail.run.body import run_body
from handrail.run.callback import READY, Calls, RemoteExecution
from handrail.run.context import ExecutionContext, TaskExecutionContext
from handrail.run.envelope import (
    Envelope,
    Reply,
    Setup,
    open_arguments,
    open_code,
    refuse,
    reply_with,
    working_folder,
)
from handrail.run.frames import read_frame, write_frame
from handrail.run.output import RECORD_FORMAT
from handrail.run.resources import resources

#: Definitions that a far side remembers; it asks again for one that it has forgotten.
MEMORY_COUNT = 128


class Stopped(SystemExit):
    """The near side asked this process to end. Bodies get to run their `finally`."""


class FarSide:
    """Runs the attempts that come through `commands`, one after the other."""

    def __init__(self, commands: int, replies: int, log: LogPipe) -> None:
        self._commands = commands
        self._replies = replies
        self._log = log
        self._setup = Setup((), None, logging.WARNING)
        self._known: dict[bytes, TaskDefinition] = {}
        #: The run of the last attempt, for which resources are open.
        self._run_id = ""

    def serve(self) -> None:
        """Serves until the near side closes the pipe."""
        write_frame(self._replies, [READY])
        while (parts := read_frame(self._commands)) is not None:
            if parts[0]:
                self._setup = pickle.loads(parts[0])
            envelope = Envelope.unpack(parts[1:])
            calls = Calls(self._commands, self._replies, envelope.attempt.task_id)
            if envelope.attempt.run_id != self._run_id:
                resources.close()
                self._run_id = envelope.attempt.run_id
            calls.end(self._reply(envelope, calls))

    def _reply(self, envelope: Envelope, calls: Calls) -> Reply:
        try:
            self._prepare()
            value = self._run(envelope, calls)
            return reply_with(value, f"task '{envelope.attempt.task_id}': its result")
        except Stopped:
            raise
        except BaseException as error:
            return refuse(error)
        finally:
            _flush()

    def _prepare(self) -> None:
        # A body may have changed any of these.
        if sys.path != list(self._setup.path):
            sys.path[:] = self._setup.path
        folder = self._setup.folder
        if folder is not None and folder != working_folder():
            os.chdir(folder)
        signal.signal(signal.SIGTERM, _stop)
        root = logging.getLogger()
        root.setLevel(self._setup.log_level)
        if self._log not in root.handlers:
            root.addHandler(self._log)

    def _run(self, envelope: Envelope, calls: Calls) -> Any:
        definition = self._definition(envelope, calls)
        attempt = envelope.attempt
        context = None
        if envelope.inject_context:
            execution = cast(ExecutionContext, RemoteExecution(attempt, calls))
            context = TaskExecutionContext(attempt, execution=execution)
        workspace = None if envelope.workspace is None else Path(envelope.workspace)
        arguments = open_arguments(envelope)
        return run_body(definition, arguments, workspace=workspace, context=context)

    def _definition(self, envelope: Envelope, calls: Calls) -> TaskDefinition:
        definition = self._known.pop(envelope.digest, None)
        if definition is None:
            definition = open_code(envelope, calls.code())
        # The one used last stands last.
        self._known[envelope.digest] = definition
        if len(self._known) > MEMORY_COUNT:
            del self._known[next(iter(self._known))]
        return definition


class LogPipe(logging.Handler):
    """Writes log records to a pipe: `LEVEL logger: message`."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self.setFormatter(logging.Formatter(RECORD_FORMAT))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            waiting = f"{self.format(record)}\n".encode(errors="replace")
            while waiting:
                waiting = waiting[os.write(self._fd, waiting) :]
        except Exception:
            self.handleError(record)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception as exc:  # whatever a body has put in its place
            logging.getLogger(__name__).warning("output could not be flushed: %s", exc)


def _stop(signal_number: int, frame: object) -> None:
    raise Stopped(128 + signal_number)


def _die_with(lifeline: int) -> None:
    """Lets the kernel kill this process group when the other end of a pipe is closed.

    By signal-driven input (fcntl(2), F_SETSIG), so it needs no thread and also ends a body that
    holds the interpreter's lock. (PR_SET_PDEATHSIG would act when the *thread* that started
    this process ends.)
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)
    poll = select.poll()
    poll.register(lifeline, 0)
    if poll.poll(0):  # it was closed before the kernel watched it
        os.killpg(0, signal.SIGKILL)


def _keep_private(fds: list[int]) -> None:
    """Keeps children of a body from holding the pipes open after this process has died."""

    def in_child() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for fd in fds:
            os.close(fd)

    for fd in fds:
        os.set_inheritable(fd, False)
    os.register_at_fork(after_in_child=in_child)


def main() -> None:
    """Serves the near side until it goes away or says stop."""
    commands, replies, lifeline, log = map(int, sys.argv[1:5])
    del sys.argv[1:]
    _die_with(lifeline)
    _keep_private([commands, replies, lifeline])
    os.set_inheritable(log, False)
    signal.signal(signal.SIGTERM, _stop)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    try:
        FarSide(commands, replies, LogPipe(log)).serve()
    finally:
        resources.close()


if __name__ == "__main__":
    main()
