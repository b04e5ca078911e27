"""Tells those who put objects that others are deleting some, where nothing can be compared.

An object storage deletes by name, whatever has become of the object since a sweep looked at it.
So a sweep leaves a mark before it looks: `deleting/<sweep>`, with the number of its round. When
a second is over and nothing of the round is on its way any more, the mark says "closed".

Whoever has put something waits until every round that was open afterwards is over, and then
looks whether what he put is still there. A round that opens later sees what he put, and spares it.

Assumed: clocks that differ by less than `SKEW_SECONDS`, and no request that arrives later than
`LONGEST_SECONDS` after the sweep has looked.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from handrail.errors import HandrailError, UnknownRefError
from handrail.keep.bucket import Bucket

log = logging.getLogger("handrail.keep")

SKEW_SECONDS = 300
LONGEST_SECONDS = 180
_ROUND_SECONDS = 1.0
_PAUSE_SECONDS = 0.1
_DAY_MS = 86_400_000
_FOLDER = "deleting"
_CLOSED = b"closed"


class Deletions:
    """Marks of those who delete objects of one bucket. Any thread may call.

    Args:
        now: milliseconds since 1970, UTC.
        longest_seconds: a round that is open for longer belongs to a process that is gone.
    """

    def __init__(
        self, bucket: Bucket, now: Callable[[], int], longest_seconds: float = LONGEST_SECONDS
    ) -> None:
        self._bucket = bucket
        self._now = now
        self._longest_seconds = longest_seconds
        self._lock = threading.Lock()
        self._key = f"{_FOLDER}/{secrets.token_hex(8)}"
        self._round = 0
        self._is_open = False
        #: Marks that nobody is behind, with their content.
        self._given_up: set[tuple[str, bytes]] = set()

    @contextmanager
    def decision(self) -> Iterator[None]:
        """Looking at an object and deleting it, so that others wait for the end of the block.

        One thread at a time is in the block.
        """
        with self._lock:
            if not self._is_open:
                self._open()
            yield

    def await_those_since(self, since: int) -> bool:
        """Waits for the rounds that are open now. False: nobody has deleted anything since then.

        Args:
            since: milliseconds since 1970, UTC.
        """
        earliest = since - SKEW_SECONDS * 1000
        found = [one.key for one in self._bucket.below(_FOLDER) if one.stored_at >= earliest]
        for key in found:
            self._await_round(key)
        return bool(found)

    def _await_round(self, key: str) -> None:
        mark = self._read(key)
        until = time.monotonic() + self._longest_seconds
        while mark != _CLOSED and (key, mark) not in self._given_up:
            if time.monotonic() >= until:
                self._given_up.add((key, mark))
                return
            time.sleep(_PAUSE_SECONDS)
            if self._read(key) != mark:
                return

    def _read(self, key: str) -> bytes:
        with suppress(UnknownRefError):  # somebody has cleared it away
            return b"".join(self._bucket.get(key))
        return _CLOSED

    def _open(self) -> None:
        if not self._round:
            self._clear_away()
        self._round += 1
        self._bucket.put(self._key, str(self._round).encode(), replace=True)
        self._is_open = True
        # A process that ends by itself waits for this thread, and leaves a closed mark.
        self._timer = threading.Timer(_ROUND_SECONDS, self.close)
        self._timer.start()

    def close(self) -> None:
        """Ends the round that is open, if one is."""
        with self._lock:
            if not self._is_open:
                return
            self._is_open = False
            self._timer.cancel()
            try:
                self._bucket.put(self._key, _CLOSED, replace=True)
            except HandrailError as error:
                log.warning("others may wait %g s for a sweep: %s", self._longest_seconds, error)

    def _clear_away(self) -> None:
        for mark in list(self._bucket.below(_FOLDER)):
            if mark.stored_at < self._now() - _DAY_MS:
                self._bucket.delete(mark.key)
