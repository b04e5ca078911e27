"""One epoch of a journaled run: from taking its lease to the durable end.

    create or take over -> replay what is accepted -> drive -> settle

The lease is renewed from a side thread. A process that loses it stops: whatever it does later
is refused by the journal, since a later epoch makes its tokens stale.
"""

from __future__ import annotations

import getpass
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, TypeAlias

from handrail.contracts import event as kinds
from handrail.contracts.event import Event
from handrail.contracts.limits import Limit
from handrail.contracts.values import InMemoryOnly, decode, encode
from handrail.contracts.workspace import BranchName
from handrail.errors import (
    PublishFenceError,
    RunBusy,
    RunCancelled,
    RunTimeout,
    StaleAttemptError,
    StoreError,
)
from handrail.flow.graph import TaskGraph
from handrail.flow.plan import Plan
from handrail.keep.base import (
    Accepted,
    Claim,
    Conflict,
    Heads,
    Journal,
    Lease,
    RunRecord,
    Settlement,
    Watermark,
)
from handrail.keep.channel import Channel, MemoryChannel
from handrail.keep.channel_changes import Change, OnChange
from handrail.keep.files import VersionedFiles
from handrail.keep.limits import Limiter
from handrail.keep.reuse import KeptResults
from handrail.run.changes import digests_of
from handrail.run.context import ExecutionContext
from handrail.run.engine import WorkflowEngine, raise_failure
from handrail.run.failure import one_line
from handrail.run.flight import RunSetting
from handrail.run.limits import Limits
from handrail.run.loop import RunLoop
from handrail.run.output import AttemptOutput
from handrail.run.record import Recorder
from handrail.run.transaction import Folders, Transaction, keeps_branch

log = logging.getLogger("handrail.run")


@dataclass(frozen=True, slots=True)
class Stores:
    """Where a run keeps what must outlive it."""

    journal: Journal
    heads: Heads
    #: Files of the repository that the run works on; none: it works on none.
    files: VersionedFiles | None
    folders: Folders
    kept_results: KeptResults | None = None
    #: None: this run's limits are its own.
    limiter: Limiter | None = None


@dataclass(frozen=True, slots=True)
class Opening:
    """What is fixed when a run is created, and read back when it is resumed."""

    run_id: str
    workflow: str
    reference: str | None
    key: str | None
    inputs: Mapping[str, Any]
    start: str | None
    max_steps: int | None
    #: Longest time that an epoch may take, in seconds.
    timeout: float | None
    target: BranchName | None
    base_ref: str | None
    publish: str
    pipeline: str
    #: JSON text, as the journal keeps it.
    watermark: str | None
    next_watermark: str | None
    #: Who keeps the channel: "journal" or "redis".
    channel: str = "journal"

    @classmethod
    def read(cls, record: RunRecord, data: Mapping[str, Any]) -> Opening:
        """From the data of the run's first event."""
        return cls(
            run_id=record.run_id,
            workflow=record.workflow,
            reference=record.reference,
            key=record.key,
            inputs=decode(data["inputs"]),
            start=data["start"],
            max_steps=data["max_steps"],
            timeout=data.get("timeout"),
            target=BranchName.parse(data["target"]) if data["target"] else None,
            base_ref=data["base_ref"],
            publish=data["publish"],
            pipeline=data["pipeline"],
            watermark=data["watermark"],
            next_watermark=data["next_watermark"],
            channel=data.get("channel", "journal"),
        )

    def event_data(self, plan: Plan, owner: str) -> dict[str, Any]:
        """Data of the run's first event."""
        tasks = [node for node in plan.nodes if node.definition is not None]
        return {
            "workflow": self.workflow,
            "reference": self.reference,
            "key": self.key,
            "owner": owner,
            "inputs": encode(dict(self.inputs)),
            "start": self.start,
            "max_steps": self.max_steps,
            "timeout": self.timeout,
            "target": str(self.target) if self.target else None,
            "base_ref": self.base_ref,
            "publish": self.publish,
            "pipeline": self.pipeline,
            "watermark": self.watermark,
            "next_watermark": self.next_watermark,
            "channel": self.channel,
            "tasks": [node.name for node in tasks],
            "handlers": {node.name: node.definition.handler_type for node in tasks},  # type: ignore[union-attr]
            "digests": digests_of(plan),
            "edges": [
                [node.name, plan.nodes[index].name]
                for node in plan.nodes
                for index in node.successors
            ],
            "loops": [
                [node.name, plan.nodes[index].name]
                for node in plan.nodes
                for index in node.loop_successors
            ],
            "within": {
                node.name: plan.nodes[node.within].name for node in plan.nodes if node.within >= 0
            },
        }


