"""Every call of the journal fails once, at every place, in a run with one of every shape."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handrail import RunFailed, Runtime, StoreError, load_settings
from handrail.contracts import event as kinds
from tests.faults.failing import Failing
from tests.faults.shapes import (
    BOOKS,
    Books,
    Builder,
    Chain,
    Diamond,
    Group,
    Iterate,
    Loop,
    Mapped,
    Model,
    Work,
    named,
)

SHAPE = named(
    Chain(
        (
            Work(spawns=True),
            Group(
                (
                    Chain((Work(is_doomed=True), Work())),
                    Loop(Work(stumble_count=1), (Mapped(3), Iterate(2)), 2),
                    Group((Work(), Chain((Work(), Work()))), "strict", 1),
                ),
                "best_effort",
                2,
            ),
            Diamond(Work(), (Loop(Work(), (), 2), Work()), Work()),
            Mapped(0),
        )
    ),
    itertools.count(),
)


@pytest.fixture
def books() -> Iterator[Books]:
    BOOKS[-1] = Books()
    yield BOOKS[-1]
    del BOOKS[-1]


def run_with_fault(home: Path, books: Books, at: int, is_reply_lost: bool) -> bool:
    """Runs with a fault, and again without; true if the fault came."""
    runtime = Runtime(load_settings(flags={"home": home, "tracking": False}, environment={}))
    flow = Builder(SHAPE, books, -1).flow
    expected = Model()
    result = expected.value(SHAPE)
    journal: Any = runtime.journal
    countdown = [at]
    vars(runtime)["journal"] = Failing(journal, countdown, is_reply_lost)
    error: BaseException | None = None
    try:
        assert runtime.execute(flow, key="k") == result
    except RunFailed as failed:
        error = failed.cause
    except StoreError as fault:
        error = fault
    finally:
        vars(runtime)["journal"] = journal
    assert error is None or isinstance(error, StoreError)
    assert runtime.execute(flow, key="k") == result
    (record,) = journal.runs()
    assert record.state == "succeeded"
    assert journal.lease(record.run_id) is None
    accepted = Counter(
        stored.event.task
        for stored in journal.events(record.run_id)
        if stored.event.kind == kinds.TASK_SUCCEEDED and stored.event.attempt
    )
    assert accepted == expected.successes
    runtime.close()
    return countdown[0] <= 0


@pytest.mark.parametrize("is_reply_lost", [False, True], ids=["call fails", "reply is lost"])
def test_no_failing_call_of_the_journal_loses_or_doubles_work(
    tmp_path: Path, books: Books, is_reply_lost: bool
) -> None:
    at = 1
    while run_with_fault(tmp_path / str(at), books, at, is_reply_lost):
        at += 1
    assert at > 10
