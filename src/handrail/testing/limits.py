"""What every limiter must do, as a test class to inherit.

```python
class TestMyLimiter(LimiterContract):
    def make(self, folder: Path, now: Callable[[], int]) -> tuple[Limiter, Journal]:
        journal = MyJournal(folder / "journal")
        return MyLimiter(journal, now=now), journal
```

`make` is called with an empty folder. Where several handles on one store are possible,
override `another` too, and the races run between handles.
"""

from __future__ import annotations

import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from handrail.contracts.limits import Limit, parse_limit
from handrail.errors import RunNotFound, StaleAttemptError
from handrail.keep.base import Journal
from handrail.keep.limits import POLL_SECONDS, Holder, Limiter, Refusal
from handrail.testing.stores import lease, race, run_record, settlement, start

#: Handles on one store.
_HANDLES = 6
#: When the leases of `start` are over, in milliseconds.
_LEASE_ENDS_AT = lease().expires_at


class Clock:
    """A clock in microseconds that stands until it is moved."""

    def __init__(self, at: int = 1_000_000) -> None:
        self.at = at

    def __call__(self) -> int:
        return self.at

    def move(self, seconds: float) -> None:
        """Moves it on."""
        self.at += round(seconds * 1_000_000)


def holder(number: int = 1, run_id: str = "r1", epoch: int = 1) -> Holder:
    """An attempt of the run."""
    return Holder(run_id, epoch, f"{run_id}-{epoch}-{number}")


def limits(**said: int | str) -> list[Limit]:
    """Limits by tag, as text."""
    return [parse_limit(tag, limit) for tag, limit in said.items()]


def most_in_a_window(starts: list[int], length: int) -> int:
    """Most of the times that lie within `length` of each other, both ends included."""
    return max((sum(0 <= b - a <= length for b in starts) for a in starts), default=0)


