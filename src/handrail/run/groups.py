"""Books of the groups of one run: who failed, who waits for a free place, what the verdict is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from handrail.errors import TaskFailed
from handrail.flow.group import MemberResult
from handrail.flow.plan import Node, Plan
from handrail.run.context import ExecutionContext

#: Why a member failed that another one's failure stopped.
STOPPED = "stopped, since another member of its group failed"


class Groups:
    """What the engine must know of groups beyond who waits for whom."""

    def __init__(self, plan: Plan, context: ExecutionContext) -> None:
        self._plan = plan
        self._context = context
        #: By group: errors of members, by member name.
        self._errors: dict[int, dict[str, BaseException]] = {}
        self._flying: dict[int, int] = {}
        self._queues: dict[int, deque[Node]] = {}

    # Places

    def admit(self, node: Node) -> bool:
        """May a task start now? If not, it is queued for a free place in its group."""
        limit = self._plan.nodes[node.within].max_in_flight
        if limit is None:
            return True
        flying = self._flying.get(node.within, 0)
        if flying >= limit:
            self._queues.setdefault(node.within, deque()).append(node)
            return False
        self._flying[node.within] = flying + 1
        return True

    def leave(self, node: Node) -> Node | None:
        """A task gives its place up; returns the one that waited longest for it, if any."""
        if self._plan.nodes[node.within].max_in_flight is None:
            return None
        self._flying[node.within] = max(self._flying.get(node.within, 0) - 1, 0)
        return self.following(node)

    def drop(self, group: int, is_dropped: Callable[[Node], bool]) -> None:
        """Sends tasks away that wait for a place in a group."""
        queue = self._queues.get(group)
        if queue:
            self._queues[group] = deque(node for node in queue if not is_dropped(node))

    def following(self, node: Node) -> Node | None:
        """The task that waited longest for a place in the group of another one, if any."""
        queue = self._queues.get(node.within)
        return queue.popleft() if queue else None

    # Failures

    def failed(self, node: Node, error: BaseException) -> bool:
        """Notes that a task failed. True: the first failure of its member."""
        errors = self._errors.setdefault(node.within, {})
        is_first = node.member not in errors
        errors.setdefault(node.member, error)
        return is_first

    def forgive(self, node: Node) -> None:
        """Forgets that the member failed which a node belongs to: it runs once more."""
        self._errors.get(node.within, {}).pop(node.member, None)

    def stopped(self, group: Node, names: Iterable[str]) -> None:
        """Notes members that were stopped since another one failed."""
        errors = self._errors.setdefault(group.index, {})
        for name in names:
            errors.setdefault(name, TaskFailed(STOPPED))

    def results(self, group: Node) -> dict[str, MemberResult]:
        """How each member ended."""
        errors, results = self._errors.get(group.index, {}), self._context.results
        return {
            name: MemberResult(name, name not in errors, results.get(name), errors.get(name))
            for name, _ in group.members
        }

    def judge(self, group: Node, results: Mapping[str, MemberResult]) -> dict[str, Any]:
        """The group's result: values of the members that succeeded, by name.

        Raises:
            ParallelGroupError: or whatever the policy raises: the group failed.
        """
        assert group.policy is not None
        names = [name for name, _ in group.members]
        group.policy.on_group_finished(group.name, names, results, self._context)
        self._errors.pop(group.index, None)
        return {name: result.value for name, result in results.items() if result.succeeded}

    def forget(self, group: Node) -> None:
        """Drops what is known of a group's failures and places, for its next round."""
        self._errors.pop(group.index, None)
        self._flying.pop(group.index, None)
        self._queues.pop(group.index, None)
