"""The lock of a channel's key: one holder at a time, in the order they came.

A holder is known by its ticket. `LockDesk` is what a channel must offer, `ChannelLock` what a
task holds in its hands.
"""

from __future__ import annotations

import secrets
import sys
import threading
import time
from contextlib import suppress
from typing import NamedTuple, Protocol

from handrail.errors import LockLost, LockTimeout

#: A wait is cut into pieces of at most so many seconds, so that no lost wake-up lasts.
_SLICE_SECONDS = 5.0
_ASYNC_PAUSE_SECONDS = 0.005


class LockDesk(Protocol):
    """Gives out the locks of keys. Any thread may call."""

    def take_lock(self, key: str, ticket: str, wait_seconds: float) -> bool:
        """Stands in line with `ticket`; True: it holds the lock.

        Waits at most `wait_seconds`, perhaps less. The ticket stays in line until it is dropped.
        """
        ...

    def drop_lock(self, key: str, ticket: str) -> bool:
        """Leaves the line, or gives the lock back. False: it did not hold the lock."""
        ...


class _Holder(NamedTuple):
    """Who holds a lock: a thread, or a task of an event loop."""

    thread: int
    task: int


class _Hold:
    """A lock that is held, and how often its holder has entered it."""

    __slots__ = ("depth", "ticket")

    def __init__(self, ticket: str) -> None:
        self.ticket = ticket
        self.depth = 1


class Holds:
    """Locks that are held through one channel object."""

    def __init__(self) -> None:
        self._holds: dict[tuple[str, _Holder], _Hold] = {}
        self._lock = threading.Lock()

    def enter_again(self, key: str) -> bool:
        """Counts another entry if the caller holds the lock already."""
        with self._lock:
            hold = self._holds.get((key, _holder()))
            if hold is not None:
                hold.depth += 1
            return hold is not None

    def add(self, key: str, ticket: str) -> None:
        """The caller holds the lock."""
        with self._lock:
            self._holds[key, _holder()] = _Hold(ticket)

    def leave(self, key: str) -> str | None:
        """The caller's ticket at its last exit; none: it is still inside."""
        with self._lock:
            holder = _holder()
            hold = self._holds[key, holder]
            hold.depth -= 1
            if hold.depth:
                return None
            del self._holds[key, holder]
            return hold.ticket

    def is_held_by_my_thread(self, key: str) -> bool:
        """Would a blocking wait keep the holder from ever giving the lock back?"""
        thread = threading.get_ident()
        with self._lock:
            return any(key == held and holder.thread == thread for held, holder in self._holds)


class ChannelLock:
    """Holds the lock of a key within `with` or `async with`. Its holder may enter it again.

    Args:
        timeout: most seconds to wait; none: as long as it takes.
    """

    def __init__(self, desk: LockDesk, holds: Holds, key: str, timeout: float | None) -> None:
        self._desk = desk
        self._holds = holds
        self._key = key
        self._timeout = timeout

    def __enter__(self) -> None:
        if self._holds.enter_again(self._key):
            return
        if self._holds.is_held_by_my_thread(self._key):
            raise RuntimeError(
                f"The lock of channel key {self._key!r} is held by another coroutine of this "
                f"thread, which could not go on while this one waits. Use: async with"
            )
        line = _Line(self._desk, self._key, self._timeout)
        with line:
            while not line.take(_SLICE_SECONDS):
                pass
        self._holds.add(self._key, line.ticket)

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        ticket = self._holds.leave(self._key)
        if ticket is None or self._desk.drop_lock(self._key, ticket):
            return
        if kind is None:
            raise LockLost(self._key)

    async def __aenter__(self) -> None:
        if self._holds.enter_again(self._key):
            return
        asyncio = sys.modules["asyncio"]
        line = _Line(self._desk, self._key, self._timeout)
        with line:
            while not line.take(0.0):
                await asyncio.sleep(_ASYNC_PAUSE_SECONDS)
        self._holds.add(self._key, line.ticket)

    async def __aexit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.__exit__(kind, *rest)


class _Line:
    """A place in the line for a lock; left again if the wait ends by an exception."""

    def __init__(self, desk: LockDesk, key: str, timeout: float | None) -> None:
        self.ticket = secrets.token_hex(8)
        self._desk = desk
        self._key = key
        self._timeout = timeout
        self._since = time.monotonic()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:
            self._desk.drop_lock(self._key, self.ticket)

    def take(self, wait_seconds: float) -> bool:
        """One try.

        Raises:
            LockTimeout: the time is over.
        """
        if self._timeout is not None:
            left = self._timeout - (time.monotonic() - self._since)
            wait_seconds = max(0.0, min(wait_seconds, left))
        if self._desk.take_lock(self._key, self.ticket, wait_seconds):
            return True
        if self._timeout is not None and time.monotonic() - self._since >= self._timeout:
            raise LockTimeout(self._key, self._timeout)
        return False


def _holder() -> _Holder:
    # Worker processes start faster without asyncio; who runs coroutines has imported it.
    asyncio = sys.modules.get("asyncio")
    task = None
    if asyncio is not None:
        with suppress(RuntimeError):  # no event loop in this thread
            task = asyncio.current_task()
    return _Holder(threading.get_ident(), id(task) if task is not None else 0)
