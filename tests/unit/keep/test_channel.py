from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from handrail.contracts.values import encode
from handrail.errors import LockLost
from handrail.keep.channel import Channel, MemoryChannel
from handrail.keep.channel_changes import Change, read_changes
from handrail.testing.channels import VALUES, ChannelContract, Song


class TestMemoryChannel(ChannelContract):
    def make(self, folder: Path) -> MemoryChannel:
        return MemoryChannel()


class Clock:
    """A time that moves when told to."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def journaled(clock: Clock | None = None) -> tuple[MemoryChannel, list[dict[str, Any]]]:
    """A channel, and what a journal would hold of it."""
    kept: list[dict[str, Any]] = []

    def keep(change: Change) -> None:
        kept.append(json.loads(json.dumps(change.data())))

    return MemoryChannel(on_change=keep, now=clock or Clock()), kept


def again(kept: list[dict[str, Any]], clock: Clock | None = None, **inputs: Any) -> MemoryChannel:
    """The channel of a run that is resumed."""
    channel = MemoryChannel(inputs, now=clock or Clock())
    channel.restore(inputs, read_changes(kept))
    return channel


def contents(channel: Channel) -> dict[str, Any]:
    keys = channel.keys()
    return {key: channel.get(key) for key in keys}


# Told and taken back


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_is_taken_back_from_the_journal(value: Any) -> None:
    channel, kept = journaled()
    channel.set("a", value)
    channel.append("list", value)
    found = again(kept)
    assert contents(found) == {"a": value, "list": [value]}
    assert type(found.get("a")) is type(value)


def test_every_change_is_told_in_its_order() -> None:
    channel, kept = journaled()
    channel.set("a", 1)
    channel.atomic_add("a", 2)
    channel.set("b", [1])
    channel.append("b", 2)
    channel.prepend("b", 0)
    channel.delete("a")
    channel.set("c", 1)
    assert contents(again(kept)) == contents(channel) == {"b": [0, 1, 2], "c": 1}
    channel.clear()
    assert contents(again(kept)) == {}


def test_growing_a_list_is_told_by_the_item_alone() -> None:
    channel, kept = journaled()
    channel.set("a", list(range(1000)))
    channel.append("a", "item")
    channel.prepend("a", "first")
    assert kept[1:] == [
        {"key": "a", "value": '"item"', "verb": "append"},
        {"key": "a", "value": '"first"', "verb": "prepend"},
    ]


def test_what_did_not_change_is_not_told() -> None:
    channel, kept = journaled()
    channel.get("a")
    channel.delete("a")
    channel.exists("a")
    with pytest.raises(TypeError):
        channel.atomic_add("a", "1")  # type: ignore[arg-type]
    with channel.lock("a"):
        pass
    assert kept == []


def test_journals_of_the_first_release_are_read() -> None:
    kept = [{"key": "a", "value": "[1]"}, {"key": "b", "value": "2"}, {"key": "b"}]
    assert contents(again(kept, c=3)) == {"a": [1], "c": 3}


def test_inputs_stay_as_they_were_given() -> None:
    inputs = {"list": [1]}
    channel, kept = MemoryChannel(inputs), [{"key": "list", "value": "2", "verb": "append"}]
    channel.append("list", 2)
    channel.restore(inputs, read_changes(kept))
    assert channel.get("list") == [1, 2]
    assert inputs == {"list": [1]}


def test_a_value_that_was_kept_in_memory_only_is_missing_and_said_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    text = encode(threading.Lock())
    kept = [
        {"key": "a", "value": "1"},
        {"key": "a", "value": text},
        {"key": "list", "value": "[1]"},
        {"key": "list", "value": text, "verb": "append"},
    ]
    assert contents(again(kept)) == {"list": [1]}
    assert "channel key 'a' is not as it was: a _thread.lock" in caplog.text


# Time to live


def test_a_time_to_live_goes_on_after_a_resume() -> None:
    clock = Clock()
    channel, kept = journaled(clock)
    channel.set("a", 1, ttl=10)
    channel.append("list", 1, ttl=20)
    channel.append("list", 2)
    channel.set("sum", 1, ttl=30)
    channel.atomic_add("sum")
    channel.set("kept", 1, ttl=10)
    channel.set("kept", 2)
    clock.now += 9.9
    assert sorted(again(kept, clock).keys()) == ["a", "kept", "list", "sum"]
    clock.now += 0.2
    resumed = again(kept, clock)
    assert contents(resumed) == {"list": [1, 2], "sum": 2, "kept": 2}
    clock.now += 10
    assert contents(resumed) == {"sum": 2, "kept": 2}
    clock.now += 10
    assert contents(resumed) == contents(again(kept, clock)) == {"kept": 2}


def test_a_list_that_ended_begins_anew_after_a_resume_too() -> None:
    clock = Clock()
    channel, kept = journaled(clock)
    channel.append("a", 1, ttl=10)
    clock.now += 11
    assert channel.append("a", 2) == 1
    assert contents(again(kept, clock)) == {"a": [2]}


def test_ended_keys_do_not_pile_up() -> None:
    clock = Clock()
    channel = MemoryChannel(now=clock)
    for number in range(1000):
        channel.set(str(number), number, ttl=1)
        clock.now += 1
    assert len(channel._values) <= 1
    assert len(channel._due) <= 1


# Cost


def test_growing_a_list_costs_the_same_however_long_it_is() -> None:
    channel = MemoryChannel()

    def seconds(count: int) -> float:
        started = time.thread_time()
        for number in range(count):
            channel.append("a", number)
        return time.thread_time() - started

    seconds(1000)
    first = min(seconds(2000) for _ in range(3))
    channel.set("a", list(range(500_000)))
    channel.append("a", 0)
    # A copy of half a million items for each one would take a thousand times as long.
    assert min(seconds(2000) for _ in range(3)) < 20 * first + 0.05


# Locks


def test_a_lock_that_was_lost_is_told_at_its_end() -> None:
    class Forgetful(MemoryChannel):
        def drop_lock(self, key: str, ticket: str) -> bool:
            super().drop_lock(key, ticket)
            return False

    channel = Forgetful()
    with pytest.raises(LockLost, match="'a' was lost"), channel.lock("a"):
        pass
    with pytest.raises(KeyError), channel.lock("a"):
        raise KeyError


def test_who_gives_up_leaves_the_line() -> None:
    channel = MemoryChannel()
    assert channel.take_lock("a", "first", 0)
    assert not channel.take_lock("a", "second", 0)
    assert not channel.take_lock("a", "third", 0.01)
    assert not channel.drop_lock("a", "second")
    assert channel.drop_lock("a", "first")
    assert not channel.drop_lock("a", "first")
    assert channel.take_lock("a", "third", 0)
    assert channel.drop_lock("a", "third")
    assert channel._lines == {}


def test_a_channel_is_no_class_to_make_objects_of() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Channel()  # type: ignore[abstract]


def test_models_are_kept_as_they_are() -> None:
    channel, song = MemoryChannel(), Song(title="One")
    channel.set("a", song)
    assert channel.get("a") is song
