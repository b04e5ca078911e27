"""The near side's hold on one worker process: its pipes, its output, its end."""

from __future__ import annotations

import codecs
import fcntl
import logging
import os
import pickle
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from handrail.run.callback import CALL, CODE, READY, answer
from handrail.run.crossing import PROTOCOL
from handrail.run.envelope import Envelope, Reply, Setup, working_folder
from handrail.run.frames import Content, read_frame, write_frame
from handrail.run.handler import OutputSink

log = logging.getLogger("handrail.handlers.process")

#: How long a process that has closed its pipes may take to end, and one that was killed, in
#: seconds.
_EXIT_SECONDS = 1.0
_KILL_SECONDS = 5.0
#: So much of what a process printed before it failed to start is told, in characters.
_SHOWN = 2_000
_CHUNK_BYTES = 1 << 16


class Lost(Exception):
    """The worker process is gone; the text says how. The handler knows the task."""


class NotStarted(Exception):
    """The worker process ended while it was starting; the text is what it printed."""


class WorkerProcess:
    """A far side (`handrail.run.far_side`), started when this object is made."""

    def __init__(self) -> None:
        commands, self._commands = os.pipe()
        self._replies, replies = os.pipe()
        lifeline, self._lifeline = os.pipe()
        log_from, log_to = os.pipe()
        theirs = (commands, replies, lifeline, log_to)
        try:
            self._process = subprocess.Popen(
                [*_interpreter(), "-m", "handrail.run.far_side", *map(str, theirs)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                pass_fds=theirs,
                start_new_session=True,
            )
        except BaseException:
            _close(self._commands, self._replies, self._lifeline, log_from)
            raise
        finally:
            _close(*theirs)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._printed: list[str] = []
        self._output = _Output(
            {
                self._process.stdout.fileno(): "stdout",
                self._process.stderr.fileno(): "stderr",
                log_from: "log",
            },
            lambda stream, text: self._printed.append(text),
        )
        self._log_from = log_from
        self._setup: Setup | None = None
        self._ending = threading.Lock()
        self._is_ready = False
        self._was_stopped = False
        self._is_released = False

    @property
    def pid(self) -> int:
        """Number of the process, and of its group."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Does the process still run?"""
        # Without reaping it: its number must stay taken until its group is killed.
        watch_only = os.WEXITED | os.WNOWAIT | os.WNOHANG
        try:
            return os.waitid(os.P_PID, self._process.pid, watch_only) is None
        except ChildProcessError:
            return False

    # An attempt

    def perform(self, envelope: Envelope, objects: Mapping[str, Any], sink: OutputSink) -> Reply:
        """Has an attempt run and waits for its reply.

        Args:
            objects: what the body may call back, by name.
            sink: is told what the body prints and logs, while it does.

        Raises:
            NotStarted: the process ended before it could take the attempt.
            Lost: the process ended before it replied.
        """
        if not self._is_ready:
            self._await_ready()
        self._output.begin(sink)
        try:
            parts = self._exchange(envelope, objects)
            if parts is None:
                raise self._lost()
            return Reply.unpack(parts)
        finally:
            self._output.finish()

    def _await_ready(self) -> None:
        try:
            self._is_ready = read_frame(self._replies) == [READY]
        finally:
            self._output.finish()
        if self._is_ready:
            return
        lost = self._lost()
        if self._was_stopped:
            raise lost
        raise NotStarted("".join(self._printed)[-_SHOWN:].strip() or str(lost))

    def _lost(self) -> Lost:
        self._end(_EXIT_SECONDS)
        return Lost(self._how_it_ended())

    def _exchange(self, envelope: Envelope, objects: Mapping[str, Any]) -> list[Content] | None:
        try:
            write_frame(self._commands, [self._new_setup(), *envelope.pack()])
            while (parts := read_frame(self._replies)) is not None:
                if parts[0] == CALL:
                    reply = answer(parts[2], parts[1].decode(), objects)
                    write_frame(self._commands, reply.pack())
                elif parts[0] == CODE:
                    write_frame(self._commands, [envelope.code])
                else:
                    return parts[1:]
        except BrokenPipeError:
            return None
        return None

    def _new_setup(self) -> bytes:
        setup = Setup(tuple(sys.path), working_folder(), logging.getLogger().level)
        if setup == self._setup:
            return b""
        self._setup = setup
        return pickle.dumps(setup, PROTOCOL)

    def _how_it_ended(self) -> str:
        code = self._process.returncode
        if self._was_stopped:
            return "its worker process was stopped"
        if code is None:
            return "its worker process closed its pipes and could not be ended"
        if code >= 0:
            return f"its worker process ended with exit code {code} before the body returned"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        guess = {
            "SIGKILL": " (perhaps the system ran out of memory)",
            "SIGSEGV": " (a crash in native code)",
        }.get(name, "")
        return f"its worker process was killed by {name}{guess}"

    # The end

    def terminate(self) -> None:
        """Asks the process group to end, without waiting."""
        self._was_stopped = True
        self._signal(signal.SIGTERM)

    def stop(self, grace_seconds: float) -> bool:
        """Ends the process group while another thread waits for a reply.

        False: the process was not seen to end.
        """
        self.terminate()
        return self._end(grace_seconds)

    def end(self, grace_seconds: float) -> bool:
        """Ends the process group and releases all that belongs to it; for its owner to call."""
        ended = self.stop(grace_seconds)
        if not self._is_released:
            self._is_released = True
            self._output.close()
            for stream in (self._process.stdout, self._process.stderr):
                if stream is not None:
                    stream.close()
            _close(self._commands, self._replies, self._lifeline, self._log_from)
        return ended

    def _end(self, grace_seconds: float) -> bool:
        with self._ending:
            if self._process.returncode is None:
                self._leader_ends_within(grace_seconds)
                # While the leader is not reaped, no other group can have its number.
                self._signal(signal.SIGKILL)
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(_KILL_SECONDS)
            return self._process.returncode is not None

    def _leader_ends_within(self, seconds: float) -> None:
        try:
            watched = os.pidfd_open(self._process.pid)
        except ProcessLookupError:
            return
        try:
            poll = select.poll()
            poll.register(watched, select.POLLIN)
            poll.poll(seconds * 1000)
        finally:
            os.close(watched)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)


