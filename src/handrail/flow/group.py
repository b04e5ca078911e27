"""What becomes of a group when some of its members failed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from handrail.errors import ParallelGroupError, WorkflowDefinitionError


class MemberResult(NamedTuple):
    """How one member of a group ended."""

    task_id: str
    succeeded: bool
    #: Its result, if it succeeded.
    value: Any = None
    #: Why not, if it failed.
    error: BaseException | None = None

    @property
    def success(self) -> bool:
        """Did it succeed?"""
        return self.succeeded

    @property
    def error_message(self) -> str | None:
        """One line: why it failed."""
        return None if self.error is None else f"{type(self.error).__name__}: {self.error}"


class GroupExecutionPolicy(ABC):
    """Decides whether a group succeeded, once every member has ended.

    Subclass it for a rule of your own.
    """

    #: Is the group given up, and what still runs of it stopped, at the first failure?
    fail_fast: bool = False

    @abstractmethod
    def on_group_finished(
        self,
        group_id: str,
        tasks: Sequence[str],
        results: Mapping[str, MemberResult],
        context: Any,
    ) -> None:
        """Raises if the group failed.

        Args:
            tasks: names of the members, in order.
            results: how each ended.
            context: the run's `ExecutionContext`.
        """


class StrictGroupPolicy(GroupExecutionPolicy):
    """Every member must succeed (`"strict"`, the default).

    Args:
        fail_fast: give the group up at the first failure instead of waiting for the others.
    """

    def __init__(self, *, fail_fast: bool = False) -> None:
        self.fail_fast = fail_fast

    def on_group_finished(
        self,
        group_id: str,
        tasks: Sequence[str],
        results: Mapping[str, MemberResult],
        context: Any,
    ) -> None:
        failed = _failed(results)
        if failed:
            raise _verdict(group_id, results, f"{len(failed)} task(s) failed")


class BestEffortGroupPolicy(GroupExecutionPolicy):
    """Failures of members are accepted (`"best_effort"`)."""

    def on_group_finished(
        self,
        group_id: str,
        tasks: Sequence[str],
        results: Mapping[str, MemberResult],
        context: Any,
    ) -> None:
        """Never raises."""


class AtLeastNGroupPolicy(GroupExecutionPolicy):
    """At least `min_success` members must succeed."""

    def __init__(self, min_success: int) -> None:
        if min_success < 1:
            raise WorkflowDefinitionError(f"min_success={min_success} must be at least 1")
        self.min_success = min_success

    def on_group_finished(
        self,
        group_id: str,
        tasks: Sequence[str],
        results: Mapping[str, MemberResult],
        context: Any,
    ) -> None:
        count = sum(result.succeeded for result in results.values())
        if count < self.min_success:
            raise _verdict(group_id, results, f"{count} of at least {self.min_success} succeeded")


class CriticalGroupPolicy(GroupExecutionPolicy):
    """The named members must succeed; failures of others are accepted."""

    def __init__(self, critical_task_ids: Iterable[str]) -> None:
        self.critical_task_ids = frozenset(critical_task_ids)
        if not self.critical_task_ids:
            raise WorkflowDefinitionError("CriticalGroupPolicy needs the names of its tasks")

    def on_group_finished(
        self,
        group_id: str,
        tasks: Sequence[str],
        results: Mapping[str, MemberResult],
        context: Any,
    ) -> None:
        lost = sorted(self.critical_task_ids & {result.task_id for result in _failed(results)})
        if lost:
            raise _verdict(group_id, results, f"critical task(s) failed: {', '.join(lost)}")


def _failed(results: Mapping[str, MemberResult]) -> list[MemberResult]:
    return [result for result in results.values() if not result.succeeded]


def _verdict(group_id: str, results: Mapping[str, MemberResult], what: str) -> ParallelGroupError:
    failed = _failed(results)
    error = ParallelGroupError(
        group_id,
        what,
        failed_tasks=[(result.task_id, result.error_message or "") for result in failed],
        successful_tasks=[result.task_id for result in results.values() if result.succeeded],
    )
    error.__cause__ = failed[0].error if failed else None
    return error


def policy_of(
    policy: GroupExecutionPolicy | str | None, members: Sequence[str]
) -> GroupExecutionPolicy:
    """The policy meant by a name or an object.

    Raises:
        WorkflowDefinitionError: no such policy, one that needs arguments, or one that names
            tasks that are no members.
    """
    if policy is None or policy == "strict":
        return StrictGroupPolicy()
    if policy == "best_effort":
        return BestEffortGroupPolicy()
    if policy in ("critical", "at_least_n"):
        shown = {
            "critical": "CriticalGroupPolicy(['task'])",
            "at_least_n": "AtLeastNGroupPolicy(2)",
        }
        raise WorkflowDefinitionError(
            f"policy {policy!r} needs to know more: pass {shown[str(policy)]}"
        )
    if not callable(getattr(policy, "on_group_finished", None)):
        raise WorkflowDefinitionError(
            f"unknown group policy {policy!r}: expected 'strict', 'best_effort' or a "
            f"GroupExecutionPolicy"
        )
    assert not isinstance(policy, str)
    critical: frozenset[str] = getattr(policy, "critical_task_ids", frozenset())
    unknown = critical - set(members)
    if unknown:
        raise WorkflowDefinitionError(
            f"CriticalGroupPolicy names {', '.join(sorted(unknown))}, which the group does not "
            f"have. It has: {', '.join(members)}."
        )
    return policy
