"""Books of a run's graph: whose turn it is, who is finished, who waits, how often each ran."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from handrail.flow.plan import Node, Plan


class Books:
    """What the engine must remember of the nodes of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._nodes = plan.nodes
        self._plan = plan
        #: Nodes whose turn it is.
        self.ready: deque[Node] = deque(plan.starts)
        #: How often each node was begun.
        self.rounds = [0] * len(plan.nodes)
        #: Is a node finished, as those that wait for it see it?
        self.is_done = [False] * len(plan.nodes)
        #: How many nodes each one still waits for.
        self._waiting = [node.wait_count for node in plan.nodes]
        #: Nodes that a jump left out: nobody is to wait for them.
        self._left_out: set[int] = set()
        #: Replayed runs of nodes that are not due yet, by node.
        self._ahead: dict[int, int] = {}

    def take_in(self, added: Sequence[Node]) -> None:
        """Opens the books of nodes that were added to the plan."""
        self._waiting += [node.wait_count for node in added]
        self.is_done += [False] * len(added)
        self.rounds += [0] * len(added)

    # Finishing

    def finish(self, node: Node) -> None:
        """A node is finished: it is the turn of those that waited for it alone."""
        self.is_done[node.index] = True
        waiting = self._waiting
        for index in node.successors:
            waiting[index] = left = waiting[index] - 1
            if left:
                continue
            if self._ahead:
                self.activate(self._nodes[index])
            else:
                self.ready.append(self._nodes[index])

    def arrive(self, index: int) -> None:
        """One of the nodes that a node waits for will not come, or has."""
        self._waiting[index] -= 1
        if not self._waiting[index]:
            self.activate(self._nodes[index])

    def activate(self, node: Node) -> None:
        """It is a node's turn; unless a replayed run stands for it."""
        if self._ahead and self._ahead.get(node.index):
            self._ahead[node.index] -= 1
        else:
            self.ready.append(node)

    # Going back and leaving out

    def leave_out(self, indices: Iterable[int]) -> None:
        """Nobody is to wait for these nodes."""
        self._left_out.update(indices)

    def reopen(self, node: Node) -> frozenset[int]:
        """A node runs once more, and what follows it. Returns all of them.

        What follows waits again: for those that run again and for those that have yet to
        finish, but for none that a jump left out.
        """
        again = self._plan.followers(node)
        self._left_out -= again
        for index in again:
            self.is_done[index] = False
        for index in again:
            self._waiting[index] = sum(
                not self.is_done[parent] and parent not in self._left_out
                for parent in self._nodes[index].parents
            )
        return again

    def keep_ready(self, is_kept: Callable[[Node], bool]) -> int:
        """Drops the others whose turn it is; returns how many."""
        before = len(self.ready)
        self.ready = deque(node for node in self.ready if is_kept(node))
        return before - len(self.ready)

    # Replaying

    def stand_in(self, node: Node) -> None:
        """A replayed run of a node stands for its next turn."""
        self.rounds[node.index] += 1
        self.run_ahead(node)

    def run_ahead(self, node: Node) -> None:
        """A node's next turn is over already."""
        self._ahead[node.index] = self._ahead.get(node.index, 0) + 1

    def stop_waiting(self, node: Node) -> None:
        """A node waits for nobody any more."""
        self._waiting[node.index] = 0

    def settle_ready(self) -> None:
        """Takes out of turn what has a replayed run to stand for it."""
        self.ready = deque(self._still_due())

    def _still_due(self) -> Iterator[Node]:
        for node in self.ready:
            if self._ahead.get(node.index):
                self._ahead[node.index] -= 1
            else:
                yield node
