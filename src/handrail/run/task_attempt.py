"""Attempts for programs that bring their own store and orchestrator, as callbacks.

These functions are thin faces: the phases are those of `handrail.run.phases`, the body is called
by `handrail.run.body`, as in the engine. What is fenced by callbacks is as good as the callbacks:
`publish_workspace` is the acceptance, and that exactly one attempt is published rests with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

from handrail.contracts.attempt import assert_current_attempt_snapshot
from handrail.contracts.task import TaskDefinition
from handrail.contracts.workspace import StagedWorkspace, WorkspaceInput, WorkspaceSpec
from handrail.errors import TaskInputError
from handrail.keep.snapshot import Snapshot
from handrail.keep.sweep import AttemptFolders
from handrail.run.body import run_body
from handrail.run.context import TaskExecutionContext
from handrail.run.phases import Publication, run_phases
from handrail.run.task_result import (
    AnyTask,
    RuntimeTaskResult,
    build_workspace_free_task_output,
    check_reason_length,
    completed_result,
    definition_of,
    result_for_exception,
    validated,
)

DownloadWorkspace = Callable[[WorkspaceInput, WorkspaceSpec, Path], None]
LoadCurrentAttempt = Callable[[Any], Any]
StageWorkspace = Callable[[Path, WorkspaceInput, WorkspaceSpec, Any], StagedWorkspace]
PublishWorkspace = Callable[[StagedWorkspace, WorkspaceInput, WorkspaceSpec, Any], str]
CleanupStaging = Callable[[StagedWorkspace], None]
CompleteNoOpWorkspace = Callable[[WorkspaceInput, WorkspaceSpec, Any], str]


def run_workspace_task_attempt(
    task: AnyTask,
    input_data: Mapping[str, Any],
    attempt: Any,
    workspace_root: Path,
    *,
    download_workspace: DownloadWorkspace,
    load_current_attempt: LoadCurrentAttempt,
    stage_workspace: StageWorkspace,
    publish_workspace: PublishWorkspace,
    cleanup_staging: CleanupStaging,
    complete_noop_workspace: CompleteNoOpWorkspace | None = None,
    owner_worker_id: str | None = None,
    execution_id: str | None = None,
    failure_reason_max_length: int,
) -> RuntimeTaskResult:
    """Runs one attempt of a task with a workspace; every failure of it becomes a result.

    Args:
        input_data: exactly `{"workspace", "params"}`.
        attempt: has `task_id`, `workflow_instance_id` and `retry_count`; callbacks get it as
            `TaskExecutionContext(attempt, execution_id)`.
        workspace_root: the attempt's own folder is made in it, and removed in the end.
        download_workspace: fills a folder with the files of a workspace.
        load_current_attempt: loads the attempt again, for `assert_current_attempt_snapshot`,
            before staging and before publishing.
        stage_workspace: stores the changed folder where nobody sees it.
        publish_workspace: publishes what was staged; returns the new ref.
        cleanup_staging: removes what was staged, whatever became of it.
        complete_noop_workspace: ends an attempt that changed nothing; returns its ref. Without
            it such an attempt fails.
        owner_worker_id: who works here, for whoever looks at the folder.
        execution_id: makes the folder's name unique; made if left out.
        failure_reason_max_length: most characters of a failure's reason.

    Returns:
        A `COMPLETED` result with `{"workspace", "result"}`, or a failed one with its reason.

    Raises:
        TaskInputError: the task has no workspace.
        ValueError: `failure_reason_max_length` is less than 1.
    """
    definition = definition_of(task)
    _check_has_workspace(definition, "run_workspace_free_task_attempt")
    check_reason_length(failure_reason_max_length)
    try:
        source = _workspace_of(definition, input_data)
        execution_id = execution_id or getattr(attempt, "execution_id", None) or uuid4().hex
        publication = _Callbacks(
            definition,
            source,
            TaskExecutionContext(attempt, execution_id),
            AttemptFolders(workspace_root),
            owner_worker_id or f"pid-{os.getpid()}",
            download=download_workspace,
            load_current=load_current_attempt,
            stage=stage_workspace,
            publish=publish_workspace,
            cleanup=cleanup_staging,
            complete_noop=complete_noop_workspace,
        )
        outcome = run_phases(
            publication,
            lambda workspace: _run(definition, input_data["params"], workspace),
        )
    except Exception as error:
        return result_for_exception(error, max_length=failure_reason_max_length)
    published = source.published_output(outcome.ref)
    return completed_result({"workspace": published.model_dump(mode="json"), **outcome.value})


def run_workspace_free_task_attempt(
    task: AnyTask, input_data: Mapping[str, Any], *, failure_reason_max_length: int
) -> RuntimeTaskResult:
    """Runs one attempt of a task without a workspace; every failure of it becomes a result.

    Args:
        input_data: exactly `{"params"}`.
        failure_reason_max_length: most characters of a failure's reason.

    Raises:
        TaskInputError: the task has a workspace.
        ValueError: `failure_reason_max_length` is less than 1.
    """
    definition = definition_of(task)
    _check_has_none(definition, "run_workspace_task_attempt")
    check_reason_length(failure_reason_max_length)
    try:
        _check_wrapper(definition, input_data, {"params"})
        return completed_result(_run(definition, input_data["params"], None))
    except Exception as error:
        return result_for_exception(error, max_length=failure_reason_max_length)


def invoke_workspace_task_body(
    task: AnyTask, input_data: Mapping[str, Any], workspace_dir: Path
) -> dict[str, Any]:
    """Calls the body on a folder that is there already: params, guards, body, result, guards.

    Args:
        input_data: exactly `{"workspace", "params"}`.

    Returns:
        `{"result"}`.

    Raises:
        TaskInputError: the task has no workspace, or the input has other keys.
        PreGuardrailViolation, PostGuardrailViolation: the files are not as declared.
        pydantic.ValidationError: workspace, params or result do not validate.
    """
    definition = definition_of(task)
    _check_has_workspace(definition, "invoke_workspace_free_task")
    _workspace_of(definition, input_data)
    output: dict[str, Any] = validated(
        lambda: _run(definition, input_data["params"], workspace_dir)
    )
    return output


def invoke_workspace_free_task(task: AnyTask, input_data: Mapping[str, Any]) -> dict[str, Any]:
    """Calls the body of a task without a workspace.

    Args:
        input_data: exactly `{"params"}`.

    Returns:
        `{"result"}`.

    Raises:
        TaskInputError: the task has a workspace, or the input has other keys.
        pydantic.ValidationError: params or result do not validate.
    """
    definition = definition_of(task)
    _check_has_none(definition, "invoke_workspace_task_body")
    _check_wrapper(definition, input_data, {"params"})
    raw = validated(lambda: run_body(definition, {"": input_data["params"]}))
    return build_workspace_free_task_output(definition, raw)


class _Callbacks(Publication[StagedWorkspace]):
    """A store and an orchestrator that are known by callbacks only."""

    def __init__(
        self,
        definition: TaskDefinition,
        source: WorkspaceInput,
        execution: TaskExecutionContext,
        folders: AttemptFolders,
        owner: str,
        *,
        download: DownloadWorkspace,
        load_current: LoadCurrentAttempt,
        stage: StageWorkspace,
        publish: PublishWorkspace,
        cleanup: CleanupStaging,
        complete_noop: CompleteNoOpWorkspace | None,
    ) -> None:
        assert definition.workspace is not None
        self.input_ref = source.ref
        self.is_read_only = definition.workspace.read_only
        self._spec = definition.workspace
        self._source = source
        self._execution = execution
        self._folders = folders
        self._owner = owner
        self._download = download
        self._load_current = load_current
        self._stage = stage
        self._publish = publish
        self._cleanup = cleanup
        self._complete_noop = complete_noop
        self._folder: Path | None = None
        self._snapshot: Snapshot | None = None

    def open(self) -> Path:
        self._folder = self._folders.create(_folder_name(self._execution), self._owner)
        workspace = self._folder / "workspace"
        self._download(self._source, self._spec, workspace)
        if not self.is_read_only:
            self._snapshot = Snapshot.of(workspace)
        return workspace

    def has_changed(self) -> bool:
        assert self._snapshot is not None
        return self._snapshot.has_changed()

    def fence(self) -> None:
        attempt = self._execution.attempt
        assert_current_attempt_snapshot(attempt, self._load_current(attempt))

    def unchanged(self) -> str:
        if self._complete_noop is None:
            raise TaskInputError(
                f"Attempt of task '{self._execution.task_id}' changed no files, and nobody said "
                f"how such an attempt ends: hand in complete_noop_workspace."
            )
        return self._complete_noop(self._source, self._spec, self._execution)

    def stage(self) -> StagedWorkspace:
        assert self._folder is not None
        return self._stage(self._folder / "workspace", self._source, self._spec, self._execution)

    def publish(self, staged: StagedWorkspace) -> str:
        return self._publish(staged, self._source, self._spec, self._execution)

    def discard(self, staged: StagedWorkspace) -> None:
        self._cleanup(staged)

    def close(self) -> None:
        if self._folder is not None:
            self._folders.remove(self._folder)


def _run(definition: TaskDefinition, params: Any, workspace: Path | None) -> dict[str, Any]:
    result = run_body(definition, {"": params}, workspace=workspace)
    return {"result": result.model_dump(mode="json")}


def _workspace_of(definition: TaskDefinition, input_data: Mapping[str, Any]) -> WorkspaceInput:
    _check_wrapper(definition, input_data, {"workspace", "params"})
    return WorkspaceInput.model_validate(input_data["workspace"])


def _check_wrapper(
    definition: TaskDefinition, input_data: Mapping[str, Any], keys: set[str]
) -> None:
    if set(input_data) != keys:
        expected, found = " and ".join(sorted(keys, reverse=True)), ", ".join(map(str, input_data))
        raise TaskInputError(
            f"Task '{definition.name}': its input must hold {expected} and nothing else; "
            f"found: {found or 'nothing'}."
        )


def _check_has_workspace(definition: TaskDefinition, other: str) -> None:
    if not definition.has_workspace:
        _refuse(definition, "has no workspace", other)


def _check_has_none(definition: TaskDefinition, other: str) -> None:
    if definition.has_workspace:
        _refuse(definition, "has a workspace", other)


def _refuse(definition: TaskDefinition, problem: str, other: str) -> NoReturn:
    raise TaskInputError(f"Task '{definition.name}' {problem}. Use {other}.")


def _folder_name(execution: TaskExecutionContext) -> str:
    return f"task_id={_segment(execution.task_id)}-exec={_segment(execution.execution_id)}"


def _segment(text: object) -> str:
    kept = "".join(
        char if (char.isascii() and char.isalnum()) or char in "_.=-" else "_" for char in str(text)
    )
    return kept.strip("._")[:100] or "unknown"
