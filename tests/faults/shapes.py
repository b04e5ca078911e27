"""Random workflows, and a small model of what each of them gives.

A shape is a tree. `Builder` makes a workflow of it whose bodies name themselves, their round and
a digest of what came before; `Model` computes the same by walking the tree, without an engine.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from hypothesis import strategies as st

from handrail import Task, TaskExecutionContext, parallel, task, workflow
from handrail.contracts.controls import RetryPolicy
from handrail.contracts.expr import Composable, ParallelGroup

AT_ONCE = RetryPolicy(count=2, delay_seconds=0, backoff_factor=1.0, jitter=False)

# Shapes


@dataclass(frozen=True)
class Work:
    """One task."""

    name: str = ""
    #: Fails so many tries of each round, and is tried again.
    stumble_count: int = 0
    #: From this round on it fails until it is mended; 0: never.
    broken_from: int = 0
    #: Fails always; only where a group accepts it.
    is_doomed: bool = False
    asks: bool = False
    spawns: bool = False


@dataclass(frozen=True)
class Iterate:
    """A task that asks for further rounds of its own."""

    count: int
    name: str = ""
    broken_from: int = 0


@dataclass(frozen=True)
class Mapped:
    """A task that runs for each of `count` items."""

    count: int
    name: str = ""
    broken_from: int = 0


@dataclass(frozen=True)
class Chain:
    """Parts one after another."""

    parts: tuple[Any, ...]


@dataclass(frozen=True)
class Group:
    """Members side by side."""

    members: tuple[Any, ...]
    policy: str = "strict"
    max_workers: int | None = None
    name: str = ""


@dataclass(frozen=True)
class Loop:
    """Parts that run for so many rounds: a last task jumps back to the first."""

    first: Work
    parts: tuple[Any, ...]
    round_count: int
    judge: str = ""


@dataclass(frozen=True)
class Diamond:
    """Branches between two tasks, joined by plain edges."""

    split: Work
    branches: tuple[Any, ...]
    join: Work


#: How many tasks a workflow has at most, instances of a loop's rounds not counted.
MOST_TASKS = 24


@st.composite
def shapes(draw: st.DrawFn) -> Chain:
    """Whole workflows, with names."""
    growing = _Growing(draw(st.randoms(use_true_random=False)))
    count = growing.random.randint(1, 4)
    parts = [growing.part(3, is_absorbed=False, is_outermost=True) for _ in range(count)]
    found: Chain = named(Chain(tuple(parts)), itertools.count())
    return found


class _Growing:
    """Grows a shape by chance."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self._left = MOST_TASKS

    def part(self, depth: int, *, is_absorbed: bool, is_outermost: bool = False) -> Any:
        if depth > 0 and self._left > 0:
            chosen = self.random.choice(("leaf", "leaf", "group", "group", "loop", "diamond"))
            if chosen == "group":
                return self._group(depth, is_absorbed)
            if chosen == "loop":
                return self._loop(depth, is_absorbed)
            if chosen == "diamond" and is_outermost:
                return self._diamond()
        return self._leaf(is_absorbed)

    def _leaf(self, is_absorbed: bool) -> Any:
        chosen = self.random.choice((Work, Work, Work, Iterate, Mapped))
        if chosen is Work:
            return self._work(is_absorbed)
        self._left -= 1
        broken_from = 0 if is_absorbed else self.random.choice((0, 0, 1, 2))
        if chosen is Iterate:
            return Iterate(self.random.randint(1, 3), broken_from=broken_from)
        return Mapped(self.random.randint(0, 4), broken_from=broken_from)

    def _work(self, is_absorbed: bool) -> Work:
        self._left -= 1
        return Work(
            stumble_count=self.random.choice((0, 0, 0, 1, 2)),
            broken_from=0 if is_absorbed else self.random.choice((0, 0, 0, 1, 2)),
            is_doomed=is_absorbed and self._rarely(),
            asks=self._rarely(),
            spawns=self._rarely(),
        )

    def _group(self, depth: int, is_absorbed: bool) -> Group:
        policy = self.random.choice(("strict", "best_effort", "best_effort", "fail_fast"))
        if is_absorbed and policy == "fail_fast":
            policy = "strict"
        inner = is_absorbed or policy == "best_effort"
        members = [self._chain(depth - 1, inner) for _ in range(self.random.randint(2, 3))]
        return Group(tuple(members), policy, self.random.choice((None, None, 1, 2)))

    def _chain(self, depth: int, is_absorbed: bool) -> Any:
        count = self.random.choice((1, 1, 2, 3, 4))
        parts = [self.part(depth, is_absorbed=is_absorbed) for _ in range(count)]
        return Chain(tuple(parts)) if count > 1 else parts[0]

    def _loop(self, depth: int, is_absorbed: bool) -> Loop:
        count = self.random.randint(0, 2)
        parts = [self.part(depth - 1, is_absorbed=is_absorbed) for _ in range(count)]
        return Loop(self._work(is_absorbed), tuple(parts), self.random.choice((2, 2, 3)))

    def _diamond(self) -> Diamond:
        branches: list[Any] = []
        for _ in range(self.random.randint(2, 3)):
            if self._rarely():
                branches.append(Loop(self._work(False), (self._work(False),), 2))
            else:
                branches.append(Chain(tuple(self._work(False) for _ in range(3))))
        return Diamond(self._work(False), tuple(branches), self._work(False))

    def _rarely(self) -> bool:
        return self.random.random() < 0.15


