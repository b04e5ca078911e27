"""The cases, in the order of the table."""

from __future__ import annotations

from benchmarks.case import Case
from benchmarks.cases import (
    accept,
    append,
    chain,
    fan,
    graph,
    import_time,
    journaled,
    process,
    tracked,
    workspace,
)

CASES: tuple[Case, ...] = (
    *chain.CASES,
    fan.CASE,
    *journaled.CASES,
    graph.CASE,
    import_time.CASE,
    accept.CASE,
    append.CASE,
    process.CASE,
    *workspace.CASES,
    tracked.CASE,
)


def case_of(name: str) -> Case:
    """The case of that name.

    Raises:
        KeyError: there is none.
    """
    return {case.name: case for case in CASES}[name]
