"""Graphs to draw."""

from __future__ import annotations

from handrail.contracts.expr import Composable, parallel
from handrail.contracts.task import Task, task
from handrail.flow.graph import TaskGraph

HOSTILE = (
    "<script>alert(1)</script>",
    'a "very" long name & ' + "x" * 300 + " end",
    "Überblick データ 🚀",
    "line\nbreak\x1b[2J\u202eevil\ufffe",
    "it's ]]> --> fine",
)


def graph_of(*parts: Composable) -> TaskGraph:
    graph = TaskGraph()
    for part in parts:
        graph.include(part)
    return graph


def five() -> TaskGraph:
    """extract >> (clean | check | sum) >> publish"""
    extract, clean, check, publish = map(Task, ("extract", "clean", "check", "publish"))
    total = task("sum", handler_type="process")(lambda: None)
    return graph_of(extract >> parallel(clean, check, total, name="middle") >> publish)


def sixty() -> TaskGraph:
    """Five stages with groups in groups, and loops."""
    graph = graph_of(before := Task("start"))
    for number in range(5):
        chains = [
            Task(f"load {number} {side}") >> Task(f"clean {number} {side}") for side in ("a", "b")
        ]
        tiles = parallel(*(Task(f"tile {number} {n}") for n in range(3)), name=f"tiles {number}")
        member = Task(f"prepare {number}") >> tiles >> Task(f"glue {number}")
        stage = parallel(*chains, member, name=f"stage {number}")
        after = Task(f"merge {number}")
        graph.include(stage)
        graph.connect(before, stage)
        graph.connect(stage, after)
        before = after
    graph.add_edge("clean 1 a", "load 1 a")
    graph.add_edge("merge 4", "merge 2")
    graph.add_edge("merge 3", "merge 3")
    graph.add_edge("load 0 a", "merge 4")
    graph.add_edge("start", "glue 3")
    return graph


def hostile() -> TaskGraph:
    first, *middle, last = map(Task, HOSTILE)
    return graph_of(first >> parallel(*middle, name='group <b>"&') >> last)
