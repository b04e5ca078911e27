"""Pictures of a graph, without a network: text and mermaid."""

from __future__ import annotations

from handrail.contracts.expr import ParallelGroup
from handrail.errors import WorkflowDefinitionError
from handrail.flow.graph import TaskGraph

_MARKS = {
    "queued": "·",
    "running": "▶",
    "waiting": "…",
    "succeeded": "✓",
    "failed": "✗",
    "crashed": "✗",
    "cancelled": "⊘",
    "skipped": "-",
    "superseded": "~",
}
_COLOURS = {
    "running": "#9ecae1",
    "waiting": "#fdd0a2",
    "succeeded": "#a1d99b",
    "failed": "#fc9272",
    "crashed": "#fc9272",
    "cancelled": "#d9d9d9",
    "skipped": "#d9d9d9",
}


def draw(graph: TaskGraph, format: str = "text", states: dict[str, str] | None = None) -> str:
    """The graph as text.

    Args:
        format: `"text"` (one line a node, with what it waits for) or `"mermaid"`.
        states: `{task: state}`, shown as marks or colours.

    Raises:
        WorkflowDefinitionError: no such format.
    """
    if format == "text":
        return _text(graph, states or {})
    if format == "mermaid":
        return _mermaid(graph, states or {})
    raise WorkflowDefinitionError(f"unknown format {format!r}: expected 'text' or 'mermaid'")


def levels(graph: TaskGraph) -> list[list[str]]:
    """Nodes by how many nodes, at most, must come before them. Loop edges do not count."""
    loops = {(before, after) for before, after, _ in graph.loop_edges()}
    before = {
        name: [b for b in graph.predecessors(name) if (b, name) not in loops] for name in graph
    }
    open_count = {name: len(many) for name, many in before.items()}
    level = dict.fromkeys(graph, 0)
    ready = [name for name, count in open_count.items() if not count]
    for name in ready:
        for after in graph.successors(name):
            if (name, after) in loops:
                continue
            level[after] = max(level[after], level[name] + 1)
            open_count[after] -= 1
            if not open_count[after]:
                ready.append(after)
    rows: list[list[str]] = [[] for _ in range(max(level.values(), default=-1) + 1)]
    for name, row in level.items():
        rows[row].append(name)
    return rows


def _text(graph: TaskGraph, states: dict[str, str]) -> str:
    width = max((len(name) for name in graph), default=0)
    lines = []
    for depth, row in enumerate(levels(graph)):
        for name in row:
            node = graph.get_node(name)
            mark = f"{_MARKS.get(states[name], '?')} " if name in states else ""
            what = "group" if isinstance(node, ParallelGroup) else node.handler_type
            after = graph.predecessors(name)
            waits = f"  after {', '.join(after)}" if after else ""
            lines.append(f"{depth:>3}  {mark}{name:<{width}}  [{what}]{waits}")
    return "\n".join(lines)


def _mermaid(graph: TaskGraph, states: dict[str, str]) -> str:
    ids = {name: f"n{number}" for number, name in enumerate(graph)}
    lines = ["flowchart LR"]
    for name, node in graph.nodes():
        label = name.replace("&", "&amp;").replace('"', "&quot;")
        label = label.replace("<", "&lt;").replace(">", "&gt;")
        shape = '(("{}"))' if isinstance(node, ParallelGroup) else '["{}"]'
        lines.append(f"    {ids[name]}{shape.format(label)}")
    lines += [f"    {ids[before]} --> {ids[after]}" for before, after in graph.edges()]
    lines += [
        f"    style {ids[name]} fill:{_COLOURS[state]}"
        for name, state in states.items()
        if name in ids and state in _COLOURS
    ]
    return "\n".join(lines)
