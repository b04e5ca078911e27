from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from handrail import Task, task
from handrail.contracts.event import Event
from handrail.contracts.limits import Limit, parse_limits
from handrail.flow.plan import Node
from handrail.keep.limits import POLL_SECONDS, Holder, MemoryLimiter, Refusal
from handrail.run.gate import Gate
from handrail.run.limits import Limits
from handrail.run.record import Recorder
from handrail.run.timers import Timers


class ManualTimers(Timers):
    """Rings when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[float, Callable[[], None]]] = []

    def after(self, delay_seconds: float, step: Callable[[], None]) -> None:
        self.steps.append((delay_seconds, step))

    def ring(self) -> None:
        steps, self.steps = self.steps, []
        for _, step in steps:
            step()


class CountingLimiter(MemoryLimiter):
    """Knows how often it was asked."""

    asked_count = 0

    def take(self, holder: Holder, limits: Sequence[Limit]) -> Refusal | None:
        self.asked_count += 1
        return super().take(holder, limits)


class Scene:
    """A gate, with what is around it."""

    def __init__(self, **said: int | str) -> None:
        self.at = 100.0
        self.limiter = CountingLimiter(now=lambda: 1_000_000)
        limits = Limits(parse_limits(said), self.limiter, "r1", 1, now=lambda: self.at)
        self.events: list[Event] = []
        self.timers = ManualTimers()
        self.turns: list[str] = []
        recorder = Recorder("r1", 1, None, self.events.append)
        self.gate = Gate(limits, recorder, self.timers, lambda node: self.turns.append(node.name))
        self.nodes: dict[str, Node] = {}

    def node(self, name: str, *tags: str) -> Node:
        @task("load", tags=tags)
        def load() -> None: ...

        made: Task = load.instance(name)
        return self.nodes.setdefault(name, Node(len(self.nodes), name, made))

    def submit(self, name: str, *tags: str) -> bool:
        return self.gate.admit(self.node(name, *tags), lambda: name)

    def take_turns(self) -> list[str]:
        """Submits those whose turn it is, until there is none; names of those that start."""
        started = []
        while self.turns:
            name = self.turns.pop(0)
            if self.submit(name):
                started.append(name)
        return started


@pytest.fixture
def scene() -> Scene:
    return Scene(db=1, api=1)


def test_a_task_without_limits_starts(scene: Scene) -> None:
    def never() -> str:
        raise AssertionError("asked for an id")

    free = scene.node("free")
    assert scene.gate.admit(free, never)
    assert scene.gate.admit(free, never)
    assert not scene.gate.waiting
    assert not scene.gate.held


def test_who_must_wait_gets_its_turn_when_a_place_is_given_back(scene: Scene) -> None:
    assert scene.submit("a", "db")
    assert not scene.submit("b", "db")
    assert scene.gate.waiting
    assert list(scene.gate.held) == ["a"]
    scene.gate.leave("a")
    assert scene.take_turns() == ["b"]
    assert not scene.gate.waiting


def test_it_is_told_once_which_limit_is_waited_for(scene: Scene) -> None:
    assert scene.submit("a", "db")
    assert not scene.submit("b", "api", "db")
    for _ in range(3):
        scene.at += POLL_SECONDS
        scene.timers.ring()
        assert scene.take_turns() == []
    (event,) = scene.events
    assert (event.kind, event.task, event.attempt) == ("task.queued", "b", "")
    assert event.data == {"limit": "db", "seconds": POLL_SECONDS}


def test_who_came_first_starts_first(scene: Scene) -> None:
    for name in "abcd":
        scene.submit(name, "db")
    started = []
    for name in "abc":
        scene.gate.leave(name)
        started += scene.take_turns()
    assert started == ["b", "c", "d"]


def test_places_that_others_gave_back_are_found_by_asking_again(scene: Scene) -> None:
    other = Holder("r2", 1, "other")
    assert scene.limiter.take(other, [Limit("db", 1)]) is None
    for name in "abc":
        assert not scene.submit(name, "db")
    assert [delay for delay, _ in scene.timers.steps] == [POLL_SECONDS]
    scene.limiter.give_back(other)
    scene.at += POLL_SECONDS
    scene.timers.ring()
    assert scene.take_turns() == ["a"]


def test_several_free_places_are_taken_at_once() -> None:
    scene = Scene(db=3)
    others = [Holder("r2", 1, f"other {number}") for number in range(3)]
    for other in others:
        assert scene.limiter.take(other, [Limit("db", 3)]) is None
    for name in "abcd":
        assert not scene.submit(name, "db")
    for other in others:
        scene.limiter.give_back(other)
    scene.at += POLL_SECONDS
    scene.timers.ring()
    assert scene.take_turns() == ["a", "b", "c"]


def test_limits_with_a_tag_in_common_are_asked_for_again_together(scene: Scene) -> None:
    assert scene.submit("a", "db", "api")
    for name, tags in (("b", ("db",)), ("c", ("api",)), ("d", ("api", "db"))):
        assert not scene.submit(name, *tags)
    scene.gate.leave("a")
    assert scene.take_turns() == ["b", "c"]


def test_however_many_wait_few_questions_are_asked(scene: Scene) -> None:
    for number in range(1000):
        scene.submit(f"t{number}", "db")
    running = "t0"
    for _ in range(999):
        scene.gate.leave(running)
        (running,) = scene.take_turns()
    assert running == "t999"
    assert scene.limiter.asked_count <= 2 * 1000


def test_while_one_waits_a_timer_runs_even_if_the_first_is_sent_away(scene: Scene) -> None:
    for name in "abc":
        scene.submit(name, "db")
    scene.gate.leave("a")
    assert scene.turns == ["b"]
    scene.turns.clear()  # with its group, before it could ask
    scene.timers.ring()
    scene.timers.ring()
    assert scene.take_turns() == ["c"]


def test_nodes_are_sent_away(scene: Scene) -> None:
    for name in "abc":
        scene.submit(name, "db")
    scene.gate.drop(lambda node: node.name == "b")
    scene.gate.leave("a")
    assert scene.take_turns() == ["c"]
    assert not scene.submit("d", "db")
    scene.gate.drop(lambda node: True)
    assert not scene.gate.waiting


def test_when_nothing_is_to_start_any_more_nobody_gets_a_turn(scene: Scene) -> None:
    scene.submit("a", "db")
    scene.submit("b", "db")
    scene.gate.clear()
    scene.gate.leave("a")
    scene.timers.ring()
    assert scene.turns == []
