"""What a picture shows, whatever draws it: nodes, edges, and groups around their members."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from handrail.contracts.expr import Composable, ParallelGroup, Sequence
from handrail.contracts.task import MappedTask, Task
from handrail.flow.graph import GraphNode, TaskGraph
from handrail.flow.pictures.letters import shortened, visible
from handrail.flow.pictures.looks import WORST_FIRST

_LABEL_CELLS = 34


@dataclass(frozen=True, slots=True)
class PictureNode:
    """A task or a group."""

    name: str
    #: "task", "map" (a task run for each of many items), or "group" (where its members join).
    kind: str = "task"
    #: Second line: where it runs, or how it went.
    note: str = ""
    state: str | None = None
    #: The innermost group that it belongs to.
    within: str | None = None

    @property
    def label(self) -> str:
        """The name, harmless and not too long."""
        return shortened(visible(self.name), _LABEL_CELLS)


@dataclass(frozen=True, slots=True)
class PictureEdge:
    """What follows what."""

    before: str
    after: str
    #: Does it close a cycle?
    is_loop: bool = False


@dataclass(frozen=True)
class Picture:
    """A graph as it is drawn. Edges join nodes that are there; groups do not contain themselves."""

    nodes: tuple[PictureNode, ...]
    edges: tuple[PictureEdge, ...]

    @classmethod
    def of(
        cls,
        graph: TaskGraph,
        states: Mapping[str, str] | None = None,
        without: Collection[str] = (),
    ) -> Picture:
        """The picture of a graph.

        Args:
            states: `{task: state}`; names of no task are ignored.
            without: names of nodes to leave out.
        """
        states = states or {}
        groups = _memberships(graph)
        nodes = (
            PictureNode(name, _kind(node), _note(node), states.get(name), groups.get(name))
            for name, node in graph.nodes()
            if name not in without
        )
        loops = {(before, after) for before, after, _ in graph.loop_edges()}
        edges = (
            PictureEdge(before, after, (before, after) in loops)
            for before, after in graph.edges()
            if before not in without and after not in without
        )
        return cls(tuple(nodes), tuple(edges)).with_group_states()

    @cached_property
    def by_name(self) -> dict[str, PictureNode]:
        """All nodes."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def before(self) -> dict[str, list[str]]:
        """What each node waits for; loop edges are left out."""
        found: dict[str, list[str]] = {node.name: [] for node in self.nodes}
        for edge in self.edges:
            if not edge.is_loop:
                found[edge.after].append(edge.before)
        return found

    @cached_property
    def after(self) -> dict[str, list[str]]:
        """What each node is waited for by; loop edges are left out."""
        found: dict[str, list[str]] = {node.name: [] for node in self.nodes}
        for edge in self.edges:
            if not edge.is_loop:
                found[edge.before].append(edge.after)
        return found

    @cached_property
    def loops(self) -> dict[str, list[str]]:
        """Where each node leads back to, of those that do."""
        found: dict[str, list[str]] = {}
        for edge in self.edges:
            if edge.is_loop:
                found.setdefault(edge.before, []).append(edge.after)
        return found

    @cached_property
    def members(self) -> dict[str | None, list[str]]:
        """Nodes by the group they belong to directly; none: to no group."""
        found: dict[str | None, list[str]] = {}
        for node in self.nodes:
            found.setdefault(node.within, []).append(node.name)
        return found

    def in_order(self) -> list[str]:
        """Every name after all it waits for; the chain that was begun goes on first."""
        waiting = {name: len(before) for name, before in self.before.items()}
        ready = [name for name in reversed(waiting) if not waiting[name]]
        ordered: list[str] = []
        while ready:
            name = ready.pop()
            ordered.append(name)
            for after in reversed(self.after[name]):
                waiting[after] -= 1
                if not waiting[after]:
                    ready.append(after)
        # Cycles whose edges were not said to be loops.
        return [*ordered, *(name for name, count in waiting.items() if count)]

    def levels(self) -> dict[str, int]:
        """How many nodes, at most, must come before each."""
        level: dict[str, int] = {}
        for name in self.in_order():
            level[name] = max((level.get(b, -1) + 1 for b in self.before[name]), default=0)
        return level

    def with_group_states(self) -> Picture:
        """Groups without a state get that of the worst of what they wait for."""
        if not any(node.state for node in self.nodes):
            return self
        states = {node.name: node.state for node in self.nodes}
        for name in self.in_order():
            if states[name] is None and self.by_name[name].kind == "group":
                awaited = [states[before] or "queued" for before in self.before[name]]
                states[name] = min(awaited, key=_rank, default=None)
        nodes = tuple(replace(node, state=states[node.name]) for node in self.nodes)
        return Picture(nodes, self.edges)


def _rank(state: str) -> int:
    return WORST_FIRST.index(state) if state in WORST_FIRST else len(WORST_FIRST)


def _kind(node: GraphNode) -> str:
    if isinstance(node, ParallelGroup):
        return "group"
    return "map" if isinstance(node, MappedTask) else "task"


def _note(node: GraphNode) -> str:
    if isinstance(node, ParallelGroup):
        return ""
    parts = [node.handler_type] if node.handler_type != "direct" else []
    return ", ".join([*parts, *(["for each item"] if isinstance(node, MappedTask) else [])])


def _memberships(graph: TaskGraph) -> dict[str, str]:
    """`{node: innermost group it belongs to}`; of several groups the first declared."""
    found: dict[str, str] = {}
    for name, group in graph.nodes():
        if isinstance(group, ParallelGroup):
            for part in _parts(group.members):
                inner = graph.name_of(part)
                if inner in graph and inner != name:
                    found.setdefault(inner, name)
    return _without_circles(found)


def _parts(members: Iterable[Composable]) -> Iterator[Task | ParallelGroup]:
    for member in members:
        for part in member if isinstance(member, Sequence) else (member,):
            if isinstance(part, (Task, ParallelGroup)):
                yield part


def _without_circles(within: dict[str, str]) -> dict[str, str]:
    for name in list(within):
        seen = {name}
        inner = name
        while inner in within:
            outer = within[inner]
            if outer in seen:
                del within[inner]
                break
            seen.add(outer)
            inner = outer
    return within
