"""What is due at a time: nobody sleeps for it."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable

#: Something for the engine's thread to do.
Step = Callable[[], None]


class Timers:
    """Steps with their times, earliest first."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Step]] = []
        self._count = 0

    def after(self, delay_seconds: float, step: Step) -> None:
        """Has a step done when so many seconds have passed."""
        self._count += 1
        heapq.heappush(self._due, (time.monotonic() + delay_seconds, self._count, step))

    def act(self) -> None:
        """Does what is due."""
        while self._due and self._due[0][0] <= time.monotonic():
            heapq.heappop(self._due)[2]()

    def left_seconds(self) -> float | None:
        """Until the next step is due; none: nothing will be."""
        return self._due[0][0] - time.monotonic() if self._due else None
