from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail.contracts.limits import Limit
from handrail.keep.base import Journal
from handrail.keep.limits import Limiter, MemoryLimiter, SqlLimiter
from handrail.keep.memory import MemoryJournal
from handrail.keep.sqlite import SqliteJournal
from handrail.testing.limits import Clock, LimiterContract, holder, limits, most_in_a_window
from handrail.testing.stores import lease, run_record, start


class TestMemoryLimiter(LimiterContract):
    def make(self, folder: Path, now: Callable[[], int]) -> tuple[Limiter, Journal]:
        journal = MemoryJournal()
        return MemoryLimiter(journal, now=now), journal


class TestSqliteLimiter(LimiterContract):
    def make(self, folder: Path, now: Callable[[], int]) -> tuple[Limiter, Journal]:
        journal = SqliteJournal(folder / "handrail.db")
        return SqlLimiter(journal, now=now), journal

    def another(
        self, made: tuple[Limiter, Journal], folder: Path, now: Callable[[], int]
    ) -> tuple[Limiter, Journal]:
        return self.make(folder, now)


def test_runs_that_nobody_keeps_hold_their_places_until_they_give_them_back() -> None:
    limiter = MemoryLimiter()
    assert limiter.take(holder(1, "nobody's"), limits(db=1)) is None
    assert limiter.take(holder(2, "nobody's"), limits(db=1)) is not None
    limiter.give_back(holder(1, "nobody's"))
    assert limiter.take(holder(2, "nobody's"), limits(db=1)) is None


def test_places_of_the_dead_are_deleted_when_found(tmp_path: Path) -> None:
    clock = Clock()
    journal = SqliteJournal(tmp_path / "handrail.db")
    limiter = SqlLimiter(journal, now=clock)
    for run_id in ("r1", "r2"):
        start(journal, run_record(run_id))
    for number in range(3):
        assert limiter.take(holder(number), limits(db=5, api=5)) is None
    assert journal.take_over("r1", lease(), lease(epoch=2), [])
    assert limiter.take(holder(1, "r2"), limits(db=5)) is None
    assert journal.rows("SELECT tag, run_id FROM places WHERE tag = 'db'") == [("db", "r2")]
    journal.close()


def test_who_is_refused_writes_nothing_and_waits_for_no_writer(tmp_path: Path) -> None:
    class Reading(SqliteJournal):
        def transact(self, act: Callable[..., Any], *, durable: bool) -> Any:
            raise AssertionError("a transaction")

    clock = Clock()
    journal = SqliteJournal(tmp_path / "handrail.db")
    start(journal)
    assert SqlLimiter(journal, now=clock).take(holder(1), limits(db="1, 1/h")) is None
    reading = Reading(tmp_path / "handrail.db")
    assert SqlLimiter(reading, now=clock).take(holder(2), limits(db=1)) is not None
    assert SqlLimiter(reading, now=clock).take(holder(2), limits(db="1/h")) is not None
    with pytest.raises(AssertionError):
        SqlLimiter(reading, now=clock).take(holder(2), limits(db=2))
    for each in (journal, reading):
        each.close()


@given(
    count=st.integers(1, 12),
    per_seconds=st.sampled_from([0.001, 0.7, 1.0, 3.0, 60.0]),
    steps=st.lists(st.integers(0, 3_000_000), min_size=1, max_size=80),
    is_patient=st.booleans(),
)
def test_whenever_it_is_asked_no_window_holds_more_starts_than_the_rate_says(
    count: int, per_seconds: float, steps: list[int], is_patient: bool
) -> None:
    clock = Clock()
    limiter = MemoryLimiter(now=clock)
    limit = Limit("api", None, count, per_seconds)
    starts = []
    for number, step in enumerate(steps):
        refusal = limiter.take(holder(number), [limit])
        if refusal is None:
            starts.append(clock.at)
        elif is_patient:
            clock.move(refusal.seconds)
            assert limiter.take(holder(number), [limit]) is None  # exactly when it is due
            starts.append(clock.at)
        clock.at += step % (2 * limit.spacing)
    assert most_in_a_window(starts, int(per_seconds * 1_000_000)) <= count