#: Makes the channel of a run: its id, its inputs, and who is told of changes.
MakeChannel: TypeAlias = Callable[[str, Mapping[str, Any], OnChange], Channel]


def in_the_journal(run_id: str, inputs: Mapping[str, Any], on_change: OnChange) -> Channel:
    """A channel in memory, whose changes the journal keeps."""
    return MemoryChannel(inputs, on_change)


class Session:
    """Drives one epoch of a run whose lease is held."""

    def __init__(
        self,
        opening: Opening,
        graph: TaskGraph,
        plan: Plan,
        lease: Lease,
        stores: Stores,
        engine: WorkflowEngine,
        *,
        lease_seconds: float,
        channel: MakeChannel = in_the_journal,
        max_workers: int | None = None,
        watch: Callable[[Event], None] | None = None,
        output: Callable[[str, str], AttemptOutput] | None = None,
        tick: Callable[[], None] | None = None,
        limits: Mapping[str, Limit] = MappingProxyType({}),
    ) -> None:
        self.opening = opening
        self.context = ExecutionContext(
            graph,
            opening.start,
            inputs=opening.inputs,
            run_id=opening.run_id,
            channel=channel(opening.run_id, opening.inputs, self._record_change),
        )
        self._plan = plan
        self._lease = lease
        self._stores = stores
        self._lease_seconds = lease_seconds
        self._tick = tick
        self._over = threading.Event()
        #: Why somebody wants the run to end, once the loop was told.
        self._cancel_reason: str | None = None
        #: What the epoch ended as, once that is written down.
        self._state: str | None = None
        self._recorder = Recorder(opening.run_id, lease.epoch, stores.journal, watch)
        self._branch = self._working_branch()
        setting = RunSetting(
            run_id=opening.run_id,
            workflow=opening.workflow,
            epoch=lease.epoch,
            key=f"{opening.workflow}#{opening.key}" if opening.key else opening.run_id,
            max_workers=max_workers,
            max_steps=opening.max_steps,
            timeout_seconds=opening.timeout,
            base_ref=opening.base_ref,
            made_by={"user": _user(), "workflow": opening.workflow},
            kept_results=stores.kept_results,
        )
        transaction = (
            Transaction(stores.files, stores.journal, stores.folders, self._branch)
            if stores.files is not None
            else None
        )
        self._loop = RunLoop(
            plan,
            self.context,
            setting,
            handler=engine.handler,
            recorder=self._recorder,
            transaction=transaction,
            output=output,
            look_for_answers=self._look_for_answers,
            limits=(
                Limits(limits, stores.limiter, opening.run_id, lease.epoch)
                if stores.limiter is not None
                else None
            ),
        )

    def _look_for_answers(self) -> dict[str, Any]:
        return {
            stored.event.data["wait_id"]: stored.event.data["value"]
            for stored in self._stores.journal.events(self.opening.run_id)
            if stored.event.kind == kinds.WAIT_ANSWERED and stored.event.data is not None
        }

    def _working_branch(self) -> BranchName | None:
        """The branch that attempts move: hidden until the run's end, or the target itself.

        None where writers run side by side: what they leave is composed, and moves the target.
        """
        target = self.opening.target
        if self._plan.has_parallel_writers:
            return None
        if target is None or self.opening.publish == "task":
            return target
        return run_branch(self.opening.run_id, target)

    def run(self) -> Any:
        """Drives the run to its end and returns its result.

        Raises:
            RunFailed: a task failed for good.
            PublishFenceError: the branch or the watermark moved meanwhile.
            RunBusy: another process took the run over.
        """
        keeper = threading.Thread(target=self._keep_lease, name="handrail-lease", daemon=True)
        keeper.start()
        try:
            return self._run()
        except StaleAttemptError as exc:
            if not self._holds_lease():
                self._loop.abort()
                raise self._lost() from exc
            raise
        finally:
            self._over.set()
            keeper.join()
            self.context.channel.end(succeeded=self._state == "succeeded")

    def _run(self) -> Any:
        self._open_branch()
        if self._lease.epoch > 1:
            self._loop.replay(self._stores.journal.events(self.opening.run_id))
            self._rewind_branch()
        try:
            self._begin_channel()
            self._loop.drive()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and self._cancel_reason is not None:
                cancelled = RunCancelled(self.opening.run_id, self._cancel_reason)
                self._abandon(cancelled)
                raise cancelled from error
            self._abandon(error)
            raise
        if self._loop.failure is not None:
            task_id, cause = self._loop.failure
            if isinstance(cause, RunCancelled):
                self._settle("cancelled", str(cause))
            elif isinstance(cause, RunTimeout):
                self._settle("failed", one_line(cause))
            else:
                self._settle("failed", f"task '{task_id}' failed: {one_line(cause)}")
            raise_failure(self._loop, self.opening.run_id, self._next_step())
        if self._loop.waits:
            self._settle("waiting", None)
            raise_failure(self._loop, self.opening.run_id)
        self._publish()
        return self._loop.result()

    def recall(self) -> Any:
        """The result of a run that succeeded, from the journal."""
        self._loop.replay(self._stores.journal.events(self.opening.run_id))
        lost = self._loop.missing_results()
        if lost:
            raise InMemoryOnly(
                f"Run {self.opening.run_id} succeeded, and the result of '{lost[0]}' was kept in "
                f"the memory of its process only. Return plain data, a model or a dataclass."
            )
        return self._loop.result()

    # The branch

    def _open_branch(self) -> None:
        branch, heads = self._branch, self._stores.heads
        if branch is None or branch == self.opening.target:
            return
        if heads.head(branch) is None:
            heads.move_head(branch, None, self.opening.base_ref)

    def _rewind_branch(self) -> None:
        """Brings the run's own branch to where its replayed results stand.

        They differ when tasks are to run again that had written.
        """
        branch, heads = self._branch, self._stores.heads
        if branch is not None and branch != self.opening.target:
            found, wanted = heads.head(branch), self._loop.final_ref
            if found != wanted:
                heads.move_head(branch, found, wanted)

    def _close_branch(self) -> None:
        branch, heads = self._branch, self._stores.heads
        if branch is not None and branch != self.opening.target:
            heads.move_head(branch, heads.head(branch), None)

    # The channel

    def _begin_channel(self) -> None:
        self.context.channel.begin(self.opening.inputs, resumed=bool(self.context.results))

    def _record_change(self, change: Change) -> None:
        self._recorder.event(kinds.CHANNEL_CHANGED, data=change.data())

    # The end

    def _publish(self) -> None:
        opening = self.opening
        publishes = opening.target is not None and opening.publish == "run"
        watermark = None
        if opening.next_watermark is not None:
            watermark = Watermark(opening.pipeline, opening.watermark, opening.next_watermark)
        ref = self._loop.final_ref if publishes else None
        reply: Accepted | Conflict | None = self._claim_target(ref) if ref is not None else None
        if not isinstance(reply, Conflict):
            publishes = publishes and reply is None
            reply = self._settle(
                "succeeded", None, ref=ref, publishes=publishes, watermark=watermark
            )
        if isinstance(reply, Conflict):
            if reply.stale:
                raise StaleAttemptError(self.opening.run_id, f"found {reply.found}")
            error = PublishFenceError(reply.what, reply.expected, reply.found)
            self._settle("failed", one_line(error))
            raise error
        self._close_branch()

    def _claim_target(self, ref: str) -> Accepted | Conflict | None:
        """Publishes the run in the store that keeps the target; none: the journal keeps it.

        The claim comes first. A run that is cut off before it is settled claims again when it is
        resumed, and is told that it had won.
        """
        opening, files = self.opening, self._stores.files
        target, base_ref = opening.target, opening.base_ref
        if target is None or files is None or base_ref is None or not keeps_branch(files, target):
            return None
        key = f"run {opening.run_id}"
        reply = files.claim(Claim(target, base_ref, ref, key, "null", opening.run_id))
        if isinstance(reply, Conflict):
            return reply
        for staged in self._loop.staged_refs:
            files.release(staged)
        return Accepted(reply.ref)

    def _abandon(self, error: BaseException) -> None:
        """Ends the epoch after an error that is not a task's: an interrupt, a full disk."""
        self._loop.abort()
        self._recorder.give_up()
        is_wanted = isinstance(error, (KeyboardInterrupt, RunCancelled))
        state = "cancelled" if is_wanted else "crashed"
        try:
            self._settle(state, one_line(error))
        except (StoreError, StaleAttemptError):
            # The store is what failed. The lease ends by itself and the run can be resumed.
            log.warning("run %s: its end could not be written down", self.opening.run_id)

    def _settle(
        self,
        state: str,
        reason: str | None,
        *,
        ref: str | None = None,
        publishes: bool = False,
        watermark: Watermark | None = None,
    ) -> Accepted | Conflict:
        data: dict[str, Any] = {"state": state}
        if reason is not None:
            data["reason"] = reason
        if ref is not None:
            data["ref"] = ref
        event = Event(kinds.RUN_FINISHED, time.time_ns() // 1_000_000, "", "", data)
        with self._recorder.lock:
            waiting = self._recorder.taken()
            reply = self._stores.journal.settle(
                Settlement(
                    run_id=self.opening.run_id,
                    epoch=self._lease.epoch,
                    state=state,
                    events=[*waiting, event],
                    reason=reason,
                    branch=self.opening.target if publishes else None,
                    input_ref=self.opening.base_ref if publishes else None,
                    output_ref=ref if publishes else None,
                    watermark=watermark,
                )
            )
            if isinstance(reply, Conflict):
                self._recorder.put_back(waiting)
        if not isinstance(reply, Conflict):
            self._recorder.tell([event])
            self._state = state
        return reply

    def _next_step(self) -> str:
        run_id = self.opening.run_id
        return f". Look: handrail show {run_id}. When it is mended: handrail resume {run_id}"

    # The lease

    def _keep_lease(self) -> None:
        ticks = 0.0
        pause = min(1.0, self._lease_seconds / 4)
        while not self._over.wait(pause):
            ticks += pause
            try:
                if ticks >= self._lease_seconds / 4:
                    ticks = 0.0
                    if not self._holds_lease(renew=True):
                        return
                # A body may run for long after others were finished.
                self._recorder.flush()
                self._obey_cancel()
                if self._tick is not None:
                    self._tick()
            except Exception:
                # What the store's trouble means is decided by the engine's own calls.
                log.warning("run %s: its lease was not renewed", self.opening.run_id, exc_info=True)

    def _obey_cancel(self) -> None:
        reason = self._stores.journal.cancel_reason(self.opening.run_id)
        if reason is not None and self._cancel_reason is None:
            self._cancel_reason = reason
            self._loop.cancel(reason)

    def _holds_lease(self, renew: bool = False) -> bool:
        if renew:
            expires_at = time.time_ns() // 1_000_000 + int(self._lease_seconds * 1000)
            return self._stores.journal.renew(self._lease, expires_at)
        found = self._stores.journal.lease(self.opening.run_id)
        return found is not None and found.epoch == self._lease.epoch

    def _lost(self) -> RunBusy:
        found = self._stores.journal.lease(self.opening.run_id)
        owner = found.owner if found is not None else "nobody"
        left = (found.expires_at - time.time_ns() / 1_000_000) / 1000 if found is not None else 0
        return RunBusy(self.opening.run_id, owner, left)


def run_branch(run_id: str, target: BranchName) -> BranchName:
    """The hidden branch that a run works on until it publishes."""
    return BranchName(target.repository, f"~{run_id}")


def run_of_branch(branch: BranchName) -> str | None:
    """The run whose hidden branch this is; none for other branches."""
    return branch.branch[1:] if branch.branch.startswith("~") else None


@cache
def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no name for this user id
        return "unknown"
