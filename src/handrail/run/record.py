"""Writes down what a run does: into the journal in groups, and to whoever watches."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from handrail.contracts.event import Event
from handrail.keep.base import Journal

#: Events wait at most so long for others to be written with them (seconds) ...
GROUP_SECONDS = 0.02
#: ... or until they are so many.
GROUP_COUNT = 512


_new = tuple.__new__


class Recorder:
    """Collects events of one epoch of a run.

    Any thread may add events and write those that wait. Without a journal and without a watcher
    nothing is collected.
    """

    def __init__(
        self,
        run_id: str,
        epoch: int,
        journal: Journal | None,
        watch: Callable[[Event], None] | None = None,
    ) -> None:
        self.run_id = run_id
        self.epoch = epoch
        self._journal = journal
        self._watch = watch
        #: Does anybody listen? Does anybody want to know?
        self.is_watched = watch is not None
        self.is_on = journal is not None or watch is not None
        self._waiting: deque[Event] = deque()
        #: Held from taking events to having them written, so that they are written in order.
        self.lock = threading.RLock()
        self._flushed_at = time.monotonic()
        #: Why a group was not written. Nothing is written after it, or there would be a gap.
        self._fault: Exception | None = None

    def event(
        self, kind: str, task: str = "", attempt: str = "", data: dict[str, Any] | None = None
    ) -> None:
        """Adds an event of now."""
        # The constructor of a named tuple costs more than the tuple.
        event = _new(Event, (kind, time.time_ns() // 1_000_000, task, attempt, data))
        if self._journal is not None:
            self._waiting.append(event)
        if self._watch is not None:
            self._watch(event)

    def news(self, kind: str, task: str) -> None:
        """Tells watchers something that the journal need not keep."""
        if self._watch is not None:
            self._watch(Event(kind, time.time_ns() // 1_000_000, task, "", {}))

    def flush_if_due(self) -> None:
        """Writes what waits, if it is much or has waited long."""
        now = time.monotonic()
        if now - self._flushed_at > GROUP_SECONDS or len(self._waiting) >= GROUP_COUNT:
            self.flush()
            self._flushed_at = now

    def flush(self) -> None:
        """Writes what waits, grouped. Any thread may call.

        Raises:
            StoreError: it cannot be written, or an earlier group could not, in whatever thread.
        """
        with self.lock:
            events = self.taken()
            if events and self._journal is not None:
                try:
                    self._journal.append(self.run_id, self.epoch, events)
                except Exception as error:
                    self._fault = error
                    raise

    def give_up(self) -> None:
        """After a fault drops what waits, so that the end of the run can be written."""
        with self.lock:
            if self._fault is not None:
                self._fault = None
                self._waiting.clear()

    def taken(self) -> list[Event]:
        """Takes what waits, for a commit that writes it together with something else.

        Raises:
            StoreError: an earlier group could not be written.
        """
        if self._fault is not None:
            raise self._fault
        waiting = self._waiting
        return [waiting.popleft() for _ in range(len(waiting))]

    def put_back(self, events: Sequence[Event]) -> None:
        """Gives back what was taken and could not be written."""
        self._waiting.extendleft(reversed(events))

    def tell(self, events: Sequence[Event]) -> None:
        """Shows watchers events that were written by somebody else's commit."""
        if self._watch is not None:
            for event in events:
                self._watch(event)
