"""Shared scratch of a run: keys and values that any of its tasks may read and write."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

#: Told of every change: key, and the value after it, or `DELETED`.
OnChange = Callable[[str, Any], None]


class _Deleted:
    def __repr__(self) -> str:
        return "DELETED"


DELETED = _Deleted()


class Channel:
    """A channel in memory. Every call is one step: updates of parallel tasks are never lost.

    Args:
        values: what it holds at first.
        on_change: called within the step, so changes are told in their order.
    """

    def __init__(
        self, values: Mapping[str, Any] | None = None, on_change: OnChange | None = None
    ) -> None:
        self._values: dict[str, Any] = dict(values or {})
        self._lock = threading.RLock()
        self._on_change = on_change

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`, or `default`."""
        return self._values.get(key, default)

    def set(self, key: str, value: Any) -> None:
        """Sets `key`."""
        with self._lock:
            self._put(key, value)

    def delete(self, key: str) -> bool:
        """Removes `key`. False: there was none."""
        with self._lock:
            if key not in self._values:
                return False
            del self._values[key]
            if self._on_change is not None:
                self._on_change(key, DELETED)
            return True

    def exists(self, key: str) -> bool:
        """Is there such a key?"""
        return key in self._values

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def keys(self) -> list[str]:
        """All keys."""
        with self._lock:
            return list(self._values)

    def restore(self, values: Mapping[str, Any]) -> None:
        """Replaces everything it holds and tells nobody; for a run that is resumed."""
        with self._lock:
            self._values = dict(values)

    def clear(self) -> None:
        """Removes every key."""
        for key in self.keys():
            self.delete(key)

    def append(self, key: str, value: Any) -> int:
        """Adds to the end of a list, made if need be; returns its length.

        Raises:
            TypeError: the key holds something else.
        """
        return self._extend(key, lambda items: [*items, value])

    def prepend(self, key: str, value: Any) -> int:
        """Adds to the front of a list, made if need be; returns its length.

        Raises:
            TypeError: the key holds something else.
        """
        return self._extend(key, lambda items: [value, *items])

    def atomic_add(self, key: str, amount: float = 1) -> Any:
        """Adds to a number, 0 at first; returns the sum.

        Raises:
            TypeError: the key holds something else.
        """
        with self._lock:
            before = self._values.get(key, 0)
            if isinstance(before, bool) or not isinstance(before, (int, float)):
                raise TypeError(f"channel key {key!r} holds {before!r}, not a number")
            self._put(key, before + amount)
            return before + amount

    def _extend(self, key: str, change: Callable[[list[Any]], list[Any]]) -> int:
        with self._lock:
            before = self._values.get(key, [])
            if not isinstance(before, list):
                raise TypeError(f"channel key {key!r} holds {before!r}, not a list")
            # A new list each time: whoever read the old one keeps what was read.
            after = change(before)
            self._put(key, after)
            return len(after)

    def _put(self, key: str, value: Any) -> None:
        self._values[key] = value
        if self._on_change is not None:
            self._on_change(key, value)
