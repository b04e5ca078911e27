"""One try of one task in one run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from handrail.errors import StaleAttemptError
from handrail.ids import Token


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is known of an attempt before its body runs."""

    attempt_id: str
    run_id: str
    #: Name of the task in its workflow.
    task_id: str
    #: What the attempt is for, the same for every try and every resume:
    #: run, task, iteration, map index and input ref. The ledger's key.
    logical_key: str
    token: Token
    #: 1 for the first try within this epoch.
    try_number: int = 1
    #: 1 for the first time the task runs in this run, more in loops.
    iteration: int = 1
    #: How often it may run in a loop; none: no limit.
    max_cycles: int | None = None
    #: Tries after the first that a failure is given.
    max_retries: int = 0
    #: Commit that the body starts from; none for tasks without a workspace.
    input_ref: str | None = None

    @property
    def retry_count(self) -> int:
        """Tries before this one."""
        return self.try_number - 1

    @property
    def cycle_count(self) -> int:
        """How often the task has run in this run, this time included."""
        return self.iteration


#: What must be the same for a reloaded attempt to be the one that was started.
_SNAPSHOT = ("workflow_instance_id", "task_id", "retry_count")


def assert_current_attempt_snapshot(task: Any, fresh: Any) -> None:
    """Checks that a durable orchestrator still runs the attempt it handed out.

    Args:
        task: the attempt as it was handed out.
        fresh: the same, loaded again; must have `status`, `workflow_instance_id`, `task_id`
            and `retry_count`.

    Raises:
        StaleAttemptError: `fresh` is not in progress or is another attempt.
        AttributeError: one of the attributes is missing.
    """
    if fresh.status != "IN_PROGRESS":
        raise StaleAttemptError(task.task_id, f"its status is {fresh.status}")
    for name in _SNAPSHOT:
        ours, theirs = getattr(task, name), getattr(fresh, name)
        if ours != theirs:
            raise StaleAttemptError(task.task_id, f"{name} is {theirs!r}, was {ours!r}")
