"""A connection to a Postgres server that breaks where a test wants it to.

The proxy reads as much of the protocol as it needs to count: a *request* is what the server
answers as one (a simple query, or messages up to a sync), a *reply* ends in "ready for query".
Source: https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

#: What is broken: the request never arrives, the reply never arrives, or the request arrives
#: when the client has long gone.
BREAKS = ("request", "reply", "late request")

_LATE_SECONDS = 0.03
_REQUEST_ENDS = (b"Q", b"S")
_REPLY_ENDS = (b"Z",)


class Proxy:
    """Listens on a port of its own and passes everything on, until it is told to break."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._lock = threading.Lock()
        self._break = ""
        self._left = self._every = 0
        #: How many connections were broken.
        self.broken_count = 0
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        self._sockets: list[socket.socket] = []

    def url(self, url: str) -> str:
        """The address of the same database through the proxy."""
        through = url.replace(f":{self._server_port}/", f":{self.port}/")
        return f"{through}?sslmode=disable&gssencmode=disable"

    def break_at(self, kind: str, first: int, every: int) -> None:
        """Breaks the connection of the first request or reply, counted from now, and of others."""
        with self._lock:
            self._break, self._left, self._every = kind, first, every

    def close(self) -> None:
        """Ends all connections; ending them again does nothing."""
        _end(self._listener)
        for one in self._sockets:
            _end(one)
        for thread in self._threads:
            thread.join(timeout=20)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                for one in (client, server):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets += [client, server]
                for pass_on in (self._requests, self._replies):
                    thread = threading.Thread(target=pass_on, args=(client, server), daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            for message in _messages(client, has_start=True):
                kind = self._breaks("request", message, _REQUEST_ENDS)
                if kind == "late request":
                    _end(client)
                    time.sleep(_LATE_SECONDS)
                    server.sendall(message)
                    break
                if kind:
                    break
                server.sendall(message)
        _end(client)
        _end(server)

    def _replies(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            for message in _messages(server, has_start=False):
                if self._breaks("reply", message, _REPLY_ENDS):
                    break
                client.sendall(message)
        _end(client)
        _end(server)

    def _breaks(self, side: str, message: bytes, ends: tuple[bytes, ...]) -> str:
        if message[:1] not in ends:
            return ""
        with self._lock:
            if not self._break.endswith(side):
                return ""
            self._left -= 1
            if self._left:
                return ""
            self._left = self._every
            self.broken_count += 1
            return self._break


def _messages(one: socket.socket, *, has_start: bool) -> Iterator[bytes]:
    """Whole messages; the first one of a client has no letter in front."""
    waiting = b""
    header = 4 if has_start else 5
    while True:
        while len(waiting) >= header:
            length = int.from_bytes(waiting[header - 4 : header], "big") + header - 4
            if len(waiting) < length:
                break
            yield waiting[:length]
            waiting, header = waiting[length:], 5
        received = one.recv(65536)
        if not received:
            return
        waiting += received


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
