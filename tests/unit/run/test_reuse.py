from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from handrail.contracts.reuse import CachePolicy
from handrail.contracts.task import Task, task
from handrail.flow.graph import TaskGraph
from handrail.flow.plan import Plan
from handrail.keep.reuse import Basis, KeptNote, KeptResult, MemoryKeptResults
from handrail.run.context import ExecutionContext
from handrail.run.engine import WorkflowEngine
from handrail.run.flight import Flight, RunSetting
from handrail.run.reuse import Lookup, Reuse, differences

BASIS = Basis("work", "c0de", "", {"x": "1", "y": "2"})


@task(cache=CachePolicy(ttl_seconds=10))
def work(x: int, y: object = None) -> int:
    return x


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000

    def __call__(self) -> int:
        return self.now


def flight_of(made: Task, run_id: str = "r1", **arguments: Any) -> Flight:
    graph = TaskGraph()
    graph.add_node(made)
    flight = Flight(RunSetting(run_id), Plan(graph, inputs=arguments).nodes[0], 1, 1)
    flight.arguments = arguments
    return flight


def looked_up(results: MemoryKeptResults, clock: Clock, made: Task = work, **given: Any) -> Lookup:
    """What a run finds that ends at once, with the body's result 5 if it ran."""
    reuse = Reuse(results, None, clock)
    lookup = reuse.look_up(flight_of(made, **given))
    lookup.keep("5")
    reuse.close()
    return lookup


@pytest.mark.parametrize(
    ("other", "names"),
    [
        (BASIS, []),
        (Basis("work", "new", "", BASIS.params), ["code"]),
        (Basis("work", "c0de", "2", BASIS.params), ["version"]),
        (Basis("work", "c0de", "", {"x": "1", "y": "3"}), ["params.y"]),
        (Basis("work", "c0de", "", {"x": "1"}), ["params.y"]),
        (Basis("work", "c0de", "", {**BASIS.params, "z": "3"}), ["params.z"]),
        (Basis("work", "c0de", "", BASIS.params, "f"), ["files"]),
        (Basis("work", "new", "2", {}, "f"), ["code", "version", "params.x", "params.y", "files"]),
    ],
)
def test_differences_are_named(other: Basis, names: list[str]) -> None:
    assert differences(BASIS, other) == names


def test_a_result_is_found_until_it_expires() -> None:
    results, clock = MemoryKeptResults(), Clock()
    assert looked_up(results, clock, x=1).why == {"cache": "miss", "changed": ["first"]}
    clock.now += 9_999
    hit = looked_up(results, clock, x=1)
    assert (hit.why, hit.value) == ({"cache": "hit"}, 5)
    clock.now += 1
    expired = looked_up(results, clock, x=1).why
    assert expired["changed"] == ["expired"]
    assert expired["since"] == {"run": "r1", "attempt": "r1-1-1", "kept_at": 1_000_000}
    clock.now += 9_000
    assert looked_up(results, clock, x=1).why == {"cache": "hit"}


def test_what_is_taken_again_is_not_kept_again() -> None:
    results, clock = MemoryKeptResults(), Clock()
    looked_up(results, clock, x=1)
    clock.now += 5_000
    looked_up(results, clock, x=1)
    assert [note.kept_at for note in results.recent("work")] == [1_000_000]


def test_what_changed_is_told_of_the_result_most_like_it() -> None:
    results, clock = MemoryKeptResults(), Clock()
    looked_up(results, clock, x=1, y=1)
    clock.now += 1
    looked_up(results, clock, x=2, y=2)
    why = looked_up(results, clock, x=1, y=3).why
    assert why["changed"] == ["params.y"]
    assert why["since"]["kept_at"] == 1_000_000


def test_parameters_that_cannot_be_compared_are_named_and_nothing_is_kept() -> None:
    results, clock = MemoryKeptResults(), Clock()
    lookup = looked_up(results, clock, x=1, y=object())
    assert lookup.why == {"cache": "unclear", "because": ["params.y"]}
    assert results.recent("work") == []


def test_a_result_in_memory_only_is_not_kept() -> None:
    results = MemoryKeptResults()
    reuse = Reuse(results, None, Clock())
    reuse.look_up(flight_of(work, x=1)).keep('{"!":"memory","of":"_thread.lock","why":"no"}')
    reuse.close()
    assert results.recent("work") == []


class Slow(MemoryKeptResults):
    """Keeps when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.let = threading.Event()
        self.batches: list[int] = []

    def keep(self, results: Sequence[KeptResult]) -> None:
        assert self.let.wait(20)
        self.batches.append(len(results))
        super().keep(results)


def test_what_is_yet_to_be_written_is_found() -> None:
    results = Slow()
    reuse = Reuse(results, None, Clock())
    for x in range(5):
        reuse.look_up(flight_of(work, x=x)).keep(str(x))
    assert [reuse.look_up(flight_of(work, x=x)).value for x in range(5)] == [*range(5)]
    assert reuse.look_up(flight_of(work, x=9)).why["changed"] == ["params.x"]
    results.let.set()
    reuse.close()
    assert sum(results.batches) == 5
    assert len(results.recent("work")) == 5


class Broken(MemoryKeptResults):
    def keep(self, results: Sequence[KeptResult]) -> None:
        raise OSError("full")

    def recent(self, task: str, limit: int = 20) -> list[KeptNote]:
        raise OSError("gone")


def test_trouble_with_the_store_is_logged_and_goes_no_further(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reuse = Reuse(Broken(), None, Clock())
    with caplog.at_level(logging.WARNING):
        lookup = reuse.look_up(flight_of(work, x=1))
        lookup.keep("5")
        reuse.close()
    assert lookup.why == {"cache": "fault"}
    assert lookup.found is None
    assert "task work: what is kept of it cannot be used: gone" in caplog.text
    assert "results are not kept to be used again: ['work']: full" in caplog.text


def test_bodies_with_a_cache_run_in_memory_without_a_store() -> None:
    graph = TaskGraph()
    graph.add_node(work)
    context = ExecutionContext(graph, inputs={"x": 4})
    assert WorkflowEngine().execute(context) == 4
