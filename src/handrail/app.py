"""Puts Handrail together: settings -> stores -> hooks -> handlers -> engine.

A `Runtime` is one such set, over one home. Scripts use the default one of their process.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from handrail import plug
from handrail.contracts import event as kinds
from handrail.contracts.event import Event
from handrail.contracts.limits import Limit, read_limits
from handrail.contracts.task import Task
from handrail.contracts.values import decode, encode
from handrail.errors import (
    RunBusy,
    RunCancelled,
    RunChanged,
    RunFailed,
    RunWaiting,
    TaskInputError,
    WorkflowDefinitionError,
)
from handrail.flow.graph import TaskGraph
from handrail.flow.locate import load_workflow, reference_of
from handrail.flow.plan import Plan
from handrail.flow.workflow import workflow
from handrail.hooks.chain import WatcherChain
from handrail.hooks.named import watcher_of
from handrail.hooks.spec import RunView, RunWatcher
from handrail.ids import Ids
from handrail.keep.base import Conflict, Lease, RunRecord, Settlement
from handrail.keep.limits import SqlLimiter
from handrail.keep.owner import Owner, process_is_gone
from handrail.keep.repository import Branch
from handrail.keep.reuse import KeptResults, MemoryKeptResults
from handrail.parts import KeptParts
from handrail.plugins.tracker import executions_of
from handrail.run.arguments import check_inputs
from handrail.run.changes import ChangePolicy, changed_tasks, digests_of
from handrail.run.context import ExecutionContext
from handrail.run.engine import WorkflowEngine
from handrail.run.failure import one_line
from handrail.run.history import RunHistory
from handrail.run.output import AttemptOutput, Capture, RunLog, sink_for
from handrail.run.session import (
    MakeChannel,
    Opening,
    Session,
    Stores,
    in_the_journal,
    run_of_branch,
)
from handrail.run.waits import Wait
from handrail.settings import Settings, load_settings

if TYPE_CHECKING:
    pass

log = logging.getLogger("handrail")

#: Epochs that this process drives at this moment: run and number.
_driven: set[tuple[str, int]] = set()
#: Held from looking whose a run is to having taken it, or threads would take it from each other.
_taking = threading.Lock()

#: Name under which this engine delivers to tracking.
PRODUCER = "journal"


class Runtime(KeptParts):
    """Everything that runs and keeps workflows in one home.

    Args:
        settings: by default what flags, environment and files say.
        watchers: told of every run, besides those of the settings and of its workflow.
    """

    def __init__(
        self, settings: Settings | None = None, *, watchers: tuple[RunWatcher, ...] = ()
    ) -> None:
        super().__init__(settings)
        self.watchers = watchers
        self._named_watchers: dict[str, RunWatcher] = {}
        self._ids = Ids()
        self._pumping = threading.Lock()
        self._openings: dict[str, dict[str, Any]] = {}

    @cached_property
    def _engine(self) -> WorkflowEngine:
        engine = WorkflowEngine(max_workers=self.settings.max_workers)
        atexit.register(engine.close)
        return engine

    def engine(self) -> WorkflowEngine:
        """The engine that runs use when they are given none."""
        return self._engine

    @cached_property
    def _kept_in_memory(self) -> KeptResults:
        """The same, for runs that no journal keeps."""
        return MemoryKeptResults()

    def close(self) -> None:
        """Ends worker processes and closes databases."""
        made = vars(self).pop("_engine", None)
        if made is not None:
            made.close()
        super().close()

    # Running

    def execute(
        self,
        flow: workflow,
        *,
        start: str | Task | None = None,
        engine: WorkflowEngine | None = None,
        max_workers: int | None = None,
        max_steps: int | None = None,
        timeout: float | None = None,
        journal: str | None = None,
        key: str | None = None,
        ret_context: bool = False,
        progress: bool | None = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs a workflow; see `workflow.execute`."""
        if journal not in (None, "memory"):
            raise WorkflowDefinitionError(f"journal={journal!r}: expected 'memory' or nothing")
        start_name = start.task_id if isinstance(start, Task) else start
        inputs = dict(inputs or {})
        engine = engine or self._engine
        self._check_place(flow)
        if key is not None and journal is None:
            known = self.journal.run_with_key(flow.name, key)
            if known is not None:
                result, context = self._go_on(known, flow, engine, max_workers, progress)
                return (result, context) if ret_context else result
        plan = self._plan_of(flow, start_name, inputs)
        engine.check_handlers(plan)
        self.watchers_of(flow)  # refused before anything runs, too
        self.limits_of(flow)
        if journal == "memory":
            check_inputs(plan, ExecutionContext(flow.graph, inputs=inputs))
            result, context = self._execute_in_memory(
                flow, plan, engine, start_name, inputs, max_workers, max_steps, timeout, progress
            )
        else:
            opening = self._opening(flow, start_name, key, inputs, max_steps, timeout)
            check_inputs(plan, ExecutionContext(flow.graph, inputs=opening.inputs))
            self._channels(opening)  # refused before anything runs, too
            lease = self._new_lease(opening.run_id, 1)
            record = RunRecord(
                opening.run_id, flow.name, opening.reference, key, "running", 1, _now()
            )
            data = opening.event_data(plan, lease.owner)
            event = Event(kinds.RUN_STARTED, _now(), "", "", data)
            with _taking:
                known = self.journal.create_run(record, lease, [event])
                if known is None:
                    _driven.add((opening.run_id, lease.epoch))
            if known is None:
                session = self._session(flow, plan, opening, lease, engine, max_workers, progress)
            else:  # another process was faster
                session = self._go_on(known, flow, engine, max_workers, progress)
            result, context = session
        return (result, context) if ret_context else result

    def resume(
        self,
        run_id: str,
        flow: workflow | None = None,
        *,
        changed: ChangePolicy = "continue",
        engine: WorkflowEngine | None = None,
        max_workers: int | None = None,
        progress: bool | None = None,
    ) -> Any:
        """Finishes a run that did not succeed and returns its result.

        What is accepted is kept, everything else runs again. A run that succeeded returns its
        result at once.

        Args:
            flow: the workflow; by default found where the run was started from.
            changed: what becomes of finished tasks whose code is another now: `"continue"`
                keeps their results and names them, `"rerun"` runs them and what follows them
                again, `"stop"` refuses.

        Raises:
            RunNotFound: there is no such run.
            RunChanged: the code of finished tasks changed, and the policy is to stop.
            RunBusy: a process that may be alive holds it.
            RunFailed: a task failed for good.
        """
        record = self.journal.run(run_id)
        flow = flow or self.workflow_of(record)
        engine = engine or self._engine
        self._check_place(flow)
        return self._go_on(record, flow, engine, max_workers, progress, changed)[0]

    def _check_place(self, flow: workflow) -> None:
        """Refuses a workflow that was given a branch of a repository somewhere else."""
        branch = flow.workspace
        if isinstance(branch, Branch) and branch.place not in (None, self.journal.place):
            raise WorkflowDefinitionError(
                f"Workflow '{flow.name}' works on {branch} in {branch.place}, and its runs are "
                f"kept in {self.journal.place}. Set HANDRAIL_HOME to the home of the repository."
            )

    def run_task(self, task: Task, inputs: Mapping[str, Any]) -> Any:
        """Runs one task alone, in memory; see `Task.run`."""
        if task.has_workspace:
            raise TaskInputError(
                f"Task '{task.name}' works on files. Run it in a workflow with a workspace."
            )
        graph = TaskGraph()
        graph.add_node(task)
        context = ExecutionContext(graph, inputs=inputs)
        return self._engine.execute(context, limits=self.limits_of(None))

    def _execute_in_memory(
        self,
        flow: workflow,
        plan: Plan,
        engine: WorkflowEngine,
        start: str | None,
        inputs: Mapping[str, Any],
        max_workers: int | None,
        max_steps: int | None,
        timeout: float | None,
        progress: bool | None,
    ) -> tuple[Any, ExecutionContext]:
        if any(node.definition and node.definition.has_workspace for node in plan.nodes):
            raise WorkflowDefinitionError(
                f"Workflow '{flow.name}' works on files, which need a journal on disk. "
                f"Leave out journal='memory'."
            )
        context = ExecutionContext(flow.graph, start, inputs=inputs, run_id=self._ids.new())
        with self._watched(flow, plan, context.run_id, 1, (), progress) as watch:
            result = engine.execute_plan(
                plan,
                context,
                workflow=flow.name,
                max_workers=max_workers,
                max_steps=max_steps,
                timeout=timeout,
                watch=watch.event if watch is not None else None,
                kept_results=self._kept_in_memory,
                limits=self.limits_of(flow),
            )
        return result, context

    def _opening(
        self,
        flow: workflow,
        start: str | None,
        key: str | None,
        inputs: dict[str, Any],
        max_steps: int | None,
        timeout: float | None,
    ) -> Opening:
        base_ref = None
        if flow.workspace is not None:
            base_ref = self.files(flow.workspace.repository).create(flow.workspace)
        watermark = self.journal.watermark(flow.pipeline)
        next_watermark = None
        if "next_watermark" in inputs:
            inputs.setdefault("watermark", _decoded(watermark))
            next_watermark = encode(inputs["next_watermark"])
        return Opening(
            run_id=self._ids.new(),
            workflow=flow.name,
            reference=reference_of(flow),
            key=key,
            inputs=inputs,
            start=start,
            max_steps=max_steps,
            timeout=timeout,
            target=flow.workspace,
            base_ref=base_ref,
            publish=flow.publish,
            pipeline=flow.pipeline,
            watermark=watermark,
            next_watermark=next_watermark,
            channel="journal" if self.settings.channel_url is None else "redis",
        )

    def _go_on(
        self,
        record: RunRecord,
        flow: workflow,
        engine: WorkflowEngine,
        max_workers: int | None,
        progress: bool | None,
        changed: ChangePolicy = "continue",
    ) -> tuple[Any, ExecutionContext]:
        """The result of a run that succeeded, or its continuation, with the inputs it has."""
        opening = Opening.read(record, self._opening_data(record.run_id))
        plan = self._plan_of(flow, opening.start, opening.inputs)
        engine.check_handlers(plan)
        self.watchers_of(flow)  # refused before anything runs, too
        self.limits_of(flow)
        with _taking:
            lease = self._take_over(record.run_id, plan, changed)
            if lease is not None:
                _driven.add((record.run_id, lease.epoch))
        if lease is None:
            return self._recall(flow, plan, opening, engine)
        return self._session(flow, plan, opening, lease, engine, max_workers, progress)

    def _recall(
        self, flow: workflow, plan: Plan, opening: Opening, engine: WorkflowEngine
    ) -> tuple[Any, ExecutionContext]:
        """The result of a run that succeeded, from the journal."""
        self._sweep()
        opening = replace(opening, channel="journal")  # gone from Redis since
        lease = Lease(opening.run_id, self.journal.run(opening.run_id).epoch, "", 0)
        session = self._make_session(flow, plan, opening, lease, engine, None, None, None)
        return session.recall(), session.context

    def _take_over(self, run_id: str, plan: Plan, policy: ChangePolicy) -> Lease | None:
        """Opens the run's next epoch. None: the run has succeeded."""
        # The lease is read first: whoever gives it back has written the run's state with it.
        before = self.journal.lease(run_id)
        record = self.journal.run(run_id)
        if record.state == "succeeded":
            return None
        if before is not None and not self._is_over(before):
            raise RunBusy(run_id, before.owner, (before.expires_at - _now()) / 1000)
        after = self._new_lease(run_id, record.epoch + 1)
        data: dict[str, Any] = {"owner": after.owner, "before": record.state}
        digests = digests_of(plan)
        changed = changed_tasks(self.journal.events(run_id), digests)
        if changed:
            if policy == "stop":
                raise RunChanged(run_id, changed)
            log.warning(
                "run %s: code changed since they finished: %s (%s)",
                run_id,
                ", ".join(changed),
                "they run again" if policy == "rerun" else "their results are kept",
            )
            data |= {"changed": changed, "policy": policy}
        data["digests"] = digests
        event = Event(kinds.RUN_RESUMED, _now(), "", "", data)
        if not self.journal.take_over(run_id, before, after, [event]):
            winner = self.journal.lease(run_id)
            if self.journal.run(run_id).state == "succeeded":
                return None
            owner = winner.owner if winner is not None else "another process"
            left = (winner.expires_at - _now()) / 1000 if winner is not None else 0
            raise RunBusy(run_id, owner, left)
        return after

    def _new_lease(self, run_id: str, epoch: int) -> Lease:
        expires_at = _now() + int(self.settings.lease_seconds * 1000)
        return Lease(run_id, epoch, str(Owner.current()), expires_at)

    def _session(
        self,
        flow: workflow,
        plan: Plan,
        opening: Opening,
        lease: Lease,
        engine: WorkflowEngine,
        max_workers: int | None,
        progress: bool | None,
    ) -> tuple[Any, ExecutionContext]:
        try:
            return self._drive(flow, plan, opening, lease, engine, max_workers, progress)
        finally:
            _driven.discard((opening.run_id, lease.epoch))
            self.tell()

    def _drive(
        self,
        flow: workflow,
        plan: Plan,
        opening: Opening,
        lease: Lease,
        engine: WorkflowEngine,
        max_workers: int | None,
        progress: bool | None,
    ) -> tuple[Any, ExecutionContext]:
        self._sweep()
        finished = self._finished(opening.run_id) if lease.epoch > 1 else ()
        with (
            RunLog(self.home.run_log(opening.run_id)) as run_log,
            self._watched(flow, plan, opening.run_id, lease.epoch, finished, progress) as watch,
            Capture() if self.settings.capture_output else nullcontext(),
        ):

            def output(task_id: str, attempt_id: str) -> AttemptOutput:
                return sink_for(run_log, task_id, attempt_id)

            session = self._make_session(
                flow,
                plan,
                opening,
                lease,
                engine,
                max_workers,
                watch.event if watch is not None else None,
                output if self.settings.capture_output else None,
            )
            return session.run(), session.context

    def _plan_of(self, flow: workflow, start: str | None, inputs: Mapping[str, Any]) -> Plan:
        plan = plan_of(flow, start, inputs)
        if plan.has_parallel_writers and self.settings.lakefs_url is not None:
            raise WorkflowDefinitionError(
                f"Workflow '{flow.name}': some of its writers run side by side, and LakeFS cannot "
                f"put together what they leave. Order them with >>."
            )
        return plan

    def _sweep(self) -> None:
        """Removes what runs left that were killed: attempts' folders, branches of finished runs."""
        self.folders.sweep(alive=self.is_alive)
        for branch, commit in self.journal.heads().items():
            run_id = run_of_branch(branch)
            if run_id is not None and self.journal.run(run_id).state == "succeeded":
                self.journal.move_head(branch, commit, None)

    def _make_session(
        self,
        flow: workflow,
        plan: Plan,
        opening: Opening,
        lease: Lease,
        engine: WorkflowEngine,
        max_workers: int | None,
        watch: Any,
        output: Any,
    ) -> Session:
        return Session(
            opening,
            flow.graph,
            plan,
            lease,
            Stores(
                self.journal,
                self.journal,
                self.files(opening.target.repository) if opening.target else None,
                self.folders,
                self.kept_results,
                SqlLimiter(self.journal),
            ),
            engine,
            lease_seconds=self.settings.lease_seconds,
            channel=self._channels(opening),
            max_workers=max_workers or self.settings.max_workers,
            watch=watch,
            output=output,
            tick=self.tell,
            limits=self.limits_of(flow),
        )

    def limits_of(self, flow: workflow | None) -> Mapping[str, Limit]:
        """Limits by tag for the runs of a workflow: its own, and those of the settings.

        Raises:
            RuntimeConfigError: one of the settings cannot be read.
        """
        settings = self.settings
        found = read_limits(settings.limits, settings.origin("limits"))
        return {**found, **flow.limits} if flow is not None else found

    def watchers_of(self, flow: workflow) -> list[RunWatcher]:
        """Who is told of the workflow's runs: settings' first, then the runtime's, then its own;
        each once.

        Raises:
            RuntimeConfigError: one is unknown or cannot be made.
            NotInstalledError: one needs an extra that is missing.
        """
        said = (*self.settings.watchers, *self.watchers, *flow.watchers)
        return list({id(watcher): watcher for watcher in map(self._watcher, said)}.values())

    def _watcher(self, said: RunWatcher | str) -> RunWatcher:
        if not isinstance(said, str):
            return watcher_of(said, self.settings)
        # A name stands for one watcher, whoever says it and however often.
        if said not in self._named_watchers:
            self._named_watchers[said] = watcher_of(said, self.settings)
        return self._named_watchers[said]

    def _channels(self, opening: Opening) -> MakeChannel:
        """Makes the run's channel where it was when the run was started."""
        if opening.channel == "journal":
            return in_the_journal
        from handrail.keep.redis_channel import RedisChannel

        server, keep_seconds = self.redis, self.settings.channel_keep_seconds
        return lambda run_id, inputs, on_change: RedisChannel(
            server, run_id, keep_seconds=keep_seconds
        )

    @contextmanager
    def _watched(
        self,
        flow: workflow,
        plan: Plan,
        run_id: str,
        epoch: int,
        finished: tuple[str, ...],
        progress: bool | None,
    ) -> Iterator[WatcherChain | None]:
        watchers = self.watchers_of(flow)
        if progress:
            watchers.append(plug.progress())
        if not watchers:
            yield None
            return
        tasks = {node.name: node.handler_type for node in plan.nodes if node.definition is not None}
        within = {
            node.name: plan.nodes[node.within].name for node in plan.nodes if node.within >= 0
        }
        view = RunView(run_id, flow.name, epoch, tasks, finished, _now(), within)
        chain = WatcherChain(view, watchers)
        chain.start()
        state, reason = "succeeded", None
        try:
            yield chain
        except BaseException as error:
            state, reason = _state_after(error), _reason(error)
            raise
        finally:
            chain.finish(state, reason)

    # Questions

    def waits(self, run_id: str) -> list[Wait]:
        """Questions of a run that have no answer yet."""
        record = self.journal.run(run_id)
        asked: dict[str, Wait] = {}
        for stored in self.journal.events(record.run_id):
            data = stored.event.data or {}
            if stored.event.kind == kinds.WAIT_ASKED:
                asked[data["wait_id"]] = Wait.from_data(data)
            elif stored.event.kind == kinds.WAIT_ANSWERED:
                asked.pop(data["wait_id"], None)
        return list(asked.values())

    def answer(self, run_id: str, value: Any, *, wait_id: str | None = None, by: str = "") -> Wait:
        """Answers a question of a run; the run takes it at once or when it is resumed.

        Args:
            wait_id: which question; may be left out if only one is open.
            by: who answers.

        Raises:
            TaskInputError: there is no such question, or this is no answer to it.
        """
        record = self.journal.run(run_id)
        waits = [wait for wait in self.waits(run_id) if wait_id in (None, wait.wait_id, wait.task)]
        if len(waits) != 1:
            shown = "; ".join(f"{wait.task}: {wait.prompt!r}" for wait in self.waits(run_id))
            raise TaskInputError(
                f"Run {record.run_id} has {len(waits)} questions that fit. "
                f"Open: {shown or 'none'}. Name the task that asks."
            )
        wait = waits[0]
        data = {"wait_id": wait.wait_id, "value": wait.check(value), "by": by}
        event = Event(kinds.WAIT_ANSWERED, _now(), wait.task, "", data)
        self.journal.append(record.run_id, record.epoch, [event], durable=True)
        return wait

    # Cancelling

    def cancel(self, run_id: str, reason: str = "", *, by: str = "") -> str:
        """Ends a run, whichever process drives it. It can be resumed.

        Args:
            reason: one line for whoever looks at the run.
            by: who wants it.

        Returns:
            The run's state by now: `"cancelled"`; `"running"` if a process drives the run and
            was asked to stop its bodies and end it, which it does within about a second; or
            the state in which it had ended already.

        Raises:
            RunNotFound: there is no such run.
        """
        run_id = self.journal.run(run_id).run_id
        said = " ".join(filter(None, (reason, f"(asked by {by})" if by else ""))) or "as asked"
        asked = Event(kinds.RUN_CANCEL_ASKED, _now(), "", "", {"reason": reason, "by": by})
        while True:
            with _taking:
                state = self._try_to_cancel(run_id, said, asked)
            if state is not None:
                self.tell()
                return state

    def _try_to_cancel(self, run_id: str, reason: str, asked: Event) -> str | None:
        """The run's state afterwards. None: it changed hands meanwhile."""
        held = self.journal.lease(run_id)
        record = self.journal.run(run_id)
        if held is not None and not self._is_over(held):
            was_asked = self.journal.ask_to_cancel(run_id, held.epoch, reason, [asked])
            return "running" if was_asked else None
        if record.state in ("succeeded", "failed", "cancelled"):
            return record.state
        after = self._new_lease(run_id, record.epoch + 1)
        resumed = {"owner": after.owner, "before": record.state}
        events = [Event(kinds.RUN_RESUMED, _now(), "", "", resumed), asked]
        if not self.journal.take_over(run_id, held, after, events):
            return None
        data = {"state": "cancelled", "reason": reason}
        finished = Event(kinds.RUN_FINISHED, _now(), "", "", data)
        ended = Settlement(run_id, after.epoch, "cancelled", [finished], reason)
        return None if isinstance(self.journal.settle(ended), Conflict) else "cancelled"

    # Looking

    def workflow_of(self, record: RunRecord) -> workflow:
        """The workflow that a run was started from, imported again.

        Raises:
            WorkflowDefinitionError: it cannot be found; the message says what to do.
        """
        if record.reference is None:
            raise WorkflowDefinitionError(
                f"Run {record.run_id}: its workflow '{record.workflow}' was not a variable of a "
                f"module, so it cannot be found again. Call runtime.resume(run_id, flow) from "
                f"the program that makes it."
            )
        return load_workflow(record.reference)

    def state_of(self, record: RunRecord) -> str:
        """The state of a run; one whose process is gone is `crashed`."""
        if record.state == "running" and not self.is_alive(record.run_id):
            return "crashed"
        return record.state

    def is_alive(self, run_id: str) -> bool:
        """Does a process hold the run?"""
        lease = self.journal.lease(run_id)
        return lease is not None and not self._is_over(lease)

    def _is_over(self, lease: Lease) -> bool:
        if lease.expires_at < _now():
            return True
        if lease.owner == str(Owner.current()):
            # Ours: held only while one of our sessions drives it. An error of the store may
            # have ended that session before it could give the lease back.
            return (lease.run_id, lease.epoch) not in _driven
        return process_is_gone(Owner.parse(lease.owner)) is True

    def history(self, run_id: str) -> RunHistory:
        """What happened in a run."""
        record = self.journal.run(run_id)
        record = replace(record, state=self.state_of(record))
        return RunHistory.of(record, self.journal.events(record.run_id))

    def unfinished(self) -> list[RunRecord]:
        """Runs that can be resumed, newest first: crashed, failed, cancelled, or waiting ones."""
        return [
            record
            for record in self.journal.runs(limit=1000)
            if self.state_of(record) in ("crashed", "failed", "cancelled", "waiting")
        ]

    def _finished(self, run_id: str) -> tuple[str, ...]:
        return tuple(
            stored.event.task
            for stored in self.journal.events(run_id)
            if stored.event.kind == kinds.TASK_SUCCEEDED
        )

    def _opening_data(self, run_id: str) -> dict[str, Any]:
        data = self._openings.get(run_id)
        if data is None:
            data = self._openings[run_id] = self.journal.opening(run_id).event.data or {}
        return data

    # Telling

    def tell(self) -> None:
        """Delivers the journal's news to tracking. Trouble is logged and changes nothing."""
        if not self.settings.tracking or not self._pumping.acquire(blocking=False):
            return
        try:
            cursor = self.tracking.cursor(PRODUCER)
            while True:
                events, after = self.journal.outbox(cursor)
                if after == cursor:
                    return
                told = executions_of(events, self._opening_data, self.journal.events)
                cursor = self.tracking.ingest(PRODUCER, after, told).cursor
        except Exception as error:
            log.warning("tracking is behind; the next run or command catches up: %s", error)
            log.debug("why tracking is behind", exc_info=True)
        finally:
            self._pumping.release()


