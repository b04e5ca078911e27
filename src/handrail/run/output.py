"""The run's log: what bodies print and log, line by line, beside their results.

    {"at": milliseconds, "task": name, "attempt": id, "stream": "stdout", "text": "a line\\n"}

`stream` is `stdout`, `stderr` or `log`. `text` is one line with its end; the last piece of an
attempt, and pieces of very long lines, have none. So the texts of a stream, one after the
other, are what was printed.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, TextIO

from handrail.run.handler import OutputSink

log = logging.getLogger("handrail.run.output")

#: Where output goes that is made in this context; none: it is no attempt's.
current_output: ContextVar[OutputSink | None] = ContextVar("current_output", default=None)

#: How a log record becomes text.
RECORD_FORMAT = "%(levelname)s %(name)s: %(message)s"

#: An unfinished line of so many characters is written in pieces.
_LONGEST = 1 << 16


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line of a run's log."""

    #: Milliseconds since 1970, UTC.
    at: int
    task: str
    attempt: str
    stream: str
    text: str


# Writing


class RunLog:
    """Appends to the log of a run. The file is private (mode 0600); any thread may write.

    Complete lines are written at once, unfinished ones when their attempt ends. The file, and
    the folder it lies in, are made with the first of them.

    Args:
        now: milliseconds since 1970.
    """

    def __init__(
        self, path: Path, now: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self.path = path
        self._now = now
        self._lock = threading.Lock()
        self._partial: dict[tuple[str, str, str], str] = {}
        self._fd: int | None = None
        self._is_closed = False

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def write(self, task_id: str, attempt_id: str, stream: str, text: str) -> None:
        """Takes any piece of output. A log that cannot be written is told of once."""
        key = (task_id, attempt_id, stream)
        with self._lock:
            *whole, rest = (self._partial.pop(key, "") + text).split("\n")
            lines = [f"{line}\n" for line in whole]
            if len(rest) >= _LONGEST:
                lines.append(rest)
            elif rest:
                self._partial[key] = rest
            problem = self._append(key, lines)
        self._tell(problem)

    def finish(self, task_id: str, attempt_id: str) -> None:
        """Writes the lines that an attempt left unfinished."""
        if not self._partial:
            return
        with self._lock:
            keys = [key for key in self._partial if key[:2] == (task_id, attempt_id)]
            problem = self._append_partial(keys)
        self._tell(problem)

    def close(self) -> None:
        """Writes unfinished lines and closes the file. What comes later is dropped."""
        with self._lock:
            problem = self._append_partial(list(self._partial))
            self._close()
        self._tell(problem)

    def _append_partial(self, keys: list[tuple[str, str, str]]) -> OSError | None:
        problem = None
        for key in keys:
            problem = self._append(key, [self._partial.pop(key)]) or problem
        return problem

    def _append(self, key: tuple[str, str, str], texts: list[str]) -> OSError | None:
        if self._is_closed or not texts:
            return None
        at = self._now()
        entries = [LogEntry(at, *key, text) for text in texts]
        content = "".join(f"{json.dumps(asdict(entry))}\n" for entry in entries).encode()
        try:
            fd = self._open()
            while content:
                content = content[os.write(fd, content) :]
        except OSError as exc:
            # A full disk must not make a body's print() fail.
            self._close()
            return exc
        return None

    def _open(self) -> int:
        if self._fd is None:
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._fd = os.open(self.path, flags, 0o600)
            os.fchmod(self._fd, 0o600)
            self._mend(self._fd)
        return self._fd

    def _close(self) -> None:
        self._is_closed = True
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _tell(self, problem: OSError | None) -> None:
        # Outside of the lock: what is logged may come back here.
        if problem is not None:
            log.warning("run log %s is no longer written: %s", self.path, problem)

    @staticmethod
    def _mend(fd: int) -> None:
        # A crash may have torn the last line; what follows must not be glued to it.
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            os.write(fd, b"\n")


class AttemptOutput:
    """Takes the output of one attempt."""

    __slots__ = ("_attempt_id", "_log", "_task_id")

    def __init__(self, run_log: RunLog, task_id: str, attempt_id: str) -> None:
        self._log = run_log
        self._task_id = task_id
        self._attempt_id = attempt_id

    def __call__(self, stream: str, text: str) -> None:
        """Takes a piece of what was printed or logged."""
        self._log.write(self._task_id, self._attempt_id, stream, text)

    def close(self) -> None:
        """Writes lines that were left unfinished; for the end of the attempt."""
        self._log.finish(self._task_id, self._attempt_id)


def sink_for(run_log: RunLog, task_id: str, attempt_id: str) -> AttemptOutput:
    """Where the output of an attempt goes. Close it when the attempt has ended."""
    return AttemptOutput(run_log, task_id, attempt_id)


class captured:
    """Sends what is printed within it to one attempt's log.

    A class and no generator, as it stands on the engine's hot path.
    """

    __slots__ = ("_sink", "_token")

    def __init__(self, sink: AttemptOutput) -> None:
        self._sink = sink

    def __enter__(self) -> AttemptOutput:
        self._token = current_output.set(self._sink)
        return self._sink

    def __exit__(self, *exc_info: object) -> None:
        current_output.reset(self._token)
        self._sink.close()


# Reading


def read_log(
    path: Path,
    task: str | None = None,
    follow: bool = False,
    stop: Callable[[], bool] = lambda: False,
    *,
    poll_seconds: float = 0.1,
) -> Iterator[LogEntry]:
    """Entries of a run's log, in the order they were written.

    A line that a crash tore is skipped. A log that does not exist is empty.

    Args:
        task: only entries of this task.
        follow: wait for more, until `stop()` is true and nothing more is there.
    """
    for line in _lines(path, follow, stop, poll_seconds):
        entry = _entry(line)
        if entry is not None and (task is None or task == entry.task):
            yield entry


def _lines(
    path: Path, follow: bool, stop: Callable[[], bool], poll_seconds: float
) -> Iterator[bytes]:
    position = 0
    while True:
        # Asked before reading: what was written before it became true is still read.
        is_last = not follow or stop()
        try:
            with path.open("rb") as file:
                file.seek(position)
                for line in file:
                    if not line.endswith(b"\n"):  # torn, or being written
                        break
                    position += len(line)
                    yield line
        except FileNotFoundError:
            pass
        if is_last:
            return
        time.sleep(poll_seconds)


def _entry(line: bytes) -> LogEntry | None:
    try:
        return LogEntry(**json.loads(line))
    except (ValueError, TypeError):
        return None


# Capturing


class _Router:
    """A text stream that also tells the current attempt's sink what is written to it."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self.routed_stream = stream
        self.routed_name = name

    def write(self, text: str) -> int:
        sink = current_output.get()
        if sink is None or not text:
            return self.routed_stream.write(text)
        # None meanwhile: the stream below may be another router, and a sink may print.
        token = current_output.set(None)
        try:
            sink(self.routed_name, text)
            return self.routed_stream.write(text)
        finally:
            current_output.reset(token)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.routed_stream, name)


class _RecordHandler(logging.Handler):
    """Tells the current attempt's sink of log records."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(RECORD_FORMAT))

    def emit(self, record: logging.LogRecord) -> None:
        sink = current_output.get()
        token = current_output.set(None)
        try:
            if sink is not None:
                sink("log", f"{self.format(record)}\n")
            self._last_resort(record)
        except Exception:
            self.handleError(record)
        finally:
            current_output.reset(token)

    def _last_resort(self, record: logging.LogRecord) -> None:
        # Where nobody has configured logging, warnings are printed; our being a handler would
        # end that.
        resort = logging.lastResort
        if resort is None or record.levelno < resort.level:
            return
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None:
            if any(handler is not self for handler in logger.handlers):
                return
            logger = logger.parent if logger.propagate else None
        resort.handle(record)


class Capture:
    """Routes what is printed and logged inside attempts of this process to their sinks.

    An attempt is recognised by `current_output`. The original stream gets everything as well;
    outside of attempts nothing changes. Several captures may be open at once: the streams are
    replaced by the first and put back by the last, where they are still ours.

    Seen is what goes through `sys.stdout` and `sys.stderr` as text, and through loggers that
    propagate; not what native code or child processes write, nor threads that a body starts
    without its context (`contextvars.copy_context().run`).

    Args:
        enabled: False makes this one do nothing.
    """

    _lock: ClassVar[threading.Lock] = threading.Lock()
    _count: ClassVar[int] = 0
    _routers: ClassVar[list[_Router]] = []
    _records: ClassVar[_RecordHandler] = _RecordHandler()

    def __init__(self, *, enabled: bool = True) -> None:
        self._is_enabled = enabled

    def __enter__(self) -> Capture:
        if self._is_enabled:
            with Capture._lock:
                Capture._count += 1
                self._install()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._is_enabled:
            with Capture._lock:
                Capture._count -= 1
                if not Capture._count:
                    self._remove()

    @classmethod
    def _install(cls) -> None:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is not None and not isinstance(stream, _Router):
                router = _Router(stream, name)
                cls._routers.append(router)
                setattr(sys, name, router)
        if cls._records not in logging.getLogger().handlers:
            logging.getLogger().addHandler(cls._records)

    @classmethod
    def _remove(cls) -> None:
        # Last in, first out: a router may stand on an earlier one.
        while cls._routers:
            router = cls._routers.pop()
            if getattr(sys, router.routed_name) is router:
                setattr(sys, router.routed_name, router.routed_stream)
        logging.getLogger().removeHandler(cls._records)
