"""Keeps the leases of this process's executions alive, and delivers ends that could not be.

One daemon thread per process beats for all of them, at a third of the shortest wait that each
lease allows. It ends when there has been nothing to do for a while and starts again by itself.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from handrail.errors import WatcherAPIError
from handrail.tracking.transport import TrackingTransport
from handrail.tracking.wire import Heartbeat

_log = logging.getLogger("handrail.tracking")

#: Beats within one lease, so that two of them may be lost.
BEATS_PER_LEASE = 3
_IDLE_SECONDS = 30.0


@dataclass
class _Held:
    interval_seconds: float
    due_at: float
    transport: TrackingTransport | None = None
    execution_id: int = 0
    #: Delivers what is still owed to a tracker.
    owed: Callable[[], None] | None = None


class LeaseKeeper:
    """Beats for the executions it holds until they are released."""

    def __init__(self) -> None:
        self._forget_parent()

    def _forget_parent(self) -> None:
        # A forked child must not keep its parent's executions alive, and inherits no thread.
        self._process_id = os.getpid()
        self._changed = threading.Condition()
        self._held: dict[Hashable, _Held] = {}
        self._thread: threading.Thread | None = None
        self._wakes_at = 0.0

    def hold(self, transport: TrackingTransport, execution_id: int, lease_seconds: float) -> None:
        """Renews the execution's lease until `release`."""
        interval = lease_seconds / BEATS_PER_LEASE
        due_at = time.monotonic() + interval
        self._add((id(transport), execution_id), _Held(interval, due_at, transport, execution_id))

    def release(self, transport: TrackingTransport, execution_id: int) -> None:
        """Stops renewing."""
        self._remove((id(transport), execution_id))

    def owe(self, debtor: Hashable, every_seconds: float, deliver: Callable[[], None]) -> None:
        """Calls `deliver` at that interval until it raises nothing, and once more at exit.

        A debtor owes one thing: a later call replaces what it owed.
        """
        due_at = time.monotonic() + every_seconds
        self._add(debtor, _Held(every_seconds, due_at, owed=deliver))

    def settle(self, debtor: Hashable) -> None:
        """The debtor owes nothing more."""
        self._remove(debtor)

    def _add(self, key: Hashable, held: _Held) -> None:
        if self._process_id != os.getpid():
            self._forget_parent()
        with self._changed:
            self._held[key] = held
            if self._thread is None or not self._thread.is_alive():
                self._begin()
            elif held.due_at < self._wakes_at:
                self._changed.notify()

    def _remove(self, key: Hashable) -> None:
        if self._process_id == os.getpid():
            with self._changed:
                self._held.pop(key, None)

    def _begin(self) -> None:
        thread = threading.Thread(target=self._run, name="handrail-tracking-leases", daemon=True)
        try:
            thread.start()
        except RuntimeError as exc:
            # At interpreter shutdown, or without room for another thread, leases run out.
            _log.debug("No thread for heartbeats: %s", exc)
        else:
            self._thread = thread

    def _run(self) -> None:
        while (due := self._wait()) is not None:
            for held in due:
                if held.owed is not None:
                    self._deliver(held)
            for transport in {id(h.transport): h.transport for h in due}.values():
                if transport is not None:
                    beating = [h.execution_id for h in due if h.transport is transport]
                    self._beat(transport, beating)

    def _wait(self) -> list[_Held] | None:
        """What is due, once anything is; None after a time with nothing held."""
        idle_until = time.monotonic() + _IDLE_SECONDS
        with self._changed:
            while True:
                now = time.monotonic()
                due = [held for held in self._held.values() if held.due_at <= now]
                if due:
                    for held in due:
                        held.due_at = now + held.interval_seconds
                    return due
                if not self._held and now >= idle_until:
                    self._thread = None
                    return None
                times = [held.due_at for held in self._held.values()]
                self._wakes_at = min(times, default=idle_until)
                self._changed.wait(self._wakes_at - now)

    def _beat(self, transport: TrackingTransport, execution_ids: list[int]) -> None:
        try:
            states = transport.heartbeat(Heartbeat(execution_ids=tuple(execution_ids))).states
        except Exception as exc:
            _log.debug("Heartbeat to %s failed: %s", transport.where, exc, exc_info=True)
            return
        for execution_id, state in states.items():
            if state.final:
                self.release(transport, execution_id)

    def _deliver(self, held: _Held) -> None:
        assert held.owed is not None
        try:
            held.owed()
        except Exception as exc:
            if not is_refusal(exc):
                _log.debug("Tracking is still owed: %s", exc, exc_info=True)
                return
            _log.warning("What was owed to tracking is refused: %s", exc)
        with self._changed:
            for key in [key for key, other in self._held.items() if other is held]:
                del self._held[key]

    def deliver_owed(self) -> int:
        """Tries once to deliver everything that is owed; how much still is."""
        if self._process_id != os.getpid():
            return 0
        for held in self._owing():
            self._deliver(held)
        return len(self._owing())

    def _owing(self) -> list[_Held]:
        with self._changed:
            return [held for held in self._held.values() if held.owed is not None]


def is_refusal(exc: BaseException) -> bool:
    """Whether the tracker will say no again: asking once more is in vain."""
    status = exc.status_code if isinstance(exc, WatcherAPIError) else None
    return status is not None and 400 <= status < 500 and status not in (408, 429)


#: The keeper of this process.
process_keeper = LeaseKeeper()


@atexit.register
def _at_exit() -> None:
    still_owed = process_keeper.deliver_owed()
    if still_owed:
        _log.error("%d executions could not be recorded completely.", still_owed)
