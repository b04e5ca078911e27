"""One event loop for the async bodies of a run, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

#: Most async bodies that are at work at the same time, unless the run says otherwise.
CAPACITY = 1000

#: How long stopping waits for a body to end (seconds).
STOP_SECONDS = 2.0


class EventLoop:
    """Runs coroutines side by side. Started with the first one.

    Args:
        capacity: most coroutines at work at a time; the others wait.
    """

    def __init__(self, capacity: int | None) -> None:
        self._loop = asyncio.new_event_loop()
        self._places = asyncio.Semaphore(capacity or CAPACITY)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._thread = threading.Thread(target=self._serve, name="handrail-async", daemon=True)
        self._thread.start()

    def submit(
        self, name: str, make: Callable[[], Coroutine[Any, Any, None]], variables: Context
    ) -> None:
        """Runs what `make` makes, in a copy of context variables, under a name to stop it by."""

        async def work() -> None:
            try:
                async with self._places:
                    await make()
            finally:
                self._tasks.pop(name, None)

        def start() -> None:
            self._tasks[name] = self._loop.create_task(work(), context=variables)

        self._loop.call_soon_threadsafe(start)

    def stop(self, name: str) -> bool:
        """Cancels a coroutine and waits a little. True: it has ended."""
        ended = threading.Event()

        def cancel() -> None:
            task = self._tasks.get(name)
            if task is None:
                ended.set()
                return
            task.add_done_callback(lambda _: ended.set())
            task.cancel()

        self._loop.call_soon_threadsafe(cancel)
        return ended.wait(STOP_SECONDS)

    def close(self) -> None:
        """Cancels what is left and ends the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_SECONDS)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            left = [*self._tasks.values()]
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()
