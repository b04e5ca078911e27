"""The engine's loop: ready -> submit -> settle -> journal -> bind.

`drive` is the whole of it. Where bodies run, what their arguments are, how files are published,
what a failure means and who is told are decided elsewhere; the loop only keeps the books of one
run.
"""

from __future__ import annotations

import heapq
import random
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from handrail.contracts import event as kinds
from handrail.contracts.event import StoredEvent
from handrail.contracts.task import TaskDefinition
from handrail.contracts.values import InMemoryOnly, decode
from handrail.errors import (
    AttemptTimeout,
    CycleLimitExceeded,
    HandrailError,
    RunError,
    RunTimeout,
    StepLimitExceeded,
    TaskFailed,
)
from handrail.flow.plan import Node, Plan
from handrail.keep.base import Journal
from handrail.keep.channel_changes import read_changes
from handrail.run.acceptance import Acceptor, TaskFailedByResult, told
from handrail.run.arguments import Arguments
from handrail.run.changes import voided
from handrail.run.context import DEFAULT_MAX_CYCLES, ExecutionContext
from handrail.run.control import NextIteration, NextTask, Request, Terminate, from_data
from handrail.run.failure import describe
from handrail.run.flight import Flight, RunSetting
from handrail.run.groups import STOPPED, Groups
from handrail.run.handler import TaskHandler
from handrail.run.launch import Launcher, Step
from handrail.run.maps import Maps
from handrail.run.output import AttemptOutput
from handrail.run.record import Recorder
from handrail.run.resources import resources
from handrail.run.retry import decide_retry
from handrail.run.transaction import Transaction
from handrail.run.waits import Wait, WaitingForAnswer

