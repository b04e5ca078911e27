"""The graph of a workflow: nodes by name, edges in order of declaration."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TypeVar

from handrail.contracts.expr import UNNAMED, Composable, ParallelGroup, Sequence
from handrail.contracts.task import Task
from handrail.errors import CycleError, DuplicateTaskError, UnknownTaskError

GraphNode = Task | ParallelGroup
T = TypeVar("T")


class TaskGraph:
    """Tasks and groups with the edges between them.

    A group is a node that follows the ends of its members; what follows the group follows
    that node.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, GraphNode] = {}
        #: Each edge with its place in the order of declaration.
        self._after: dict[str, dict[str, int]] = {}
        self._before: dict[str, dict[str, None]] = {}
        #: Names of nodes that are called otherwise here, by identity: a group that was given no
        #: name may stand in several graphs.
        self._called: dict[int, str] = {}
        self._group_count = 0
        self._edge_numbers = count()

    # Building

    def add_node(self, node: GraphNode, name: str | None = None) -> None:
        """Adds a task or a group.

        Raises:
            DuplicateTaskError: another node has that name.
        """
        name = name or self.name_of(node)
        known = self._nodes.get(name)
        if known is node:
            return
        if known is not None:
            raise DuplicateTaskError(name)
        if name != node.name or isinstance(node, ParallelGroup):
            self._called[id(node)] = name
        self._nodes[name] = node
        self._after[name] = {}
        self._before[name] = {}

    def add_edge(self, before: str, after: str) -> None:
        """Lets `after` follow `before`; a second time changes nothing.

        Raises:
            UnknownTaskError: one of them is no node.
        """
        self.get_node(before)
        self.get_node(after)
        self._after[before].setdefault(after, next(self._edge_numbers))
        self._before[after][before] = None

    def remove_node(self, name: str) -> None:
        """Removes a node with its edges."""
        self.get_node(name)
        for after in self._after.pop(name):
            del self._before[after][name]
        for before in self._before.pop(name):
            del self._after[before][name]
        self._called.pop(id(self._nodes.pop(name)), None)

    def rename_node(self, name: str, new_name: str) -> None:
        """Gives a node another name.

        Raises:
            DuplicateTaskError: the new name is taken.
        """
        if name == new_name:
            return
        if new_name in self._nodes:
            raise DuplicateTaskError(new_name)
        node = self.get_node(name)

        def renamed(many: dict[str, T]) -> dict[str, T]:
            return {new_name if key == name else key: value for key, value in many.items()}

        self._nodes, self._after, self._before = (
            renamed(self._nodes),
            renamed(self._after),
            renamed(self._before),
        )
        self._after[new_name] = renamed(self._after[new_name])
        self._before[new_name] = renamed(self._before[new_name])
        for after in self._after[new_name]:
            self._before[after] = renamed(self._before[after])
        for before in self._before[new_name]:
            self._after[before] = renamed(self._after[before])
        self._called[id(node)] = new_name

    # Asking

    def __contains__(self, name: str) -> bool:
        return name in self._nodes

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def has_node(self, name: str) -> bool:
        """Is there a node of that name?"""
        return name in self._nodes

    def get_node(self, name: str) -> GraphNode:
        """The task or group of that name.

        Raises:
            UnknownTaskError: there is none.
        """
        try:
            return self._nodes[name]
        except KeyError:
            raise UnknownTaskError(name, tuple(self._nodes)) from None

    def name_of(self, node: GraphNode) -> str:
        """The name that a node has here, or would have."""
        known = self._called.get(id(node))
        if known is not None:
            return known
        is_free = node.name != UNNAMED and node.name not in self._nodes
        if isinstance(node, ParallelGroup) and not node.is_named and not is_free:
            return self.group_name()
        return node.name

    def group_name(self) -> str:
        """A free name for a group."""
        number = self._group_count + 1
        while f"ParallelGroup_{number}" in self._nodes:
            number += 1
        self._group_count = number - 1
        return f"ParallelGroup_{number}"

    def has_group(self, group: ParallelGroup) -> bool:
        """Is this very group a node?"""
        return id(group) in self._called

    def nodes(self) -> list[tuple[str, GraphNode]]:
        """All nodes with their names, as declared."""
        return list(self._nodes.items())

    def edges(self) -> list[tuple[str, str]]:
        """All edges, as declared."""
        return [(before, after) for before, many in self._after.items() for after in many]

    def successors(self, name: str) -> list[str]:
        """Names of what follows a node."""
        self.get_node(name)
        return list(self._after[name])

    def predecessors(self, name: str) -> list[str]:
        """Names of what a node follows."""
        self.get_node(name)
        return list(self._before[name])

    def get_start_nodes(self) -> list[str]:
        """Nodes that follow nothing, as declared."""
        return [name for name, before in self._before.items() if not before]

    def detect_cycles(self) -> list[list[str]]:
        """Cycles, each as the names along it: one for every edge that closes a cycle."""
        return [path for _, _, path in self.loop_edges()]

    def loop_edges(self) -> list[tuple[str, str, list[str]]]:
        """Edges that close a cycle, in order of declaration, each with the cycle it closes."""
        found: list[tuple[str, str, list[str]]] = []
        accepted: dict[str, list[str]] = {}
        for before, after in self._edges_on_cycles():
            path = _path(accepted, after, before)
            if path:
                found.append((before, after, [*path, after]))
            else:
                accepted.setdefault(before, []).append(after)
        return found

    def _edges_on_cycles(self) -> list[tuple[str, str]]:
        """Edges between nodes that have, again and again, something before and after them."""
        core = set(self._nodes)
        for incoming, outgoing in ((self._before, self._after), (self._after, self._before)):
            open_count = {name: len(core & set(incoming[name])) for name in core}
            loose = [name for name, number in open_count.items() if not number]
            for name in loose:
                core.discard(name)
                for other in outgoing[name]:
                    if other in core:
                        open_count[other] -= 1
                        if not open_count[other]:
                            loose.append(other)
        numbered = [
            (number, before, after)
            for before in core
            for after, number in self._after[before].items()
            if after in core
        ]
        return [(before, after) for _, before, after in sorted(numbered)]

    def check_acyclic(self) -> None:
        """Raises `CycleError` with the first cycle, if there is one."""
        for _, _, path in self.loop_edges():
            raise CycleError(path)

    # Composing

    def include(self, part: Composable) -> None:
        """Adds a part with all that is composed in it."""
        # First what is within, as it was written: the order of declaration tells which edge
        # closes a cycle.
        waiting: list[tuple[Composable, bool]] = [(part, False)]
        while waiting:
            part, is_inside_done = waiting.pop()
            if isinstance(part, Task):
                self.add_node(part)
            elif isinstance(part, Sequence):
                if is_inside_done:
                    self.connect(part.before, part.after)
                else:
                    waiting += ((part, True), (part.after, False), (part.before, False))
            elif isinstance(part, ParallelGroup):
                if is_inside_done:
                    self._include_group(part)
                else:
                    waiting.append((part, True))
                    waiting += ((member, False) for member in reversed(part.members))

    def connect(self, before: Composable, after: Composable) -> None:
        """Lets the starts of `after` follow the ends of `before`."""
        ends, starts = list(before.ends()), list(after.starts())
        for end in ends:
            self._add(end)
            for start in starts:
                self.add_node(start)
                self.add_edge(self.name_of(end), self.name_of(start))
        self._add(after.rightmost if isinstance(after, Sequence) else after)

    def _add(self, part: Composable) -> None:
        if isinstance(part, ParallelGroup):
            self.include(part)
        elif isinstance(part, Task):
            self.add_node(part)

    def _include_group(self, group: ParallelGroup) -> None:
        self.add_node(group)
        for member in group.members:
            for end in member.ends():
                self._add(end)
                self.add_edge(self.name_of(end), self.name_of(group))


def _path(after: dict[str, list[str]], start: str, end: str) -> list[str]:
    """Names from `start` to `end`, both included; empty if there is no way."""
    came_from: dict[str, str] = {start: start}
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name == end:
            path = [name]
            while path[-1] != start:
                path.append(came_from[path[-1]])
            return path[::-1]
        for following in after.get(name, ()):
            if following not in came_from:
                came_from[following] = name
                waiting.append(following)
    return []
