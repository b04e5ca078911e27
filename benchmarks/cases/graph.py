"""A graph of 100,000 tasks in 100 layers: declared, composed, planned and run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

from benchmarks.case import PEAK_MEMORY, Case, Contender, Figure, Figures, expect
from benchmarks.cases.flows import in_order, noop

if TYPE_CHECKING:
    from handrail import Task

_LAYERS, _WIDTH = 100, 1000
_COUNT = _LAYERS * _WIDTH


def _each_declared(number: int) -> Task:
    from handrail import task

    return task(f"t{number}")(noop)


def _instances() -> Callable[[int], Task]:
    from handrail import task

    template = task("template")(noop)
    return lambda number: template.instance(f"t{number}")


def _handrail(make: Callable[[], Callable[[int], Task]]) -> Figures:
    from handrail import ExecutionContext, WorkflowEngine, workflow
    from handrail.flow.plan import Plan

    one = make()
    one(0)  # imports what declaring needs
    marks = [time.process_time()]
    with workflow("graph") as flow:
        tasks = [one(number) for number in range(_COUNT)]
        marks.append(time.process_time())
        for number in range(_COUNT - _WIDTH):
            below, column = number + _WIDTH, number % _WIDTH
            _ = tasks[number] >> tasks[below]
            _ = tasks[number] >> tasks[below - column + (column + 1) % _WIDTH]
    marks.append(time.process_time())
    plan = Plan(flow.graph, templates=flow.templates(), name=flow.name)
    marks.append(time.process_time())
    context = ExecutionContext(flow.graph)
    WorkflowEngine().execute_plan(plan, context)
    marks.append(time.process_time())
    expect(len(context.results), _COUNT)
    return _figures(("declare", "compose", "plan", "run"), marks)


def _graphlib() -> Figures:
    marks = [time.process_time()]
    sorter: TopologicalSorter[int] = TopologicalSorter()
    for number in range(_COUNT - _WIDTH):
        below, column = number + _WIDTH, number % _WIDTH
        sorter.add(below, number)
        sorter.add(below - column + (column + 1) % _WIDTH, number)
    marks.append(time.process_time())
    sorter.prepare()
    marks.append(time.process_time())
    results: dict[int, object] = {}
    in_order(sorter, noop, results)
    marks.append(time.process_time())
    expect(len(results), _COUNT)
    return _figures(("compose", "plan", "run"), marks)


def _figures(steps: Sequence[str], marks: Sequence[float]) -> Figures:
    spans = {
        step: after - before
        for step, before, after in zip(steps, marks[:-1], marks[1:], strict=True)
    }
    return {"total": marks[-1] - marks[0], **spans}


CASE = Case(
    "graph_100000",
    "100 layers of 1,000 tasks, each of which follows two of the layer above (198,000 edges).",
    (
        Figure("total", "s CPU", "≤ 5 s", at_most=5.0),
        Figure("declare", "s CPU"),
        Figure("compose", "s CPU"),
        Figure("plan", "s CPU"),
        Figure("run", "s CPU"),
        Figure(PEAK_MEMORY, "MB", "≤ 500 MB", at_most=500.0),
    ),
    (
        Contender("handrail", lambda: _handrail(lambda: _each_declared)),
        Contender("handrail, instances of one task", lambda: _handrail(_instances)),
        Contender("graphlib, plain calls", _graphlib),
    ),
    is_slow=True,
)
