"""Settling an attempt whose body succeeded: published, adopted, or refused."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from handrail.contracts import event as kinds
from handrail.contracts.attempt import Attempt
from handrail.contracts.event import Event
from handrail.contracts.values import decode, encode
from handrail.errors import (
    HandrailError,
    PublishFenceError,
    RunCancelled,
    StaleAttemptError,
    TaskFailed,
)
from handrail.flow.plan import Node, Plan
from handrail.keep.base import Acceptance, Accepted, Adopted, Conflict
from handrail.run.control import Cancel, to_data
from handrail.run.flight import Flight
from handrail.run.record import Recorder
from handrail.run.transaction import Transaction


class TaskFailedByResult(TaskFailed):
    """A body returned `completed_successfully=False`."""

    retryable = False

    def __init__(self, result: Any) -> None:
        self.result = result
        super().__init__("the task returned completed_successfully=False")


class Acceptor:
    """Brings results into the journal, and remembers the commits they left."""

    def __init__(
        self,
        plan: Plan,
        base_ref: str | None,
        recorder: Recorder,
        transaction: Transaction | None,
    ) -> None:
        self._plan = plan
        self._base_ref = base_ref
        self._recorder = recorder
        self._transaction = transaction
        #: Commit that each writing node left, by the node's index; that accepted last is last.
        self._refs: dict[int, str] = {}
        #: Did a node leave another commit than before?
        self._has_gone_back = False

    # Commits

    def left(self, node: Node, ref: str) -> None:
        """A node left a commit. One that only reads leaves nothing."""
        if node.writes:
            self._has_gone_back |= self._refs.pop(node.index, None) is not None
            self._refs[node.index] = ref

    def ref_after(self, node: Node) -> str | None:
        """The commit that a node starts from: with all that the nodes before it left."""
        if node.ref_sources:
            return self._composed(index for index in node.ref_sources if index in self._refs)
        return self._refs.get(node.ref_source, self._base_ref)

    @property
    def final_ref(self) -> str | None:
        """The commit with everything that was left; the base ref if nothing was."""
        if self._plan.has_parallel_writers:
            return self._composed(self._refs if self._has_gone_back else self._in_order())
        return next(reversed(self._refs.values()), self._base_ref)

    def _in_order(self) -> list[int]:
        """Who left something, in the plan's order, so that it does not matter who was faster."""
        planned = [node.index for node in self._plan.writers if node.index in self._refs]
        return planned + [index for index in self._refs if index not in planned]

    @property
    def staged_refs(self) -> list[str]:
        """The commits that were left."""
        return list(self._refs.values())

    def _composed(self, indices: Iterable[int]) -> str | None:
        nodes, base_ref = self._plan.nodes, self._base_ref
        if self._transaction is None or base_ref is None:
            return base_ref
        parts = [(nodes[index].prefix, self._refs[index]) for index in indices]
        return self._transaction.compose(base_ref, parts)

    # Accepting

    def accept(self, flight: Flight) -> None:
        """Publishes and records an attempt, or takes over what an earlier one left.

        Raises:
            TaskFailedByResult: the body reports that it did not succeed.
            StaleAttemptError: a later attempt has begun.
            PublishFenceError: the branch moved.
            RunCancelled: the body asked for it.
        """
        for request in flight.requests:
            if isinstance(request, Cancel):
                raise RunCancelled(flight.setting.run_id, request.message)
        if flight.adopted is not None:
            self._adopt(flight, flight.adopted)
        elif (
            flight.value is not None
            and getattr(flight.value, "completed_successfully", None) is False
        ):
            raise TaskFailedByResult(flight.value)
        elif flight.output_ref is not None:
            self._publish(flight, flight.output_ref)
        elif self._recorder.is_on:
            data = _told_of(flight)
            self._recorder.event(kinds.TASK_SUCCEEDED, flight.node.name, flight.attempt_id, data)
            if flight.lookup is not None:
                flight.lookup.keep(data["result"])
        elif flight.lookup is not None:
            flight.lookup.keep(encode(flight.value))

    def _publish(self, flight: Flight, output_ref: str) -> None:
        assert self._transaction is not None
        node, attempt = flight.node, flight.attempt
        data = {**_told_of(flight), "ref": output_ref}
        event = Event(
            kinds.TASK_SUCCEEDED, time.time_ns() // 1_000_000, node.name, attempt.attempt_id, data
        )
        with self._recorder.lock:
            waiting = self._recorder.taken()
            reply = self._transaction.accept(
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
                    events=[*waiting, event],
                )
            )
            if not isinstance(reply, Accepted):
                self._recorder.put_back(waiting)
        if isinstance(reply, Accepted):
            self._recorder.tell([event])
            self.left(node, output_ref)
            if flight.lookup is not None:
                flight.lookup.keep(data["result"], output_ref)
        elif isinstance(reply, Adopted):
            self._adopt(flight, reply)
        else:
            raise _lost(attempt, self._transaction, reply)

    def _adopt(self, flight: Flight, adopted: Adopted) -> None:
        """Takes over what an earlier attempt of the same work left."""
        flight.value = decode(adopted.result)
        data = {"result": adopted.result, "adopted": adopted.attempt_id}
        if adopted.ref is not None:
            self.left(flight.node, adopted.ref)
            data["ref"] = adopted.ref
        self._recorder.event(kinds.TASK_SUCCEEDED, flight.node.name, flight.attempt_id, data)


_METRICS = ("inserts", "updates", "soft_deletes", "total_rows")


def told(value: Any) -> dict[str, Any]:
    """What the journal keeps of a result: its text, and row metrics where it has them."""
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


def _told_of(flight: Flight) -> dict[str, Any]:
    data = told(flight.value)
    if flight.requests:
        data["then"] = to_data(flight.requests)
    if flight.lookup is not None:
        data.update(flight.lookup.data())
    return data


def _lost(attempt: Attempt, transaction: Transaction, conflict: Conflict) -> HandrailError:
    if conflict.stale:
        return StaleAttemptError(attempt.task_id, "a later attempt of it has begun")
    return PublishFenceError(str(transaction.branch), conflict.expected, conflict.found)
