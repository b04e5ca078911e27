"""Tells watchers, in order, from a side thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue

from handrail.contracts.event import Event
from handrail.hooks.spec import RunView, RunWatcher

log = logging.getLogger("handrail.hooks")

#: How long the end of a run waits for watchers that are behind (seconds).
DRAIN_SECONDS = 2.0


class WatcherChain:
    """The watchers of one run. Use as a context manager around it."""

    def __init__(self, run: RunView, watchers: Sequence[RunWatcher]) -> None:
        self._run = run
        self._watchers = tuple(watchers)
        self._calls: SimpleQueue[Callable[[RunWatcher], None] | None] = SimpleQueue()
        # Daemon: a watcher that hangs must not keep the interpreter from ending.
        self._thread = threading.Thread(target=self._serve, name="handrail-watch", daemon=True)

    def start(self) -> None:
        """Tells that the run starts."""
        self._thread.start()
        self._calls.put(lambda watcher: watcher.on_run_started(self._run))

    def event(self, event: Event) -> None:
        """Tells of an event; returns at once."""
        self._calls.put(lambda watcher: watcher.on_event(self._run, event))

    def finish(self, state: str, reason: str | None) -> None:
        """Tells of the end, and waits a little for those who are behind."""
        self._calls.put(lambda watcher: watcher.on_run_finished(self._run, state, reason))
        self._calls.put(None)
        self._thread.join(DRAIN_SECONDS)
        if self._thread.is_alive():
            log.warning("run %s: watchers are behind by over %g s", self._run.run_id, DRAIN_SECONDS)

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            for watcher in self._watchers:
                try:
                    call(watcher)
                except BaseException:  # also one that calls sys.exit() must not silence the others
                    log.exception("run %s: watcher %r failed", self._run.run_id, watcher)
