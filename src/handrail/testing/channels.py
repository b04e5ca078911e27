"""What every channel must do, as a test class to inherit.

```python
class TestMyChannel(ChannelContract):
    def make(self, folder: Path) -> MyChannel:
        return MyChannel(folder / "channel")
```
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import decimal
import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from handrail.errors import LockTimeout
from handrail.keep.channel import Channel
from handrail.testing.stores import race

_PATIENCE_SECONDS = 20.0


class Song(BaseModel):
    """A model that channels hold."""

    title: str
    plays: tuple[int, ...] = ()


@dataclasses.dataclass
class Chart:
    """A dataclass that channels hold."""

    week: int
    songs: list[Song]


#: Values that come back as they were put.
VALUES: list[Any] = [
    None,
    True,
    0,
    -(2**70),
    0.1,
    math.inf,
    "",
    "ünïcode \U0001f600 \ud800 \0",
    b"\0\xff",
    [],
    {},
    (),
    (1, (2, [3])),
    [1, (2,), [], {"a": [None]}],
    {"!": "pickle", "v": "no tag but a dict"},
    {1: "a", (2, 3): "b"},
    {"x": {1, 2}, "y": frozenset({"z"})},
    datetime.datetime(2026, 11, 21, 12, 30, tzinfo=datetime.UTC),
    datetime.timedelta(days=1, microseconds=1),
    decimal.Decimal("1.10"),
    Path("a/b"),
    Song(title="One", plays=(1, 2)),
    Chart(47, [Song(title="One"), Song(title="Two")]),
]


class ChannelContract(ABC):
    """What a `Channel` must do."""

    @abstractmethod
    def make(self, folder: Path) -> Channel:
        """An empty channel."""

    def another(self, channel: Channel) -> Channel:
        """Another handle on the same channel, if there can be one."""
        return channel

    @pytest.fixture
    def channel(self, tmp_path: Path) -> Channel:
        return self.make(tmp_path)

    # Keys

    def test_a_key_is_set_changed_and_deleted(self, channel: Channel) -> None:
        assert channel.get("a") is None
        assert channel.get("a", 7) == 7
        assert not channel.exists("a")
        assert "a" not in channel
        channel.set("a", 1)
        channel.set("a", 2)
        assert channel.get("a", 7) == 2
        assert channel.exists("a")
        assert "a" in channel
        assert channel.delete("a")
        assert not channel.delete("a")
        assert channel.get("a", 7) == 7

    def test_none_is_a_value(self, channel: Channel) -> None:
        channel.set("a", None)
        assert channel.exists("a")
        assert channel.get("a", 7) is None

    def test_keys_are_listed_and_cleared(self, channel: Channel) -> None:
        keys = ["a", "", "a:b", "ünï", "line\nbreak", "*"]
        for key in keys:
            channel.set(key, key)
        channel.append("list", 1)
        channel.atomic_add("sum")
        channel.delete("a")
        assert sorted(channel.keys()) == sorted([*keys[1:], "list", "sum"])
        assert all(channel.get(key) == key for key in keys[1:])
        channel.clear()
        assert channel.keys() == []
        assert channel.get("list") is None
        channel.clear()

    def test_a_key_is_a_text(self, channel: Channel) -> None:
        for call in (channel.set, channel.append, channel.prepend):
            with pytest.raises(TypeError, match="key is a text"):
                call(1, 1)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="key is a text"):
            channel.atomic_add(1)  # type: ignore[arg-type]

    @pytest.mark.parametrize("value", VALUES, ids=repr)
    def test_a_value_comes_back_with_its_type(self, channel: Channel, value: Any) -> None:
        channel.set("a", value)
        channel.append("list", value)
        for found in (channel.get("a"), channel.get("list")[0]):
            assert found == value
            assert type(found) is type(value)

    def test_a_large_value_comes_back(self, channel: Channel) -> None:
        text, numbers = "x" * 3_000_000, list(range(100_000))
        channel.set("text", text)
        channel.set("numbers", numbers)
        assert channel.get("text") == text
        assert channel.get("numbers") == numbers
        assert channel.append("numbers", -1) == 100_001

    # Lists

    def test_a_list_grows_at_both_ends(self, channel: Channel) -> None:
        assert channel.append("a", 1) == 1
        assert channel.append("a", [2]) == 2
        assert channel.prepend("a", (0,)) == 3
        assert channel.get("a") == [(0,), 1, [2]]

    @pytest.mark.parametrize("first", [[], [1], [1, [2], (3,)]])
    def test_a_list_that_was_set_grows(self, channel: Channel, first: list[Any]) -> None:
        given = list(first)
        channel.set("a", given)
        assert channel.get("a") == first
        assert channel.append("a", "x") == len(first) + 1
        assert channel.prepend("a", "y") == len(first) + 2
        assert channel.get("a") == ["y", *first, "x"]
        assert given == first

    def test_a_list_that_was_read_stays_as_it_was(self, channel: Channel) -> None:
        channel.append("a", 1)
        before = channel.get("a")
        channel.append("a", 2)
        assert before == [1]
        assert channel.get("a") == [1, 2]

    def test_a_list_and_another_value_take_each_others_place(self, channel: Channel) -> None:
        channel.append("a", 1)
        channel.set("a", "text")
        assert channel.get("a") == "text"
        channel.set("a", [1, 2])
        assert channel.get("a") == [1, 2]
        assert channel.delete("a")
        assert channel.append("a", 3) == 1

    @pytest.mark.parametrize("value", ["text", 1, None, {"a": 1}, (1, 2)])
    def test_only_a_list_grows(self, channel: Channel, value: Any) -> None:
        channel.set("a", value)
        for call in (channel.append, channel.prepend):
            with pytest.raises(TypeError, match=r"key 'a' holds .*, not a list"):
                call("a", 1)
        assert channel.get("a") == value

    # Numbers

    @pytest.mark.parametrize(
        ("amounts", "total"),
        [
            ((1, 1, 1), 3),
            ((5, -7), -2),
            ((0.1, 0.2), 0.1 + 0.2),
            ((1, 0.5), 1.5),
            ((0.5, 0.5), 1.0),
            ((2**53, 1, 1), 2**53 + 2),
            ((999_999_999_999_999, 1), 10**15),
            ((10**30, 1), 10**30 + 1),
            ((-1, 1), 0),
        ],
    )
    def test_numbers_add_up_as_in_python(
        self, channel: Channel, amounts: tuple[float, ...], total: float
    ) -> None:
        sums = [channel.atomic_add("sum", amount) for amount in amounts]
        assert sums[-1] == channel.get("sum") == total
        assert type(sums[-1]) is type(channel.get("sum")) is type(total)

    def test_a_number_that_was_set_is_added_to(self, channel: Channel) -> None:
        channel.set("a", 40)
        assert channel.atomic_add("a", 2) == 42
        assert channel.atomic_add("b") == 1

    @pytest.mark.parametrize("value", ["1", True, None, [1], [], (1,)])
    def test_only_a_number_is_added_to(self, channel: Channel, value: Any) -> None:
        channel.set("a", value)
        with pytest.raises(TypeError, match=r"key 'a' holds .*, not a number"):
            channel.atomic_add("a")
        assert channel.get("a") == value

    @pytest.mark.parametrize("amount", ["1", True, None, decimal.Decimal(1)])
    def test_only_a_number_is_added(self, channel: Channel, amount: Any) -> None:
        with pytest.raises(TypeError, match="adds a number"):
            channel.atomic_add("a", amount)
        assert not channel.exists("a")

    # Time to live

    def test_a_key_ends_after_its_time_to_live(self, channel: Channel) -> None:
        channel.set("a", 1, ttl=0.05)
        channel.append("list", 1, ttl=0.05)
        channel.set("b", 1, ttl=600)
        channel.set("c", [1], ttl=600)
        _until(lambda: not channel.exists("a") and not channel.exists("list"))
        assert channel.get("a", 7) == 7
        assert sorted(channel.keys()) == ["b", "c"]
        assert not channel.delete("a")
        assert channel.append("list", 2) == 1
        assert channel.get("list") == [2]

    def test_setting_again_ends_the_time_to_live(self, channel: Channel) -> None:
        channel.set("a", 1, ttl=0.05)
        channel.set("a", 2)
        channel.set("list", [1], ttl=0.05)
        channel.set("list", [2])
        channel.set("gone", 1, ttl=0.1)
        _until(lambda: not channel.exists("gone"))
        assert channel.get("a") == 2
        assert channel.get("list") == [2]

    def test_growing_and_adding_leave_the_time_to_live(self, channel: Channel) -> None:
        channel.set("sum", 1, ttl=0.3)
        channel.set("float", 0.5, ttl=0.3)
        channel.set("list", [1], ttl=0.3)
        channel.set("empty", [], ttl=0.3)
        channel.atomic_add("sum")
        channel.atomic_add("float")
        channel.append("list", 2)
        channel.append("empty", 1)
        _until(lambda: channel.keys() == [])

    def test_a_time_to_live_given_while_growing_is_for_the_list(self, channel: Channel) -> None:
        channel.append("a", 1)
        channel.append("b", 1, ttl=0.05)
        channel.append("b", 2, ttl=600)
        assert channel.prepend("a", 0, ttl=0.05) == 2
        _until(lambda: not channel.exists("a"))
        assert channel.get("b") == [1, 2]

    @pytest.mark.parametrize("ttl", [0, -1, math.nan, math.inf, "5", True])
    def test_a_time_to_live_is_a_positive_number(self, channel: Channel, ttl: Any) -> None:
        for call in (channel.set, channel.append, channel.prepend):
            with pytest.raises(ValueError, match="ttl"):
                call("a", 1, ttl=ttl)
        assert channel.keys() == []

    def test_a_long_time_to_live_is_no_trouble(self, channel: Channel) -> None:
        channel.set("a", 1, ttl=1e12)
        assert channel.get("a") == 1

    # Many at once

    def test_no_update_of_many_threads_is_lost(self, channel: Channel) -> None:
        handles = [self.another(channel) for _ in range(8)]

        def work(number: int) -> None:
            mine = handles[number]
            for round_ in range(25):
                mine.atomic_add("sum")
                mine.atomic_add("float", 0.5)
                mine.append("list", (number, round_))
                mine.prepend("front", number)

        race(8, work)
        assert channel.get("sum") == 200
        assert channel.get("float") == 100.0
        assert sorted(channel.get("list")) == [(n, r) for n in range(8) for r in range(25)]
        assert [r for n, r in channel.get("list") if n == 3] == list(range(25))
        assert len(channel.get("front")) == 200

    def test_every_sum_is_given_out_once(self, channel: Channel) -> None:
        handles = [self.another(channel) for _ in range(6)]
        sums = race(6, lambda number: [handles[number].atomic_add("sum") for _ in range(20)])
        assert sorted(one for some in sums for one in some) == list(range(1, 121))

    # Locks

    def test_one_holds_the_lock_at_a_time(self, channel: Channel) -> None:
        handles = [self.another(channel) for _ in range(6)]
        inside: list[int] = []

        def work(number: int) -> None:
            for _ in range(5):
                with handles[number].lock("a"):
                    inside.append(number)
                    assert inside == [number]
                    count = channel.get("count", 0)
                    channel.set("count", count + 1)
                    inside.remove(number)

        race(6, work)
        assert channel.get("count") == 30

    def test_a_lock_is_waited_for_no_longer_than_asked(self, channel: Channel) -> None:
        other = self.another(channel)
        with channel.lock("a"), ThreadPoolExecutor(1) as threads:
            started = time.monotonic()
            with pytest.raises(LockTimeout, match=r"'a' was not free within 0\.1 s") as caught:
                threads.submit(_enter, other, "a", 0.1).result(_PATIENCE_SECONDS)
            assert time.monotonic() - started >= 0.09
            assert isinstance(caught.value, TimeoutError)
            with pytest.raises(LockTimeout):
                threads.submit(_enter, other, "a", 0).result(_PATIENCE_SECONDS)
            assert threads.submit(_enter, other, "b", 0).result(_PATIENCE_SECONDS)
        assert _enter(other, "a", 0)

    def test_a_lock_is_given_back_after_an_error(self, channel: Channel) -> None:
        with pytest.raises(KeyError), channel.lock("a"):
            raise KeyError
        assert _enter(self.another(channel), "a", 0)

    def test_its_holder_enters_a_lock_again(self, channel: Channel) -> None:
        with channel.lock("a"), channel.lock("a", timeout=0), ThreadPoolExecutor(1) as threads:
            with channel.lock("a"):
                pass
            with pytest.raises(LockTimeout):
                threads.submit(_enter, channel, "a", 0.01).result(_PATIENCE_SECONDS)

    def test_a_lock_leaves_no_key_and_no_key_a_lock(self, channel: Channel) -> None:
        channel.set("a", 1)
        with channel.lock("a"), channel.lock("b"):
            assert channel.keys() == ["a"]
            channel.clear()
            with ThreadPoolExecutor(1) as threads, pytest.raises(LockTimeout):
                threads.submit(_enter, channel, "a", 0).result(_PATIENCE_SECONDS)

    def test_who_waits_longest_is_next(self, channel: Channel) -> None:
        order: list[str] = []
        waits, over = threading.Event(), threading.Event()

        def greedy() -> None:
            with channel.lock("a"):
                waits.wait(_PATIENCE_SECONDS)
                time.sleep(0.3)  # until the other one stands in line
            while not over.is_set():
                with channel.lock("a"):
                    order.append("greedy")

        def patient() -> None:
            waits.set()
            with self.another(channel).lock("a", timeout=_PATIENCE_SECONDS):
                order.append("patient")
            over.set()

        with ThreadPoolExecutor(2) as threads:
            jobs = [threads.submit(greedy)]
            _until(lambda: not _is_free(channel, "a"))
            jobs.append(threads.submit(patient))
            for job in jobs:
                job.result(_PATIENCE_SECONDS)
        assert order[0] == "patient"

    def test_coroutines_wait_without_holding_their_thread(self, channel: Channel) -> None:
        async def work(number: int) -> None:
            async with channel.lock("a"):
                count = channel.get("count", 0)
                await asyncio.sleep(0.001)
                channel.set("count", count + 1)

        async def all_of_them() -> None:
            await asyncio.gather(*map(work, range(5)))

        asyncio.run(all_of_them())
        assert channel.get("count") == 5

    def test_a_coroutine_that_would_block_its_holder_is_told_so(self, channel: Channel) -> None:
        async def clumsy() -> None:
            with channel.lock("a"):
                pass

        async def holder() -> None:
            async with channel.lock("a"):
                await asyncio.create_task(clumsy())

        with pytest.raises(RuntimeError, match="async with"):
            asyncio.run(holder())
        assert _enter(channel, "a", 0)


def _enter(channel: Channel, key: str, timeout: float) -> bool:
    with channel.lock(key, timeout=timeout):
        return True


def _is_free(channel: Channel, key: str) -> bool:
    try:
        return _enter(channel, key, 0)
    except LockTimeout:
        return False


def _until(is_true: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + _PATIENCE_SECONDS
    while not is_true():
        assert time.monotonic() < ends_at, "it did not come true"
        time.sleep(0.005)
