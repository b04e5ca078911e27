"""Chains of tasks that do nothing, in memory, on the direct handler."""

from __future__ import annotations

from functools import partial

from benchmarks.case import PEAK_MEMORY, Case, Contender, Figure
from benchmarks.cases.flows import (
    chained,
    graflow_chain,
    handrail_chain,
    run_bare,
    run_graflow,
    run_graphlib,
    run_handrail,
)

#: The peer's own time grows with the square of the length; it is asked for no longer chain.
_LONGEST_OF_PEER = 10_000


def _contenders(count: int) -> tuple[Contender, ...]:
    times = max(3, min(30, 30_000 // count))
    graflow = Contender(
        "graflow",
        partial(run_graflow, partial(graflow_chain, count), count, count, min(times, 5)),
        needs="graflow",
    )
    return (
        Contender("handrail", partial(run_handrail, partial(handrail_chain, count), count, times)),
        Contender("graphlib, plain calls", lambda: run_graphlib(chained(count), times)),
        Contender("loop of plain calls", partial(run_bare, count, times)),
        *([graflow] if count <= _LONGEST_OF_PEER else []),
    )


def _case(count: int, budget: str, *, is_slow: bool = False) -> Case:
    return Case(
        f"chain_{count}",
        f"A chain of {count:,} tasks that do nothing: direct, in memory.",
        (
            Figure("run", "µs CPU per task", budget, at_most=3.0),
            Figure("run, wall", "µs per task"),
            Figure("declare and compose", "µs CPU per task"),
            Figure("plan", "µs CPU per task"),
            Figure(PEAK_MEMORY, "MB"),
        ),
        _contenders(count),
        is_slow=is_slow,
    )


CASES = (
    _case(1_000, "≤ 3 µs CPU each"),
    _case(10_000, "flat: ≤ 3 µs CPU each"),
    _case(100_000, "flat: ≤ 3 µs CPU each", is_slow=True),
)
