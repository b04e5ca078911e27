"""Keeps alive what a process holds in Redis: its locks, and the values of the run it drives."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger("handrail.keep.redis")

#: Values that are to live long are given a new end at least so often (seconds).
_LONGEST_REFRESH = 3600.0


class Keeper:
    """A side thread that renews locks and puts off the end of a run's values.

    It runs while there is something to renew.
    """

    def __init__(
        self,
        renew: Callable[[str, str], bool],
        refresh: Callable[[], None],
        renew_seconds: float,
        refresh_seconds: float,
    ) -> None:
        self._renew = renew
        self._refresh = refresh
        self._renew_seconds = renew_seconds
        self._refresh_seconds = min(refresh_seconds, _LONGEST_REFRESH)
        self._held: set[tuple[str, str]] = set()
        self._renewed_at = self._refreshed_at = 0.0
        self._is_begun = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def hold(self, key: str, ticket: str) -> None:
        """Renews this lock from now on."""
        with self._changed:
            if not self._held:
                self._renewed_at = time.monotonic()
            self._held.add((key, ticket))
            self._wake()

    def let_go(self, key: str, ticket: str) -> None:
        """Renews this lock no more."""
        with self._changed:
            self._held.discard((key, ticket))

    def begin(self) -> None:
        """Refreshes values from now on."""
        with self._changed:
            self._is_begun = True
            self._refreshed_at = time.monotonic()
            self._wake()

    def end(self) -> None:
        """Renews and refreshes nothing any more."""
        with self._changed:
            self._is_begun = False
            self._held.clear()
            self._changed.notify_all()

    def _wake(self) -> None:
        self._changed.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="handrail-redis", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while (held := self._due()) is not None:
            try:
                for key, ticket in held:
                    self._renew_one(key, ticket)
                if self._is_refresh_due():
                    self._refresh()
            except Exception as error:
                # The tasks' own calls meet the same trouble and raise it; this thread goes on.
                log.warning("locks and values in Redis could not be renewed: %s", error)

    def _due(self) -> list[tuple[str, str]] | None:
        """Waits until something is due; the locks to renew, or none if nothing is left to do."""
        with self._changed:
            while self._held or self._is_begun:
                now = time.monotonic()
                renew_in = self._renewed_at + self._renew_seconds - now
                if self._held and renew_in <= 0:
                    self._renewed_at = now
                    return list(self._held)
                refresh_in = self._refreshed_at + self._refresh_seconds - now
                if self._is_begun and refresh_in <= 0:
                    return []
                waits = [renew_in] * bool(self._held) + [refresh_in] * self._is_begun
                self._changed.wait(min(waits))
            self._thread = None
            return None

    def _is_refresh_due(self) -> bool:
        with self._changed:
            now = time.monotonic()
            is_due = self._is_begun and now >= self._refreshed_at + self._refresh_seconds
            if is_due:
                self._refreshed_at = now
            return is_due

    def _renew_one(self, key: str, ticket: str) -> None:
        if not self._renew(key, ticket) and (key, ticket) in self._held:
            log.warning("the lock of channel key %r was lost while it was held", key)
            self.let_go(key, ticket)
