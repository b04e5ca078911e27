"""What `import handrail` costs a program that has just started."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys

from benchmarks.case import Case, Contender, Figure, Figures, expect

_TIMES = 7

#: What a program with a workflow names; each name is imported when it is first used.
_FIRST_USE = "from handrail import task, workflow, chain, parallel"


def _starting(program: str) -> Figures:
    """CPU time of an interpreter that runs `program` and ends, its start included."""
    _start(program)
    return {"start": statistics.median(_start(program) for _ in range(_TIMES))}


def _start(program: str) -> float:
    before = _children_cpu()
    ended = subprocess.run([sys.executable, "-c", program], check=False)
    expect(ended.returncode, 0)
    return (_children_cpu() - before) * 1000


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


CASE = Case(
    "import_time",
    "A fresh interpreter that imports and ends, its own start included.",
    (Figure("start", "ms CPU", "≤ 100 ms CPU", at_most=100.0),),
    (
        Contender("handrail", lambda: _starting("import handrail")),
        Contender("handrail, to compose", lambda: _starting(_FIRST_USE)),
        Contender(
            "handrail, to run", lambda: _starting("import handrail; handrail.default_runtime()")
        ),
        Contender("nothing", lambda: _starting("pass")),
        Contender("graflow", lambda: _starting("import graflow"), needs="graflow"),
    ),
)