def plan_of(flow: workflow, start: str | None, inputs: Mapping[str, Any]) -> Plan:
    """The plan of a workflow for these inputs, checked."""
    names = set(inputs)
    if "next_watermark" in names:
        names.add("watermark")
    plan = Plan(
        flow.graph,
        start=start,
        inputs=names,
        templates=flow.templates(),
        has_workspace=flow.workspace is not None,
        resources=flow.resources,
        name=flow.name,
    )
    if plan.has_parallel_writers and flow.publish == "task":
        raise WorkflowDefinitionError(
            f"Workflow '{flow.name}' publishes each task by itself (publish='task'), and some of "
            f"its writers run side by side, so none could follow the other. Publish the run as a "
            f"whole (publish='run'), or order them with >>."
        )
    return plan


def _state_after(error: BaseException) -> str:
    if isinstance(error, RunWaiting):
        return "waiting"
    return "cancelled" if isinstance(error, (KeyboardInterrupt, RunCancelled)) else "failed"


def _reason(error: BaseException) -> str:
    if isinstance(error, RunFailed) and error.cause is not None:
        return f"task '{error.task_id}' failed: {one_line(error.cause)}"
    return one_line(error)


def _now() -> int:
    return time.time_ns() // 1_000_000


def _decoded(text: str | None) -> Any:
    return decode(text) if text is not None else None


@lru_cache(maxsize=8)
def _runtime(settings: Settings) -> Runtime:
    return Runtime(settings)


def default_runtime() -> Runtime:
    """The runtime of this process for the settings as they are now."""
    return _runtime(load_settings())
