"""The same graphs of empty tasks for Handrail, for `graflow`, and as plain data."""

from __future__ import annotations

from collections.abc import Callable
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any

from benchmarks.case import Figures, Spent, expect, spent, usual

if TYPE_CHECKING:
    from handrail import workflow

#: Who follows whom, by number of task.
Order = dict[int, list[int]]


def noop() -> None:
    """The body of every task."""


def chained(count: int) -> Order:
    """A chain."""
    return {number: [number - 1] if number else [] for number in range(count)}


def fanned(width: int) -> Order:
    """One task, `width` tasks that follow it, and one that follows all of these."""
    middle = list(range(1, width + 1))
    return {0: [], **{number: [0] for number in middle}, width + 1: middle}


# Handrail


def handrail_chain(count: int) -> workflow:
    """A chain of `count` tasks, each declared for itself."""
    from handrail import chain, task, workflow

    with workflow("chain") as flow:
        chain(*[task(f"t{number}")(noop) for number in range(count)])
    return flow


def handrail_fan(width: int) -> workflow:
    """`a >> (1 | ... | width) >> z`."""
    from handrail import chain, parallel, task, workflow

    with workflow("fan") as flow:
        middle = parallel(*[task(f"t{number}")(noop) for number in range(width)])
        chain(task("a")(noop), middle, task("z")(noop))
    return flow


def run_handrail(make: Callable[[], workflow], count: int, times: int) -> Figures:
    """Runs in memory on the direct handler: making, planning and running apart from each other."""
    from handrail import ExecutionContext, WorkflowEngine
    from handrail.flow.plan import Plan

    handrail_chain(2)  # imports what declaring needs
    made: list[workflow] = []
    making = spent(lambda: made.append(make()))
    flow = made[0]
    plans: list[Plan] = []
    planning = spent(lambda: plans.append(Plan(flow.graph, name=flow.name)))
    engine = WorkflowEngine()

    def run() -> Spent:
        context = ExecutionContext(flow.graph)
        took = spent(lambda: engine.execute_plan(plans[0], context))
        expect(sum(node.definition is not None for node in plans[0].nodes), count)
        expect(len(context.results), len(plans[0].nodes))
        return took

    cpu, wall = usual(run, times).per(count)
    return {
        "run": cpu,
        "run, wall": wall,
        "declare and compose": making.per(count)[0],
        "plan": planning.per(count)[0],
    }


# graflow, as its users write it


def graflow_chain(count: int) -> tuple[Any, str]:
    """A chain of `count` tasks, with the name of the first."""
    from graflow import chain, task, workflow

    with workflow("chain") as flow:
        chain(*[task(f"t{number}")(noop) for number in range(count)])
    return flow, "t0"


def graflow_fan(width: int) -> tuple[Any, str]:
    """`a >> (1 | ... | width) >> z`, with the name of the first task."""
    from graflow import chain, parallel, task, workflow

    with workflow("fan") as flow:
        middle = parallel(*[task(f"t{number}")(noop) for number in range(width)])
        chain(task("a")(noop), middle, task("z")(noop))
    return flow, "a"


def run_graflow(make: Callable[[], tuple[Any, str]], count: int, steps: int, times: int) -> Figures:
    """Runs in memory; `steps` is what its engine counts when it has done all of it."""
    from graflow.core.context import ExecutionContext
    from graflow.core.engine import WorkflowEngine

    graflow_chain(2)
    made: list[tuple[Any, str]] = []
    making = spent(lambda: made.append(make()))
    flow, start = made[0]

    def run() -> Spent:
        context = ExecutionContext.create(flow.graph, start, max_steps=10 * count)
        took = spent(lambda: WorkflowEngine().execute(context))
        expect(context.steps, steps)
        return took

    cpu, wall = usual(run, times).per(count)
    return {"run": cpu, "run, wall": wall, "declare and compose": making.per(count)[0]}


# The standard library


def run_graphlib(order: Order, times: int) -> Figures:
    """`graphlib` says what is ready, a plain loop calls it and keeps the result."""
    sorters: list[TopologicalSorter[int]] = []

    def make() -> None:
        sorters.append(TopologicalSorter(order))

    def run() -> Spent:
        make()
        sorter = sorters[-1]
        sorter.prepare()
        results: dict[int, object] = {}
        took = spent(lambda: in_order(sorter, noop, results))
        expect(len(results), len(order))
        return took

    making, planning = spent(make), spent(lambda: sorters[0].prepare())
    count = len(order)
    cpu, wall = usual(run, times).per(count)
    return {
        "run": cpu,
        "run, wall": wall,
        "declare and compose": making.per(count)[0],
        "plan": planning.per(count)[0],
    }


def in_order(
    sorter: TopologicalSorter[int], fn: Callable[[], object], results: dict[int, object]
) -> None:
    """Calls `fn` for each number that is ready, and keeps its result, until none is left."""
    while sorter.is_active():
        for number in sorter.get_ready():
            results[number] = fn()
            sorter.done(number)


def run_bare(count: int, times: int) -> Figures:
    """Calls `count` functions that are in order already, and keeps their results."""
    tasks: list[tuple[int, Callable[[], object]]] = [(number, noop) for number in range(count)]

    def run() -> Spent:
        results: dict[int, object] = {}
        took = spent(lambda: _call(tasks, results))
        expect(len(results), count)
        return took

    cpu, wall = usual(run, times).per(count)
    return {"run": cpu, "run, wall": wall}


def _call(tasks: list[tuple[int, Callable[[], object]]], results: dict[int, object]) -> None:
    for number, fn in tasks:
        results[number] = fn()
