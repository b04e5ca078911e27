"""Events and runs as the engine writes them, for cases that use the journal alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from handrail.contracts.event import Event
    from handrail.keep.sqlite import SqliteJournal

RUN_ID = "0198f3a2c4d57e6f"
_STARTED_AT = 1_700_000_000_000


def journal_with_a_run() -> SqliteJournal:
    """A journal in the working folder that has one run."""
    from pathlib import Path

    from handrail.keep.base import Lease, RunRecord
    from handrail.keep.sqlite import SqliteJournal

    journal = SqliteJournal(Path("handrail.db"))
    record = RunRecord(RUN_ID, "bench", None, None, "running", 1, _STARTED_AT)
    journal.create_run(record, Lease(RUN_ID, 1, "bench", _STARTED_AT + 30_000), [])
    return journal


def event(number: int) -> Event:
    """Of two events of a task, its start or its success."""
    from handrail.contracts.event import TASK_STARTED, TASK_SUCCEEDED, Event

    task, attempt = f"t{number // 2}", f"{RUN_ID}-1-{number // 2}"
    if number % 2:
        return Event(TASK_SUCCEEDED, _STARTED_AT + number, task, attempt, {"result": "null"})
    data = {"handler": "direct", "try": 1}
    return Event(TASK_STARTED, _STARTED_AT + number, task, attempt, data)