class _Output:
    """Reads what a process prints, in a thread, and tells the attempt that runs there.

    Args:
        streams: name of the stream by file descriptor.
        sink: is told of what comes before the first attempt.
    """

    def __init__(self, streams: Mapping[int, str], sink: OutputSink) -> None:
        self._streams = dict(streams)
        self._lock = threading.Lock()
        self._sink: OutputSink | None = sink
        self._decoders = {fd: _decoder() for fd in streams}
        self._wake_from, self._wake_to = os.pipe()
        for fd in streams:
            os.set_blocking(fd, False)
        self._thread = threading.Thread(target=self._read, name="handrail-output", daemon=True)
        self._thread.start()

    def begin(self, sink: OutputSink) -> None:
        """What comes now is told to `sink`."""
        with self._lock:
            self._sink = sink

    def finish(self) -> None:
        """Tells the sink what was printed so far and is not read yet; then forgets the sink."""
        with self._lock:
            for fd in list(self._streams):
                # As much as is there now: a process left behind may print for ever.
                left = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"))[0]
                while left > 0 and (count := self._take(fd, left)):
                    left -= count
                self._tell(fd, self._decoders[fd].decode(b"", final=True))
            self._sink = None

    def close(self) -> None:
        """Ends the thread."""
        os.close(self._wake_to)
        self._thread.join()
        os.close(self._wake_from)

    def _read(self) -> None:
        poll = select.poll()
        for fd in (*self._streams, self._wake_from):
            poll.register(fd, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self._wake_from:
                    return
                with self._lock:
                    if self._take(fd, _CHUNK_BYTES) == 0:
                        poll.unregister(fd)

    def _take(self, fd: int, most: int) -> int | None:
        """Reads once; 0 at the end of the stream, none if nothing is there."""
        try:
            content = os.read(fd, min(most, _CHUNK_BYTES))
        except BlockingIOError:
            return None
        self._tell(fd, self._decoders[fd].decode(content))
        return len(content)

    def _tell(self, fd: int, text: str) -> None:
        if not text or self._sink is None:
            return
        try:
            self._sink(self._streams[fd], text)
        except Exception:
            # Output is news: a sink that fails must neither block the body nor change its result.
            log.warning("output of a body was lost: its sink failed", exc_info=True)


def _decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")("replace")


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)


def _interpreter() -> list[str]:
    """This interpreter; with the working directory on its path only if it is on ours."""
    folder = working_folder()
    on_path = any(os.path.abspath(entry) == folder for entry in sys.path)
    return [sys.executable, "-u", *(["-O"] * sys.flags.optimize), *([] if on_path else ["-P"])]
