"""Whole calls of `workflow.execute()`: planned, journaled in SQLite, tracked.

The budget is for what the cases in memory call `run`: from the plan to the result. Here that is
`Session.run`, with the run's durable end. What `execute` does before is shown beside it: it plans,
checks, and creates the run durably, with its graph.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.case import Case, Contender, Figure, Figures, Spent, expect, spent, usual
from benchmarks.cases.events import RUN_ID
from benchmarks.cases.fan import WIDTH
from benchmarks.cases.flows import handrail_chain, handrail_fan, noop

if TYPE_CHECKING:
    from handrail import workflow

_GROUP = 512
_TIMES = 15


def _handrail(make: Callable[[], workflow], count: int, journal: str | None = None) -> Figures:
    flow = make()

    def run() -> Spent:
        found: list[Any] = []
        took = spent(lambda: found.append(flow.execute(journal=journal, ret_context=True)))
        _, context = found[0]
        expect(sum(name in context.results for name in flow.graph), len(flow.graph))
        return took

    if journal == "memory":
        return _figures(usual(run, _TIMES), count)
    with _sessions() as sessions:
        figures = _figures(usual(run, _TIMES), count)
        return {"run": median(sessions) / count * 1e6, **figures}


@contextmanager
def _sessions() -> Iterator[list[float]]:
    """CPU seconds of each `Session.run` meanwhile, of all threads."""
    from handrail.run.session import Session

    took: list[float] = []
    run = Session.run

    def timed(session: Session) -> Any:
        began = time.process_time()
        try:
            return run(session)
        finally:
            took.append(time.process_time() - began)

    Session.run = timed  # type: ignore[method-assign, assignment]
    try:
        yield took
    finally:
        Session.run = run  # type: ignore[method-assign]


def _bare(count: int, group: int) -> Figures:
    """Calls each function and writes two events of it; ends with a durable commit."""
    connection = sqlite3.connect("bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, events TEXT NOT NULL)")

    def write(events: list[object]) -> None:
        text = json.dumps(events, separators=(",", ":"))
        connection.execute("INSERT INTO events (events) VALUES (?)", (text,))
        events.clear()

    def run() -> None:
        connection.execute("PRAGMA synchronous = NORMAL")
        waiting: list[object] = []
        for number in range(count):
            task, attempt = f"t{number}", f"{RUN_ID}-1-{number}"
            waiting.append(("task.started", 0, task, attempt, {"handler": "direct", "try": 1}))
            noop()
            waiting.append(("task.succeeded", 0, task, attempt, {"result": "null"}))
            if len(waiting) >= group:
                write(waiting)
        connection.execute("PRAGMA synchronous = FULL")
        write([*waiting, ("run.finished", 0, "", "", {"state": "succeeded"})])

    return _figures(usual(lambda: spent(run), _TIMES), count)


def _figures(took: Spent, count: int) -> Figures:
    cpu, wall = took.per(count)
    return {"execute": cpu, "execute, wall": wall}


def _case(name: str, about: str, make: Callable[[], workflow], count: int, budget: str) -> Case:
    at_most = 15.0 if budget else None
    return Case(
        name,
        about,
        (
            Figure("run", "µs CPU per task", budget, at_most=at_most),
            Figure("execute", "µs CPU per task"),
            Figure("execute, wall", "µs per task"),
        ),
        (
            Contender(
                "handrail",
                partial(_handrail, make, count),
                environment={"HANDRAIL_TRACKING": "false"},
            ),
            Contender("handrail, tracked too", partial(_handrail, make, count)),
            Contender(
                "handrail, output not captured",
                partial(_handrail, make, count),
                environment={"HANDRAIL_TRACKING": "false", "HANDRAIL_CAPTURE_OUTPUT": "false"},
            ),
            Contender("handrail, in memory", partial(_handrail, make, count, "memory")),
            Contender("loop that journals in groups", partial(_bare, count, _GROUP)),
            Contender("loop that commits each event", partial(_bare, count, 1)),
        ),
    )


CASES = (
    _case(
        "chain_1_journaled",
        "One task that does nothing: what a run costs besides its tasks.",
        partial(handrail_chain, 1),
        1,
        "",
    ),
    _case(
        "fan_200_journaled",
        "a >> (200 tasks that do nothing) >> z: workflow.execute(), journaled.",
        partial(handrail_fan, WIDTH),
        WIDTH + 2,
        "≤ 15 µs each",
    ),
    _case(
        "chain_1000_journaled",
        "A chain of 1,000 tasks that do nothing: workflow.execute(), journaled.",
        partial(handrail_chain, 1_000),
        1_000,
        "≤ 15 µs each",
    ),
)
