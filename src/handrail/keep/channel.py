"""Shared scratch of a run: keys and values that any of its tasks may read and write.

`Channel` is the socket. `MemoryChannel` keeps values in the engine's process and tells of every
change, so that a journal can bring them back.
"""

from __future__ import annotations

import heapq
import math
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from handrail.keep.channel_changes import Change, OnChange, Verb
from handrail.keep.lock import ChannelLock, Holds


class Channel(ABC):
    """Values of a run by key. Each call is one step: updates of parallel tasks are never lost.

    Times to live are in seconds; a key without one lives as long as its run needs it.
    """

    def __init__(self) -> None:
        self._holds = Holds()

    @abstractmethod
    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`, or `default`."""

    @abstractmethod
    def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Sets `key`, for `ttl` seconds if given.

        Raises:
            ValueError: `ttl` is not a positive number.
        """

    @abstractmethod
    def delete(self, key: str) -> bool:
        """Removes `key`. False: there was none."""

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Is there such a key?"""

    @abstractmethod
    def keys(self) -> list[str]:
        """All keys, in no order."""

    @abstractmethod
    def clear(self) -> None:
        """Removes every key."""

    @abstractmethod
    def append(self, key: str, value: Any, ttl: float | None = None) -> int:
        """Adds to the end of a list, made if need be; returns its length.

        Args:
            ttl: from now on, for the whole list; none: as it was.

        Raises:
            TypeError: the key holds something else.
            ValueError: `ttl` is not a positive number.
        """

    @abstractmethod
    def prepend(self, key: str, value: Any, ttl: float | None = None) -> int:
        """Adds to the front of a list, made if need be; returns its length. See `append`."""

    @abstractmethod
    def atomic_add(self, key: str, amount: float = 1) -> Any:
        """Adds to a number, 0 at first; returns the sum. Its time to live stays.

        Raises:
            TypeError: the key holds something else, or `amount` is no number.
        """

    def lock(self, key: str, timeout: float | None = None) -> ChannelLock:
        """Keeps others from the lock of this name, within `with` or `async with`.

        A name of its own: the key of that name, if there is one, can be read and written by
        everyone. Those who wait get it in the order they came; who holds it may enter it again.
        It is given back when its holder dies.

        Args:
            timeout: most seconds to wait; none: as long as it takes.

        Raises:
            LockTimeout: it was not free in time.
            LockLost: at the end: it was lost meanwhile.
        """
        return ChannelLock(self, self._holds, checked_key(key), timeout)

    @abstractmethod
    def take_lock(self, key: str, ticket: str, wait_seconds: float) -> bool:
        """Stands in line for a lock; see `handrail.keep.lock.LockDesk`."""

    @abstractmethod
    def drop_lock(self, key: str, ticket: str) -> bool:
        """Gives a lock back or leaves the line; see `handrail.keep.lock.LockDesk`."""

    def __contains__(self, key: str) -> bool:
        return self.exists(key)

    # For the engine

    def restore(self, values: Mapping[str, Any], changes: Iterable[Change] = ()) -> None:  # noqa: B027
        """Takes back what a journal kept. A channel that keeps its values itself ignores it."""

    def begin(self, inputs: Mapping[str, Any], *, resumed: bool) -> None:  # noqa: B027
        """Called before a run's first task in this process.

        Args:
            inputs: what the channel holds at first; put there once in a run's life.
            resumed: has the run results already?

        Raises:
            StoreError: the run is resumed and its values are gone.
        """

    def end(self, *, succeeded: bool) -> None:  # noqa: B027
        """Called when the run's epoch is over; after success nobody asks for values again."""


class MemoryChannel(Channel):
    """A channel in memory. Values are kept as they are, not copied.

    Args:
        values: what it holds at first.
        on_change: called within the step, so changes are told in their order.
        now: seconds since 1970.
    """

    def __init__(
        self,
        values: Mapping[str, Any] | None = None,
        on_change: OnChange | None = None,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._values: dict[str, Any] = dict(values or {})
        self._expires_at: dict[str, float] = {}
        #: When to look at which key.
        self._due: list[tuple[float, str]] = []
        #: Keys of lists that were made here and that nobody else has seen: they may grow in place.
        self._unseen: set[str] = set()
        self._lock = threading.RLock()
        self._on_change = on_change
        self._now = now
        #: Tickets by key; the first one holds the lock.
        self._lines: dict[str, deque[str]] = {}
        self._moved = threading.Condition()

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`, or `default`."""
        with self._lock:
            self._expire()
            self._unseen.discard(key)
            return self._values.get(key, default)

    def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Sets `key`, for `ttl` seconds if given."""
        ttl = checked_ttl(ttl)
        with self._lock:
            self._expire()
            self._do(Change(checked_key(key), "set", value, self._end_of(ttl)))

    def delete(self, key: str) -> bool:
        """Removes `key`. False: there was none."""
        with self._lock:
            self._expire()
            if key not in self._values:
                return False
            self._do(Change(key, "delete"))
            return True

    def exists(self, key: str) -> bool:
        """Is there such a key?"""
        with self._lock:
            self._expire()
            return key in self._values

    def keys(self) -> list[str]:
        """All keys."""
        with self._lock:
            self._expire()
            return list(self._values)

    def clear(self) -> None:
        """Removes every key."""
        with self._lock:
            for key in self.keys():
                self.delete(key)

    def append(self, key: str, value: Any, ttl: float | None = None) -> int:
        """Adds to the end of a list, made if need be; returns its length."""
        return self._extend(key, "append", value, ttl)

    def prepend(self, key: str, value: Any, ttl: float | None = None) -> int:
        """Adds to the front of a list, made if need be; returns its length."""
        return self._extend(key, "prepend", value, ttl)

    def atomic_add(self, key: str, amount: float = 1) -> Any:
        """Adds to a number, 0 at first; returns the sum."""
        amount = checked_amount(amount)
        with self._lock:
            self._expire()
            before = self._values.get(checked_key(key), 0)
            if not is_number(before):
                raise TypeError(not_a(key, before, "number"))
            after = before + amount
            self._do(Change(key, "set", after, self._expires_at.get(key)))
            return after

    # Locks

    def take_lock(self, key: str, ticket: str, wait_seconds: float) -> bool:
        """Stands in line for a lock."""
        with self._moved:
            line = self._lines.setdefault(key, deque())
            if ticket not in line:
                line.append(ticket)
            if line[0] == ticket or wait_seconds <= 0:
                return line[0] == ticket
            return self._moved.wait_for(lambda: bool(line) and line[0] == ticket, wait_seconds)

    def drop_lock(self, key: str, ticket: str) -> bool:
        """Gives a lock back or leaves the line."""
        with self._moved:
            line = self._lines.get(key)
            if line is None or ticket not in line:
                return False
            was_first = line[0] == ticket
            line.remove(ticket)
            if not line:
                del self._lines[key]
            self._moved.notify_all()
            return was_first

    # A run that is resumed

    def restore(self, values: Mapping[str, Any], changes: Iterable[Change] = ()) -> None:
        """Replaces everything it holds and tells nobody.

        Args:
            changes: what was done to the values since, in order. Keys that have ended are gone.
        """
        with self._lock:
            self._values = dict(values)
            self._expires_at, self._due, self._unseen = {}, [], set()
            for change in changes:
                self._apply(change)
            self._expire()

    # Steps; the lock is held

    def _extend(self, key: str, verb: Verb, value: Any, ttl: float | None) -> int:
        ttl = checked_ttl(ttl)
        with self._lock:
            self._expire()
            if checked_key(key) not in self._values:
                # Told as a whole: who takes it back may still have a list that has ended here.
                self._do(Change(key, "set", [value], self._end_of(ttl)))
                self._unseen.add(key)
                return 1
            before = self._values[key]
            if not isinstance(before, list):
                raise TypeError(not_a(key, before, "list"))
            expires_at = self._expires_at.get(key) if ttl is None else self._end_of(ttl)
            self._do(Change(key, verb, value, expires_at))
            return len(self._values[key])

    def _do(self, change: Change) -> None:
        self._apply(change)
        if self._on_change is not None:
            self._on_change(change)

    def _apply(self, change: Change) -> None:
        key = change.key
        if change.verb == "delete":
            self._forget(key)
            return
        if change.verb == "set":
            self._unseen.discard(key)
            self._values[key] = change.value
        else:
            items = self._own_list(key)
            items.insert(len(items) if change.verb == "append" else 0, change.value)
        self._expires_at.pop(key, None)
        if change.expires_at is not None:
            self._expires_at[key] = change.expires_at
            heapq.heappush(self._due, (change.expires_at, key))

    def _own_list(self, key: str) -> list[Any]:
        if key not in self._unseen:
            # Whoever put or read the list that is there keeps it as it is.
            self._values[key] = list(self._values.get(key, ()))
            self._unseen.add(key)
        items: list[Any] = self._values[key]
        return items

    def _forget(self, key: str) -> None:
        self._values.pop(key, None)
        self._expires_at.pop(key, None)
        self._unseen.discard(key)

    def _expire(self) -> None:
        if not self._due:
            return
        now = self._now()
        while self._due and self._due[0][0] <= now:
            expires_at, key = heapq.heappop(self._due)
            if self._expires_at.get(key) == expires_at:
                self._forget(key)

    def _end_of(self, ttl: float | None) -> float | None:
        return None if ttl is None else self._now() + ttl


def checked_key(key: str) -> str:
    """The key.

    Raises:
        TypeError: it is no text.
    """
    if not isinstance(key, str):
        raise TypeError(f"a channel's key is a text, not {key!r}")
    return key


def checked_ttl(ttl: float | None) -> float | None:
    """A time to live.

    Raises:
        ValueError: it is not a positive number of seconds.
    """
    if ttl is None:
        return None
    if not is_number(ttl) or not 0 < ttl < math.inf:
        raise ValueError(f"ttl={ttl!r}: expected a number of seconds larger than 0")
    return float(ttl)


def checked_amount(amount: float) -> float:
    """An amount to add, as a plain number.

    Raises:
        TypeError: it is no number.
    """
    if not is_number(amount):
        raise TypeError(f"atomic_add adds a number, not {amount!r}")
    return float(amount) if isinstance(amount, float) else int(amount)


def is_number(value: Any) -> bool:
    """Is it a number that can be added to? A truth value is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def not_a(key: str, value: Any, expected: str) -> str:
    """What to say of a key that holds something else."""
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return f"channel key {key!r} holds {shown}, not a {expected}"
