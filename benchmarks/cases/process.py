"""A task that does nothing in a warm worker process: there and back."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor

from benchmarks.case import Case, Contender, Figure, Figures, Spent, expect, spent, usual
from benchmarks.cases.flows import noop

_COUNT = 200
_TIMES = 5


def _handrail() -> Figures:
    from handrail import ExecutionContext, WorkflowEngine, chain, task, workflow
    from handrail.flow.plan import Plan

    with workflow("process") as flow:
        chain(*[task(f"t{number}", handler_type="process")(noop) for number in range(_COUNT)])
    plan = Plan(flow.graph, name=flow.name)
    with WorkflowEngine(max_workers=1) as engine:

        def run() -> Spent:
            context = ExecutionContext(flow.graph)
            took = spent(lambda: engine.execute_plan(plan, context))
            expect(len(context.results), _COUNT)
            return took

        return _figures(usual(run, _TIMES))


def _pool() -> Figures:
    with ProcessPoolExecutor(1) as pool:

        def run() -> Spent:
            return spent(lambda: [pool.submit(noop).result() for _ in range(_COUNT)])

        return _figures(usual(run, _TIMES))


def _figures(took: Spent) -> Figures:
    cpu, wall = took.per(_COUNT)
    return {"round trip": wall, "round trip, CPU here": cpu}


CASE = Case(
    "process_roundtrip",
    f"A chain of {_COUNT} tasks that do nothing, in one warm worker process, in memory.",
    (
        Figure("round trip", "µs per task", "≤ 300 µs", at_most=300.0),
        Figure("round trip, CPU here", "µs CPU per task"),
    ),
    (
        Contender("handrail", _handrail),
        Contender("concurrent.futures", _pool),
    ),
)
