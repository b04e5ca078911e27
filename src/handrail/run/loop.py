"""The engine's loop: ready -> submit -> settle -> journal -> bind.

`drive` is the whole of it. Where bodies run, what their arguments are, how files are published,
what a failure means and who is told are decided elsewhere; the loop only keeps the books of one
run.
"""

from __future__ import annotations

import heapq
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from handrail.contracts import event as kinds
from handrail.contracts.event import StoredEvent
from handrail.contracts.values import InMemoryOnly, decode
from handrail.errors import (
    AttemptTimeout,
    CycleLimitExceeded,
    HandrailError,
    StepLimitExceeded,
)
from handrail.flow.plan import Node, Plan
from handrail.keep.base import Journal
from handrail.run.acceptance import Acceptor, TaskFailedByResult, told
from handrail.run.arguments import Arguments
from handrail.run.context import ExecutionContext
from handrail.run.failure import describe
from handrail.run.flight import Flight, RunSetting
from handrail.run.handler import TaskHandler
from handrail.run.launch import Launcher, Step
from handrail.run.output import AttemptOutput
from handrail.run.record import Recorder
from handrail.run.retry import decide_retry
from handrail.run.transaction import Transaction


class RunLoop:
    """Drives one epoch of one run to its end."""

    def __init__(
        self,
        plan: Plan,
        context: ExecutionContext,
        setting: RunSetting,
        *,
        handler: Callable[[str], TaskHandler],
        recorder: Recorder,
        journal: Journal | None = None,
        transaction: Transaction | None = None,
        output: Callable[[str, str], AttemptOutput] | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.plan = plan
        self.context = context
        self.setting = setting
        #: The task that failed for good, and its error.
        self.failure: tuple[str, BaseException] | None = None
        self._recorder = recorder
        self._is_recording = recorder.is_on
        self._arguments = Arguments(plan, context)
        self._acceptor = Acceptor(recorder, journal, transaction)
        self._launcher = Launcher(
            plan,
            context,
            setting,
            handler=handler,
            transaction=transaction,
            output=output,
            come_back=self._come_back,
        )
        self._inbox = self._launcher.inbox
        self._chance = chance
        self._ready: deque[Node] = deque(plan.starts)
        self._waiting = [node.wait_count for node in plan.nodes]
        self._tries: dict[int, int] = {}
        self._rounds: dict[int, int] = {}
        self._sequence = 0
        self._flying: dict[int, Flight] = {}
        self._due: list[tuple[float, int, Step]] = []
        self._timer_count = 0

    # The loop

    def drive(self) -> None:
        """Runs until nothing is left to do, or a task failed and those beside it are back."""
        try:
            while True:
                while self._ready:
                    self._submit(self._ready.popleft())
                if not self._flying and (self.failure is not None or not self._due):
                    break
                self._await()
        finally:
            self._recorder.flush()
            self._launcher.close()

    def _submit(self, node: Node) -> None:
        if node.definition is None:
            self._finish(node, self._group_result(node))
            return
        try:
            flight = self._begin(node)
        except HandrailError as error:
            self._fail(node, error)
            return
        # Between two looks at the queue, if nobody else would have to wait for it.
        if (
            node.is_light
            and self._launcher.is_direct_ours
            and not (self._ready or self._flying or self._due)
        ):
            if self._is_recording:
                self._recorder.flush_if_due()
            self._launcher.run_inline(flight)
            self._settle(flight)
        else:
            self._flying[flight.sequence] = flight
            self._launcher.launch(flight)
            if flight.definition.timeout_seconds is not None:
                self._at(flight.definition.timeout_seconds, partial(self._time_out, flight))

    def _await(self) -> None:
        if self._inbox.is_empty():
            self._recorder.flush()
        step = self._inbox.get(self._patience)
        if step is not None:
            step()
            return
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2]()
        self._launcher.grow()

    def _come_back(self, flight: Flight) -> None:
        if not flight.is_fenced:
            del self._flying[flight.sequence]
            self._settle(flight)

    def _settle(self, flight: Flight) -> None:
        if flight.error is None:
            try:
                self._acceptor.accept(flight)
            except HandrailError as error:
                flight.error = error
        if flight.error is not None:
            self._retry_or_fail(flight, flight.error)
            return
        if flight.try_number > 1:
            del self._tries[flight.node.index]
        self._finish(flight.node, flight.value)

    def _finish(self, node: Node, value: Any) -> None:
        self.context.results[node.name] = value
        if self.failure is not None:
            return
        waiting, nodes = self._waiting, self.plan.nodes
        for index in node.successors:
            waiting[index] -= 1
            if not waiting[index]:
                after = nodes[index]
                # Armed again, for the next time round a loop.
                waiting[index] = after.wait_count
                self._ready.append(after)
        if node.loop_successors:
            self._ready.extend(nodes[index] for index in node.loop_successors)

    # Beginning

    def _begin(self, node: Node) -> Flight:
        self._sequence = sequence = self._sequence + 1
        setting = self.setting
        if setting.max_steps is not None and sequence > setting.max_steps:
            raise StepLimitExceeded(setting.run_id, setting.max_steps)
        tries = self._tries
        flight = Flight(setting, node, sequence, tries.get(node.index, 1) if tries else 1)
        definition = flight.definition
        if node.bindings:
            flight.arguments = self._arguments.bind(node)
        if definition.max_cycles is not None:
            flight.round = self._count_round(node, definition.max_cycles)
        if definition.workspace is not None:
            flight.input_ref = self._acceptor.refs.get(node.ref_source, setting.base_ref)
        if self._is_recording:
            self._record_start(flight)
        return flight

    def _record_start(self, flight: Flight) -> None:
        data: dict[str, Any] = {
            "handler": flight.definition.handler_type,
            "try": flight.try_number,
        }
        if flight.input_ref is not None:
            data["ref"] = flight.input_ref
        self._recorder.event(kinds.TASK_STARTED, flight.node.name, flight.attempt_id, data)

    def _count_round(self, node: Node, max_cycles: int) -> int:
        rounds = self._rounds.get(node.index, 0)
        if node.index in self._tries:
            return rounds
        if rounds >= max_cycles:
            raise CycleLimitExceeded(node.name, rounds, max_cycles)
        self._rounds[node.index] = rounds + 1
        return rounds + 1

    def _group_result(self, node: Node) -> dict[str, Any]:
        return {name: self.context.results.get(name) for name, _ in node.members}

    # Failing

    def _retry_or_fail(self, flight: Flight, error: BaseException) -> None:
        node = flight.node
        decision = (
            decide_retry(flight.definition, error, flight.try_number, self._chance)
            if self.failure is None
            else None
        )
        if decision is None:
            self._fail(node, error, flight.attempt_id)
            return
        self._tries[node.index] = flight.try_number + 1
        self._recorder.event(
            kinds.TASK_RETRIED,
            node.name,
            flight.attempt_id,
            {"error": describe(error), "delay_seconds": decision.delay_seconds},
        )
        self._at(decision.delay_seconds, partial(self._try_again, node))

    def _try_again(self, node: Node) -> None:
        if self.failure is None:
            self._ready.append(node)

    def _fail(self, node: Node, error: BaseException, attempt_id: str = "") -> None:
        data: dict[str, Any] = {"error": describe(error)}
        if isinstance(error, TaskFailedByResult):
            data.update(told(error.result))
        self._recorder.event(kinds.TASK_FAILED, node.name, attempt_id, data)
        if self.failure is None:
            self.failure = (node.name, error)
        # Nothing new starts. Bodies that run are awaited: their results serve a resume.
        self._ready.clear()

    # Time

    def _at(self, delay_seconds: float, step: Step) -> None:
        self._timer_count += 1
        heapq.heappush(self._due, (time.monotonic() + delay_seconds, self._timer_count, step))

    def _patience(self) -> float | None:
        growing = self._launcher.patience()
        if growing is not None or not self._due:
            return growing
        return self._due[0][0] - time.monotonic()

    def _time_out(self, flight: Flight) -> None:
        if flight.sequence in self._flying:
            self._launcher.stop(flight, partial(self._timed_out, flight))

    def _timed_out(self, flight: Flight, stopped: bool) -> None:
        del self._flying[flight.sequence]
        seconds = flight.definition.timeout_seconds
        assert seconds is not None
        error = AttemptTimeout(flight.node.name, seconds, stopped=stopped)
        self._retry_or_fail(flight, error)

    def abort(self) -> None:
        """Stops the bodies that can be stopped and refuses what the others bring."""
        flying, self._flying = self._flying, {}
        for flight in flying.values():
            self._launcher.stop_now(flight)

    # Resuming

    def replay(self, events: Iterable[StoredEvent]) -> None:
        """Takes earlier epochs' accepted results as if their bodies had just come back.

        A result that was kept in memory only is not taken: its task runs again.
        """
        done: list[Node] = []
        channel = dict(self.context.inputs)
        for stored in events:
            event = stored.event
            data = event.data or {}
            try:
                if event.kind == kinds.CHANNEL_CHANGED:
                    _change(channel, data)
                elif event.kind == kinds.TASK_SUCCEEDED and event.task in self.plan.by_name:
                    done.append(self._take_back(self.plan.by_name[event.task], data))
            except InMemoryOnly:
                continue
        self.context.channel.restore(channel)
        finished = {node.index for node in done}
        for node in done:
            for index in node.successors:
                self._waiting[index] -= 1
        self._ready = deque(
            node
            for node in self.plan.nodes
            if node.index not in finished and not self._waiting[node.index]
        )

    def _take_back(self, node: Node, data: Mapping[str, Any]) -> Node:
        self.context.results[node.name] = decode(data["result"])
        if "ref" in data:
            self._acceptor.refs[node.index] = data["ref"]
        return node

    # The end

    def result(self) -> Any:
        """The result of the only node that nothing follows, or `{name: result}`."""
        results = self.context.results
        sinks = [node.name for node in self.plan.sinks] or [self.plan.nodes[-1].name]
        if len(sinks) == 1:
            return results.get(sinks[0])
        return {name: results.get(name) for name in sinks}

    @property
    def final_ref(self) -> str | None:
        """The commit that the run's last writer left; the base ref if none wrote."""
        last, base_ref = self.plan.last_writer, self.setting.base_ref
        return self._acceptor.refs.get(last.index, base_ref) if last is not None else base_ref


def _change(channel: dict[str, Any], data: Mapping[str, Any]) -> None:
    channel.pop(data["key"], None)
    if "value" in data:
        channel[data["key"]] = decode(data["value"])
