from __future__ import annotations

from collections.abc import Sequence

import pytest
from pydantic import BaseModel

from handrail import ExecutionLimits, Task, TaskControls, task
from handrail.contracts.limits import Limit, parse_limits
from handrail.keep.limits import POLL_SECONDS, Holder, MemoryLimiter, Refusal
from handrail.run.limits import Limits


class Params(BaseModel):
    day: str


class Result(BaseModel):
    count: int


class CountingLimiter(MemoryLimiter):
    """Knows how often it was asked."""

    asked_count = given_back_count = 0

    def take(self, holder: Holder, limits: Sequence[Limit]) -> Refusal | None:
        self.asked_count += 1
        return super().take(holder, limits)

    def give_back(self, holder: Holder) -> None:
        self.given_back_count += 1
        super().give_back(holder)


class Monotonic:
    at = 100.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def limiter() -> CountingLimiter:
    return CountingLimiter(now=lambda: 1_000_000)


@pytest.fixture
def clock() -> Monotonic:
    return Monotonic()


def make(limiter: MemoryLimiter, clock: Monotonic, run_id: str = "r1", **said: int | str) -> Limits:
    return Limits(parse_limits(said), limiter, run_id, 1, now=clock)


def tagged(*tags: str, name: str = "load") -> Task:
    @task(name, tags=tags)
    def body() -> None: ...

    return body


def typed(controls: TaskControls) -> Task:
    @task("load", controls=controls)
    def body(params: Params) -> Result:
        return Result(count=1)

    return body


THREE = TaskControls(limits=ExecutionLimits(concurrent_exec_limit=3))

# Which


def test_a_task_has_the_limits_of_its_tags(limiter: CountingLimiter, clock: Monotonic) -> None:
    limits = make(limiter, clock, db=2, api="10/s", mail=1)
    assert limits.of(tagged("db", "api").definition) == (
        Limit("db", 2),
        Limit("api", None, 10, 1.0),
    )


def test_a_task_without_limits_has_none(limiter: CountingLimiter, clock: Monotonic) -> None:
    limits = make(limiter, clock, db=2)
    assert limits.of(tagged().definition) == ()
    assert limits.of(tagged("unlimited").definition) == ()
    assert limits.of(typed(TaskControls()).definition) == ()


def test_controls_limit_the_task_itself(limiter: CountingLimiter, clock: Monotonic) -> None:
    assert make(limiter, clock).of(typed(THREE).definition) == (Limit("task:load", 3),)


def test_the_settings_may_limit_a_task_by_its_name(
    limiter: CountingLimiter, clock: Monotonic
) -> None:
    limits = Limits(parse_limits({"task:load": 1}), limiter, "r1", 1)
    assert limits.of(tagged().definition) == (Limit("task:load", 1),)
    assert limits.of(tagged(name="save").definition) == ()
    assert limits.of(tagged("task:load").definition) == (Limit("task:load", 1),)


def test_the_settings_come_before_controls(limiter: CountingLimiter, clock: Monotonic) -> None:
    limits = Limits(parse_limits({"task:load": 1}), limiter, "r1", 1)
    assert limits.of(typed(THREE).definition) == (Limit("task:load", 1),)


# Places


def test_places_are_taken_and_given_back(limiter: CountingLimiter, clock: Monotonic) -> None:
    limits = make(limiter, clock, db=1)
    db = limits.of(tagged("db").definition)
    assert limits.take(db, "r1-1-1") == 0.0
    assert limits.held == {"r1-1-1": db}
    assert limiter.holders("db") == [Holder("r1", 1, "r1-1-1")]
    assert limits.give_back("r1-1-1") == {"db"}
    assert limits.held == {}
    assert limiter.holders("db") == []


def test_a_refusal_is_not_asked_again_before_its_time(
    limiter: CountingLimiter, clock: Monotonic
) -> None:
    first, second = make(limiter, clock, db=1), make(limiter, clock, "r2", db=1)
    db = (Limit("db", 1),)
    assert first.take(db, "r1-1-1") == 0.0
    assert second.take(db, "r2-1-1") == POLL_SECONDS
    assert second.refused_by(db) == "db"
    first.give_back("r1-1-1")
    clock.at += 0.15
    assert second.take(db, "r2-1-1") == pytest.approx(0.1)
    assert limiter.asked_count == 2
    clock.at += 0.1
    assert second.take(db, "r2-1-1") == 0.0
    assert second.refused_by(db) == ""


def test_after_an_attempt_of_this_run_gave_a_place_back_it_is_asked_at_once(
    limiter: CountingLimiter, clock: Monotonic
) -> None:
    limits = make(limiter, clock)
    db, both, api = (Limit("db", 1),), (Limit("api", 1), Limit("db", 1)), (Limit("api", 1),)
    make(limiter, clock, "r2").take(api, "r2-1-1")
    assert limits.take(db, "r1-1-1") == 0.0
    for refused in (db, both, api):
        assert limits.take(refused, "r1-1-2") > 0
    asked_count = limiter.asked_count
    limits.give_back("r1-1-1")
    assert limits.take(both, "r1-1-2") > 0
    assert limits.take(api, "r1-1-3") > 0  # by another run: nothing is known to have changed
    assert limits.take(db, "r1-1-4") == 0.0
    assert limiter.asked_count == asked_count + 2


def test_giving_back_what_is_not_held_costs_nothing(
    limiter: CountingLimiter, clock: Monotonic
) -> None:
    limits = make(limiter, clock)
    assert limits.give_back("r1-1-1") == set()
    assert limits.take((Limit("api", None, 1, 1.0),), "r1-1-1") == 0.0
    assert limits.give_back("r1-1-1") == set()
    assert limiter.given_back_count == 0


def test_at_the_end_everything_is_given_back(limiter: CountingLimiter, clock: Monotonic) -> None:
    limits = make(limiter, clock)
    for number in range(3):
        assert limits.take((Limit("db", 5),), f"r1-1-{number}") == 0.0
    limits.close()
    limits.close()
    assert limiter.holders("db") == []
    assert limiter.given_back_count == 3