def named(shape: Any, numbers: Iterator[int]) -> Any:
    """The same shape with names, in the order of reading."""
    if isinstance(shape, Chain):
        return Chain(tuple(named(part, numbers) for part in shape.parts))
    if isinstance(shape, Group):
        members = tuple(named(member, numbers) for member in shape.members)
        return replace(shape, members=members, name=f"group_{next(numbers)}")
    if isinstance(shape, Loop):
        return replace(
            shape,
            first=named(shape.first, numbers),
            parts=tuple(named(part, numbers) for part in shape.parts),
            judge=f"judge_{next(numbers)}",
        )
    if isinstance(shape, Diamond):
        return Diamond(
            named(shape.split, numbers),
            tuple(named(branch, numbers) for branch in shape.branches),
            named(shape.join, numbers),
        )
    return replace(shape, name=f"{type(shape).__name__.lower()}_{next(numbers)}")


def leaves(shape: Any) -> Iterator[Any]:
    """All tasks of a shape."""
    if isinstance(shape, Chain):
        inner: tuple[Any, ...] = shape.parts
    elif isinstance(shape, Group):
        inner = shape.members
    elif isinstance(shape, Loop):
        inner = (shape.first, *shape.parts)
    elif isinstance(shape, Diamond):
        inner = (shape.split, *shape.branches, shape.join)
    else:
        yield shape
        return
    for part in inner:
        yield from leaves(part)


def end_of(shape: Any) -> str:
    """Name of what the next part follows."""
    if isinstance(shape, Chain):
        return end_of(shape.parts[-1])
    if isinstance(shape, Loop):
        return shape.judge
    if isinstance(shape, Diamond):
        return shape.join.name
    return str(shape.name)


