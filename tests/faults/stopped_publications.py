"""Stops a run (SIGSTOP) until its lease is over and another process has finished it, and lets it
go on (SIGCONT): a zombie.

It is stopped at a place that the trial's number says: in a body, when it takes a token, right
before or after it asks for the acceptance of a task, or right before it ends the run. It stops
itself, while it is in no transaction of the database: the lock of a process that is stopped in one
is nobody's to take.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from handrail import RunNotFound, Runtime
from tests.faults.publication import (
    MAIN,
    PATIENCE_SECONDS,
    SCOPES,
    WAYS,
    await_end,
    check_ended,
    error_of,
    go_on,
    runtime_in,
    started,
)

#: What a zombie is told.
REFUSALS = {"RunBusy", "StaleAttemptError", "PublishFenceError"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run stops."""

    #: A name of `publication.flow`; or a method of the journal.
    name: str
    #: The so-many-th call of that method; 0: a place in a body.
    call: int = 0
    #: After the call, so that its reply comes late.
    is_after: bool = False


PLACES = (
    *(Place(f"{when} {name}") for name in ("one", "two", "three") for when in ("before", "after")),
    Place("in the last"),
    *(Place("begin_attempt", call) for call in (1, 3)),
    *(Place("accept", call, is_after) for call in (1, 2, 5) for is_after in (False, True)),
    Place("settle", 1),
)


def trial(folder: Path, number: int) -> str:
    """One zombie; returns what was done to it, and what it was told.

    Raises:
        AssertionError: it was not refused, or it changed something.
    """
    publish, place = SCOPES[number % 2], PLACES[number // 2 % len(PLACES)]
    way = WAYS[number // 2 // len(PLACES) % 2]
    zombie = started(folder, be_stopped, folder, publish, way, place)
    assert zombie.pid is not None
    try:
        _await(lambda: _is_stopped(zombie.pid), "it did not stop")
        _await(lambda: _is_over(folder), "its lease does not end")
        go_on(folder, publish, way)
        before = _picture(folder)
    finally:
        with suppress(ProcessLookupError):
            os.kill(zombie.pid, signal.SIGCONT)
    await_end(folder, zombie)
    told = json.loads((folder / "told").read_text())
    assert told["error"] in REFUSALS, f"{place} with publish={publish}: {told}"
    assert _picture(folder) == before
    check_ended(folder, publish)
    return f"publish={publish}, {way}, stopped at {place}: {told['error']}"


# The zombie


def be_stopped(folder: Path, publish: str, way: str, place: Place) -> None:
    """Runs the workflow, stops once, and writes down how it ended."""
    stops = iter([True])
    runtimes: list[Runtime] = []

    def arrange(runtime: Runtime) -> None:
        runtimes.append(runtime)
        if place.call:
            journal: Any = runtime.journal
            vars(runtime)["journal"] = StoppingJournal(journal, place, stop)

    def stop() -> None:
        if next(stops, False):
            _stop(runtimes[0])

    def at(name: str) -> None:
        if name == place.name:
            stop()

    error = error_of(lambda: go_on(folder, publish, way, at, arrange))
    told = {"error": type(error).__name__ if error else None, "text": str(error)}
    (folder / "told").write_text(json.dumps(told))


class StoppingJournal:
    """A journal with one method that stops the process, once."""

    def __init__(self, inner: Any, place: Place, stop: Callable[[], None]) -> None:
        self._inner = inner
        self._place = place
        self._stop = stop
        self._calls: Iterator[int] = count(1)

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._inner, name)
        if name != self._place.name:
            return attribute

        def call(*args: Any, **kwargs: Any) -> Any:
            is_here = next(self._calls) == self._place.call
            if is_here and not self._place.is_after:
                self._stop()
            reply = attribute(*args, **kwargs)
            if is_here and self._place.is_after:
                self._stop()
            return reply

        return call


def _stop(runtime: Runtime) -> None:
    with runtime.journal._database.lock:  # type: ignore[attr-defined]
        os.kill(os.getpid(), signal.SIGSTOP)


# Looking at it


def _await(is_true: Callable[[], bool], problem: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_true():
        assert time.monotonic() < deadline, problem
        time.sleep(0.01)


def _is_stopped(process_id: int | None) -> bool:
    """See proc(5): the state stands behind the name, which may hold anything but a newline."""
    found = Path(f"/proc/{process_id}/stat").read_text()
    return found.rpartition(")")[2].split()[0] == "T"


def _is_over(folder: Path) -> bool:
    runtime = runtime_in(folder)
    try:
        (record,) = runtime.journal.runs()
        return not runtime.is_alive(record.run_id)
    except RunNotFound:
        return False
    finally:
        runtime.close()


def _picture(folder: Path) -> tuple[object, ...]:
    """The branch, the ledger, and the state of the run."""
    runtime = runtime_in(folder)
    try:
        (record,) = runtime.journal.runs()
        accepted = runtime.journal.accepted(record.run_id)
        return runtime.journal.head(MAIN), runtime.journal.heads(), accepted, record
    finally:
        runtime.close()
