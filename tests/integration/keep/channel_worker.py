"""A process that works on a channel in Redis: `python channel_worker.py MODE URL RUN [NUMBER]`."""

from __future__ import annotations

import sys
import threading
import time

from handrail.keep.redis_channel import RedisChannel
from handrail.testing.stores import race


def add(channel: RedisChannel, number: int) -> None:
    """Eight threads add and append, and count under a lock."""

    def work(thread: int) -> None:
        for round_ in range(25):
            channel.atomic_add("sum")
            channel.atomic_add("float", 0.5)
            channel.append("list", (number, thread, round_))
        for _ in range(3):
            with channel.lock("counting"):
                channel.set("count", channel.get("count", 0) + 1)

    race(8, work)


def hold(channel: RedisChannel, number: int) -> None:
    """Holds the lock until it is killed."""
    with channel.lock("a"):
        print("held", flush=True)
        threading.Event().wait()


def wait(channel: RedisChannel, number: int) -> None:
    """Stands in line for the lock until it is killed."""
    channel.take_lock("a", "waits", 0)
    print("waits", flush=True)
    channel.take_lock("a", "waits", 600)


def live(channel: RedisChannel, number: int) -> None:
    """Drives a run that is killed."""
    channel.begin({"given": [1]}, resumed=False)
    channel.set("a", 1)
    channel.append("b", 1)
    channel.atomic_add("c")
    channel.atomic_add("d", 0.5)
    with channel.lock("lock"):
        print("lives", flush=True)
        time.sleep(600)


MODES = {"add": add, "hold": hold, "wait": wait, "live": live}

if __name__ == "__main__":
    mode, url, run_id, number = sys.argv[1:5]
    MODES[mode](RedisChannel(url, run_id, keep_seconds=60, lock_lease_seconds=1), int(number))
