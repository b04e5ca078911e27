"""Events written to the journal in groups, and one by one."""

from __future__ import annotations

import sqlite3

from benchmarks.case import Case, Contender, Figure, Figures, Spent, expect, spent, usual
from benchmarks.cases.events import RUN_ID, event, journal_with_a_run

_GROUP = 512
_GROUPS = 20


def _appending(group: int) -> Figures:
    journal = journal_with_a_run()
    events = [event(number) for number in range(_GROUP)]
    groups = [events[start : start + group] for start in range(0, _GROUP, group)]

    def append() -> None:
        for part in groups:
            journal.append(RUN_ID, 1, part)

    cpu, wall = usual(lambda: spent(append), _GROUPS).per(_GROUP)
    expect(len(journal.events(RUN_ID)), _GROUP * (_GROUPS + 1))
    return {"append": cpu, "append, wall": wall}


def _bare() -> Figures:
    """One statement with a short text, which is one commit (WAL, `synchronous=NORMAL`)."""
    connection = sqlite3.connect("bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
    statement = "INSERT INTO events (text) VALUES (?)"

    def append() -> Spent:
        return spent(lambda: [connection.execute(statement, ("x" * 90,)) for _ in range(_GROUP)])

    cpu, wall = usual(append, _GROUPS).per(_GROUP)
    return {"append": cpu, "append, wall": wall}


CASE = Case(
    "append_rate",
    f"Events appended to the journal, grouped: {_GROUP} of them in one call.",
    (
        Figure("append", "µs CPU per event"),
        Figure("append, wall", "µs per event"),
    ),
    (
        Contender("handrail", lambda: _appending(_GROUP)),
        Contender("handrail, one commit per event", lambda: _appending(1)),
        Contender("bare SQLite, one commit per row", _bare),
    ),
)
