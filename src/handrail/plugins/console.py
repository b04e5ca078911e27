"""Tells on a stream what runs do: one plain line per event."""

from __future__ import annotations

import sys
import threading
from typing import Literal, TextIO

from handrail.contracts import event as kinds
from handrail.contracts.event import Event
from handrail.errors import RuntimeConfigError
from handrail.hooks.spec import RunView, RunWatcher
from handrail.plugins.wording import end_words, event_words, moment, start_words

Detail = Literal["runs", "tasks", "all"]

_OF_RUNS = (kinds.RUN_STARTED, kinds.RUN_RESUMED, kinds.RUN_FINISHED)


def _is_detail(event: Event) -> bool:
    is_soon = event.kind == kinds.TASK_QUEUED and not event.data
    return is_soon or event.kind == kinds.CHANNEL_CHANGED


class ConsoleWatcher(RunWatcher):
    """Writes one line per event: time in UTC, run id, and what happened.

    Args:
        stream: where to write; by default standard error as it is at that moment.
        detail: `"runs"` tells of the beginning and the end of runs, `"tasks"` also of tasks,
            groups and waits, `"all"` also of changes of the channel.

    Raises:
        RuntimeConfigError: `detail` is something else.
    """

    def __init__(self, stream: TextIO | None = None, *, detail: Detail = "tasks") -> None:
        if detail not in ("runs", "tasks", "all"):
            raise RuntimeConfigError(f"detail={detail!r}: expected 'runs', 'tasks' or 'all'")
        self._stream = stream
        self._detail = detail
        self._lock = threading.Lock()
        #: By run id and epoch: when attempts started, by attempt id.
        self._started: dict[tuple[str, int], dict[str, int]] = {}
        self._ended_at: dict[tuple[str, int], int] = {}

    def on_run_started(self, run: RunView) -> None:
        """Writes a line."""
        self._started[run.run_id, run.epoch] = {}
        self._write(run, run.started_at, start_words(run))

    def on_event(self, run: RunView, event: Event) -> None:
        """Writes a line, if the detail asked for includes the event."""
        if event.kind == kinds.RUN_FINISHED:
            self._ended_at[run.run_id, run.epoch] = event.at
        if self._detail == "runs" or event.kind in _OF_RUNS:
            return
        milliseconds = self._took(run, event)
        if self._detail == "all" or not _is_detail(event):
            self._write(run, event.at, event_words(event, milliseconds))

    def on_run_finished(self, run: RunView, state: str, reason: str | None) -> None:
        """Writes a line."""
        self._started.pop((run.run_id, run.epoch), None)
        ended_at = self._ended_at.pop((run.run_id, run.epoch), run.started_at)
        self._write(run, ended_at, end_words(state, reason, ended_at - run.started_at))

    def _took(self, run: RunView, event: Event) -> int | None:
        started = self._started.get((run.run_id, run.epoch), {})
        if event.kind == kinds.TASK_STARTED:
            started[event.attempt] = event.at
            return None
        started_at = started.pop(event.attempt, None) if event.attempt else None
        return event.at - started_at if started_at is not None else None

    def _write(self, run: RunView, at: int, words: str) -> None:
        stream = self._stream or sys.stderr
        line = f"{moment(at)}  {run.run_id}  {words}\n"
        encoding = getattr(stream, "encoding", None) or "utf-8"
        with self._lock:
            stream.write(line.encode(encoding, "backslashreplace").decode(encoding))
            stream.flush()
