"""The one transaction that publishes: how many of them a disk takes."""

from __future__ import annotations

import sqlite3
import statistics
import time
from collections.abc import Callable

from benchmarks.case import Case, Contender, Figure, Figures, expect
from benchmarks.cases.events import RUN_ID, event, journal_with_a_run

_TIMES = 300


def _rate(times: int, act: Callable[[int], object]) -> Figures:
    """How often per second, judged by the median of the single times."""
    spans = []
    cpu = time.process_time()
    for number in range(times):
        start = time.perf_counter()
        act(number)
        spans.append(time.perf_counter() - start)
    cpu = time.process_time() - cpu
    return {
        "rate": times / sum(spans),
        "one": statistics.median(spans) * 1e6,
        "one, CPU": cpu * 1e6 / times,
    }


def _ref(number: int) -> str:
    return f"{number:064x}"


def _handrail() -> Figures:
    from handrail.contracts.workspace import BranchName
    from handrail.ids import Token
    from handrail.keep.base import Acceptance, Accepted

    journal = journal_with_a_run()
    branch = BranchName("bench", "main")
    journal.move_head(branch, None, _ref(0))
    for number in range(_TIMES):
        journal.begin_attempt(RUN_ID, f"{RUN_ID}/t{number}", Token(1, number + 1))
    asked = [
        Acceptance(
            run_id=RUN_ID,
            logical_key=f"{RUN_ID}/t{number}",
            task_id=f"t{number}",
            attempt_id=f"{RUN_ID}-1-{number}",
            token=Token(1, number + 1),
            result='{"inserts":1}',
            branch=branch,
            input_ref=_ref(number),
            output_ref=_ref(number + 1),
            events=[event(2 * number), event(2 * number + 1)],
        )
        for number in range(_TIMES)
    ]
    replies = []
    figures = _rate(_TIMES, lambda number: replies.append(journal.accept(asked[number])))
    expect(sum(isinstance(reply, Accepted) for reply in replies), _TIMES)
    expect(journal.head(branch) == _ref(_TIMES), True)
    return figures


def _bare() -> Figures:
    """One row, on disk when the call returns (WAL, `synchronous=FULL`)."""
    connection = sqlite3.connect("bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
    statement = "INSERT INTO rows (text) VALUES (?)"
    return _rate(_TIMES, lambda number: connection.execute(statement, ("x" * 90,)))


CASE = Case(
    "accept_rate",
    "accept(): token, branch, ledger row and events in one durable transaction, after another.",
    (
        Figure("rate", "per second"),
        Figure("one", "µs, median"),
        Figure("one, CPU", "µs CPU"),
    ),
    (
        Contender("handrail", _handrail),
        Contender("bare SQLite, one durable row", _bare),
    ),
)
