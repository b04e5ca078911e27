"""The engine's loop: ready -> submit -> settle -> journal -> bind.

`drive` is the whole of it. What a failure means, how files are published, where bodies run and
who is told are decided elsewhere; the loop only keeps the books of one run.
"""

from __future__ import annotations

import heapq
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from handrail.contracts import event as kinds
from handrail.contracts.attempt import Attempt
from handrail.contracts.event import Event, StoredEvent
from handrail.contracts.task import TaskDefinition
from handrail.contracts.values import InMemoryOnly, decode, encode
from handrail.errors import (
    AttemptTimeout,
    CycleLimitExceeded,
    HandrailError,
    PublishFenceError,
    StaleAttemptError,
    StepLimitExceeded,
    TaskFailed,
    TaskInputError,
)
from handrail.flow.plan import Binding, Node, Plan
from handrail.ids import Token
from handrail.keep.base import Acceptance, Accepted, Adopted, Conflict, Journal
from handrail.run.body import run_body
from handrail.run.context import ExecutionContext, HandlerContext, TaskExecutionContext
from handrail.run.dispatch import Inbox, Lane
from handrail.run.failure import describe
from handrail.run.handler import BoundTask, TaskHandler, also_shown, execute
from handrail.run.output import AttemptOutput, current_output
from handrail.run.record import Recorder
from handrail.run.retry import decide_retry
from handrail.run.transaction import Transaction

#: A lane gets another thread when nothing came back for so long (seconds).
GROW_SECONDS = 0.002

_NO_ARGUMENTS: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class RunSetting:
    """What is fixed for one epoch of a run."""

    run_id: str
    workflow: str = "workflow"
    epoch: int = 1
    #: First part of logical keys: the run's id, or its start key.
    key: str = ""
    max_workers: int | None = None
    max_steps: int | None = None
    #: Commit that tasks without an earlier writer start from.
    base_ref: str | None = None
    made_by: dict[str, str] = field(default_factory=dict)