def digest(value: Any) -> str:
    """Few letters that stand for a value."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:8]


# The model


class Doomed(Exception):
    """A part cannot succeed."""


@dataclass
class Model:
    """Computes what a shape gives, and how often each task succeeds."""

    rounds: Counter[str] = field(default_factory=Counter)
    #: Successes of tasks, by name.
    successes: Counter[str] = field(default_factory=Counter)

    def value(self, shape: Any, given: Any = None) -> Any:
        """The value of a shape that follows something with the value `given`.

        Raises:
            Doomed: it always fails.
        """
        if isinstance(shape, Chain):
            for part in shape.parts:
                given = self.value(part, given)
            return given
        if isinstance(shape, Group):
            return self._of_group(shape, given)
        if isinstance(shape, Loop):
            return self._of_loop(shape, given)
        if isinstance(shape, Diamond):
            split = self.value(shape.split, given)
            joined = tuple(self.value(branch, split) for branch in shape.branches)
            return self.value(shape.join, joined)
        return self._of_leaf(shape, given)

    def _of_group(self, group: Group, given: Any) -> dict[str, Any]:
        values = {}
        is_lost = False
        for member in group.members:
            try:
                values[end_of(member)] = self.value(member, given)
            except Doomed:
                is_lost = True
        if is_lost and group.policy != "best_effort":
            raise Doomed
        return values

    def _of_loop(self, loop: Loop, given: Any) -> Any:
        while True:
            value = self.value(Chain((loop.first, *loop.parts)), given)
            value = self._of_leaf(Work(loop.judge), value)
            if self.rounds[loop.judge] % loop.round_count == 0:
                return value

    def _of_leaf(self, leaf: Any, given: Any) -> Any:
        if isinstance(leaf, Mapped):
            self.rounds[leaf.name] += 1
            names = [f"{leaf.name}[{position}]" for position in range(leaf.count)]
            self.successes.update(names)
            return [self._text(leaf.name, given, position) for position in range(leaf.count)]
        for _ in range(leaf.count if isinstance(leaf, Iterate) else 1):
            self.rounds[leaf.name] += 1
            if isinstance(leaf, Work) and leaf.is_doomed:
                raise Doomed
            self.successes[leaf.name] += 1
            if isinstance(leaf, Work) and leaf.spawns:
                count = self.successes[leaf.name]
                extra = f"{leaf.name}_extra"
                self.successes[extra if count == 1 else f"{extra}_{count}"] += 1
        return self._text(leaf.name, given, "")

    def _text(self, name: str, given: Any, more: object) -> str:
        return f"{name} {more} round {self.rounds[name]} after {digest(given)}"


# The workflow


@dataclass
class Books:
    """What bodies leave, and what makes them fail."""

    #: Tasks that are not mended yet.
    broken: set[str] = field(default_factory=set)
    #: Attempts that began, with their idempotency keys.
    keys: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, context: TaskExecutionContext) -> None:
        """Notes that a body began."""
        with self.lock:
            self.keys[context.attempt_id] = context.idempotency_key


#: Books by number, for tasks that are found again by import.
BOOKS: dict[int, Books] = {}


@task(inject_context=True)
def extra(context: TaskExecutionContext, books: int) -> None:
    """What a task asks for besides what follows it."""
    BOOKS[books].begin(context)


class Builder:
    """Makes a workflow of a shape."""

    def __init__(self, shape: Chain, books: Books, number: int) -> None:
        self._books = books
        self._number = number
        with workflow("shape") as self.flow:
            self._chain(shape.parts, ())

    def _chain(self, parts: tuple[Any, ...], parents: tuple[str, ...]) -> Composable:
        chained: Composable | None = None
        for part in parts:
            made, last = self._part(part, parents)
            chained = made if chained is None else chained >> made
            if last is not made:
                chained = last
            parents = (end_of(part),)
        assert chained is not None
        return chained

    def _part(self, part: Any, parents: tuple[str, ...]) -> tuple[Composable, Composable]:
        """What comes before follows the first, what comes after the second."""
        if isinstance(part, Diamond):
            return self._diamond(part, parents)
        made = self._whole(part, parents)
        return made, made

    def _whole(self, part: Any, parents: tuple[str, ...]) -> Composable:
        if isinstance(part, Chain):
            return self._chain(part.parts, parents)
        if isinstance(part, Group):
            return self._group(part, parents)
        if isinstance(part, Loop):
            return self._loop(part, parents)
        return self._leaf(part, parents)

    def _group(self, group: Group, parents: tuple[str, ...]) -> ParallelGroup:
        from handrail import StrictGroupPolicy

        members = [self._whole(member, parents) for member in group.members]
        policy = StrictGroupPolicy(fail_fast=True) if group.policy == "fail_fast" else group.policy
        made = parallel(*members, name=group.name)
        return made.with_execution(policy=policy, max_workers=group.max_workers)

    def _loop(self, loop: Loop, parents: tuple[str, ...]) -> Composable:
        first, count = loop.first.name, loop.round_count
        before = end_of(Chain((loop.first, *loop.parts)))

        @task(loop.judge, inject_context=True)
        def judge(context: TaskExecutionContext) -> str:
            self._books.begin(context)
            if context.cycle_count % count:
                context.next_task(first)
            return _text(context, loop.judge, (before,), "")

        return self._chain((loop.first, *loop.parts), parents) >> judge

    def _diamond(self, diamond: Diamond, parents: tuple[str, ...]) -> tuple[Composable, Composable]:
        split = self._leaf(diamond.split, parents)
        ends = tuple(end_of(branch) for branch in diamond.branches)
        join = self._leaf(diamond.join, ends)
        for branch in diamond.branches:
            split >> self._whole(branch, (diamond.split.name,)) >> join
        return split, join

    def _leaf(self, leaf: Any, parents: tuple[str, ...]) -> Task:
        if isinstance(leaf, Iterate):
            return self._iterate(leaf, parents)
        if isinstance(leaf, Mapped):
            return self._mapped(leaf, parents)
        return self._work(leaf, parents)

    def _work(self, work: Work, parents: tuple[str, ...]) -> Task:
        @task(work.name, inject_context=True, retry_policy=AT_ONCE)
        def body(context: TaskExecutionContext) -> str:
            self._books.begin(context)
            if context.retry_count < work.stumble_count:
                raise OSError("a try fails")
            if work.is_doomed or self._is_broken(work, context):
                raise TypeError("it is broken")
            if work.asks:
                assert context.request_approval("Go on?")
            if work.spawns:
                context.next_task(extra(task_id=f"{work.name}_extra", books=self._number))
            return _text(context, work.name, parents, "")

        return body

    def _iterate(self, leaf: Iterate, parents: tuple[str, ...]) -> Task:
        @task(leaf.name, inject_context=True, max_cycles=1000)
        def body(context: TaskExecutionContext, step: int = 1) -> str:
            self._books.begin(context)
            if self._is_broken(leaf, context):
                raise TypeError("it is broken")
            if step < leaf.count:
                context.next_iteration(step + 1)
            return _text(context, leaf.name, parents, "")

        return body

    def _mapped(self, leaf: Mapped, parents: tuple[str, ...]) -> Task:
        @task(f"{leaf.name}_item", inject_context=True)
        def body(context: TaskExecutionContext, x: int) -> str:
            self._books.begin(context)
            if x % 2 and self._is_broken(leaf, context):
                raise TypeError("it is broken")
            return _text(context, leaf.name, parents, x)

        return body.map(list(range(leaf.count)), task_id=leaf.name)

    def _is_broken(self, leaf: Any, context: TaskExecutionContext) -> bool:
        is_due = bool(leaf.broken_from) and context.cycle_count >= leaf.broken_from
        return is_due and leaf.name in self._books.broken


def _text(context: TaskExecutionContext, name: str, parents: tuple[str, ...], more: object) -> str:
    results = tuple(context.get_result(parent) for parent in parents)
    given = None if not parents else results if len(parents) > 1 else results[0]
    return f"{name} {more} round {context.cycle_count} after {digest(given)}"
