"""The engine's loop: ready -> submit -> settle -> journal -> bind.

`drive` is the whole of it. Where bodies run, what their arguments are, how files are published,
what a failure means and who is told are decided elsewhere; whose turn it is stands in the books.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from handrail.contracts import event as kinds
from handrail.contracts.event import StoredEvent
from handrail.errors import (
    AttemptTimeout,
    CycleLimitExceeded,
    HandrailError,
    RunCancelled,
    RunError,
    RunTimeout,
    StepLimitExceeded,
    TaskFailed,
)
from handrail.flow.plan import Node, Plan, base_name
from handrail.keep.limits import MemoryLimiter
from handrail.run.acceptance import Acceptor, TaskFailedByResult, told
from handrail.run.arguments import Arguments
from handrail.run.books import Books
from handrail.run.context import DEFAULT_MAX_CYCLES, ExecutionContext
from handrail.run.control import NextIteration, NextTask, Request, Terminate
from handrail.run.failure import describe
from handrail.run.flight import Flight, RunSetting
from handrail.run.gate import Gate
from handrail.run.groups import STOPPED, Groups
from handrail.run.handler import TaskHandler
from handrail.run.interrupt import interrupt
from handrail.run.launch import Launcher
from handrail.run.limits import Limits
from handrail.run.maps import Maps
from handrail.run.output import AttemptOutput
from handrail.run.record import Recorder
from handrail.run.replay import Replay
from handrail.run.resources import resources
from handrail.run.retry import decide_retry
from handrail.run.timers import Timers
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
        transaction: Transaction | None = None,
        output: Callable[[str, str], AttemptOutput] | None = None,
        chance: Callable[[], float] = random.random,
        look_for_answers: Callable[[], Mapping[str, Any]] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.plan = plan
        self.context = context
        self.setting = setting
        self.books = Books(plan)
        self.maps = Maps(plan, context)
        self.acceptor = Acceptor(plan, setting.base_ref, recorder, transaction)
        #: The task that failed for good, and its error.
        self.failure: tuple[str, BaseException] | None = None
        #: Questions that are open: with the task that asked, and until when it is waited for.
        self.waits: dict[str, tuple[Wait, Node, float]] = {}
        self._recorder = recorder
        self._is_recording = recorder.is_on
        self._is_watched = recorder.is_watched
        self._arguments = Arguments(plan, context)
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
        #: Only a lane can be left when the run's own time is up.
        self._may_run_inline = self._launcher.is_direct_ours and setting.timeout_seconds is None
        self._groups = Groups(plan, context)
        self._replay = Replay(self)
        self._timers = Timers()
        limits = limits or Limits({}, MemoryLimiter(), setting.run_id, setting.epoch)
        self._gate = Gate(
            limits, recorder, self._timers, lambda node: self.books.ready.append(node)
        )
        #: Attempts that hold places under limits; what bodies ask for, by attempt.
        self._held, self._requests = self._gate.held, context.requests
        self._chance = chance
        self._look_for_answers = look_for_answers
        self._sequence = 0
        self._flying: dict[int, Flight] = {}
        #: Number of the try that a task is at, if it is not the first.
        self._tries: dict[str, int] = {}
        #: Tasks whose next try is due later.
        self._retrying: set[str] = set()
        #: Epoch in which a task was last wanted to run again, since its code changed.
        self._rerun_epochs: Mapping[str, int] = {}
        #: Argument of a task's next iteration, by node.
        self._again: dict[int, Any] = {}
        self._thread_id = 0
        #: Is a body run by the engine's own thread at this moment?
        self._is_inline = False
        #: Has the run left the order of its plan?
        self._has_jumped = False
        #: Is nothing to be started any more?
        self._is_over = False
        #: The task that ended the run by its own wish.
        self._ended_by: Node | None = None
        #: The task or group that finished last.
        self._last: Node | None = None

    # The loop

    def drive(self) -> None:
        """Runs until nothing is left to do, or a task failed and those beside it are back."""
        self._thread_id = threading.get_ident()
        self._watch_time()
        try:
            while True:
                while self.books.ready:
                    self._submit(self.books.ready.popleft())
                if self._flying or ((self._retrying or self._gate.waiting) and not self._is_over):
                    self._await()
                elif self._is_over or not self.waits or not self._await_answers():
                    break
        finally:
            self._recorder.flush()
            self._launcher.close()
            resources.close(self.setting.run_id)

    def _submit(self, node: Node) -> None:
        if node.definition is None:
            self._judge(node)
        elif node.items is not None and node.item is None:
            self._expand(node)
        elif not node.is_limited or self._groups.admit(node):
            is_free = node.definition.controls is None and not self._gate.has_limits
            if not is_free and not self._gate.admit(node, self._next_id):
                self._leave_group(node)
                return
            if self._is_watched:
                self._recorder.news(kinds.TASK_QUEUED, node.name)
            try:
                flight = self._begin(node)
            except HandrailError as error:
                self._leave_gate(self.setting.attempt_id(self._sequence))
                self._leave_group(node)
                self._fail(node, error)
                return
            self._start(flight)

    def _next_id(self) -> str:
        return self.setting.attempt_id(self._sequence + 1)

    def _leave_gate(self, attempt_id: str) -> None:
        if self._held:
            self._gate.leave(attempt_id)

    def _start(self, flight: Flight) -> None:
        # Here, between two looks at the queue, if nobody else would have to wait for it.
        if (
            flight.node.is_light
            and self._may_run_inline
            and not (self.books.ready or self._flying or self._retrying or self._gate.waiting)
            and self._inbox.is_empty()
        ):
            if self._is_recording:
                self._recorder.flush_if_due()
            self._is_inline = True
            self._launcher.run_inline(flight)
            self._is_inline = False
            self._settle(flight)
            return
        self._flying[flight.sequence] = flight
        self._launcher.launch(flight)
        if flight.definition.timeout_seconds is not None:
            self._timers.after(flight.definition.timeout_seconds, partial(self._time_out, flight))

    def _await(self) -> None:
        if self._inbox.is_empty():
            self._recorder.flush()
        step = self._inbox.get(self._patience)
        if step is not None:
            step()
        else:
            self._launcher.grow()
        self._timers.act()

    def _come_back(self, flight: Flight) -> None:
        if not flight.is_fenced:
            del self._flying[flight.sequence]
            self._settle(flight)

    def _settle(self, flight: Flight) -> None:
        node = flight.node
        if self._held:
            self._gate.leave(flight.attempt_id)
        if node.is_limited:
            self._leave_group(node)
        if self._requests:
            flight.requests = self._requests.pop(flight.attempt_id, ())
        if flight.error is None:
            try:
                if flight.requests:
                    self._check(flight.requests)
                self.acceptor.accept(flight)
            except HandrailError as error:
                flight.error = error
        if flight.error is None:
            if flight.try_number > 1:
                del self._tries[node.name]
            self.finish(node, flight.value, flight.requests)
        elif isinstance(flight.error, WaitingForAnswer):
            self._wait_for(flight, flight.error.wait)
        else:
            self._retry_or_fail(flight, flight.error)

    def finish(self, node: Node, value: Any, requests: Sequence[Request] = ()) -> None:
        """A node has its result: those that waited for it alone are next."""
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
        self.books.finish(node)
        for index in node.loop_successors:
            self._go_back(self.plan.nodes[index])

    def _go_back(self, node: Node) -> None:
        """Runs a node once more, and what follows it."""
        for index in self.books.reopen(node):
            again = self.plan.nodes[index]
            self.maps.forget(again)
            if again.within >= 0:
                self._groups.forgive(again)
        self.books.activate(node)

    # Beginning

    def _begin(self, node: Node) -> Flight:
        self._sequence = sequence = self._sequence + 1
        setting = self.setting
        if setting.max_steps is not None and sequence > setting.max_steps:
            raise StepLimitExceeded(setting.run_id, setting.max_steps)
        tries = self._tries
        flight = Flight(setting, node, sequence, tries.get(node.name, 1) if tries else 1)
        if node.item is not None:
            flight.round = self.books.rounds[node.item[0].index]
        elif flight.try_number > 1:
            flight.round = self.books.rounds[node.index]
        elif self._again or flight.definition.max_cycles is not None:
            flight.round = self._count_round(node)
        else:
            rounds = self.books.rounds
            rounds[node.index] = flight.round = rounds[node.index] + 1
        if node.bindings:
            flight.arguments = self._arguments.bind(node)
        if self._again and node.index in self._again:
            flight.arguments = _with_data(node, flight.arguments, self._again[node.index])
        if self._rerun_epochs:
            flight.rerun_epoch = self._rerun_epochs.get(base_name(node.name), 0)
        if flight.definition.workspace is not None:
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
            if flight.node.prefix != "/":
                data["prefix"] = flight.node.prefix
        self._recorder.event(kinds.TASK_STARTED, flight.node.name, flight.attempt_id, data)

    def _count_round(self, node: Node) -> int:
        assert node.definition is not None
        rounds, max_cycles = self.books.rounds, node.definition.max_cycles
        if max_cycles is None and self._again and node.index in self._again:
            max_cycles = DEFAULT_MAX_CYCLES
        done = rounds[node.index]
        if max_cycles is not None and done >= max_cycles:
            raise CycleLimitExceeded(node.name, done, max_cycles)
        rounds[node.index] = done + 1
        return done + 1

    def _input_ref(self, node: Node) -> str | None:
        acceptor = self.acceptor
        if self._has_jumped or self.books.rounds[node.index] > 1:
            # Out of the plan's order the latest files are those of whoever wrote last.
            return acceptor.final_ref
        return acceptor.ref_after(node)

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
                self.books.activate(node)
                return False
            elif isinstance(request, Terminate):
                self._ended_by, self._is_over = node, True
                self._drop_turns()
                self.waits.clear()
                return False
        return follows

    def _go(self, node: Node, request: NextTask) -> bool:
        task, books, plan = request.task, self.books, self.plan
        if request.goto:
            books.leave_out(plan.followers(node))
        if isinstance(task, str):
            self._has_jumped = True
            if task not in plan.by_name:
                books.take_in(plan.include(task))
            self._go_back(plan.by_name[task])
            return False
        added = plan.add(task, plan.free_name(task.task_id), node)
        books.take_in([added])
        if not self._replay.take_foreseen(added):
            books.ready.append(added)
        return not request.goto

    # Maps

    def _expand(self, node: Node) -> None:
        try:
            results = self.maps.begin(node)
        except HandrailError as error:
            self._fail(node, error)
            return
        self.books.rounds[node.index] += 1
        if results is None:
            self.books.ready.extend(self.maps.first(node))
            return
        if self._is_recording:
            # No item will tell of it.
            self._recorder.event(kinds.TASK_SUCCEEDED, node.name, "", told(results))
        self.finish(node, results)

    def _finish_item(self, item: Node, value: Any) -> None:
        assert item.item is not None
        node = item.item[0]
        results = self.maps.took(item, value)
        if results is not None:
            self.finish(node, results)
        elif not self._is_over:
            following = self.maps.next(node)
            if following is not None:
                self.books.ready.append(following)

    def _drop_items(self, failed: Node) -> None:
        """Forgets the other items of a mapped task that were to run."""
        dropped = self.books.keep_ready(lambda other: not _is_item_of(other, failed))
        self._gate.drop(partial(_is_item_of, item=failed))
        if failed.within >= 0:
            self._groups.drop(failed.within, partial(_is_item_of, item=failed))
            # They may have been given the places that others wait for.
            for _ in range(dropped):
                following = self._groups.following(failed)
                if following is not None:
                    self.books.ready.append(following)

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
        self.finish(group, value)

    def _record_verdict(self, group: Node, state: str, failed: Mapping[str, Any]) -> None:
        if self._is_recording:
            succeeded = [name for name, _ in group.members if name not in failed]
            data = {"state": state, "succeeded": succeeded, "failed": dict(failed)}
            self._recorder.event(kinds.GROUP_FINISHED, group.name, "", data)

    def _leave_group(self, node: Node) -> None:
        if node.within >= 0:
            following = self._groups.leave(node)
            if following is not None and not self._is_over:
                self.books.ready.append(following)

    def _fail_in_group(self, node: Node, error: BaseException) -> None:
        group, is_done = self.plan.nodes[node.within], self.books.is_done
        if not self._groups.failed(node, error):
            return
        assert group.policy is not None
        end = dict(group.members)[node.member]
        if group.policy.fail_fast:
            self._groups.stopped(
                group, [name for name, index in group.members if not is_done[index]]
            )
            self._give_up(group)
            self._judge(group)
        elif not is_done[end]:
            # The member will never arrive; the others are waited for.
            is_done[end] = True
            self.books.arrive(group.index)

    def _give_up(self, group: Node) -> None:
        """Stops what runs of a group and forgets what would."""
        plan = self.plan
        self.books.keep_ready(lambda node: not plan.is_within(node, group))
        self._gate.drop(lambda node: plan.is_within(node, group))
        for name in [*self._tries]:
            if plan.is_within(plan.node_called(name), group):
                del self._tries[name]
                self._retrying.discard(name)
        for wait_id, (_, node, _) in [*self.waits.items()]:
            if plan.is_within(node, group):
                del self.waits[wait_id]
        for flight in [*self._flying.values()]:
            if plan.is_within(flight.node, group):
                del self._flying[flight.sequence]
                flight.is_fenced = True
                data = {"error": describe(TaskFailed(STOPPED)), "group": group.name}
                self._recorder.event(kinds.TASK_FAILED, flight.node.name, flight.attempt_id, data)
                self._launcher.stop(flight, partial(self._given_up, flight))
        for inner in plan.nodes:
            if inner.group is not None and plan.is_within(inner, group):
                self._groups.forget(inner)

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
        self._timers.after(decision.delay_seconds, partial(self._try_again, node))

    def _try_again(self, node: Node) -> None:
        # Not there if its group was given up meanwhile.
        if node.name in self._retrying:
            self._retrying.discard(node.name)
            if not self._is_over:
                self.books.ready.append(node)

    def _fail(self, node: Node, error: BaseException, attempt_id: str = "") -> None:
        # A limit ends the run, whatever a group's policy thinks of failures.
        # A task that a member asked for may outlive the group.
        is_absorbed = (
            node.within >= 0
            and not isinstance(error, RunError)
            and not self.books.is_done[node.within]
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
            if not self.maps.drop(node.item[0]):
                return  # for another item that failed before
            self._drop_items(node)
        if is_absorbed:
            self._fail_in_group(node, error)
        else:
            self._fail_run(node.name, error)

    def _fail_run(self, name: str, error: BaseException) -> None:
        """Nothing new starts. Bodies that run are awaited: their results serve a resume."""
        if self.failure is None:
            self.failure = (name, error)
        self._is_over = True
        self._drop_turns()

    def _drop_turns(self) -> None:
        self.books.ready.clear()
        self._gate.clear()

    # Questions

    def _wait_for(self, flight: Flight, wait: Wait) -> None:
        node = flight.node
        self._recorder.event(kinds.WAIT_ASKED, node.name, flight.attempt_id, wait.to_data())
        self._tries.pop(node.name, None)
        if node.item is None:
            self.books.rounds[node.index] -= 1
        until = time.monotonic() + wait.timeout_seconds
        self.waits[wait.wait_id] = (wait, node, until)

    def answer(self, answers: Mapping[str, Any]) -> None:
        """Takes answers; the tasks that asked run again."""
        self.context.answers.update(answers)
        for wait_id in [*self.waits]:
            if wait_id in answers:
                _, node, _ = self.waits.pop(wait_id)
                if not self._is_over:
                    self.books.ready.append(node)

    def _await_answers(self) -> bool:
        """Looks for answers, and waits a moment. False: it is time to give the run back."""
        if self._look_for_answers is None:
            return False
        self._recorder.flush()
        self.answer(self._look_for_answers())
        patience = max((until for _, _, until in self.waits.values()), default=0.0)
        left_seconds = patience - time.monotonic()
        if not self.books.ready and left_seconds > 0:
            step = self._inbox.get(lambda: min(ANSWER_SECONDS, left_seconds))
            if step is not None:
                step()
        self._timers.act()
        return bool(self.books.ready) or left_seconds > 0

    @property
    def is_journaled(self) -> bool:
        """Can the run be found again by a later process?"""
        return self._look_for_answers is not None

    # Time, and the end before its time

    def _patience(self) -> float | None:
        growing = self._launcher.patience()
        return growing if growing is not None else self._timers.left_seconds()

    def _time_out(self, flight: Flight) -> None:
        if flight.sequence in self._flying:
            self._launcher.stop(flight, partial(self._timed_out, flight))

    def _timed_out(self, flight: Flight, stopped: bool) -> None:
        if self._flying.pop(flight.sequence, None) is None:
            return
        self._leave_gate(flight.attempt_id)
        self._leave_group(flight.node)
        seconds = flight.definition.timeout_seconds
        assert seconds is not None
        error = AttemptTimeout(flight.node.name, seconds, stopped=stopped)
        self._retry_or_fail(flight, error)

    def _watch_time(self) -> None:
        limit = self.setting.timeout_seconds
        if limit is not None:
            self._timers.after(limit, lambda: self._end(RunTimeout(self.setting.run_id, limit)))

    def cancel(self, reason: str) -> None:
        """Has the run end soon, with its bodies stopped. Any other thread may call.

        A body in the engine's own thread is interrupted, and `drive` with it.
        """
        self._inbox.put(lambda: self._end(RunCancelled(self.setting.run_id, reason)))
        if self._is_inline:
            interrupt(self._thread_id)

    def _end(self, error: RunError) -> None:
        """Ends the run now: what runs is stopped."""
        self._fail_run("", error)
        self.waits.clear()
        for flight in self._flying.values():
            self._launcher.stop(flight, partial(self._stopped, flight))

    def _stopped(self, flight: Flight, stopped: bool) -> None:
        self._flying.pop(flight.sequence, None)
        self._leave_gate(flight.attempt_id)

    def _given_up(self, flight: Flight, stopped: bool) -> None:
        self._leave_gate(flight.attempt_id)

    def abort(self) -> None:
        """Stops the bodies that can be stopped and refuses what the others bring."""
        flying, self._flying = self._flying, {}
        for flight in flying.values():
            self._launcher.stop_now(flight)

    # Resuming, and the result

    def replay(self, events: Sequence[StoredEvent]) -> None:
        """Takes earlier epochs' accepted results as if their bodies had just come back."""
        self._replay.take(events)
        self._rerun_epochs = self._replay.rerun_epochs

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
        return [name for name in self._replay.lost if name in wanted]

    @property
    def staged_refs(self) -> list[str]:
        """The commits that were accepted."""
        return self.acceptor.staged_refs

    @property
    def final_ref(self) -> str | None:
        """The commit with everything that was accepted; the base ref if nothing was."""
        return self.acceptor.final_ref


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
