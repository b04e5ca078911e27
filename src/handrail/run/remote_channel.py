"""The run's channel for a body that runs elsewhere, and what it leaves behind here."""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from handrail.keep.channel import Channel

#: The near side waits so long for a lock while the far side's other calls wait (seconds) ...
_WAIT_SECONDS = 0.02
#: ... which then have so long to get in.
_PAUSE_SECONDS = 0.001


class Missing(enum.Enum):
    """Stands for "there is none" in a call, so that a default need not travel."""

    MISSING = "missing"


class RemoteChannel(Channel):
    """The run's channel, reached by calls to the near side.

    Args:
        calls: result of `channel.method(*args)` there, called with `"channel"`, the method's
            name and the arguments.
    """

    def __init__(self, calls: Callable[..., Any]) -> None:
        super().__init__()
        self._calls = calls

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`, or `default`."""
        found = self._calls("channel", "get", key, Missing.MISSING)
        return default if found is Missing.MISSING else found

    def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Sets `key`, for `ttl` seconds if given."""
        self._calls("channel", "set", key, value, ttl)

    def delete(self, key: str) -> bool:
        """Removes `key`. False: there was none."""
        return bool(self._calls("channel", "delete", key))

    def exists(self, key: str) -> bool:
        """Is there such a key?"""
        return bool(self._calls("channel", "exists", key))

    def keys(self) -> list[str]:
        """All keys."""
        return list(self._calls("channel", "keys"))

    def clear(self) -> None:
        """Removes every key."""
        self._calls("channel", "clear")

    def append(self, key: str, value: Any, ttl: float | None = None) -> int:
        """Adds to the end of a list, made if need be; returns its length."""
        return int(self._calls("channel", "append", key, value, ttl))

    def prepend(self, key: str, value: Any, ttl: float | None = None) -> int:
        """Adds to the front of a list, made if need be; returns its length."""
        return int(self._calls("channel", "prepend", key, value, ttl))

    def atomic_add(self, key: str, amount: float = 1) -> Any:
        """Adds to a number, 0 at first; returns the sum."""
        return self._calls("channel", "atomic_add", key, amount)

    def take_lock(self, key: str, ticket: str, wait_seconds: float) -> bool:
        """Stands in line for a lock, in short waits: other threads of the body call, too."""
        wait_seconds = min(wait_seconds, _WAIT_SECONDS)
        if self._calls("channel", "take_lock", key, ticket, wait_seconds):
            return True
        if wait_seconds > 0:
            time.sleep(_PAUSE_SECONDS)
        return False

    def drop_lock(self, key: str, ticket: str) -> bool:
        """Gives a lock back or leaves the line."""
        return bool(self._calls("channel", "drop_lock", key, ticket))


@contextmanager
def lent(channel: Channel) -> Iterator[Any]:
    """A channel to answer the calls of one attempt with.

    Locks that the attempt still holds at the end are given back: its body may have been killed.
    """
    lending = _Lent(channel)
    try:
        yield lending
    finally:
        lending.take_back()


class _Lent:
    """Remembers the tickets of those who borrowed the channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._tickets: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def take_lock(self, key: str, ticket: str, wait_seconds: float) -> bool:
        with self._lock:
            self._tickets.add((key, ticket))
        return self._channel.take_lock(key, ticket, wait_seconds)

    def drop_lock(self, key: str, ticket: str) -> bool:
        with self._lock:
            self._tickets.discard((key, ticket))
        return self._channel.drop_lock(key, ticket)

    def take_back(self) -> None:
        with self._lock:
            tickets, self._tickets = self._tickets, set()
        for key, ticket in tickets:
            self._channel.drop_lock(key, ticket)
