"""What a durable orchestrator is told of an attempt, and the wrappers of tasks' output."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from handrail.contracts.task import Task, TaskDefinition
from handrail.contracts.workspace import WorkspaceInput
from handrail.errors import PreGuardrailViolation, TaskInputError, TaskTerminalError
from handrail.run.body import check_result

log = logging.getLogger("handrail.run")

#: Either is accepted where a task is wanted.
AnyTask: TypeAlias = Task | TaskDefinition

Status = Literal["COMPLETED", "FAILED", "FAILED_WITH_TERMINAL_ERROR"]

#: Another attempt would find the same.
_TERMINAL = (TaskTerminalError, PreGuardrailViolation)


class RuntimeTaskResult(BaseModel):
    """The outcome of an attempt: an output if it is completed, else a reason.

    Args:
        status: `COMPLETED`, `FAILED` (another attempt may do better) or
            `FAILED_WITH_TERMINAL_ERROR`.
        output: `{"workspace", "result"}`, or `{"result"}` for a task without a workspace.
        reason: why it failed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: Status
    output: dict[str, Any] | None = None
    reason: str | None = None

    @model_validator(mode="after")
    def _one_or_the_other(self) -> RuntimeTaskResult:
        if self.status == "COMPLETED" and (self.output is None or self.reason is not None):
            raise ValueError("a COMPLETED result has an output and no reason")
        if self.status != "COMPLETED" and (self.output is not None or not self.reason):
            raise ValueError(f"a {self.status} result has a reason and no output")
        return self

    def conductor_payload(self) -> dict[str, Any]:
        """The part of Conductor's `TaskResult` that tells the outcome.

        Source: https://conductor-oss.github.io/conductor/documentation/api/task.html
        """
        if self.status == "COMPLETED":
            return {"status": self.status, "outputData": self.output}
        return {"status": self.status, "reasonForIncompletion": self.reason}


def completed_result(output: Mapping[str, Any]) -> RuntimeTaskResult:
    """The result of an attempt that succeeded."""
    return RuntimeTaskResult(status="COMPLETED", output=dict(output))


def result_for_exception(exc: BaseException, *, max_length: int) -> RuntimeTaskResult:
    """The result of an attempt that failed.

    Terminal are `TaskTerminalError` and `PreGuardrailViolation`.

    Args:
        max_length: most characters of the reason; what is cut is logged.

    Raises:
        ValueError: `max_length` is less than 1.
    """
    check_reason_length(max_length)
    reason = str(exc) or type(exc).__name__
    if len(reason) > max_length:
        log.warning("a reason of %s characters is cut to %s", len(reason), max_length)
    status: Status = "FAILED_WITH_TERMINAL_ERROR" if isinstance(exc, _TERMINAL) else "FAILED"
    return RuntimeTaskResult(status=status, reason=reason[:max_length])


def check_reason_length(max_length: int) -> None:
    """Raises `ValueError` for a length that holds no reason."""
    if max_length < 1:
        raise ValueError(f"the longest reason must be at least 1 character, not {max_length}")


def build_workspace_task_output(
    task: AnyTask,
    input_workspace: WorkspaceInput | Mapping[str, Any],
    published_ref: str,
    raw_result: object,
) -> dict[str, Any]:
    """`{"workspace", "result"}` of a task that left `published_ref`.

    Args:
        input_workspace: what the task started from; its repository and branch are kept.
        raw_result: what the body returned, checked against the output model.

    Raises:
        TaskInputError: the task has no workspace.
        pydantic.ValidationError: the result or the workspace does not validate.
    """
    definition = definition_of(task)
    if not definition.has_workspace:
        raise TaskInputError(
            f"Task '{definition.name}' has no workspace. Use build_workspace_free_task_output."
        )
    source = WorkspaceInput.model_validate(input_workspace)
    result = validated(lambda: check_result(definition, raw_result))
    return {
        "workspace": source.published_output(published_ref).model_dump(mode="json"),
        "result": result.model_dump(mode="json"),
    }


def build_workspace_free_task_output(task: AnyTask, raw_result: object) -> dict[str, Any]:
    """`{"result"}` of a task without a workspace.

    Raises:
        TaskInputError: the task has a workspace.
        pydantic.ValidationError: the result does not validate.
    """
    definition = definition_of(task)
    if definition.has_workspace:
        raise TaskInputError(
            f"Task '{definition.name}' has a workspace. Use build_workspace_task_output."
        )
    result = validated(lambda: check_result(definition, raw_result))
    return {"result": result.model_dump(mode="json")}


def definition_of(task: AnyTask) -> TaskDefinition:
    """What was declared of a task."""
    return task.definition if isinstance(task, Task) else task


def validated(act: Any) -> Any:
    """What `act` returns; a value that does not validate is told as pydantic tells it."""
    try:
        return act()
    except TaskInputError as error:
        if isinstance(error.__cause__, ValidationError):
            raise error.__cause__ from None
        raise
