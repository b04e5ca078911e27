"""Handrail runs Python tasks anywhere and loses nothing.

Public names are imported when they are first used, so `import handrail` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from handrail.app import Runtime as Runtime
    from handrail.app import default_runtime as default_runtime
    from handrail.contracts.attempt import Attempt as Attempt
    from handrail.contracts.attempt import (
        assert_current_attempt_snapshot as assert_current_attempt_snapshot,
    )
    from handrail.contracts.codecs import register_codec as register_codec
    from handrail.contracts.controls import ExecutionLimits as ExecutionLimits
    from handrail.contracts.controls import PublishBudget as PublishBudget
    from handrail.contracts.controls import RetryPolicy as RetryPolicy
    from handrail.contracts.controls import TaskControls as TaskControls
    from handrail.contracts.controls import TimeoutPolicy as TimeoutPolicy
    from handrail.contracts.event import Event as Event
    from handrail.contracts.expr import ParallelGroup as ParallelGroup
    from handrail.contracts.expr import chain as chain
    from handrail.contracts.expr import parallel as parallel
    from handrail.contracts.guards import forbid_glob as forbid_glob
    from handrail.contracts.guards import guardrail as guardrail
    from handrail.contracts.guards import require_dir as require_dir
    from handrail.contracts.guards import require_file as require_file
    from handrail.contracts.guards import require_glob as require_glob
    from handrail.contracts.reuse import CachePolicy as CachePolicy
    from handrail.contracts.task import Task as Task
    from handrail.contracts.task import TaskDefinition as TaskDefinition
    from handrail.contracts.task import load_module_task as load_module_task
    from handrail.contracts.task import task as task
    from handrail.contracts.workspace import StagedWorkspace as StagedWorkspace
    from handrail.contracts.workspace import WorkspaceInput as WorkspaceInput
    from handrail.contracts.workspace import WorkspaceOutput as WorkspaceOutput
    from handrail.contracts.workspace import WorkspaceSpec as WorkspaceSpec
    from handrail.errors import AttemptTimeout as AttemptTimeout
    from handrail.errors import ChannelTypeError as ChannelTypeError
    from handrail.errors import CycleError as CycleError
    from handrail.errors import CycleLimitExceeded as CycleLimitExceeded
    from handrail.errors import DuplicateTaskError as DuplicateTaskError
    from handrail.errors import GuardrailViolation as GuardrailViolation
    from handrail.errors import HandlerError as HandlerError
    from handrail.errors import HandlerResultError as HandlerResultError
    from handrail.errors import HandrailError as HandrailError
    from handrail.errors import LockLost as LockLost
    from handrail.errors import LockTimeout as LockTimeout
    from handrail.errors import MissingParameterError as MissingParameterError
    from handrail.errors import NotInstalledError as NotInstalledError
    from handrail.errors import NotSerializableError as NotSerializableError
    from handrail.errors import ParallelGroupError as ParallelGroupError
    from handrail.errors import ParallelWritersError as ParallelWritersError
    from handrail.errors import PostGuardrailViolation as PostGuardrailViolation
    from handrail.errors import PreGuardrailViolation as PreGuardrailViolation
    from handrail.errors import PublishFenceError as PublishFenceError
    from handrail.errors import RemoteError as RemoteError
    from handrail.errors import ResourceError as ResourceError
    from handrail.errors import RunBusy as RunBusy
    from handrail.errors import RunCancelled as RunCancelled
    from handrail.errors import RunChanged as RunChanged
    from handrail.errors import RunError as RunError
    from handrail.errors import RunFailed as RunFailed
    from handrail.errors import RunNotFound as RunNotFound
    from handrail.errors import RuntimeConfigError as RuntimeConfigError
    from handrail.errors import RunTimeout as RunTimeout
    from handrail.errors import RunWaiting as RunWaiting
    from handrail.errors import StaleAttemptError as StaleAttemptError
    from handrail.errors import StepLimitExceeded as StepLimitExceeded
    from handrail.errors import StoreCorruptError as StoreCorruptError
    from handrail.errors import StoreError as StoreError
    from handrail.errors import StoreFullError as StoreFullError
    from handrail.errors import StoreReadOnlyError as StoreReadOnlyError
    from handrail.errors import StoreVersionError as StoreVersionError
    from handrail.errors import TaskDefinitionError as TaskDefinitionError
    from handrail.errors import TaskFailed as TaskFailed
    from handrail.errors import TaskInputError as TaskInputError
    from handrail.errors import TaskTerminalError as TaskTerminalError
    from handrail.errors import TrackedResultError as TrackedResultError
    from handrail.errors import UnknownClassError as UnknownClassError
    from handrail.errors import UnknownHandlerError as UnknownHandlerError
    from handrail.errors import UnknownRefError as UnknownRefError
    from handrail.errors import UnknownTaskError as UnknownTaskError
    from handrail.errors import UnsupportedFileError as UnsupportedFileError
    from handrail.errors import WatcherAPIError as WatcherAPIError
    from handrail.errors import WatcherError as WatcherError
    from handrail.errors import WatcherNetworkError as WatcherNetworkError
    from handrail.errors import WorkerLost as WorkerLost
    from handrail.flow.graph import TaskGraph as TaskGraph
    from handrail.flow.group import AtLeastNGroupPolicy as AtLeastNGroupPolicy
    from handrail.flow.group import BestEffortGroupPolicy as BestEffortGroupPolicy
    from handrail.flow.group import CriticalGroupPolicy as CriticalGroupPolicy
    from handrail.flow.group import GroupExecutionPolicy as GroupExecutionPolicy
    from handrail.flow.group import MemberResult as MemberResult
    from handrail.flow.group import StrictGroupPolicy as StrictGroupPolicy
    from handrail.flow.workflow import workflow as workflow
    from handrail.handlers.direct import DirectTaskHandler as DirectTaskHandler
    from handrail.handlers.process import ProcessTaskHandler as ProcessTaskHandler
    from handrail.hooks.spec import RunView as RunView
    from handrail.hooks.spec import RunWatcher as RunWatcher
    from handrail.keep.channel import Channel as Channel
    from handrail.keep.ref import Ref as Ref
    from handrail.keep.repository import Branch as Branch
    from handrail.keep.repository import Repository as Repository
    from handrail.plugins.console import ConsoleWatcher as ConsoleWatcher
    from handrail.plugins.webhook import WebhookWatcher as WebhookWatcher
    from handrail.run.context import ExecutionContext as ExecutionContext
    from handrail.run.context import TaskExecutionContext as TaskExecutionContext
    from handrail.run.engine import WorkflowEngine as WorkflowEngine
    from handrail.run.engine import register_handler as register_handler
    from handrail.run.guards import check_guardrails as check_guardrails
    from handrail.run.handler import BoundTask as BoundTask
    from handrail.run.handler import TaskHandler as TaskHandler
    from handrail.run.task_attempt import invoke_workspace_free_task as invoke_workspace_free_task
    from handrail.run.task_attempt import invoke_workspace_task_body as invoke_workspace_task_body
    from handrail.run.task_attempt import (
        run_workspace_free_task_attempt as run_workspace_free_task_attempt,
    )
    from handrail.run.task_attempt import run_workspace_task_attempt as run_workspace_task_attempt
    from handrail.run.task_result import RuntimeTaskResult as RuntimeTaskResult
    from handrail.run.task_result import (
        build_workspace_free_task_output as build_workspace_free_task_output,
    )
    from handrail.run.task_result import build_workspace_task_output as build_workspace_task_output
    from handrail.run.task_result import completed_result as completed_result
    from handrail.run.task_result import result_for_exception as result_for_exception
    from handrail.run.typed_channel import TypedChannel as TypedChannel
    from handrail.settings import Settings as Settings
    from handrail.settings import load_settings as load_settings
    from handrail.tracking import Address as Address
    from handrail.tracking import AddressLineage as AddressLineage
    from handrail.tracking import ETLResult as ETLResult
    from handrail.tracking import ETLResults as ETLResults
    from handrail.tracking import ExecutionResult as ExecutionResult
    from handrail.tracking import Pipeline as Pipeline
    from handrail.tracking import PipelineConfig as PipelineConfig
    from handrail.tracking import SyncedPipelineConfig as SyncedPipelineConfig
    from handrail.tracking import Watcher as Watcher
    from handrail.tracking import WatcherContext as WatcherContext
    from handrail.tracking import WatcherExecutionContext as WatcherExecutionContext

#: Module -> public names in it.
_FACE = {
    # Declaring
    "contracts.task": "task Task TaskDefinition load_module_task",
    "contracts.controls": "TaskControls RetryPolicy TimeoutPolicy ExecutionLimits PublishBudget",
    "contracts.reuse": "CachePolicy",
    "contracts.workspace": "WorkspaceSpec WorkspaceInput WorkspaceOutput StagedWorkspace",
    "contracts.guards": "require_file require_dir require_glob forbid_glob guardrail",
    "contracts.attempt": "Attempt assert_current_attempt_snapshot",
    "contracts.event": "Event",
    "contracts.codecs": "register_codec",
    # Composing
    "contracts.expr": "chain parallel ParallelGroup",
    "flow.workflow": "workflow",
    "flow.graph": "TaskGraph",
    "flow.group": (
        "GroupExecutionPolicy StrictGroupPolicy BestEffortGroupPolicy AtLeastNGroupPolicy "
        "CriticalGroupPolicy MemberResult"
    ),
    # Running
    "run.engine": "WorkflowEngine register_handler",
    "run.context": "ExecutionContext TaskExecutionContext",
    "run.handler": "TaskHandler BoundTask",
    "run.guards": "check_guardrails",
    "run.task_attempt": (
        "run_workspace_task_attempt run_workspace_free_task_attempt invoke_workspace_task_body"
        " invoke_workspace_free_task"
    ),
    "run.task_result": (
        "RuntimeTaskResult completed_result result_for_exception build_workspace_task_output"
        " build_workspace_free_task_output"
    ),
    "handlers.direct": "DirectTaskHandler",
    "handlers.process": "ProcessTaskHandler",
    # Keeping
    "keep.channel": "Channel",
    "run.typed_channel": "TypedChannel",
    "keep.repository": "Repository Branch",
    "keep.ref": "Ref",
    # Around
    "hooks.spec": "RunWatcher RunView",
    "plugins.console": "ConsoleWatcher",
    "plugins.webhook": "WebhookWatcher",
    # Telling
    "tracking": (
        "Watcher WatcherExecutionContext WatcherContext ETLResults ETLResult ExecutionResult "
        "Pipeline PipelineConfig SyncedPipelineConfig Address AddressLineage"
    ),
    # Putting together
    "app": "Runtime default_runtime",
    "settings": "Settings load_settings",
    # Errors
    "errors": (
        "HandrailError TaskDefinitionError WorkflowDefinitionError DuplicateTaskError "
        "UnknownTaskError CycleError MissingParameterError ParallelWritersError TaskInputError "
        "TaskFailed TaskTerminalError ParallelGroupError ResourceError GuardrailViolation "
        "PreGuardrailViolation "
        "PostGuardrailViolation StaleAttemptError PublishFenceError AttemptTimeout RunError "
        "RunFailed RunWaiting RunCancelled RunTimeout "
        "RunNotFound RunBusy RunChanged CycleLimitExceeded "
        "StepLimitExceeded HandlerError UnknownHandlerError HandlerResultError "
        "NotSerializableError RemoteError WorkerLost RuntimeConfigError NotInstalledError "
        "StoreError "
        "StoreVersionError StoreCorruptError StoreFullError StoreReadOnlyError UnknownRefError "
        "UnknownClassError UnsupportedFileError WatcherError WatcherAPIError WatcherNetworkError "
        "TrackedResultError ChannelTypeError LockTimeout LockLost"
    ),
}

#: Public name -> module.
_EXPORTS: dict[str, str] = {
    name: f"handrail.{module}" for module, names in _FACE.items() for name in names.split()
}

__all__ = ["__version__", *_EXPORTS]


def __getattr__(name: str) -> Any:
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module 'handrail' has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
