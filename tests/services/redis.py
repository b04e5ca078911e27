"""A Redis server for tests."""

from __future__ import annotations

import shutil
import socket

from tests.services.service import Service

#: Logical databases; each test takes one.
DATABASE_COUNT = 4096


def binary() -> str | None:
    """The server's program; none if it is not installed."""
    return shutil.which("redis-server")


class RedisServer(Service):
    """A server that keeps everything in memory, or in a file that is synced at each write."""

    name = "redis"
    users = ("redis",)

    def __init__(self, *, appendonly: bool = False) -> None:
        super().__init__()
        self._appendonly = appendonly

    @property
    def url(self) -> str:
        """Of its first database."""
        return url(self.port, 0)

    def command(self) -> list[str]:
        program = binary()
        assert program is not None
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.folder),
            "databases": str(DATABASE_COUNT),
            "save": "",
            "appendonly": "yes" if self._appendonly else "no",
            "appendfsync": "always",
        }
        return [
            program,
            *(word for name, value in settings.items() for word in (f"--{name}", value)),
        ]

    def is_ready(self) -> bool:
        try:
            return ask(self.port, "PING") == "+PONG"
        except OSError:
            return False

    def prepare(self) -> RedisServer:
        """Starts it."""
        self.start()
        return self


def url(port: int, database: int) -> str:
    """The address of one logical database."""
    return f"redis://127.0.0.1:{port}/{database}"


def ask(port: int, *commands: str) -> str:
    """Sends commands, each one line; returns the first line of the last one's reply."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as one,
        one.makefile("rb") as file,
    ):
        for command in commands:
            one.sendall(f"{command}\r\n".encode())
            reply = file.readline().decode().strip()
        return reply
