"""A workflow made ready to run: who waits for whom, and where each argument comes from.

The plan is checked as a whole before anything runs, and holds no state of a run.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from handrail.contracts.expr import Composable, ParallelGroup, Sequence
from handrail.contracts.resource import Resource
from handrail.contracts.signature import annotation_of
from handrail.contracts.task import MappedTask, Task
from handrail.errors import (
    CycleError,
    MissingParameterError,
    ParallelWritersError,
    UnknownTaskError,
    WorkflowDefinitionError,
)
from handrail.flow.graph import GraphNode, TaskGraph
from handrail.flow.group import GroupExecutionPolicy, policy_of


class Binding(NamedTuple):
    """Where one argument comes from."""

    #: Parameter of the function, or field of its params model; empty: the whole model.
    parameter: str
    #: "bound" (`value`), "result" (of node `node`), "field" (`parameter` of the result of one
    #: of `nodes`), "resource" (`value`), or "channel" (key `parameter`).
    source: str
    value: Any = None
    node: int = -1
    nodes: tuple[int, ...] = ()
    required: bool = True

    @property
    def key(self) -> str:
        """Where it may stand in the channel."""
        return self.parameter or "params"


class Node:
    """One task or group in a plan."""

    __slots__ = (
        "bindings",
        "definition",
        "fn",
        "group",
        "handler_type",
        "index",
        "is_light",
        "is_limited",
        "item",
        "items",
        "loop_successors",
        "max_in_flight",
        "member",
        "members",
        "name",
        "parents",
        "policy",
        "ref_source",
        "ref_sources",
        "successors",
        "task",
        "wait_count",
        "within",
    )

    def __init__(self, index: int, name: str, node: GraphNode) -> None:
        self.index = index
        self.name = name
        self.task = node if isinstance(node, Task) else None
        self.group = node if isinstance(node, ParallelGroup) else None
        self.definition = self.task.definition if self.task is not None else None
        self.fn = self.task.fn if self.task is not None else None
        #: Nodes that must be finished before; loop edges are not among them.
        self.parents: list[int] = []
        self.successors: list[int] = []
        self.loop_successors: list[int] = []
        self.wait_count = 0
        self.bindings: tuple[Binding, ...] = ()
        #: Ends of a group's members, with the members' names.
        self.members: tuple[tuple[str, int], ...] = ()
        #: Node whose files this one starts from; -1: the run's base ref.
        self.ref_source = -1
        #: All writers before it, if no single one of them has seen the files of all others.
        self.ref_sources: tuple[int, ...] = ()
        #: Innermost group it belongs to (-1: none), and the name of the member it is part of.
        self.within = -1
        self.member = ""
        #: May only so many tasks of that group run at once?
        self.is_limited = False
        #: For groups: how it is judged, and how many of its tasks may run at once.
        self.policy: GroupExecutionPolicy | None = None
        self.max_in_flight: int | None = None
        #: For mapped tasks: where the items come from.
        self.items: Binding | None = None
        #: For one item of a mapped task: of what node, and which.
        self.item: tuple[Node, int] | None = None
        definition = self.definition
        self.handler_type = definition.handler_type if definition is not None else "direct"
        #: May its body run between two looks at the queue? No limit to watch, no files, and
        #: no kept result to look for.
        self.is_light = definition is None or (
            definition.handler_type == "direct"
            and definition.workspace is None
            and definition.timeout_seconds is None
            and definition.cache is None
            and not definition.contract.is_async
        )

    @property
    def leaves(self) -> tuple[int, tuple[int, ...]]:
        """`ref_source` and `ref_sources` of what follows it alone."""
        return (self.index, ()) if self.writes else (self.ref_source, self.ref_sources)

    @property
    def prefix(self) -> str:
        """Folder of the repository that it sees; `"/"` is all of it."""
        spec = self.definition.workspace if self.definition is not None else None
        return spec.prefix if spec is not None else "/"

    @property
    def writes(self) -> bool:
        """May it publish files?"""
        return self.definition is not None and self.definition.writes

    def one_item(self, position: int, value: Any) -> Node:
        """The node of one item of a mapped task."""
        assert isinstance(self.task, MappedTask)
        made = Node(-1, f"{self.name}[{position}]", self.task)
        made.handler_type, made.is_light = self.handler_type, self.is_light
        made.within, made.member = self.within, self.member
        made.is_limited = self.is_limited
        made.item = (self, position)
        made.bindings = (*self.bindings, Binding(self.task.parameter, "bound", value))
        return made


class Plan:
    """All nodes of a run, by index and by name.

    Raises:
        WorkflowDefinitionError: or one of the classes below it, with what is wrong.
    """

    def __init__(
        self,
        graph: TaskGraph,
        *,
        start: str | None = None,
        inputs: Collection[str] = (),
        templates: Collection[str] = (),
        has_workspace: bool = False,
        resources: Mapping[str, Resource] | None = None,
        name: str = "workflow",
    ) -> None:
        self.nodes: list[Node] = []
        self.by_name: dict[str, Node] = {}
        self._followers: dict[int, frozenset[int]] = {}
        self._graph = graph
        self._inputs = inputs
        self._has_workspace = has_workspace
        self._resources = resources or {}
        included = _reachable(graph, start) if start is not None else set(graph) - set(templates)
        if not included:
            raise WorkflowDefinitionError(
                f"Workflow '{name}' has no tasks. Declare or compose them inside "
                f"`with workflow({name!r})`."
            )
        for node_name, node in graph.nodes():
            if node_name in included:
                self._add(node_name, node)
        self._link(graph, start)
        self._order = self._in_order()
        for planned in self.nodes:
            planned.bindings = self._bindings(planned)
        #: Tasks that may publish files, in order.
        self.writers: list[Node] = []
        #: May two of them run at the same time?
        self.has_parallel_writers = False
        self._place_writers()
        self.starts = [
            node
            for node in self.nodes
            if (not node.wait_count if start is None else node.name == start)
        ]
        self.sinks = [node for node in self.nodes if not node.successors]

    def _add(self, name: str, node: GraphNode) -> None:
        planned = Node(len(self.nodes), name, node)
        self.nodes.append(planned)
        self.by_name[name] = planned

    # Edges

    def _link(self, graph: TaskGraph, start: str | None) -> None:
        loops = self._loops(graph)
        self.has_loops = bool(loops)
        for node in self.nodes:
            for name in graph.successors(node.name):
                after = self.by_name.get(name)
                if after is None:
                    continue
                if (node.name, name) in loops or name == start:
                    node.loop_successors.append(after.index)
                else:
                    node.successors.append(after.index)
                    after.parents.append(node.index)
        for node in self.nodes:
            node.wait_count = len(node.parents)
            if node.group is not None:
                self._place_ends(graph, node, node.group)
        for node in self.nodes:
            if node.group is not None:
                self._place_members(graph, node, node.group)

    def _place_ends(self, graph: TaskGraph, node: Node, group: ParallelGroup) -> None:
        names = [graph.name_of(end) for member in group.members for end in member.ends()]
        node.members = tuple(
            (name, self.by_name[name].index) for name in names if name in self.by_name
        )

    def _place_members(self, graph: TaskGraph, node: Node, group: ParallelGroup) -> None:
        node.policy = policy_of(group.policy, [name for name, _ in node.members])
        node.max_in_flight = 1 if group.backend == "direct" else group.max_workers
        elsewhere = group.backend if group.backend not in (None, "direct", "threading") else None
        for part in group.members:
            for end in part.ends():
                member = graph.name_of(end)
                for inner in _tasks_and_groups(part):
                    found = self.by_name.get(graph.name_of(inner))
                    if found is None:
                        continue
                    found.within, found.member = node.index, member
                    found.is_limited = node.max_in_flight is not None
                    if elsewhere and found.handler_type == "direct" and found.definition:
                        found.handler_type, found.is_light = elsewhere, False

    def _loops(self, graph: TaskGraph) -> set[tuple[str, str]]:
        if not _has_cycle(graph):
            return set()
        found = graph.loop_edges()
        for _, _, path in found:
            if not any(self._bound_of(name) for name in path):
                raise CycleError(path)
        return {(before, after) for before, after, _ in found}

    def _bound_of(self, name: str) -> int | None:
        node = self.by_name.get(name)
        return node.definition.max_cycles if node is not None and node.definition else None

    def _in_order(self) -> list[Node]:
        waiting = [node.wait_count for node in self.nodes]
        order = [node for node in self.nodes if not node.wait_count]
        for node in order:
            for index in node.successors:
                waiting[index] -= 1
                if not waiting[index]:
                    order.append(self.nodes[index])
        return order

    def ancestors(self, node: Node) -> set[int]:
        """All nodes that are finished before `node` starts."""
        found: set[int] = set()
        waiting = list(node.parents)
        while waiting:
            index = waiting.pop()
            if index not in found:
                found.add(index)
                waiting += self.nodes[index].parents
        return found

    def followers(self, node: Node) -> frozenset[int]:
        """A node and all that comes after it, loop edges left out."""
        found = self._followers.get(node.index)
        if found is None:
            reached = {node.index}
            waiting = [node.index]
            while waiting:
                for index in self.nodes[waiting.pop()].successors:
                    if index not in reached:
                        reached.add(index)
                        waiting.append(index)
            found = self._followers[node.index] = frozenset(reached)
        return found

    def _direct_parents(self, node: Node) -> list[Node]:
        """Parent tasks, those behind a group included."""
        found: dict[int, Node] = {}
        waiting = list(node.parents)
        for index in waiting:
            parent = self.nodes[index]
            if parent.group is not None:
                waiting += [member for _, member in parent.members]
            else:
                found[index] = parent
        return list(found.values())

    # Arguments

    def _bindings(self, node: Node) -> tuple[Binding, ...]:
        definition, task = node.definition, node.task
        if definition is None or task is None:
            return ()
        contract = definition.contract
        if contract.params_model is not None and isinstance(task, MappedTask):
            node.items = self._items(task)
            return ()
        if contract.params_model is not None:
            return self._model_bindings(node, task, contract.params_model)
        mapped = task.parameter if isinstance(task, MappedTask) else None
        if isinstance(task, MappedTask):
            node.items = self._items(task)
        if not contract.parameters and not task.bound:
            return ()
        ancestors = _Lazily(self, node)
        bindings = [Binding(name, "bound", value) for name, value in task.bound.items()]
        missing = []
        for parameter, required in contract.parameters:
            if parameter in task.bound or parameter == mapped:
                continue
            if not definition.resolve_keyword_args:
                if required:
                    missing.append(parameter)
                continue
            resource = self._resource_of(task, parameter)
            if resource is not None:
                bindings.append(Binding(parameter, "resource", resource))
                continue
            upstream = self.by_name.get(parameter)
            if upstream is not None and upstream.index in ancestors:
                bindings.append(
                    Binding(parameter, "result", node=upstream.index, required=required)
                )
                continue
            if required and not self._may_come_by_channel(parameter, ancestors):
                missing.append(parameter)
            # A task that comes before this one only by a loop has its result from round two on.
            later = upstream.index if upstream is not None and self.has_loops else -1
            bindings.append(Binding(parameter, "channel", node=later, required=required))
        if missing:
            raise MissingParameterError(node.name, missing)
        return tuple(bindings)

    def _resource_of(self, task: Task, parameter: str) -> Resource | None:
        if not self._resources or parameter in self._resources:
            return self._resources.get(parameter)
        wanted = annotation_of(task.fn, parameter)
        for resource in self._resources.values():
            if resource.type is not None and resource.type is wanted:
                return resource
        return None

    def _items(self, task: MappedTask) -> Binding:
        if isinstance(task.items, list):
            return Binding("", "bound", task.items)
        source = self.by_name.get(task.items.name)
        if source is None:
            raise UnknownTaskError(task.items.name, tuple(self.by_name))
        return Binding("", "result", node=source.index)

    def include(self, name: str) -> list[Node]:
        """Adds a task of the workflow that the run's start left out, and what follows it.

        Returns the nodes that are new.
        """
        known = len(self.nodes)
        reachable = _reachable(self._graph, name)
        for other, left_out in self._graph.nodes():
            if other in reachable and other not in self.by_name:
                self._add(other, left_out)
        added = self.nodes[known:]
        for node in added:
            for other in self._graph.successors(node.name):
                after = self.by_name[other]
                node.successors.append(after.index)
                after.parents.append(node.index)
        for node in added:
            if node.group is not None:
                self._place_ends(self._graph, node, node.group)
                self._place_members(self._graph, node, node.group)
        for node in added:
            node.bindings = self._bindings(node)
        self._followers.clear()
        return added

    def check(self, task: Task) -> None:
        """Raises `WorkflowDefinitionError` for a task that could not be added."""
        self._bindings(Node(-1, task.task_id, task))

    def add(self, task: Task, name: str, after: Node) -> Node:
        """Adds a task that the body of `after` asked for. It waits for nobody.

        Raises:
            WorkflowDefinitionError: an argument can come from nowhere.
        """
        planned = Node(len(self.nodes), name, task)
        within, member = after.within, after.member
        planned.within, planned.member = within, member
        planned.ref_source, planned.ref_sources = after.leaves
        planned.is_limited = within >= 0 and self.nodes[within].max_in_flight is not None
        planned.bindings = self._bindings(planned)
        self.nodes.append(planned)
        self.by_name[name] = planned
        return planned

    # Looking

    def node_called(self, name: str) -> Node:
        """The node of that name, or the mapped task whose item has it."""
        return self.by_name.get(name) or self.by_name[base_name(name)]

    def is_within(self, node: Node, group: Node) -> bool:
        """Is a node part of a group, or of one in it?"""
        within = node.within
        while within >= 0 and within != group.index:
            within = self.nodes[within].within
        return within == group.index

    def free_name(self, name: str) -> str:
        """`name`, or with a number behind it if a node has it already."""
        number, free = 2, name
        while free in self.by_name:
            free, number = f"{name}_{number}", number + 1
        return free

    def _may_come_by_channel(self, key: str, ancestors: _Lazily) -> bool:
        return key in self._inputs or any(
            definition is not None and definition.inject_context
            for definition in (self.nodes[index].definition for index in ancestors)
        )

    def _model_bindings(
        self, node: Node, task: Task, model: type[BaseModel]
    ) -> tuple[Binding, ...]:
        parents = self._direct_parents(node)
        ancestors = _Lazily(self, node)
        if "params" in task.bound:
            return (Binding("", "bound", task.bound["params"]),)
        if not parents and "params" in self._inputs and "params" not in model.model_fields:
            return (Binding("", "channel"),)
        if len(parents) == 1 and _gives(parents[0], model):
            return (Binding("", "result", node=parents[0].index),)
        bindings, missing = [], []
        for name, field in model.model_fields.items():
            required = field.is_required()
            upstream = self.by_name.get(name)
            if name in task.bound:
                bindings.append(Binding(name, "bound", task.bound[name]))
            elif upstream is not None and upstream.index in ancestors:
                bindings.append(Binding(name, "result", node=upstream.index))
            else:
                givers = self._givers(node, parents, name)
                if givers:
                    bindings.append(Binding(name, "field", nodes=givers, required=required))
                else:
                    if required and not self._may_come_by_channel(name, ancestors):
                        missing.append(name)
                    bindings.append(Binding(name, "channel", required=required))
        if missing:
            raise MissingParameterError(node.name, missing)
        return tuple(bindings)

    def _givers(self, node: Node, parents: list[Node], field: str) -> tuple[int, ...]:
        """Parents whose result has, or may turn out to have, the field."""
        sure, perhaps = [], []
        for parent in parents:
            assert parent.definition is not None
            output = parent.definition.contract.output_model
            if output is None:
                perhaps.append(parent.index)
            elif field in output.model_fields:
                sure.append(parent.index)
        if len(sure) > 1:
            names = " and ".join(f"'{self.nodes[index].name}'" for index in sure)
            raise WorkflowDefinitionError(
                f"Task '{node.name}': its params field '{field}' is in the results of {names}. "
                f"Bind it, or name the field after one of them."
            )
        return tuple(sure or perhaps)

    # Files

    def _place_writers(self) -> None:
        with_files = [node for node in self._order if node.definition and node.definition.workspace]
        if with_files and not self._has_workspace:
            raise WorkflowDefinitionError(
                f"Task '{with_files[0].name}' works on files, and its workflow has no workspace. "
                f"Declare one: workflow(..., workspace='repository')."
            )
        if not with_files:
            return
        writers = self.writers = [node for node in with_files if node.writes]
        bits = {node.index: 1 << rank for rank, node in enumerate(writers)}
        before = self._writers_before(bits)
        for node in self._order:
            self._place_sources(node, before[node.index], before)
        for rank, node in enumerate(writers):
            beside = ((1 << rank) - 1) & ~before[node.index]
            self.has_parallel_writers = self.has_parallel_writers or bool(beside)
            for other in self._writers_in(beside):
                if not _are_disjoint(other, node):
                    raise ParallelWritersError(other.name, node.name)

    def _writers_before(self, bits: Mapping[int, int]) -> dict[int, int]:
        """Of each node, which writers are finished before it starts, as a set of bits."""
        found: dict[int, int] = {}
        for node in self._order:
            seen = 0
            for parent in node.parents:
                seen |= found[parent] | bits.get(parent, 0)
            found[node.index] = seen
        return found

    def _place_sources(self, node: Node, seen: int, before: Mapping[int, int]) -> None:
        if not seen:
            return
        last = self.writers[seen.bit_length() - 1]
        if before[last.index] == seen & ~(1 << (seen.bit_length() - 1)):
            node.ref_source = last.index
        else:
            node.ref_sources = tuple(writer.index for writer in self._writers_in(seen))

    def _writers_in(self, bits: int) -> Iterator[Node]:
        while bits:
            lowest = bits & -bits
            yield self.writers[lowest.bit_length() - 1]
            bits ^= lowest


_ITEM = re.compile(r"(?s)(.+)\[(\d+)\]")


def item_name(name: str) -> tuple[str, int]:
    """Name of the mapped task and position, of the name of an item; no name: it is none."""
    found = _ITEM.fullmatch(name)
    return (found[1], int(found[2])) if found else ("", 0)


def base_name(name: str) -> str:
    """A task's name without the position of an item."""
    return item_name(name)[0] or name