class Flight:
    """An attempt between submit and settle."""

    __slots__ = (
        "_attempt",
        "_attempt_id",
        "adopted",
        "arguments",
        "error",
        "input_ref",
        "is_fenced",
        "node",
        "output_ref",
        "round",
        "sequence",
        "setting",
        "try_number",
        "value",
    )

    def __init__(self, setting: RunSetting, node: Node, sequence: int, try_number: int) -> None:
        self.setting = setting
        self.node = node
        self.sequence = sequence
        self.try_number = try_number
        self.arguments: Mapping[str, Any] = _NO_ARGUMENTS
        self.round = 0
        self.input_ref: str | None = None
        self.output_ref: str | None = None
        self.value: Any = None
        self.error: BaseException | None = None
        self.adopted: Adopted | None = None
        #: Given up: what comes back of it is refused.
        self.is_fenced = False
        self._attempt: Attempt | None = None
        self._attempt_id = ""

    @property
    def attempt_id(self) -> str:
        """Run, epoch and sequence: the token in words."""
        if not self._attempt_id:
            self._attempt_id = f"{self.setting.run_id}-{self.setting.epoch}-{self.sequence}"
        return self._attempt_id

    @property
    def attempt(self) -> Attempt:
        """The attempt as others see it. Made when first asked for: most bodies never do."""
        if self._attempt is None:
            setting = self.setting
            self._attempt = Attempt(
                self.attempt_id,
                setting.run_id,
                self.node.name,
                self._logical_key(),
                Token(setting.epoch, self.sequence),
                self.try_number,
                self.input_ref,
            )
        return self._attempt

    def _logical_key(self) -> str:
        key = f"{self.setting.key}/{self.node.name}"
        if self.round:
            key = f"{key}/{self.round}"
        return f"{key}@{self.input_ref}" if self.input_ref is not None else key


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
        self._handler = handler
        self._recorder = recorder
        self._journal = journal
        self._transaction = transaction
        self._output = output
        self._chance = chance
        self._ready: deque[Node] = deque(plan.starts)
        self._waiting = [node.wait_count for node in plan.nodes]
        self._tries: dict[int, int] = {}
        self._rounds: dict[int, int] = {}
        self._refs: dict[int, str] = {}
        self._sequence = 0
        self._flying: dict[int, Flight] = {}
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_count = 0
        self._lanes: dict[str, Lane[Flight]] = {}
        self._inbox: Inbox[Flight] = Inbox()
        self._variables = copy_context()
        self._is_recording = recorder.is_on
        self._max_steps = setting.max_steps
        self._has_inline = _is_builtin_direct(plan, handler)

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
            for lane in self._lanes.values():
                lane.close()

    def _submit(self, node: Node) -> None:
        if node.definition is None:
            self._finish(node, self._group_result(node))
            return
        try:
            flight = self._begin(node)
        except HandrailError as error:
            self._fail(node, error)
            return
        if self._has_inline and node.is_light and not (self._ready or self._flying or self._due):
            if self._is_recording:
                self._recorder.flush_if_due()
            self._run_inline(flight)
            self._settle(flight)
        else:
            self._launch(flight)

    def _await(self) -> None:
        if self._inbox.is_empty():
            self._recorder.flush()
        flight = self._inbox.get(self._patience)
        if flight is None:
            self._act_on_time()
        elif not flight.is_fenced:
            del self._flying[flight.sequence]
            self._settle(flight)

    def _act_on_time(self) -> None:
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2]()
        for lane in self._lanes.values():
            lane.grow()

    def _settle(self, flight: Flight) -> None:
        if flight.error is None:
            try:
                self._accept(flight)
            except HandrailError as error:
                flight.error = error
        if flight.error is None:
            if flight.try_number > 1:
                del self._tries[flight.node.index]
            self._finish(flight.node, flight.value)
        else:
            self._retry_or_fail(flight, flight.error)

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
        if self._max_steps is not None and sequence > self._max_steps:
            raise StepLimitExceeded(self.setting.run_id, self._max_steps)
        tries = self._tries
        flight = Flight(self.setting, node, sequence, tries.get(node.index, 1) if tries else 1)
        if node.bindings:
            flight.arguments = self._bind(node)
        definition = node.definition
        assert definition is not None
        if definition.max_cycles is not None:
            flight.round = self._count_round(node, definition.max_cycles)
        if definition.workspace is not None:
            flight.input_ref = self._refs.get(node.ref_source, self.setting.base_ref)
        if self._is_recording:
            self._record_start(flight, definition)
        return flight

    def _record_start(self, flight: Flight, definition: TaskDefinition) -> None:
        data: dict[str, Any] = {"handler": definition.handler_type, "try": flight.try_number}
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

    def _bind(self, node: Node) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        results, channel = self.context.results, self.context.channel
        for binding in node.bindings:
            parameter, source = binding.parameter, binding.source
            if source == "bound":
                arguments[parameter] = binding.value
            elif source == "result":
                arguments[parameter] = results[self.plan.nodes[binding.node].name]
            elif source == "field" and (found := self._fields(node, binding)):
                arguments[parameter] = found[0]
            elif parameter in channel:
                arguments[parameter] = channel.get(parameter)
            elif binding.required:
                raise TaskInputError(
                    f"Task '{node.name}' needs '{parameter}', and neither an upstream result nor "
                    f"the channel has it."
                )
        return arguments

    def _fields(self, node: Node, binding: Binding) -> list[Any]:
        found, names = [], []
        for index in binding.nodes:
            parent = self.plan.nodes[index].name
            result = self.context.results.get(parent)
            if isinstance(result, BaseModel) and binding.parameter in type(result).model_fields:
                found.append(getattr(result, binding.parameter))
                names.append(parent)
            elif isinstance(result, Mapping) and binding.parameter in result:
                found.append(result[binding.parameter])
                names.append(parent)
        if len(found) > 1:
            raise TaskInputError(
                f"Task '{node.name}': '{binding.parameter}' is in the results of "
                f"{' and '.join(names)}; bind it to say which is meant."
            )
        return found

    def _group_result(self, node: Node) -> dict[str, Any]:
        return {name: self.context.results.get(name) for name, _ in node.members}

    # Bodies

    def _run_inline(self, flight: Flight) -> None:
        definition = flight.node.definition
        assert definition is not None
        injected = (
            TaskExecutionContext(flight.attempt, execution=self.context)
            if definition.inject_context
            else None
        )
        try:
            if self._output is None:
                flight.value = run_body(definition, flight.arguments, context=injected)
            else:
                with _captured(self._output(flight.node.name, flight.attempt_id)):
                    flight.value = run_body(definition, flight.arguments, context=injected)
        except (Exception, SystemExit) as error:
            flight.error = error

    def _launch(self, flight: Flight) -> None:
        definition = flight.node.definition
        assert definition is not None
        self._flying[flight.sequence] = flight
        self._lane(definition.handler_type).submit(flight)
        if definition.timeout_seconds is not None:
            self._at(definition.timeout_seconds, lambda: self._time_out(flight))

    def _lane(self, handler_type: str) -> Lane[Flight]:
        lane = self._lanes.get(handler_type)
        if lane is None:
            capacity = self._handler(handler_type).capacity(self.setting.max_workers)
            lane = Lane(handler_type, self._perform, capacity, self._variables)
            self._lanes[handler_type] = lane
        return lane

    def _perform(self, flight: Flight) -> None:
        """Runs in a lane's thread. The one place where any failure becomes an outcome."""
        try:
            if flight.node.is_light and self._has_inline:
                self._run_inline(flight)
            else:
                self._perform_body(flight)
        except BaseException as error:
            flight.error = error
        self._inbox.put(flight)

    def _perform_body(self, flight: Flight) -> None:
        definition = flight.node.definition
        assert definition is not None
        if definition.workspace is None:
            flight.value = self._execute(flight, None)
            return
        assert self._transaction is not None
        opened = self._transaction.open(definition, flight.attempt)
        if isinstance(opened, Adopted):
            flight.adopted = opened
            return
        try:
            flight.value = self._execute(flight, opened)
            if not flight.is_fenced:
                flight.output_ref = self._transaction.stage(
                    opened,
                    f"{self.setting.workflow}: {flight.node.name}",
                    time.time_ns() // 1_000_000,
                    self.setting.made_by,
                )
        finally:
            self._transaction.close(opened)

    def _execute(self, flight: Flight, opened: Any) -> Any:
        definition = flight.node.definition
        assert definition is not None
        handler = self._handler(definition.handler_type)
        context = HandlerContext(self.context, flight.attempt)
        workspace = opened.workspace if opened is not None else None
        if self._output is None:
            bound = BoundTask(definition, flight.attempt, flight.arguments, context, workspace)
            return execute(handler, bound, context)
        with _captured(self._output(flight.node.name, flight.attempt_id)) as sink:
            bound = BoundTask(
                definition, flight.attempt, flight.arguments, context, workspace, also_shown(sink)
            )
            return execute(handler, bound, context)

    # Settling

    def _accept(self, flight: Flight) -> None:
        if flight.adopted is not None:
            self._adopt(flight, flight.adopted)
        elif getattr(flight.value, "completed_successfully", None) is False:
            raise TaskFailedByResult(flight.value)
        elif flight.output_ref is not None:
            self._publish(flight, flight.output_ref)
        elif self._is_recording:
            self._recorder.event(
                kinds.TASK_SUCCEEDED,
                flight.node.name,
                flight.attempt_id,
                _told(flight.value),
            )

    def _publish(self, flight: Flight, output_ref: str) -> None:
        assert self._journal is not None
        assert self._transaction is not None
        node, attempt = flight.node, flight.attempt
        data = {**_told(flight.value), "ref": output_ref}
        event = Event(
            kinds.TASK_SUCCEEDED, time.time_ns() // 1_000_000, node.name, attempt.attempt_id, data
        )
        events = [*self._recorder.taken(), event]
        reply = self._journal.accept(
            Acceptance(
                run_id=attempt.run_id,
                logical_key=attempt.logical_key,
                task_id=node.name,
                attempt_id=attempt.attempt_id,
                token=attempt.token,
                result=data["result"],
                branch=self._transaction.branch,
                input_ref=attempt.input_ref,
                output_ref=output_ref,
                events=events,
            )
        )
        if isinstance(reply, Accepted):
            self._recorder.tell([event])
            self._refs[node.index] = output_ref
            return
        self._recorder.put_back(events[:-1])
        if isinstance(reply, Adopted):
            self._adopt(flight, reply)
            return
        raise _lost(attempt, self._transaction, reply)

    def _adopt(self, flight: Flight, adopted: Adopted) -> None:
        """Takes over what an earlier attempt of the same work left."""
        flight.value = decode(adopted.result)
        data = {"result": adopted.result, "adopted": adopted.attempt_id}
        if adopted.ref is not None:
            self._refs[flight.node.index] = adopted.ref
            data["ref"] = adopted.ref
        self._recorder.event(kinds.TASK_SUCCEEDED, flight.node.name, flight.attempt_id, data)

    def _retry_or_fail(self, flight: Flight, error: BaseException) -> None:
        node = flight.node
        assert node.definition is not None
        decision = (
            decide_retry(node.definition, error, flight.try_number, self._chance)
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
        self._at(decision.delay_seconds, lambda: self._try_again(node))

    def _try_again(self, node: Node) -> None:
        if self.failure is None:
            self._ready.append(node)

    def _fail(self, node: Node, error: BaseException, attempt_id: str = "") -> None:
        data: dict[str, Any] = {"error": describe(error)}
        if isinstance(error, TaskFailedByResult):
            data.update(_told(error.result))
        self._recorder.event(kinds.TASK_FAILED, node.name, attempt_id, data)
        if self.failure is None:
            self.failure = (node.name, error)
        # Nothing new starts. Bodies that run are awaited: their results serve a resume.
        self._ready.clear()

    # Time

    def _at(self, delay_seconds: float, do: Callable[[], None]) -> None:
        self._timer_count += 1
        heapq.heappush(self._due, (time.monotonic() + delay_seconds, self._timer_count, do))

    def _patience(self) -> float | None:
        if any(lane.has_waiting for lane in self._lanes.values()):
            return GROW_SECONDS
        return self._due[0][0] - time.monotonic() if self._due else None

    def _time_out(self, flight: Flight) -> None:
        if flight.sequence not in self._flying:
            return
        definition = flight.node.definition
        assert definition is not None
        assert definition.timeout_seconds is not None
        flight.is_fenced = True
        del self._flying[flight.sequence]
        stopped = self._handler(definition.handler_type).stop(flight.attempt_id)
        error = AttemptTimeout(flight.node.name, definition.timeout_seconds, stopped=stopped)
        self._retry_or_fail(flight, error)

    def abort(self) -> None:
        """Stops the bodies that can be stopped and refuses what the others bring."""
        for flight in self._flying.values():
            flight.is_fenced = True
            assert flight.node.definition is not None
            self._handler(flight.node.definition.handler_type).stop(flight.attempt_id)
        self._flying.clear()

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
            self._refs[node.index] = data["ref"]
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
        last = self.plan.last_writer
        return self._refs.get(last.index, self.setting.base_ref) if last else self.setting.base_ref


class _captured:
    """Sends what a body prints to its attempt's log."""

    __slots__ = ("_sink", "_token")

    def __init__(self, sink: AttemptOutput) -> None:
        self._sink = sink

    def __enter__(self) -> AttemptOutput:
        self._token = current_output.set(self._sink)
        return self._sink

    def __exit__(self, *exc_info: object) -> None:
        current_output.reset(self._token)
        self._sink.close()


class TaskFailedByResult(TaskFailed):
    """A body returned `completed_successfully=False`."""

    retryable = False

    def __init__(self, result: Any) -> None:
        self.result = result
        super().__init__("the task returned completed_successfully=False")


def _change(channel: dict[str, Any], data: Mapping[str, Any]) -> None:
    channel.pop(data["key"], None)
    if "value" in data:
        channel[data["key"]] = decode(data["value"])


_METRICS = ("inserts", "updates", "soft_deletes", "total_rows")


def _told(value: Any) -> dict[str, Any]:
    data: dict[str, Any] = {"result": encode(value)}
    if isinstance(value, BaseModel):
        metrics = {
            name: count
            for name in _METRICS
            if type(count := getattr(value, name, None)) is int and count >= 0
        }
        if metrics:
            data["metrics"] = metrics
    return data


def _lost(attempt: Attempt, transaction: Transaction, conflict: Conflict) -> HandrailError:
    if conflict.stale:
        return StaleAttemptError(attempt.task_id, "a later attempt of it has begun")
    return PublishFenceError(str(transaction.branch), conflict.expected, conflict.found)


def _is_builtin_direct(plan: Plan, handler: Callable[[str], TaskHandler]) -> bool:
    if not any(node.is_light and node.definition is not None for node in plan.nodes):
        return False
    return type(handler("direct")).__module__ == "handrail.handlers.direct"
