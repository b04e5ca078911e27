from __future__ import annotations

import math
import threading
from collections.abc import Callable

import pytest

from handrail.run.dispatch import Inbox, Lane


def lane(work: Callable[[int], None], capacity: int = 4) -> Lane[int]:
    return Lane("test", work, capacity)


# Inbox


def test_what_was_put_comes_out_in_order() -> None:
    inbox: Inbox[int] = Inbox()
    assert inbox.is_empty()
    inbox.put(1)
    inbox.put(2)
    assert not inbox.is_empty()
    assert [inbox.get(lambda: None), inbox.get(lambda: None)] == [1, 2]


def test_patience_is_asked_for_only_if_nothing_is_there() -> None:
    inbox: Inbox[int] = Inbox()
    inbox.put(1)

    def never() -> float:
        raise AssertionError

    assert inbox.get(never) == 1
    assert inbox.get(lambda: 0.001) is None
    assert inbox.get(lambda: -5.0) is None


@pytest.mark.parametrize("patience", [None, 60.0, 1e300, math.inf])
def test_waiting_ends_when_something_comes(patience: float | None) -> None:
    inbox: Inbox[int] = Inbox()
    asked = threading.Event()

    def put() -> None:
        asked.wait(5)
        inbox.put(7)

    threading.Thread(target=put).start()

    def wait_long() -> float | None:
        asked.set()
        return patience

    assert inbox.get(wait_long) == 7


# Lane


def test_one_thread_does_short_jobs_in_order() -> None:
    done: list[tuple[int, int]] = []
    finished = threading.Event()

    def work(job: int) -> None:
        done.append((job, threading.get_ident()))
        if job == 9:
            finished.set()

    jobs = lane(work)
    for job in range(10):
        jobs.submit(job)
    assert finished.wait(5)
    jobs.close()
    assert [job for job, _ in done] == [*range(10)]
    assert len({thread for _, thread in done}) == 1


def test_a_lane_grows_while_jobs_wait_up_to_its_capacity() -> None:
    release, started = threading.Event(), threading.Semaphore(0)

    def work(job: int) -> None:
        started.release()
        release.wait(5)

    jobs = lane(work, capacity=3)
    for job in range(5):
        jobs.submit(job)
    assert started.acquire(timeout=5)
    for _ in range(2):
        assert jobs.has_waiting
        jobs.grow()
        assert started.acquire(timeout=5)
    assert not jobs.has_waiting  # two jobs wait, and no thread may be added
    jobs.grow()
    assert not started.acquire(timeout=0.02)
    release.set()
    for _ in range(2):
        assert started.acquire(timeout=5)
    jobs.close()


def test_a_lane_does_not_grow_for_nothing() -> None:
    done = threading.Event()
    jobs = lane(lambda job: done.set())
    assert not jobs.has_waiting
    jobs.submit(1)
    assert done.wait(5)
    jobs.grow()
    jobs.close()


def test_a_closed_lane_finishes_what_it_was_given() -> None:
    done: list[int] = []
    finished = threading.Event()

    def work(job: int) -> None:
        done.append(job)
        if job == 4:
            finished.set()

    jobs = lane(work)
    for job in range(5):
        jobs.submit(job)
    jobs.close()
    assert finished.wait(5)
    assert done == [*range(5)]
