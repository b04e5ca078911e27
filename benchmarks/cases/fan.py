"""One task, 200 side by side, one that follows them all: direct, in memory."""

from __future__ import annotations

from functools import partial

from benchmarks.case import Case, Contender, Figure
from benchmarks.cases.flows import (
    fanned,
    graflow_fan,
    handrail_fan,
    run_bare,
    run_graflow,
    run_graphlib,
    run_handrail,
)

WIDTH = 200
_COUNT = WIDTH + 2
_TIMES = 50

CASE = Case(
    "fan_200",
    "a >> (200 tasks that do nothing) >> z: direct, in memory.",
    (
        Figure("run", "µs CPU per task", "≤ 6 µs each", at_most=6.0),
        Figure("run, wall", "µs per task"),
        Figure("declare and compose", "µs CPU per task"),
        Figure("plan", "µs CPU per task"),
    ),
    (
        Contender("handrail", partial(run_handrail, partial(handrail_fan, WIDTH), _COUNT, _TIMES)),
        Contender("graphlib, plain calls", lambda: run_graphlib(fanned(WIDTH), _TIMES)),
        Contender("loop of plain calls", partial(run_bare, _COUNT, _TIMES)),
        Contender(
            "graflow",
            # Its group is one step besides the members.
            partial(run_graflow, partial(graflow_fan, WIDTH), _COUNT, _COUNT + 1, 5),
            needs="graflow",
        ),
    ),
)