class LimiterContract(ABC):
    """What a `Limiter` must do."""

    @abstractmethod
    def make(self, folder: Path, now: Callable[[], int]) -> tuple[Limiter, Journal]:
        """A fresh limiter, and the journal whose runs it serves.

        Args:
            now: the clock, in microseconds since 1970, UTC.
        """

    def another(
        self, made: tuple[Limiter, Journal], folder: Path, now: Callable[[], int]
    ) -> tuple[Limiter, Journal]:
        """Another handle on the same limits, if there can be one."""
        return made

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "limits"
        folder.mkdir()
        return folder

    @pytest.fixture
    def made(self, folder: Path, clock: Clock) -> Iterator[tuple[Limiter, Journal]]:
        made = self.make(folder, clock)
        for run_id in ("r1", "r2"):
            start(made[1], run_record(run_id))
        yield made
        made[1].close()

    @pytest.fixture
    def limiter(self, made: tuple[Limiter, Journal]) -> Limiter:
        return made[0]

    @pytest.fixture
    def journal(self, made: tuple[Limiter, Journal]) -> Journal:
        return made[1]

    @pytest.fixture
    def handles(
        self, made: tuple[Limiter, Journal], folder: Path, clock: Clock
    ) -> Iterator[list[Limiter]]:
        opened = [self.another(made, folder, clock) for _ in range(_HANDLES)]
        yield [limiter for limiter, _ in opened]
        for _, journal in opened:
            journal.close()

    # Places

    def test_so_many_attempts_hold_places_at_once_and_no_more(self, limiter: Limiter) -> None:
        db = limits(db=2)
        assert limiter.take(holder(1), db) is None
        assert limiter.take(holder(2, "r2"), db) is None
        assert limiter.take(holder(3), db) == Refusal("db", POLL_SECONDS)
        assert limiter.holders("db") == [holder(1), holder(2, "r2")]

    def test_a_place_that_is_given_back_is_free(self, limiter: Limiter) -> None:
        db = limits(db=1)
        assert limiter.take(holder(1), db) is None
        limiter.give_back(holder(1))
        assert limiter.take(holder(2), db) is None
        assert limiter.holders("db") == [holder(2)]

    def test_giving_back_twice_is_fine(self, limiter: Limiter) -> None:
        limiter.give_back(holder(1))
        assert limiter.take(holder(1), limits(db=1)) is None
        for _ in range(2):
            limiter.give_back(holder(1))
        assert limiter.holders("db") == []

    def test_all_places_of_an_attempt_are_given_back(self, limiter: Limiter) -> None:
        assert limiter.take(holder(1), limits(db=1, api=1)) is None
        limiter.give_back(holder(1))
        assert limiter.tags() == []

    def test_only_its_own_places_are_given_back(self, limiter: Limiter) -> None:
        for number in (1, 2):
            assert limiter.take(holder(number), limits(db=2)) is None
        limiter.give_back(holder(1, epoch=2))
        limiter.give_back(holder(2))
        assert limiter.holders("db") == [holder(1)]

    def test_asking_again_for_a_place_that_is_held_counts_once(self, limiter: Limiter) -> None:
        db = limits(db=2)
        for _ in range(3):
            assert limiter.take(holder(1), db) is None
        assert limiter.take(holder(2), db) is None
        assert limiter.holders("db") == [holder(1), holder(2)]

    @pytest.mark.parametrize("tags", [("api", "db"), ("db", "api")])
    def test_places_under_several_tags_are_taken_all_or_none(
        self, limiter: Limiter, tags: tuple[str, str]
    ) -> None:
        both = [parse_limit(tag, 1) for tag in tags]
        assert limiter.take(holder(1), limits(db=1)) is None
        assert limiter.take(holder(2), both) == Refusal("db", POLL_SECONDS)
        assert limiter.holders("api") == []
        limiter.give_back(holder(1))
        assert limiter.take(holder(2), both) is None
        assert limiter.holders("api") == limiter.holders("db") == [holder(2)]

    def test_a_limit_that_was_lowered_holds_for_who_comes(self, limiter: Limiter) -> None:
        for number in range(3):
            assert limiter.take(holder(number), limits(db=3)) is None
        limiter.give_back(holder(0))
        assert limiter.take(holder(4), limits(db=2)) is not None

    # Leases

    def test_a_place_ends_with_the_lease_of_its_run(self, limiter: Limiter, clock: Clock) -> None:
        assert limiter.take(holder(1), limits(db=1)) is None
        clock.at = _LEASE_ENDS_AT * 1000
        assert limiter.holders("db") == []
        assert limiter.tags() == []

    def test_the_place_of_a_run_without_its_lease_is_free_for_others(
        self, limiter: Limiter, journal: Journal, clock: Clock
    ) -> None:
        assert limiter.take(holder(1), limits(db=1)) is None
        assert journal.renew(lease("r2"), _LEASE_ENDS_AT + 1000)
        clock.at = _LEASE_ENDS_AT * 1000 - 1
        assert limiter.take(holder(1, "r2"), limits(db=1)) is not None
        clock.at += 1
        assert limiter.take(holder(1, "r2"), limits(db=1)) is None
        # It was forgotten: the lease that is renewed too late does not bring it back.
        assert journal.renew(lease("r1"), _LEASE_ENDS_AT + 1000)
        assert limiter.holders("db") == [holder(1, "r2")]

    def test_a_place_lasts_while_the_lease_is_renewed(
        self, limiter: Limiter, journal: Journal, clock: Clock
    ) -> None:
        assert limiter.take(holder(1), limits(db=1)) is None
        for run_id in ("r1", "r2"):
            assert journal.renew(lease(run_id), _LEASE_ENDS_AT + 1000)
        clock.at = _LEASE_ENDS_AT * 1000
        assert limiter.take(holder(1, "r2"), limits(db=1)) is not None

    def test_a_run_that_settles_gives_its_places_back(
        self, limiter: Limiter, journal: Journal
    ) -> None:
        assert limiter.take(holder(1), limits(db=1)) is None
        journal.settle(settlement(branch=None, state="failed"))
        assert limiter.holders("db") == []
        assert limiter.take(holder(1, "r2"), limits(db=1)) is None

    def test_a_run_that_is_taken_over_loses_the_places_of_its_epoch(
        self, limiter: Limiter, journal: Journal
    ) -> None:
        assert limiter.take(holder(1), limits(db=1)) is None
        assert journal.take_over("r1", lease(), lease(epoch=2), [])
        assert limiter.holders("db") == []
        assert limiter.take(holder(1, epoch=2), limits(db=1)) is None
        assert limiter.holders("db") == [holder(1, epoch=2)]

    def test_an_epoch_that_is_over_takes_nothing(self, limiter: Limiter, journal: Journal) -> None:
        journal.settle(settlement(branch=None, state="failed"))
        with pytest.raises(StaleAttemptError, match="nobody holds run r1"):
            limiter.take(holder(1), limits(db=1))
        assert journal.take_over("r1", None, lease(epoch=2), [])
        with pytest.raises(StaleAttemptError, match="epoch 2 holds run r1"):
            limiter.take(holder(1), limits(db=1))
        assert limiter.take(holder(1, epoch=2), limits(db=1)) is None

    def test_a_run_without_its_lease_takes_nothing_until_it_is_renewed(
        self, limiter: Limiter, journal: Journal, clock: Clock
    ) -> None:
        clock.at = _LEASE_ENDS_AT * 1000
        assert limiter.take(holder(1), limits(db=1)) == Refusal("db", POLL_SECONDS)
        assert journal.renew(lease(), _LEASE_ENDS_AT + 1000)
        assert limiter.take(holder(1), limits(db=1)) is None

    def test_an_unknown_run_is_told_as_such(self, limiter: Limiter) -> None:
        with pytest.raises(RunNotFound):
            limiter.take(holder(1, "r9"), limits(db=1))

    # Rates

    def test_starts_are_spaced_evenly(self, limiter: Limiter, clock: Clock) -> None:
        api = limits(api="10/s")
        assert limiter.take(holder(1), api) is None
        refusal = limiter.take(holder(2), api)
        assert refusal == Refusal("api", 0.100001)
        clock.move(0.1)
        assert limiter.take(holder(2), api) == Refusal("api", 0.000001)
        clock.move(0.000001)
        assert limiter.take(holder(2), api) is None

    def test_a_refusal_uses_up_no_start(self, limiter: Limiter) -> None:
        assert limiter.take(holder(1), limits(db=1)) is None
        for _ in range(3):
            assert limiter.take(holder(2), limits(api="1/h", db=1)) == Refusal("db", POLL_SECONDS)
        assert limiter.due_seconds("api") == 0.0
        assert limiter.take(holder(3), limits(api="1/h")) is None

    def test_a_refusal_by_a_rate_does_not_put_the_next_start_off(
        self, limiter: Limiter, clock: Clock
    ) -> None:
        api = limits(api="1/s")
        assert limiter.take(holder(1), api) is None
        for _ in range(9):
            clock.move(0.1)
            assert limiter.take(holder(2), api) is not None
        assert limiter.due_seconds("api") == pytest.approx(0.100001)
        clock.move(0.100001)
        assert limiter.take(holder(2), api) is None

    def test_a_place_is_not_taken_before_its_start_is_due(
        self, limiter: Limiter, clock: Clock
    ) -> None:
        both = limits(both="2, 1/s")
        assert limiter.take(holder(1), both) is None
        assert limiter.take(holder(2), both) == Refusal("both", 1.000001)
        assert limiter.holders("both") == [holder(1)]
        clock.move(1.000001)
        assert limiter.take(holder(2), both) is None
        clock.move(1.000001)
        assert limiter.take(holder(3), both) == Refusal("both", POLL_SECONDS)

    def test_the_limit_that_takes_longest_is_named(self, limiter: Limiter) -> None:
        assert limiter.take(holder(1), limits(api="2/s", db=1, mail="1/s")) is None
        refusal = limiter.take(holder(2), limits(api="2/s", db=1, mail="1/s"))
        assert refusal == Refusal("mail", 1.000001)

    def test_starts_are_used_up_when_places_are_given_back(self, limiter: Limiter) -> None:
        assert limiter.take(holder(1), limits(api="5, 1/s")) is None
        limiter.give_back(holder(1))
        assert limiter.take(holder(2), limits(api="5, 1/s")) == Refusal("api", 1.000001)

    def test_a_rate_that_was_raised_holds_at_once(self, limiter: Limiter, clock: Clock) -> None:
        assert limiter.take(holder(1), limits(api="1/h")) is None
        refusal = limiter.take(holder(2), limits(api="10/s"))
        assert refusal == Refusal("api", 0.100001)
        clock.move(refusal.seconds)
        assert limiter.take(holder(2), limits(api="10/s")) is None

    def test_a_clock_that_went_back_stops_nobody_for_long(
        self, limiter: Limiter, journal: Journal, clock: Clock
    ) -> None:
        assert journal.renew(lease(), 2 * _LEASE_ENDS_AT + 10_000_000)
        clock.move(3600)
        assert limiter.take(holder(1), limits(api="1/s")) is None
        clock.move(-3600)
        assert limiter.take(holder(2), limits(api="1/s")) == Refusal("api", 1.000001)
        clock.move(1.000001)
        assert limiter.take(holder(2), limits(api="1/s")) is None

    @pytest.mark.parametrize("said", ["1/s", "3/s", "7/10s", "100/min"])
    def test_no_window_holds_more_starts_than_the_rate_says(
        self, limiter: Limiter, journal: Journal, clock: Clock, said: str
    ) -> None:
        assert journal.renew(lease(), 1 << 50)
        (limit,) = limits(api=said)
        assert limit.per_seconds is not None
        assert limit.count is not None
        chance, starts = random.Random(said), []
        for number in range(150):
            refusal = limiter.take(holder(number), [limit])
            if refusal is None:
                starts.append(clock.at)
            elif chance.random() < 0.5:  # asked again in time, or too early
                clock.move(refusal.seconds)
                continue
            clock.move(chance.choice((0, 0.000001, chance.random(), 3)) / limit.count)
        window = round(limit.per_seconds * 1_000_000)
        assert len(starts) > 2 * limit.count or len(starts) > 40
        assert most_in_a_window(starts, window) <= limit.count

    # Looking

    def test_tags_that_are_in_use_are_listed(self, limiter: Limiter, clock: Clock) -> None:
        assert limiter.tags() == []
        assert limiter.take(holder(1), limits(mail="1/s", db=1)) is None
        assert limiter.tags() == ["db", "mail"]
        clock.move(1.000001)
        assert limiter.tags() == ["db"]
        assert limiter.due_seconds("mail") == limiter.due_seconds("nothing") == 0.0
        assert limiter.holders("mail") == limiter.holders("nothing") == []

    # Several at once

    def test_of_many_askers_exactly_so_many_get_a_place(self, handles: list[Limiter]) -> None:
        answers = race(_HANDLES, lambda number: handles[number].take(holder(number), limits(db=2)))
        assert answers.count(None) == 2
        assert len(handles[0].holders("db")) == 2

    def test_of_many_askers_exactly_one_starts(self, handles: list[Limiter]) -> None:
        answers = race(
            _HANDLES, lambda number: handles[number].take(holder(number), limits(api="1/s"))
        )
        assert answers.count(None) == 1
        assert answers.count(Refusal("api", 1.000001)) == _HANDLES - 1

    def test_tags_that_are_named_in_any_order_stop_nobody_for_ever(
        self, handles: list[Limiter]
    ) -> None:
        def act(number: int) -> int:
            both = limits(a=1, b=1) if number % 2 else limits(b=1, a=1)
            got = 0
            for _ in range(10):
                if handles[number].take(holder(number), both) is None:
                    handles[number].give_back(holder(number))
                    got += 1
            return got

        assert sum(race(_HANDLES, act)) > 0
        assert handles[0].tags() == []

    def test_never_are_there_more_at_once_than_the_limit_says(self, handles: list[Limiter]) -> None:
        lock, inside, most = threading.Lock(), [0], [0]

        def count(step: int) -> None:
            with lock:
                inside[0] += step
                most[0] = max(most[0], inside[0])

        def act(number: int) -> int:
            got = 0
            for turn in range(20):
                asker = holder(100 * number + turn, "r1" if number % 2 else "r2")
                if handles[number].take(asker, limits(db=2)) is None:
                    count(+1)
                    count(-1)
                    handles[number].give_back(asker)
                    got += 1
            return got

        assert sum(race(_HANDLES, act)) > 0
        assert most[0] <= 2
        assert handles[0].holders("db") == []
