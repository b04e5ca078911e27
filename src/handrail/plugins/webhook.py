"""Posts news of runs to a web address."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from handrail.contracts import event as kinds
from handrail.contracts.event import FINAL_STATES, Event
from handrail.errors import RuntimeConfigError
from handrail.hooks.spec import RunView, RunWatcher
from handrail.plugins.wording import end_words, event_words, moment, start_words
from handrail.settings import Settings

log = logging.getLogger("handrail.hooks")

#: Kinds that may be asked for, with "run.failed" and the like for runs that end so.
KINDS = frozenset(
    {value for name, value in vars(kinds).items() if name.isupper() and type(value) is str}
    | {f"run.{state}" for state in (*FINAL_STATES, "waiting")}
)

#: Answers that another try may change (RFC 9110, section 15; RFC 6585, section 4).
_PASSING = frozenset([408, 425, 429, 500, 502, 503, 504])
#: Of an event's data these may be long, or hold what only the run's owner may read.
_NOT_POSTED = frozenset(["result", "value", "inputs", "traceback", "then"])

Format = Literal["json", "slack"] | Callable[[dict[str, Any]], Any]


class WebhookWatcher(RunWatcher):
    """Posts chosen events as JSON. Results, inputs and tracebacks are never in it.

    What is posted is `{"id", "event", "at", "run_id", "workflow", "epoch", "state"?, "reason"?,
    "task"?, "attempt"?, "data"?, "text"}`; `at` is ISO 8601 in UTC, `text` says the same in
    words. `id` is also the header `Idempotency-Key`: a receiver that sees one twice was posted to
    again because its answer was lost.

    A post is tried again after network trouble, a time-out, and answers such as 429 and 503, with
    pauses that double. Redirects are not followed. What could not be delivered is logged and
    dropped. The end of a run waits for its posts, but not longer than `deadline_seconds`.

    Args:
        url: an http or https address. It is not shown: some services put a token into it.
        events: kinds of events, such as `"task.failed"`; `"run.failed"`, `"run.cancelled"` and
            so on stand for runs that end in that state, `"run.finished"` for all of them.
        format: `"json"`; `"slack"`, whose body is `{"text"}`; or a function that is given the
            body of `"json"` and returns what is posted instead.
        timeout_seconds: how long one try may take.
        retries: how often a post is tried again.
        backoff_seconds: pause before the first retry.
        deadline_seconds: how long all tries of one post may take.
        secret: value of the header `secret_header`, such as `SecretStr("Bearer ...")`.

    Raises:
        RuntimeConfigError: an argument cannot be.
    """

    def __init__(
        self,
        url: str | SecretStr,
        *,
        events: Sequence[str] = (kinds.RUN_FINISHED, kinds.WAIT_ASKED),
        format: Format = "json",
        timeout_seconds: float = 5.0,
        retries: int = 3,
        backoff_seconds: float = 0.5,
        deadline_seconds: float = 10.0,
        secret: SecretStr | None = None,
        secret_header: str = "Authorization",
    ) -> None:
        self._url = _checked_url(url)
        self._events = _checked_events(events)
        if format not in ("json", "slack") and not callable(format):
            raise RuntimeConfigError(f"format={format!r}: expected 'json', 'slack' or a function")
        if min(timeout_seconds, deadline_seconds) <= 0 or min(retries, backoff_seconds) < 0:
            raise RuntimeConfigError("A webhook's times must be above 0, its retries not below 0.")
        self._format = format
        self._timeout_seconds = timeout_seconds
        self._retries = retries
        self._backoff_seconds = backoff_seconds
        self._deadline_seconds = deadline_seconds
        self._headers = {"Content-Type": "application/json", "User-Agent": "handrail"}
        if secret is not None:
            self._headers[secret_header] = _checked_secret(secret)
        self._counts: dict[tuple[str, int], int] = {}
        self._ended_at: dict[tuple[str, int], int] = {}
        self.drain_seconds = deadline_seconds

    @classmethod
    def from_settings(cls, settings: Settings) -> WebhookWatcher:
        """The one of the settings `webhook_url`, `webhook_secret` and `webhook_format`.

        Raises:
            RuntimeConfigError: there is no such address.
        """
        if settings.webhook_url is None:
            raise RuntimeConfigError(
                "The watcher 'webhook' has no address. Say where it posts to: "
                "HANDRAIL_WEBHOOK_URL=https://..."
            )
        form: Any = settings.webhook_format
        return cls(settings.webhook_url, format=form, secret=settings.webhook_secret)

    def __repr__(self) -> str:
        return f"WebhookWatcher({self._place})"

    @property
    def _place(self) -> str:
        """Where it posts to, without what may be secret."""
        parts = urlsplit(self._url)
        port = f":{parts.port}" if parts.port is not None else ""
        return f"{parts.scheme}://{parts.hostname}{port}"

    # What is told

    def on_run_started(self, run: RunView) -> None:
        """Posts that it began, if asked for."""
        kind = kinds.RUN_STARTED if run.epoch == 1 else kinds.RUN_RESUMED
        if kind in self._events:
            self._deliver(run, kind, run.started_at, text=start_words(run))

    def on_event(self, run: RunView, event: Event) -> None:
        """Posts the event, if asked for."""
        if event.kind == kinds.RUN_FINISHED:
            self._ended_at[run.run_id, run.epoch] = event.at
        elif event.kind in self._events and event.kind not in (
            kinds.RUN_STARTED,
            kinds.RUN_RESUMED,
        ):
            self._deliver(
                run,
                event.kind,
                event.at,
                task=event.task,
                attempt=event.attempt,
                data=_without_results(event.data or {}),
                text=event_words(event),
            )

    def on_run_finished(self, run: RunView, state: str, reason: str | None) -> None:
        """Posts how it ended, if asked for."""
        at = self._ended_at.pop((run.run_id, run.epoch), run.started_at)
        for kind in (f"run.{state}", kinds.RUN_FINISHED):
            if kind in self._events:
                text = end_words(state, reason, at - run.started_at)
                self._deliver(run, kind, at, state=state, reason=reason, text=text)
                break
        self._counts.pop((run.run_id, run.epoch), None)

    def _deliver(self, run: RunView, kind: str, at: int, **facts: Any) -> None:
        count = self._counts.get((run.run_id, run.epoch), 0) + 1
        self._counts[run.run_id, run.epoch] = count
        body = {
            "id": f"{run.run_id}/{run.epoch}/{count}",
            "event": kind,
            "at": moment(at),
            "run_id": run.run_id,
            "workflow": run.workflow,
            "epoch": run.epoch,
            **{name: value for name, value in facts.items() if value not in (None, "", {})},
        }
        content = json.dumps(self._formed(body), ensure_ascii=False).encode("utf-8", "replace")
        trouble = self._post(content, str(body["id"]))
        if trouble is not None:
            log.warning(
                "run %s: %s was not delivered to %s: %s", run.run_id, kind, self._place, trouble
            )

    def _formed(self, body: dict[str, Any]) -> Any:
        if callable(self._format):
            return self._format(body)
        if self._format == "slack":
            return {"text": _for_slack(f"{body['workflow']} {body['run_id']}: {body['text']}")}
        return body

    # Posting

    def _post(self, content: bytes, key: str) -> str | None:
        """Posts until it is taken or time is up; returns what was the trouble, if any."""
        ends_at = time.monotonic() + self._deadline_seconds
        trouble = "there was no time"
        for pause in self._pauses():
            if pause >= ends_at - time.monotonic():
                break
            time.sleep(pause)
            seconds = min(self._timeout_seconds, ends_at - time.monotonic())
            answer = self._try(content, key, seconds)
            if isinstance(answer, int) and 200 <= answer < 300:
                return None
            trouble = answer if isinstance(answer, str) else f"HTTP {answer}"
            if isinstance(answer, int) and answer not in _PASSING:
                break
        return trouble

    def _pauses(self) -> Iterator[float]:
        # backoff x 1, 2, 4, ... (seconds), none before the first try.
        yield 0.0
        for number in range(self._retries):
            yield self._backoff_seconds * 2**number

    def _try(self, content: bytes, key: str, seconds: float) -> int | str:
        """The status of the answer, or what came instead of one."""
        answers: SimpleQueue[int | str] = SimpleQueue()
        # In a thread that can be left behind: the time-out of a socket begins anew with each byte
        # of a slow answer, and looking up a name has none at all.
        threading.Thread(
            target=lambda: answers.put(self._send(content, key, seconds)),
            name="handrail-webhook",
            daemon=True,
        ).start()
        try:
            return answers.get(timeout=seconds)
        except Empty:
            return f"no answer within {seconds:.3g} s"

    def _send(self, content: bytes, key: str, seconds: float) -> int | str:
        headers = {**self._headers, "Idempotency-Key": key}
        request = urllib.request.Request(self._url, content, headers, method="POST")
        opener = urllib.request.build_opener(_NoRedirects)
        try:
            with opener.open(request, timeout=seconds) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            with contextlib.closing(error):
                return error.code
        except TimeoutError:
            return f"no answer within {seconds:.3g} s"
        except Exception as error:  # told by its class alone: messages may repeat the address
            return _cause(error)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Takes a redirect for an answer: a secret is sent to nobody else."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _for_slack(text: str) -> str:
    # What Slack's mrkdwn would take for links and mentions.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cause(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return type(reason).__name__ if isinstance(reason, BaseException) else type(error).__name__


def _without_results(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _without_results(value) if isinstance(value, Mapping) else value
        for name, value in data.items()
        if name not in _NOT_POSTED
    }


def _checked_url(url: str | SecretStr) -> str:
    text = url.get_secret_value() if isinstance(url, SecretStr) else url
    try:
        parts = urlsplit(text)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_good = is_good and (parts.port is None or parts.port > 0) and parts.username is None
    except ValueError:
        is_good = False
    if not is_good or not text.isascii() or not text.isprintable() or " " in text:
        raise RuntimeConfigError(
            "The address of a webhook (not shown, it may hold a secret) cannot be used; expected "
            "http://host/path or https://host/path, without user name and spaces."
        )
    return text


def _checked_events(events: Sequence[str]) -> frozenset[str]:
    asked = frozenset([events] if isinstance(events, str) else events)
    unknown = sorted(asked - KINDS)
    if unknown:
        raise RuntimeConfigError(
            f"Unknown event '{unknown[0]}' for a webhook. Known: {', '.join(sorted(KINDS))}."
        )
    return asked


def _checked_secret(secret: SecretStr) -> str:
    if not isinstance(secret, SecretStr):
        raise RuntimeConfigError("The secret of a webhook must be a pydantic.SecretStr.")
    text = secret.get_secret_value()
    if not text.isascii() or not text.isprintable():
        raise RuntimeConfigError("The secret of a webhook may hold only printable ASCII letters.")
    return text
