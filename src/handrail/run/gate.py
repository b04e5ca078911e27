"""Where nodes of limited tasks wait until an attempt of theirs may start.

One asks for all: only the first of those that wait for the same limits asks again, when it is
worth it or an attempt of this run gave a place back; when it may start, the next one asks. So a
run with thousands of waiting tasks asks as often as one with two.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

from handrail.contracts import event as kinds
from handrail.contracts.limits import Limit
from handrail.contracts.task import TaskDefinition
from handrail.flow.plan import Node
from handrail.keep.limits import POLL_SECONDS
from handrail.run.limits import Limits
from handrail.run.record import Recorder
from handrail.run.timers import Timers


class Gate:
    """Lets attempts start, or gives their nodes their turn again later.

    Args:
        take_turn: makes it a node's turn once more.
    """

    def __init__(
        self,
        limits: Limits,
        recorder: Recorder,
        timers: Timers,
        take_turn: Callable[[Node], None],
    ) -> None:
        self._limits = limits
        self._recorder = recorder
        self._timers = timers
        self._take_turn = take_turn
        #: Are there limits at all, besides those that tasks declare in their controls?
        self.has_limits = limits.has_tags
        #: Tasks that nothing limits, as far as they were seen.
        self._unlimited: set[TaskDefinition] = set()
        #: Attempts that hold places, with their limits; others need not leave.
        self.held = limits.held
        #: Nodes that wait, by limits, in the order of coming. While one waits, a timer runs.
        self.waiting: dict[tuple[Limit, ...], deque[Node]] = {}
        self._timed: set[tuple[Limit, ...]] = set()
        #: Nodes whose turn it is again.
        self._woken: set[Node] = set()

    def admit(self, node: Node, attempt_id: Callable[[], str]) -> bool:
        """May an attempt start now? If not, the node waits here.

        Args:
            attempt_id: tells the id; not called for a task without limits.

        Raises:
            StaleAttemptError: another process has taken the run over.
        """
        assert node.definition is not None
        if node.definition in self._unlimited:
            return True
        limits = self._limits.of(node.definition)
        if limits:
            return self._admit_limited(node, limits, attempt_id())
        self._unlimited.add(node.definition)
        return True

    def leave(self, attempt_id: str) -> None:
        """An attempt is over, or will not start: gives its places back."""
        freed = self._limits.give_back(attempt_id)
        if freed:
            for limits in [*self.waiting]:
                if any(limit.tag in freed for limit in limits):
                    self._wake(limits)

    def drop(self, is_dropped: Callable[[Node], bool]) -> None:
        """Sends nodes away that wait."""
        for limits, queue in [*self.waiting.items()]:
            self._keep(limits, deque(node for node in queue if not is_dropped(node)))

    def clear(self) -> None:
        """Sends all nodes away that wait: nothing is to start any more."""
        self.waiting.clear()

    def _admit_limited(self, node: Node, limits: tuple[Limit, ...], attempt_id: str) -> bool:
        is_again = node in self._woken
        self._woken.discard(node)
        if not is_again and limits in self.waiting:
            # Others came first.
            self.waiting[limits].append(node)
            self._tell(node, limits, POLL_SECONDS)
            return False
        seconds = self._limits.take(limits, attempt_id)
        if not seconds:
            self._wake(limits)
            return True
        self.waiting.setdefault(limits, deque()).appendleft(node)
        self._time(limits, seconds)
        if not is_again:
            self._tell(node, limits, seconds)
        return False

    def _tell(self, node: Node, limits: tuple[Limit, ...], seconds: float) -> None:
        if self._recorder.is_on:
            tag = self._limits.refused_by(limits) or limits[0].tag
            data = {"limit": tag, "seconds": round(seconds, 6)}
            self._recorder.event(kinds.TASK_QUEUED, node.name, "", data)

    def _time(self, limits: tuple[Limit, ...], seconds: float) -> None:
        if limits not in self._timed:
            self._timed.add(limits)
            self._timers.after(seconds, partial(self._ring, limits))

    def _ring(self, limits: tuple[Limit, ...]) -> None:
        self._timed.discard(limits)
        self._wake(limits)

    def _wake(self, limits: tuple[Limit, ...]) -> None:
        """Makes it the turn of the first that waits for these limits, if any does."""
        queue = self.waiting.get(limits)
        if not queue:
            return
        first = queue.popleft()
        self._keep(limits, queue)
        self._woken.add(first)
        self._take_turn(first)

    def _keep(self, limits: tuple[Limit, ...], queue: deque[Node]) -> None:
        if queue:
            self.waiting[limits] = queue
            # The first may be sent away before it asks, and then wakes nobody.
            self._time(limits, POLL_SECONDS)
        else:
            del self.waiting[limits]
