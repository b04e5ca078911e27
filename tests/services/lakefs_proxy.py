"""A connection to LakeFS that breaks, or stalls, where a test wants it to."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Request(NamedTuple):
    """A request that came through, counted from 0."""

    number: int
    method: str
    path: str
    body: bytes


#: What becomes of a request: "" it passes; "request" it never arrives; "reply" its answer never
#: arrives; "late" it arrives when the client has given it up and the test calls `let_go`;
#: "hold" it waits for `let_go` with the client.
Decide = Callable[[Request], str]


class LakeFSProxy:
    """Listens on a port of its own and passes requests on as `decide` says."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._lock = threading.Lock()
        self._go = threading.Event()
        self._late: list[threading.Thread] = []
        self.decide: Decide = lambda request: ""
        #: What came through.
        self.requests: list[Request] = []
        #: Set when a request waits.
        self.is_holding = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def let_go(self) -> None:
        """Lets what waits go on; returns when late requests have been answered."""
        go, self._go = self._go, threading.Event()
        go.set()
        for thread in self._late:
            thread.join(timeout=30)

    def close(self) -> None:
        self.let_go()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=30)

    def take(self, method: str, path: str, headers: Any, body: bytes) -> Any:
        """The answer to a request; none if the client is not to get one."""
        with self._lock:
            request = Request(len(self.requests), method, path, body)
            self.requests.append(request)
            kind = self.decide(request)
        if kind == "request":
            return None
        if kind == "late":
            thread = threading.Thread(target=self._pass_late, args=(self._go, request, headers))
            self._late.append(thread)
            thread.start()
            return None
        if kind == "hold":
            go = self._go
            self.is_holding.set()
            go.wait(timeout=60)
        answer = self._pass(request, headers)
        return None if kind == "reply" else answer

    def _pass_late(self, go: threading.Event, request: Request, headers: Any) -> None:
        go.wait(timeout=60)
        self._pass(request, headers)

    def _pass(self, request: Request, headers: Any) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.request(request.method, request.path, request.body, dict(headers))
            reply = connection.getresponse()
            return reply.status, reply.getheaders(), reply.read()
        finally:
            connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, proxy: LakeFSProxy) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what tests want."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer goes out in one piece
    server: _Server

    def _take(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = self.server.proxy.take(self.command, self.path, self.headers, body)
        if answer is None:
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        status, headers, content = answer
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    do_GET = do_POST = do_PUT = do_DELETE = _take

    def log_message(self, format: str, *args: Any) -> None:
        """Tests are quiet."""