#: How often a run that does nothing else looks for answers (seconds).
ANSWER_SECONDS = 0.25


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
        look_for_answers: Callable[[], Mapping[str, Any]] | None = None,
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
        self._groups = Groups(plan, context)
        self._maps = Maps(plan, context)
        self._chance = chance
        self._ready: deque[Node] = deque(plan.starts)
        self._waiting = [node.wait_count for node in plan.nodes]
        #: Is a node finished, as those that wait for it see it?
        self._is_done = [False] * len(plan.nodes)
        #: Nodes that a jump left out: nobody is to wait for them.
        self._left_out: set[int] = set()
        self._tries: dict[str, int] = {}
        self._rounds = [0] * len(plan.nodes)
        #: Epoch in which a task was last wanted to run again, since its code changed.
        self._rerun_epochs: dict[str, int] = {}
        #: Argument of a task's next iteration, by node.
        self._again: dict[int, Any] = {}
        #: Replayed runs of nodes that are not due yet, by node.
        self._ahead: dict[int, int] = {}
        #: Replayed results of tasks that are yet to be asked for, by name.
        self._foreseen: dict[str, Mapping[str, Any]] = {}
        #: Has the run left the order of its plan?
        self._has_jumped = False
        #: Questions that are open: with the task that asked, and until when it is waited for.
        self.waits: dict[str, tuple[Wait, Node, float]] = {}
        self._look_for_answers = look_for_answers
        #: The task or group that finished last.
        self._last: Node | None = None
        #: Nodes whose replayed results had been kept in memory only.
        self._lost: list[str] = []
        #: The task that ended the run by its own wish.
        self._ended_by: Node | None = None
        self._sequence = 0
        self._flying: dict[int, Flight] = {}
        self._due: list[tuple[float, int, Step]] = []
        self._timer_count = 0
        #: Tasks whose retry is due later.
        self._retrying: set[str] = set()
        #: Tasks whose replayed failure no group has judged yet.
        self._unjudged: set[str] = set()

    # The loop

    def drive(self) -> None:
        """Runs until nothing is left to do, or a task failed and those beside it are back."""
        limit = self.setting.timeout_seconds
        if limit is not None:
            self._at(limit, partial(self._run_out, limit))
        try:
            while True:
                while self._ready:
                    self._submit(self._ready.popleft())
                if self._flying or (self._retrying and not self._is_over):
                    self._await()
                elif self._is_over or not self.waits or not self._await_answers():
                    break
        finally:
            self._recorder.flush()
            self._launcher.close()
            resources.close(self.setting.run_id)

    @property
    def is_journaled(self) -> bool:
        """Can the run be found again by a later process?"""
        return self._look_for_answers is not None

    @property
    def _is_over(self) -> bool:
        """Is nothing to be started any more?"""
        return self.failure is not None or self._ended_by is not None

    def _submit(self, node: Node) -> None:
        if node.definition is None:
            self._judge(node)
            return
        if node.items is not None and node.item is None:
            self._expand(node)
            return
        if node.is_limited and not self._groups.admit(node):
            return
        try:
            flight = self._begin(node)
        except HandrailError as error:
            self._leave_group(node)
            self._fail(node, error)
            return
        # Between two looks at the queue, if nobody else would have to wait for it.
        if (
            node.is_light
            and self._launcher.is_direct_ours
            and self.setting.timeout_seconds is None
            and not (self._ready or self._flying or self._retrying)
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
        else:
            self._launcher.grow()
        self._act_on_time()

    def _act_on_time(self) -> None:
        while self._due and self._due[0][0] <= time.monotonic():
            heapq.heappop(self._due)[2]()

    def _come_back(self, flight: Flight) -> None:
        if not flight.is_fenced:
            del self._flying[flight.sequence]
            self._settle(flight)

    def _settle(self, flight: Flight) -> None:
        node = flight.node
        if node.is_limited:
            self._leave_group(node)
        if self.context.requests:
            flight.requests = self.context.requests.pop(flight.attempt_id, ())
        if flight.error is None:
            try:
                self._check(flight.requests)
                self._acceptor.accept(flight)
            except HandrailError as error:
                flight.error = error
        if isinstance(flight.error, WaitingForAnswer):
            self._wait_for(flight, flight.error.wait)
            return
        if flight.error is not None:
            self._retry_or_fail(flight, flight.error)
            return
        if flight.try_number > 1:
            del self._tries[node.name]
        self._finish(node, flight.value, flight.requests)

    def _finish(self, node: Node, value: Any, requests: Sequence[Request] = ()) -> None:
        if node.item is not None:
            self._finish_item(node, value)
            return
        self.context.results[node.name] = value
        self._last = node
        if self._is_over:
            return
        if self._again:
            self._again.pop(node.index, None)
        if requests and not self._obey(node, requests):
            return
        self._is_done[node.index] = True
        for index in node.successors:
            self._arrive(index)
        for index in node.loop_successors:
            self._go_back(self.plan.nodes[index])

    def _arrive(self, index: int) -> None:
        """One of the nodes that a node waits for is finished."""
        waiting = self._waiting
        waiting[index] -= 1
        if not waiting[index]:
            self._activate(self.plan.nodes[index])

    def _go_back(self, node: Node) -> None:
        """Runs a node once more. What follows waits again: for those that run again and for
        those that have yet to finish, but for none that a jump left out."""
        again, nodes = self.plan.followers(node), self.plan.nodes
        self._left_out -= again
        for index in again:
            self._is_done[index] = False
        for index in again:
            self._waiting[index] = sum(
                not self._is_done[parent] and parent not in self._left_out
                for parent in nodes[index].parents
            )
            self._maps.forget(nodes[index])
            if nodes[index].within >= 0:
                self._groups.forgive(nodes[index])
        self._activate(node)

    def _activate(self, node: Node) -> None:
        if self._ahead and self._ahead.get(node.index):
            self._ahead[node.index] -= 1
        else:
            self._ready.append(node)

    # Beginning

    def _begin(self, node: Node) -> Flight:
        self._sequence = sequence = self._sequence + 1
        setting = self.setting
        if setting.max_steps is not None and sequence > setting.max_steps:
            raise StepLimitExceeded(setting.run_id, setting.max_steps)
        tries = self._tries
        flight = Flight(setting, node, sequence, tries.get(node.name, 1) if tries else 1)
        definition = flight.definition
        if node.item is None:
            flight.round = self._count_round(node, definition, flight.try_number)
        else:
            flight.round = self._rounds[node.item[0].index]
        if node.bindings:
            flight.arguments = self._arguments.bind(node)
        if self._again and node.index in self._again:
            flight.arguments = _with_data(node, flight.arguments, self._again[node.index])
        if self._rerun_epochs:
            flight.rerun_epoch = self._rerun_epochs.get(_base_name(node.name), 0)
        if definition.workspace is not None:
            flight.input_ref = self._input_ref(node)
        if self._is_recording:
            self._record_start(flight)
        return flight

    def _record_start(self, flight: Flight) -> None:
        data: dict[str, Any] = {
            "handler": flight.node.handler_type,
            "try": flight.try_number,
        }
        if flight.input_ref is not None:
            data["ref"] = flight.input_ref
        self._recorder.event(kinds.TASK_STARTED, flight.node.name, flight.attempt_id, data)

    def _count_round(self, node: Node, definition: TaskDefinition, try_number: int) -> int:
        rounds = self._rounds[node.index]
        if try_number > 1:
            return rounds
        max_cycles = definition.max_cycles
        if max_cycles is None and node.index in self._again:
            max_cycles = DEFAULT_MAX_CYCLES
        if max_cycles is not None and rounds >= max_cycles:
            raise CycleLimitExceeded(node.name, rounds, max_cycles)
        self._rounds[node.index] = rounds + 1
        return rounds + 1

    def _input_ref(self, node: Node) -> str | None:
        acceptor, base_ref = self._acceptor, self.setting.base_ref
        if self._has_jumped or self._rounds[node.index] > 1:
            # Out of the plan's order the latest files are those of whoever wrote last.
            return acceptor.latest_ref or base_ref
        return acceptor.refs.get(node.ref_source, base_ref)

    # What bodies ask for

    def _check(self, requests: Sequence[Request]) -> None:
        for request in requests:
            if isinstance(request, NextTask) and not isinstance(request.task, str):
                self.plan.check(request.task)

    def _obey(self, node: Node, requests: Sequence[Request]) -> bool:
        """Does what a finished body asked for. False: what follows it is left out."""
        follows = True
        for request in requests:
            if isinstance(request, NextTask):
                follows = self._go(node, request) and follows
            elif isinstance(request, NextIteration):
                self._again[node.index] = request.data
                self._activate(node)
                return False
            elif isinstance(request, Terminate):
                self._ended_by = node
                self._ready.clear()
                self.waits.clear()
                return False
        return follows

    def _go(self, node: Node, request: NextTask) -> bool:
        task = request.task
        if request.goto:
            self._left_out |= self.plan.followers(node)
        if isinstance(task, str):
            self._has_jumped = True
            if task not in self.plan.by_name:
                self._take_in(self.plan.include(task))
            self._go_back(self.plan.by_name[task])
            return False
        added = self.plan.add(task, self._free_name(task.task_id), node.within, node.member)
        self._take_in([added])
        foreseen = self._foreseen.pop(added.name, None)
        if foreseen is None:
            self._ready.append(added)
        else:
            self._take_back(added, foreseen)
        return not request.goto

    def _take_in(self, added: Sequence[Node]) -> None:
        """Opens the books of nodes that were added to the plan."""
        self._waiting += [node.wait_count for node in added]
        self._is_done += [False] * len(added)
        self._rounds += [0] * len(added)

    def _free_name(self, name: str) -> str:
        if name not in self.plan.by_name:
            return name
        number = 2
        while f"{name}_{number}" in self.plan.by_name:
            number += 1
        return f"{name}_{number}"

    # Maps

    def _expand(self, node: Node) -> None:
        try:
            results = self._maps.begin(node)
        except HandrailError as error:
            self._fail(node, error)
            return
        self._rounds[node.index] += 1
        if results is None:
            self._ready.extend(self._maps.first(node))
            return
        if self._is_recording:
            # No item will tell of it.
            self._recorder.event(kinds.TASK_SUCCEEDED, node.name, "", told(results))
        self._finish(node, results)

    def _finish_item(self, item: Node, value: Any) -> None:
        assert item.item is not None
        node = item.item[0]
        results = self._maps.took(item, value)
        if results is not None:
            self._finish(node, results)
        elif not self._is_over:
            following = self._maps.next(node)
            if following is not None:
                self._ready.append(following)

    # Groups

    def _judge(self, group: Node) -> None:
        results = self._groups.results(group)
        failed = {
            name: result.error_message for name, result in results.items() if not result.succeeded
        }
        try:
            value = self._groups.judge(group, results)
        except Exception as error:
            self._groups.forget(group)
            self._record_verdict(group, "failed", failed)
            self._fail(group, error)
            return
        self._record_verdict(group, "succeeded", failed)
        self._finish(group, value)

    def _record_verdict(self, group: Node, state: str, failed: Mapping[str, Any]) -> None:
        if self._is_recording:
            succeeded = [name for name, _ in group.members if name not in failed]
            data = {"state": state, "succeeded": succeeded, "failed": dict(failed)}
            self._recorder.event(kinds.GROUP_FINISHED, group.name, "", data)

    def _leave_group(self, node: Node) -> None:
        if node.within >= 0:
            following = self._groups.leave(node)
            if following is not None and not self._is_over:
                self._ready.append(following)

    def _fail_in_group(self, node: Node, error: BaseException) -> None:
        group = self.plan.nodes[node.within]
        if not self._groups.failed(node, error):
            return
        assert group.policy is not None
        end = dict(group.members)[node.member]
        if group.policy.fail_fast:
            self._groups.stopped(
                group, [name for name, index in group.members if not self._is_done[index]]
            )
            self._give_up(group)
            self._judge(group)
        elif not self._is_done[end]:
            # The member will never arrive; the others are waited for.
            self._is_done[end] = True
            self._arrive(group.index)

    def _give_up(self, group: Node) -> None:
        """Stops what runs of a group and forgets what would."""
        self._ready = deque(node for node in self._ready if not self._is_within(node, group))
        for name in [*self._tries]:
            if self._is_within(self._node_called(name), group):
                del self._tries[name]
                self._retrying.discard(name)
        for wait_id, (_, node, _) in [*self.waits.items()]:
            if self._is_within(node, group):
                del self.waits[wait_id]
        for flight in [*self._flying.values()]:
            if self._is_within(flight.node, group):
                del self._flying[flight.sequence]
                flight.is_fenced = True
                data = {"error": describe(TaskFailed(STOPPED)), "group": group.name}
                self._recorder.event(kinds.TASK_FAILED, flight.node.name, flight.attempt_id, data)
                self._launcher.stop(flight, _nothing)
        for inner in self.plan.nodes:
            if inner.group is not None and self._is_within(inner, group):
                self._groups.forget(inner)

    def _node_called(self, name: str) -> Node:
        return self.plan.by_name.get(name) or self.plan.by_name[_base_name(name)]

    def _is_within(self, node: Node, group: Node) -> bool:
        within = node.within
        while within >= 0 and within != group.index:
            within = self.plan.nodes[within].within
        return within == group.index

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
        self._tries[node.name] = flight.try_number + 1
        self._recorder.event(
            kinds.TASK_RETRIED,
            node.name,
            flight.attempt_id,
            {"error": describe(error), "delay_seconds": decision.delay_seconds},
        )
        self._retrying.add(node.name)
        self._at(decision.delay_seconds, partial(self._try_again, node))

    def _try_again(self, node: Node) -> None:
        # Not there if its group was given up meanwhile.
        if node.name in self._retrying:
            self._retrying.discard(node.name)
            if not self._is_over:
                self._ready.append(node)

    def _fail(self, node: Node, error: BaseException, attempt_id: str = "") -> None:
        # A limit ends the run, whatever a group's policy thinks of failures.
        # A task that a member asked for may outlive the group.
        is_absorbed = (
            node.within >= 0 and not isinstance(error, RunError) and not self._is_done[node.within]
        )
        if node.definition is not None:
            data: dict[str, Any] = {"error": describe(error)}
            if isinstance(error, TaskFailedByResult):
                data.update(told(error.result))
            if is_absorbed:
                data["group"] = self.plan.nodes[node.within].name
            self._recorder.event(kinds.TASK_FAILED, node.name, attempt_id, data)
        self._tries.pop(node.name, None)
        if node.item is not None:
            if not self._maps.drop(node.item[0]):
                return  # for another item that failed before
            self._drop_items(node)
        if is_absorbed:
            self._fail_in_group(node, error)
            return
        if self.failure is None:
            self.failure = (node.name, error)
        # Nothing new starts. Bodies that run are awaited: their results serve a resume.
        self._ready.clear()

    def _drop_items(self, failed: Node) -> None:
        """Forgets the other items of a mapped task that were to run."""
        before = len(self._ready)
        self._ready = deque(other for other in self._ready if not _is_item_of(other, failed))
        if failed.within >= 0:
            self._groups.drop(failed.within, partial(_is_item_of, item=failed))
            # They may have been given the places that others wait for.
            for _ in range(before - len(self._ready)):
                following = self._groups.following(failed)
                if following is not None:
                    self._ready.append(following)

    # Questions

    def _wait_for(self, flight: Flight, wait: Wait) -> None:
        node = flight.node
        self._recorder.event(kinds.WAIT_ASKED, node.name, flight.attempt_id, wait.to_data())
        self._tries.pop(node.name, None)
        if node.item is None:
            self._rounds[node.index] -= 1
        until = time.monotonic() + wait.timeout_seconds
        self.waits[wait.wait_id] = (wait, node, until)

    def answer(self, answers: Mapping[str, Any]) -> None:
        """Takes answers; the tasks that asked run again."""
        self.context.answers.update(answers)
        for wait_id in [*self.waits]:
            if wait_id in answers:
                _, node, _ = self.waits.pop(wait_id)
                if not self._is_over:
                    self._ready.append(node)

    def _await_answers(self) -> bool:
        """Looks for answers, and waits a moment. False: it is time to give the run back."""
        if self._look_for_answers is None:
            return False
        self._recorder.flush()
        self.answer(self._look_for_answers())
        patience = max((until for _, _, until in self.waits.values()), default=0.0)
        left_seconds = patience - time.monotonic()
        if not self._ready and left_seconds > 0:
            time.sleep(min(ANSWER_SECONDS, left_seconds))
        self._act_on_time()
        return bool(self._ready) or left_seconds > 0

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
        if self._flying.pop(flight.sequence, None) is None:
            return
        self._leave_group(flight.node)
        seconds = flight.definition.timeout_seconds
        assert seconds is not None
        error = AttemptTimeout(flight.node.name, seconds, stopped=stopped)
        self._retry_or_fail(flight, error)

    def _run_out(self, limit: float) -> None:
        """The run's own time is up."""
        self.failure = ("", RunTimeout(self.setting.run_id, limit))
        self._ready.clear()
        for flight in self._flying.values():
            self._launcher.stop(flight, partial(self._stopped, flight))

    def _stopped(self, flight: Flight, stopped: bool) -> None:
        self._flying.pop(flight.sequence, None)

    def abort(self) -> None:
        """Stops the bodies that can be stopped and refuses what the others bring."""
        flying, self._flying = self._flying, {}
        for flight in flying.values():
            self._launcher.stop_now(flight)

    # Resuming

    def replay(self, events: Sequence[StoredEvent]) -> None:
        """Takes earlier epochs' accepted results as if their bodies had just come back.

        The same books are kept as when they did, so loops, groups, maps and whatever bodies
        asked for stand where they stood. A result that was kept in memory only is not taken:
        its task runs again; nor that of a task that a resume wanted to run again.
        """
        void = voided(events, self.plan)
        self._rerun_epochs = {name: epoch for name, (_, epoch) in void.items()}
        changes: list[Mapping[str, Any]] = []
        for stored in events:
            event, data = stored.event, stored.event.data or {}
            if void and stored.position < void.get(_base_name(event.task), _NEVER)[0]:
                continue
            if event.kind == kinds.CHANNEL_CHANGED:
                changes.append(data)
            elif event.kind == kinds.TASK_SUCCEEDED:
                self._replay_success(event.task, data)
            elif event.kind == kinds.TASK_FAILED and "group" in data:
                self._unjudged.add(event.task)
            elif event.kind == kinds.WAIT_ANSWERED:
                self.context.answers[data["wait_id"]] = data["value"]
            elif event.kind == kinds.GROUP_FINISHED and data["state"] == "succeeded":
                self._replay_verdict(self.plan.by_name[event.task], data)
        self.context.channel.restore(self.context.inputs, read_changes(changes))
        self._ready = deque(self._still_due())

    def _replay_success(self, name: str, data: Mapping[str, Any]) -> None:
        self._unjudged.discard(name)
        node = self.plan.by_name.get(name)
        if node is None:
            base, position = _item_name(name)
            mapped = self.plan.by_name.get(base)
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
            self._lost.append(node.name)
            return
        if "ref" in data:
            self._acceptor.refs[node.index] = self._acceptor.latest_ref = data["ref"]
        self._rounds[node.index] += 1
        self._ahead[node.index] = self._ahead.get(node.index, 0) + 1
        self._finish(node, value, requests)

    def _take_item_back(self, node: Node, position: int, data: Mapping[str, Any]) -> None:
        try:
            results = self._maps.remember(node, position, decode(data["result"]))
        except InMemoryOnly:
            return
        if results is not None:
            self._rounds[node.index] += 1
            self._ahead[node.index] = self._ahead.get(node.index, 0) + 1
            self._finish(node, results)

    def _replay_verdict(self, group: Node, data: Mapping[str, Any]) -> None:
        """A group was accepted: the members that failed stay failed."""
        if not all(name in self.context.results for name in data["succeeded"]):
            return  # a result was kept in memory only: the group is judged again
        if data["failed"]:
            self._settle_failed_members(group, data["failed"])
        else:
            self._ahead[group.index] = self._ahead.get(group.index, 0) + 1
        results = self.context.results
        self._finish(group, {name: results.get(name) for name in data["succeeded"]})

    def _settle_failed_members(self, group: Node, failed: Mapping[str, Any]) -> None:
        """What is due of a group that was judged was left out: it had failed, or followed."""
        lost = {name for name in self._unjudged if self._is_within(self._node_called(name), group)}
        self._unjudged -= lost
        for index in {self._node_called(name).index for name in lost}:
            self._rounds[index] += 1
        for name, index in group.members:
            if name in failed:
                self._is_done[index] = True
        self._waiting[group.index] = 0
        self._ready = deque(
            node
            for node in self._still_due()
            if node is not group and not self._is_within(node, group)
        )

    def _still_due(self) -> Iterator[Node]:
        """What was made ready and has no replayed run to stand for it."""
        for node in self._ready:
            if self._ahead.get(node.index):
                self._ahead[node.index] -= 1
            else:
                yield node

    # The end

    def result(self) -> Any:
        """The result of the only node that nothing follows, or `{name: result}`.

        Where bodies jumped, only of those that ran; if none of them did, the last result.
        """
        results = self.context.results
        if self._ended_by is not None:
            return results.get(self._ended_by.name)
        sinks = [node.name for node in self.plan.sinks if node.name in results]
        if len(sinks) > 1:
            return {name: results[name] for name in sinks}
        if sinks:
            return results[sinks[0]]
        return results.get(self._last.name) if self._last is not None else None

    def missing_results(self) -> list[str]:
        """Replayed nodes whose results make the run's result and were kept in memory only."""
        wanted = {node.name for node in self.plan.sinks}
        if self._ended_by is not None:
            wanted = {self._ended_by.name}
        return [name for name in self._lost if name in wanted]

    @property
    def final_ref(self) -> str | None:
        """The commit that was accepted last; the base ref if none was."""
        return self._acceptor.latest_ref or self.setting.base_ref


def _with_data(node: Node, arguments: Mapping[str, Any], data: Any) -> Mapping[str, Any]:
    """Hands the data of an iteration to the first parameter of a task."""
    assert node.definition is not None
    parameters = node.definition.contract.parameters
    if data is None or not parameters:
        return arguments
    return {**arguments, parameters[0].name: data}


def _is_item_of(other: Node, item: Node) -> bool:
    assert item.item is not None
    return other.item is not None and other.item[0] is item.item[0]


_ITEM = re.compile(r"(?s)(.+)\[(\d+)\]")


def _item_name(name: str) -> tuple[str, int]:
    """Name of the mapped task and position, of the name of an item."""
    found = _ITEM.fullmatch(name)
    return (found[1], int(found[2])) if found else ("", 0)


def _base_name(name: str) -> str:
    """A task's name without the position of an item."""
    return _item_name(name)[0] or name


_NEVER = (-1, 0)


def _nothing(stopped: bool) -> None:
    """What is done when a body that nobody waits for has been stopped."""