def _tasks_and_groups(part: Composable) -> Iterator[Task | ParallelGroup]:
    """Tasks of a member, and groups in it; what is within those is theirs."""
    parts = part if isinstance(part, Sequence) else (part,)
    for inner in parts:
        if isinstance(inner, (Task, ParallelGroup)):
            yield inner


def _are_disjoint(first: Node, second: Node) -> bool:
    """Do two writers see different files?"""
    folders = [_folders(node) for node in (first, second)]
    length = min(map(len, folders))
    return folders[0][:length] != folders[1][:length]


def _folders(node: Node) -> list[str]:
    return [name for name in node.prefix.split("/") if name]


class _Lazily:
    """The ancestors of a node, found when first asked for."""

    def __init__(self, plan: Plan, node: Node) -> None:
        self._plan = plan
        self._node = node
        self._found: set[int] | None = None

    def _all(self) -> set[int]:
        if self._found is None:
            self._found = self._plan.ancestors(self._node)
        return self._found

    def __contains__(self, index: int) -> bool:
        return index in self._node.parents or index in self._all()

    def __iter__(self) -> Iterator[int]:
        return iter(self._all())


def _gives(parent: Node, model: type[BaseModel]) -> bool:
    output = parent.definition.contract.output_model if parent.definition else None
    return output is not None and issubclass(output, model)


def _reachable(graph: TaskGraph, start: str) -> set[str]:
    if start not in graph:
        raise UnknownTaskError(start, tuple(graph))
    found = {start}
    waiting = [start]
    while waiting:
        for name in graph.successors(waiting.pop()):
            if name not in found:
                found.add(name)
                waiting.append(name)
    return found


def _has_cycle(graph: TaskGraph) -> bool:
    waiting = {name: len(graph.predecessors(name)) for name in graph}
    ready = [name for name, count in waiting.items() if not count]
    for name in ready:
        for after in graph.successors(name):
            waiting[after] -= 1
            if not waiting[after]:
                ready.append(after)
    return len(ready) < len(waiting)
