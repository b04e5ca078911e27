"""A server that tests start for themselves, in a folder and on a port of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path

_LAUNCH = Path(__file__).with_name("launch.py")
_TRIES = 3


class ServiceError(Exception):
    """A server did not start; says what it wrote to its log."""


class Service(ABC):
    """One server. It listens on the loopback interface only, and ends with the thread that
    started it, however that ends.

    As root, the server runs as a user without rights.
    """

    #: Names the folder and the messages.
    name: str
    #: Users that the server may run as; the first that exists is taken.
    users: tuple[str, ...] = ("nobody",)
    #: Ends the server at once, with all its processes.
    kill_signal: signal.Signals = signal.SIGKILL
    start_seconds = 60.0

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"handrail-{self.name}-"))
        self.user, self.group = _user(self.users)
        if os.geteuid() == 0:
            os.chown(self.folder, self.user, self.group)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """What starts it in the foreground."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Does it answer?"""

    @property
    def log(self) -> str:
        """What it has written."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Returns when it answers.

        Raises:
            ServiceError: it does not.
        """
        for _ in range(_TRIES):
            if self._starts():
                return
            self.port = free_port()  # another may have taken it meanwhile
        raise ServiceError(f"{self.name} did not start:\n{self.log[-2000:]}")

    def start_again(self) -> None:
        """Starts it after a stop, on the port that clients know."""
        if not self._starts():
            raise ServiceError(f"{self.name} did not start again:\n{self.log[-2000:]}")

    def kill(self) -> None:
        """Ends it without warning; what it has not written to disk is lost."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(self.kill_signal)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def close(self) -> None:
        """Ends it and removes its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *command: str) -> None:
        """Runs a command as the server's user, in its folder, to the end."""
        with (self.folder / "log").open("ab") as log:
            done = self._launched(list(command), log.fileno()).wait(timeout=self.start_seconds)
        if done:
            raise ServiceError(f"{self.name}: {command[0]} failed:\n{self.log[-2000:]}")

    def _starts(self) -> bool:
        with (self.folder / "log").open("ab") as log:
            self._process = self._launched(self.command(), log.fileno())
        until = time.monotonic() + self.start_seconds
        while time.monotonic() < until and self._process.poll() is None:
            if self.is_ready():
                return True
            time.sleep(0.02)
        self.kill()
        return False

    def _launched(self, command: list[str], log: int) -> subprocess.Popen[bytes]:
        launch = [sys.executable, "-I", "-S", str(_LAUNCH)]
        rights = [int(self.kill_signal), self.user, self.group, os.getpid()]
        program = shutil.which(command[0]) or command[0]
        return subprocess.Popen(
            [*launch, *map(str, rights), program, *command[1:]],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _user(names: tuple[str, ...]) -> tuple[int, int]:
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    for name in (*names, "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return found.pw_uid, found.pw_gid
    return 65534, 65534
