"""Takes what earlier epochs of a run left, as if its bodies had just come back.

The same books are kept as when they did, so loops, groups, maps and whatever bodies asked for
stand where they stood. A result that was kept in memory only is not taken: its task runs again;
nor is that of a task that a resume wanted to run again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from handrail.contracts import event as kinds
from handrail.contracts.event import StoredEvent
from handrail.contracts.values import InMemoryOnly, decode
from handrail.flow.plan import Node, base_name, item_name
from handrail.keep.channel_changes import read_changes
from handrail.run.changes import voided
from handrail.run.control import Request, from_data

if TYPE_CHECKING:
    from handrail.run.loop import RunLoop


class Replay:
    """What is on record of a run, brought into a loop."""

    def __init__(self, loop: RunLoop) -> None:
        self._loop = loop
        #: Epoch in which a task was last wanted to run again, since its code changed.
        self.rerun_epochs: dict[str, int] = {}
        #: Nodes whose results had been kept in memory only.
        self.lost: list[str] = []
        #: Results of tasks that are yet to be asked for, by name.
        self._foreseen: dict[str, Mapping[str, Any]] = {}
        #: Tasks whose failure no group has judged yet.
        self._unjudged: set[str] = set()

    def take(self, events: Sequence[StoredEvent]) -> None:
        """Takes all that the events of earlier epochs tell."""
        loop = self._loop
        void = voided(events, loop.plan)
        self.rerun_epochs = {name: epoch for name, (_, epoch) in void.items()}
        changes: list[Mapping[str, Any]] = []
        for stored in events:
            event, data = stored.event, stored.event.data or {}
            if void and stored.position < void.get(base_name(event.task), _NEVER)[0]:
                continue
            if event.kind == kinds.CHANNEL_CHANGED:
                changes.append(data)
            elif event.kind == kinds.TASK_SUCCEEDED:
                self._take_success(event.task, data)
            elif event.kind == kinds.TASK_FAILED and "group" in data:
                self._unjudged.add(event.task)
            elif event.kind == kinds.WAIT_ANSWERED:
                loop.context.answers[data["wait_id"]] = data["value"]
            elif event.kind == kinds.GROUP_FINISHED and data["state"] == "succeeded":
                self._take_verdict(loop.plan.by_name[event.task], data)
        loop.context.channel.restore(loop.context.inputs, read_changes(changes))
        loop.books.settle_ready()

    def take_foreseen(self, node: Node) -> bool:
        """Takes the result of a task that was just asked for, if there is one on record."""
        foreseen = self._foreseen.pop(node.name, None) if self._foreseen else None
        if foreseen is None:
            return False
        self._take_back(node, foreseen)
        return True

    def _take_success(self, name: str, data: Mapping[str, Any]) -> None:
        self._unjudged.discard(name)
        by_name = self._loop.plan.by_name
        node = by_name.get(name)
        if node is None:
            base, position = item_name(name)
            mapped = by_name.get(base)
            if mapped is not None and mapped.items is not None:
                self._take_item_back(mapped, position, data)
            else:
                self._foreseen[name] = data
        elif (requests := from_data(data.get("then", ()))) is not None:
            self._take_back(node, data, requests)

    def _take_back(
        self, node: Node, data: Mapping[str, Any], requests: Sequence[Request] = ()
    ) -> None:
        try:
            value = decode(data["result"])
        except InMemoryOnly:
            self.lost.append(node.name)
            return
        if "ref" in data:
            self._loop.acceptor.left(node, data["ref"])
        self._loop.books.stand_in(node)
        self._loop.finish(node, value, requests)

    def _take_item_back(self, node: Node, position: int, data: Mapping[str, Any]) -> None:
        try:
            results = self._loop.maps.remember(node, position, decode(data["result"]))
        except InMemoryOnly:
            return
        if results is not None:
            self._loop.books.stand_in(node)
            self._loop.finish(node, results)

    def _take_verdict(self, group: Node, data: Mapping[str, Any]) -> None:
        """A group was accepted: the members that failed stay failed."""
        results = self._loop.context.results
        if not all(name in results for name in data["succeeded"]):
            return  # a result was kept in memory only: the group is judged again
        if data["failed"]:
            self._settle_failed_members(group, data["failed"])
        else:
            self._loop.books.run_ahead(group)
        self._loop.finish(group, {name: results.get(name) for name in data["succeeded"]})

    def _settle_failed_members(self, group: Node, failed: Mapping[str, Any]) -> None:
        """What is due of a group that was judged was left out: it had failed, or followed."""
        books, plan = self._loop.books, self._loop.plan
        lost = {name for name in self._unjudged if plan.is_within(plan.node_called(name), group)}
        self._unjudged -= lost
        for index in {plan.node_called(name).index for name in lost}:
            books.rounds[index] += 1
        for name, index in group.members:
            if name in failed:
                books.is_done[index] = True
        books.stop_waiting(group)
        books.settle_ready()
        books.keep_ready(lambda node: node is not group and not plan.is_within(node, group))


_NEVER = (-1, 0)
