"""A connection to an S3 server that breaks where a test wants it to."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

#: What is broken: the request never arrives, its answer never arrives, or half of it does.
BREAKS = ("request", "reply", "half")

_REQUEST = re.compile(rb"(GET|HEAD|PUT|POST|DELETE) (\S+) HTTP/1\.1\r\n")
_REPLY = b"HTTP/1.1 "


class S3Proxy:
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
        #: What was asked for: method and path of each request.
        self.requests: list[tuple[str, str]] = []
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def break_at(self, kind: str, first: int, every: int = 0) -> None:
        """Breaks the connection of the first request or reply, counted from now, and of others.

        Args:
            every: of how many the later ones are one; 0 means that there are none.
        """
        with self._lock:
            self._break, self._left, self._every = kind, first, every

    def close(self) -> None:
        """Ends all connections."""
        _end(self._listener)
        for one in self._sockets:
            _end(one)
        for thread in self._threads:
            thread.join(timeout=20)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self._connect(self._listener.accept()[0])

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._server_port))
        except OSError:
            _end(client)
            return
        self._sockets += [client, server]
        for one in (client, server):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for one, other, look in (
            (client, server, self._breaks_request),
            (server, client, self._breaks_reply),
        ):
            thread = threading.Thread(target=_pass_on, args=(one, other, look), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _breaks_request(self, piece: bytes) -> str:
        found = _REQUEST.match(piece)
        if not found:
            return ""
        self.requests.append((found[1].decode(), found[2].decode()))
        return self._breaks("request")

    def _breaks_reply(self, piece: bytes) -> str:
        return (self._breaks("reply") or self._breaks("half")) if piece.startswith(_REPLY) else ""

    def _breaks(self, kind: str) -> str:
        with self._lock:
            if self._break != kind:
                return ""
            self._left -= 1
            if self._left:
                return ""
            self._left = self._every
            self.broken_count += 1
            return kind


def _pass_on(one: socket.socket, other: socket.socket, look: Callable[[bytes], str]) -> None:
    with suppress(OSError):
        while piece := one.recv(1 << 16):
            kind = look(piece)
            if kind:
                other.sendall(piece[: len(piece) // 2] if kind == "half" else b"")
                break
            other.sendall(piece)
    _end(one)
    _end(other)


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
