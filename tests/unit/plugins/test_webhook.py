from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import SecretStr

from handrail.contracts.event import Event
from handrail.errors import RuntimeConfigError
from handrail.hooks.chain import WatcherChain
from handrail.hooks.spec import RunView
from handrail.plugins.webhook import WebhookWatcher
from handrail.settings import load_settings

START = 1_700_000_000_000
RUN = RunView("r1", "songs <1>", 1, {"a": "direct"}, (), START)
SECRET = "Bearer xyzzy-4711"
TOKEN = "T0K3N"


class Server:
    """A web server of this test: answers with the given statuses in turn, then with 200."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        #: (path, headers, body)
        self.taken: list[tuple[str, dict[str, str], Any]] = []
        self.answer: Callable[[BaseHTTPRequestHandler], None] = self._answer
        self.released = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): text for name, text in self.headers.items()}
                server.taken.append((self.path, headers, json.loads(content)))
                server.answer(self)

            do_GET = do_POST

            def log_message(self, *args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def url(self) -> str:
        return f"{self.address}/hooks/{TOKEN}"

    @property
    def bodies(self) -> list[Any]:
        return [body for _, _, body in self.taken]

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        request.send_response(self.statuses.pop(0) if self.statuses else 200)
        request.send_header("Content-Length", "0")
        request.end_headers()

    def hang(self, request: BaseHTTPRequestHandler) -> None:
        self.released.wait(20)
        request.close_connection = True

    def drip(self, request: BaseHTTPRequestHandler) -> None:
        """Sends a byte now and then, so that no single wait is long."""
        while not self.released.wait(0.02):
            try:
                request.wfile.write(b"x")
            except OSError:
                return

    def close(self) -> None:
        self.released.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def tell(
    watcher: WebhookWatcher, *events: Event, state: str = "succeeded", reason: str | None = None
) -> None:
    chain = WatcherChain(RUN, [watcher])
    chain.start()
    for event in events:
        chain.event(event)
    chain.event(Event("run.finished", START + 1500, data={"state": state, "reason": reason}))
    chain.finish(state, reason)


FAILED = Event(
    "task.failed", START + 5, "a", "x1",
    {"error": {"type": "Odd", "message": "no reason", "traceback": "line 1"}, "result": "{}"},
)  # fmt: skip
ASKED = Event(
    "wait.asked", START + 7, "a", "x1",
    {"wait_id": "w", "kind": "selection", "prompt": "Which?", "options": ["x", "y"]},
)  # fmt: skip


def test_the_end_of_a_run_is_posted(server: Server) -> None:
    tell(WebhookWatcher(server.url), state="failed", reason="task 'a' failed")
    [(path, headers, body)] = server.taken
    assert path == f"/hooks/{TOKEN}"
    assert headers["content-type"] == "application/json"
    assert headers["idempotency-key"] == body["id"] == "r1/1/1"
    assert "authorization" not in headers
    assert body == {
        "id": "r1/1/1",
        "event": "run.finished",
        "at": "2023-11-14T22:13:21.500Z",
        "run_id": "r1",
        "workflow": "songs <1>",
        "epoch": 1,
        "state": "failed",
        "reason": "task 'a' failed",
        "text": "run failed in 1.5 s: task 'a' failed",
    }


def test_a_question_is_posted_when_it_is_asked(server: Server) -> None:
    tell(WebhookWatcher(server.url), ASKED, state="waiting")
    asked, finished = server.bodies
    assert (asked["event"], asked["task"], asked["attempt"]) == ("wait.asked", "a", "x1")
    assert asked["data"]["options"] == ["x", "y"]
    assert asked["text"] == "task a asks: Which? (x, y)"
    assert finished["state"] == "waiting"
    assert [asked["id"], finished["id"]] == ["r1/1/1", "r1/1/2"]


def test_what_was_not_asked_for_is_not_posted(server: Server) -> None:
    tell(WebhookWatcher(server.url, events=["run.failed"]), FAILED, ASKED)
    assert server.taken == []
    tell(WebhookWatcher(server.url, events=["run.failed"]), FAILED, ASKED, state="failed")
    assert [body["event"] for body in server.bodies] == ["run.failed"]


def test_results_and_tracebacks_stay_here(server: Server) -> None:
    tell(WebhookWatcher(server.url, events=["run.started", "task.failed"]), FAILED)
    assert [body["event"] for body in server.bodies] == ["run.started", "task.failed"]
    assert server.bodies[1]["data"] == {"error": {"type": "Odd", "message": "no reason"}}


def test_slack_gets_one_text(server: Server) -> None:
    tell(WebhookWatcher(server.url, format="slack"), state="failed", reason="a < b & c")
    assert server.bodies == [{"text": "songs &lt;1&gt; r1: run failed in 1.5 s: a &lt; b &amp; c"}]


def test_a_function_may_say_what_is_posted(server: Server) -> None:
    tell(WebhookWatcher(server.url, format=lambda body: [body["run_id"], body["state"]]))
    assert server.bodies == [["r1", "succeeded"]]


def test_the_secret_is_sent_as_header(server: Server) -> None:
    tell(WebhookWatcher(server.url, secret=SecretStr(SECRET)))
    tell(WebhookWatcher(server.url, secret=SecretStr("k"), secret_header="X-Key"))
    assert server.taken[0][1]["authorization"] == SECRET
    assert server.taken[1][1]["x-key"] == "k"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_passing_failure_is_tried_again_with_the_same_key(server: Server, status: int) -> None:
    server.statuses = [status, status]
    tell(WebhookWatcher(server.url, backoff_seconds=0.001))
    assert [body["id"] for body in server.bodies] == ["r1/1/1"] * 3


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 403, 404, 410])
def test_other_answers_are_taken_as_they_are(
    server: Server, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    server.statuses = [status]
    tell(WebhookWatcher(server.url, backoff_seconds=0.001))
    assert len(server.taken) == 1
    assert f"run.finished was not delivered to {server.address}: HTTP {status}" in caplog.text


def test_a_redirect_does_not_take_the_secret_elsewhere(server: Server) -> None:
    other = Server()
    try:

        def redirect(request: BaseHTTPRequestHandler) -> None:
            request.send_response(302)
            request.send_header("Location", other.url)
            request.end_headers()

        server.answer = redirect
        tell(WebhookWatcher(server.url, secret=SecretStr(SECRET)))
        assert (len(server.taken), other.taken) == (1, [])
    finally:
        other.close()


def test_a_server_that_keeps_failing_is_given_up(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.statuses = [503] * 10
    tell(WebhookWatcher(server.url, retries=2, backoff_seconds=0.001))
    assert len(server.taken) == 3
    assert "HTTP 503" in caplog.text


@pytest.mark.parametrize("how", ["hang", "drip"])
def test_a_server_that_does_not_answer_costs_no_more_than_the_deadline(
    server: Server, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.answer = getattr(server, how)
    watcher = WebhookWatcher(
        server.url, timeout_seconds=0.1, retries=50, backoff_seconds=0.01, deadline_seconds=0.4
    )
    began = time.monotonic()
    watcher.on_run_started(RUN)
    watcher.on_run_finished(RUN, "succeeded", None)
    assert 0.1 < time.monotonic() - began < 2
    assert 1 < len(server.taken) < 6
    assert "no answer within" in caplog.text


def test_the_end_of_a_run_waits_no_longer_than_the_deadline(server: Server) -> None:
    server.answer = server.hang
    began = time.monotonic()
    tell(WebhookWatcher(server.url, deadline_seconds=0.2), ASKED)
    assert time.monotonic() - began < 2


def test_a_server_that_is_not_there_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    gone = Server()
    gone.close()
    tell(WebhookWatcher(gone.url, retries=1, backoff_seconds=0.001))
    assert f"not delivered to {gone.address}: ConnectionRefusedError" in caplog.text


def test_no_secret_is_in_logs_and_errors(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    def broken(body: dict[str, Any]) -> Any:
        raise ValueError("cannot")

    with caplog.at_level(logging.DEBUG):
        for format in ("json", broken):
            server.statuses = [500, 500, 404]
            watcher = WebhookWatcher(
                server.url,
                format=format,
                secret=SecretStr(SECRET),
                backoff_seconds=0.001,
            )
            tell(watcher)
    assert "watcher WebhookWatcher(http://127.0.0.1" in caplog.text
    for text in (caplog.text, repr(watcher), str(watcher)):
        assert TOKEN not in text
        assert "xyzzy" not in text


@pytest.mark.parametrize(
    "url",
    [
        "", "example.org/hook", "file:///etc/passwd", "ftp://host/x", "http://", "http://host:99999/",
        "http://user:SECRET@host/", "http://host/SECRET path", "http://host/SECRET\r\nX: y",
        "http://[SECRET/", "http://host/SECRETü",
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_is_refused_and_not_shown(url: str) -> None:
    for said in (url, SecretStr(url)):
        with pytest.raises(RuntimeConfigError, match="expected http://host/path") as caught:
            WebhookWatcher(said)
        assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("secret", ["SECRET\r\nX-More: y", "SECRETü", "plain SECRET"])
def test_a_secret_that_cannot_be_a_header_is_refused_and_not_shown(secret: str) -> None:
    said: Any = secret if secret.startswith("plain") else SecretStr(secret)
    with pytest.raises(RuntimeConfigError, match="secret of a webhook") as caught:
        WebhookWatcher("http://localhost/", secret=said)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"events": ["run.finish"]}, "Unknown event 'run.finish' for a webhook. Known: channel"),
        ({"events": "task.exploded"}, "Unknown event 'task.exploded'"),
        ({"format": "xml"}, "expected 'json', 'slack' or a function"),
        ({"timeout_seconds": 0}, "times must be above 0"),
        ({"retries": -1}, "retries not below 0"),
    ],
)
def test_an_argument_that_cannot_be_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(RuntimeConfigError, match=message):
        WebhookWatcher("http://localhost/", **arguments)


def test_the_settings_may_say_where_to_post(server: Server) -> None:
    settings = load_settings(
        environment={
            "HANDRAIL_WEBHOOK_URL": server.url,
            "HANDRAIL_WEBHOOK_SECRET": SECRET,
            "HANDRAIL_WEBHOOK_FORMAT": "slack",
        }
    )
    tell(WebhookWatcher.from_settings(settings))
    [(_, headers, body)] = server.taken
    assert headers["authorization"] == SECRET
    assert set(body) == {"text"}
    assert TOKEN not in repr(settings)
    assert "xyzzy" not in repr(settings)
