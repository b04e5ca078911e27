"""Tells watchers of a run, each from a side thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any

from handrail.contracts.event import RUN_FINISHED, Event
from handrail.hooks.spec import RunView, RunWatcher

log = logging.getLogger("handrail.hooks")


class WatcherChain:
    """The watchers of one epoch of a run, from `start` to `finish`."""

    def __init__(self, run: RunView, watchers: Sequence[RunWatcher]) -> None:
        self._lanes = [_Lane(run, watcher) for watcher in watchers]
        self._end: Event | None = None

    def start(self) -> None:
        """Tells that the run starts. Call it in the context that watchers are to see."""
        for lane in self._lanes:
            lane.start()

    def event(self, event: Event) -> None:
        """Tells of an event; returns at once."""
        if event.kind == RUN_FINISHED:
            self._end = event
        for lane in self._lanes:
            lane.tell(event)

    def finish(self, state: str, reason: str | None) -> None:
        """Tells of the end, and waits a little for those who are behind.

        What the journal said of the end comes before `state` and `reason`. A run without a
        journal gets its last event here.
        """
        if self._end is None:
            data = {"state": state} if reason is None else {"state": state, "reason": reason}
            self.event(Event(RUN_FINISHED, time.time_ns() // 1_000_000, data=data))
        told = self._end.data if self._end is not None and self._end.data is not None else {}
        for lane in self._lanes:
            lane.finish(told.get("state", state), told.get("reason", reason))
        began = time.monotonic()
        for lane in self._lanes:
            lane.drain(began)


class _Lane:
    """One watcher, its thread, and what it has not heard yet."""

    def __init__(self, run: RunView, watcher: RunWatcher) -> None:
        self._run = run
        self._watcher = watcher
        self._waiting: SimpleQueue[Event | tuple[str, str | None]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        # Daemon: a watcher that hangs must not keep the interpreter from ending.
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._serve,), name="handrail-watch", daemon=True
        )
        self._thread.start()

    def tell(self, event: Event) -> None:
        self._waiting.put(event)

    def finish(self, state: str, reason: str | None) -> None:
        self._waiting.put((state, reason))

    def drain(self, began: float) -> None:
        assert self._thread is not None
        seconds = self._watcher.drain_seconds
        self._thread.join(max(began + seconds - time.monotonic(), 0))
        if self._thread.is_alive():
            log.warning(
                "run %s: watcher %r is behind by over %g s",
                self._run.run_id, self._watcher, seconds,
            )  # fmt: skip

    def _serve(self) -> None:
        self._call(self._watcher.on_run_started)
        while isinstance(item := self._waiting.get(), Event):
            self._call(self._watcher.on_event, item)
        self._call(self._watcher.on_run_finished, *item)

    def _call(self, method: Callable[..., None], *arguments: Any) -> None:
        try:
            method(self._run, *arguments)
        except BaseException:  # also one that calls sys.exit() hears the rest of the run
            log.exception("run %s: watcher %r failed", self._run.run_id, self._watcher)
